//! What was seen last, for readers that come later: a fixed number of entries in a fixed amount of memory, none older than a
//! fixed age.
//!
//! One [`Writer`], on the thread of the pipeline, and any number of [`Cursor`]s elsewhere. Entries lie in chunks that are
//! only ever appended to, so readers need no lock while they read and the writer never waits for one that is slow: a
//! reader takes a chunk by its number under a lock that is held for a pointer's copy, and holds one chunk at a time, which
//! is all that a slow reader keeps alive. What went before a reader came to it is told to it as an exact number.

mod chunk;
mod names;
mod recorder;
mod seen;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use self::chunk::{CHUNK, Chunk};
use crate::model::Mono;

pub use self::recorder::{History, Recorder};
pub use self::seen::{Detail, Dns, DnsKind, Seen};

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
    /// What they take, in bytes, as far as they say. Whole chunks of them go, so that it may be a little less, and entries of
    /// which a few do not fit keep one chunk all the same.
    pub bytes: usize,
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
    /// What the entries of the open chunk take.
    bytes: usize,
    /// Tells readers that something came.
    signal: watch::Sender<Kept>,
    /// Tells by going that nothing will come any more.
    _alive: watch::Sender<()>,
}

/// A handle to what is kept.
#[derive(Debug)]
pub struct Store<T> {
    shared: Arc<Shared<T>>,
    signal: watch::Receiver<Kept>,
    end: watch::Receiver<()>,
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
    chunks: VecDeque<Held<T>>,
    /// What all of them take.
    bytes: usize,
    /// Entries before this one are too old.
    expired: u64,
    /// When the first and the last entry happened that went.
    gone: Option<(Mono, Mono)>,
}

