//! Observations and expectations to verdicts: for each exporter the first rung that does not hold, why, since when, on what
//! evidence, and what to do.
//!
//! [`Diagnoser::on`] only counts: what was seen of an exporter, how often and when, since its last success on that rung.
//! [`Diagnoser::tick`] judges: each rule looks at these facts alone, the first that fires is the verdict, and it opens and
//! closes once. Synchronous, with the clock passed in; memory is bounded by [`Config`].

mod advice;
mod ailing;
mod attempts;
pub mod catalogue;
mod containers;
mod evidence;
mod exporter;
pub mod facts;
mod gone;
pub(crate) mod group;
mod hysteresis;
mod joining;
mod judge;
mod ladder;
mod learned;
mod links;
mod losses;
mod names;
mod observe;
mod rules;
pub mod saved;
mod services;
mod sidecar;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};

use crate::model::Lifecycle;
use crate::model::expectation::{Container as Expected, Expectation, ExpectationChange, Host};
use crate::model::lifecycle::Step;
use crate::model::time::Mono;
use crate::model::verdict::{Report, Transition};
use crate::model::workload::Workload;

pub use facts::{Facts, ThisNode};
pub use saved::Saved;

use containers::Containers;
use exporter::{Container, Destination, Exporter};
use gone::Gone;
use links::Links;
use losses::Losses;
use names::Names;
use saved::SavedExporter;

/// Which facts cannot be seen on this node, because their hooks do not work. Verdicts that rest on the absence of such
/// facts are not given then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blind {
    /// Look-ups.
    pub dns: bool,
    /// Connections.
    pub tcp: bool,
    /// What is said on connections.
    pub payload: bool,
    /// Packets dropped on this node.
    pub drops: bool,
}

/// Times and sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Since when this node is watched; the first tick when it is not told.
    pub watching_since: Option<Mono>,
    /// Ports that are watched already.
    pub ports: BTreeSet<u16>,
    /// Hooks that do not work, in words, for the report.
    pub degraded: Vec<Arc<str>>,
    /// What cannot be seen for it.
    pub blind: Blind,
    /// A container younger than this may still come up.
    pub young: Duration,
    /// The shortest time without any packet that counts as silence in a process that was not watched from its start.
    pub silence: Duration,
    /// Containers known.
    pub max_containers: usize,
    /// Exporters known.
    pub max_exporters: usize,
    /// Sockets followed.
    pub max_sockets: usize,
    /// Names remembered of the whole node, for advice.
    pub max_names: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            watching_since: None,
            ports: BTreeSet::new(),
            degraded: Vec::new(),
            blind: Blind::default(),
            young: Duration::from_mins(1),
            silence: Duration::from_secs(150),
            max_containers: 8192,
            max_exporters: 8192,
            max_sockets: 32_768,
            max_names: 4096,
        }
    }
}

/// Exporters of one container.
const MAX_EXPORTERS: usize = 32;
/// Destinations of one container.
const MAX_DESTINATIONS: usize = 24;
/// Ports that wait to be taken.
const MAX_PORTS: usize = 256;
/// Cgroups whose first process is remembered.
const MAX_BORN: usize = 8192;
/// Containers and cgroups that are gone and remembered.
const MAX_GONE: usize = 8192;

/// What is known of the node as a whole.
#[derive(Debug)]
struct Node {
    watching_since: Mono,
    blind: Blind,
    lost: Losses,
    names: Names,
    /// Containers that send, by family.
    senders: HashMap<u64, Senders>,
    silence: Duration,
    young: Duration,
}

/// Replicas that send.
#[derive(Clone, Copy, Debug)]
struct Senders {
    count: u32,
    /// When something of one of them was first taken.
    first: Mono,
    last: Mono,
}

/// The state of diagnosis.
pub struct Diagnoser {
    config: Config,
    containers: Containers,
    gone: Gone,
    links: Links,
    node: Node,
    /// When the first process of a cgroup began, for containers that nothing was expected of.
    born: HashMap<u64, Mono>,
    ports: Vec<u16>,
    facts: Option<Box<dyn Facts + Send>>,
    /// Of exporters that have not been seen again since obsflow was started.
    restored: HashMap<Arc<str>, SavedExporter>,
    /// When replicas and served connections are looked at again.
    next_look: Mono,
    /// The slot whose served connections are looked at next.
    next_served: u32,
    transitions: Vec<Transition>,
    forgotten: u64,
    now: Mono,
}

