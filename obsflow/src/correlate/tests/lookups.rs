//! Resolver searches.

use std::time::Duration;

use proptest::prelude::*;

use super::scene::*;
use crate::model::observation::{LookupOutcome, What};

/// What a pod's resolver makes of `otel.obs` with the search list that a kubelet writes on EKS.
const SEARCH: [&str; 5] = [
    "otel.obs.apps.svc.cluster.local",
    "otel.obs.svc.cluster.local",
    "otel.obs.cluster.local",
    "otel.obs.eu-west-1.compute.internal",
    "otel.obs",
];

const NX: (u8, &[&str]) = (NXDOMAIN, &[]);
const EMPTY: (u8, &[&str]) = (0, &[]);
const GOOD: (u8, &[&str]) = (0, &["10.100.0.1"]);

#[test]
fn a_search_that_finds_nothing_is_one_nxdomain_at_once() {
    let mut s = Scene::new();
    for (n, name) in SEARCH.iter().enumerate() {
        s.both(n as u64 * 3, 1 + n as u64, name, NX, NX);
    }
    assert_eq!(s.outcomes(), [LookupOutcome::NxDomain]);
    let lookup = s.lookups()[0];
    assert_eq!(&*lookup.name, "otel.obs");
    assert_eq!(lookup.candidates.len(), 10);
    assert!(lookup.candidates.iter().all(|c| c.rcode == Some(3)));
    assert_eq!(lookup.took, Duration::from_millis(13));
    assert_eq!(lookup.server, Some(addr("10.96.0.10:53")));
    s.until(60_000);
    assert_eq!(s.outcomes().len(), 1);
    assert_eq!(s.correlator.sizes().lookups, 0);
}

#[test]
fn a_search_that_succeeds_at_its_third_name_is_a_success() {
    let mut s = Scene::new();
    s.both(0, 1, SEARCH[0], NX, NX);
    s.both(2, 2, SEARCH[1], NX, NX);
    s.both(4, 3, SEARCH[2], GOOD, EMPTY);
    s.until(60_000);
    assert_eq!(s.outcomes(), [LookupOutcome::Resolved]);
    let lookup = s.lookups()[0];
    assert_eq!(&*lookup.name, SEARCH[2]);
    assert_eq!(lookup.ips, [ip("10.100.0.1")]);
}

#[test]
fn what_c_ares_asks_after_the_answer_belongs_to_the_same_look_up() {
    // A and AAAA run apart; after A was answered AAAA goes on through the rest of the list.
    let mut s = Scene::new();
    let mut at = 0;
    for (n, name) in SEARCH.iter().take(3).enumerate() {
        let id = u16::try_from(n).unwrap();
        s.ask(at, 1, id, name, A);
        s.ask(at, 1, 100 + id, name, AAAA);
        let a = if n == 2 { GOOD } else { NX };
        s.answer(at + 1, 1, id, name, A, a);
        s.answer(at + 1, 1, 100 + id, name, AAAA, if n == 2 { EMPTY } else { NX });
        at += 2;
    }
    for (n, name) in SEARCH.iter().enumerate().skip(3) {
        let id = 100 + u16::try_from(n).unwrap();
        s.ask(at, 1, id, name, AAAA);
        s.answer(at + 1, 1, id, name, AAAA, NX);
        at += 2;
    }
    s.until(60_000);
    assert_eq!(s.outcomes(), [LookupOutcome::Resolved]);
}

#[test]
fn one_servfail_outranks_the_nxdomains_beside_it() {
    let mut s = Scene::new();
    for (n, name) in SEARCH.iter().enumerate() {
        let reply: (u8, &[&str]) = if n == 4 { (SERVFAIL, &[]) } else { NX };
        s.both(n as u64 * 2, 1 + n as u64, name, reply, reply);
    }
    s.until(60_000);
    assert_eq!(s.outcomes(), [LookupOutcome::ServerFailure(2)]);
    assert_eq!(s.last().at, ms(9).after(Duration::from_secs(1)));
}

#[test]
fn a_second_server_that_answers_makes_it_a_success() {
    let mut s = Scene::new();
    let failed: (u8, &[&str]) = (SERVFAIL, &[]);
    s.both(0, 1, "otel.example", failed, failed);
    s.both(2, 2, "otel.example", GOOD, EMPTY);
    s.until(60_000);
    assert_eq!(s.outcomes(), [LookupOutcome::Resolved]);
    // And after a time-out.
    let mut s = Scene::new();
    s.both_in_vain(0, 1, "otel.example");
    s.both(5_001, 1, "otel.example", GOOD, EMPTY);
    s.until(60_000);
    assert_eq!(s.outcomes(), [LookupOutcome::Resolved]);
}

