//! What was lost on the way from the kernel, and what that may have hidden.

use std::collections::VecDeque;

use crate::model::time::Mono;

use super::exporter::Seen;

/// Times of losses that are kept. What was lost before the oldest of them counts as lost then.
const KEPT: usize = 32;

/// Losses of a node.
#[derive(Debug, Default)]
pub(super) struct Losses {
    seen: Seen,
    total: u64,
    recent: VecDeque<(Mono, u64)>,
}

impl Losses {
    /// So many records were lost by now.
    pub(super) fn add(&mut self, at: Mono, count: u64) {
        self.seen.add(at);
        self.total = self.total.saturating_add(count);
        self.recent.push_back((at, count));
        if self.recent.len() > KEPT {
            self.recent.pop_front();
        }
    }

    /// Records lost since the start.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// When something was lost last.
    pub(super) fn last(&self) -> Option<Mono> {
        self.seen.last()
    }

    /// The last time after which fewer than `records` were lost: what leaves more than that cannot have gone unseen since.
    pub(super) fn hid(&self, records: u64) -> Option<Mono> {
        let mut sum: u64 = 0;
        for (at, count) in self.recent.iter().rev() {
            sum = sum.saturating_add(*count);
            if sum >= records {
                return Some(*at);
            }
        }
        (self.recent.len() == KEPT)
            .then(|| self.recent.front().map(|(at, _)| *at))
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_records_hide_only_what_leaves_as_few() {
        let mut losses = Losses::default();
        assert_eq!((losses.hid(1), losses.last(), losses.total()), (None, None, 0));
        losses.add(Mono(5), 9);
        losses.add(Mono(7), 2);
        losses.add(Mono(9), 1);
        assert_eq!(losses.hid(1), Some(Mono(9)));
        assert_eq!(losses.hid(3), Some(Mono(7)));
        assert_eq!(losses.hid(4), Some(Mono(5)));
        assert_eq!(losses.hid(13), None);
        assert_eq!((losses.last(), losses.total()), (Some(Mono(9)), 12));
        for at in 10..100 {
            losses.add(Mono(at), 1);
        }
        assert_eq!(
            losses.hid(1000),
            Some(Mono(100 - KEPT as u64)),
            "older ones are not known"
        );
    }
}
