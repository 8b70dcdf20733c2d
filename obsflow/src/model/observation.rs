//! What correlation makes of events: who did what, to which name, and what became of it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::cluster::Destination;
use super::event::{Direction, Outcome, PacketDrop, Protocol, TcpInfo, TcpState};
use super::exchange::{Exchange, Mismatch, Request, Tls};
use super::time::Mono;
use super::workload::{Process, Workload};

/// One thing a person may want to see.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// When.
    pub at: Mono,
    /// Whose it is: the workload on this node that looked up, connected, or whose packet was dropped.
    pub workload: Arc<Workload>,
    /// The process, if known.
    pub process: Option<Process>,
    /// Cgroup v2 id, 0 when unknown.
    pub cgroup: u64,
    /// Socket cookie, 0 when unknown.
    pub cookie: u64,
    /// Inode of the network namespace, 0 when unknown.
    pub netns: u32,
    /// The workload's address.
    pub local: Option<SocketAddr>,
    /// The other side's address, as the socket has it.
    pub remote: Option<SocketAddr>,
    /// The other side as the process asked for it, when it differs from `remote`.
    pub asked: Option<SocketAddr>,
    /// The name that was looked up for the remote (or asked) address, without the trailing dot.
    pub remote_name: Option<Arc<str>>,
    /// What the remote address belongs to, in the cluster.
    pub remote_is: Option<Arc<Destination>>,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A DNS query left.
    DnsQuery(DnsMessage),
    /// A DNS response arrived.
    DnsResponse {
        /// The message.
        message: DnsMessage,
        /// Since its query, when that was seen.
        latency: Option<Duration>,
    },
    /// A query found no answer in the resolver's time.
    DnsUnanswered {
        /// The query.
        query: DnsMessage,
        /// How long obsflow waited.
        after: Duration,
    },
    /// The kernel reported an error for a query (ICMP): nobody listens at the name server, or it is unreachable.
    DnsRefused {
        /// The query, when it was seen.
        query: Option<DnsMessage>,
        /// The errno.
        errno: u32,
    },
    /// A whole resolver search, all candidates and both families, came to its end.
    Lookup(Box<Lookup>),
    /// A SYN is about to be sent.
    Attempt,
    /// A SYN or a segment was sent again.
    Retransmit {
        /// How many times so far.
        count: u32,
        /// Whether it was a SYN.
        syn: bool,
    },
    /// The handshake completed.
    Established {
        /// SYN to ESTABLISHED.
        handshake: Duration,
    },
    /// A connection ended after it was established.
    Closed(Box<ConnectionEnd>),
    /// An attempt ended without a connection.
    ConnectFailed(Box<ConnectFailure>),
    /// The head of a request was sent.
    Request(Arc<Request>),
    /// A request was answered, or never will be.
    Exchange(Box<Exchange>),
    /// A TLS handshake came to its end.
    Tls(Box<Tls>),
    /// The two sides speak different protocols.
    Mismatch(Mismatch),
    /// A connection older than obsflow.
    Adopted {
        /// State of the socket.
        state: TcpState,
        /// Payload bytes acknowledged before obsflow knew it.
        bytes_acked: u64,
        /// Payload bytes received before that.
        bytes_received: u64,
    },
    /// Periodic state of a connection.
    TcpInfo(Box<TcpInfo>),
    /// A packet was dropped on this node.
    Dropped(Box<DropSeen>),
    /// Events that never arrived.
    Lost {
        /// How many.
        count: u64,
    },
}

/// A DNS message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsMessage {
    /// Transport.
    pub protocol: Protocol,
    /// Id of the header.
    pub id: u16,
    /// The question's name without the trailing dot ("." for the root); bytes that are not printable ASCII are
    /// escaped as `\DDD` (RFC 4343).
    pub name: Arc<str>,
    /// The question's type, `A`, `AAAA`, `TYPE65` ...
    pub qtype: Arc<str>,
    /// RCODE with the EDNS extension; 0 in a query.
    pub rcode: u16,
    /// Addresses in the answer.
    pub ips: Vec<IpAddr>,
    /// CNAME targets in the answer, in order.
    pub cnames: Vec<Arc<str>>,
    /// Types of the records in the answer.
    pub rrtypes: Vec<Arc<str>>,
    /// Smallest TTL of the answer, in seconds; `None` without answers.
    pub ttl: Option<u32>,
    /// The TC bit.
    pub truncated: bool,
}

/// A resolver search with one outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The name that was asked for, as far as the candidates tell: the one that resolved, else the shortest.
    pub name: Arc<str>,
    /// Every name tried, in order of first query.
    pub candidates: Vec<Candidate>,
    /// The outcome.
    pub outcome: LookupOutcome,
    /// Addresses of the successful candidate.
    pub ips: Vec<IpAddr>,
    /// From the first query to the answer that decided it, or to giving up.
    pub took: Duration,
    /// Name server.
    pub server: Option<SocketAddr>,
}

/// One name of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The name.
    pub name: Arc<str>,
    /// The type.
    pub qtype: Arc<str>,
    /// RCODE of the response, `None` when none came.
    pub rcode: Option<u16>,
}

/// Outcome of a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LookupOutcome {
    /// Some candidate gave an address.
    Resolved,
    /// Every candidate was answered NXDOMAIN.
    NxDomain,
    /// NOERROR, but no address in either family.
    NoData,
    /// SERVFAIL, REFUSED or another error code, and no success.
    ServerFailure(u16),
    /// No response.
    Unanswered,
    /// Nobody listens at the name server, or it cannot be reached: the errno.
    Refused(u32),
    /// The query was dropped on this node.
    Dropped,
}

/// End of a connection that was established (or adopted).
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionEnd {
    /// From SYN to the end.
    pub duration: Duration,
    /// SYN to ESTABLISHED.
    pub handshake: Option<Duration>,
    /// Payload bytes acknowledged by the peer.
    pub bytes_acked: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
    /// `sk_err`, 0 for an orderly end.
    pub errno: u32,
    /// Segments sent again.
    pub retransmits: u32,
    /// State before CLOSE.
    pub last_state: TcpState,
    /// A RST arrived.
    pub rst: bool,
}

/// An attempt that came to nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectFailure {
    /// How it ended.
    pub outcome: Outcome,
    /// The errno of the socket, or of `connect(2)`; 0 when there is none.
    pub errno: u32,
    /// From SYN to the end.
    pub duration: Duration,
    /// SYNs sent again.
    pub syn_retransmits: u32,
    /// The drop that explains it.
    pub drop: Option<DropSeen>,
}

/// A drop, with names.
#[derive(Clone, Debug, PartialEq)]
pub struct DropSeen {
    /// Name of the reason without its prefix (`NETFILTER_DROP`).
    pub reason: Arc<str>,
    /// Where in the stack: `OUTPUT`, `INPUT`, `FORWARD`, `PREROUTING`, `POSTROUTING`, or the kernel function.
    pub hook: Option<Arc<str>>,
    /// Interface name or index, when the packet had a device.
    pub ifindex: u32,
    /// The packet.
    pub packet: PacketDrop,
    /// Which way it went, when the workload is known.
    pub direction: Option<Direction>,
    /// The DNS question in it.
    pub question: Option<Arc<str>>,
}
