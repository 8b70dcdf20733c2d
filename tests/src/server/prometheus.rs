//! A Prometheus that scrapes an agent, with the rules of `deploy/`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::lab::pod::{Pod, PodSpec};
use crate::process::Proc;
use crate::{Lab, manifests, tool, wait};

/// Where it serves: 9090 is a port that telemetry is sent to.
const PORT: u16 = 19_090;
/// A query has its answer within this time.
const ANSWER: Duration = Duration::from_secs(20);

/// Prometheus in a pod on node 1; it ends with its guard.
#[derive(Debug)]
pub struct Prometheus {
    pod: Pod,
    process: Proc,
}

impl Prometheus {
    /// Starts one that scrapes these targets every second, as job and with the labels that the monitors of `deploy/` give, and
    /// that evaluates the rules of `deploy/`: with waits and windows of seconds, so that a test sees them end.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(lab: &Lab, targets: &[(SocketAddr, &str)]) -> Result<Self> {
        let pod = lab.pod(
            PodSpec::new("monitoring/prometheus")
                .node(1)
                .container("prometheus"),
        )?;
        let folder = lab.dir().join("prometheus");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("obsflow.rules.yaml"), hurried(&rules()?)?)?;
        let mut config = String::from(
            "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n\
             rule_files: [obsflow.rules.yaml]\nscrape_configs:\n  - job_name: obsflow\n    honor_labels: true\n    \
             static_configs:\n",
        );
        for (address, node) in targets {
            config += &format!("      - {{targets: ['{address}'], labels: {{node: {node}}}}}\n");
        }
        let file = folder.join("prometheus.yml");
        fs::write(&file, config)?;
        let mut command = pod.command(tool::made("prometheus")?.join("bin/prometheus"))?;
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={}:{PORT}", pod.v4))
            .arg("--log.level=warn");
        let process = Proc::start(command)?;
        let prometheus = Self { pod, process };
        wait::until("a Prometheus that is ready", wait::SOON, || {
            Ok(prometheus.get("/-/ready").is_ok().then_some(()))
        })
        .with_context(|| prometheus.process.err().all().join(" | "))?;
        Ok(prometheus)
    }

    /// The series of a query, now.
    ///
    /// # Errors
    /// When it is not understood.
    pub fn now(&self, query: &str) -> Result<Vec<Value>> {
        self.series(&format!("/api/v1/query?query={}", escaped(query)))
    }

    /// The series of a query over the last `seconds`, a point every `step`.
    ///
    /// # Errors
    /// When it is not understood.
    pub fn since(&self, query: &str, seconds: u32, step: u32) -> Result<Vec<Value>> {
        let now = jiff::Timestamp::now().as_second();
        self.series(&format!(
            "/api/v1/query_range?query={}&start={}&end={now}&step={step}",
            escaped(query),
            now - i64::from(seconds)
        ))
    }

    fn series(&self, path: &str) -> Result<Vec<Value>> {
        let answer = self.get(path)?;
        let result = answer["data"]["result"].as_array();
        Ok(result.context("an answer without a result")?.clone())
    }

    /// Alerts that fire.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn firing(&self) -> Result<Vec<Value>> {
        let answer = self.get("/api/v1/alerts")?;
        let alerts = answer["data"]["alerts"].as_array().context("no alerts")?;
        Ok(alerts
            .iter()
            .filter(|alert| alert["state"] == "firing")
            .cloned()
            .collect())
    }

    /// What a path is answered with; a word, where it is no JSON.
    fn get(&self, path: &str) -> Result<Value> {
        let address = SocketAddr::from((self.pod.v4, PORT));
        let text = self.pod.netns.within(|| http(address, path))?;
        let (head, body) = text.split_once("\r\n\r\n").context("no answer")?;
        ensure!(head.starts_with("HTTP/1.0 200"), "{path}: {text}");
        Ok(serde_json::from_str(body).unwrap_or_else(|_| body.into()))
    }
}

/// HTTP/1.0: the answer is what comes until the end, in one piece.
fn http(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// A query as a part of a URL.
fn escaped(query: &str) -> String {
    query
        .bytes()
        .map(|byte| match byte {
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

fn rules() -> Result<String> {
    let path = manifests::deploy().join("prometheus/obsflow.rules.yaml");
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// The same rules, minutes being seconds: `for: 5m`, `[10m]`.
fn hurried(rules: &str) -> Result<String> {
    let mut hurried = String::new();
    for line in rules.lines() {
        match line.trim().strip_prefix("for: ") {
            Some(wait) => {
                let minutes = wait.strip_suffix('m').and_then(|m| m.parse::<u32>().ok());
                let Some(minutes) = minutes else {
                    bail!("not in minutes: {line}")
                };
                hurried += &format!("        for: {minutes}s\n");
            }
            None => hurried += &format!("{}\n", line.replace("[5m]", "[20s]").replace("[10m]", "[20s]")),
        }
    }
    Ok(hurried)
}

/// A metrics page as it is served.
///
/// # Errors
/// When nobody answers there.
pub fn scrape(pod: &Pod, address: SocketAddr) -> Result<String> {
    let text = pod.netns.within(|| http(address, "/metrics"))?;
    let (head, body) = text.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.contains(" 200 "), "{head}");
    Ok(body.to_owned())
}

/// Whether promtool finds nothing to say of a metrics page.
///
/// # Errors
/// With its words, when it does.
pub fn check(page: &str, folder: &Path) -> Result<()> {
    let file = folder.join("metrics.txt");
    fs::write(&file, page)?;
    let done = std::process::Command::new(tool::made("prometheus")?.join("bin/promtool"))
        .args(["check", "metrics"])
        .stdin(fs::File::open(&file)?)
        .output()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
