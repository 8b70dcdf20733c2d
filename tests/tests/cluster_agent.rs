//! An agent that asks an API server: workloads and destinations have the same names in metrics, in reports and in flows, whatever
//! the way to the Service and whoever runs the pod.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use obsflow_tests::fault::{self, Fault};
use obsflow_tests::process::run;
use obsflow_tests::rewrite::Rewrite;
use obsflow_tests::scrape::Samples;
use obsflow_tests::server::kube::{Api, TOKEN, objects};
use obsflow_tests::server::otlp::{self, Collector, Sdk, Transport};
use obsflow_tests::wait::{SOON, until};
use obsflow_tests::{Flow, Lab, Pod, PodSpec, Proc, tool};
use serde_json::Value;

/// What the cluster calls node 0.
const NODE: &str = "node-a";
/// The Service `observability/otel`.
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 61, 9);
/// How every destination of these tests is written.
const SINK: &str = "observability/otel:4318";
/// Every family with a sink that an exporter which is well has series in.
const FAMILIES: [&str; 6] = [
    "obsflow_verdict",
    "obsflow_exporters",
    "obsflow_export_last_success_timestamp_seconds",
    "obsflow_export_requests_total",
    "obsflow_sink_sent_bytes_total",
    "obsflow_sink_received_bytes_total",
];
/// Those that only have some.
const MORE: [&str; 4] = [
    "obsflow_sink_connects_total",
    "obsflow_sink_handshake_duration_seconds_count",
    "obsflow_sink_retransmits_total",
    "obsflow_drops_total",
];
/// Longer than a watch that failed waits before it is tried again.
const RETRIED: Duration = Duration::from_secs(60);
/// What is followed all the time.
const WATCHED: [&str; 5] = [
    "pods",
    "services",
    "endpointslices",
    "namespaces",
    "mutatingwebhookconfigurations",
];

/// A lab whose name server and API know the Service, which leads to a Collector.
struct Scene {
    lab: Lab,
    api: Api,
    collector: Collector,
}

impl Scene {
    fn new(api: Api) -> Result<Self> {
        let lab = Lab::new()?;
        let collector = Collector::start(&lab, "observability", "otel-collector")?;
        lab.dns()
            .add("otel.observability.svc.cluster.local", &[SERVICE.into()])?;
        let node = lab.node(0)?.pod_v4(1).to_string();
        for object in [
            objects::node(NODE, &node)?,
            objects::namespace("apps")?,
            objects::namespace("observability")?,
            objects::service("observability", "otel", &SERVICE.to_string())?,
            objects::slice(
                "observability",
                "otel",
                &[(collector.pod.v4.into(), &collector.pod.name, true)],
            )?,
        ] {
            api.apply(object)?;
        }
        Ok(Self { lab, api, collector })
    }

    fn asked(&self) -> SocketAddrV4 {
        SocketAddrV4::new(SERVICE, otlp::HTTP)
    }

    fn backend(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.collector.pod.v4, otlp::HTTP)
    }

    /// What a pod sends to the Service goes to its backend, as kube-proxy does it.
    fn proxied(&self, pod: &Pod) -> Result<fault::Broken> {
        fault::apply(
            &pod.netns,
            Fault::Dnat {
                asked: self.asked().into(),
                to: self.backend().into(),
            },
        )
    }

    /// A pod and its ReplicaSet and Deployment, in the API.
    fn deployment(&self, app: &str) -> Result<Pod> {
        let pod = self.lab.pod(PodSpec::new(app))?;
        let (set, _) = pod.name.rsplit_once('-').context("a name without a hash")?;
        self.api.apply(objects::deployment(&pod.namespace, app)?)?;
        self.api.apply(objects::replica_set(&pod.namespace, set, app)?)?;
        self.api.apply(objects::of(&pod, NODE)?)?;
        Ok(pod)
    }
}

fn export(pod: &Pod, host: &str) -> Result<Proc> {
    otlp::export(
        pod,
        Sdk::Rust,
        Transport::Http,
        host,
        100_000,
        Duration::from_millis(500),
    )
}