#[test]
fn no_address_in_either_family_is_no_data() {
    let mut s = Scene::new();
    s.both(0, 1, "otel.example", EMPTY, EMPTY);
    s.until(60_000);
    assert_eq!(s.outcomes(), [LookupOutcome::NoData]);
    // An empty AAAA beside a good A is nothing.
    let mut s = Scene::new();
    s.both(0, 1, "otel.example", GOOD, EMPTY);
    s.until(60_000);
    assert_eq!(s.outcomes(), [LookupOutcome::Resolved]);
}

#[test]
fn a_dead_server_is_one_unanswered_look_up_per_search() {
    // glibc: the first name twice, 5 s apart, then the bare one twice.
    let mut s = Scene::new();
    for start in [0, 25_000] {
        s.both_in_vain(start, 1, SEARCH[0]);
        s.both_in_vain(start + 5_005, 1, SEARCH[0]);
        s.both_in_vain(start + 10_010, 2, SEARCH[4]);
        s.both_in_vain(start + 15_015, 2, SEARCH[4]);
        s.until(start + 24_999);
    }
    s.until(60_000);
    assert_eq!(s.outcomes(), [LookupOutcome::Unanswered; 2]);
    assert_eq!(s.lookups()[0].took, Duration::from_secs(6));
}

#[test]
fn c_ares_and_a_dead_server() {
    let mut s = Scene::new();
    for start in [0, 15_000] {
        for at in [0, 2_000, 6_000] {
            s.both_in_vain(start + at, 1, SEARCH[0]);
        }
        s.until(start + 14_999);
    }
    s.until(60_000);
    assert_eq!(s.outcomes(), [LookupOutcome::Unanswered; 2]);
}

#[test]
fn questions_that_are_not_for_addresses_are_no_look_up() {
    let mut s = Scene::new();
    for (n, (name, qtype)) in [
        ("_grpc_config.otel.obs", 16),
        ("_grpclb._tcp.otel.obs", 33),
        ("otel.obs", 65),
    ]
    .iter()
    .enumerate()
    {
        let id = u16::try_from(n).unwrap();
        s.ask(0, 1, id, name, *qtype);
        s.answer(1, 1, id, name, *qtype, NX);
    }
    s.until(60_000);
    assert!(s.outcomes().is_empty());
    assert_eq!(s.out.len(), 6);
}

#[test]
fn the_next_search_of_the_same_name_is_another_look_up() {
    // Python looks up twice in each attempt, one after the other.
    let mut s = Scene::new();
    let mut at = 0;
    for _ in 0..4 {
        for (n, name) in SEARCH.iter().enumerate() {
            s.both(at, 1 + n as u64, name, NX, NX);
            at += 2;
        }
    }
    s.until(60_000);
    assert_eq!(s.outcomes(), [LookupOutcome::NxDomain; 4]);
    // Also when it succeeds each time.
    let mut s = Scene::new();
    for n in 0..5 {
        s.both(n * 10, 1 + n, "otel.example", GOOD, EMPTY);
    }
    s.until(60_000);
    assert_eq!(s.outcomes(), [LookupOutcome::Resolved; 5]);
}

#[test]
fn threads_that_look_up_at_the_same_time_have_a_look_up_each() {
    let mut s = Scene::new();
    for cookie in 1..=3 {
        s.both_in_vain(0, cookie, SEARCH[4]);
    }
    for cookie in 1..=3u16 {
        s.answer(5, cookie.into(), cookie * 2, SEARCH[4], A, GOOD);
        s.answer(5, cookie.into(), cookie * 2 + 1, SEARCH[4], AAAA, EMPTY);
    }
    s.until(60_000);
    assert_eq!(s.outcomes(), [LookupOutcome::Resolved; 3]);
}

#[test]
fn processes_and_names_are_kept_apart() {
    let mut s = Scene::new();
    s.both(0, 1, "otel.example", GOOD, EMPTY);
    s.pid = 200;
    s.both(0, 2, "otel.example", NX, NX);
    s.pid = 100;
    s.both(3, 3, "loki.example", NX, NX);
    s.until(60_000);
    let mut outcomes: Vec<String> = s
        .lookups()
        .iter()
        .map(|l| format!("{} {:?}", l.name, l.outcome))
        .collect();
    outcomes.sort();
    assert_eq!(
        outcomes,
        [
            "loki.example NxDomain",
            "otel.example NxDomain",
            "otel.example Resolved"
        ]
    );
}

