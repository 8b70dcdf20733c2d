//! What was seen last, for readers that come later: a fixed number of entries, none older than a fixed age.
//!
//! One [`Writer`], on the thread of the pipeline, and any number of [`Cursor`]s elsewhere. Entries lie in chunks that are
//! only ever appended to, so readers need no lock while they read and the writer never waits for one that is slow: a
//! reader takes a chunk by its number under a lock that is held for a pointer's copy, and holds one chunk at a time, which
//! is all that a slow reader keeps alive. What went before a reader came to it is told to it as an exact number.

mod chunk;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use self::chunk::{CHUNK, Chunk};
use crate::model::Mono;

/// What is kept.
pub trait Entry: Send + Sync + 'static {
    /// When it happened. Entries come nearly in order of their time.
    fn at(&self) -> Mono;
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries.
    pub entries: usize,
    /// Age of the oldest.
    pub age: Duration,
}

/// What is kept, by numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Number of the oldest entry; [`Self::end`] when there is none.
    pub begin: u64,
    /// Number that the next entry will have, which is how many were ever written.
    pub end: u64,
}

impl Kept {
    /// How many.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.end - self.begin
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.begin == self.end
    }
}

/// Adds entries.
#[derive(Debug)]
pub struct Writer<T> {
    store: Store<T>,
    open: Arc<Chunk<T>>,
    /// Tells readers that something came.
    signal: watch::Sender<Kept>,
}

/// A handle to what is kept.
#[derive(Debug)]
pub struct Store<T> {
    shared: Arc<Shared<T>>,
    signal: watch::Receiver<Kept>,
}

#[derive(Debug)]
struct Shared<T> {
    limits: Limits,
    chunks: Mutex<Chunks<T>>,
}

#[derive(Debug)]
struct Chunks<T> {
    /// Number of the first chunk.
    first: u64,
    chunks: VecDeque<Arc<Chunk<T>>>,
    /// Entries before this one are too old.
    expired: u64,
}

/// A place in a [`Store`].
#[derive(Debug)]
pub struct Cursor<T> {
    store: Store<T>,
    next: u64,
    chunk: Option<(u64, Arc<Chunk<T>>)>,
}

/// What a cursor finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a, T> {
    /// An entry.
    Entry(&'a T),
    /// So many entries went before this reader came to them.
    Lost(u64),
    /// Nothing yet.
    End,
}

impl<T> Clone for Store<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            signal: self.signal.clone(),
        }
    }
}

impl<T: Entry> Writer<T> {
    /// An empty store.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let open = Arc::new(Chunk::default());
        let chunks = Chunks {
            first: 0,
            chunks: VecDeque::from([Arc::clone(&open)]),
            expired: 0,
        };
        let (signal, receiver) = watch::channel(Kept::default());
        let shared = Arc::new(Shared {
            limits,
            chunks: Mutex::new(chunks),
        });
        Self {
            store: Store {
                shared,
                signal: receiver,
            },
            open,
            signal,
        }
    }

    /// A handle for readers.
    #[must_use]
    pub fn store(&self) -> Store<T> {
        self.store.clone()
    }

    /// Adds an entry. Readers that wait hear of it with [`Self::publish`].
    pub fn push(&mut self, entry: T) {
        let Err(entry) = self.open.push(entry) else {
            return;
        };
        let chunk = Arc::new(Chunk::default());
        // The chunk is empty, so that there is room.
        let _ = chunk.push(entry);
        let mut chunks = self.store.shared.chunks();
        chunks.chunks.push_back(Arc::clone(&chunk));
        self.open = chunk;
        let gone = chunks.drop_beyond(self.store.shared.limits.entries);
        drop(chunks);
        // Outside of the lock: it may be the last reference.
        drop(gone);
    }

    /// Tells readers what there is: once for many entries.
    pub fn publish(&mut self) {
        let kept = self.store.kept();
        self.signal.send_if_modified(|known| {
            let changed = known.end != kept.end;
            *known = kept;
            changed
        });
    }

    /// Lets go of what is too old by now.
    pub fn expire(&mut self, now: Mono) {
        let limits = self.store.shared.limits;
        let Some(before) = now
            .0
            .checked_sub(u64::try_from(limits.age.as_nanos()).unwrap_or(u64::MAX))
        else {
            return;
        };
        let gone = self.store.shared.chunks().expire(Mono(before));
        drop(gone);
    }
}

