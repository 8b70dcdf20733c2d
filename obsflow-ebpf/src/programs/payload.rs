//! Stream bytes of watched connections: what each side says first, and every HTTP/2 frame header with its headers.
//!
//! Bytes are known by their offset in the stream, so that retransmitted and re-segmented ones are seen once. Work and
//! records are bounded per packet and, by [`Settings::payload_per_second`], per connection.
//!
//! [`Settings::payload_per_second`]: obsflow_ebpf::abi::settings::Settings

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use obsflow_ebpf::abi::conn::{Conn, Stream, conn_flag, stream_state};
use obsflow_ebpf::abi::count::stat;
use obsflow_ebpf::abi::record::{Payload, flag, kind};

use super::skb::{cookie, load_bytes};
use super::tcp::conn_header;
use crate::emit::{Sized, bounded, count, reserve};
use crate::kernel::setting;
use crate::maps::CONNS;

/// What is captured when one side begins to speak: a head with its headers, a refusal with its reason, the names of a
/// TLS hello.
const FIRST: u64 = 512;
/// What is captured of one HTTP/2 frame: its header and a header block.
const FRAME: u64 = 1024;
/// What is captured of a DNS-over-TCP connection, in each direction.
const DNS_STREAM: u64 = 64 * 1024;
/// HTTP/2 frame header (RFC 9113, 4.1).
const FRAME_HEADER: u64 = 9;
/// Length of "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" (RFC 9113, 3.4).
const PREFACE: u64 = 24;
/// Frames looked at in one packet; a packet with more ends the following of frames, marked as a gap.
const FRAMES_PER_PACKET: u32 = 16;
/// Records a DNS segment may fill.
const DNS_RECORDS: u32 = 4;

/// Flags of a TCP header (RFC 9293, 3.1).
pub const TCP_FIN: u8 = 1;
/// See [`TCP_FIN`].
pub const TCP_RST: u8 = 4;

/// Frame types whose block is kept: HEADERS, RST_STREAM, SETTINGS, GOAWAY, CONTINUATION. Of others only the header.
const BLOCKS: u32 = 1 << 1 | 1 << 3 | 1 << 4 | 1 << 7 | 1 << 9;

/// The connection of a cookie and one direction of it.
#[inline(always)]
fn stream(cookie: u64, ingress: bool) -> Option<(*mut Conn, *mut Stream)> {
    let conn = CONNS.get_ptr_mut(cookie)?;
    // SAFETY: a map value lives as long as the program; no reference is made.
    let stream = unsafe {
        if ingress {
            &raw mut (*conn).received
        } else {
            &raw mut (*conn).sent
        }
    };
    Some((conn, stream))
}

/// Looks at a segment with payload of a watched socket: its sequence number and the offset of its payload in the packet.
/// Returns nothing of use.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tcp_segment(skb: *mut __sk_buff, ingress: u32, sequence: u32, data: u32) -> u32 {
    if setting!(u32, payload) == 0 {
        return 0;
    }
    let cookie = cookie(skb);
    let Some((conn, stream)) = stream(cookie, ingress != 0) else {
        return 0;
    };
    // SAFETY: the kernel's context.
    let len = unsafe { (*skb).len };
    // SAFETY: map values live as long as the program. One direction of one socket is handled by one CPU at a time.
    unsafe {
        if (*stream).state & stream_state::BASED == 0 {
            // Older than obsflow: offsets count from here.
            (*stream).base = sequence;
            (*stream).state = stream_state::BASED | stream_state::LATE;
        }
        // Sequence numbers wrap at 2^32; the offset does not.
        let seen = (*stream).seen;
        let relative = sequence.wrapping_sub((*stream).base).wrapping_sub(seen as u32) as i32;
        let start = (seen as i64).wrapping_add(i64::from(relative));
        if start < 0 {
            return 0;
        }
        let end = start as u64 + u64::from(len.saturating_sub(data));
        if end <= seen {
            return 0;
        }
        (*stream).start = start as u64;
        (*stream).end = end;
        (*stream).data = data;
        let mut flags = if ingress != 0 { flag::INGRESS } else { 0 };
        if start as u64 > seen {
            // Bytes in between were dropped before this hook, or come later: frames cannot be followed across.
            flags |= flag::GAP;
            (*stream).state |= stream_state::LOST;
        }
        if (*stream).state & stream_state::LATE != 0 {
            flags |= flag::LATE;
        }
        if (*conn).flags & conn_flag::DNS != 0 {
            flags |= flag::DNS_STREAM;
        }
        (*stream).flags = flags;
        let dns = (*conn).flags & conn_flag::DNS != 0;
        if dns {
            dns_stream(skb, cookie, ingress);
        } else {
            speak(skb, cookie, ingress);
        }
        (*stream).seen = end;
    }
    0
}

