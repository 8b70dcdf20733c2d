//! Filters: what they match, against a naive model, and what is wrong with them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{SPECS, Term, parse, parse_raw, print_raw};
use crate::flow::samples::{self, dns, flow, tcp};
use crate::model::cluster::{Destination, Owner};
use crate::model::event::Outcome;
use crate::model::flow::{
    DropReason, Endpoint, Extensions, Flow, Foreign, IpTraceId, NamedWorkload, NetworkInterface,
};
use crate::model::observation::{LookupOutcome, Observation, What};

fn terms(line: &str) -> Vec<Term> {
    let mut words = line.split_whitespace();
    let mut terms = Vec::new();
    while let Some(word) = words.next() {
        let name = word.strip_prefix("--").unwrap();
        let spec = SPECS.iter().find(|spec| spec.name == name).unwrap();
        terms.push(Term {
            flag: spec.flag,
            value: spec
                .value
                .map(|_| words.next().unwrap().to_owned())
                .unwrap_or_default(),
        });
    }
    terms
}

fn matches(line: &str, flow: &Flow) -> bool {
    let wanted = parse(&terms(line)).unwrap_or_else(|error| panic!("{line}: {error}"));
    wanted
        .compile()
        .unwrap_or_else(|error| panic!("{line}: {error}"))
        .matches(flow)
}