impl<T: Entry> Shared<T> {
    fn chunks(&self) -> MutexGuard<'_, Chunks<T>> {
        // Whoever panicked while holding it left whole chunks behind.
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Entry> Chunks<T> {
    fn end(&self) -> u64 {
        let full = self.chunks.len().saturating_sub(1) as u64;
        let open = self.chunks.back().map_or(0, |chunk| chunk.len());
        (self.first + full) * CHUNK as u64 + open as u64
    }

    fn kept(&self, entries: usize) -> Kept {
        let end = self.end();
        let begin = (self.first * CHUNK as u64)
            .max(self.expired)
            .max(end.saturating_sub(entries as u64));
        Kept {
            begin: begin.min(end),
            end,
        }
    }

    /// Chunks none of whose entries is among the newest `entries`.
    fn drop_beyond(&mut self, entries: usize) -> Vec<Arc<Chunk<T>>> {
        let begin = self.end().saturating_sub(entries as u64);
        self.drop_before(begin)
    }

    fn drop_before(&mut self, begin: u64) -> Vec<Arc<Chunk<T>>> {
        let mut gone = Vec::new();
        while self.chunks.len() > 1 && (self.first + 1) * CHUNK as u64 <= begin {
            gone.extend(self.chunks.pop_front());
            self.first += 1;
        }
        gone
    }

    /// Entries in front that are older than `before`.
    fn expire(&mut self, before: Mono) -> Vec<Arc<Chunk<T>>> {
        let mut expired = self.expired.max(self.first * CHUNK as u64);
        'chunks: for chunk in self
            .chunks
            .iter()
            .skip((expired / CHUNK as u64).saturating_sub(self.first) as usize)
        {
            let from = (expired % CHUNK as u64) as usize;
            for at in from..chunk.len() {
                match chunk.get(at) {
                    Some(entry) if entry.at() < before => expired += 1,
                    _ => break 'chunks,
                }
            }
            if chunk.len() < CHUNK {
                break;
            }
        }
        self.expired = expired;
        self.drop_before(expired)
    }

    fn get(&self, number: u64) -> Option<&Arc<Chunk<T>>> {
        let at = number.checked_sub(self.first)?;
        self.chunks.get(usize::try_from(at).ok()?)
    }
}

impl<T: Entry> Store<T> {
    /// What is kept now.
    #[must_use]
    pub fn kept(&self) -> Kept {
        self.shared.chunks().kept(self.shared.limits.entries)
    }

    /// How much is kept at most.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.shared.limits
    }

    /// When the oldest entry happened.
    #[must_use]
    pub fn oldest(&self) -> Option<Mono> {
        let mut cursor = self.cursor(self.kept().begin);
        loop {
            match cursor.read() {
                Next::Entry(entry) => return Some(entry.at()),
                Next::Lost(_) => {}
                Next::End => return None,
            }
        }
    }

    /// A reader that begins with the entry of this number: what is not kept any more counts as lost to it.
    #[must_use]
    pub fn cursor(&self, number: u64) -> Cursor<T> {
        Cursor {
            store: self.clone(),
            next: number,
            chunk: None,
        }
    }
}

impl<T: Entry> Cursor<T> {
    /// The next entry; does not wait.
    pub fn read(&mut self) -> Next<'_, T> {
        let number = self.next / CHUNK as u64;
        let at = (self.next % CHUNK as u64) as usize;
        if self.chunk.as_ref().is_none_or(|(held, _)| *held != number) {
            self.chunk = None;
            let chunks = self.store.shared.chunks();
            let kept = chunks.kept(self.store.shared.limits.entries);
            if self.next < kept.begin {
                let lost = kept.begin - self.next;
                self.next = kept.begin;
                return Next::Lost(lost);
            }
            let Some(chunk) = chunks.get(number) else {
                return Next::End;
            };
            self.chunk = Some((number, Arc::clone(chunk)));
        }
        // What a held chunk has is given out even if the store let it go in the meantime: it is there, and not lost.
        match self.chunk.as_ref().and_then(|(_, chunk)| chunk.get(at)) {
            Some(entry) => {
                self.next += 1;
                Next::Entry(entry)
            }
            None => Next::End,
        }
    }

    /// Number of the entry that comes next.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Waits until there is more; `false` when the writer is gone and there never will be.
    pub async fn wait(&mut self) -> bool {
        let next = self.next;
        self.store.signal.wait_for(|kept| kept.end > next).await.is_ok()
    }
}

#[cfg(test)]
mod tests;
