//! Process id -> name, and what else is known of a process.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::model::event::Comm;
use crate::model::{Mono, Process, Workload};

/// Records of a process that ended (its sockets close later) still find its name for this long. Short, because a pid
/// that is used again by a fork announces itself with nothing.
const AFTER_EXIT: Duration = Duration::from_secs(2);

/// What is known of a process.
#[derive(Debug)]
pub(super) struct Known {
    comm: Comm,
    name: Arc<str>,
    /// When `name` was last confirmed.
    pub(super) at: Mono,
    /// The cgroup its records carried last, 0 when none did.
    pub(super) cgroup: u64,
    /// Workload by `/proc/<pid>/cgroup`, where sockets do not tell it: `None` until it was tried.
    pub(super) by_pid: Option<ByPid>,
    pub(super) ended: bool,
    serial: u64,
}

/// What `/proc/<pid>/cgroup` told.
#[derive(Debug)]
pub(super) struct ByPid {
    /// `None` when it told nothing.
    pub(super) workload: Option<Arc<Workload>>,
    /// From when on it is to be asked again.
    pub(super) until: Mono,
    /// Snapshots of the cluster there had been.
    pub(super) cluster: u64,
}

/// A bounded table of processes.
#[derive(Debug)]
pub(super) struct Processes {
    known: HashMap<u32, Known>,
    /// In order of first sight; entries whose serial no longer matches are stale.
    order: VecDeque<(u32, u64)>,
    ended: VecDeque<(Mono, u32, u64)>,
    max: usize,
    serial: u64,
    nameless: Arc<str>,
}

impl Processes {
    pub(super) fn new(max: usize) -> Self {
        Self {
            known: HashMap::new(),
            order: VecDeque::new(),
            ended: VecDeque::new(),
            max: max.max(1),
            serial: 0,
            nameless: Arc::from(""),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn get_mut(&mut self, pid: u32) -> Option<&mut Known> {
        self.known.get_mut(&pid)
    }

    /// The entry of `pid`, made when it is new.
    pub(super) fn entry(&mut self, pid: u32) -> &mut Known {
        if !self.known.contains_key(&pid) {
            while self.known.len() >= self.max {
                let Some((oldest, serial)) = self.order.pop_front() else {
                    break;
                };
                self.remove(oldest, serial);
            }
            // Stale entries of `order` are no more than the exits since: bounded by dropping them when they are many.
            if self.order.len() > 2 * self.max {
                let known = &self.known;
                self.order
                    .retain(|(pid, serial)| known.get(pid).is_some_and(|entry| entry.serial == *serial));
            }
            self.serial += 1;
            self.order.push_back((pid, self.serial));
        }
        let (serial, nameless) = (self.serial, &self.nameless);
        self.known.entry(pid).or_insert_with(|| Known {
            comm: Comm::default(),
            name: Arc::clone(nameless),
            at: Mono(0),
            cgroup: 0,
            by_pid: None,
            ended: false,
            serial,
        })
    }

    /// A process executed a program: whatever was known by its pid is of the past.
    pub(super) fn exec(&mut self, pid: u32) {
        let entry = self.entry(pid);
        if entry.ended {
            entry.ended = false;
            entry.cgroup = 0;
            entry.by_pid = None;
        }
    }

    pub(super) fn exit(&mut self, pid: u32, at: Mono) {
        if let Some(entry) = self.known.get_mut(&pid) {
            entry.ended = true;
            self.ended.push_back((at, pid, entry.serial));
        }
    }

    /// Forgets processes that ended a while ago.
    pub(super) fn expire(&mut self, now: Mono) {
        while let Some(&(at, pid, serial)) = self.ended.front() {
            if now.since(at) < AFTER_EXIT && self.ended.len() <= self.max {
                return;
            }
            self.ended.pop_front();
            if self.known.get(&pid).is_some_and(|entry| entry.ended) {
                self.remove(pid, serial);
            }
        }
    }

    fn remove(&mut self, pid: u32, serial: u64) {
        if self.known.get(&pid).is_some_and(|entry| entry.serial == serial) {
            self.known.remove(&pid);
        }
    }
}

impl Known {
    /// The process, `None` while it has no name.
    pub(super) fn process(&self, pid: u32) -> Option<Process> {
        let name = Arc::clone(&self.name);
        (!name.is_empty()).then_some(Process { pid, name })
    }

    /// Takes a name from a record or from `/proc`; does nothing when it is empty.
    pub(super) fn named(&mut self, comm: &Comm, at: Mono) {
        if comm.is_empty() {
            return;
        }
        self.at = at;
        if *comm != self.comm {
            self.comm = *comm;
            self.name = Arc::from(comm.to_string());
        }
    }
}