fn error(line: &str) -> String {
    match parse(&terms(line)) {
        Ok(filters) => panic!("{line} is accepted: {filters:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_flag_is_specified_once() {
    let names: BTreeSet<_> = SPECS.iter().map(|spec| spec.name).collect();
    assert_eq!(names.len(), SPECS.len());
    for spec in SPECS {
        assert_eq!(spec.flag.name(), spec.name);
    }
}

/// The attempt of `shop/checkout-7d9c` at `collector.obs.svc.cluster.local`, 10.0.1.7:39811 to 10.0.2.9:4317.
#[test]
fn connections_by_pod_address_port_and_name() {
    let flow = flow(&tcp(What::Attempt));
    for line in [
        "",
        "--from-pod shop/checkout",
        "--from-pod shop/",
        "--from-pod /checkout-7",
        "--pod shop/checkout",
        "--pod checkout --namespace shop",
        "--pod checkout --all-namespaces",
        "--namespace shop",
        "--from-namespace shop",
        "--all-namespaces",
        "--from-pod other/x --from-pod shop/checkout",
        "--to-port 4317 --from-pod shop/checkout",
        "--port 4317",
        "--port 39811",
        "--to-port 1 --to-port 4317",
        "--ip 10.0.2.9",
        "--to-ip 10.0.0.0/16",
        "--from-ip 10.0.1.7",
        "--to-fqdn *.obs.svc.cluster.local",
        "--fqdn COLLECTOR.obs.svc.cluster.local.",
        "--protocol TCP",
        "--protocol udp --protocol tcp",
        "--type trace",
        "--type trace:from-endpoint",
        "--type 4:5",
        "--verdict forwarded",
        "--tcp-flags syn",
        "--ipv4",
        "--traffic-direction egress",
        "--not --protocol dns",
        "--not --from-pod shop/checkout --not --to-port 1",
    ] {
        assert!(matches(line, &flow), "{line}");
    }
    for line in [
        "--from-pod checkout",
        "--from-pod shop/heckout",
        "--from-pod sho/checkout",
        "--to-pod shop/checkout",
        "--to-namespace shop",
        "--from-namespace default",
        "--to-all-namespaces",
        "--from-port 4317",
        "--to-port 4317 --from-pod shop/other",
        "--from-ip 10.0.2.9",
        "--ip 10.1.0.0/16",
        "--to-fqdn obs.svc.cluster.local",
        "--from-fqdn *",
        "--protocol dns",
        "--protocol http",
        "--http-status 2+",
        "--http-path .*",
        "--type trace:to-endpoint",
        "--type l7",
        "--verdict ERROR",
        "--tcp-flags syn,ack",
        "--ipv6",
        "--errno ECONNREFUSED",
        "--rcode NOERROR",
        "--dns-query .*",
        "--workload nginx.service",
        "--not --port 4317",
        "--verdict FORWARDED --not --to-port 4317",
    ] {
        assert!(!matches(line, &flow), "{line}");
    }
}

#[test]
fn what_the_other_side_is() {
    let of = |is: Destination| {
        flow(&Observation {
            remote_is: Some(Arc::new(is)),
            ..tcp(What::Attempt)
        })
    };
    let service = of(Destination::Service {
        namespace: "obs".into(),
        name: "collector".into(),
    });
    let pod = of(Destination::Pod {
        namespace: "obs".into(),
        name: "collector-7d9c-x".into(),
        owner: Some(Owner {
            kind: "Deployment".into(),
            name: "collector".into(),
        }),
        service: Some("collector".into()),
    });
    let node = of(Destination::Node {
        name: "node-1".into(),
    });
    for (line, matched) in [
        ("--to-service obs/collector", [true, true, false]),
        ("--to-service obs/", [true, true, false]),
        ("--to-service /coll", [true, true, false]),
        ("--service obs/coll", [true, true, false]),
        ("--to-service collector", [false, false, false]),
        ("--from-service obs/collector", [false, false, false]),
        ("--to-namespace obs", [true, true, false]),
        ("--to-pod obs/collector", [false, true, false]),
        ("--pod obs/collector", [false, true, false]),
        ("--to-workload collector", [false, true, false]),
        ("--to-workload Deployment/collector", [false, true, false]),
        ("--to-workload StatefulSet/collector", [false, false, false]),
        ("--to-workload Node/node-1", [false, false, true]),
        (
            "--from-pod shop/checkout --to-service obs/collector",
            [true, true, false],
        ),
    ] {
        let found = [&service, &pod, &node].map(|flow| matches(line, flow));
        assert_eq!(found, matched, "{line}");
    }
    // An answer comes from there.
    let answer = flow(&Observation {
        remote_is: Some(Arc::new(Destination::Service {
            namespace: "kube-system".into(),
            name: "kube-dns".into(),
        })),
        ..dns(What::DnsResponse {
            message: samples::nxdomain(),
            latency: None,
        })
    });
    assert!(matches(
        "--from-service kube-system/kube-dns --to-pod shop/",
        &answer
    ));
    assert!(!matches("--to-service kube-system/kube-dns", &answer));
}

/// One undirected filter holds for one side as a whole: an address of one side and a port of the other do not add up.
#[test]
fn undirected_flags_go_together() {
    let flow = flow(&tcp(What::Attempt));
    assert!(matches("--ip 10.0.2.9 --port 4317", &flow));
    assert!(!matches("--ip 10.0.1.7 --port 4317", &flow));
    assert!(matches("--ip 10.0.1.7 --to-port 4317", &flow));
}

#[test]
fn what_was_asked_for_counts() {
    let rewritten = Observation {
        asked: Some("10.96.7.7:8428".parse().unwrap()),
        ..tcp(What::Attempt)
    };
    let flow = flow(&rewritten);
    for line in [
        "--to-port 8428",
        "--to-port 4317",
        "--to-ip 10.96.7.7",
        "--to-ip 10.0.2.9",
        "--port 8428",
    ] {
        assert!(matches(line, &flow), "{line}");
    }
    assert!(!matches("--from-port 8428", &flow));
    // The answer comes from there.
    let exchange = samples::all().into_iter().find_map(|sample| match &sample.what {
        What::Exchange(exchange) if exchange.accepted().is_some() => Some(sample),
        _ => None,
    });
    let answer = samples::flow(&Observation {
        asked: rewritten.asked,
        ..exchange.unwrap()
    });
    for line in [
        "--from-port 8428",
        "--from-ip 10.96.7.7",
        "--from-ip 10.0.2.9",
        "--port 8428",
    ] {
        assert!(matches(line, &answer), "{line}");
    }
    for line in ["--to-port 8428", "--to-ip 10.96.7.7", "--to-port 4317"] {
        assert!(!matches(line, &answer), "{line}");
    }
}

#[test]
fn dns_by_query_and_code() {
    let answer = flow(&dns(What::DnsResponse {
        message: samples::nxdomain(),
        latency: None,
    }));
    for line in [
        "--rcode NXDOMAIN",
        "--rcode nxdomain",
        "--rcode 3",
        "--rcode 2 --rcode 3",
        "--dns-query stripe",
        "--dns-query local$",
        "--dns-query local\\.$",
        "--protocol dns",
        "--protocol udp",
        "--to-pod shop/checkout",
        "--type l7",
        "--type 129",
    ] {
        assert!(matches(line, &answer), "{line}");
    }
    for line in [
        "--rcode NOERROR",
        "--dns-query ^stripe",
        "--from-pod shop/checkout",
        "--type drop",
    ] {
        assert!(!matches(line, &answer), "{line}");
    }
    // A request has no code, and 0 is one.
    let request = flow(&dns(What::DnsQuery(samples::nxdomain())));
    assert!(!matches("--rcode NOERROR", &request));
    let good = flow(&dns(What::DnsResponse {
        message: samples::answer(),
        latency: None,
    }));
    assert!(matches("--rcode NOERROR", &good));
    assert!(matches(
        "--rcode NXDOMAIN",
        &flow(&dns(samples::lookup(LookupOutcome::NxDomain)))
    ));
    assert!(!matches(
        "--rcode NOERROR",
        &flow(&dns(samples::lookup(LookupOutcome::Unanswered)))
    ));
}

#[test]
fn http_by_what_was_asked_and_answered() {
    let all: Vec<_> = samples::all()
        .iter()
        .filter(|o| matches!(o.what, What::Request(_) | What::Exchange(_)))
        .map(flow)
        .collect();
    let found = |line: &str| all.iter().filter(|flow| matches(line, flow)).count();
    for (line, count) in [
        ("--protocol http", 4),
        ("--protocol tcp", 4),
        ("--protocol dns", 0),
        ("--type l7", 4),
        ("--http-method POST", 4),
        ("--http-method post", 4),
        ("--http-method GET", 0),
        ("--http-path ^/v1/(traces|logs)$", 4),
        ("--http-path collector", 0),
        ("--http-url ^http://collector", 4),
        ("--http-status 404", 1),
        ("--http-status 2+", 1),
        ("--http-status 2+ --http-status 40+", 2),
        ("--http-status 5+", 0),
        ("--to-pod shop/checkout", 2),
        ("--from-pod shop/checkout", 2),
        ("--rcode NOERROR", 0),
        ("--dns-query .*", 0),
    ] {
        assert_eq!(found(line), count, "{line}");
    }
    // DNS has no status, and a connection none.
    assert!(!matches("--http-status 2+", &flow(&tcp(What::Attempt))));
}

#[test]
fn a_dropped_query_is_found_by_its_name() {
    let mut drop = samples::drop_seen("NETFILTER_DROP", None);
    drop.question = Some("collector.obs".into());
    let flow = flow(&tcp(What::Dropped(Box::new(drop))));
    assert!(matches("--dns-query ^collector", &flow));
    assert!(!matches("--dns-query ^obs", &flow));
}

#[test]
fn failures_by_errno_and_verdict() {
    let refused = samples::failure(Outcome::Refused, libc::ECONNREFUSED, std::time::Duration::ZERO, 0);
    let flow = flow(&tcp(refused));
    assert!(matches("--errno ECONNREFUSED", &flow));
    assert!(matches("--errno 111 --verdict ERROR", &flow));
    assert!(matches("--errno ETIMEDOUT --errno ECONNREFUSED", &flow));
    assert!(!matches("--errno ETIMEDOUT", &flow));
}

#[test]
fn workloads_by_kind_and_name() {
    let mut flow = flow(&tcp(What::Attempt));
    flow.source = Some(Endpoint {
        workloads: vec![NamedWorkload {
            name: "/lab/a".into(),
            kind: "Cgroup".into(),
        }],
        ..Endpoint::default()
    });
    for line in [
        "--workload /lab/a",
        "--from-workload cgroup//lab/a",
        "--workload Cgroup/",
    ] {
        assert!(matches(line, &flow), "{line}");
    }
    for line in [
        "--to-workload /lab/a",
        "--workload Unit//lab/a",
        "--workload /lab",
    ] {
        assert!(!matches(line, &flow), "{line}");
    }
    // A side without names is no pod of any namespace.
    assert!(!matches("--all-namespaces", &flow));
}

#[test]
fn each_mistake_is_one_line_that_says_what_to_do() {
    let errors = [
        (
            "--http-status 4x",
            "--http-status: \"4x\" is not an HTTP status; give three digits such as 404, or 5+ for all that begin so",
        ),
        (
            "--http-status 40",
            "--http-status: \"40\" is not an HTTP status; give three digits such as 404, or 5+ for all that begin so",
        ),
        (
            "--to-port http",
            "--to-port: \"http\" is not a port; give a number from 0 to 65535 (port names are not looked up)",
        ),
        (
            "--port 99999",
            "--port: \"99999\" is not a port; give a number from 0 to 65535 (port names are not looked up)",
        ),
        (
            "--ip 10.0.0.0/33",
            "--ip: \"10.0.0.0/33\" is neither an IP address nor a network such as 192.0.2.0/24",
        ),
        (
            "--to-fqdn a/b",
            "--to-fqdn: \"a/b\" is not a DNS name; letters, digits, - _ . and * are allowed",
        ),
        (
            "--verdict LOST",
            "--verdict: unknown verdict \"LOST\"; one of FORWARDED, DROPPED, ERROR, AUDIT, REDIRECTED, TRACED, TRANSLATED",
        ),
        (
            "--type dns",
            "--type: unknown type \"dns\"; one of capture, drop, l7, policy-verdict, trace, trace-sock or a number up to 255",
        ),
        (
            "--type drop:POLICY",
            "--type: unknown sub-type \"POLICY\"; a number up to 255",
        ),
        (
            "--protocol quic",
            "--protocol: unknown protocol \"quic\"; one of tcp, udp, dns, http, icmp, icmpv4, icmpv6, sctp, kafka, vrrp, igmp",
        ),
        (
            "--traffic-direction up",
            "--traffic-direction: unknown direction \"up\"; one of ingress, egress",
        ),
        (
            "--tcp-flags syn,xyz",
            "--tcp-flags: unknown TCP flag \"xyz\"; one of FIN, SYN, RST, PSH, ACK, URG, ECE, CWR, NS",
        ),
        (
            "--not --not --port 1",
            "--not is given twice in a row; give it once before each filter to negate",
        ),
        (
            "--port 1 --not",
            "--not is the last filter; it negates the filter that follows it",
        ),
        (
            "--port 1 --to-port 2",
            "filters --port and --to-port cannot be combined",
        ),
        (
            "--to-port 2 --port 1",
            "filters --to-port and --port cannot be combined",
        ),
        (
            "--ip 1.1.1.1 --pod a/b",
            "filters --ip and --pod cannot be combined",
        ),
        (
            "--from-fqdn a --from-ip 1.1.1.1",
            "filters --from-fqdn and --from-ip cannot be combined",
        ),
        (
            "--to-pod a --to-namespace b",
            "filters --to-pod and --to-namespace cannot be combined; write the pod as NAMESPACE/NAME",
        ),
        (
            "--from-pod a --namespace b",
            "filters --from-pod and --namespace cannot be combined; write the pod as NAMESPACE/NAME",
        ),
        (
            "--to-service a --to-namespace b",
            "filters --to-service and --to-namespace cannot be combined; write the Service as NAMESPACE/NAME",
        ),
        (
            "--service a --from-ip 1.1.1.1",
            "filters --service and --from-ip cannot be combined",
        ),
        (
            "--pod a/x --namespace b",
            "namespace \"b\" does not contain pod \"a/x\"; name the namespace once",
        ),
        (
            "--workload Unit/ --from-workload x",
            "filters --workload and --from-workload cannot be combined",
        ),
    ];
    for (line, wanted) in errors {
        assert_eq!(error(line), wanted, "{line}");
    }
    for (line, part) in [
        (
            "--rcode NOPE",
            "unknown response code \"NOPE\"; one of NOERROR, FORMERR, SERVFAIL, NXDOMAIN,",
        ),
        ("--rcode 4096", "or a number up to 4095"),
        (
            "--errno ENOPE",
            "unknown errno \"ENOPE\"; one of ECONNREFUSED, ECONNRESET,",
        ),
        ("--errno 5000", "another name of errno(3), or its number"),
        (
            "--dns-query (",
            "\"(\" is not a regular expression: unclosed group",
        ),
        (
            "--type trace:up",
            "unknown sub-type \"up\"; one of to-endpoint, to-proxy,",
        ),
    ] {
        let error = error(line);
        assert!(error.contains(part), "{line}: {error}");
        assert_eq!(error.lines().count(), 1, "{line}: {error}");
    }
    // What is in the list of what is left out does not conflict with what is not.
    assert!(parse(&terms("--port 1 --not --to-port 2")).is_ok());
}

/// A flow of a Cilium agent's, with everything that obsflow's own have not.
fn foreign() -> Flow {
    let endpoint = |identity, label: &str, cluster: &str| {
        Some(Endpoint {
            identity,
            labels: vec![label.into(), "k8s:tier=web".into()],
            cluster_name: Some(cluster.into()),
            ..Endpoint::default()
        })
    };
    Flow {
        source: endpoint(2, "reserved:world", "north"),
        destination: endpoint(40_211, "k8s:app=checkout", "south-1"),
        ip: Some(crate::model::flow::Ip {
            source: "10.0.1.7".parse().ok(),
            destination: "10.0.2.9".parse().ok(),
            encrypted: true,
            source_xlated: "192.0.2.7".parse().ok(),
        }),
        node_name: "prod/k8s1.example.com".into(),
        drop_reason_desc: DropReason::new(133),
        interface: Some(NetworkInterface {
            index: 7,
            name: Some("eth0".into()),
        }),
        extensions: Extensions::default(),
        foreign: Some(Box::new(Foreign {
            uuid: "f-1".into(),
            node_labels: vec!["zone=a".into()],
            trace_id: "4bf92f".into(),
            ip_trace_id: Some(IpTraceId {
                trace_id: 9,
                ip_option_type: 136,
            }),
            ..Foreign::default()
        })),
        ..flow(&tcp(What::Attempt))
    }
}

#[test]
fn what_only_other_emitters_say_is_found() {
    let flow = foreign();
    for line in [
        "--from-label reserved:world",
        "--to-label app=checkout",
        "--label app=checkout",
        "--label tier=web",
        "--from-identity world",
        "--to-identity 40211",
        "--identity reserved:world",
        "--from-cluster north",
        "--cluster south-1",
        "--snat-ip 192.0.2.0/24",
        "--drop-reason-desc policy_denied",
        "--node-name prod/k8s*",
        "--node-name PROD/*.example.com",
        "--node-name prod/",
        "--node-label zone=a",
        "--interface eth0",
        "--encrypted",
        "--uuid f-1",
        "--trace-id 4bf92f",
        "--ip-trace-id 9",
        "--ip-version v4",
        "--ip-version none --ip-version 4",
    ] {
        assert!(matches(line, &flow), "{line}");
        assert!(
            !matches(&format!("--not {line}"), &flow) || line.contains(" --"),
            "{line}"
        );
    }
    for line in [
        "--from-label app=checkout",
        "--to-label app!=checkout",
        "--identity host",
        "--to-cluster north",
        "--snat-ip 10.0.1.7",
        "--drop-reason-desc INVALID_VNI",
        "--node-name k8s*",
        "--node-label zone=b",
        "--interface eth1",
        "--unencrypted",
        "--uuid f",
        "--trace-id 4bf92",
        "--ip-trace-id 10",
        "--ip-version none",
        "--http-header a:b",
    ] {
        assert!(!matches(line, &flow), "{line}");
    }
    // obsflow's own say none of it.
    let own = samples::flow(&tcp(What::Attempt));
    for line in [
        "--label app",
        "--label !app",
        "--identity host",
        "--cluster *",
        "--uuid x",
        "--encrypted",
    ] {
        assert!(!matches(line, &own), "{line}");
    }
    assert!(matches("--unencrypted", &own));
    assert!(matches("--node-name k8s1", &own) && matches("--node-name default/k8s*", &own));
    assert!(!matches("--node-name other/k8s1", &own));
}

#[test]
fn flags_are_messages_of_hubble() {
    let raw = |line: &str| print_raw(&parse(&terms(line)).unwrap());
    assert_eq!(raw(""), "{}\n");
    assert_eq!(
        raw("--from-pod apps/xplane-image-gallery --to-port 8428"),
        "allowlist:\n    - '{\"source_pod\":[\"apps/xplane-image-gallery\"],\"destination_port\":[\"8428\"]}'\n"
    );
    assert_eq!(
        raw("--pod web --namespace shop --not --verdict DROPPED --not --tcp-flags syn,ack"),
        "allowlist:\n    - '{\"source_pod\":[\"shop/web\"]}'\n    - '{\"destination_pod\":[\"shop/web\"]}'\ndenylist:\n    - \
         '{\"verdict\":[\"DROPPED\"],\"tcp_flags\":[{\"SYN\":true,\"ACK\":true}]}'\n"
    );
    assert_eq!(
        raw("--rcode NXDOMAIN --errno 111 --type trace:from-endpoint --dns-query it's"),
        "allowlist:\n    - '{\"event_type\":[{\"type\":4,\"match_sub_type\":true,\"sub_type\":5}],\"dns_query\":[\"it''s\"],\
         \"obsflow\":{\"rcode\":[3],\"errno\":[111]}}'\n"
    );
}

#[test]
fn filters_as_json_mean_what_flags_mean() {
    let of_flags = parse(&terms("--from-pod shop/checkout --verdict ERROR --ip-version v4")).unwrap();
    let json = r#"{"source_pod":["shop/checkout"],"verdict":["ERROR"],"ip_version":["IPv4"]}"#;
    assert_eq!(parse_raw("--allowlist", json).unwrap(), of_flags.allow);
    // Both spellings of names, and one after the other, as Hubble's client takes them.
    let two = r#"{"sourcePod":["shop/checkout"]} {"destination_port":["4317"]}"#;
    assert_eq!(parse_raw("--allowlist", two).unwrap().len(), 2);
    let query = r#"{"dns_query":["collector.*local"]}"#;
    assert_eq!(
        parse_raw("--denylist", query).unwrap()[0].dns_query,
        ["collector.*local"]
    );
    for (json, part) in [
        ("", "--allowlist: there is no filter; write a FlowFilter as JSON"),
        ("{", "--allowlist: EOF while parsing"),
        (r#"{"from_pod":["a"]}"#, "from_pod"),
        (r#"{"verdict":["LOST"]}"#, "LOST"),
        (
            r#"{"source_port":["99999"]}"#,
            "--allowlist: source_port: \"99999\" is not a port",
        ),
        (
            r#"{"source_ip":["10.0.0.0/33"]}"#,
            "source_ip: \"10.0.0.0/33\" is neither",
        ),
        (
            r#"{"dns_query":["("]}"#,
            "dns_query: \"(\" is not a regular expression",
        ),
    ] {
        let error = parse_raw("--allowlist", json).unwrap_err().to_string();
        assert!(error.contains(part), "{json}: {error}");
        assert_eq!(error.lines().count(), 1, "{json}: {error}");
    }
}

#[test]
fn what_obsflow_cannot_know_is_named() {
    let of = |line: &str| parse(&terms(line)).unwrap().unknowable();
    assert_eq!(
        of("--from-pod a/b --to-port 1 --verdict AUDIT"),
        Vec::<&str>::new()
    );
    assert_eq!(of("--identity world --not --label app=x"), ["label", "identity"]);
    assert_eq!(of("--protocol tcp --protocol ICMP"), ["ICMP, SCTP or Kafka"]);
    assert!(parse(&terms("--errno 111")).unwrap().is_own());
    assert!(!parse(&terms("--port 111")).unwrap().is_own());
}

#[test]
fn cel_is_for_hubbles_servers() {
    let wanted = parse(&terms("--cel-expression true")).unwrap();
    assert_eq!(
        wanted.compile().unwrap_err().to_string(),
        "experimental.cel_expression: obsflow evaluates no CEL; use the other fields of the filter"
    );
}
