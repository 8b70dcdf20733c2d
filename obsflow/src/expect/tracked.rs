//! One container: its processes, and which of them tells what it is set to export.

use std::sync::Arc;
use std::time::Duration;

use super::Language;
use super::injection;
use super::profile::Profile;
use super::rules::Rule;
use crate::model::expectation::{Container, ContainerKey, SenderProof, Setting};
use crate::model::injection::NotInjected;
use crate::model::{Mono, Workload};

/// Processes remembered of a container: enough to find one that tells, and its heirs.
pub(super) const MAX_PROCESSES: usize = 64;
/// Processes read of a container at once.
const BURST: u32 = 16;
/// After which one more may be read.
const REFILL: Duration = Duration::from_secs(1);

/// `/proc` counts in these.
const TICK: Duration = Duration::from_millis(10);

/// What is known of a process.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// Not read, or not yet.
    Unread,
    /// Read, or gone before it could be.
    Nothing,
    /// Read.
    Profile(Arc<Profile>),
    /// It may not be read.
    Unreadable(Arc<str>),
}

/// A process of a container.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) pid: u32,
    pub(super) cgroup: u64,
    pub(super) began: Mono,
    pub(super) state: State,
}

/// A container being followed.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) workload: Arc<Workload>,
    pub(super) cgroup: u64,
    /// The oldest first.
    pub(super) processes: Vec<Known>,
    /// The oldest that was ever seen of it.
    pub(super) began: Mono,
    pub(super) from_exec: bool,
    /// When it was listed, if it is older than obsflow.
    pub(super) listed: Option<Mono>,
    /// An SDK was found among the files that its process has mapped.
    pub(super) loaded: Option<Arc<str>>,
    /// An SDK should have been injected and was not.
    pub(super) injection: Option<Arc<NotInjected>>,
    pub(super) reported: Option<Reported>,
    tokens: u32,
    refilled: Mono,
}

/// What was said of it last.
#[derive(Clone, Debug)]
pub(super) struct Reported {
    pub(super) pid: u32,
    profile: Option<Arc<Profile>>,
    workload: Arc<Workload>,
    began: Mono,
    from_exec: bool,
    loaded: bool,
    unreadable: Option<Arc<str>>,
    injection: Option<Arc<NotInjected>>,
}

impl Tracked {
    pub(super) fn new(workload: Arc<Workload>, cgroup: u64, at: Mono) -> Self {
        Self {
            workload,
            cgroup,
            processes: Vec::new(),
            began: at,
            from_exec: false,
            listed: None,
            loaded: None,
            injection: None,
            reported: None,
            tokens: BURST,
            refilled: at,
        }
    }

    /// Remembers a process; false when there are too many.
    pub(super) fn add(&mut self, known: Known) -> bool {
        self.remove(known.pid);
        if self.processes.len() >= MAX_PROCESSES {
            return false;
        }
        // What `/proc` tells of a process differs by less from one reading to the next.
        if known.began.after(TICK) < self.began {
            self.began = known.began;
        }
        let order = (known.began, known.pid);
        let at = self.processes.partition_point(|it| (it.began, it.pid) < order);
        self.processes.insert(at, known);
        true
    }

    pub(super) fn get_mut(&mut self, pid: u32) -> Option<&mut Known> {
        self.processes.iter_mut().find(|known| known.pid == pid)
    }

    pub(super) fn remove(&mut self, pid: u32) -> Option<Known> {
        let at = self.processes.iter().position(|known| known.pid == pid)?;
        Some(self.processes.remove(at))
    }

    /// Puts a process where it belongs once it is known when it began.
    pub(super) fn set(&mut self, pid: u32, began: Mono, state: State) {
        if let Some(known) = self.remove(pid) {
            self.add(Known {
                began,
                state,
                ..known
            });
        }
    }

    /// Whether one more process may be read now.
    pub(super) fn may_read(&mut self, now: Mono) -> bool {
        let passed = now.since(self.refilled).as_secs() / REFILL.as_secs();
        if passed > 0 {
            self.tokens = self
                .tokens
                .saturating_add(u32::try_from(passed).unwrap_or(u32::MAX))
                .min(BURST);
            self.refilled = self
                .refilled
                .after(REFILL * u32::try_from(passed).unwrap_or(u32::MAX));
        }
        self.tokens = match self.tokens.checked_sub(1) {
            Some(left) => left,
            None => return false,
        };
        true
    }

    /// Whether any process told anything.
    pub(super) fn is_told(&self) -> bool {
        self.best(false).is_some()
    }

    /// The process that tells most of what the container exports: one that is proved to send over one whose language
    /// is known, that over a shell that only hands its environment down; of equal ones the oldest.
    pub(super) fn best(&self, overwritten: bool) -> Option<(&Known, &Arc<Profile>)> {
        let mut best: Option<(u8, &Known, &Arc<Profile>)> = None;
        for known in &self.processes {
            let State::Profile(profile) = &known.state else {
                continue;
            };
            if profile.overwritten != overwritten || !profile.concerns_telemetry() {
                continue;
            }
            let rank = if !profile.proofs.is_empty() {
                2
            } else {
                u8::from(profile.language != Language::Unknown)
            };
            if best.is_none_or(|(best, ..)| rank > best) {
                best = Some((rank, known, profile));
            }
        }
        best.map(|(_, known, profile)| (known, profile))
    }

