//! A report for programs. Documented in docs/doctor.md and docs/doctor.schema.json: fields are added, never renamed, and what
//! is not known is `null`.

use std::borrow::Cow;
use std::io;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::view::{CauseView, View};
use super::{Context, names};
use crate::model::answer::{self, Answer};
use crate::model::probe::Findings;
use crate::model::verdict::{Evidence, Export, Rung};
use crate::model::{Clock, Mono};
use crate::sinks::json::TerminalSafe;

/// The report, as `-o json` prints it: one line, a newline at its end.
///
/// # Errors
/// Never in practice: a string is written to.
pub fn json(view: &View<'_>, context: Context<'_>) -> io::Result<String> {
    let moment = |at| Moment(context.clock.wall(at));
    let report = view.report;
    let body = Body {
        node: context.node,
        time: moment(report.at),
        watching_since: moment(report.watching_since),
        exports: view
            .exports
            .iter()
            .map(|export| Exporter::new(export, view.probes.get(&export.id), context.clock))
            .collect(),
        causes: view
            .causes
            .iter()
            .map(|cause| Group::new(cause, context.clock))
            .collect(),
        unmatched: &view.unmatched,
        events_lost: report.events_lost,
        exports_forgotten: report.exports_forgotten,
        degraded: report.degraded.iter().map(|hook| &**hook).collect(),
        cluster: view.answer.map(|answer| Asked::new(answer, context.clock)),
    };
    let mut line = Vec::new();
    body.serialize(&mut serde_json::Serializer::with_formatter(
        &mut line,
        TerminalSafe,
    ))?;
    line.push(b'\n');
    String::from_utf8(line).map_err(io::Error::other)
}

#[derive(Serialize)]
struct Body<'a> {
    node: &'a str,
    time: Moment,
    watching_since: Moment,
    exports: Vec<Exporter<'a>>,
    causes: Vec<Group<'a>>,
    unmatched: &'a [String],
    events_lost: u64,
    exports_forgotten: u64,
    degraded: Vec<&'a str>,
    /// Only of a cluster.
    #[serde(flatten)]
    cluster: Option<Asked<'a>>,
}

/// Who was asked.
#[derive(Serialize)]
struct Asked<'a> {
    nodes: Vec<Node<'a>>,
    not_asked: Vec<Unknown<'a>>,
    pods: usize,
    pods_asked: usize,
}

#[derive(Serialize)]
struct Node<'a> {
    node: &'a str,
    version: &'a str,
    time: Moment,
    watching_since: Moment,
    events_lost: u64,
    exports_forgotten: u64,
    degraded: Vec<&'a str>,
}

#[derive(Serialize)]
struct Unknown<'a> {
    node: &'a str,
    agent: Option<&'a str>,
    pods: usize,
    why: &'a str,
}

impl<'a> Asked<'a> {
    fn new(answer: &'a Answer, clock: Clock) -> Self {
        let moment = |at| Moment(clock.wall(at));
        let node = |node: &'a answer::Node| Node {
            node: &node.name,
            version: &node.version,
            time: moment(node.at),
            watching_since: moment(node.watching_since),
            events_lost: node.events_lost,
            exports_forgotten: node.exports_forgotten,
            degraded: node.degraded.iter().map(|hook| &**hook).collect(),
        };
        let unknown = |not: &'a answer::NotAsked| Unknown {
            node: &not.node,
            agent: not.agent.as_deref(),
            pods: not.pods,
            why: &not.why,
        };
        Self {
            nodes: answer.nodes.iter().map(node).collect(),
            not_asked: answer.not_asked.iter().map(unknown).collect(),
            pods: answer.pods,
            pods_asked: answer.pods_asked,
        }
    }
}

#[derive(Serialize)]
struct Exporter<'a> {
    /// Only of a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    id: &'a str,
    namespace: Option<&'a str>,
    pod: Option<&'a str>,
    pod_uid: Option<&'a str>,
    container: Option<&'a str>,
    container_id: Option<&'a str>,
    unit: Option<&'a str>,
    cgroup_path: Option<&'a str>,
    workload: Cow<'a, str>,
    owner: Option<Runs<'a>>,
    signal: Option<&'static str>,
    endpoint: Option<String>,
    written: &'a str,
    source: String,
    leg: &'static str,
    rungs: Ladder,
    verdict: &'static str,
    reason: Option<&'a str>,
    severity: &'static str,
    since: Moment,
    flaps: u32,
    evidence: Vec<Fact<'a>>,
    advice: Vec<&'a str>,
    last_success: Option<Moment>,
    cause: Option<&'a str>,
    probe: Option<Probed<'a>>,
}

