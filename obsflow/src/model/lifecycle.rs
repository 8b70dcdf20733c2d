//! Processes that begin and end, with whose they are.

use std::sync::Arc;

use super::event::Comm;
use super::time::Mono;
use super::workload::Workload;

/// A process or a cgroup began or ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Lifecycle {
    /// When.
    pub at: Mono,
    /// Whose it is.
    pub workload: Arc<Workload>,
    /// Cgroup v2 id.
    pub cgroup: u64,
    /// The process, 0 for a cgroup.
    pub pid: u32,
    /// Which of it.
    pub what: Step,
}

/// See [`Lifecycle`].
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A process executed a program.
    Exec {
        /// Its name.
        comm: Comm,
    },
    /// A process is older than obsflow.
    Running {
        /// Its name.
        comm: Comm,
        /// When it began.
        began: Mono,
    },
    /// A process ended.
    Exit,
    /// A cgroup was removed.
    CgroupGone,
}
