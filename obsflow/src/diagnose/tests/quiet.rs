//! `silent`, `stopped`, `idle`, `disabled`, `misconfigured`, `proxied`: what is not there, and what is configured.

use std::sync::Arc;
use std::time::Duration;

use super::scene::{Scene, adopted, evidence, expectation, http, ms, request, workload};
use crate::diagnose::{Blind, Config, Diagnoser, Facts, facts::ResolvConf};
use crate::model::exchange::{Answer, Exchange, Form, Signal, TargetForm};
use crate::model::expectation::{Container, Misconfiguration, SenderProof, Setting, Source};
use crate::model::observation::{LookupOutcome, What};
use crate::model::verdict::{Rung, RungState, Severity, VerdictId};

const UP: &str = "10.100.0.1:4318";

fn both() -> Vec<crate::model::expectation::Expectation> {
    let of = |signal: Signal, port| {
        let mut expectation = expectation("victoria.obs", port, Some(signal));
        let name = signal.name().to_uppercase();
        expectation.source = Source::Environment(format!("OTEL_EXPORTER_OTLP_{name}_ENDPOINT").into());
        expectation
    };
    vec![of(Signal::Metrics, 8428), of(Signal::Traces, 10_428)]
}

fn go(scene: &Scene) -> Container {
    let mut container = scene.container_of(both());
    container.proofs = vec![SenderProof::GoModule(
        "go.opentelemetry.io/otel/exporters/otlp".into(),
    )];
    container
}

#[test]
fn an_exporter_that_a_program_is_only_built_with_is_not_missed() {
    let mut scene = Scene::empty();
    let mut container = go(&scene);
    for expectation in &mut container.expectations {
        expectation.source = Source::Default("go.opentelemetry.io/otel/exporters/otlp".into());
    }
    scene.expect_container(container);
    scene.until(600_000);
    assert_eq!(scene.failures(), []);
}

