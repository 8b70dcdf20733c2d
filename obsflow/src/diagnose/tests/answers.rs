//! `healthy`, `rejected`, `partial`, `tls-*`, `protocol-mismatch`, `reset`, `stalled`, `stale-connection`, and what they
//! stay quiet on.

use std::sync::Arc;
use std::time::Duration;

use super::scene::{Scene, addr, evidence, expectation, grpc, http, ms};
use crate::model::event::{Direction, Endpoints, TcpInfo};
use crate::model::exchange::{
    Alert, Answer, Dialect, Form, Mismatch, Refusal, Signal, Spoken, Tls, TlsOutcome,
};
use crate::model::expectation::Transport;
use crate::model::observation::{LookupOutcome, What};
use crate::model::verdict::{Rung, RungState, Severity, VerdictId};

const UP: &str = "10.100.0.1:4318";
const TRACES: &str = "/v1/traces";

fn connected() -> (Scene, u64) {
    let mut scene = Scene::traces();
    scene.lookup("otel.obs", LookupOutcome::Resolved, &["10.100.0.1"]);
    let cookie = scene.connect(UP);
    (scene, cookie)
}

#[test]
fn two_hundred_is_healthy_on_every_rung() {
    let (mut scene, cookie) = connected();
    for _ in 0..5 {
        scene.export_to(cookie, UP, TRACES, http(200)).after(5000);
    }
    let export = scene.export();
    assert_eq!(export.verdict, VerdictId::Healthy);
    assert_eq!(export.severity, Severity::Ok);
    for rung in Rung::ALL {
        assert_eq!(export.rungs.get(rung), RungState::Ok, "{}", rung.name());
    }
    let text = evidence(&export);
    assert!(text.contains("POST /v1/traces: 200"), "{text}");
    assert!(export.advice.is_empty());
    assert!(export.last_success.is_some());
    assert!(scene.transitions.is_empty());
}

#[test]
fn one_destination_for_all_is_told_apart_by_signal() {
    let mut scene = Scene::empty();
    scene.expect(vec![expectation("10.100.0.1", 4318, None)]);
    let cookie = scene.connect(UP);
    scene.export_to(cookie, UP, TRACES, http(200)).after(1000);
    scene.export_to(cookie, UP, "/v1/metrics", http(404)).after(1000);
    let report = scene.report();
    let said: Vec<_> = report.exports.iter().map(|e| (e.signal, e.verdict)).collect();
    assert_eq!(
        said,
        [
            (Some(Signal::Metrics), VerdictId::Rejected),
            (Some(Signal::Traces), VerdictId::Healthy)
        ]
    );
    for export in &report.exports {
        assert_eq!(
            export.source.to_string(),
            "environment OTEL_EXPORTER_OTLP_ENDPOINT"
        );
    }
}

#[test]
fn what_a_receiver_says_no_with() {
    let refused_path = Answer::Http {
        status: 400,
        refusal: Some(Refusal::WrongPath),
        retry_after: false,
        body_bytes: None,
        form: Form::Protobuf,
    };
    for (answer, reason) in [
        (http(404), "wrong-path"),
        (refused_path, "wrong-path"),
        (http(401), "unauthorized"),
        (http(403), "unauthorized"),
        (http(413), "too-large"),
        (http(308), "redirect"),
        (http(400), "http-400"),
        (grpc(12), "wrong-path"),
        (grpc(7), "unauthorized"),
        (grpc(3), "INVALID_ARGUMENT"),
    ] {
        let (mut scene, cookie) = connected();
        scene.export_to(cookie, UP, TRACES, answer).after(1000);
        let export = scene.export();
        assert_eq!(export.verdict, VerdictId::Rejected, "{reason}");
        assert_eq!(export.reason.as_deref(), Some(reason));
        assert_eq!(export.rungs.get(Rung::Sent), RungState::Ok);
        assert_eq!(export.rungs.get(Rung::Accepted), RungState::Failed);
        assert!(!export.advice.is_empty());
    }
}

