//! `dropped`, `no-endpoints`, `refused`, `unreachable`, `blackholed` and what they stay quiet on.

use std::time::Duration;

use super::scene::{Scene, drop_seen, evidence, expectation, ms};
use crate::model::event::{Comm, Outcome, Protocol};
use crate::model::exchange::Signal;
use crate::model::lifecycle::Step;
use crate::model::observation::{ConnectFailure, LookupOutcome, What};
use crate::model::verdict::{Rung, RungState, Severity, VerdictId};

const UP: &str = "10.100.0.1:4318";

fn resolved() -> Scene {
    let mut scene = Scene::traces();
    scene.lookup("otel.obs", LookupOutcome::Resolved, &["10.100.0.1"]);
    scene
}

#[test]
fn a_refused_connect_fires_within_five_seconds() {
    let mut scene = resolved();
    scene.refused(UP).after(2000);
    let export = scene.export();
    assert_eq!(export.verdict, VerdictId::Refused);
    assert_eq!(export.rungs.get(Rung::Resolved), RungState::Ok);
    assert_eq!(export.rungs.get(Rung::Connected), RungState::Failed);
    assert!(
        evidence(&export).contains("ECONNREFUSED"),
        "{}",
        evidence(&export)
    );
}

#[test]
fn refused_on_one_address_and_connected_on_the_next_is_healthy() {
    let mut scene = Scene::empty();
    scene.expect(vec![expectation("localhost", 4318, None)]);
    for _ in 0..5 {
        scene.refused("[::1]:4318");
        let cookie = scene.connect("127.0.0.1:4318");
        scene.after(5000);
        assert_eq!(scene.failures(), []);
        scene.close(cookie, "127.0.0.1:4318", false, 200);
    }
    assert!(scene.transitions.is_empty());
}

#[test]
fn while_the_next_address_is_being_tried_nothing_is_said() {
    let mut scene = Scene::empty();
    scene.expect(vec![expectation("localhost", 4318, None)]);
    scene.after(1900);
    scene.refused("[::1]:4318");
    scene.attempt("127.0.0.1:4318");
    scene.after(200);
    assert_eq!(scene.failures(), []);
}

#[test]
fn a_sidecar_that_starts_late_is_starting_and_raises_nothing() {
    let mut scene = Scene::empty();
    let mut container = scene.container_of(vec![expectation("127.0.0.1", 4318, None)]);
    container.began = ms(0);
    scene.expect_container(container);
    for _ in 0..24 {
        scene.refused("127.0.0.1:4318").after(1000);
        let export = scene.export();
        assert_eq!(export.verdict, VerdictId::Refused);
        assert_eq!(export.severity, Severity::Starting);
    }
    scene.connect("127.0.0.1:4318");
    scene.after(100_000);
    assert_eq!(scene.failures(), []);
    assert!(scene.transitions.is_empty(), "{:?}", scene.transitions);
}

#[test]
fn what_still_fails_after_a_minute_is_raised() {
    let mut scene = Scene::empty();
    let mut container = scene.container_of(vec![expectation("127.0.0.1", 4318, None)]);
    container.began = ms(0);
    scene.expect_container(container);
    for _ in 0..70 {
        scene.refused("127.0.0.1:4318").after(1000);
    }
    assert_eq!(scene.export().severity, Severity::Critical);
    assert_eq!(scene.transitions.len(), 1);
    let opened = &scene.transitions[0];
    assert!(opened.opened && opened.at >= ms(60_000) && opened.at <= ms(62_000));
}

#[test]
fn an_icmp_error_is_no_endpoints_whatever_the_errno() {
    for errno in [0, 111] {
        let mut scene = resolved();
        let cookie = scene.attempt(UP);
        // The REJECT drops the SYN, too.
        let drop = drop_seen("NETFILTER_DROP", "OUTPUT", Protocol::Tcp);
        scene.connection(cookie, UP, What::Dropped(Box::new(drop)));
        scene.fail(cookie, UP, Outcome::Rejected, errno).after(2000);
        assert_eq!(scene.verdict(), VerdictId::NoEndpoints);
    }
}

