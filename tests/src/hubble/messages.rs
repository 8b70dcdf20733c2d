//! Messages of Hubble's API, written from the numbers of its contract and from nothing of obsflow's: what obsflow gets wrong in its
//! own `.proto` files does not fit these.

use prost_types::{Any, FieldMask, Timestamp};

/// `observer.GetFlowsRequest`
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetFlowsRequest {
    #[prost(uint64, tag = "1")]
    pub number: u64,
    #[prost(bool, tag = "3")]
    pub follow: bool,
    #[prost(message, repeated, tag = "5")]
    pub blacklist: Vec<FlowFilter>,
    #[prost(message, repeated, tag = "6")]
    pub whitelist: Vec<FlowFilter>,
    #[prost(message, optional, tag = "7")]
    pub since: Option<Timestamp>,
    #[prost(message, optional, tag = "8")]
    pub until: Option<Timestamp>,
    #[prost(bool, tag = "9")]
    pub first: bool,
    #[prost(message, optional, tag = "10")]
    pub field_mask: Option<FieldMask>,
}

/// `flow.FlowFilter`, the fields that scenarios use.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FlowFilter {
    #[prost(string, repeated, tag = "1")]
    pub source_ip: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub source_pod: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub destination_ip: Vec<String>,
    #[prost(int32, repeated, tag = "5")]
    pub verdict: Vec<i32>,
    #[prost(string, repeated, tag = "12")]
    pub protocol: Vec<String>,
    #[prost(string, repeated, tag = "14")]
    pub destination_port: Vec<String>,
    #[prost(string, repeated, tag = "18")]
    pub dns_query: Vec<String>,
    #[prost(uint32, repeated, tag = "19")]
    pub source_identity: Vec<u32>,
    #[prost(string, repeated, tag = "24")]
    pub node_name: Vec<String>,
}

/// `observer.GetFlowsResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetFlowsResponse {
    #[prost(message, optional, tag = "1")]
    pub flow: Option<Flow>,
    #[prost(message, optional, tag = "3")]
    pub lost_events: Option<LostEvent>,
    #[prost(string, tag = "1000")]
    pub node_name: String,
    #[prost(message, optional, tag = "1001")]
    pub time: Option<Timestamp>,
}

/// `flow.LostEvent`
#[derive(Clone, PartialEq, prost::Message)]
pub struct LostEvent {
    #[prost(int32, tag = "1")]
    pub source: i32,
    #[prost(uint64, tag = "2")]
    pub num_events_lost: u64,
    #[prost(message, optional, tag = "4")]
    pub first: Option<Timestamp>,
    #[prost(message, optional, tag = "5")]
    pub last: Option<Timestamp>,
}

/// `flow.Flow`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Flow {
    #[prost(message, optional, tag = "1")]
    pub time: Option<Timestamp>,
    #[prost(int32, tag = "2")]
    pub verdict: i32,
    #[prost(message, optional, tag = "5")]
    pub ip: Option<Ip>,
    #[prost(message, optional, tag = "6")]
    pub l4: Option<Layer4>,
    #[prost(message, optional, tag = "8")]
    pub source: Option<Endpoint>,
    #[prost(message, optional, tag = "9")]
    pub destination: Option<Endpoint>,
    #[prost(int32, tag = "10")]
    pub kind: i32,
    #[prost(string, tag = "11")]
    pub node_name: String,
    #[prost(string, repeated, tag = "14")]
    pub destination_names: Vec<String>,
    #[prost(message, optional, tag = "15")]
    pub l7: Option<Layer7>,
    #[prost(message, optional, tag = "19")]
    pub event_type: Option<EventType>,
    #[prost(int32, tag = "22")]
    pub traffic_direction: i32,
    #[prost(message, optional, tag = "26")]
    pub is_reply: Option<bool>,
    #[prost(message, optional, tag = "41")]
    pub emitter: Option<Emitter>,
    #[prost(string, tag = "100000")]
    pub summary: String,
    #[prost(message, optional, tag = "150000")]
    pub extensions: Option<Any>,
}

/// `flow.IP`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Ip {
    #[prost(string, tag = "1")]
    pub source: String,
    #[prost(string, tag = "2")]
    pub destination: String,
    #[prost(int32, tag = "3")]
    pub version: i32,
}

/// `flow.Layer4`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Layer4 {
    #[prost(message, optional, tag = "1")]
    pub tcp: Option<Ports>,
    #[prost(message, optional, tag = "2")]
    pub udp: Option<Ports>,
}

