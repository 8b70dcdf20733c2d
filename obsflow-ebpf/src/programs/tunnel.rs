//! Outer packets of VXLAN and Geneve tunnels, counted per peer. Nothing of them travels through the ring.
//!
//! | program | attach point | oldest kernel | cost |
//! | --- | --- | --- | --- |
//! | `obsflow_tun_out`, `obsflow_tun_in` | TCX (6.6) or TC on the underlay device | 4.5 | every packet of the underlay: 10 to 20 ns; of a tunnel about 90 ns |

use aya_ebpf::bindings::{BPF_NOEXIST, TC_ACT_UNSPEC};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use obsflow_ebpf::abi::count::{TunnelCount, TunnelKey, port_class, stat};

use crate::emit::{add, count};
use crate::kernel::mapped;
use crate::maps::{TUNNEL_COUNTS, class};

/// ETH_P_IP, ETH_P_IPV6.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// IPPROTO_UDP.
const UDP: u8 = 17;
/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// The packet goes on to the next program: `TC_ACT_UNSPEC` and `TCX_NEXT` are the same number.
#[classifier]
pub(crate) fn obsflow_tun_out(ctx: TcContext) -> i32 {
    packet::<false>(&ctx);
    TC_ACT_UNSPEC
}

#[classifier]
pub(crate) fn obsflow_tun_in(ctx: TcContext) -> i32 {
    packet::<true>(&ctx);
    TC_ACT_UNSPEC
}

#[inline(always)]
fn packet<const INGRESS: bool>(ctx: &TcContext) {
    let _ = outer::<INGRESS>(ctx);
}

#[inline(always)]
fn outer<const INGRESS: bool>(ctx: &TcContext) -> Option<()> {
    // SAFETY: the kernel's context.
    let protocol = u16::from_be(unsafe { (*ctx.skb.skb).protocol } as u16);
    let (peer, udp) = if protocol == IPV4 {
        let ip = ctx.load::<[u8; 20]>(ETHERNET).ok()?;
        if ip[9] != UDP {
            return None;
        }
        let peer = ctx.load::<u32>(ETHERNET + if INGRESS { 12 } else { 16 }).ok()?;
        (mapped(peer), ETHERNET + usize::from(ip[0] & 0xf) * 4)
    } else if protocol == IPV6 {
        if ctx.load::<u8>(ETHERNET + 6).ok()? != UDP {
            return None;
        }
        let peer = ctx
            .load::<[u8; 16]>(ETHERNET + if INGRESS { 8 } else { 24 })
            .ok()?;
        (peer, ETHERNET + 40)
    } else {
        return None;
    };
    // UDP header, then 8 bytes of VXLAN (RFC 7348, 5) or Geneve (RFC 8926, 3.4): the identifier is at byte 4 of both.
    let head = ctx.load::<[u8; 16]>(udp).ok()?;
    let port = u16::from_be_bytes([head[2], head[3]]);
    let class = class(port);
    if class & port_class::TUNNEL == 0 {
        return None;
    }
    // Cilium writes the identity of the sending pod there: with peers, directions and identities the map would be full.
    let vni = if class & port_class::OWN_VNI != 0 {
        0
    } else {
        u32::from(head[12]) << 16 | u32::from(head[13]) << 8 | u32::from(head[14])
    };
    // SAFETY: the kernel's context.
    let (ifindex, len) = unsafe { ((*ctx.skb.skb).ifindex, (*ctx.skb.skb).len) };
    let key = TunnelKey {
        peer,
        vni,
        port,
        ingress: u16::from(INGRESS),
        ifindex,
        pad: 0,
    };
    let bytes = u64::from(len).saturating_sub(ETHERNET as u64);
    if TUNNEL_COUNTS.get_ptr_mut(key).is_none() {
        let zero = TunnelCount {
            packets: 0,
            bytes: 0,
            last_ns: 0,
        };
        let _ = TUNNEL_COUNTS.insert(key, zero, u64::from(BPF_NOEXIST));
    }
    let Some(value) = TUNNEL_COUNTS.get_ptr_mut(key) else {
        count(stat::TUNNELS_FULL);
        return None;
    };
    // SAFETY: a map value lives as long as the program.
    unsafe {
        add(&raw mut (*value).packets, 1);
        add(&raw mut (*value).bytes, bytes);
        (*value).last_ns = bpf_ktime_get_ns();
    }
    Some(())
}
