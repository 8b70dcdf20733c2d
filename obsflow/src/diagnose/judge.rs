//! Judging: the first rule that fires for each exporter, whether that is news, and what is said of it.

use std::sync::Arc;

use crate::model::time::Mono;
use crate::model::verdict::{Export, Severity, Transition, VerdictId};

use super::evidence::Told;
use super::exporter::{Container, Exporter};
use super::hysteresis::Change;
use super::rules::{self, Case, Finding};
use super::{Diagnoser, Node, ladder};

impl Diagnoser {
    pub(super) fn judge_all(&mut self, now: Mono) {
        for slot in 0..self.containers.slots() {
            let Some(container) = self.containers.get(slot) else {
                continue;
            };
            for index in 0..container.exporters.len() {
                self.judge_one(slot, index, now);
            }
        }
    }

    fn judge_one(&mut self, slot: u32, index: usize, now: Mono) {
        let Some(container) = self.containers.get(slot) else {
            return;
        };
        let Some(exporter) = container.exporters.get(index) else {
            return;
        };
        let finding = if exporter.is_split {
            // Its signals are judged; it ends with the rest of what was said of it.
            Finding::new(VerdictId::Unknown, crate::model::verdict::Rung::Configured, now)
        } else {
            self.finding(container, exporter, now)
        };
        let mut held = exporter.held.clone();
        let change = held.step(finding.id, finding.since, now);
        let opened = held.opened.take();
        let is_failure = held.verdict.is_some_and(VerdictId::is_failure);
        let mut opens = None;
        let mut closes = None;
        if change == Change::Other {
            closes = opened;
        } else {
            held.opened = opened;
        }
        // A container that may still come up raises nothing; what still fails when it is old enough does.
        if is_failure
            && held.opened.is_none()
            && held.closing.is_none()
            && !is_young(&self.node, container, now)
        {
            let export = self
                .export(container, exporter, &finding, (held.since, held.flaps), now)
                .0;
            held.opened = Some(Box::new(export.clone()));
            opens = Some(export);
        }
        if let Some(mut export) = closes {
            export.flaps = exporter.held.flaps;
            self.transitions.push(Transition {
                at: now,
                export: *export,
                opened: false,
            });
        }
        if let Some(export) = opens {
            self.transitions.push(Transition {
                at: now,
                export,
                opened: true,
            });
        }
        if let Some(exporter) = self
            .containers
            .get_mut(slot)
            .and_then(|container| container.exporters.get_mut(index))
        {
            exporter.held = held;
        }
    }

    fn case<'a>(&'a self, container: &'a Container, exporter: &'a Exporter, now: Mono) -> Case<'a> {
        Case {
            container,
            exporter,
            to: container.destination(exporter.to),
            proxy: container.destination(exporter.proxy),
            node: &self.node,
            now,
        }
    }

    fn finding(&self, container: &Container, exporter: &Exporter, now: Mono) -> Finding {
        rules::judge(&self.case(container, exporter, now))
    }

    /// Every exporter, and what its failure has in common with others.
    pub(super) fn exports(&self, now: Mono) -> Vec<(Export, Option<Arc<str>>)> {
        let mut exports = Vec::with_capacity(self.containers.exporters);
        for container in self.containers.iter() {
            for exporter in container.exporters.iter().filter(|exporter| !exporter.is_split) {
                let finding = self.finding(container, exporter, now);
                let held = &exporter.held;
                let recovering = held.verdict.is_some_and(VerdictId::is_failure) && !finding.id.is_failure();
                if recovering && let Some(opened) = &held.opened {
                    // It still holds; by the next report or two it has ended.
                    let mut export = (**opened).clone();
                    export.flaps = held.flaps;
                    export.last_success = exporter.last_success();
                    exports.push((export, None));
                    continue;
                }
                let since = if held.verdict == Some(finding.id) {
                    held.since
                } else {
                    finding.since
                };
                exports.push(self.export(
                    container,
                    exporter,
                    &finding,
                    (since, held.flaps_of(finding.id)),
                    now,
                ));
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
        now: Mono,
    ) -> (Export, Option<Arc<str>>) {
        let case = self.case(container, exporter, now);
        let mut told = Told::default();
        if let Some(rule) = rules::ORDER.iter().find(|rule| rule.id == finding.id) {
            (rule.tells)(&case, &mut told);
        }
        told.configuration(&case);
        let export = Export {
            id: Arc::clone(&exporter.id),
            container: container.key.clone(),
            workload: Arc::clone(&container.workload),
            pid: (container.pid != 0).then_some(container.pid),
            proxy: container
                .destination(exporter.proxy)
                .map(|proxy| format!("{}:{}", proxy.host, proxy.port).into()),
            signal: exporter.signal,
            endpoint: exporter.endpoint.clone().or_else(|| seen_endpoint(&case)),
            written: Arc::clone(&exporter.written),
            source: exporter.source.clone(),
            leg: container.leg(case.to),
            rungs: ladder::rungs(&case, finding),
            verdict: finding.id,
            reason: finding.reason.as_deref().map(Arc::from),
            severity: severity(&case, finding, flaps),
            since,
            flaps,
            evidence: told.lines,
            advice: Vec::new(),
            last_success: exporter.last_success(),
            cause: None,
        };
        (export, finding.subject.as_deref().map(Arc::from))
    }
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

/// Whether a container may still come up.
pub(super) fn is_young(node: &Node, container: &Container, now: Mono) -> bool {
    container.began.is_some_and(|began| now.since(began) < node.young)
}

fn severity(case: &Case<'_>, finding: &Finding, flaps: u32) -> Severity {
    match finding.id {
        VerdictId::Unknown => Severity::Unknown,
        id if !id.is_failure() => Severity::Ok,
        _ if is_young(case.node, case.container, case.now) => Severity::Starting,
        // It comes and goes: some of it arrives.
        _ if finding.is_partial || flaps > 0 => Severity::Warning,
        _ => Severity::Critical,
    }
}
