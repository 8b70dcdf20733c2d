//! A verdict opens once and closes once. A recovery is believed after a moment, and so is another failure of the same rung;
//! a failure that is back by then has not ended, it flapped.

use std::sync::Arc;
use std::time::Duration;

use crate::model::time::Mono;
use crate::model::verdict::{Export, Rung, VerdictId};

/// How long an exporter must do well before its failure ends. With the tick of a second, it ends within 5 s.
pub(super) const CLOSING: Duration = Duration::from_secs(3);
/// How long another failure of the same rung must hold before it takes the place of one: two that take turns are one.
const TURNING: Duration = Duration::from_secs(3);
/// Failures that are remembered after their end.
const MAX_BEFORE: usize = 4;
/// A failure that comes back this soon after its end is counted as the same one again.
pub(super) const AGAIN: Duration = Duration::from_mins(10);

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
    /// The rung that it says failed.
    rung: Option<Rung>,
    /// Another failure of that rung, and since when it is found.
    turning: Option<(VerdictId, Mono)>,
    /// Failures before, the latest last.
    before: Vec<Before>,
    /// What to do, and when that was found out.
    pub(super) advice: Vec<Arc<str>>,
    pub(super) advised: Option<Mono>,
    /// What held before obsflow was started again.
    resumed: Option<(VerdictId, Mono, u32)>,
}

/// A failure that ended.
#[derive(Clone, Copy, Debug)]
struct Before {
    verdict: VerdictId,
    ended: Mono,
    flaps: u32,
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
    /// Takes what is judged now: a verdict, and the rung it is about. `since` is when the evidence for it began.
    pub(super) fn step(&mut self, verdict: VerdictId, rung: Rung, since: Mono, now: Mono) -> Change {
        let Some(held) = self.verdict else {
            self.begin(verdict, rung, since);
            return Change::Other;
        };
        if held == verdict {
            let was_closing = self.closing.take().is_some();
            let was_turning = self.turning.take().is_some();
            if was_closing || was_turning {
                self.flaps = self.flaps.saturating_add(1);
            }
            return Change::Same;
        }
        if !held.is_failure() {
            self.begin(verdict, rung, since);
            return Change::Other;
        }
        if !verdict.is_failure() {
            self.turning = None;
            let closing = *self.closing.get_or_insert(now);
            if now.since(closing) < CLOSING {
                return Change::Same;
            }
            self.remember(held, closing);
            self.begin(verdict, rung, closing);
            return Change::Other;
        }
        if self.takes_turns(verdict, rung) {
            let began = match self.turning {
                Some((turning, at)) if turning == verdict => at,
                _ => now,
            };
            self.turning = Some((verdict, began));
            if now.since(began) < TURNING {
                return Change::Same;
            }
        }
        self.remember(held, now);
        self.begin(verdict, rung, since);
        Change::Other
    }

    /// Whether a failure is another one than holds, of the same rung: for a moment what holds goes on.
    pub(super) fn takes_turns(&self, verdict: VerdictId, rung: Rung) -> bool {
        verdict.is_failure()
            && self.rung == Some(rung)
            && self
                .verdict
                .is_some_and(|held| held.is_failure() && held != verdict)
    }

    fn remember(&mut self, verdict: VerdictId, ended: Mono) {
        self.before.retain(|before| before.verdict != verdict);
        if self.before.len() >= MAX_BEFORE {
            self.before.remove(0);
        }
        self.before.push(Before {
            verdict,
            ended,
            flaps: self.flaps,
        });
    }

