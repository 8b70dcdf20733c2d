//! What attribution may ask the running machine. A replay has none of it.

use std::fs;
use std::path::PathBuf;

use crate::kernel::cgroupfs::CgroupFs;
use crate::kernel::process;
use crate::model::event::Comm;

/// Look-ups on the machine that events come from.
pub trait Machine: Send {
    /// Path of the cgroup below the cgroup2 mount, `None` when it is gone or cannot be told.
    fn cgroup_path(&mut self, id: u64) -> Option<String>;
    /// Name of the process (its main thread), `None` when it is gone or pids mean other processes here.
    fn comm(&mut self, pid: u32) -> Option<Comm>;
    /// The text of `/proc/<pid>/cgroup`.
    fn cgroups(&mut self, pid: u32) -> Option<String>;
}

/// This machine.
#[derive(Debug)]
pub struct ThisMachine {
    cgroups: Option<CgroupFs>,
    proc: PathBuf,
    /// `/proc` shows the pids that the kernel side reports.
    initial_pids: bool,
}

impl ThisMachine {
    /// Looks up cgroups in `cgroups` and processes in `proc` (`/proc`). In a pid namespace of its own it asks nothing
    /// by pid, because the kernel side reports pids of the initial one.
    #[must_use]
    pub fn new(cgroups: Option<CgroupFs>, proc: impl Into<PathBuf>) -> Self {
        let proc = proc.into();
        let initial_pids = process::sees_host_pids(&proc);
        Self {
            cgroups,
            proc,
            initial_pids,
        }
    }

    /// Whether processes can be looked up by pid; if not, run in the host's pid namespace (`hostPID: true`).
    #[must_use]
    pub fn sees_host_pids(&self) -> bool {
        self.initial_pids
    }
}

impl Machine for ThisMachine {
    fn cgroup_path(&mut self, id: u64) -> Option<String> {
        self.cgroups.as_ref()?.path_of(id)
    }

    fn comm(&mut self, pid: u32) -> Option<Comm> {
        if !self.initial_pids {
            return None;
        }
        process::comm(&self.proc, pid).map(Comm::new)
    }

    fn cgroups(&mut self, pid: u32) -> Option<String> {
        if !self.initial_pids {
            return None;
        }
        let text = fs::read(self.proc.join(pid.to_string()).join("cgroup")).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
