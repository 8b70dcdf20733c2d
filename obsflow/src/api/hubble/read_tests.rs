//! Flows to messages and back.

use std::sync::Arc;

use proptest::prelude::*;
use prost::Message as _;

use super::proto::observer::GetFlowsResponse;
use super::{message, read};
use crate::flow::samples;
use crate::model::flow::{
    Any, Body, Dns, DropReason, Emitter, Endpoint, Ethernet, EventType, Extensions, File, Flow, FlowType,
    Foreign, Http, HttpHeader, Icmp, Ip, IpTraceId, Kafka, L7Type, Layer4, Layer7, LostEvent, LostSource,
    NamedWorkload, NetworkInterface, NodeState, NodeStatus, Policy, Record, Response, Service, Tcp, TcpFlags,
    TracePoint, TrafficDirection, Tunnel, Udp, Verdict,
};

/// Over the wire and back.
fn there_and_back(response: &Response) -> Response {
    let bytes = message::response(response).encode_to_vec();
    let message = GetFlowsResponse::decode(bytes.as_slice()).unwrap();
    read::response(message).unwrap()
}

/// What a client prints is what the agent's node would have printed, byte for byte.
#[test]
fn every_row_comes_back_as_it_was() {
    for observation in samples::all() {
        let response = samples::response(&observation);
        let back = there_and_back(&response);
        let json = |response: &Response| serde_json::to_string(response).unwrap();
        assert_eq!(json(&back), json(&response));
        // A record without TTL has none in the message either.
        assert_eq!(back, response, "{observation:?}");
    }
}

#[test]
fn a_response_of_a_kind_to_come_is_passed_over() {
    let message = GetFlowsResponse {
        response_types: None,
        ..message::response(&samples::response(&samples::all()[0]))
    };
    assert_eq!(read::response(message), None);
}

/// Old and new emitters say things that are not on any list here.
#[test]
fn what_is_newer_than_this_is_no_error() {
    let mut message = message::response(&samples::response(&samples::all()[0]));
    let Some(super::proto::observer::get_flows_response::ResponseTypes::Flow(flow)) =
        &mut message.response_types
    else {
        panic!("a flow")
    };
    flow.verdict = 99;
    flow.r#type = 99;
    flow.drop_reason_desc = 250;
    flow.trace_observation_point = 77;
    flow.emitter = None;
    let Body::Flow(flow) = read::response(message).unwrap().body else {
        panic!("a flow")
    };
    assert_eq!((flow.verdict, flow.layer), (Verdict::Unknown, FlowType::Unknown));
    let json = serde_json::to_value(&flow).unwrap();
    assert_eq!(json["drop_reason_desc"], 250);
    assert_eq!(json["trace_observation_point"], 77);
    assert!(json.get("verdict").is_none());
}

fn word() -> impl Strategy<Value = Arc<str>> {
    "[a-z]{1,6}".prop_map(Arc::from)
}

fn maybe_word() -> impl Strategy<Value = Arc<str>> {
    "[a-z]{0,6}".prop_map(Arc::from)
}

fn words() -> impl Strategy<Value = Vec<Arc<str>>> {
    prop::collection::vec(word(), 0..3)
}

fn ip() -> impl Strategy<Value = Ip> {
    let v4 = any::<(Option<[u8; 4]>, Option<[u8; 4]>, bool, Option<[u8; 4]>)>();
    v4.prop_map(|(source, destination, encrypted, xlated)| Ip {
        source: source.map(Into::into),
        destination: destination.map(Into::into),
        encrypted,
        source_xlated: xlated.map(Into::into),
    })
}

