//! Flows as messages.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use prost::Message as _;
use prost_types::value::Kind;
use prost_types::{Any, ListValue, Struct, Value};

use super::proto::{flow, observer, relay};
use crate::api::convert::stamp;
use crate::model::flow as model;

/// Type of [`flow::Flow::extensions`].
const STRUCT: &str = "type.googleapis.com/google.protobuf.Struct";

/// A flow, a loss or a word about nodes, as `GetFlows` sends it.
#[must_use]
pub fn response(response: &model::Response) -> observer::GetFlowsResponse {
    use observer::get_flows_response::ResponseTypes;
    let body = match &response.body {
        model::Body::Flow(flow) => ResponseTypes::Flow(Box::new(flow_message(flow))),
        model::Body::LostEvents(lost) => ResponseTypes::LostEvents(lost_message(lost)),
        model::Body::NodeStatus(status) => ResponseTypes::NodeStatus(relay::NodeStatusEvent {
            state_change: status.state_change as i32,
            node_names: texts(&status.node_names),
            message: status.message.as_ref().to_owned(),
        }),
    };
    observer::GetFlowsResponse {
        node_name: response.node_name.as_ref().to_owned(),
        time: moment(response.time),
        response_types: Some(body),
    }
}

fn moment(time: jiff::Timestamp) -> Option<prost_types::Timestamp> {
    (time != model::NO_TIME).then(|| stamp(time))
}

fn lost_message(lost: &model::LostEvent) -> flow::LostEvent {
    flow::LostEvent {
        source: lost.source as i32,
        num_events_lost: lost.num_events_lost,
        cpu: lost.cpu,
        first: lost.first.map(stamp),
        last: lost.last.map(stamp),
    }
}

#[expect(
    deprecated,
    reason = "older clients read the numbers that newer ones have names for"
)]
fn flow_message(flow: &model::Flow) -> flow::Flow {
    let reason = flow.drop_reason_desc.as_ref().map_or(0, |reason| reason.number);
    let none = model::Foreign::default();
    let foreign = flow.foreign.as_deref().unwrap_or(&none);
    let is_own = flow.extensions.is_some();
    let [
        egress_allowed_by,
        ingress_allowed_by,
        egress_denied_by,
        ingress_denied_by,
    ] = foreign
        .policies
        .each_ref()
        .map(|of| of.iter().map(policy).collect());
    flow::Flow {
        time: moment(flow.time),
        uuid: foreign.uuid.as_ref().to_owned(),
        emitter: flow.emitter.as_ref().map(|emitter| flow::Emitter {
            name: emitter.name.clone().into_owned(),
            version: emitter.version.clone().into_owned(),
        }),
        verdict: flow.verdict as i32,
        drop_reason: if is_own {
            reason.into()
        } else {
            foreign.drop_reason
        },
        auth_type: foreign.auth_type,
        ethernet: foreign.ethernet.as_ref().map(|ethernet| flow::Ethernet {
            source: ethernet.source.as_ref().to_owned(),
            destination: ethernet.destination.as_ref().to_owned(),
        }),
        ip: flow.ip.map(ip),
        l4: flow.l4.map(layer4),
        source: flow.source.as_ref().map(endpoint),
        destination: flow.destination.as_ref().map(endpoint),
        r#type: flow.layer as i32,
        node_name: flow.node_name.as_ref().to_owned(),
        source_names: texts(&flow.source_names),
        destination_names: texts(&flow.destination_names),
        l7: flow.l7.as_ref().map(layer7),
        reply: if is_own {
            flow.is_reply.unwrap_or_default()
        } else {
            foreign.reply
        },
        event_type: Some(flow::CiliumEventType {
            r#type: i32::from(flow.event_type.kind),
            sub_type: i32::from(flow.event_type.sub_type),
        }),
        source_service: flow.source_service.as_ref().map(service),
        destination_service: flow.destination_service.as_ref().map(service),
        traffic_direction: flow.traffic_direction.map_or(0, |direction| direction as i32),
        policy_match_type: foreign.policy_match_type,
        trace_observation_point: flow.trace_observation_point.map_or(0, |point| point.0),
        trace_reason: foreign.trace_reason,
        file: foreign.file.as_ref().map(|file| flow::FileInfo {
            name: file.name.as_ref().to_owned(),
            line: file.line,
        }),
        ip_trace_id: foreign.ip_trace_id.map(|trace| flow::IpTraceId {
            trace_id: trace.trace_id,
            ip_option_type: trace.ip_option_type,
        }),
        drop_reason_desc: i32::from(reason),
        is_reply: flow.is_reply,
        debug_capture_point: foreign.debug_capture_point,
        interface: flow.interface.as_ref().map(|interface| flow::NetworkInterface {
            index: interface.index,
            name: text(interface.name.as_ref()),
        }),
        proxy_port: foreign.proxy_port,
        trace_context: (!foreign.trace_id.is_empty()).then(|| flow::TraceContext {
            parent: Some(flow::TraceParent {
                trace_id: foreign.trace_id.as_ref().to_owned(),
            }),
        }),
        sock_xlate_point: foreign.sock_xlate_point,
        socket_cookie: flow.socket_cookie,
        cgroup_id: flow.cgroup_id,
        node_labels: texts(&foreign.node_labels),
        tunnel: foreign.tunnel.as_ref().map(|tunnel| flow::Tunnel {
            protocol: tunnel.protocol,
            ip: tunnel.ip.map(ip),
            l4: tunnel.l4.map(layer4),
            vni: tunnel.vni,
        }),
        summary: flow.summary.clone(),
        extensions: match &foreign.extensions {
            Some(extensions) => any(extensions),
            None => is_own.then(|| extensions(&flow.extensions)).flatten(),
        },
        egress_allowed_by,
        ingress_allowed_by,
        egress_denied_by,
        ingress_denied_by,
        policy_log: texts(&foreign.policy_log),
    }
}

