//! Records that travel through the ring buffer and into capture files.
//!
//! A record is a [`Header`], the rest of its struct, and for some kinds a tail of payload bytes. `Header::len` counts
//! all three. A ring item may be longer than its record: the kernel reserves in size classes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Values of [`Header::kind`]. A kind never changes its meaning; new kinds take new numbers.
pub mod kind {
    /// [`super::Attempt`]: a socket went from CLOSE to SYN_SENT.
    pub const ATTEMPT: u16 = 1;
    /// [`super::Established`]: the handshake of a watched connection completed.
    pub const ESTABLISHED: u16 = 2;
    /// [`super::Retransmit`]: a SYN or a segment of a watched connection was sent again.
    pub const RETRANSMIT: u16 = 3;
    /// [`super::Close`]: a watched connection, or an attempt at one, ended.
    pub const CLOSE: u16 = 4;
    /// [`super::ConnectFailed`]: `connect(2)` failed before a SYN was made.
    pub const CONNECT_FAILED: u16 = 5;
    /// [`super::Dns`] and the DNS message (UDP payload, without a TCP length prefix).
    pub const DNS: u16 = 6;
    /// [`super::Payload`] and captured stream bytes of a watched connection.
    pub const PAYLOAD: u16 = 7;
    /// [`super::Drop`] and the first bytes of the UDP payload, if any.
    pub const DROP: u16 = 8;
    /// [`super::SocketError`]: an asynchronous error was reported on a UDP socket.
    pub const SOCKET_ERROR: u16 = 9;
    /// [`super::Cgroup`] and its path below the cgroup2 mount: it was made, or is there at start.
    pub const CGROUP: u16 = 10;
    /// [`super::Cgroup`] and its path: it was removed.
    pub const CGROUP_GONE: u16 = 11;
    /// [`super::Process`]: a process executed a new program.
    pub const EXEC: u16 = 12;
    /// [`super::Process`]: a process (not a single thread of it) ended.
    pub const EXIT: u16 = 13;
    /// One more than the last kind the kernel side makes.
    pub const KERNEL_END: u16 = 14;

    /// [`super::Adopted`]: made in user space, a connection that is older than obsflow.
    pub const ADOPTED: u16 = 0x101;
    /// [`super::TcpInfo`]: made in user space from `sock_diag`.
    pub const TCP_INFO: u16 = 0x102;
    /// [`super::Header`] and `uid NUL namespace NUL pod` as UTF-8: made in user space, so that a capture names pods.
    pub const POD: u16 = 0x103;
    /// [`super::Lost`]: made in user space, events that never became records.
    pub const LOST: u16 = 0x104;
    /// [`super::Name`] and its text: made in user space, so that a capture names drop reasons and kernel addresses.
    pub const NAME: u16 = 0x105;
    /// [`super::Running`]: made in user space, a process that is older than obsflow.
    pub const RUNNING: u16 = 0x106;
}

/// Bits of [`Header::flags`].
pub mod flag {
    /// Towards the workload (otherwise from it).
    pub const INGRESS: u16 = 1;
    /// [`super::Payload`]: bytes before this one were not captured although they should have been.
    pub const GAP: u16 = 1 << 1;
    /// [`super::Payload`]: the connection was joined late; offsets count from the first segment seen.
    pub const LATE: u16 = 1 << 2;
    /// [`super::Payload`]: begins with a 9-byte HTTP/2 frame header.
    pub const H2_FRAME: u16 = 1 << 3;
    /// A RST arrived for this socket.
    pub const RST: u16 = 1 << 4;
    /// The kernel dropped a packet of this socket on this node for a watched reason.
    pub const DROPPED: u16 = 1 << 5;
    /// The process and cgroup come from the packet or socket, not from the calling process.
    pub const SOFTIRQ: u16 = 1 << 6;
    /// [`super::Dns`], [`super::Payload`]: the tail is shorter than what was on the wire.
    pub const TRUNCATED: u16 = 1 << 7;
    /// [`super::Payload`]: belongs to a DNS-over-TCP connection.
    pub const DNS_STREAM: u16 = 1 << 8;
    /// `asked` was seen by a connect hook (otherwise it repeats the socket's remote address).
    pub const ASKED: u16 = 1 << 9;
}

/// What every record begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// One of [`kind`].
    pub kind: u16,
    /// Bits of [`flag`].
    pub flags: u16,
    /// Length in bytes of the record: header, body and tail.
    pub len: u32,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub ts_ns: u64,
    /// Id of the cgroup v2, 0 when unknown.
    pub cgroup: u64,
    /// Socket cookie, 0 when unknown.
    pub cookie: u64,
    /// Inode of the network namespace, 0 when unknown.
    pub netns: u32,
    /// Process id (the thread group's) in the initial pid namespace, 0 when unknown.
    pub pid: u32,
}

