//! Reports.

use std::sync::Arc;

use super::super::v1;
use super::endpoint::{
    endpoint_from, endpoint_to, shared, signal_from, source_from, source_to, text, workload_from, workload_to,
};
use super::{ConvertError, by_name, kind, mono, stamp};
use crate::model::expectation::ContainerKey;
use crate::model::verdict::{
    Cause, Evidence, Export, Leg, Report, Rung, RungState, Rungs, Severity, VerdictId,
};
use crate::model::{Clock, Mono};

const STATES: [RungState; 5] = [
    RungState::Ok,
    RungState::Failed,
    RungState::Unknown,
    RungState::NotReached,
    RungState::NotApplicable,
];

const SEVERITIES: [Severity; 5] = [
    Severity::Ok,
    Severity::Unknown,
    Severity::Starting,
    Severity::Warning,
    Severity::Critical,
];

const LEGS: [Leg; 3] = [Leg::Direct, Leg::ToSidecar, Leg::Sidecar];

/// A report as a message; `clock` is that of the machine it is about.
#[must_use]
pub fn report_to(report: &Report, clock: Clock, node: &str, version: &str) -> v1::Report {
    v1::Report {
        at: Some(wall(clock, report.at)),
        watching_since: Some(wall(clock, report.watching_since)),
        node: node.to_owned(),
        version: version.to_owned(),
        exports: report
            .exports
            .iter()
            .map(|export| export_to(export, clock))
            .collect(),
        causes: report.causes.iter().map(|cause| cause_to(cause, clock)).collect(),
        events_lost: report.events_lost,
        exports_forgotten: report.exports_forgotten,
        degraded: strings(&report.degraded),
    }
}

/// A report of a message, in the time of [`super::WALL`].
///
/// # Errors
/// When it says something that is not known here.
pub fn report_from(report: v1::Report) -> Result<Report, ConvertError> {
    Ok(Report {
        at: mono("at", report.at)?,
        watching_since: mono("watching_since", report.watching_since)?,
        exports: report
            .exports
            .into_iter()
            .map(export_from)
            .collect::<Result<_, _>>()?,
        causes: report
            .causes
            .into_iter()
            .map(cause_from)
            .collect::<Result<_, _>>()?,
        events_lost: report.events_lost,
        exports_forgotten: report.exports_forgotten,
        degraded: arcs(report.degraded),
    })
}

fn wall(clock: Clock, at: Mono) -> prost_types::Timestamp {
    stamp(clock.wall(at))
}

fn strings(texts: &[Arc<str>]) -> Vec<String> {
    texts.iter().map(|text| text.to_string()).collect()
}

fn arcs(texts: Vec<String>) -> Vec<Arc<str>> {
    texts.into_iter().map(Arc::from).collect()
}

fn verdict(name: &str) -> Result<VerdictId, ConvertError> {
    VerdictId::by_name(name).ok_or_else(|| ConvertError::unknown("verdict", name))
}

fn severity(name: &str) -> Result<Severity, ConvertError> {
    by_name("severity", name, &SEVERITIES, Severity::name)
}

fn export_to(export: &Export, clock: Clock) -> v1::Export {
    v1::Export {
        id: export.id.to_string(),
        container: export.container.to_string(),
        workload: Some(workload_to(&export.workload)),
        pid: export.pid,
        proxy: text(export.proxy.as_ref()),
        signal: export.signal.map(|signal| signal.name().to_owned()),
        endpoint: export.endpoint.as_ref().map(endpoint_to),
        written: export.written.to_string(),
        source: Some(source_to(&export.source)),
        leg: export.leg.name().to_owned(),
        rungs: Some(rungs_to(export.rungs)),
        verdict: export.verdict.name().to_owned(),
        reason: text(export.reason.as_ref()),
        severity: export.severity.name().to_owned(),
        since: Some(wall(clock, export.since)),
        flaps: export.flaps,
        evidence: export
            .evidence
            .iter()
            .map(|evidence| v1::Evidence {
                kind: evidence.kind.to_owned(),
                text: evidence.text.to_string(),
                count: evidence.count,
                last: evidence.last.map(|last| wall(clock, last)),
            })
            .collect(),
        advice: strings(&export.advice),
        last_success: export.last_success.map(|at| wall(clock, at)),
        cause: text(export.cause.as_ref()),
    }
}

