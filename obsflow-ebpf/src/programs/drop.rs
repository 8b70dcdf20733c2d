//! Packets that this node dropped, of watched ports, name servers or tunnels.
//!
//! | program | attach point | oldest kernel | cost |
//! | --- | --- | --- | --- |
//! | `skb_drop` | BTF tracepoint `kfree_skb` | 5.17 with reasons; before, netfilter's drops by their location | every dropped packet: an array look-up; for a watched reason also its headers |

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_get_stack;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use obsflow_ebpf::abi::conn::conn_flag;
use obsflow_ebpf::abi::count::port_class;
use obsflow_ebpf::abi::record::{Drop, NO_REASON, STACK_DEPTH, Tuple, flag, kind};

use crate::emit::{Sized, header, reserve};
use crate::kernel::{Skb, mapped, read, setting, stored_cookie};
use crate::maps::{CONNS, DROP_REASONS, class};

/// ETH_P_IP.
const IPV4: u16 = 0x0800;
/// ETH_P_IPV6.
const IPV6: u16 = 0x86dd;
/// IPPROTO_TCP.
const TCP: u8 = 6;
/// IPPROTO_UDP.
const UDP: u8 = 17;
/// Payload kept of a dropped look-up: a name is at most 255 bytes, behind a header of 12.
const TAIL: usize = 272;

#[btf_tracepoint(function = "kfree_skb")]
pub(crate) fn skb_drop(ctx: BtfTracePointContext) -> i32 {
    let location: u64 = ctx.arg(1);
    let reason = if setting!(u32, drop_reasons) != 0 {
        let reason: u32 = ctx.arg(2);
        match DROP_REASONS.get(reason) {
            Some(&watched) if watched != 0 => reason,
            _ => return 0,
        }
    } else {
        if location < setting!(u64, drop_location_start) || location >= setting!(u64, drop_location_end) {
            return 0;
        }
        NO_REASON
    };
    dropped(&ctx, reason, location);
    0
}

#[inline(always)]
fn dropped(ctx: &BtfTracePointContext, reason: u32, location: u64) {
    let skb = Skb(ctx.arg(0));
    let protocol = skb.protocol();
    if protocol != IPV4 && protocol != IPV6 {
        return;
    }
    let ip = skb.network_header();
    if ip == 0 {
        return;
    }
    let Some((tuple, transport)) = addresses(ip, protocol) else {
        return;
    };
    let watched = class(tuple.local_port) | class(tuple.remote_port);
    let wanted = if tuple.protocol == TCP {
        port_class::TELEMETRY | port_class::DNS
    } else {
        port_class::DNS | port_class::TUNNEL
    };
    // A dropped packet carries the addresses after DNAT; its socket has those before.
    let sock = skb.sock();
    let cookie = sock.map_or(0, stored_cookie);
    let conn = if cookie != 0 && tuple.protocol == TCP {
        CONNS.get_ptr_mut(cookie)
    } else {
        None
    };
    if watched & wanted == 0 && conn.is_none() {
        return;
    }
    let Some(mut slot) = reserve::<Sized<Drop, TAIL>>(kind::DROP) else {
        return;
    };
    let record = slot.as_ptr();
    let mut head = header(kind::DROP, 0, size_of::<Drop>());
    head.cookie = cookie;
    let (ifindex, netns) = skb.device();
    head.netns = netns;
    if let Some(sock) = sock {
        head.cgroup = sock.cgroup();
        head.netns = sock.netns();
    }
    // SAFETY: the slot is ours until submitted; a map value lives as long as the program.
    unsafe {
        if let Some(conn) = conn {
            (*conn).flags |= conn_flag::DROPPED;
            head.pid = (*conn).pid;
            head.cgroup = (*conn).cgroup;
            head.flags |= flag::DROPPED;
        }
        let body = &raw mut (*record).record;
        (*body).tuple = tuple;
        (*body).reason = reason;
        (*body).ifindex = ifindex;
        (*body).location = location;
        (*body).tcp_flags = if tuple.protocol == TCP {
            u32::from(read::<u8>(transport, 13).unwrap_or(0))
        } else {
            0
        };
        let stack = &raw mut (*body).stack;
        let got = bpf_get_stack(ctx.as_ptr(), stack.cast(), (STACK_DEPTH * 8) as u32, 0);
        let frames = if got > 0 { got as usize / 8 } else { 0 };
        if frames < STACK_DEPTH {
            (*stack)[frames] = 0;
        }
        let mut kept = 0u32;
        if tuple.protocol == UDP && watched & port_class::DNS != 0 {
            kept = udp_payload(transport, (&raw mut (*record).tail).cast());
        }
        (*body).payload_len = kept;
        head.len += kept;
        (*body).header = head;
    }
    slot.submit();
}

/// Addresses and ports of the packet at `ip`, and where its transport header is.
#[inline(always)]
fn addresses(ip: usize, protocol: u16) -> Option<(Tuple, usize)> {
    let mut tuple = Tuple {
        local: [0; 16],
        remote: [0; 16],
        local_port: 0,
        remote_port: 0,
        protocol: 0,
        pad: [0; 3],
    };
    let transport = if protocol == IPV4 {
        let head: [u8; 20] = read(ip, 0)?;
        tuple.local = mapped([head[12], head[13], head[14], head[15]]);
        tuple.remote = mapped([head[16], head[17], head[18], head[19]]);
        tuple.protocol = head[9];
        ip + usize::from(head[0] & 0xf) * 4
    } else {
        tuple.local = read(ip, 8)?;
        tuple.remote = read(ip, 24)?;
        tuple.protocol = read(ip, 6)?;
        ip + 40
    };
    if tuple.protocol != TCP && tuple.protocol != UDP {
        return None;
    }
    let ports: [u8; 4] = read(transport, 0)?;
    tuple.local_port = u16::from_be_bytes([ports[0], ports[1]]);
    tuple.remote_port = u16::from_be_bytes([ports[2], ports[3]]);
    Some((tuple, transport))
}

/// Copies the first bytes of a UDP payload; how many.
///
/// # Safety
/// `to` must have room for [`TAIL`] bytes.
#[inline(always)]
unsafe fn udp_payload(transport: usize, to: *mut u8) -> u32 {
    let Some(len) = read::<[u8; 2]>(transport, 4) else {
        return 0;
    };
    let len = u32::from(u16::from_be_bytes(len)).wrapping_sub(8);
    if len == 0 || len > u32::from(u16::MAX) {
        return 0;
    }
    let len = if len > TAIL as u32 { TAIL as u32 } else { len };
    // SAFETY: the helper checks the source; the destination is the caller's.
    if unsafe { bpf_probe_read_kernel(to.cast(), len, (transport + 8) as *const _) } == 0 {
        len
    } else {
        0
    }
}
