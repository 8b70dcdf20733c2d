//! DNS messages over UDP, whole up to 4,096 bytes.

use aya_ebpf::bindings::__sk_buff;
use obsflow_ebpf::abi::count::dns_count;
use obsflow_ebpf::abi::record::{Dns, flag, kind};

use super::skb::{Packet, cgroup, cookie, load_bytes};
use crate::emit::{Sized, bounded, count_dns, header, reserve};
use crate::kernel::{NO_PEER, copy};
use crate::maps::UDP_ORIGINS;

/// Bytes of a DNS header.
const DNS_HEADER: u32 = 12;
/// What is kept of a message.
const MAX: u32 = 4096;

/// Looks at a UDP packet of a resolver's socket. Returns nothing of use.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn dns_message(skb: *mut __sk_buff, ingress: u32) -> u32 {
    let ingress = ingress != 0;
    let Some(packet) = Packet::parse(skb) else {
        return 0;
    };
    let offset = packet.udp_payload();
    let cgroup = cgroup(skb);
    let mut head = [0u8; 4];
    // SAFETY: the buffer has the length that is passed.
    if packet.len < offset + DNS_HEADER || !unsafe { load_bytes(skb, offset, head.as_mut_ptr(), 4) } {
        count_dns(cgroup, dns_count::MALFORMED);
        return 0;
    }
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
    let wire_len = packet.len - offset;
    let kept = if wire_len > MAX { MAX } else { wire_len };
    // The ring takes constant sizes only: five classes, so that a message wastes less than it is long.
    if kept <= 64 {
        record::<64>(skb, ingress, wire_len, kept);
    } else if kept <= 128 {
        record::<128>(skb, ingress, wire_len, kept);
    } else if kept <= 384 {
        record::<384>(skb, ingress, wire_len, kept);
    } else if kept <= 1408 {
        record::<1408>(skb, ingress, wire_len, kept);
    } else {
        record::<4096>(skb, ingress, wire_len, kept);
    }
    0
}

#[inline(always)]
fn record<const TAIL: usize>(skb: *mut __sk_buff, ingress: bool, wire_len: u32, kept: u32) {
    let Some(mut slot) = reserve::<Sized<Dns, TAIL>>(kind::DNS) else {
        return;
    };
    let record = slot.as_ptr();
    // SAFETY: the slot is ours until submitted.
    unsafe {
        let payload = fill(&raw mut (*record).record, skb, ingress, wire_len, kept);
        if payload != 0
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

/// Writes the fixed part; the offset of the payload, or 0. Not inlined, because five copies of it would need more stack
/// than there is.
#[inline(never)]
unsafe fn fill(body: *mut Dns, skb: *mut __sk_buff, ingress: bool, wire_len: u32, kept: u32) -> u32 {
    let Some(packet) = Packet::parse(skb) else {
        return 0;
    };
    let mut flags = if ingress { flag::INGRESS } else { 0 };
    if kept < wire_len {
        flags |= flag::TRUNCATED;
    }
    // SAFETY: the caller's slot; map values live as long as the program.
    unsafe {
        let mut head = header(kind::DNS, flags, size_of::<Dns>() + kept as usize);
        head.cgroup = cgroup(skb);
        head.cookie = cookie(skb);
        (*body).asked = NO_PEER;
        (*body).comm = [0; 16];
        packet.tuple(skb, ingress, &raw mut (*body).tuple);
        if !ingress && let Some(origin) = UDP_ORIGINS.get_ptr(head.cookie) {
            head.pid = (*origin).pid;
            head.netns = (*origin).netns;
            head.flags |= flag::ASKED;
            copy(&raw mut (*body).asked, &raw const (*origin).asked);
            copy(&raw mut (*body).comm, &raw const (*origin).comm);
        }
        (*body).header = head;
        (*body).wire_len = wire_len;
        (*body).payload_len = kept;
    }
    packet.udp_payload()
}
