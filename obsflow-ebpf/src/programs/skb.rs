//! Packets of sockets below the cgroup: DNS messages and first payload bytes.
//!
//! | program | attach point | oldest kernel | cost |
//! | --- | --- | --- | --- |
//! | `skb_egress`, `skb_ingress` | `cgroup_skb` | 4.10 | a packet of a connected socket: one load and an array look-up; of an unconnected one: also its UDP ports |

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::{bpf_get_socket_cookie, bpf_skb_cgroup_id};
use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;
use obsflow_ebpf::abi::count::{live, port_class};
use obsflow_ebpf::abi::record::Tuple;

use super::{dns, payload};
use crate::kernel::mapped;
use crate::maps::{class, live};

/// The packet goes on, always.
const ALLOW: i32 = 1;

#[cgroup_skb(egress)]
pub(crate) fn skb_egress(ctx: SkBuffContext) -> i32 {
    packet::<false>(&ctx);
    ALLOW
}

#[cgroup_skb(ingress)]
pub(crate) fn skb_ingress(ctx: SkBuffContext) -> i32 {
    packet::<true>(&ctx);
    ALLOW
}

#[inline(always)]
fn packet<const INGRESS: bool>(ctx: &SkBuffContext) {
    // SAFETY: the kernel's context. The remote port is in network order in a 32-bit word.
    let remote = unsafe { u32::from_be((*ctx.skb.skb).remote_port) } as u16;
    let socket_class = class(remote);
    if socket_class == 0 && remote != 0 && live(live::REWRITTEN) == 0 {
        return;
    }
    let Some(packet) = Packet::parse(ctx) else { return };
    if packet.protocol == UDP {
        let packet_remote = if INGRESS {
            packet.source_port
        } else {
            packet.dest_port
        };
        // The socket's port or the packet's: after REDIRECT or DNAT they differ.
        if (socket_class | class(packet_remote)) & port_class::DNS == 0 {
            return;
        }
        // A socket bound to a name server's port is the server: its clients' sockets tell the same story.
        // SAFETY: the kernel's context; the local port is in host order.
        let local = unsafe { (*ctx.skb.skb).local_port } as u16;
        if class(local) & port_class::DNS != 0 {
            return;
        }
        dns::message::<INGRESS>(ctx, &packet);
    } else if packet.protocol == TCP && remote != 0 {
        payload::segment::<INGRESS>(ctx, &packet);
    }
}

/// IPPROTO_TCP.
const TCP: u8 = 6;
/// IPPROTO_UDP.
const UDP: u8 = 17;
/// Bytes of a UDP header.
const UDP_HEADER: u32 = 8;

/// What both families of hooks need of the headers.
pub(super) struct Packet {
    /// Source address.
    source: [u8; 16],
    /// Destination address.
    dest: [u8; 16],
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub dest_port: u16,
    /// IP protocol.
    pub protocol: u8,
    /// Offset of the transport header.
    pub transport: u32,
    /// Length of the packet from the IP header on.
    pub len: u32,
}

impl Packet {
    /// Reads IP and the ports by direct access: these headers are linear.
    #[inline(always)]
    fn parse(ctx: &SkBuffContext) -> Option<Self> {
        // SAFETY: the kernel's context.
        let (start, end, len) = unsafe {
            (
                (*ctx.skb.skb).data as usize,
                (*ctx.skb.skb).data_end as usize,
                (*ctx.skb.skb).len,
            )
        };
        if start + 20 > end {
            return None;
        }
        let at = start as *const u8;
        // SAFETY: the bounds above and below, which the verifier follows.
        unsafe {
            let first = *at;
            if first >> 4 == 4 {
                let header = usize::from(first & 0xf) * 4;
                // Of a later fragment there are no ports.
                let fragment = u16::from_be_bytes([*at.add(6), *at.add(7)]) & 0x1fff;
                if fragment != 0 || header < 20 {
                    return None;
                }
                let protocol = *at.add(9);
                let source = mapped(at.add(12).cast::<[u8; 4]>().read_unaligned());
                let dest = mapped(at.add(16).cast::<[u8; 4]>().read_unaligned());
                let ports = start + header;
                if ports + 4 > end {
                    return None;
                }
                let ports = ports as *const u8;
                Some(Self {
                    source,
                    dest,
                    source_port: u16::from_be_bytes([*ports, *ports.add(1)]),
                    dest_port: u16::from_be_bytes([*ports.add(2), *ports.add(3)]),
                    protocol,
                    transport: header as u32,
                    len,
                })
            } else {
                if start + 44 > end {
                    return None;
                }
                // Telemetry and DNS carry no IPv6 extension headers in practice; one that does is not followed.
                let ports = at.add(40);
                Some(Self {
                    source: at.add(8).cast::<[u8; 16]>().read_unaligned(),
                    dest: at.add(24).cast::<[u8; 16]>().read_unaligned(),
                    source_port: u16::from_be_bytes([*ports, *ports.add(1)]),
                    dest_port: u16::from_be_bytes([*ports.add(2), *ports.add(3)]),
                    protocol: *at.add(6),
                    transport: 40,
                    len,
                })
            }
        }
    }

    /// The packet from the socket's side.
    #[inline(always)]
    pub(super) fn tuple<const INGRESS: bool>(&self) -> Tuple {
        if INGRESS {
            Tuple {
                local: self.dest,
                remote: self.source,
                local_port: self.dest_port,
                remote_port: self.source_port,
                protocol: self.protocol,
                pad: [0; 3],
            }
        } else {
            Tuple {
                local: self.source,
                remote: self.dest,
                local_port: self.source_port,
                remote_port: self.dest_port,
                protocol: self.protocol,
                pad: [0; 3],
            }
        }
    }

    /// Offset of a UDP payload.
    #[inline(always)]
    pub(super) fn udp_payload(&self) -> u32 {
        self.transport + UDP_HEADER
    }
}

/// Cookie of the packet's socket.
#[inline(always)]
pub(super) fn cookie(ctx: &SkBuffContext) -> u64 {
    // SAFETY: the helper takes the context.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}

/// Cgroup of the packet's socket.
#[inline(always)]
pub(super) fn cgroup(ctx: &SkBuffContext) -> u64 {
    // SAFETY: the helper takes the context.
    unsafe { bpf_skb_cgroup_id(ctx.skb.skb) }
}
