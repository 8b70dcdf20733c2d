//! `deploy/`: what Kubernetes, Prometheus and obsflow itself say of it. Nothing here needs root.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use obsflow::sinks::metrics::families::{Family, Id};
use obsflow_tests::manifests::{self, agent, deploy, find, objects, render, strings};
use obsflow_tests::tool;
use serde_json::Value;

/// Those that are maintained, and one before; older ones lack `appArmorProfile`.
const KUBERNETES: &[&str] = &["1.30", "1.31", "1.32", "1.33", "1.34"];

/// A folder of this test that goes with its guard.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("obsflow-deploy-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Everything that can be applied: by what it is called, its objects.
fn everything(whose: &str) -> Result<BTreeMap<String, Vec<Value>>> {
    let scratch = Scratch::new(whose)?;
    let mut all = BTreeMap::new();
    for overlay in manifests::folders("overlays")? {
        let yaml = render(&deploy().join("overlays").join(&overlay))?;
        all.insert(
            overlay.clone(),
            objects(&yaml, KUBERNETES).with_context(|| overlay)?,
        );
    }
    for component in manifests::folders("components")? {
        let with: &[&str] = match &*component {
            "metrics-tls" => &["service-monitor", "pod-monitor", "metrics-tls"],
            other => &[other],
        };
        let yaml = manifests::render_with(&scratch.0, with)?;
        all.insert(
            format!("with {component}"),
            objects(&yaml, KUBERNETES).with_context(|| component)?,
        );
    }
    let base = render(&deploy().join("base"))?;
    all.insert("base".into(), objects(&base, KUBERNETES)?);
    Ok(all)
}

/// Every object of every overlay and component fits the schemas, and what they say of each other is true.
#[test]
fn kubernetes_takes_every_overlay() -> Result<()> {
    for (name, objects) in everything("kubernetes")? {
        let set = find(&objects, "DaemonSet", "obsflow-agent")?;
        let template = &set["spec"]["template"];
        let labels = &template["metadata"]["labels"];
        is_part(&set["spec"]["selector"]["matchLabels"], labels);
        // Those who find it.
        let service = find(&objects, "Service", "obsflow-agent")?;
        is_part(&service["spec"]["selector"], labels);
        let ports: BTreeSet<String> = containers(set)
            .flat_map(|container| container["ports"].as_array().into_iter().flatten())
            .filter_map(|port| Some(port["name"].as_str()?.to_owned()))
            .collect();
        for port in service["spec"]["ports"].as_array().context("no ports")? {
            let target = port["targetPort"].as_str().context("a port by number")?;
            assert!(ports.contains(target), "{name}: no port {target}");
        }
        // What it uses.
        let pod = &template["spec"];
        for (kind, used) in [
            ("ServiceAccount", &pod["serviceAccountName"]),
            ("PriorityClass", &pod["priorityClassName"]),
        ] {
            find(&objects, kind, used.as_str().context("a name")?)?;
        }
        let volumes: Vec<&Value> = pod["volumes"].as_array().context("no volumes")?.iter().collect();
        let mounted: BTreeSet<&str> = containers(set)
            .flat_map(|container| container["volumeMounts"].as_array().into_iter().flatten())
            .filter_map(|mount| mount["name"].as_str())
            .collect();
        let there: BTreeSet<&str> = volumes
            .iter()
            .filter_map(|volume| volume["name"].as_str())
            .collect();
        assert_eq!(mounted, there, "{name}");
        for map in volumes
            .iter()
            .filter_map(|volume| volume["configMap"]["name"].as_str())
        {
            find(&objects, "ConfigMap", map)?;
        }
        // Who may what.
        for binding in objects.iter().filter(|o| o["kind"] == "ClusterRoleBinding") {
            let role = binding["roleRef"]["name"].as_str().context("a role")?;
            find(&objects, "ClusterRole", role)?;
            let subject = &binding["subjects"][0];
            let account = find(
                &objects,
                "ServiceAccount",
                subject["name"].as_str().context("a subject")?,
            )?;
            assert_eq!(account["metadata"]["namespace"], subject["namespace"], "{name}");
        }
        for object in &objects {
            monitored(&name, object, &objects)?;
        }
        let container = agent(&objects)?;
        assert_eq!(container["image"], "localhost/obsflow:0.1.0", "{name}");
        assert_eq!(pod["hostNetwork"], true, "{name}");
        assert_eq!(pod["hostPID"], true, "{name}");
        assert_eq!(
            pod["tolerations"],
            serde_json::json!([{"operator": "Exists"}]),
            "{name}"
        );
        // Nothing listens on every address.
        let arguments = strings(&container["args"]).join(" ");
        assert!(
            !arguments.contains("0.0.0.0") && !arguments.contains("=:"),
            "{name}: {arguments}"
        );
    }
    Ok(())
}