fn layer4() -> impl Strategy<Value = Layer4> {
    (0..5_u8, any::<u16>(), any::<u16>(), 0..512_u16).prop_map(|(kind, a, b, flags)| {
        let ports = Udp {
            source_port: a,
            destination_port: b,
        };
        let icmp = Icmp {
            kind: a.into(),
            code: b.into(),
        };
        match kind {
            0 => Layer4::Tcp(Tcp {
                source_port: a,
                destination_port: b,
                flags: TcpFlags(flags),
            }),
            1 => Layer4::Udp(ports),
            2 => Layer4::Sctp(ports),
            3 => Layer4::Icmpv4(icmp),
            _ => Layer4::Icmpv6(icmp),
        }
    })
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    (
        any::<(u32, u32)>(),
        prop::option::of(word()),
        words(),
        prop::option::of(word()),
        prop::collection::vec((maybe_word(), maybe_word()), 0..3),
        prop::option::of(word()),
    )
        .prop_map(
            |((id, identity), namespace, labels, pod_name, workloads, cluster_name)| Endpoint {
                id,
                identity,
                namespace,
                labels,
                pod_name,
                workloads: workloads
                    .into_iter()
                    .map(|(name, kind)| NamedWorkload { name, kind })
                    .collect(),
                cluster_name,
            },
        )
}

fn layer7() -> impl Strategy<Value = Layer7> {
    (0..4_u8, 0..4_u8, any::<u64>(), maybe_word(), words(), 0..4096_u16).prop_map(
        |(kind, record, latency_ns, text, list, number)| {
            let kind =
                [L7Type::Unknown, L7Type::Request, L7Type::Response, L7Type::Sample][usize::from(kind)];
            let record = match record {
                0 => None,
                1 => Some(Record::Dns(Dns {
                    query: text.to_string(),
                    ips: vec!["10.0.0.1".parse().unwrap()],
                    ttl: (number != 0).then_some(number.into()),
                    cnames: list.clone(),
                    observation_source: "proxy".into(),
                    rcode: (kind != L7Type::Request).then_some(number),
                    qtypes: list.clone(),
                    rrtypes: list,
                })),
                2 => Some(Record::Http(Http {
                    code: number.into(),
                    method: text.clone(),
                    url: text.to_string(),
                    protocol: "HTTP/1.1".into(),
                    headers: vec![HttpHeader {
                        key: text.clone(),
                        value: text,
                    }],
                })),
                _ => Some(Record::Kafka(Kafka {
                    error_code: number.into(),
                    api_version: 3,
                    api_key: text.clone(),
                    correlation_id: -1,
                    topic: text,
                })),
            };
            Layer7 {
                kind,
                latency_ns,
                record,
            }
        },
    )
}

fn foreign() -> impl Strategy<Value = Foreign> {
    let policy = (maybe_word(), words(), any::<u64>()).prop_map(|(name, labels, revision)| Policy {
        namespace: name.clone(),
        kind: name.clone(),
        name,
        labels,
        revision,
    });
    let policies = prop::array::uniform4(prop::collection::vec(policy, 0..2));
    let extensions = prop::option::of((any::<bool>(), word()).prop_map(|(known, text)| Any {
        type_url: if known {
            "type.googleapis.com/google.protobuf.Struct".into()
        } else {
            "type.googleapis.com/somebody.Message".into()
        },
        value: if known {
            serde_json::json!({ "a": 1, "b": [true, null, 1.5, -2], "c": { "text": &*text } })
        } else {
            "AQID".into()
        },
    }));
    (
        (maybe_word(), words(), any::<(u32, bool, u32, u32)>()),
        (0..3_i32, 0..9_i32, 0..12_i32, 0..5_i32),
        (prop::option::of(ip()), prop::option::of(layer4()), any::<u32>()),
        (policies, extensions, words(), any::<(bool, bool, bool, u64)>()),
    )
        .prop_map(|(a, b, c, d)| {
            let (text, node_labels, (drop_reason, reply, policy_match_type, proxy_port)) = a;
            let (auth_type, trace_reason, debug_capture_point, sock_xlate_point) = b;
            let (ip, l4, vni) = c;
            let (policies, extensions, policy_log, (ethernet, tunnel, file, trace)) = d;
            Foreign {
                uuid: text.clone(),
                drop_reason,
                auth_type,
                ethernet: ethernet.then(|| Ethernet {
                    source: text.clone(),
                    destination: text.clone(),
                }),
                tunnel: tunnel.then_some(Tunnel {
                    protocol: 1,
                    ip,
                    l4,
                    vni,
                }),
                node_labels,
                reply,
                policy_match_type,
                trace_reason,
                file: file.then(|| File {
                    name: text.clone(),
                    line: vni,
                }),
                ip_trace_id: (trace != 0).then_some(IpTraceId {
                    trace_id: trace,
                    ip_option_type: vni,
                }),
                debug_capture_point,
                proxy_port,
                trace_id: text,
                sock_xlate_point,
                extensions,
                policies,
                policy_log,
            }
        })
}