fn policy(policy: &model::Policy) -> flow::Policy {
    flow::Policy {
        name: policy.name.as_ref().to_owned(),
        namespace: policy.namespace.as_ref().to_owned(),
        labels: texts(&policy.labels),
        revision: policy.revision,
        kind: policy.kind.as_ref().to_owned(),
    }
}

fn text(text: Option<&Arc<str>>) -> String {
    text.map_or_else(String::new, |text| text.as_ref().to_owned())
}

fn texts(texts: &[Arc<str>]) -> Vec<String> {
    texts.iter().map(|text| text.as_ref().to_owned()).collect()
}

fn ip(ip: model::Ip) -> flow::Ip {
    let address = |ip: Option<IpAddr>| ip.map_or_else(String::new, |ip| ip.to_string());
    flow::Ip {
        source: address(ip.source),
        destination: address(ip.destination),
        ip_version: ip.version().map_or(0, |version| version as i32),
        encrypted: ip.encrypted,
        source_xlated: address(ip.source_xlated),
    }
}

fn layer4(l4: model::Layer4) -> flow::Layer4 {
    use flow::layer4::Protocol;
    let protocol = match l4 {
        model::Layer4::Tcp(tcp) => Protocol::Tcp(flow::Tcp {
            source_port: tcp.source_port.into(),
            destination_port: tcp.destination_port.into(),
            flags: (!tcp.flags.is_empty()).then(|| flags(tcp.flags)),
        }),
        model::Layer4::Udp(udp) => Protocol::Udp(flow::Udp {
            source_port: udp.source_port.into(),
            destination_port: udp.destination_port.into(),
        }),
        model::Layer4::Sctp(sctp) => Protocol::Sctp(flow::Sctp {
            source_port: sctp.source_port.into(),
            destination_port: sctp.destination_port.into(),
        }),
        model::Layer4::Icmpv4(icmp) => Protocol::IcmPv4(flow::IcmPv4 {
            r#type: icmp.kind,
            code: icmp.code,
        }),
        model::Layer4::Icmpv6(icmp) => Protocol::IcmPv6(flow::IcmPv6 {
            r#type: icmp.kind,
            code: icmp.code,
        }),
    };
    flow::Layer4 {
        protocol: Some(protocol),
    }
}