#[test]
fn what_may_pass_counts_when_it_comes_again() {
    for answer in [http(503), http(429), http(500), grpc(14), grpc(8)] {
        let (mut scene, cookie) = connected();
        scene.export_to(cookie, UP, TRACES, answer).after(1000);
        assert_eq!(scene.failures(), [], "{answer:?}");
        scene.export_to(cookie, UP, TRACES, http(200)).after(5000);
        scene.export_to(cookie, UP, TRACES, answer).after(1000);
        assert_eq!(scene.failures(), [], "a success was between");
        scene.export_to(cookie, UP, TRACES, answer).after(1000);
        assert_eq!(scene.verdict(), VerdictId::Rejected);
        scene.export_to(cookie, UP, TRACES, http(200)).after(5000);
        assert_eq!(scene.verdict(), VerdictId::Healthy);
    }
}

#[test]
fn a_failure_that_comes_and_goes_is_one_with_a_count() {
    let (mut scene, cookie) = connected();
    for _ in 0..20 {
        scene.export_to(cookie, UP, TRACES, http(404)).after(1000);
        scene.export_to(cookie, UP, TRACES, http(200)).after(1000);
    }
    scene.export_to(cookie, UP, TRACES, http(404)).after(1000);
    let export = scene.export();
    assert!(export.flaps >= 19, "{}", export.flaps);
    assert_eq!(export.severity, Severity::Warning, "some of it arrives");
    assert_eq!(scene.transitions.len(), 1);
}

#[test]
fn a_longer_answer_is_a_partial_success() {
    let (mut scene, cookie) = connected();
    let answer = Answer::Http {
        status: 200,
        refusal: None,
        retry_after: false,
        body_bytes: Some(40),
        form: Form::Protobuf,
    };
    scene.export_to(cookie, UP, TRACES, answer).after(1000);
    let export = scene.export();
    assert_eq!(
        (export.verdict, export.severity),
        (VerdictId::Partial, Severity::Warning)
    );
    scene.export_to(cookie, UP, TRACES, http(200)).after(5000);
    assert_eq!(scene.verdict(), VerdictId::Healthy);
}

fn tls(outcome: TlsOutcome, alert: Option<Alert>) -> What {
    What::Tls(Box::new(Tls {
        sni: Some("otel.obs".into()),
        alpn: vec!["h2".into()],
        outcome,
        alert,
    }))
}

#[test]
fn over_tls_healthy_leaves_accepted_unknown() {
    let (mut scene, cookie) = connected();
    scene.connection(cookie, UP, tls(TlsOutcome::Established, None));
    scene.after(30_000);
    let export = scene.export();
    assert_eq!(export.verdict, VerdictId::Healthy);
    assert_eq!(export.rungs.get(Rung::Sent), RungState::Ok);
    assert_eq!(export.rungs.get(Rung::Accepted), RungState::Unknown);
}

#[test]
fn two_failed_handshakes_in_a_row_with_alert_and_name() {
    let mut scene = Scene::traces();
    let alert = Alert {
        from: Direction::Egress,
        description: 48,
    };
    for round in 0..2 {
        assert_eq!(scene.failures(), [], "round {round}");
        let cookie = scene.connect(UP);
        scene.connection(cookie, UP, tls(TlsOutcome::Failed, Some(alert)));
        scene.close(cookie, UP, false, 1633).after(2000);
    }
    let export = scene.export();
    assert_eq!(export.verdict, VerdictId::TlsFailed);
    assert_eq!(export.reason.as_deref(), Some("unknown_ca"));
    assert!(evidence(&export).contains("otel.obs"), "{}", evidence(&export));
    let cookie = scene.connect(UP);
    scene.connection(cookie, UP, tls(TlsOutcome::Established, None));
    scene.after(5000);
    assert_eq!(scene.verdict(), VerdictId::Healthy);
}

