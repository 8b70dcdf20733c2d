//! Stream bytes of watched connections: what each side says first, and every HTTP/2 frame header with its headers.
//!
//! Bytes are known by their offset in the stream, so that retransmitted and re-segmented ones are seen once. Work and
//! records are bounded per packet and, by [`Settings::payload_per_second`], per connection.
//!
//! [`Settings::payload_per_second`]: obsflow_ebpf::abi::settings::Settings

use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_skb_load_bytes};
use aya_ebpf::programs::SkBuffContext;
use obsflow_ebpf::abi::conn::{Conn, Stream, conn_flag, stream_state};
use obsflow_ebpf::abi::count::stat;
use obsflow_ebpf::abi::record::{Payload, flag, kind};

use super::skb::{Packet, cookie};
use super::tcp::conn_header;
use crate::emit::{Sized, count, reserve};
use crate::kernel::setting;
use crate::maps::CONNS;

/// What is captured when one side begins to speak.
const FIRST: u64 = 256;
/// What is captured of one HTTP/2 frame: its header and a header block.
const FRAME: u64 = 1024;
/// What is captured of a DNS-over-TCP connection, in each direction.
const DNS_STREAM: u64 = 64 * 1024;
/// HTTP/2 frame header (RFC 9113, 4.1).
const FRAME_HEADER: u64 = 9;
/// Length of "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" (RFC 9113, 3.4).
const PREFACE: u64 = 24;
/// Frames looked at in one packet; a packet with more is marked as a gap.
const FRAMES_PER_PACKET: u32 = 8;
/// Records a DNS segment may fill.
const DNS_RECORDS: u32 = 4;

/// Frame types whose block is kept: HEADERS, RST_STREAM, SETTINGS, GOAWAY, CONTINUATION. Of others only the header.
const BLOCKS: u32 = 1 << 1 | 1 << 3 | 1 << 4 | 1 << 7 | 1 << 9;

/// A segment within its stream.
#[derive(Clone, Copy)]
struct Segment {
    /// Socket cookie.
    cookie: u64,
    /// Stream offset of the first byte.
    start: u64,
    /// Stream offset behind the last byte.
    end: u64,
    /// Offset in the packet of the first byte.
    data: u32,
    /// Flags that every record of this segment carries.
    flags: u16,
}

#[inline(always)]
pub(super) fn segment<const INGRESS: bool>(ctx: &SkBuffContext, packet: &Packet) {
    if setting!(u32, payload) == 0 {
        return;
    }
    let Ok(header) = ctx.skb.load::<[u8; 14]>(packet.transport as usize) else {
        return;
    };
    let data = packet.transport + u32::from(header[12] >> 4) * 4;
    if packet.len <= data {
        return;
    }
    let len = u64::from(packet.len - data);
    let cookie = cookie(ctx);
    let Some(conn) = CONNS.get_ptr_mut(cookie) else {
        return;
    };
    let sequence = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    // SAFETY: map values live as long as the program. One direction of one socket is handled by one CPU at a time.
    unsafe {
        let stream = if INGRESS {
            &raw mut (*conn).received
        } else {
            &raw mut (*conn).sent
        };
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
            return;
        }
        let segment = Segment {
            cookie,
            start: start as u64,
            end: start as u64 + len,
            data,
            flags: if INGRESS { flag::INGRESS } else { 0 },
        };
        if segment.end <= seen {
            return;
        }
        follow::<INGRESS>(ctx, conn, stream, segment);
        (*stream).seen = segment.end;
    }
}

/// # Safety
/// `conn` and `stream` must be within a value of [`CONNS`].
#[inline(always)]
unsafe fn follow<const INGRESS: bool>(
    ctx: &SkBuffContext,
    conn: *mut Conn,
    stream: *mut Stream,
    mut segment: Segment,
) {
    // SAFETY: forwarded to the caller.
    unsafe {
        let seen = (*stream).seen;
        if segment.start > seen {
            // Bytes in between were dropped before this hook, or come later: frames cannot be followed across.
            segment.flags |= flag::GAP;
            (*stream).state |= stream_state::LOST;
        }
        if (*stream).state & stream_state::LATE != 0 {
            segment.flags |= flag::LATE;
        }
        if (*conn).flags & conn_flag::DNS != 0 {
            segment.flags |= flag::DNS_STREAM;
            dns(ctx, conn, segment, seen);
            return;
        }
        let (mine, other) = if INGRESS {
            (conn_flag::LAST_RECEIVED, conn_flag::LAST_SENT)
        } else {
            (conn_flag::LAST_SENT, conn_flag::LAST_RECEIVED)
        };
        let turn = (*conn).flags & mine == 0;
        if turn {
            (*conn).flags = ((*conn).flags & !other) | mine;
        }
        if segment.start == 0 && (*stream).state & stream_state::LATE == 0 {
            recognise::<INGRESS>(ctx, stream, segment);
        }
        let h2 = (*stream).state & (stream_state::H2 | stream_state::LOST) == stream_state::H2;
        // Each side's first words; of HTTP/1 also those of every later request and response.
        if segment.start == 0 || (turn && !h2) || segment.flags & (flag::GAP | flag::LATE) != 0 {
            (*stream).capture_until = max((*stream).capture_until, segment.start + FIRST);
        }
        let from = max(segment.start, seen);
        let until = (*stream).capture_until;
        if from < until {
            emit(ctx, conn, segment, from, until - from);
        }
        if h2 {
            frames(ctx, conn, stream, segment);
        }
    }
}

