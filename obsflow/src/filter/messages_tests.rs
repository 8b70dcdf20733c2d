//! Filters as messages: what they match, what is wrong with them, and that looking at an entry first loses nothing.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;

use super::{FilterSet, SPECS, Term, parse};
use crate::api::hubble::proto::flow::{
    self as proto, EventTypeFilter, FlowFilter, HttpHeader, NetworkInterface, TcpFlags, Workload,
};
use crate::flow::samples;
use crate::model::cluster::{Destination, Owner};
use crate::model::flow::{Body, Foreign, HttpHeader as Header, IpTraceId, Record, Response};
use crate::model::observation::{Observation, What};
use crate::model::{Clock, Mono};
use crate::store::{Limits, Next, Recorder};

fn set(filter: FlowFilter) -> FilterSet {
    FilterSet::of_messages(&[filter], &[]).unwrap()
}

fn error(filter: FlowFilter) -> String {
    FilterSet::of_messages(&[], &[filter]).unwrap_err().to_string()
}

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn attempt() -> Response {
    samples::response(&samples::tcp(What::Attempt))
}

#[test]
fn what_is_wrong_names_the_field_and_what_to_write() {
    let cases = [
        (
            FlowFilter {
                source_port: strings(&["99999"]),
                ..FlowFilter::default()
            },
            "source_port: \"99999\" is not a port",
        ),
        (
            FlowFilter {
                destination_ip: strings(&["10.0.0.0/99"]),
                ..FlowFilter::default()
            },
            "destination_ip: \"10.0.0.0/99\" is neither",
        ),
        (
            FlowFilter {
                dns_query: strings(&["("]),
                ..FlowFilter::default()
            },
            "dns_query: \"(\" is not a regular expression: unclosed group",
        ),
        (
            FlowFilter {
                http_url: strings(&["(a{1000}){1000}"]),
                ..FlowFilter::default()
            },
            "http_url: ",
        ),
        (
            FlowFilter {
                source_fqdn: strings(&["a b"]),
                ..FlowFilter::default()
            },
            "source_fqdn: \"a b\" is not a DNS name",
        ),
        (
            FlowFilter {
                protocol: strings(&["quic"]),
                ..FlowFilter::default()
            },
            "protocol: unknown protocol \"quic\"; one of tcp, udp",
        ),
        (
            FlowFilter {
                http_status_code: strings(&["6+"]),
                ..FlowFilter::default()
            },
            "http_status_code: \"6+\"",
        ),
        (
            FlowFilter {
                source_label: strings(&["a in (b"]),
                ..FlowFilter::default()
            },
            "source_label: \"a in (b\" is no label selector",
        ),
        (
            FlowFilter {
                node_name: strings(&["a/b/c"]),
                ..FlowFilter::default()
            },
            "node_name: \"a/b/c\" is no name of a node",
        ),
        (
            FlowFilter {
                verdict: vec![77],
                ..FlowFilter::default()
            },
            "verdict: 77 is not among the values of Verdict",
        ),
        (
            FlowFilter {
                ip_version: vec![3],
                ..FlowFilter::default()
            },
            "ip_version: 3 is not",
        ),
        (
            FlowFilter {
                traffic_direction: vec![-1],
                ..FlowFilter::default()
            },
            "traffic_direction: -1 is not",
        ),
        (
            FlowFilter {
                drop_reason_desc: vec![1000],
                ..FlowFilter::default()
            },
            "drop_reason_desc: 1000 is not",
        ),
        (
            FlowFilter {
                event_type: vec![EventTypeFilter {
                    r#type: 256,
                    ..EventTypeFilter::default()
                }],
                ..FlowFilter::default()
            },
            "event_type: 256 is not",
        ),
        (
            FlowFilter {
                http_method: strings(&["GET"]),
                event_type: vec![EventTypeFilter {
                    r#type: 1,
                    ..EventTypeFilter::default()
                }],
                ..FlowFilter::default()
            },
            "http_method looks at messages of HTTP",
        ),
        (
            FlowFilter {
                experimental: Some(proto::flow_filter::Experimental {
                    cel_expression: strings(&["true"]),
                }),
                ..FlowFilter::default()
            },
            "experimental.cel_expression: obsflow evaluates no CEL",
        ),
        (
            FlowFilter {
                obsflow: Some(proto::flow_filter::Obsflow {
                    rcode: vec![5000],
                    errno: vec![],
                }),
                ..FlowFilter::default()
            },
            "obsflow.rcode: 5000 is not",
        ),
        (
            FlowFilter {
                source_port: vec!["1".to_owned(); 10_000],
                ..FlowFilter::default()
            },
            "the filters have 10001 values",
        ),
        (
            FlowFilter {
                dns_query: vec!["a".to_owned(); 33],
                ..FlowFilter::default()
            },
            "33 of them regular expressions",
        ),
    ];
    for (filter, expected) in cases {
        let message = error(filter);
        assert!(
            message.starts_with(expected) || message.contains(expected),
            "{message}"
        );
    }
}

