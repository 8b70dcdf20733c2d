//! Messages as flows: obsflow's own come back as they were, of others everything that is printed or filtered.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use prost::Message as _;
use prost_types::value::Kind;
use prost_types::{Any, Struct};

use super::proto::{flow, observer, relay};
use crate::model::flow as model;

/// Type of obsflow's extensions.
const STRUCT: &str = "google.protobuf.Struct";

/// What `GetFlows` sent; `None` when it is of a kind that this version does not know.
#[must_use]
pub fn response(message: observer::GetFlowsResponse) -> Option<model::Response> {
    use observer::get_flows_response::ResponseTypes;
    let node_name = Arc::from(message.node_name);
    let (body, own_time) = match message.response_types? {
        ResponseTypes::Flow(message) => {
            let flow = read_flow(*message);
            let time = flow.time;
            (model::Body::Flow(Box::new(flow)), time)
        }
        ResponseTypes::NodeStatus(message) => (model::Body::NodeStatus(node_status(message)), model::NO_TIME),
        ResponseTypes::LostEvents(message) => (model::Body::LostEvents(lost(message)), model::NO_TIME),
    };
    Some(model::Response {
        body,
        node_name,
        time: time(message.time).unwrap_or(own_time),
    })
}

fn time(stamp: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    let stamp = stamp?;
    Timestamp::new(stamp.seconds, stamp.nanos).ok()
}

fn lost(message: flow::LostEvent) -> model::LostEvent {
    model::LostEvent {
        source: match message.source {
            1 => model::LostSource::PerfEventRingBuffer,
            2 => model::LostSource::ObserverEventsQueue,
            3 => model::LostSource::HubbleRingBuffer,
            _ => model::LostSource::Unknown,
        },
        num_events_lost: message.num_events_lost,
        cpu: message.cpu,
        first: time(message.first),
        last: time(message.last),
    }
}

fn node_status(message: relay::NodeStatusEvent) -> model::NodeStatus {
    model::NodeStatus {
        state_change: match message.state_change {
            1 => model::NodeState::NodeConnected,
            2 => model::NodeState::NodeUnavailable,
            3 => model::NodeState::NodeGone,
            4 => model::NodeState::NodeError,
            _ => model::NodeState::UnknownNodeState,
        },
        node_names: texts(message.node_names),
        message: message.message.into(),
    }
}

fn read_flow(message: flow::Flow) -> model::Flow {
    let is_own = message
        .emitter
        .as_ref()
        .is_some_and(|emitter| emitter.name == model::EMITTER.name);
    let foreign = foreign(&message, is_own);
    let (extensions, others) = extensions(message.extensions, is_own);
    let foreign = model::Foreign {
        extensions: others,
        ..foreign
    };
    let event_type = message.event_type.unwrap_or_default();
    model::Flow {
        time: time(message.time).unwrap_or(model::NO_TIME),
        emitter: message.emitter.map(|emitter| model::Emitter {
            name: emitter.name.into(),
            version: emitter.version.into(),
        }),
        verdict: verdict(message.verdict),
        ip: message.ip.map(ip),
        l4: message.l4.and_then(layer4),
        source: message.source.map(endpoint),
        destination: message.destination.map(endpoint),
        layer: match message.r#type {
            1 => model::FlowType::L3L4,
            2 => model::FlowType::L7,
            3 => model::FlowType::Sock,
            _ => model::FlowType::Unknown,
        },
        node_name: message.node_name.into(),
        source_names: texts(message.source_names),
        destination_names: texts(message.destination_names),
        l7: message.l7.map(|l7| layer7(l7, &extensions)),
        event_type: model::EventType {
            kind: byte(event_type.r#type),
            sub_type: byte(event_type.sub_type),
        },
        source_service: message.source_service.map(service),
        destination_service: message.destination_service.map(service),
        traffic_direction: match message.traffic_direction {
            1 => Some(model::TrafficDirection::Ingress),
            2 => Some(model::TrafficDirection::Egress),
            _ => None,
        },
        trace_observation_point: (message.trace_observation_point != 0)
            .then_some(model::TracePoint(message.trace_observation_point)),
        drop_reason_desc: model::DropReason::new(byte(message.drop_reason_desc)),
        is_reply: message.is_reply,
        interface: message.interface.map(|interface| model::NetworkInterface {
            index: interface.index,
            name: text(interface.name),
        }),
        socket_cookie: message.socket_cookie,
        cgroup_id: message.cgroup_id,
        summary: message.summary,
        extensions,
        foreign: (foreign != model::Foreign::default()).then(|| Box::new(foreign)),
    }
}

