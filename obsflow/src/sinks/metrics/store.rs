//! The series that there are, as the session's thread knows them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;

use super::families::Id;
use super::index::{Change, Shared};
use super::names::{EMPTY, Names, Sym};
use super::series::{Series, Value};

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

/// See the module.
#[derive(Debug)]
pub(super) struct Store {
    series: Map<Key, Arc<Series>>,
    by_who: Map<Who, Vec<Key>>,
    shared: Arc<Shared>,
    max: usize,
    with_pods: bool,
}

impl Store {
    pub(super) fn new(shared: Arc<Shared>, max: usize, with_pods: bool) -> Self {
        Self {
            series: Map::default(),
            by_who: Map::default(),
            shared,
            max,
            with_pods,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether a series of its own is there for this key, or still can be.
    pub(super) fn has_room_for(&self, key: &Key) -> bool {
        self.series.len() < self.max || self.series.contains_key(key)
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
        if let Some(keys) = key.who.and_then(|who| self.by_who.get_mut(&who)) {
            keys.retain(|known| known != key);
        }
        self.shared.change(Change::Remove(series));
    }

    /// Moves everything that `from` counted to `to`, who is `written` so.
    pub(super) fn merge_who(&mut self, from: Who, hidden: bool, to: Who, written: &Written, names: &Names) {
        for key in self.by_who.remove(&from).unwrap_or_default() {
            let into = Key { who: Some(to), ..key };
            self.merge(key, hidden, into, Some(written), names);
        }
    }

    /// Moves everything that was counted for one sink to another.
    pub(super) fn merge_sink(
        &mut self,
        sink: Sym,
        to: Sym,
        written: impl Fn(Who) -> Option<Written>,
        names: &Names,
    ) {
        let keys: Vec<Key> = self
            .series
            .keys()
            .filter(|key| key.sink == sink)
            .copied()
            .collect();
        for key in keys {
            let who = key.who.and_then(&written);
            let hidden = who.as_ref().is_some_and(|written| written.hidden);
            if let Some(keys) = key.who.and_then(|who| self.by_who.get_mut(&who)) {
                keys.retain(|known| *known != key);
            }
            self.merge(key, hidden, Key { sink: to, ..key }, who.as_ref(), names);
        }
    }

    fn merge(&mut self, key: Key, hidden: bool, into: Key, written: Option<&Written>, names: &Names) {
        let Some(from) = self.series.remove(&key) else {
            return;
        };
        if matches!(from.value, Value::Real(_)) {
            // A gauge is said anew, of whoever it is about by then.
            self.shared.change(Change::Remove(from));
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
            self.shared.change(Change::Merge(from, Arc::clone(into)));
        }
    }

    /// Symbols that series use.
    pub(super) fn mark(&self, used: &mut HashSet<Sym, RandomState>) {
        for key in self.series.keys() {
            used.insert(key.sink);
            used.extend(key.more);
        }
    }

    /// Keeps the list of changes short.
    pub(super) fn tidy(&self) {
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
    }
}

/// How long somebody is silent before room is made of what it counted.
pub(super) const IDLE: Duration = Duration::from_secs(3600);
