//! Reports of several nodes, made one.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::diagnose::group::{Members, order_causes, order_exports};
use crate::model::answer::Node;
use crate::model::verdict::{Cause, Report, Severity};

/// Nodes that are named where something is so on several of them.
const NAMED: usize = 3;

/// Puts together what nodes say; their times count from the Unix epoch. Failures with the same cause are one wherever they
/// are: what a cause is known by says nothing of its node.
#[must_use]
pub fn merge<'a>(reports: impl IntoIterator<Item = (&'a Node, &'a Report)>) -> Report {
    let mut merged = Report::default();
    let mut causes: HashMap<Arc<str>, Shared> = HashMap::new();
    let mut degraded: BTreeMap<Arc<str>, Vec<&str>> = BTreeMap::new();
    let mut nodes = 0;
    for (node, report) in reports {
        nodes += 1;
        merged.at = merged.at.max(report.at);
        // From then on all of them are watched.
        merged.watching_since = merged.watching_since.max(report.watching_since);
        merged.events_lost = merged.events_lost.saturating_add(report.events_lost);
        merged.exports_forgotten = merged.exports_forgotten.saturating_add(report.exports_forgotten);
        for hook in &report.degraded {
            degraded.entry(Arc::clone(hook)).or_default().push(&node.name);
        }
        for cause in &report.causes {
            match causes.entry(Arc::clone(&cause.id)) {
                Entry::Occupied(mut known) => known.get_mut().join(cause),
                Entry::Vacant(place) => drop(place.insert(Shared::new(cause))),
            }
        }
        for export in &report.exports {
            let mut export = export.clone();
            export.node = Some(Arc::clone(&node.name));
            if let Some(shared) = export.cause.as_ref().and_then(|id| causes.get_mut(id)) {
                shared.members.add(&export);
            }
            merged.exports.push(export);
        }
    }
    merged.causes = causes.into_values().map(Shared::counted).collect();
    order_exports(&mut merged.exports);
    order_causes(&mut merged.causes);
    merged.degraded = degraded
        .into_iter()
        .map(|(hook, on)| {
            let on = match on.len() {
                all if all == nodes && all > 1 => "every node".to_owned(),
                _ => some(&on),
            };
            format!("{hook} (on {on})").into()
        })
        .collect();
    merged
}

/// A few names, and how many more there are.
#[must_use]
pub(crate) fn some<T: AsRef<str>>(names: &[T]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMED).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A cause of several nodes.
struct Shared {
    cause: Cause,
    members: Members,
    /// How bad it is where its words are from, and how many it concerns there.
    worst: (Severity, usize),
}

impl Shared {
    fn new(cause: &Cause) -> Self {
        Self {
            cause: cause.clone(),
            members: Members::default(),
            worst: (cause.severity, cause.exports.len()),
        }
    }

    /// The same on another node.
    fn join(&mut self, other: &Cause) {
        let cause = &mut self.cause;
        cause.severity = cause.severity.max(other.severity);
        cause.since = cause.since.min(other.since);
        cause.exports.extend(other.exports.iter().cloned());
        // What to do is said by the node that has it worst: it has seen most of it.
        let there = (other.severity, other.exports.len());
        if there > self.worst {
            self.worst = there;
            cause.advice.clone_from(&other.advice);
        }
    }

    /// Pods and workloads counted anew: a workload may have pods on many nodes.
    fn counted(mut self) -> Cause {
        self.members.count(&mut self.cause);
        self.cause
    }
}
