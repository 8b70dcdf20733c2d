//! What was found and what was heard, put together.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ask::Found;
use super::find::Group;
use super::merge::merge;
use super::plan::Agent;
use crate::api::Reported;
use crate::model::answer::{Answer, Node};
use crate::model::verdict::Report;

/// What came of asking an agent.
pub(super) struct Heard {
    pub(super) agent: Agent,
    /// What it says, or in words why that is not known.
    pub(super) said: Result<Reported, String>,
}

/// Makes an answer of what nodes said. Who was not heard of is part of it, with the reason.
pub(super) fn put(
    cluster: &Arc<str>,
    namespace: &str,
    found: &Found,
    heard: &BTreeMap<Arc<str>, Heard>,
) -> Answer {
    let plan = &found.plan;
    let mut not_asked = plan.not_asked.clone();
    for agent in &plan.agents {
        match heard.get(&agent.node) {
            Some(Heard {
                agent,
                said: Err(why),
            }) => not_asked.push(plan.not_asked(agent, namespace, why)),
            Some(_) => {}
            None => not_asked.push(plan.not_asked(agent, namespace, "its agent did not answer yet")),
        }
    }
    not_asked.sort();
    let reports: Vec<(Node, &Report)> = heard
        .iter()
        .filter_map(|(name, heard)| {
            let reported = heard.said.as_ref().ok()?;
            Some((node(name, reported), &reported.report))
        })
        .collect();
    let answered = |node: &Arc<str>| reports.iter().any(|(known, _)| known.name == *node);
    let pods_asked = plan
        .pods
        .iter()
        .filter(|(node, _)| answered(node))
        .map(|(_, pods)| pods)
        .sum();
    let report = merge(reports.iter().map(|(node, report)| (node, *report)));
    let unmatched = found
        .groups
        .iter()
        .filter_map(|group| unmatched(group, &report, answered))
        .collect();
    Answer {
        cluster: Arc::clone(cluster),
        not_asked,
        chosen: found.chosen.clone(),
        pods: plan.pods.values().sum(),
        pods_asked,
        unmatched,
        report,
        nodes: reports.into_iter().map(|(node, _)| node).collect(),
    }
}

fn node(name: &Arc<str>, reported: &Reported) -> Node {
    let report = &reported.report;
    Node {
        name: Arc::clone(name),
        version: reported.version.as_str().into(),
        at: report.at,
        watching_since: report.watching_since,
        events_lost: report.events_lost,
        exports_forgotten: report.exports_forgotten,
        degraded: report.degraded.clone(),
    }
}

/// A sentence, when a target has no pods, or when nothing is known of them although their nodes were asked.
fn unmatched(group: &Group, report: &Report, answered: impl Fn(&Arc<str>) -> bool) -> Option<String> {
    let Group {
        name,
        namespace,
        pods,
        near,
        is_named,
    } = group;
    if pods.is_empty() {
        let place = match namespace {
            Some(namespace) => format!(" in the namespace {namespace}"),
            None => String::new(),
        };
        let hint = match near.as_slice() {
            [] => String::new(),
            near => format!("; did you mean {}?", near.join(", ")),
        };
        return Some(if *is_named {
            format!("there is no running pod of {name}{place}{hint}")
        } else {
            format!("there is no running pod{place}")
        });
    }
    let asked = pods
        .iter()
        .filter(|pod| pod.node.as_ref().is_some_and(&answered))
        .count();
    let is_seen = report.exports.iter().any(|export| {
        let workload = &export.workload;
        pods.iter().any(|pod| {
            workload.namespace.as_ref() == Some(&pod.namespace) && workload.pod.as_ref() == Some(&pod.name)
        })
    });
    if is_seen || asked == 0 || !is_named {
        return None;
    }
    let s = if asked == 1 { "" } else { "s" };
    Some(format!(
        "no exporter was seen of {name} ({asked} pod{s} asked about)"
    ))
}
