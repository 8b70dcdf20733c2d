//! Metrics for Prometheus: counted on the session's thread, read by whoever scrapes.
//!
//! [`Metrics`] belongs to the session's thread: it takes observations, reports, and what the kernel counted, and adds to
//! numbers that nobody locks. [`Scraper`] belongs to the thread that serves: it asks for the kernel's counters, waits for
//! them a moment, and writes down what is there. Neither waits for the other.

mod encode;
mod exact;
pub mod families;
mod index;
mod meanings;
mod names;
mod observed;
mod own;
mod reported;
mod series;
mod sinks;
mod store;
mod workloads;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::sync::watch;

use self::exact::Exact;
use self::families::Id;
use self::index::Shared;
use self::names::{EMPTY, Names, Sym};
use self::observed::Connection;
use self::own::RingWindow;
use self::series::Value;
use self::sinks::Sinks;
use self::store::{Key, More, NO_MORE, Store, Who};
use self::workloads::{Move, Workloads};
use crate::model::cluster::Cluster;
use crate::model::{Lifecycle, Mono, Workload};

pub use encode::Format;
pub use own::Own;

/// How long a scrape waits for what the kernel counted until now.
const FRESH: Duration = Duration::from_millis(100);

/// What is told apart.
#[derive(Clone, Debug)]
pub struct Options {
    /// Series of workloads have a label `pod`.
    pub pod_label: bool,
    /// Workloads.
    pub max_workloads: usize,
    /// Pods, where they are told apart, and pods whose names are waited for.
    pub max_pods: usize,
    /// Sinks.
    pub max_sinks: usize,
    /// Series; a histogram is one.
    pub max_series: usize,
    /// Ports of name servers: what is sent there goes to no sink.
    pub dns_ports: BTreeSet<u16>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pod_label: false,
            max_workloads: 1000,
            max_pods: 2000,
            max_sinks: 500,
            max_series: 40_000,
            dns_ports: BTreeSet::from([53]),
        }
    }
}

/// What a scrape asks of the session's thread, and what it answers.
#[derive(Debug, Default)]
struct Asked {
    /// Scrapes so far.
    asked: AtomicU64,
    /// Those that got no answer in time.
    stale: AtomicU64,
}

/// The side of the session's thread.
#[derive(Debug)]
pub struct Metrics {
    options: Options,
    asked: Arc<Asked>,
    answered: watch::Sender<u64>,
    store: Store,
    names: Names,
    workloads: Workloads,
    sinks: Sinks,
    connections: HashMap<u64, Connection, RandomState>,
    exact: Exact,
    /// Series of the last report.
    reported: HashSet<Key, RandomState>,
    /// Series of the cluster's watches.
    watches: HashSet<Key, RandomState>,
    ring: RingWindow,
    /// Kept to save allocations.
    moves: Vec<Move>,
    next_tidy: Mono,
}

/// The side of whoever serves.
#[derive(Clone, Debug)]
pub struct Scraper {
    asked: Arc<Asked>,
    answered: watch::Receiver<u64>,
    shared: Arc<Shared>,
    pod_label: bool,
}

/// The two sides of metrics.
#[must_use]
pub fn metrics(options: Options) -> (Metrics, Scraper) {
    let shared = Arc::new(Shared::default());
    let asked = Arc::new(Asked::default());
    let (answered, answers) = watch::channel(0);
    let scraper = Scraper {
        asked: Arc::clone(&asked),
        answered: answers,
        shared: Arc::clone(&shared),
        pod_label: options.pod_label,
    };
    let metrics = Metrics {
        store: Store::new(shared, options.max_series, options.pod_label),
        workloads: Workloads::new(options.max_workloads, options.max_pods, options.pod_label),
        sinks: Sinks::new(options.max_sinks),
        options,
        asked,
        answered,
        names: Names::default(),
        connections: HashMap::default(),
        exact: Exact::default(),
        reported: HashSet::default(),
        watches: HashSet::default(),
        ring: RingWindow::default(),
        moves: Vec::new(),
        next_tidy: Mono(0),
    };
    (metrics, scraper)
}

impl Metrics {
    /// Takes a process or a cgroup that began or ended.
    pub fn lifecycle(&mut self, step: &Lifecycle) {
        if step.what == crate::model::lifecycle::Step::CgroupGone {
            self.workloads.gone(&step.workload, step.at);
        }
    }

    /// Takes workloads whose names became known.
    pub fn renamed(&mut self, workloads: &[Arc<Workload>], now: Mono) {
        for workload in workloads {
            // Those that nothing was counted for get their row when something is.
            if self.workloads.knows(workload) {
                self.who(workload, now);
            }
        }
    }

