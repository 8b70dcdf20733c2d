//! What the kernel side remembers of a connection between two hooks.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::record::{Peer, Tuple};

/// How an attempt ended, as far as the kernel side can tell at that moment. User space refines `GIVEN_UP` and
/// `TIMED_OUT` to "dropped on this node" when a drop of the same addresses was seen without its socket.
pub mod outcome {
    /// Still going on, or of a connection that was established.
    pub const ESTABLISHED: u16 = 1;
    /// A RST answered the SYN.
    pub const REFUSED: u16 = 2;
    /// An ICMP error (or a local REJECT) answered the SYN.
    pub const REJECTED: u16 = 3;
    /// No route, or no neighbour answered.
    pub const UNREACHABLE: u16 = 4;
    /// The kernel gave up sending SYNs (ETIMEDOUT).
    pub const TIMED_OUT: u16 = 5;
    /// The application closed the socket while SYNs went unanswered.
    pub const GIVEN_UP: u16 = 6;
    /// The application closed the socket before the first SYN time-out.
    pub const ABANDONED: u16 = 7;
    /// `connect(2)` failed before a SYN was made.
    pub const FAILED: u16 = 8;
    /// A packet of the attempt was dropped on this node and nothing else answered it.
    pub const DROPPED: u16 = 9;
    /// Not an outcome: attempts counted as they begin.
    pub const ATTEMPT: u16 = 10;
    /// Not an outcome: calls of `connect(2)` seen by the connect hooks.
    pub const ASKED: u16 = 11;
    /// One more than the last value.
    pub const END: u16 = 12;
}

/// Value of [`super::names::UDP_ORIGINS`], by socket cookie: who sent to a name server, and where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UdpOrigin {
    /// What was asked for.
    pub asked: Peer,
    /// Name of the process, NUL-padded.
    pub comm: [u8; 16],
    /// Process id of the caller.
    pub pid: u32,
    /// Inode of the network namespace; 0, it is not looked up for each message.
    pub netns: u32,
}

/// Bits of [`Conn::flags`].
pub mod conn_flag {
    /// The handshake completed.
    pub const ESTABLISHED: u32 = 1;
    /// A RST arrived.
    pub const RST: u32 = 1 << 1;
    /// A packet was dropped on this node for a watched reason.
    pub const DROPPED: u32 = 1 << 2;
    /// `asked` comes from a connect hook.
    pub const ASKED: u32 = 1 << 3;
    /// Older than obsflow: stream offsets count from the first segment seen.
    pub const ADOPTED: u32 = 1 << 4;
    /// A DNS-over-TCP connection.
    pub const DNS: u32 = 1 << 5;
    /// The SYN was made. An entry that stays without it is a `connect(2)` that failed synchronously.
    pub const ATTEMPTED: u32 = 1 << 6;
    /// The last payload went towards the peer.
    pub const LAST_SENT: u32 = 1 << 7;
    /// The last payload came from the peer.
    pub const LAST_RECEIVED: u32 = 1 << 8;
    /// Without BTF tracepoints only: the peer's FIN arrived.
    pub const FIN: u32 = 1 << 9;
    /// Without BTF tracepoints only: the last owner closed the socket while it was connecting.
    pub const RELEASED: u32 = 1 << 10;
    /// Without BTF tracepoints only: the kernel gave up sending SYNs.
    pub const EXPIRED: u32 = 1 << 11;
    /// Without BTF tracepoints only: a second SYN left the socket, so the first one had left the node's queues.
    pub const RESENT: u32 = 1 << 12;
    /// Without BTF tracepoints only: sending a SYN was EPERM, so this node's OUTPUT drops them.
    pub const DENIED: u32 = 1 << 13;
}

/// Capture state of one direction of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Stream {
    /// Sequence number of stream offset 0 (initial sequence number + 1).
    pub base: u32,
    /// Bits of [`stream_state`].
    pub state: u32,
    /// Offset up to which the stream was looked at.
    pub seen: u64,
    /// Offset of the next HTTP/2 frame header.
    pub next_frame: u64,
    /// Offset up to which bytes are to be captured.
    pub capture_until: u64,
    /// Beginning of a frame header that a segment boundary cut.
    pub partial: [u8; 9],
    /// Length of `partial`.
    pub partial_len: u8,
    /// Flags for the records of the segment at hand.
    pub flags: u16,
    /// Offset in the packet of the payload of the segment at hand.
    pub data: u32,
    /// Stream offset of the first byte of the segment at hand.
    pub start: u64,
    /// Stream offset behind the last byte of the segment at hand.
    pub end: u64,
}

/// Bits of [`Stream::state`].
pub mod stream_state {
    /// `base` is known.
    pub const BASED: u32 = 1;
    /// HTTP/2 frames are followed.
    pub const H2: u32 = 1 << 1;
    /// Bytes were missed: frames are followed no more.
    pub const LOST: u32 = 1 << 2;
    /// `base` is the first segment seen, not the handshake's.
    pub const LATE: u32 = 1 << 3;
}

/// Value of [`super::names::CONNS`], by socket cookie: a watched connection, from `connect(2)` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Conn {
    /// When the SYN was made, or the connection adopted; `CLOCK_MONOTONIC` in nanoseconds.
    pub start_ns: u64,
    /// From SYN_SENT to ESTABLISHED, in nanoseconds.
    pub handshake_ns: u64,
    /// Cgroup of the process that connected.
    pub cgroup: u64,
    /// Process id.
    pub pid: u32,
    /// Inode of the network namespace.
    pub netns: u32,
    /// Bits of [`conn_flag`].
    pub flags: u32,
    /// SYNs sent again.
    pub syn_retransmits: u32,
    /// Segments sent again after the handshake.
    pub retransmits: u32,
    /// Payload records that may still be emitted in the current window.
    pub tokens: u32,
    /// When `tokens` was last filled, `CLOCK_MONOTONIC` in nanoseconds.
    pub tokens_ns: u64,
    /// Addresses at SYN_SENT.
    pub tuple: Tuple,
    /// What the process asked for.
    pub asked: Peer,
    /// Name of the process, NUL-padded.
    pub comm: [u8; 16],
    /// Towards the peer.
    pub sent: Stream,
    /// From the peer.
    pub received: Stream,
}

const _: () = {
    assert!(size_of::<UdpOrigin>() == 48);
    assert!(size_of::<Stream>() == 64);
    assert!(size_of::<Conn>() == 264);
};
