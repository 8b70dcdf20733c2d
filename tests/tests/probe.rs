//! Active checks, from inside pods, at real receivers.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use obsflow::api;
use obsflow::model::exchange::Signal;
use obsflow::model::expectation::{Endpoint, Host, Transport};
use obsflow::model::probe::{Check, Findings, Outcome, Step};
use obsflow::model::verdict::{Export, VerdictId};
use obsflow::probe::{self, Limits, Request};
use obsflow_tests::fault::{self, Fault, Hook};
use obsflow_tests::server::otlp::{self, Collector, Sdk, Setup};
use obsflow_tests::server::tls::{Authority, TlsCollector};
use obsflow_tests::wait::{self, SOON};
use obsflow_tests::{Lab, Pod, Proc, tool};
use serde_json::Value;

const NAME: &str = "otel-collector.observability.svc.cluster.local";

/// A pod with a process, whose destination is checked.
struct Client<'a> {
    pod: &'a Pod,
    process: Proc,
}

impl<'a> Client<'a> {
    fn start(pod: &'a Pod) -> Result<Self> {
        let process = pod.tool(["serve", "127.0.0.1:1"])?;
        process.json("that it listens", Duration::from_secs(10), |line| {
            line["listening"] == true
        })?;
        Ok(Self { pod, process })
    }

    fn request(&self, transport: Transport, tls: bool, host: &str, port: u16) -> Request {
        let host = host.parse().map_or_else(|_| Host::Name(host.into()), Host::Ip);
        Request {
            proc: "/proc".into(),
            pid: self.process.pid(),
            endpoint: Endpoint {
                host,
                port,
                tls: Some(tls),
                path: (transport != Transport::Grpc).then(|| "/v1/traces".into()),
                transport,
            },
            signal: Some(Signal::Traces),
            namespace: Some(self.pod.namespace.as_str().into()),
            proxy: None,
        }
    }

    fn http(&self, host: &str, port: u16) -> Result<Findings> {
        check(&self.request(Transport::HttpProtobuf, false, host, port))
    }

    fn grpc(&self, host: &str, port: u16) -> Result<Findings> {
        check(&self.request(Transport::Grpc, false, host, port))
    }

    fn https(&self, host: &str, port: u16) -> Result<Findings> {
        check(&self.request(Transport::HttpProtobuf, true, host, port))
    }
}

/// Checks, within the time that a check may take.
fn check(request: &Request) -> Result<Findings> {
    let limits = Limits::default();
    let began = Instant::now();
    let findings = probe::run(request, &limits, |check| eprintln!("{check:?}"))?;
    eprintln!("{:?}: {:#?}", findings.works, findings.conclusion);
    assert!(
        began.elapsed() < limits.total + Duration::from_secs(1),
        "{findings:#?}"
    );
    assert!(!findings.conclusion.is_empty(), "{findings:#?}");
    Ok(findings)
}

fn find(findings: &Findings, step: Step) -> Result<&Check> {
    findings
        .checks
        .iter()
        .find(|check| check.step == step)
        .with_context(|| format!("there is no {step} in {findings:#?}"))
}

#[track_caller]
fn says(findings: &Findings, works: Option<bool>, sentence: &str) {
    assert!(
        findings.conclusion.iter().any(|said| said.contains(sentence)),
        "not «{sentence}»: {findings:#?}"
    );
    assert_eq!(findings.works, works, "{findings:#?}");
}

#[test]
fn what_works_is_said_and_what_arrives_is_empty() -> Result<()> {
    let lab = Lab::new()?;
    let mut collector = Collector::start(&lab, "observability", "otel-collector")?;
    let pod = lab.pod("apps/checkout")?;
    let client = Client::start(&pod)?;
    let findings = client.http("otel-collector.observability", otlp::HTTP)?;
    says(&findings, Some(true), "takes an empty export (HTTP 200)");
    let resolved = find(&findings, Step::ResolveAsConfigured)?;
    assert!(
        resolved.detail.contains(&format!("{} ", collector.pod.v4))
            || resolved.detail.contains(&format!("{},", collector.pod.v4)),
        "{resolved:?}"
    );
    assert!(resolved.detail.ends_with(&format!(" as {NAME}")), "{resolved:?}");
    let connects = findings.checks.iter().filter(|check| check.step == Step::Connect);
    assert!(
        connects.clone().all(|check| check.outcome == Outcome::Ok),
        "{findings:#?}"
    );
    assert_eq!(connects.count(), 2, "one for each family: {findings:#?}");
    says(
        &client.grpc(NAME, otlp::GRPC)?,
        Some(true),
        "takes an empty export (grpc-status 0 (OK))",
    );
    // Nothing but empty exports arrived.
    for request in collector.received()? {
        assert_eq!(request["service"].as_str().unwrap_or_default(), "", "{request}");
    }
    // Credentials are never sent; to be asked for them is to have arrived.
    collector.answer(otlp::Transport::Http, "status=401")?;
    let findings = client.http(NAME, otlp::HTTP)?;
    says(
        &findings,
        Some(true),
        "is reachable and asks for credentials (HTTP 401)",
    );
    collector.answer(otlp::Transport::Grpc, "status=16")?;
    let findings = client.grpc(NAME, otlp::GRPC)?;
    says(
        &findings,
        Some(true),
        "asks for credentials (grpc-status 16 (UNAUTHENTICATED))",
    );
    collector.answer(otlp::Transport::Http, "status=503")?;
    says(&client.http(NAME, otlp::HTTP)?, Some(false), "HTTP 503");
    collector.answer(otlp::Transport::Http, "never")?;
    let findings = client.http(NAME, otlp::HTTP)?;
    assert_eq!(findings.works, Some(false));
    assert!(
        find(&findings, Step::ExportHttpProtobuf)?
            .detail
            .starts_with("no answer in 3.0 s"),
        "{findings:#?}"
    );
    Ok(())
}

