//! Which questions belong to one resolver search, and what the answers to all of them amount to.

use std::hash::BuildHasher;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::decode::dns::message::rtype_text;
use crate::model::observation::LookupOutcome;
use crate::model::time::Mono;

/// Questions of one search. Five suffixes in two families are ten; more than this is no search list.
const MAX_TRIED: usize = 32;
/// A resolver that goes on to its next name does so at once.
pub(super) const AT_ONCE: Duration = Duration::from_millis(50);
/// The same question sooner than this, from another socket, is another thread's, not a retry: the shortest
/// time-outs of resolvers are whole seconds.
const SOONEST_RETRY: Duration = Duration::from_millis(500);

/// Address family of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    /// `None` for questions that are not for an address.
    pub(super) fn of(qtype: &str) -> Option<Self> {
        match qtype {
            "A" => Some(Self::V4),
            "AAAA" => Some(Self::V6),
            _ => None,
        }
    }

    pub(super) fn text(self) -> Arc<str> {
        match self {
            Self::V4 => rtype_text(1),
            Self::V6 => rtype_text(28),
        }
    }
}

/// What is known of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Asked,
    /// Answered, but the answer did not fit: it is asked again over TCP.
    Truncated,
    Answered {
        rcode: u16,
        addresses: bool,
    },
    /// No answer in the resolver's time.
    Unanswered,
    /// An error on the socket: the errno.
    Refused(u32),
    /// Dropped on this node.
    Dropped {
        /// The resolver does not know and waits for its time-out.
        waits: bool,
    },
}

impl State {
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Asked | Self::Truncated)
    }

    pub(super) fn is_resolved(self) -> bool {
        matches!(self, Self::Answered { addresses: true, .. })
    }
}

/// One question of a search.
#[derive(Clone, Debug)]
pub(super) struct Tried {
    /// In lower case.
    pub(super) name: Arc<str>,
    pub(super) family: Family,
    pub(super) state: State,
    pub(super) cookie: u64,
    /// When it was asked last.
    pub(super) at: Mono,
}

impl Tried {
    pub(super) fn new(name: Arc<str>, family: Family, cookie: u64, at: Mono) -> Self {
        Self {
            name,
            family,
            state: State::Asked,
            cookie,
            at,
        }
    }
}

/// How a question fits a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It has nothing to do with it.
    Apart,
    /// The search's question at this index, again.
    Again(usize),
    /// The search's next question.
    Next,
    /// The search from its start: another one.
    Anew,
}

/// How the question (`name`, in lower case, and `family`), asked at `at` by the socket `cookie`, fits the search that
/// `tried` all this, the last time at `last`.
pub(super) fn fit(
    tried: &[Tried],
    (name, family): (&str, Family),
    cookie: u64,
    (last, at): (Mono, Mono),
) -> Fit {
    let mine = |t: &&Tried| t.family == family;
    let last_of_family = tried.iter().rposition(|t| t.family == family);
    if let Some(index) = tried.iter().rposition(|t| t.family == family && *t.name == *name) {
        let Some(same) = tried.get(index) else {
            return Fit::Apart;
        };
        if last_of_family != Some(index) {
            return Fit::Anew;
        }
        return match same.state {
            State::Asked if same.cookie == cookie || at.since(same.at) >= SOONEST_RETRY => Fit::Again(index),
            State::Asked => Fit::Apart,
            State::Answered { rcode: 0 | 3, .. } => Fit::Anew,
            // The resolver was told at once: it would have asked again at once, too.
            State::Dropped { waits: false } | State::Refused(_)
                if same.cookie != cookie && at.since(same.at) >= SOONEST_RETRY =>
            {
                Fit::Anew
            }
            // Another server is asked.
            _ => Fit::Again(index),
        };
    }
    if tried.len() >= MAX_TRIED {
        return Fit::Apart;
    }
    // In one family the names come one after the other, and after an address there is no next one.
    if let Some(before) = tried.iter().rfind(mine)
        && (before.state.is_open() || before.state.is_resolved())
    {
        return Fit::Apart;
    }
    if tried.iter().any(|t| *t.name == *name) || related(tried, name, last, at) {
        Fit::Next
    } else {
        Fit::Apart
    }
}

/// Whether `name` may be the name of the search with another suffix.
fn related(tried: &[Tried], name: &str, last: Mono, at: Mono) -> bool {
    if tried
        .iter()
        .any(|t| extends(&t.name, name) || extends(name, &t.name) || nested(&t.name, name))
    {
        return true;
    }
    // Nothing but a first label in common: the next name of a list like `a.example b.example` comes at once.
    let failed = !tried.iter().any(|t| t.state.is_open() || t.state.is_resolved());
    failed && at.since(last) <= AT_ONCE || stem(tried).is_some_and(|stem| extends(name, stem))
}

