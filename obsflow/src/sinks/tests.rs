//! Lines, byte for byte.

use std::sync::Arc;

use super::{Format, Printer, PrinterOptions, TimeFormat};
use crate::flow::samples::{self, dns, flow, response, tcp, unit};
use crate::model::flow::{
    Body, Dns, DropReason, Endpoint, Ethernet, EventType, Flow, Foreign, Ip, IpTraceId, L7Type, Layer4,
    Layer7, LostEvent, LostSource, NamedWorkload, NodeState, NodeStatus, Policy, Record, Response, Service,
    Tcp, TrafficDirection, Verdict, event,
};
use crate::model::observation::{Observation, What};

fn options(format: Format) -> PrinterOptions {
    PrinterOptions {
        format,
        ..PrinterOptions::default()
    }
}

fn print(options: PrinterOptions, responses: &[Response]) -> String {
    let mut out = Vec::new();
    let mut printer = Printer::new(options, &mut out);
    for response in responses {
        printer.print(response).unwrap();
    }
    printer.finish().unwrap();
    drop(printer);
    String::from_utf8(out).unwrap()
}

fn as_response(flow: Flow) -> Response {
    Response {
        node_name: flow.node_name.clone(),
        time: flow.time,
        body: Body::Flow(Box::new(flow)),
    }
}

/// The flow of the contract's samples: a Cilium agent's policy drop.
fn policy_denied() -> Flow {
    let endpoint = |identity| {
        Some(Endpoint {
            identity,
            ..Endpoint::default()
        })
    };
    Flow {
        verdict: Verdict::Dropped,
        ip: Some(Ip {
            source: "1.1.1.1".parse().ok(),
            destination: "2.2.2.2".parse().ok(),
            ..Ip::default()
        }),
        l4: Some(Layer4::Tcp(Tcp {
            source_port: 31793,
            destination_port: 8080,
            flags: crate::model::flow::TcpFlags::SYN,
        })),
        source: endpoint(4),
        destination: endpoint(12345),
        event_type: EventType {
            kind: event::DROP,
            sub_type: 133,
        },
        drop_reason_desc: DropReason::new(133),
        traffic_direction: Some(TrafficDirection::Egress),
        trace_observation_point: None,
        is_reply: Some(false),
        destination_names: Vec::new(),
        socket_cookie: 0,
        cgroup_id: 0,
        summary: "TCP Flags: SYN".to_owned(),
        emitter: None,
        extensions: Default::default(),
        ..flow(&tcp(What::Attempt))
    }
}

#[test]
fn compact_as_in_the_contract() {
    let with_node = PrinterOptions {
        node_name: true,
        ..options(Format::Compact)
    };
    let line = |is_reply| {
        let flow = Flow {
            is_reply,
            ..policy_denied()
        };
        print(with_node, &[as_response(flow)])
    };
    assert_eq!(
        print(options(Format::Compact), &[as_response(policy_denied())]),
        "Jan  1 00:20:34.567: 1.1.1.1:31793 (health) -> 2.2.2.2:8080 (ID:12345) Policy denied DROPPED (TCP Flags: SYN)\n"
    );
    assert_eq!(
        line(Some(false)),
        "Jan  1 00:20:34.567 [k8s1]: 1.1.1.1:31793 (health) -> 2.2.2.2:8080 (ID:12345) Policy denied DROPPED (TCP Flags: SYN)\n"
    );
    assert_eq!(
        line(Some(true)),
        "Jan  1 00:20:34.567 [k8s1]: 2.2.2.2:8080 (ID:12345) <- 1.1.1.1:31793 (health) Policy denied DROPPED (TCP Flags: SYN)\n"
    );
    assert_eq!(
        line(None),
        "Jan  1 00:20:34.567 [k8s1]: 1.1.1.1:31793 (health) <> 2.2.2.2:8080 (ID:12345) Policy denied DROPPED (TCP Flags: SYN)\n"
    );
}