/// An agent on node 0, and where it serves.
struct Agent {
    process: Proc,
    metrics: SocketAddr,
    grpc: String,
}

impl Agent {
    /// From the command up to its arguments' end.
    fn start(mut command: Command) -> Result<Self> {
        command
            .args(["--log-format", "json", "--health", "off", "--state", "off"])
            .args(["--metrics", "127.0.0.1:0", "--listen", "tcp://127.0.0.1:0"])
            .args(["--node-name", NODE]);
        let process = Proc::start(command)?;
        let address = |message: &str| {
            let found = process.err().find(SOON, |line| {
                let line: Value = serde_json::from_str(line).ok()?;
                let begins = line["message"].as_str()?.starts_with(message);
                line["address"].as_str().filter(|_| begins).map(str::to_owned)
            });
            found.with_context(|| format!("the agent did not say {message:?}: {:?}", process.err().all()))
        };
        let grpc = address("serving gRPC")?;
        let metrics = address("serving /metrics")?.parse()?;
        Ok(Self {
            metrics,
            grpc,
            process,
        })
    }

    fn samples(&self) -> Result<Samples> {
        Samples::of(self.metrics)
    }

    /// Waits until an exporter of a workload is well, under the one name of its destination in every family.
    fn is_well(&self, workload: &str) -> Result<()> {
        let of = format!("workload=\"{workload}\"");
        until(format!("all series of {workload}"), SOON, || {
            let samples = self.samples()?;
            let all = FAMILIES.iter().chain(&MORE).all(|family| {
                let sinks = samples.values(family, "sink", &[&of]);
                let may_be_none = MORE.contains(family) && sinks.is_empty();
                may_be_none || sinks.into_iter().eq([SINK.to_owned()])
            });
            let healthy = [&*of, "namespace=\"apps\"", "verdict=\"healthy\""];
            Ok((all && samples.sum("obsflow_verdict", &healthy) == Some(1.0)).then_some(()))
        })
        .with_context(|| format!("{:#?}", self.samples()))
    }

    /// Lines of its log that have these words.
    fn said(&self, words: &str) -> Vec<String> {
        let all = self.process.err().all();
        all.into_iter().filter(|line| line.contains(words)).collect()
    }

    /// Its report.
    fn report(&self) -> Result<Value> {
        let mut command = Command::new(tool::binary("obsflow")?);
        command.args(["doctor", "-o", "json", "--server", &self.grpc]);
        let (code, out, err) = run(command)?;
        ensure!(code == Some(0), "{code:?} {out} {err}");
        Ok(serde_json::from_str(&out)?)
    }

    /// The newest of the flows that it keeps.
    fn flows(&self) -> Result<Vec<Flow>> {
        let mut command = Command::new(tool::binary("obsflow")?);
        command.args(["observe", "-o", "json", "--last", "200", "--server", &self.grpc]);
        let (code, out, err) = run(command)?;
        ensure!(code == Some(0), "{code:?} {err}");
        Ok(out.lines().filter_map(Flow::parse).collect())
    }

    /// How many watches follow.
    fn watches(&self) -> Result<(f64, usize)> {
        let samples = self.samples()?;
        let up = samples.sum("obsflow_watch_up", &[]).unwrap_or_default();
        Ok((up, samples.values("obsflow_watch_up", "resource", &[]).len()))
    }
}

/// What the report says of who runs a pod, and of its Service.
fn is_told_of(report: &Value, pod: &Pod, kind: &str, owner: &str) -> bool {
    let exports = report["exports"].as_array().into_iter().flatten();
    let mut of_pod = exports.filter(|export| export["pod"] == *pod.name);
    of_pod.any(|export| {
        export["owner"]["kind"] == kind && export["owner"]["name"] == owner && export["verdict"] == "healthy"
    })
}

