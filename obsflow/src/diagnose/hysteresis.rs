//! A verdict opens once and closes once. A recovery is believed after a moment; a failure that is back by then has not
//! ended, it flapped.

use std::sync::Arc;
use std::time::Duration;

use crate::model::time::Mono;
use crate::model::verdict::{Export, VerdictId};

/// How long an exporter must do well before its failure ends. With the tick of a second, it ends within 5 s.
pub(super) const CLOSING: Duration = Duration::from_secs(3);
/// A failure that comes back this soon after its end is counted as the same one again.
const AGAIN: Duration = Duration::from_mins(10);

/// What holds for an exporter, and since when.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    /// What holds; `None` until it was judged first.
    pub(super) verdict: Option<VerdictId>,
    /// Since when.
    pub(super) since: Mono,
    /// How often this failure came back.
    pub(super) flaps: u32,
    /// Since when the exporter does well again, while the failure still holds.
    pub(super) closing: Option<Mono>,
    /// What was said when the failure opened; `None` while it has not been, as in a container that just began.
    pub(super) opened: Option<Box<Export>>,
    /// The failure before, and its end.
    before: Option<(VerdictId, Mono)>,
    /// What to do, and when that was found out.
    pub(super) advice: Vec<Arc<str>>,
    pub(super) advised: Option<Mono>,
    /// What held before obsflow was started again.
    resumed: Option<(VerdictId, Mono, u32)>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    Same,
    /// What holds is another verdict; whoever was told of a failure before must be told of its end.
    Other,
}

impl Held {
    /// Takes what is judged now. `since` is when the evidence for it began.
    pub(super) fn step(&mut self, verdict: VerdictId, since: Mono, now: Mono) -> Change {
        let Some(held) = self.verdict else {
            self.begin(verdict, since);
            return Change::Other;
        };
        if held == verdict {
            if self.closing.take().is_some() {
                self.flaps = self.flaps.saturating_add(1);
            }
            return Change::Same;
        }
        if held.is_failure() && !verdict.is_failure() {
            let closing = *self.closing.get_or_insert(now);
            if now.since(closing) < CLOSING {
                return Change::Same;
            }
            self.before = Some((held, closing));
            self.begin(verdict, closing);
            return Change::Other;
        }
        if held.is_failure() {
            self.before = Some((held, now));
        }
        self.begin(verdict, since);
        Change::Other
    }

    fn begin(&mut self, verdict: VerdictId, since: Mono) {
        let again = self
            .before
            .is_some_and(|(before, ended)| before == verdict && since.since(ended) < AGAIN);
        self.flaps = if again && verdict.is_failure() {
            self.flaps.saturating_add(1)
        } else if verdict.is_failure() {
            0
        } else {
            self.flaps
        };
        self.verdict = Some(verdict);
        self.since = since;
        self.closing = None;
        self.advised = None;
        if let Some((before, since, flaps)) = self.resumed
            && before == verdict
        {
            self.since = since;
            self.flaps = flaps;
            self.resumed = None;
        } else if verdict == VerdictId::Healthy {
            self.resumed = None;
        }
    }

    /// Takes over what held before obsflow was started again.
    pub(super) fn resume(&mut self, verdict: VerdictId, since: Mono, flaps: u32) {
        if self.verdict.is_none() && verdict.is_failure() {
            // It has to be found again; when it is, it is the one from before.
            self.resumed = Some((verdict, since, flaps));
        }
    }

    /// Whether a failure holds, or ended less than `within` ago.
    pub(super) fn failed_lately(&self, now: Mono, within: Duration) -> bool {
        self.verdict.is_some_and(VerdictId::is_failure)
            || self.before.is_some_and(|(_, ended)| now.since(ended) < within)
    }

    /// How often the verdict that holds has come and gone.
    pub(super) fn flaps_of(&self, verdict: VerdictId) -> u32 {
        if self.verdict == Some(verdict) && verdict.is_failure() {
            self.flaps
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono(0).after(Duration::from_secs(seconds))
    }

    #[test]
    fn a_failure_ends_a_moment_after_the_first_success() {
        let mut held = Held::default();
        assert_eq!(held.step(VerdictId::Refused, at(1), at(2)), Change::Other);
        assert_eq!(held.step(VerdictId::Healthy, at(10), at(10)), Change::Same);
        assert_eq!(held.verdict, Some(VerdictId::Refused));
        assert_eq!(held.step(VerdictId::Healthy, at(10), at(13)), Change::Other);
        assert_eq!(
            (held.verdict, held.since, held.flaps),
            (Some(VerdictId::Healthy), at(10), 0)
        );
    }

    #[test]
    fn what_comes_back_at_once_has_not_ended() {
        let mut held = Held::default();
        held.step(VerdictId::Rejected, at(1), at(1));
        for round in 0..5 {
            assert_eq!(
                held.step(VerdictId::Healthy, at(0), at(2 + 4 * round)),
                Change::Same
            );
            assert_eq!(
                held.step(VerdictId::Rejected, at(0), at(4 + 4 * round)),
                Change::Same
            );
        }
        assert_eq!((held.since, held.flaps), (at(1), 5));
    }

    #[test]
    fn what_comes_back_soon_is_counted() {
        let mut held = Held::default();
        held.step(VerdictId::Rejected, at(1), at(1));
        held.step(VerdictId::Healthy, at(2), at(2));
        held.step(VerdictId::Healthy, at(2), at(6));
        assert_eq!(held.step(VerdictId::Rejected, at(60), at(60)), Change::Other);
        assert_eq!(held.flaps, 1);
        held.step(VerdictId::Healthy, at(61), at(61));
        held.step(VerdictId::Healthy, at(61), at(65));
        held.step(VerdictId::Refused, at(70), at(70));
        assert_eq!(held.flaps, 0, "another failure");
        held.step(VerdictId::Healthy, at(71), at(71));
        held.step(VerdictId::Healthy, at(71), at(75));
        held.step(VerdictId::Refused, at(5000), at(5000));
        assert_eq!(held.flaps, 0, "long ago");
    }

    #[test]
    fn another_failure_takes_its_place_at_once() {
        let mut held = Held::default();
        held.step(VerdictId::DnsTimeout, at(1), at(1));
        assert_eq!(held.step(VerdictId::Refused, at(9), at(10)), Change::Other);
        assert_eq!((held.verdict, held.since), (Some(VerdictId::Refused), at(9)));
    }
}
