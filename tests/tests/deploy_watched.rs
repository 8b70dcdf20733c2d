//! The installation at work: an agent started as the DaemonSet starts it, real exporters, a real Prometheus that scrapes it.
//! Alerts fire for those that are broken and for nobody else, and each panel of the dashboard has data.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use obsflow_tests::draw::{self, Answers};
use obsflow_tests::fault::{self, Fault, Hook};
use obsflow_tests::lab::netns::NetNs;
use obsflow_tests::manifests::{agent, deploy, find, objects, strings};
use obsflow_tests::server::dns;
use obsflow_tests::server::kube::{Api, objects as kube};
use obsflow_tests::server::otlp::{Collector, Sdk, Setup, Transport};
use obsflow_tests::server::prometheus::{self, Prometheus};
use obsflow_tests::wait::{SOON, until};
use obsflow_tests::{Case, Lab, Pod, PodSpec, Proc};
use serde_json::{Value, json};

/// Verdicts are in the metrics when their container is a minute old; then the alert waits some seconds.
const FIRES: Duration = Duration::from_secs(150);
/// A panel shows this much.
const SHOWN_SECONDS: u32 = 90;
/// The node's name in Kubernetes.
const NODE: &str = "node-a";

/// The agent of node 0, on the node's network, with the arguments and the configuration of `deploy/install.yaml`; the
/// lab says where its node is.
fn installed(lab: &Lab, install: &[Value], api: &Api) -> Result<(Pod, Proc)> {
    let pod = lab.pod(
        PodSpec::new("obsflow/obsflow-agent")
            .host_network()
            .container("agent"),
    )?;
    let folder = lab.dir().join("obsflow");
    fs::create_dir_all(&folder)?;
    let set = find(install, "DaemonSet", "obsflow-agent")?;
    let map = set["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"].as_str();
    let config = find(install, "ConfigMap", map.context("no ConfigMap")?)?;
    let config = config["data"]["agent.toml"].as_str().context("no agent.toml")?;
    let file = folder.join("agent.toml");
    fs::write(
        &file,
        config.replace("/var/run/obsflow", &folder.to_string_lossy()),
    )?;
    let base = lab.obsflow_command("agent")?;
    let mut command = pod.command(base.get_program())?;
    command.args(base.get_args());
    let given = strings(&agent(install)?["args"]);
    command.args(given.iter().skip(1).map(|argument| {
        argument
            .replace("$(NODE_IP)", &pod.v4.to_string())
            .replace("$(NODE_NAME)", NODE)
            .replace("/etc/obsflow/agent.toml", &file.to_string_lossy())
    }));
    command.arg("--state").arg(folder.join("state.json"));
    // In a pod it would be the service account; the lab's API server is on this machine's loopback, not the node's.
    command.arg("--kubeconfig").arg(api.kubeconfig(&folder)?);
    bring(&lab.node(0)?.netns, api.address())?;
    let process = Proc::start(command)?;
    Ok((pod, process))
}

