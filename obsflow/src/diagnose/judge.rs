//! Judging: the first rule that fires for each exporter, whether that is news, and what is said of it.

use std::sync::Arc;
use std::time::Duration;

use crate::model::expectation::Source;
use crate::model::time::Mono;
use crate::model::verdict::{Export, Rung, Severity, Transition, VerdictId};

use super::advice::{self, Known};
use super::evidence::Told;
use super::exporter::{Container, Exporter};
use super::facts::Facts;
use super::hysteresis::{AGAIN, Change, Held};
use super::rules::{self, Case, Finding};
use super::{Diagnoser, Node, Senders, catalogue, ladder};

/// Advice that is looked up at one tick: it reads files of the containers.
const ADVISED_AT_ONCE: u32 = 16;
/// How often advice is looked up again: names may have resolved since, ports may be listened on.
const ADVISE_AGAIN: Duration = Duration::from_secs(10);
/// How often replicas and served connections are looked at.
const LOOK_AROUND: Duration = Duration::from_secs(2);
/// Containers whose served connections are looked at at a time: each is a file that is read.
const LOOKED_AT_ONCE: u32 = 64;
/// How long after a failure of the sidecar's leg what the application is told is still a consequence.
const AFTERMATH: Duration = Duration::from_secs(30);

/// What ended, and what began.
type News = (Option<Box<Export>>, Option<Box<Export>>);

impl Diagnoser {
    /// What a rule needs to know of others: which replicas send, and who has something to do.
    pub(super) fn look_around(&mut self, now: Mono) {
        if now < self.next_look {
            return;
        }
        self.next_look = now.after(LOOK_AROUND);
        self.node.senders.clear();
        for container in self.containers.iter() {
            let last = container
                .exporters
                .iter()
                .filter_map(|e| e.accepted.ok.last())
                .max();
            if let Some(last) = last {
                let first = container
                    .exporters
                    .iter()
                    .filter_map(|e| e.accepted.ok.any().then_some(e.accepted.ok.first))
                    .min();
                let first = first.unwrap_or(last);
                let senders = self.node.senders.entry(container.family).or_insert(Senders {
                    count: 0,
                    first,
                    last,
                });
                senders.count += 1;
                senders.first = senders.first.min(first);
                senders.last = senders.last.max(last);
            }
        }
        let Some(facts) = &self.facts else { return };
        let slots = self.containers.slots();
        let mut looked = 0;
        for step in 0..slots {
            let slot = (self.next_served + step) % slots;
            if looked >= LOOKED_AT_ONCE {
                self.next_served = slot;
                break;
            }
            let Some(container) = self.containers.get_mut(slot) else {
                continue;
            };
            // Only of those whose silence is in question.
            let in_question = !container.exporters.is_empty()
                && !container.proofs.is_empty()
                && container.served.is_none()
                && container.pid != 0
                && !container.destinations.iter().any(|to| to.wire.any());
            if !in_question {
                continue;
            }
            looked += 1;
            if let Some(accepted) = facts.accepted(container.pid) {
                container.accepts(accepted, now);
            }
        }
    }

    pub(super) fn judge_all(&mut self, now: Mono) {
        let mut advised = 0;
        for slot in 0..self.containers.slots() {
            let exporters = self.containers.get(slot).map_or(0, |c| c.exporters.len());
            for index in 0..exporters {
                self.judge_one(slot, index, now, &mut advised);
            }
        }
    }

    fn judge_one(&mut self, slot: u32, index: usize, now: Mono, advised: &mut u32) {
        let held = |this: &mut Self| {
            let container = this.containers.get_mut(slot)?;
            let held = &mut container.exporters.get_mut(index)?.held;
            // What holds stays there for the rules to see.
            let seen = held.shadow();
            Some(std::mem::replace(held, seen))
        };
        let Some(mut held) = held(self) else { return };
        let (closes, opens) = self
            .step(slot, index, &mut held, now, advised)
            .unwrap_or_default();
        for (export, opened) in [(closes, false), (opens, true)] {
            if let Some(export) = export {
                self.transitions.push(Transition {
                    at: now,
                    export: *export,
                    opened,
                });
            }
        }
        if let Some(container) = self.containers.get_mut(slot)
            && let Some(exporter) = container.exporters.get_mut(index)
        {
            exporter.held = held;
        }
    }