#[test]
fn workloads_and_services_have_one_name_everywhere() -> Result<()> {
    let mut scene = Scene::new(Api::start()?)?;
    // Older than the agent, by name.
    let legacy = scene.lab.pod("legacy")?;
    let object = objects::of(&legacy, NODE)?;
    scene
        .api
        .apply(objects::owned_by(object, "apps/v1", "StatefulSet", "legacy-set"))?;
    let _legacy = scene.proxied(&legacy)?;
    let old = export(&legacy, "otel.observability")?;
    old.json("an export", SOON, |line| line["export"] == "ok")?;

    // By name; by address, of a CronJob's Job; by name, behind a load balancer in the socket.
    let checkout = scene.deployment("checkout")?;
    let _checkout = scene.proxied(&checkout)?;
    let report = scene.lab.pod("report")?;
    for object in objects::cron_job("apps", "report-cron", "report-cron-29100000") {
        scene.api.apply(object)?;
    }
    let object = objects::of(&report, NODE)?;
    let object = objects::owned_by(object, "batch/v1", "Job", "report-cron-29100000");
    scene.api.apply(object)?;
    let _report = scene.proxied(&report)?;
    let mesh = scene.deployment("mesh")?;

    let kubeconfig = scene.api.kubeconfig(scene.lab.dir())?;
    let asking = |command: &mut Command| {
        command.arg("--kubeconfig").arg(&kubeconfig);
    };
    let mut command = scene.lab.obsflow_command("agent")?;
    asking(&mut command);
    let agent = Agent::start(command)?;
    let exporters = [
        export(&checkout, "otel.observability")?,
        export(&report, &SERVICE.to_string())?,
    ];
    for workload in ["legacy-set", "checkout", "report-cron"] {
        agent.is_well(workload)?;
    }
    // After the agent, at the same cgroup: it sees what was asked for, and the socket has the backend.
    let rewriting = Rewrite::attach(&scene.lab.node(0)?.cgroup, scene.asked(), scene.backend())?;
    let rewritten = export(&mesh, "otel.observability")?;
    agent.is_well("mesh")?;
    drop(rewriting);
    let owners = [
        (&legacy, "StatefulSet", "legacy-set"),
        (&checkout, "Deployment", "checkout"),
        (&report, "CronJob", "report-cron"),
        (&mesh, "Deployment", "mesh"),
    ];
    until("a report with all owners", SOON, || {
        let report = agent.report()?;
        let all = owners
            .iter()
            .all(|(pod, kind, name)| is_told_of(&report, pod, kind, name));
        Ok(all.then_some(()))
    })
    .with_context(|| format!("{:#}", agent.report().unwrap_or_default()))?;

    // The API goes away: it is said once, and all that is known stays so.
    let (_, all) = agent.watches()?;
    until("every watch to follow", SOON, || {
        Ok((agent.watches()?.0 == all as f64).then_some(()))
    })?;
    scene.api.stop();
    until("watches to be down", SOON, || {
        // Nodes are listed now and then, and owners are asked for one by one, when somebody new needs them.
        let samples = agent.samples()?;
        let is_up = |resource| samples.sum("obsflow_watch_up", &[&format!("resource=\"{resource}\"")]);
        Ok(WATCHED
            .iter()
            .all(|resource| is_up(resource) == Some(0.0))
            .then_some(()))
    })?;
    let away = "Kubernetes API: ";
    until("a word about the API", SOON, || {
        Ok((!agent.said(away).is_empty()).then_some(()))
    })?;
    let late = scene.lab.pod("late")?;
    let _late = scene.proxied(&late)?;
    let exporter = export(&late, "otel.observability")?;
    agent.is_well("late")?;
    for (_, _, workload) in &owners {
        agent.is_well(workload)?;
    }
    let said = agent.said(away);
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said[0].contains("cannot be reached"), "{said:#?}");

    // It comes back: that is said once as well, and who came meanwhile gets its name.
    let object = objects::of(&late, NODE)?;
    scene
        .api
        .apply(objects::owned_by(object, "apps/v1", "StatefulSet", "latecomer"))?;
    scene.api.resume()?;
    until("every watch to follow again", RETRIED, || {
        Ok((agent.watches()? == (all as f64, all)).then_some(()))
    })?;
    agent.is_well("latecomer")?;
    let gone = ["workload=\"late\""];
    assert_eq!(agent.samples()?.sum("obsflow_verdict", &gone), None);
    until("a word that the API is there again", SOON, || {
        Ok((!agent.said("answers again").is_empty()).then_some(()))
    })?;
    assert_eq!(agent.said("answers again").len(), 1, "{:#?}", agent.said("API"));
    assert_eq!(agent.said(away).len(), 1, "{:#?}", agent.said(away));
    // Its flows say the same.
    until("an export of everybody in flows", SOON, || {
        let flows = agent.flows()?;
        let all = owners.iter().all(|(pod, kind, name)| {
            flows.iter().any(|flow| {
                flow.text("/source/pod_name") == pod.name
                    && flow.text("/source/workloads/0/kind") == *kind
                    && flow.text("/source/workloads/0/name") == *name
                    && flow.text("/destination_service/name") == "otel"
                    && flow.text("/destination_service/namespace") == "observability"
            })
        });
        Ok(all.then_some(()))
    })
    .with_context(|| format!("{:#?}", agent.flows()))?;
    drop((old, exporters, rewritten, exporter));
    Ok(())
}

