//! This node's pods.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::board::State;
use super::super::names::Names;
use super::access::Api;
use super::owners::{Controller, Owners};
use super::resource::{Resource, What};
use super::{injection, wire};
use crate::model::cluster::{Container, ContainerRole, Inject, Injection, Pod, Table};

/// How long a pod that was deleted is still known: its last connections end after it.
pub(crate) const LINGER: Duration = Duration::from_secs(60);
/// Deleted pods known at the most.
const MAX_LINGERING: usize = 1024;

/// Pods, by the UID that the API gives them.
#[derive(Debug, Default)]
pub(crate) struct PodStore {
    pods: Table<Arc<str>, Known>,
    /// Those that were deleted, oldest first.
    lingering: VecDeque<(Instant, Arc<Pod>)>,
}

/// A pod.
#[derive(Debug)]
struct Known {
    pod: Arc<Pod>,
    controller: Option<Controller>,
    round: u32,
}

impl PodStore {
    /// Every pod, those that were deleted a moment ago among them.
    pub(crate) fn all(&mut self) -> Vec<Arc<Pod>> {
        while self.next_end().is_some_and(|end| end <= Instant::now()) {
            self.lingering.pop_front();
        }
        // A pod that is there again, under the same UID, is the one that counts: it comes last.
        let gone = self.lingering.iter().map(|(_, pod)| Arc::clone(pod));
        gone.chain(self.pods.values().map(|known| Arc::clone(&known.pod)))
            .collect()
    }

    /// When the next of those that were deleted is to be forgotten.
    pub(crate) fn next_end(&self) -> Option<Instant> {
        self.lingering.front().map(|(since, _)| *since + LINGER)
    }

    /// What runs them.
    pub(crate) fn controllers(&self) -> impl Iterator<Item = (&Arc<Pod>, &Controller)> {
        self.pods
            .values()
            .filter_map(|known| Some((&known.pod, known.controller.as_ref()?)))
    }

    /// Gives pods the owners that have become known. Whether there was one.
    pub(crate) fn own(&mut self, owners: &Owners) -> bool {
        let mut any = false;
        for known in self.pods.values_mut() {
            let Some(controller) = &known.controller else {
                continue;
            };
            let owner = owners.top(&known.pod.namespace, controller);
            if owner != known.pod.owner {
                known.pod = Arc::new(Pod {
                    owner,
                    ..Pod::clone(&known.pod)
                });
                any = true;
            }
        }
        any
    }

    fn remove(&mut self, uid: &str) -> bool {
        let Some(known) = self.pods.remove(uid) else {
            return false;
        };
        let pod = Pod {
            ended: true,
            ..Pod::clone(&known.pod)
        };
        self.linger(pod, Instant::now());
        true
    }

    /// Keeps one that was deleted then.
    pub(crate) fn linger(&mut self, pod: Pod, since: Instant) {
        self.lingering.push_back((since, Arc::new(pod)));
        if self.lingering.len() > MAX_LINGERING {
            self.lingering.pop_front();
        }
    }
}

/// The watch of them.
pub(crate) struct PodWatch;

impl Resource for PodWatch {
    type Object = wire::Pod;

    const WHAT: What = What {
        name: "pods",
        group: "\"\"",
        verbs: "list, watch",
        without: "pods have the names of their log folders only, without what runs them",
        path: "/api/v1/pods",
        metadata: false,
        page: 250,
        cached: true,
        most: 5_000,
    };