#[test]
fn unreachable_with_its_errno() {
    let mut scene = resolved();
    let cookie = scene.attempt(UP);
    scene.fail(cookie, UP, Outcome::Unreachable, 113).after(2000);
    let export = scene.export();
    assert_eq!(export.verdict, VerdictId::Unreachable);
    assert_eq!(export.reason.as_deref(), Some("EHOSTUNREACH"));
}

#[test]
fn no_route_to_one_family_is_not_the_cause_where_the_other_was_tried() {
    let mut scene = Scene::traces();
    scene.lookup("otel.obs", LookupOutcome::Resolved, &["fd00::1", "10.100.0.1"]);
    scene.fail(0, "[fd00::1]:4318", Outcome::Failed, 101);
    scene.refused(UP).after(2000);
    assert_eq!(scene.verdict(), VerdictId::Refused);

    let mut scene = Scene::traces();
    scene.lookup("otel.obs", LookupOutcome::Resolved, &["fd00::1", "10.100.0.1"]);
    scene.fail(0, "[fd00::1]:4318", Outcome::Failed, 101);
    scene.connect(UP);
    scene.after(2000);
    assert_eq!(scene.failures(), []);
}

#[test]
fn a_black_hole_is_called_at_the_third_syn_sent_again_while_the_socket_is_open() {
    let mut scene = resolved();
    let cookie = scene.attempt(UP);
    for (at, count) in [(1000, 1), (3000, 2), (7000, 3)] {
        scene.until(at);
        assert_eq!(scene.failures(), [], "at {at}");
        scene.connection(cookie, UP, What::Retransmit { count, syn: true });
    }
    scene.after(2000);
    let export = scene.export();
    assert_eq!(export.verdict, VerdictId::Blackholed);
    assert!(evidence(&export).contains("4 SYNs"), "{}", evidence(&export));
}

#[test]
fn a_black_hole_is_called_at_the_second_unanswered_attempt() {
    let mut scene = resolved();
    for round in 0..2 {
        assert_eq!(scene.failures(), [], "round {round}");
        let cookie = scene.attempt(UP);
        scene.after(1500);
        scene.connection(cookie, UP, What::Retransmit { count: 1, syn: true });
        scene.after(500);
        scene.fail(cookie, UP, Outcome::GivenUp, 104);
        scene.after(3000);
    }
    assert_eq!(scene.verdict(), VerdictId::Blackholed);
}

#[test]
fn one_lost_syn_is_nothing() {
    let mut scene = resolved();
    let cookie = scene.attempt(UP);
    scene.after(1000);
    scene.connection(cookie, UP, What::Retransmit { count: 1, syn: true });
    scene.after(900);
    assert_eq!(scene.failures(), []);
    scene.connection(
        cookie,
        UP,
        What::Established {
            handshake: Duration::from_secs(1),
        },
    );
    scene.after(20_000);
    assert_eq!(scene.failures(), []);
}

#[test]
fn attempts_abandoned_early_are_nothing() {
    let mut scene = resolved();
    for _ in 0..10 {
        let cookie = scene.attempt(UP);
        scene.after(300);
        scene.fail(cookie, UP, Outcome::Abandoned, 0);
        scene.after(2000);
        assert_eq!(scene.failures(), []);
    }
}

#[test]
fn refused_on_one_address_and_no_answer_on_the_other_is_a_black_hole() {
    let mut scene = Scene::traces();
    scene.lookup("otel.obs", LookupOutcome::Resolved, &["10.100.0.2", "10.100.0.1"]);
    scene.refused("10.100.0.2:4318");
    let cookie = scene.attempt(UP);
    scene.after(900);
    assert_eq!(scene.failures(), []);
    scene.after(6000);
    scene.connection(cookie, UP, What::Retransmit { count: 3, syn: true });
    scene.after(1000);
    assert_eq!(scene.verdict(), VerdictId::Blackholed);
}

