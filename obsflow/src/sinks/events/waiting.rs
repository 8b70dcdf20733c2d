//! Events that could not be written yet. What is wrong in one namespace - a webhook that fails, an object that stays in the
//! way - holds up that namespace alone: one of its Events is tried at a time, each time another one, and less and less often.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt as _};
use tokio::time::Instant;

use super::order::Order;

/// Between two tries, the first time and at the most.
pub(super) const BACKOFF: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// After this an Event that cannot be written is left out.
pub(super) const PATIENCE: Duration = Duration::from_mins(5);
/// Events that wait here at the most.
const MAX: usize = 512;

/// An Event and since when it is to be written.
#[derive(Debug)]
pub(super) struct Late {
    pub(super) order: Order,
    pub(super) since: Instant,
}

/// Waits longer and longer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff(u32);

impl Backoff {
    /// How long to wait next, at least as long as the server asks.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let [first, longest] = BACKOFF;
        let wait = first.saturating_mul(1 << self.0.min(16)).min(longest);
        self.0 += 1;
        asked.map_or(wait, |asked| asked.max(wait))
    }
}

/// A namespace that takes none.
#[derive(Debug)]
struct Trouble {
    until: Instant,
    backoff: Backoff,
}

/// Those that wait, in the order in which they are tried.
#[derive(Debug)]
pub(super) struct Waiting {
    late: VecDeque<Late>,
    /// By namespace; none without an Event that waits.
    trouble: HashMap<Arc<str>, Trouble>,
}

fn namespace(order: &Order) -> &Arc<str> {
    &order.event.metadata.namespace
}

impl Waiting {
    pub(super) fn new() -> Self {
        Self {
            late: VecDeque::new(),
            trouble: HashMap::new(),
        }
    }

    /// Whether an Event that comes now has to wait: its namespace takes none, or what it is the end of waits.
    pub(super) fn concerns(&self, order: &Order, now: Instant) -> bool {
        self.due(order) > Some(now) || self.is_ahead(order)
    }

    /// Has one wait. The one that is left out for want of room: the oldest.
    pub(super) fn put(&mut self, late: Late) -> Option<Order> {
        self.late.push_back(late);
        if self.late.len() <= MAX {
            return None;
        }
        let oldest = (0..self.late.len()).min_by_key(|at| self.late[*at].since);
        let left_out = oldest.and_then(|at| self.late.remove(at));
        self.forget();
        left_out.map(|late| late.order)
    }

    /// One that failed for a reason of its namespace's. Those of it that are left out, because they waited for too long.
    pub(super) fn failed(&mut self, late: Late, asked: Option<Duration>, now: Instant) -> Vec<Order> {
        let of = Arc::clone(namespace(&late.order));
        let trouble = self.trouble.entry(Arc::clone(&of)).or_insert_with(|| Trouble {
            until: now,
            backoff: Backoff::default(),
        });
        trouble.until = now + trouble.backoff.next(asked);
        let no_room = self.put(late);
        let mut left_out = self.give_up(now, |order| *namespace(order) == of);
        left_out.extend(no_room);
        left_out
    }

    /// One that failed because the server is away is the next one again. Those that are left out.
    pub(super) fn first(&mut self, late: Late, now: Instant) -> Vec<Order> {
        self.late.push_front(late);
        self.give_up(now, |_| true)
    }

    /// A namespace takes them.
    pub(super) fn works(&mut self, order: &Order) {
        self.trouble.remove(namespace(order));
    }

    /// The next one to try.
    pub(super) fn take(&mut self, now: Instant) -> Option<Late> {
        let is_next =
            |late: &Late| self.due(&late.order).is_none_or(|due| due <= now) && !self.is_ahead(&late.order);
        let at = self.late.iter().position(is_next)?;
        self.late.remove(at)
    }