fn containers(set: &Value) -> impl Iterator<Item = &Value> {
    let containers = set["spec"]["template"]["spec"]["containers"].as_array();
    containers.into_iter().flatten()
}

fn is_part(part: &Value, of: &Value) {
    for (key, value) in part.as_object().into_iter().flatten() {
        assert_eq!(&of[key], value, "{key}");
    }
}

/// Kinds of the Prometheus Operator: their schemas are not Kubernetes', so each field is known here.
/// <https://prometheus-operator.dev/docs/api-reference/api/>
fn monitored(name: &str, object: &Value, objects: &[Value]) -> Result<()> {
    let kind = object["kind"].as_str().context("no kind")?;
    let endpoints = match kind {
        "ServiceMonitor" => "endpoints",
        "PodMonitor" => "podMetricsEndpoints",
        "PrometheusRule" => {
            let fields: Vec<&String> = object["spec"].as_object().context("no spec")?.keys().collect();
            assert_eq!(fields, ["groups"], "{name}");
            return Ok(());
        }
        _ => {
            let api = object["apiVersion"].as_str().unwrap_or_default();
            assert!(!api.contains("coreos.com"), "{name}: {kind} is not looked at");
            return Ok(());
        }
    };
    let spec = object["spec"].as_object().context("no spec")?;
    for field in spec.keys() {
        assert!(
            [endpoints, "jobLabel", "namespaceSelector", "selector"].contains(&&**field),
            "{name}: {kind} has {field}"
        );
    }
    // The label that becomes `job`, which alerts and dashboard look for.
    let found = match kind {
        "ServiceMonitor" => find(objects, "Service", "obsflow-agent")?["metadata"]["labels"].clone(),
        _ => find(objects, "DaemonSet", "obsflow-agent")?["spec"]["template"]["metadata"]["labels"].clone(),
    };
    is_part(&spec["selector"]["matchLabels"], &found);
    let job = spec["jobLabel"].as_str().context("no jobLabel")?;
    assert_eq!(found[job], "obsflow", "{name}: {kind}");
    for endpoint in spec[endpoints].as_array().context("no endpoints")? {
        for field in endpoint.as_object().context("no endpoint")?.keys() {
            let known = [
                "honorLabels",
                "interval",
                "path",
                "port",
                "relabelings",
                "scheme",
                "scrapeTimeout",
                "tlsConfig",
            ];
            assert!(known.contains(&&**field), "{name}: {kind} has {field}");
        }
        assert_eq!(endpoint["honorLabels"], true, "{name}: {kind}");
        assert_eq!(endpoint["port"], "metrics", "{name}: {kind}");
        assert_eq!(
            endpoint["relabelings"][0]["targetLabel"], "node",
            "{name}: {kind}"
        );
    }
    Ok(())
}