/// The contract's DNS sample, but for what obsflow cannot know (identities) and is not (a proxy).
#[test]
fn compact_dns_as_in_the_contract() {
    let answer = dns(What::DnsResponse {
        message: samples::nxdomain(),
        latency: None,
    });
    let mut flow = flow(&answer);
    flow.source = Some(Endpoint {
        identity: 102,
        namespace: Some("kube-system".into()),
        pod_name: Some("coredns-5d78".into()),
        ..Endpoint::default()
    });
    assert_eq!(
        print(options(Format::Compact), &[as_response(flow)]),
        "Jan  1 00:20:34.567: shop/checkout-7d9c:39811 (unknown) <- kube-system/coredns-5d78:53 (ID:102) dns-response \
         kernel FORWARDED (DNS Answer RCode: Non-Existent Domain TTL: 4294967295 (Query \
         api.stripe.com.shop.svc.cluster.local. A))\n"
    );
}

/// The contract's DNS sample, from a proxy of Cilium's, byte for byte.
#[test]
fn a_proxys_dns_answer_as_in_the_contract() {
    let side = |identity, namespace: &str, pod: &str| {
        Some(Endpoint {
            identity,
            namespace: Some(namespace.into()),
            pod_name: Some(pod.into()),
            ..Endpoint::default()
        })
    };
    let answer = Flow {
        time: "2026-09-30T10:15:11.403Z".parse().unwrap(),
        source: side(102, "kube-system", "coredns-5d78c9869d-k2xzp"),
        destination: side(40_211, "shop", "checkout-7d9c5b6f4-x2l9q"),
        l7: Some(Layer7 {
            kind: L7Type::Response,
            latency_ns: 0,
            record: Some(Record::Dns(Dns {
                query: "api.stripe.com.shop.svc.cluster.local.".to_owned(),
                observation_source: "proxy".into(),
                rcode: Some(3),
                qtypes: vec!["A".into()],
                ..Dns::default()
            })),
        }),
        summary: "DNS Answer RCode: Non-Existent Domain TTL: 4294967295 (Proxy api.stripe.com.shop.svc.cluster.local. A)"
            .to_owned(),
        ..flow(&dns(What::DnsResponse {
            message: samples::nxdomain(),
            latency: None,
        }))
    };
    assert_eq!(
        print(options(Format::Compact), &[as_response(answer)]),
        "Sep 30 10:15:11.403: shop/checkout-7d9c5b6f4-x2l9q:39811 (ID:40211) <- kube-system/coredns-5d78c9869d-k2xzp:53 \
         (ID:102) dns-response proxy FORWARDED (DNS Answer RCode: Non-Existent Domain TTL: 4294967295 (Proxy \
         api.stripe.com.shop.svc.cluster.local. A))\n"
    );
}

fn foreign(kind: u8, sub_type: u8, verdict: Verdict, foreign: Foreign) -> Flow {
    Flow {
        event_type: EventType { kind, sub_type },
        verdict,
        drop_reason_desc: None,
        foreign: Some(Box::new(foreign)),
        ..policy_denied()
    }
}

/// The line after the time.
fn said(options: PrinterOptions, flow: Flow) -> String {
    let line = print(options, &[as_response(flow)]);
    line.split_once("(ID:12345) ").unwrap().1.trim_end().to_owned()
}

#[test]
fn what_other_emitters_see_reads_as_hubbles() {
    let compact = options(Format::Compact);
    let policy = |verdict| foreign(event::POLICY_VERDICT, 0, verdict, Foreign::default());
    assert_eq!(
        said(compact, policy(Verdict::Dropped)),
        "policy-verdict:none EGRESS DENIED (TCP Flags: SYN)"
    );
    assert_eq!(
        said(compact, policy(Verdict::Audit)),
        "policy-verdict:none EGRESS AUDITED (TCP Flags: SYN)"
    );
    let allowed = Foreign {
        policy_match_type: 1,
        policies: [
            vec![Policy {
                name: "allow-http".into(),
                kind: "CiliumNetworkPolicy".into(),
                ..Policy::default()
            }],
            Vec::new(),
            Vec::new(),
            Vec::new(),
        ],
        auth_type: 1,
        ..Foreign::default()
    };
    let allowed = foreign(event::POLICY_VERDICT, 0, Verdict::Forwarded, allowed);
    assert_eq!(
        said(compact, allowed.clone()),
        "policy-verdict:L3-Only EGRESS ALLOWED (TCP Flags: SYN; SPIRE)"
    );
    let with_names = PrinterOptions {
        policy_names: true,
        ..compact
    };
    assert_eq!(
        said(with_names, allowed),
        "policy-verdict:L3-Only EGRESS ALLOWED BY allow-http (CiliumNetworkPolicy) (TCP Flags: SYN; SPIRE)"
    );
    let socket = Foreign {
        sock_xlate_point: 2,
        ip_trace_id: Some(IpTraceId {
            trace_id: 7,
            ip_option_type: 0,
        }),
        ..Foreign::default()
    };
    assert_eq!(
        said(
            compact,
            foreign(event::TRACE_SOCK, 0, Verdict::Translated, socket)
        ),
        "post-xlate-fwd TRANSLATED (IP Trace ID: 7; TCP Flags: SYN)"
    );
    let capture = Foreign {
        debug_capture_point: 4,
        ..Foreign::default()
    };
    assert_eq!(
        said(compact, foreign(event::CAPTURE, 0, Verdict::Unknown, capture)),
        "DBG_CAPTURE_DELIVERY VERDICT_UNKNOWN (TCP Flags: SYN)"
    );
    let older = foreign(event::DROP, 181, Verdict::Dropped, Foreign::default());
    assert_eq!(
        said(compact, older),
        "Policy denied by denylist DROPPED (TCP Flags: SYN)"
    );
    let newer = foreign(event::DROP, 250, Verdict::Dropped, Foreign::default());
    assert_eq!(said(compact, newer), "250 DROPPED (TCP Flags: SYN)");
}

