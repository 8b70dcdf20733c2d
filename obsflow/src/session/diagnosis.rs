//! Diagnosis as a sink of a session: what containers are expected to export and what was seen of it, joined once a
//! second into a report.

use std::hash::{Hash as _, Hasher as _};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Session, Sink, now};
use crate::diagnose::{self, Blind, Diagnoser};
use crate::expect::Expectations;
use crate::kernel::counters::Forgotten;
use crate::kernel::hooks::{Hook, State};
use crate::model::cluster::Cluster;
use crate::model::expectation::ExpectationChange;
use crate::model::verdict::{Export, Report, Transition};
use crate::model::{Lifecycle, Mono, Observation, What, Workload};
use crate::probe;

/// How often a report is handed out although only counts and times in it changed.
const REFRESH: Duration = Duration::from_secs(5);

/// What is new in a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// An exporter came or went, or something is said of one that was not said before: a verdict, a rung, a fact.
    Verdicts,
    /// Nothing but counts and times.
    Counts,
}

/// Who takes what diagnosis says. All of it is called on the session's thread.
pub trait Publish {
    /// Takes a report: within a second after something in it changed, and every five seconds when only counts and times
    /// did. `Break` ends the session.
    ///
    /// # Errors
    /// When it cannot be handed on.
    fn report(&mut self, report: &Arc<Report>, news: News) -> io::Result<ControlFlow<()>>;

    /// Takes verdicts that began or ended since the last call; comes before the report that shows them.
    ///
    /// # Errors
    /// When they cannot be handed on.
    fn transitions(&mut self, transitions: Vec<Transition>) -> io::Result<()> {
        let _ = transitions;
        Ok(())
    }

    /// Takes what was observed of what is watched as a whole, and not by obsflow's own doing.
    fn observed(&mut self, observation: &Observation) {
        let _ = observation;
    }

    /// All of a turn was taken.
    fn observed_all(&mut self) {}

    /// Takes what began or ended.
    fn lifecycle(&mut self, step: &Lifecycle) {
        let _ = step;
    }

    /// See [`Sink::renamed`].
    fn renamed(&mut self, workloads: &[Arc<Workload>]) {
        let _ = workloads;
    }

    /// See [`Sink::wants_counters`].
    fn wants_counters(&self) -> bool {
        false
    }

    /// See [`Sink::counters`].
    fn counters(&mut self, session: &mut Session, leaving: &Forgotten) {
        let _ = (session, leaving);
    }

    /// Called once a second with the session itself, before everything else.
    fn look(&mut self, session: &Session) {
        let _ = session;
    }

    /// Called once a second after everything else, with what there is to save. `Break` ends the session.
    ///
    /// # Errors
    /// When something cannot be written.
    fn second(&mut self, diagnoser: &Diagnoser, now: Mono) -> io::Result<ControlFlow<()>> {
        let _ = (diagnoser, now);
        Ok(ControlFlow::Continue(()))
    }
}

/// Joins [`Expectations`] and [`Diagnoser`], and publishes what they say.
pub struct DiagnosisSink<P> {
    expectations: Expectations,
    diagnoser: Diagnoser,
    /// Who takes it.
    publish: P,
    /// What is watched as a whole.
    scope: Scope,
    /// What the cluster says, where there is one.
    cluster: Option<watch::Receiver<Arc<Cluster>>>,
    /// Kept to save allocations.
    changes: Vec<ExpectationChange>,
    /// Something came since the last report was made.
    dirty: bool,
    /// Hash of what the last report said, counts and times left out.
    said: Option<u64>,
    published: Mono,
}

impl<P: Publish> DiagnosisSink<P> {
    /// Joins the two; the diagnoser is made with [`config`].
    pub fn new(expectations: Expectations, diagnoser: Diagnoser, publish: P) -> Self {
        Self {
            expectations,
            diagnoser,
            publish,
            scope: Scope::default(),
            cluster: None,
            changes: Vec::new(),
            dirty: true,
            said: None,
            published: Mono(0),
        }
    }