/// Relay and UI: what they mount and select is there, too.
#[test]
fn kubernetes_takes_hubble() -> Result<()> {
    let objects = objects(&render(&deploy().join("hubble"))?, KUBERNETES)?;
    for name in ["hubble-relay", "hubble-ui"] {
        let labels = &find(&objects, "Deployment", name)?["spec"]["template"]["metadata"]["labels"];
        is_part(&find(&objects, "Service", name)?["spec"]["selector"], labels);
    }
    // Peers are the agents of the installation.
    let base = manifests::objects(&render(&deploy().join("base"))?, &[])?;
    let agents = &find(&base, "DaemonSet", "obsflow-agent")?["spec"]["template"]["metadata"]["labels"];
    let peers = find(&objects, "Service", "obsflow-peers")?;
    is_part(&peers["spec"]["selector"], agents);
    assert!(peers["spec"]["selector"].is_object());
    Ok(())
}

/// The agent itself says that it takes the arguments and the configuration of every overlay.
#[test]
fn the_agent_takes_what_it_is_given() -> Result<()> {
    let scratch = Scratch::new("arguments")?;
    for (name, objects) in everything("agent")? {
        let set = find(&objects, "DaemonSet", "obsflow-agent")?;
        let map = set["spec"]["template"]["spec"]["volumes"]
            .as_array()
            .into_iter()
            .flatten()
            .find_map(|volume| volume["configMap"]["name"].as_str())
            .context("no ConfigMap")?;
        let config = find(&objects, "ConfigMap", map)?["data"]["agent.toml"].as_str();
        let file = scratch.0.join("agent.toml");
        fs::write(&file, config.context("no agent.toml")?)?;
        let ip = if name.contains("ipv6") { "::1" } else { "127.0.0.1" };
        let arguments = strings(&agent(&objects)?["args"]).into_iter().map(|argument| {
            argument
                .replace("$(NODE_IP)", ip)
                .replace("$(NODE_NAME)", "node-a")
                .replace("/etc/obsflow/agent.toml", &file.to_string_lossy())
        });
        let arguments: Vec<String> = arguments.collect();
        let done = Command::new(tool::binary("obsflow")?)
            .args(arguments)
            .arg("--check")
            .output()?;
        assert!(
            done.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    Ok(())
}

/// Without privileges: exactly what the overlay says, each thing with its reason.
#[test]
fn the_least_is_little() -> Result<()> {
    let yaml = render(&deploy().join("overlays/least-privilege"))?;
    let objects = objects(&yaml, KUBERNETES)?;
    let security = &agent(&objects)?["securityContext"];
    assert_eq!(security["privileged"], false);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(security["appArmorProfile"]["type"], "Unconfined");
    assert_eq!(strings(&security["capabilities"]["drop"]), ["ALL"]);
    // Each capability, and each folder of the node, has a comment of its own in front of it.
    let source = fs::read_to_string(deploy().join("components/least-privilege/daemonset.yaml"))?;
    for capability in strings(&security["capabilities"]["add"]) {
        explained(&source, &format!("- {capability}"))?;
    }
    let source = fs::read_to_string(deploy().join("base/daemonset.yaml"))?;
    let set = find(&objects, "DaemonSet", "obsflow-agent")?;
    let volumes = &set["spec"]["template"]["spec"]["volumes"];
    for volume in volumes
        .as_array()
        .into_iter()
        .flatten()
        .filter(|v| v["hostPath"].is_object())
    {
        let name = volume["name"].as_str().context("no name")?;
        let volumes = source.split_once("      volumes:\n").context("no volumes")?.1;
        explained(volumes, &format!("- name: {name}"))?;
    }
    Ok(())
}

/// The line before `what` is a comment.
fn explained(source: &str, what: &str) -> Result<()> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let at = lines
        .iter()
        .position(|line| *line == what)
        .with_context(|| format!("no {what}"))?;
    let before = lines.get(at.saturating_sub(1)).copied().unwrap_or_default();
    assert!(before.starts_with('#'), "{what} is not explained");
    Ok(())
}

/// The labels by which kube-prometheus-stack finds things.
#[test]
fn kube_prometheus_stack_finds_them() -> Result<()> {
    let objects = objects(
        &render(&deploy().join("overlays/kube-prometheus-stack"))?,
        KUBERNETES,
    )?;
    let mut selected: Vec<&str> = objects
        .iter()
        .filter(|object| object["metadata"]["labels"]["release"] == "kube-prometheus-stack")
        .filter_map(|object| object["kind"].as_str())
        .collect();
    selected.sort_unstable();
    assert_eq!(selected, ["PrometheusRule", "ServiceMonitor"]);
    let dashboard = find(&objects, "ConfigMap", "obsflow-dashboard")?;
    assert_eq!(dashboard["metadata"]["labels"]["grafana_dashboard"], "1");
    let text = dashboard["data"]["obsflow.json"]
        .as_str()
        .context("no dashboard")?;
    let dashboard: Value = serde_json::from_str(text)?;
    assert_eq!(dashboard["uid"], "obsflow");
    Ok(())
}

fn promtool(arguments: &[&str]) -> Result<()> {
    let done = Command::new(tool::made("prometheus")?.join("bin/promtool"))
        .args(arguments)
        .current_dir(deploy().join("prometheus"))
        .output()?;
    let said = [done.stdout, done.stderr].concat();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&said));
    Ok(())
}