/// What runs a pod.
#[derive(Serialize)]
struct Runs<'a> {
    kind: &'a str,
    name: &'a str,
}

/// What active checks found.
#[derive(Serialize)]
struct Probed<'a> {
    works: Option<bool>,
    conclusion: Vec<&'a str>,
    checks: Vec<Checked<'a>>,
}

#[derive(Serialize)]
struct Checked<'a> {
    step: &'static str,
    target: &'a str,
    outcome: &'static str,
    detail: &'a str,
    took_ms: u64,
}

impl<'a> Probed<'a> {
    fn new(findings: &'a Findings) -> Self {
        Self {
            works: findings.works,
            conclusion: findings.conclusion.iter().map(|says| &**says).collect(),
            checks: findings
                .checks
                .iter()
                .map(|check| Checked {
                    step: check.step.name(),
                    target: &check.target,
                    outcome: check.outcome.name(),
                    detail: &check.detail,
                    took_ms: check.took.as_millis().try_into().unwrap_or(u64::MAX),
                })
                .collect(),
        }
    }
}

#[derive(Serialize)]
struct Ladder {
    configured: &'static str,
    resolved: &'static str,
    connected: &'static str,
    sent: &'static str,
    accepted: &'static str,
}

#[derive(Serialize)]
struct Fact<'a> {
    kind: &'a str,
    text: &'a str,
    count: u64,
    last: Option<Moment>,
}

#[derive(Serialize)]
struct Group<'a> {
    id: &'a str,
    verdict: &'static str,
    reason: Option<&'a str>,
    severity: &'static str,
    subject: &'a str,
    since: Moment,
    /// On the node, whatever was asked for.
    exporters: usize,
    pods: u32,
    workloads: u32,
    /// Only of a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<usize>,
    /// Those of `exports`.
    exports: Vec<&'a str>,
    advice: Vec<&'a str>,
}

/// RFC 3339 in UTC, with milliseconds.
#[derive(Clone, Copy)]
struct Moment(Timestamp);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.3}", self.0))
    }
}

impl<'a> Exporter<'a> {
    fn new(export: &'a Export, probe: Option<&'a Findings>, clock: Clock) -> Self {
        let workload = &export.workload;
        let moment = |at: Mono| Moment(clock.wall(at));
        let rung = |rung| export.rungs.get(rung).name();
        Self {
            node: export.node.as_deref(),
            id: &export.id,
            namespace: workload.namespace.as_deref(),
            pod: workload.pod.as_deref(),
            pod_uid: workload.pod_uid.as_deref(),
            container: workload.container.as_deref(),
            container_id: workload.container_id.as_deref(),
            unit: workload.unit.as_deref(),
            cgroup_path: workload.cgroup_path.as_deref(),
            workload: names::workload(workload),
            owner: workload.owner.as_ref().map(|owner| Runs {
                kind: &owner.kind,
                name: &owner.name,
            }),
            signal: export.signal.map(|signal| signal.name()),
            endpoint: export.endpoint.as_ref().map(ToString::to_string),
            written: &export.written,
            source: export.source.to_string(),
            leg: export.leg.name(),
            rungs: Ladder {
                configured: rung(Rung::Configured),
                resolved: rung(Rung::Resolved),
                connected: rung(Rung::Connected),
                sent: rung(Rung::Sent),
                accepted: rung(Rung::Accepted),
            },
            verdict: export.verdict.name(),
            reason: export.reason.as_deref(),
            severity: export.severity.name(),
            since: moment(export.since),
            flaps: export.flaps,
            evidence: export
                .evidence
                .iter()
                .map(
                    |Evidence {
                         kind,
                         text,
                         count,
                         last,
                     }| Fact {
                        kind,
                        text,
                        count: *count,
                        last: last.map(moment),
                    },
                )
                .collect(),
            advice: export.advice.iter().map(|advice| &**advice).collect(),
            last_success: export.last_success.map(moment),
            cause: export.cause.as_deref(),
            probe: probe.map(Probed::new),
        }
    }
}

impl<'a> Group<'a> {
    fn new(view: &CauseView<'a>, clock: Clock) -> Self {
        let cause = view.cause;
        Self {
            id: &cause.id,
            verdict: cause.verdict.name(),
            reason: cause.reason.as_deref(),
            severity: cause.severity.name(),
            subject: &cause.subject,
            since: Moment(clock.wall(cause.since)),
            exporters: cause.exports.len(),
            pods: cause.pods,
            workloads: cause.workloads,
            nodes: (view.nodes > 0).then_some(view.nodes),
            exports: view.exports.iter().map(|export| &*export.id).collect(),
            advice: cause.advice.iter().map(|advice| &**advice).collect(),
        }
    }
}