    /// When there will be one to try.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let dues = self.late.iter().map(|late| self.due(&late.order).unwrap_or(now));
        dues.min()
    }

    /// Until when nothing is written into its namespace.
    fn due(&self, order: &Order) -> Option<Instant> {
        self.trouble.get(namespace(order)).map(|trouble| trouble.until)
    }

    /// Whether what it is the end of still waits.
    fn is_ahead(&self, order: &Order) -> bool {
        let waits = |begun: &Arc<str>| {
            self.late
                .iter()
                .any(|late| late.order.event.metadata.name == *begun)
        };
        order.ends.as_ref().is_some_and(waits)
    }

    fn give_up(&mut self, now: Instant, of: impl Fn(&Order) -> bool) -> Vec<Order> {
        let is_too_late = |late: &Late| now.duration_since(late.since) >= PATIENCE && of(&late.order);
        let (left_out, late): (VecDeque<Late>, _) = self.late.drain(..).partition(is_too_late);
        self.late = late;
        self.forget();
        left_out.into_iter().map(|late| late.order).collect()
    }

    fn forget(&mut self) {
        let late = &self.late;
        self.trouble
            .retain(|of, _| late.iter().any(|late| namespace(&late.order) == of));
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::order::{Event, Subject};
    use super::*;

    fn order(namespace: &str, name: &str) -> Order {
        let subject = Subject {
            namespace: namespace.into(),
            pod: "p".into(),
            uid: "u".into(),
            container: None,
        };
        let words = ("Warning", "TelemetryRefused".to_owned(), String::new());
        Order {
            event: Event::new(&subject, name.into(), words, Timestamp::UNIX_EPOCH, "n"),
            again: None,
            ends: None,
        }
    }

    fn late(namespace: &str, name: &str, since: Instant) -> Late {
        let order = order(namespace, name);
        Late { order, since }
    }

    fn taken(waiting: &mut Waiting, now: Instant) -> Option<String> {
        let late = waiting.take(now)?;
        Some(late.order.event.metadata.name.to_string())
    }

    #[test]
    fn a_namespace_waits_alone_longer_and_longer_and_each_of_its_events_has_its_turn() {
        let [first, longest] = BACKOFF;
        let began = Instant::now();
        let mut waiting = Waiting::new();
        assert!(waiting.failed(late("bad", "a", began), None, began).is_empty());
        assert!(waiting.concerns(&order("bad", "b"), began));
        assert!(!waiting.concerns(&order("good", "c"), began));
        assert!(waiting.put(late("bad", "b", began)).is_none());
        assert_eq!(
            (waiting.next(began), taken(&mut waiting, began)),
            (Some(began + first), None)
        );
        let now = began + first;
        let a = waiting.take(now).unwrap();
        assert!(waiting.failed(a, None, now).is_empty());
        assert_eq!(waiting.next(now), Some(now + first * 2));
        // The server's word counts.
        let now = now + first * 2;
        let b = waiting.take(now).unwrap();
        assert_eq!(&*b.order.event.metadata.name, "b");
        waiting.failed(b, Some(longest * 2), now);
        assert_eq!(waiting.next(now), Some(now + longest * 2));
        let now = now + longest * 2;
        let a = waiting.take(now).unwrap();
        waiting.works(&a.order);
        assert_eq!(taken(&mut waiting, now).as_deref(), Some("b"));
        assert_eq!(waiting.next(now), None);
    }

    #[test]
    fn what_waited_for_too_long_is_left_out_when_its_namespace_fails_once_more() {
        let began = Instant::now();
        let mut waiting = Waiting::new();
        waiting.failed(late("bad", "a", began), None, began);
        waiting.put(late("bad", "b", began + PATIENCE / 2));
        waiting.put(late("other", "c", began));
        let now = began + PATIENCE;
        let a = waiting.take(now).unwrap();
        let left_out = waiting.failed(a, None, now);
        assert_eq!(left_out, [order("bad", "a")]);
        assert_eq!(taken(&mut waiting, now).as_deref(), Some("c"));
        assert_eq!(taken(&mut waiting, now), None);
        // A server that is away: of every namespace.
        let now = began + PATIENCE * 2;
        let left_out = waiting.first(late("good", "d", now), now);
        assert_eq!(left_out, [order("bad", "b")]);
        assert_eq!(taken(&mut waiting, now).as_deref(), Some("d"));
        assert!(waiting.trouble.is_empty());
    }

    #[test]
    fn an_end_comes_after_its_beginning() {
        let began = Instant::now();
        let mut waiting = Waiting::new();
        let mut end = order("bad", "end");
        end.ends = Some("begin".into());
        waiting.put(Late {
            order: end,
            since: began,
        });
        waiting.put(late("bad", "begin", began));
        let mut another = order("bad", "another");
        another.ends = Some("begin".into());
        assert!(waiting.concerns(&another, began));
        assert_eq!(taken(&mut waiting, began).as_deref(), Some("begin"));
        assert_eq!(taken(&mut waiting, began).as_deref(), Some("end"));
        assert!(!waiting.concerns(&another, began));
    }

    #[test]
    fn there_is_room_for_so_many() {
        let began = Instant::now();
        let mut waiting = Waiting::new();
        for at in 0..MAX {
            let since = began + Duration::from_millis(at as u64);
            assert!(waiting.put(late("bad", &at.to_string(), since)).is_none());
        }
        assert_eq!(
            waiting.put(late("bad", "new", began + PATIENCE)),
            Some(order("bad", "0"))
        );
    }
}
