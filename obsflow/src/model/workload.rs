//! Who it was.

use std::sync::Arc;

use super::expectation::ContainerKey;

/// A pod's container, a systemd unit, or a plain cgroup. What is not known is `None`, never guessed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Workload {
    /// What kind of thing this is.
    pub kind: WorkloadKind,
    /// Kubernetes namespace.
    pub namespace: Option<Arc<str>>,
    /// Pod name.
    pub pod: Option<Arc<str>>,
    /// Pod UID, in the canonical hyphenated form.
    pub pod_uid: Option<Arc<str>>,
    /// Full container id, 64 hexadecimal digits.
    pub container_id: Option<Arc<str>>,
    /// Container name.
    pub container: Option<Arc<str>>,
    /// systemd unit (`nginx.service`, `session-3.scope`).
    pub unit: Option<Arc<str>>,
    /// Path below the cgroup2 mount.
    pub cgroup_path: Option<Arc<str>>,
}

impl Workload {
    /// Names the container, unit or cgroup for as long as it lives; `None` when nothing is known of it. Stays the same
    /// when names become known later.
    #[must_use]
    pub fn container_key(&self) -> Option<ContainerKey> {
        let key = self.container_id.as_ref().or(self.cgroup_path.as_ref())?;
        Some(ContainerKey(Arc::clone(key)))
    }
}

/// Kinds of workloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WorkloadKind {
    /// Nothing is known.
    #[default]
    Unknown,
    /// A Kubernetes pod.
    Pod,
    /// A container that no kubelet runs.
    Container,
    /// A systemd unit.
    Unit,
    /// Another cgroup.
    Cgroup,
}

/// A process, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Process {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Name of the process, escaped for display.
    pub name: Arc<str>,
}
