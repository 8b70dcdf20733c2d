//! Names from the cluster: of pods and containers by their ids, of pods by their addresses.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::cluster::{Cluster, Pod};
use crate::model::workload::{Workload, WorkloadKind};
use foldhash::fast::RandomState;

/// Addresses whose pod is remembered until the next snapshot.
const MAX_ADDRESSES: usize = 4096;

/// Where snapshots of the cluster come from. It is asked for every event and must never wait.
pub trait Names: Send {
    /// The latest snapshot, if it is not the one that was given before.
    fn newer(&mut self) -> Option<Arc<Cluster>>;

    /// A container of a pod was seen that the latest snapshot does not know: whoever makes snapshots may look again.
    fn miss(&mut self) {}
}

/// The latest snapshot, and how many there were.
#[derive(Default)]
pub(super) struct ClusterNames {
    source: Option<Box<dyn Names>>,
    latest: Arc<Cluster>,
    /// Counts snapshots; 0 before the first.
    pub(super) generation: u64,
    by_address: HashMap<IpAddr, Option<Arc<Workload>>, RandomState>,
}

impl ClusterNames {
    pub(super) fn new(source: Option<Box<dyn Names>>) -> Self {
        Self {
            source,
            ..Self::default()
        }
    }

    /// Takes the latest snapshot, if there is a newer one.
    pub(super) fn look(&mut self) {
        if let Some(cluster) = self.source.as_mut().and_then(|source| source.newer()) {
            self.latest = cluster;
            self.generation += 1;
            self.by_address.clear();
        }
    }

    /// Has a container of a pod looked for that the latest snapshot does not know.
    pub(super) fn miss(&mut self, workload: &Workload) {
        if let (Some(source), Some(_), Some(id)) =
            (&mut self.source, &workload.pod_uid, &workload.container_id)
            && self.latest.pods.of_container(id).is_none()
        {
            source.miss();
        }
    }

    pub(super) fn latest(&self) -> &Arc<Cluster> {
        &self.latest
    }

    /// Fills in what the cluster says of a workload, by container id, else by pod UID; whether it knows the pod. What it
    /// does not know stays as it is.
    pub(super) fn fill(&self, workload: &mut Workload) -> bool {
        let pods = &self.latest.pods;
        let by_container = workload
            .container_id
            .as_deref()
            .and_then(|id| pods.of_container(id));
        let (pod, container) = match by_container {
            Some((pod, container)) => (pod, Some(&container.name)),
            None => {
                let Some(pod) = workload.pod_uid.as_deref().and_then(|uid| pods.get(uid)) else {
                    return false;
                };
                // An id that is not known is one of a container that was just started. Which one is sure only where a
                // single one is there to be started: a debugger may join later.
                let container = match pod.containers.as_slice() {
                    [only] if workload.container_id.is_some() && only.id.is_none() => Some(&only.name),
                    _ => None,
                };
                (pod, container)
            }
        };
        workload.kind = WorkloadKind::Pod;
        if workload.pod_uid.is_none() {
            workload.pod_uid = Some(Arc::clone(&pod.uid));
        }
        fill_pod(workload, pod);
        if let Some(name) = container {
            workload.container = Some(Arc::clone(name));
        }
        true
    }

    /// Whether a pod has a container with this id; `None` while not all of its containers are known by theirs.
    pub(super) fn has(&self, uid: &str, id: &str) -> Option<bool> {
        let pods = &self.latest.pods;
        if pods.of_container(id).is_some() {
            return Some(true);
        }
        let containers = &pods.get(uid)?.containers;
        let are_known = !containers.is_empty() && containers.iter().all(|container| container.id.is_some());
        are_known.then_some(false)
    }

    /// The pod with an address, as a workload. Best effort: whose the socket is within the pod is not known, so it has a
    /// container only where the pod has no other.
    pub(super) fn at(&mut self, ip: IpAddr) -> Option<Arc<Workload>> {
        if self.generation == 0 {
            return None;
        }
        let ip = ip.to_canonical();
        if let Some(known) = self.by_address.get(&ip) {
            return known.clone();
        }
        let found = self.latest.pod_at(ip).map(|pod| {
            let mut workload = Workload {
                kind: WorkloadKind::Pod,
                pod_uid: Some(Arc::clone(&pod.uid)),
                ..Workload::default()
            };
            fill_pod(&mut workload, pod);
            if let [only] = pod.containers.as_slice() {
                workload.container = Some(Arc::clone(&only.name));
            }
            Arc::new(workload)
        });
        if self.by_address.len() >= MAX_ADDRESSES {
            self.by_address.clear();
        }
        self.by_address.insert(ip, found.clone());
        found
    }
}

fn fill_pod(workload: &mut Workload, pod: &Pod) {
    workload.namespace = Some(Arc::clone(&pod.namespace));
    workload.pod = Some(Arc::clone(&pod.name));
    if pod.owner.is_some() {
        workload.owner.clone_from(&pod.owner);
    }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
