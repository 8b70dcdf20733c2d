//! TCP from BTF tracepoints: attempts, handshakes, retransmissions, ends.
//!
//! | program | attach point | oldest kernel | cost |
//! | --- | --- | --- | --- |
//! | `sock_state` | BTF tracepoint `inet_sock_set_state` | 5.5 | every state change of every TCP socket: two loads and an array look-up |
//! | `tcp_retransmit` | BTF tracepoint `tcp_retransmit_skb` | 5.5 | every retransmission: the same |
//! | `tcp_reset` | BTF tracepoint `tcp_receive_reset` | 5.5 | every RST received: the same |

use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_ktime_get_ns};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use aya_log_ebpf::debug;
use obsflow_ebpf::abi::conn::{Conn, Stream, conn_flag, outcome, stream_state};
use obsflow_ebpf::abi::count::{live, port_class, stat};
use obsflow_ebpf::abi::record::{Attempt, Close, Established, Header, Retransmit, Tuple, flag, kind};

use crate::emit::{count, count_conn, header, reserve};
use crate::kernel::{
    self, ExtendedError, Sock, TCP_CLOSE, TCP_CLOSING, TCP_ESTABLISHED, TCP_FIN_WAIT2, TCP_LAST_ACK,
    TCP_SYN_SENT, copy,
};
use crate::maps::{CONNS, change_live, class, live, tcp_watched};

/// IPPROTO_TCP.
pub const TCP: u8 = 6;

/// `errno` values that an attempt ends with (`include/uapi/asm-generic/errno.h`).
pub mod errno {
    pub const EPERM: u32 = 1;
    pub const ENETUNREACH: u32 = 101;
    pub const ETIMEDOUT: u32 = 110;
    pub const ECONNREFUSED: u32 = 111;
    pub const EHOSTDOWN: u32 = 112;
    pub const EHOSTUNREACH: u32 = 113;
    pub const ENOPROTOOPT: u32 = 92;
    pub const EACCES: u32 = 13;
    pub const EPROTO: u32 = 71;
    pub const ENONET: u32 = 64;
    pub const EOPNOTSUPP: u32 = 95;
    pub const EPIPE: u32 = 32;
    pub const ECONNRESET: u32 = 104;
}

#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn sock_state(ctx: BtfTracePointContext) -> i32 {
    let sock = Sock(ctx.arg(0));
    // Every watched connection has a watched port at its remote end, except those that a connect hook saw ask for
    // one before something rewrote it; these two loads and one look-up are all that others pay.
    let (old, new): (u32, u32) = (ctx.arg(1), ctx.arg(2));
    // Three transitions matter; a connection makes ten.
    if new != TCP_SYN_SENT && new != TCP_CLOSE && !(old == TCP_SYN_SENT && new == TCP_ESTABLISHED) {
        return 0;
    }
    let watched = tcp_watched(class(sock.remote_port()));
    if new == TCP_SYN_SENT {
        if watched || live(live::PENDING) != live(live::TAKEN) {
            syn_sent(&ctx, sock, watched);
        }
    } else if watched || live(live::REWRITTEN) != 0 {
        if old == TCP_SYN_SENT && new == TCP_ESTABLISHED {
            established(sock);
        } else if new == TCP_CLOSE {
            closed(&ctx, sock, watched, old);
        }
    }
    0
}

#[inline(always)]
fn syn_sent(ctx: &BtfTracePointContext, sock: Sock, watched: bool) {
    let cookie = sock.cookie();
    if cookie == 0 {
        // Before 5.12 only the connect hook makes cookies: sockets outside its cgroup have none.
        return;
    }
    let known = CONNS.get_ptr_mut(cookie);
    if known.is_none() && !watched {
        return;
    }
    if sock.protocol() != u16::from(TCP) {
        return;
    }
    let conn = match known {
        Some(conn) => {
            // SAFETY: a map value lives as long as the program.
            if unsafe { (*conn).flags } & conn_flag::ATTEMPTED == 0 {
                change_live(live::PENDING, u64::MAX);
            }
            conn
        }
        None => match insert(cookie, sock) {
            Some(conn) => conn,
            None => return,
        },
    };
    if !watched {
        change_live(live::REWRITTEN, 1);
    }
    // Also when the ring is full: the connection is followed all the same, its counters stay exact.
    begin(conn, sock);
    // SAFETY: the pointer was checked.
    unsafe { report_attempt(cookie, conn) };
    debug!(ctx, "attempt to port {}", sock.remote_port());
}

