//! Who it was.

use std::sync::Arc;

use super::cluster::Owner;
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
    /// What runs the pod: its Deployment, StatefulSet …
    pub owner: Option<Owner>,
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

    /// Whether `self` is what is known by now of the same container: other names, and none missing that `old` has.
    #[must_use]
    pub fn supersedes(&self, old: &Self) -> bool {
        let keeps = |new: &Option<Arc<str>>, old: &Option<Arc<str>>| new.is_some() || old.is_none();
        self != old
            && self.container_key() == old.container_key()
            && keeps(&self.namespace, &old.namespace)
            && keeps(&self.pod, &old.pod)
            && keeps(&self.container, &old.container)
            && (self.owner.is_some() || old.owner.is_none())
    }

    /// The name of the workload that it is a part of: what runs the pod, else what the pod's name tells of that, else the
    /// unit, container or cgroup.
    ///
    /// Controllers append to a pod's name a ReplicaSet's hash and five characters (Deployment), five characters
    /// (DaemonSet, Job), or an ordinal (StatefulSet): without the owner these are taken off again. Kubernetes makes the
    /// characters from an alphabet without vowels and without 0, 1 and 3 (`k8s.io/apimachinery/pkg/util/rand`), so
    /// words stay.
    #[must_use]
    pub fn name(&self) -> Arc<str> {
        if let Some(owner) = &self.owner {
            return Arc::clone(&owner.name);
        }
        let Some(pod) = &self.pod else {
            let name = self
                .unit
                .as_ref()
                .or(self.container.as_ref())
                .or(self.cgroup_path.as_ref())
                .or(self.container_id.as_ref());
            return name.map_or_else(|| Arc::from("unknown"), Arc::clone);
        };
        let generated = |part: &str| part.bytes().all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b));
        let Some((front, last)) = pod.rsplit_once('-') else {
            return Arc::clone(pod);
        };
        if !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()) && last.len() <= 4 {
            return Arc::from(front);
        }
        if last.len() != 5 || !generated(last) {
            return Arc::clone(pod);
        }
        match front.rsplit_once('-') {
            Some((name, hash)) if (6..=10).contains(&hash.len()) && generated(hash) => Arc::from(name),
            _ => Arc::from(front),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pod: &str) -> String {
        let workload = Workload {
            pod: Some(Arc::from(pod)),
            ..Workload::default()
        };
        workload.name().to_string()
    }

    #[test]
    fn what_controllers_append_is_taken_off() {
        assert_eq!(of("checkout-7d9c6b5f4d-x2xkq"), "checkout");
        assert_eq!(of("node-agent-x2xkq"), "node-agent");
        assert_eq!(of("database-0"), "database");
        assert_eq!(of("checkout"), "checkout");
        assert_eq!(of("my-service-alpha"), "my-service-alpha");
        assert_eq!(of("shop-checkout"), "shop-checkout");
    }

    #[test]
    fn an_owner_that_is_known_counts_more_than_a_name() {
        let workload = Workload {
            pod: Some(Arc::from("database-0")),
            owner: Some(Owner {
                kind: Arc::from("PostgresCluster"),
                name: Arc::from("orders"),
            }),
            ..Workload::default()
        };
        assert_eq!(&*workload.name(), "orders");
    }
}