/// What a kubelet mounts into every container, for a process alone: `/run` is another one for it, with the lab's folder in it.
/// Its arguments are that folder, the account's, and the command.
const AS_IN_A_POD: &str = r#"set -e
lab=$1 account=$2
shift 2
mount --make-rprivate /
mkdir -p "$account/run"
mount --rbind "$lab" "$account/run"
mount -t tmpfs tmpfs /run
mkdir -p "$lab" /run/secrets/kubernetes.io/serviceaccount
mount --move "$account/run" "$lab"
mount --rbind "$account" /run/secrets/kubernetes.io/serviceaccount
exec "$@"
"#;

/// What a kubelet mounts: token, authority, namespace. Goes with its guard.
struct Account(PathBuf);

impl Account {
    fn new(api: &Api) -> Result<Self> {
        let name = format!("obsflow-account-{}", api.address().port());
        let account = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&account.0)?;
        let authority = api.certificate().context("no certificate")?;
        for (name, text) in [("token", TOKEN), ("ca.crt", authority), ("namespace", "obsflow")] {
            fs::write(account.0.join(name), text)?;
        }
        Ok(account)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_pods_service_account_is_all_that_the_agent_needs() -> Result<()> {
    let scene = Scene::new(Api::start_tls()?)?;
    let account = Account::new(&scene.api)?;
    let checkout = scene.deployment("checkout")?;
    let _checkout = scene.proxied(&checkout)?;
    let inner = scene.lab.obsflow_command("agent")?;
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--", "sh", "-c", AS_IN_A_POD, "sh"])
        .arg("/run/obsflow-lab")
        .arg(&account.0)
        .arg(inner.get_program())
        .args(inner.get_args())
        .env("KUBERNETES_SERVICE_HOST", scene.api.address().ip().to_string())
        .env("KUBERNETES_SERVICE_PORT", scene.api.address().port().to_string());
    let agent = Agent::start(command)?;
    let _exporter = export(&checkout, "otel.observability")?;
    agent.is_well("checkout")?;
    until("a report with the owner", SOON, || {
        Ok(is_told_of(&agent.report()?, &checkout, "Deployment", "checkout").then_some(()))
    })?;
    let samples = agent.samples()?;
    assert_eq!(samples.sum("obsflow_watch_up", &["resource=\"pods\""]), Some(1.0));
    // Nothing but where it asks.
    let said = agent.said("Kubernetes");
    assert!(
        said.len() == 1 && said[0].contains("asking the Kubernetes API at https://"),
        "{said:#?}"
    );
    Ok(())
}
