//! `obsflow doctor` of a cluster: two agents, each on its node, asked through the port-forward of an API server.

mod schema;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use obsflow_tests::process::run;
use obsflow_tests::server::kube::objects::{self, set, with};
use obsflow_tests::server::kube::{Api, Order};
use obsflow_tests::server::otlp::{self, Collector, Sdk, Transport};
use obsflow_tests::wait::{SOON, until};
use obsflow_tests::{Lab, Pod, PodSpec, Proc, tool};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Where a pod's agent says that it listens.
const PORT: u16 = 9971;
/// Between two exports.
const EVERY: Duration = Duration::from_millis(500);
/// More exports than any of these tests waits for.
const MANY: u32 = 100_000;

/// A cluster of two nodes with an agent each, an API server, and a kubeconfig.
struct Cluster {
    lab: Lab,
    api: Api,
    agents: BTreeMap<u8, Proc>,
    kubeconfig: PathBuf,
}

fn node_name(node: u8) -> String {
    format!("node-{node}")
}

fn agent_name(node: u8) -> String {
    format!("obsflow-agent-{node}")
}

/// Says of an object that it is of this app.
fn labelled(object: Value, app: &str) -> Value {
    with(object, "/metadata/labels", json!({ "app": app }))
}

impl Cluster {
    fn start() -> Result<Self> {
        let lab = Lab::new()?;
        let api = Api::start()?;
        let kubeconfig = api.kubeconfig(lab.dir())?;
        let mut cluster = Self {
            lab,
            api,
            agents: BTreeMap::new(),
            kubeconfig,
        };
        for node in [0, 1] {
            let mut pod = objects::pod("obsflow", "obsflow-agent", "x", "192.0.2.1")?;
            set(&mut pod, "/metadata/name", json!(agent_name(node)));
            set(
                &mut pod,
                "/metadata/labels",
                json!({ "app.kubernetes.io/name": "obsflow" }),
            );
            set(&mut pod, "/spec/nodeName", json!(node_name(node)));
            let port = json!([{ "name": "grpc", "containerPort": PORT, "protocol": "TCP" }]);
            set(&mut pod, "/spec/containers/0/ports", port);
            cluster.api.apply(pod)?;
            cluster.start_agent(node)?;
        }
        Ok(cluster)
    }

    /// Starts the agent of a node, and leads port-forwards into its pod there.
    fn start_agent(&mut self, node: u8) -> Result<()> {
        let mut command = self.lab.obsflow_command_on(node, "agent")?;
        command.args(["--log-format", "json", "--health", "off", "--state", "off"]);
        command.args(["--listen", "tcp://127.0.0.1:0"]);
        let agent = Proc::start(command)?;
        let address = agent.err().find(SOON, |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let is_it = line["message"] == "serving gRPC";
            let address = line["address"].as_str()?.strip_prefix("tcp://")?;
            address.parse::<SocketAddr>().ok().filter(|_| is_it)
        });
        let address = address
            .with_context(|| format!("the agent does not serve: {}", agent.err().all().join(" | ")))?;
        self.api.route("obsflow", &agent_name(node), PORT, Some(address));
        self.agents.insert(node, agent);
        Ok(())
    }

    /// Ends the agent of a node; its pod stays, and nobody listens in it.
    fn end_agent(&mut self, node: u8) -> Result<()> {
        self.api.route("obsflow", &agent_name(node), PORT, None);
        let mut agent = self.agents.remove(&node).context("there is no such agent")?;
        agent.stop(SOON)?;
        Ok(())
    }

    /// A Deployment with a pod on each node.
    fn deployment(&self, app: &str) -> Result<Vec<Pod>> {
        let path = format!("shop/{app}");
        let pods = self
            .lab
            .pods(vec![PodSpec::new(&path), PodSpec::new(&path).node(1)])?;
        let mut deployment = objects::deployment("shop", app)?;
        set(
            &mut deployment,
            "/spec/selector",
            json!({ "matchLabels": { "app": app } }),
        );
        self.api.apply(deployment)?;
        for (pod, node) in pods.iter().zip([0, 1]) {
            // Each pod of the lab has a hash of its own: as in the middle of a roll-out.
            let (replicas, _) = pod.name.rsplit_once('-').context("a name without a hash")?;
            let replicas = objects::replica_set("shop", replicas, app)?;
            self.api.apply(labelled(replicas, app))?;
            self.api
                .apply(labelled(objects::of(pod, &node_name(node))?, app))?;
        }
        Ok(pods)
    }

    /// Doctor with these arguments and the kubeconfig, in an environment that says nothing of clusters.
    fn doctor(&self, args: &[&str]) -> Result<Command> {
        let mut command = plain(Command::new(tool::binary("obsflow")?));
        command
            .arg("doctor")
            .args(args)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig);
        Ok(command)
    }

    /// Its report as JSON and its exit code.
    fn report(&self, args: &[&str]) -> Result<(Option<i32>, Value)> {
        let mut command = self.doctor(args)?;
        command.args(["-o", "json"]);
        let (code, out, err) = run(command)?;
        let report = serde_json::from_str(&out).with_context(|| format!("{code:?} {out} {err}"))?;
        Ok((code, report))
    }
}