    /// Leaves alone what a session sees only in part: exec and TCP are seen on the whole machine, names and what is said on
    /// connections only below the cgroups it is attached to.
    #[must_use]
    pub fn within(mut self, session: &Session) -> Self {
        self.scope = Scope::of(session.mount(), session.cgroups());
        self
    }

    /// Also judges by what the cluster says: annotations that ask for injection.
    #[must_use]
    pub fn following(mut self, cluster: Option<watch::Receiver<Arc<Cluster>>>) -> Self {
        self.cluster = cluster;
        self
    }

    /// The end: what there is to say now, and who took what was said before.
    #[must_use]
    pub fn finish(mut self, now: Mono) -> (Report, Diagnoser, P) {
        self.read(now);
        self.diagnoser.tick(now);
        (self.diagnoser.report(now), self.diagnoser, self.publish)
    }

    /// Takes the latest that is known of the cluster, if that is new.
    fn look_at_cluster(&mut self) {
        if let Some(cluster) = &mut self.cluster
            // Whoever watched may have ended; what was known last is known still.
            && cluster.has_changed().unwrap_or(false)
        {
            let latest = Arc::clone(&cluster.borrow_and_update());
            self.expectations.cluster(latest);
        }
    }

    /// Reads the processes that wait to be read.
    fn read(&mut self, now: Mono) {
        self.expectations.work(now, &mut self.changes);
        for change in self.changes.drain(..) {
            self.dirty = true;
            self.diagnoser.expect(change, now);
        }
    }

    fn second(&mut self, now: Mono) -> io::Result<ControlFlow<()>> {
        self.look_at_cluster();
        self.read(now);
        self.diagnoser.tick(now);
        let transitions = self.diagnoser.take_transitions();
        if !transitions.is_empty() {
            self.dirty = true;
            self.publish.transitions(transitions)?;
        }
        let refresh = now.since(self.published) >= REFRESH;
        let mut flow = ControlFlow::Continue(());
        // Verdicts also come by nothing but time; a report of a node where nothing happened is made rarely.
        if self.dirty || refresh {
            self.dirty = false;
            let report = Arc::new(self.diagnoser.report(now));
            let said = said(&report);
            let news = if self.said == Some(said) {
                News::Counts
            } else {
                News::Verdicts
            };
            if news == News::Verdicts || refresh {
                self.said = Some(said);
                self.published = now;
                flow = self.publish.report(&report, news)?;
            }
        }
        let second = self.publish.second(&self.diagnoser, now)?;
        Ok(if flow.is_break() { flow } else { second })
    }
}

impl<P: Publish> Sink for DiagnosisSink<P> {
    fn observations(&mut self, observations: &[Observation]) -> io::Result<ControlFlow<()>> {
        let scope = &self.scope;
        let counts = |seen: &&Observation| {
            // What obsflow sends itself is nobody's export.
            matches!(seen.what, What::Lost { .. }) || (scope.has(&seen.workload) && !probe::is_own(seen))
        };
        for observation in observations.iter().filter(counts) {
            self.dirty = true;
            self.diagnoser.on(observation);
            self.publish.observed(observation);
        }
        self.publish.observed_all();
        Ok(ControlFlow::Continue(()))
    }

    fn wants_lifecycle(&self) -> bool {
        true
    }

    fn lifecycle(&mut self, steps: &[Lifecycle]) -> io::Result<()> {
        for step in steps.iter().filter(|step| self.scope.has(&step.workload)) {
            self.expectations.on(step);
            self.diagnoser.lifecycle(step);
            self.publish.lifecycle(step);
        }
        // At once: an environment is only the one it was started with until the process writes over it.
        self.read(now());
        self.dirty = true;
        Ok(())
    }

    fn renamed(&mut self, workloads: &[Arc<Workload>]) -> io::Result<()> {
        for workload in workloads {
            self.expectations.renamed(workload);
            self.diagnoser.renamed(workload);
        }
        self.publish.renamed(workloads);
        self.dirty = true;
        Ok(())
    }