#[test]
fn swapped_ports_are_told_with_both_cures() -> Result<()> {
    let lab = Lab::new()?;
    let collector = Collector::start(&lab, "observability", "otel-collector")?;
    let pod = lab.pod("apps/checkout")?;
    let client = Client::start(&pod)?;
    says(
        &client.http(NAME, otlp::GRPC)?,
        Some(false),
        "gRPC on port 4317 answers; HTTP is configured for it: use port 4318 or OTEL_EXPORTER_OTLP_PROTOCOL=grpc.",
    );
    says(
        &client.grpc(NAME, otlp::HTTP)?,
        Some(false),
        "HTTP on port 4318 answers; gRPC is configured for it: use port 4317 or \
         OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf.",
    );
    drop(collector);
    let http_only = Collector::start_as(&lab, "observability", "http-only", Setup::http(&[otlp::HTTP]))?;
    says(
        &client.grpc(&http_only.name, otlp::GRPC)?,
        Some(false),
        "HTTP answers on port 4318: use http://http-only.observability.svc.cluster.local:4318/v1/traces with \
         OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf.",
    );
    Ok(())
}

#[test]
fn a_path_that_is_doubled_is_told() -> Result<()> {
    let lab = Lab::new()?;
    let _collector = Collector::start(&lab, "observability", "otel-collector")?;
    let pod = lab.pod("apps/checkout")?;
    let client = Client::start(&pod)?;
    let mut request = client.request(Transport::HttpProtobuf, false, NAME, otlp::HTTP);
    request.endpoint.path = Some("/v1/traces/v1/traces".into());
    says(
        &check(&request)?,
        Some(false),
        "is refused at /v1/traces/v1/traces and taken at",
    );
    Ok(())
}

#[test]
fn names_are_resolved_as_the_pod_would() -> Result<()> {
    let lab = Lab::new()?;
    let collector = Collector::start(&lab, "observability", "otel-collector")?;
    // The node's resolv.conf, as with dnsPolicy Default: no cluster domain in the search list.
    let pod = lab.pod("apps/checkout")?;
    let resolv_conf = lab.dir().join("etc").join(&pod.uid).join("resolv.conf");
    rewrite(&resolv_conf, |text| {
        text.replace("apps.svc.cluster.local svc.cluster.local cluster.local ", "")
    })?;
    let client = Client::start(&pod)?;
    let findings = client.http("otel-collector.observability.svc", otlp::HTTP)?;
    says(
        &findings,
        Some(false),
        &format!("otel-collector.observability.svc resolves only as {NAME}: write the whole name."),
    );
    assert_eq!(find(&findings, Step::ExportHttpProtobuf)?.outcome, Outcome::Ok);
    let tried = find(&findings, Step::ResolveAsConfigured)?;
    assert_eq!(
        &*tried.detail,
        "NXDOMAIN for otel-collector.observability.svc.ec2.internal, otel-collector.observability.svc"
    );
    let findings = client.http("no-such-thing.observability.svc", otlp::HTTP)?;
    says(
        &findings,
        Some(false),
        "No form of no-such-thing.observability.svc resolves",
    );
    assert_eq!(
        find(&findings, Step::ExportHttpProtobuf)?.outcome,
        Outcome::Skipped
    );
    let findings = client.http("collector.servfail.example", otlp::HTTP)?;
    says(&findings, Some(false), "SERVFAIL");
    // The pod's own files, not the node's.
    pod.add_host(collector.pod.v4.into(), "collector.by.hosts")?;
    let findings = client.http("collector.by.hosts", otlp::HTTP)?;
    says(&findings, Some(true), "takes an empty export");
    lab.dns().pause()?;
    let findings = client.http("otel-collector.observability.svc", otlp::HTTP)?;
    says(&findings, Some(false), "No name server answers the pod");
    lab.dns().resume()?;
    lab.dns().stop();
    let findings = client.http("otel-collector.observability.svc", otlp::HTTP)?;
    says(&findings, Some(false), "No name server answers the pod");
    assert!(
        find(&findings, Step::ResolveAsConfigured)?
            .detail
            .starts_with("ECONNREFUSED"),
        "{findings:#?}"
    );
    Ok(())
}

