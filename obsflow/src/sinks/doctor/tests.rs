//! What people and programs see.

use std::time::Duration;

use super::samples::*;
use super::{Context, Options, Selectors, View, explain, json, table, wide};
use crate::model::cluster::Owner;
use crate::model::exchange::Signal;
use crate::model::expectation::{ContainerKey, Source, Transport};
use crate::model::probe::{Check, Findings, Outcome, Step};
use crate::model::verdict::{Leg, Report, Rung, RungState, Rungs, Severity, VerdictId};
use crate::model::{Workload, verdict::Export};

const CONTEXT: Context<'_> = Context {
    node: "node-1",
    clock: CLOCK,
};

fn drawn(report: &Report, options: Options) -> String {
    table(&View::new(report, &Selectors::default()), CONTEXT, options)
}

fn at(width: usize) -> Options {
    Options {
        width,
        ..Options::default()
    }
}

fn idle(id: u32) -> Export {
    let mut rungs = Rungs::default();
    rungs.set(Rung::Configured, RungState::Ok);
    Export {
        verdict: VerdictId::Idle,
        signal: Some(Signal::Metrics),
        rungs,
        evidence: Vec::new(),
        last_success: None,
        ..healthy(id, pod("shop", "checkout-7c9d8b6f5d-x2x4z"))
    }
}

fn unknown(id: u32) -> Export {
    let mut rungs = Rungs::default();
    rungs.set(Rung::Configured, RungState::Ok);
    Export {
        verdict: VerdictId::Unknown,
        severity: Severity::Unknown,
        rungs,
        evidence: vec![fact(
            "window",
            "nothing was sent in the 30s since obsflow watches; its interval is 60s",
            0,
            0,
        )],
        last_success: None,
        ..healthy(id, pod("shop", "ads-58c7d9b6f5-q9w8e"))
    }
}

#[test]
fn nothing_fails() {
    let report = report(vec![
        healthy(1, pod("shop", "checkout-7c9d8b6f5d-x2x4z")),
        idle(2),
        healthy(
            3,
            Workload {
                unit: Some("prometheus.service".into()),
                ..Workload::default()
            },
        ),
    ]);
    insta::assert_snapshot!(drawn(&report, at(100)));
    assert_eq!(View::new(&report, &Selectors::default()).exit_code(), 0);
}

#[test]
fn one_failure() {
    let report = report(vec![
        nxdomain(1, pod("apps", "catalog-4qft48b8h5-5k447")),
        healthy(2, pod("shop", "checkout-7c9d8b6f5d-x2x4z")),
        idle(3),
    ]);
    insta::assert_snapshot!("one_failure_80", drawn(&report, at(80)));
    insta::assert_snapshot!("one_failure_160", drawn(&report, at(160)));
    insta::assert_snapshot!(
        "one_failure_ascii",
        drawn(
            &report,
            Options {
                unicode: false,
                ..at(80)
            }
        )
    );
    insta::assert_snapshot!(
        "one_failure_color",
        drawn(
            &report,
            Options {
                color: true,
                ..at(100)
            }
        )
        .replace('\x1b', "ESC")
    );
    insta::assert_snapshot!(
        "one_failure_wide",
        wide(&View::new(&report, &Selectors::default()), CONTEXT, at(80))
    );
    assert_eq!(View::new(&report, &Selectors::default()).exit_code(), 1);
}

