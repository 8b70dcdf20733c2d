//! Hubble's `GetFlowsResponse` and what is in it: what obsflow fills, and what it prints of others' flows.
//!
//! Serialised with serde these types give protojson as Hubble prints it: names as in the `.proto` files (odd case
//! included), enums by name, 64-bit integers as strings, unset fields left out, fields in the order of their
//! declaration. Source of names and numbers: `api/v1/flow/flow.proto` and `api/v1/observer/observer.proto` of
//! cilium/cilium 1.19. Filters, printers and the JSON lines work on nothing else.

mod drop_reason;
mod extensions;
mod foreign;
mod json;
mod l7;
mod layers;
mod lost;
mod node_status;
mod protojson;

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

pub use drop_reason::DropReason;
pub use extensions::{
    CandidateExt, DropExt, Extensions, HttpExt, LookupExt, MismatchExt, ProcessExt, TcpInfoExt, Text, TlsExt,
    WorkloadExt,
};
pub use foreign::{
    AUTH_TYPES, Any, CAPTURE_POINTS, Ethernet, File, Foreign, IpTraceId, POLICIES, Policy, TRACE_REASONS,
    Tunnel, XLATE_POINTS,
};
pub use l7::{Dns, Http, HttpHeader, Kafka, L7Type, Layer7, Record};
pub use layers::{Icmp, Ip, IpVersion, Layer4, Tcp, TcpFlags, Udp};
pub use lost::{LostEvent, LostSource};
pub use node_status::{NodeState, NodeStatus};

use foreign::Named;
use protojson::{is_no_time, is_zero, timestamp};

/// The time of what has none: a field that was not asked for.
pub const NO_TIME: Timestamp = Timestamp::MIN;

/// What [`Flow::emitter`] says of obsflow's own flows.
pub const EMITTER: Emitter = Emitter {
    name: Text::Borrowed("obsflow"),
    version: Text::Borrowed(env!("CARGO_PKG_VERSION")),
};

/// One line of output, one message of a stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Response {
    /// A flow, or what was lost.
    #[serde(flatten)]
    pub body: Body,
    /// Name of the node.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub node_name: Arc<str>,
    /// When it happened; [`NO_TIME`] when that is not said.
    #[serde(serialize_with = "timestamp", skip_serializing_if = "is_no_time")]
    pub time: Timestamp,
}

/// The variants of a [`Response`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// A flow.
    Flow(Box<Flow>),
    /// A node came, went or failed; a relay says so.
    NodeStatus(NodeStatus),
    /// Events that never arrived.
    LostEvents(LostEvent),
}

/// Hubble's `Flow`.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// When it happened; [`NO_TIME`] when that is not said.
    pub time: Timestamp,
    /// Who says so.
    pub emitter: Option<Emitter>,
    /// What became of it.
    pub verdict: Verdict,
    /// Addresses.
    pub ip: Option<Ip>,
    /// Ports and flags.
    pub l4: Option<Layer4>,
    /// Whose the source is.
    pub source: Option<Endpoint>,
    /// Whose the destination is.
    pub destination: Option<Endpoint>,
    /// Layer.
    pub layer: FlowType,
    /// Name of the node.
    pub node_name: Arc<str>,
    /// DNS names of the source, without trailing dots.
    pub source_names: Vec<Arc<str>>,
    /// DNS names of the destination, without trailing dots.
    pub destination_names: Vec<Arc<str>>,
    /// The DNS message; set exactly when `layer` is L7.
    pub l7: Option<Layer7>,
    /// Kind of event, in Cilium's numbers.
    pub event_type: EventType,
    /// Service of the source.
    pub source_service: Option<Service>,
    /// Service of the destination.
    pub destination_service: Option<Service>,
    /// Seen from the workload.
    pub traffic_direction: Option<TrafficDirection>,
    /// Where a trace event was made.
    pub trace_observation_point: Option<TracePoint>,
    /// Cilium's reason of a drop, where one fits.
    pub drop_reason_desc: Option<DropReason>,
    /// Whether it goes from the answering to the asking side; `None` when it is about both.
    pub is_reply: Option<bool>,
    /// Interface.
    pub interface: Option<NetworkInterface>,
    /// Cookie of the socket, 0 when unknown.
    pub socket_cookie: u64,
    /// Cgroup v2 id, 0 when unknown.
    pub cgroup_id: u64,
    /// One line for people.
    pub summary: String,
    /// What Hubble has no field for.
    pub extensions: Extensions,
    /// What only other emitters' flows have.
    pub foreign: Option<Box<Foreign>>,
}

/// Which program made a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Emitter {
    /// Its name.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: Text,
    /// Its version.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub version: Text,
}