/// ARP has no addresses but those of the link layer.
#[test]
fn flows_without_addresses_show_the_link_layer() {
    let flow = Flow {
        ip: None,
        l4: None,
        ..foreign(
            event::TRACE,
            11,
            Verdict::Forwarded,
            Foreign {
                ethernet: Some(Ethernet {
                    source: "0a:58:0a:f4:00:01".into(),
                    destination: "ff:ff:ff:ff:ff:ff".into(),
                }),
                ..Foreign::default()
            },
        )
    };
    assert_eq!(
        print(options(Format::Compact), &[as_response(flow)]),
        "Jan  1 00:20:34.567: 0a:58:0a:f4:00:01 (health) -> ff:ff:ff:ff:ff:ff (ID:12345) to-network FORWARDED (TCP Flags: \
         SYN)\n"
    );
}

#[test]
fn legacy_json_is_the_flow_alone() {
    let line = print(options(Format::LegacyJson), &[as_response(policy_denied())]);
    assert!(
        line.starts_with(r#"{"time":"1970-01-01T00:20:34.567800Z","verdict":"DROPPED","IP":"#),
        "{line}"
    );
    assert!(line.ends_with("\"Summary\":\"TCP Flags: SYN\"}\n"), "{line}");
}

#[test]
fn relays_say_of_their_nodes_what_hubble_says() {
    let status = |state_change, names: &[&str], message: &str| {
        let status = NodeStatus {
            state_change,
            node_names: names.iter().map(|name| Arc::from(*name)).collect(),
            message: message.into(),
        };
        let response = Response {
            body: Body::NodeStatus(status.clone()),
            node_name: "relay".into(),
            time: response(&samples::all()[0]).time,
        };
        let text = |format| {
            let mut printer = Printer::new(options(format), Vec::new());
            printer.print(&response).unwrap();
            printer.node_status(&response, &status).unwrap()
        };
        [text(Format::Compact), text(Format::Dict), text(Format::Json)]
    };
    assert_eq!(
        status(NodeState::NodeConnected, &["a"], ""),
        ["", "", ""].map(str::to_owned)
    );
    let [compact, dict, json] = status(NodeState::NodeUnavailable, &["a", "b"], "");
    assert_eq!(
        compact,
        "Jan  1 00:20:34.567 [relay]: 2 nodes are unavailable: a, b\n"
    );
    assert_eq!(
        dict,
        "  TIMESTAMP: Jan  1 00:20:34.567\n      STATE: NODE_UNAVAILABLE\n      NODES: a, b\n    MESSAGE: N/A\n"
    );
    assert_eq!(
        json,
        "{\"node_status\":{\"state_change\":\"NODE_UNAVAILABLE\",\"node_names\":[\"a\",\"b\"]},\"node_name\":\"relay\",\
         \"time\":\"1970-01-01T00:20:34.567800Z\"}\n"
    );
    let long = [
        "node-with-a-long-name-1",
        "node-with-a-long-name-2",
        "node-with-a-long-name-3",
    ];
    let [compact, ..] = status(NodeState::NodeError, &long, "tls: \"bad\"");
    assert_eq!(
        compact,
        "Jan  1 00:20:34.567 [relay]: Error \"tls: \\\"bad\\\"\" on 3 nodes: node-with-a-long-name-1, \
         node-with-a-long-name-2 (and 1 more)\n"
    );
}

/// `docs/flows.md` has a line of each row between two marks; `UPDATE_DOCS=1` writes them.
#[test]
fn docs_flows_md_has_these_lines() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/flows.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- lines -->\n", "<!-- end of lines -->");
    let (before, rest) = page.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let responses: Vec<_> = samples::all().iter().map(response).collect();
    let lines = print(options(Format::Compact), &responses);
    let wanted = format!("{before}{begin}\n```\n{lines}```\n\n{end}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        wanted,
        "run with UPDATE_DOCS=1"
    );
}

