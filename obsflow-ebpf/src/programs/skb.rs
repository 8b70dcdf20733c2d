//! Packets of sockets below the cgroup: DNS messages and first payload bytes.
//!
//! | program | attach point | oldest kernel | cost |
//! | --- | --- | --- | --- |
//! | `skb_egress`, `skb_ingress` | `cgroup_skb` | 4.10 | a packet of a connected socket: one load and an array look-up; of an unconnected one: also its UDP ports |
//!
//! What follows the filter sits in functions of their own that the verifier checks one by one (global functions,
//! Linux 5.6): together they would be too much for it. They take the context and plain numbers only, which is what
//! Linux 5.10 allows.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::{bpf_get_socket_cookie, bpf_skb_cgroup_id};
use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;
use obsflow_ebpf::abi::count::{live, port_class};
use obsflow_ebpf::abi::record::Tuple;

use super::payload::{TCP_FIN, TCP_RST};
use super::{dns, payload};
use crate::kernel::setting;
use crate::kernel::{write_mapped, write_ports};
use crate::maps::{class, live};

/// The packet goes on, always.
const ALLOW: i32 = 1;
/// IPPROTO_TCP.
const TCP: u8 = 6;
/// IPPROTO_UDP.
const UDP: u8 = 17;

#[cgroup_skb(egress)]
pub(crate) fn skb_egress(ctx: SkBuffContext) -> i32 {
    packet(ctx.skb.skb, false);
    ALLOW
}

#[cgroup_skb(ingress)]
pub(crate) fn skb_ingress(ctx: SkBuffContext) -> i32 {
    packet(ctx.skb.skb, true);
    ALLOW
}

#[inline(always)]
fn packet(skb: *mut __sk_buff, ingress: bool) {
    // SAFETY: the kernel's context. The remote port is in network order in a 32-bit word.
    let remote = unsafe { u32::from_be((*skb).remote_port) } as u16;
    let socket_class = class(remote);
    if socket_class == 0 && remote != 0 && live(live::REWRITTEN) == 0 {
        return;
    }
    let Some(packet) = Packet::parse(skb) else { return };
    let way = u32::from(ingress);
    if packet.protocol == UDP {
        // The socket's port or the packet's: after REDIRECT or DNAT they differ.
        if (socket_class | class(packet.remote_port(ingress))) & port_class::DNS == 0 {
            return;
        }
        // A socket bound to a name server's port is the server: its clients' sockets tell the same story.
        // SAFETY: the kernel's context; the local port is in host order.
        let local = unsafe { (*skb).local_port } as u16;
        if class(local) & port_class::DNS == 0 {
            dns::dns_message(skb, way, packet.version, packet.transport);
        }
    } else if packet.protocol == TCP
        && remote != 0
        && let Some(tcp) = Tcp::parse(skb, packet.transport)
    {
        if setting!(u32, tcp_tracepoints) == 0 && ingress && tcp.flags & (TCP_FIN | TCP_RST) != 0 {
            payload::ended(cookie(skb), tcp.flags);
        }
        // SAFETY: the kernel's context.
        let len = unsafe { (*skb).len };
        if len > tcp.data {
            payload::tcp_segment(skb, way, tcp.sequence, tcp.data);
        }
    }
}

/// What the filter needs of a packet's headers.
struct Packet {
    /// 4 or 6.
    version: u32,
    /// Source port.
    source_port: u16,
    /// Destination port.
    dest_port: u16,
    /// IP protocol.
    protocol: u8,
    /// Offset of the transport header.
    transport: u32,
}

impl Packet {
    /// Reads by direct access: these headers are linear.
    #[inline(always)]
    fn parse(skb: *mut __sk_buff) -> Option<Self> {
        // SAFETY: the kernel's context.
        let (start, end) = unsafe { ((*skb).data as usize, (*skb).data_end as usize) };
        if start + 20 > end {
            return None;
        }
        let at = start as *const u8;
        // SAFETY: the bounds above and below, which the verifier follows.
        unsafe {
            let first = *at;
            let (version, protocol, header) = if first >> 4 == 4 {
                let header = usize::from(first & 0xf) * 4;
                // Of a later fragment there are no ports.
                let fragment = u16::from_be_bytes([*at.add(6), *at.add(7)]) & 0x1fff;
                if fragment != 0 || header < 20 {
                    return None;
                }
                (4, *at.add(9), header)
            } else {
                // Telemetry and DNS carry no IPv6 extension headers in practice; one that does is not followed.
                (6, *at.add(6), 40)
            };
            let ports = start + header;
            if ports + 4 > end {
                return None;
            }
            let ports = ports as *const u8;
            Some(Self {
                version,
                source_port: u16::from_be_bytes([*ports, *ports.add(1)]),
                dest_port: u16::from_be_bytes([*ports.add(2), *ports.add(3)]),
                protocol,
                transport: header as u32,
            })
        }
    }

