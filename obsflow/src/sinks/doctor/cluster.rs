//! What a table says of a cluster's nodes.

use super::rows::count;
use super::view::View;
use crate::fleet::some;
use crate::model::answer::{Answer, Node, NotAsked};

/// Whether the nodes have to be told apart.
pub(super) fn is_of_many(view: &View<'_>) -> bool {
    view.answer
        .is_some_and(|answer| answer.nodes.len() + answer.not_asked.len() > 1)
}

/// `12 of 13 nodes, 40 of 43 pods`
pub(super) fn asked(answer: &Answer) -> String {
    let of = |asked: usize, all: usize, what: &str| {
        if asked == all {
            count(all, what)
        } else {
            format!("{asked} of {}", count(all, what))
        }
    };
    let nodes = answer.nodes.len();
    format!(
        "{}, {}",
        of(nodes, nodes + answer.not_asked.len(), "node"),
        of(answer.pods_asked, answer.pods, "pod")
    )
}

/// A line for each reason, with the nodes that could not be asked for it.
pub(super) fn not_asked(answer: &Answer) -> Vec<String> {
    answer
        .not_asked
        .chunk_by(|a, b| a.why == b.why)
        .map(|same| {
            let nodes: Vec<&str> = same.iter().map(|not| &*not.node).collect();
            let pods = same.iter().map(|not| not.pods).sum();
            let why = same.first().map_or("", |not: &NotAsked| &not.why);
            format!("{} ({}): {why}", some(&nodes), count(pods, "pod"))
        })
        .collect()
}

/// ` (on node-2)`, where it is so on some nodes of a cluster.
pub(super) fn on(answer: Option<&Answer>, is_so: impl Fn(&Node) -> bool) -> String {
    let nodes: Vec<&str> = answer
        .into_iter()
        .flat_map(|answer| &answer.nodes)
        .filter(|node| is_so(node))
        .map(|node| &*node.name)
        .collect();
    if nodes.is_empty() {
        String::new()
    } else {
        format!(" (on {})", some(&nodes))
    }
}
