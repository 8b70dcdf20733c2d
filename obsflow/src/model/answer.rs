//! What the agents of several nodes say, put together.

use std::collections::HashSet;
use std::sync::Arc;

use super::time::Mono;
use super::verdict::Report;
use super::workload::Workload;

/// An answer of a cluster. Its times count from the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// What a person calls the cluster: the context of the kubeconfig.
    pub cluster: Arc<str>,
    /// Everything that was heard: its exporters know their node, its causes are of all nodes.
    pub report: Report,
    /// Nodes that answered, by name.
    pub nodes: Vec<Node>,
    /// What could not be asked, by reason.
    pub not_asked: Vec<NotAsked>,
    /// Which workloads were asked for.
    pub chosen: Chosen,
    /// Pods that were asked for, and run on a node.
    pub pods: usize,
    /// Those of them whose node answered.
    pub pods_asked: usize,
    /// For each workload that was asked for and of which no exporter was seen, a sentence that says so.
    pub unmatched: Vec<String>,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// Version of its agent.
    pub version: Arc<str>,
    /// When its report was made.
    pub at: Mono,
    /// Since when it is watched.
    pub watching_since: Mono,
    /// Events that never arrived there.
    pub events_lost: u64,
    /// Exporters forgotten there because there were too many.
    pub exports_forgotten: u64,
    /// Hooks that do not work there, each with what is lost by it.
    pub degraded: Vec<Arc<str>>,
}

/// A node that nothing is known of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NotAsked {
    /// Why, in words.
    pub why: Arc<str>,
    /// Its name.
    pub node: Arc<str>,
    /// Its agent, `namespace/pod`, if it has one.
    pub agent: Option<Arc<str>>,
    /// Pods on it that were asked for.
    pub pods: usize,
}

/// Which workloads were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Chosen {
    /// All of the cluster, the nodes' own services among them.
    #[default]
    Everything,
    /// All of a namespace.
    Namespace(Arc<str>),
    /// These pods, by namespace and name.
    Pods(HashSet<(Arc<str>, Arc<str>)>),
}

impl Chosen {
    /// Whether this one was.
    #[must_use]
    pub fn matches(&self, workload: &Workload) -> bool {
        match self {
            Self::Everything => true,
            Self::Namespace(namespace) => workload.namespace.as_ref() == Some(namespace),
            Self::Pods(pods) => match (&workload.namespace, &workload.pod) {
                (Some(namespace), Some(pod)) => pods.contains(&(Arc::clone(namespace), Arc::clone(pod))),
                _ => false,
            },
        }
    }
}