/// Emits the beginning of an attempt.
///
/// # Safety
/// `conn` must be a value of [`CONNS`].
#[inline(always)]
pub unsafe fn report_attempt(cookie: u64, conn: *const Conn) {
    let Some(mut slot) = reserve::<Attempt>(kind::ATTEMPT) else {
        return;
    };
    let record = slot.as_ptr();
    // SAFETY: forwarded to the caller; the slot is ours until submitted.
    unsafe {
        let mut head = conn_header(kind::ATTEMPT, size_of::<Attempt>(), cookie, conn);
        head.ts_ns = (*conn).start_ns;
        (*record).header = head;
        copy(&raw mut (*record).tuple, &raw const (*conn).tuple);
        copy(&raw mut (*record).asked, &raw const (*conn).asked);
        copy(&raw mut (*record).comm, &raw const (*conn).comm);
    }
    slot.submit();
}

/// Makes the entry of a connection that no connect hook saw.
#[inline(always)]
fn insert(cookie: u64, sock: Sock) -> Option<*mut Conn> {
    // SAFETY: the helper has no preconditions; at SYN_SENT the caller is the process that connects.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    let conn = insert_conn(cookie, cgroup, 0)?;
    // SAFETY: a map value lives as long as the program.
    unsafe {
        sock.tuple(TCP, &raw mut (*conn).tuple);
        copy(&raw mut (*conn).asked.addr, &raw const (*conn).tuple.remote);
        (*conn).asked.port = (*conn).tuple.remote_port;
    }
    Some(conn)
}

/// A connection of which nothing is known. It lives in a read-only map: the stack has no room for it.
static BLANK: Conn = {
    const STREAM: Stream = Stream {
        base: 0,
        state: 0,
        seen: 0,
        next_frame: 0,
        capture_until: 0,
        partial: [0; 9],
        partial_len: 0,
        flags: 0,
        data: 0,
        start: 0,
        end: 0,
    };
    const TUPLE: Tuple = Tuple {
        local: [0; 16],
        remote: [0; 16],
        local_port: 0,
        remote_port: 0,
        protocol: TCP,
        pad: [0; 3],
    };
    Conn {
        start_ns: 0,
        handshake_ns: 0,
        cgroup: 0,
        pid: 0,
        netns: 0,
        flags: 0,
        syn_retransmits: 0,
        retransmits: 0,
        tokens: 0,
        tokens_ns: 0,
        tuple: TUPLE,
        asked: kernel::NO_PEER,
        comm: [0; 16],
        sent: STREAM,
        received: STREAM,
    }
};

/// Makes the entry of a connection that the calling process asks for. `None`, and counted, when the map is full.
#[inline(always)]
pub fn insert_conn(cookie: u64, cgroup: u64, flags: u32) -> Option<*mut Conn> {
    let conn = insert_blank(cookie)?;
    let caller = kernel::caller();
    // SAFETY: a map value lives as long as the program.
    unsafe {
        (*conn).cgroup = cgroup;
        (*conn).pid = caller.pid;
        (*conn).comm = caller.comm;
        (*conn).flags = flags;
    }
    Some(conn)
}

/// Makes the entry of a connection of which nothing is known. `None`, and counted, when the map is full.
#[inline(always)]
pub fn insert_blank(cookie: u64) -> Option<*mut Conn> {
    let blank = &BLANK;
    if CONNS.insert(cookie, blank, u64::from(BPF_ANY)).is_err() {
        count(stat::CONNS_FULL);
        return None;
    }
    let conn = CONNS.get_ptr_mut(cookie)?;
    // SAFETY: a map value lives as long as the program; the helper has no preconditions.
    unsafe { (*conn).start_ns = bpf_ktime_get_ns() };
    Some(conn)
}