/// Makes a server of this machine's loopback reachable at the same address in a namespace, until this process ends.
fn bring(netns: &NetNs, address: SocketAddr) -> Result<()> {
    let listener = netns.within(|| Ok(TcpListener::bind(address)?))?;
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(io::Result::ok) {
            let Ok(far) = TcpStream::connect(address) else {
                continue;
            };
            for (from, to) in [(near.try_clone(), far.try_clone()), (Ok(far), Ok(near))] {
                let (Ok(mut from), Ok(mut to)) = (from, to) else {
                    continue;
                };
                std::thread::spawn(move || {
                    // Either end may leave at any time.
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    Ok(())
}

/// What the API has of the lab: the node, the pods with their Deployments, the Services of Collectors, and pods of every other
/// kind of owner, which run elsewhere in this lab's imagination.
fn cluster(lab: &Lab, pods: &[&Pod], collectors: &[&Collector]) -> Result<Api> {
    let api = Api::start()?;
    api.apply(kube::node(NODE, &lab.node(0)?.pod_v4(1).to_string())?)?;
    for namespace in ["apps", "shop", "observability", "tracing", "batch"] {
        api.apply(kube::namespace(namespace)?)?;
    }
    for pod in pods {
        let object = kube::of(pod, NODE)?;
        let set = object["metadata"]["ownerReferences"][0]["name"]
            .as_str()
            .context("no owner")?;
        let app = set.rsplit_once('-').context("no ReplicaSet's name")?.0;
        api.apply(kube::replica_set(&pod.namespace, set, app)?)?;
        api.apply(kube::deployment(&pod.namespace, app)?)?;
        api.apply(object)?;
    }
    for collector in collectors {
        let pod = &collector.pod;
        let app = collector.name.split('.').next().context("no name")?;
        // Headless, in effect: the name leads to the pod itself.
        api.apply(kube::service(&pod.namespace, app, "None")?)?;
        api.apply(kube::slice(
            &pod.namespace,
            app,
            &[(pod.v4.into(), &pod.name, true)],
        )?)?;
    }
    for (kind, api_version, number) in [
        ("StatefulSet", "apps/v1", 1),
        ("DaemonSet", "apps/v1", 2),
        ("Job", "batch/v1", 3),
        ("CronJob", "batch/v1", 4),
    ] {
        let owner = kind.to_lowercase();
        let mut pod = kube::pod("batch", &owner, "x2b4c", &format!("10.244.0.{number}"))?;
        pod["spec"]["nodeName"] = json!(NODE);
        pod["metadata"]["ownerReferences"] = json!([]);
        api.apply(kube::owned_by(pod, api_version, kind, &owner))?;
    }
    Ok(api)
}

/// What was asked of the API is what the role allows: nothing more, and nothing less.
fn asks_what_it_may(install: &[Value], api: &Api) -> Result<()> {
    let role = find(install, "ClusterRole", "obsflow-agent")?;
    let mut allowed = BTreeSet::new();
    for rule in role["rules"].as_array().context("no rules")? {
        for resource in strings(&rule["resources"]) {
            for verb in strings(&rule["verbs"]) {
                allowed.insert(format!("{verb} {resource}"));
            }
        }
    }
    let asked = || -> BTreeSet<String> {
        let requests = api.requests().into_iter();
        requests
            .map(|request| format!("{} {}", request.verb, request.resource))
            .collect()
    };
    let all = until("everything that is allowed to be asked", SOON, || {
        Ok(allowed.is_subset(&asked()).then_some(()))
    });
    assert_eq!(asked(), allowed);
    all
}

/// Pods of the two nodes reach each other through a VXLAN tunnel, as flannel makes it.
fn overlay(lab: &Lab) -> Result<()> {
    for (here, there) in [(0, 1), (1, 0)] {
        let (node, other) = (lab.node(here)?, lab.node(there)?);
        // Numbers that no pod has: of node 3, which labs do not have.
        let end = |index: u8| {
            let [a, b, ..] = node.pod_v4(0).octets();
            format!("{a}.{b}.{}.{}", if index < 2 { 250 } else { 254 }, index % 2 + 1)
        };
        let wire = |index: u8| end(index + 2);
        let (own, peer) = (wire(here), wire(there));
        let (inner, next, pods) = (end(here), end(there), other.pod_v4(0));
        node.netns.ip(&format!(
            "link add flannel.1 type vxlan id 1 dev eth0 local {own} remote {peer} dstport 8472\n\
             addr add {inner}/24 dev flannel.1\nlink set flannel.1 up\nroute replace {pods}/18 via {next}\n"
        ))?;
    }
    Ok(())
}

fn url(host: &str, port: u16) -> String {
    format!("http://{host}:{port}")
}

/// The labels of an alert, as one string.
fn names(alert: &Value) -> String {
    let label = |name: &str| alert["labels"][name].as_str().unwrap_or_default().to_owned();
    let labels = ["alertname", "namespace", "workload", "verdict", "sink"].map(label);
    labels.join(" ")
}

#[test]
fn alerts_and_dashboard_show_what_is_broken() -> Result<()> {
    let lab = Lab::new()?;
    overlay(&lab)?;
    let collector = Collector::start(&lab, "observability", "otel-collector")?;
    let mut jaeger = Collector::start(&lab, "tracing", "jaeger")?;
    let mut gateway = Collector::start(&lab, "observability", "gateway")?;
    let metrics = Collector::start_as(&lab, "observability", "victoria-metrics", Setup::http(&[8428]))?;
    jaeger.stop();
    gateway.answer(Transport::Http, "status=401")?;
    let drop = Fault::Drop(Hook::Forward, fault::Transport::Tcp, 8428);
    let _firewall = fault::apply(&lab.node(0)?.netns, drop)?;
    let case =
        |app, transport, endpoint: &str| Case::new(&lab, app, Sdk::Rust, transport, endpoint)?.started();
    let silent = format!("collector.{}", dns::SILENT);
    let mut well = [
        case(
            "shop/web",
            Transport::Grpc,
            &url("otel-collector.observability", 4317),
        )?,
        case(
            "shop/search",
            Transport::Http,
            &url("otel-collector.observability", 4318),
        )?,
    ];
    let broken = [
        case(
            "apps/catalog",
            Transport::Http,
            &url("otel-colector.observability", 4318),
        )?,
        case("shop/checkout", Transport::Http, &url("jaeger.tracing", 4318))?,
        case("shop/cart", Transport::Grpc, &url("jaeger.tracing", 4317))?,
        case("shop/basket", Transport::Http, &url("jaeger.tracing", 4318))?,
        case(
            "shop/payment",
            Transport::Http,
            &url("gateway.observability", 4318),
        )?,
        case(
            "apps/usage",
            Transport::Http,
            &url("victoria-metrics.observability", 8428),
        )?,
        case("apps/lost", Transport::Http, &url(&silent, 4318))?,
    ];
    let install = objects(&fs::read_to_string(deploy().join("install.yaml"))?, &[])?;
    let pods: Vec<&Pod> = well.iter().chain(&broken).map(|case| &case.pod).collect();
    let api = cluster(&lab, &pods, &[&collector, &jaeger, &gateway, &metrics])?;
    let (pod, mut process) = installed(&lab, &install, &api)?;
    let address = SocketAddr::from((pod.v4, 9970));
    until("metrics of the agent", SOON, || {
        Ok(prometheus::scrape(&pod, address).is_ok().then_some(()))
    })
    .with_context(|| process.err().all().join("\n"))?;
    let prometheus = Prometheus::start(&lab, &[(address, NODE)])?;

    asks_what_it_may(&install, &api)?;
    fires(&prometheus)?;
    for case in &well {
        case.exported("ok")?;
    }
    for case in &broken {
        case.exported("failed")?;
    }
    // They keep their connections: only one that starts again makes a new one. A counter grows when it was there before.
    for _ in 0..2 {
        for case in &mut well {
            case.start()?;
            case.exported("ok")?;
        }
        until("a handshake that Prometheus knows of", SOON, || {
            let known = prometheus.now("obsflow_sink_handshake_duration_seconds_count > 0")?;
            Ok((!known.is_empty()).then_some(()))
        })?;
    }
    prometheus::check(&prometheus::scrape(&pod, address)?, lab.dir())?;
    shows(&prometheus)?;
    assert!(process.running()?);
    let status = process.stop(SOON)?;
    assert!(status.success(), "{}", process.err().all().join("\n"));
    Ok(())
}

/// Alerts: each that must fire, and none about those that are well.
fn fires(prometheus: &Prometheus) -> Result<()> {
    // A name that nobody has is a sink, too: the workload's name says which it is.
    let wanted = [
        ["ObsflowSinkUnreachable", "", "jaeger"],
        ["ObsflowExporterFailing", "apps catalog", "dns-nxdomain"],
        ["ObsflowExporterFailing", "shop payment", "rejected"],
        ["ObsflowExporterFailing", "apps usage", "dropped"],
        ["ObsflowExporterFailing", "apps lost", "dns-timeout"],
    ];
    let mut last = Vec::new();
    let found = until("the alerts", FIRES, || {
        last = prometheus.firing()?;
        let all = wanted.iter().all(|parts| {
            let has = |alert: &Value| parts.iter().all(|part| names(alert).contains(part));
            last.iter().any(has)
        });
        // Those of one sink are quiet once the sink's fires.
        let inhibited = !last.iter().any(|alert| {
            let names = names(alert);
            names.contains("Failing shop checkout") || names.contains("Failing shop basket")
        });
        Ok((all && inhibited).then_some(()))
    });
    found.with_context(|| {
        last.iter()
            .map(|alert| format!("\n{}", names(alert)))
            .collect::<String>()
    })?;
    for alert in &last {
        let name = alert["labels"]["alertname"].as_str().context("no name")?;
        assert!(
            ["ObsflowSinkUnreachable", "ObsflowExporterFailing"].contains(&name),
            "{alert}"
        );
        for well in ["web", "search"] {
            assert_ne!(alert["labels"]["workload"], well, "{alert}");
        }
        println!(
            "{}\n  {}",
            alert["annotations"]["summary"], alert["annotations"]["description"]
        );
    }
    let sink = last
        .iter()
        .find(|alert| names(alert).contains("jaeger"))
        .context("gone")?;
    let said = sink["annotations"]["description"].as_str().context("no words")?;
    for workload in ["shop/basket (refused)", "shop/checkout (refused)"] {
        assert!(said.contains(workload), "{said}");
    }
    Ok(())
}

/// The dashboard: every panel has data, and is drawn.
fn shows(prometheus: &Prometheus) -> Result<()> {
    let text = fs::read_to_string(deploy().join("components/monitoring/obsflow.json"))?;
    let dashboard: Value = serde_json::from_str(&text)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let mut drawn: Vec<(&Value, Answers)> = Vec::new();
    let filled = until("data in every panel", SOON, || {
        drawn = panels
            .iter()
            .map(|panel| Ok((panel, answers(prometheus, panel)?)))
            .collect::<Result<_>>()?;
        Ok(empty(&drawn).is_empty().then_some(()))
    });
    let page = output().join("dashboard.svg");
    fs::write(&page, draw::dashboard(&drawn))?;
    println!("drawn: {}", page.display());
    filled.with_context(|| format!("empty: {:?}", empty(&drawn)))
}

/// Panels without a number.
fn empty<'a>(drawn: &[(&'a Value, Answers)]) -> Vec<&'a str> {
    drawn
        .iter()
        .filter(|(panel, answers)| {
            panel["type"] != "row" && !answers.iter().any(|(_, series)| draw::last(series).is_some())
        })
        .filter_map(|(panel, _)| panel["title"].as_str())
        .collect()
}

