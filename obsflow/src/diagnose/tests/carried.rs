//! What happens on connections that are open: packets dropped here, and nothing that comes back inside TLS.

use std::time::Duration;

use super::scene::{Scene, addr, drop_seen, evidence, expectation, http};
use crate::model::event::{Endpoints, Protocol, TcpInfo};
use crate::model::exchange::{Signal, Tls, TlsOutcome};
use crate::model::observation::What;
use crate::model::verdict::{Rung, RungState, VerdictId};

const UP: &str = "10.100.0.1:4318";
const TRACES: &str = "/v1/traces";

fn connected() -> (Scene, u64) {
    let mut scene = Scene::empty();
    scene.expect(vec![expectation("10.100.0.1", 4318, Some(Signal::Traces))]);
    let cookie = scene.connect(UP);
    (scene, cookie)
}

fn dropped(scene: &mut Scene, cookie: u64) {
    let drop = drop_seen("NETFILTER_DROP", "OUTPUT", Protocol::Tcp);
    scene.connection(cookie, UP, What::Dropped(Box::new(drop)));
}

#[test]
fn packets_of_an_open_connection_that_are_dropped_here() {
    let (mut scene, cookie) = connected();
    scene.export_to(cookie, UP, TRACES, http(200)).after(5000);
    scene.ask(cookie, UP, TRACES);
    for _ in 0..3 {
        dropped(&mut scene, cookie);
        scene.after(2000);
    }
    assert_eq!(scene.failures(), [], "it may still be answered");
    scene.after(6000);
    let export = scene.export();
    assert_eq!(export.verdict, VerdictId::Dropped);
    assert_eq!(export.reason.as_deref(), Some("NETFILTER_DROP"));
    assert_eq!(export.rungs.get(Rung::Connected), RungState::Failed);
    let said = evidence(&export);
    assert!(said.contains("packets of an open connection"), "{said}");
    assert!(said.contains("OUTPUT"), "{said}");
}

#[test]
fn drops_that_the_next_packet_passes_are_nothing() {
    let (mut scene, cookie) = connected();
    for _ in 0..10 {
        let request = scene.ask(cookie, UP, TRACES);
        dropped(&mut scene, cookie);
        scene.after(300);
        scene.answer(cookie, UP, request, http(200)).after(5000);
    }
    assert_eq!(scene.failures(), []);
    assert_eq!(scene.verdict(), VerdictId::Healthy);
}

fn encrypted(scene: &mut Scene, cookie: u64) {
    let tls = Tls {
        sni: None,
        alpn: Vec::new(),
        outcome: TlsOutcome::Established,
        alert: None,
    };
    scene.connection(cookie, UP, What::Tls(Box::new(tls)));
}

fn counted(scene: &mut Scene, cookie: u64, bytes_acked: u64, bytes_received: u64) {
    let info = info(bytes_acked, bytes_received);
    scene.connection(cookie, UP, What::TcpInfo(Box::new(info)));
}

fn info(bytes_acked: u64, bytes_received: u64) -> TcpInfo {
    TcpInfo {
        ends: Endpoints {
            local: addr("10.244.1.5:40000"),
            remote: addr(UP),
        },
        state: 1,
        unacked: 0,
        rto: Duration::from_millis(200),
        rtt: Duration::from_millis(1),
        backoff: 0,
        total_retransmits: 0,
        last_sent: Duration::ZERO,
        last_received: Duration::ZERO,
        bytes_acked,
        bytes_received,
        not_sent_bytes: 0,
    }
}

#[test]
fn payload_inside_tls_that_nothing_comes_back_for_stalls() {
    let (mut scene, cookie) = connected();
    encrypted(&mut scene, cookie);
    counted(&mut scene, cookie, 900, 3000);
    scene.after(5000);
    assert_eq!(scene.verdict(), VerdictId::Healthy);
    for sent in 1..4 {
        counted(&mut scene, cookie, 900 + 500 * sent, 3000);
        scene.after(2000);
    }
    assert_eq!(scene.failures(), [], "its time-out has not passed");
    scene.after(6000);
    let export = scene.export();
    assert_eq!(export.verdict, VerdictId::Stalled);
    let said = evidence(&export);
    assert!(said.contains("nothing has come back"), "{said}");
    counted(&mut scene, cookie, 2400, 3100);
    scene.after(6000);
    assert_eq!(scene.verdict(), VerdictId::Healthy, "it was answered");
}

