//! Flows as messages.

use std::net::IpAddr;
use std::sync::Arc;

use prost::Message as _;
use prost_types::value::Kind;
use prost_types::{Any, ListValue, Struct, Value};

use super::proto::{flow, observer};
use crate::api::convert::stamp;
use crate::model::flow as model;

/// Type of [`flow::Flow::extensions`].
const STRUCT: &str = "type.googleapis.com/google.protobuf.Struct";

/// A flow or a loss, as `GetFlows` sends it.
#[must_use]
pub fn response(response: &model::Response) -> observer::GetFlowsResponse {
    use observer::get_flows_response::ResponseTypes;
    let body = match &response.body {
        model::Body::Flow(flow) => ResponseTypes::Flow(Box::new(flow_message(flow))),
        model::Body::LostEvents(lost) => ResponseTypes::LostEvents(lost_message(lost)),
    };
    observer::GetFlowsResponse {
        node_name: response.node_name.as_ref().to_owned(),
        time: Some(stamp(response.time)),
        response_types: Some(body),
    }
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
    flow::Flow {
        time: Some(stamp(flow.time)),
        uuid: String::new(),
        emitter: Some(flow::Emitter {
            name: flow.emitter.name.to_owned(),
            version: flow.emitter.version.to_owned(),
        }),
        verdict: flow.verdict as i32,
        drop_reason: u32::from(reason),
        ethernet: None,
        ip: flow.ip.map(ip),
        l4: flow.l4.map(layer4),
        source: flow.source.as_ref().map(endpoint),
        destination: flow.destination.as_ref().map(endpoint),
        r#type: flow.layer as i32,
        node_name: flow.node_name.as_ref().to_owned(),
        source_names: texts(&flow.source_names),
        destination_names: texts(&flow.destination_names),
        l7: flow.l7.as_ref().map(layer7),
        reply: flow.is_reply.unwrap_or_default(),
        event_type: Some(flow::CiliumEventType {
            r#type: i32::from(flow.event_type.kind),
            sub_type: i32::from(flow.event_type.sub_type),
        }),
        source_service: flow.source_service.as_ref().map(service),
        destination_service: flow.destination_service.as_ref().map(service),
        traffic_direction: flow.traffic_direction.map_or(0, |direction| direction as i32),
        policy_match_type: 0,
        trace_observation_point: flow.trace_observation_point.map_or(0, |point| point as i32),
        drop_reason_desc: i32::from(reason),
        is_reply: flow.is_reply,
        interface: flow.interface.as_ref().map(|interface| flow::NetworkInterface {
            index: interface.index,
            name: text(interface.name.as_ref()),
        }),
        proxy_port: 0,
        trace_context: None,
        sock_xlate_point: 0,
        socket_cookie: flow.socket_cookie,
        cgroup_id: flow.cgroup_id,
        node_labels: Vec::new(),
        tunnel: None,
        summary: flow.summary.clone(),
        extensions: extensions(&flow.extensions),
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
        encrypted: false,
        source_xlated: String::new(),
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
    };
    flow::Layer4 {
        protocol: Some(protocol),
    }
}

fn flags(flags: model::TcpFlags) -> flow::TcpFlags {
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
        ns: false,
    }
}

fn endpoint(endpoint: &model::Endpoint) -> flow::Endpoint {
    let workloads = endpoint.workloads.iter();
    flow::Endpoint {
        id: 0,
        identity: endpoint.identity,
        namespace: text(endpoint.namespace.as_ref()),
        labels: Vec::new(),
        pod_name: text(endpoint.pod_name.as_ref()),
        workloads: workloads
            .map(|workload| flow::Workload {
                name: workload.name.as_ref().to_owned(),
                kind: workload.kind.to_string(),
            })
            .collect(),
        cluster_name: String::new(),
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
    let record = match &l7.record {
        model::Record::Dns(dns) => Record::Dns(flow::Dns {
            query: dns.query.clone(),
            ips: dns.ips.iter().map(IpAddr::to_string).collect(),
            ttl: dns.ttl.unwrap_or_default(),
            cnames: texts(&dns.cnames),
            observation_source: dns.observation_source.to_owned(),
            rcode: dns.rcode.unwrap_or_default().into(),
            qtypes: texts(&dns.qtypes),
            rrtypes: texts(&dns.rrtypes),
        }),
        model::Record::Http(http) => Record::Http(flow::Http {
            code: http.code,
            method: http.method.as_ref().to_owned(),
            url: http.url.clone(),
            protocol: http.protocol.to_owned(),
            headers: Vec::new(),
        }),
    };
    flow::Layer7 {
        r#type: l7.kind as i32,
        latency_ns: l7.latency_ns,
        record: Some(record),
    }
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