#[test]
fn every_row_as_a_line() {
    let responses: Vec<_> = samples::all().iter().map(response).collect();
    insta::assert_snapshot!(print(options(Format::Compact), &responses));
}

#[test]
fn every_row_as_json() {
    let responses: Vec<_> = samples::all().iter().map(response).collect();
    let version = concat!("\"version\":\"", env!("CARGO_PKG_VERSION"), "\"");
    let text = print(options(Format::Json), &responses).replace(version, "\"version\":\"…\"");
    insta::assert_snapshot!(text);
}

#[test]
fn json_as_in_the_contract() {
    let mut flow = policy_denied();
    flow.source = Some(Endpoint {
        identity: 4,
        namespace: Some("ns".into()),
        pod_name: Some("pod".into()),
        workloads: vec![NamedWorkload {
            name: "w".into(),
            kind: "Deployment".into(),
        }],
        labels: vec!["k8s:app=w".into()],
        ..Endpoint::default()
    });
    flow.destination = Some(Endpoint::default());
    let line = print(options(Format::Json), &[as_response(flow)]);
    let wanted = [
        r#"{"flow":{"time":"1970-01-01T00:20:34.567800Z","#,
        r#""verdict":"DROPPED","IP":{"source":"1.1.1.1","destination":"2.2.2.2","ipVersion":"IPv4"},"#,
        r#""l4":{"TCP":{"source_port":31793,"destination_port":8080,"flags":{"SYN":true}}},"#,
        r#""source":{"identity":4,"namespace":"ns","labels":["k8s:app=w"],"pod_name":"pod","workloads":[{"name":"w","kind":"Deployment"}]},"#,
        r#""destination":{},"Type":"L3_L4","node_name":"k8s1","event_type":{"type":1,"sub_type":133},"#,
        r#""traffic_direction":"EGRESS","drop_reason_desc":"POLICY_DENIED","is_reply":false,"Summary":"TCP Flags: SYN"},"#,
        r#""node_name":"k8s1","time":"1970-01-01T00:20:34.567800Z"}"#,
        "\n",
    ];
    assert_eq!(line, wanted.concat());
}

/// `jq 'select(.flow.l7.dns.rcode==3)'`
#[test]
fn json_tells_nxdomain_by_number() {
    let answer = dns(What::DnsResponse {
        message: samples::nxdomain(),
        latency: Some(std::time::Duration::from_micros(730)),
    });
    let line = print(options(Format::Json), &[response(&answer)]);
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(json["flow"]["l7"]["dns"]["rcode"], 3);
    assert_eq!(json["flow"]["l7"]["latency_ns"], "730000");
    assert_eq!(
        json["flow"]["l7"]["dns"]["query"],
        "api.stripe.com.shop.svc.cluster.local."
    );
    assert_eq!(json["flow"]["cgroup_id"], "8123");
    let good = dns(What::DnsResponse {
        message: samples::answer(),
        latency: None,
    });
    let json: serde_json::Value =
        serde_json::from_str(&print(options(Format::Json), &[response(&good)])).unwrap();
    assert!(json["flow"]["l7"]["dns"].get("rcode").is_none());
}

#[test]
fn table_as_in_the_contract() {
    let responses = [as_response(policy_denied())];
    assert_eq!(
        print(options(Format::Table), &responses),
        "TIMESTAMP             SOURCE          DESTINATION    TYPE            VERDICT   SUMMARY\n\
         Jan  1 00:20:34.567   1.1.1.1:31793   2.2.2.2:8080   Policy denied   DROPPED   TCP Flags: SYN\n"
    );
    let with_node = PrinterOptions {
        node_name: true,
        ..options(Format::Table)
    };
    assert_eq!(
        print(with_node, &responses),
        "TIMESTAMP             NODE   SOURCE          DESTINATION    TYPE            VERDICT   SUMMARY\n\
         Jan  1 00:20:34.567   k8s1   1.1.1.1:31793   2.2.2.2:8080   Policy denied   DROPPED   TCP Flags: SYN\n"
    );
    assert_eq!(print(options(Format::Table), &[]), "");
}

