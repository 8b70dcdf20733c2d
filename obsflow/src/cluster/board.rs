//! What the sources know, and when it is published.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::cri;
use super::health::Watches;
use super::kube::addresses::AddressStore;
use super::kube::injector::Injectors;
use super::kube::owners::Owners;
use super::kube::pods::PodStore;
use super::kube::surroundings::SurroundingStore;
use super::names::Names;
use crate::model::cluster::{Cluster, Surroundings};

/// Between two snapshots while things change.
const PACE: Duration = Duration::from_millis(150);
/// The part of the time that making snapshots may take: a large cluster's are made less often.
const SHARE: u32 = 20;
/// How often snapshots that somebody still used are looked at again.
const RETIRED: Duration = Duration::from_millis(100);

/// Everything that is known.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Names in use.
    pub(super) names: Names,
    /// This node's pods.
    pub(super) pods: PodStore,
    /// Services and their endpoints.
    pub(super) addresses: AddressStore,
    /// Nodes and namespaces.
    pub(super) surroundings: SurroundingStore,
    /// Who injects.
    pub(super) injectors: Injectors,
    /// What runs this node's pods.
    pub(super) owners: Owners,
    /// What the container runtime says.
    pub(super) runtime: cri::Source,
    /// How the watches are.
    pub(super) watches: Watches,
    /// What changed since the last snapshot.
    pub(super) dirty: Dirty,
}

/// Parts of a snapshot that have to be made anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dirty {
    /// See [`Cluster::pods`].
    pub(super) pods: bool,
    /// See [`Cluster::addresses`].
    pub(super) addresses: bool,
    /// See [`Cluster::surroundings`].
    pub(super) surroundings: bool,
    /// See [`Cluster::watches`].
    pub(super) watches: bool,
}

/// The one place of the thread that sources write to.
#[derive(Debug)]
pub(super) struct Board {
    state: RefCell<State>,
    /// Something is dirty.
    changed: Notify,
    /// Pods came or went: their owners have to be looked at.
    pub(super) pods_changed: Notify,
    /// A watch has another state.
    pub(super) health_changed: Notify,
    publisher: watch::Sender<Arc<Cluster>>,
    /// Snapshots that were replaced while somebody used them.
    retired: RefCell<Vec<Arc<Cluster>>>,
}

impl Board {
    pub(super) fn new(publisher: watch::Sender<Arc<Cluster>>) -> Self {
        Self {
            state: RefCell::default(),
            changed: Notify::new(),
            pods_changed: Notify::new(),
            health_changed: Notify::new(),
            publisher,
            retired: RefCell::default(),
        }
    }

    /// Changes or looks at what is known; what became dirty is published soon.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.borrow_mut();
        let before = state.dirty;
        let out = work(&mut state);
        if state.dirty != before {
            self.changed.notify_one();
        }
        if state.dirty.pods && !before.pods {
            self.pods_changed.notify_one();
        }
        if state.dirty.watches && !before.watches {
            self.health_changed.notify_one();
        }
        out
    }

    /// Makes what is dirty anew and publishes it; addresses only when it is their turn. Whether they were.
    fn publish(&self, with_addresses: bool) -> bool {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let mut dirty = std::mem::take(&mut state.dirty);
        if !with_addresses {
            state.dirty.addresses = std::mem::take(&mut dirty.addresses);
        }
        if dirty == Dirty::default() {
            return false;
        }
        let mut next = Cluster::clone(&self.publisher.borrow());
        if dirty.pods {
            next.pods = Arc::new(cri::merge(state.pods.all(), state.runtime.latest()));
        }
        if dirty.addresses {
            next.addresses = Arc::new(state.addresses.build(&next.addresses));
        }
        if dirty.surroundings {
            next.surroundings = Arc::new(Surroundings {
                owners: state.owners.annotated(),
                injector: state.injectors.since(),
                ..state.surroundings.build()
            });
        }
        next.watches = state.watches.shown();
        next.watches.extend(state.runtime.watch());
        let old = self.publisher.send_replace(Arc::new(next));
        self.retired.borrow_mut().push(old);
        self.release();
        dirty.addresses
    }

    fn waits_for_addresses(&self) -> bool {
        self.state.borrow().dirty.addresses
    }

    /// Gives back what nobody uses any more. Whether there is more.
    fn release(&self) -> bool {
        let mut retired = self.retired.borrow_mut();
        // Nobody can take one of these anew: a count of one stays one.
        retired.retain(|cluster| Arc::strong_count(cluster) > 1);
        !retired.is_empty()
    }
}

