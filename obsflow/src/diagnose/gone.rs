//! What is gone, for as long as something may still be seen of it: sockets are closed after their process ended, look-ups
//! time out, and what was read of it may be said late.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};

use crate::model::expectation::ContainerKey;
use crate::model::observation::Observation;
use crate::model::time::Mono;

/// A socket that nobody holds any more is given up by the kernel after a little less than two minutes
/// (`net.ipv4.tcp_orphan_retries`).
const REMEMBERED: Duration = Duration::from_mins(5);

/// By what a container is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    Key(Arc<str>),
    Cgroup(u64),
}

/// Bounded: when it is full, what went first is forgotten.
#[derive(Debug)]
pub(super) struct Gone {
    since: HashMap<Name, Mono>,
    order: VecDeque<Name>,
    capacity: usize,
}

impl Gone {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            since: HashMap::new(),
            order: VecDeque::new(),
            capacity: capacity.max(1),
        }
    }

    pub(super) fn container(&mut self, key: &ContainerKey, at: Mono) {
        self.remember(Name::Key(Arc::clone(&key.0)), at);
    }

    pub(super) fn cgroup(&mut self, cgroup: u64, at: Mono) {
        if cgroup != 0 {
            self.remember(Name::Cgroup(cgroup), at);
        }
    }

    fn remember(&mut self, name: Name, at: Mono) {
        if let Some(since) = self.since.get_mut(&name) {
            *since = at.max(*since);
            return;
        }
        while self.order.len() >= self.capacity {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            self.since.remove(&oldest);
        }
        self.order.push_back(name.clone());
        self.since.insert(name, at);
    }

    /// A process began in it: it is back if that was after it went. Units and containers of Docker keep their name.
    pub(super) fn began(&mut self, key: Option<&ContainerKey>, cgroup: u64, at: Mono) {
        if self.since.is_empty() {
            return;
        }
        let names = [
            key.map(|key| Name::Key(Arc::clone(&key.0))),
            Some(Name::Cgroup(cgroup)),
        ];
        for name in names.into_iter().flatten() {
            if self.since.get(&name).is_some_and(|since| at > *since) {
                self.since.remove(&name);
                self.order.retain(|other| *other != name);
            }
        }
    }

    /// Whether a container is gone.
    pub(super) fn has(&self, key: &ContainerKey) -> bool {
        self.since.contains_key(&Name::Key(Arc::clone(&key.0)))
    }

    /// Whether an observation is of something gone.
    pub(super) fn is_of(&self, observation: &Observation, key: &ContainerKey) -> bool {
        !self.since.is_empty()
            && (self.since.contains_key(&Name::Cgroup(observation.cgroup)) || self.has(key))
    }

    /// Forgets what nothing can come of any more.
    pub(super) fn tick(&mut self, now: Mono) {
        while let Some(oldest) = self.order.front() {
            let since = self.since.get(oldest);
            if since.is_some_and(|since| now.since(*since) < REMEMBERED) {
                break;
            }
            if let Some(name) = self.order.pop_front() {
                self.since.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_forgotten_in_time_and_when_there_are_too_many() {
        let key = |name: &str| ContainerKey(Arc::from(name));
        let mut gone = Gone::new(2);
        for (at, name) in ["a", "b", "a", "c"].into_iter().enumerate() {
            gone.container(&key(name), Mono(at as u64));
        }
        assert!(!gone.has(&key("a")) && gone.has(&key("b")) && gone.has(&key("c")));
        gone.began(Some(&key("c")), 7, Mono(3));
        assert!(gone.has(&key("c")), "that process was one of before");
        gone.began(Some(&key("c")), 7, Mono(4));
        assert!(!gone.has(&key("c")));
        gone.tick(Mono(1).after(REMEMBERED));
        assert!(!gone.has(&key("b")));
        assert!(gone.order.is_empty());
    }
}
