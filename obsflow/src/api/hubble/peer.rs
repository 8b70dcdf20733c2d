//! `peer.Peer`: who else serves flows.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status as Refusal};

use super::proto::peer::peer_server::Peer as Service;
use super::proto::peer::{ChangeNotification, ChangeNotificationType, NotifyRequest, Tls};

/// Streams served at a time on a socket: a relay has one.
const MAX_WATCHERS: usize = 64;
/// Changes that wait for a slow reader; it holds up nobody else.
const WAITING: usize = 64;

/// Where a node serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Address and port.
    pub address: String,
    /// The name that its certificate has, when it serves with TLS.
    pub server_name: Option<String>,
}

/// Nodes by name.
pub type Nodes = BTreeMap<Arc<str>, Place>;

/// Everybody who serves, this node among them: as they are now, and when that changes.
#[derive(Clone, Debug)]
pub struct Peers(watch::Receiver<Arc<Nodes>>);

impl Peers {
    /// Told by `nodes`.
    #[must_use]
    pub fn new(nodes: watch::Receiver<Arc<Nodes>>) -> Self {
        Self(nodes)
    }

    /// Where this node serves.
    #[must_use]
    pub fn own(&self, name: &str) -> Option<Place> {
        self.0.borrow().get(name).cloned()
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Peer {
    peers: Peers,
    watchers: Arc<Semaphore>,
}

impl Peer {
    /// Tells of these.
    #[must_use]
    pub fn new(peers: Peers) -> Self {
        Self {
            peers,
            watchers: Arc::new(Semaphore::new(MAX_WATCHERS)),
        }
    }

    /// The same for another socket: those who hear of peers there take nobody's place here.
    #[must_use]
    pub fn for_others(&self) -> Self {
        Self::new(self.peers.clone())
    }

    async fn tell(
        self,
        changes: mpsc::Sender<Result<ChangeNotification, Refusal>>,
        _permit: OwnedSemaphorePermit,
    ) {
        let mut nodes = self.peers.0;
        let mut told = Nodes::default();
        loop {
            let now = Arc::clone(&nodes.borrow_and_update());
            for change in differences(&mut told, &now) {
                if changes.send(Ok(change)).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                changed = nodes.changed() => if changed.is_err() { return },
                () = changes.closed() => return,
            }
        }
    }
}

/// What leads from what was told to what is; afterwards they are the same.
fn differences(told: &mut Nodes, now: &Nodes) -> Vec<ChangeNotification> {
    use ChangeNotificationType::{PeerAdded, PeerDeleted, PeerUpdated};
    let mut changes = Vec::new();
    told.retain(|name, place| {
        let stays = now.contains_key(name);
        if !stays {
            changes.push(change(name, place, PeerDeleted));
        }
        stays
    });
    for (name, place) in now {
        match told.entry(Arc::clone(name)) {
            Entry::Vacant(new) => {
                new.insert(place.clone());
                changes.push(change(name, place, PeerAdded));
            }
            Entry::Occupied(mut known) if known.get() != place => {
                known.insert(place.clone());
                changes.push(change(name, place, PeerUpdated));
            }
            Entry::Occupied(_) => {}
        }
    }
    changes
}

fn change(name: &str, place: &Place, kind: ChangeNotificationType) -> ChangeNotification {
    ChangeNotification {
        name: name.to_owned(),
        address: place.address.clone(),
        r#type: kind.into(),
        tls: place.server_name.as_ref().map(|name| Tls {
            server_name: name.clone(),
        }),
    }
}

#[tonic::async_trait]
impl Service for Peer {
    type NotifyStream = Pin<Box<dyn Stream<Item = Result<ChangeNotification, Refusal>> + Send>>;

    async fn notify(&self, _: Request<NotifyRequest>) -> Result<Response<Self::NotifyStream>, Refusal> {
        let permit = Arc::clone(&self.watchers).try_acquire_owned().map_err(|_| {
            Refusal::resource_exhausted(format!(
                "{MAX_WATCHERS} others hear of peers already, and more are not served; end one of them"
            ))
        })?;
        let (changes, receiver) = mpsc::channel(WAITING);
        tokio::spawn(self.clone().tell(changes, permit));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;