/// In place: the file is mounted into the pod.
fn rewrite(path: &Path, change: impl FnOnce(String) -> String) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let changed = change(text.clone());
    assert_ne!(text, changed);
    Ok(fs::write(path, changed)?)
}

#[test]
fn connections_that_fail_are_told_apart_in_bounded_time() -> Result<()> {
    let lab = Lab::new()?;
    let mut collector = Collector::start(&lab, "observability", "otel-collector")?;
    let pod = lab.pod("apps/checkout")?;
    let client = Client::start(&pod)?;
    let v4 = collector.pod.v4.to_string();
    collector.stop();
    let findings = client.http(&v4, otlp::HTTP)?;
    says(
        &findings,
        Some(false),
        &format!("Connections to port 4318 are refused by {v4}"),
    );
    collector.restart()?;
    let broken = fault::apply(
        &collector.pod.netns,
        Fault::Drop(Hook::Input, fault::Transport::Tcp, otlp::HTTP),
    )?;
    let also = fault::apply(
        &collector.pod.netns,
        Fault::Drop(Hook::Input, fault::Transport::Tcp, otlp::GRPC),
    )?;
    let findings = client.http(NAME, otlp::HTTP)?;
    says(&findings, Some(false), "packets are lost on the way");
    also.heal()?;
    let findings = client.http(NAME, otlp::HTTP)?;
    says(&findings, Some(false), "gRPC answers on port 4317");
    broken.heal()?;
    says(
        &client.http(NAME, otlp::HTTP)?,
        Some(true),
        "takes an empty export",
    );
    let gone = fault::apply(&pod.netns, Fault::NoRoute)?;
    let findings = client.http(&v4, otlp::HTTP)?;
    says(&findings, Some(false), "ENETUNREACH");
    gone.heal()?;
    // Some addresses only.
    lab.dns().add(
        "half.observability.svc.cluster.local",
        &[collector.pod.v4.into(), IpAddr::V4(pod.v4)],
    )?;
    let findings = client.http("half.observability.svc.cluster.local", otlp::HTTP)?;
    says(
        &findings,
        Some(true),
        "Not every address takes connections on port 4318",
    );
    Ok(())
}

#[test]
fn tls_is_told_with_the_certificate() -> Result<()> {
    let lab = Lab::new()?;
    let authority = Authority::new(&lab, "authority")?;
    let tls = TlsCollector::start(&lab, "otel-collector", &authority, None)?;
    let plain = Collector::start(&lab, "observability", "plain")?;
    let pod = lab.pod("apps/checkout")?;
    let client = Client::start(&pod)?;
    // Nobody on this node knows the authority: that is told, and the rest is tried all the same.
    let findings = client.https(NAME, otlp::HTTP)?;
    says(
        &findings,
        None,
        "The certificate is signed by nobody that this node trusts",
    );
    let handshake = find(&findings, Step::Tls)?;
    assert_eq!(handshake.outcome, Outcome::Failed);
    assert!(
        handshake
            .detail
            .contains(&format!("for {NAME}, issued by CN=the lab's authority")),
        "{handshake:?}"
    );
    assert_eq!(find(&findings, Step::ExportHttpProtobuf)?.outcome, Outcome::Ok);
    let findings = check(&client.request(Transport::Grpc, true, NAME, otlp::GRPC))?;
    assert_eq!(
        find(&findings, Step::ExportGrpc)?.outcome,
        Outcome::Ok,
        "{findings:#?}"
    );
    let findings = client.http(NAME, otlp::HTTP)?;
    says(
        &findings,
        Some(false),
        &format!("Port 4318 wants TLS: use https://{NAME}:4318/v1/traces."),
    );
    let findings = client.grpc(NAME, otlp::GRPC)?;
    says(
        &findings,
        Some(false),
        &format!("Port 4317 wants TLS: use https://{NAME}:4317."),
    );
    for (transport, port) in [
        (Transport::HttpProtobuf, otlp::HTTP),
        (Transport::Grpc, otlp::GRPC),
    ] {
        let findings = check(&client.request(transport, true, &plain.name, port))?;
        says(
            &findings,
            Some(false),
            &format!("Port {port} does not speak TLS: use http://{}", plain.name),
        );
    }
    let wrong = client.https(&tls.collector.pod.v4.to_string(), otlp::HTTP)?;
    let handshake = find(&wrong, Step::Tls)?;
    assert!(handshake.detail.contains(&format!("for {NAME}")), "{handshake:?}");
    assert_ne!(wrong.works, Some(true), "{wrong:#?}");
    let mutual = TlsCollector::start(&lab, "mutual", &authority, Some(&authority))?;
    let findings = client.https(&mutual.collector.name, otlp::HTTP)?;
    says(&findings, Some(false), "The server asks for a client certificate");
    Ok(())
}