/// A connection as its socket on this node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Tuple {
    /// Local address; of a dropped packet its source.
    pub local: [u8; 16],
    /// Remote address; of a dropped packet its destination.
    pub remote: [u8; 16],
    /// Local port.
    pub local_port: u16,
    /// Remote port.
    pub remote_port: u16,
    /// IP protocol: 6 or 17.
    pub protocol: u8,
    /// Zero.
    pub pad: [u8; 3],
}

/// The destination that a process asked for, before anything rewrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Peer {
    /// Address.
    pub addr: [u8; 16],
    /// Port.
    pub port: u16,
    /// Zero.
    pub pad: [u8; 6],
}

/// Body of [`kind::ATTEMPT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Attempt {
    /// Common part.
    pub header: Header,
    /// The socket's addresses; the local one may still be unset.
    pub tuple: Tuple,
    /// What the process asked for.
    pub asked: Peer,
    /// Name of the process (its main thread), NUL-padded.
    pub comm: [u8; 16],
}

/// Body of [`kind::ESTABLISHED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Established {
    /// Common part.
    pub header: Header,
    /// Addresses.
    pub tuple: Tuple,
    /// From SYN_SENT to ESTABLISHED, in nanoseconds.
    pub handshake_ns: u64,
}

/// Body of [`kind::RETRANSMIT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Retransmit {
    /// Common part.
    pub header: Header,
    /// Addresses.
    pub tuple: Tuple,
    /// Retransmissions of this connection so far in its present state.
    pub count: u32,
    /// The socket's state (`TCP_*` of `include/net/tcp_states.h`): 2 is SYN_SENT.
    pub state: u32,
}

/// Body of [`kind::CLOSE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Close {
    /// Common part.
    pub header: Header,
    /// Addresses.
    pub tuple: Tuple,
    /// What the process asked for.
    pub asked: Peer,
    /// Name of the process, NUL-padded.
    pub comm: [u8; 16],
    /// From SYN_SENT (or from adoption) to the end, in nanoseconds.
    pub duration_ns: u64,
    /// From SYN_SENT to ESTABLISHED, in nanoseconds; 0 when it never was.
    pub handshake_ns: u64,
    /// Payload bytes the peer acknowledged (SYN and FIN not counted).
    pub bytes_acked: u64,
    /// Payload bytes received in order (FIN not counted).
    pub bytes_received: u64,
    /// `sk_err` at the end: an errno, or 0.
    pub error: u32,
    /// `sk_err_soft` at the end: an errno, or 0.
    pub soft_error: u32,
    /// SYNs sent again.
    pub syn_retransmits: u32,
    /// Segments sent again after the handshake.
    pub retransmits: u32,
    /// One of [`super::conn::outcome`].
    pub outcome: u16,
    /// The state before CLOSE.
    pub last_state: u16,
    /// Zero.
    pub pad: u32,
}

/// Body of [`kind::CONNECT_FAILED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ConnectFailed {
    /// Common part.
    pub header: Header,
    /// What the process asked for.
    pub asked: Peer,
    /// Name of the process, NUL-padded.
    pub comm: [u8; 16],
    /// The errno that `connect(2)` returned, 0 when no hook could see it.
    pub error: u32,
    /// Zero.
    pub pad: u32,
}

/// Body of [`kind::DNS`]; the message follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Dns {
    /// Common part. [`flag::INGRESS`] marks what came from the name server.
    pub header: Header,
    /// Addresses as in the packet.
    pub tuple: Tuple,
    /// What the process asked for, when the connect and sendmsg hooks saw it ([`flag::ASKED`]).
    pub asked: Peer,
    /// Name of the process, NUL-padded; empty when not known here.
    pub comm: [u8; 16],
    /// Length of the message on the wire, in bytes.
    pub wire_len: u32,
    /// Length of the tail, in bytes.
    pub payload_len: u32,
}

/// Body of [`kind::PAYLOAD`]; the bytes follow. The connection is known by its cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Payload {
    /// Common part. [`flag::INGRESS`] marks what came from the peer.
    pub header: Header,
    /// Offset of the first byte of the tail in the stream of its direction.
    pub offset: u64,
    /// Bytes that the segment carried from `offset` on.
    pub wire_len: u32,
    /// Length of the tail, in bytes.
    pub payload_len: u32,
}

/// Frames kept of a kernel stack.
pub const STACK_DEPTH: usize = 16;

/// Body of [`kind::DROP`]; the first bytes of a UDP payload follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Drop {
    /// Common part; cookie and cgroup are 0 when the packet had left its socket's namespace.
    pub header: Header,
    /// The packet's source (`local`) and destination (`remote`).
    pub tuple: Tuple,
    /// `enum skb_drop_reason` of the running kernel; [`NO_REASON`] where the kernel gives none.
    pub reason: u32,
    /// Interface index of the packet's device, 0 when it had none.
    pub ifindex: u32,
    /// Kernel address that freed the packet.
    pub location: u64,
    /// Return addresses, innermost first; 0 ends the list.
    pub stack: [u64; STACK_DEPTH],
    /// TCP flags as on the wire (FIN 1, SYN 2, RST 4, PSH 8, ACK 16).
    pub tcp_flags: u32,
    /// Length of the tail, in bytes.
    pub payload_len: u32,
}

