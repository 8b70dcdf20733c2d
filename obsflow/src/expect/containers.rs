//! Processes that come and go to what their containers are expected to export.

mod looks;

use std::collections::hash_map::{Entry, RandomState};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use looks::LOADED_AFTER;

use super::Config;
use super::injection;
use super::profile::{self, Profile};
use super::reader::{Outcome, Raw, Reader};
use super::tracked::{Known, State, Tracked};
use crate::model::cluster::Cluster;
use crate::model::expectation::{ContainerKey, ExpectationChange};
use crate::model::lifecycle::{Lifecycle, Step};
use crate::model::{Mono, Workload};

/// How long a container runtime may take from a container's first process to its program.
const CREATED: Duration = Duration::from_secs(5);
/// Processes waiting to be read.
const MAX_QUEUE: usize = 65_536;
/// Profiles remembered as a number each; dead ones are swept when there are twice as many as before.
const MIN_SWEEP: usize = 1024;
/// Between two looks at a process that could not be read because its container had too many.
const LATER: Duration = Duration::from_secs(2);

/// What was done and left out, for `obsflow status` and the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Containers, units and cgroups followed now.
    pub containers: usize,
    /// Processes followed now.
    pub processes: usize,
    /// Processes read.
    pub read: u64,
    /// Processes that were gone before they could be read.
    pub gone: u64,
    /// Processes that may not be read.
    pub unreadable: u64,
    /// Processes whose environment had been overwritten.
    pub overwritten: u64,
    /// Processes not read because their container starts too many, or too many waited.
    pub skipped: u64,
    /// Containers not followed because there were too many.
    pub forgotten: u64,
}

/// Follows processes and says what their containers are expected to export.
pub struct Expectations {
    config: Config,
    reader: Reader,
    queue: VecDeque<u32>,
    queued: HashSet<u32>,
    containers: HashMap<ContainerKey, Tracked>,
    by_pid: HashMap<u32, ContainerKey>,
    /// A container's first cgroup.
    by_cgroup: HashMap<u64, ContainerKey>,
    /// Containers of which something changed.
    changed: Vec<ContainerKey>,
    /// Containers whose last known process ended.
    emptied: Vec<(ContainerKey, Mono)>,
    ended: Vec<ExpectationChange>,
    /// Processes to look at again.
    later: VecDeque<(Mono, u32)>,
    /// Containers in which an SDK may be loaded by then, with the number of the look.
    loading: BTreeMap<(Mono, ContainerKey), usize>,
    /// Profiles by their fingerprint: replicas share one.
    profiles: HashMap<u64, Weak<Profile>>,
    /// What the cluster said last.
    cluster: Arc<Cluster>,
    sweep_at: usize,
    fingerprints: RandomState,
    stats: Stats,
}

