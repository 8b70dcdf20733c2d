//! Whose event it was: cgroup id -> path -> pod, container, unit; pid -> process.
//!
//! The cgroup in the record comes first, because it holds for pods on the host's network and for processes that are
//! gone; then the process; then the address, if it is a pod's; else the workload stays unknown. Names come from the cluster's
//! latest snapshot (the Kubernetes API, then the container runtime), then from log folders; what is named late is renamed.
//! The clock is the events' own, so a replay attributes as the live run did, and it asks nothing of the machine it runs on.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::model::Mono;
use crate::model::attributed::Attributed;
use crate::model::event::{Comm, Event, EventBody};
use crate::model::observation::Observation;
use crate::model::workload::{Process, Workload, WorkloadKind};

pub mod cgroup_path;
mod destination;
mod machine;
mod names;
mod pods;
mod processes;

pub use machine::{Machine, ThisMachine};
pub use names::Names;
pub use pods::PodName;

use destination::Destinations;
use names::ClusterNames;
use pods::Pods;
use processes::{ByPid, Processes};

/// Where the kubelet keeps its log folders.
pub const POD_LOGS: &str = "/var/log/pods";
/// Between two tries to find a cgroup that could not be found.
const RETRY: Duration = Duration::from_secs(1);
/// A name that no record confirmed for this long is read again from `/proc`.
const NAME_AGE: Duration = Duration::from_secs(10);
/// Workloads that wait for [`Attributor::take_renamed`].
const MAX_RENAMED: usize = 65_536;

/// Limits and sources of an [`Attributor`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Folders laid out like `/var/log/pods`; none in a replay.
    pub pod_logs: Vec<PathBuf>,
    /// How long a removed cgroup still answers.
    pub grace: Duration,
    /// Cgroups remembered, removed ones among them.
    pub max_cgroups: usize,
    /// Processes remembered.
    pub max_processes: usize,
}

impl Config {
    /// For events of this machine.
    #[must_use]
    pub fn live(pod_logs: Vec<PathBuf>) -> Self {
        Self {
            pod_logs,
            grace: Duration::from_secs(60),
            max_cgroups: 65_536,
            max_processes: 16_384,
        }
    }

    /// For events from a capture file: names come from the capture only.
    #[must_use]
    pub fn replay() -> Self {
        Self::live(Vec::new())
    }
}

/// What attribution did, for `obsflow status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Cgroups known now.
    pub cgroups: usize,
    /// Processes known now.
    pub processes: usize,
    /// Events whose workload stayed unknown.
    pub unknown: u64,
    /// Cgroups that announced themselves in no record and were asked of the machine.
    pub late: u64,
    /// Processes attributed by pid because their sockets are in the root cgroup (hosts with cgroup v1 only) or in none:
    /// best effort, a process that is gone cannot be asked.
    pub by_pid: u64,
    /// Events whose workload is only known by its address: the pod, best effort.
    pub by_address: u64,
    /// Cgroups not remembered because the table was full.
    pub full: u64,
}

/// Turns events into workloads and processes.
pub struct Attributor {
    config: Config,
    machine: Option<Box<dyn Machine>>,
    cgroups: HashMap<u64, Entry, RandomState>,
    gone: VecDeque<(Mono, u64)>,
    names: ClusterNames,
    pods: Pods,
    processes: Processes,
    destinations: Destinations,
    /// Named since they were last taken.
    renamed: Vec<Arc<Workload>>,
    /// Snapshots, and names from log folders, that all cgroups were last looked through for.
    swept: (u64, u64),
    unknown: Arc<Workload>,
    stats: Stats,
}

#[derive(Debug)]
struct Entry {
    workload: Arc<Workload>,
    state: State,
    gone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No pod: nothing better will come.
    Settled,
    /// A pod or a container.
    Named {
        /// Snapshots there had been when its names were looked up.
        cluster: u64,
        /// Names that log folders had told by then; `None` when nothing is missing that they could tell.
        logs: Option<u64>,
        /// What they said of the container's name.
        folder: Folder,
    },
    /// The root cgroup: on a v1-only host every socket is in it.
    Root,
    /// Could not be found; asked again after this moment.
    Unknown(Mono),
}

