//! Units with a length in their header, followed through a stream of which only parts are captured: HTTP/2 frames and
//! TLS records.

use super::Segment;

/// Longest header of a layout.
const MAX_HEADER: usize = 9;

/// How the units of a protocol are laid out.
pub(super) trait Layout {
    /// Bytes of a header, at most [`MAX_HEADER`].
    const HEADER: usize;
    /// Bytes behind the header, and how many of them are of interest. `header` is [`Layout::HEADER`] bytes long.
    fn shape(&self, header: &[u8]) -> (u32, u32);
    /// Whether these bytes, met somewhere in a stream, begin a unit: strict, for most bytes do not.
    fn plausible(&self, bytes: &[u8]) -> bool;
}

/// What was found.
pub(super) enum Unit<'a> {
    /// A unit: its header, the bytes of interest behind it, and whether all that there are were captured.
    Whole {
        header: &'a [u8],
        body: &'a [u8],
        whole: bool,
    },
    /// Units before the next one were missed.
    Lost,
}

/// One direction of a stream.
#[derive(Debug, Default)]
pub(super) struct Framing {
    /// Offset of the next byte that is wanted.
    next: u64,
    /// Where units begin is known.
    synced: bool,
    /// Beginning of a header.
    header: [u8; MAX_HEADER],
    have: u8,
    /// Bytes of interest still to come, once the header is complete.
    wanted: u32,
    /// Length of the present unit's body.
    len: u32,
    body: Vec<u8>,
}

impl Framing {
    /// A stream whose units begin at `next`; or at a place still to be found, after a beginning that was missed.
    pub(super) fn new(next: Option<u64>) -> Self {
        Self {
            next: next.unwrap_or(0),
            synced: next.is_some(),
            ..Self::default()
        }
    }

    /// Offset behind everything that is known to have gone by.
    pub(super) fn known_end(&self) -> u64 {
        self.next
    }

    /// Takes a segment. Bytes that were seen before, or are of no interest, are passed over.
    pub(super) fn feed<L: Layout>(&mut self, layout: &L, seg: &Segment<'_>, each: &mut impl FnMut(Unit<'_>)) {
        if self.synced && seg.offset > self.next {
            self.cut::<L>(each);
            self.synced = false;
            each(Unit::Lost);
        }
        if !self.synced {
            if seg.offset.saturating_add(u64::from(seg.wire_len)) <= self.next || !layout.plausible(seg.bytes)
            {
                return;
            }
            self.synced = true;
            self.next = seg.offset;
        }
        loop {
            let from = usize::try_from(self.next.saturating_sub(seg.offset)).unwrap_or(usize::MAX);
            let Some(fresh) = seg.bytes.get(from..).filter(|fresh| !fresh.is_empty()) else {
                return;
            };
            self.take(layout, fresh, each);
        }
    }

    /// What was begun and will not be completed.
    pub(super) fn cut<L: Layout>(&mut self, each: &mut impl FnMut(Unit<'_>)) {
        if self.wanted > 0 {
            self.deliver::<L>(false, each);
        }
        self.have = 0;
    }

    /// Takes bytes from `next` on, at least one.
    fn take<L: Layout>(&mut self, layout: &L, bytes: &[u8], each: &mut impl FnMut(Unit<'_>)) {
        if self.wanted == 0 {
            let have = usize::from(self.have);
            let room = self.header.get_mut(have..L::HEADER).unwrap_or_default();
            let n = room.len().min(bytes.len());
            for (to, from) in room.iter_mut().zip(bytes) {
                *to = *from;
            }
            self.have = self.have.saturating_add(u8::try_from(n).unwrap_or(u8::MAX));
            self.next = self.next.saturating_add(n as u64);
            if usize::from(self.have) < L::HEADER {
                return;
            }
            let header = self.header;
            let (len, wanted) = layout.shape(header.get(..L::HEADER).unwrap_or_default());
            self.len = len;
            self.wanted = wanted.min(len);
            if self.wanted == 0 {
                self.deliver::<L>(true, each);
            }
            return;
        }
        let n = bytes
            .len()
            .min(usize::try_from(self.wanted).unwrap_or(usize::MAX));
        self.body.extend_from_slice(bytes.get(..n).unwrap_or_default());
        self.next = self.next.saturating_add(n as u64);
        self.wanted -= u32::try_from(n).unwrap_or(self.wanted);
        if self.wanted == 0 {
            self.deliver::<L>(true, each);
        }
    }

    /// Hands over the present unit, and goes on behind it.
    fn deliver<L: Layout>(&mut self, to_the_end: bool, each: &mut impl FnMut(Unit<'_>)) {
        let taken = u32::try_from(self.body.len()).unwrap_or(u32::MAX);
        each(Unit::Whole {
            header: self.header.get(..L::HEADER).unwrap_or_default(),
            body: &self.body,
            whole: to_the_end && taken == self.len,
        });
        self.next = self
            .next
            .saturating_add(u64::from(self.len.saturating_sub(taken)));
        self.have = 0;
        self.wanted = 0;
        // Blocks are rare and short: no memory is kept for the next one.
        self.body = Vec::new();
    }
}