#[test]
fn syns_dropped_here_are_dropped() {
    let mut scene = resolved();
    let cookie = scene.attempt(UP);
    let drop = || What::Dropped(Box::new(drop_seen("NETFILTER_DROP", "OUTPUT", Protocol::Tcp)));
    scene.connection(cookie, UP, drop());
    scene.after(900);
    assert_eq!(scene.failures(), [], "one may be a limit on the rate");
    scene.connection(cookie, UP, drop());
    scene.after(1000);
    let export = scene.export();
    assert_eq!(export.verdict, VerdictId::Dropped);
    assert_eq!(export.reason.as_deref(), Some("NETFILTER_DROP"));
    assert!(evidence(&export).contains("NETFILTER_DROP in OUTPUT"));
}

#[test]
fn an_attempt_that_ended_dropped_is_dropped_and_one_denied_is_too() {
    let mut scene = resolved();
    let cookie = scene.attempt(UP);
    let failure = ConnectFailure {
        outcome: Outcome::Dropped,
        errno: 110,
        duration: Duration::from_secs(10),
        syn_retransmits: 3,
        drop: Some(drop_seen("TC_INGRESS", "tc_run", Protocol::Tcp)),
    };
    scene.connection(cookie, UP, What::ConnectFailed(Box::new(failure)));
    scene.after(1000);
    assert_eq!(scene.export().reason.as_deref(), Some("TC_INGRESS"));

    let mut scene = resolved();
    scene.fail(0, UP, Outcome::Failed, 1).after(1000);
    let export = scene.export();
    assert_eq!(export.verdict, VerdictId::Dropped);
    assert_eq!(export.reason.as_deref(), Some("EPERM"));
}

#[test]
fn drops_that_come_with_healthy_traffic_are_nothing() {
    let mut scene = resolved();
    let cookie = scene.connect(UP);
    for reason in [
        "NO_SOCKET",
        "TCP_OLD_SEQUENCE",
        "QUEUE_PURGE",
        "TCP_CLOSE",
        "TCP_ABORT_ON_DATA",
    ] {
        for _ in 0..20 {
            let drop = drop_seen(reason, "tcp_v4_rcv", Protocol::Tcp);
            scene.connection(cookie, UP, What::Dropped(Box::new(drop)));
            scene.after(1000);
        }
    }
    assert_eq!(scene.failures(), []);
}

#[test]
fn a_dead_collector_is_one_cause() {
    let mut scene = Scene::empty();
    for container in 1..=20 {
        scene.container = container;
        scene.expect(vec![
            expectation("10.100.0.1", 4318, Some(Signal::Traces)),
            expectation("10.100.0.1", 4318, Some(Signal::Logs)),
        ]);
        scene.refused(UP);
    }
    scene.after(2000);
    let report = scene.report();
    assert_eq!(report.causes.len(), 1);
    let cause = &report.causes[0];
    assert_eq!((cause.exports.len(), cause.pods, cause.workloads), (40, 20, 1));
    assert_eq!(&*cause.subject, "10.100.0.1:4318");
}

#[test]
fn a_container_that_is_gone_is_not_reported_and_its_failure_ends() {
    let mut scene = resolved();
    scene.refused(UP).after(2000);
    scene.gone();
    assert!(scene.report().exports.is_empty());
    let opened: Vec<bool> = scene.transitions.iter().map(|t| t.opened).collect();
    assert_eq!(opened, [true, false]);
}

#[test]
fn what_is_seen_late_does_not_bring_a_container_back() {
    let mut scene = Scene::traces();
    let cookie = scene.connect(UP);
    let late = scene.container_of(vec![expectation("otel.obs", 4318, None)]);
    scene.gone();
    scene.export_to(cookie, UP, "/v1/traces", super::scene::http(200));
    scene.close(cookie, UP, true, 0).after(1000);
    assert_eq!(scene.report().exports, []);
    scene.expect_container(late);
    assert_eq!(scene.report().exports, []);
    // A unit, or a container of Docker, that is started again: the same name.
    scene.after(1000);
    let step = scene.step(Step::Exec {
        comm: Comm::default(),
    });
    scene.diagnoser.lifecycle(&step);
    let cookie = scene.connect(UP);
    scene
        .export_to(cookie, UP, "/v1/traces", super::scene::http(200))
        .after(1000);
    assert_eq!(scene.verdict(), VerdictId::Healthy);
}

