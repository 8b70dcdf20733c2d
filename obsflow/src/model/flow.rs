//! Hubble's `GetFlowsResponse` and what is in it, as far as obsflow can fill it.
//!
//! Serialised with serde these types give protojson as Hubble prints it: names as in the `.proto` files (odd case
//! included), enums by name, 64-bit integers as strings, unset fields left out, fields in the order of their
//! declaration. Source of names and numbers: `api/v1/flow/flow.proto` and `api/v1/observer/observer.proto` of
//! cilium/cilium 1.19. Filters, printers and the JSON lines work on nothing else.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};

use super::flow_ext::Extensions;

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

/// Addresses of a flow. (`ipVersion` follows from them.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Where it came from.
    pub source: Option<IpAddr>,
    /// Where it went.
    pub destination: Option<IpAddr>,
}

impl Ip {
    /// The family of the addresses.
    #[must_use]
    pub fn version(&self) -> Option<IpVersion> {
        self.destination.or(self.source).map(|ip| match ip {
            IpAddr::V4(_) => IpVersion::IPv4,
            IpAddr::V6(_) => IpVersion::IPv6,
        })
    }
}

impl Serialize for Ip {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(ip) = self.source {
            map.serialize_entry("source", &ip)?;
        }
        if let Some(ip) = self.destination {
            map.serialize_entry("destination", &ip)?;
        }
        if let Some(version) = self.version() {
            map.serialize_entry("ipVersion", &version)?;
        }
        map.end()
    }
}

/// Address families (`enum IPVersion`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[repr(u8)]
pub enum IpVersion {
    /// IPv4.
    IPv4 = 1,
    /// IPv6.
    IPv6 = 2,
}

/// Transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Layer4 {
    /// TCP.
    #[serde(rename = "TCP")]
    Tcp(Tcp),
    /// UDP.
    #[serde(rename = "UDP")]
    Udp(Udp),
}

impl Layer4 {
    /// Source and destination port, 0 when unknown.
    #[must_use]
    pub fn ports(&self) -> (u16, u16) {
        match self {
            Self::Tcp(tcp) => (tcp.source_port, tcp.destination_port),
            Self::Udp(udp) => (udp.source_port, udp.destination_port),
        }
    }
}

/// Ports and flags of TCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tcp {
    /// Source port.
    #[serde(skip_serializing_if = "is_zero")]
    pub source_port: u16,
    /// Destination port.
    #[serde(skip_serializing_if = "is_zero")]
    pub destination_port: u16,
    /// Flags of the packet that the flow is about, if it is about one.
    #[serde(skip_serializing_if = "TcpFlags::is_empty")]
    pub flags: TcpFlags,
}

/// Ports of UDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Udp {
    /// Source port.
    #[serde(skip_serializing_if = "is_zero")]
    pub source_port: u16,
    /// Destination port.
    #[serde(skip_serializing_if = "is_zero")]
    pub destination_port: u16,
}

/// TCP flags, bits as in the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// Names by bit, from bit 0; bits as in the TCP header (RFC 9293, section 3.1).
    pub const NAMES: [&'static str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    /// FIN.
    pub const FIN: Self = Self(1);
    /// SYN.
    pub const SYN: Self = Self(2);
    /// RST.
    pub const RST: Self = Self(4);
    /// ACK.
    pub const ACK: Self = Self(16);

    /// No flag at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// The names of the flags that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let set = move |bit: &usize| self.0 & (1 << *bit) != 0;
        (0..Self::NAMES.len()).filter(set).map(|bit| Self::NAMES[bit])
    }
}

impl Serialize for TcpFlags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.names().map(|name| (name, true)))
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
    /// What runs there, when it is not a pod with a name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<NamedWorkload>,
}

/// Hubble's `Workload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedWorkload {
    /// Name.
    pub name: Arc<str>,
    /// Kind.
    pub kind: &'static str,
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

/// A message of layer 7.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer7 {
    /// Kind of message.
    #[serde(rename = "type")]
    pub kind: L7Type,
    /// From the question to the answer, in nanoseconds; 0 when unknown.
    #[serde(serialize_with = "number_as_string", skip_serializing_if = "is_zero")]
    pub latency_ns: u64,
    /// The message.
    pub dns: Dns,
}

/// Kinds of messages (`enum L7FlowType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[repr(u8)]
pub enum L7Type {
    /// A question.
    Request = 1,
    /// An answer.
    Response = 2,
    /// What obsflow concluded from several messages, or from one that is missing.
    Sample = 3,
}

impl L7Type {
    /// As the `TYPE` column says it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
            Self::Sample => "sample",
        }
    }
}

/// Hubble's `DNS`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dns {
    /// The name asked for, with its trailing dot.
    pub query: String,
    /// Addresses in the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpAddr>,
    /// Smallest TTL of the answer, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,
    /// CNAME targets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cnames: Vec<Arc<str>>,
    /// Who saw it.
    pub observation_source: &'static str,
    /// The response code; `None` where there is no response, left out when 0 as protojson does.
    #[serde(skip_serializing_if = "no_error")]
    pub rcode: Option<u16>,
    /// Types asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub qtypes: Vec<Arc<str>>,
    /// Types in the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rrtypes: Vec<Arc<str>>,
}

/// Hubble's `LostEvent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LostEvent {
    /// Where they were lost.
    pub source: LostSource,
    /// How many.
    #[serde(serialize_with = "number_as_string", skip_serializing_if = "is_zero")]
    pub num_events_lost: u64,
    /// On which CPU, when that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<i32>,
    /// Time of the first, when known.
    #[serde(serialize_with = "maybe_timestamp", skip_serializing_if = "Option::is_none")]
    pub first: Option<Timestamp>,
    /// Time of the last, when known.
    #[serde(serialize_with = "maybe_timestamp", skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
}

/// Where events are lost (`enum LostEventSource`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(u8)]
pub enum LostSource {
    /// The ring between kernel and user space was full.
    PerfEventRingBuffer = 1,
    /// The queue behind it was full.
    ObserverEventsQueue = 2,
    /// A reader was slower than the store.
    HubbleRingBuffer = 3,
}

impl LostSource {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PerfEventRingBuffer => "PERF_EVENT_RING_BUFFER",
            Self::ObserverEventsQueue => "OBSERVER_EVENTS_QUEUE",
            Self::HubbleRingBuffer => "HUBBLE_RING_BUFFER",
        }
    }
}

/// Whether a number is zero: protojson leaves it out.
pub(super) fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

fn no_error(rcode: &Option<u16>) -> bool {
    rcode.is_none_or(|rcode| rcode == 0)
}

fn number_as_string<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

/// protojson: RFC 3339 in UTC with 0, 3, 6 or 9 digits of a second.
fn timestamp<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    let nanos = time.subsec_nanosecond();
    let digits = match nanos {
        0 => 0,
        n if n % 1_000_000 == 0 => 3,
        n if n % 1_000 == 0 => 6,
        _ => 9,
    };
    serializer.collect_str(&format_args!("{time:.digits$}"))
}

fn maybe_timestamp<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => timestamp(time, serializer),
        None => serializer.serialize_none(),
    }
}

/// protojson of `google.protobuf.Any` around a `google.protobuf.Struct`.
fn any_of_struct<S: Serializer>(value: &Extensions, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(2))?;
    map.serialize_entry("@type", "type.googleapis.com/google.protobuf.Struct")?;
    map.serialize_entry("value", value)?;
    map.end()
}