#[test]
fn dict_as_in_the_contract() {
    let with_node = PrinterOptions {
        node_name: true,
        ..options(Format::Dict)
    };
    let record = "  TIMESTAMP: Jan  1 00:20:34.567\n       NODE: k8s1\n     SOURCE: 1.1.1.1:31793\n\
                  DESTINATION: 2.2.2.2:8080\n       TYPE: Policy denied\n    VERDICT: DROPPED\n    SUMMARY: TCP Flags: SYN\n";
    let responses = [as_response(policy_denied()), as_response(policy_denied())];
    assert_eq!(
        print(with_node, &responses),
        format!("{record}------------\n{record}")
    );
}

#[test]
fn loss_in_every_format() {
    let lost = Response {
        body: Body::LostEvents(LostEvent {
            source: LostSource::HubbleRingBuffer,
            num_events_lost: 1,
            cpu: None,
            first: Some("1970-01-01T00:00:01Z".parse().unwrap()),
            last: Some("1970-01-01T00:00:02.5Z".parse().unwrap()),
        }),
        node_name: "k8s1".into(),
        time: "1970-01-01T00:20:34.5678Z".parse().unwrap(),
    };
    let line = |format| print(options(format), std::slice::from_ref(&lost));
    assert_eq!(
        line(Format::Compact),
        "Jan  1 00:20:34.567 EVENTS LOST: HUBBLE_RING_BUFFER CPU(0) 1 (first: Jan  1 00:00:01.000, last: Jan  1 00:00:02.500)\n"
    );
    assert_eq!(
        line(Format::Dict),
        "  TIMESTAMP: \n     SOURCE: HUBBLE_RING_BUFFER\n       TYPE: EVENTS LOST\n    VERDICT: \n    SUMMARY: CPU(0) - 1\n"
    );
    assert!(
        line(Format::Table)
            .ends_with("HUBBLE_RING_BUFFER                 EVENTS LOST             CPU(0) - 1\n")
    );
    assert_eq!(
        line(Format::Json),
        "{\"lost_events\":{\"source\":\"HUBBLE_RING_BUFFER\",\"num_events_lost\":\"1\",\"first\":\"1970-01-01T00:00:01Z\",\
         \"last\":\"1970-01-01T00:00:02.500Z\"},\"node_name\":\"k8s1\",\"time\":\"1970-01-01T00:20:34.567800Z\"}\n"
    );
}

#[test]
fn names_in_the_order_of_hubble() {
    let line = |change: &dyn Fn(&mut Flow), ip_translation| {
        let mut flow = flow(&tcp(What::Attempt));
        change(&mut flow);
        let options = PrinterOptions {
            ip_translation,
            ..options(Format::Compact)
        };
        let line = print(options, &[as_response(flow)]);
        let (_, rest) = line.split_once("34.567: ").unwrap();
        rest.split_once(" from-endpoint").unwrap().0.to_owned()
    };
    assert_eq!(
        line(&|_| {}, true),
        "shop/checkout-7d9c:39811 (unknown) -> collector.obs.svc.cluster.local:4317 (unknown)"
    );
    assert_eq!(
        line(&|_| {}, false),
        "10.0.1.7:39811 (unknown) -> 10.0.2.9:4317 (unknown)"
    );
    let service = |flow: &mut Flow| {
        flow.destination_service = Some(Service {
            name: "collector".into(),
            namespace: "obs".into(),
        });
    };
    assert_eq!(
        line(&service, true),
        "shop/checkout-7d9c:39811 (unknown) -> obs/collector:4317 (unknown)"
    );
    let v6 = |flow: &mut Flow| {
        flow.destination_names.clear();
        flow.ip = Some(Ip {
            source: None,
            destination: "2001:db8::1".parse().ok(),
            ..Ip::default()
        });
    };
    assert_eq!(
        line(&v6, false),
        "unknown:39811 (unknown) -> [2001:db8::1]:4317 (unknown)"
    );
    let bare = |flow: &mut Flow| {
        flow.source = Some(Endpoint {
            workloads: vec![NamedWorkload {
                name: "otelcol.service".into(),
                kind: "Unit".into(),
            }],
            ..Endpoint::default()
        });
    };
    assert_eq!(
        line(&bare, true),
        "otelcol.service:39811 (unknown) -> collector.obs.svc.cluster.local:4317 (unknown)"
    );
}

