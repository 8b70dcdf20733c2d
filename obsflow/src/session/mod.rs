//! Watching this node: hooks attached, the ring drained, records made that the hooks cannot make, everything passed
//! through the pipeline to a sink. Synchronous, on one thread; the ring buffer is the queue in front of it, and what it
//! cannot hold is counted by the kernel side.

pub mod diagnosis;
mod leaving;
mod made;
mod place;
mod running;
pub mod status;
mod watch;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use obsflow_ebpf::abi::record::{self, kind, name_space};
use tokio::sync;
use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::attribute::{self, Attributor, ThisMachine};
use crate::cluster;
use crate::config::Live;
use crate::correlate::{self, Correlator};
use crate::kernel::cgroupfs::{CgroupError, CgroupFs};
use crate::kernel::connections::ConnectionMap;
use crate::kernel::counters::{CounterMaps, Forgotten, Stats};
use crate::kernel::hooks::{Hook, State};
use crate::kernel::load::{self, LoadError, Loaded};
use crate::kernel::port_map::PortMap;
use crate::kernel::ring::RingReader;
use crate::kernel::sockdiag::{self, Monitor, Places};
use crate::kernel::tunnels::Tunnels;
use crate::kernel::{info, privileges, symbols};
use crate::model::cluster::{Cluster, Watch};
use crate::model::event::{Event, ip};
use crate::model::{Lifecycle, Mono, Observation, Workload};
use crate::pipeline::Pipeline;

use leaving::Leaving;
use made::{lost_record, name_record, pod_record};
use place::{attach_to, load_config, lock, route_errno};

/// Records taken from the ring before anything else gets its turn.
const BATCH: usize = 2048;
/// How long to wait for more when the ring is empty: short after traffic, longer when all is quiet.
const TICK: Duration = Duration::from_millis(20);
/// See [`TICK`].
const QUIET_TICK: Duration = Duration::from_millis(50);
/// How often losses, failed connects and log lines are looked after.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// How often new tunnel devices are looked for: they come with a CNI's start, not with traffic.
const TUNNELS: Duration = Duration::from_secs(30);
/// Kernel functions named in a capture.
const MAX_NAMED: usize = 4096;
/// Payload records a connection may emit in a second: some 80 exports over gRPC, whose every frame is one.
const PAYLOAD_PER_SECOND: u32 = 512;

/// Watching could not begin, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The programs.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The cgroup file system.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// Another obsflow.
    #[error(
        "another obsflow watches {0} already; end it first, or watch another cgroup with --attach: two would count \
         everything twice"
    )]
    Running(PathBuf),
    /// The cgroup to attach to is not there.
    #[error("{0} is not a cgroup of this node; --attach takes root, kubepods or a path below {1}")]
    NoCgroup(PathBuf, PathBuf),
    /// `--attach kubepods` without a kubelet.
    #[error("--attach kubepods: no kubelet keeps pods on this node; use --attach root")]
    NoKubepods,
    /// The sink failed.
    #[error("writing: {0}")]
    Sink(#[from] io::Error),
}

/// Where observations and raw records go.
pub trait Sink {
    /// Whether raw records are wanted, with the names that a replay elsewhere needs.
    fn wants_records(&self) -> bool {
        false
    }

    /// Takes the raw records of a batch, before they are decoded.
    ///
    /// # Errors
    /// When they cannot be written.
    fn records(&mut self, records: &[Bytes]) -> io::Result<()> {
        let _ = records;
        Ok(())
    }

    /// Whether observations are wanted. Without, events are not correlated, which is most of the work, and every batch
    /// has none.
    fn wants_observations(&self) -> bool {
        true
    }

    /// Takes the observations of a batch. `Break` ends the session.
    ///
    /// # Errors
    /// When they cannot be written.
    fn observations(&mut self, observations: &[Observation]) -> io::Result<ControlFlow<()>>;

    /// Whether [`Self::lifecycle`] is wanted.
    fn wants_lifecycle(&self) -> bool {
        false
    }

    /// Takes the processes that began and ended in a batch; comes before the batch's observations.
    ///
    /// # Errors
    /// When the sink cannot go on.
    fn lifecycle(&mut self, steps: &[Lifecycle]) -> io::Result<()> {
        let _ = steps;
        Ok(())
    }

    /// Takes workloads that were named, or named otherwise, since it was last called; comes before the observations of its turn.
    ///
    /// # Errors
    /// When the sink cannot go on.
    fn renamed(&mut self, workloads: &[Arc<Workload>]) -> io::Result<()> {
        let _ = workloads;
        Ok(())
    }

