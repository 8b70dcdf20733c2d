//! What the two sides share: the session's thread says which series there are, a scrape reads them.
//!
//! New and removed series wait in a list, whose lock is held only to add to it or to take it as a whole. The ordered index of
//! them all belongs to whoever scrapes; the session's thread touches it only when nobody does, so that the list stays short
//! where nobody scrapes at all.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::families::Id;
use super::series::Series;

/// Changes after which the session's thread looks whether it can put them in order itself.
const MANY: usize = 512;

/// A change to the series there are.
#[derive(Debug)]
pub(super) enum Change {
    /// This one is new.
    Add(Arc<Series>),
    /// This one is no more.
    Remove(Arc<Series>),
    /// The first is no more, and the second has its numbers from now on. Done when nobody reads, so that no scrape sees
    /// them twice, or not at all. One that a scrape has seen keeps its numbers until it is removed: moved, they would be an
    /// increase that never was.
    Merge(Arc<Series>, Arc<Series>),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Shared {
    changes: Mutex<Vec<Change>>,
    index: Mutex<Index>,
}

/// Every series, in order.
#[derive(Debug, Default)]
pub(super) struct Index(BTreeMap<Id, ByLabels>);

type ByLabels = BTreeMap<Box<[Arc<str>]>, Arc<Series>>;

impl Shared {
    /// Takes changes.
    pub(super) fn change(&self, change: Change) {
        unpoisoned(self.changes.lock()).push(change);
    }

    /// Puts waiting changes in order when there are many, unless somebody scrapes at this moment.
    pub(super) fn tidy(&self) {
        if unpoisoned(self.changes.lock()).len() < MANY {
            return;
        }
        let mut index = match self.index.try_lock() {
            Ok(index) => index,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        index.take(&self.changes);
    }

    /// Every series as of now, for as long as the guard lives.
    pub(super) fn read(&self) -> MutexGuard<'_, Index> {
        let mut index = unpoisoned(self.index.lock());
        index.take(&self.changes);
        index
    }
}

/// What a lock guards here is whole at every moment.
fn unpoisoned<T>(locked: Result<T, PoisonError<T>>) -> T {
    locked.unwrap_or_else(PoisonError::into_inner)
}

impl Index {
    fn take(&mut self, changes: &Mutex<Vec<Change>>) {
        let changes = std::mem::take(&mut *unpoisoned(changes.lock()));
        for change in changes {
            match change {
                Change::Add(series) => {
                    let family = self.0.entry(series.family).or_default();
                    let before = family.insert(series.labels.clone(), Arc::clone(&series));
                    // Somebody is back before the series was gone: it goes on where it was.
                    if let Some(before) = before {
                        series.value.absorb(&before.value);
                    }
                }
                Change::Remove(series) => self.remove(&series),
                Change::Merge(from, into) => {
                    if !from.shown.load(Ordering::Relaxed) {
                        self.remove(&from);
                        into.value.absorb(&from.value);
                    }
                }
            }
        }
    }

    fn remove(&mut self, series: &Arc<Series>) {
        if let Some(family) = self.0.get_mut(&series.family)
            // Another one may have the same labels by now.
            && family.get(&series.labels).is_some_and(|known| Arc::ptr_eq(known, series))
        {
            family.remove(&series.labels);
        }
    }

    /// The series of a family, in order of their labels.
    pub(super) fn of(&self, family: Id) -> impl Iterator<Item = &Arc<Series>> {
        self.0.get(&family).into_iter().flat_map(ByLabels::values)
    }
}
