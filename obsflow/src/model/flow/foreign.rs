//! What flows of other emitters have, and obsflow's do not.

use std::sync::Arc;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::layers::{Ip, Layer4};
use super::protojson::{is_zero, number_as_string};

/// Fields of Hubble's `Flow` that obsflow reads and prints, and has no value for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Foreign {
    /// Names the flow.
    pub uuid: Arc<str>,
    /// The number of the drop reason, which older emitters give without a name.
    pub drop_reason: u32,
    /// How the connection was authenticated (`enum AuthType`).
    pub auth_type: i32,
    /// Addresses of the link layer.
    pub ethernet: Option<Ethernet>,
    /// The outer packet, of a packet in a tunnel.
    pub tunnel: Option<Tunnel>,
    /// Labels of the node.
    pub node_labels: Vec<Arc<str>>,
    /// `is_reply` as older emitters give it.
    pub reply: bool,
    /// Which kind of policy matched (`pkg/monitor/api/types.go` of cilium/cilium).
    pub policy_match_type: u32,
    /// Why a trace event was made (`enum TraceReason`).
    pub trace_reason: i32,
    /// Where in Cilium's data path it was made.
    pub file: Option<File>,
    /// A trace by IP options.
    pub ip_trace_id: Option<IpTraceId>,
    /// Where a packet was captured (`enum DebugCapturePoint`).
    pub debug_capture_point: i32,
    /// Port of the proxy that it went to.
    pub proxy_port: u32,
    /// Id of the trace that it is a part of; empty when it is not.
    pub trace_id: Arc<str>,
    /// Where a socket's address was translated (`enum SocketTranslationPoint`).
    pub sock_xlate_point: i32,
    /// What its emitter says beyond Hubble's fields.
    pub extensions: Option<Any>,
    /// Policies that decided, in the order of [`POLICIES`].
    pub policies: [Vec<Policy>; 4],
    /// Lines that policies asked to be logged.
    pub policy_log: Vec<Arc<str>>,
}

/// Fields of `Flow` that hold policies.
pub const POLICIES: [&str; 4] = [
    "egress_allowed_by",
    "ingress_allowed_by",
    "egress_denied_by",
    "ingress_denied_by",
];

/// Names of `enum AuthType`.
pub const AUTH_TYPES: [(i32, &str); 3] = [(0, "DISABLED"), (1, "SPIRE"), (2, "TEST_ALWAYS_FAIL")];

/// Names of `enum TraceReason`.
pub const TRACE_REASONS: [(i32, &str); 9] = [
    (0, "TRACE_REASON_UNKNOWN"),
    (1, "NEW"),
    (2, "ESTABLISHED"),
    (3, "REPLY"),
    (4, "RELATED"),
    (5, "REOPENED"),
    (6, "SRV6_ENCAP"),
    (7, "SRV6_DECAP"),
    (8, "ENCRYPT_OVERLAY"),
];

/// Names of `enum DebugCapturePoint`.
pub const CAPTURE_POINTS: [(i32, &str); 9] = [
    (0, "DBG_CAPTURE_POINT_UNKNOWN"),
    (4, "DBG_CAPTURE_DELIVERY"),
    (5, "DBG_CAPTURE_FROM_LB"),
    (6, "DBG_CAPTURE_AFTER_V46"),
    (7, "DBG_CAPTURE_AFTER_V64"),
    (8, "DBG_CAPTURE_PROXY_PRE"),
    (9, "DBG_CAPTURE_PROXY_POST"),
    (10, "DBG_CAPTURE_SNAT_PRE"),
    (11, "DBG_CAPTURE_SNAT_POST"),
];

/// Names of `enum SocketTranslationPoint`.
pub const XLATE_POINTS: [(i32, &str); 5] = [
    (0, "SOCK_XLATE_POINT_UNKNOWN"),
    (1, "SOCK_XLATE_POINT_PRE_DIRECTION_FWD"),
    (2, "SOCK_XLATE_POINT_POST_DIRECTION_FWD"),
    (3, "SOCK_XLATE_POINT_PRE_DIRECTION_REV"),
    (4, "SOCK_XLATE_POINT_POST_DIRECTION_REV"),
];

/// An enum as protojson has it: the name, or the number of what is newer than the list.
pub(super) struct Named(pub(super) i32, pub(super) &'static [(i32, &'static str)]);

impl Serialize for Named {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.1.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => serializer.serialize_str(name),
            None => serializer.serialize_i32(self.0),
        }
    }
}

/// Addresses of the link layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ethernet {
    /// Of the source.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub source: Arc<str>,
    /// Of the destination.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub destination: Arc<str>,
}

/// The outer packet of a tunnel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tunnel {
    /// `enum Protocol` of `Tunnel`: 1 is VXLAN, 2 Geneve.
    pub protocol: i32,
    /// Addresses.
    pub ip: Option<Ip>,
    /// Ports.
    pub l4: Option<Layer4>,
    /// Network.
    pub vni: u32,
}

const TUNNELS: [(i32, &str); 3] = [(0, "UNKNOWN"), (1, "VXLAN"), (2, "GENEVE")];

impl Serialize for Tunnel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if self.protocol != 0 {
            map.serialize_entry("protocol", &Named(self.protocol, &TUNNELS))?;
        }
        if let Some(ip) = &self.ip {
            map.serialize_entry("IP", ip)?;
        }
        if let Some(l4) = &self.l4 {
            map.serialize_entry("l4", l4)?;
        }
        if self.vni != 0 {
            map.serialize_entry("vni", &self.vni)?;
        }
        map.end()
    }
}

/// A place in Cilium's source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct File {
    /// Name of the file.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: Arc<str>,
    /// Line.
    #[serde(skip_serializing_if = "is_zero")]
    pub line: u32,
}

/// A trace by IP options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IpTraceId {
    /// Its id.
    #[serde(serialize_with = "number_as_string", skip_serializing_if = "is_zero")]
    pub trace_id: u64,
    /// Type of the option that has it.
    #[serde(skip_serializing_if = "is_zero")]
    pub ip_option_type: u32,
}

/// A policy that decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Name.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: Arc<str>,
    /// Namespace.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub namespace: Arc<str>,
    /// Labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Arc<str>>,
    /// Revision.
    #[serde(serialize_with = "number_as_string", skip_serializing_if = "is_zero")]
    pub revision: u64,
    /// Kind.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub kind: Arc<str>,
}

/// `google.protobuf.Any`.
#[derive(Clone, Debug, PartialEq)]
pub struct Any {
    /// Of which type.
    pub type_url: Arc<str>,
    /// Its fields, of a `google.protobuf.Struct`; of any other type its bytes in base64, as they cannot be told apart here.
    pub value: serde_json::Value,
}

impl Serialize for Any {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("@type", &self.type_url)?;
        map.serialize_entry("value", &self.value)?;
        map.end()
    }
}