#[test]
fn sides_that_do_not_understand_each_other() {
    use Spoken::{Http1, Http2, Nothing};
    for (client, server, refusal, verdict, reason) in [
        (
            Spoken::Tls,
            Http1,
            None,
            VerdictId::TlsMismatch,
            "server-is-plaintext",
        ),
        (
            Spoken::Tls,
            Http2,
            None,
            VerdictId::TlsMismatch,
            "server-is-plaintext",
        ),
        (
            Http1,
            Spoken::Tls,
            None,
            VerdictId::TlsMismatch,
            "server-wants-tls",
        ),
        (
            Http1,
            Http1,
            Some(Refusal::WantsTls),
            VerdictId::TlsMismatch,
            "server-wants-tls",
        ),
        (Http2, Http1, None, VerdictId::ProtocolMismatch, "grpc-to-http"),
        (Http1, Http2, None, VerdictId::ProtocolMismatch, "http-to-grpc"),
        (Http2, Nothing, None, VerdictId::TlsMismatch, "server-wants-tls"),
    ] {
        let mut scene = Scene::traces();
        let mismatch = Mismatch {
            client,
            server,
            status: None,
            refusal,
            is_guess: server == Nothing,
        };
        for round in 0..2 {
            if round == 1 && mismatch.is_guess {
                assert_eq!(scene.failures(), [], "a guess, once");
            }
            let cookie = scene.connect(UP);
            scene.connection(cookie, UP, What::Mismatch(mismatch));
            scene.close(cookie, UP, true, 15).after(1000);
            if !mismatch.is_guess {
                assert_eq!(scene.verdict(), verdict);
            }
        }
        let export = scene.export();
        assert_eq!(
            (export.verdict, export.reason.as_deref()),
            (verdict, Some(reason))
        );
        assert_eq!(export.rungs.get(Rung::Sent), RungState::Failed);
        let cookie = scene.connect(UP);
        scene.export_to(cookie, UP, TRACES, http(200)).after(5000);
        assert_eq!(scene.verdict(), VerdictId::Healthy);
    }
}

#[test]
fn two_resets_in_a_row_before_a_byte() {
    let mut scene = Scene::traces();
    for round in 0..2 {
        assert_eq!(scene.failures(), [], "round {round}");
        let cookie = scene.connect(UP);
        scene.close(cookie, UP, true, 0).after(2000);
    }
    assert_eq!(scene.verdict(), VerdictId::Reset);
    let cookie = scene.connect(UP);
    scene.export_to(cookie, UP, TRACES, http(200)).after(5000);
    assert_eq!(scene.verdict(), VerdictId::Healthy);
}

#[test]
fn races_with_keep_alive_are_no_resets() {
    let mut scene = Scene::traces();
    for _ in 0..5 {
        let cookie = scene.connect(UP);
        scene.export_to(cookie, UP, TRACES, http(200)).after(2000);
        scene.ask(cookie, UP, TRACES);
        scene.close(cookie, UP, true, 200).after(100);
        assert_eq!(scene.failures(), []);
    }
}

#[test]
fn a_request_without_an_answer_is_stalled_while_it_waits() {
    let (mut scene, cookie) = connected();
    scene.export_to(cookie, UP, TRACES, http(200));
    let request = scene.ask(cookie, UP, TRACES);
    scene.after(9900);
    assert_eq!(scene.failures(), []);
    scene.after(2000);
    let export = scene.export();
    assert_eq!(export.verdict, VerdictId::Stalled);
    assert_eq!(export.rungs.get(Rung::Accepted), RungState::Failed);
    scene.answer(cookie, UP, request, http(200)).after(5000);
    assert_eq!(scene.verdict(), VerdictId::Healthy);
}

#[test]
fn streams_cancelled_after_the_time_out_are_stalled() {
    let (mut scene, cookie) = connected();
    let request = scene.ask(cookie, UP, TRACES);
    scene.after(10_000);
    scene
        .answer(cookie, UP, request, Answer::Cancelled(8))
        .after(1000);
    assert_eq!(scene.verdict(), VerdictId::Stalled);
    assert!(evidence(&scene.export()).contains("RST_STREAM"));
}

