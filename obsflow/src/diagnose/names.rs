//! Names that resolved lately for anybody on this node, and to what.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use crate::model::time::Mono;

/// Addresses kept of a name.
const MAX_IPS: usize = 8;

/// A name that resolved.
#[derive(Clone, Debug)]
pub(super) struct Name {
    pub(super) ips: Vec<IpAddr>,
    pub(super) at: Mono,
}

/// Bounded: when it is full, the name that was learned first is forgotten.
#[derive(Debug)]
pub(super) struct Names {
    known: HashMap<Arc<str>, Name>,
    order: VecDeque<Arc<str>>,
    capacity: usize,
}

impl Names {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            known: HashMap::new(),
            order: VecDeque::new(),
            capacity: capacity.max(1),
        }
    }

    /// A search gave `ips` for `name`.
    pub(super) fn learn(&mut self, name: &Arc<str>, ips: &[IpAddr], at: Mono) {
        let fresh = ips.iter().map(IpAddr::to_canonical).take(MAX_IPS);
        if let Some(known) = self.known.get_mut(&**name) {
            known.at = at;
            if !known.ips.iter().copied().eq(fresh.clone()) {
                known.ips = fresh.collect();
            }
            return;
        }
        while self.known.len() >= self.capacity {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            self.known.remove(&oldest);
        }
        self.order.push_back(Arc::clone(name));
        let ips = fresh.collect();
        self.known.insert(Arc::clone(name), Name { ips, at });
    }

    pub(super) fn get(&self, name: &str) -> Option<&Name> {
        self.known.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Name)> {
        self.known.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_learned_first_is_forgotten_first() {
        let mut names = Names::new(2);
        let ip: IpAddr = "10.0.0.1".parse().unwrap();
        for (at, name) in ["a", "b", "a", "c"].into_iter().enumerate() {
            names.learn(&Arc::from(name), &[ip], Mono(at as u64));
        }
        assert!(names.get("a").is_none());
        assert_eq!(names.get("b").unwrap().at, Mono(1));
        assert_eq!(names.get("c").unwrap().ips, [ip]);
    }
}
