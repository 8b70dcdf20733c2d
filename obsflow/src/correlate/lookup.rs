//! One resolver search, with all the names and both families it tries, is one look-up with one outcome.
//!
//! A resolver given `otel.observability` tries it with each suffix of its search list and bare, for A and AAAA, and most
//! of these questions fail although all is well. glibc and musl ask both families side by side and go on to the next
//! name when both failed; c-ares runs the families apart and asks on for AAAA after A was answered; all ask again
//! after a time-out or a server's failure. Nothing on the wire says what belongs together: the names do
//! ([`super::candidate`]), and the order in which they are asked.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};

use super::candidate::{self, Family, Fit, State, Tried};
use super::owner::{Ends, Owner};
use crate::model::observation::{Candidate, Lookup, LookupOutcome, Observation, What};
use crate::model::time::Mono;

/// Look-ups of names with one first label that a process may have under way at a time.
const SIDE_BY_SIDE: usize = 8;

/// Cgroup, process, network namespace, hash of the first label: names of one search share that.
type Group = (u64, u32, u32, u64);

/// A search that is under way, or over and still taking what comes after its outcome.
#[derive(Debug)]
struct Search {
    group: Group,
    owner: Owner,
    ends: Ends,
    server: Option<SocketAddr>,
    first_at: Mono,
    last_at: Mono,
    tried: Vec<Tried>,
    first_timeout: Option<Mono>,
    /// The outcome was given; what belongs to the search is taken without a word until then.
    over_until: Option<Mono>,
    /// When it is looked at next.
    scheduled: Option<Mono>,
}

/// How a response answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer<'a> {
    pub(super) rcode: u16,
    pub(super) ips: &'a [IpAddr],
    pub(super) truncated: bool,
}

/// All searches. Bounded: when it is full, those that are over go first, then the oldest.
#[derive(Debug)]
pub(super) struct Lookups {
    searches: BTreeMap<u64, Box<Search>>,
    groups: HashMap<Group, Vec<u64>>,
    /// When to look at a search again; entries that the search does not know of are stale.
    timers: BinaryHeap<Reverse<(Mono, u64)>>,
    /// Those that are over, in the order they ended.
    over: VecDeque<u64>,
    serial: u64,
    capacity: usize,
    settle: Duration,
    timeout: Duration,
    forgotten: u64,
}

