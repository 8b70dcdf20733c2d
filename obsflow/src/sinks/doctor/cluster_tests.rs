//! What people and programs see of a cluster.

use std::sync::Arc;

use super::samples::*;
use super::{Context, EXIT_FINDINGS, EXIT_NOTHING, EXIT_UNKNOWN, Options, View, json, table, wide};
use crate::fleet::merge;
use crate::model::answer::{Answer, Chosen, Node, NotAsked};
use crate::model::cluster::Owner;
use crate::model::verdict::Report;

fn node(name: &str, report: &Report) -> Node {
    Node {
        name: name.into(),
        version: "0.1.0".into(),
        at: report.at,
        watching_since: report.watching_since,
        events_lost: report.events_lost,
        exports_forgotten: report.exports_forgotten,
        degraded: report.degraded.clone(),
    }
}

fn answer(reports: &[(&str, Report)]) -> Answer {
    let nodes: Vec<Node> = reports.iter().map(|(name, report)| node(name, report)).collect();
    Answer {
        cluster: "prod-eu".into(),
        report: merge(nodes.iter().zip(reports.iter().map(|(_, report)| report))),
        chosen: Chosen::Everything,
        pods: 43,
        pods_asked: 43,
        nodes,
        ..Answer::default()
    }
}

/// Pods of three Deployments that are refused, with names that say their node.
fn refused_on(node: &str, pods: u32) -> Report {
    let mut report = refused(pods);
    for (number, export) in report.exports.iter_mut().enumerate() {
        let workload = Arc::make_mut(&mut export.workload);
        let name: Arc<str> = ["cart", "checkout", "payment"][number % 3].into();
        workload.pod = Some(format!("{name}-5b8d7c9f6d-{node}{number}").into());
        workload.pod_uid = workload.pod.clone();
        let kind = "Deployment".into();
        workload.owner = Some(Owner { kind, name });
    }
    report
}

/// A Collector that is gone, seen from two nodes, one of which lost something; two more nodes could not be asked.
fn failing() -> Answer {
    let far = Report {
        events_lost: 12,
        degraded: vec![
            "drops: this kernel does not say why it drops; drops are seen without a reason".into(),
        ],
        ..refused_on("b", 4)
    };
    let mut near = refused_on("a", 3);
    near.exports
        .push(healthy(99, pod("shop", "catalog-7c9d8b6f5d-x2xkq")));
    let mut answer = answer(&[("worker-1", near), ("worker-2", far)]);
    answer.pods_asked = 40;
    let without = |node: &str, why: &str, agent: Option<&str>| NotAsked {
        why: why.into(),
        node: node.into(),
        agent: agent.map(Arc::from),
        pods: 1,
    };
    let none = "no agent runs there, of those in the namespace obsflow";
    answer.not_asked = vec![
        without(
            "worker-3",
            "its agent does not run (CrashLoopBackOff)",
            Some("obsflow/obsflow-7kx2p"),
        ),
        without("worker-4", none, None),
        without("worker-5", none, None),
    ];
    answer
}

fn context(answer: &Answer) -> Context<'_> {
    Context {
        node: &answer.cluster,
        clock: CLOCK,
    }
}

#[test]
fn one_cause_over_nodes_and_nodes_that_could_not_be_asked() {
    let answer = failing();
    let view = View::of(&answer);
    assert_eq!(view.exit_code(), EXIT_FINDINGS);
    insta::assert_snapshot!(table(&view, context(&answer), Options::default()));
    insta::assert_snapshot!("cluster_wide", wide(&view, context(&answer), Options::default()));
    let line = json(&view, context(&answer)).unwrap();
    super::tests::validate(&serde_json::from_str(&line).unwrap()).unwrap();
    insta::assert_snapshot!("cluster_json", line);
}

#[test]
fn well_and_whole_is_0_and_less_is_3() {
    let all = answer(&[("worker-1", report(vec![healthy(1, pod("shop", "cart-0"))]))]);
    let view = View::of(&all);
    assert_eq!(view.exit_code(), EXIT_NOTHING);
    // One node is not told apart.
    let drawn = table(&view, context(&all), Options::default());
    assert!(!drawn.contains(" on worker-1"), "{drawn}");
    assert!(drawn.contains("(1 node, 43 pods, watched for 30s)"), "{drawn}");
    let mut less = all.clone();
    less.not_asked = failing().not_asked;
    assert_eq!(View::of(&less).exit_code(), EXIT_UNKNOWN);
    let nobody = Answer {
        report: Report::default(),
        nodes: Vec::new(),
        pods_asked: 0,
        ..less
    };
    assert_eq!(View::of(&nobody).exit_code(), EXIT_UNKNOWN);
    insta::assert_snapshot!(table(&View::of(&nobody), context(&nobody), Options::default()));
}