#[test]
fn what_was_only_seen_on_the_wire_goes_with_its_cgroup_and_with_its_last_process() {
    for by_cgroup in [true, false] {
        let mut scene = Scene::empty();
        let cookie = scene.connect(UP);
        scene
            .export_to(cookie, UP, "/v1/traces", super::scene::http(200))
            .after(1000);
        assert_eq!(scene.verdict(), VerdictId::Healthy);
        if by_cgroup {
            let step = scene.step(Step::CgroupGone);
            scene.diagnoser.lifecycle(&step);
        } else {
            scene.gone();
        }
        scene.close(cookie, UP, false, 100).after(1000);
        scene
            .export_to(cookie + 1, UP, "/v1/traces", super::scene::http(200))
            .after(1000);
        assert_eq!(scene.report().exports, []);
    }
}

/// A headless name: one address refuses, and the next attempt goes to another that answers nothing.
#[test]
fn a_failure_does_not_end_while_the_next_attempt_is_under_way() {
    let mut scene = Scene::traces();
    scene.lookup("otel.obs", LookupOutcome::Resolved, &["10.100.0.1", "10.100.0.2"]);
    scene.refused(UP).after(3000);
    assert_eq!(scene.verdict(), VerdictId::Refused);
    let cookie = scene.attempt("10.100.0.2:4318");
    scene.after(6000);
    assert_eq!(scene.verdict(), VerdictId::Refused);
    assert_eq!(scene.transitions.len(), 1, "{:?}", scene.transitions);
    let again = What::Retransmit { count: 3, syn: true };
    scene.connection(cookie, "10.100.0.2:4318", again).after(6000);
    assert_eq!(scene.verdict(), VerdictId::Blackholed);
    let opened: Vec<bool> = scene.transitions.iter().map(|t| t.opened).collect();
    assert_eq!(opened, [true, false, true]);
}

/// The record of its end was lost.
#[test]
fn an_attempt_that_cannot_be_under_way_any_more_says_nothing() {
    let mut scene = resolved();
    let cookie = scene.attempt(UP);
    let again = What::Retransmit { count: 6, syn: true };
    scene.connection(cookie, UP, again).after(10_000);
    assert_eq!(scene.verdict(), VerdictId::Blackholed);
    scene.after(140_000);
    scene.refused(UP).after(5000);
    assert_eq!(scene.verdict(), VerdictId::Refused);
}

#[test]
fn attempts_older_than_one_that_came_through_are_over() {
    let mut scene = resolved();
    let cookie = scene.attempt(UP);
    let again = What::Retransmit { count: 6, syn: true };
    scene.connection(cookie, UP, again).after(10_000);
    let second = scene.connect(UP);
    scene.close(second, UP, false, 100).after(1000);
    scene.refused(UP).after(5000);
    assert_eq!(scene.verdict(), VerdictId::Refused);
}

/// Without the hook of drops, or with its record lost, the socket's own errno tells.
#[test]
fn syns_that_output_denies_are_dropped() {
    for (errno, verdict) in [(1, VerdictId::Dropped), (0, VerdictId::Blackholed)] {
        let mut scene = resolved();
        for _ in 0..2 {
            let cookie = scene.attempt(UP);
            scene.after(5000);
            scene.fail(cookie, UP, Outcome::Dropped, errno).after(1000);
        }
        scene.after(5000);
        assert_eq!(scene.verdict(), verdict, "{errno}");
    }
}

#[test]
fn want_of_local_ports_is_no_want_of_a_way() {
    for (to, host, reason) in [
        (UP, "10.100.0.1", "no-local-port"),
        ("[::1]:4318", "::1", "EADDRNOTAVAIL"),
    ] {
        let mut scene = Scene::empty();
        scene.expect(vec![expectation(host, 4318, Some(Signal::Traces))]);
        let cookie = scene.attempt(to);
        scene.fail(cookie, to, Outcome::Failed, 99).after(2000);
        let export = scene.export();
        assert_eq!(
            (export.verdict, export.reason.as_deref()),
            (VerdictId::Unreachable, Some(reason))
        );
    }
}