/// Whether this direction begins as HTTP/2 does: a client with the preface, a server with SETTINGS on stream 0. Either
/// may speak first.
///
/// # Safety
/// `stream` must be within a value of [`CONNS`].
#[inline(always)]
unsafe fn recognise<const INGRESS: bool>(ctx: &SkBuffContext, stream: *mut Stream, segment: Segment) {
    let Ok(first) = ctx.skb.load::<[u8; 9]>(segment.data as usize) else {
        return;
    };
    // SAFETY: forwarded to the caller.
    unsafe {
        if INGRESS {
            let settings = first[0] == 0 && first[3] == 4 && first[5] | first[6] | first[7] | first[8] == 0;
            if settings {
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

/// Walks the frames that begin in this segment.
///
/// # Safety
/// `conn` and `stream` must be within a value of [`CONNS`].
#[inline(always)]
unsafe fn frames(ctx: &SkBuffContext, conn: *mut Conn, stream: *mut Stream, segment: Segment) {
    // SAFETY: forwarded to the caller.
    unsafe {
        let mut at = (*stream).next_frame;
        for _ in 0..FRAMES_PER_PACKET {
            if at >= segment.end {
                break;
            }
            // `partial_len` bytes of the header at `at` came with the segment before.
            let have = u64::from((*stream).partial_len);
            if at + have < segment.start {
                (*stream).state |= stream_state::LOST;
                break;
            }
            if at + FRAME_HEADER > segment.end {
                (*stream).partial_len = (segment.end - at) as u8;
                keep_partial(ctx, stream, segment, at);
                break;
            }
            let Some(head) = frame_header(ctx, stream, segment, at) else {
                (*stream).state |= stream_state::LOST;
                break;
            };
            (*stream).partial_len = 0;
            let len = u64::from(head[0]) << 16 | u64::from(head[1]) << 8 | u64::from(head[2]);
            let block = u32::from(head[3]) < 32 && BLOCKS >> (head[3] & 31) & 1 != 0;
            let wanted = FRAME_HEADER + if block { len } else { 0 };
            let wanted = if wanted > FRAME { FRAME } else { wanted };
            // What the first words already carry is not sent twice.
            let captured = (*stream).capture_until;
            let from = max(max(at, segment.start), captured);
            if from < at + wanted {
                let mut framed = segment;
                if from == at {
                    framed.flags |= flag::H2_FRAME;
                }
                emit(ctx, conn, framed, from, at + wanted - from);
                (*stream).capture_until = at + wanted;
            }
            at += FRAME_HEADER + len;
        }
        (*stream).next_frame = at;
        if at < segment.end && (*stream).partial_len == 0 {
            // More frames than one packet may cost: say so, and follow no further.
            (*stream).state |= stream_state::LOST;
        }
    }
}

/// The frame header at stream offset `at`, from this segment and what the one before left.
///
/// # Safety
/// `stream` must be within a value of [`CONNS`].
#[inline(always)]
unsafe fn frame_header(
    ctx: &SkBuffContext,
    stream: *mut Stream,
    segment: Segment,
    at: u64,
) -> Option<[u8; 9]> {
    // SAFETY: forwarded to the caller.
    unsafe {
        if at >= segment.start {
            let offset = u64::from(segment.data) + (at - segment.start);
            return ctx.skb.load::<[u8; 9]>(offset as usize).ok();
        }
        let mut head = (*stream).partial;
        let have = (segment.start - at) as usize;
        let mut i = 0usize;
        while i < 9 {
            if i >= have {
                let offset = segment.data as usize + (i - have);
                head[i] = ctx.skb.load::<u8>(offset).ok()?;
            }
            i += 1;
        }
        Some(head)
    }
}

/// Keeps the beginning of a frame header that this segment cuts.
///
/// # Safety
/// `stream` must be within a value of [`CONNS`].
#[inline(always)]
unsafe fn keep_partial(ctx: &SkBuffContext, stream: *mut Stream, segment: Segment, at: u64) {
    // SAFETY: forwarded to the caller.
    unsafe {
        let mut i = 0u64;
        while i < 8 {
            let offset = at + i;
            if offset >= segment.start && offset < segment.end {
                let Ok(byte) = ctx
                    .skb
                    .load::<u8>((u64::from(segment.data) + (offset - segment.start)) as usize)
                else {
                    return;
                };
                (*stream).partial[i as usize] = byte;
            }
            i += 1;
        }
    }
}

/// DNS over TCP is captured whole, up to a bound.
///
/// # Safety
/// `conn` must be a value of [`CONNS`].
#[inline(always)]
unsafe fn dns(ctx: &SkBuffContext, conn: *mut Conn, segment: Segment, seen: u64) {
    let mut from = max(segment.start, seen);
    for _ in 0..DNS_RECORDS {
        if from >= segment.end || from >= DNS_STREAM {
            return;
        }
        // SAFETY: forwarded to the caller.
        unsafe { emit(ctx, conn, segment, from, segment.end - from) };
        from += FRAME;
    }
}

#[inline(always)]
fn max(a: u64, b: u64) -> u64 {
    if a > b { a } else { b }
}

/// Emits up to `wanted` bytes from stream offset `from` on, as far as this segment has them.
///
/// # Safety
/// `conn` must be a value of [`CONNS`].
#[inline(always)]
unsafe fn emit(ctx: &SkBuffContext, conn: *mut Conn, segment: Segment, from: u64, wanted: u64) {
    let available = segment.end - from;
    let kept = if wanted < available { wanted } else { available };
    let kept = if kept > FRAME { FRAME } else { kept };
    // SAFETY: forwarded to the caller.
    unsafe {
        if !allowed(conn) {
            count(stat::RATE_LIMITED);
            return;
        }
        if kept <= 72 {
            record::<72>(ctx, conn, &segment, from, kept as u32);
        } else if kept <= 328 {
            record::<328>(ctx, conn, &segment, from, kept as u32);
        } else {
            record::<1024>(ctx, conn, &segment, from, kept as u32);
        }
    }
}

/// Takes a token of the connection's rate.
///
/// # Safety
/// `conn` must be a value of [`CONNS`].
#[inline(always)]
unsafe fn allowed(conn: *mut Conn) -> bool {
    // SAFETY: forwarded to the caller. Two CPUs may take the same token; the bound is then off by one.
    unsafe {
        let tokens = (*conn).tokens;
        if tokens == 0 {
            let now = bpf_ktime_get_ns();
            if (*conn).tokens_ns != 0 && now - (*conn).tokens_ns < 1_000_000_000 {
                return false;
            }
            (*conn).tokens_ns = now;
            (*conn).tokens = setting!(u32, payload_per_second).saturating_sub(1);
        } else {
            (*conn).tokens = tokens - 1;
        }
        true
    }
}

/// # Safety
/// `conn` must be a value of [`CONNS`].
#[inline(never)]
unsafe fn record<const TAIL: usize>(
    ctx: &SkBuffContext,
    conn: *const Conn,
    segment: &Segment,
    from: u64,
    kept: u32,
) {
    let Some(mut slot) = reserve::<Sized<Payload, TAIL>>(kind::PAYLOAD) else {
        return;
    };
    let record = slot.as_ptr();
    // SAFETY: the slot is ours until submitted; `conn` as the caller promises.
    unsafe {
        let body = &raw mut (*record).record;
        let mut head = conn_header(
            kind::PAYLOAD,
            size_of::<Payload>() + kept as usize,
            segment.cookie,
            conn,
        );
        head.flags |= segment.flags;
        let wire = (segment.end - from) as u32;
        if kept < wire {
            head.flags |= flag::TRUNCATED;
        }
        (*body).header = head;
        (*body).offset = from;
        (*body).wire_len = wire;
        (*body).payload_len = kept;
        let len = if kept == 0 { 1 } else { kept };
        let len = if len as usize > TAIL { TAIL as u32 } else { len };
        let offset = segment.data.wrapping_add((from - segment.start) as u32);
        if bpf_skb_load_bytes(ctx.skb.skb.cast(), offset, (&raw mut (*record).tail).cast(), len) == 0 {
            slot.submit();
        } else {
            slot.discard();
        }
    }
}
