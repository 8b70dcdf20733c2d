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

use super::{dns, payload};
use crate::kernel::mapped;
use crate::maps::{class, live};

/// The packet goes on, always.
const ALLOW: i32 = 1;
/// IPPROTO_TCP.
const TCP: u8 = 6;
/// IPPROTO_UDP.
const UDP: u8 = 17;
/// Bytes of a UDP header.
const UDP_HEADER: u32 = 8;

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
    if packet.protocol == UDP {
        // The socket's port or the packet's: after REDIRECT or DNAT they differ.
        if (socket_class | class(packet.remote_port(ingress))) & port_class::DNS == 0 {
            return;
        }
        // A socket bound to a name server's port is the server: its clients' sockets tell the same story.
        // SAFETY: the kernel's context; the local port is in host order.
        let local = unsafe { (*skb).local_port } as u16;
        if class(local) & port_class::DNS == 0 {
            dns::dns_message(skb, u32::from(ingress));
        }
    } else if packet.protocol == TCP && remote != 0 {
        payload::tcp_segment(skb, u32::from(ingress));
    }
}

/// What both families of hooks need of the headers.
pub(super) struct Packet {
    /// 4 or 6.
    version: u8,
    /// Source port.
    source_port: u16,
    /// Destination port.
    dest_port: u16,
    /// IP protocol.
    protocol: u8,
    /// Offset of the transport header.
    pub transport: u32,
    /// Length of the packet from the IP header on.
    pub len: u32,
}

impl Packet {
    /// Reads IP and the ports by direct access: these headers are linear.
    #[inline(always)]
    pub(super) fn parse(skb: *mut __sk_buff) -> Option<Self> {
        // SAFETY: the kernel's context.
        let (start, end, len) = unsafe { ((*skb).data as usize, (*skb).data_end as usize, (*skb).len) };
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
                let ports = start + header;
                if ports + 4 > end {
                    return None;
                }
                let ports = ports as *const u8;
                Some(Self {
                    version: 4,
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
                    version: 6,
                    source_port: u16::from_be_bytes([*ports, *ports.add(1)]),
                    dest_port: u16::from_be_bytes([*ports.add(2), *ports.add(3)]),
                    protocol: *at.add(6),
                    transport: 40,
                    len,
                })
            }
        }
    }

    /// The port at the other end.
    #[inline(always)]
    fn remote_port(&self, ingress: bool) -> u16 {
        if ingress { self.source_port } else { self.dest_port }
    }

    /// Writes both ends, from the socket's side, to `to`.
    ///
    /// # Safety
    /// `to` must be valid and aligned to eight bytes.
    #[inline(always)]
    pub(super) unsafe fn tuple(&self, skb: *mut __sk_buff, ingress: bool, to: *mut Tuple) {
        // SAFETY: forwarded to the caller.
        unsafe {
            let (source, dest) = if ingress {
                (&raw mut (*to).remote, &raw mut (*to).local)
            } else {
                (&raw mut (*to).local, &raw mut (*to).remote)
            };
            if self.version == 4 {
                let mut words = [0u32; 2];
                load_bytes(skb, 12, words.as_mut_ptr().cast(), 8);
                *source = mapped(words[0]);
                *dest = mapped(words[1]);
            } else {
                load_bytes(skb, 8, source.cast(), 16);
                load_bytes(skb, 24, dest.cast(), 16);
            }
            if ingress {
                (*to).local_port = self.dest_port;
                (*to).remote_port = self.source_port;
            } else {
                (*to).local_port = self.source_port;
                (*to).remote_port = self.dest_port;
            }
            (*to).protocol = self.protocol;
            (*to).pad = [0; 3];
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