#[test]
fn an_empty_filter_matches_everything_and_no_filter_too() {
    let attempt = attempt();
    assert!(set(FlowFilter::default()).wants(&attempt));
    assert!(FilterSet::of_messages(&[], &[]).unwrap().wants(&attempt));
    let deny = FilterSet::of_messages(&[], &[FlowFilter::default()]).unwrap();
    assert!(!deny.wants(&attempt));
    // What was lost always passes.
    assert!(deny.wants(&samples::response(&samples::tcp(What::Lost { count: 1 }))));
}

/// `shop/checkout-7d9c` to `collector.obs.svc.cluster.local`, 10.0.1.7:39811 to 10.0.2.9:4317, a first SYN.
#[test]
fn each_field_matches_what_it_should_and_nothing_else() {
    let flow = attempt();
    let syn = TcpFlags {
        syn: true,
        ..TcpFlags::default()
    };
    let yes = [
        FlowFilter {
            source_pod: strings(&["shop/check"]),
            ..FlowFilter::default()
        },
        FlowFilter {
            source_pod: strings(&["other/", "shop/"]),
            ..FlowFilter::default()
        },
        FlowFilter {
            source_ip: strings(&["10.0.1.0/24"]),
            destination_port: strings(&["4317"]),
            ..FlowFilter::default()
        },
        FlowFilter {
            destination_fqdn: strings(&["*.obs.svc.cluster.local"]),
            ..FlowFilter::default()
        },
        FlowFilter {
            reply: vec![false],
            ..FlowFilter::default()
        },
        FlowFilter {
            tcp_flags: vec![syn],
            ..FlowFilter::default()
        },
        FlowFilter {
            node_name: strings(&["k8s*"]),
            ..FlowFilter::default()
        },
        FlowFilter {
            verdict: vec![1, 2],
            ..FlowFilter::default()
        },
        FlowFilter {
            traffic_direction: vec![2],
            ..FlowFilter::default()
        },
        FlowFilter {
            ip_version: vec![1],
            ..FlowFilter::default()
        },
        FlowFilter {
            drop_reason_desc: vec![0],
            ..FlowFilter::default()
        },
        FlowFilter {
            encrypted: vec![false],
            ..FlowFilter::default()
        },
        FlowFilter {
            event_type: vec![EventTypeFilter {
                r#type: 4,
                match_sub_type: true,
                sub_type: 5,
            }],
            ..FlowFilter::default()
        },
    ];
    for filter in yes {
        assert!(set(filter.clone()).wants(&flow), "{filter:?}");
    }
    let no = [
        FlowFilter {
            source_pod: strings(&["check"]),
            ..FlowFilter::default()
        },
        FlowFilter {
            source_pod: strings(&["shop/"]),
            destination_port: strings(&["53"]),
            ..FlowFilter::default()
        },
        FlowFilter {
            reply: vec![true],
            ..FlowFilter::default()
        },
        FlowFilter {
            tcp_flags: vec![TcpFlags { ack: true, ..syn }],
            ..FlowFilter::default()
        },
        FlowFilter {
            node_name: strings(&["other/*"]),
            ..FlowFilter::default()
        },
        FlowFilter {
            traffic_direction: vec![0, 1],
            ..FlowFilter::default()
        },
        FlowFilter {
            ip_version: vec![0, 2],
            ..FlowFilter::default()
        },
        FlowFilter {
            drop_reason_desc: vec![133],
            ..FlowFilter::default()
        },
        FlowFilter {
            interface: vec![NetworkInterface {
                index: 1,
                name: String::new(),
            }],
            ..FlowFilter::default()
        },
        FlowFilter {
            protocol: strings(&["sctp", "icmp", "kafka", "vrrp"]),
            ..FlowFilter::default()
        },
        // What obsflow does not know of its own flows.
        FlowFilter {
            source_identity: vec![0, 1],
            ..FlowFilter::default()
        },
        FlowFilter {
            destination_identity: vec![2],
            ..FlowFilter::default()
        },
        FlowFilter {
            source_label: strings(&["app=web"]),
            ..FlowFilter::default()
        },
        FlowFilter {
            destination_label: strings(&["!app"]),
            ..FlowFilter::default()
        },
        FlowFilter {
            uuid: strings(&["x"]),
            ..FlowFilter::default()
        },
        FlowFilter {
            trace_id: strings(&["x"]),
            ..FlowFilter::default()
        },
        FlowFilter {
            ip_trace_id: vec![1],
            ..FlowFilter::default()
        },
        FlowFilter {
            node_labels: strings(&["a=b"]),
            ..FlowFilter::default()
        },
        FlowFilter {
            source_cluster_name: strings(&["c"]),
            ..FlowFilter::default()
        },
        FlowFilter {
            destination_cluster_name: strings(&["c"]),
            ..FlowFilter::default()
        },
        FlowFilter {
            source_ip_xlated: strings(&["0.0.0.0/0"]),
            ..FlowFilter::default()
        },
        FlowFilter {
            encrypted: vec![true],
            ..FlowFilter::default()
        },
        FlowFilter {
            http_header: vec![HttpHeader::default()],
            ..FlowFilter::default()
        },
    ];
    for filter in no {
        assert!(!set(filter.clone()).wants(&flow), "{filter:?}");
    }
}