impl Expectations {
    /// Follows nothing yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            reader: Reader::new(config.proc.clone()),
            config,
            queue: VecDeque::new(),
            queued: HashSet::new(),
            containers: HashMap::new(),
            by_pid: HashMap::new(),
            by_cgroup: HashMap::new(),
            changed: Vec::new(),
            emptied: Vec::new(),
            ended: Vec::new(),
            later: VecDeque::new(),
            loading: BTreeMap::new(),
            profiles: HashMap::new(),
            cluster: Arc::default(),
            sweep_at: MIN_SWEEP,
            fingerprints: RandomState::new(),
            stats: Stats::default(),
        }
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            containers: self.containers.len(),
            processes: self.by_pid.len(),
            ..self.stats
        }
    }

    /// Whether [`Self::work`] has something to do at once.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !(self.queue.is_empty()
            && self.changed.is_empty()
            && self.emptied.is_empty()
            && self.ended.is_empty())
    }

    /// Takes in that a process or cgroup came or went. Reads nothing: that is for [`Self::work`].
    pub fn on(&mut self, step: &Lifecycle) {
        match step.what {
            Step::Exec { .. } => self.began(step, None),
            Step::Running { began, .. } => self.began(step, Some(began)),
            Step::Exit => self.exited(step.pid, step.at),
            Step::CgroupGone => self.cgroup_gone(step.cgroup, step.at),
        }
    }

    fn began(&mut self, step: &Lifecycle, listed: Option<Mono>) {
        let Some(key) = key_of(&step.workload) else { return };
        if step.pid == 0 {
            return;
        }
        // A pid that is used again, or a process that was moved.
        if self.by_pid.get(&step.pid).is_some_and(|before| *before != key) {
            self.exited(step.pid, step.at);
        }
        let count = self.containers.len();
        let tracked = match self.containers.entry(key.clone()) {
            Entry::Occupied(tracked) => tracked.into_mut(),
            Entry::Vacant(_) if count >= self.config.max_containers => {
                self.stats.forgotten += 1;
                return;
            }
            Entry::Vacant(new) => {
                let mut tracked = Tracked::new(Arc::clone(&step.workload), step.cgroup, step.at);
                tracked.injection = injection::missing(&self.cluster, &key.0);
                tracked.from_exec = listed.is_none();
                tracked.listed = listed.is_some().then_some(step.at);
                if step.cgroup != 0 {
                    self.by_cgroup.insert(step.cgroup, key.clone());
                }
                new.insert(tracked)
            }
        };
        if step.workload.supersedes(&tracked.workload) {
            tracked.workload = Arc::clone(&step.workload);
            self.changed.push(key.clone());
        }
        let before = tracked.get_mut(step.pid).map(|known| known.began);
        // It began while processes were being listed: its exec was on the way already, or its first process had been made and
        // waited, in its cgroup, for the program to become.
        let is_program =
            |listed: Mono| step.at <= listed || before.is_some_and(|before| step.at.since(before) <= CREATED);
        if listed.is_none()
            && tracked.listed.is_some_and(is_program)
            && tracked.processes.iter().all(|known| known.pid == step.pid)
        {
            tracked.from_exec = true;
        }
        let known = Known {
            pid: step.pid,
            cgroup: step.cgroup,
            began: listed.or(before).unwrap_or(step.at),
            state: State::Unread,
        };
        if !tracked.add(known) {
            self.stats.skipped += 1;
            return;
        }
        self.by_pid.insert(step.pid, key.clone());
        if !self.config.host_pids {
            self.changed.push(key);
            return;
        }
        self.enqueue(step.pid);
    }

    /// Takes what the cluster says now: annotations may ask for an SDK that a container does not have.
    pub fn cluster(&mut self, cluster: Arc<Cluster>) {
        let before = std::mem::replace(&mut self.cluster, cluster);
        let now = &self.cluster;
        if Arc::ptr_eq(&before.pods, &now.pods) && Arc::ptr_eq(&before.surroundings, &now.surroundings) {
            return;
        }
        for (key, tracked) in &mut self.containers {
            let missing = injection::missing(now, &key.0);
            if tracked.injection != missing {
                tracked.injection = missing;
                self.changed.push(key.clone());
            }
        }
    }

    /// More became known of what a container is called: rules that select it by name may apply now.
    pub fn renamed(&mut self, workload: &Arc<Workload>) {
        let Some(key) = key_of(workload) else { return };
        if let Some(tracked) = self.containers.get_mut(&key)
            && workload.supersedes(&tracked.workload)
        {
            tracked.workload = Arc::clone(workload);
            self.changed.push(key);
        }
    }

    fn enqueue(&mut self, pid: u32) {
        if self.queue.len() >= MAX_QUEUE {
            self.stats.skipped += 1;
        } else if self.queued.insert(pid) {
            self.queue.push_back(pid);
        }
    }

    fn exited(&mut self, pid: u32, at: Mono) {
        let Some(key) = self.by_pid.remove(&pid) else {
            return;
        };
        let Some(tracked) = self.containers.get_mut(&key) else {
            return;
        };
        tracked.remove(pid);
        if tracked.processes.is_empty() {
            self.emptied.push((key, at));
        } else if tracked
            .reported
            .as_ref()
            .is_none_or(|reported| reported.pid == pid)
        {
            self.changed.push(key);
        }
    }

    fn cgroup_gone(&mut self, cgroup: u64, at: Mono) {
        let Some(key) = self.by_cgroup.remove(&cgroup) else {
            return;
        };
        let Some(tracked) = self.containers.get_mut(&key) else {
            return;
        };
        // Nothing can be left in it; a container may have others.
        let left: Vec<u32> = tracked
            .processes
            .iter()
            .filter(|known| known.cgroup == cgroup)
            .map(|known| known.pid)
            .collect();
        for pid in left {
            tracked.remove(pid);
            self.by_pid.remove(&pid);
        }
        if tracked.processes.is_empty() {
            self.forget(&key, at);
        }
    }

    fn forget(&mut self, key: &ContainerKey, at: Mono) {
        let Some(tracked) = self.containers.remove(key) else {
            return;
        };
        self.by_cgroup.remove(&tracked.cgroup);
        for known in &tracked.processes {
            self.by_pid.remove(&known.pid);
        }
        // Of those that nothing is expected of, too: they may have been seen to export.
        self.ended.push(ExpectationChange::Gone { key: key.clone(), at });
    }

    /// Reads what waits, no more than the configuration allows in one call, and adds what changed to `out`.
    pub fn work(&mut self, now: Mono, out: &mut Vec<ExpectationChange>) {
        let begun = Instant::now();
        for (key, at) in std::mem::take(&mut self.emptied) {
            self.look_whether_empty(&key, at);
        }
        while self.later.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, pid)) = self.later.pop_front() {
                self.enqueue(pid);
            }
        }
        for _ in 0..self.config.max_reads {
            if begun.elapsed() > self.config.max_time {
                break;
            }
            let Some(pid) = self.queue.pop_front() else { break };
            self.queued.remove(&pid);
            self.read(pid, now);
        }
        self.look_for_loaded(now);
        out.append(&mut self.ended);
        let changed: HashSet<ContainerKey> = std::mem::take(&mut self.changed).into_iter().collect();
        for key in changed {
            self.say(&key, out);
        }
    }

    fn say(&mut self, key: &ContainerKey, out: &mut Vec<ExpectationChange>) {
        let Some(tracked) = self.containers.get_mut(key) else {
            return;
        };
        let first = tracked.reported.is_none();
        let Some(container) = tracked.report(key, &self.config.rules) else {
            return;
        };
        if first && tracked.unproved().is_some() && self.loading.len() < self.config.max_containers {
            let due = tracked.began.after(LOADED_AFTER[0]);
            self.loading.insert((due, key.clone()), 0);
        }
        out.push(ExpectationChange::Container(Box::new(container)));
    }

    fn read(&mut self, pid: u32, now: Mono) {
        let Some(key) = self.by_pid.get(&pid).cloned() else {
            return;
        };
        let Some(tracked) = self.containers.get_mut(&key) else {
            return;
        };
        if !matches!(
            tracked.get_mut(pid),
            Some(Known {
                state: State::Unread,
                ..
            })
        ) {
            return;
        }
        if !tracked.may_read(now) {
            // A container that told already needs no more: only one that did not is worth another look.
            if tracked.is_told() || self.later.len() >= MAX_QUEUE {
                self.stats.skipped += 1;
            } else {
                self.later.push_back((now.after(LATER), pid));
            }
            return;
        }
        let (began, state) = match self.reader.read(pid) {
            Outcome::Gone => {
                self.stats.gone += 1;
                (None, State::Nothing)
            }
            Outcome::Unreadable(stat, why) => {
                self.stats.unreadable += 1;
                (Some(stat.began), State::Unreadable(why))
            }
            Outcome::Read(raw) => {
                self.stats.read += 1;
                let profile = self.profile(pid, &raw);
                let profile = if profile.overwritten {
                    self.stats.overwritten += 1;
                    self.of_a_relative(&key, pid, raw.stat.parent).unwrap_or(profile)
                } else {
                    profile
                };
                let state = if profile.concerns_telemetry() || profile.overwritten {
                    State::Profile(profile)
                } else {
                    State::Nothing
                };
                (Some(raw.stat.began), state)
            }
        };
        if let Some(tracked) = self.containers.get_mut(&key) {
            let known = tracked.get_mut(pid).map(|known| known.began).unwrap_or(now);
            // What the kernel says is in ticks: an exec seen by itself is exact enough, and never in the future.
            tracked.set(pid, began.map_or(known, |began| began.min(known)), state);
            self.changed.push(key);
        }
    }

    /// The profile of a process; shared with every other one that has the same settings.
    fn profile(&mut self, pid: u32, raw: &Raw) -> Arc<Profile> {
        let file = |path: &str| self.reader.file_of(pid, path);
        let process = raw.process(&file);
        let Some(fingerprint) = profile::fingerprint(&process, &self.fingerprints) else {
            return Arc::new(profile::profile(&process));
        };
        if let Some(known) = self.profiles.get(&fingerprint).and_then(Weak::upgrade) {
            return known;
        }
        let made = Arc::new(profile::profile(&process));
        if self.profiles.len() >= self.sweep_at {
            self.profiles.retain(|_, profile| profile.strong_count() > 0);
            self.sweep_at = (2 * self.profiles.len()).max(MIN_SWEEP);
        }
        self.profiles.insert(fingerprint, Arc::downgrade(&made));
        made
    }
}

/// Whose a process is; `None` in the root cgroup, which is nobody's.
fn key_of(workload: &Workload) -> Option<ContainerKey> {
    workload.container_key().filter(|key| &*key.0 != "/")
}

#[cfg(test)]
#[path = "containers_tests.rs"]
mod tests;
