//! Who connects, and where to, before anything rewrites it.
//!
//! | program | attach point | oldest kernel | cost |
//! | --- | --- | --- | --- |
//! | `connect4`, `connect6` | `cgroup/connect4,6` | 4.17 | every connect below the cgroup: two loads and an array look-up |
//! | `sendmsg4`, `sendmsg6` | `cgroup/sendmsg4,6` | 4.18 | every UDP message with an address of its own: the same |
//! | `connect_exit` | fexit `inet_stream_connect` | 5.5 with ftrace | every connect of the host: one map look-up when it failed |

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_get_socket_cookie};
use aya_ebpf::macros::{cgroup_sock_addr, fexit};
use aya_ebpf::programs::{FExitContext, SockAddrContext};
use aya_log_ebpf::{debug, trace};
use obsflow_ebpf::abi::conn::{UdpOrigin, conn_flag, outcome};
use obsflow_ebpf::abi::count::{live, port_class};
use obsflow_ebpf::abi::record::{ConnectFailed, Peer, kind};

use super::tcp::{TCP, conn_header, insert_conn};
use crate::emit::{count_conn, reserve};
use crate::kernel::{self, mapped};
use crate::maps::{CONNS, UDP_ORIGINS, change_live, class, tcp_watched};

/// IPPROTO_UDP.
const UDP: u32 = 17;
/// These programs always allow the call.
const ALLOW: i32 = 1;

#[cgroup_sock_addr(connect4)]
pub(crate) fn connect4(ctx: SockAddrContext) -> i32 {
    if let Some((port, class)) = watched(&ctx) {
        origin(&ctx, peer4(&ctx, port), class);
    }
    ALLOW
}

#[cgroup_sock_addr(connect6)]
pub(crate) fn connect6(ctx: SockAddrContext) -> i32 {
    if let Some((port, class)) = watched(&ctx) {
        origin(&ctx, peer6(&ctx, port), class);
    }
    ALLOW
}

#[cgroup_sock_addr(sendmsg4)]
pub(crate) fn sendmsg4(ctx: SockAddrContext) -> i32 {
    if let Some((port, class)) = watched(&ctx) {
        origin(&ctx, peer4(&ctx, port), class);
    }
    ALLOW
}

#[cgroup_sock_addr(sendmsg6)]
pub(crate) fn sendmsg6(ctx: SockAddrContext) -> i32 {
    if let Some((port, class)) = watched(&ctx) {
        origin(&ctx, peer6(&ctx, port), class);
    }
    ALLOW
}

/// Port and class, when anybody asked about this port.
#[inline(always)]
fn watched(ctx: &SockAddrContext) -> Option<(u16, u8)> {
    // SAFETY: the kernel's context.
    let port = u16::from_be(unsafe { (*ctx.sock_addr).user_port } as u16);
    let class = class(port);
    if tcp_watched(class) {
        Some((port, class))
    } else {
        None
    }
}

#[inline(always)]
fn peer4(ctx: &SockAddrContext, port: u16) -> Peer {
    // SAFETY: the kernel's context.
    let addr = unsafe { (*ctx.sock_addr).user_ip4 };
    Peer {
        addr: mapped(addr),
        port,
        pad: [0; 6],
    }
}

#[inline(always)]
fn peer6(ctx: &SockAddrContext, port: u16) -> Peer {
    let mut words = [0u32; 4];
    // SAFETY: the kernel's context; the verifier wants each word read on its own.
    unsafe {
        let source = &raw const (*ctx.sock_addr).user_ip6;
        words[0] = core::ptr::read_volatile(&raw const (*source)[0]);
        words[1] = core::ptr::read_volatile(&raw const (*source)[1]);
        words[2] = core::ptr::read_volatile(&raw const (*source)[2]);
        words[3] = core::ptr::read_volatile(&raw const (*source)[3]);
    }
    // SAFETY: same size, no invalid values.
    let addr = unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(words) };
    Peer {
        addr,
        port,
        pad: [0; 6],
    }
}