#[test]
fn what_another_emitter_says_is_looked_at() {
    let mut response = samples::response(&samples::tcp(What::Request(samples::request())));
    let Body::Flow(flow) = &mut response.body else {
        panic!("{response:?}")
    };
    flow.foreign = Some(Box::new(Foreign {
        uuid: "u-1".into(),
        trace_id: "t-1".into(),
        ip_trace_id: Some(IpTraceId {
            trace_id: 9,
            ip_option_type: 0,
        }),
        node_labels: vec!["zone=a".into()],
        ..Foreign::default()
    }));
    let source = flow.source.as_mut().unwrap();
    source.identity = 4;
    source.labels = vec!["k8s:app=web".into()];
    source.cluster_name = Some("east".into());
    let ip = flow.ip.as_mut().unwrap();
    (ip.encrypted, ip.source_xlated) = (true, "192.0.2.1".parse().ok());
    let Some(Record::Http(http)) = &mut flow.l7.as_mut().unwrap().record else {
        panic!()
    };
    http.headers = vec![Header {
        key: "X-Tenant".into(),
        value: "a".into(),
    }];
    for filter in [
        FlowFilter {
            uuid: strings(&["u-0", "u-1"]),
            trace_id: strings(&["t-1"]),
            ..FlowFilter::default()
        },
        FlowFilter {
            ip_trace_id: vec![9],
            node_labels: strings(&["zone in (a,b)"]),
            ..FlowFilter::default()
        },
        FlowFilter {
            source_identity: vec![4],
            source_label: strings(&["app=web"]),
            ..FlowFilter::default()
        },
        FlowFilter {
            source_cluster_name: strings(&["east"]),
            encrypted: vec![true],
            ..FlowFilter::default()
        },
        FlowFilter {
            source_ip_xlated: strings(&["192.0.2.0/24"]),
            ..FlowFilter::default()
        },
        FlowFilter {
            http_header: vec![HttpHeader {
                key: "x-tenant".into(),
                value: "a".into(),
            }],
            ..FlowFilter::default()
        },
    ] {
        assert!(set(filter.clone()).wants(&response), "{filter:?}");
    }
}

