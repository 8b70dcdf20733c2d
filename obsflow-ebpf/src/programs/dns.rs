//! DNS messages over UDP, whole up to 4,096 bytes.

use aya_ebpf::bindings::__sk_buff;
use obsflow_ebpf::abi::count::dns_count;
use obsflow_ebpf::abi::record::{Dns, flag, kind};

use super::skb::{cgroup, cookie, load_bytes, udp_tuple};
use crate::emit::{Sized, bounded, count_dns, header, reserve};
use crate::kernel::{copy, zero};
use crate::maps::UDP_ORIGINS;

/// Bytes of a DNS header.
const DNS_HEADER: u32 = 12;
/// What is kept of a message.
const MAX: u32 = 4096;

/// Bytes of a UDP header.
const UDP_HEADER: u32 = 8;

/// Looks at a UDP packet of a resolver's socket: its IP version and the offset of its UDP header. Returns nothing of use.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn dns_message(skb: *mut __sk_buff, ingress: u32, version: u32, transport: u32) -> u32 {
    let ingress = ingress != 0;
    let payload = transport + UDP_HEADER;
    // SAFETY: the kernel's context.
    let len = unsafe { (*skb).len };
    let cgroup = cgroup(skb);
    let mut head = 0u32;
    // SAFETY: the buffer has the length that is passed.
    if len < payload + DNS_HEADER || !unsafe { load_bytes(skb, payload, (&raw mut head).cast(), 4) } {
        count_dns(cgroup, dns_count::MALFORMED);
        return 0;
    }
    let head = head.to_le_bytes();
    let response = head[2] & 0x80 != 0;
    // A resolver sends queries and receives responses; anything else on this port is not a look-up.
    if response != ingress {
        return 0;
    }
    count_dns(
        cgroup,
        if response {
            u32::from(head[3] & 0xf)
        } else {
            dns_count::QUERY
        },
    );
    let wire_len = len - payload;
    let kept = if wire_len > MAX { MAX } else { wire_len };
    let place = version << 8 | transport;
    // The ring takes constant sizes only: five classes, so that a message wastes less than it is long.
    if kept <= 64 {
        record::<64>(skb, place, ingress, kept, cgroup);
    } else if kept <= 128 {
        record::<128>(skb, place, ingress, kept, cgroup);
    } else if kept <= 384 {
        record::<384>(skb, place, ingress, kept, cgroup);
    } else if kept <= 1408 {
        record::<1408>(skb, place, ingress, kept, cgroup);
    } else {
        record::<4096>(skb, place, ingress, kept, cgroup);
    }
    0
}

#[inline(always)]
fn record<const TAIL: usize>(skb: *mut __sk_buff, place: u32, ingress: bool, kept: u32, cgroup: u64) {
    let Some(mut slot) = reserve::<Sized<Dns, TAIL>>(kind::DNS) else {
        return;
    };
    let record = slot.as_ptr();
    // SAFETY: the slot is ours until submitted.
    unsafe {
        let payload = (place & 0xff) + UDP_HEADER;
        if fill(&raw mut (*record).record, skb, place, ingress, cgroup)
            && load_bytes(
                skb,
                payload,
                (&raw mut (*record).tail).cast(),
                bounded(kept, TAIL),
            )
        {
            slot.submit();
        } else {
            slot.discard();
        }
    }
}

/// Writes the fixed part. Not inlined, because five copies of it would need more stack than there is.
#[inline(never)]
unsafe fn fill(body: *mut Dns, skb: *mut __sk_buff, place: u32, ingress: bool, cgroup: u64) -> bool {
    // SAFETY: the caller's slot; map values live as long as the program.
    unsafe {
        let wire_len = (*skb).len - (place & 0xff) - UDP_HEADER;
        let kept = if wire_len > MAX { MAX } else { wire_len };
        let mut flags = if ingress { flag::INGRESS } else { 0 };
        if kept < wire_len {
            flags |= flag::TRUNCATED;
        }
        let mut head = header(kind::DNS, flags, size_of::<Dns>() + kept as usize);
        head.cgroup = cgroup;
        head.cookie = cookie(skb);
        if !ingress && let Some(origin) = UDP_ORIGINS.get_ptr(head.cookie) {
            head.pid = (*origin).pid;
            head.netns = (*origin).netns;
            head.flags |= flag::ASKED;
            copy(&raw mut (*body).asked, &raw const (*origin).asked);
            copy(&raw mut (*body).comm, &raw const (*origin).comm);
        } else {
            zero(&raw mut (*body).asked);
            zero(&raw mut (*body).comm);
        }
        (*body).header = head;
        (*body).wire_len = wire_len;
        (*body).payload_len = kept;
        udp_tuple(skb, place >> 8, place & 0xff, ingress, &raw mut (*body).tuple)
    }
}
