//! What names lead to, as connections have shown: so an exporter that is set to `gateway` and a connection to
//! `gateway.corp.example`, or to the Service that an alias stands for, have one label.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;

use super::store::Who;
use crate::model::Mono;

/// Names that are remembered, of all workloads.
const MAX: usize = 8192;
/// One that nobody connected by for this long makes room.
const UNUSED: Duration = Duration::from_secs(3600);

type Map<K, V> = HashMap<K, V, RandomState>;

#[derive(Debug)]
struct Meaning {
    /// What is written, without the port.
    base: Arc<str>,
    seen: Mono,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Meanings {
    /// By workload: a bare name means something else in each namespace.
    of: Map<Who, Map<Arc<str>, Meaning>>,
    len: usize,
    /// Nothing can be forgotten before this moment.
    full_until: Mono,
}

impl Meanings {
    /// Remembers what a name that was looked up led to. A search list may have completed it, so its beginnings mean that, too.
    pub(super) fn learn(&mut self, who: Who, name: &str, base: &str, at: Mono) {
        let known = self.of.get_mut(&who).and_then(|of| of.get_mut(name));
        if let Some(known) = known
            && *known.base == *base
        {
            known.seen = known.seen.max(at);
            return;
        }
        let base: Arc<str> = base.into();
        let ends = name
            .char_indices()
            .filter(|(_, letter)| *letter == '.')
            .map(|(at, _)| at);
        for end in ends.chain([name.len()]) {
            let Some(beginning) = name.get(..end).filter(|beginning| !beginning.is_empty()) else {
                continue;
            };
            if self.len >= MAX && !self.make_room(at) {
                return;
            }
            let meaning = Meaning {
                base: Arc::clone(&base),
                seen: at,
            };
            let before = self.of.entry(who).or_default().insert(beginning.into(), meaning);
            self.len += usize::from(before.is_none());
        }
    }

    fn make_room(&mut self, at: Mono) -> bool {
        if at < self.full_until {
            return false;
        }
        let mut oldest = at;
        self.of.retain(|_, of| {
            // A beginning of a name is as old as the name.
            let used: HashSet<Arc<str>, RandomState> = of
                .values()
                .filter(|meaning| at.since(meaning.seen) < UNUSED)
                .map(|meaning| Arc::clone(&meaning.base))
                .collect();
            of.retain(|_, meaning| used.contains(&meaning.base));
            let first = of.values().map(|meaning| meaning.seen).min();
            oldest = first.map_or(oldest, |first| first.min(oldest));
            !of.is_empty()
        });
        self.len = self.of.values().map(HashMap::len).sum();
        let has_room = self.len < MAX;
        if !has_room {
            self.full_until = oldest.after(UNUSED).max(at.after(Duration::from_secs(60)));
        }
        has_room
    }

    /// What a name means to a workload.
    pub(super) fn get(&self, who: Who, name: &str) -> Option<&str> {
        let meaning = self.of.get(&who)?.get(name)?;
        Some(&meaning.base)
    }

    /// The number is somebody else's soon.
    pub(super) fn forget(&mut self, who: Who) {
        if let Some(of) = self.of.remove(&who) {
            self.len = self.len.saturating_sub(of.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000_000)
    }

    #[test]
    fn a_name_and_its_beginnings_mean_what_it_led_to() {
        let mut meanings = Meanings::default();
        let (one, two) = (Who(7), Who(8));
        meanings.learn(one, "gateway.corp.example", "obs/otel", at(1));
        for name in ["gateway", "gateway.corp", "gateway.corp.example"] {
            assert_eq!(meanings.get(one, name), Some("obs/otel"));
        }
        assert_eq!(meanings.get(one, "gate"), None);
        assert_eq!(meanings.get(two, "gateway"), None);
        meanings.learn(one, "gateway.corp.example", "gateway.corp.example", at(2));
        assert_eq!(meanings.get(one, "gateway"), Some("gateway.corp.example"));
        assert_eq!(meanings.len, 3);
        meanings.forget(one);
        assert_eq!((meanings.get(one, "gateway"), meanings.len), (None, 0));
    }

    #[test]
    fn names_are_bounded_and_those_in_use_stay() {
        let mut meanings = Meanings::default();
        for number in 0..MAX + 10 {
            meanings.learn(Who(7), &format!("n{number}"), &format!("n{number}"), at(1));
        }
        assert_eq!(meanings.len, MAX);
        // One is used after an hour; all others make room.
        meanings.learn(Who(7), "n5", "n5", at(3000));
        meanings.learn(Who(8), "new.example", "new.example", at(3700));
        assert_eq!(meanings.get(Who(7), "n5"), Some("n5"));
        assert_eq!(meanings.get(Who(7), "n6"), None);
        assert_eq!(meanings.get(Who(8), "new"), Some("new.example"));
        assert_eq!(meanings.len, 3);
    }
}
