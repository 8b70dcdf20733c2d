//! `tcp_info` of the connections that are known to be open, a batch at a time.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use obsflow_ebpf::abi::record;

use super::wire::Diag;
use super::{Connection, Places};
use crate::kernel::netns::{self, Namespace, Scratch};
use crate::model::{Event, EventBody, Mono};

/// Connections watched; more are counted and left out.
const MAX_WATCHED: usize = 16_384;
/// Connections asked about in one call of [`Monitor::poll`]. With more of them each gets its turn later: a node full of
/// exporters must not cost more than one with a few.
const BATCH: usize = 64;
/// Between two searches through all processes for a namespace that no known process leads to.
const RESCAN: Duration = Duration::from_secs(60);

/// Asks the kernel how open connections are doing. Costs nothing while there are none.
#[derive(Debug)]
pub struct Monitor {
    places: Places,
    watched: HashMap<u64, Watched>,
    /// Whose turn it is; cookies that are no longer watched fall out.
    turns: VecDeque<u64>,
    /// Files that led to a namespace before.
    paths: HashMap<u32, PathBuf>,
    next_scan: Mono,
    stats: MonitorStats,
    /// Cookies of connections that were found gone, until somebody takes them.
    gone: Vec<u64>,
}

/// What a [`Monitor`] did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MonitorStats {
    /// Connections watched now.
    pub watched: usize,
    /// Answers.
    pub answered: u64,
    /// Connections that the kernel no longer knew, or that are bound to an interface.
    pub gone: u64,
    /// Questions that the kernel did not answer.
    pub failed: u64,
    /// Connections given up because nothing leads to their namespace.
    pub unreachable: u64,
    /// Connections not watched because there were too many.
    pub full: u64,
}

#[derive(Clone, Debug)]
struct Watched {
    netns: u32,
    cgroup: u64,
    pid: u32,
    local: SocketAddr,
    remote: SocketAddr,
}

/// What became of one namespace's questions.
enum Answer {
    Unreachable,
    Failed,
    Gone(u64),
    Is(Box<Connection>),
}

impl Monitor {
    /// How often [`poll`](Self::poll) is meant to be called.
    pub const INTERVAL: Duration = Duration::from_secs(5);

    /// Watches nothing yet.
    #[must_use]
    pub fn new(places: Places) -> Self {
        Self {
            places,
            watched: HashMap::new(),
            turns: VecDeque::new(),
            paths: HashMap::new(),
            next_scan: Mono(0),
            stats: MonitorStats::default(),
            gone: Vec::new(),
        }
    }

    /// Learns from an event which connections are open.
    pub fn on(&mut self, event: &Event) {
        match &event.body {
            EventBody::Established { ends, .. } | EventBody::Adopted { ends, .. } => {
                if event.cookie == 0 || self.watched.contains_key(&event.cookie) {
                    return;
                }
                if event.netns == 0 {
                    self.stats.unreachable += 1;
                    return;
                }
                if self.watched.len() >= MAX_WATCHED {
                    self.stats.full += 1;
                    return;
                }
                let watched = Watched {
                    netns: event.netns,
                    cgroup: event.cgroup,
                    pid: event.pid,
                    local: ends.local,
                    remote: ends.remote,
                };
                self.watched.insert(event.cookie, watched);
                self.turns.push_back(event.cookie);
                // Closed connections leave their turn behind; a burst of short ones must not pile them up.
                if self.turns.len() > 2 * MAX_WATCHED {
                    self.turns.retain(|cookie| self.watched.contains_key(cookie));
                }
            }
            EventBody::Close(_) => {
                self.watched.remove(&event.cookie);
            }
            _ => {}
        }
    }

