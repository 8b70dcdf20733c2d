//! What obsflow knows of a flow and Hubble has no field for: the keys of `Flow.extensions`.
//!
//! On the wire this is a `google.protobuf.Struct` in a `google.protobuf.Any`. Keys that are unknown are left out.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::protojson::is_zero;

/// A word of obsflow's own; of one's own flows it is static, of flows that were received it is not.
pub type Text = Cow<'static, str>;

/// Everything beyond Hubble's fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Extensions {
    /// What happened, in obsflow's words: `dns-query`, `connect-failed` ... (`docs/flows.md` has the list).
    pub event: Text,
    /// What became of a look-up, an attempt or a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Text>,
    /// The errno.
    #[serde(skip_serializing_if = "is_zero")]
    pub errno: u32,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno_name: Option<Text>,
    /// The destination the process asked for, where it differs from the one the socket has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<SocketAddr>,
    /// The process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessExt>,
    /// The workload beyond its names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadExt>,
    /// Inode of the network namespace.
    #[serde(skip_serializing_if = "is_zero")]
    pub netns: u32,
    /// From SYN to the end, or from a request to its answer, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ns: Option<u64>,
    /// SYN to ESTABLISHED, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake_ns: Option<u64>,
    /// Payload bytes that the peer acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_sent: Option<u64>,
    /// Payload bytes received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_received: Option<u64>,
    /// Segments sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u32>,
    /// SYNs sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syn_retransmits: Option<u32>,
    /// State of the socket, of an ended one before its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_state: Option<Text>,
    /// Id of the DNS message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_id: Option<u16>,
    /// The DNS message was cut to fit (TC bit).
    #[serde(skip_serializing_if = "is_zero")]
    pub dns_truncated: bool,
    /// A whole resolver search.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookup: Option<LookupExt>,
    /// A drop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop: Option<DropExt>,
    /// Periodic state of a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_info: Option<TcpInfoExt>,
    /// A request, and what became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpExt>,
    /// A TLS handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsExt>,
    /// Two protocols on one connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mismatch: Option<MismatchExt>,
}

impl Extensions {
    /// Whether there are any: flows of other emitters have none of these.
    #[must_use]
    pub fn is_some(&self) -> bool {
        !self.event.is_empty()
    }
}

/// A request, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpExt {
    /// `traces`, `metrics`, `logs` or `profiles`, where the path tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<Text>,
    /// Whose ingest protocol the path belongs to: `otlp`, `remote-write` ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Text>,
    /// `Host` or `:authority`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<Arc<str>>,
    /// `User-Agent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Arc<str>>,
    /// How the target is written, where that is as for a proxy: `absolute` or `authority`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<Text>,
    /// HTTP/2 stream.
    #[serde(skip_serializing_if = "is_zero")]
    pub stream: u32,
    /// Bytes of the request's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_bytes: Option<u64>,
    /// Bytes of the answer's body; of gRPC those of DATA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_bytes: Option<u64>,
    /// `grpc-status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<u32>,
    /// Error code of RST_STREAM (RFC 9113, 7), from whichever side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_code: Option<u32>,
    /// Why the server refused, in its words: `wrong-path` or `wants-tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Text>,
    /// The answer had `Retry-After`.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after: bool,
    /// The server took only a part.
    #[serde(skip_serializing_if = "is_zero")]
    pub partial: bool,
}

/// A TLS handshake.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsExt {
    /// Server name indication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<Arc<str>>,
    /// Protocols offered (ALPN).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<Arc<str>>,
    /// Number of the alert (RFC 8446, 6) that ended it, if it was in the clear.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<u8>,
    /// Who sent the alert: `client` or `server`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert_from: Option<Text>,
}

/// Two protocols on one connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MismatchExt {
    /// What the workload speaks.
    pub client: Text,
    /// What the peer speaks.
    pub server: Text,
    /// The status of an HTTP/1 answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What the answer says: `wrong-path` or `wants-tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Text>,
    /// The peer closed without a byte: it might have other reasons.
    #[serde(skip_serializing_if = "is_zero")]
    pub is_guess: bool,
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessExt {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Name.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: Arc<str>,
}

/// What attribution knows beyond namespace and pod name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkloadExt {
    /// UID of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<Arc<str>>,
    /// Container name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Arc<str>>,
    /// Full container id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_id: Option<Arc<str>>,
    /// systemd unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Arc<str>>,
    /// Path below the cgroup2 mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_path: Option<Arc<str>>,
}

/// A whole resolver search.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LookupExt {
    /// The name as far as the candidates tell.
    pub name: Arc<str>,
    /// Every name tried, in order.
    pub candidates: Vec<CandidateExt>,
    /// Addresses found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpAddr>,
    /// From the first query to the end, in nanoseconds.
    pub took_ns: u64,
}

/// One name of a search.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CandidateExt {
    /// Name.
    pub name: Arc<str>,
    /// Type.
    #[serde(rename = "type")]
    pub qtype: Arc<str>,
    /// Mnemonic or number of the response code, `none` when no response came.
    pub rcode: String,
}

/// A drop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DropExt {
    /// The kernel's name of the reason, without its prefix.
    pub reason: Arc<str>,
    /// Where in the stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<Arc<str>>,
    /// Interface index.
    #[serde(skip_serializing_if = "is_zero")]
    pub ifindex: u32,
    /// The DNS question in the packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<Arc<str>>,
}

/// Periodic state of a connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TcpInfoExt {
    /// Segments not acknowledged.
    pub unacked: u32,
    /// Retransmission time-out, in nanoseconds.
    pub rto_ns: u64,
    /// Smoothed round trip, in nanoseconds.
    pub rtt_ns: u64,
    /// Consecutive time-outs.
    pub backoff: u32,
    /// Since payload was last sent, in nanoseconds.
    pub last_sent_ns: u64,
    /// Since payload was last received, in nanoseconds.
    pub last_received_ns: u64,
    /// Bytes waiting to be sent.
    pub not_sent_bytes: u64,
}
