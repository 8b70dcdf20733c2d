//! Hubble's `GetFlowsResponse` and what is in it, as far as obsflow can fill it.
//!
//! Serialised with serde these types give protojson as Hubble prints it: names as in the `.proto` files (odd case
//! included), enums by name, 64-bit integers as strings, unset fields left out, fields in the order of their
//! declaration. Source of names and numbers: `api/v1/flow/flow.proto` and `api/v1/observer/observer.proto` of
//! cilium/cilium 1.19. Filters, printers and the JSON lines work on nothing else.

mod extensions;
mod l7;
mod layers;
mod lost;
mod protojson;

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

pub use extensions::{
    CandidateExt, DropExt, Extensions, HttpExt, LookupExt, MismatchExt, ProcessExt, TcpInfoExt, TlsExt,
    WorkloadExt,
};
pub use l7::{Dns, Http, L7Type, Layer7, Record};
pub use layers::{Ip, IpVersion, Layer4, Tcp, TcpFlags, Udp};
pub use lost::{LostEvent, LostSource};

use protojson::{any_of_struct, is_zero, number_as_string, timestamp};

/// What [`Flow::emitter`] says.
pub const EMITTER: Emitter = Emitter {
    name: "obsflow",
    version: env!("CARGO_PKG_VERSION"),
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
    /// When it happened.
    #[serde(serialize_with = "timestamp")]
    pub time: Timestamp,
}

/// The variants of a [`Response`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// A flow.
    Flow(Box<Flow>),
    /// Events that never arrived.
    LostEvents(LostEvent),
}

/// Hubble's `Flow`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flow {
    /// When it happened.
    #[serde(serialize_with = "timestamp")]
    pub time: Timestamp,
    /// Who says so.
    pub emitter: Emitter,
    /// What became of it.
    pub verdict: Verdict,
    /// Addresses.
    #[serde(rename = "IP", skip_serializing_if = "Option::is_none")]
    pub ip: Option<Ip>,
    /// Ports and flags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l4: Option<Layer4>,
    /// Whose the source is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Endpoint>,
    /// Whose the destination is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<Endpoint>,
    /// Layer.
    #[serde(rename = "Type")]
    pub layer: FlowType,
    /// Name of the node.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub node_name: Arc<str>,
    /// DNS names of the source, without trailing dots.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_names: Vec<Arc<str>>,
    /// DNS names of the destination, without trailing dots.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_names: Vec<Arc<str>>,
    /// The DNS message; set exactly when `layer` is L7.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l7: Option<Layer7>,
    /// Kind of event, in Cilium's numbers.
    pub event_type: EventType,
    /// Service of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_service: Option<Service>,
    /// Service of the destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_service: Option<Service>,
    /// Seen from the workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic_direction: Option<TrafficDirection>,
    /// Where a trace event was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_observation_point: Option<TracePoint>,
    /// Cilium's reason of a drop, where one fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_reason_desc: Option<DropReason>,
    /// Whether it goes from the answering to the asking side; `None` when it is about both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_reply: Option<bool>,
    /// Interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<NetworkInterface>,
    /// Cookie of the socket, 0 when unknown.
    #[serde(serialize_with = "number_as_string", skip_serializing_if = "is_zero")]
    pub socket_cookie: u64,
    /// Cgroup v2 id, 0 when unknown.
    #[serde(serialize_with = "number_as_string", skip_serializing_if = "is_zero")]
    pub cgroup_id: u64,
    /// One line for people.
    #[serde(rename = "Summary", skip_serializing_if = "String::is_empty")]
    pub summary: String,
    /// What Hubble has no field for.
    #[serde(serialize_with = "any_of_struct")]
    pub extensions: Extensions,
}

/// Which program made a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Emitter {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
}

/// What became of a flow (`enum Verdict`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[repr(u8)]
pub enum Verdict {
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
    /// Every verdict, in the order of its number.
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
    /// Cilium's security identity; 0 (unknown) unless another emitter made the flow.
    #[serde(skip_serializing_if = "is_zero")]
    pub identity: u32,
    /// Kubernetes namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
    /// Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<Arc<str>>,
    /// What runs the pod, if that is known; what runs there, when it is not a pod with a name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<NamedWorkload>,
}

/// Hubble's `Workload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedWorkload {
    /// Name.
    pub name: Arc<str>,
    /// Kind.
    pub kind: Arc<str>,
}

/// Layer of a flow (`enum FlowType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[repr(u8)]
pub enum FlowType {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EventType {
    /// One of [`event`].
    #[serde(rename = "type")]
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
    pub name: Arc<str>,
    /// Namespace.
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

/// Where a trace event was made: at the workload's own socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(u8)]
pub enum TracePoint {
    /// Left the workload.
    FromEndpoint = 5,
    /// Arrives at the workload.
    ToEndpoint = 101,
}

/// A reason of `enum DropReason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropReason {
    /// Its number, also the sub-type of the event.
    pub number: u8,
    /// Its name in the enum.
    pub name: &'static str,
    /// As the `TYPE` column says it.
    pub text: &'static str,
}

impl Serialize for DropReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

/// Hubble's `NetworkInterface`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NetworkInterface {
    /// Index.
    pub index: u32,
    /// Name, when it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
}
