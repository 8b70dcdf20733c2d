//! Connections and drops.

use std::time::Duration;

use super::scene::*;
use crate::model::event::{Comm, Direction, Endpoints, EventBody, Named, Outcome, Protocol, TcpInfo};
use crate::model::exchange::Spoken;
use crate::model::observation::{ConnectFailure, What};

fn failure(s: &Scene) -> &ConnectFailure {
    match &s.last().what {
        What::ConnectFailed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

fn ended(s: &mut Scene, at: u64, outcome: Outcome, change: impl FnOnce(&mut crate::model::event::Close)) {
    let mut end = close(sink(40_000), outcome);
    end.syn_retransmits = 2;
    change(&mut end);
    s.event(at, 9, EventBody::Close(Box::new(end)));
}

#[test]
fn a_connection_carries_the_name_that_was_looked_up() {
    let mut s = Scene::new();
    s.both(0, 1, "otel.obs.svc.cluster.local", (0, &["10.100.0.1"]), (0, &[]));
    s.event(2, 9, attempt(sink(0), Some(addr("10.100.0.1:4317"))));
    assert_eq!(
        s.last().remote_name.as_deref(),
        Some("otel.obs.svc.cluster.local")
    );
    assert_eq!(s.last().asked, None);
    s.event(
        3,
        9,
        EventBody::Established {
            ends: sink(40_000),
            handshake: Duration::from_millis(1),
        },
    );
    assert_eq!(s.last().local, Some(sink(40_000).local));
    // Long after the TTL the connection still knows its name.
    let mut end = close(sink(40_000), Outcome::Established);
    end.bytes_acked = 10;
    s.anonymous(3_600_000, 9, EventBody::Close(Box::new(end)));
    assert_eq!(
        s.last().remote_name.as_deref(),
        Some("otel.obs.svc.cluster.local")
    );
    assert_eq!(s.last().workload.pod.as_deref(), Some("shop-1"));
    assert_eq!(&*s.last().process.as_ref().unwrap().name, "app");
    assert!(matches!(&s.last().what, What::Closed(end) if end.bytes_acked == 10));
    assert_eq!(s.correlator.sizes().connections, 0);
    // And the address has lost it.
    s.event(3_600_001, 10, attempt(sink(0), None));
    assert_eq!(s.last().remote_name, None);
}

#[test]
fn the_name_is_found_by_the_address_asked_for_and_in_the_same_namespace() {
    let mut s = Scene::new();
    s.both(0, 1, "otel.obs", (0, &["10.96.7.7"]), (0, &[]));
    // A sidecar of another cgroup, in the pod's namespace; a socket load balancer put the backend in.
    s.cgroup = 8;
    let backend = Endpoints {
        remote: addr("10.244.3.3:4317"),
        ..sink(0)
    };
    s.event(1, 9, attempt(backend, Some(addr("10.96.7.7:4317"))));
    assert_eq!(s.last().remote_name.as_deref(), Some("otel.obs"));
    assert_eq!(s.last().asked, Some(addr("10.96.7.7:4317")));
    s.event(
        2,
        11,
        EventBody::ConnectFailed {
            asked: addr("10.96.7.7:4317"),
            comm: Comm::default(),
            errno: 1,
        },
    );
    assert_eq!(s.last().remote_name.as_deref(), Some("otel.obs"));
    assert_eq!(failure(&s).outcome, Outcome::Failed);
    assert_eq!(failure(&s).errno, 1);
}

#[test]
fn a_drop_explains_an_attempt_that_nobody_answered() {
    for outcome in [Outcome::GivenUp, Outcome::TimedOut, Outcome::Abandoned] {
        let mut s = Scene::new();
        s.event(0, 9, attempt(sink(0), None));
        // On this node, in the host's namespace: no socket, and the local port is news.
        s.anonymous(1, 0, drop(sink(40_000).local, sink(0).remote, Protocol::Tcp, &[]));
        assert_eq!(s.last().workload.pod.as_deref(), Some("shop-1"), "by address");
        let What::Dropped(seen) = &s.last().what else {
            panic!("{:?}", s.last())
        };
        assert_eq!(seen.direction, Some(Direction::Egress));
        ended(&mut s, 3_000, outcome, |c| {
            c.errno = if outcome == Outcome::TimedOut { 110 } else { 0 };
        });
        assert_eq!(failure(&s).outcome, Outcome::Dropped, "{outcome:?}");
        assert_eq!(&*failure(&s).drop.as_ref().unwrap().reason, "REASON_8");
    }
}

#[test]
fn a_drop_after_dnat_is_matched_by_the_local_port() {
    let mut s = Scene::new();
    s.event(0, 9, attempt(sink(0), Some(addr("10.96.7.7:4317"))));
    s.anonymous(
        1,
        0,
        drop(sink(40_000).local, addr("10.244.3.3:14317"), Protocol::Tcp, &[]),
    );
    ended(&mut s, 3_000, Outcome::GivenUp, |_| ());
    assert_eq!(failure(&s).outcome, Outcome::Dropped);
    // A drop of the answer counts too.
    let mut s = Scene::new();
    s.event(0, 9, attempt(sink(0), None));
    s.event(
        1,
        9,
        EventBody::Retransmit {
            ends: sink(40_000),
            count: 1,
            syn: true,
        },
    );
    s.anonymous(2, 0, drop(sink(0).remote, sink(40_000).local, Protocol::Tcp, &[]));
    assert!(matches!(&s.last().what, What::Dropped(d) if d.direction == Some(Direction::Ingress)));
    assert_eq!(s.last().local, Some(sink(40_000).local));
    ended(&mut s, 3_000, Outcome::GivenUp, |_| ());
    assert_eq!(failure(&s).outcome, Outcome::Dropped);
}

#[test]
fn an_errno_beats_a_drop() {
    // REJECT drops the SYN and answers it.
    type Change = fn(&mut crate::model::event::Close);
    let changes: [(Outcome, Change); 4] = [
        (Outcome::Rejected, |c| c.errno = 111),
        (Outcome::GivenUp, |c| c.soft_errno = 113),
        (Outcome::Refused, |c| c.rst = true),
        (Outcome::GivenUp, |c| {
            c.errno = 104;
            c.rst = true;
        }),
    ];
    for (outcome, change) in changes {
        let mut s = Scene::new();
        s.event(0, 9, attempt(sink(0), None));
        s.event(1, 9, drop(sink(40_000).local, sink(0).remote, Protocol::Tcp, &[]));
        ended(&mut s, 3_000, outcome, change);
        assert_eq!(failure(&s).outcome, outcome);
        assert_eq!(failure(&s).drop, None);
    }
}

#[test]
fn a_shutdown_of_the_application_is_no_answer() {
    let mut s = Scene::new();
    s.event(0, 9, attempt(sink(0), None));
    s.event(1, 9, drop(sink(40_000).local, sink(0).remote, Protocol::Tcp, &[]));
    ended(&mut s, 3_000, Outcome::GivenUp, |c| c.errno = 104);
    assert_eq!(failure(&s).outcome, Outcome::Dropped);
}

#[test]
fn an_attempt_given_up_early_stays_abandoned_but_tells_of_the_drop() {
    let mut s = Scene::new();
    s.event(0, 9, attempt(sink(0), None));
    s.event(1, 9, drop(sink(40_000).local, sink(0).remote, Protocol::Tcp, &[]));
    ended(&mut s, 300, Outcome::Abandoned, |c| c.syn_retransmits = 0);
    assert_eq!(failure(&s).outcome, Outcome::Abandoned);
    assert!(failure(&s).drop.is_some());
}

#[test]
fn drops_of_other_connections_and_other_times_explain_nothing() {
    let mut s = Scene::new();
    // Before the attempt, with the same port.
    s.anonymous(0, 0, drop(sink(40_000).local, sink(0).remote, Protocol::Tcp, &[]));
    s.event(10_000, 9, attempt(sink(0), None));
    // Another port.
    s.anonymous(
        10_001,
        0,
        drop(sink(40_001).local, sink(0).remote, Protocol::Tcp, &[]),
    );
    ended(&mut s, 13_000, Outcome::GivenUp, |_| ());
    assert_eq!(failure(&s).outcome, Outcome::GivenUp);
    assert_eq!(failure(&s).drop, None);
    let mut s = Scene::new();
    s.event(0, 9, attempt(sink(40_000), None));
    s.anonymous(1, 0, drop(sink(40_001).local, sink(0).remote, Protocol::Tcp, &[]));
    assert_eq!(s.last().workload.pod, None);
    ended(&mut s, 3_000, Outcome::GivenUp, |_| ());
    assert_eq!(failure(&s).outcome, Outcome::GivenUp);
}

#[test]
fn recorded_names_name_the_drop() {
    let mut s = Scene::new();
    for (of, text) in [
        (Named::DropReason(8), "NETFILTER_DROP"),
        (Named::Function(0x10), "nf_hook_slow"),
        (Named::Function(0x20), "__ip_local_out"),
    ] {
        s.anonymous(
            0,
            0,
            EventBody::Name {
                of,
                text: text.into(),
            },
        );
    }
    s.event(1, 9, attempt(sink(40_000), None));
    s.event(2, 9, drop(sink(40_000).local, sink(0).remote, Protocol::Tcp, &[]));
    let What::Dropped(seen) = &s.last().what else {
        panic!("{:?}", s.last())
    };
    assert_eq!(
        (&*seen.reason, seen.hook.as_deref()),
        ("NETFILTER_DROP", Some("OUTPUT"))
    );
}

#[test]
fn without_a_reason_the_function_names_the_drop() {
    // Before 5.17.
    for (function, reason) in [("nf_hook_slow", "NETFILTER_DROP"), ("tcp_v4_rcv", "UNKNOWN")] {
        let mut s = Scene::new();
        let name = EventBody::Name {
            of: Named::Function(0x10),
            text: function.into(),
        };
        s.anonymous(0, 0, name);
        s.event(1, 9, attempt(sink(40_000), None));
        let EventBody::Drop(mut packet) = drop(sink(40_000).local, sink(0).remote, Protocol::Tcp, &[]) else {
            panic!("a drop");
        };
        packet.reason = None;
        s.event(2, 9, EventBody::Drop(packet));
        let What::Dropped(seen) = &s.last().what else {
            panic!("{:?}", s.last())
        };
        assert_eq!(&*seen.reason, reason);
    }
}

#[test]
fn a_connection_is_adopted_once() {
    let mut s = Scene::new();
    let adopted = EventBody::Adopted {
        ends: sink(40_000),
        state: 1,
        comm: Comm::default(),
        bytes_acked: 5,
        bytes_received: 6,
    };
    s.event(0, 9, adopted.clone());
    s.event(5_000, 9, adopted);
    let adoptions = s
        .out
        .iter()
        .filter(|o| matches!(o.what, What::Adopted { .. }))
        .count();
    assert_eq!(adoptions, 1);
    let info = TcpInfo {
        ends: sink(40_000),
        state: 1,
        unacked: 0,
        rto: Duration::from_millis(200),
        rtt: Duration::from_millis(1),
        backoff: 0,
        total_retransmits: 0,
        last_sent: Duration::ZERO,
        last_received: Duration::ZERO,
        bytes_acked: 5,
        bytes_received: 6,
        not_sent_bytes: 0,
    };
    s.anonymous(5_000, 9, EventBody::TcpInfo(Box::new(info)));
    assert_eq!(s.last().workload.pod.as_deref(), Some("shop-1"));
}

#[test]
fn the_first_bytes_tell_the_protocol() {
    let mut s = Scene::new();
    let payload = |direction, offset, bytes: &[u8], late| EventBody::Payload {
        direction,
        offset,
        wire_len: u32::try_from(bytes.len()).unwrap(),
        gap: false,
        late,
        h2_frame: false,
        dns: false,
        bytes: bytes.to_vec().into(),
    };
    s.event(0, 9, attempt(sink(40_000), None));
    assert_eq!(s.correlator.spoken(9), Some((Spoken::Nothing, Spoken::Nothing)));
    s.event(1, 9, payload(Direction::Egress, 0, b"PRI * HT", false));
    s.event(1, 9, payload(Direction::Egress, 0, b"PRI * HT", false));
    s.event(
        2,
        9,
        payload(Direction::Egress, 8, b"TP/2.0\r\n\r\nSM\r\n\r\n", false),
    );
    s.event(
        3,
        9,
        payload(Direction::Ingress, 0, b"HTTP/1.1 400 Bad Request", false),
    );
    assert_eq!(s.correlator.spoken(9), Some((Spoken::Http2, Spoken::Http1)));
    s.event(4, 10, attempt(sink(40_001), None));
    s.event(5, 10, payload(Direction::Egress, 0, b"POST ", true));
    assert_eq!(s.correlator.spoken(10), Some((Spoken::Http1, Spoken::Nothing)));
}

#[test]
fn loss_is_an_observation() {
    let mut s = Scene::new();
    s.anonymous(0, 0, EventBody::Lost { count: 17 });
    assert_eq!(s.last().what, What::Lost { count: 17 });
}
