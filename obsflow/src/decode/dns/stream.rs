//! DNS over TCP: messages with a two-byte length before each (RFC 1035, 4.2.2), out of captured stream bytes.

use bytes::{Bytes, BytesMut};

/// Bytes of one message that are kept; a longer message is delivered cut to this, with its length on the wire.
pub const MAX_MESSAGE: usize = 4096;
const PREFIX: usize = 2;

/// One message of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framed {
    /// The message, without the prefix; shorter than `wire_len` when it was cut.
    pub bytes: Bytes,
    /// Its length on the wire.
    pub wire_len: usize,
}

/// One direction of a DNS-over-TCP connection. Memory is bounded by [`MAX_MESSAGE`].
#[derive(Debug, Default)]
pub struct DnsStream {
    /// Offset of the next byte to come.
    next: u64,
    /// Where messages begin is known.
    synced: bool,
    late: bool,
    started: bool,
    /// Prefix and message so far.
    buffer: BytesMut,
    /// Bytes of the present message still to come that are not kept.
    skip: usize,
}

impl DnsStream {
    /// A direction of a connection; `late` when it was joined in the middle, so that its first byte may be any.
    #[must_use]
    pub fn new(late: bool) -> Self {
        Self {
            late,
            ..Self::default()
        }
    }

    /// Takes the bytes of one segment and gives the messages that they complete to `deliver`.
    ///
    /// `offset` is the offset of the first byte in the stream and `wire_len` what the segment carried from there, of
    /// which `bytes` were captured. Bytes that were seen before (retransmissions) are passed over. After bytes that
    /// were missed, a segment is taken to begin a message when its prefix says that it holds exactly one.
    pub fn push(&mut self, offset: u64, wire_len: u32, bytes: &Bytes, mut deliver: impl FnMut(Framed)) {
        let wire_len = usize::try_from(wire_len).unwrap_or(usize::MAX).max(bytes.len());
        let mut bytes = bytes.clone();
        let mut missing = wire_len - bytes.len();
        if !self.started {
            self.started = true;
            self.synced = offset == 0 && !self.late;
            self.next = offset;
        }
        if offset < self.next {
            let again = usize::try_from(self.next - offset).unwrap_or(usize::MAX);
            if again >= wire_len {
                return;
            }
            let of_bytes = again.min(bytes.len());
            bytes = bytes.slice(of_bytes..);
            missing -= again - of_bytes;
        } else if offset > self.next {
            self.lose(offset - self.next);
        }
        self.next = offset.max(self.next);
        if !self.synced {
            let whole = bytes
                .get(..PREFIX)
                .and_then(|p| <[u8; PREFIX]>::try_from(p).ok())
                .map(|p| usize::from(u16::from_be_bytes(p)) + PREFIX);
            if whole != Some(bytes.len() + missing) {
                self.next = self.next.saturating_add((bytes.len() + missing) as u64);
                return;
            }
            self.synced = true;
        }
        self.next = self.next.saturating_add((bytes.len() + missing) as u64);
        self.take(bytes, &mut deliver);
        if missing > 0 {
            self.hole(missing, &mut deliver);
        }
    }

    /// Whether nothing was pushed yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        !self.started
    }

    /// Bytes held.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.capacity()
    }

    fn take(&mut self, mut bytes: Bytes, deliver: &mut impl FnMut(Framed)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let n = self.skip.min(bytes.len());
                self.skip -= n;
                bytes = bytes.slice(n..);
                continue;
            }
            // The usual case, a message that lies whole in one segment, is not copied.
            if self.buffer.is_empty()
                && let Some(len) = prefix(&bytes)
                && bytes.len() >= PREFIX + len
            {
                let keep = len.min(MAX_MESSAGE);
                if len > 0 {
                    deliver(Framed {
                        bytes: bytes.slice(PREFIX..PREFIX + keep),
                        wire_len: len,
                    });
                }
                bytes = bytes.slice(PREFIX + len..);
                continue;
            }
            let want = match prefix(&self.buffer) {
                None => PREFIX - self.buffer.len(),
                Some(len) => (PREFIX + len.min(MAX_MESSAGE)) - self.buffer.len(),
            };
            let n = want.min(bytes.len());
            self.buffer.extend_from_slice(bytes.get(..n).unwrap_or_default());
            bytes = bytes.slice(n..);
            self.finish(deliver);
        }
    }

    /// Delivers the message in the buffer once all of it that is kept is there.
    fn finish(&mut self, deliver: &mut impl FnMut(Framed)) {
        let Some(len) = prefix(&self.buffer) else { return };
        let keep = len.min(MAX_MESSAGE);
        if self.buffer.len() < PREFIX + keep {
            return;
        }
        let message = std::mem::take(&mut self.buffer).freeze();
        self.skip = len - keep;
        if len > 0 {
            deliver(Framed {
                bytes: message.slice(PREFIX..),
                wire_len: len,
            });
        }
    }

    /// `missing` bytes went by uncaptured, and their number is known.
    fn hole(&mut self, missing: usize, deliver: &mut impl FnMut(Framed)) {
        let skipped = self.skip.min(missing);
        self.skip -= skipped;
        let missing = missing - skipped;
        if missing == 0 {
            return;
        }
        let Some(len) = prefix(&self.buffer) else {
            self.unsync();
            return;
        };
        // What there is of the message is still of use: its question.
        let have = self.buffer.len() - PREFIX;
        let message = std::mem::take(&mut self.buffer).freeze();
        deliver(Framed {
            bytes: message.slice(PREFIX..),
            wire_len: len,
        });
        match (len - have).checked_sub(missing) {
            Some(rest) => self.skip = rest,
            None => self.unsync(),
        }
    }

    /// Bytes were lost before this segment.
    fn lose(&mut self, missing: u64) {
        let missing = usize::try_from(missing).unwrap_or(usize::MAX);
        if self.synced && self.skip >= missing {
            self.skip -= missing;
        } else {
            self.unsync();
        }
    }

    fn unsync(&mut self) {
        self.synced = false;
        self.skip = 0;
        self.buffer = BytesMut::new();
    }
}

fn prefix(bytes: &[u8]) -> Option<usize> {
    let prefix = <[u8; PREFIX]>::try_from(bytes.get(..PREFIX)?).ok()?;
    Some(usize::from(u16::from_be_bytes(prefix)))
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