impl Lookups {
    pub(super) fn new(capacity: usize, settle: Duration, timeout: Duration) -> Self {
        Self {
            searches: BTreeMap::new(),
            groups: HashMap::new(),
            timers: BinaryHeap::new(),
            over: VecDeque::new(),
            serial: 0,
            capacity: capacity.max(1),
            settle,
            timeout,
            forgotten: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.searches.len()
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// A question for an address left. Gives the search it belongs to; `None` when it asks for something else.
    pub(super) fn ask(
        &mut self,
        owner: &Owner,
        ends: &Ends,
        question: (&Arc<str>, &str),
        at: Mono,
        out: &mut Vec<Observation>,
    ) -> Option<u64> {
        let (name, qtype) = question;
        let family = Family::of(qtype)?;
        let name = candidate::lowercase(name);
        let group = (
            owner.cgroup,
            owner.pid,
            owner.netns,
            candidate::first_label_hash(&name),
        );
        let mut ended = None;
        let mut joined = None;
        for &id in self.groups.get(&group).map_or(&[][..], |ids| ids) {
            let Some(search) = self.searches.get(&id) else {
                continue;
            };
            if search.over_until.is_some_and(|until| until < at) {
                continue;
            }
            match candidate::fit(&search.tried, (&name, family), owner.cookie, (search.last_at, at)) {
                Fit::Apart => {}
                Fit::Anew => ended = Some(id),
                fit @ (Fit::Again(_) | Fit::Next) => {
                    joined = Some((id, fit));
                    break;
                }
            }
        }
        if let Some((id, fit)) = joined {
            self.join(id, fit, name, family, owner, at);
            return Some(id);
        }
        if let Some(id) = ended {
            // The resolver began from the start: the search before is at its end, if it waits for nothing.
            let idle = self
                .searches
                .get(&id)
                .is_some_and(|s| s.over_until.is_none() && !s.tried.iter().any(|t| t.state.is_open()));
            if idle {
                self.finish(id, at, out);
            }
        }
        Some(self.begin(group, owner, ends, Tried::new(name, family, owner.cookie, at)))
    }

    /// A question of the search was answered.
    pub(super) fn answer(
        &mut self,
        id: u64,
        question: (&str, &str),
        answer: Answer<'_>,
        at: Mono,
        out: &mut Vec<Observation>,
    ) {
        let Some(family) = Family::of(question.1) else {
            return;
        };
        let Some(search) = self.searches.get_mut(&id) else {
            return;
        };
        let addresses = answer.rcode == 0 && !answer.ips.is_empty();
        let state = if answer.truncated && !addresses {
            State::Truncated
        } else {
            State::Answered {
                rcode: answer.rcode,
                addresses,
            }
        };
        if !search.set(question.0, family, state, at) {
            return;
        }
        if search.over_until.is_some() {
            return;
        }
        if addresses {
            let outcome = LookupOutcome::Resolved;
            self.emit(id, outcome, question.0, answer.ips, at, out);
        } else {
            self.review(id, at, out);
        }
    }

    /// A question of the search ended otherwise.
    pub(super) fn fail(
        &mut self,
        id: u64,
        question: (&str, &str),
        state: State,
        at: Mono,
        out: &mut Vec<Observation>,
    ) {
        let Some(family) = Family::of(question.1) else {
            return;
        };
        let Some(search) = self.searches.get_mut(&id) else {
            return;
        };
        if !search.set(question.0, family, state, at) {
            return;
        }
        if state == State::Unanswered && search.first_timeout.is_none() {
            search.first_timeout = Some(at);
        }
        if search.over_until.is_none() {
            self.review(id, at, out);
        }
    }

    /// Ends the searches that have been quiet for long enough.
    pub(super) fn expire(&mut self, now: Mono, out: &mut Vec<Observation>) {
        while let Some(Reverse((when, id))) = self.timers.peek().copied() {
            if when > now {
                return;
            }
            self.timers.pop();
            let Some(search) = self.searches.get_mut(&id) else {
                continue;
            };
            if search.scheduled != Some(when) {
                continue;
            }
            search.scheduled = None;
            if let Some(until) = search.over_until {
                if until <= when {
                    self.remove(id);
                } else {
                    self.schedule(id, until);
                }
                continue;
            }
            let due = search.due(self.settle, self.timeout);
            if due <= when {
                self.finish(id, when, out);
            } else {
                self.schedule(id, due);
            }
        }
    }

    /// When [`Lookups::expire`] has something next.
    pub(super) fn next_due(&self) -> Option<Mono> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    fn begin(&mut self, group: Group, owner: &Owner, ends: &Ends, first: Tried) -> u64 {
        while self.searches.len() >= self.capacity {
            self.forget_one();
        }
        self.serial += 1;
        let id = self.serial;
        let at = first.at;
        self.searches.insert(
            id,
            Box::new(Search {
                group,
                owner: owner.clone(),
                ends: ends.clone(),
                server: ends.asked.or(ends.remote),
                first_at: at,
                last_at: at,
                tried: vec![first],
                first_timeout: None,
                over_until: None,
                scheduled: None,
            }),
        );
        let searches = &mut self.searches;
        let ids = self.groups.entry(group).or_default();
        // A resolver that begins the next search has long done with those that are over: what c-ares asks after the
        // answer follows at once.
        ids.retain(|id| {
            let done = searches.get(id).is_none_or(|s| s.is_done(at));
            if done {
                searches.remove(id);
            }
            !done
        });
        ids.push(id);
        if ids.len() > SIDE_BY_SIDE {
            let oldest = ids.remove(0);
            if self
                .searches
                .remove(&oldest)
                .is_some_and(|s| s.over_until.is_none())
            {
                self.forgotten += 1;
            }
        }
        let due = at.after(self.timeout).after(self.settle).after(self.settle);
        self.schedule(id, due);
        id
    }

    fn join(&mut self, id: u64, fit: Fit, name: Arc<str>, family: Family, owner: &Owner, at: Mono) {
        let Some(search) = self.searches.get_mut(&id) else {
            return;
        };
        search.last_at = search.last_at.max(at);
        match fit {
            Fit::Again(index) => {
                if let Some(tried) = search.tried.get_mut(index) {
                    tried.state = State::Asked;
                    tried.at = at;
                    tried.cookie = owner.cookie;
                }
            }
            _ => search.tried.push(Tried::new(name, family, owner.cookie, at)),
        }
        let until = at.after(search.linger(self.settle, self.timeout));
        if let Some(over) = &mut search.over_until {
            // Not for ever: a process that asks for one name again and again begins a new look-up some time.
            let most = search.first_at.after(self.timeout * 3).after(self.settle);
            *over = (*over).max(until.min(most));
        }
    }

    /// Ends a search whose last name failed in all families; else sees to it that it is looked at in time.
    fn review(&mut self, id: u64, at: Mono, out: &mut Vec<Observation>) {
        let Some(search) = self.searches.get(&id) else {
            return;
        };
        if candidate::exhausted(&search.tried) {
            self.finish(id, at, out);
            return;
        }
        let due = search.due(self.settle, self.timeout);
        if search.scheduled.is_none_or(|when| when > due) {
            self.schedule(id, due);
        }
    }

    fn finish(&mut self, id: u64, at: Mono, out: &mut Vec<Observation>) {
        let Some(search) = self.searches.get(&id) else {
            return;
        };
        let outcome = candidate::failure(&search.tried);
        let name = candidate::shortest(&search.tried);
        self.emit(id, outcome, &name, &[], at, out);
    }

    fn emit(
        &mut self,
        id: u64,
        outcome: LookupOutcome,
        name: &str,
        ips: &[IpAddr],
        at: Mono,
        out: &mut Vec<Observation>,
    ) {
        let Some(search) = self.searches.get_mut(&id) else {
            return;
        };
        let name = search
            .tried
            .iter()
            .find(|t| t.name.eq_ignore_ascii_case(name))
            .map_or_else(|| Arc::from(name), |t| Arc::clone(&t.name));
        // The quiet time that ended it is not part of it, the wait for an answer is.
        let end = if outcome == LookupOutcome::Unanswered {
            at
        } else {
            search.last_at
        };
        let lookup = Lookup {
            name,
            candidates: search.tried.iter().map(Tried::candidate).collect(),
            outcome,
            ips: ips.to_vec(),
            took: end.since(search.first_at),
            server: search.server,
        };
        out.push(
            search
                .owner
                .observe(at, search.ends.clone(), What::Lookup(Box::new(lookup))),
        );
        let until = at.after(search.linger(self.settle, self.timeout));
        search.over_until = Some(until);
        self.over.push_back(id);
        if self.over.len() > 2 * self.searches.len() + 64 {
            let searches = &self.searches;
            self.over.retain(|id| searches.contains_key(id));
        }
        self.schedule(id, until);
    }

    fn schedule(&mut self, id: u64, at: Mono) {
        let Some(search) = self.searches.get_mut(&id) else {
            return;
        };
        // An earlier timer looks again and sets the later one itself.
        if search.scheduled.is_none_or(|when| when > at) {
            search.scheduled = Some(at);
            self.timers.push(Reverse((at, id)));
        }
        if self.timers.len() > 4 * self.searches.len() + 64 {
            let searches = &self.searches;
            self.timers
                .retain(|Reverse((when, id))| searches.get(id).is_some_and(|s| s.scheduled == Some(*when)));
        }
    }

    fn forget_one(&mut self) {
        while let Some(id) = self.over.pop_front() {
            if self.remove(id) {
                return;
            }
        }
        if let Some((&id, _)) = self.searches.first_key_value()
            && self.remove(id)
        {
            self.forgotten += 1;
        }
    }

    fn remove(&mut self, id: u64) -> bool {
        let Some(search) = self.searches.remove(&id) else {
            return false;
        };
        if let Some(ids) = self.groups.get_mut(&search.group) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.groups.remove(&search.group);
            }
        }
        true
    }
}