#[test]
fn many_of_one_cause_are_one() {
    let mut report = refused(143);
    report
        .exports
        .extend((0..20).map(|n| healthy(1000 + n, pod("apps", &format!("web-{n}")))));
    let text = drawn(&report, at(100));
    assert_eq!(text.matches("refused").count(), 1, "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn starting_counts_and_is_said() {
    let report = report(vec![Export {
        severity: Severity::Starting,
        since: ago(4),
        flaps: 2,
        last_success: Some(ago(90)),
        ..nxdomain(1, pod("apps", "catalog-4qft48b8h5-5k447"))
    }]);
    insta::assert_snapshot!(drawn(&report, at(100)));
    assert_eq!(View::new(&report, &Selectors::default()).exit_code(), 1);
}

#[test]
fn what_cannot_be_told_is_said_with_what_is_missing() {
    let mut report = report(vec![
        unknown(1),
        healthy(2, pod("shop", "checkout-7c9d8b6f5d-x2x4z")),
    ]);
    report.events_lost = 12_345;
    report.exports_forgotten = 1;
    report.degraded = vec!["without drops (the kernel has no tracepoint kfree_skb): packets dropped on this node look like a black hole".into()];
    insta::assert_snapshot!(drawn(&report, at(80)));
    assert_eq!(View::new(&report, &Selectors::default()).exit_code(), 3);
}

#[test]
fn long_lists_are_cut_and_say_so() {
    let mut report = report((0..30).map(unknown).collect());
    report
        .exports
        .extend((0..12).map(|n| healthy(100 + n, pod("shop", &format!("web-{n}")))));
    let text = drawn(&report, at(100));
    assert!(
        text.contains("and 20 more exporters of which nothing can be said"),
        "{text}"
    );
    assert!(text.contains("12 exporters healthy (--all lists them)"), "{text}");
    let all = drawn(&report, Options { all: true, ..at(100) });
    assert!(all.contains("web-11") && !all.contains("--all"), "{all}");
}

#[test]
fn no_exporter_at_all() {
    insta::assert_snapshot!(drawn(&report(Vec::new()), at(80)));
    assert_eq!(
        View::new(&report(Vec::new()), &Selectors::default()).exit_code(),
        0
    );
}

#[test]
fn a_sidecar_has_two_legs() {
    let report = report(vec![
        Export {
            leg: Leg::ToSidecar,
            ..healthy(1, pod("mesh", "web-0"))
        },
        Export {
            leg: Leg::Sidecar,
            source: Source::Wire,
            rungs: failed_at(Rung::Accepted),
            verdict: VerdictId::Rejected,
            reason: Some("wrong-path".into()),
            severity: Severity::Critical,
            ..healthy(2, pod("mesh", "web-0"))
        },
    ]);
    insta::assert_snapshot!(drawn(&report, at(100)));
}

/// Names come from the wire and from containers: nothing of them reaches the terminal as it is.
#[test]
fn hostile_names_do_no_harm() {
    const EVIL: &str = "a\x1b]0;owned\x07\x1b[2J\nb\u{202e}c\u{9b}31m";
    let mut export = nxdomain(1, pod(EVIL, EVIL));
    export.written = EVIL.into();
    export.source = Source::Environment(EVIL.into());
    export.reason = Some(EVIL.into());
    export.evidence[0].text = format!("looked up {EVIL} 日本語").into();
    export.advice = vec![EVIL.into()];
    export.endpoint = Some(endpoint(EVIL, 4318, Transport::HttpProtobuf));
    let mut report = report(vec![export]);
    report.degraded = vec![EVIL.into()];
    for unicode in [true, false] {
        let options = Options { unicode, ..at(80) };
        let view = View::new(&report, &Selectors::default());
        for text in [table(&view, CONTEXT, options), wide(&view, CONTEXT, options)] {
            let bad = text
                .chars()
                .find(|c| *c != '\n' && crate::sinks::escape::is_harmful(*c));
            assert_eq!(bad, None, "{text}");
            assert!(unicode || text.is_ascii(), "{text}");
            assert!(!text.contains("\nb"), "{text}");
        }
        let line = json(&view, CONTEXT).unwrap();
        assert_eq!(
            line.find(|c: char| c != '\n' && crate::sinks::escape::is_harmful(c)),
            None
        );
        assert_eq!(line.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["exports"][0]["pod"], EVIL);
    }
    insta::assert_snapshot!(drawn(&report, at(80)));
}

/// No line is wider than the terminal, unless a single name is.
#[test]
fn lines_fit() {
    let mut report = refused(9);
    report
        .exports
        .push(nxdomain(50, pod("apps", "catalog-4qft48b8h5-5k447")));
    report.exports.push(unknown(51));
    report.exports.push(idle(52));
    for width in [60, 72, 80, 100, 119, 120, 160, 200] {
        for all in [false, true] {
            let text = drawn(&report, Options { all, ..at(width) });
            for line in text.lines() {
                assert!(textwrap::core::display_width(line) <= width, "{width}: {line:?}");
            }
            for name in [
                "apps/catalog-4qft48b8h5-5k447",
                "http://otel-colector.observability:4318",
                "shop/ads-58c7d9b6f5-q9w8e",
            ] {
                assert!(text.contains(name), "{width}: {name} in {text}");
            }
        }
    }
}

#[test]
fn a_part_of_a_report() {
    let report = refused(9);
    let selectors = Selectors::parse(&["shop/cart".to_owned(), "shop/chekout".to_owned()]).unwrap();
    let view = View::new(&report, &selectors);
    assert_eq!(view.exports.len(), 3);
    assert_eq!(view.causes[0].exports.len(), 3);
    assert_eq!(view.unmatched.len(), 1);
    assert!(
        view.unmatched[0].contains("did you mean shop/checkout-7c9d8b6f5d-"),
        "{:?}",
        view.unmatched
    );
    assert_eq!(view.exit_code(), 1);
    let text = table(&view, CONTEXT, at(100));
    // The cause is what it is, whoever was asked for.
    assert!(text.contains("9 exporters of 3 workloads"), "{text}");
    let nobody = Selectors::parse(&["nobody".to_owned()]).unwrap();
    let view = View::new(&report, &nobody);
    assert_eq!((view.exit_code(), view.exports.len()), (3, 0));
    assert!(view.unmatched[0].contains("and 4 more"), "{:?}", view.unmatched);
}

#[test]
fn json_is_what_is_documented() {
    let mut report = refused(2);
    let owned = Workload {
        owner: Some(Owner {
            kind: "Deployment".into(),
            name: "catalog".into(),
        }),
        ..pod("apps", "catalog-4qft48b8h5-5k447")
    };
    report.exports.push(nxdomain(50, owned));
    let line = json(&View::new(&report, &Selectors::default()), CONTEXT).unwrap();
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap());
}