    /// Takes what is known of the cluster now. Once a second is enough.
    pub fn cluster(&mut self, cluster: Arc<Cluster>, now: Mono) {
        for (from, to) in self.sinks.cluster(cluster, now, &mut self.names) {
            let workloads = &self.workloads;
            self.store
                .merge_sink(from, to, |who| workloads.written(who).cloned(), now, &self.names);
        }
    }

    /// The newest scrape that waits for [`Self::counters`], if one does.
    #[must_use]
    pub fn asked(&self) -> Option<u64> {
        let asked = self.asked.asked.load(Ordering::Acquire);
        (asked > *self.answered.borrow()).then_some(asked)
    }

    /// Says to that scrape, and those before it, that everything is there.
    pub fn answer(&mut self, asked: u64) {
        self.answered.send_replace(asked);
    }

    /// Once a second: what time brings.
    pub fn second(&mut self, now: Mono) {
        self.workloads.second(now, &mut self.moves);
        self.make_moves(now);
        self.store.tidy(now);
        if now >= self.next_tidy {
            self.next_tidy = now.after(Duration::from_secs(60));
            self.sweep(now);
        }
    }

    /// Forgets label values and connections that nobody uses any more.
    fn sweep(&mut self, now: Mono) {
        self.connections
            .retain(|_, connection| now.since(connection.seen) < observed::FORGOTTEN);
        if self.names.is_full() {
            let mut used = HashSet::default();
            self.store.mark(&mut used);
            self.sinks.mark(&mut used);
            self.names.sweep(&used);
        }
    }

    fn who(&mut self, workload: &Arc<Workload>, at: Mono) -> Who {
        let who = self.workloads.who(workload, at, &mut self.moves);
        self.make_moves(at);
        who
    }

    fn make_moves(&mut self, at: Mono) {
        for (from, to) in std::mem::take(&mut self.moves) {
            let hidden = self.workloads.written(from).is_some_and(|row| row.hidden);
            match to.and_then(|to| Some((to, self.workloads.written(to)?))) {
                Some(to) => self.store.merge_who(from, hidden, to, at, &self.names),
                None => self.store.end_who(from, at),
            }
            self.sinks.moved(from);
            self.workloads.moved((from, to));
        }
    }

    /// Changes a series of a workload.
    fn count(&mut self, family: Id, who: Who, sink: Sym, more: More, at: Mono, change: impl FnOnce(&Value)) {
        let mut key = Key {
            family,
            who: Some(who),
            sink,
            more,
        };
        if who == workloads::OTHER {
            self.workloads.folded.0 += 1;
        }
        if !self.store.has_room_for(&key) && key.sink != EMPTY {
            self.sinks.folded += 1;
            key.sink = names::OTHER;
        }
        if !self.store.has_room_for(&key) {
            self.workloads.folded.0 += 1;
            key.who = Some(workloads::OTHER);
        }
        self.workloads.touch(who, at);
        let written = key.who.and_then(|who| self.workloads.written(who));
        change(self.store.value(key, written, &self.names));
    }

    /// A series of no workload.
    fn plain(&mut self, family: Id, labels: &[&str]) -> &Value {
        let key = self.plain_key(family, labels);
        self.store.value(key, None, &self.names)
    }

    fn plain_key(&mut self, family: Id, labels: &[&str]) -> Key {
        let mut more = NO_MORE;
        for (place, label) in more.iter_mut().zip(labels) {
            *place = self.names.sym(label);
        }
        Key {
            family,
            who: None,
            sink: EMPTY,
            more,
        }
    }

    /// A sink has made room.
    fn evict_sink(&mut self, sink: Option<Sym>, at: Mono) {
        if let Some(sink) = sink {
            self.store.end_sink(sink, at);
        }
    }
}

impl Scraper {
    /// Asks for what the kernel counted until now, and waits for it a moment. Whether it came.
    pub async fn refresh(&self) -> bool {
        let asked = self.asked.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut answered = self.answered.clone();
        let answer = answered.wait_for(|answered| *answered >= asked);
        let fresh = matches!(tokio::time::timeout(FRESH, answer).await, Ok(Ok(_)));
        if !fresh {
            self.asked.stale.fetch_add(1, Ordering::Relaxed);
        }
        fresh
    }

    /// Writes everything down.
    #[must_use]
    pub fn encode(&self, format: Format) -> String {
        encode::encode(&self.shared, self.pod_label, format)
    }
}

#[cfg(test)]
mod tests;