/// What became of a flow (`enum Verdict`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[repr(u8)]
pub enum Verdict {
    /// Not said.
    #[serde(rename = "VERDICT_UNKNOWN")]
    Unknown = 0,
    /// It went on.
    Forwarded = 1,
    /// Dropped on this node.
    Dropped = 2,
    /// It came to nothing.
    Error = 3,
    /// Would have been dropped.
    Audit = 4,
    /// Went to a proxy.
    Redirected = 5,
    /// Observed, nothing decided.
    Traced = 6,
    /// An address was rewritten.
    Translated = 7,
}

impl Verdict {
    /// Every verdict that says something, in the order of its number.
    pub const ALL: [Self; 7] = [
        Self::Forwarded,
        Self::Dropped,
        Self::Error,
        Self::Audit,
        Self::Redirected,
        Self::Traced,
        Self::Translated,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "VERDICT_UNKNOWN",
            Self::Forwarded => "FORWARDED",
            Self::Dropped => "DROPPED",
            Self::Error => "ERROR",
            Self::Audit => "AUDIT",
            Self::Redirected => "REDIRECTED",
            Self::Traced => "TRACED",
            Self::Translated => "TRANSLATED",
        }
    }
}

/// Whose an address is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// Number of Cilium's endpoint; 0 unless another emitter made the flow.
    #[serde(rename = "ID", skip_serializing_if = "is_zero")]
    pub id: u32,
    /// Cilium's security identity; 0 (unknown) unless another emitter made the flow.
    #[serde(skip_serializing_if = "is_zero")]
    pub identity: u32,
    /// Kubernetes namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
    /// Labels, `key=value`; obsflow's flows have none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Arc<str>>,
    /// Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<Arc<str>>,
    /// What runs the pod, if that is known; what runs there, when it is not a pod with a name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<NamedWorkload>,
    /// Cluster, when another emitter's flow names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<Arc<str>>,
}

/// Hubble's `Workload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedWorkload {
    /// Name.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: Arc<str>,
    /// Kind.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub kind: Arc<str>,
}

/// Layer of a flow (`enum FlowType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[repr(u8)]
pub enum FlowType {
    /// Not said.
    #[serde(rename = "UNKNOWN_TYPE")]
    Unknown = 0,
    /// Addresses and ports.
    #[serde(rename = "L3_L4")]
    L3L4 = 1,
    /// A message.
    L7 = 2,
    /// A socket.
    #[serde(rename = "SOCK")]
    Sock = 3,
}

/// Hubble's `CiliumEventType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EventType {
    /// One of [`event`].
    #[serde(rename = "type", skip_serializing_if = "is_zero")]
    pub kind: u8,
    /// A point of [`TracePoint`] or a number of [`DropReason`].
    #[serde(skip_serializing_if = "is_zero")]
    pub sub_type: u8,
}

/// Values of [`EventType::kind`] (`pkg/monitor/api/types.go` of cilium/cilium).
pub mod event {
    /// A packet was dropped.
    pub const DROP: u8 = 1;
    /// A packet was captured for debugging.
    pub const CAPTURE: u8 = 3;
    /// A packet or connection was seen.
    pub const TRACE: u8 = 4;
    /// A policy decided.
    pub const POLICY_VERDICT: u8 = 5;
    /// A socket was seen.
    pub const TRACE_SOCK: u8 = 7;
    /// A message of layer 7.
    pub const L7: u8 = 129;
}

/// Hubble's `Service`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Name.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: Arc<str>,
    /// Namespace.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub namespace: Arc<str>,
}

/// Which way, seen from the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[repr(u8)]
pub enum TrafficDirection {
    /// To the workload.
    Ingress = 1,
    /// From the workload.
    Egress = 2,
}

/// Where a trace event was made (`enum TraceObservationPoint`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracePoint(pub i32);

impl TracePoint {
    /// Left the workload: obsflow sees the workload's own socket, and makes no other.
    pub const FROM_ENDPOINT: Self = Self(5);
    /// Arrives at the workload.
    pub const TO_ENDPOINT: Self = Self(101);

    const NAMES: [(i32, &'static str); 15] = [
        (0, "UNKNOWN_POINT"),
        (1, "TO_PROXY"),
        (2, "TO_HOST"),
        (3, "TO_STACK"),
        (4, "TO_OVERLAY"),
        (5, "FROM_ENDPOINT"),
        (6, "FROM_PROXY"),
        (7, "FROM_HOST"),
        (8, "FROM_STACK"),
        (9, "FROM_OVERLAY"),
        (10, "FROM_NETWORK"),
        (11, "TO_NETWORK"),
        (12, "FROM_CRYPTO"),
        (13, "TO_CRYPTO"),
        (101, "TO_ENDPOINT"),
    ];

    /// As protojson has it.
    fn name(self) -> Named {
        Named(self.0, &Self::NAMES)
    }
}

/// Hubble's `NetworkInterface`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NetworkInterface {
    /// Index.
    #[serde(skip_serializing_if = "is_zero")]
    pub index: u32,
    /// Name, when it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
}