#[test]
fn a_request_cancelled_early_is_nothing() {
    let (mut scene, cookie) = connected();
    for _ in 0..5 {
        let request = scene.ask(cookie, UP, TRACES);
        scene.after(500);
        scene
            .answer(cookie, UP, request, Answer::Cancelled(8))
            .after(1000);
        assert_eq!(scene.failures(), []);
    }
}

#[test]
fn an_answer_that_may_have_been_lost_stalls_nothing() {
    let (mut scene, cookie) = connected();
    scene.ask(cookie, UP, TRACES);
    scene.after(100);
    let lost = scene.observation(0, What::Lost { count: 7 });
    scene.see(&lost);
    scene.after(60_000);
    assert_eq!(scene.failures(), []);
    assert_eq!(scene.report().events_lost, 7);
}

fn stuck(scene: &mut Scene, cookie: u64, backoff: u32) {
    let info = TcpInfo {
        ends: Endpoints {
            local: addr("10.244.1.5:40000"),
            remote: addr(UP),
        },
        state: 1,
        unacked: 1,
        rto: Duration::from_secs(2),
        rtt: Duration::from_millis(1),
        backoff,
        total_retransmits: backoff,
        last_sent: Duration::from_secs(1),
        last_received: Duration::from_secs(60),
        bytes_acked: 500,
        bytes_received: 500,
        not_sent_bytes: 0,
    };
    scene.connection(cookie, UP, What::TcpInfo(Box::new(info)));
}

#[test]
fn only_time_outs_to_an_address_the_name_has_no_more() {
    let (mut scene, cookie) = connected();
    scene.export_to(cookie, UP, TRACES, http(200)).after(5000);
    scene.ask(cookie, UP, TRACES);
    for backoff in 1..5 {
        scene.connection(
            cookie,
            UP,
            What::Retransmit {
                count: backoff,
                syn: false,
            },
        );
        stuck(&mut scene, cookie, backoff);
        scene.after(3000);
    }
    assert_eq!(scene.verdict(), VerdictId::Stalled, "the name still leads there");
    assert_eq!(scene.export().reason.as_deref(), Some("unacknowledged"));
    // Somebody else on the node looks it up.
    scene.container = 2;
    scene.lookup("otel.obs", LookupOutcome::Resolved, &["10.100.0.9"]);
    scene.container = 1;
    scene.after(1000);
    let export = scene.export();
    assert_eq!(export.verdict, VerdictId::StaleConnection);
    assert_eq!(export.rungs.get(Rung::Sent), RungState::Failed);
    assert!(evidence(&export).contains("10.100.0.9"), "{}", evidence(&export));
    scene.lookup("otel.obs", LookupOutcome::Resolved, &["10.100.0.9"]);
    scene.close(cookie, UP, false, 500);
    let cookie = scene.connect("10.100.0.9:4318");
    scene
        .export_to(cookie, "10.100.0.9:4318", TRACES, http(200))
        .after(5000);
    assert_eq!(scene.verdict(), VerdictId::Healthy);
}

#[test]
fn what_fails_beside_a_connection_that_carries_it_does_not_concern_it() {
    let mut scene = Scene::empty();
    scene.expect(vec![
        expectation("otel.obs", 4318, Some(Signal::Traces)),
        expectation("otel.obs", 4318, Some(Signal::Metrics)),
    ]);
    scene.lookup("otel.obs", LookupOutcome::Resolved, &["10.100.0.1"]);
    let cookie = scene.connect(UP);
    scene.export_to(cookie, UP, TRACES, http(200));
    scene.refused(UP).after(2000);
    let report = scene.report();
    let said: Vec<_> = report.exports.iter().map(|e| (e.signal, e.verdict)).collect();
    assert_eq!(
        said,
        [
            (Some(Signal::Metrics), VerdictId::Refused),
            (Some(Signal::Traces), VerdictId::Healthy)
        ]
    );
    scene.close(cookie, UP, false, 100).after(2000);
    assert_eq!(scene.failures(), [VerdictId::Refused, VerdictId::Refused]);
}