    /// The port at the other end.
    #[inline(always)]
    fn remote_port(&self, ingress: bool) -> u16 {
        if ingress { self.source_port } else { self.dest_port }
    }
}

/// What a stream needs of a TCP header.
struct Tcp {
    /// Sequence number of the first byte.
    sequence: u32,
    /// Offset of the payload.
    data: u32,
    /// Flags.
    flags: u8,
}

impl Tcp {
    /// Reads by direct access: the header is linear, the payload is not.
    #[inline(always)]
    fn parse(skb: *mut __sk_buff, transport: u32) -> Option<Self> {
        // SAFETY: the kernel's context.
        let (start, end) = unsafe { ((*skb).data as usize, (*skb).data_end as usize) };
        let at = start + transport as usize;
        if at + 20 > end {
            return None;
        }
        let at = at as *const u8;
        // SAFETY: the bound above.
        unsafe {
            let sequence = u32::from_be_bytes([*at.add(4), *at.add(5), *at.add(6), *at.add(7)]);
            Some(Self {
                sequence,
                data: transport + u32::from(*at.add(12) >> 4) * 4,
                flags: *at.add(13),
            })
        }
    }
}

/// Writes both ends of a UDP packet, from the socket's side, to `to`, by direct access. False when its headers are not
/// linear.
///
/// # Safety
/// `to` must be valid and aligned to eight bytes.
#[inline(always)]
pub unsafe fn udp_tuple(
    skb: *mut __sk_buff,
    version: u32,
    transport: u32,
    ingress: bool,
    to: *mut Tuple,
) -> bool {
    // SAFETY: the kernel's context; the destination as the caller promises; the bounds, which the verifier follows.
    unsafe {
        let (start, end) = ((*skb).data as usize, (*skb).data_end as usize);
        // The verifier knows nothing of a number that came as an argument.
        let transport = (transport & 0x3f) as usize;
        if start + transport + 8 > end {
            return false;
        }
        let ports = (start + transport) as *const u8;
        let (source, dest) = if ingress {
            (&raw mut (*to).remote, &raw mut (*to).local)
        } else {
            (&raw mut (*to).local, &raw mut (*to).remote)
        };
        let at = start as *const u8;
        if version == 4 {
            if start + 20 > end {
                return false;
            }
            write_mapped(source, at.add(12).cast::<u32>().read_unaligned());
            write_mapped(dest, at.add(16).cast::<u32>().read_unaligned());
        } else {
            if start + 40 > end {
                return false;
            }
            copy_packet(source, at.add(8));
            copy_packet(dest, at.add(24));
        }
        let source_port = u16::from_be_bytes([*ports, *ports.add(1)]);
        let dest_port = u16::from_be_bytes([*ports.add(2), *ports.add(3)]);
        if ingress {
            write_ports(to, dest_port, source_port, UDP);
        } else {
            write_ports(to, source_port, dest_port, UDP);
        }
        true
    }
}

/// Copies an IPv6 address out of the packet in words of four bytes, to which packets are aligned.
///
/// # Safety
/// Both must be valid; `to` aligned to eight bytes.
#[inline(always)]
unsafe fn copy_packet(to: *mut [u8; 16], from: *const u8) {
    let (to, from) = (to.cast::<u32>(), from.cast::<u32>());
    let mut i = 0;
    while i < 4 {
        // SAFETY: forwarded to the caller.
        unsafe { to.add(i).write_volatile(from.add(i).read_volatile()) };
        i += 1;
    }
}

/// Cookie of the packet's socket.
#[inline(always)]
pub(super) fn cookie(skb: *mut __sk_buff) -> u64 {
    // SAFETY: the helper takes the context.
    unsafe { bpf_get_socket_cookie(skb.cast()) }
}

/// Cgroup of the packet's socket.
#[inline(always)]
pub(super) fn cgroup(skb: *mut __sk_buff) -> u64 {
    // SAFETY: the helper takes the context.
    unsafe { bpf_skb_cgroup_id(skb) }
}

/// Copies `len` bytes of the packet from `offset` on. `len` must be bounded in a way the verifier can see.
///
/// # Safety
/// `to` must have room for `len` bytes.
#[inline(always)]
pub(super) unsafe fn load_bytes(skb: *mut __sk_buff, offset: u32, to: *mut u8, len: u32) -> bool {
    // SAFETY: forwarded to the caller.
    unsafe { aya_ebpf::helpers::generated::bpf_skb_load_bytes(skb.cast(), offset, to.cast(), len) == 0 }
}