impl Search {
    /// Sets the state of a question; false when the search did not ask it.
    fn set(&mut self, name: &str, family: Family, state: State, at: Mono) -> bool {
        let found = self
            .tried
            .iter_mut()
            .rev()
            .find(|t| t.family == family && t.name.eq_ignore_ascii_case(name));
        let Some(tried) = found else { return false };
        // Of several answers to one question the good one counts.
        if !tried.state.is_resolved() {
            tried.state = state;
        }
        self.last_at = self.last_at.max(at);
        true
    }

    /// Whether its outcome was given, nothing is asked, and nothing has been for a while.
    fn is_done(&self, at: Mono) -> bool {
        self.over_until.is_some()
            && at.since(self.last_at) > candidate::AT_ONCE
            && !self
                .tried
                .iter()
                .any(|t| t.state.is_open() || matches!(t.state, State::Unanswered | State::Dropped { .. }))
    }

    /// When the search is over if nothing more happens.
    fn due(&self, settle: Duration, timeout: Duration) -> Mono {
        let quiet = if self.tried.iter().any(|t| t.state.is_open()) {
            // The query's own time-out comes first; this is for queries that were forgotten.
            self.last_at.after(timeout).after(settle * 2)
        } else {
            self.last_at.after(settle)
        };
        match self.first_timeout {
            Some(first) => quiet.min(first.after(settle)),
            None => quiet,
        }
    }

    /// How long after its outcome a search may still ask: c-ares for the other family, and a resolver without an answer
    /// again after its time-out. After any other failure the next question is the next look-up's.
    fn linger(&self, settle: Duration, timeout: Duration) -> Duration {
        if self.tried.iter().any(|t| t.state.is_resolved()) {
            settle
        } else if self.tried.iter().any(|t| {
            t.state.is_open() || matches!(t.state, State::Unanswered | State::Dropped { waits: true })
        }) {
            timeout + settle
        } else {
            Duration::ZERO
        }
    }
}

impl Tried {
    fn candidate(&self) -> Candidate {
        Candidate {
            name: Arc::clone(&self.name),
            qtype: self.family.text(),
            rcode: match self.state {
                State::Answered { rcode, .. } => Some(rcode),
                _ => None,
            },
        }
    }
}
