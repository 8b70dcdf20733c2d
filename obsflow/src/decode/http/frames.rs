//! HTTP/2 frames (RFC 9113, 4 and 6) of one direction, as far as they are captured.

use super::Segment;
use super::framing::{Framing, Layout, Unit};

/// Length of the client's preface (RFC 9113, 3.4).
pub(super) const PREFACE: u64 = 24;
/// Bytes of a header block that are put together from HEADERS and CONTINUATION.
const MAX_BLOCK: usize = 4096;
/// Longest frame of a stream that is met in its middle: the protocol's default.
const MAX_FRAME: u32 = 16_384;
/// Bytes of one frame that the kernel side captures, its header included.
const CAPTURED: u32 = 1024;
const HEADER: u32 = 9;

mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const PRIORITY: u8 = 2;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PUSH_PROMISE: u8 = 5;
    pub(super) const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;
}

mod flag {
    pub(super) const END_STREAM: u8 = 1;
    pub(super) const END_HEADERS: u8 = 4;
    pub(super) const PADDED: u8 = 8;
    pub(super) const PRIORITY: u8 = 0x20;
}

/// What was found.
pub(super) enum Frame<'a> {
    /// A header block, put together.
    Headers {
        stream: u32,
        end: bool,
        block: &'a [u8],
        /// All of it was captured.
        whole: bool,
    },
    /// Bytes of a body; padding is not told apart, so that a padded frame has none.
    Data { stream: u32, end: bool, bytes: u32 },
    /// RST_STREAM.
    Reset { stream: u32, code: u32 },
    /// GOAWAY: the last stream that is or will be answered.
    GoAway { last: u32 },
    /// Frames were missed, header blocks perhaps among them.
    Lost,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Frames {
    framing: Framing,
    /// HEADERS without END_HEADERS.
    pending: Option<Box<Block>>,
}

#[derive(Debug)]
struct Block {
    stream: u32,
    end: bool,
    bytes: Vec<u8>,
    whole: bool,
}

impl Frames {
    /// A direction whose frames begin at `next`, or somewhere.
    pub(super) fn new(next: Option<u64>) -> Self {
        Self {
            framing: Framing::new(next),
            pending: None,
        }
    }

    /// Offset behind everything that is known to have gone by.
    pub(super) fn known_end(&self) -> u64 {
        self.framing.known_end()
    }

    pub(super) fn feed(&mut self, seg: &Segment<'_>, each: &mut impl FnMut(Frame<'_>)) {
        let pending = &mut self.pending;
        self.framing.feed(&Layout9, seg, &mut |unit| match unit {
            Unit::Whole { header, body, whole } => {
                if let Some(header) = Header::read(header) {
                    frame(pending, header, body, whole, each);
                }
            }
            Unit::Lost => {
                finish(pending, false, each);
                each(Frame::Lost);
            }
        });
    }
}

/// Whether these bytes, met somewhere in a stream, begin with a frame.
pub(super) fn plausible(bytes: &[u8]) -> bool {
    Layout9.plausible(bytes)
}

