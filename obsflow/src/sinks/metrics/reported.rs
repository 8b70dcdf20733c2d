//! What diagnosis says, as numbers.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use super::Metrics;
use super::families::Id;
use super::store::{Key, More};
use super::workloads::Move;
use crate::model::exchange::Signal;
use crate::model::verdict::{Export, Report, Rung, Severity};
use crate::model::{Clock, Mono};

/// Numbers of a report, by series: what one folds into is added up, or the later of both times.
type Numbers = HashMap<Key, f64, RandomState>;

/// Exporters are counted; of a verdict it is said that it holds, and of an export when the last one was.
fn add(numbers: &mut Numbers, key: Key, number: f64) {
    let sum = numbers.entry(key).or_default();
    *sum = if key.family == Id::Exporters {
        *sum + number
    } else {
        sum.max(number)
    };
}

/// The number of a row is somebody else's soon: what was said of it goes where the row goes.
fn follow(numbers: &mut Numbers, (from, to): Move) {
    let moved: Vec<(Key, f64)> = numbers.extract_if(|key, _| key.who == Some(from)).collect();
    for (key, number) in moved {
        if to.is_some() {
            add(numbers, Key { who: to, ..key }, number);
        }
    }
}

impl Metrics {
    /// Takes a report in place of the one before.
    pub fn report(&mut self, report: &Report, clock: Clock) {
        let mut numbers = Numbers::default();
        for export in &report.exports {
            self.export(export, clock, report.at, &mut numbers);
        }
        let gone: Vec<Key> = self
            .reported
            .iter()
            .filter(|key| !numbers.contains_key(key))
            .copied()
            .collect();
        for key in gone {
            self.reported.remove(&key);
            self.store.remove(&key);
        }
        let mut there = HashSet::default();
        for (key, number) in numbers {
            let written = key.who.and_then(|who| self.workloads.written(who));
            if self.store.has_room_for(&key) {
                self.store.value(key, written, &self.names).set(number);
                there.insert(key);
            } else {
                self.workloads.folded.0 += 1;
            }
        }
        self.reported = there;
    }

    fn export(&mut self, export: &Export, clock: Clock, at: Mono, numbers: &mut Numbers) {
        let who = self.workloads.who(&export.workload, at, &mut self.moves);
        // Whoever comes next is not given the row of one that something was just said of.
        self.workloads.touch(who, at);
        for step in &self.moves {
            follow(numbers, *step);
        }
        self.make_moves(at);
        let (sink, evicted) = self.sinks.configured(who, export, at, &mut self.names);
        self.evict_sink(evicted, at);
        let key = |family: Id, more: More| Key {
            family,
            who: Some(who),
            sink,
            more,
        };
        let signal = export.signal.map_or("", Signal::name);
        if export.severity != Severity::Starting {
            let reason = export.reason.as_deref().unwrap_or_default();
            let more = self.more(&[signal, export.verdict.name(), reason, export.severity.name()]);
            add(numbers, key(Id::Verdict, more), 1.0);
        }
        for rung in Rung::ALL {
            let more = self.more(&[rung.name(), export.rungs.get(rung).name()]);
            add(numbers, key(Id::Exporters, more), 1.0);
        }
        if let Some(success) = export.last_success {
            let more = self.more(&[signal]);
            let seconds = clock.wall(success).as_millisecond() as f64 / 1000.0;
            add(numbers, key(Id::ExportLastSuccess, more), seconds);
        }
    }
}
