//! Every map. Sizes are defaults; the loader may change them.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf};
use obsflow_ebpf::abi::conn::{Conn, UdpOrigin};
use obsflow_ebpf::abi::count::{ConnCountKey, DnsCountKey, TunnelCount, TunnelKey, live, port_class, stat};
use obsflow_ebpf::abi::names::DROP_REASONS_LEN;

/// Records to user space.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

/// Class of every port; user space changes it while programs run.
#[map]
pub(crate) static PORT_CLASS: Array<u8> = Array::with_max_entries(1 << 16, 0);

/// Which drop reasons are reported.
#[map]
pub(crate) static DROP_REASONS: Array<u8> = Array::with_max_entries(DROP_REASONS_LEN, 0);

/// Watched connections by socket cookie.
#[map]
pub(crate) static CONNS: HashMap<u64, Conn> = HashMap::with_max_entries(16_384, 0);

/// Sockets that talk to name servers. Least recently used entries go first: what is lost is a name, not an event.
#[map]
pub(crate) static UDP_ORIGINS: LruHashMap<u64, UdpOrigin> = LruHashMap::with_max_entries(16_384, 0);

/// Numbers that are true right now.
#[map]
pub(crate) static LIVE: Array<u64> = Array::with_max_entries(live::END, 0);

/// Counters of the kernel side itself.
#[map]
pub(crate) static STATS: PerCpuArray<u64> = PerCpuArray::with_max_entries(stat::END, 0);

/// Connections by cgroup, port and outcome.
#[map]
pub(crate) static CONN_COUNTS: PerCpuHashMap<ConnCountKey, u64> = PerCpuHashMap::with_max_entries(16_384, 0);

/// DNS messages by cgroup and rcode.
#[map]
pub(crate) static DNS_COUNTS: PerCpuHashMap<DnsCountKey, u64> = PerCpuHashMap::with_max_entries(8_192, 0);

/// Outer packets by tunnel peer.
#[map]
pub(crate) static TUNNEL_COUNTS: PerCpuHashMap<TunnelKey, TunnelCount> =
    PerCpuHashMap::with_max_entries(4_096, 0);

/// Which ports have a class at all, one bit each: 8 KiB that stay in the first-level cache, where the classes would cost
/// every port a cache line of its own.
#[map]
pub static PORT_WATCHED: Array<u64> = Array::with_max_entries(1 << 10, 0);

/// Class bits of `port`.
#[inline(always)]
pub(crate) fn class(port: u16) -> u8 {
    let watched = match PORT_WATCHED.get_ptr(u32::from(port >> 6)) {
        // SAFETY: a map value lives as long as the program.
        Some(word) => unsafe { word.read_volatile() },
        None => 0,
    };
    if watched >> (port & 63) & 1 == 0 {
        return 0;
    }
    match PORT_CLASS.get_ptr(u32::from(port)) {
        // SAFETY: a map value lives as long as the program.
        Some(class) => unsafe { class.read_volatile() },
        None => 0,
    }
}

/// Whether connections to a port of this class are followed.
#[inline(always)]
pub(crate) const fn tcp_watched(class: u8) -> bool {
    class & (port_class::TELEMETRY | port_class::DNS) != 0
}

/// One of [`live`].
#[inline(always)]
pub(crate) fn live(index: u32) -> u64 {
    match LIVE.get_ptr(index) {
        // SAFETY: a map value lives as long as the program.
        Some(value) => unsafe { value.read_volatile() },
        None => 0,
    }
}

/// Changes one of [`live`]; `by` may be `u64::MAX` for minus one.
#[inline(always)]
pub(crate) fn change_live(index: u32, by: u64) {
    if let Some(value) = LIVE.get_ptr_mut(index) {
        crate::emit::add(value, by);
    }
}