fn checked() -> Findings {
    let check = |step, target: &str, outcome, detail: &str| Check {
        step,
        target: target.into(),
        outcome,
        detail: detail.into(),
        took: Duration::from_micros(1_900),
    };
    Findings {
        checks: vec![
            check(
                Step::ResolveAsConfigured,
                "otel-collector.observability",
                Outcome::Ok,
                "10.0.4.7 as otel-collector.observability.svc.cluster.local",
            ),
            check(Step::Connect, "10.0.4.7:4317", Outcome::Ok, "connected"),
            check(
                Step::ExportHttpProtobuf,
                "http://otel-collector.observability:4317/v1/traces at 10.0.4.7:4317",
                Outcome::Failed,
                "the server answers in HTTP/2: it speaks gRPC here, not HTTP/1.1",
            ),
            check(
                Step::ExportGrpc,
                "http://otel-collector.observability:4317 at 10.0.4.7:4317",
                Outcome::Skipped,
                "the 12 connections of a check are used up",
            ),
        ],
        works: Some(false),
        conclusion: vec![
            "gRPC on port 4317 answers; HTTP is configured for it: use port 4318 or \
             OTEL_EXPORTER_OTLP_PROTOCOL=grpc."
                .into(),
        ],
    }
}

#[test]
fn what_checks_found_stands_below() {
    let mut report = refused(3);
    report
        .exports
        .push(nxdomain(50, pod("apps", "catalog-4qft48b8h5-5k447")));
    report
        .exports
        .push(healthy(51, pod("shop", "checkout-7c9d8b6f5d-x2x4z")));
    for (number, export) in report.exports.iter_mut().enumerate() {
        export.container = ContainerKey(format!("{number:064x}").into());
    }
    report.exports.push(Export {
        id: "0123456789ab".into(),
        signal: Some(Signal::Logs),
        ..report.exports[1].clone()
    });
    let view = View::new(&report, &Selectors::default());
    let chosen = view.to_probe(2);
    assert_eq!(
        chosen.iter().map(|export| &*export.id).collect::<Vec<_>>(),
        [&*report.exports[0].id, &*report.exports[3].id],
        "one of each cause first"
    );
    assert_eq!(
        view.to_probe(10).len(),
        4,
        "neither what is healthy, nor a destination twice"
    );
    let probes = chosen
        .iter()
        .map(|export| (std::sync::Arc::clone(&export.id), checked()))
        .collect();
    let view = view.with_probes(probes);
    insta::assert_snapshot!(table(&view, CONTEXT, at(100)));
    let line = json(&view, CONTEXT).unwrap();
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    validate(&value).unwrap();
    assert_eq!(value["exports"][0]["probe"]["works"], false);
    assert_eq!(value["exports"][0]["probe"]["checks"][1]["outcome"], "ok");
    assert_eq!(value["exports"][1]["probe"], serde_json::Value::Null);
}