    /// Judges one exporter; gives what closes and what opens by it.
    fn step(&self, slot: u32, index: usize, held: &mut Held, now: Mono, advised: &mut u32) -> Option<News> {
        let container = self.containers.get(slot)?;
        let exporter = container.exporters.get(index)?;
        let finding = if exporter.is_split {
            // Its signals are judged instead.
            Finding::new(VerdictId::Unknown, Rung::Configured, now)
        } else {
            self.finding(container, exporter, now)
        };
        // An attempt under way is no recovery yet: what holds of attempts holds until it has an outcome.
        let case = self.case(container, exporter, now);
        if !finding.id.is_failure() && held.verdict.is_some_and(is_of_attempts) && case.is_attempting() {
            return None;
        }
        let flaps = held.flaps;
        let mut closes = None;
        if held.step(finding.id, finding.rung, finding.since, now) == Change::Other {
            closes = held.opened.take();
            if let Some(export) = &mut closes {
                export.flaps = flaps;
            }
        }
        let fails = held.verdict.is_some_and(VerdictId::is_failure) && held.closing.is_none();
        if !fails {
            if held.closing.is_none() {
                held.advice = Vec::new();
            }
            return Some((closes, None));
        }
        let due = held.advised.is_none_or(|at| now.since(at) >= ADVISE_AGAIN);
        if due && *advised < ADVISED_AT_ONCE {
            *advised += 1;
            held.advised = Some(now);
            held.advice = self.advise(&self.case(container, exporter, now), &finding);
        }
        // A container that may still come up raises nothing; what still fails when it is old enough does. One without an SDK
        // of the operator's may have another: what it sends with that comes within a minute.
        let watched = now.since(self.node.watching_since);
        let is_early = finding.id == VerdictId::InjectionMissing && watched < self.node.young;
        if held.opened.is_some() || is_early || is_young(&self.node, container, now) {
            return Some((closes, None));
        }
        let since = (held.since, held.flaps);
        let (export, _) = self.export(container, exporter, &finding, since, &held.advice, now);
        held.opened = Some(Box::new(export.clone()));
        Some((closes, Some(Box::new(export))))
    }

    fn advise(&self, case: &Case<'_>, finding: &Finding) -> Vec<Arc<str>> {
        let facts = self.facts.as_deref().map(|facts| facts as &dyn Facts);
        let pid_at = |ip| {
            let of = |container: &&Container| container.ip == Some(ip) && container.pid != 0;
            Some(self.containers.iter().find(of)?.pid)
        };
        let known = Known {
            facts,
            pid_at: &pid_at,
        };
        advice::advise(case, finding, &known)
    }

    fn case<'a>(&'a self, container: &'a Container, exporter: &'a Exporter, now: Mono) -> Case<'a> {
        Case {
            container,
            exporter,
            to: container.destination(exporter.to),
            proxy: container.destination(exporter.proxy),
            node: &self.node,
            facts: self.facts.as_deref().map(|facts| facts as &dyn Facts),
            now,
        }
    }

    /// The sidecar's leg of an application's exporter.
    fn upstream<'a>(&'a self, case: &Case<'a>) -> Option<Case<'a>> {
        let sidecar = case.to?.sidecar?;
        let container = self.containers.same(sidecar.slot, sidecar.generation)?;
        let own = case.exporter.signal;
        let of = |exporter: &&Exporter| exporter.to == Some(sidecar.to) && !exporter.is_split;
        let exporter = container
            .exporters
            .iter()
            .filter(of)
            .max_by_key(|exporter| exporter.signal == own)?;
        Some(self.case(container, exporter, case.now))
    }

    /// What holds for an exporter. An application's leg to a sidecar is established whatever happens: it is judged by what
    /// the sidecar does upstream, which is a finding of that leg.
    fn finding(&self, container: &Container, exporter: &Exporter, now: Mono) -> Finding {
        let case = self.case(container, exporter, now);
        let own = rules::judge(&case);
        if own.rung == Rung::Configured && own.id.is_failure() {
            return own;
        }
        let Some(upstream) = self.upstream(&case) else {
            return own;
        };
        let beyond = rules::judge(&upstream);
        if beyond.id.is_failure()
            || own.id.is_failure() && upstream.exporter.held.failed_lately(now, AFTERMATH)
        {
            return Finding::new(VerdictId::Unknown, Rung::Accepted, beyond.since);
        }
        own
    }

    /// Every exporter, and what its failure has in common with others.
    pub(super) fn exports(&self, now: Mono) -> Vec<(Export, Option<Arc<str>>)> {
        let mut exports = Vec::with_capacity(self.containers.exporters);
        for container in self.containers.iter() {
            for exporter in container.exporters.iter().filter(|exporter| !exporter.is_split) {
                let finding = self.finding(container, exporter, now);
                let held = &exporter.held;
                let recovering = held.verdict.is_some_and(VerdictId::is_failure) && !finding.id.is_failure()
                    || held.takes_turns(finding.id, finding.rung);
                if recovering && let Some(opened) = &held.opened {
                    // It still holds; by the next report or two it has ended.
                    let mut export = (**opened).clone();
                    export.flaps = held.flaps;
                    export.last_success = exporter.last_success();
                    exports.push((export, finding.subject.as_deref().map(Arc::from)));
                    continue;
                }
                // What an annotation asks for is a row only while nothing comes of it.
                if matches!(exporter.source, Source::Annotation(_)) && !finding.id.is_failure() {
                    continue;
                }
                let known = held.verdict == Some(finding.id);
                let since = if known { held.since } else { finding.since };
                let flaps = held.flaps_of(finding.id);
                let general: [Arc<str>; 1];
                let advice = if known && !held.advice.is_empty() {
                    held.advice.as_slice()
                } else if finding.id.is_failure() {
                    // The next tick says more.
                    general = [Arc::from(catalogue::entry(finding.id).advice)];
                    general.as_slice()
                } else {
                    &[]
                };
                exports.push(self.export(container, exporter, &finding, (since, flaps), advice, now));
            }
        }
        exports
    }

    fn export(
        &self,
        container: &Container,
        exporter: &Exporter,
        finding: &Finding,
        (since, flaps): (Mono, u32),
        advice: &[Arc<str>],
        now: Mono,
    ) -> (Export, Option<Arc<str>>) {
        let case = self.case(container, exporter, now);
        let mut told = Told::default();
        let upstream = self.upstream(&case);
        let beyond = upstream.map(|upstream| (rules::judge(&upstream), upstream));
        if let Some((finding, upstream)) = beyond.filter(|(finding, _)| finding.id.is_failure()) {
            told.fact(
                "sidecar",
                format!(
                    "a sidecar ({}) takes this connection; its own, upstream, is {}",
                    told_container(upstream.container),
                    finding.id
                ),
            );
            tell(&upstream, &finding, &mut told);
        } else {
            tell(&case, finding, &mut told);
            if let Some(upstream) = upstream {
                told.fact(
                    "sidecar",
                    format!(
                        "a sidecar ({}) takes this connection and makes its own upstream",
                        told_container(upstream.container)
                    ),
                );
            }
        }
        if container.is_sidecar {
            told.fact(
                "sidecar",
                "it is a sidecar: it carries what another container of the pod sends",
            );
        }
        told.configuration(&case);
        let export = Export {
            node: None,
            id: Arc::clone(&exporter.id),
            container: container.key.clone(),
            workload: Arc::clone(&container.workload),
            pid: (container.pid != 0).then_some(container.pid),
            signal: exporter.signal,
            endpoint: exporter.endpoint.clone().or_else(|| seen_endpoint(&case)),
            written: Arc::clone(&exporter.written),
            source: exporter.source.clone(),
            proxy: container
                .destination(exporter.proxy)
                .map(|proxy| format!("{}:{}", proxy.host, proxy.port).into()),
            leg: container.leg(case.to),
            rungs: ladder::rungs(&case, finding),
            verdict: finding.id,
            reason: finding.reason.as_deref().map(Arc::from),
            severity: severity(&case, finding, flaps),
            since,
            flaps,
            evidence: told.lines,
            advice: advice.to_vec(),
            last_success: exporter.last_success(),
            cause: None,
        };
        (export, finding.subject.as_deref().map(Arc::from))
    }
}