    /// Telemetry ports to watch from now on besides those watched already. Asked for at every turn: a process that has just
    /// begun connects within the second, and what it says first is not said again.
    fn take_ports(&mut self) -> Vec<u16> {
        Vec::new()
    }

    /// Whether the kernel's counters are wanted as soon as can be; asked at every turn.
    fn wants_counters(&self) -> bool {
        false
    }

    /// Takes the kernel's counters: when they are wanted, and before those of what is long gone are forgotten.
    fn counters(&mut self, session: &mut Session, leaving: &Forgotten) {
        let _ = (session, leaving);
    }

    /// Called once a second, before [`Self::idle`], with the session itself: only it knows what its hooks and counters say.
    fn look(&mut self, session: &Session) {
        let _ = session;
    }

    /// Called once a second, whether anything happened or not. `Break` ends the session.
    ///
    /// # Errors
    /// When something that waited cannot be written.
    fn idle(&mut self) -> io::Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }
}

/// Ends a session from another thread or a signal handler.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks the session to end at its next turn, within 50 ms.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// What is set to ask it, for signal handlers.
    #[must_use]
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    /// Whether it was asked to.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A node being watched.
pub struct Session {
    loaded: Loaded,
    ring: RingReader,
    counters: CounterMaps,
    connections: ConnectionMap,
    ports: PortMap,
    /// Absent when the hook is.
    tunnels: Option<Tunnels>,
    pipeline: Pipeline,
    monitor: Monitor,
    logs: Option<aya_log::EbpfLogger<&'static dyn log::Log>>,
    /// Records made in user space that wait for their turn.
    made: Vec<Bytes>,
    reported_lost: u64,
    next_housekeeping: Mono,
    next_monitor: Mono,
    next_tunnels: Mono,
    names: Arc<LiveNames>,
    /// Kernel functions that were named in a record already.
    named: HashSet<u64>,
    mount: PathBuf,
    another_runs: bool,
    /// Absent when there is no cluster to ask.
    cluster: Option<cluster::Handle>,
    most_waiting: u64,
    /// Most bytes that waited in the ring in this second, and in the last one.
    waiting: (u64, u64),
    leaving: Leaving,
    ring_bytes: u32,
    began: Timestamp,
    /// Open and locked while this session lives, so that no second one watches the same cgroup.
    _locks: Vec<File>,
}

/// Names of drop reasons and kernel functions, from the kernel.
struct LiveNames {
    reasons: HashMap<u32, Arc<str>>,
    symbols: symbols::Symbols,
}

impl correlate::Symbols for Arc<LiveNames> {
    fn drop_reason(&self, code: u32) -> Option<Arc<str>> {
        self.reasons.get(&code).cloned()
    }

    fn function(&self, address: u64) -> Option<Arc<str>> {
        self.symbols.function(address)
    }
}

/// How a session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To watch: alone on its cgroup.
    Watch,
    /// To see what works here, for a moment: beside another one if need be.
    Probe,
}

