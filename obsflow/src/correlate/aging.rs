//! A map of bounded size whose entries grow old.

use std::collections::VecDeque;
use std::hash::Hash;

use foldhash::{HashMap, HashMapExt};

use crate::model::time::Mono;

/// Keys and values, each until a deadline. When it is full, the entry that was set longest ago goes, and is counted.
#[derive(Debug)]
pub(super) struct Aging<K, V> {
    map: HashMap<K, Entry<V>>,
    /// Deadlines in order of setting; entries whose serial is not the map's are stale.
    queue: VecDeque<(Mono, K, u64)>,
    serial: u64,
    capacity: usize,
    forgotten: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    deadline: Mono,
    serial: u64,
}

impl<K: Hash + Eq + Clone, V> Aging<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            map: HashMap::new(),
            queue: VecDeque::new(),
            serial: 0,
            capacity: capacity.max(1),
            forgotten: 0,
        }
    }

    /// Sets `key`; gives what had to go for it.
    pub(super) fn insert(&mut self, key: K, value: V, deadline: Mono) -> Option<V> {
        let mut gone = None;
        if self.map.len() >= self.capacity && !self.map.contains_key(&key) {
            gone = self.pop_oldest();
            self.forgotten += u64::from(gone.is_some());
        }
        self.serial += 1;
        let serial = self.serial;
        self.map.insert(
            key.clone(),
            Entry {
                value,
                deadline,
                serial,
            },
        );
        self.queue.push_back((deadline, key, serial));
        self.compact();
        gone
    }

    /// The value, unless it is past its deadline.
    pub(super) fn get(&self, key: &K, now: Mono) -> Option<&V> {
        self.map.get(key).filter(|e| e.deadline >= now).map(|e| &e.value)
    }

    /// The value, whatever its age.
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.map.get_mut(key).map(|e| &mut e.value)
    }

    /// Gives an entry a later deadline without making it younger in the order of going. False when there is none.
    pub(super) fn prolong(&mut self, key: &K, deadline: Mono) -> bool {
        match self.map.get_mut(key) {
            Some(entry) => {
                entry.deadline = entry.deadline.max(deadline);
                true
            }
            None => false,
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let value = self.map.remove(key).map(|e| e.value);
        self.compact();
        value
    }

    /// Removes what is past its deadline, as far as it is at the head of the order of setting.
    pub(super) fn expire(&mut self, now: Mono) {
        while let Some((deadline, key, serial)) = self.queue.front() {
            match self.map.get_mut(key) {
                Some(entry) if entry.serial == *serial => {
                    if *deadline >= now {
                        return;
                    }
                    if entry.deadline >= now {
                        // Prolonged since: to the back.
                        let deadline = entry.deadline;
                        if let Some((_, key, serial)) = self.queue.pop_front() {
                            self.queue.push_back((deadline, key, serial));
                        }
                        continue;
                    }
                    self.map.remove(key);
                }
                _ => {}
            }
            self.queue.pop_front();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// Entries that went because there was no room.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn pop_oldest(&mut self) -> Option<V> {
        while let Some((_, key, serial)) = self.queue.pop_front() {
            if self.map.get(&key).is_some_and(|e| e.serial == serial) {
                return self.map.remove(&key).map(|e| e.value);
            }
        }
        None
    }

    /// Keeps the queue within twice the map, so that removing is not a leak.
    fn compact(&mut self) {
        if self.queue.len() > 2 * self.map.len() + 64 {
            let map = &self.map;
            self.queue
                .retain(|(_, key, serial)| map.get(key).is_some_and(|e| e.serial == *serial));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono(0).after(Duration::from_secs(seconds))
    }

    #[test]
    fn the_oldest_goes_when_it_is_full() {
        let mut map = Aging::new(2);
        assert_eq!(map.insert("a", 1, at(9)), None);
        assert_eq!(map.insert("b", 2, at(9)), None);
        assert_eq!(map.insert("a", 3, at(9)), None);
        assert_eq!(map.insert("c", 4, at(9)), Some(2));
        assert_eq!(map.get(&"a", at(1)), Some(&3));
        assert_eq!(map.forgotten(), 1);
    }

    #[test]
    fn deadlines_end_entries() {
        let mut map = Aging::new(10);
        map.insert("a", 1, at(5));
        map.insert("b", 2, at(5));
        assert_eq!(map.get(&"a", at(6)), None);
        assert!(map.prolong(&"a", at(20)));
        map.expire(at(6));
        assert_eq!(map.len(), 1);
        assert_eq!(map.get(&"a", at(6)), Some(&1));
        map.expire(at(21));
        assert_eq!(map.len(), 0);
    }

    #[test]
    fn setting_again_and_again_holds_no_memory() {
        let mut map = Aging::new(10);
        for n in 0..10_000u32 {
            map.insert("a", n, at(5));
            map.insert("b", n, at(5));
            map.remove(&"b");
        }
        assert!(map.queue.len() <= 70, "{}", map.queue.len());
    }
}