/// What a pod's log folder said of the name of one of its containers. It is asked once: a container's folder is there before
/// the container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Folder {
    /// Not asked.
    Unasked,
    /// Asked in vain, or somebody else knows better.
    Silent,
    /// The name that it has.
    Told,
}

impl Attributor {
    /// `machine` answers for what no record tells; `None` in a replay.
    #[must_use]
    pub fn new(config: Config, machine: Option<Box<dyn Machine>>) -> Self {
        Self {
            pods: Pods::new(config.pod_logs.clone()),
            processes: Processes::new(config.max_processes),
            config,
            machine,
            cgroups: HashMap::default(),
            gone: VecDeque::new(),
            names: ClusterNames::default(),
            destinations: Destinations::default(),
            renamed: Vec::new(),
            swept: (0, 0),
            unknown: Arc::new(Workload::default()),
            stats: Stats::default(),
        }
    }

    /// Takes names of pods, containers and destinations from the snapshots of `names`.
    #[must_use]
    pub fn with_names(mut self, names: Box<dyn Names>) -> Self {
        self.names = ClusterNames::new(Some(names));
        self.names.look();
        self
    }

    /// Takes in what the event tells about cgroups, pods and processes, and says whose it is; a process without a
    /// known name is none. Every event must pass through here, in order.
    pub fn on(&mut self, event: &Event) -> (Arc<Workload>, Option<Process>) {
        self.expire(event.at);
        self.names.look();
        match &event.body {
            EventBody::Cgroup { path } => self.add_cgroup(event.cgroup, path, event.at),
            EventBody::Exec { .. } if event.pid != 0 => self.processes.exec(event.pid),
            EventBody::Pod { uid, namespace, name } => self.learn_pod(uid, namespace, name),
            _ => {}
        }
        let process = self.process(event);
        let workload = self.workload(event);
        match &event.body {
            EventBody::CgroupGone => self.remove_cgroup(event.cgroup, event.at),
            EventBody::Exit => self.processes.exit(event.pid, event.at),
            _ => {}
        }
        if workload.kind == WorkloadKind::Unknown {
            self.stats.unknown += 1;
        }
        (workload, process)
    }

    /// [`on`](Self::on), in the form that correlation takes.
    pub fn attribute(&mut self, event: Event) -> Attributed {
        let (workload, process) = self.on(&event);
        Attributed {
            event,
            workload,
            process,
        }
    }

    /// Whose a cgroup is: one that is known, removed ones among them for a while, or that the machine knows.
    pub fn of_cgroup(&mut self, id: u64, now: Mono) -> Option<Arc<Workload>> {
        self.expire(now);
        let known = |entry: &&Entry| !matches!(entry.state, State::Unknown(_));
        if let Some(entry) = self.cgroups.get(&id).filter(known) {
            return Some(Arc::clone(&entry.workload));
        }
        let path = self.machine.as_mut()?.cgroup_path(id)?;
        self.add_cgroup(id, &path, now);
        self.cgroups.get(&id).map(|entry| Arc::clone(&entry.workload))
    }

