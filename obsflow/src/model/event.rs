//! A decoded kernel record: what happened, before anybody knows to whom or why.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;

use super::time::Mono;

/// One decoded record.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When it happened.
    pub at: Mono,
    /// Cgroup v2 id, 0 when unknown.
    pub cgroup: u64,
    /// Socket cookie, 0 when unknown.
    pub cookie: u64,
    /// Inode of the network namespace, 0 when unknown.
    pub netns: u32,
    /// Process id, 0 when unknown.
    pub pid: u32,
    /// What happened.
    pub body: EventBody,
}

/// Addresses of a socket on this node; of a dropped packet, source and destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoints {
    /// Local address; IPv4-mapped addresses are already IPv4.
    pub local: SocketAddr,
    /// Remote address.
    pub remote: SocketAddr,
}

/// IP protocol of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Which way a message went, seen from the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the workload.
    Egress,
    /// To the workload.
    Ingress,
}

/// How an attempt to connect ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The handshake completed.
    Established,
    /// A RST answered.
    Refused,
    /// An ICMP error or a REJECT answered.
    Rejected,
    /// No route, or no neighbour.
    Unreachable,
    /// The kernel gave up (ETIMEDOUT).
    TimedOut,
    /// The application gave up while SYNs went unanswered.
    GivenUp,
    /// The application closed before the first SYN time-out.
    Abandoned,
    /// `connect(2)` failed before a SYN was made.
    Failed,
    /// Dropped on this node, and nothing else answered.
    Dropped,
}

/// State of a TCP socket (`include/net/tcp_states.h`).
pub type TcpState = u8;

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum EventBody {
    /// A SYN is about to be sent.
    Attempt {
        /// Addresses.
        ends: Endpoints,
        /// The destination the process asked for, where a connect hook saw it.
        asked: Option<SocketAddr>,
        /// Name of the process.
        comm: Comm,
    },
    /// The handshake completed.
    Established {
        /// Addresses.
        ends: Endpoints,
        /// SYN to ESTABLISHED.
        handshake: Duration,
    },
    /// A SYN (`syn`) or a segment was sent again.
    Retransmit {
        /// Addresses.
        ends: Endpoints,
        /// How many times so far.
        count: u32,
        /// Whether it was a SYN.
        syn: bool,
    },
    /// A connection or an attempt ended.
    Close(Box<Close>),
    /// `connect(2)` failed before a SYN was made.
    ConnectFailed {
        /// What was asked for.
        asked: SocketAddr,
        /// Name of the process.
        comm: Comm,
        /// The errno, 0 when no hook could see it.
        errno: u32,
    },
    /// A DNS message over UDP.
    Dns {
        /// Addresses.
        ends: Endpoints,
        /// Which way.
        direction: Direction,
        /// The name server the process asked, where a connect or sendmsg hook saw it.
        asked: Option<SocketAddr>,
        /// Name of the process, empty when not known.
        comm: Comm,
        /// The message; shorter than `wire_len` when it was cut.
        message: Bytes,
        /// Its length on the wire.
        wire_len: u32,
    },
    /// Stream bytes of a watched connection.
    Payload {
        /// Which way.
        direction: Direction,
        /// Offset of the first byte in the stream of its direction.
        offset: u64,
        /// Bytes the segment carried from `offset` on.
        wire_len: u32,
        /// Bytes before this were lost to the capture.
        gap: bool,
        /// The connection was joined late: offsets are relative.
        late: bool,
        /// Begins with an HTTP/2 frame header.
        h2_frame: bool,
        /// Belongs to DNS over TCP.
        dns: bool,
        /// The bytes.
        bytes: Bytes,
    },
    /// The kernel dropped a packet on this node.
    Drop(Box<PacketDrop>),
    /// An asynchronous error on a UDP socket.
    SocketError {
        /// Addresses.
        ends: Endpoints,
        /// The errno.
        errno: u32,
    },
    /// A cgroup exists (made now, or found at start); the event's cgroup is its id.
    Cgroup {
        /// Path below the cgroup2 mount, beginning with a slash.
        path: String,
    },
    /// A cgroup was removed.
    CgroupGone,
    /// A process executed a program.
    Exec {
        /// Its name.
        comm: Comm,
    },
    /// A process ended.
    Exit,
    /// A process is older than obsflow.
    Running {
        /// Its name.
        comm: Comm,
        /// When it began.
        began: Mono,
    },
    /// A connection older than obsflow.
    Adopted {
        /// Addresses.
        ends: Endpoints,
        /// State of the socket.
        state: TcpState,
        /// Name of the process.
        comm: Comm,
        /// Bytes acknowledged before adoption.
        bytes_acked: u64,
        /// Bytes received before adoption.
        bytes_received: u64,
    },
    /// `tcp_info` of a watched connection.
    TcpInfo(Box<TcpInfo>),
    /// A pod's names became known (from capture files and log folders).
    Pod {
        /// The pod's UID, in the canonical hyphenated form.
        uid: String,
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
    },
    /// A drop reason or a kernel address got a name (from capture files; live, the kernel is asked).
    Name {
        /// What is named.
        of: Named,
        /// The name.
        text: String,
    },
    /// Events that never arrived.
    Lost {
        /// How many.
        count: u64,
    },
}