/// A chunk and what its entries take.
#[derive(Debug)]
struct Held<T> {
    chunk: Arc<Chunk<T>>,
    bytes: usize,
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
            end: self.end.clone(),
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
            chunks: VecDeque::from([Held {
                chunk: Arc::clone(&open),
                bytes: 0,
            }]),
            bytes: 0,
            expired: 0,
            gone: None,
        };
        let (signal, receiver) = watch::channel(Kept::default());
        let (alive, end) = watch::channel(());
        let shared = Arc::new(Shared {
            limits,
            chunks: Mutex::new(chunks),
        });
        Self {
            store: Store {
                shared,
                signal: receiver,
                end,
            },
            open,
            bytes: 0,
            signal,
            _alive: alive,
        }
    }

    /// A handle for readers.
    #[must_use]
    pub fn store(&self) -> Store<T> {
        self.store.clone()
    }

    /// Whether the next entry begins a chunk.
    #[must_use]
    pub fn is_at_a_chunk(&self) -> bool {
        let len = self.open.len();
        len == 0 || len == CHUNK
    }

    /// Adds an entry that takes so many bytes beyond its own size. Readers that wait hear of it with [`Self::publish`].
    pub fn push(&mut self, entry: T, beyond: usize) {
        let bytes = Chunk::<T>::PLACE + beyond;
        let Err(entry) = self.open.push(entry) else {
            self.bytes += bytes;
            return;
        };
        let chunk = Arc::new(Chunk::default());
        // The chunk is empty, so that there is room.
        let _ = chunk.push(entry);
        let mut chunks = self.store.shared.chunks();
        chunks.close(std::mem::replace(&mut self.bytes, bytes), Arc::clone(&chunk));
        self.open = chunk;
        let gone = chunks.drop_beyond(self.store.shared.limits);
        drop(chunks);
        // Outside of the lock: it may be the last reference.
        drop(gone);
    }

    /// Tells readers what there is, once for many entries: when there is more, or in any case. Whether they were told.
    pub fn publish(&mut self, in_any_case: bool) -> bool {
        let kept = self.store.kept();
        self.signal.send_if_modified(|known| {
            let changed = known.end != kept.end;
            *known = kept;
            changed || in_any_case
        })
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
        let open = self.chunks.back().map_or(0, |held| held.chunk.len());
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

    /// The open chunk is full and takes so much; another one is open now.
    fn close(&mut self, bytes: usize, open: Arc<Chunk<T>>) {
        if let Some(full) = self.chunks.back_mut() {
            full.bytes = bytes;
            self.bytes += bytes;
        }
        self.chunks.push_back(Held {
            chunk: open,
            bytes: 0,
        });
    }

    /// Chunks none of whose entries is among the newest, or for which there is no room.
    fn drop_beyond(&mut self, limits: Limits) -> Vec<Held<T>> {
        let mut gone = self.drop_before(self.end().saturating_sub(limits.entries as u64));
        // The last one is open and takes no more than another.
        while self.bytes > limits.bytes && self.chunks.len() > 1 {
            gone.extend(self.drop_first());
        }
        gone
    }

    fn drop_before(&mut self, begin: u64) -> Vec<Held<T>> {
        let mut gone = Vec::new();
        while self.chunks.len() > 1 && (self.first + 1) * CHUNK as u64 <= begin {
            gone.extend(self.drop_first());
        }
        gone
    }

    fn drop_first(&mut self) -> Option<Held<T>> {
        let gone = self.chunks.pop_front()?;
        self.first += 1;
        self.bytes -= gone.bytes;
        if let (Some(first), Some(last)) = (gone.chunk.get(0), gone.chunk.get(gone.chunk.len() - 1)) {
            let since = self.gone.map_or(first.at(), |(since, _)| since);
            self.gone = Some((since, last.at()));
        }
        Some(gone)
    }

    /// When the first and the last entry happened that went, those among them that are in chunks which are still there.
    fn gone(&self, begin: u64) -> Option<(Mono, Mono)> {
        let last = begin.checked_sub(1)?;
        let Some(chunk) = self.get(last / CHUNK as u64) else {
            return self.gone;
        };
        let last = chunk.get((last % CHUNK as u64) as usize)?.at();
        let since = match self.gone {
            Some((since, _)) => since,
            None => self.chunks.front()?.chunk.get(0)?.at(),
        };
        Some((since, last))
    }

    /// Entries in front that are older than `before`.
    fn expire(&mut self, before: Mono) -> Vec<Held<T>> {
        let mut expired = self.expired.max(self.first * CHUNK as u64);
        'chunks: for Held { chunk, .. } in self
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
        Some(&self.chunks.get(usize::try_from(at).ok()?)?.chunk)
    }
}

impl<T: Entry> Store<T> {
    /// What is kept now.
    #[must_use]
    pub fn kept(&self) -> Kept {
        self.shared.chunks().kept(self.shared.limits.entries)
    }

    /// What is kept now, and when the first and the last entry happened that are not kept any more.
    #[must_use]
    pub fn kept_and_gone(&self) -> (Kept, Option<(Mono, Mono)>) {
        let chunks = self.shared.chunks();
        let kept = chunks.kept(self.shared.limits.entries);
        (kept, chunks.gone(kept.begin))
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

    /// When the first and the last entry happened that are not kept any more.
    #[must_use]
    pub fn gone(&self) -> Option<(Mono, Mono)> {
        self.kept_and_gone().1
    }

    /// Says whenever there is more, and ends with the writer.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Kept> {
        self.signal.clone()
    }

    /// The end of the writer; whoever waits for that only is not woken by each entry.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<T> {
        let mut end = self.end.clone();
        async move {
            // Nothing is ever sent.
            let _ = end.changed().await;
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

    /// When the next entry happened, without a step towards it. What is lost has no time, and comes first.
    pub fn peek(&mut self) -> Option<Mono> {
        let next = self.next;
        let at = match self.read() {
            Next::Entry(entry) => Some(entry.at()),
            Next::Lost(_) => Some(Mono(0)),
            Next::End => None,
        };
        self.next = next;
        at
    }

    /// The entry of this number, if it is kept.
    pub fn get(&mut self, number: u64) -> Option<&T> {
        self.next = number;
        match self.read() {
            Next::Entry(entry) => Some(entry),
            Next::Lost(_) | Next::End => None,
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
