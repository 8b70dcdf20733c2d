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
use aya_log_ebpf::debug;
use obsflow_ebpf::abi::conn::conn_flag;
use obsflow_ebpf::abi::count::port_class;
use obsflow_ebpf::abi::record::{Drop, NO_REASON, STACK_DEPTH, Tuple, flag, kind};

use crate::emit::{Sized, bounded, header, reserve};
use crate::kernel::{Skb, read, read_to, setting, stored_cookie, write_mapped, write_ports};
use crate::maps::{CONNS, DROP_REASONS, class};

/// ETH_P_IP.
const IPV4: u16 = 0x0800;
/// ETH_P_IPV6.
const IPV6: u16 = 0x86dd;
/// IPPROTO_TCP.
const TCP: u8 = 6;
/// IPPROTO_UDP.
const UDP: u8 = 17;
/// Value of [`DROP_REASONS`]: healthy TCP shows this reason too, so only tunnels are asked.
const TUNNELS_ONLY: u8 = 2;
/// Payload kept of a dropped look-up: a name is at most 255 bytes, behind a header of 12.
const TAIL: usize = 272;

#[btf_tracepoint(function = "kfree_skb")]
pub(crate) fn skb_drop(ctx: BtfTracePointContext) -> i32 {
    let location: u64 = ctx.arg(1);
    let mut tunnels_only = false;
    let reason = if setting!(u32, drop_reasons) != 0 {
        let reason: u32 = ctx.arg(2);
        match DROP_REASONS.get(reason) {
            Some(&watched) if watched != 0 => {
                tunnels_only = watched == TUNNELS_ONLY;
                reason
            }
            _ => return 0,
        }
    } else {
        if location < setting!(u64, drop_location_start) || location >= setting!(u64, drop_location_end) {
            return 0;
        }
        NO_REASON
    };
    dropped(&ctx, reason, location, tunnels_only);
    0
}

#[inline(always)]
fn dropped(ctx: &BtfTracePointContext, reason: u32, location: u64, tunnels_only: bool) {
    let skb = Skb(ctx.arg(0));
    let protocol = skb.protocol();
    if protocol != IPV4 && protocol != IPV6 {
        return;
    }
    let ip = skb.network_header();
    if ip == 0 {
        return;
    }
    let Some(ports) = Ports::read(ip, protocol) else {
        return;
    };
    let watched = class(ports.source) | class(ports.dest);
    let wanted = if tunnels_only {
        if ports.protocol == TCP {
            return;
        }
        port_class::TUNNEL
    } else if ports.protocol == TCP {
        port_class::TELEMETRY | port_class::DNS
    } else {
        port_class::DNS | port_class::TUNNEL
    };
    // A dropped packet carries the addresses after DNAT; its socket has those before.
    let sock = skb.sock();
    let cookie = sock.map_or(0, stored_cookie);
    let conn = if cookie != 0 && ports.protocol == TCP {
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
        ports.tuple(ip, protocol, &raw mut (*body).tuple);
        (*body).reason = reason;
        (*body).ifindex = ifindex;
        (*body).location = location;
        (*body).tcp_flags = if ports.protocol == TCP {
            u32::from(read::<u8>(ports.transport, 13).unwrap_or(0))
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
        if ports.protocol == UDP && watched & port_class::DNS != 0 {
            kept = udp_payload(ports.transport, (&raw mut (*record).tail).cast());
        }
        (*body).payload_len = kept;
        head.len += kept;
        (*body).header = head;
    }
    slot.submit();
    debug!(ctx, "packet dropped for reason {}", reason);
}

/// What decides whether a dropped packet is of interest.
struct Ports {
    source: u16,
    dest: u16,
    protocol: u8,
    /// Address of the transport header.
    transport: usize,
}

impl Ports {
    #[inline(always)]
    fn read(ip: usize, protocol: u16) -> Option<Self> {
        let (protocol, transport) = if protocol == IPV4 {
            let first: u8 = read(ip, 0)?;
            (read::<u8>(ip, 9)?, ip + usize::from(first & 0xf) * 4)
        } else {
            (read::<u8>(ip, 6)?, ip + 40)
        };
        if protocol != TCP && protocol != UDP {
            return None;
        }
        let ports: [u16; 2] = read(transport, 0)?;
        Some(Self {
            source: u16::from_be(ports[0]),
            dest: u16::from_be(ports[1]),
            protocol,
            transport,
        })
    }

    /// Writes the packet's source and destination to `to`.
    #[inline(always)]
    unsafe fn tuple(&self, ip: usize, protocol: u16, to: *mut Tuple) {
        // SAFETY: the caller's record.
        unsafe {
            if protocol == IPV4 {
                write_mapped(&raw mut (*to).local, read(ip, 12).unwrap_or(0));
                write_mapped(&raw mut (*to).remote, read(ip, 16).unwrap_or(0));
            } else {
                read_to(ip, 8, &raw mut (*to).local);
                read_to(ip, 24, &raw mut (*to).remote);
            }
            write_ports(to, self.source, self.dest, self.protocol);
        }
    }
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
    let len = bounded(len, TAIL);
    // SAFETY: the helper checks the source; the destination is the caller's.
    if unsafe { bpf_probe_read_kernel(to.cast(), len, (transport + 8) as *const _) } == 0 {
        len
    } else {
        0
    }
}
