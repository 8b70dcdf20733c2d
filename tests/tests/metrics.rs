//! `obsflow agent --metrics`: what happens, as Prometheus reads it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use obsflow_tests::scenario::{connect, says};
use obsflow_tests::scrape::{Samples, get};
use obsflow_tests::server::otlp::{self, Collector, Sdk, Transport};
use obsflow_tests::wait::{SOON, until};
use obsflow_tests::{Lab, Pod, PodSpec, Proc, tool};
use serde_json::Value;

/// The Collector's name, with a letter missing.
const TYPO: &str = "otel-colector.observability";
/// Verdicts open when their container is a minute old.
const OPENS: Duration = Duration::from_secs(100);
/// Counts of a cgroup are forgotten half a minute after it.
const FORGOTTEN: Duration = Duration::from_secs(70);

const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0";

/// A folder that goes with its guard.
struct Folder(PathBuf);

impl Folder {
    fn new(lab: &Lab) -> Result<Self> {
        let name = lab.node(0)?.cgroup.display().to_string().replace('/', "-");
        let folder = std::env::temp_dir().join(format!("obsflow-metrics{name}"));
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An agent on node 0.
fn start(lab: &Lab, folder: &Folder, arguments: &[&str]) -> Result<Proc> {
    let mut command = lab.obsflow_command("agent")?;
    command
        .args([
            "--log-format",
            "json",
            "--health",
            "off",
            "--state",
            "off",
            "--listen",
        ])
        .arg(format!("unix://{}", folder.0.join("agent.sock").display()))
        .args(arguments);
    let agent = Proc::start(command)?;
    said(&agent, "attached")?;
    Ok(agent)
}

/// A line of its log whose message begins so.
fn said(agent: &Proc, message: &str) -> Result<Value> {
    agent
        .err()
        .find(SOON, |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            line["message"].as_str()?.starts_with(message).then_some(line)
        })
        .with_context(|| format!("the agent did not say {message:?}: {:?}", agent.err().all()))
}

/// Where it serves metrics.
fn address(agent: &Proc) -> Result<SocketAddr> {
    let line = said(agent, "serving /metrics")?;
    Ok(line["address"].as_str().context("no address")?.parse()?)
}

fn scrape(address: SocketAddr) -> Result<Samples> {
    Samples::of(address)
}

/// Asks the name server for a name, a number of times, and waits for each answer.
fn ask(lab: &Lab, pod: &Pod, name: &str, times: u32) -> Result<()> {
    let server = SocketAddr::new(lab.dns().pod.v4.into(), 53).to_string();
    let asked = says(pod, &["query", &server, name, "A", "--burst", &times.to_string()])?;
    assert_eq!(asked["answered"], times, "{asked}");
    Ok(())
}

const CHECKOUT: [&str; 2] = ["namespace=\"apps\"", "workload=\"checkout\""];

fn responses(samples: &Samples, rcode: &str) -> Option<f64> {
    let [namespace, workload] = CHECKOUT;
    let rcode = format!("rcode=\"{rcode}\"");
    samples.sum("obsflow_dns_responses_total", &[namespace, workload, &rcode])
}

#[test]
fn what_happens_is_counted_exactly() -> Result<()> {
    let lab = Lab::new()?;
    let folder = Folder::new(&lab)?;
    let nobody = lab.pod(PodSpec::new("observability/nobody").node(1))?;
    let agent = start(&lab, &folder, &["--metrics", "127.0.0.1:0"])?;
    let at = address(&agent)?;
    let before = scrape(at)?;
    assert_eq!(before.sum("obsflow_dns_queries_total", &CHECKOUT), None);
    assert_eq!(before.sum("obsflow_hook_attached", &["hook=\"tcp\""]), Some(1.0));

    // At once: a scrape has what was answered until it asked.
    let pod = lab.pod("apps/checkout")?;
    ask(&lab, &pod, "nosuch.example.", 40)?;
    let after = scrape(at)?;
    assert_eq!(responses(&after, "NXDOMAIN"), Some(40.0));
    assert_eq!(after.sum("obsflow_dns_queries_total", &CHECKOUT), Some(40.0));
    lab.dns().add("there.example", &["192.0.2.1".parse()?])?;
    ask(&lab, &pod, "there.example.", 3)?;
    let after = scrape(at)?;
    let counted = (responses(&after, "NXDOMAIN"), responses(&after, "NOERROR"));
    assert_eq!(counted, (Some(40.0), Some(3.0)));

    // Attempts by port and end; from events, where to.
    let to = SocketAddr::new(nobody.v4.into(), 4317);
    for _ in 0..3 {
        assert_eq!(connect(&pod, to, 1000)?["errno"], 111);
    }
    let after = scrape(at)?;
    let [namespace, workload] = CHECKOUT;
    let port = "port=\"4317\"";
    assert_eq!(
        after.sum("obsflow_tcp_attempts_total", &[namespace, workload, port]),
        Some(3.0)
    );
    let refused = [namespace, workload, port, "outcome=\"refused\""];
    assert_eq!(after.sum("obsflow_tcp_connects_total", &refused), Some(3.0));
    let sink = format!("sink=\"{to}\"");
    let refused = [
        namespace,
        workload,
        &*sink,
        "outcome=\"refused\"",
        "errno=\"ECONNREFUSED\"",
    ];
    until("refused connects by sink", SOON, || {
        Ok((scrape(at)?.sum("obsflow_sink_connects_total", &refused) == Some(3.0)).then_some(()))
    })?;

    // Its pod is replaced: the workload's counters go on, while the kernel forgets the old one.
    let entries = |samples: &Samples| samples.sum("obsflow_map_entries", &["map=\"dns\""]);
    let before = scrape(at)?;
    pod.delete()?;
    let pod = lab.pod("apps/checkout")?;
    ask(&lab, &pod, "nosuch.example.", 10)?;
    let after = scrape(at)?;
    assert_eq!(responses(&after, "NXDOMAIN"), Some(50.0));
    assert!(entries(&after) > entries(&before), "{after:?}");
    until("the kernel to forget the old pod", FORGOTTEN, || {
        let samples = scrape(at)?;
        assert_eq!(responses(&samples, "NXDOMAIN"), Some(50.0));
        assert_eq!(responses(&samples, "NOERROR"), Some(3.0));
        Ok((entries(&samples) < entries(&after)).then_some(()))
    })?;
    ask(&lab, &pod, "nosuch.example.", 1)?;
    assert_eq!(responses(&scrape(at)?, "NXDOMAIN"), Some(51.0));
    Ok(())
}

#[test]
fn exports_and_verdicts_come_and_go() -> Result<()> {
    let lab = Lab::new()?;
    let folder = Folder::new(&lab)?;
    let collector = Collector::start(&lab, "observability", "otel-collector")?;
    let agent = start(
        &lab,
        &folder,
        &["--metrics", "127.0.0.1:0", "--metrics-pod-label", "on"],
    )?;
    let at = address(&agent)?;
    let [good, bad] = [lab.pod("apps/checkout")?, lab.pod("apps/catalog")?];
    let export = |pod: &Pod, host: &str| {
        otlp::export(
            pod,
            Sdk::Rust,
            Transport::Http,
            host,
            100_000,
            Duration::from_millis(500),
        )
    };
    let host = "otel-collector.observability";
    let _exporters = [export(&good, host)?, export(&bad, TYPO)?];

    // As it was looked up, it is a Service.
    let sink = "sink=\"observability/otel-collector:4318\"";
    let of_pod = format!("pod=\"{}\"", good.name);
    let of_good = [CHECKOUT[0], CHECKOUT[1], &*of_pod, sink];
    let with = |more: &[&'static str]| -> Vec<String> {
        of_good
            .iter()
            .chain(more)
            .map(|label| (*label).to_owned())
            .collect()
    };
    let value = |samples: &Samples, family: &str, labels: &[String]| {
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        samples.sum(family, &labels)
    };
    let samples = until("an accepted export", SOON, || {
        let samples = scrape(at)?;
        let accepted = with(&["rung=\"accepted\"", "state=\"ok\""]);
        Ok((value(&samples, "obsflow_exporters", &accepted) == Some(1.0)).then_some(samples))
    })?;
    let traces = with(&["signal=\"traces\""]);
    let last = value(&samples, "obsflow_export_last_success_timestamp_seconds", &traces);
    let now = jiff_now();
    assert!(
        last.is_some_and(|last| (now - last).abs() < 60.0),
        "{last:?} at {now}"
    );
    let requests = with(&["signal=\"traces\"", "code=\"200\""]);
    assert!(value(&samples, "obsflow_export_requests_total", &requests) >= Some(1.0));
    let established = with(&["outcome=\"established\""]);
    assert!(value(&samples, "obsflow_sink_connects_total", &established) >= Some(1.0));
    assert!(
        value(
            &samples,
            "obsflow_sink_handshake_duration_seconds_count",
            &with(&[])
        ) >= Some(1.0)
    );
    // Its connection lives on, and is counted all the same.
    until("bytes of an open connection", SOON, || {
        let samples = scrape(at)?;
        let sent = value(&samples, "obsflow_sink_sent_bytes_total", &with(&[]));
        let received = value(&samples, "obsflow_sink_received_bytes_total", &with(&[]));
        Ok((sent > Some(0.0) && received > Some(0.0)).then_some(()))
    })?;

    let nxdomain = [
        "workload=\"catalog\"",
        "verdict=\"dns-nxdomain\"",
        "severity=\"critical\"",
    ];
    let verdict = |samples: &Samples| samples.sum("obsflow_verdict", &nxdomain);
    let first = scrape(at)?;
    let starting = ["severity=\"starting\""];
    assert_eq!(first.sum("obsflow_verdict", &starting), None);
    let samples = until("a verdict", OPENS, || {
        let samples = scrape(at)?;
        Ok(verdict(&samples).map(|_| samples))
    })?;
    assert_eq!(verdict(&samples), Some(1.0));
    assert!(
        samples.sum(
            "obsflow_dns_lookups_total",
            &["workload=\"catalog\"", "outcome=\"nxdomain\""]
        ) >= Some(1.0)
    );
    looks_right(at)?;

    // Mended: it goes, and the healthy one's stays.
    lab.dns().add(
        "otel-colector.observability.svc.cluster.local",
        &[collector.pod.v4.into()],
    )?;
    until("the verdict to end", SOON, || {
        Ok(verdict(&scrape(at)?).is_none().then_some(()))
    })?;
    let healthy = [CHECKOUT[1], "verdict=\"healthy\""];
    assert!(scrape(at)?.sum("obsflow_verdict", &healthy) >= Some(1.0));
    Ok(())
}

fn jiff_now() -> f64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// Both formats, and promtool has nothing to say.
fn looks_right(at: SocketAddr) -> Result<()> {
    let (head, text) = get(at, "*/*")?;
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let (head, open) = get(at, OPEN_METRICS)?;
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    assert!(open.ends_with("# EOF\n"));
    assert!(open.contains("# TYPE obsflow_dns_responses counter\n"));
    assert!(text.contains("# TYPE obsflow_dns_responses_total counter\n"));

    let promtool = tool::made("prometheus")?.join("bin/promtool");
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut input = check.stdin.take().context("no input")?;
    input.write_all(text.as_bytes())?;
    drop(input);
    let output = check.wait_with_output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(
        output.status.success() && said.trim().is_empty(),
        "{said}\n{text}"
    );
    Ok(())
}

#[test]
fn a_port_that_is_taken_is_had_later() -> Result<()> {
    let lab = Lab::new()?;
    let folder = Folder::new(&lab)?;
    let (certificate, key) = (folder.0.join("tls.crt"), folder.0.join("tls.key"));
    let certify = || -> Result<()> {
        let mut command = Command::new("openssl");
        command
            .args([
                "req",
                "-x509",
                "-nodes",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
            ])
            .args(["-subj", "/CN=agent", "-days", "2", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate);
        let output = command.output().context("openssl")?;
        assert!(output.status.success(), "{output:?}");
        Ok(())
    };
    certify()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let metrics = taken.local_addr()?;
    let files = [certificate.display().to_string(), key.display().to_string()];
    let agent = start(
        &lab,
        &folder,
        &[
            "--metrics",
            &metrics.to_string(),
            "--metrics-tls-cert",
            &files[0],
            "--metrics-tls-key",
            &files[1],
        ],
    )?;
    let line = said(&agent, "cannot serve /metrics")?;
    let line = line["message"].as_str().unwrap_or_default().to_owned();
    assert!(
        line.contains("in use") && line.contains("--metrics off"),
        "{line}"
    );
    // Everything else goes on.
    let mut status = Command::new(tool::binary("obsflow")?);
    status
        .args(["status", "--server"])
        .arg(format!("unix://{}", folder.0.join("agent.sock").display()));
    assert!(status.output()?.status.success());
    drop(taken);
    assert_eq!(address(&agent)?, metrics);
    let warned = agent.err().all();
    assert_eq!(
        warned.iter().filter(|line| line.contains("cannot serve")).count(),
        1
    );

    // Over TLS only, with whatever certificate there is by now.
    let ask = || -> Result<String> {
        let mut client = Command::new("openssl")
            .args(["s_client", "-ign_eof", "-connect", &metrics.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut input = client.stdin.take().context("no input")?;
        input.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let output = client.wait_with_output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let shown = |answer: &str| {
        answer
            .split_once("-----BEGIN CERTIFICATE-----")
            .and_then(|(_, rest)| rest.split_once("-----END"))
            .map(|(certificate, _)| certificate.to_owned())
    };
    let first = ask()?;
    assert!(first.contains("obsflow_build_info{"), "{first}");
    let mut plain = TcpStream::connect(metrics)?;
    plain.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(
        !String::from_utf8_lossy(&answer).contains("obsflow"),
        "{answer:?}"
    );
    certify()?;
    until("the new certificate", SOON, || {
        let now = ask()?;
        Ok((shown(&now).is_some() && shown(&now) != shown(&first)).then_some(()))
    })
}