    fn begin(&mut self, verdict: VerdictId, rung: Rung, since: Mono) {
        if verdict.is_failure() {
            let again = self
                .before
                .iter()
                .find(|before| before.verdict == verdict && since.since(before.ended) < AGAIN);
            self.flaps = again.map_or(0, |before| before.flaps.saturating_add(1));
        }
        self.rung = Some(rung);
        self.turning = None;
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

    /// What holds and since when, without what was said of it.
    pub(super) fn shadow(&self) -> Self {
        Self {
            verdict: self.verdict,
            since: self.since,
            ..Self::default()
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
            || self.before.iter().any(|before| now.since(before.ended) < within)
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

    fn step(held: &mut Held, verdict: VerdictId, since: Mono, now: Mono) -> Change {
        let rung = match verdict {
            VerdictId::DnsTimeout => Rung::Resolved,
            VerdictId::Refused | VerdictId::Blackholed => Rung::Connected,
            _ => Rung::Accepted,
        };
        held.step(verdict, rung, since, now)
    }

    #[test]
    fn a_failure_ends_a_moment_after_the_first_success() {
        let mut held = Held::default();
        assert_eq!(step(&mut held, VerdictId::Refused, at(1), at(2)), Change::Other);
        assert_eq!(step(&mut held, VerdictId::Healthy, at(10), at(10)), Change::Same);
        assert_eq!(held.verdict, Some(VerdictId::Refused));
        assert_eq!(step(&mut held, VerdictId::Healthy, at(10), at(13)), Change::Other);
        assert_eq!(
            (held.verdict, held.since, held.flaps),
            (Some(VerdictId::Healthy), at(10), 0)
        );
    }

    #[test]
    fn what_comes_back_at_once_has_not_ended() {
        let mut held = Held::default();
        step(&mut held, VerdictId::Rejected, at(1), at(1));
        for round in 0..5 {
            assert_eq!(
                step(&mut held, VerdictId::Healthy, at(0), at(2 + 4 * round)),
                Change::Same
            );
            assert_eq!(
                step(&mut held, VerdictId::Rejected, at(0), at(4 + 4 * round)),
                Change::Same
            );
        }
        assert_eq!((held.since, held.flaps), (at(1), 5));
    }

    #[test]
    fn what_comes_back_soon_is_counted() {
        let mut held = Held::default();
        step(&mut held, VerdictId::Rejected, at(1), at(1));
        step(&mut held, VerdictId::Healthy, at(2), at(2));
        step(&mut held, VerdictId::Healthy, at(2), at(6));
        assert_eq!(
            step(&mut held, VerdictId::Rejected, at(60), at(60)),
            Change::Other
        );
        assert_eq!(held.flaps, 1);
        step(&mut held, VerdictId::Healthy, at(61), at(61));
        step(&mut held, VerdictId::Healthy, at(61), at(65));
        step(&mut held, VerdictId::Refused, at(70), at(70));
        assert_eq!(held.flaps, 0, "another failure");
        step(&mut held, VerdictId::Healthy, at(71), at(71));
        step(&mut held, VerdictId::Healthy, at(71), at(75));
        step(&mut held, VerdictId::Refused, at(5000), at(5000));
        assert_eq!(held.flaps, 0, "long ago");
    }

    #[test]
    fn another_failure_takes_its_place_at_once() {
        let mut held = Held::default();
        step(&mut held, VerdictId::DnsTimeout, at(1), at(1));
        assert_eq!(step(&mut held, VerdictId::Refused, at(9), at(10)), Change::Other);
        assert_eq!((held.verdict, held.since), (Some(VerdictId::Refused), at(9)));
    }

    #[test]
    fn failures_of_one_rung_that_take_turns_are_one() {
        let mut held = Held::default();
        step(&mut held, VerdictId::Refused, at(1), at(1));
        for round in 0..10 {
            let begins = 2 + 4 * round;
            let turn = step(&mut held, VerdictId::Blackholed, at(begins), at(begins));
            assert_eq!(turn, Change::Same);
            let turn = step(&mut held, VerdictId::Refused, at(1), at(begins + 2));
            assert_eq!(turn, Change::Same);
        }
        assert_eq!((held.verdict, held.flaps), (Some(VerdictId::Refused), 10));
        // One that stays takes its place.
        step(&mut held, VerdictId::Blackholed, at(50), at(50));
        assert_eq!(
            step(&mut held, VerdictId::Blackholed, at(50), at(53)),
            Change::Other
        );
        assert_eq!((held.verdict, held.flaps), (Some(VerdictId::Blackholed), 0));
    }

    #[test]
    fn slow_turns_are_counted() {
        let mut held = Held::default();
        for round in 0..5 {
            for (verdict, begins) in [(VerdictId::DnsTimeout, 0), (VerdictId::Refused, 30)] {
                let begins = at(60 * round + begins);
                assert_eq!(step(&mut held, verdict, begins, begins), Change::Other);
                assert_eq!(u64::from(held.flaps), round, "{verdict}");
            }
        }
    }
}