/// What a panel's queries are answered, with everything selected.
fn answers(prometheus: &Prometheus, panel: &Value) -> Result<Answers> {
    let mut answers = Vec::new();
    for target in panel["targets"].as_array().into_iter().flatten() {
        let mut expr = target["expr"]
            .as_str()
            .context("no expr")?
            .replace("$__rate_interval", "15s");
        for variable in ["$namespace", "$workload", "$sink"] {
            expr = expr.replace(variable, ".*");
        }
        assert!(!expr.contains('$'), "{expr}");
        let series = if target["instant"] == true {
            prometheus.now(&expr)?
        } else {
            prometheus.since(&expr, SHOWN_SECONDS, 1)?
        };
        let legend = target["legendFormat"].as_str().unwrap_or_default();
        answers.extend(series.into_iter().map(|series| (called(legend, &series), series)));
    }
    Ok(answers)
}

/// Grafana's `{{label}}`.
fn called(legend: &str, series: &Value) -> String {
    let mut name = legend.to_owned();
    while let Some((before, rest)) = name.split_once("{{") {
        let Some((label, after)) = rest.split_once("}}") else {
            break;
        };
        let value = series["metric"][label].as_str().unwrap_or_default();
        name = format!("{before}{value}{after}");
    }
    name
}

/// Where pictures go: beside what was built.
fn output() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).to_owned()
}