/// `flow.TCP`, `flow.UDP`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Ports {
    #[prost(uint32, tag = "1")]
    pub source: u32,
    #[prost(uint32, tag = "2")]
    pub destination: u32,
}

/// `flow.Endpoint`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Endpoint {
    #[prost(uint32, tag = "2")]
    pub identity: u32,
    #[prost(string, tag = "3")]
    pub namespace: String,
    #[prost(string, tag = "5")]
    pub pod_name: String,
}

/// `flow.Layer7`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Layer7 {
    #[prost(int32, tag = "1")]
    pub kind: i32,
    #[prost(message, optional, tag = "100")]
    pub dns: Option<Dns>,
}

/// `flow.DNS`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Dns {
    #[prost(string, tag = "1")]
    pub query: String,
    #[prost(string, repeated, tag = "2")]
    pub ips: Vec<String>,
    #[prost(uint32, tag = "6")]
    pub rcode: u32,
    #[prost(string, repeated, tag = "7")]
    pub qtypes: Vec<String>,
}

/// `flow.CiliumEventType`
#[derive(Clone, PartialEq, prost::Message)]
pub struct EventType {
    #[prost(int32, tag = "1")]
    pub kind: i32,
    #[prost(int32, tag = "2")]
    pub sub_type: i32,
}

/// `flow.Emitter`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Emitter {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub version: String,
}

/// Requests without a field.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Nothing {}

/// `observer.GetAgentEventsRequest`, `observer.GetDebugEventsRequest`
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetEventsRequest {
    #[prost(uint64, tag = "1")]
    pub number: u64,
    #[prost(bool, tag = "2")]
    pub follow: bool,
}

/// `observer.ServerStatusResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub struct ServerStatus {
    #[prost(uint64, tag = "1")]
    pub num_flows: u64,
    #[prost(uint64, tag = "2")]
    pub max_flows: u64,
    #[prost(uint64, tag = "3")]
    pub seen_flows: u64,
    #[prost(uint64, tag = "4")]
    pub uptime_ns: u64,
    #[prost(string, tag = "8")]
    pub version: String,
    #[prost(double, tag = "9")]
    pub flows_rate: f64,
}

/// `observer.GetNodesResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Nodes {
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<Node>,
}

/// `observer.Node`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Node {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub version: String,
    #[prost(string, tag = "3")]
    pub address: String,
    #[prost(int32, tag = "4")]
    pub state: i32,
    #[prost(uint64, tag = "8")]
    pub max_flows: u64,
}

/// `observer.GetNamespacesResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Namespaces {
    #[prost(message, repeated, tag = "1")]
    pub namespaces: Vec<Namespace>,
}

/// `observer.Namespace`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Namespace {
    #[prost(string, tag = "1")]
    pub cluster: String,
    #[prost(string, tag = "2")]
    pub namespace: String,
}

/// `peer.ChangeNotification`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Change {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub address: String,
    #[prost(int32, tag = "3")]
    pub kind: i32,
    #[prost(message, optional, tag = "4")]
    pub tls: Option<PeerTls>,
}

/// `peer.TLS`
#[derive(Clone, PartialEq, prost::Message)]
pub struct PeerTls {
    #[prost(string, tag = "1")]
    pub server_name: String,
}

/// `grpc.health.v1.HealthCheckRequest`
#[derive(Clone, PartialEq, prost::Message)]
pub struct HealthRequest {
    #[prost(string, tag = "1")]
    pub service: String,
}

/// `grpc.health.v1.HealthCheckResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Health {
    #[prost(int32, tag = "1")]
    pub status: i32,
}

/// `grpc.reflection.v1.ServerReflectionRequest`, and v1alpha's.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReflectionRequest {
    #[prost(string, optional, tag = "4")]
    pub file_containing_symbol: Option<String>,
    #[prost(string, optional, tag = "7")]
    pub list_services: Option<String>,
}

/// `grpc.reflection.v1.ServerReflectionResponse`, and v1alpha's.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Reflection {
    #[prost(message, optional, tag = "4")]
    pub files: Option<Files>,
    #[prost(message, optional, tag = "6")]
    pub services: Option<Services>,
}

/// `FileDescriptorResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Files {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub files: Vec<Vec<u8>>,
}

/// `ListServiceResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Services {
    #[prost(message, repeated, tag = "1")]
    pub services: Vec<Service>,
}

/// `ServiceResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Service {
    #[prost(string, tag = "1")]
    pub name: String,
}