/// Bits of a header as the flags of a message.
#[must_use]
pub fn flags(flags: model::TcpFlags) -> flow::TcpFlags {
    let has = |bit: u8| flags.0 & (1 << bit) != 0;
    flow::TcpFlags {
        fin: has(0),
        syn: has(1),
        rst: has(2),
        psh: has(3),
        ack: has(4),
        urg: has(5),
        ece: has(6),
        cwr: has(7),
        ns: has(8),
    }
}

fn endpoint(endpoint: &model::Endpoint) -> flow::Endpoint {
    let workloads = endpoint.workloads.iter();
    flow::Endpoint {
        id: endpoint.id,
        identity: endpoint.identity,
        namespace: text(endpoint.namespace.as_ref()),
        labels: texts(&endpoint.labels),
        pod_name: text(endpoint.pod_name.as_ref()),
        workloads: workloads
            .map(|workload| flow::Workload {
                name: workload.name.as_ref().to_owned(),
                kind: workload.kind.to_string(),
            })
            .collect(),
        cluster_name: text(endpoint.cluster_name.as_ref()),
    }
}

fn service(service: &model::Service) -> flow::Service {
    flow::Service {
        name: service.name.as_ref().to_owned(),
        namespace: service.namespace.as_ref().to_owned(),
    }
}

fn layer7(l7: &model::Layer7) -> flow::Layer7 {
    use flow::layer7::Record;
    let record = l7.record.as_ref().map(|record| match record {
        model::Record::Dns(dns) => Record::Dns(flow::Dns {
            query: dns.query.clone(),
            ips: dns.ips.iter().map(IpAddr::to_string).collect(),
            ttl: dns.ttl.unwrap_or_default(),
            cnames: texts(&dns.cnames),
            observation_source: dns.observation_source.clone().into_owned(),
            rcode: dns.rcode.unwrap_or_default().into(),
            qtypes: texts(&dns.qtypes),
            rrtypes: texts(&dns.rrtypes),
        }),
        model::Record::Http(http) => Record::Http(flow::Http {
            code: http.code,
            method: http.method.as_ref().to_owned(),
            url: http.url.clone(),
            protocol: http.protocol.clone().into_owned(),
            headers: http
                .headers
                .iter()
                .map(|header| flow::HttpHeader {
                    key: header.key.as_ref().to_owned(),
                    value: header.value.as_ref().to_owned(),
                })
                .collect(),
        }),
        model::Record::Kafka(kafka) => Record::Kafka(flow::Kafka {
            error_code: kafka.error_code,
            api_version: kafka.api_version,
            api_key: kafka.api_key.as_ref().to_owned(),
            correlation_id: kafka.correlation_id,
            topic: kafka.topic.as_ref().to_owned(),
        }),
    });
    flow::Layer7 {
        r#type: l7.kind as i32,
        latency_ns: l7.latency_ns,
        record,
    }
}

/// Another emitter's extensions, as they came.
fn any(any: &model::Any) -> Option<Any> {
    let value = match &any.value {
        serde_json::Value::String(bytes) => STANDARD.decode(bytes).ok()?,
        fields => match kind(fields.clone()) {
            Kind::StructValue(fields) => fields.encode_to_vec(),
            _ => return None,
        },
    };
    Some(Any {
        type_url: any.type_url.as_ref().to_owned(),
        value,
    })
}

/// The same keys and values as in JSON.
fn extensions(extensions: &model::Extensions) -> Option<Any> {
    // Plain data has no key that is no text, which is all that could fail.
    let value = serde_json::to_value(extensions).ok()?;
    let Kind::StructValue(value) = kind(value) else {
        return None;
    };
    Some(Any {
        type_url: STRUCT.to_owned(),
        value: value.encode_to_vec(),
    })
}

fn kind(value: serde_json::Value) -> Kind {
    use serde_json::Value as Json;
    match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(is) => Kind::BoolValue(is),
        // A Struct has no other numbers: nanoseconds of more than 104 days lose their last digits.
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(values) => Kind::ListValue(ListValue {
            values: values.into_iter().map(wrapped).collect(),
        }),
        Json::Object(fields) => Kind::StructValue(Struct {
            fields: fields
                .into_iter()
                .map(|(key, value)| (key, wrapped(value)))
                .collect(),
        }),
    }
}

fn wrapped(value: serde_json::Value) -> Value {
    Value {
        kind: Some(kind(value)),
    }
}
