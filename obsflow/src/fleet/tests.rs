//! What is made of what was found and heard.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ask::Found;
use super::find::Group;
use super::plan::{Agent, AgentState, Pod, plan};
use super::put::{Heard, put};
use crate::api::Reported;
use crate::api::convert::WALL;
use crate::model::answer::{Answer, Chosen};
use crate::model::verdict::{Cause, Export, Report, Severity, VerdictId};
use crate::model::{Mono, Workload};
use crate::sinks::doctor::samples;

const CAUSE: &str = "cafe00000001";

fn pod(name: &str, node: &str) -> Pod {
    Pod {
        namespace: "shop".into(),
        name: name.into(),
        node: Some(node.into()),
        ended: false,
    }
}

fn agent(node: &str) -> Agent {
    Agent {
        name: format!("obsflow-{node}").into(),
        node: node.into(),
        state: AgentState::Ready,
        port: 9971,
    }
}

fn of(name: &str) -> Workload {
    Workload {
        pod_uid: Some(format!("uid-{name}").into()),
        ..samples::pod("shop", name)
    }
}

/// A report in which these pods are refused, for a number of seconds.
fn refused(pods: &[&str], since: u64) -> Report {
    let exports: Vec<Export> = pods
        .iter()
        .zip(0..)
        .map(|(name, number)| Export {
            verdict: VerdictId::Refused,
            severity: Severity::Critical,
            since: samples::ago(since),
            cause: Some(CAUSE.into()),
            ..samples::healthy(number, of(name))
        })
        .collect();
    Report {
        causes: vec![Cause {
            id: CAUSE.into(),
            verdict: VerdictId::Refused,
            reason: None,
            severity: Severity::Critical,
            subject: "otel-collector.observability:4317".into(),
            since: samples::ago(since),
            exports: exports.iter().map(|export| Arc::clone(&export.id)).collect(),
            pods: u32::try_from(pods.len()).unwrap(),
            workloads: 1,
            advice: vec![format!("as seen by {} pods", pods.len()).into()],
        }],
        ..samples::report(exports)
    }
}

fn said(node: &str, report: Report) -> (Arc<str>, Heard) {
    let reported = Reported {
        report,
        clock: WALL,
        node: "what the host is called".to_owned(),
        version: "0.1.0".to_owned(),
    };
    let heard = Heard {
        agent: agent(node),
        said: Ok(reported),
    };
    (node.into(), heard)
}

fn failed(node: &str, why: &str) -> (Arc<str>, Heard) {
    let heard = Heard {
        agent: agent(node),
        said: Err(why.to_owned()),
    };
    (node.into(), heard)
}

fn group(pods: Vec<Pod>) -> Group {
    Group {
        name: "deploy/checkout".to_owned(),
        is_named: true,
        namespace: Some("shop".into()),
        pods,
        near: Vec::new(),
    }
}

fn answer(groups: Vec<Group>, agents: &[&str], heard: Vec<(Arc<str>, Heard)>) -> Answer {
    let pods: Vec<Pod> = groups.iter().flat_map(|group| &group.pods).cloned().collect();
    let found = Found {
        chosen: Chosen::Pods(
            pods.iter()
                .map(|pod| (Arc::clone(&pod.namespace), Arc::clone(&pod.name)))
                .collect(),
        ),
        plan: plan(
            &pods,
            agents.iter().copied().map(agent).collect(),
            false,
            "obsflow",
        ),
        groups,
    };
    let heard: BTreeMap<_, _> = heard.into_iter().collect();
    put(&"prod".into(), "obsflow", &found, &heard)
}