/// What [`EventBody::Name`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Named {
    /// A value of `enum skb_drop_reason`.
    DropReason(u32),
    /// A kernel address.
    Function(u64),
}

/// End of a connection or of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Close {
    /// Addresses.
    pub ends: Endpoints,
    /// What was asked for, where a connect hook saw it.
    pub asked: Option<SocketAddr>,
    /// Name of the process.
    pub comm: Comm,
    /// From SYN_SENT to the end.
    pub duration: Duration,
    /// SYN to ESTABLISHED, if it got that far.
    pub handshake: Option<Duration>,
    /// Payload bytes acknowledged by the peer.
    pub bytes_acked: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
    /// `sk_err`.
    pub errno: u32,
    /// `sk_err_soft`.
    pub soft_errno: u32,
    /// SYNs sent again.
    pub syn_retransmits: u32,
    /// Segments sent again.
    pub retransmits: u32,
    /// How the attempt ended, as far as the kernel side could tell.
    pub outcome: Outcome,
    /// The state before CLOSE.
    pub last_state: TcpState,
    /// A RST arrived.
    pub rst: bool,
    /// A packet of it was dropped on this node.
    pub dropped: bool,
}

/// A packet that the kernel dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct PacketDrop {
    /// Source (`local`) and destination (`remote`).
    pub ends: Endpoints,
    /// Protocol.
    pub protocol: Protocol,
    /// `enum skb_drop_reason`, if the kernel has it.
    pub reason: Option<u32>,
    /// Interface index, 0 when none.
    pub ifindex: u32,
    /// Kernel address that freed the packet.
    pub location: u64,
    /// Return addresses, innermost first.
    pub stack: Vec<u64>,
    /// TCP flags as on the wire.
    pub tcp_flags: u8,
    /// First bytes of a UDP payload.
    pub payload: Bytes,
}

/// `struct tcp_info`, the part that tells a stalled connection.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpInfo {
    /// Addresses.
    pub ends: Endpoints,
    /// State of the socket.
    pub state: TcpState,
    /// Segments not acknowledged.
    pub unacked: u32,
    /// Retransmission time-out.
    pub rto: Duration,
    /// Smoothed round trip.
    pub rtt: Duration,
    /// Consecutive time-outs.
    pub backoff: u32,
    /// Segments sent again, ever.
    pub total_retransmits: u32,
    /// Since payload was last sent.
    pub last_sent: Duration,
    /// Since payload was last received.
    pub last_received: Duration,
    /// Payload bytes acknowledged.
    pub bytes_acked: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
    /// Bytes waiting to be sent.
    pub not_sent_bytes: u64,
}

/// The kernel's 16-byte process name, as raw bytes without the padding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Comm([u8; 16]);

impl Comm {
    /// From the NUL-padded field of a record.
    #[must_use]
    pub fn new(raw: [u8; 16]) -> Self {
        Self(raw)
    }

    /// The bytes before the first NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.split(|&b| b == 0).next().unwrap_or_default()
    }

    /// Whether there is a name at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }
}

/// Control characters and bytes that are not UTF-8 are escaped.
impl std::fmt::Display for Comm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for chunk in self.as_bytes().utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() {
                    write!(f, "{}", c.escape_default())?
                } else {
                    write!(f, "{c}")?
                }
            }
            for b in chunk.invalid() {
                write!(f, "\\x{b:02x}")?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Comm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// An address of a record, IPv4-mapped ones as IPv4.
#[must_use]
pub fn ip(raw: [u8; 16]) -> IpAddr {
    std::net::Ipv6Addr::from(raw).to_canonical()
}
