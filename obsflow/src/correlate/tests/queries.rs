//! Queries and their responses.

use std::time::Duration;

use super::scene::*;
use crate::correlate::Config;
use crate::decode::sample::{dns_query, dns_response};
use crate::model::event::{Direction, Endpoints, EventBody, Protocol};
use crate::model::observation::{LookupOutcome, What};

const NAME: &str = "otel.obs.svc.cluster.local";

#[test]
fn a_response_carries_the_latency_of_its_query() {
    let mut s = Scene::new();
    s.ask(0, 1, 10, NAME, A);
    s.ask(0, 1, 11, NAME, AAAA);
    s.answer(7, 1, 11, NAME, AAAA, (0, &[]));
    let What::DnsResponse { message, latency } = &s.last().what else {
        panic!("{:?}", s.last());
    };
    assert_eq!(*latency, Some(Duration::from_millis(7)));
    assert_eq!(&*message.qtype, "AAAA");
    assert_eq!(s.correlator.sizes().queries, 1);
}

#[test]
fn pairing_ignores_case_and_tells_sockets_and_questions_apart() {
    let mut s = Scene::new();
    s.ask(0, 1, 10, "oTeL.Example", A);
    s.answer(3, 2, 10, "otel.example", A, (0, &["10.0.0.1"]));
    assert!(matches!(s.last().what, What::DnsResponse { latency: None, .. }));
    s.answer(4, 1, 10, "other.example", A, (0, &["10.0.0.1"]));
    assert!(matches!(s.last().what, What::DnsResponse { latency: None, .. }));
    assert_eq!(s.correlator.counters().dns_unasked, 2);
    s.answer(5, 1, 10, "otel.example", A, (0, &["10.0.0.1"]));
    assert_eq!(s.outcomes(), [LookupOutcome::Resolved]);
}

#[test]
fn without_a_cookie_the_local_address_is_the_socket() {
    let mut s = Scene::new();
    let query = dns_event(resolver(3), Direction::Egress, dns_query(4, NAME, A));
    s.event(0, 0, query);
    let answer = dns_response(4, NAME, A, 0, &[ip("10.0.0.1")]);
    s.event(2, 0, dns_event(resolver(3), Direction::Ingress, answer));
    assert_eq!(s.outcomes(), [LookupOutcome::Resolved]);
}

#[test]
fn an_unanswered_query_is_reported_once_after_the_resolvers_time() {
    let mut s = Scene::new();
    s.ask(0, 1, 10, NAME, A);
    s.until(4_999);
    assert!(s.unanswered().is_empty());
    s.until(20_000);
    let unanswered = s.unanswered();
    assert_eq!(unanswered.len(), 1);
    assert_eq!(unanswered[0].1, Duration::from_secs(5));
    assert_eq!(s.correlator.sizes().queries, 0);
}

#[test]
fn a_late_answer_still_finds_its_query() {
    let mut s = Scene::new();
    s.ask(0, 1, 10, NAME, A);
    s.answer(6_500, 1, 10, NAME, A, (0, &["10.0.0.1"]));
    assert_eq!(s.unanswered().len(), 1);
    let response = s.out.iter().find_map(|o| match &o.what {
        What::DnsResponse { latency, .. } => Some(*latency),
        _ => None,
    });
    assert_eq!(response.unwrap(), Some(Duration::from_millis(6_500)));
}

#[test]
fn a_query_sent_again_is_one_query_with_one_time_out() {
    let mut s = Scene::new();
    for at in [0, 2_000, 4_000] {
        s.ask(at, 1, 10, NAME, A);
    }
    s.until(30_000);
    assert_eq!(s.unanswered().len(), 1);
    assert_eq!(s.unanswered()[0].1, Duration::from_secs(5));
}

#[test]
fn the_second_try_after_a_time_out_counts_anew() {
    let mut s = Scene::new();
    s.ask(0, 1, 10, NAME, A);
    s.ask(5_005, 1, 10, NAME, A);
    s.until(30_000);
    let after: Vec<_> = s.unanswered().iter().map(|u| u.1).collect();
    assert_eq!(after, [Duration::from_secs(5); 2]);
    assert_eq!(s.outcomes(), [LookupOutcome::Unanswered]);
    // At six seconds, not after the whole list of tries.
    let lookup = s.out.iter().find(|o| matches!(o.what, What::Lookup(_))).unwrap();
    assert_eq!(lookup.at, ms(6_000));
}