/// The schema that docs/doctor.md points to.
fn schema() -> serde_json::Value {
    serde_json::from_str(include_str!("../../../../docs/doctor.schema.json")).unwrap()
}

pub(super) fn validate(value: &serde_json::Value) -> Result<(), String> {
    let mut compiler = boon::Compiler::new();
    compiler.enable_format_assertions();
    compiler.add_resource("doctor.schema.json", schema()).unwrap();
    let mut schemas = boon::Schemas::new();
    let index = compiler.compile("doctor.schema.json", &mut schemas).unwrap();
    schemas
        .validate(value, index)
        .map_err(|error| format!("{error:#}"))
}

/// A report with everything that a report can have.
fn full() -> Report {
    let mut report = refused(2);
    report
        .exports
        .push(nxdomain(50, pod("apps", "catalog-4qft48b8h5-5k447")));
    report.exports.push(idle(51));
    report.exports.push(unknown(52));
    let mut no_endpoint = healthy(53, Workload::default());
    no_endpoint.endpoint = None;
    no_endpoint.signal = None;
    no_endpoint.evidence[0].last = None;
    report.exports.push(no_endpoint);
    report
}

#[test]
fn json_follows_its_schema() {
    let report = full();
    for report in [&report, &Report::default()] {
        for selectors in [
            Selectors::default(),
            Selectors::parse(&["nobody".to_owned()]).unwrap(),
        ] {
            let line = json(&View::new(report, &selectors), CONTEXT).unwrap();
            validate(&serde_json::from_str(&line).unwrap()).unwrap();
        }
    }
    // The schema says no to what it does not describe.
    let line = json(&View::new(&report, &Selectors::default()), CONTEXT).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&line).unwrap();
    value["exports"][0]["verdict"] = "broken".into();
    assert!(validate(&value).is_err());
}

/// Every name that the model has is one that the schema has.
#[test]
fn the_schema_knows_every_name() {
    let schema = schema();
    let names = |pointer: &str| -> Vec<String> {
        let values = schema
            .pointer(pointer)
            .and_then(|values| values.as_array())
            .unwrap();
        values
            .iter()
            .filter_map(|value| value.as_str().map(str::to_owned))
            .collect()
    };
    assert_eq!(
        names("/$defs/verdict/enum"),
        VerdictId::ALL.iter().map(|id| id.name()).collect::<Vec<_>>()
    );
    assert_eq!(
        names("/$defs/export/properties/signal/enum"),
        Signal::ALL.map(Signal::name)
    );
    assert_eq!(
        names("/$defs/check/properties/step/enum"),
        Step::ALL.map(Step::name)
    );
    assert_eq!(
        names("/$defs/check/properties/outcome/enum"),
        Outcome::ALL.map(Outcome::name)
    );
    assert_eq!(names("/$defs/rungs/required"), Rung::ALL.map(Rung::name));
    let severities = [
        Severity::Ok,
        Severity::Unknown,
        Severity::Starting,
        Severity::Warning,
        Severity::Critical,
    ];
    assert_eq!(names("/$defs/severity/enum"), severities.map(Severity::name));
    let legs = [Leg::Direct, Leg::ToSidecar, Leg::Sidecar];
    assert_eq!(names("/$defs/export/properties/leg/enum"), legs.map(Leg::name));
    let states = [
        RungState::Ok,
        RungState::Failed,
        RungState::Unknown,
        RungState::NotReached,
        RungState::NotApplicable,
    ];
    assert_eq!(names("/$defs/rung/enum"), states.map(RungState::name));
}

#[test]
fn every_verdict_has_a_page() {
    for verdict in VerdictId::ALL {
        let page = explain(crate::diagnose::catalogue::entry(*verdict), at(80));
        assert!(page.starts_with(verdict.name()), "{page}");
        assert!(page.contains("\nWhat to do\n") && !page.contains('`'), "{page}");
        for line in page.lines() {
            assert!(textwrap::core::display_width(line) <= 80, "{verdict}: {line}");
        }
    }
    let misconfigured = crate::diagnose::catalogue::entry(VerdictId::Misconfigured);
    insta::assert_snapshot!(explain(misconfigured, at(80)));
}