fn rules() -> Result<Vec<Value>> {
    let text = fs::read_to_string(deploy().join("prometheus/obsflow.rules.yaml"))?;
    let file = objects(&text, &[])?;
    let rules = file[0]["groups"][0]["rules"].as_array().context("no rules")?;
    Ok(rules.clone())
}

/// Each alert is tested where it fires and where it does not, has its labels, and has its page.
#[test]
fn alerts_fire_when_they_should() -> Result<()> {
    promtool(&[
        "check",
        "rules",
        "--lint=all",
        "--lint-fatal",
        "obsflow.rules.yaml",
    ])?;
    promtool(&["test", "rules", "obsflow.rules.test.yaml"])?;
    let tests = fs::read_to_string(deploy().join("prometheus/obsflow.rules.test.yaml"))?;
    let tests = objects(&tests, &[])?;
    let cases: Vec<&Value> = tests[0]["tests"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|test| test["alert_rule_test"].as_array().into_iter().flatten())
        .collect();
    let runbooks = deploy().join("../docs/runbooks");
    let index = fs::read_to_string(runbooks.join("README.md"))?;
    for rule in rules()? {
        let alert = rule["alert"].as_str().context("not an alert")?;
        for fires in [true, false] {
            let has = cases.iter().any(|case| {
                case["alertname"] == alert
                    && case["exp_alerts"]
                        .as_array()
                        .is_some_and(|a| a.is_empty() != fires)
            });
            assert!(
                has,
                "{alert} has no test where it {}",
                if fires { "fires" } else { "is quiet" }
            );
        }
        let severity = rule["labels"]["severity"].as_str().context("no severity")?;
        assert!(["critical", "warning"].contains(&severity), "{alert}: {severity}");
        let annotations = &rule["annotations"];
        for annotation in ["summary", "description"] {
            assert!(annotations[annotation].is_string(), "{alert} has no {annotation}");
        }
        let url = annotations["runbook_url"].as_str().context("no runbook")?;
        assert!(url.ends_with(&format!("/docs/runbooks/{alert}.md")), "{url}");
        let page = fs::read_to_string(runbooks.join(format!("{alert}.md")))?;
        assert!(page.starts_with(&format!("# {alert}\n")), "{alert}");
        for part in ["**Means:**", "## See it", "obsflow ", "## Causes", "## Noise"] {
            assert!(page.contains(part), "the page of {alert} lacks {part}");
        }
        assert!(
            index.contains(&format!("| [{alert}]({alert}.md) | {severity} |")),
            "{alert}"
        );
    }
    // What inhibits and what is inhibited are alerts, and have the labels that must be equal.
    let inhibit = fs::read_to_string(deploy().join("prometheus/alertmanager.yaml"))?;
    let inhibit = objects(&inhibit, &[])?;
    for rule in inhibit[0]["inhibit_rules"].as_array().context("no rules")? {
        for matcher in ["source_matchers", "target_matchers"] {
            let text = rule[matcher][0].as_str().context("no matcher")?;
            let names = text.split('"').nth(1).context("no alert")?.split('|');
            for name in names {
                let alert = rules()?
                    .into_iter()
                    .find(|rule| rule["alert"] == name)
                    .context("no such alert")?;
                for label in strings(&rule["equal"]) {
                    let expr = alert["expr"].as_str().context("no expr")?;
                    assert!(
                        expr.contains(&label) || label == "instance",
                        "{name} has no {label}"
                    );
                }
            }
        }
    }
    Ok(())
}