#[test]
fn answers_of_two_servers_to_one_query_are_both_taken() {
    // musl asks all servers at once from one socket with one id.
    let mut s = Scene::new();
    s.ask(0, 1, 10, NAME, A);
    s.ask(0, 1, 10, NAME, A);
    s.answer(1, 1, 10, NAME, A, (SERVFAIL, &[]));
    s.answer(3, 1, 10, NAME, A, (0, &["10.0.0.1"]));
    s.until(10_000);
    assert_eq!(s.outcomes(), [LookupOutcome::Resolved]);
    assert!(s.unanswered().is_empty());
}

#[test]
fn an_error_on_the_socket_refuses_what_it_waits_for() {
    let mut s = Scene::new();
    s.both_in_vain(0, 1, NAME);
    let error = EventBody::SocketError {
        ends: resolver(1),
        errno: 111,
    };
    s.anonymous(1, 1, error.clone());
    let refused = |s: &Scene| {
        s.out
            .iter()
            .filter(|o| {
                matches!(
                    o.what,
                    What::DnsRefused {
                        query: Some(_),
                        errno: 111
                    }
                )
            })
            .count()
    };
    assert_eq!(refused(&s), 2);
    // The workload comes from the query: the error happened in nobody's name.
    assert_eq!(s.last().workload.pod.as_deref(), Some("shop-1"));
    // The second ICMP message says nothing new.
    let before = s.out.len();
    s.anonymous(2, 1, error);
    assert_eq!(s.out.len(), before);
    s.until(10_000);
    assert!(s.unanswered().is_empty());
    assert_eq!(s.outcomes(), [LookupOutcome::Refused(111)]);
}

#[test]
fn an_error_without_a_cookie_is_matched_by_its_port() {
    let mut s = Scene::new();
    s.ask(0, 1, 10, NAME, A);
    let ends = Endpoints {
        local: addr("0.0.0.0:30001"),
        remote: addr("10.96.0.10:53"),
    };
    s.anonymous(1, 0, EventBody::SocketError { ends, errno: 111 });
    assert!(matches!(s.last().what, What::DnsRefused { query: Some(_), .. }));
    s.anonymous(
        2,
        55,
        EventBody::SocketError {
            ends: resolver(9),
            errno: 111,
        },
    );
    assert!(matches!(s.last().what, What::DnsRefused { query: None, .. }));
}

#[test]
fn a_drop_on_the_way_is_matched_without_its_socket() {
    let mut s = Scene::new();
    s.ask(0, 1, 10, NAME, A);
    // After source NAT not even the address is the same.
    let from = addr("192.168.1.2:50000");
    let drop = drop(from, addr("10.0.7.7:53"), Protocol::Udp, &dns_query(10, NAME, A));
    s.anonymous(1, 0, drop);
    let What::Dropped(seen) = &s.last().what else {
        panic!("{:?}", s.last());
    };
    assert_eq!(seen.question.as_deref(), Some(NAME));
    assert_eq!(seen.direction, Some(Direction::Egress));
    assert_eq!(s.last().workload.pod.as_deref(), Some("shop-1"));
    s.until(20_000);
    // The drop is what became of the query.
    assert!(s.unanswered().is_empty());
    assert_eq!(s.outcomes(), [LookupOutcome::Dropped]);
}

#[test]
fn a_dropped_answer_drops_the_look_up() {
    let mut s = Scene::new();
    s.ask(0, 1, 10, NAME, A);
    let ends = resolver(1);
    let answer = dns_response(10, NAME, A, 0, &[ip("10.0.0.1")]);
    s.anonymous(1, 0, drop(ends.remote, ends.local, Protocol::Udp, &answer));
    let What::Dropped(seen) = &s.last().what else {
        panic!("{:?}", s.last());
    };
    assert_eq!(seen.direction, Some(Direction::Ingress));
    assert_eq!(s.last().local, Some(ends.local));
    s.until(20_000);
    assert_eq!(s.outcomes(), [LookupOutcome::Dropped]);
}

