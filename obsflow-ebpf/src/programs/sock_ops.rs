//! TCP where the kernel has no BTF: the same records from the callbacks of `sock_ops`, at about twice the cost.
//!
//! | program | attach point | oldest kernel | cost |
//! | --- | --- | --- | --- |
//! | `tcp_sock_ops` | `sock_ops` | 4.16 (`TCP_CONNECT_CB` 4.13, state changes 4.16) | every connect and accept below the cgroup: one load and an array look-up; a watched connection: a call for each state change and retransmission |
//! | `tcp_sock_release` | `cgroup/sock_release` | 5.9 | every socket closed below the cgroup: one load |
//!
//! `sk_err` cannot be read here, so an outcome is concluded from who ended the attempt: a RST that `skb_ingress` saw, the
//! kernel's own giving up, the owner's close. What is left is an error that ICMP brought. No callback for round-trip
//! times is asked for: it would come with every ACK.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{
    BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RETRANS_CB, BPF_SOCK_OPS_RETRANS_CB_FLAG,
    BPF_SOCK_OPS_RTO_CB, BPF_SOCK_OPS_RTO_CB_FLAG, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
    BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_SOCK_OPS_TIMEOUT_INIT,
};
use aya_ebpf::helpers::bpf_get_socket_cookie;
use aya_ebpf::macros::{cgroup_sock, sock_ops};
use aya_ebpf::programs::{SockContext, SockOpsContext};
use aya_log_ebpf::debug;
use obsflow_ebpf::abi::conn::{Conn, conn_flag, outcome};
use obsflow_ebpf::abi::count::live;
use obsflow_ebpf::abi::record::Tuple;

use super::tcp::{
    Ending, TCP, attempted, errno, fin_acked, forget, insert_blank, report_attempt, report_close,
    report_established, report_retransmit,
};
use crate::kernel::{
    AF_INET6, TCP_CLOSE, TCP_CLOSE_WAIT, TCP_CLOSING, TCP_LAST_ACK, TCP_SYN_SENT, copy, mapped,
};
use crate::maps::{CONNS, change_live, class, live, tcp_watched};

/// Callbacks asked for on watched sockets.
const CALLBACKS: u32 = BPF_SOCK_OPS_RTO_CB_FLAG | BPF_SOCK_OPS_RETRANS_CB_FLAG | BPF_SOCK_OPS_STATE_CB_FLAG;
/// The answer of a program that has nothing to say; the reply stays what it was.
const NOTHING_TO_SAY: u32 = 1;

#[sock_ops]
pub(crate) fn tcp_sock_ops(ctx: SockOpsContext) -> u32 {
    let op = ctx.op();
    if op == BPF_SOCK_OPS_TCP_CONNECT_CB {
        attempt(&ctx);
    } else if op == BPF_SOCK_OPS_TIMEOUT_INIT {
        // The same moment a second time: a program that ran after us may have replaced the callbacks meanwhile.
        if state(&ctx) == TCP_SYN_SENT {
            attempt(&ctx);
        }
    } else if op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB {
        established(&ctx);
    } else if op == BPF_SOCK_OPS_RTO_CB {
        // Time-outs, not retransmissions: while no neighbour answers, none of those comes.
        if state(&ctx) == TCP_SYN_SENT {
            timed_out(&ctx);
        }
    } else if op == BPF_SOCK_OPS_RETRANS_CB {
        retransmitted(&ctx);
    } else if op == BPF_SOCK_OPS_STATE_CB && ctx.arg(1) == TCP_CLOSE {
        closed(&ctx, ctx.arg(0));
    }
    NOTHING_TO_SAY
}

#[inline(always)]
fn state(ctx: &SockOpsContext) -> u32 {
    // SAFETY: the kernel's context.
    unsafe { (&raw const (*ctx.ops).state).read_volatile() }
}

#[inline(always)]
fn remote_port(ctx: &SockOpsContext) -> u16 {
    // In network order in a word of 32 bits.
    u32::from_be(ctx.remote_port()) as u16
}

