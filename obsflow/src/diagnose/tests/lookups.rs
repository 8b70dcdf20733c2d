//! `dns-*` and what they stay quiet on.

use super::scene::{Scene, addr, drop_seen, evidence, expectation, http, workload};
use crate::model::event::Protocol;
use crate::model::exchange::Signal;
use crate::model::observation::{LookupOutcome, What};
use crate::model::verdict::{Rung, RungState, Severity, VerdictId};

const UP: &str = "10.100.0.1:4318";

#[test]
fn nxdomain_on_every_name_fires_at_once_and_names_them() {
    let mut scene = Scene::traces();
    scene.after(1000).lookup("otel.obs", LookupOutcome::NxDomain, &[]);
    scene.after(1000);
    let export = scene.export();
    assert_eq!(export.verdict, VerdictId::DnsNxdomain);
    assert_eq!(export.severity, Severity::Critical);
    assert_eq!(export.rungs.get(Rung::Configured), RungState::Ok);
    assert_eq!(export.rungs.get(Rung::Resolved), RungState::Failed);
    assert_eq!(export.rungs.get(Rung::Connected), RungState::NotReached);
    let text = evidence(&export);
    assert!(text.contains("otel.obs.shop.svc.cluster.local"), "{text}");
    assert!(text.contains("environment OTEL_EXPORTER_OTLP_ENDPOINT"), "{text}");
    assert_eq!(scene.transitions.len(), 1);
    assert!(scene.transitions[0].opened);
}

#[test]
fn a_name_that_resolves_ends_it_within_five_seconds() {
    let mut scene = Scene::traces();
    scene
        .lookup("otel.obs", LookupOutcome::NxDomain, &[])
        .after(30_000);
    assert_eq!(scene.verdict(), VerdictId::DnsNxdomain);
    scene.lookup("otel.obs", LookupOutcome::Resolved, &["10.100.0.1"]);
    scene.connect(UP);
    scene.after(5000);
    assert_eq!(scene.failures(), []);
    let opened: Vec<bool> = scene.transitions.iter().map(|t| t.opened).collect();
    assert_eq!(opened, [true, false]);
}

#[test]
fn other_names_of_the_container_do_not_concern_it() {
    let mut scene = Scene::traces();
    scene.lookup("database.shop", LookupOutcome::NxDomain, &[]);
    scene.lookup("otel.observability", LookupOutcome::NxDomain, &[]);
    scene.container = 2;
    scene.lookup("otel.obs", LookupOutcome::NxDomain, &[]);
    scene.after(5000);
    assert_eq!(scene.failures(), []);
}

#[test]
fn a_search_that_finds_it_at_the_third_suffix_is_healthy() {
    let mut scene = Scene::traces();
    for _ in 0..10 {
        scene.lookup("otel.obs", LookupOutcome::Resolved, &["10.100.0.1"]);
        scene.after(5000);
        assert_eq!(scene.failures(), []);
    }
}

#[test]
fn server_failures_outrank_the_nxdomains_beside_them() {
    for (outcome, reason) in [
        (LookupOutcome::ServerFailure(2), "SERVFAIL"),
        (LookupOutcome::ServerFailure(5), "REFUSED"),
        (LookupOutcome::NoData, "NODATA"),
    ] {
        let mut scene = Scene::traces();
        scene.lookup("otel.obs", LookupOutcome::NxDomain, &[]);
        scene.lookup("otel.obs", outcome, &[]).after(1000);
        scene.lookup("otel.obs", LookupOutcome::NxDomain, &[]).after(1000);
        let export = scene.export();
        assert_eq!(export.verdict, VerdictId::DnsFailure);
        assert_eq!(export.reason.as_deref(), Some(reason));
    }
}

#[test]
fn the_cause_may_change() {
    let mut scene = Scene::traces();
    scene
        .lookup("otel.obs", LookupOutcome::Unanswered, &[])
        .after(5000);
    assert_eq!(scene.verdict(), VerdictId::DnsTimeout);
    for _ in 0..10 {
        scene.lookup("otel.obs", LookupOutcome::NxDomain, &[]).after(5000);
    }
    assert_eq!(scene.verdict(), VerdictId::DnsNxdomain);
    assert_eq!(scene.transitions.len(), 3, "one opens, closes, another opens");
}

#[test]
fn no_answer_is_a_timeout_and_names_the_server() {
    let mut scene = Scene::traces();
    scene
        .lookup("otel.obs", LookupOutcome::Unanswered, &[])
        .after(1000);
    let report = scene.report();
    assert_eq!(report.exports[0].verdict, VerdictId::DnsTimeout);
    assert_eq!(&*report.causes[0].subject, "name server 10.96.0.10:53");
}

#[test]
fn nobody_at_the_name_server_is_refused() {
    let mut scene = Scene::traces();
    scene
        .lookup("otel.obs", LookupOutcome::Refused(111), &[])
        .after(1000);
    let export = scene.export();
    assert_eq!(export.verdict, VerdictId::DnsRefused);
    assert_eq!(export.reason.as_deref(), Some("ECONNREFUSED"));
}