fn plain(mut command: Command) -> Command {
    command
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", "/nonexistent")
        .env_remove("KUBECONFIG")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .env_remove("COLUMNS");
    command
}

fn export(pod: &Pod, host: &str) -> Result<Proc> {
    otlp::export(pod, Sdk::Rust, Transport::Http, host, MANY, EVERY)
}

fn texts<'a>(report: &'a Value, list: &str, field: &str) -> Vec<&'a str> {
    let items = report[list].as_array().into_iter().flatten();
    items.filter_map(|item| item[field].as_str()).collect()
}

/// Doctor that can say one thing only: one line, on stderr.
fn one_line(cluster: &Cluster, args: &[&str], words: &[&str]) -> Result<()> {
    let (code, out, err) = run(cluster.doctor(args)?)?;
    assert_eq!((code, out.as_str()), (Some(3), ""), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    for word in words {
        assert!(err.contains(word), "{word} is missing in {err}");
    }
    Ok(())
}

/// The folder of what kubectl finds: obsflow under its name as a plugin.
fn plugin(folder: &Path) -> Result<PathBuf> {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin)?;
    symlink(tool::binary("obsflow")?, bin.join("kubectl-obsflow"))?;
    Ok(bin)
}

#[test]
fn a_deployment_on_two_nodes_has_one_cause_and_its_twin_is_well() -> Result<()> {
    let mut cluster = Cluster::start()?;
    let collector = Collector::start(&cluster.lab, "observability", "otel-collector")?;
    let checkout = cluster.deployment("checkout")?;
    let cart = cluster.deployment("cart")?;
    // Nobody listens on the first pod's own address, for the one on the other node either.
    let nowhere = checkout[0].v4.to_string();
    let mut exporters = Vec::new();
    for pod in &checkout {
        exporters.push(export(pod, &nowhere)?);
    }
    for pod in &cart {
        exporters.push(export(pod, &collector.name)?);
    }

    // What a wait in vain was told last.
    let last = RefCell::new(String::new());
    // One cause, with the nodes that have it.
    let report = until("one cause over both nodes", SOON, || {
        let (code, report) = cluster.report(&["-n", "shop", "deploy/checkout"])?;
        let whole = report["causes"][0]["nodes"] == 2 && texts(&report, "exports", "node").len() == 2;
        last.replace(format!("{report:#}"));
        Ok((code == Some(1) && whole).then_some(report))
    })
    .with_context(|| last.take())?;
    schema::validate(&report)?;
    assert_eq!(report["node"], "lab", "{report:#}");
    assert_eq!(report["causes"].as_array().map(Vec::len), Some(1), "{report:#}");
    let cause = &report["causes"][0];
    assert_eq!(cause["verdict"], "refused", "{cause}");
    assert_eq!(
        (&cause["exporters"], &cause["pods"], &cause["workloads"]),
        (&json!(2), &json!(2), &json!(1))
    );
    assert_eq!(texts(&report, "nodes", "node"), ["node-0", "node-1"]);
    assert_eq!((&report["pods"], &report["pods_asked"]), (&json!(2), &json!(2)));
    assert_eq!(report["not_asked"], json!([]));
    let mut nodes = texts(&report, "exports", "node");
    nodes.sort_unstable();
    assert_eq!(nodes, ["node-0", "node-1"]);

    // The table says the same.
    let (code, table, err) = run(cluster.doctor(&["-n", "shop", "deploy/checkout"])?)?;
    assert_eq!(code, Some(1), "{err}");
    assert!(table.contains("2 exporters of 1 workload on 2 nodes"), "{table}");
    assert!(table.contains("2 nodes, 2 pods, watched for"), "{table}");

    // Its twin is well, and nobody is kept waiting for what is not wrong.
    until("a healthy twin", SOON, || {
        let (code, report) = cluster.report(&["-n", "shop", "deploy/cart"])?;
        let verdicts = texts(&report, "exports", "verdict");
        last.replace(format!("{report:#}"));
        Ok((code == Some(0) && verdicts == ["healthy", "healthy"]).then_some(()))
    })
    .with_context(|| last.take())?;
    // A Deployment by the name of another: an error that knows what there is.
    let (code, _, err) = run(cluster.doctor(&["-n", "shop", "deploy/chekout"])?)?;
    assert_eq!(code, Some(3), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.contains("did you mean checkout?"), "{err}");

    // As a plugin of the real kubectl.
    let bin = plugin(cluster.lab.dir())?;
    let path = std::env::var("PATH")?;
    let mut kubectl = plain(Command::new("kubectl"));
    kubectl
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("KUBECONFIG", &cluster.kubeconfig)
        .args(["obsflow", "-n", "shop", "deploy/checkout"]);
    let (code, out, err) = run(kubectl)?;
    assert_eq!(code, Some(1), "{err}");
    assert!(out.contains("2 exporters of 1 workload on 2 nodes"), "{out}");

    // Somebody watches while an agent goes, and another one comes in its place.
    let mut watching = cluster.doctor(&["-n", "shop", "deploy/checkout", "--watch", "-o", "json"])?;
    watching.env("RUST_BACKTRACE", "1");
    let mut watching = Proc::start(watching)?;
    let said = |what: &str, like: &dyn Fn(&Value) -> bool| {
        watching.line(what, SOON, |line| {
            let report: Value = serde_json::from_str(line).ok()?;
            like(&report).then_some(report)
        })
    };
    said("both nodes", &|report| texts(report, "nodes", "node").len() == 2)?;
    cluster.end_agent(1)?;
    let report = said("that an agent is away", &|report| {
        texts(report, "not_asked", "node") == ["node-1"]
    })?;
    assert_eq!(report["pods_asked"], 1, "{report:#}");
    let lines = watching.out().len();
    cluster.start_agent(1)?;
    until("both nodes again", SOON, || {
        let all = watching.out().all();
        Ok(all.iter().skip(lines).find_map(|line| {
            let report: Value = serde_json::from_str(line).ok()?;
            (texts(&report, "nodes", "node").len() == 2).then_some(())
        }))
    })?;
    watching.signal(Signal::INT)?;
    assert_eq!(watching.wait(SOON)?.code(), Some(1));
    Ok(())
}

