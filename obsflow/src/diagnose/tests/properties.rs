//! Whatever happens: no panic, bounded memory, and nothing said of exporters that do well.

use proptest::prelude::*;

use super::scene::{Scene, drop_seen, expectation, grpc, http, request, workload};
use crate::diagnose::{Config, Diagnoser};
use crate::model::event::{Outcome, Protocol};
use crate::model::exchange::{Alert, Answer, Mismatch, Signal, Spoken, Tls, TlsOutcome};
use crate::model::observation::{LookupOutcome, What};

const UP: &str = "10.100.0.1:4318";
const LOCAL: [&str; 2] = ["[::1]:4318", "127.0.0.1:4318"];

/// What happens around a healthy exporter all the time.
#[derive(Clone, Debug)]
enum Noise {
    OtherNames(LookupOutcome),
    Resolved,
    LostSyn,
    Abandoned,
    LocalRefused,
    OneThatPasses(u16),
    HarmlessDrop(&'static str),
    CancelledEarly,
    KeepAliveRace,
    Foreign,
}

fn noise() -> impl Strategy<Value = Noise> {
    prop_oneof![
        prop_oneof![
            Just(LookupOutcome::NxDomain),
            Just(LookupOutcome::ServerFailure(2)),
            Just(LookupOutcome::Unanswered)
        ]
        .prop_map(Noise::OtherNames),
        Just(Noise::Resolved),
        Just(Noise::LostSyn),
        Just(Noise::Abandoned),
        Just(Noise::LocalRefused),
        prop_oneof![Just(503), Just(429), Just(500)].prop_map(Noise::OneThatPasses),
        prop_oneof![
            Just("NO_SOCKET"),
            Just("TCP_OLD_SEQUENCE"),
            Just("QUEUE_PURGE"),
            Just("TCP_CLOSE")
        ]
        .prop_map(Noise::HarmlessDrop),
        Just(Noise::CancelledEarly),
        Just(Noise::KeepAliveRace),
        Just(Noise::Foreign),
    ]
}

fn make(scene: &mut Scene, noise: &Noise) {
    match noise {
        Noise::OtherNames(outcome) => {
            scene.lookup("database.shop", *outcome, &[]);
        }
        Noise::Resolved => {
            scene.lookup("otel.obs", LookupOutcome::Resolved, &["10.100.0.1"]);
        }
        Noise::LostSyn => {
            let cookie = scene.attempt(UP);
            scene.after(1000);
            scene.connection(cookie, UP, What::Retransmit { count: 1, syn: true });
            let handshake = std::time::Duration::from_secs(1);
            scene.connection(cookie, UP, What::Established { handshake });
            scene.close(cookie, UP, false, 10);
        }
        Noise::Abandoned => {
            let cookie = scene.attempt(UP);
            scene.after(300);
            scene.fail(cookie, UP, Outcome::Abandoned, 0);
        }
        Noise::LocalRefused => {
            scene.refused(LOCAL[0]);
            let cookie = scene.connect(LOCAL[1]);
            scene.export_to(cookie, LOCAL[1], "/v1/logs", http(200));
            scene.close(cookie, LOCAL[1], false, 100);
        }
        Noise::OneThatPasses(status) => {
            let cookie = scene.connect(UP);
            scene
                .export_to(cookie, UP, "/v1/traces", http(*status))
                .after(100);
            scene.export_to(cookie, UP, "/v1/traces", http(200));
            scene.close(cookie, UP, false, 100);
        }
        Noise::HarmlessDrop(reason) => {
            let cookie = scene.connect(UP);
            let drop = drop_seen(reason, "tcp_v4_rcv", Protocol::Tcp);
            scene.connection(cookie, UP, What::Dropped(Box::new(drop)));
            scene.close(cookie, UP, false, 10);
        }
        Noise::CancelledEarly => {
            let cookie = scene.connect(UP);
            let request = scene.ask(cookie, UP, "/v1/traces");
            scene.after(200);
            scene.answer(cookie, UP, request, Answer::Cancelled(8));
            scene.close(cookie, UP, false, 10);
        }
        Noise::KeepAliveRace => {
            let cookie = scene.connect(UP);
            scene.export_to(cookie, UP, "/v1/traces", http(200));
            scene.ask(cookie, UP, "/v1/traces");
            scene.close(cookie, UP, true, 200);
        }
        Noise::Foreign => {
            scene.refused("10.100.0.77:5432");
            scene.refused("10.100.0.78:4318");
        }
    }
}

/// Anything at all.
fn anything() -> impl Strategy<Value = (u64, u64, u8, u8)> {
    (1..40u64, 1..30u64, 0..22u8, 0..4u8)
}

fn throw(scene: &mut Scene, (container, cookie, what, to): (u64, u64, u8, u8)) {
    scene.container = container;
    let to = [
        "10.100.0.1:4318",
        "10.100.0.2:4317",
        "127.0.0.1:4318",
        "[fd00::1]:3100",
    ][usize::from(to)];
    let tls = |outcome| {
        What::Tls(Box::new(Tls {
            sni: None,
            alpn: Vec::new(),
            outcome,
            alert: Some(Alert {
                from: crate::model::event::Direction::Ingress,
                description: 40,
            }),
        }))
    };
    let path = ["/v1/traces", "/v1/metrics", "/elsewhere"][usize::from(what) % 3];
    match what {
        0 => drop(scene.lookup("otel.obs", LookupOutcome::NxDomain, &[])),
        1 => drop(scene.lookup("otel.obs", LookupOutcome::Resolved, &["10.100.0.1", "fd00::1"])),
        2 => drop(scene.connection(cookie, to, What::Attempt)),
        3 => drop(scene.connection(cookie, to, What::Retransmit { count: 3, syn: true })),
        4 => drop(scene.connection(cookie, to, What::Retransmit { count: 3, syn: false })),
        5 => {
            let handshake = std::time::Duration::ZERO;
            scene.connection(cookie, to, What::Established { handshake });
        }
        6 => drop(scene.fail(cookie, to, Outcome::Refused, 111)),
        7 => drop(scene.fail(cookie, to, Outcome::GivenUp, 0)),
        8 => drop(scene.fail(cookie, to, Outcome::Failed, 1)),
        9 => drop(scene.close(cookie, to, true, 0)),
        10..13 => drop(scene.ask(cookie, to, path)),
        13 => drop(scene.export_to(cookie, to, path, grpc(14))),
        14 => drop(scene.export_to(cookie, to, path, http(200))),
        15 => drop(scene.connection(cookie, to, tls(TlsOutcome::Failed))),
        16 => drop(scene.connection(cookie, to, tls(TlsOutcome::Established))),
        17 => {
            let mismatch = Mismatch {
                client: Spoken::Http2,
                server: Spoken::Nothing,
                status: None,
                refusal: None,
                is_guess: true,
            };
            scene.connection(cookie, to, What::Mismatch(mismatch));
        }
        18 => drop(scene.connection(
            cookie,
            to,
            What::Dropped(Box::new(drop_seen("NETFILTER_DROP", "OUTPUT", Protocol::Tcp))),
        )),
        19 => scene.gone(),
        20 => scene.expect(vec![
            expectation("otel.obs", 4318, Some(Signal::Traces)),
            expectation("10.100.0.2", 4317, None),
        ]),
        _ => drop(scene.after(2500)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn healthy_exporters_are_never_called_failing(noises in prop::collection::vec((noise(), 0..4000u64), 1..40)) {
        let mut scene = Scene::empty();
        scene.expect(vec![
            expectation("otel.obs", 4318, Some(Signal::Traces)),
            expectation("localhost", 4318, Some(Signal::Logs)),
        ]);
        scene.lookup("otel.obs", LookupOutcome::Resolved, &["10.100.0.1"]);
        let cookie = scene.connect(UP);
        for (noise, pause) in &noises {
            scene.export_to(cookie, UP, "/v1/traces", http(200));
            make(&mut scene, noise);
            scene.after(*pause);
            prop_assert_eq!(scene.failures(), [], "after {:?}", noise);
        }
        prop_assert!(scene.transitions.is_empty());
    }

    #[test]
    fn anything_may_happen(events in prop::collection::vec(anything(), 1..300)) {
        let mut scene = Scene::empty();
        scene.diagnoser = Diagnoser::new(Config {
            max_containers: 10,
            max_exporters: 12,
            max_sockets: 8,
            max_names: 4,
            ..Config::default()
        });
        for event in events {
            throw(&mut scene, event);
            let report = scene.report();
            prop_assert!(report.exports.len() <= 24, "{}", report.exports.len());
        }
        scene.after(400_000);
        // What opened and is still there has opened once more than it has closed.
        let report = scene.report();
        for export in &report.exports {
            let of = |opened: bool| scene.transitions.iter().filter(|t| t.export.id == export.id && t.opened == opened).count();
            prop_assert!(of(true) - of(false) <= 1);
        }
        let saved = scene.diagnoser.save();
        scene.diagnoser.restore(saved);
        let _ = (request("/v1/traces", crate::model::Mono(0)), workload(1));
    }
}