/// Remembers the FIN or RST of a peer. Nothing but the flags of its packet tells, where there are no tracepoints.
#[inline(always)]
pub fn ended(cookie: u64, flags: u8) {
    if let Some(conn) = CONNS.get_ptr_mut(cookie) {
        let ended = if flags & TCP_RST != 0 {
            conn_flag::RST
        } else {
            conn_flag::FIN
        };
        // SAFETY: a map value lives as long as the program.
        unsafe { (*conn).flags |= ended };
    }
}

/// DNS over TCP is captured whole, up to a bound.
#[inline(always)]
unsafe fn dns_stream(skb: *mut __sk_buff, cookie: u64, ingress: u32) {
    let Some((_, stream)) = stream(cookie, ingress != 0) else {
        return;
    };
    // SAFETY: a map value lives as long as the program.
    unsafe {
        let mut from = max((*stream).start, (*stream).seen);
        for _ in 0..DNS_RECORDS {
            if from >= (*stream).end || from >= DNS_STREAM {
                return;
            }
            capture(skb, cookie, ingress, from, FRAME);
            from += FRAME;
        }
    }
}

/// First words, then frames.
#[inline(always)]
unsafe fn speak(skb: *mut __sk_buff, cookie: u64, ingress: u32) {
    let Some((conn, stream)) = stream(cookie, ingress != 0) else {
        return;
    };
    // SAFETY: map values live as long as the program.
    unsafe {
        let (mine, other) = if ingress != 0 {
            (conn_flag::LAST_RECEIVED, conn_flag::LAST_SENT)
        } else {
            (conn_flag::LAST_SENT, conn_flag::LAST_RECEIVED)
        };
        let turn = (*conn).flags & mine == 0;
        if turn {
            (*conn).flags = ((*conn).flags & !other) | mine;
        }
        if (*stream).start == 0 && (*stream).state & stream_state::LATE == 0 {
            recognise(skb, stream, ingress);
        }
        let h2 = (*stream).state & (stream_state::H2 | stream_state::LOST) == stream_state::H2;
        // Each side's first words; of HTTP/1 also those of every later request and response.
        let unsure = (*stream).flags & (flag::GAP | flag::LATE) != 0;
        if (*stream).start == 0 || (!h2 && (turn || unsure)) {
            (*stream).capture_until = max((*stream).capture_until, (*stream).start + FIRST);
        }
        let from = max((*stream).start, (*stream).seen);
        let until = (*stream).capture_until;
        if from < until {
            capture(skb, cookie, ingress, from, until - from);
        }
        if h2 {
            for _ in 0..FRAMES_PER_PACKET {
                if h2_frame(skb, cookie, ingress) == 0 {
                    return;
                }
            }
            // More frames than one packet may cost: say so, and follow no further.
            (*stream).state |= stream_state::LOST;
        }
    }
}

/// Whether this direction begins as HTTP/2 does: a client with the preface, a server with SETTINGS on stream 0. Either
/// may speak first.
#[inline(always)]
unsafe fn recognise(skb: *mut __sk_buff, stream: *mut Stream, ingress: u32) {
    let mut first = [0u8; 9];
    // SAFETY: the buffer has the length that is passed; the stream is part of a map value.
    unsafe {
        if !load_bytes(skb, (*stream).data, first.as_mut_ptr(), 9) {
            return;
        }
        if ingress != 0 {
            if first[0] == 0 && first[3] == 4 && first[5] | first[6] | first[7] | first[8] == 0 {
                (*stream).state |= stream_state::H2;
                (*stream).next_frame = 0;
            }
        } else if first[0] == b'P'
            && first[1] == b'R'
            && first[2] == b'I'
            && first[3] == b' '
            && first[4] == b'*'
            && first[5] == b' '
            && first[6] == b'H'
        {
            (*stream).state |= stream_state::H2;
            (*stream).next_frame = PREFACE;
        }
    }
}