#[test]
fn a_query_dropped_before_it_was_seen_is_a_dropped_look_up() {
    // nftables drops port 53 in OUTPUT: no query leaves, sendmsg fails, the resolver tries on at once.
    let mut s = Scene::new();
    let ends = resolver(1);
    for (n, name) in [
        "otel.obs.shop.svc.cluster.local",
        "otel.obs.svc.cluster.local",
        "otel.obs",
    ]
    .iter()
    .enumerate()
    {
        for (id, qtype) in [(1, A), (2, AAAA)] {
            let query = dns_query(id, name, qtype);
            s.event(n as u64, 1, drop(ends.local, ends.remote, Protocol::Udp, &query));
        }
    }
    s.until(2_000);
    assert_eq!(s.outcomes(), [LookupOutcome::Dropped]);
    assert_eq!(&*s.lookups()[0].name, "otel.obs");
    assert_eq!(s.lookups()[0].candidates.len(), 6);
    let drops = s
        .out
        .iter()
        .filter(|o| matches!(o.what, What::Dropped(_)))
        .count();
    assert_eq!(drops, 6);
}

#[test]
fn an_error_beats_a_drop() {
    let error = |cookie| EventBody::SocketError {
        ends: resolver(cookie),
        errno: 111,
    };
    let dropped = |cookie, id, qtype| {
        let ends = resolver(cookie);
        drop(
            ends.local,
            ends.remote,
            Protocol::Udp,
            &dns_query(id, NAME, qtype),
        )
    };
    // REJECT in another namespace: the query was seen, dropped, then refused.
    let mut s = Scene::new();
    s.ask(0, 1, 10, NAME, A);
    s.anonymous(0, 0, dropped(1, 10, A));
    s.anonymous(0, 1, error(1));
    s.until(60_000);
    assert_eq!(s.outcomes(), [LookupOutcome::Refused(111)]);
    // REJECT in OUTPUT: never seen; the error comes before the drop, or after it.
    for error_first in [true, false] {
        let mut s = Scene::new();
        for (id, qtype) in [(10, A), (11, AAAA)] {
            if error_first {
                s.event(0, 1, error(1));
            }
            s.event(0, 1, dropped(1, id, qtype));
            if !error_first {
                s.event(0, 1, error(1));
            }
        }
        s.until(60_000);
        assert_eq!(s.outcomes(), [LookupOutcome::Refused(111)]);
        assert!(s.unanswered().is_empty());
    }
}

#[test]
fn a_query_dropped_at_once_again_and_again_is_one_look_up_each_search() {
    let mut s = Scene::new();
    for start in [0, 5_000, 10_000] {
        let ends = resolver(1);
        for at in [0, 1] {
            let query = dns_query(10, NAME, A);
            s.event(
                start + at,
                1,
                drop(ends.local, ends.remote, Protocol::Udp, &query),
            );
        }
    }
    s.until(60_000);
    assert_eq!(s.outcomes(), [LookupOutcome::Dropped; 3]);
}

/// An exporter that tries again within the second never leaves its look-up quiet: each search ends when the next begins.
#[test]
fn searches_that_fail_at_once_and_follow_each_other_closely_are_look_ups_of_their_own() {
    let mut s = Scene::new();
    for search in 1..=20 {
        // A socket of its own for each search.
        let ends = resolver(search);
        let query = dns_query(10, NAME, A);
        let dropped = drop(ends.local, ends.remote, Protocol::Udp, &query);
        s.event(search * 800, search, dropped);
    }
    assert_eq!(s.outcomes(), [LookupOutcome::Dropped; 19]);
    s.until(60_000);
    assert_eq!(s.outcomes(), [LookupOutcome::Dropped; 20]);
}