/// [`Drop::reason`] on kernels before 5.17.
pub const NO_REASON: u32 = u32::MAX;

/// Body of [`kind::SOCKET_ERROR`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SocketError {
    /// Common part.
    pub header: Header,
    /// Addresses.
    pub tuple: Tuple,
    /// The errno.
    pub error: u32,
    /// Zero.
    pub pad: u32,
}

/// Body of [`kind::CGROUP`] and [`kind::CGROUP_GONE`]; the path follows. `Header::cgroup` is the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Cgroup {
    /// Common part.
    pub header: Header,
    /// Length of the path, in bytes.
    pub path_len: u32,
    /// Zero.
    pub pad: u32,
}

/// Body of [`kind::EXEC`] and [`kind::EXIT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Process {
    /// Common part.
    pub header: Header,
    /// Name of the process, NUL-padded.
    pub comm: [u8; 16],
}

/// Body of [`kind::ADOPTED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Adopted {
    /// Common part.
    pub header: Header,
    /// Addresses.
    pub tuple: Tuple,
    /// Name of the process, NUL-padded.
    pub comm: [u8; 16],
    /// The socket's state.
    pub state: u32,
    /// Zero.
    pub pad: u32,
    /// Payload bytes acknowledged before adoption.
    pub bytes_acked: u64,
    /// Payload bytes received before adoption.
    pub bytes_received: u64,
}

/// Body of [`kind::TCP_INFO`]: `struct tcp_info` of `include/uapi/linux/tcp.h`, the fields that tell a stalled
/// connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TcpInfo {
    /// Common part.
    pub header: Header,
    /// Addresses.
    pub tuple: Tuple,
    /// The socket's state.
    pub state: u32,
    /// Segments sent and not acknowledged.
    pub unacked: u32,
    /// Retransmission time-out, in microseconds.
    pub rto_us: u32,
    /// Smoothed round trip, in microseconds.
    pub rtt_us: u32,
    /// Consecutive time-outs of the segment at the head.
    pub backoff: u32,
    /// Segments sent again, ever.
    pub total_retransmits: u32,
    /// Milliseconds since payload was last sent.
    pub last_sent_ms: u32,
    /// Milliseconds since payload was last received.
    pub last_received_ms: u32,
    /// Payload bytes acknowledged.
    pub bytes_acked: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
    /// Bytes in the send queue that were not sent yet.
    pub not_sent_bytes: u64,
}

/// Body of [`kind::LOST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Lost {
    /// Common part.
    pub header: Header,
    /// Events lost since the record of this kind before it.
    pub count: u64,
}

/// Values of [`Name::space`].
pub mod name_space {
    /// `Name::code` is a drop reason.
    pub const DROP_REASON: u32 = 1;
    /// `Name::code` is a kernel address, the text its function.
    pub const FUNCTION: u32 = 2;
}

/// Body of [`kind::NAME`]; the text follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Name {
    /// Common part.
    pub header: Header,
    /// What is named.
    pub code: u64,
    /// One of [`name_space`].
    pub space: u32,
    /// Length of the text, in bytes.
    pub text_len: u32,
}

/// Body of [`kind::RUNNING`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Running {
    /// Common part; the time is when obsflow looked.
    pub header: Header,
    /// Name of the process, NUL-padded.
    pub comm: [u8; 16],
    /// When the process began, `CLOCK_MONOTONIC` in nanoseconds.
    pub began_ns: u64,
}

// A record's size is part of the format: the size here, the fields above, and both sides agree or nothing compiles.
const _: () = {
    assert!(size_of::<Header>() == 40);
    assert!(size_of::<Tuple>() == 40);
    assert!(size_of::<Peer>() == 24);
    assert!(size_of::<Attempt>() == 120);
    assert!(size_of::<Established>() == 88);
    assert!(size_of::<Retransmit>() == 88);
    assert!(size_of::<Close>() == 176);
    assert!(size_of::<ConnectFailed>() == 88);
    assert!(size_of::<Dns>() == 128);
    assert!(size_of::<Payload>() == 56);
    assert!(size_of::<Drop>() == 232);
    assert!(size_of::<SocketError>() == 88);
    assert!(size_of::<Cgroup>() == 48);
    assert!(size_of::<Process>() == 56);
    assert!(size_of::<Adopted>() == 120);
    assert!(size_of::<TcpInfo>() == 136);
    assert!(size_of::<Lost>() == 48);
    assert!(size_of::<Name>() == 56);
    assert!(size_of::<Running>() == 64);
};