/// The SYN is being made now.
#[inline(always)]
fn begin(conn: *mut Conn, sock: Sock) {
    // SAFETY: a map value lives as long as the program; one socket connects once at a time.
    unsafe {
        sock.tuple(TCP, &raw mut (*conn).tuple);
        (*conn).netns = sock.netns();
        attempted(conn);
    }
}

/// Marks and counts an attempt whose addresses are known.
///
/// # Safety
/// `conn` must be a value of [`CONNS`].
#[inline(always)]
pub unsafe fn attempted(conn: *mut Conn) {
    // SAFETY: forwarded to the caller.
    unsafe {
        (*conn).start_ns = bpf_ktime_get_ns();
        let mut flags = (*conn).flags | conn_flag::ATTEMPTED;
        if class((*conn).tuple.remote_port) & port_class::DNS != 0 {
            flags |= conn_flag::DNS;
        }
        (*conn).flags = flags;
        count_conn((*conn).cgroup, (*conn).asked.port, outcome::ATTEMPT);
    }
}

#[inline(always)]
fn established(sock: Sock) {
    let cookie = sock.cookie();
    let Some(conn) = CONNS.get_ptr_mut(cookie) else {
        return;
    };
    // SAFETY: a map value lives as long as the program.
    unsafe {
        // The local address may be chosen only while routing the SYN.
        sock.tuple(TCP, &raw mut (*conn).tuple);
        report_established(cookie, conn, sock.tcp_sequence());
    }
}

/// Marks, counts and emits a completed handshake. `sequence` is where the streams begin: what the peer acknowledged so
/// far, and what is expected from it next.
///
/// # Safety
/// `conn` must be a value of [`CONNS`].
#[inline(always)]
pub unsafe fn report_established(cookie: u64, conn: *mut Conn, sequence: (u32, u32)) {
    // SAFETY: forwarded to the caller; the slot is ours until submitted.
    unsafe {
        let now = bpf_ktime_get_ns();
        (*conn).handshake_ns = now - (*conn).start_ns;
        (*conn).flags |= conn_flag::ESTABLISHED;
        let (sent, received) = sequence;
        (*conn).sent.base = sent;
        (*conn).sent.state = stream_state::BASED;
        (*conn).received.base = received;
        (*conn).received.state = stream_state::BASED;
        count_conn((*conn).cgroup, (*conn).asked.port, outcome::ESTABLISHED);
        let Some(mut slot) = reserve::<Established>(kind::ESTABLISHED) else {
            return;
        };
        let record = slot.as_ptr();
        let mut head = conn_header(kind::ESTABLISHED, size_of::<Established>(), cookie, conn);
        head.ts_ns = now;
        (*record).header = head;
        copy(&raw mut (*record).tuple, &raw const (*conn).tuple);
        (*record).handshake_ns = (*conn).handshake_ns;
        slot.submit();
    }
}

#[inline(always)]
fn closed(ctx: &BtfTracePointContext, sock: Sock, watched: bool, old: u32) {
    let cookie = sock.cookie();
    let Some(conn) = CONNS.get_ptr_mut(cookie) else {
        return;
    };
    let (error, mut soft_error) = sock.errors();
    let (mut acked, mut received) = sock.tcp_bytes();
    // SAFETY: a map value lives as long as the program; the entry goes away only here.
    unsafe {
        let flags = (*conn).flags;
        if flags & (conn_flag::ATTEMPTED | conn_flag::ADOPTED) == 0 {
            // Another CLOSE of a socket whose connect failed: user space reports it from the map.
            return;
        }
        let outcome = if flags & (conn_flag::ESTABLISHED | conn_flag::ADOPTED) != 0 {
            // SYN and FIN take a sequence number each and are no payload (RFC 9293, 3.4).
            acked = acked.saturating_sub(1 + fin_acked(old, error));
            received = received.saturating_sub(u64::from(sock.fin_received()));
            outcome::ESTABLISHED
        } else {
            (acked, received) = (0, 0);
            // At SYN_SENT the port was not chosen yet.
            if (*conn).tuple.local_port == 0 {
                (*conn).tuple.local_port = sock.last_local_port();
            }
            let queued = sock.queued_error();
            if error == 0
                && soft_error == 0
                && let Some(queued) = queued
            {
                soft_error = queued.errno;
            }
            if queued.is_some_and(ExtendedError::is_refusal) {
                outcome::REJECTED
            } else {
                failure(flags, error, soft_error, (*conn).syn_retransmits)
            }
        };
        let ending = Ending {
            acked,
            received,
            error,
            soft_error,
            last_state: old as u16,
            outcome,
        };
        report_close(cookie, conn, &ending);
        debug!(ctx, "close with outcome {} errno {}", outcome, error);
    }
    forget(cookie, watched);
}