#[test]
fn a_query_dropped_on_purpose_is_dropped() {
    let mut scene = Scene::traces();
    let mut seen = drop_seen("NETFILTER_DROP", "OUTPUT", Protocol::Udp);
    seen.question = Some("otel.obs.shop.svc.cluster.local".into());
    let drop = scene.observation(0, What::Dropped(Box::new(seen)));
    scene.see(&drop);
    scene.lookup("otel.obs", LookupOutcome::Dropped, &[]).after(1000);
    let export = scene.export();
    assert_eq!(export.verdict, VerdictId::Dropped);
    assert_eq!(export.reason.as_deref(), Some("NETFILTER_DROP"));
    assert_eq!(export.rungs.get(Rung::Resolved), RungState::Failed);
    assert!(evidence(&export).contains("OUTPUT"), "{}", evidence(&export));
}

#[test]
fn a_query_dropped_for_an_ordinary_reason_is_one_without_an_answer() {
    let mut scene = Scene::traces();
    let mut seen = drop_seen("NO_SOCKET", "INPUT", Protocol::Udp);
    seen.question = Some("otel.obs".into());
    let drop = scene.observation(0, What::Dropped(Box::new(seen)));
    scene.see(&drop);
    scene.after(1000);
    assert_eq!(scene.failures(), []);
    scene.lookup("otel.obs", LookupOutcome::Dropped, &[]).after(1000);
    assert_eq!(scene.verdict(), VerdictId::DnsTimeout);
}

#[test]
fn a_literal_address_is_not_resolved() {
    let mut scene = Scene::empty();
    scene.expect(vec![expectation("10.100.0.1", 4318, None)]);
    scene.refused(UP).after(2000);
    let export = scene.export();
    assert_eq!(export.verdict, VerdictId::Refused);
    assert_eq!(export.rungs.get(Rung::Resolved), RungState::NotApplicable);
    assert_eq!(export.workload, workload(1).into());
    assert_eq!(addr(UP).port(), export.endpoint.unwrap().port);
}

#[test]
fn a_name_that_differs_by_a_letter_is_offered() {
    let mut scene = Scene::empty();
    scene.expect(vec![expectation("otel-colector.observability", 4318, None)]);
    let full = "otel-collector.observability.svc.cluster.local";
    scene.container = 2;
    scene.lookup(full, LookupOutcome::Resolved, &["10.96.7.7"]);
    scene.lookup(
        "mail-gateway.observability.svc.cluster.local",
        LookupOutcome::Resolved,
        &["10.96.7.8"],
    );
    scene.container = 1;
    scene
        .lookup("otel-colector.observability", LookupOutcome::NxDomain, &[])
        .after(2000);
    let export = scene.export();
    assert_eq!(export.verdict, VerdictId::DnsNxdomain);
    let advice = export.advice.join("\n");
    assert!(advice.contains(full) && advice.contains("10.96.7.7"), "{advice}");
    assert!(!advice.contains("mail-gateway"), "{advice}");
}

#[test]
fn an_answer_that_may_be_among_what_was_lost_is_no_timeout() {
    let mut scene = Scene::traces();
    // The search took 4 ms.
    let lost = scene.observation(0, What::Lost { count: 3 });
    scene.see(&lost);
    scene
        .after(2)
        .lookup("otel.obs", LookupOutcome::Unanswered, &[])
        .after(2000);
    assert_eq!(scene.failures(), []);
    // Nothing was lost in the next.
    scene
        .lookup("otel.obs", LookupOutcome::Unanswered, &[])
        .after(2000);
    assert_eq!(scene.failures(), [VerdictId::DnsTimeout]);
    let lost = scene.observation(0, What::Lost { count: 3 });
    scene.see(&lost);
    scene.after(2000);
    assert_eq!(scene.failures(), [VerdictId::DnsTimeout], "that one stands");
}

/// `otel` and `otel.obs` of one container: what one finds is not what the other looks for.
#[test]
fn a_host_that_is_the_beginning_of_another() {
    let mut scene = Scene::empty();
    scene.expect(vec![
        expectation("otel", 4318, Some(Signal::Traces)),
        expectation("otel.obs", 4318, Some(Signal::Metrics)),
    ]);
    let verdicts = |scene: &Scene| {
        let of = |signal| {
            let exports = scene.report().exports;
            let export = exports.iter().find(|export| export.signal == Some(signal));
            export.map(|export| export.verdict)
        };
        (of(Signal::Traces), of(Signal::Metrics))
    };
    scene.lookup("otel", LookupOutcome::NxDomain, &[]);
    scene.lookup("otel.obs", LookupOutcome::Resolved, &["10.100.0.1"]);
    let cookie = scene.connect(UP);
    scene.export_to(cookie, UP, "/v1/metrics", http(200)).after(5000);
    assert_eq!(
        verdicts(&scene),
        (Some(VerdictId::DnsNxdomain), Some(VerdictId::Healthy))
    );
    let mut scene = Scene::empty();
    scene.expect(vec![
        expectation("otel", 4318, Some(Signal::Traces)),
        expectation("otel.obs", 4317, Some(Signal::Metrics)),
    ]);
    scene.lookup("otel.obs", LookupOutcome::NxDomain, &[]);
    scene.lookup("otel", LookupOutcome::Resolved, &["10.100.0.1"]);
    let cookie = scene.connect(UP);
    scene.export_to(cookie, UP, "/v1/traces", http(200)).after(5000);
    assert_eq!(
        verdicts(&scene),
        (Some(VerdictId::Healthy), Some(VerdictId::DnsNxdomain))
    );
}
