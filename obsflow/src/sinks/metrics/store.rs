//! The series that there are, as the session's thread knows them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use foldhash::fast::RandomState;

use super::families::Id;
use super::index::{Change, Shared};
use super::names::{EMPTY, Names, Sym};
use super::series::{Series, Value};
use crate::model::Mono;

/// Label values besides namespace, workload, pod and sink, in the family's order.
pub(super) type More = [Sym; 4];
/// None of them.
pub(super) const NO_MORE: More = [EMPTY; 4];

/// Whose series it is: a row of the table of workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Who(pub(super) u32);

/// Names a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) family: Id,
    /// `None` for families without workload.
    pub(super) who: Option<Who>,
    /// [`EMPTY`] for families without sink.
    pub(super) sink: Sym,
    pub(super) more: More,
}

/// How somebody is written in labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Written {
    pub(super) namespace: Arc<str>,
    pub(super) workload: Arc<str>,
    /// Empty where pods are not told apart.
    pub(super) pod: Arc<str>,
    /// Not shown: its name is not known yet.
    pub(super) hidden: bool,
}

type Map<K, V> = HashMap<K, V, RandomState>;

/// How long a counter that nothing is added to any more is still shown: every scrape has its last number, and who is back by
/// then goes on counting where it was.
pub(super) const ENDING: Duration = Duration::from_secs(120);

/// See the module.
#[derive(Debug)]
pub(super) struct Store {
    series: Map<Key, Arc<Series>>,
    /// Those that are still shown, and since when.
    ending: VecDeque<(Mono, Arc<Series>)>,
    by_who: Map<Who, Vec<Key>>,
    shared: Arc<Shared>,
    max: usize,
    with_pods: bool,
}