    /// Why its processes could not be read, and of which that is known.
    fn unreadable(&self) -> Option<(&Known, Arc<str>)> {
        self.processes.iter().find_map(|known| match &known.state {
            State::Unreadable(why) => Some((known, Arc::clone(why))),
            State::Profile(profile) if profile.overwritten => Some((known, Arc::from(OVERWRITTEN))),
            _ => None,
        })
    }

    /// Whether something is to be said of injection, or no longer is.
    fn concerns_injection(&self) -> bool {
        let said = self
            .reported
            .as_ref()
            .is_some_and(|before| before.injection.is_some());
        said || self.injection.is_some()
    }

    /// What is to be said of it, if that is new.
    pub(super) fn report(&mut self, key: &ContainerKey, rules: &[Rule]) -> Option<Container> {
        let selected: Vec<&Rule> = rules.iter().filter(|rule| rule.selects(&self.workload)).collect();
        let (known, profile, unreadable) = match self.best(false) {
            Some((known, profile)) => (known, Some(Arc::clone(profile)), profile.unreadable.clone()),
            // What was read before its environment was overwritten, or before that process ended, still holds.
            None if self
                .reported
                .as_ref()
                .is_some_and(|it| it.profile.as_ref().is_some_and(|profile| !profile.overwritten)) =>
            {
                return self.again(key, &selected);
            }
            None => match (self.best(true), self.unreadable()) {
                (Some((known, profile)), _) => {
                    (known, Some(Arc::clone(profile)), Some(Arc::from(OVERWRITTEN)))
                }
                (None, Some((known, why))) => (known, None, Some(why)),
                (None, None) if !selected.is_empty() || self.concerns_injection() => {
                    (self.processes.first()?, None, None)
                }
                (None, None) => return None,
            },
        };
        let report = Reported {
            pid: known.pid,
            profile,
            workload: Arc::clone(&self.workload),
            began: self.began,
            from_exec: self.from_exec,
            loaded: self.loaded.is_some(),
            unreadable,
            injection: self.injection.clone(),
        };
        self.say(key, &selected, report)
    }

    /// The same as before, with what became known since.
    fn again(&mut self, key: &ContainerKey, selected: &[&Rule]) -> Option<Container> {
        let before = self.reported.clone()?;
        let lives = self.processes.iter().any(|known| known.pid == before.pid);
        let heir = self.processes.first().filter(|_| !lives);
        let report = Reported {
            pid: heir.map_or(before.pid, |known| known.pid),
            workload: Arc::clone(&self.workload),
            began: self.began,
            from_exec: self.from_exec,
            loaded: self.loaded.is_some(),
            injection: self.injection.clone(),
            ..before
        };
        self.say(key, selected, report)
    }

    fn say(&mut self, key: &ContainerKey, selected: &[&Rule], report: Reported) -> Option<Container> {
        if self
            .reported
            .as_ref()
            .is_some_and(|before| before.is_same(&report))
        {
            return None;
        }
        let profile = report.profile.as_deref();
        let mut proofs = profile.map(|profile| profile.proofs.clone()).unwrap_or_default();
        let mut expectations = profile
            .map(|profile| profile.expectations.clone())
            .unwrap_or_default();
        proofs.extend(self.loaded.clone().map(SenderProof::LoadedSdk));
        if !selected.is_empty() {
            proofs.push(SenderProof::Configured);
        }
        expectations.extend(selected.iter().map(|rule| rule.expectation().clone()));
        if let Some(missing) = self.injection.as_deref().filter(|_| expectations.is_empty()) {
            expectations.push(injection::expectation(missing));
        }
        let container = Container {
            key: key.clone(),
            workload: Arc::clone(&self.workload),
            cgroup: self.cgroup,
            pid: report.pid,
            service: profile.and_then(|profile| profile.service.clone()),
            began: self.began,
            from_exec: self.from_exec,
            proofs,
            expectations,
            unreadable: report.unreadable.clone(),
            injection: report.injection.clone(),
        };
        self.reported = Some(report);
        Some(container)
    }

    /// The process to look for an SDK in: one that is set to export and not proved to send.
    pub(super) fn unproved(&self) -> Option<u32> {
        let (known, profile) = self.best(false)?;
        let is_on = |setting: &Setting| !matches!(setting, Setting::Off(_));
        let unproved = self.loaded.is_none()
            && profile.proofs.is_empty()
            && profile.expectations.iter().any(|it| is_on(&it.setting));
        unproved.then_some(known.pid)
    }
}

const OVERWRITTEN: &str = "its environment was overwritten by the title that it gave itself (setproctitle): variables \
                           are missing, and what it is set to export is not known for sure";

impl Reported {
    fn is_same(&self, other: &Self) -> bool {
        let same_profile = match (&self.profile, &other.profile) {
            (Some(this), Some(other)) => Arc::ptr_eq(this, other) || this == other,
            (None, None) => true,
            _ => false,
        };
        same_profile
            && self.pid == other.pid
            && (Arc::ptr_eq(&self.workload, &other.workload) || self.workload == other.workload)
            && self.began == other.began
            && self.from_exec == other.from_exec
            && self.loaded == other.loaded
            && self.unreadable == other.unreadable
            && self.injection == other.injection
    }
}
