//! DNS queries and their responses, paired by socket, id and question.

use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use foldhash::{HashMap, HashMapExt};

use super::owner::{Ends, Owner};
use crate::model::event::Endpoints;
use crate::model::observation::DnsMessage;
use crate::model::time::Mono;

/// How long an unanswered query is remembered beyond the resolver's time-out, so that a late answer finds it.
const LATE: Duration = Duration::from_secs(5);
/// Queries of one id on one socket that are told apart by their question; resolvers send one.
const SAME_ID: usize = 8;
/// Queries looked through when an error names no socket.
const SCAN: usize = 512;

/// Socket, id, serial: all queries of a socket lie side by side.
type Key = (u64, u16, u64);

/// What became of a query so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    /// Reported as unanswered.
    Overdue,
    /// An error was reported on its socket.
    Refused,
    /// It, or its answer, was dropped on this node.
    Dropped,
    /// Answered, but it was asked more than once and another answer may come.
    Answered,
}

/// A query that may still be answered.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) owner: Owner,
    pub(super) ends: Ends,
    pub(super) query: DnsMessage,
    pub(super) at: Mono,
    pub(super) state: State,
    /// The look-up it is part of, if any.
    pub(super) lookup: Option<u64>,
    /// Only a drop of it was seen: it never left.
    pub(super) unseen: bool,
    /// Times it was sent, less answers.
    open: u32,
    /// It has an entry in [`Queries::due`].
    queued: bool,
    question: u64,
}

/// An answer with the query it belongs to.
pub(super) struct Answered {
    pub(super) owner: Owner,
    pub(super) ends: Ends,
    pub(super) name: Arc<str>,
    pub(super) qtype: Arc<str>,
    pub(super) latency: Duration,
    pub(super) lookup: Option<u64>,
}

/// A reference to a pending query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle(Key);

/// All queries that may still be answered. Bounded: the oldest goes when it is full.
#[derive(Debug)]
pub(super) struct Queries {
    pending: BTreeMap<Key, Box<Pending>>,
    /// The latest query by id and question, for packets that lost their socket.
    by_question: HashMap<(u16, u64), Key>,
    /// Deadlines of those that wait, in order; those that no longer do are stale.
    due: VecDeque<(Mono, Key)>,
    /// When those that were reported are forgotten.
    late: VecDeque<(Mono, Key)>,
    hasher: RandomState,
    serial: u64,
    capacity: usize,
    timeout: Duration,
    forgotten: u64,
}