/// What obsflow's own flows do not have. What its messages say twice for older clients is left out.
#[expect(
    deprecated,
    reason = "older emitters give numbers that newer ones have names for"
)]
fn foreign(message: &flow::Flow, is_own: bool) -> model::Foreign {
    let policies = |of: &[flow::Policy]| of.iter().map(policy).collect::<Vec<_>>();
    let parent = message
        .trace_context
        .as_ref()
        .and_then(|trace| trace.parent.as_ref());
    model::Foreign {
        uuid: message.uuid.as_str().into(),
        drop_reason: if is_own { 0 } else { message.drop_reason },
        auth_type: message.auth_type,
        ethernet: message.ethernet.as_ref().map(|ethernet| model::Ethernet {
            source: ethernet.source.as_str().into(),
            destination: ethernet.destination.as_str().into(),
        }),
        tunnel: message.tunnel.as_ref().map(|tunnel| model::Tunnel {
            protocol: tunnel.protocol,
            ip: tunnel.ip.clone().map(ip),
            l4: tunnel.l4.and_then(layer4),
            vni: tunnel.vni,
        }),
        node_labels: texts(message.node_labels.clone()),
        reply: message.reply && !is_own,
        policy_match_type: message.policy_match_type,
        trace_reason: message.trace_reason,
        file: message.file.as_ref().map(|file| model::File {
            name: file.name.as_str().into(),
            line: file.line,
        }),
        ip_trace_id: message.ip_trace_id.map(|trace| model::IpTraceId {
            trace_id: trace.trace_id,
            ip_option_type: trace.ip_option_type,
        }),
        debug_capture_point: message.debug_capture_point,
        proxy_port: message.proxy_port,
        trace_id: parent.map_or("", |parent| parent.trace_id.as_str()).into(),
        sock_xlate_point: message.sock_xlate_point,
        extensions: None,
        policies: [
            policies(&message.egress_allowed_by),
            policies(&message.ingress_allowed_by),
            policies(&message.egress_denied_by),
            policies(&message.ingress_denied_by),
        ],
        policy_log: texts(message.policy_log.clone()),
    }
}

fn policy(message: &flow::Policy) -> model::Policy {
    model::Policy {
        name: message.name.as_str().into(),
        namespace: message.namespace.as_str().into(),
        labels: texts(message.labels.clone()),
        revision: message.revision,
        kind: message.kind.as_str().into(),
    }
}

fn verdict(number: i32) -> model::Verdict {
    let known = model::Verdict::ALL.into_iter();
    known
        .into_iter()
        .find(|verdict| *verdict as i32 == number)
        .unwrap_or(model::Verdict::Unknown)
}

/// Numbers of Cilium's that fit a byte in its data path.
fn byte(number: i32) -> u8 {
    u8::try_from(number).unwrap_or_default()
}

fn text(text: String) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| text.into())
}

fn texts(texts: Vec<String>) -> Vec<Arc<str>> {
    texts.into_iter().map(Arc::from).collect()
}

fn ip(message: flow::Ip) -> model::Ip {
    let address = |text: &str| text.parse::<IpAddr>().ok();
    model::Ip {
        source: address(&message.source),
        destination: address(&message.destination),
        encrypted: message.encrypted,
        source_xlated: address(&message.source_xlated),
    }
}

fn port(number: u32) -> u16 {
    u16::try_from(number).unwrap_or_default()
}