/// Evidence for a finding, from the rule that found it.
fn tell(case: &Case<'_>, finding: &Finding, told: &mut Told) {
    if let Some(rule) = rules::ORDER.iter().find(|rule| rule.id == finding.id) {
        (rule.tells)(case, told);
    }
}

fn told_container(container: &Container) -> &str {
    let workload = &container.workload;
    let name = workload.container.as_deref().or(workload.unit.as_deref());
    name.unwrap_or("another container")
}

/// Where it sends to although nothing configures it.
fn seen_endpoint(case: &Case<'_>) -> Option<crate::model::expectation::Endpoint> {
    let to = case.to?;
    Some(crate::model::expectation::Endpoint {
        host: to.host.clone(),
        port: to.port,
        tls: None,
        path: None,
        transport: crate::model::expectation::Transport::Unknown,
    })
}

/// Whether a verdict is about attempts to connect.
fn is_of_attempts(verdict: VerdictId) -> bool {
    verdict.is_failure() && catalogue::entry(verdict).rung == Some(Rung::Connected)
}

/// Whether a container may still come up.
pub(super) fn is_young(node: &Node, container: &Container, now: Mono) -> bool {
    container.began.is_some_and(|began| now.since(began) < node.young)
}

/// Whether something arrived not long ago; over TLS, whether the peer said anything.
fn arrived_lately(case: &Case<'_>) -> bool {
    let inside_tls = case.to.filter(|to| to.tls.ok.any());
    let inside_tls = inside_tls.and_then(|to| to.tls.ok.last().max(to.traffic.down.last()));
    case.exporter
        .last_success()
        .max(inside_tls)
        .is_some_and(|at| case.now.since(at) < AGAIN)
}

fn severity(case: &Case<'_>, finding: &Finding, flaps: u32) -> Severity {
    match finding.id {
        VerdictId::Unknown => Severity::Unknown,
        id if !id.is_failure() => Severity::Ok,
        _ if is_young(case.node, case.container, case.now) => Severity::Starting,
        // It comes and goes: some of it arrives, as long as some did lately.
        _ if finding.is_partial || flaps > 0 && arrived_lately(case) => Severity::Warning,
        _ => Severity::Critical,
    }
}