fn export_from(export: v1::Export) -> Result<Export, ConvertError> {
    Ok(Export {
        node: None,
        id: export.id.into(),
        container: ContainerKey(export.container.into()),
        workload: Arc::new(workload_from(
            export.workload.ok_or(ConvertError::Missing("workload"))?,
        )?),
        pid: export.pid,
        proxy: shared(export.proxy),
        signal: signal_from(export.signal.as_deref())?,
        endpoint: export.endpoint.map(endpoint_from).transpose()?,
        written: export.written.into(),
        source: source_from(export.source.ok_or(ConvertError::Missing("source"))?)?,
        leg: by_name("leg", &export.leg, &LEGS, Leg::name)?,
        rungs: rungs_from(&export.rungs.ok_or(ConvertError::Missing("rungs"))?)?,
        verdict: verdict(&export.verdict)?,
        reason: shared(export.reason),
        severity: severity(&export.severity)?,
        since: mono("since", export.since)?,
        flaps: export.flaps,
        evidence: export
            .evidence
            .into_iter()
            .map(evidence_from)
            .collect::<Result<_, _>>()?,
        advice: arcs(export.advice),
        last_success: export
            .last_success
            .map(|at| mono("last_success", Some(at)))
            .transpose()?,
        cause: shared(export.cause),
    })
}

fn evidence_from(evidence: v1::Evidence) -> Result<Evidence, ConvertError> {
    Ok(Evidence {
        kind: kind(&evidence.kind)?,
        text: evidence.text.into(),
        count: evidence.count,
        last: evidence.last.map(|at| mono("last", Some(at))).transpose()?,
    })
}

fn rungs_to(rungs: Rungs) -> v1::Rungs {
    let state = |rung| rungs.get(rung).name().to_owned();
    v1::Rungs {
        configured: state(Rung::Configured),
        resolved: state(Rung::Resolved),
        connected: state(Rung::Connected),
        sent: state(Rung::Sent),
        accepted: state(Rung::Accepted),
    }
}

fn rungs_from(message: &v1::Rungs) -> Result<Rungs, ConvertError> {
    let mut rungs = Rungs::default();
    for (rung, state) in [
        (Rung::Configured, &message.configured),
        (Rung::Resolved, &message.resolved),
        (Rung::Connected, &message.connected),
        (Rung::Sent, &message.sent),
        (Rung::Accepted, &message.accepted),
    ] {
        rungs.set(rung, by_name(rung.name(), state, &STATES, RungState::name)?);
    }
    Ok(rungs)
}

fn cause_to(cause: &Cause, clock: Clock) -> v1::Cause {
    v1::Cause {
        id: cause.id.to_string(),
        verdict: cause.verdict.name().to_owned(),
        reason: text(cause.reason.as_ref()),
        severity: cause.severity.name().to_owned(),
        subject: cause.subject.to_string(),
        since: Some(wall(clock, cause.since)),
        exports: strings(&cause.exports),
        pods: cause.pods,
        workloads: cause.workloads,
        advice: strings(&cause.advice),
    }
}

fn cause_from(cause: v1::Cause) -> Result<Cause, ConvertError> {
    Ok(Cause {
        id: cause.id.into(),
        verdict: verdict(&cause.verdict)?,
        reason: shared(cause.reason),
        severity: severity(&cause.severity)?,
        subject: cause.subject.into(),
        since: mono("since", cause.since)?,
        exports: arcs(cause.exports),
        pods: cause.pods,
        workloads: cause.workloads,
        advice: arcs(cause.advice),
    })
}
