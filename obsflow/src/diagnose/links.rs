//! Which destination each open socket belongs to, by its cookie.

use std::collections::VecDeque;

use foldhash::{HashMap, HashMapExt};

/// An open socket of an exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// The container's slot, and which of the containers that had it.
    pub(super) slot: u32,
    pub(super) generation: u32,
    /// Index of the destination.
    pub(super) to: u8,
    /// Payload seen so far, as the kernel counts it.
    pub(super) bytes_acked: u64,
    pub(super) bytes_received: u64,
    /// A handshake of TLS came through on it.
    pub(super) is_tls: bool,
}

/// Bounded: when it is full, the socket that was added first is forgotten; what is seen of it later is joined by its
/// addresses again.
#[derive(Debug)]
pub(super) struct Links {
    by_cookie: HashMap<u64, Link>,
    order: VecDeque<u64>,
    capacity: usize,
}

impl Links {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            by_cookie: HashMap::new(),
            order: VecDeque::new(),
            capacity: capacity.max(1),
        }
    }

    pub(super) fn get(&self, cookie: u64) -> Option<Link> {
        self.by_cookie.get(&cookie).copied()
    }

    pub(super) fn get_mut(&mut self, cookie: u64) -> Option<&mut Link> {
        self.by_cookie.get_mut(&cookie)
    }

    pub(super) fn insert(&mut self, cookie: u64, slot: u32, generation: u32, to: u8) {
        if cookie == 0 {
            return;
        }
        while self.by_cookie.len() >= self.capacity {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            self.by_cookie.remove(&oldest);
        }
        let link = Link {
            slot,
            generation,
            to,
            bytes_acked: 0,
            bytes_received: 0,
            is_tls: false,
        };
        if self.by_cookie.insert(cookie, link).is_none() {
            self.order.push_back(cookie);
        }
        if self.order.len() > 2 * self.by_cookie.len() + 64 {
            let known = &self.by_cookie;
            self.order.retain(|cookie| known.contains_key(cookie));
        }
    }

    pub(super) fn remove(&mut self, cookie: u64) -> Option<Link> {
        self.by_cookie.remove(&cookie)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_cookie.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_so_many_and_no_more() {
        let mut links = Links::new(10);
        for cookie in 1..=1000 {
            links.insert(cookie, 0, 0, 0);
            if cookie % 3 == 0 {
                links.remove(cookie);
            }
        }
        assert!(links.len() <= 10);
        assert!(links.order.len() <= 84, "{}", links.order.len());
        assert!(links.get(1000).is_some());
        assert!(links.get(1).is_none());
    }
}