#[test]
fn names_that_share_only_a_first_label_are_apart_once_one_is_found() {
    let mut s = Scene::new();
    s.both(0, 1, "api.foo.example", GOOD, EMPTY);
    s.both(5, 2, "api.bar.test", NX, NX);
    s.until(60_000);
    assert_eq!(s.outcomes(), [LookupOutcome::Resolved, LookupOutcome::NxDomain]);
    // A search list of unrelated suffixes comes without a pause.
    let mut s = Scene::new();
    s.both(0, 1, "otel.corp.example", NX, NX);
    s.both(2, 2, "otel.lab.test", NX, NX);
    s.both(4, 3, "otel", NX, NX);
    s.until(60_000);
    assert_eq!(s.outcomes(), [LookupOutcome::NxDomain]);
}

#[test]
fn a_name_with_many_dots_is_tried_bare_first() {
    let mut s = Scene::new();
    let bare = "a.b.c.d.e.example";
    s.both(0, 1, bare, NX, NX);
    s.both(2, 2, "a.b.c.d.e.example.apps.svc.cluster.local", NX, NX);
    s.both(4, 3, "a.b.c.d.e.example.svc.cluster.local", NX, NX);
    s.until(60_000);
    assert_eq!(s.outcomes(), [LookupOutcome::NxDomain]);
    assert_eq!(&*s.lookups()[0].name, bare);
    // Not at once: the list might have gone on.
    assert_eq!(s.last().at, ms(5).after(Duration::from_secs(1)));
}

#[test]
fn only_one_family_is_asked() {
    let mut s = Scene::new();
    for (n, name) in SEARCH.iter().enumerate() {
        let id = u16::try_from(n).unwrap();
        s.ask(n as u64 * 2, 1, id, name, A);
        s.answer(n as u64 * 2 + 1, 1, id, name, A, NX);
    }
    assert_eq!(s.outcomes(), [LookupOutcome::NxDomain]);
}

#[test]
fn a_response_comes_before_the_look_up_it_ends() {
    let mut s = Scene::new();
    s.ask(0, 1, 1, "otel.example", A);
    s.answer(1, 1, 1, "otel.example", A, GOOD);
    let kinds: Vec<_> = s
        .out
        .iter()
        .map(|o| match o.what {
            What::DnsQuery(_) => "query",
            What::DnsResponse { .. } => "response",
            What::Lookup(_) => "lookup",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["query", "response", "lookup"]);
}

/// One family's way through the search list: how it is answered at each name, and how long that takes.
#[derive(Clone, Debug)]
struct Way {
    good_at: Option<usize>,
    latency: Vec<u64>,
}

fn way() -> impl Strategy<Value = Way> {
    (
        prop_oneof![Just(None), (0usize..5).prop_map(Some)],
        proptest::collection::vec(2u64..20, 5),
    )
        .prop_map(|(good_at, latency)| Way { good_at, latency })
}

proptest! {
    /// The families run apart, as with c-ares and Go: whatever the interleaving, it is one look-up, and it is a
    /// success when either family found an address.
    #[test]
    fn any_interleaving_is_one_look_up(a in way(), aaaa in way(), lag in 0u64..3, servfail in any::<bool>()) {
        let bad: (u8, &[&str]) = if servfail { (SERVFAIL, &[]) } else { NX };
        // (time, order, family, name, is the answer)
        let mut events = Vec::new();
        for (family, way, start) in [(A, &a, 0), (AAAA, &aaaa, lag)] {
            let mut at = start;
            for (n, latency) in way.latency.iter().enumerate() {
                events.push((at, family, n, false));
                at += latency;
                events.push((at, family, n, true));
                if way.good_at == Some(n) {
                    break;
                }
            }
        }
        // Stable: within a family the order stays.
        events.sort_by_key(|e| e.0);
        let mut s = Scene::new();
        for (at, family, n, is_answer) in events {
            let id = family * 10 + u16::try_from(n).unwrap();
            let way = if family == A { &a } else { &aaaa };
            if !is_answer {
                s.ask(at, 1, id, SEARCH[n], family);
            } else if way.good_at == Some(n) {
                let reply: &[&str] = if family == A { &["10.0.0.1"] } else { &["fd00::1"] };
                s.answer(at, 1, id, SEARCH[n], family, (0, reply));
            } else {
                let last = n == 4;
                s.answer(at, 1, id, SEARCH[n], family, if last { bad } else { NX });
            }
        }
        s.until(60_000);
        let good = a.good_at.is_some() || aaaa.good_at.is_some();
        let expected = match (good, servfail) {
            (true, _) => LookupOutcome::Resolved,
            (false, true) => LookupOutcome::ServerFailure(2),
            (false, false) => LookupOutcome::NxDomain,
        };
        prop_assert_eq!(s.outcomes(), [expected]);
        prop_assert_eq!(s.correlator.sizes().lookups, 0);
        prop_assert_eq!(s.correlator.sizes().queries, 0);
    }
}
