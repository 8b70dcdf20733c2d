//! What is said of an answer without flows.

use std::sync::Arc;

use super::empty;
use crate::api::Reported;
use crate::filter::{self, Flag, Term, Wanted};
use crate::model::expectation::{ContainerKey, Endpoint, Host, Source, Transport};
use crate::model::verdict::{Export, Leg, Report, Rung, RungState, Rungs, Severity, VerdictId};
use crate::model::workload::{Workload, WorkloadKind};
use crate::model::{Clock, Mono};

const NOW: Mono = Mono(9_060_000_000_000);

fn wanted(flags: &[(Flag, &str)]) -> Wanted {
    let term = |(flag, value): &(Flag, &str)| Term {
        flag: *flag,
        value: (*value).to_owned(),
    };
    filter::parse(&flags.iter().map(term).collect::<Vec<_>>()).unwrap()
}

fn explain(wanted: &Wanted, reported: Option<&Reported>) -> String {
    empty::explain(wanted, reported, NOW)
}

/// The question of incident A1.
fn a1() -> Wanted {
    wanted(&[
        (Flag::FromPod, "apps/xplane-image-gallery"),
        (Flag::ToPort, "8428"),
    ])
}

fn export(pod: &str, port: u16) -> Export {
    let mut rungs = Rungs::default();
    rungs.set(Rung::Configured, RungState::Failed);
    for rung in [Rung::Resolved, Rung::Connected, Rung::Sent, Rung::Accepted] {
        rungs.set(rung, RungState::NotReached);
    }
    Export {
        node: None,
        id: "0123456789ab".into(),
        container: ContainerKey("c".into()),
        workload: Arc::new(Workload {
            kind: WorkloadKind::Pod,
            namespace: Some("apps".into()),
            pod: Some(pod.into()),
            ..Workload::default()
        }),
        pid: None,
        proxy: None,
        signal: None,
        endpoint: Some(Endpoint {
            host: Host::Name("vmsingle.monitoring".into()),
            port,
            tls: Some(false),
            path: None,
            transport: Transport::HttpProtobuf,
        }),
        written: "http://vmsingle.monitoring:8428".into(),
        source: Source::Environment("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT".into()),
        leg: Leg::Direct,
        rungs,
        verdict: VerdictId::Silent,
        reason: None,
        severity: Severity::Critical,
        since: Mono(0),
        flaps: 0,
        evidence: Vec::new(),
        advice: Vec::new(),
        last_success: None,
        cause: None,
    }
}

fn reported(exports: Vec<Export>) -> Reported {
    Reported {
        report: Report {
            at: NOW,
            exports,
            ..Report::default()
        },
        clock: Clock { offset_ns: 0 },
        node: "n".to_owned(),
        version: "1".to_owned(),
    }
}

#[test]
fn what_was_configured_and_never_tried_is_said() {
    let reported = reported(vec![
        export("xplane-image-gallery-5d9c", 8428),
        export("other", 8428),
    ]);
    assert_eq!(
        explain(&a1(), Some(&reported)),
        "0 flows; watching this pod for 2h31m; it is configured for 8428 and never tried: see obsflow doctor \
         apps/xplane-image-gallery-5d9c"
    );
}

#[test]
fn what_was_tried_is_said_as_it_is() {
    let mut refused = export("xplane-image-gallery-5d9c", 8428);
    refused.rungs.set(Rung::Connected, RungState::Failed);
    refused.verdict = VerdictId::Refused;
    let line = explain(&a1(), Some(&reported(vec![refused.clone()])));
    assert!(
        line.contains("it is configured for 8428 and it is refused: see"),
        "{line}"
    );
    refused.last_success = Some(Mono(NOW.0 - 300_000_000_000));
    let line = explain(&a1(), Some(&reported(vec![refused])));
    assert!(
        line.contains("it is configured for 8428, last accepted 5m ago: see"),
        "{line}"
    );
}

/// Inside TLS nothing is seen as accepted: what stopped there has the rungs of what never began.
#[test]
fn only_what_is_silent_was_never_tried() {
    let mut one = export("xplane-image-gallery-5d9c", 8428);
    for (verdict, expected) in [
        (VerdictId::Stopped, " and it is stopped: see"),
        (VerdictId::Idle, " and it is idle: see"),
        (VerdictId::Unknown, ", and not enough was seen to say more: see"),
    ] {
        one.verdict = verdict;
        let line = explain(&a1(), Some(&reported(vec![one.clone()])));
        let expected = format!("0 flows; watching this node for 2h31m; it is configured for 8428{expected}");
        assert!(line.starts_with(&expected), "{line}");
    }
    // Another signal of the same port is on the wire.
    let silent = export("xplane-image-gallery-5d9c", 8428);
    let line = explain(&a1(), Some(&reported(vec![silent.clone(), one])));
    assert!(line.contains(" and it is silent, unknown: see"), "{line}");
    // It sent before this agent began.
    let before = Export {
        last_success: Some(Mono(NOW.0 - 300_000_000_000)),
        ..silent
    };
    let line = explain(&a1(), Some(&reported(vec![before])));
    assert!(line.contains(", last accepted 5m ago: see"), "{line}");
}

#[test]
fn a_pod_is_watched_since_it_began() {
    let mut one = export("xplane-image-gallery-5d9c", 8428);
    one.since = Mono(NOW.0 - 30_000_000_000);
    let line = explain(&a1(), Some(&reported(vec![one.clone()])));
    assert!(line.contains("; watching this pod for 30s;"), "{line}");
    // What was remembered of before is no time of watching.
    let mut reported = reported(vec![one]);
    reported.report.watching_since = Mono(NOW.0 - 20_000_000_000);
    let line = explain(&a1(), Some(&reported));
    assert!(line.contains("; watching this pod for 20s;"), "{line}");
}

#[test]
fn two_pods_are_not_one() {
    let exports = vec![
        export("xplane-image-gallery-a", 8428),
        export("xplane-image-gallery-b", 8428),
    ];
    assert_eq!(
        explain(&a1(), Some(&reported(exports))),
        "0 flows; watching these pods for 2h31m; they are configured for 8428 and never tried: see obsflow doctor"
    );
}

#[test]
fn another_port_is_said() {
    let line = explain(
        &a1(),
        Some(&reported(vec![export("xplane-image-gallery-a", 4318)])),
    );
    assert!(
        line.contains("; it exports to 4318, to nothing that was asked for: see"),
        "{line}"
    );
}

#[test]
fn what_is_not_known_is_not_invented() {
    assert_eq!(explain(&a1(), None), "0 flows");
    assert_eq!(
        explain(&a1(), Some(&reported(Vec::new()))),
        "0 flows; watching this node for 2h31m; no exporter is known in a pod of that name: see obsflow doctor"
    );
    assert_eq!(
        explain(&Wanted::default(), Some(&reported(vec![export("x", 8428)]))),
        "0 flows; watching this node for 2h31m"
    );
}

/// Nothing changed for two hours: that is no reason to say less of how long it was looked at.
#[test]
fn an_old_report_is_of_now() {
    let mut reported = reported(vec![export("xplane-image-gallery-a", 8428)]);
    reported.report.at = Mono(1);
    assert!(explain(&a1(), Some(&reported)).contains("watching this pod for 2h31m"));
    // Clocks of two machines may differ.
    reported.report.at = NOW;
    let line = empty::explain(&a1(), Some(&reported), Mono(1));
    assert!(line.contains("watching this pod for 2h31m"), "{line}");
}