/// How a connection ended.
pub struct Ending {
    /// Payload bytes the peer acknowledged.
    pub acked: u64,
    /// Payload bytes received.
    pub received: u64,
    /// An errno, or 0.
    pub error: u32,
    /// An errno, or 0.
    pub soft_error: u32,
    /// The state before CLOSE.
    pub last_state: u16,
    /// One of [`outcome`].
    pub outcome: u16,
}

/// Counts and emits the end of a connection.
///
/// # Safety
/// `conn` must be a value of [`CONNS`].
#[inline(always)]
pub unsafe fn report_close(cookie: u64, conn: *const Conn, ending: &Ending) {
    // SAFETY: forwarded to the caller; the slot is ours until submitted.
    unsafe {
        let flags = (*conn).flags;
        if ending.outcome != outcome::ESTABLISHED {
            count_conn((*conn).cgroup, (*conn).asked.port, ending.outcome);
        }
        let Some(mut slot) = reserve::<Close>(kind::CLOSE) else {
            return;
        };
        let record = slot.as_ptr();
        let mut head = conn_header(kind::CLOSE, size_of::<Close>(), cookie, conn);
        head.ts_ns = bpf_ktime_get_ns();
        if flags & conn_flag::RST != 0 {
            head.flags |= flag::RST;
        }
        if flags & conn_flag::DROPPED != 0 {
            head.flags |= flag::DROPPED;
        }
        (*record).header = head;
        copy(&raw mut (*record).tuple, &raw const (*conn).tuple);
        copy(&raw mut (*record).asked, &raw const (*conn).asked);
        copy(&raw mut (*record).comm, &raw const (*conn).comm);
        (*record).duration_ns = head.ts_ns - (*conn).start_ns;
        (*record).handshake_ns = (*conn).handshake_ns;
        (*record).bytes_acked = ending.acked;
        (*record).bytes_received = ending.received;
        (*record).error = ending.error;
        (*record).soft_error = ending.soft_error;
        (*record).syn_retransmits = (*conn).syn_retransmits;
        (*record).retransmits = (*conn).retransmits;
        (*record).outcome = ending.outcome;
        (*record).last_state = ending.last_state;
        (*record).pad = 0;
        slot.submit();
    }
}

/// Ends the following of a connection. `watched` is whether its socket's remote port is.
#[inline(always)]
pub fn forget(cookie: u64, watched: bool) {
    if CONNS.remove(cookie).is_ok() && !watched {
        change_live(live::REWRITTEN, u64::MAX);
    }
}

/// Whether our FIN was acknowledged when the socket left `state`: in FIN_WAIT2 it was; LAST_ACK and CLOSING are left
/// because it was, unless an error ended them.
#[inline(always)]
pub fn fin_acked(state: u32, error: u32) -> u64 {
    u64::from(state == TCP_FIN_WAIT2 || (error == 0 && (state == TCP_LAST_ACK || state == TCP_CLOSING)))
}