#[test]
fn a_service_that_never_exports_is_silent_at_both_endpoints() {
    let mut scene = Scene::empty();
    scene.expect_container(go(&scene));
    scene.until(149_000);
    assert_eq!(scene.failures(), []);
    scene.until(155_000);
    let report = scene.report();
    assert_eq!(report.exports.len(), 2);
    for export in &report.exports {
        assert_eq!(
            (export.verdict, export.severity),
            (VerdictId::Silent, Severity::Critical)
        );
        assert_eq!(export.rungs.get(Rung::Configured), RungState::Failed);
        let text = evidence(export);
        for part in [
            "8428",
            "10428",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            "go.opentelemetry.io",
            "process 4711 is 12m",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
    assert_eq!(report.causes.len(), 1);
    assert_eq!(&*report.causes[0].subject, "shop/checkout");
}

#[test]
fn watched_from_its_start_it_is_silent_after_two_intervals() {
    let mut scene = Scene::empty();
    let mut container = go(&scene);
    (container.began, container.from_exec) = (ms(0), true);
    scene.expect_container(container);
    scene.until(119_000);
    assert_eq!(scene.failures(), []);
    scene.until(125_000);
    assert_eq!(scene.failures(), [VerdictId::Silent, VerdictId::Silent]);
}

#[test]
fn with_short_intervals_it_is_silent_two_of_them_and_five_seconds_after_its_start() {
    let mut scene = Scene::empty();
    let mut container = go(&scene);
    for expectation in &mut container.expectations {
        expectation.interval = Duration::from_secs(2);
    }
    (container.began, container.from_exec) = (ms(0), true);
    scene.expect_container(container);
    scene.until(3000);
    scene.lookup("database.shop", LookupOutcome::Resolved, &["10.100.0.7"]);
    scene.until(7000);
    assert_eq!(scene.failures(), [], "programs take a while to come up");
    scene.until(9000);
    assert_eq!(scene.failures(), [VerdictId::Silent, VerdictId::Silent]);
}

#[test]
fn what_was_not_seen_to_do_anything_may_be_coming_up_still() {
    let mut scene = Scene::empty();
    let mut container = go(&scene);
    for expectation in &mut container.expectations {
        expectation.interval = Duration::from_millis(500);
    }
    (container.began, container.from_exec) = (ms(0), true);
    scene.expect_container(container);
    scene.until(29_000);
    assert_eq!(scene.failures(), []);
    scene.until(31_000);
    assert_eq!(scene.failures(), [VerdictId::Silent, VerdictId::Silent]);
}

#[test]
fn one_that_exports_once_a_minute_is_not_silent() {
    let mut scene = Scene::empty();
    let mut container = scene.container_of(vec![expectation("10.100.0.1", 4318, Some(Signal::Metrics))]);
    (container.began, container.from_exec) = (ms(0), true);
    scene.expect_container(container);
    for _ in 0..10 {
        scene.after(60_000);
        assert_eq!(scene.failures(), []);
        let cookie = scene.connect(UP);
        scene.export_to(cookie, UP, "/v1/metrics", http(200));
        scene.close(cookie, UP, false, 100);
    }
    assert!(scene.transitions.is_empty());
}

#[test]
fn metrics_alone_prove_no_silence_unless_replicas_send() {
    let mut scene = Scene::empty();
    let only_metrics = || vec![expectation("10.100.0.1", 4318, Some(Signal::Metrics))];
    scene.expect(only_metrics());
    scene.until(400_000);
    assert_eq!(scene.verdict(), VerdictId::Idle);
    // Another pod of the same Deployment sends.
    scene.container = 2;
    scene.expect(only_metrics());
    let cookie = scene.connect(UP);
    for _ in 0..16 {
        assert_eq!(
            scene.failures(),
            [],
            "work comes to one before it comes to the others"
        );
        scene.export_to(cookie, UP, "/v1/metrics", http(200)).after(9000);
    }
    scene.after(10_000);
    assert_eq!(scene.failures(), [VerdictId::Silent]);
}

#[test]
fn without_proof_it_is_idle_and_unknown_before() {
    let mut scene = Scene::empty();
    let mut container = scene.container_of(vec![expectation("otel.obs", 4318, None)]);
    container.proofs.clear();
    scene.expect_container(container);
    scene.after(5000);
    assert_eq!(scene.verdict(), VerdictId::Unknown);
    assert!(evidence(&scene.export()).contains("watched for 5s"));
    scene.until(160_000);
    assert_eq!(scene.verdict(), VerdictId::Idle);
}

#[test]
fn anything_on_the_wire_is_no_silence() {
    for what in 0..3 {
        let mut scene = Scene::traces();
        match what {
            0 => {
                scene.lookup("otel.obs", LookupOutcome::Resolved, &["10.100.0.1"]);
            }
            1 => {
                scene.connection(9, UP, adopted());
            }
            _ => {
                scene.attempt(UP);
            }
        }
        scene.until(400_000);
        assert_eq!(scene.failures(), [], "{what}");
    }
}

#[test]
fn with_events_lost_the_time_of_silence_begins_anew() {
    let mut scene = Scene::empty();
    scene.expect_container(go(&scene));
    scene.after(100_000);
    lose(&mut scene, 3);
    lose(&mut scene, 1);
    scene.until(240_000);
    assert_eq!(scene.failures(), [], "it may have sent before 100 s");
    scene.until(252_000);
    assert_eq!(scene.failures(), [VerdictId::Silent, VerdictId::Silent]);
    // What is lost later does not end it.
    lose(&mut scene, 9);
    scene.after(60_000);
    assert_eq!(scene.failures(), [VerdictId::Silent, VerdictId::Silent]);
    assert!(scene.transitions.iter().all(|transition| transition.opened));
    let cookie = scene.connect("10.100.0.9:8428");
    scene
        .export_to(cookie, "10.100.0.9:8428", "/v1/metrics", http(200))
        .after(6000);
    assert!(!scene.failures().contains(&VerdictId::Silent));
}

fn lose(scene: &mut Scene, count: u64) {
    let lost = scene.observation(0, What::Lost { count });
    scene.see(&lost);
}

/// Two exports leave more records than that.
#[test]
fn a_record_lost_now_and_then_hides_no_silence() {
    let mut scene = Scene::empty();
    scene.expect_container(go(&scene));
    for _ in 0..3 {
        scene.after(50_000);
        lose(&mut scene, 1);
    }
    scene.after(2000);
    assert_eq!(scene.failures(), [VerdictId::Silent, VerdictId::Silent]);
}

#[test]
fn with_events_lost_what_stopped_is_told_later_and_stays() {
    let mut scene = Scene::empty();
    scene.expect(vec![expectation("10.100.0.1", 4318, Some(Signal::Metrics))]);
    let cookie = scene.connect(UP);
    for _ in 0..5 {
        scene
            .export_to(cookie, UP, "/v1/metrics", http(200))
            .after(60_000);
    }
    lose(&mut scene, 4);
    scene.after(110_000);
    assert_eq!(scene.failures(), []);
    scene.after(45_000);
    assert_eq!(scene.failures(), [VerdictId::Stopped]);
    lose(&mut scene, 4);
    scene.after(20_000);
    assert_eq!(scene.failures(), [VerdictId::Stopped]);
    assert_eq!(scene.transitions.len(), 1);
}

/// A node where this many connections are accepted between two looks.
struct Served {
    each: f64,
    sum: std::sync::Mutex<f64>,
}

impl Facts for Served {
    fn resolv_conf(&self, _: u32) -> Option<ResolvConf> {
        None
    }

    fn listening(&self, _: u32) -> Vec<u16> {
        Vec::new()
    }

    fn accepted(&self, _: u32) -> Option<u64> {
        let mut sum = self.sum.lock().unwrap();
        *sum += self.each;
        Some(1000 + *sum as u64)
    }
}

#[test]
fn whoever_has_nothing_to_do_is_idle() {
    // Looked at each 2 s: nobody, three probes and a scrape in 10 s, a request a second.
    for (each, verdict) in [
        (0.0, VerdictId::Idle),
        (0.7, VerdictId::Idle),
        (2.0, VerdictId::Silent),
    ] {
        let mut scene = Scene::empty();
        let config = Config {
            watching_since: Some(ms(0)),
            ..Config::default()
        };
        let served = Served {
            each,
            sum: std::sync::Mutex::new(0.0),
        };
        scene.diagnoser = Diagnoser::new(config).with_facts(Box::new(served));
        scene.expect_container(go(&scene));
        scene.until(160_000);
        assert!(
            scene.report().exports.iter().all(|e| e.verdict == verdict),
            "{each} {verdict}"
        );
    }
}

/// Where drops are not seen, a name whose look-ups are dropped here looks like silence.
#[test]
fn silence_of_a_name_is_unknown_where_drops_are_not_seen() {
    for (host, verdict) in [
        ("otel.obs", VerdictId::Unknown),
        ("10.100.0.1", VerdictId::Silent),
    ] {
        let mut scene = Scene::empty();
        scene.diagnoser = Diagnoser::new(Config {
            watching_since: Some(ms(0)),
            blind: Blind {
                drops: true,
                ..Blind::default()
            },
            ..Config::default()
        });
        scene.expect(vec![expectation(host, 4318, Some(Signal::Traces))]);
        scene.until(200_000);
        assert_eq!(scene.verdict(), verdict, "{host}");
    }
}

#[test]
fn metrics_that_no_longer_come_have_stopped() {
    let mut scene = Scene::empty();
    scene.expect(vec![
        expectation("10.100.0.1", 4318, Some(Signal::Metrics)),
        expectation("10.100.0.1", 4318, Some(Signal::Traces)),
    ]);
    let cookie = scene.connect(UP);
    for _ in 0..5 {
        scene.export_to(cookie, UP, "/v1/metrics", http(200));
        scene.export_to(cookie, UP, "/v1/traces", http(200)).after(60_000);
    }
    assert_eq!(scene.failures(), []);
    scene.after(85_000);
    assert_eq!(scene.failures(), []);
    scene.after(10_000);
    assert_eq!(scene.failures(), [VerdictId::Stopped], "traces may rest");
    let export = scene.report().exports.remove(0);
    assert_eq!(export.signal, Some(Signal::Metrics));
    assert!(export.last_success.is_some());
    scene.gone();
    assert!(scene.report().exports.is_empty());
}

#[test]
fn traces_stop_only_where_there_is_work() {
    for working in [false, true] {
        let mut scene = Scene::empty();
        scene.expect(vec![expectation("10.100.0.1", 4318, Some(Signal::Traces))]);
        let cookie = scene.connect(UP);
        for _ in 0..20 {
            scene.export_to(cookie, UP, "/v1/traces", http(200)).after(5000);
        }
        for _ in 0..20 {
            if working {
                scene.lookup("database.shop", LookupOutcome::Resolved, &["10.100.0.7"]);
            }
            scene.after(10_000);
        }
        let expected: &[VerdictId] = if working { &[VerdictId::Stopped] } else { &[] };
        assert_eq!(scene.failures(), expected);
    }
}

#[test]
fn switched_off_is_disabled_unless_it_sends() {
    let mut scene = Scene::empty();
    let mut off = expectation("10.100.0.1", 4318, None);
    off.setting = Setting::Off("OTEL_SDK_DISABLED=true".into());
    off.endpoint = None;
    scene.expect(vec![off]);
    scene.after(200_000);
    let export = scene.export();
    assert_eq!(
        (export.verdict, export.severity),
        (VerdictId::Disabled, Severity::Ok)
    );
    assert!(evidence(&export).contains("OTEL_SDK_DISABLED=true"));
    // Go's SDK does not read it.
    let cookie = scene.connect(UP);
    scene.export_to(cookie, UP, "/v1/traces", http(200)).after(1000);
    assert_eq!(scene.verdict(), VerdictId::Healthy);
}

#[test]
fn what_cannot_work_is_misconfigured_and_what_works_is_not() {
    for (what, reason) in [
        (Misconfiguration::NoScheme, "no-scheme"),
        (Misconfiguration::Unexpanded, "unexpanded"),
        (Misconfiguration::DoubledPath, "doubled-path"),
    ] {
        let mut scene = Scene::empty();
        let mut broken = expectation("10.100.0.1", 4318, Some(Signal::Traces));
        broken.setting = Setting::Broken(what);
        scene.expect(vec![broken]);
        scene.after(1000);
        let export = scene.export();
        assert_eq!(export.verdict, VerdictId::Misconfigured);
        assert_eq!(export.reason.as_deref(), Some(reason));
        assert_eq!(export.rungs.get(Rung::Configured), RungState::Failed);
        assert!(export.advice.len() > 1);
        let cookie = scene.connect(UP);
        scene.export_to(cookie, UP, "/v1/traces", http(200)).after(5000);
        assert_eq!(scene.verdict(), VerdictId::Healthy);
    }
}

#[test]
fn a_time_out_in_the_wrong_unit_is_wrong_while_all_is_well() {
    let mut scene = Scene::empty();
    let mut broken = expectation("10.100.0.1", 4318, Some(Signal::Traces));
    broken.setting = Setting::Broken(Misconfiguration::TimeoutUnit {
        value: "10000".into(),
        means: Duration::from_secs(10_000),
    });
    scene.expect(vec![broken]);
    let cookie = scene.connect(UP);
    scene.export_to(cookie, UP, "/v1/traces", http(200)).after(1000);
    let export = scene.export();
    assert_eq!(
        (export.verdict, export.severity),
        (VerdictId::Misconfigured, Severity::Warning)
    );
    assert_eq!(export.rungs.get(Rung::Accepted), RungState::Ok);
    assert!(evidence(&export).contains("10000"));
}

#[test]
fn requests_in_absolute_form_go_through_a_proxy() {
    const PROXY: &str = "10.100.0.8:3128";
    for form in [TargetForm::Absolute, TargetForm::Authority] {
        let mut scene = Scene::empty();
        let mut proxied = expectation("otel.obs", 4318, Some(Signal::Traces));
        proxied.proxy = Some("10.100.0.8:3128".into());
        scene.expect(vec![proxied]);
        assert_eq!(scene.diagnoser.take_ports(), [4318, 3128]);
        let cookie = scene.connect(PROXY);
        let mut sent = (*request("/v1/traces", ms(scene.now))).clone();
        sent.form = form;
        let sent = Arc::new(sent);
        scene.connection(cookie, PROXY, What::Request(Arc::clone(&sent)));
        let exchange = Exchange {
            request: sent,
            answer: http(200),
            took: Duration::from_millis(2),
        };
        scene.connection(cookie, PROXY, What::Exchange(Box::new(exchange)));
        scene.after(1000);
        let export = scene.export();
        assert_eq!(export.verdict, VerdictId::Proxied);
        assert_eq!(export.rungs.get(Rung::Connected), RungState::Failed);
        let text = evidence(&export);
        let line = if form == TargetForm::Absolute {
            assert_eq!(export.severity, Severity::Warning, "it arrives");
            "POST http://otel.obs:4318/v1/traces"
        } else {
            "CONNECT otel.obs:4318"
        };
        assert!(text.contains(line) && text.contains("3128"), "{text}");
        assert!(export.advice.iter().any(|line| line.contains("NO_PROXY")));
    }
}

#[test]
fn a_proxy_that_is_asked_for_others_is_none_of_its_business() {
    const PROXY: &str = "10.100.0.8:3128";
    let mut scene = Scene::empty();
    let mut proxied = expectation("otel.obs", 4318, Some(Signal::Traces));
    proxied.proxy = Some("10.100.0.8:3128".into());
    scene.expect(vec![proxied]);
    let cookie = scene.connect(PROXY);
    let mut sent = (*request("/v1/other", ms(scene.now))).clone();
    (sent.form, sent.authority) = (TargetForm::Absolute, Some("www.example.com".into()));
    scene.connection(cookie, PROXY, What::Request(Arc::new(sent)));
    scene.after(20_000);
    assert_eq!(scene.failures(), []);
}

#[test]
fn what_was_learned_and_since_when_survives_a_restart() {
    let mut scene = Scene::empty();
    let cookie = scene.connect(UP);
    scene.export_to(cookie, UP, "/v1/traces", http(200));
    scene.close(cookie, UP, false, 100);
    scene.refused(UP).after(5000);
    let before = scene.export();
    assert_eq!(before.verdict, VerdictId::Refused);
    let saved = scene.diagnoser.save();
    let json = serde_json::to_string(&saved).unwrap();

    scene.diagnoser = Diagnoser::new(Config {
        watching_since: Some(ms(scene.now)),
        ..Config::default()
    });
    scene.diagnoser.restore(serde_json::from_str(&json).unwrap());
    scene.after(60_000);
    assert_eq!(scene.diagnoser.save(), saved, "nobody was seen again so far");
    // The container becomes known, without any expectation; its old destination refuses still.
    let container = scene.container_of(Vec::new());
    scene.expect_container(container);
    scene.refused(UP).after(2000);
    let after = scene.export();
    assert_eq!(
        (after.verdict, after.since, &after.id),
        (VerdictId::Refused, before.since, &before.id)
    );
    assert_eq!(after.last_success, before.last_success);
}

#[test]
fn answers_count_by_signal_even_when_requests_were_not_seen() {
    let mut scene = Scene::traces();
    scene.lookup("otel.obs", LookupOutcome::Resolved, &["10.100.0.1"]);
    scene.connection(5, UP, adopted());
    let mut unread = (*request("/v1/traces", ms(0))).clone();
    (unread.path, unread.method, unread.ingest, unread.grpc) = (None, None, None, true);
    let exchange = Exchange {
        request: Arc::new(unread),
        answer: Answer::Grpc {
            status: None,
            failed: false,
            data_bytes: 5,
            form: Form::Protobuf,
        },
        took: Duration::from_millis(2),
    };
    scene.connection(5, UP, What::Exchange(Box::new(exchange)));
    scene.after(1000);
    assert_eq!(scene.verdict(), VerdictId::Healthy);
    assert_eq!(scene.export().workload, Arc::new(workload(1)));
}