#[test]
fn payload_inside_tls_that_is_answered_is_healthy() {
    let (mut scene, cookie) = connected();
    encrypted(&mut scene, cookie);
    for turn in 1..20 {
        counted(&mut scene, cookie, 900 * turn, 3000 + 40 * turn);
        scene.after(5000);
    }
    assert_eq!(scene.failures(), []);
    scene.after(60_000);
    assert_eq!(scene.failures(), [], "at rest");
}

/// The record of its end was lost with others: what fails now is not beside an open connection.
#[test]
fn a_connection_whose_end_was_lost_hides_nothing() {
    for is_tls in [false, true] {
        let (mut scene, cookie) = connected();
        if is_tls {
            encrypted(&mut scene, cookie);
        } else {
            scene.export_to(cookie, UP, TRACES, http(200));
        }
        scene.after(5000);
        let lost = scene.observation(0, What::Lost { count: 1 });
        scene.see(&lost);
        scene.after(5000);
        assert_eq!(scene.verdict(), VerdictId::Healthy, "nothing failed so far");
        scene.refused(UP).after(2000);
        assert_eq!(scene.verdict(), VerdictId::Refused, "{is_tls}");
    }
}

#[test]
fn what_failed_before_a_loss_and_the_last_success_stays_beside_it() {
    let (mut scene, cookie) = connected();
    scene.refused(UP).after(1000);
    scene.export_to(cookie, UP, TRACES, http(200)).after(1000);
    let lost = scene.observation(0, What::Lost { count: 1 });
    scene.see(&lost);
    scene.after(5000);
    assert_eq!(scene.failures(), []);
    scene.export_to(cookie, UP, TRACES, http(200)).after(1000);
    scene.refused(UP).after(5000);
    assert_eq!(scene.failures(), [], "its connection is open: it was used since");
}

#[test]
fn a_connection_with_tls_that_is_stuck_hides_nothing() {
    let (mut scene, cookie) = connected();
    encrypted(&mut scene, cookie);
    scene.after(2000);
    scene.refused(UP).after(2000);
    assert_eq!(scene.verdict(), VerdictId::Healthy, "beside an open connection");
    scene.connection(
        cookie,
        UP,
        What::TcpInfo(Box::new(TcpInfo {
            backoff: 4,
            unacked: 3,
            ..info(900, 3000)
        })),
    );
    scene.refused(UP).after(2000);
    assert_eq!(scene.verdict(), VerdictId::Refused);
}

/// Its program gave the old connection up; the kernel sends on it for minutes.
#[test]
fn a_connection_that_was_left_behind_says_nothing_of_the_one_that_took_its_place() {
    for is_tls in [false, true] {
        let (mut scene, old) = connected();
        if is_tls {
            encrypted(&mut scene, old);
        } else {
            scene.export_to(old, UP, TRACES, http(200));
        }
        scene.after(2000);
        let orphan = |scene: &mut Scene, backoff: u32| {
            let info = TcpInfo {
                backoff,
                unacked: 3,
                ..info(900, 3000)
            };
            scene.connection(old, UP, What::TcpInfo(Box::new(info)));
            scene.after(1000);
        };
        for backoff in 1..4 {
            orphan(&mut scene, backoff);
        }
        assert_eq!(
            scene.verdict(),
            VerdictId::Stalled,
            "nothing else carries it: {is_tls}"
        );
        let new = scene.connect(UP);
        if is_tls {
            encrypted(&mut scene, new);
        }
        for turn in 1..10 {
            if is_tls {
                counted(&mut scene, new, 900 * turn, 3000 + 40 * turn);
            } else {
                scene.export_to(new, UP, TRACES, http(200));
            }
            orphan(&mut scene, 4);
            if turn > 5 {
                assert_eq!(scene.verdict(), VerdictId::Healthy, "turn {turn}, {is_tls}");
            }
        }
        scene.close(old, UP, false, 900);
        orphan(&mut scene, 0);
        assert_eq!(scene.verdict(), VerdictId::Healthy);
        assert_eq!(scene.export().flaps, 0, "{is_tls}");
    }
}

/// The healthy connection beside it ends after each export: that is nothing of the one that hears nothing.
#[test]
fn the_end_of_another_connection_heals_nothing() {
    let (mut scene, cookie) = connected();
    encrypted(&mut scene, cookie);
    scene.after(2000);
    for sent in 1..20 {
        counted(&mut scene, cookie, 900 + 500 * sent, 3000);
        let other = scene.connect(UP);
        scene.after(1000);
        scene.close(other, UP, false, 0);
    }
    assert_eq!(scene.verdict(), VerdictId::Stalled);
}