#[test]
fn an_ingest_path_makes_an_exporter_and_a_port_alone_does_not() {
    let mut scene = Scene::empty();
    let to = "10.100.0.3:3100";
    for _ in 0..5 {
        scene.refused(to).after(1000);
    }
    let cookie = scene.connect(to);
    let mut query = (*super::scene::request("/loki/api/v1/query", ms(scene.now))).clone();
    query.method = Some("GET".into());
    scene.connection(cookie, to, What::Request(Arc::new(query)));
    scene.after(1000);
    assert!(scene.report().exports.is_empty(), "queries are no exports");

    let observation = scene.of(
        cookie,
        to,
        Some("loki.obs.svc.cluster.local"),
        What::Request(super::scene::request("/v1/logs", ms(scene.now))),
    );
    scene.see(&observation);
    scene.after(100);
    let export = scene.export();
    assert_eq!(export.source.to_string(), "seen on the wire");
    assert_eq!(&*export.written, "loki.obs.svc.cluster.local:3100");
    scene.close(cookie, to, false, 100);
    scene.lookup(
        "loki.obs.svc.cluster.local",
        LookupOutcome::Resolved,
        &["10.100.0.3"],
    );
    scene.refused(to).after(2000);
    assert_eq!(scene.verdict(), VerdictId::Refused);
    assert_eq!(
        scene.export().endpoint.unwrap().to_string(),
        "http://loki.obs.svc.cluster.local:3100/v1/logs"
    );
}

/// A Collector's exporter, which nothing configures in words that obsflow reads.
fn learned(path: &str) -> (Scene, u64) {
    let mut scene = Scene::empty();
    scene.expect(Vec::new());
    let cookie = scene.connect(UP);
    scene.export_to(cookie, UP, path, http(200)).after(5000);
    assert_eq!(scene.verdict(), VerdictId::Healthy);
    (scene, cookie)
}

#[test]
fn where_no_time_out_is_known_two_given_up_in_a_row_are_stalled() {
    for ended in [Answer::Cancelled(8), Answer::ConnectionEnded { rst: false }] {
        let (mut scene, cookie) = learned(TRACES);
        for expected in [VerdictId::Healthy, VerdictId::Stalled, VerdictId::Stalled] {
            let request = scene.ask(cookie, UP, TRACES);
            scene.after(5000);
            scene.answer(cookie, UP, request, ended).after(1000);
            assert_eq!(scene.verdict(), expected, "{ended:?}");
        }
        scene.export_to(cookie, UP, TRACES, http(200)).after(5000);
        assert_eq!(scene.verdict(), VerdictId::Healthy);
    }
}

#[test]
fn where_no_time_out_is_known_one_given_up_between_others_is_nothing() {
    let (mut scene, cookie) = learned(TRACES);
    for _ in 0..5 {
        let request = scene.ask(cookie, UP, TRACES);
        scene.after(5000);
        scene
            .answer(cookie, UP, request, Answer::Cancelled(8))
            .after(1000);
        assert_eq!(scene.failures(), []);
        scene.export_to(cookie, UP, TRACES, http(200)).after(1000);
    }
}

#[test]
fn a_known_time_out_is_not_over_before_its_time() {
    let (mut scene, cookie) = connected();
    for _ in 0..3 {
        let request = scene.ask(cookie, UP, TRACES);
        scene.after(5000);
        scene
            .answer(cookie, UP, request, Answer::Cancelled(8))
            .after(1000);
        assert_eq!(scene.failures(), [], "its time-out is 10 s");
    }
}

#[test]
fn remote_write_waits_longer() {
    let mut scene = Scene::empty();
    let mut write = expectation("10.100.0.1", 4318, Some(Signal::Metrics));
    write.timeout = None;
    if let Some(endpoint) = &mut write.endpoint {
        endpoint.transport = Transport::Other(Dialect::RemoteWrite);
    }
    scene.expect(vec![write]);
    let cookie = scene.connect(UP);
    let request = scene.ask(cookie, UP, "/v1/metrics");
    scene.after(12_000);
    assert_eq!(scene.failures(), []);
    scene.answer(cookie, UP, request, http(200)).after(1000);
    assert_eq!(scene.verdict(), VerdictId::Healthy);
    scene.ask(cookie, UP, "/v1/metrics");
    scene.after(32_000);
    assert_eq!(scene.verdict(), VerdictId::Stalled);
}