#[test]
fn dns_over_tcp() {
    let mut s = Scene::new();
    let ends = Endpoints {
        remote: addr("10.96.0.10:53"),
        ..sink(40_000)
    };
    s.event(0, 1, attempt(ends, None));
    let framed = |m: Vec<u8>| {
        let mut out = u16::try_from(m.len()).unwrap().to_be_bytes().to_vec();
        out.extend(m);
        out
    };
    let payload = |direction, offset, bytes: Vec<u8>| EventBody::Payload {
        direction,
        offset,
        wire_len: u32::try_from(bytes.len()).unwrap(),
        gap: false,
        late: false,
        h2_frame: false,
        dns: true,
        bytes: bytes.into(),
    };
    s.event(1, 1, payload(Direction::Egress, 0, framed(dns_query(5, NAME, A))));
    let answer = framed(dns_response(5, NAME, A, 0, &[ip("10.0.0.1")]));
    let (head, tail) = answer.split_at(20);
    s.anonymous(3, 1, payload(Direction::Ingress, 0, head.to_vec()));
    s.anonymous(4, 1, payload(Direction::Ingress, 20, tail.to_vec()));
    assert_eq!(s.outcomes(), [LookupOutcome::Resolved]);
    let response = s
        .out
        .iter()
        .find(|o| matches!(o.what, What::DnsResponse { .. }))
        .unwrap();
    let What::DnsResponse { message, latency } = &response.what else {
        panic!("{response:?}")
    };
    assert_eq!(message.protocol, Protocol::Tcp);
    assert_eq!(*latency, Some(Duration::from_millis(3)));
    assert_eq!(response.remote, Some(addr("10.96.0.10:53")));
    assert_eq!(response.workload.pod.as_deref(), Some("shop-1"));
}

#[test]
fn truncation_and_the_same_question_over_tcp_are_one_look_up() {
    let mut s = Scene::new();
    s.ask(0, 1, 10, NAME, A);
    let mut cut = dns_response(10, NAME, A, 0, &[]);
    cut[2] |= 2;
    s.message(1, 1, Direction::Ingress, cut);
    s.until(3_000);
    assert!(s.outcomes().is_empty());
    s.ask(3_001, 2, 10, NAME, A);
    s.answer(3_002, 2, 10, NAME, A, (0, &["10.0.0.1"]));
    s.until(20_000);
    assert_eq!(s.outcomes(), [LookupOutcome::Resolved]);
}

#[test]
fn the_servers_end_of_a_query_is_not_counted_twice() {
    let mut s = Scene::new();
    s.message(0, 1, Direction::Ingress, dns_query(1, NAME, A));
    s.message(1, 1, Direction::Egress, dns_response(1, NAME, A, 0, &[]));
    assert!(s.out.is_empty());
    assert_eq!(s.correlator.counters().dns_server_side, 2);
}

#[test]
fn damaged_messages_are_counted_and_used_as_far_as_they_go() {
    let mut s = Scene::new();
    s.message(0, 1, Direction::Egress, vec![1, 2, 3]);
    assert_eq!(s.correlator.counters().dns_unreadable, 1);
    s.ask(1, 1, 10, NAME, A);
    let mut answer = dns_response(10, NAME, A, 0, &[ip("10.0.0.1"), ip("10.0.0.2")]);
    answer.truncate(answer.len() - 3);
    s.message(2, 1, Direction::Ingress, answer);
    assert_eq!(s.correlator.counters().dns_defects, 1);
    assert_eq!(s.outcomes(), [LookupOutcome::Resolved]);
    // An error without a question is an answer to the only query it can be.
    s.ask(3, 1, 11, NAME, AAAA);
    let formerr = [&[0, 11, 0x81, 0x81][..], &[0; 8]].concat();
    s.message(4, 1, Direction::Ingress, formerr);
    let What::DnsResponse { message, latency } = &s.last().what else {
        panic!("{:?}", s.last());
    };
    assert_eq!((&*message.name, message.rcode), (NAME, 1));
    assert!(latency.is_some());
}

#[test]
fn the_oldest_query_goes_when_there_are_too_many() {
    let mut s = Scene::with(Config {
        max_queries: 10,
        ..Config::default()
    });
    for n in 0..100u16 {
        s.ask(u64::from(n), 1, n, &format!("n{n}.example"), A);
    }
    assert_eq!(s.correlator.sizes().queries, 10);
    assert_eq!(s.correlator.counters().queries_forgotten, 90);
}