    /// What attribution did so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            cgroups: self.cgroups.len(),
            processes: self.processes.len(),
            ..self.stats
        }
    }

    /// Names of pods learned since the last call, for a capture file.
    pub fn take_learned(&mut self) -> Vec<PodName> {
        self.pods.take_learned()
    }

    fn add_cgroup(&mut self, id: u64, path: &str, now: Mono) {
        if id == 0 {
            return;
        }
        if self.cgroups.len() >= self.config.max_cgroups && !self.cgroups.contains_key(&id) {
            self.drop_oldest_gone();
            if self.cgroups.len() >= self.config.max_cgroups {
                self.stats.full += 1;
                return;
            }
        }
        let (workload, named) = self.identify(path, now);
        self.names.miss(&workload);
        let state = if path == "/" { State::Root } else { named };
        self.cgroups.insert(
            id,
            Entry {
                workload: Arc::new(workload),
                state,
                gone: false,
            },
        );
    }

    fn remove_cgroup(&mut self, id: u64, at: Mono) {
        if let Some(entry) = self.cgroups.get_mut(&id)
            && !entry.gone
        {
            entry.gone = true;
            self.gone.push_back((at, id));
        }
    }

    fn expire(&mut self, now: Mono) {
        while self
            .gone
            .front()
            .is_some_and(|(at, _)| now.since(*at) >= self.config.grace)
        {
            self.drop_oldest_gone();
        }
        self.processes.expire(now);
    }

    fn drop_oldest_gone(&mut self) {
        if let Some((_, id)) = self.gone.pop_front()
            && self.cgroups.get(&id).is_some_and(|entry| entry.gone)
        {
            self.cgroups.remove(&id);
        }
    }

    fn learn_pod(&mut self, uid: &str, namespace: &str, pod: &str) {
        let name = PodName {
            uid: Arc::from(uid),
            namespace: Arc::from(namespace),
            pod: Arc::from(pod),
        };
        self.pods.learn(name, None);
    }

    /// The workload at `path`, and what may still be missing of its names.
    fn identify(&mut self, path: &str, now: Mono) -> (Workload, State) {
        let mut workload = cgroup_path::parse(path);
        let state = self.name(&mut workload, now, None);
        (workload, state)
    }

    /// Fills in names: the cluster's, else those of log folders. What is known already stays where neither knows better.
    /// `before` is what its log folder said of its container, when it is not new.
    fn name(&mut self, workload: &mut Workload, now: Mono, before: Option<Folder>) -> State {
        if workload.pod_uid.is_none() && workload.container_id.is_none() {
            return State::Settled;
        }
        let cluster = self.names.generation;
        let mut logs = None;
        let was_named = workload.pod.is_some();
        if self.names.fill(workload) {
            if !was_named {
                self.pods.note(workload);
            }
        } else if !was_named && let Some(uid) = workload.pod_uid.clone() {
            match self.pods.find(&uid, now, before.is_none()) {
                Some(name) => {
                    workload.namespace = Some(Arc::clone(&name.namespace));
                    workload.pod = Some(Arc::clone(&name.pod));
                }
                None => logs = Some(self.pods.generation),
            }
        }
        let folder = self.folder(workload, before.unwrap_or(Folder::Unasked));
        State::Named {
            cluster,
            logs,
            folder,
        }
    }

    /// Takes a container's name from the pod's log folder where the cluster does not tell whose ids are whose.
    fn folder(&self, workload: &mut Workload, before: Folder) -> Folder {
        let (Some(uid), Some(id)) = (&workload.pod_uid, &workload.container_id) else {
            return Folder::Silent;
        };
        match self.names.has(uid, id) {
            Some(true) => return Folder::Silent,
            Some(false) => {
                // None of the pod's containers, but its sandbox: the folder spoke of another one.
                if before == Folder::Told {
                    workload.container = None;
                    return Folder::Silent;
                }
                return before;
            }
            None => {}
        }
        if before != Folder::Unasked || workload.container.is_some() || !self.pods.has_folder(uid) {
            return before;
        }
        workload.container = self.pods.only_container(uid);
        match workload.container {
            Some(_) => Folder::Told,
            None => Folder::Silent,
        }
    }

    /// Whether looking again may tell more.
    fn is_due(&self, state: State, now: Mono) -> bool {
        match state {
            State::Named { cluster, logs, .. } => {
                cluster != self.names.generation
                    || logs.is_some_and(|logs| logs != self.pods.generation || self.pods.due(now))
            }
            State::Settled | State::Root | State::Unknown(_) => false,
        }
    }

    /// Names a cgroup's workload again.
    fn rename(&mut self, cgroup: u64, now: Mono) -> Option<Arc<Workload>> {
        let entry = self.cgroups.get(&cgroup)?;
        let known = Arc::clone(&entry.workload);
        let folder = match entry.state {
            // What is over keeps its name: the ids that are known now are those of the next one.
            State::Named { folder, .. } if !entry.gone => folder,
            _ => Folder::Silent,
        };
        let mut workload = Workload::clone(&known);
        let state = self.name(&mut workload, now, Some(folder));
        let entry = self.cgroups.get_mut(&cgroup)?;
        entry.state = state;
        if workload != *known {
            entry.workload = Arc::new(workload);
            if self.renamed.len() < MAX_RENAMED {
                self.renamed.push(Arc::clone(&entry.workload));
            }
        }
        Some(Arc::clone(&entry.workload))
    }

    /// Adds to `out` the workloads whose names became known, or others, since the last call. What is known of pods that say
    /// nothing is looked up here; call it every second or so.
    pub fn take_renamed(&mut self, now: Mono, out: &mut Vec<Arc<Workload>>) {
        self.names.look();
        let known = (self.names.generation, self.pods.generation);
        if self.swept != known {
            self.swept = known;
            let due: Vec<u64> = self
                .cgroups
                .iter()
                .filter(|(_, entry)| self.is_due(entry.state, now))
                .map(|(id, _)| *id)
                .collect();
            for cgroup in due {
                self.rename(cgroup, now);
            }
        }
        out.append(&mut self.renamed);
    }

    /// Completes what was made of events: with the newest names, since what was begun long ago has those of then, and with
    /// what the other side's address belongs to.
    pub fn complete(&mut self, observation: &mut Observation) {
        if let Some(entry) = self.cgroups.get(&observation.cgroup)
            && !Arc::ptr_eq(&entry.workload, &observation.workload)
            && entry.workload.container_key() == observation.workload.container_key()
        {
            observation.workload = Arc::clone(&entry.workload);
        }
        if self.names.generation > 0 {
            let cluster = self.names.latest();
            observation.remote_is = self.destinations.of(observation, cluster, self.names.generation);
        }
    }

    fn workload(&mut self, event: &Event) -> Arc<Workload> {
        let found = if event.cgroup == 0 {
            self.of_process(event)
        } else {
            match self.cgroups.get(&event.cgroup) {
                Some(entry) if entry.state == State::Settled => return Arc::clone(&entry.workload),
                Some(entry) => {
                    let (workload, state) = (Arc::clone(&entry.workload), entry.state);
                    self.unsettled(event, workload, state)
                }
                None => self.late(event),
            }
        };
        if found.kind != WorkloadKind::Unknown || self.names.generation == 0 {
            return found;
        }
        let Some(pod) = own_address(&event.body).and_then(|ip| self.names.at(ip)) else {
            return found;
        };
        self.stats.by_address += 1;
        pod
    }

    fn unsettled(&mut self, event: &Event, known: Arc<Workload>, state: State) -> Arc<Workload> {
        match state {
            State::Settled => known,
            State::Root => self.by_pid(event).unwrap_or(known),
            State::Unknown(retry) if event.at < retry => known,
            State::Unknown(_) => self.late(event),
            State::Named { .. } if !self.is_due(state, event.at) => known,
            State::Named { .. } => self.rename(event.cgroup, event.at).unwrap_or(known),
        }
    }

    /// A cgroup that announced itself in no record.
    fn late(&mut self, event: &Event) -> Arc<Workload> {
        let Some(machine) = &mut self.machine else {
            return Arc::clone(&self.unknown);
        };
        let id = event.cgroup;
        if let Some(path) = machine.cgroup_path(id) {
            self.stats.late += 1;
            self.add_cgroup(id, &path, event.at);
            if let Some(entry) = self.cgroups.get(&id) {
                return Arc::clone(&entry.workload);
            }
            return Arc::new(self.identify(&path, event.at).0);
        }
        let unknown = Arc::clone(&self.unknown);
        if self.cgroups.len() < self.config.max_cgroups {
            let state = State::Unknown(event.at.after(RETRY));
            self.cgroups.insert(
                id,
                Entry {
                    workload: Arc::clone(&unknown),
                    state,
                    gone: false,
                },
            );
            // It answers no more than a removed one would, and must not stay forever.
            self.remove_cgroup(id, event.at);
        } else {
            self.stats.full += 1;
        }
        unknown
    }

    /// The record carries no cgroup: what other records of the same process carried, then `/proc`.
    fn of_process(&mut self, event: &Event) -> Arc<Workload> {
        let cgroup = self
            .processes
            .get_mut(event.pid)
            .map_or(0, |process| process.cgroup);
        if let Some(entry) = self.cgroups.get(&cgroup)
            && entry.state != State::Root
        {
            return Arc::clone(&entry.workload);
        }
        self.by_pid(event).unwrap_or_else(|| Arc::clone(&self.unknown))
    }

    fn by_pid(&mut self, event: &Event) -> Option<Arc<Workload>> {
        if event.pid == 0 {
            return None;
        }
        let machine = self.machine.as_mut()?;
        let process = self.processes.get_mut(event.pid)?;
        let cluster = self.names.generation;
        if let Some(found) = process
            .by_pid
            .as_ref()
            .filter(|found| event.at < found.until && found.cluster == cluster)
        {
            return found.workload.clone();
        }
        if process.ended {
            return process.by_pid.as_ref().and_then(|found| found.workload.clone());
        }
        let text = machine.cgroups(event.pid);
        let path = text.as_deref().and_then(best_path);
        let again = process.by_pid.is_some();
        let identified = path.map(|path| self.identify(path, event.at));
        if identified.is_some() && !again {
            self.stats.by_pid += 1;
        }
        let (workload, until) = match identified {
            // A pod whose names are not there yet is asked again.
            Some((workload, State::Named { logs: Some(_), .. })) => {
                (Some(Arc::new(workload)), event.at.after(RETRY))
            }
            Some((workload, _)) => (Some(Arc::new(workload)), Mono(u64::MAX)),
            None => (None, Mono(u64::MAX)),
        };
        if let Some(process) = self.processes.get_mut(event.pid) {
            process.by_pid = Some(ByPid {
                workload: workload.clone(),
                until,
                cluster,
            });
        }
        workload
    }

    fn process(&mut self, event: &Event) -> Option<Process> {
        if event.pid == 0 {
            return None;
        }
        let (comm, is_traffic) = comm(&event.body);
        if !is_traffic {
            // Not worth an entry: every process of the machine comes by here.
            let known = self.processes.get_mut(event.pid)?;
            return known.process(event.pid);
        }
        let process = self.processes.entry(event.pid);
        if event.cgroup != 0 {
            process.cgroup = event.cgroup;
        }
        if let Some(comm) = comm.filter(|comm| !comm.is_empty()) {
            process.named(comm, event.at);
        } else if let Some(machine) = &mut self.machine
            && !process.ended
            && (process.at == Mono(0) || event.at.since(process.at) > NAME_AGE)
        {
            process.at = event.at;
            if let Some(comm) = machine.comm(event.pid) {
                process.named(&comm, event.at);
            }
        }
        process.process(event.pid)
    }
}

