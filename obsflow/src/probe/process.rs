//! A process of an exporter's container that lives now.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::{ProbeError, Request};
use crate::kernel::process;
use crate::model::Workload;
use crate::model::verdict::Export;

impl Request {
    /// Checks of an exporter: from inside the process that it is known from, else from any other of its container.
    ///
    /// # Errors
    /// When its endpoint is not known, or no process of its container lives.
    pub fn of(export: &Export, proc: &Path) -> Result<Self, ProbeError> {
        let endpoint = export.endpoint.clone().ok_or(ProbeError::NoTarget(
            "its endpoint is not known: there is nothing to connect to",
        ))?;
        let workload = &export.workload;
        let known = export.pid.filter(|pid| runs_in(proc, *pid, workload));
        let pid = known
            .or_else(|| process::pids(proc).find(|pid| runs_in(proc, *pid, workload)))
            .ok_or(ProbeError::NoTarget(
                "no process of its container lives: there is no network namespace to check from",
            ))?;
        Ok(Self {
            proc: proc.to_owned(),
            pid,
            endpoint,
            signal: export.signal,
            namespace: workload.namespace.as_ref().map(Arc::clone),
            proxy: export.proxy.as_ref().map(Arc::clone),
        })
    }
}

/// Whether a process is one of this container (or unit, or cgroup); its number may be another's by now.
fn runs_in(proc: &Path, pid: u32, workload: &Workload) -> bool {
    let folder = proc.join(pid.to_string());
    let Ok(cgroups) = fs::read_to_string(folder.join("cgroup")) else {
        return false;
    };
    // One that ended and waits for its parent has a cgroup, and no namespaces any more.
    is_of(&cgroups, workload) && fs::metadata(folder.join("ns/net")).is_ok()
}

/// Whether the text of `/proc/<pid>/cgroup` names the workload's cgroup (cgroups(7): `0::/path` of the v2 hierarchy).
fn is_of(cgroups: &str, workload: &Workload) -> bool {
    let mut paths = cgroups.lines().filter_map(|line| line.strip_prefix("0::"));
    match (&workload.container_id, &workload.cgroup_path) {
        // A path as seen from another cgroup namespace still has the container's id in it.
        (Some(id), _) => paths.any(|path| path.contains(&**id)),
        (None, Some(known)) => {
            paths.any(|path| path.trim_start_matches('/') == known.trim_start_matches('/'))
        }
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_tells_whose_a_process_is() {
        let id = "5d".repeat(32);
        let container = Workload {
            container_id: Some(id.as_str().into()),
            ..Workload::default()
        };
        let path = format!("1:name=systemd:/\n0::/kubepods.slice/cri-containerd-{id}.scope/app\n");
        assert!(is_of(&path, &container));
        assert!(!is_of("0::/system.slice/nginx.service\n", &container));
        // The same id in another hierarchy says nothing.
        assert!(!is_of(&format!("5:memory:/{id}\n"), &container));
        let unit = Workload {
            cgroup_path: Some("system.slice/nginx.service".into()),
            ..Workload::default()
        };
        assert!(is_of("0::/system.slice/nginx.service\n", &unit));
        assert!(!is_of("0::/system.slice/nginx.service/child\n", &unit));
        assert!(!is_of("0::/\n", &Workload::default()));
    }
}