/// An exporter whose port nobody listens on, in the pod; the receiver takes HTTP on the other one.
fn wrong_port(lab: &Lab, pod: &Pod) -> Result<(Collector, Proc)> {
    let collector = Collector::start_as(lab, "observability", "http-only", Setup::http(&[otlp::HTTP]))?;
    let mut command = otlp::exporter(pod, Sdk::Rust)?;
    command
        .args(["1000", "500"])
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        .env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://http-only.observability:4317",
        );
    Ok((collector, Proc::start(command)?))
}

/// As a person does it: an exporter that fails, and doctor, who tries what would work.
#[test]
fn doctor_tries_what_would_work() -> Result<()> {
    let lab = Lab::new()?;
    let pod = lab.pod("apps/checkout")?;
    let _running = wrong_port(&lab, &pod)?;
    let mut doctor = lab.obsflow_command("doctor")?;
    doctor.args([&pod.path(), "--probe", "--for", "8s", "-o", "json"]);
    let doctor = Proc::start(doctor)?;
    let report = doctor.json("a report", Duration::from_secs(40), |line| {
        line["exports"].is_array()
    })?;
    would_work(&report)
}

/// The same against an agent, over its socket: it is the agent that tries, and the report of its own says nothing of what
/// it tried.
#[test]
fn an_agent_tries_what_would_work() -> Result<()> {
    let lab = Lab::new()?;
    let socket = lab.dir().join("agent.sock");
    let server = format!("unix://{}", socket.display());
    let mut agent = lab.obsflow_command("agent")?;
    agent.args(["--listen", &server, "--state", "off", "--health", "off"]);
    let mut agent = Proc::start(agent)?;
    wait::until("the agent's socket", SOON, || Ok(socket.exists().then_some(())))?;
    let pod = lab.pod("apps/checkout")?;
    let (collector, _exporter) = wrong_port(&lab, &pod)?;
    let mut asked = api::Client::connect(&server)?;
    let exports = |agent: &mut api::Client| -> Result<Vec<(String, VerdictId)>> {
        let exports = agent.report()?.report.exports;
        let of = |export: &Export| export.workload.pod.as_deref() == Some(pod.name.as_str());
        let of = exports.into_iter().filter(of);
        Ok(of.map(|export| (export.id.to_string(), export.verdict)).collect())
    };
    let before = wait::until("refused", SOON, || {
        let exports = exports(&mut asked)?;
        let refused = exports.iter().any(|(_, verdict)| *verdict == VerdictId::Refused);
        Ok(refused.then_some(exports))
    })?;
    let ask = |output: &str| -> Result<String> {
        let mut doctor = Command::new(tool::binary("obsflow")?);
        doctor.args([
            "doctor",
            &pod.path(),
            "--probe",
            "--server",
            &server,
            "-o",
            output,
        ]);
        let output = doctor.output()?;
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{err}");
        Ok(String::from_utf8(output.stdout)?)
    };
    would_work(&serde_json::from_str(&ask("json")?)?)?;
    let table = ask("table")?;
    assert!(
        table.contains("use http://http-only.observability:4318/v1/traces"),
        "{table}"
    );
    // What arrived are empty exports, and none of them is the pod's in the agent's eyes.
    assert!(!collector.received()?.is_empty());
    for request in collector.received()? {
        assert_eq!(request["service"].as_str().unwrap_or_default(), "", "{request}");
    }
    assert_eq!(exports(&mut asked)?, before);
    drop(asked);
    assert_eq!(agent.stop(SOON)?.code(), Some(0), "{:?}", agent.err().all());
    Ok(())
}

/// Checks what a report says of the exporter of [`wrong_port`].
fn would_work(report: &Value) -> Result<()> {
    let export = &report["exports"][0];
    assert_eq!(export["verdict"], "refused", "{export:#}");
    let probe = &export["probe"];
    assert_eq!(probe["works"], false, "{export:#}");
    let says: Vec<&str> = probe["conclusion"]
        .as_array()
        .context("no conclusion")?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(
        says.contains(&"HTTP answers on port 4318: use http://http-only.observability:4318/v1/traces."),
        "{probe:#}"
    );
    Ok(())
}
