//! Whatever comes, memory stays bounded and nothing panics.

use std::sync::Arc;

use proptest::prelude::*;

use super::scene::*;
use crate::correlate::{Config, Correlator};
use crate::decode::decode;
use crate::decode::sample::{self, Who};
use crate::model::attributed::Attributed;
use crate::model::time::Mono;
use crate::model::workload::Workload;

fn small() -> Config {
    Config {
        max_queries: 50,
        max_lookups: 40,
        max_connections: 30,
        max_names: 20,
        max_drops: 10,
        max_dns_streams: 5,
        ..Config::default()
    }
}

fn within(correlator: &Correlator) -> bool {
    let sizes = correlator.sizes();
    sizes.queries <= 50 && sizes.lookups <= 40 && sizes.connections <= 30 && sizes.names <= 20
}

#[test]
fn a_flood_stays_within_the_bounds() {
    let mut correlator = Correlator::new(small());
    let mut out = Vec::new();
    let workload = Arc::new(Workload::default());
    for record in sample::traffic(20_000, 300) {
        let event = decode(record).unwrap();
        let attributed = Attributed {
            event,
            workload: Arc::clone(&workload),
            process: None,
        };
        correlator.on(attributed, &mut out);
        assert!(within(&correlator), "{:?}", correlator.sizes());
        out.clear();
    }
}

#[test]
fn after_a_quiet_hour_nothing_is_held() {
    let mut s = Scene::new();
    for n in 0..200u16 {
        s.ask(u64::from(n), 1, n, &format!("n{n}.a.example"), A);
        if n % 3 == 0 {
            s.answer(
                u64::from(n) + 1,
                1,
                n,
                &format!("n{n}.a.example"),
                A,
                (0, &["10.0.0.1"]),
            );
        }
    }
    s.until(3_600_000);
    let sizes = s.correlator.sizes();
    assert_eq!((sizes.queries, sizes.lookups, sizes.names), (0, 0, 0));
    assert_eq!(s.correlator.next_due(), None);
}

#[test]
fn expiry_says_the_same_however_often_it_is_called() {
    let play = |step: u64| {
        let mut s = Scene::new();
        s.both_in_vain(0, 1, "otel.example");
        s.both(10, 2, "loki.example", (3, &[]), (3, &[]));
        s.ask(20, 3, 9, "_x.example", 33);
        let mut at = 30;
        while at < 20_000 {
            s.until(at);
            at += step;
        }
        s.until(20_000);
        s.out
    };
    assert_eq!(play(7), play(19_000));
}

/// A record with small numbers, so that cookies, ids, names and addresses meet.
fn any_record() -> impl Strategy<Value = Vec<u8>> {
    let who =
        (0u64..20_000, 0u64..4, 0u64..4, 0u32..3, 0u32..3).prop_map(|(ms, cgroup, cookie, netns, pid)| Who {
            at_ns: ms * 1_000_000,
            cgroup,
            cookie,
            netns,
            pid,
        });
    let end = (0u8..3, 0u16..4).prop_map(|(host, port)| std::net::SocketAddr::from(([10, 0, 0, host], port)));
    let name = prop_oneof![
        Just("a.b.c.x"),
        Just("a.b.x"),
        Just("a.b"),
        Just("a"),
        Just("a.y"),
        Just("")
    ];
    let message = (
        0u16..4,
        name,
        prop_oneof![Just(1u16), Just(28), Just(16)],
        any::<bool>(),
        0u8..6,
        0usize..3,
    )
        .prop_map(|(id, name, qtype, response, rcode, ips)| {
            let ips: Vec<_> = (0..ips)
                .map(|n| std::net::IpAddr::from([10, 0, 0, u8::try_from(n).unwrap()]))
                .collect();
            if response {
                sample::dns_response(id, name, qtype, rcode, &ips)
            } else {
                sample::dns_query(id, name, qtype)
            }
        });
    (
        who,
        end.clone(),
        end,
        message,
        0u8..9,
        any::<u16>(),
        0u16..10,
        0u64..40,
    )
        .prop_map(
            |(who, local, remote, message, which, flags, outcome, offset)| match which {
                0..3 => sample::dns(who, (local, remote), flags & 1 != 0, &message),
                3 => sample::attempt(who, (local, remote)),
                4 => sample::established(who, (local, remote)),
                5 => sample::payload(who, flags, offset, &message),
                6 => sample::close(who, (local, remote), outcome, u32::from(flags % 120)),
                7 => sample::drop(
                    who,
                    (local, remote),
                    if flags & 1 == 0 { 6 } else { 17 },
                    &message,
                ),
                _ => {
                    let fixed = obsflow_ebpf::abi::record::SocketError {
                        header: sample::header(obsflow_ebpf::abi::record::kind::SOCKET_ERROR, 0, who),
                        tuple: sample::tuple(local, remote, 17),
                        error: 111,
                        pad: 0,
                    };
                    sample::record(&fixed, &[])
                }
            },
        )
}

proptest! {
    #[test]
    fn any_records_in_any_order(records in proptest::collection::vec(any_record(), 0..200)) {
        let mut correlator = Correlator::new(small());
        let mut out = Vec::new();
        for record in records {
            let Ok(event) = decode(record.into()) else { continue };
            let at = event.at;
            let workload = Arc::new(Workload::default());
            correlator.on(Attributed { event, workload, process: None }, &mut out);
            prop_assert!(within(&correlator), "{:?}", correlator.sizes());
            correlator.expire(at, &mut out);
        }
        correlator.expire(Mono(u64::MAX / 2), &mut out);
        let sizes = correlator.sizes();
        prop_assert_eq!((sizes.queries, sizes.lookups, sizes.names), (0, 0, 0));
    }
}