prop_compose! {
    fn flow()(
        (seconds, nanos) in (0..4_000_000_000_i64, 0..1_000_000_000_i32),
        emitter in prop::option::of(word()),
        verdict in 0..8_usize,
        (ip, l4) in (prop::option::of(ip()), prop::option::of(layer4())),
        (source, destination) in (prop::option::of(endpoint()), prop::option::of(endpoint())),
        (layer, kind, sub_type, point) in (0..4_u8, any::<u8>(), any::<u8>(), 0..14_i32),
        (node_name, source_names, destination_names) in (maybe_word(), words(), words()),
        l7 in prop::option::of(layer7()),
        services in prop::array::uniform2(prop::option::of((maybe_word(), maybe_word()))),
        (direction, reason, is_reply, cookie) in (0..3_u8, any::<u8>(), any::<Option<bool>>(), any::<u64>()),
        interface in prop::option::of((any::<u32>(), prop::option::of(word()))),
        foreign in foreign(),
    ) -> Flow {
        let [source_service, destination_service] = services.map(|service| {
            service.map(|(name, namespace)| Service { name, namespace })
        });
        Flow {
            time: jiff::Timestamp::new(seconds, nanos).unwrap(),
            emitter: emitter.map(|name| Emitter { name: name.to_string().into(), version: "1".into() }),
            verdict: if verdict == 0 { Verdict::Unknown } else { Verdict::ALL[verdict - 1] },
            ip,
            l4,
            source,
            destination,
            layer: [FlowType::Unknown, FlowType::L3L4, FlowType::L7, FlowType::Sock][usize::from(layer)],
            node_name,
            source_names,
            destination_names,
            l7,
            event_type: EventType { kind, sub_type },
            source_service,
            destination_service,
            traffic_direction: [None, Some(TrafficDirection::Ingress), Some(TrafficDirection::Egress)][usize::from(direction)],
            trace_observation_point: (point != 0).then_some(TracePoint(point)),
            drop_reason_desc: DropReason::new(reason),
            is_reply,
            interface: interface.map(|(index, name)| NetworkInterface { index, name }),
            socket_cookie: cookie,
            cgroup_id: cookie / 3,
            summary: "in words".to_owned(),
            extensions: Extensions::default(),
            foreign: (foreign != Foreign::default()).then(|| Box::new(foreign)),
        }
    }
}

proptest! {
    /// Whoever made it: nothing that a message says gets lost.
    #[test]
    fn anybodys_flow_comes_back_as_it_was(flow in flow()) {
        let response = Response { node_name: flow.node_name.clone(), time: flow.time, body: Body::Flow(Box::new(flow)) };
        prop_assert_eq!(there_and_back(&response), response);
    }

    #[test]
    fn loss_comes_back_as_it_was(source in 0..4_usize, lost in any::<u64>(), cpu in any::<Option<i32>>(), at in 0..4_000_000_000_i64) {
        let sources = [
            LostSource::Unknown,
            LostSource::PerfEventRingBuffer,
            LostSource::ObserverEventsQueue,
            LostSource::HubbleRingBuffer,
        ];
        let time = jiff::Timestamp::new(at, 5).unwrap();
        let response = Response {
            body: Body::LostEvents(LostEvent { source: sources[source], num_events_lost: lost, cpu, first: Some(time), last: None }),
            node_name: "k8s1".into(),
            time,
        };
        prop_assert_eq!(there_and_back(&response), response);
    }

    #[test]
    fn words_about_nodes_come_back_as_they_were(state in 0..5_usize, node_names in words(), message in maybe_word()) {
        let states = [
            NodeState::UnknownNodeState,
            NodeState::NodeConnected,
            NodeState::NodeUnavailable,
            NodeState::NodeGone,
            NodeState::NodeError,
        ];
        let response = Response {
            body: Body::NodeStatus(NodeStatus { state_change: states[state], node_names, message }),
            node_name: "relay".into(),
            time: jiff::Timestamp::new(7, 5).unwrap(),
        };
        prop_assert_eq!(there_and_back(&response), response);
    }
}