/// Samples, and some of them with what a cluster knows.
fn observations() -> Vec<Observation> {
    let is = [
        Destination::Service {
            namespace: "obs".into(),
            name: "collector".into(),
        },
        Destination::Pod {
            namespace: "obs".into(),
            name: "collector-0".into(),
            owner: Some(Owner {
                kind: "StatefulSet".into(),
                name: "collector".into(),
            }),
            service: Some("collector".into()),
        },
        Destination::Node { name: "k8s2".into() },
    ];
    let mut all = samples::all();
    let more: Vec<_> = all
        .iter()
        .enumerate()
        .map(|(at, sample)| Observation {
            remote_is: Some(is[at % is.len()].clone().into()),
            asked: "10.96.7.7:4318".parse().ok(),
            remote: if at % 2 == 0 { sample.remote } else { None },
            ..sample.clone()
        })
        .collect();
    all.extend(more);
    all
}

fn maybe(values: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(select(values).prop_map(str::to_owned), 1..3)]
}

fn side() -> impl Strategy<Value = [Vec<String>; 5]> {
    const PODS: &[&str] = &["shop/", "shop/checkout", "obs/collector-0", "/", "default/x"];
    const IPS: &[&str] = &["10.0.1.7", "10.0.2.0/24", "10.96.0.0/16", "::/0", "0.0.0.0/0"];
    const PORTS: &[&str] = &["53", "4317", "4318", "39811", "0"];
    const FQDNS: &[&str] = &["collector.obs*", "*", "nowhere"];
    const SERVICES: &[&str] = &["obs/collector", "/", "obs/"];
    (
        maybe(PODS),
        maybe(IPS),
        maybe(PORTS),
        maybe(FQDNS),
        maybe(SERVICES),
    )
        .prop_map(|(pods, ips, ports, fqdns, services)| [pods, ips, ports, fqdns, services])
}

