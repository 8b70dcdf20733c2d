//! Reports for tests.

use std::sync::Arc;
use std::time::Duration;

use crate::model::exchange::Signal;
use crate::model::expectation::{ContainerKey, Endpoint, Host, Source, Transport};
use crate::model::verdict::{
    Cause, Evidence, Export, Leg, Report, Rung, RungState, Rungs, Severity, VerdictId,
};
use crate::model::workload::WorkloadKind;
use crate::model::{Clock, Mono, Workload};

/// 2026-01-02T03:04:05Z
pub(crate) const CLOCK: Clock = Clock {
    offset_ns: 1_767_323_045_000_000_000 - NOW.0 as i128,
};

pub(crate) const NOW: Mono = Mono(1_000_000 * SECOND);

const SECOND: u64 = 1_000_000_000;

pub(crate) fn ago(seconds: u64) -> Mono {
    Mono(NOW.0 - seconds * SECOND)
}

pub(crate) fn report(exports: Vec<Export>) -> Report {
    Report {
        at: NOW,
        watching_since: ago(30),
        exports,
        ..Report::default()
    }
}

pub(crate) fn pod(namespace: &str, pod: &str) -> Workload {
    Workload {
        kind: WorkloadKind::Pod,
        namespace: Some(namespace.into()),
        pod: Some(pod.into()),
        pod_uid: Some("6f1c7f0e-4b9a-4c5e-9f3a-0d1e2f3a4b5c".into()),
        container_id: Some("5d".repeat(32).into()),
        container: Some("app".into()),
        cgroup_path: Some("/kubepods.slice/x".into()),
        owner: None,
        unit: None,
    }
}

pub(crate) fn endpoint(host: &str, port: u16, transport: Transport) -> Endpoint {
    let path = (transport == Transport::HttpProtobuf).then(|| "/v1/traces".into());
    Endpoint {
        host: Host::Name(host.into()),
        port,
        tls: Some(false),
        path,
        transport,
    }
}

/// A ladder that holds up to `failed`, which does not.
pub(crate) fn failed_at(failed: Rung) -> Rungs {
    let mut rungs = Rungs::default();
    for rung in Rung::ALL {
        rungs.set(
            rung,
            match rung.cmp(&failed) {
                std::cmp::Ordering::Less => RungState::Ok,
                std::cmp::Ordering::Equal => RungState::Failed,
                std::cmp::Ordering::Greater => RungState::NotReached,
            },
        );
    }
    rungs
}

pub(crate) fn all_ok() -> Rungs {
    let mut rungs = Rungs::default();
    for rung in Rung::ALL {
        rungs.set(rung, RungState::Ok);
    }
    rungs
}

pub(crate) fn fact(kind: &'static str, text: &str, count: u64, seconds_ago: u64) -> Evidence {
    Evidence {
        kind,
        text: text.into(),
        count,
        last: Some(ago(seconds_ago)),
    }
}

/// The shape of an export; the tests change what matters to them.
pub(crate) fn healthy(id: u32, workload: Workload) -> Export {
    let endpoint = endpoint("otel-collector.observability", 4317, Transport::Grpc);
    Export {
        node: None,
        id: format!("{id:012x}").into(),
        container: ContainerKey("5d".repeat(32).into()),
        workload: Arc::new(workload),
        pid: Some(4711),
        proxy: None,
        signal: Some(Signal::Traces),
        written: endpoint.to_string().into(),
        endpoint: Some(endpoint),
        source: Source::Environment("OTEL_EXPORTER_OTLP_ENDPOINT".into()),
        leg: Leg::Direct,
        rungs: all_ok(),
        verdict: VerdictId::Healthy,
        reason: None,
        severity: Severity::Ok,
        since: ago(24),
        flaps: 0,
        evidence: vec![fact("status", "answered with grpc-status 0", 5, 2)],
        advice: Vec::new(),
        last_success: Some(ago(2)),
        cause: None,
    }
}

/// A name with a letter missing.
pub(crate) fn nxdomain(id: u32, workload: Workload) -> Export {
    let endpoint = endpoint("otel-colector.observability", 4318, Transport::HttpProtobuf);
    Export {
        written: "http://otel-colector.observability:4318".into(),
        endpoint: Some(endpoint),
        rungs: failed_at(Rung::Resolved),
        verdict: VerdictId::DnsNxdomain,
        severity: Severity::Critical,
        since: ago(26),
        evidence: vec![fact(
            "lookup",
            "otel-colector.observability: every name of the search list was answered NXDOMAIN by 10.96.0.10:53: \
                 otel-colector.observability.apps.svc.cluster.local, otel-colector.observability.svc.cluster.local, \
                 otel-colector.observability.cluster.local, otel-colector.observability",
            12,
            2,
        )],
        advice: vec![
            "otel-collector.observability exists, one letter away: change OTEL_EXPORTER_OTLP_ENDPOINT to \
             http://otel-collector.observability:4318"
                .into(),
            "kubectl -n observability get svc shows what the Service is called".into(),
        ],
        last_success: None,
        ..healthy(id, workload)
    }
}

/// A Collector that is gone, for `pods` pods of three workloads.
pub(crate) fn refused(pods: u32) -> Report {
    const NAMES: [&str; 3] = ["cart-5b8d7c9f6d", "checkout-7c9d8b6f5d", "payment-6d5c7b8f9c"];
    let exports: Vec<Export> = (0..pods)
        .map(|number| {
            let name = NAMES[number as usize % NAMES.len()];
            Export {
                rungs: failed_at(Rung::Connected),
                verdict: VerdictId::Refused,
                severity: Severity::Critical,
                since: ago(130),
                evidence: vec![fact(
                    "connect",
                    "10.96.12.4:4317 answered SYN with RST (ECONNREFUSED)",
                    26,
                    1,
                )],
                last_success: Some(ago(131)),
                cause: Some("cafe00000001".into()),
                ..healthy(number, pod("shop", &format!("{name}-{number:05}")))
            }
        })
        .collect();
    Report {
        causes: vec![Cause {
            id: "cafe00000001".into(),
            verdict: VerdictId::Refused,
            reason: None,
            severity: Severity::Critical,
            subject: "otel-collector.observability:4317".into(),
            since: ago(130),
            exports: exports.iter().map(|export| Arc::clone(&export.id)).collect(),
            pods,
            workloads: 3,
            advice: vec![
                "nobody listens on port 4317 of otel-collector.observability: see whether the Collector runs, and whether \
                 its receiver otlp/grpc listens on 0.0.0.0:4317"
                    .into(),
            ],
        }],
        watching_since: ago(Duration::from_hours(2).as_secs()),
        ..report(exports)
    }
}
