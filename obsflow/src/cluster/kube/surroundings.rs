//! Nodes, and namespaces that ask for injection.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::super::board::State;
use super::access::Api;
use super::pods::asked;
use super::resource::{Resource, What};
use super::wire;
use crate::model::cluster::{Annotated, Surroundings, Table};

/// A list of nodes holds for so long ...
const NODES: Duration = Duration::from_mins(5);
/// ... and for each of them for so long: what all nodes' lists of all nodes cost together grows no faster than the cluster.
const NODE: Duration = Duration::from_secs(2);

/// What nodes and namespaces say.
#[derive(Debug, Default)]
pub(crate) struct SurroundingStore {
    nodes: Table<Arc<str>, (u32, Box<[IpAddr]>)>,
    namespaces: Table<Arc<str>, (u32, Option<Annotated>)>,
    /// Whether it was said that this node is none of them.
    said_unknown: bool,
}

impl SurroundingStore {
    /// Makes the tables.
    pub(crate) fn build(&self) -> Surroundings {
        let addresses = |(name, (_, ips)): (&Arc<str>, &(u32, Box<[IpAddr]>))| {
            ips.iter().map(|ip| (*ip, Arc::clone(name))).collect::<Vec<_>>()
        };
        Surroundings {
            nodes: self.nodes.iter().flat_map(addresses).collect(),
            namespaces: self
                .namespaces
                .iter()
                .filter_map(|(name, (_, annotated))| Some((Arc::clone(name), annotated.clone()?)))
                .collect(),
            ..Surroundings::default()
        }
    }
}

/// Nodes, which are listed now and then: a kubelet writes its own every few minutes with all that is in it, and a watch would
/// bring that to each of the others. Their addresses hardly ever change.
pub(crate) struct NodeWatch;

impl Resource for NodeWatch {
    type Object = wire::Node;

    const WHAT: What = What {
        name: "nodes",
        group: "\"\"",
        verbs: "list",
        without: "nodes are shown by their addresses",
        path: "/api/v1/nodes",
        metadata: false,
        // A node lists fifty images with all their names.
        page: 50,
        cached: false,
        most: 20_000,
    };

    const PERIOD: Option<fn(usize) -> Duration> = Some(|nodes| {
        NODE.saturating_mul(u32::try_from(nodes).unwrap_or(u32::MAX))
            .max(NODES)
    });

    fn what() -> &'static What {
        &Self::WHAT
    }

    fn version(object: &wire::Node) -> &str {
        &object.metadata.resource_version
    }

    fn knows(state: &State, object: &wire::Node) -> bool {
        state.surroundings.nodes.contains_key(&*object.metadata.name)
    }

    fn listed(state: &mut State, api: &Api) {
        let known = state.surroundings.nodes.contains_key(&api.node);
        if known || std::mem::replace(&mut state.surroundings.said_unknown, true) {
            return;
        }
        let taken = if api.named {
            "--node-name"
        } else {
            "the host's name"
        };
        tracing::warn!(
            "Kubernetes API: the cluster has no node {:?} ({taken}): none of this node's pods will be known by it; give \
             --node-name as the cluster calls this node, in a DaemonSet from spec.nodeName",
            api.node
        );
    }

    fn apply(state: &mut State, object: wire::Node, round: u32) -> bool {
        let name = state.names.get(&object.metadata.name);
        let ips: Box<[IpAddr]> =
            wire::ips(object.status.addresses.iter().map(|address| &*address.address)).collect();
        let known = state.surroundings.nodes.get(&name);
        let is_new = known.is_none_or(|(_, known)| *known != ips);
        state.surroundings.nodes.insert(name, (round, ips));
        is_new
    }

    fn remove(state: &mut State, object: &wire::Node) -> bool {
        state.surroundings.nodes.remove(&*object.metadata.name).is_some()
    }

    fn sweep(state: &mut State, round: u32) {
        state.surroundings.nodes.retain(|_, (seen, _)| *seen == round);
    }

    fn count(state: &State) -> usize {
        state.surroundings.nodes.len()
    }

    fn touch(state: &mut State) {
        state.dirty.surroundings = true;
    }
}

/// The watch of namespaces.
pub(crate) struct NamespaceWatch;

impl Resource for NamespaceWatch {
    type Object = wire::Bare;

    const WHAT: What = What {
        name: "namespaces",
        group: "\"\"",
        verbs: "list, watch",
        without: "injection that a namespace asks for is not known",
        path: "/api/v1/namespaces",
        metadata: true,
        page: 500,
        cached: true,
        most: 50_000,
    };

    fn what() -> &'static What {
        &Self::WHAT
    }

    fn version(object: &wire::Bare) -> &str {
        &object.metadata.resource_version
    }

    fn knows(state: &State, object: &wire::Bare) -> bool {
        state.surroundings.namespaces.contains_key(&*object.metadata.name)
    }

    fn apply(state: &mut State, object: wire::Bare, round: u32) -> bool {
        let name = state.names.get(&object.metadata.name);
        let asked = asked(&object.metadata, &mut state.names);
        let annotated = (!asked.is_empty()).then(|| Annotated {
            asked,
            changed: object.metadata.annotated_at(),
        });
        let known = state.surroundings.namespaces.get(&name);
        let is_new = known.is_none_or(|(_, known)| *known != annotated);
        state.surroundings.namespaces.insert(name, (round, annotated));
        is_new
    }

    fn remove(state: &mut State, object: &wire::Bare) -> bool {
        state
            .surroundings
            .namespaces
            .remove(&*object.metadata.name)
            .is_some()
    }

    fn sweep(state: &mut State, round: u32) {
        state
            .surroundings
            .namespaces
            .retain(|_, (seen, _)| *seen == round);
    }

    fn count(state: &State) -> usize {
        state.surroundings.namespaces.len()
    }

    fn touch(state: &mut State) {
        state.dirty.surroundings = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_a_large_cluster_are_listed_less_often() {
        let period = NodeWatch::PERIOD.unwrap();
        assert_eq!(
            [0, 100, 1000].map(|nodes| period(nodes).as_secs()),
            [300, 300, 2000]
        );
        assert!(NamespaceWatch::PERIOD.is_none());
    }
}
