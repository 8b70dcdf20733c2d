//! What a runtime lists, as pods.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use jiff::Timestamp;

use super::v1::{Container, PodSandbox, PodSandboxState};
use super::{Former, Told};
use crate::attribute::cgroup_path;
use crate::model::cluster::{self, ContainerRole, Pod};

/// A sandbox's network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Network {
    /// It is the node's.
    pub(super) host: bool,
    /// Its addresses.
    pub(super) ips: Vec<IpAddr>,
}

/// Makes pods of sandboxes and their containers. A pod may have had several sandboxes, a container several ids: the newest
/// count, containers of older sandboxes stay known by their ids.
pub(super) fn told(
    mut sandboxes: Vec<PodSandbox>,
    mut containers: Vec<Container>,
    networks: &HashMap<String, Network>,
) -> Told {
    // The newest last, and of two of the same moment the later attempt: what comes later replaces what came before.
    sandboxes.sort_by_key(|it| (it.created_at, it.metadata.as_ref().map_or(0, |it| it.attempt)));
    containers.sort_by_key(|it| (it.created_at, it.metadata.as_ref().map_or(0, |it| it.attempt)));
    let mut pods: HashMap<String, Pod, RandomState> = HashMap::default();
    let mut of_sandbox: HashMap<&str, &str, RandomState> = HashMap::default();
    for sandbox in &sandboxes {
        let Some(metadata) = &sandbox.metadata else {
            continue;
        };
        if metadata.uid.is_empty() || metadata.name.is_empty() {
            continue;
        }
        of_sandbox.insert(&sandbox.id, &metadata.uid);
        let network = networks.get(&sandbox.id).cloned().unwrap_or_default();
        let ended = sandbox.state() != PodSandboxState::SandboxReady;
        pods.insert(
            metadata.uid.clone(),
            Pod {
                uid: uid(&metadata.uid),
                namespace: cgroup_path::shown(&metadata.namespace),
                name: cgroup_path::shown(&metadata.name),
                // Its network is gone; a list has it for as long as its pod is there.
                ips: if ended { Vec::new() } else { network.ips },
                host_network: network.host,
                created: Timestamp::from_nanosecond(i128::from(sandbox.created_at)).ok(),
                ended,
                ..Pod::default()
            },
        );
    }
    let mut former = Vec::new();
    for container in containers {
        let (Some(metadata), Some(of)) = (
            container.metadata,
            of_sandbox.get(&*container.pod_sandbox_id).copied(),
        ) else {
            continue;
        };
        let Some(pod) = pods.get_mut(of) else { continue };
        let name = cgroup_path::shown(&metadata.name);
        let id: Arc<str> = container.id.into();
        let known = pod.containers.iter_mut().find(|known| known.name == name);
        match known {
            Some(known) => {
                if let Some(id) = known.id.replace(id) {
                    former.push(Former {
                        id,
                        uid: Arc::clone(&pod.uid),
                        name,
                    });
                }
            }
            None => pod.containers.push(cluster::Container {
                name,
                id: Some(id),
                // The runtime does not tell.
                role: ContainerRole::Main,
            }),
        }
    }
    let mut pods: Vec<Arc<Pod>> = pods.into_values().map(Arc::new).collect();
    // The same list gives the same answer, so that it can be told whether anything changed.
    pods.sort_by(|a, b| a.uid.cmp(&b.uid));
    Told { pods, former }
}

/// As it stands in cgroup paths, whatever case it was written in.
fn uid(text: &str) -> Arc<str> {
    let lower = text.to_ascii_lowercase();
    cgroup_path::pod_uid(&lower).map_or_else(|| cgroup_path::shown(text), Arc::from)
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