    fn take_ports(&mut self) -> Vec<u16> {
        self.diagnoser.take_ports()
    }

    fn wants_counters(&self) -> bool {
        self.publish.wants_counters()
    }

    fn counters(&mut self, session: &mut Session, leaving: &Forgotten) {
        self.publish.counters(session, leaving);
    }

    fn look(&mut self, session: &Session) {
        self.publish.look(session);
    }

    fn idle(&mut self) -> io::Result<ControlFlow<()>> {
        self.second(now())
    }
}

/// Cgroups that are watched as a whole, as paths below the mount; all of them when there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Scope(Vec<String>);

impl Scope {
    fn of(mount: &Path, cgroups: &[PathBuf]) -> Self {
        let below: Vec<String> = cgroups
            .iter()
            .filter_map(|cgroup| cgroup.strip_prefix(mount).ok())
            .map(|path| format!("/{}", path.display()))
            .collect();
        if below.len() < cgroups.len() || below.iter().any(|path| path == "/") {
            return Self::default();
        }
        Self(below)
    }

    /// Whether a workload is in it. One whose cgroup is not known may be.
    fn has(&self, workload: &Workload) -> bool {
        let Some(path) = &workload.cgroup_path else {
            return true;
        };
        let is_below = |scope: &String| {
            path.strip_prefix(scope.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.0.is_empty() || self.0.iter().any(is_below)
    }
}

/// What a diagnoser is to know of the session whose sink it will be in.
#[must_use]
pub fn config(session: &Session, payload: bool) -> diagnose::Config {
    let works = |hook: Hook| {
        session
            .hooks()
            .iter()
            .any(|(known, state)| *known == hook && matches!(state, State::Attached(_)))
    };
    diagnose::Config {
        watching_since: Some(now()),
        ports: session.watched_ports(),
        degraded: degraded(session),
        blind: Blind {
            dns: !works(Hook::Packets),
            tcp: !works(Hook::Tcp) && !works(Hook::SockOps),
            payload: !payload || !works(Hook::Packets),
            drops: !works(Hook::Drops),
        },
        ..diagnose::Config::default()
    }
}

/// Hooks that a verdict may need and that do not work, each with what is lost by it.
fn degraded(session: &Session) -> Vec<Arc<str>> {
    session
        .hooks()
        .iter()
        .filter_map(|(hook, state)| {
            let reason = match (hook, state) {
                // Details that no verdict rests on, and what only stands in for another.
                (Hook::ConnectExit | Hook::SockOps | Hook::Tunnels, _) | (_, State::Attached(_)) => {
                    return None;
                }
                (_, State::Unavailable(reason) | State::Off(reason)) => reason,
            };
            Some(format!("without {hook} ({reason}): {}", hook.without()).into())
        })
        .collect()
}

/// What a report says, counts and times of the last event left out.
fn said(report: &Report) -> u64 {
    let mut hash = std::hash::DefaultHasher::new();
    for export in &report.exports {
        said_of(export, &mut hash);
    }
    for cause in &report.causes {
        (&cause.id, cause.verdict, &cause.reason, cause.severity).hash(&mut hash);
        (&cause.subject, cause.pods, cause.workloads, &cause.exports).hash(&mut hash);
        cause.advice.hash(&mut hash);
    }
    (
        &report.degraded,
        report.events_lost > 0,
        report.exports_forgotten > 0,
    )
        .hash(&mut hash);
    hash.finish()
}

fn said_of(export: &Export, hash: &mut impl std::hash::Hasher) {
    (&export.id, &export.workload, export.signal, &export.endpoint).hash(hash);
    (&export.written, &export.source, export.leg, export.rungs).hash(hash);
    (export.verdict, &export.reason, export.severity, export.since).hash(hash);
    (export.flaps, &export.advice, &export.cause).hash(hash);
    export.last_success.is_some().hash(hash);
    for evidence in &export.evidence {
        evidence.kind.hash(hash);
    }
}

#[cfg(test)]
#[path = "diagnosis_tests.rs"]
mod tests;
