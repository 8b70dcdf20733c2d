//! The container runtime (containerd, CRI-O, Docker by cri-dockerd): names of this node's pods and containers, by the Container
//! Runtime Interface.
//!
//! It knows a container's id before the Kubernetes API does, names every container of a pod, and is there without a cluster's
//! permission. It is asked when a container is seen that nobody knows, and every half a minute. `GetContainerEvents` would say at
//! once, but containerd before 2.0 hands each event to one listener only, which would take them from the kubelet.

mod client;
mod follow;
mod merge;
mod pods;

use std::path::PathBuf;
use std::sync::Arc;

use crate::model::cluster::{Pod, Watch, WatchState};

pub(super) use follow::{Report, follow};
pub(super) use merge::merge;

/// What `proto/runtime/v1/cri.proto` generates.
#[expect(
    unreachable_pub,
    unused_qualifications,
    clippy::allow_attributes_without_reason,
    reason = "generated code; the .proto file has the documentation"
)]
mod v1 {
    tonic::include_proto!("runtime.v1");
}

/// Where runtimes listen: containerd, k3s and RKE2, CRI-O, Docker.
pub const SOCKETS: [&str; 4] = [
    "/run/containerd/containerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/var/run/cri-dockerd.sock",
];

/// Whether a runtime is asked, and which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Runtime {
    /// The first of [`SOCKETS`] that is there.
    Auto,
    /// None.
    #[default]
    Off,
    /// The one that listens here.
    At(PathBuf),
}

/// What the runtime says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Pods with their containers, each under its newest id.
    pub(super) pods: Vec<Arc<Pod>>,
    /// Ids of containers that were restarted since.
    pub(super) former: Vec<Former>,
}

/// What the runtime said last, and how asking it goes.
#[derive(Debug, Default)]
pub(super) struct Source {
    told: Told,
    state: WatchState,
    restarts: u64,
    /// Whether it was ever asked.
    asked: bool,
}

impl Source {
    /// Takes what it says now.
    pub(super) fn told(&mut self, told: Told) {
        self.told = told;
    }

    /// Takes how asking it goes; whether that is new.
    pub(super) fn is(&mut self, now: WatchState) -> bool {
        let news = !self.asked || self.state != now;
        if self.asked && news && now == WatchState::Watching {
            self.restarts += 1;
        }
        self.asked = true;
        self.state = now;
        news
    }

    /// What it says.
    pub(super) fn latest(&self) -> &Told {
        &self.told
    }

    /// For a snapshot: nothing where no runtime was found.
    pub(super) fn watch(&self) -> Option<Watch> {
        self.asked.then(|| Watch {
            resource: RESOURCE.into(),
            state: self.state.clone(),
            restarts: self.restarts,
            objects: self.told.pods.iter().map(|pod| pod.containers.len()).sum(),
        })
    }
}

/// What the runtime's watch is called.
const RESOURCE: &str = "containers";

/// What a container was before it was restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Former {
    /// Its id then.
    pub(super) id: Arc<str>,
    /// The pod's UID.
    pub(super) uid: Arc<str>,
    /// The container's name.
    pub(super) name: Arc<str>,
}
