//! Command lines of `obsflow doctor` that are about a cluster.

use jiff::Timestamp;

use super::parse_from;
use crate::config::{Cluster, Command};
use crate::fleet::{Kind, Scope, Target};
use crate::testing::TempDir;

fn run(line: &str) -> Result<Command, String> {
    let words = std::iter::once("obsflow").chain(line.split_whitespace());
    parse_from(words, Timestamp::UNIX_EPOCH).map_err(|error| error.to_string())
}

fn cluster(line: &str) -> Cluster {
    match run(line) {
        Ok(Command::Doctor(doctor)) => doctor.cluster.unwrap_or_else(|| panic!("{line}: this node")),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn doctor_asks_a_cluster_when_a_flag_is_about_one() {
    let asked = cluster("doctor -n apps deploy/x sts/y z");
    assert_eq!(asked.question.scope, Scope::Namespace(Some("apps".into())));
    let named = |kind, name: &str| Target::Object {
        kind,
        name: name.into(),
    };
    assert_eq!(
        asked.question.targets,
        [
            named(Kind::Deployment, "x"),
            named(Kind::StatefulSet, "y"),
            Target::Begins("z".into())
        ]
    );
    assert_eq!(
        (
            &*asked.question.agents.namespace,
            &*asked.question.agents.selector
        ),
        ("obsflow", "app.kubernetes.io/name=obsflow")
    );
    // As kubectl has it, -A wins.
    assert_eq!(cluster("doctor -A -n apps").question.scope, Scope::All);
    let asked = cluster("doctor --context prod --kubeconfig /x -o json --log-level info");
    assert_eq!(asked.question.scope, Scope::Namespace(None));
    assert_eq!(asked.context.as_deref(), Some("prod"));
    assert!(asked.kubeconfig.is_some());
    // Beside flags of the kernel side a kubeconfig only says where names are from.
    let dir = TempDir::new();
    let path = dir.path().join("kubeconfig");
    std::fs::write(&path, crate::testing::KUBECONFIG).unwrap();
    let line = format!("doctor --kubeconfig {} --attach root shop/", path.display());
    let Ok(Command::Doctor(own)) = run(&line) else {
        panic!("another command")
    };
    assert_eq!(own.live.cluster.kubeconfig.as_ref(), Some(&path));
    assert!(own.cluster.is_none() && !own.workloads.is_all());
}

#[test]
fn what_a_cluster_cannot_be_asked_is_said() {
    for (line, part) in [
        (
            "doctor -n apps --server unix:///x.sock",
            "cannot set both --server and -n",
        ),
        ("doctor -A --for 30s", "--for is how long this node is watched"),
        ("doctor --context x --probe", "for root on their node"),
        ("doctor -n apps --attach root", "flags of the kernel side"),
        ("doctor -n apps --config /x.toml", "/x.toml"),
        ("doctor -n Apps", "no name of a namespace"),
        ("doctor -n apps shop/checkout", "names the namespace shop"),
        ("doctor -A deploy/x", "-n NAMESPACE instead of -A"),
        ("doctor -n apps svc/x", "no pods of kind svc"),
        ("doctor -n apps deploy x", "deploy/NAME"),
        ("doctor -A --agent-selector=", "--agent-selector"),
        ("doctor -A --agent-namespace=", "--agent-namespace"),
        ("doctor --explain refused -n apps", "cannot be used with"),
        // Of one node, a kind means nothing; the message says how it would.
        ("doctor deploy/x", "-n NAMESPACE"),
    ] {
        let error = match run(line) {
            Ok(command) => panic!("{line} is accepted: {command:?}"),
            Err(error) => error,
        };
        assert!(error.contains(part), "{line}: {error}");
    }
}

#[test]
fn a_plugin_of_kubectl_asks_a_cluster() {
    let parse = |line: &str| parse_from(line.split_whitespace(), Timestamp::UNIX_EPOCH);
    for line in [
        "kubectl-obsflow deploy/x",
        "/usr/local/bin/kubectl-obsflow doctor deploy/x",
    ] {
        let Ok(Command::Doctor(doctor)) = parse(line) else {
            panic!("{line}")
        };
        let cluster = doctor.cluster.unwrap();
        assert_eq!(cluster.question.targets[0].to_string(), "deploy/x");
    }
    let help = parse("kubectl-obsflow doctor --help").unwrap_err().to_string();
    assert!(help.contains("Usage: kubectl obsflow doctor"), "{help}");
    let error = parse("kubectl-obsflow doctor --server unix:///x")
        .unwrap_err()
        .to_string();
    assert!(error.contains("kubectl obsflow"), "{error}");
    let Ok(Command::Doctor(explain)) = parse("kubectl-obsflow doctor --explain refused") else {
        panic!("no page")
    };
    assert!(explain.cluster.is_none());
}

#[test]
fn a_kubeconfig_is_looked_at_before_anything_begins() {
    let dir = TempDir::new();
    let path = dir.path().join("kubeconfig");
    std::fs::write(&path, crate::testing::KUBECONFIG).unwrap();
    let good = path.display();
    let other = dir.path().join("other");
    std::fs::write(&other, "hello: [").unwrap();
    let other = other.display();
    for (line, part) in [
        (
            "agent --kubeconfig /nonexistent".to_owned(),
            "--kubeconfig /nonexistent: cannot be read",
        ),
        (format!("agent --kubeconfig {other}"), "is no kubeconfig"),
        (
            format!("agent --kubeconfig {good} --context prod"),
            "--context: there is no context \"prod\"",
        ),
        (
            "observe --context prod".to_owned(),
            "name one with --kubeconfig FILE",
        ),
        (
            format!("observe --kubernetes off --kubeconfig {good}"),
            "cannot set both --kubernetes off and --kubeconfig",
        ),
        (
            "agent --node-name Node_1".to_owned(),
            "--node-name: \"Node_1\" is no node's name",
        ),
        (
            "agent --kubernetes maybe".to_owned(),
            "[possible values: auto, off]",
        ),
    ] {
        let error = match run(&line) {
            Ok(command) => panic!("{line} is accepted: {command:?}"),
            Err(error) => error,
        };
        assert!(error.contains(part), "{line}: {error}");
    }
    let Ok(Command::Agent(agent)) = run(&format!(
        "agent --kubeconfig {good} --context lab --node-name n-1.x"
    )) else {
        panic!("refused")
    };
    assert_eq!(agent.live.cluster.context.as_deref(), Some("lab"));
    assert_eq!(agent.live.cluster.node_name.as_deref(), Some("n-1.x"));
}