/// Looks at the next frame of the segment at hand: 1 when there may be another one behind it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn h2_frame(skb: *mut __sk_buff, cookie: u64, ingress: u32) -> u32 {
    let Some((_, stream)) = stream(cookie, ingress != 0) else {
        return 0;
    };
    // SAFETY: map values live as long as the program.
    unsafe {
        let (start, end) = ((*stream).start, (*stream).end);
        let at = (*stream).next_frame;
        // `have` bytes of the header came with the segment before.
        let have = u64::from((*stream).partial_len);
        let from = at + have;
        if from >= end {
            return 0;
        }
        if have >= FRAME_HEADER || from < start {
            (*stream).state |= stream_state::LOST;
            return 0;
        }
        let missing = FRAME_HEADER - have;
        let there = end - from;
        let take = if missing < there { missing } else { there };
        let offset = ((*stream).data as u64 + (from - start)) as u32;
        // The header is put together in the map, so that a segment boundary may cut it.
        let to = (&raw mut (*stream).partial)
            .cast::<u8>()
            .add((have & 15) as usize);
        if !load_bytes(skb, offset, to, bounded(take as u32, 9)) {
            (*stream).state |= stream_state::LOST;
            return 0;
        }
        if take < missing {
            (*stream).partial_len = (have + take) as u8;
            capture(skb, cookie, ingress, from, take);
            return 0;
        }
        (*stream).partial_len = 0;
        let head = (*stream).partial;
        let len = u64::from(head[0]) << 16 | u64::from(head[1]) << 8 | u64::from(head[2]);
        let block = head[3] < 32 && BLOCKS >> (head[3] & 31) & 1 != 0;
        let wanted = FRAME_HEADER + if block { len } else { 0 };
        let until = at + if wanted > FRAME { FRAME } else { wanted };
        (*stream).next_frame = at + FRAME_HEADER + len;
        // What the first words already carry is not sent twice.
        let from = max(from, (*stream).capture_until);
        if from < until {
            if from == at {
                (*stream).flags |= flag::H2_FRAME;
            }
            capture(skb, cookie, ingress, from, until - from);
            (*stream).flags &= !flag::H2_FRAME;
            (*stream).capture_until = until;
        }
        1
    }
}

#[inline(always)]
fn max(a: u64, b: u64) -> u64 {
    if a > b { a } else { b }
}

/// Emits up to `wanted` bytes of the segment at hand from stream offset `from` on. Returns nothing of use.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn capture(
    skb: *mut __sk_buff,
    cookie: u64,
    ingress: u32,
    from: u64,
    wanted: u64,
) -> u32 {
    let Some((conn, stream)) = stream(cookie, ingress != 0) else {
        return 0;
    };
    // SAFETY: map values live as long as the program.
    unsafe {
        let (start, end) = ((*stream).start, (*stream).end);
        if from < start || from >= end {
            return 0;
        }
        if !allowed(conn) {
            // Frames are followed all the same: user space finds the next one by its flag.
            count(stat::RATE_LIMITED);
            return 0;
        }
        let wire = end - from;
        let kept = if wanted < wire { wanted } else { wire };
        let kept = if kept > FRAME { FRAME } else { kept };
        let offset = ((*stream).data as u64 + (from - start)) as u32;
        if kept <= 72 {
            record::<72>(
                skb,
                cookie,
                conn,
                (*stream).flags,
                offset,
                from,
                wire as u32,
                kept as u32,
            );
        } else if kept <= 328 {
            record::<328>(
                skb,
                cookie,
                conn,
                (*stream).flags,
                offset,
                from,
                wire as u32,
                kept as u32,
            );
        } else {
            record::<1024>(
                skb,
                cookie,
                conn,
                (*stream).flags,
                offset,
                from,
                wire as u32,
                kept as u32,
            );
        }
    }
    0
}

/// Takes a token of the connection's rate.
#[inline(always)]
unsafe fn allowed(conn: *mut Conn) -> bool {
    // SAFETY: a map value. Two CPUs may take the same token; the bound is then off by one.
    unsafe {
        let tokens = (*conn).tokens;
        if tokens == 0 {
            let now = bpf_ktime_get_ns();
            if (*conn).tokens_ns != 0 && now - (*conn).tokens_ns < 1_000_000_000 {
                return false;
            }
            (*conn).tokens_ns = now;
            (*conn).tokens = setting!(u32, payload_per_second);
        } else {
            (*conn).tokens = tokens - 1;
        }
        true
    }
}

#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "inlined; a struct of these would live on a stack of 512 bytes"
)]
unsafe fn record<const TAIL: usize>(
    skb: *mut __sk_buff,
    cookie: u64,
    conn: *const Conn,
    flags: u16,
    packet_offset: u32,
    stream_offset: u64,
    wire_len: u32,
    kept: u32,
) {
    let Some(mut slot) = reserve::<Sized<Payload, TAIL>>(kind::PAYLOAD) else {
        return;
    };
    let record = slot.as_ptr();
    // SAFETY: the slot is ours until submitted; `conn` is a map value.
    unsafe {
        let body = &raw mut (*record).record;
        let mut head = conn_header(kind::PAYLOAD, size_of::<Payload>() + kept as usize, cookie, conn);
        head.flags |= flags;
        if kept < wire_len {
            head.flags |= flag::TRUNCATED;
        }
        (*body).header = head;
        (*body).offset = stream_offset;
        (*body).wire_len = wire_len;
        (*body).payload_len = kept;
        if load_bytes(
            skb,
            packet_offset,
            (&raw mut (*record).tail).cast(),
            bounded(kept, TAIL),
        ) {
            slot.submit();
        } else {
            slot.discard();
        }
    }
}
