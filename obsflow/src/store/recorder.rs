//! Keeps what was observed, on the thread of the pipeline.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::names::Names;
use super::seen::Seen;
use super::{Limits, Store, Writer};
use crate::model::observation::What;
use crate::model::{Clock, Mono, Observation};

/// What flows a second are counted over.
const MINUTE: Duration = Duration::from_secs(60);

/// States of sockets that are kept. They come all the time, whether anything happens or not: among flows they would push out
/// what happened, yesterday's failure first.
const STATES: usize = 2_048;
/// What they take, in bytes.
const STATES_BYTES: usize = 2 << 20;

/// See the module.
#[derive(Debug)]
pub struct Recorder {
    flows: Book,
    states: Book,
    /// How many there were at each second of the last minute.
    seconds: VecDeque<(Mono, u64)>,
    facts: watch::Sender<Facts>,
    since: Mono,
}

/// What is written, and the names in it.
#[derive(Debug)]
struct Book {
    writer: Writer<Seen>,
    names: Names,
}

impl Book {
    fn new(limits: Limits) -> Self {
        Self {
            writer: Writer::new(limits),
            names: Names::default(),
        }
    }

    fn write(&mut self, observation: &Observation) {
        if self.writer.is_at_a_chunk() {
            self.names.clear();
        }
        let seen = Seen::of(observation, &mut self.names);
        let beyond = self.names.take_bytes();
        self.writer.push(seen, beyond);
    }
}

/// What readers know beyond the entries.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Facts {
    clock: Clock,
    rate: f64,
}

/// What was observed, for whoever asks.
#[derive(Clone, Debug)]
pub struct History {
    /// The entries.
    pub store: Store<Seen>,
    /// States of sockets, which are no part of them. Whoever waits for entries is woken for states, too.
    pub states: Store<Seen>,
    /// Name of this node.
    pub node: Arc<str>,
    /// Since when there is any.
    pub since: Mono,
    facts: watch::Receiver<Facts>,
}

impl Recorder {
    /// Keeps nothing yet.
    #[must_use]
    pub fn new(limits: Limits, clock: Clock, now: Mono) -> Self {
        Self {
            flows: Book::new(limits),
            states: Book::new(Limits {
                entries: limits.entries.min(STATES),
                bytes: limits.bytes.min(STATES_BYTES),
                age: limits.age,
            }),
            seconds: VecDeque::from([(now, 0)]),
            facts: watch::Sender::new(Facts { clock, rate: 0.0 }),
            since: now,
        }
    }

    /// For readers.
    #[must_use]
    pub fn history(&self, node: impl Into<Arc<str>>) -> History {
        History {
            store: self.flows.writer.store(),
            states: self.states.writer.store(),
            node: node.into(),
            since: self.since,
            facts: self.facts.subscribe(),
        }
    }

    /// Keeps an observation.
    pub fn record(&mut self, observation: &Observation) {
        match observation.what {
            What::TcpInfo(_) => self.states.write(observation),
            _ => self.flows.write(observation),
        }
    }

    /// Tells readers of what was kept since.
    pub fn publish(&mut self) {
        let more = self.states.writer.publish(false);
        self.flows.writer.publish(more);
    }

    /// Once a second: lets go of what is too old, and counts.
    pub fn second(&mut self, clock: Clock, now: Mono) {
        self.flows.writer.expire(now);
        self.states.writer.expire(now);
        let end = self.flows.writer.store.kept().end;
        self.seconds.push_back((now, end));
        while self.seconds.len() > 2
            && self
                .seconds
                .get(1)
                .is_some_and(|(at, _)| now.since(*at) >= MINUTE)
        {
            self.seconds.pop_front();
        }
        let rate = self.seconds.front().map_or(0.0, |(at, begin)| {
            let seconds = now.since(*at).as_secs_f64();
            if seconds > 0.0 {
                (end - begin) as f64 / seconds
            } else {
                0.0
            }
        });
        self.facts.send_if_modified(|facts| {
            let new = Facts { clock, rate };
            std::mem::replace(facts, new) != new
        });
    }
}

impl History {
    /// Turns the entries' time into wall-clock time.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.facts.borrow().clock
    }

    /// Flows a second, of the last minute.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.facts.borrow().rate
    }
}