impl Store {
    pub(super) fn new(shared: Arc<Shared>, max: usize, with_pods: bool) -> Self {
        Self {
            series: Map::default(),
            ending: VecDeque::new(),
            by_who: Map::default(),
            shared,
            max,
            with_pods,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.series.len() + self.ending.len()
    }

    /// Whether a series of its own is there for this key, or still can be.
    pub(super) fn has_room_for(&self, key: &Key) -> bool {
        self.len() < self.max || self.series.contains_key(key)
    }

    /// The series of a key, made when there is none.
    pub(super) fn value(&mut self, key: Key, written: Option<&Written>, names: &Names) -> &Value {
        let shared = &self.shared;
        let (with_pods, by_who) = (self.with_pods, &mut self.by_who);
        let series = self.series.entry(key).or_insert_with(|| {
            let series = Arc::new(make(&key, written, names, with_pods));
            if let Some(who) = key.who {
                by_who.entry(who).or_default().push(key);
            }
            if written.is_none_or(|written| !written.hidden) {
                shared.change(Change::Add(Arc::clone(&series)));
            }
            series
        });
        &series.value
    }

    /// Removes a series.
    pub(super) fn remove(&mut self, key: &Key) {
        let Some(series) = self.series.remove(key) else {
            return;
        };
        self.forget_owner(key);
        self.shared.change(Change::Remove(series));
    }

    /// From now on `to`, who is `written` so, has the series of `from`, and what no scrape has seen of them.
    pub(super) fn merge_who(
        &mut self,
        from: Who,
        hidden: bool,
        to: (Who, &Written),
        at: Mono,
        names: &Names,
    ) {
        let (to, written) = to;
        for key in self.by_who.remove(&from).unwrap_or_default() {
            let into = Key { who: Some(to), ..key };
            self.merge((key, hidden), into, Some(written), at, names);
        }
    }

    /// The same for one sink and another.
    pub(super) fn merge_sink(
        &mut self,
        sink: Sym,
        to: Sym,
        written: impl Fn(Who) -> Option<Written>,
        at: Mono,
        names: &Names,
    ) {
        for key in self.of_sink(sink) {
            let who = key.who.and_then(&written);
            let hidden = who.as_ref().is_some_and(|written| written.hidden);
            self.forget_owner(&key);
            self.merge((key, hidden), Key { sink: to, ..key }, who.as_ref(), at, names);
        }
    }

    /// Nothing is added to the series of `who` any more.
    pub(super) fn end_who(&mut self, who: Who, at: Mono) {
        for key in self.by_who.remove(&who).unwrap_or_default() {
            if let Some(series) = self.series.remove(&key) {
                self.end(series, at);
            }
        }
    }

    /// The same for a sink.
    pub(super) fn end_sink(&mut self, sink: Sym, at: Mono) {
        for key in self.of_sink(sink) {
            self.end_one(&key, at);
        }
    }

    /// The same for one series.
    pub(super) fn end_one(&mut self, key: &Key, at: Mono) {
        self.forget_owner(key);
        if let Some(series) = self.series.remove(key) {
            self.end(series, at);
        }
    }

    fn of_sink(&self, sink: Sym) -> Vec<Key> {
        let keys = self.series.keys();
        keys.filter(|key| key.sink == sink).copied().collect()
    }

    fn forget_owner(&mut self, key: &Key) {
        if let Some(keys) = key.who.and_then(|who| self.by_who.get_mut(&who)) {
            keys.retain(|known| known != key);
        }
    }

    fn end(&mut self, series: Arc<Series>, at: Mono) {
        if matches!(series.value, Value::Real(_)) {
            // A gauge is said anew, of whoever it is about by then.
            self.shared.change(Change::Remove(series));
        } else {
            self.ending.push_back((at, series));
        }
    }

    fn merge(
        &mut self,
        (key, hidden): (Key, bool),
        into: Key,
        written: Option<&Written>,
        at: Mono,
        names: &Names,
    ) {
        let Some(from) = self.series.remove(&key) else {
            return;
        };
        if matches!(from.value, Value::Real(_)) {
            self.end(from, at);
            return;
        }
        self.value(into, written, names);
        let Some(into) = self.series.get(&into) else {
            return;
        };
        if hidden {
            // No scrape ever saw it.
            into.value.absorb(&from.value);
        } else {
            let into = Arc::clone(into);
            self.shared.change(Change::Merge(Arc::clone(&from), into));
            self.end(from, at);
        }
    }

    /// Symbols that series use.
    pub(super) fn mark(&self, used: &mut HashSet<Sym, RandomState>) {
        for key in self.series.keys() {
            used.insert(key.sink);
            used.extend(key.more);
        }
    }

    /// Lets go of what was shown for long enough, and keeps the list of changes short.
    pub(super) fn tidy(&mut self, now: Mono) {
        while let Some((_, series)) = self.ending.pop_front_if(|(since, _)| now.since(*since) >= ENDING) {
            self.shared.change(Change::Remove(series));
        }
        self.shared.tidy();
    }
}

fn make(key: &Key, written: Option<&Written>, names: &Names, with_pods: bool) -> Series {
    let family = key.family.family();
    let mut more = key.more.iter();
    let mut labels = Vec::with_capacity(family.labels.len() + 1);
    for label in family.labels {
        match (*label, written) {
            ("namespace", Some(written)) => labels.push(Arc::clone(&written.namespace)),
            ("workload", Some(written)) => {
                labels.push(Arc::clone(&written.workload));
                if with_pods {
                    labels.push(Arc::clone(&written.pod));
                }
            }
            ("sink", Some(_)) => labels.push(names.text(key.sink)),
            _ => labels.push(names.text(more.next().copied().unwrap_or(EMPTY))),
        }
    }
    Series {
        family: key.family,
        labels: labels.into_boxed_slice(),
        value: Value::of(family),
        shown: AtomicBool::new(false),
    }
}

/// How long somebody is silent before room is made of what it counted.
pub(super) const IDLE: Duration = Duration::from_secs(3600);