impl Diagnoser {
    /// An empty state.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            containers: Containers::new(config.max_containers),
            gone: Gone::new(MAX_GONE),
            links: Links::new(config.max_sockets),
            node: Node {
                watching_since: config.watching_since.unwrap_or_default(),
                blind: config.blind,
                lost: Losses::default(),
                names: Names::new(config.max_names),
                senders: HashMap::new(),
                silence: config.silence,
                young: config.young,
            },
            born: HashMap::new(),
            ports: Vec::new(),
            facts: None,
            restored: HashMap::new(),
            next_look: Mono(0),
            next_served: 0,
            transitions: Vec::new(),
            forgotten: 0,
            now: Mono(0),
            config,
        }
    }

    /// Looks at `facts` for advice, and to tell silence from rest.
    #[must_use]
    pub fn with_facts(mut self, facts: Box<dyn Facts + Send>) -> Self {
        self.facts = Some(facts);
        self
    }

    /// What a container is expected to export became known, or changed, or the container ended.
    pub fn expect(&mut self, change: ExpectationChange, now: Mono) {
        self.clock(now);
        match change {
            ExpectationChange::Container(expected) => self.expected(*expected, now),
            ExpectationChange::Gone { key, at } => {
                self.gone.container(&key, at);
                if let Some(slot) = self.containers.by_key(&key) {
                    self.ended(slot, at.max(now));
                }
            }
        }
    }

    /// A process or a cgroup began or ended.
    pub fn lifecycle(&mut self, step: &Lifecycle) {
        match step.what {
            Step::Exec { .. } if step.cgroup != 0 => {
                let key = step.workload.container_key();
                self.gone.began(key.as_ref(), step.cgroup, step.at);
                if self.born.len() < MAX_BORN {
                    self.born.entry(step.cgroup).or_insert(step.at);
                }
            }
            Step::CgroupGone => {
                self.born.remove(&step.cgroup);
                self.gone.cgroup(step.cgroup, step.at);
                if let Some(slot) = self.containers.by_cgroup(step.cgroup)
                    && self
                        .containers
                        .get(slot)
                        .is_some_and(|container| container.cgroup == step.cgroup)
                {
                    self.ended(slot, step.at);
                }
            }
            _ => {}
        }
    }

    /// More became known of what a container is called.
    pub fn renamed(&mut self, workload: &Arc<Workload>) {
        if let Some(key) = workload.container_key()
            && let Some(slot) = self.containers.by_key(&key)
            && let Some(container) = self.containers.get_mut(slot)
        {
            container.rename(workload);
        }
    }

    /// Judges every exporter; call it once a second.
    pub fn tick(&mut self, now: Mono) {
        self.clock(now);
        self.gone.tick(now);
        self.look_around(now);
        self.judge_all(now);
    }

    /// Everything known at `now`.
    #[must_use]
    pub fn report(&self, now: Mono) -> Report {
        let exports = self.exports(now);
        group::report(self, exports, now)
    }

    /// Verdicts that began or ended since this was asked last.
    pub fn take_transitions(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.transitions)
    }

    /// Ports that telemetry is expected on and that are not watched yet.
    pub fn take_ports(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.ports)
    }

    fn clock(&mut self, at: Mono) {
        if self.node.watching_since == Mono(0) {
            self.node.watching_since = at;
        }
        self.now = self.now.max(at);
    }

    fn want_port(&mut self, port: u16) {
        if port != 0 && self.ports.len() < MAX_PORTS && self.config.ports.insert(port) {
            self.ports.push(port);
        }
    }

    /// Replaces what was expected of a container, and keeps what was seen of it.
    fn expected(&mut self, expected: Expected, now: Mono) {
        let Expected {
            key,
            workload,
            cgroup,
            pid,
            service,
            began,
            from_exec,
            proofs,
            expectations,
            unreadable,
            injection,
        } = expected;
        self.gone.began(Some(&key), cgroup, began);
        if self.gone.has(&key) {
            return;
        }
        let slot = match self.containers.by_key(&key) {
            Some(slot) => slot,
            None => match self.containers.add(key, &workload, cgroup) {
                Some(slot) => slot,
                None => {
                    self.forgotten += expectations.len().max(1) as u64;
                    return;
                }
            },
        };
        let mut ports = Vec::new();
        let room = self
            .config
            .max_exporters
            .saturating_sub(self.containers.exporters);
        let Some(container) = self.containers.get_mut(slot) else {
            return;
        };
        let before = container.exporters.len();
        container.rename(&workload);
        container.pid = pid;
        container.service = service;
        container.began = Some(began);
        container.from_exec = from_exec;
        container.proofs = proofs;
        container.unreadable = unreadable;
        container.injection = injection;
        container.recognize(&expectations);
        let old = std::mem::take(&mut container.exporters);
        let wanted = expectations.len();
        for expectation in expectations
            .into_iter()
            .take(room.saturating_add(before).min(MAX_EXPORTERS))
        {
            container.add_expectation(expectation, &mut ports);
        }
        let taken = container.exporters.len();
        for dropped in container.keep_old(old) {
            self.transitions.extend(dropped.closed(now));
        }
        let after = container.exporters.len();
        self.forgotten += wanted.saturating_sub(taken) as u64;
        self.containers.exporters = (self.containers.exporters + after).saturating_sub(before);
        for port in ports {
            self.want_port(port);
        }
        self.recall(slot);
    }

    fn ended(&mut self, slot: u32, at: Mono) {
        let Some(container) = self.containers.remove(slot) else {
            return;
        };
        for exporter in container.exporters {
            self.transitions.extend(exporter.closed(at));
        }
    }
}