/// The workload's own address in a record. Of a dropped packet it is the source: who it was for is not said to be here.
fn own_address(body: &EventBody) -> Option<IpAddr> {
    let ends = match body {
        EventBody::Attempt { ends, .. }
        | EventBody::Established { ends, .. }
        | EventBody::Retransmit { ends, .. }
        | EventBody::Dns { ends, .. }
        | EventBody::SocketError { ends, .. }
        | EventBody::Adopted { ends, .. } => ends,
        EventBody::Close(close) => &close.ends,
        EventBody::TcpInfo(info) => &info.ends,
        EventBody::Drop(packet) => &packet.ends,
        _ => return None,
    };
    Some(ends.local.ip())
}

/// The process's name in the record, and whether the record is one that should have a process.
fn comm(body: &EventBody) -> (Option<&Comm>, bool) {
    match body {
        EventBody::Attempt { comm, .. }
        | EventBody::ConnectFailed { comm, .. }
        | EventBody::Exec { comm }
        | EventBody::Running { comm, .. }
        | EventBody::Dns { comm, .. }
        | EventBody::Adopted { comm, .. } => (Some(comm), true),
        EventBody::Close(close) => (Some(&close.comm), true),
        EventBody::Cgroup { .. }
        | EventBody::CgroupGone
        | EventBody::Exit
        | EventBody::Pod { .. }
        | EventBody::Name { .. }
        | EventBody::Lost { .. } => (None, false),
        _ => (None, true),
    }
}

/// The most telling path of a `/proc/<pid>/cgroup`: the v2 one unless it is the root, then a v1 one that names a pod
/// or a container, then systemd's.
fn best_path(text: &str) -> Option<&str> {
    let lines = || {
        text.lines().filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            (path != "/").then_some((controllers, path))
        })
    };
    let unified = lines().find(|(controllers, _)| controllers.is_empty());
    let telling = || {
        lines().find(|(_, path)| {
            matches!(
                cgroup_path::parse(path).kind,
                WorkloadKind::Pod | WorkloadKind::Container
            )
        })
    };
    let systemd = || {
        lines().find(|(controllers, path)| {
            *controllers == "name=systemd" && cgroup_path::parse(path).kind == WorkloadKind::Unit
        })
    };
    unified.or_else(telling).or_else(systemd).map(|(_, path)| path)
}

#[cfg(test)]
mod tests;