fn filter() -> impl Strategy<Value = FlowFilter> {
    let own = (
        prop::collection::vec(select(&[0_u32, 2, 3][..]), 0..2),
        prop::collection::vec(select(&[0_u32, 104, 110, 111, 113][..]), 0..2),
    );
    let rest = (
        maybe(&["tcp", "udp", "dns", "http", "icmp"]),
        maybe(&["^collector", "[.]$", "stripe", "local$", "x"]),
        maybe(&["200", "4+", "5+"]),
        prop::collection::vec(select(&[1_i32, 2, 3, 6][..]), 0..3),
        prop::collection::vec(
            (
                select(&[0_i32, 1, 4, 7, 129][..]),
                any::<bool>(),
                select(&[0_i32, 5, 133][..]),
            ),
            0..3,
        ),
        prop::collection::vec(any::<bool>(), 0..2),
        any::<bool>(),
    );
    (side(), side(), own, rest).prop_map(|(source, destination, (rcode, errno), rest)| {
        let (protocol, dns_query, http_status_code, verdict, types, reply, workload) = rest;
        let [source_pod, source_ip, source_port, source_fqdn, source_service] = source;
        let [
            destination_pod,
            destination_ip,
            destination_port,
            destination_fqdn,
            destination_service,
        ] = destination;
        let event_type = types
            .into_iter()
            .map(|(kind, match_sub_type, sub_type)| EventTypeFilter {
                r#type: kind,
                match_sub_type,
                sub_type,
            });
        FlowFilter {
            source_pod,
            source_ip,
            source_port,
            source_fqdn,
            source_service,
            destination_pod,
            destination_ip,
            destination_port,
            destination_fqdn,
            destination_service,
            protocol,
            dns_query,
            verdict,
            event_type: if http_status_code.is_empty() {
                event_type.collect()
            } else {
                Vec::new()
            },
            http_status_code,
            reply,
            source_workload: workload
                .then(|| Workload {
                    name: "checkout".into(),
                    kind: String::new(),
                })
                .into_iter()
                .collect(),
            obsflow: Some(proto::flow_filter::Obsflow { rcode, errno }),
            ..FlowFilter::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn what_matches_a_flow_may_match_what_it_is_made_of(filter in filter(), lonely in 0..12_usize) {
        // Filters of many fields match next to nothing: every other time all but one field go.
        let mut filter = filter;
        if lonely < 10 {
            let whole = std::mem::take(&mut filter);
            match lonely {
                0 => filter.source_pod = whole.source_pod,
                1 => filter.source_ip = whole.source_ip,
                2 => filter.source_port = whole.source_port,
                3 => filter.source_fqdn = whole.source_fqdn,
                4 => filter.source_service = whole.source_service,
                5 => filter.destination_port = whole.destination_port,
                6 => filter.dns_query = whole.dns_query,
                7 => filter.obsflow = whole.obsflow,
                8 => filter.protocol = whole.protocol,
                _ => filter.destination_ip = whole.destination_ip,
            }
        }
        let filters = set(filter);
        let limits = Limits { entries: 1_000, bytes: usize::MAX, age: Duration::MAX };
        let mut recorder = Recorder::new(limits, Clock { offset_ns: 0 }, Mono(0));
        for observation in observations() {
            recorder.record(&observation);
        }
        let mut cursor = recorder.history("k8s1").store.cursor(0);
        while let Next::Entry(seen) = cursor.read() {
            let flow = samples::response(&seen.observation());
            if !matches!(flow.body, Body::LostEvents(_)) && filters.wants(&flow) {
                prop_assert!(filters.may_match(seen), "{:?} of {:?} with {:?}", flow, seen, filters);
            }
        }
    }
}

/// Flags and messages are two ways to say the same.
#[test]
fn flags_and_messages_match_the_same() {
    let by_flags = |line: &str| {
        let mut words = line.split_whitespace();
        let mut terms = Vec::new();
        while let Some(word) = words.next() {
            let spec = SPECS
                .iter()
                .find(|spec| Some(spec.name) == word.strip_prefix("--"))
                .unwrap();
            let value = spec
                .value
                .map(|_| words.next().unwrap().to_owned())
                .unwrap_or_default();
            terms.push(Term {
                flag: spec.flag,
                value,
            });
        }
        parse(&terms).unwrap().compile().unwrap()
    };
    let cases = [
        (
            "--from-pod shop/checkout",
            FlowFilter {
                source_pod: strings(&["shop/checkout"]),
                ..FlowFilter::default()
            },
        ),
        (
            "--to-port 4317",
            FlowFilter {
                destination_port: strings(&["4317"]),
                ..FlowFilter::default()
            },
        ),
        (
            "--protocol dns --verdict ERROR",
            FlowFilter {
                protocol: strings(&["dns"]),
                verdict: vec![3],
                ..FlowFilter::default()
            },
        ),
        (
            "--http-status 4+",
            FlowFilter {
                http_status_code: strings(&["4+"]),
                ..FlowFilter::default()
            },
        ),
        (
            "--ipv4 --traffic-direction egress",
            FlowFilter {
                ip_version: vec![1],
                traffic_direction: vec![2],
                ..FlowFilter::default()
            },
        ),
    ];
    for (line, message) in cases {
        let (flags, messages) = (by_flags(line), set(message));
        for observation in observations() {
            let response = samples::response(&observation);
            assert_eq!(
                flags.wants(&response),
                messages.wants(&response),
                "{line}: {response:?}"
            );
        }
    }
}
