//! Places of the connections of one listener. When all are taken, whoever comes gets the place of the connection that has asked
//! nothing for longest, and of those that never asked anything first: no silence holds a place that somebody else needs.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::Instant;

use tokio::sync::oneshot;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Places {
    max: usize,
    guests: Arc<Mutex<Guests>>,
}

#[derive(Debug, Default)]
struct Guests {
    next: u64,
    by_id: BTreeMap<u64, Guest>,
}

/// A connection.
#[derive(Debug)]
struct Guest {
    /// Calls that are not answered to their end.
    calls: usize,
    has_called: bool,
    /// When the last call ended, or the connection came.
    since: Instant,
    /// Tells the connection by going.
    _stays: oneshot::Sender<()>,
}

impl Places {
    /// So many of them.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            guests: Arc::default(),
        }
    }

    /// A place for a connection, and whether somebody has to leave for it; none when every other one has a call.
    pub(super) fn take(&self) -> Option<(Place, bool)> {
        let mut guests = self.guests();
        let is_full = guests.by_id.len() >= self.max;
        if is_full {
            let idle = guests.by_id.iter().filter(|(_, guest)| guest.calls == 0);
            let longest = idle.min_by_key(|(_, guest)| (guest.has_called, guest.since));
            let id = longest.map(|(id, _)| *id)?;
            guests.by_id.remove(&id);
        }
        let id = guests.next;
        guests.next += 1;
        let (stays, leave) = oneshot::channel();
        let guest = Guest {
            calls: 0,
            has_called: false,
            since: Instant::now(),
            _stays: stays,
        };
        guests.by_id.insert(id, guest);
        drop(guests);
        let calls = Calls {
            places: self.clone(),
            id,
        };
        let leave = Some(leave);
        Some((Place { calls, leave }, is_full))
    }

    fn guests(&self) -> MutexGuard<'_, Guests> {
        // Nobody leaves it half-changed.
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place, until it goes.
#[derive(Debug)]
pub(super) struct Place {
    calls: Calls,
    /// Until it is over.
    leave: Option<oneshot::Receiver<()>>,
}

impl Place {
    /// Whether somebody else has this place by now; the task is woken when it comes to that.
    pub(super) fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(leave) = &mut self.leave
            && Pin::new(leave).poll(cx).is_ready()
        {
            self.leave = None;
        }
        self.leave.is_none()
    }

    /// For the calls of this connection.
    pub(super) fn calls(&self) -> Calls {
        self.calls.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.calls.places.guests().by_id.remove(&self.calls.id);
    }
}

/// Notes the calls of a connection.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    places: Places,
    id: u64,
}

impl Calls {
    /// A call that begins now.
    pub(super) fn begin(&self) -> Call {
        self.change(|guest| {
            guest.calls += 1;
            guest.has_called = true;
        });
        Call(self.clone())
    }

    fn change(&self, change: impl FnOnce(&mut Guest)) {
        if let Some(guest) = self.places.guests().by_id.get_mut(&self.id) {
            change(guest);
        }
    }
}

/// A call; it ends with this.
#[derive(Debug)]
pub(super) struct Call(Calls);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.change(|guest| {
            guest.calls = guest.calls.saturating_sub(1);
            guest.since = Instant::now();
        });
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn is_over(place: &mut Place) -> bool {
        place.is_over(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn who_asked_nothing_for_longest_leaves() {
        let places = Places::new(3);
        let take = || places.take().unwrap();
        let [mut first, mut second, mut third] = [take(), take(), take()].map(|(place, leaves)| {
            assert!(!leaves);
            place
        });
        // The first has asked before, the second asks, the third never did.
        drop(first.calls().begin());
        let call = second.calls().begin();
        let (mut fourth, leaves) = take();
        assert!(leaves && is_over(&mut third));
        assert!(
            ![&mut first, &mut second, &mut fourth]
                .map(is_over)
                .contains(&true)
        );
        drop(third);
        let other = fourth.calls().begin();
        let (mut fifth, _) = take();
        assert!(is_over(&mut first) && !is_over(&mut fifth));
        drop(first);
        // Two calls of one connection: it has one until both are over.
        let more = [fifth.calls().begin(), fifth.calls().begin()];
        assert!(places.take().is_none());
        let [one, another] = more;
        drop(one);
        assert!(places.take().is_none());
        drop((call, another));
        // The second asks nothing for a little longer than the fifth.
        let (_sixth, _) = take();
        assert!(is_over(&mut second) && !is_over(&mut fifth));
        drop((other, second, fourth));
        assert!(!take().1);
    }
}