#[test]
fn colours_do_not_change_the_words() {
    let colored = PrinterOptions {
        color: true,
        ..options(Format::Compact)
    };
    let line = print(colored, &[as_response(policy_denied())]);
    assert_eq!(
        line,
        "Jan  1 00:20:34.567: \x1b[36m1.1.1.1\x1b[0m:\x1b[33m31793\x1b[0m \x1b[35m(health)\x1b[0m -> \
         \x1b[36m2.2.2.2\x1b[0m:\x1b[33m8080\x1b[0m \x1b[35m(ID:12345)\x1b[0m Policy denied \x1b[31mDROPPED\x1b[0m (TCP \
         Flags: SYN)\n"
    );
}

/// A name from the wire, a unit, a process: none may write to the terminal, break a line or turn it round.
#[test]
fn hostile_names_are_escaped() {
    let evil: Arc<str> = "a\x1b]0;owned\x07\n\u{9b}31m\u{202e}\u{7f}é".into();
    let mut message = samples::nxdomain();
    message.name = evil.clone();
    let observations = [
        dns(What::DnsQuery(message)),
        Observation {
            remote_name: Some(evil.clone()),
            remote_is: None,
            workload: unit(&evil),
            ..tcp(What::Attempt)
        },
    ];
    let responses: Vec<_> = observations.iter().map(response).collect();
    for format in [Format::Compact, Format::Dict, Format::Table, Format::Json] {
        let text = print(options(format), &responses);
        let bad = text.chars().find(|c| super::escape::is_harmful(*c) && *c != '\n');
        assert_eq!(bad, None, "{format:?}: {text:?}");
        assert!(text.contains('é'), "{format:?}: {text:?}");
    }
    let lines = print(options(Format::Compact), &responses);
    assert_eq!(lines.lines().count(), 2);
    assert!(
        lines.contains(r"a\u{1b}]0;owned\u{7}\n\u{9b}31m\u{202e}\u{7f}é"),
        "{lines}"
    );
    // JSON gives the name back to programs as it was.
    let json: serde_json::Value =
        serde_json::from_str(print(options(Format::Json), &responses[1..]).trim()).unwrap();
    assert_eq!(json["flow"]["destination_names"][0], &*evil);
}

#[test]
fn times_in_every_format() {
    let text = |format: TimeFormat, time: &str| {
        let mut line = String::new();
        format.push(&mut line, time.parse().unwrap());
        line
    };
    let at = "2026-11-05T07:08:09.120450Z";
    assert_eq!(text(TimeFormat::StampMilli, at), "Nov  5 07:08:09.120");
    assert_eq!(text(TimeFormat::YearMonthDay, at), "2026-11-05");
    assert_eq!(text(TimeFormat::YearMonthDayHour, at), "2026-11-05T07Z");
    assert_eq!(text(TimeFormat::YearMonthDayHourMinute, at), "2026-11-05T07:08Z");
    assert_eq!(text(TimeFormat::Rfc3339, at), "2026-11-05T07:08:09Z");
    assert_eq!(text(TimeFormat::Rfc3339Milli, at), "2026-11-05T07:08:09.12Z");
    assert_eq!(text(TimeFormat::Rfc3339Micro, at), "2026-11-05T07:08:09.12045Z");
    assert_eq!(text(TimeFormat::Rfc3339Nano, at), "2026-11-05T07:08:09.12045Z");
    assert_eq!(
        text(TimeFormat::Rfc3339Nano, "2026-11-05T07:08:09Z"),
        "2026-11-05T07:08:09Z"
    );
    assert_eq!(text(TimeFormat::Rfc1123Z, at), "Thu, 05 Nov 2026 07:08:09 +0000");
    assert_eq!(TimeFormat::from_name("rfc3339nano"), Ok(TimeFormat::Rfc3339Nano));
    assert!(
        TimeFormat::from_name("Kitchen")
            .unwrap_err()
            .contains("StampMilli")
    );
}