/// Whether `long` is `short` with labels after it.
fn extends(long: &str, short: &str) -> bool {
    long.strip_prefix(short).is_some_and(|rest| rest.starts_with('.'))
}

/// Whether one name is the other with labels taken out of the middle: the suffixes of a cluster's search list are
/// each the one before without its first label.
fn nested(a: &str, b: &str) -> bool {
    let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    let short_labels = short.split('.').count();
    let front = long
        .split('.')
        .zip(short.split('.'))
        .take_while(|(l, s)| l == s)
        .count();
    let back = long
        .rsplit('.')
        .zip(short.rsplit('.'))
        .take_while(|(l, s)| l == s)
        .count();
    front >= 1 && front + back >= short_labels
}

/// The labels that all names of a search with at least two names begin with.
fn stem(tried: &[Tried]) -> Option<&str> {
    let mut names = tried.iter().map(|t| &*t.name);
    let first = names.next()?;
    let mut stem = first;
    for name in names {
        let mut len = 0;
        for (a, b) in stem.split('.').zip(name.split('.')) {
            if a != b {
                break;
            }
            len += a.len() + 1;
        }
        stem = stem.get(..len.saturating_sub(1))?;
    }
    (stem.len() < first.len() && !stem.is_empty()).then_some(stem)
}

/// Whether the search cannot go on: its bare name came last and failed in every family it asks.
///
/// Only for answers after which resolvers ask nobody else; after others the next server may be asked.
pub(super) fn exhausted(tried: &[Tried]) -> bool {
    let final_answer = |t: &Tried| {
        matches!(
            t.state,
            State::Answered {
                rcode: 0 | 3,
                addresses: false
            }
        )
    };
    if !tried.iter().all(final_answer) {
        return false;
    }
    let Some(bare) = tried.iter().map(|t| &t.name).min_by_key(|n| n.len()) else {
        return false;
    };
    let mut others = tried.iter().filter(|t| t.name != *bare).peekable();
    if others.peek().is_none() || !others.all(|t| extends(&t.name, bare)) {
        return false;
    }
    [Family::V4, Family::V6].into_iter().all(|family| {
        tried
            .iter()
            .rfind(|t| t.family == family)
            .is_none_or(|last| last.name == *bare)
    })
}

/// What a search without an address amounts to.
pub(super) fn failure(tried: &[Tried]) -> LookupOutcome {
    let mut outcome = LookupOutcome::NxDomain;
    for t in tried {
        let one = match t.state {
            State::Answered { rcode: 0, .. } => LookupOutcome::NoData,
            State::Answered { rcode: 3, .. } => LookupOutcome::NxDomain,
            State::Answered { rcode, .. } => LookupOutcome::ServerFailure(rcode),
            State::Asked | State::Truncated | State::Unanswered => LookupOutcome::Unanswered,
            State::Refused(errno) => LookupOutcome::Refused(errno),
            State::Dropped { .. } => LookupOutcome::Dropped,
        };
        if rank(one) > rank(outcome) {
            outcome = one;
        }
    }
    outcome
}

/// Which of several failures tells the cause: a server's failure outranks the NXDOMAINs beside it, an errno outranks a
/// drop (REJECT makes both), a drop outranks the silence it makes.
fn rank(outcome: LookupOutcome) -> u8 {
    match outcome {
        LookupOutcome::Resolved => 6,
        LookupOutcome::ServerFailure(_) => 5,
        LookupOutcome::Refused(_) => 4,
        LookupOutcome::Dropped => 3,
        LookupOutcome::Unanswered => 2,
        LookupOutcome::NoData => 1,
        LookupOutcome::NxDomain => 0,
    }
}

/// The shortest name tried: the bare one, once the search came to it.
pub(super) fn shortest(tried: &[Tried]) -> Arc<str> {
    tried
        .iter()
        .map(|t| &t.name)
        .min_by_key(|n| n.len())
        .map_or_else(|| Arc::from(""), Arc::clone)
}

/// Keyed, so that nobody can make names whose groups collide.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::default);

pub(super) fn first_label_hash(name: &str) -> u64 {
    HASHER.hash_one(name.split('.').next().unwrap_or_default())
}

/// The name in lower case; mostly it is already.
pub(super) fn lowercase(name: &Arc<str>) -> Arc<str> {
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Arc::from(name.to_ascii_lowercase().as_str())
    } else {
        Arc::clone(name)
    }
}