    fn what() -> &'static What {
        &Self::WHAT
    }

    fn version(object: &wire::Pod) -> &str {
        &object.metadata.resource_version
    }

    fn fields(api: &Api) -> Option<String> {
        Some(format!("spec.nodeName={}", api.node))
    }

    fn knows(state: &State, object: &wire::Pod) -> bool {
        state.pods.pods.contains_key(&*object.metadata.uid)
    }

    fn apply(state: &mut State, object: wire::Pod, round: u32) -> bool {
        let uid = state.names.get(&object.metadata.uid);
        let controller = object
            .metadata
            .controller()
            .map(|owner| Controller::new(owner, &mut state.names));
        let mut pod = pod(&object, &mut state.names);
        if let Some(controller) = &controller {
            pod.owner = state.owners.top(&pod.namespace, controller);
        }
        match state.pods.pods.get_mut(&uid) {
            Some(known) if *known.pod == pod && known.controller == controller => {
                known.round = round;
                false
            }
            _ => {
                let pod = Arc::new(pod);
                state.pods.pods.insert(
                    uid,
                    Known {
                        pod,
                        controller,
                        round,
                    },
                );
                true
            }
        }
    }

    fn remove(state: &mut State, object: &wire::Pod) -> bool {
        state.pods.remove(&object.metadata.uid)
    }

    fn sweep(state: &mut State, round: u32) {
        let gone: Vec<Arc<str>> = state
            .pods
            .pods
            .iter()
            .filter(|(_, known)| known.round != round)
            .map(|(uid, _)| Arc::clone(uid))
            .collect();
        for uid in gone {
            state.pods.remove(&uid);
        }
    }

    fn count(state: &State) -> usize {
        state.pods.pods.len()
    }

    fn touch(state: &mut State) {
        state.dirty.pods = true;
    }
}

/// A pod as it is known to everybody else.
fn pod(from: &wire::Pod, names: &mut Names) -> Pod {
    let (meta, spec, status) = (&from.metadata, &from.spec, &from.status);
    let ended = matches!(&*status.phase, "Succeeded" | "Failed");
    let mut ips: Vec<IpAddr> = wire::ips(status.pod_ips.iter().map(|ip| &*ip.ip)).collect();
    if ips.is_empty() {
        ips.extend(wire::ips([&*status.pod_ip]));
    }
    if ended {
        // The object stays for days with the address, which somebody else has by then.
        ips.clear();
    }
    let uid = meta.annotations.config_hash.as_deref().unwrap_or(&meta.uid);
    let mut containers = Vec::new();
    for (role, specs, statuses) in [
        (ContainerRole::Main, &spec.containers, &status.container_statuses),
        (
            ContainerRole::Init,
            &spec.init_containers,
            &status.init_container_statuses,
        ),
        (
            ContainerRole::Ephemeral,
            &spec.ephemeral_containers,
            &status.ephemeral_container_statuses,
        ),
    ] {
        for container in specs {
            let status = statuses.iter().find(|status| status.name == container.name);
            containers.push(Container {
                name: names.get(&container.name),
                id: status
                    .and_then(|status| container_id(&status.container_id))
                    .map(Arc::from),
                role,
            });
        }
    }
    let created = meta
        .creation_timestamp
        .as_deref()
        .and_then(|time| time.parse().ok());
    let mut named: Vec<Arc<str>> = meta
        .annotations
        .containers
        .iter()
        .map(|name| names.get(name))
        .collect();
    named.sort();
    named.dedup();
    Pod {
        uid: names.get(uid),
        namespace: names.get(&meta.namespace),
        name: names.get(&meta.name),
        node: names.some(&spec.node_name),
        ips,
        host_network: spec.host_network,
        owner: None,
        created,
        ended,
        containers,
        injection: Injection {
            asked: asked(meta, names),
            traces: injection::traces(spec),
            containers: named,
            changed: meta
                .annotated_at()
                .filter(|changed| created.is_none_or(|created| *changed > created)),
        },
    }
}

/// `containerd://<id>`, `cri-o://<id>`, `docker://<id>`; nothing before it was started.
fn container_id(text: &str) -> Option<&str> {
    let (_, id) = text.split_once("://")?;
    (!id.is_empty()).then_some(id)
}

/// What annotations ask for.
pub(super) fn asked(meta: &wire::Meta, names: &mut Names) -> Vec<Inject> {
    let mut asked: Vec<Inject> = meta
        .annotations
        .inject
        .iter()
        .map(|(language, value)| Inject {
            language: names.get(language),
            value: names.get(value),
        })
        .collect();
    asked.sort_by(|a, b| a.language.cmp(&b.language));
    asked
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pod that was deleted so long ago.
    fn deleted(ago: Duration) -> PodStore {
        let mut store = PodStore::default();
        store.linger(Pod::default(), Instant::now() - ago);
        store
    }

    #[test]
    fn a_pod_that_was_deleted_is_known_for_a_minute() {
        let mut store = deleted(LINGER / 2);
        assert_eq!(store.all().len(), 1);
        assert!(store.next_end().is_some_and(|end| end > Instant::now()));
        let mut store = deleted(LINGER);
        assert_eq!((store.all().len(), store.next_end()), (0, None));
    }
}
