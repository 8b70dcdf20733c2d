//! Who a piece of state belongs to, and the observation made of it.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::model::attributed::Attributed;
use crate::model::event::{Endpoints, Event, EventBody};
use crate::model::observation::{Observation, What};
use crate::model::time::Mono;
use crate::model::workload::{Process, Workload, WorkloadKind};

/// The common part of an [`Event`] with its attribution.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) workload: Arc<Workload>,
    pub(super) process: Option<Process>,
    pub(super) cgroup: u64,
    pub(super) cookie: u64,
    pub(super) netns: u32,
    pub(super) pid: u32,
}

impl Owner {
    /// Takes an attributed event apart.
    pub(super) fn split(attributed: Attributed) -> (Self, Mono, EventBody) {
        let Attributed {
            event,
            workload,
            process,
        } = attributed;
        let Event {
            at,
            cgroup,
            cookie,
            netns,
            pid,
            body,
        } = event;
        let owner = Self {
            workload,
            process,
            cgroup,
            cookie,
            netns,
            pid,
        };
        (owner, at, body)
    }

    /// Cgroup and network namespace.
    pub(super) fn scope(&self) -> (u64, u32) {
        (self.cgroup, self.netns)
    }

    /// Whether anything tells whose it is, down to the container: a pod's address alone does not.
    pub(super) fn is_known(&self) -> bool {
        self.cgroup != 0 || self.workload.container_key().is_some()
    }

    /// Fills what this event did not tell with what is known of the same socket.
    pub(super) fn complete(&mut self, from: &Self) {
        if !self.is_known() && (from.is_known() || self.workload.kind == WorkloadKind::Unknown) {
            self.workload = Arc::clone(&from.workload);
            self.cgroup = from.cgroup;
        }
        if self.process.is_none() && self.cgroup == from.cgroup {
            self.process.clone_from(&from.process);
        }
        if self.pid == 0 {
            self.pid = from.pid;
        }
        if self.netns == 0 {
            self.netns = from.netns;
        }
        if self.cookie == 0 {
            self.cookie = from.cookie;
        }
    }

    pub(super) fn observe(&self, at: Mono, ends: Ends, what: What) -> Observation {
        Observation {
            at,
            workload: Arc::clone(&self.workload),
            process: self.process.clone(),
            cgroup: self.cgroup,
            cookie: self.cookie,
            netns: self.netns,
            local: ends.local,
            asked: ends.asked.filter(|asked| Some(*asked) != ends.remote),
            remote: ends.remote,
            remote_name: ends.name,
            remote_is: None,
            what,
        }
    }
}

/// Addresses of an observation.
#[derive(Clone, Debug, Default)]
pub(super) struct Ends {
    pub(super) local: Option<SocketAddr>,
    pub(super) remote: Option<SocketAddr>,
    pub(super) asked: Option<SocketAddr>,
    pub(super) name: Option<Arc<str>>,
}

impl Ends {
    pub(super) fn new(ends: Endpoints, asked: Option<SocketAddr>) -> Self {
        Self {
            local: set(ends.local),
            remote: set(ends.remote),
            asked,
            name: None,
        }
    }

    pub(super) fn named(mut self, name: Option<Arc<str>>) -> Self {
        self.name = name;
        self
    }
}

/// A socket's address unless it is still all zeros.
fn set(addr: SocketAddr) -> Option<SocketAddr> {
    (!addr.ip().is_unspecified() || addr.port() != 0).then_some(addr)
}