impl Session {
    /// Loads, attaches and looks around.
    ///
    /// # Errors
    /// See [`SessionError`]; nothing stays attached then.
    pub fn open(config: &Live, purpose: Purpose) -> Result<Self, SessionError> {
        let fs = CgroupFs::find(Path::new("/proc/self/mounts"))?;
        let cgroups = fs.snapshot();
        let attach = attach_to(&config.attach, &fs, &cgroups)?;
        let locks: Result<Vec<File>, SessionError> = attach.iter().map(|path| lock(path)).collect();
        let (locks, another_runs) = match (locks, purpose) {
            (Err(SessionError::Running(_)), Purpose::Probe) => (Vec::new(), true),
            (locks, _) => (locks?, false),
        };
        let mount = fs.path().to_owned();
        let load_config = load_config(config, attach)?;
        let mut loaded = load::load(&load_config)?;
        for loss in privileges::losses() {
            tracing::warn!("{loss}");
        }
        let logs = match config.kernel_log {
            log::LevelFilter::Off => None,
            _ => aya_log::EbpfLogger::init(&mut loaded.ebpf)
                .map_err(|error| tracing::warn!("lines of the kernel side cannot be read: {error}"))
                .ok(),
        };
        let ring = RingReader::new(loaded.take_ring()?);
        let counters = CounterMaps::take(&mut loaded.ebpf)?;
        let connections = ConnectionMap::take(&mut loaded.ebpf)?;
        let ports = PortMap::take(&mut loaded.ebpf, load_config.ports)?;
        let alone = purpose == Purpose::Watch && !another_runs;
        let tunnels = loaded.attached(Hook::Tunnels).then(|| Tunnels::new(alone));

        let now = now();
        let made = cgroups
            .iter()
            .map(|cgroup| Bytes::from(cgroup.record(now)))
            .collect();
        let machine = ThisMachine::new(Some(fs), "/proc");
        if !machine.sees_host_pids() {
            tracing::warn!(
                "this pid namespace is not the host's: names of processes come from records only; run with hostPID"
            );
        }
        let names = Arc::new(LiveNames {
            reasons: std::mem::take(&mut loaded.reasons),
            symbols: std::mem::take(&mut loaded.symbols),
        });
        let mut attributor = Attributor::new(
            attribute::Config::live(vec![config.pod_logs.clone()]),
            Some(Box::new(machine)),
        );
        let cluster = match purpose {
            Purpose::Watch => cluster::start(&config.cluster),
            Purpose::Probe => None,
        };
        if let Some(cluster) = &cluster {
            attributor = attributor.with_names(Box::new(cluster.names()));
        }
        let correlator = Correlator::new(correlate::Config {
            query_timeout: config.dns_timeout,
            ..correlate::Config::default()
        })
        .with_symbols(Box::new(Arc::clone(&names)));
        let mut session = Self {
            loaded,
            ring,
            counters,
            connections,
            ports,
            tunnels,
            pipeline: Pipeline::new(attributor, correlator),
            monitor: Monitor::new(Places::default()),
            logs,
            made,
            reported_lost: 0,
            next_housekeeping: now,
            next_monitor: now.after(Monitor::INTERVAL),
            next_tunnels: now.after(TUNNELS),
            names,
            named: HashSet::new(),
            mount,
            another_runs,
            cluster,
            most_waiting: 0,
            waiting: (0, 0),
            leaving: Leaving::new(now),
            ring_bytes: config.ring_bytes,
            began: Timestamp::now(),
            _locks: locks,
        };
        session.begin_tunnels(config.hooks.contains(&Hook::Tunnels))?;
        session.adopt(&config.ports);
        Ok(session)
    }

    /// Takes over connections that are older than this session.
    fn adopt(&mut self, ports: &BTreeSet<u16>) {
        let adoption = match sockdiag::adopt(ports, &Places::default()) {
            Ok(adoption) => adoption,
            Err(error) => {
                tracing::warn!("connections older than obsflow are not known: {error}");
                return;
            }
        };
        for error in &adoption.failed {
            tracing::warn!("{error}");
        }
        let now = now();
        for connection in &adoption.connections {
            let adopted = connection.adopted(now);
            match self.connections.adopt(&adopted) {
                Ok(true) => self.made.push(Bytes::copy_from_slice(adopted.as_bytes())),
                // A hook saw it begin between attaching and now.
                Ok(false) => {}
                Err(error) => tracing::warn!("a connection older than obsflow cannot be followed: {error}"),
            }
        }
    }

    /// Every hook and what became of it.
    #[must_use]
    pub fn hooks(&self) -> &[(Hook, State)] {
        &self.loaded.hooks
    }

    /// Cgroups that programs are attached to.
    #[must_use]
    pub fn cgroups(&self) -> &[PathBuf] {
        &self.loaded.cgroups
    }

    /// Where cgroup2 is mounted.
    #[must_use]
    pub fn mount(&self) -> &Path {
        &self.mount
    }

    /// Whether another obsflow watches one of these cgroups.
    #[must_use]
    pub fn another_runs(&self) -> bool {
        self.another_runs
    }

    /// The thread that asks the cluster, when there is one to ask.
    #[must_use]
    pub fn cluster_handle(&self) -> Option<&cluster::Handle> {
        self.cluster.as_ref()
    }

    /// What the cluster says, when there is one to ask: the latest snapshot, and whether there is a newer one.
    #[must_use]
    pub fn cluster(&self) -> Option<sync::watch::Receiver<Arc<Cluster>>> {
        self.cluster.as_ref().map(cluster::Handle::subscribe)
    }

    /// How the watches of the cluster are; none when there is no cluster to ask.
    #[must_use]
    pub fn watches(&self) -> Vec<Watch> {
        let latest = self.cluster.as_ref().map(cluster::Handle::latest);
        latest.map_or_else(Vec::new, |latest| latest.watches.clone())
    }