fn frame(
    pending: &mut Option<Box<Block>>,
    header: Header,
    body: &[u8],
    whole: bool,
    each: &mut impl FnMut(Frame<'_>),
) {
    let Header {
        len,
        kind,
        flags,
        stream,
    } = header;
    if kind == kind::CONTINUATION {
        if let Some(block) = pending.as_mut().filter(|block| block.stream == stream) {
            let room = MAX_BLOCK.saturating_sub(block.bytes.len());
            block.whole &= whole && body.len() <= room;
            block
                .bytes
                .extend_from_slice(body.get(..room.min(body.len())).unwrap_or_default());
            if flags & flag::END_HEADERS != 0 {
                finish(pending, true, each);
            }
        }
        return;
    }
    // Nothing may come between HEADERS and its CONTINUATION (RFC 9113, 6.10).
    finish(pending, false, each);
    match kind {
        kind::HEADERS => {
            let end = flags & flag::END_STREAM != 0;
            let (bytes, whole) = match fragment(body, flags, whole) {
                Some(bytes) => (bytes, whole),
                None => (&[][..], false),
            };
            if flags & flag::END_HEADERS != 0 {
                each(Frame::Headers {
                    stream,
                    end,
                    block: bytes,
                    whole,
                });
            } else {
                *pending = Some(Box::new(Block {
                    stream,
                    end,
                    bytes: bytes.to_vec(),
                    whole,
                }));
            }
        }
        kind::DATA => each(Frame::Data {
            stream,
            end: flags & flag::END_STREAM != 0,
            bytes: if flags & flag::PADDED == 0 { len } else { 0 },
        }),
        kind::RST_STREAM => {
            if let Some(code) = number(body, 0) {
                each(Frame::Reset { stream, code });
            }
        }
        kind::GOAWAY => {
            if let Some(last) = number(body, 0) {
                each(Frame::GoAway {
                    last: last & 0x7fff_ffff,
                });
            }
        }
        // Its block is not captured, and belongs to the same table.
        kind::PUSH_PROMISE => each(Frame::Lost),
        _ => {}
    }
}

fn finish(pending: &mut Option<Box<Block>>, complete: bool, each: &mut impl FnMut(Frame<'_>)) {
    if let Some(block) = pending.take() {
        each(Frame::Headers {
            stream: block.stream,
            end: block.end,
            block: &block.bytes,
            whole: block.whole && complete,
        });
    }
}

/// The field block fragment of HEADERS (RFC 9113, 6.2).
fn fragment(body: &[u8], flags: u8, whole: bool) -> Option<&[u8]> {
    let (padding, body) = if flags & flag::PADDED == 0 {
        (0, body)
    } else {
        let (padding, body) = body.split_first()?;
        (usize::from(*padding), body)
    };
    let body = if flags & flag::PRIORITY == 0 {
        body
    } else {
        body.get(5..)?
    };
    // Padding stands at the end, which of a long frame was not captured.
    let end = if whole {
        body.len().checked_sub(padding)?
    } else {
        body.len()
    };
    body.get(..end)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

/// A frame header.
#[derive(Clone, Copy)]
struct Header {
    len: u32,
    kind: u8,
    flags: u8,
    /// Without the reserved bit.
    stream: u32,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, ..] = *bytes else {
            return None;
        };
        Some(Self {
            len: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: number(bytes, 5)? & 0x7fff_ffff,
        })
    }

    /// Whether a well-behaved peer makes such a frame.
    fn is_plausible(self) -> bool {
        let Self {
            len,
            kind,
            flags,
            stream,
        } = self;
        let only = |allowed: u8| flags & !allowed == 0;
        let odd = stream % 2 == 1;
        len <= MAX_FRAME
            && match kind {
                kind::DATA => odd && only(flag::END_STREAM | flag::PADDED),
                kind::HEADERS => {
                    odd && len > 0
                        && only(flag::END_STREAM | flag::END_HEADERS | flag::PADDED | flag::PRIORITY)
                }
                kind::PRIORITY => odd && len == 5 && only(0),
                kind::RST_STREAM => odd && len == 4 && only(0),
                kind::SETTINGS => stream == 0 && len % 6 == 0 && only(1),
                kind::PING => stream == 0 && len == 8 && only(1),
                kind::GOAWAY => stream == 0 && len >= 8 && only(0),
                kind::WINDOW_UPDATE => (odd || stream == 0) && len == 4 && only(0),
                kind::CONTINUATION => odd && only(flag::END_HEADERS),
                _ => false,
            }
    }
}

struct Layout9;

impl Layout for Layout9 {
    const HEADER: usize = HEADER as usize;

    fn shape(&self, header: &[u8]) -> (u32, u32) {
        let Some(header) = Header::read(header) else {
            return (0, 0);
        };
        let wanted = match header.kind {
            kind::HEADERS | kind::CONTINUATION => CAPTURED - HEADER,
            kind::RST_STREAM | kind::GOAWAY => 4,
            _ => 0,
        };
        (header.len, wanted)
    }

    /// Every frame that begins within `bytes` must look like one.
    fn plausible(&self, mut bytes: &[u8]) -> bool {
        let mut any = false;
        while let Some(header) = Header::read(bytes) {
            if !header.is_plausible() {
                return false;
            }
            any = true;
            let behind = usize::try_from(HEADER + header.len).unwrap_or(usize::MAX);
            bytes = bytes.get(behind..).unwrap_or_default();
        }
        any
    }
}
