//! The Kubernetes API.
//!
//! The crate `kube` finds the server, proves who we are and speaks TLS; lists and watches are made here, because obsflow wants
//! of them what its `watcher` does not do: to count watches that end too soon and to wait before the next one, to give up a
//! list that hangs, to heed `Retry-After`, and to cut objects down to what is used while they are decoded.

mod access;
pub(super) mod addresses;
pub(crate) mod client;
mod injection;
pub(super) mod injector;
pub(super) mod owners;
pub(super) mod pods;
mod request;
pub(super) mod resource;
pub(super) mod surroundings;
mod wait;
mod watch;
mod wire;
mod write;

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;

use super::Job;
use super::board::Board;

pub(super) use access::Access;
pub(crate) use access::Api;
pub use access::KubeconfigError;
pub(crate) use access::check;
pub(crate) use request::ApiError;

/// Between two tries to read what leads to the API server.
const AGAIN: Duration = Duration::from_secs(30);

/// Starts everything that asks the API server.
pub(super) fn spawn(local: &LocalSet, access: Access, board: &Rc<Board>, mut jobs: Receiver<Job>) {
    let board = Rc::clone(board);
    local.spawn_local(async move {
        let mut said = false;
        let api = loop {
            match access.connect().await {
                Ok(api) => break Rc::new(api),
                Err(error) => {
                    if !std::mem::replace(&mut said, true) {
                        tracing::warn!(
                            "the Kubernetes API is not asked: {error}; obsflow tries again every {AGAIN:?}"
                        );
                    }
                    sleep(AGAIN).await;
                }
            }
        };
        tracing::info!("asking the Kubernetes API at {} about node {}", api.url, api.node);
        let others = Rc::clone(&api);
        spawn_local(async move {
            while let Some(job) = jobs.recv().await {
                spawn_local(job(Rc::clone(&others)));
            }
        });
        let follow = (
            watch::follow::<pods::PodWatch>(&api, &board),
            watch::follow::<addresses::ServiceWatch>(&api, &board),
            watch::follow::<addresses::SliceWatch>(&api, &board),
            watch::follow::<surroundings::NodeWatch>(&api, &board),
            watch::follow::<surroundings::NamespaceWatch>(&api, &board),
            watch::follow::<injector::WebhookWatch>(&api, &board),
            owners::follow(&api, &board),
        );
        tokio::join!(
            follow.0, follow.1, follow.2, follow.3, follow.4, follow.5, follow.6
        );
    });
}