#[test]
fn who_could_not_be_asked_is_named() -> Result<()> {
    let mut cluster = Cluster::start()?;
    let collector = Collector::start(&cluster.lab, "observability", "otel-collector")?;
    let cart = cluster.deployment("cart")?;
    let mut exporters = Vec::new();
    for pod in &cart {
        exporters.push(export(pod, &collector.name)?);
    }
    let ask = ["-n", "shop", "deploy/cart"];
    until("a healthy Deployment", SOON, || {
        let (code, report) = cluster.report(&ask)?;
        Ok((code == Some(0) && texts(&report, "exports", "verdict").len() == 2).then_some(()))
    })?;

    // Nobody listens in the agent's pod.
    cluster.end_agent(1)?;
    let (code, report) = cluster.report(&ask)?;
    assert_eq!(code, Some(3), "{report:#}");
    assert_eq!(texts(&report, "nodes", "node"), ["node-0"], "{report:#}");
    let away = &report["not_asked"][0];
    assert_eq!(
        (&away["node"], &away["agent"], &away["pods"]),
        (&json!("node-1"), &json!("obsflow/obsflow-agent-1"), &json!(1))
    );
    let why = away["why"].as_str().unwrap_or_default();
    assert!(why.contains("nobody listens on port 9971"), "{why}");
    let (code, table, _) = run(cluster.doctor(&ask)?)?;
    assert_eq!(code, Some(3), "{table}");
    assert!(table.contains("1 of 2 nodes, 1 of 2 pods"), "{table}");
    assert!(
        table.contains("not asked: node-1 (1 pod): nobody listens"),
        "{table}"
    );

    // There is no such pod at all.
    let mut gone = objects::pod("obsflow", "obsflow-agent", "x", "192.0.2.1")?;
    set(&mut gone, "/metadata/name", json!(agent_name(1)));
    assert!(cluster.api.delete(&gone)?);
    let (code, report) = cluster.report(&ask)?;
    assert_eq!(code, Some(3), "{report:#}");
    let why = texts(&report, "not_asked", "why");
    assert_eq!(why, ["no agent runs there, of those in the namespace obsflow"]);

    // RBAC says no to every port-forward.
    cluster
        .api
        .order(Order::Status(403, None).resource("pods/portforward"));
    let (code, table, _) = run(cluster.doctor(&ask)?)?;
    assert_eq!(code, Some(3), "{table}");
    assert!(table.contains("nobody answered"), "{table}");
    assert!(table.contains("is forbidden"), "{table}");
    assert!(table.contains("pods/portforward"), "{table}");
    cluster.api.behave();

    // RBAC says no to everything; then a namespace without agents, and an API server that is away.
    cluster.api.order(Order::Status(403, None).standing());
    one_line(&cluster, &ask, &["the API server says", "forbidden"])?;
    cluster.api.behave();
    cluster.api.order(Order::Status(401, None).standing());
    one_line(
        &cluster,
        &ask,
        &["does not accept these credentials", "log in again"],
    )?;
    cluster.api.behave();
    cluster.api.order(Order::Garbage.standing());
    one_line(&cluster, &ask, &["cannot reach the API server", "lab"])?;
    cluster.api.behave();
    one_line(
        &cluster,
        &["-n", "shop", "--agent-namespace", "elsewhere"],
        &[
            "no agent of obsflow runs in the namespace elsewhere",
            "install.yaml",
        ],
    )?;
    one_line(
        &cluster,
        &["-n", "shop", "--context", "labb"],
        &["no context \"labb\"", "did you mean lab?"],
    )?;
    cluster.api.stop();
    one_line(&cluster, &ask, &["cannot reach the API server", "efused"])?;
    Ok(())
}