fn layer4(message: flow::Layer4) -> Option<model::Layer4> {
    use flow::layer4::Protocol;
    let icmp = |kind, code| model::Icmp { kind, code };
    let ports = |source, destination| model::Udp {
        source_port: port(source),
        destination_port: port(destination),
    };
    Some(match message.protocol? {
        Protocol::Tcp(tcp) => model::Layer4::Tcp(model::Tcp {
            source_port: port(tcp.source_port),
            destination_port: port(tcp.destination_port),
            flags: tcp.flags.map(flags).unwrap_or_default(),
        }),
        Protocol::Udp(udp) => model::Layer4::Udp(ports(udp.source_port, udp.destination_port)),
        Protocol::Sctp(sctp) => model::Layer4::Sctp(ports(sctp.source_port, sctp.destination_port)),
        Protocol::IcmPv4(message) => model::Layer4::Icmpv4(icmp(message.r#type, message.code)),
        Protocol::IcmPv6(message) => model::Layer4::Icmpv6(icmp(message.r#type, message.code)),
    })
}

/// Flags of a message, in the bits of a header.
pub fn flags(flags: flow::TcpFlags) -> model::TcpFlags {
    let bits = [
        flags.fin, flags.syn, flags.rst, flags.psh, flags.ack, flags.urg, flags.ece, flags.cwr, flags.ns,
    ];
    let set = bits.iter().enumerate().filter(|(_, set)| **set);
    model::TcpFlags(set.fold(0, |flags, (bit, _)| flags | 1 << bit))
}

fn endpoint(message: flow::Endpoint) -> model::Endpoint {
    let workloads = message.workloads.into_iter();
    model::Endpoint {
        id: message.id,
        identity: message.identity,
        namespace: text(message.namespace),
        labels: texts(message.labels),
        pod_name: text(message.pod_name),
        workloads: workloads
            .map(|workload| model::NamedWorkload {
                name: workload.name.into(),
                kind: workload.kind.into(),
            })
            .collect(),
        cluster_name: text(message.cluster_name),
    }
}

fn service(message: flow::Service) -> model::Service {
    model::Service {
        name: message.name.into(),
        namespace: message.namespace.into(),
    }
}

fn layer7(message: flow::Layer7, extensions: &model::Extensions) -> model::Layer7 {
    use flow::layer7::Record;
    let kind = match message.r#type {
        1 => model::L7Type::Request,
        2 => model::L7Type::Response,
        3 => model::L7Type::Sample,
        _ => model::L7Type::Unknown,
    };
    let record = message.record.map(|record| match record {
        Record::Dns(message) => model::Record::Dns(dns(message, kind, extensions)),
        Record::Http(http) => model::Record::Http(model::Http {
            code: http.code,
            method: http.method.into(),
            url: http.url,
            protocol: http.protocol.into(),
            headers: http
                .headers
                .into_iter()
                .map(|header| model::HttpHeader {
                    key: header.key.into(),
                    value: header.value.into(),
                })
                .collect(),
        }),
        Record::Kafka(kafka) => model::Record::Kafka(model::Kafka {
            error_code: kafka.error_code,
            api_version: kafka.api_version,
            api_key: kafka.api_key.into(),
            correlation_id: kafka.correlation_id,
            topic: kafka.topic.into(),
        }),
    });
    model::Layer7 {
        kind,
        latency_ns: message.latency_ns,
        record,
    }
}

fn dns(message: flow::Dns, kind: model::L7Type, extensions: &model::Extensions) -> model::Dns {
    // A message cannot tell 0 from nothing: a question has no code, nor has one that nobody answered.
    let unanswered = ["unanswered", "refused", "dropped"];
    let has_code = kind != model::L7Type::Request
        && !extensions
            .outcome
            .as_deref()
            .is_some_and(|outcome| unanswered.contains(&outcome));
    model::Dns {
        query: message.query,
        ips: message.ips.iter().filter_map(|ip| ip.parse().ok()).collect(),
        ttl: (message.ttl != 0).then_some(message.ttl),
        cnames: texts(message.cnames),
        observation_source: message.observation_source.into(),
        rcode: has_code.then(|| u16::try_from(message.rcode).unwrap_or(u16::MAX)),
        qtypes: texts(message.qtypes),
        rrtypes: texts(message.rrtypes),
    }
}

/// obsflow's own, or whatever another emitter says.
fn extensions(any: Option<Any>, is_own: bool) -> (model::Extensions, Option<model::Any>) {
    let Some(any) = any else {
        return Default::default();
    };
    let is_struct = any.type_url.rsplit('/').next() == Some(STRUCT);
    let fields = is_struct
        .then(|| Struct::decode(any.value.as_slice()).ok())
        .flatten();
    let value = match fields {
        Some(fields) => object(fields),
        None => serde_json::Value::String(STANDARD.encode(&any.value)),
    };
    if is_own && let Ok(own) = serde_json::from_value(value.clone()) {
        return (own, None);
    }
    let foreign = model::Any {
        type_url: any.type_url.into(),
        value,
    };
    (model::Extensions::default(), Some(foreign))
}

fn object(fields: Struct) -> serde_json::Value {
    let fields = fields.fields.into_iter();
    fields.map(|(key, value)| (key, json(value.kind))).collect()
}

/// Deeper than prost reads a message, a value cannot be.
fn json(kind: Option<Kind>) -> serde_json::Value {
    use serde_json::Value as Json;
    match kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(is)) => Json::Bool(is),
        Some(Kind::NumberValue(number)) => number_of(number),
        Some(Kind::StringValue(text)) => Json::String(text),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(|value| json(value.kind)).collect(),
        Some(Kind::StructValue(fields)) => object(fields),
    }
}

/// A Struct has floating numbers only; JSON writes those without a fraction as integers.
fn number_of(number: f64) -> serde_json::Value {
    /// 2 to the 64th.
    const END: f64 = 18_446_744_073_709_551_616.0;
    if number.fract() == 0.0 && (0.0..END).contains(&number) {
        return (number as u64).into();
    }
    if number.fract() == 0.0 && number.abs() < 9.0e18 {
        return (number as i64).into();
    }
    serde_json::Number::from_f64(number).map_or(serde_json::Value::Null, serde_json::Value::Number)
}