/// Why an attempt came to nothing. An errno wins over a drop: REJECT drops the packet as well.
#[inline(always)]
fn failure(flags: u32, error: u32, soft_error: u32, syn_retransmits: u32) -> u16 {
    if flags & conn_flag::RST != 0 {
        return outcome::REFUSED;
    }
    // What ICMP leaves on a socket that its owner holds at that moment is only the soft error.
    let errno = if error != 0 && error != errno::ETIMEDOUT {
        error
    } else {
        soft_error
    };
    match errno {
        errno::ECONNREFUSED
        | errno::ENOPROTOOPT
        | errno::EACCES
        | errno::EPROTO
        | errno::ENONET
        | errno::EOPNOTSUPP => outcome::REJECTED,
        errno::ENETUNREACH | errno::EHOSTUNREACH | errno::EHOSTDOWN => outcome::UNREACHABLE,
        _ if flags & conn_flag::DROPPED != 0 => outcome::DROPPED,
        _ if error == errno::ETIMEDOUT => outcome::TIMED_OUT,
        _ if syn_retransmits > 0 => outcome::GIVEN_UP,
        _ => outcome::ABANDONED,
    }
}

/// Header of a record of a tracked connection.
///
/// # Safety
/// `conn` must be a value of [`CONNS`].
#[inline(always)]
pub unsafe fn conn_header(kind: u16, len: usize, cookie: u64, conn: *const Conn) -> Header {
    // SAFETY: forwarded to the caller.
    unsafe {
        let asked = if (*conn).flags & conn_flag::ASKED != 0 {
            flag::ASKED
        } else {
            0
        };
        let mut head = header(kind, asked, len);
        head.cgroup = (*conn).cgroup;
        head.cookie = cookie;
        head.netns = (*conn).netns;
        head.pid = (*conn).pid;
        head
    }
}

#[btf_tracepoint(function = "tcp_retransmit_skb")]
pub fn tcp_retransmit(ctx: BtfTracePointContext) -> i32 {
    let sock = Sock(ctx.arg(0));
    let state = u32::from(sock.state());
    if state != TCP_SYN_SENT && !tcp_watched(class(sock.remote_port())) {
        return 0;
    }
    let cookie = sock.cookie();
    let Some(conn) = CONNS.get_ptr_mut(cookie) else {
        return 0;
    };
    // SAFETY: a map value lives as long as the program.
    unsafe {
        let times = if state == TCP_SYN_SENT {
            (*conn).syn_retransmits += 1;
            (*conn).syn_retransmits
        } else {
            (*conn).retransmits += 1;
            (*conn).retransmits
        };
        // Every SYN; of other segments the first and then each time the number doubles.
        if state != TCP_SYN_SENT && !times.is_power_of_two() {
            return 0;
        }
        // At SYN_SENT the local address may not have been chosen yet.
        sock.tuple(TCP, &raw mut (*conn).tuple);
        report_retransmit(cookie, conn, times, state);
        debug!(ctx, "retransmission {} in state {}", times, state);
    }
    0
}

/// Emits a retransmission.
///
/// # Safety
/// `conn` must be a value of [`CONNS`].
#[inline(always)]
pub unsafe fn report_retransmit(cookie: u64, conn: *const Conn, times: u32, state: u32) {
    let Some(mut slot) = reserve::<Retransmit>(kind::RETRANSMIT) else {
        return;
    };
    let record = slot.as_ptr();
    // SAFETY: forwarded to the caller; the slot is ours until submitted.
    unsafe {
        (*record).header = conn_header(kind::RETRANSMIT, size_of::<Retransmit>(), cookie, conn);
        copy(&raw mut (*record).tuple, &raw const (*conn).tuple);
        (*record).count = times;
        (*record).state = state;
    }
    slot.submit();
}

#[btf_tracepoint(function = "tcp_receive_reset")]
pub fn tcp_reset(ctx: BtfTracePointContext) -> i32 {
    let sock = Sock(ctx.arg(0));
    let state = u32::from(sock.state());
    if state != TCP_SYN_SENT && !tcp_watched(class(sock.remote_port())) {
        return 0;
    }
    if let Some(conn) = CONNS.get_ptr_mut(sock.cookie()) {
        // SAFETY: a map value lives as long as the program.
        unsafe { (*conn).flags |= conn_flag::RST };
    }
    0
}