#[test]
fn one_cause_on_two_nodes_is_one() {
    let pods = vec![
        pod("checkout-a", "n1"),
        pod("checkout-b", "n2"),
        pod("checkout-c", "n2"),
    ];
    let mut later = refused(&["checkout-b", "checkout-c"], 60);
    later.at = Mono(later.at.0 + 5);
    later.events_lost = 7;
    later.degraded = vec!["drops: not on this kernel".into()];
    let answer = answer(
        vec![group(pods)],
        &["n1", "n2"],
        vec![said("n1", refused(&["checkout-a"], 130)), said("n2", later)],
    );
    let report = &answer.report;
    let [cause] = report.causes.as_slice() else {
        panic!("{:?}", report.causes);
    };
    assert_eq!((cause.exports.len(), cause.pods, cause.workloads), (3, 3, 3));
    assert_eq!(cause.since, samples::ago(130));
    // Who has it worst says what to do.
    assert_eq!(&*cause.advice[0], "as seen by 2 pods");
    let nodes: Vec<_> = report
        .exports
        .iter()
        .map(|export| {
            (
                export.workload.pod.as_deref().unwrap(),
                export.node.as_deref().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        nodes,
        [("checkout-a", "n1"), ("checkout-b", "n2"), ("checkout-c", "n2")]
    );
    assert_eq!(report.at, Mono(samples::NOW.0 + 5));
    assert_eq!(report.events_lost, 7);
    assert_eq!(&*report.degraded[0], "drops: not on this kernel (on n2)");
    assert_eq!((answer.pods_asked, answer.pods), (3, 3));
    assert!(answer.not_asked.is_empty() && answer.unmatched.is_empty());
    assert_eq!(&*answer.nodes[1].name, "n2");
}

/// The same container on two nodes, as two units of the same name are, is two pods; a Deployment with pods on both is one
/// workload.
#[test]
fn workloads_and_pods_are_counted_over_all_nodes() {
    let unit = |node: &str| {
        let mut report = refused(&["x"], 10);
        report.exports[0].workload = Arc::new(Workload {
            unit: Some("alloy.service".into()),
            cgroup_path: Some("/system.slice/alloy.service".into()),
            ..Workload::default()
        });
        said(node, report)
    };
    let pods = vec![pod("checkout-a", "n1"), pod("checkout-b", "n2")];
    let answer = answer(vec![group(pods)], &["n1", "n2"], vec![unit("n1"), unit("n2")]);
    let cause = &answer.report.causes[0];
    assert_eq!((cause.exports.len(), cause.pods, cause.workloads), (2, 2, 1));
    // None of them was asked for.
    assert_eq!(
        answer.unmatched,
        ["no exporter was seen of deploy/checkout (2 pods asked about)"]
    );
}

#[test]
fn who_was_not_asked_is_named() {
    let pods = vec![
        pod("checkout-a", "n1"),
        pod("checkout-b", "n2"),
        pod("checkout-c", "n3"),
        pod("checkout-d", "n3"),
    ];
    let heard = vec![
        said("n1", refused(&["checkout-a"], 5)),
        failed("n2", "port-forward is forbidden"),
    ];
    let answer = answer(vec![group(pods)], &["n1", "n2"], heard);
    let not: Vec<_> = answer
        .not_asked
        .iter()
        .map(|not| (&*not.node, not.agent.as_deref(), not.pods, &*not.why))
        .collect();
    assert_eq!(
        not,
        [
            (
                "n3",
                None,
                2,
                "no agent runs there, of those in the namespace obsflow"
            ),
            ("n2", Some("obsflow/obsflow-n2"), 1, "port-forward is forbidden"),
        ]
    );
    assert_eq!((answer.pods_asked, answer.pods), (1, 4));
    // Nothing is said of pods that nobody was asked about.
    assert!(answer.unmatched.is_empty());
}

#[test]
fn what_has_no_pods_is_said() {
    let mut none = group(Vec::new());
    none.near = vec!["checkout-5d9-abcde".to_owned()];
    let answer = answer(vec![none], &[], Vec::new());
    assert_eq!(
        answer.unmatched,
        [
            "there is no running pod of deploy/checkout in the namespace shop; did you mean checkout-5d9-abcde?"
        ]
    );
}