/// Rules and dashboard ask for families that exist, by labels that these have.
#[test]
fn every_query_is_about_a_metric_there_is() -> Result<()> {
    let text = fs::read_to_string(deploy().join("components/monitoring/obsflow.json"))?;
    let dashboard: Value = serde_json::from_str(&text)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let mut queries: Vec<String> = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten())
        .filter_map(|target| Some(target["expr"].as_str()?.to_owned()))
        .collect();
    assert!(queries.len() > 25, "{queries:?}");
    for rule in rules()? {
        queries.push(rule["expr"].as_str().context("no expr")?.to_owned());
    }
    for variable in dashboard["templating"]["list"]
        .as_array()
        .context("no variables")?
    {
        queries.extend(variable["definition"].as_str().map(str::to_owned));
    }
    let mut used = BTreeSet::new();
    for query in &queries {
        for (name, labels) in selectors(query) {
            let family = family(&name).with_context(|| format!("no family {name}: {query}"))?;
            for label in labels {
                let of_the_target = ["job", "instance", "node", "le"].contains(&&*label);
                assert!(
                    of_the_target || family.labels.contains(&&*label),
                    "{name} has no {label}: {query}"
                );
            }
            used.insert(family.name);
        }
    }
    // Each family is somewhere, but for those that say nothing by themselves.
    let unused: Vec<&str> = Id::ALL
        .iter()
        .map(|id| id.family().name)
        .filter(|name| !used.contains(name))
        .collect();
    assert_eq!(unused, UNUSED, "families that no panel and no alert shows");
    Ok(())
}

/// Families that neither dashboard nor alerts show: attempts are `connects` before they end, queries are `responses` and
/// what is unanswered; entries of maps matter when some are lost, which is shown; costs are there only while somebody measures; the rest is for whoever looks for a defect.
const UNUSED: &[&str] = &[
    "obsflow_dns_queries_total",
    "obsflow_tcp_attempts_total",
    "obsflow_map_entries",
    "obsflow_program_run_seconds_total",
    "obsflow_program_runs_total",
    "obsflow_watch_restarts_total",
    "obsflow_stale_scrapes_total",
];

fn family(name: &str) -> Option<&'static Family> {
    let stem = name.strip_suffix("_bucket").unwrap_or(name);
    Id::ALL
        .iter()
        .map(|id| id.family())
        .find(|family| family.name == stem)
}

/// Names of obsflow's metrics in a query, each with the labels it is selected by.
fn selectors(query: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let mut rest = query;
    while let Some(at) = rest.find("obsflow_") {
        rest = &rest[at..];
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let labels = after
            .strip_prefix('{')
            .and_then(|inside| inside.split_once('}'))
            .map(|(inside, _)| inside)
            .unwrap_or_default()
            .split("\",")
            .filter_map(|matcher| Some(matcher.trim().split_once(['=', '!'])?.0.to_owned()))
            .collect();
        found.push((name.to_owned(), labels));
        rest = after;
    }
    found
}