impl Queries {
    pub(super) fn new(capacity: usize, timeout: Duration) -> Self {
        Self {
            pending: BTreeMap::new(),
            by_question: HashMap::new(),
            due: VecDeque::new(),
            late: VecDeque::new(),
            hasher: RandomState::default(),
            serial: 0,
            capacity: capacity.max(1),
            timeout,
            forgotten: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// A query left.
    pub(super) fn ask(&mut self, owner: &Owner, ends: &Ends, query: &DnsMessage, at: Mono) -> Handle {
        let socket = self.socket(owner, ends.local);
        let question = self.question(query);
        let timeout = self.timeout;
        if let Some((key, pending)) = find(&mut self.pending, socket, question, query) {
            // A packet that is seen again is the query seen again: the first one's time counts until it was reported.
            pending.open = pending.open.saturating_add(1);
            pending.unseen = false;
            if pending.state != State::Waiting {
                pending.state = State::Waiting;
                pending.at = at;
                pending.ends = ends.clone();
                if !std::mem::replace(&mut pending.queued, true) {
                    self.due.push_back((at.after(timeout), key));
                }
            }
            return Handle(key);
        }
        while self.pending.len() >= self.capacity {
            if !self.forget_oldest() {
                break;
            }
        }
        self.serial += 1;
        let key = (socket, query.id, self.serial);
        self.pending.insert(
            key,
            Box::new(Pending {
                owner: owner.clone(),
                ends: ends.clone(),
                query: query.clone(),
                at,
                state: State::Waiting,
                lookup: None,
                unseen: false,
                open: 1,
                queued: true,
                question,
            }),
        );
        self.by_question.insert((query.id, question), key);
        self.due.push_back((at.after(self.timeout), key));
        self.compact();
        Handle(key)
    }

    /// A response came.
    pub(super) fn answer(
        &mut self,
        owner: &Owner,
        local: Option<SocketAddr>,
        response: &DnsMessage,
        at: Mono,
    ) -> Option<Answered> {
        let socket = self.socket(owner, local);
        let question = self.question(response);
        let (key, pending) = find(&mut self.pending, socket, question, response)?;
        pending.open = pending.open.saturating_sub(1);
        pending.state = State::Answered;
        let answered = Answered {
            name: Arc::clone(&pending.query.name),
            qtype: Arc::clone(&pending.query.qtype),
            latency: at.since(pending.at),
            lookup: pending.lookup,
            owner: pending.owner.clone(),
            ends: pending.ends.clone(),
        };
        if pending.open == 0 {
            self.remove(key);
        }
        Some(answered)
    }

    pub(super) fn get_mut(&mut self, handle: Handle) -> Option<&mut Pending> {
        self.pending.get_mut(&handle.0).map(|p| &mut **p)
    }

    /// Queries that an error on a socket concerns: those without an answer that it sent to the peer of the error, or
    /// all of them when the peer was rewritten on the way. `None` when the socket is not known at all.
    pub(super) fn of_socket(&mut self, owner: &Owner, ends: Endpoints) -> Option<Vec<Handle>> {
        let found: Vec<Key> = if owner.cookie != 0 {
            let socket = self.socket(owner, None);
            self.pending
                .range((socket, 0, 0)..=(socket, u16::MAX, u64::MAX))
                .map(|(key, _)| *key)
                .collect()
        } else {
            // The error carries addresses only, of an unbound socket not even the local one.
            self.due
                .iter()
                .rev()
                .take(SCAN)
                .filter(|(_, key)| {
                    self.pending.get(key).is_some_and(|p| {
                        p.ends.local.is_some_and(|l| {
                            l.port() == ends.local.port()
                                && (l.ip() == ends.local.ip() || ends.local.ip().is_unspecified())
                        })
                    })
                })
                .map(|(_, key)| *key)
                .collect()
        };
        if found.is_empty() {
            return None;
        }
        // REJECT drops a query and answers it: the answer counts.
        let waiting = |key: &Key| {
            self.pending
                .get(key)
                .is_some_and(|p| matches!(p.state, State::Waiting | State::Dropped))
        };
        let to_peer = |key: &Key| {
            self.pending
                .get(key)
                .is_some_and(|p| p.ends.remote == Some(ends.remote) || p.ends.asked == Some(ends.remote))
        };
        let mut concerned: Vec<Key> = found
            .iter()
            .copied()
            .filter(|k| waiting(k) && to_peer(k))
            .collect();
        if concerned.is_empty() {
            concerned = found.into_iter().filter(waiting).collect();
        }
        concerned.sort_by_key(|(_, _, serial)| *serial);
        concerned.dedup();
        Some(concerned.into_iter().map(Handle).collect())
    }

    /// The query that a dropped packet is, or answers.
    pub(super) fn of_packet(
        &self,
        owner: &Owner,
        local: Option<SocketAddr>,
        message: &DnsMessage,
    ) -> Option<Handle> {
        let question = self.question(message);
        if owner.cookie != 0 || local.is_some() {
            let socket = self.socket(owner, local);
            let same = self
                .pending
                .range((socket, message.id, 0)..=(socket, message.id, u64::MAX))
                .find(|(_, p)| p.question == question);
            if let Some((key, _)) = same {
                return Some(Handle(*key));
            }
        }
        self.by_question
            .get(&(message.id, question))
            .filter(|key| self.pending.contains_key(key))
            .map(|key| Handle(*key))
    }

    /// Queries whose time is up by `now`, each once, with the moment it was. They are kept for a while longer.
    pub(super) fn overdue(&mut self, now: Mono) -> Option<(Mono, Handle)> {
        while let Some((deadline, key)) = self.late.front().copied() {
            if deadline > now {
                break;
            }
            self.late.pop_front();
            let over = self.pending.get(&key).is_some_and(|p| p.state != State::Waiting);
            if over {
                self.remove(key);
            }
        }
        while let Some((deadline, key)) = self.due.front().copied() {
            if deadline > now {
                return None;
            }
            self.due.pop_front();
            let Some(pending) = self.pending.get_mut(&key) else {
                continue;
            };
            let again = pending.at.after(self.timeout);
            if pending.state == State::Waiting && again > deadline {
                // Asked again since.
                self.due.push_back((again, key));
                continue;
            }
            pending.queued = false;
            self.late.push_back((deadline.after(LATE), key));
            if pending.state == State::Waiting {
                pending.state = State::Overdue;
                return Some((deadline, Handle(key)));
            }
        }
        None
    }

    /// When [`Queries::overdue`] has something next.
    pub(super) fn next_due(&self) -> Option<Mono> {
        let due = self.due.front().map(|(at, _)| *at);
        let late = self.late.front().map(|(at, _)| *at);
        match (due, late) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn forget_oldest(&mut self) -> bool {
        while let Some((_, key)) = self.late.pop_front() {
            if self.remove(key) {
                return true;
            }
        }
        while let Some((_, key)) = self.due.pop_front() {
            if self.remove(key) {
                self.forgotten += 1;
                return true;
            }
        }
        // Each entry is in one of the two queues; were one not, the map is still bounded.
        self.pending.pop_first().is_some()
    }

    fn remove(&mut self, key: Key) -> bool {
        let Some(pending) = self.pending.remove(&key) else {
            return false;
        };
        let by = (key.1, pending.question);
        if self.by_question.get(&by) == Some(&key) {
            self.by_question.remove(&by);
        }
        true
    }

    /// Answered queries leave their deadline behind; the queue stays within twice the map.
    fn compact(&mut self) {
        if self.due.len() > 2 * self.pending.len() + 64 {
            let pending = &self.pending;
            self.due.retain(|(_, key)| pending.contains_key(key));
        }
        if self.late.len() > 2 * self.pending.len() + 64 {
            let pending = &self.pending;
            self.late.retain(|(_, key)| pending.contains_key(key));
        }
    }

    /// The socket's cookie, or without one a number made of namespace and local address, with the top bit set, which
    /// no cookie has.
    fn socket(&self, owner: &Owner, local: Option<SocketAddr>) -> u64 {
        if owner.cookie != 0 {
            return owner.cookie;
        }
        self.hasher.hash_one((owner.netns, local)) | 1 << 63
    }

    fn question(&self, message: &DnsMessage) -> u64 {
        // Long names only repeat what their first bytes say; equality is checked apart.
        let mut lower = [0u8; 64];
        let name = message.name.as_bytes();
        let mut len = 0;
        for (to, from) in lower.iter_mut().zip(name) {
            *to = from.to_ascii_lowercase();
            len += 1;
        }
        self.hasher.hash_one((
            lower.get(..len).unwrap_or_default(),
            name.len(),
            message.qtype.as_bytes(),
        ))
    }
}

fn find<'a>(
    pending: &'a mut BTreeMap<Key, Box<Pending>>,
    socket: u64,
    question: u64,
    message: &DnsMessage,
) -> Option<(Key, &'a mut Pending)> {
    let none = message.name.is_empty();
    pending
        .range_mut((socket, message.id, 0)..=(socket, message.id, u64::MAX))
        .take(SAME_ID)
        .find(|(_, p)| none || (p.question == question && same_question(&p.query, message)))
        .map(|(key, p)| (*key, &mut **p))
}

/// Names are the same whatever their case (RFC 4343); a resolver may mix it on purpose.
fn same_question(a: &DnsMessage, b: &DnsMessage) -> bool {
    a.qtype == b.qtype && a.name.eq_ignore_ascii_case(&b.name)
}