/// Nothing of these needs a cluster.
#[test]
fn a_kubeconfig_that_is_of_no_use_is_one_line() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("obsflow-kubeconfig-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let file = folder.join("config");
    let said = |text: Option<&str>, words: &[&str]| -> Result<()> {
        let mut command = plain(Command::new(tool::binary("obsflow")?));
        command.args(["doctor", "-n", "shop"]);
        if let Some(text) = text {
            fs::write(&file, text)?;
            command.env("KUBECONFIG", &file);
        }
        let (code, _, err) = run(command)?;
        assert_eq!((code, err.lines().count()), (Some(3), 1), "{err}");
        for word in words {
            assert!(err.contains(word), "{word} is missing in {err}");
        }
        Ok(())
    };
    said(None, &["no kubeconfig", "--kubeconfig"])?;
    said(Some("{"), &["kubeconfig"])?;
    said(
        Some("apiVersion: v1\nkind: Config\n"),
        &["no current context", "--context"],
    )?;
    let nowhere = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "gone",
        "clusters": [{ "name": "gone", "cluster": { "server": "https://127.0.0.1:1" } }],
        "contexts": [{ "name": "gone", "context": { "cluster": "gone", "user": "me" } }],
        "users": [{ "name": "me", "user": { "token": "x" } }],
    });
    said(
        Some(&nowhere.to_string()),
        &[
            "cannot reach the API server https://127.0.0.1:1 of gone",
            "refused",
        ],
    )?;
    Ok(fs::remove_dir_all(&folder)?)
}
