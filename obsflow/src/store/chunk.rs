//! A part of a store: a fixed number of places, filled in order and never changed again.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Entries of a chunk: few enough that a slow reader, which keeps one alive, costs little.
pub(super) const CHUNK: usize = 256;

/// Places, of which the first [`Chunk::len`] are filled.
#[derive(Debug)]
pub(super) struct Chunk<T> {
    places: Box<[OnceLock<T>]>,
    len: AtomicUsize,
}

impl<T> Default for Chunk<T> {
    fn default() -> Self {
        Self {
            places: std::iter::repeat_with(OnceLock::new).take(CHUNK).collect(),
            len: AtomicUsize::new(0),
        }
    }
}

impl<T> Chunk<T> {
    /// What a place takes, filled or not.
    pub(super) const PLACE: usize = size_of::<OnceLock<T>>();

    /// Fills the next place, or gives the entry back when there is none. Called by one writer only.
    pub(super) fn push(&self, entry: T) -> Result<(), T> {
        let at = self.len.load(Ordering::Relaxed);
        let Some(place) = self.places.get(at) else {
            return Err(entry);
        };
        place.set(entry)?;
        self.len.store(at + 1, Ordering::Release);
        Ok(())
    }

    /// How many are filled.
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// The entry at a place that is filled.
    pub(super) fn get(&self, at: usize) -> Option<&T> {
        self.places.get(at)?.get()
    }
}