#[test]
fn a_mismatch_that_was_mended_ends_whatever_the_answer() {
    for (answer, verdict) in [(http(401), VerdictId::Rejected), (http(200), VerdictId::Healthy)] {
        let (mut scene, cookie) = connected();
        let mismatch = Mismatch {
            client: Spoken::Http2,
            server: Spoken::Http1,
            status: Some(400),
            refusal: None,
            is_guess: false,
        };
        scene.connection(cookie, UP, What::Mismatch(mismatch)).after(1000);
        assert_eq!(scene.verdict(), VerdictId::ProtocolMismatch);
        scene.export_to(cookie, UP, TRACES, answer).after(6000);
        assert_eq!(scene.verdict(), verdict);
    }
}

#[test]
fn a_server_that_says_that_it_wants_tls_is_a_mismatch() {
    let (mut scene, cookie) = connected();
    let refusal = Some(Refusal::WantsTls);
    let mismatch = Mismatch {
        client: Spoken::Http1,
        server: Spoken::Http1,
        status: Some(400),
        refusal,
        is_guess: false,
    };
    let answer = Answer::Http {
        status: 400,
        refusal,
        retry_after: false,
        body_bytes: None,
        form: Form::Other,
    };
    scene.connection(cookie, UP, What::Mismatch(mismatch));
    scene.export_to(cookie, UP, TRACES, answer).after(1000);
    assert_eq!(scene.verdict(), VerdictId::TlsMismatch);
}

#[test]
fn what_came_and_went_and_stays_away_is_critical() {
    let (mut scene, cookie) = connected();
    for _ in 0..3 {
        scene.export_to(cookie, UP, TRACES, http(404)).after(1000);
        scene.export_to(cookie, UP, TRACES, http(200)).after(1000);
    }
    for minute in 0..15 {
        scene.export_to(cookie, UP, TRACES, http(404)).after(60_000);
        let expected = if minute < 9 {
            Severity::Warning
        } else {
            Severity::Critical
        };
        assert_eq!(scene.export().severity, expected, "{minute}");
    }
}

/// A busy node: the container's first requests are seen before its environment is read.
#[test]
fn what_was_seen_before_it_was_read_is_what_is_configured() {
    let name = "otel.obs.svc.cluster.local";
    for signal in [None, Some(Signal::Traces)] {
        let mut scene = Scene::empty();
        scene.lookup(name, LookupOutcome::Resolved, &["10.100.0.1"]);
        let cookie = scene.connect(UP);
        let request = super::scene::request(TRACES, ms(scene.now));
        let seen = scene.of(cookie, UP, Some(name), What::Request(request));
        scene.see(&seen);
        scene.after(100);
        assert_eq!(&*scene.export().written, "otel.obs.svc.cluster.local:4318");

        scene.expect(vec![expectation("otel.obs", 4318, signal)]);
        scene.export_to(cookie, UP, TRACES, http(200)).after(5000);
        let export = scene.export();
        assert_eq!(&*export.written, "http://otel.obs:4318", "{signal:?}");
        assert_eq!(
            (export.verdict, export.signal),
            (VerdictId::Healthy, Some(Signal::Traces))
        );
        // Another connection is of the same one.
        let cookie = scene.connect(UP);
        scene.export_to(cookie, UP, TRACES, http(200)).after(5000);
        assert_eq!(scene.report().exports.len(), 1, "{signal:?}");
    }
    // Another name that nothing configures stays what it is.
    let (mut scene, _) = learned(TRACES);
    scene.expect(vec![expectation("otel.elsewhere", 4318, None)]);
    scene.after(1000);
    assert_eq!(scene.report().exports.len(), 2);
}