/// Publishes what changes: at once after a quiet time, else at a pace. Addresses of a large cluster take long and are made less
/// often; pods do not wait for them.
pub(super) async fn publish(board: Rc<Board>) {
    let mut next = Instant::now();
    let mut addresses = next;
    loop {
        // A node may be quiet for hours: that a pod is to be forgotten is a change as well.
        let end = board.state.borrow().pods.next_end();
        tokio::select! {
            () = board.changed.notified() => {}
            () = sleep_until(addresses), if board.waits_for_addresses() => {}
            () = sleep_until(end.unwrap_or(next)), if end.is_some() => board.with(|state| state.dirty.pods = true),
            () = sleep(RETIRED), if !board.retired.borrow().is_empty() => {
                board.release();
                continue;
            }
        }
        sleep_until(next).await;
        let began = Instant::now();
        let made_addresses = board.publish(began >= addresses);
        let ended = Instant::now();
        let pause = PACE.max((ended - began) * SHARE);
        if made_addresses {
            addresses = ended + pause;
            next = ended + PACE;
        } else {
            next = ended + pause;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::super::kube::pods::LINGER;
    use super::*;
    use crate::model::cluster::Pod;

    #[test]
    fn a_snapshot_in_use_is_kept_until_it_is_not() {
        let (publisher, mut latest) = watch::channel(Arc::new(Cluster::default()));
        let board = Board::new(publisher);
        let used = Arc::clone(&latest.borrow_and_update());
        board.with(|state| state.dirty.pods = true);
        assert!(!board.publish(true));
        assert!(latest.has_changed().unwrap());
        assert_eq!(board.retired.borrow().len(), 1);
        let newer = Arc::clone(&latest.borrow_and_update());
        assert!(!Arc::ptr_eq(&used.pods, &newer.pods));
        // What did not change is shared.
        assert!(Arc::ptr_eq(&used.addresses, &newer.addresses));
        drop(used);
        assert!(!board.release());
        board.publish(true);
        assert!(!latest.has_changed().unwrap(), "nothing was dirty");
    }

    #[tokio::test]
    async fn a_pod_that_was_deleted_is_forgotten_when_nothing_else_happens() {
        let (publisher, mut latest) = watch::channel(Arc::new(Cluster::default()));
        let board = Rc::new(Board::new(publisher));
        let ago = LINGER - Duration::from_millis(20);
        board
            .state
            .borrow_mut()
            .pods
            .linger(Pod::default(), Instant::now() - ago);
        let seen = async {
            latest.changed().await.unwrap();
            assert!(latest.borrow_and_update().pods.is_empty());
        };
        tokio::select! {
            () = publish(board) => {}
            seen = timeout(Duration::from_secs(40), seen) => seen.unwrap(),
        }
    }

    #[test]
    fn pods_do_not_wait_for_addresses() {
        let (publisher, mut latest) = watch::channel(Arc::new(Cluster::default()));
        let board = Board::new(publisher);
        let before = Arc::clone(&latest.borrow_and_update());
        board.with(|state| (state.dirty.pods, state.dirty.addresses) = (true, true));
        assert!(!board.publish(false));
        let pods = Arc::clone(&latest.borrow_and_update());
        assert!(!Arc::ptr_eq(&before.pods, &pods.pods));
        assert!(Arc::ptr_eq(&before.addresses, &pods.addresses));
        assert!(board.waits_for_addresses());
        assert!(board.publish(true));
        let all = Arc::clone(&latest.borrow_and_update());
        assert!(Arc::ptr_eq(&pods.pods, &all.pods));
        assert!(!Arc::ptr_eq(&pods.addresses, &all.addresses));
        assert!(!board.waits_for_addresses());
    }
}
