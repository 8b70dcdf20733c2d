//! Exact counters: per-CPU maps that never pass through the ring buffer.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of [`super::names::CONN_COUNTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ConnCountKey {
    /// Cgroup of the process that connected.
    pub cgroup: u64,
    /// Remote port asked for.
    pub port: u16,
    /// One of [`super::conn::outcome`].
    pub outcome: u16,
    /// Zero.
    pub pad: u32,
}

/// Key of [`super::names::DNS_COUNTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DnsCountKey {
    /// Cgroup of the resolver's socket.
    pub cgroup: u64,
    /// RCODE of the header (0 to 15), or one of [`dns_count`].
    pub rcode: u32,
    /// Zero.
    pub pad: u32,
}

/// Values of [`DnsCountKey::rcode`] beyond the RCODEs.
pub mod dns_count {
    /// Queries.
    pub const QUERY: u32 = 0x100;
    /// Messages too short for a DNS header.
    pub const MALFORMED: u32 = 0x101;
}

/// Key of [`super::names::TUNNEL_COUNTS`]: outer packets of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TunnelKey {
    /// Address of the remote tunnel endpoint.
    pub peer: [u8; 16],
    /// VXLAN or Geneve network identifier; 0 beneath a port of [`port_class::OWN_VNI`].
    pub vni: u32,
    /// Outer UDP destination port.
    pub port: u16,
    /// 1 when received, 0 when sent.
    pub ingress: u16,
    /// Interface index of the underlay.
    pub ifindex: u32,
    /// Zero.
    pub pad: u32,
}

/// Value of [`super::names::TUNNEL_COUNTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TunnelCount {
    /// Outer packets.
    pub packets: u64,
    /// Outer bytes from the IP header on.
    pub bytes: u64,
    /// Last packet, `CLOCK_MONOTONIC` in nanoseconds.
    pub last_ns: u64,
}

/// Indexes of [`super::names::STATS`]. Records are counted by kind: `MADE + kind`, `LOST + kind`.
pub mod stat {
    /// Records that were to be made. What is not lost of them is in the ring.
    pub const MADE: u32 = 0;
    /// Records the ring buffer had no room for, and the few of [`UNREADABLE`].
    pub const LOST: u32 = 32;
    /// Connections not tracked because [`super::super::names::CONNS`] was full.
    pub const CONNS_FULL: u32 = 64;
    /// Counts not made because a counter map of cgroups was full.
    pub const COUNTS_FULL: u32 = 65;
    /// Payload not captured because its connection had used up its rate.
    pub const RATE_LIMITED: u32 = 66;
    /// Packets of which the kernel side could not read what it needed.
    pub const UNREADABLE: u32 = 67;
    /// Outer packets not counted because [`super::super::names::TUNNEL_COUNTS`] was full.
    pub const TUNNELS_FULL: u32 = 68;
    /// Number of entries.
    pub const END: u32 = 72;
}

/// Indexes of [`super::names::LIVE`].
pub mod live {
    /// Calls of `connect(2)` to watched ports whose SYN is not made yet; the kernel side adds and subtracts.
    pub const PENDING: u32 = 0;
    /// Of those, what user space took out of the map because it had failed synchronously; only user space writes.
    /// While both are equal, no connection is between its connect hook and its SYN.
    pub const TAKEN: u32 = 1;
    /// Tracked connections whose socket's remote port is not a watched one: something rewrote the destination.
    pub const REWRITTEN: u32 = 2;
    /// Number of entries.
    pub const END: u32 = 3;
}

/// Classes of a port, bits of the values of [`super::names::PORT_CLASS`].
pub mod port_class {
    /// Telemetry is sent to this port over TCP.
    pub const TELEMETRY: u8 = 1;
    /// Name servers answer on this port.
    pub const DNS: u8 = 2;
    /// Tunnel endpoints receive on this UDP port.
    pub const TUNNEL: u8 = 4;
    /// Each packet to this UDP port brings its own network identifier: it says nothing of the tunnel.
    pub const OWN_VNI: u8 = 8;
}

const _: () = {
    assert!(size_of::<ConnCountKey>() == 16);
    assert!(size_of::<DnsCountKey>() == 16);
    assert!(size_of::<TunnelKey>() == 32);
    assert!(size_of::<TunnelCount>() == 24);
};