    /// Most bytes that were waiting in the ring when it was looked at.
    #[must_use]
    pub fn most_waiting(&self) -> u64 {
        self.most_waiting
    }

    /// Most bytes that were waiting in the ring in the last second.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting.1
    }

    /// Size of the ring, in bytes.
    #[must_use]
    pub fn ring_bytes(&self) -> u64 {
        self.ring_bytes.into()
    }

    /// Whose a cgroup is.
    pub fn workload_of(&mut self, cgroup: u64) -> Option<Arc<Workload>> {
        self.pipeline.workload_of(cgroup, now())
    }

    /// What went through the pipeline.
    #[must_use]
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// The kernel side's own counters, exact.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.counters.stats()
    }

    /// Counter maps, exact.
    #[must_use]
    pub fn counters(&self) -> &CounterMaps {
        &self.counters
    }

    /// Connections followed in the kernel.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Cost of every loaded program, by name.
    #[must_use]
    pub fn costs(&self) -> Vec<(String, info::Cost)> {
        self.loaded
            .ebpf
            .programs()
            .filter_map(|(name, program)| {
                let cost = info::cost(program.fd().ok()?).ok()?;
                Some((name.to_owned(), cost))
            })
            .collect()
    }

    /// Runs until `stop`, until the sink breaks, or until it fails. What the ring holds at the end is still delivered.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn run(&mut self, stop: &Stop, sink: &mut dyn Sink) -> Result<(), SessionError> {
        if sink.wants_lifecycle() {
            self.pipeline.keep_lifecycle();
        }
        if sink.wants_lifecycle() || sink.wants_records() {
            self.made
                .extend(running::records(Path::new("/proc"), &self.mount, now()));
        }
        let mut batch = Batch::default();
        let mut quiet = 0u32;
        loop {
            let ending = stop.is_stopped();
            let taken = self.turn(&mut batch, sink)?;
            if batch.ended {
                return Ok(());
            }
            // Fewer than fit means that the ring was empty: there may be traffic for ever, but this was all until now.
            if ending && taken < BATCH {
                // What was lost, and what failed, until this very moment.
                self.housekeeping(now());
                self.turn(&mut batch, sink)?;
                return Ok(());
            }
            if taken < BATCH && !ending {
                quiet = if taken == 0 { quiet.saturating_add(1) } else { 0 };
                std::thread::sleep(if quiet > 50 { QUIET_TICK } else { TICK });
            }
        }
    }

    /// One turn: what waits in the ring, then what time brings. How many records the ring gave.
    fn turn(&mut self, batch: &mut Batch, sink: &mut dyn Sink) -> Result<usize, SessionError> {
        let now = now();
        if now >= self.next_housekeeping {
            self.next_housekeeping = now.after(HOUSEKEEPING);
            self.housekeeping(now);
            self.waiting = (0, self.waiting.0);
            batch.renamed.clear();
            self.pipeline.take_renamed(now, &mut batch.renamed);
            if !batch.renamed.is_empty() {
                sink.renamed(&batch.renamed)?;
            }
            sink.look(self);
            batch.ended |= sink.idle()?.is_break();
        }
        self.watch_wanted(&sink.take_ports());
        batch.records.clear();
        batch.observations.clear();
        batch.records.append(&mut self.made);
        let taken = self.ring.drain(BATCH, &mut batch.records);
        let waiting = self.ring.last_drained_bytes();
        self.most_waiting = self.most_waiting.max(waiting);
        self.waiting.0 = self.waiting.0.max(waiting);
        if sink.wants_records() {
            self.name_for_capture(&mut batch.records, now);
            sink.records(&batch.records)?;
        }
        let (monitor, leaving) = (&mut self.monitor, &mut self.leaving);
        let mut on = |event: &Event| {
            monitor.on(event);
            leaving.on(event);
        };
        if !sink.wants_observations() {
            let some = !batch.records.is_empty();
            for record in batch.records.drain(..) {
                self.pipeline.pass(record, &mut on);
            }
            batch.ended |= some && sink.observations(&[])?.is_break();
            self.count(sink, now);
            return Ok(taken);
        }
        for record in batch.records.drain(..) {
            self.pipeline.feed_with(record, &mut batch.observations, &mut on);
        }
        if sink.wants_lifecycle() {
            batch.lifecycle.clear();
            self.pipeline.take_lifecycle(&mut batch.lifecycle);
            if !batch.lifecycle.is_empty() {
                sink.lifecycle(&batch.lifecycle)?;
            }
        }
        if taken < BATCH {
            self.pipeline.expire(now, &mut batch.observations);
        }
        if !batch.observations.is_empty() {
            batch.ended |= sink.observations(&batch.observations)?.is_break();
        }
        self.count(sink, now);
        Ok(taken)
    }

    /// Hands out the kernel's counters when they are wanted, and lets go of those of cgroups and tunnel endpoints that are gone.
    fn count(&mut self, sink: &mut dyn Sink, now: Mono) {
        let mut due = Forgotten::default();
        if self.leaving.take_look(now) {
            let counts = self.counters.counts();
            for cgroup in counts.cgroups() {
                if self.pipeline.workload_of(cgroup, now).is_none() {
                    self.leaving.add(cgroup, now);
                }
            }
            due.tunnels = leaving::silent(&counts.tunnels, now);
        }
        due.cgroups = self.leaving.take_due(now);
        if due.is_empty() && !sink.wants_counters() {
            return;
        }
        sink.counters(self, &due);
        self.counters.forget(&due);
    }

    fn housekeeping(&mut self, now: Mono) {
        for failed in self.connections.take_failed(&mut self.counters, now) {
            let errno = route_errno(failed.conn.pid, ip(failed.conn.asked.addr));
            self.made.push(Bytes::from(failed.record(errno)));
        }
        let lost = self.counters.lost_total() + self.recursion_misses();
        if lost > self.reported_lost {
            self.made.push(lost_record(lost - self.reported_lost, now));
            self.reported_lost = lost;
        }
        if now >= self.next_monitor {
            self.next_monitor = now.after(Monitor::INTERVAL);
            if !self.monitor.is_idle() {
                let records = self.monitor.poll(now);
                let gone = self.monitor.take_gone();
                // Tracepoints see the end of every connection, also of those that the monitor cannot find.
                if !self.loaded.attached(Hook::Tcp) {
                    for cookie in gone {
                        self.connections.forget_adopted(cookie);
                    }
                }
                self.made.extend(
                    records
                        .iter()
                        .map(|record| Bytes::copy_from_slice(record.as_bytes())),
                );
            }
        }
        self.tend_tunnels(now);
        if let Some(logs) = &mut self.logs {
            logs.flush();
        }
    }

    /// Puts names in front of the records that need them: a replay has no kernel and no log folders to ask.
    fn name_for_capture(&mut self, records: &mut Vec<Bytes>, now: Mono) {
        let mut names = Vec::new();
        if self.named.is_empty() {
            for (code, text) in &self.names.reasons {
                names.push(name_record(name_space::DROP_REASON, u64::from(*code), text, now));
            }
            // Address 0 ends a stack and is never named: it marks that the reasons were.
            self.named.insert(0);
        }
        for drop in records
            .iter()
            .filter_map(|record| record::Drop::read_from_prefix(record).ok())
        {
            if drop.0.header.kind != kind::DROP {
                continue;
            }
            for address in drop
                .0
                .stack
                .iter()
                .take_while(|address| **address != 0)
                .chain([&drop.0.location])
            {
                if self.named.len() < MAX_NAMED
                    && self.named.insert(*address)
                    && let Some(text) = self.names.symbols.function(*address)
                {
                    names.push(name_record(name_space::FUNCTION, *address, &text, now));
                }
            }
        }
        for pod in self.pipeline.take_learned() {
            names.push(pod_record(&pod, now));
        }
        records.splice(0..0, names);
    }

    /// Calls that the kernel skipped because the same program was running on that CPU already.
    #[must_use]
    pub fn recursion_misses(&self) -> u64 {
        self.loaded
            .ebpf
            .programs()
            .filter_map(|(_, program)| info::cost(program.fd().ok()?).ok())
            .map(|cost| cost.recursion_misses)
            .sum()
    }
}

/// What one turn works on, kept to save allocations.
#[derive(Default)]
struct Batch {
    records: Vec<Bytes>,
    observations: Vec<Observation>,
    lifecycle: Vec<Lifecycle>,
    renamed: Vec<Arc<Workload>>,
    ended: bool,
}

/// `CLOCK_MONOTONIC`, the clock of the kernel side.
#[must_use]
pub fn now() -> Mono {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Mono(seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0))
}