#[inline(always)]
fn cookie(ctx: &SockOpsContext) -> u64 {
    // SAFETY: the helper takes the context.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}

/// Asks for our callbacks and keeps those that others asked for: the helper replaces the whole set.
#[inline(always)]
fn ask_callbacks(ctx: &SockOpsContext) {
    let flags = ctx.cb_flags();
    if flags & CALLBACKS != CALLBACKS {
        let _ = ctx.set_cb_flags((flags | CALLBACKS) as i32);
    }
}

/// The connection of a callback, when it is one of ours, and whether its socket's port is watched.
#[inline(always)]
fn followed(ctx: &SockOpsContext) -> Option<(u64, *mut Conn, bool)> {
    let watched = tcp_watched(class(remote_port(ctx)));
    if !watched && live(live::REWRITTEN) == 0 {
        return None;
    }
    let cookie = cookie(ctx);
    Some((cookie, CONNS.get_ptr_mut(cookie)?, watched))
}

#[inline(always)]
fn attempt(ctx: &SockOpsContext) {
    let port = remote_port(ctx);
    let watched = tcp_watched(class(port));
    if !watched && live(live::PENDING) == live(live::TAKEN) && live(live::REWRITTEN) == 0 {
        return;
    }
    let cookie = cookie(ctx);
    let conn = match CONNS.get_ptr_mut(cookie) {
        Some(conn) => {
            // SAFETY: a map value lives as long as the program.
            if unsafe { (*conn).flags } & conn_flag::ATTEMPTED != 0 {
                ask_callbacks(ctx);
                return;
            }
            change_live(live::PENDING, u64::MAX);
            conn
        }
        None if !watched => return,
        None => match insert(ctx, cookie) {
            Some(conn) => conn,
            None => return,
        },
    };
    if !watched {
        change_live(live::REWRITTEN, 1);
    }
    ask_callbacks(ctx);
    // SAFETY: map values live as long as the program.
    unsafe {
        tuple(ctx, &raw mut (*conn).tuple);
        attempted(conn);
        report_attempt(cookie, conn);
    }
    debug!(ctx, "attempt to port {}", port);
}

/// Makes the entry of a connection that no connect hook saw: nothing here tells whose it is.
#[inline(always)]
fn insert(ctx: &SockOpsContext, cookie: u64) -> Option<*mut Conn> {
    let conn = insert_blank(cookie)?;
    // SAFETY: a map value lives as long as the program.
    unsafe {
        tuple(ctx, &raw mut (*conn).tuple);
        copy(&raw mut (*conn).asked.addr, &raw const (*conn).tuple.remote);
        (*conn).asked.port = (*conn).tuple.remote_port;
    }
    Some(conn)
}

/// Writes both ends to `to`.
///
/// # Safety
/// `to` must be a part of a map value.
#[inline(always)]
unsafe fn tuple(ctx: &SockOpsContext, to: *mut Tuple) {
    // SAFETY: the kernel's context, each word read on its own as the verifier wants it; the rest is the caller's.
    unsafe {
        if ctx.family() == u32::from(AF_INET6) {
            let local = &raw const (*ctx.ops).local_ip6;
            let remote = &raw const (*ctx.ops).remote_ip6;
            (*to).local = address(local);
            (*to).remote = address(remote);
        } else {
            (*to).local = mapped((&raw const (*ctx.ops).local_ip4).read_volatile());
            (*to).remote = mapped((&raw const (*ctx.ops).remote_ip4).read_volatile());
        }
        (*to).local_port = (&raw const (*ctx.ops).local_port).read_volatile() as u16;
        (*to).remote_port = remote_port(ctx);
        (*to).protocol = TCP;
        (*to).pad = [0; 3];
    }
}

/// An IPv6 address of the context.
///
/// # Safety
/// `from` must be a member of the context.
#[inline(always)]
unsafe fn address(from: *const [u32; 4]) -> [u8; 16] {
    // SAFETY: forwarded to the caller; same size, no invalid values.
    unsafe {
        let words = [
            (&raw const (*from)[0]).read_volatile(),
            (&raw const (*from)[1]).read_volatile(),
            (&raw const (*from)[2]).read_volatile(),
            (&raw const (*from)[3]).read_volatile(),
        ];
        core::mem::transmute::<[u32; 4], [u8; 16]>(words)
    }
}

#[inline(always)]
fn established(ctx: &SockOpsContext) {
    let Some((cookie, conn, _)) = followed(ctx) else {
        return;
    };
    ask_callbacks(ctx);
    // SAFETY: a map value lives as long as the program; the kernel's context.
    unsafe {
        if (*conn).flags & conn_flag::ATTEMPTED == 0 || (*conn).flags & conn_flag::ESTABLISHED != 0 {
            return;
        }
        let sequence = (
            (&raw const (*ctx.ops).snd_una).read_volatile(),
            (&raw const (*ctx.ops).rcv_nxt).read_volatile(),
        );
        report_established(cookie, conn, sequence);
    }
}

/// Nothing answered a SYN in time; the kernel sends another one, or gives up when the third argument says so.
#[inline(always)]
fn timed_out(ctx: &SockOpsContext) {
    let Some((cookie, conn, _)) = followed(ctx) else {
        return;
    };
    // SAFETY: a map value lives as long as the program.
    unsafe {
        if ctx.arg(2) != 0 {
            (*conn).flags |= conn_flag::EXPIRED;
        } else {
            (*conn).syn_retransmits += 1;
            report_retransmit(cookie, conn, (*conn).syn_retransmits, TCP_SYN_SENT);
            debug!(ctx, "SYN time-out {}", (*conn).syn_retransmits);
        }
    }
}

#[inline(always)]
fn retransmitted(ctx: &SockOpsContext) {
    let Some((cookie, conn, _)) = followed(ctx) else {
        return;
    };
    let state = state(ctx);
    // SAFETY: a map value lives as long as the program.
    unsafe {
        if state != TCP_SYN_SENT {
            (*conn).retransmits += 1;
            // The first and then each time the number doubles.
            if (*conn).retransmits.is_power_of_two() {
                report_retransmit(cookie, conn, (*conn).retransmits, state);
            }
        } else if ctx.arg(2) as i32 == -1 {
            // EPERM: this node's own OUTPUT dropped it.
            (*conn).flags |= conn_flag::DROPPED | conn_flag::DENIED | conn_flag::RESENT;
        } else {
            (*conn).flags |= conn_flag::RESENT;
        }
    }
}

#[inline(always)]
fn closed(ctx: &SockOpsContext, old: u32) {
    let Some((cookie, conn, watched)) = followed(ctx) else {
        return;
    };
    // SAFETY: a map value lives as long as the program; the kernel's context.
    unsafe {
        let flags = (*conn).flags;
        if flags & (conn_flag::ATTEMPTED | conn_flag::ADOPTED) == 0 {
            // Another CLOSE of a socket whose connect failed: user space reports it from the map.
            return;
        }
        let ending = if flags & (conn_flag::ESTABLISHED | conn_flag::ADOPTED) != 0 {
            let error = reset(flags, old);
            let acked = (&raw const (*ctx.ops).bytes_acked).read_volatile();
            let received = (&raw const (*ctx.ops).bytes_received).read_volatile();
            // SYN and FIN take a sequence number each and are no payload (RFC 9293, 3.4).
            Ending {
                acked: acked.saturating_sub(1 + fin_acked(old, error)),
                received: received.saturating_sub(fin_received(flags, old)),
                error,
                soft_error: 0,
                last_state: old as u16,
                outcome: outcome::ESTABLISHED,
            }
        } else {
            let (outcome, error) = failure(flags, (*conn).syn_retransmits);
            Ending {
                acked: 0,
                received: 0,
                error,
                soft_error: 0,
                last_state: old as u16,
                outcome,
            }
        };
        report_close(cookie, conn, &ending);
        debug!(ctx, "close with outcome {}", ending.outcome);
    }
    forget(cookie, watched);
}

/// The errno that the peer's RST leaves on an established socket (`tcp_reset` of `net/ipv4/tcp_input.c`).
#[inline(always)]
fn reset(flags: u32, state: u32) -> u32 {
    if flags & conn_flag::RST == 0 {
        0
    } else if state == TCP_CLOSE_WAIT {
        errno::EPIPE
    } else {
        errno::ECONNRESET
    }
}

/// Whether the peer's FIN counts in the bytes received: these states follow it, and `skb_ingress` saw it.
#[inline(always)]
fn fin_received(flags: u32, state: u32) -> u64 {
    u64::from(
        flags & conn_flag::FIN != 0
            || state == TCP_CLOSE_WAIT
            || state == TCP_LAST_ACK
            || state == TCP_CLOSING,
    )
}

/// Why an attempt came to nothing, and the errno where that says it.
#[inline(always)]
fn failure(flags: u32, syn_retransmits: u32) -> (u16, u32) {
    if flags & conn_flag::RST != 0 {
        (outcome::REFUSED, errno::ECONNREFUSED)
    } else if flags & (conn_flag::EXPIRED | conn_flag::RELEASED) == 0 {
        // Neither the owner nor the clock ended it: an error did. While a neighbour does not answer, the first SYN
        // waits for it, and no other is sent although the clock asks for one.
        if syn_retransmits == 0 || flags & conn_flag::RESENT != 0 {
            (outcome::REJECTED, 0)
        } else {
            (outcome::UNREACHABLE, 0)
        }
    } else if flags & conn_flag::DROPPED != 0 {
        let denied = flags & conn_flag::DENIED != 0;
        (outcome::DROPPED, if denied { errno::EPERM } else { 0 })
    } else if flags & conn_flag::EXPIRED != 0 {
        (outcome::TIMED_OUT, errno::ETIMEDOUT)
    } else if syn_retransmits > 0 {
        (outcome::GIVEN_UP, 0)
    } else {
        (outcome::ABANDONED, 0)
    }
}

/// The last owner closes a socket: what ends an attempt next is no answer.
#[cgroup_sock(sock_release)]
pub(crate) fn tcp_sock_release(ctx: SockContext) -> i32 {
    // SAFETY: the kernel's context.
    let state = unsafe { (&raw const (*ctx.sock).state).read_volatile() };
    if state == TCP_SYN_SENT {
        // SAFETY: the helper takes the context.
        let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
        if let Some(conn) = CONNS.get_ptr_mut(cookie) {
            // SAFETY: a map value lives as long as the program.
            unsafe { (*conn).flags |= conn_flag::RELEASED };
        }
    }
    1
}
