//! The only writer of the ring buffer, and the exact counters.
//!
//! Records are submitted without a wake-up: user space drains the ring on a timer, which costs an event 0.2 us where
//! a wake-up each costs 4 us.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::{BPF_NOEXIST, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::maps::PerCpuHashMap;
use aya_ebpf::maps::ring_buf::RingBufEntry;
use obsflow_ebpf::abi::count::{ConnCountKey, DnsCountKey, stat};
use obsflow_ebpf::abi::record::Header;

use crate::maps::{CONN_COUNTS, DNS_COUNTS, EVENTS, STATS};

/// A record whose fixed part is `T`, with room for a tail behind it.
#[repr(C)]
pub struct Sized<T, const TAIL: usize> {
    /// The record.
    pub record: T,
    /// Its tail; only what `Header::len` counts was written.
    pub tail: [u8; TAIL],
}

/// Adds to one of [`stat`].
#[inline(always)]
pub fn count(index: u32) {
    if let Some(value) = STATS.get_ptr_mut(index) {
        add(value, 1);
    }
}

/// Adds to a per-CPU value. Atomic, because a softirq on this CPU may interrupt a program that runs for a process.
#[inline(always)]
pub fn add(value: *mut u64, by: u64) {
    // `AtomicU64` has no `fetch_add` on this target, which lacks compare-and-swap; the instruction exists.
    // SAFETY: map values are 8-byte aligned and live as long as the program.
    unsafe { core::arch::asm!("lock *(u64 *)({value} + 0) += {by}", value = in(reg) value, by = in(reg) by) };
}

/// Adds one to the entry of `key`, making it when it is not there; a full map is counted.
#[inline(always)]
fn count_key<K>(map: &PerCpuHashMap<K, u64>, key: &K) {
    if let Some(value) = map.get_ptr_mut(key) {
        add(value, 1);
        return;
    }
    let zero = 0u64;
    // Another CPU may have made it meanwhile: that is no error, the entry is there.
    let _ = map.insert(key, zero, u64::from(BPF_NOEXIST));
    match map.get_ptr_mut(key) {
        Some(value) => add(value, 1),
        None => count(stat::COUNTS_FULL),
    }
}

/// Counts an outcome of a connection.
#[inline(always)]
pub fn count_conn(cgroup: u64, port: u16, outcome: u16) {
    count_key(
        &CONN_COUNTS,
        &ConnCountKey {
            cgroup,
            port,
            outcome,
            pad: 0,
        },
    );
}

/// Counts a DNS message.
#[inline(always)]
pub fn count_dns(cgroup: u64, rcode: u32) {
    count_key(
        &DNS_COUNTS,
        &DnsCountKey {
            cgroup,
            rcode,
            pad: 0,
        },
    );
}

/// Room in the ring for a `T`, or a counted loss.
#[inline(always)]
pub fn reserve<T: 'static>(kind: u16) -> Option<Slot<T>> {
    // Counted before the record is written: an atomic add waits for all stores before it, and a record's are slow.
    count(stat::MADE + u32::from(kind));
    match EVENTS.reserve::<T>(0) {
        Some(entry) => Some(Slot { entry, kind }),
        None => {
            count(stat::LOST + u32::from(kind));
            None
        }
    }
}

/// A reserved record. It must be submitted or discarded on every path, which the verifier checks.
#[must_use]
pub struct Slot<T: 'static> {
    entry: RingBufEntry<T>,
    kind: u16,
}

impl<T: 'static> Slot<T> {
    /// Where to write.
    #[inline(always)]
    pub fn as_ptr(&mut self) -> *mut T {
        MaybeUninit::as_mut_ptr(&mut self.entry)
    }

    /// Hands the record to user space.
    #[inline(always)]
    pub fn submit(self) {
        self.entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    }

    /// Drops the reservation, for data that could not be read; counted, and as a loss of its kind.
    #[inline(always)]
    pub fn discard(self) {
        self.entry.discard(u64::from(BPF_RB_NO_WAKEUP));
        count(stat::UNREADABLE);
        count(stat::LOST + u32::from(self.kind));
    }
}

/// A header for `kind` with `len` bytes in all, at this moment.
#[inline(always)]
pub fn header(kind: u16, flags: u16, len: usize) -> Header {
    Header {
        kind,
        flags,
        len: len as u32,
        // SAFETY: the helper has no preconditions.
        ts_ns: unsafe { bpf_ktime_get_ns() },
        cgroup: 0,
        cookie: 0,
        netns: 0,
        pid: 0,
    }
}

/// `len`, at least 1 and at most `most`, in a way that the verifier sees right where it is used. The compiler knows more
/// than the verifier and would leave the comparison out, so the value passes through a register it cannot follow.
#[inline(always)]
pub fn bounded(len: u32, most: usize) -> u32 {
    // The last byte's index, because it needs a bound on one side only: the verifiers of 5.10 and 6.1 learn
    // nothing from a comparison with zero.
    let mut last = u64::from(len).saturating_sub(1);
    // SAFETY: a move of a register to itself. (No instruction at all would leave line information that kernels refuse.)
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) last, options(pure, nomem, nostack)) };
    let bound = most as u64 - 1;
    let last = if last > bound { bound } else { last };
    (last + 1) as u32
}
