//! DNS messages over UDP, whole up to 4,096 bytes.

use aya_ebpf::helpers::bpf_skb_load_bytes;
use aya_ebpf::programs::SkBuffContext;
use obsflow_ebpf::abi::count::{dns_count, stat};
use obsflow_ebpf::abi::record::{Dns, flag, kind};

use super::skb::{Packet, cgroup, cookie};
use crate::emit::{Sized, count, count_dns, header, reserve};
use crate::kernel::NO_PEER;
use crate::maps::UDP_ORIGINS;

/// Bytes of a DNS header.
const DNS_HEADER: u32 = 12;
/// What is kept of a message.
const MAX: u32 = 4096;

#[inline(always)]
pub(super) fn message<const INGRESS: bool>(ctx: &SkBuffContext, packet: &Packet) {
    let offset = packet.udp_payload();
    let wire_len = packet.len.wrapping_sub(offset);
    let cgroup = cgroup(ctx);
    if packet.len < offset + DNS_HEADER {
        count_dns(cgroup, dns_count::MALFORMED);
        return;
    }
    let Ok(flags) = ctx.skb.load::<[u8; 2]>(offset as usize + 2) else {
        count(stat::UNREADABLE);
        return;
    };
    let response = flags[0] & 0x80 != 0;
    // A resolver sends queries and receives responses; anything else on this port is not a look-up.
    if response != INGRESS {
        return;
    }
    count_dns(
        cgroup,
        if response {
            u32::from(flags[1] & 0xf)
        } else {
            dns_count::QUERY
        },
    );
    let kept = if wire_len > MAX { MAX } else { wire_len };
    // The ring takes constant sizes only: five classes, so that a message wastes less than it is long.
    if kept <= 64 {
        record::<INGRESS, 64>(ctx, packet, offset, wire_len, kept, cgroup);
    } else if kept <= 128 {
        record::<INGRESS, 128>(ctx, packet, offset, wire_len, kept, cgroup);
    } else if kept <= 384 {
        record::<INGRESS, 384>(ctx, packet, offset, wire_len, kept, cgroup);
    } else if kept <= 1408 {
        record::<INGRESS, 1408>(ctx, packet, offset, wire_len, kept, cgroup);
    } else {
        record::<INGRESS, 4096>(ctx, packet, offset, wire_len, kept, cgroup);
    }
}

#[inline(always)]
fn record<const INGRESS: bool, const TAIL: usize>(
    ctx: &SkBuffContext,
    packet: &Packet,
    offset: u32,
    wire_len: u32,
    kept: u32,
    cgroup: u64,
) {
    let Some(mut slot) = reserve::<Sized<Dns, TAIL>>(kind::DNS) else {
        return;
    };
    let record = slot.as_ptr();
    let mut flags = if INGRESS { flag::INGRESS } else { 0 };
    if kept < wire_len {
        flags |= flag::TRUNCATED;
    }
    // SAFETY: the slot is ours until submitted.
    unsafe {
        let body = &raw mut (*record).record;
        let mut head = header(kind::DNS, flags, size_of::<Dns>() + kept as usize);
        head.cgroup = cgroup;
        head.cookie = cookie(ctx);
        (*body).asked = NO_PEER;
        (*body).comm = [0; 16];
        if !INGRESS && let Some(origin) = UDP_ORIGINS.get_ptr(head.cookie) {
            head.pid = (*origin).pid;
            head.netns = (*origin).netns;
            head.flags |= flag::ASKED;
            (*body).asked = (*origin).asked;
            (*body).comm = (*origin).comm;
        }
        (*body).header = head;
        (*body).tuple = packet.tuple::<INGRESS>();
        (*body).wire_len = wire_len;
        (*body).payload_len = kept;
        // The verifier wants the length bounded on this very path, and not zero.
        let len = if kept == 0 { 1 } else { kept };
        let len = if len as usize > TAIL { TAIL as u32 } else { len };
        if bpf_skb_load_bytes(ctx.skb.skb.cast(), offset, (&raw mut (*record).tail).cast(), len) == 0 {
            slot.submit();
        } else {
            slot.discard();
        }
    }
}