    /// Connections that [`poll`](Self::poll) found gone since this was asked last: their ends were not seen.
    pub fn take_gone(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.gone)
    }

    /// Whether there is anything to ask.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.watched.is_empty()
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> MonitorStats {
        MonitorStats {
            watched: self.watched.len(),
            ..self.stats
        }
    }

    /// Asks about the next batch of connections and gives a record for each that answered.
    pub fn poll(&mut self, now: Mono) -> Vec<record::TcpInfo> {
        let mut batch: BTreeMap<u32, Vec<(u64, Watched)>> = BTreeMap::new();
        let mut left = BATCH;
        for _ in 0..self.turns.len() {
            if left == 0 {
                break;
            }
            let Some(cookie) = self.turns.pop_front() else {
                break;
            };
            if let Some(watched) = self.watched.get(&cookie) {
                left -= 1;
                self.turns.push_back(cookie);
                batch
                    .entry(watched.netns)
                    .or_default()
                    .push((cookie, watched.clone()));
            }
        }
        if batch.is_empty() {
            return Vec::new();
        }
        let mut places = Vec::new();
        for (netns, asked) in batch {
            match self.locate(netns, &asked, now) {
                Found::Here(namespace) => places.push((namespace, asked)),
                Found::NotSearched => {}
                // It ended, and its connections with it.
                Found::Nowhere => {
                    self.stats.unreachable += asked.len() as u64;
                    for (cookie, _) in asked {
                        self.watched.remove(&cookie);
                        self.gone.push(cookie);
                    }
                }
            }
        }
        let answers = netns::on_scratch_thread(|scratch| {
            places
                .iter()
                .flat_map(|(namespace, asked)| ask(scratch, namespace, asked))
                .collect::<Vec<_>>()
        });
        let mut records = Vec::new();
        for (netns, answer) in answers.unwrap_or_default() {
            match answer {
                // The process that led there ended in between: another one may lead there the next time.
                Answer::Unreachable => {
                    self.paths.remove(&netns);
                }
                Answer::Failed => self.stats.failed += 1,
                Answer::Gone(cookie) => {
                    self.stats.gone += 1;
                    self.watched.remove(&cookie);
                    self.gone.push(cookie);
                }
                Answer::Is(connection) => {
                    self.stats.answered += 1;
                    records.push(connection.tcp_info(now));
                }
            }
        }
        records
    }

    /// A file that leads to the namespace: what led there before, the connections' processes, then a search.
    fn locate(&mut self, netns: u32, asked: &[(u64, Watched)], now: Mono) -> Found {
        let leads = |path: &PathBuf| netns::inode(path).is_ok_and(|inode| inode == netns);
        let here = |path: PathBuf| Found::Here(Namespace { inode: netns, path });
        if let Some(path) = self.paths.get(&netns).filter(|path| leads(path)) {
            return here(path.clone());
        }
        self.paths.remove(&netns);
        let of_pid = |pid: u32| self.places.proc.join(pid.to_string()).join("ns/net");
        let mut by_pid = asked
            .iter()
            .filter(|(_, watched)| watched.pid != 0)
            .map(|(_, watched)| of_pid(watched.pid));
        if let Some(path) = by_pid.find(leads) {
            self.paths.insert(netns, path.clone());
            return here(path);
        }
        if now < self.next_scan {
            return Found::NotSearched;
        }
        self.next_scan = now.after(RESCAN);
        let all = netns::list(&self.places.proc, &self.places.netns);
        self.paths = all
            .into_iter()
            .map(|namespace| (namespace.inode, namespace.path))
            .collect();
        self.paths.get(&netns).cloned().map_or(Found::Nowhere, here)
    }
}

/// Where a namespace is.
enum Found {
    Here(Namespace),
    Nowhere,
    /// The last search was not long ago.
    NotSearched,
}

fn ask(scratch: &mut Scratch, namespace: &Namespace, asked: &[(u64, Watched)]) -> Vec<(u32, Answer)> {
    let entered = scratch.enter(namespace).is_ok();
    let mut diag = if entered { Diag::new().ok() } else { None };
    let answer = |(cookie, watched): &(u64, Watched)| {
        let Some(diag) = &mut diag else {
            return Answer::Unreachable;
        };
        match diag.one(watched.local, watched.remote, *cookie) {
            Ok(Some(found)) => {
                let mut connection = Connection::new(namespace.inode, found);
                // The socket's cgroup at connect is the workload's; `sock_diag` lacks it on old kernels.
                if watched.cgroup != 0 {
                    connection.cgroup = watched.cgroup;
                }
                connection.pid = watched.pid;
                Answer::Is(Box::new(connection))
            }
            Ok(None) => Answer::Gone(*cookie),
            Err(_) => Answer::Failed,
        }
    };
    let answers: Vec<Answer> = asked.iter().map(answer).collect();
    answers
        .into_iter()
        .map(|answer| (namespace.inode, answer))
        .collect()
}