impl Container {
    /// Index of the destination, which is added when it is new; `None` when there are too many.
    fn destination_at(&mut self, host: &Host, port: u16, is_proxy: bool) -> Option<u8> {
        let known = self
            .destinations
            .iter()
            .position(|to| to.port == port && to.host == *host && to.is_proxy == is_proxy);
        let index = match known {
            Some(index) => index,
            None if self.destinations.len() < MAX_DESTINATIONS => {
                self.destinations
                    .push(Destination::new(host.clone(), port, is_proxy));
                self.destinations.len() - 1
            }
            None => return None,
        };
        u8::try_from(index).ok()
    }

    fn add_expectation(&mut self, expectation: Expectation, ports: &mut Vec<u16>) {
        let proxy = expectation
            .proxy
            .as_deref()
            .and_then(|proxy| joining::authority(proxy, DEFAULT_PROXY_PORT));
        let id = group::export_id(
            &self.key,
            expectation.endpoint.as_ref(),
            &expectation.written,
            expectation.signal,
        );
        let mut exporter = Exporter::new(id, expectation);
        if let Some(endpoint) = exporter.endpoint.clone() {
            exporter.to = self.destination_at(&endpoint.host, endpoint.port, false);
            ports.push(endpoint.port);
        }
        if let Some((host, port)) = proxy {
            exporter.proxy = self.destination_at(&host, port, true);
            ports.push(port);
        }
        self.exporters.push(exporter);
    }

    /// What was seen of the exporters before, for those that mean the same, and those that nothing configures. The others,
    /// which are no more.
    fn keep_old(&mut self, old: Vec<Exporter>) -> Vec<Exporter> {
        let mut dropped = Vec::new();
        for mut exporter in old {
            let covers = |new: &Exporter| {
                let signal = new.signal.is_none() || new.signal == exporter.signal;
                exporter.is_learned && !new.is_learned && new.to == exporter.to && signal
            };
            if let Some(new) = self.exporters.iter_mut().find(|new| new.id == exporter.id) {
                new.inherit(exporter);
            } else if let Some(new) = self.exporters.iter_mut().find(|new| covers(new)) {
                if !new.accepted.requests.any() {
                    new.accepted = std::mem::take(&mut exporter.accepted);
                    new.sent_before = exporter.sent_before;
                }
                dropped.push(exporter);
            } else if exporter.is_learned && self.exporters.len() < MAX_EXPORTERS {
                self.exporters.push(exporter);
            } else {
                dropped.push(exporter);
            }
        }
        dropped
    }
}

/// What curl and the proxies themselves take when a proxy is named without a port.
const DEFAULT_PROXY_PORT: u16 = 1080;