#[inline(always)]
fn origin(ctx: &SockAddrContext, asked: Peer, class: u8) {
    // SAFETY: the kernel's context.
    let protocol = unsafe { (*ctx.sock_addr).protocol };
    if protocol == u32::from(TCP) {
        connect(ctx, asked);
    } else if protocol == UDP && class & port_class::DNS != 0 {
        // getaddrinfo also connects UDP sockets to the service's port, only to sort addresses: never an attempt.
        let caller = kernel::caller();
        let value = UdpOrigin {
            asked,
            comm: caller.comm,
            pid: caller.pid,
            netns: 0,
        };
        // SAFETY: the helper takes the context.
        let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
        let _ = UDP_ORIGINS.insert(cookie, value, u64::from(BPF_ANY));
    }
}

#[inline(always)]
fn connect(ctx: &SockAddrContext, asked: Peer) {
    // SAFETY: the helpers have no preconditions but the context.
    let (cookie, cgroup) = unsafe { (bpf_get_socket_cookie(ctx.as_ptr()), bpf_get_current_cgroup_id()) };
    let port = asked.port;
    if let Some(conn) = CONNS.get_ptr(cookie) {
        // SAFETY: a map value lives as long as the program.
        let flags = unsafe { (*conn).flags };
        if flags & (conn_flag::ATTEMPTED | conn_flag::ADOPTED) != 0 {
            // connect(2) again on a socket that is connecting: the kernel answers EALREADY or EISCONN.
            return;
        }
        // The attempt before this one on the same socket failed synchronously.
        failed(cookie, 0);
    }
    if let Some(conn) = insert_conn(cookie, cgroup, conn_flag::ASKED) {
        // SAFETY: a map value lives as long as the program.
        unsafe { (*conn).asked = asked };
        change_live(live::PENDING, 1);
        count_conn(cgroup, port, outcome::ASKED);
        trace!(ctx, "connect to port {} asked for", port);
    }
}

/// Reports a connect that made no SYN, and forgets it.
#[inline(always)]
fn failed(cookie: u64, error: u32) {
    let Some(conn) = CONNS.get_ptr(cookie) else {
        return;
    };
    change_live(live::PENDING, u64::MAX);
    // SAFETY: a map value lives as long as the program.
    unsafe {
        count_conn((*conn).cgroup, (*conn).asked.port, outcome::FAILED);
        if let Some(mut slot) = reserve::<ConnectFailed>(kind::CONNECT_FAILED) {
            let record = slot.as_ptr();
            let head = conn_header(kind::CONNECT_FAILED, size_of::<ConnectFailed>(), cookie, conn);
            (*record).header = head;
            (*record).asked = (*conn).asked;
            (*record).comm = (*conn).comm;
            (*record).error = error;
            (*record).pad = 0;
            slot.submit();
        }
    }
    let _ = CONNS.remove(cookie);
}

/// `EINPROGRESS`: the SYN is on its way.
const EINPROGRESS: i32 = 115;

#[fexit(function = "inet_stream_connect")]
pub(crate) fn connect_exit(ctx: FExitContext) -> i32 {
    let ret: i32 = ctx.arg(4);
    if ret >= 0 || ret == -EINPROGRESS {
        return 0;
    }
    let socket: usize = ctx.arg(0);
    let Some(sock) = kernel::socket_sock(socket) else {
        return 0;
    };
    let cookie = kernel::stored_cookie(sock);
    let Some(conn) = CONNS.get_ptr(cookie) else {
        return 0;
    };
    // SAFETY: a map value lives as long as the program.
    if unsafe { (*conn).flags } & (conn_flag::ATTEMPTED | conn_flag::ADOPTED) == 0 {
        failed(cookie, ret.unsigned_abs());
        debug!(ctx, "connect failed with errno {}", ret.unsigned_abs());
    }
    0
}
