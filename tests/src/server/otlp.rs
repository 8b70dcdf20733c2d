//! A Collector: real OTLP receivers over HTTP and gRPC that write down what arrives, and the exporters that send.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::Lab;
use crate::app::Env;
use crate::lab::pod::{Pod, PodSpec};
use crate::process::Proc;
use crate::{tool, wait};

/// OTLP over gRPC.
pub const GRPC: u16 = 4317;
/// OTLP over HTTP.
pub const HTTP: u16 = 4318;

/// How a receiver is started.
#[derive(Clone, Debug)]
pub struct Setup {
    v4_only: bool,
    http: Vec<u16>,
    grpc: Option<u16>,
    options: Vec<String>,
}

impl Default for Setup {
    /// An OpenTelemetry Collector.
    fn default() -> Self {
        Self {
            v4_only: false,
            http: vec![HTTP],
            grpc: Some(GRPC),
            options: Vec::new(),
        }
    }
}

impl Setup {
    /// Takes HTTP on these ports only.
    #[must_use]
    pub fn http(ports: &[u16]) -> Self {
        Self {
            http: ports.to_vec(),
            grpc: None,
            ..Self::default()
        }
    }

    /// Takes HTTP on one port and gRPC on another.
    #[must_use]
    pub fn on(http: u16, grpc: u16) -> Self {
        Self {
            http: vec![http],
            grpc: Some(grpc),
            ..Self::default()
        }
    }

    /// More HTTP ports.
    #[must_use]
    pub fn also_http(mut self, ports: &[u16]) -> Self {
        self.http.extend(ports);
        self
    }

    /// Listens on IPv4 only: over IPv6 connects are refused.
    #[must_use]
    pub fn v4_only(mut self) -> Self {
        self.v4_only = true;
        self
    }

    /// An option of `lab-otlp receive`, as `paths=victoria` or `traces=http://tempo:4317`.
    #[must_use]
    pub fn option(mut self, option: impl Into<String>) -> Self {
        self.options.push(option.into());
        self
    }
}

/// A Collector in a pod, known to the name server as `<app>.<namespace>.svc.cluster.local`.
#[derive(Debug)]
pub struct Collector {
    server: Option<Proc>,
    record: PathBuf,
    setup: Setup,
    /// Its name as a Service.
    pub name: String,
    /// Where it lives.
    pub pod: Pod,
}

impl Collector {
    /// Starts a Collector on node 1 and gives it a name.
    ///
    /// # Errors
    /// When the pod cannot be made or the receivers do not listen.
    pub fn start(lab: &Lab, namespace: &str, app: &str) -> Result<Self> {
        Self::start_as(lab, namespace, app, Setup::default())
    }

    /// Like [`Collector::start`], another kind of receiver.
    ///
    /// # Errors
    /// As [`Collector::start`].
    pub fn start_as(lab: &Lab, namespace: &str, app: &str, setup: Setup) -> Result<Self> {
        let pod = lab.pod(
            PodSpec::new(&format!("{namespace}/{app}"))
                .node(1)
                .container("otc-container"),
        )?;
        let collector = Self::run(lab, pod, setup)?;
        let name = format!("{app}.{namespace}.svc.cluster.local");
        lab.dns().add(&name, &collector.pod.ips())?;
        Ok(Self { name, ..collector })
    }

    /// Starts a Collector in a pod that exists, as a sidecar or on the same node; its name is its IPv4 address.
    ///
    /// # Errors
    /// When the receivers do not listen.
    pub fn start_in(lab: &Lab, pod: Pod) -> Result<Self> {
        Self::run(lab, pod, Setup::default())
    }

    /// Like [`Collector::start_in`], another kind of receiver.
    ///
    /// # Errors
    /// When the receivers do not listen.
    pub fn run(lab: &Lab, pod: Pod, setup: Setup) -> Result<Self> {
        let record = lab.dir().join(format!("{}.records", pod.uid));
        let mut collector = Self {
            server: None,
            record,
            setup,
            name: pod.v4.to_string(),
            pod,
        };
        collector.restart()?;
        Ok(collector)
    }

    /// Starts it (again).
    ///
    /// # Errors
    /// When the receivers do not listen.
    pub fn restart(&mut self) -> Result<()> {
        self.server = None;
        let mut command = self.pod.command(tool::binary("lab-otlp")?)?;
        let any_address = if self.setup.v4_only { "0.0.0.0" } else { "[::]" };
        let any = |port: &u16| format!("{any_address}:{port}");
        let http: Vec<String> = self.setup.http.iter().map(any).collect();
        let grpc = self.setup.grpc.as_ref().map_or_else(|| "-".to_owned(), any);
        command
            .arg("receive")
            .arg(&self.record)
            .args([http.join(","), grpc])
            .args(&self.setup.options);
        let server = Proc::start(command)?;
        server.json("that it listens", wait::SOON, |line| line["listening"] == true)?;
        self.server = Some(server);
        Ok(())
    }

    /// Another kind of receiver takes its place: its pod and its name.
    ///
    /// # Errors
    /// When the receivers do not listen.
    pub fn replaced(mut self, lab: &Lab, setup: Setup) -> Result<Self> {
        self.stop();
        let new = Self::run(lab, self.pod, setup)?;
        Ok(Self {
            name: self.name,
            ..new
        })
    }

    /// Changes what it answers over HTTP or gRPC: `ok`, `status=503,retry-after=30`, `status=14,times=1`, `partial`, `never`.
    ///
    /// # Errors
    /// When it does not run or knows no such answer.
    pub fn answer(&mut self, transport: Transport, order: &str) -> Result<()> {
        let line = match transport {
            Transport::Http => format!("http={order}"),
            Transport::Grpc => format!("grpc={order}"),
        };
        let server = self.server.as_mut().context("the receiver does not run")?;
        let said = server.out().len();
        server.tell(&line)?;
        wait::until(format!("the receiver to obey {line}"), wait::SOON, || {
            Ok(server.out().after(said, wait::SOON).map(drop))
        })
    }

    /// Ends it: connects are answered by RST from now on.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// Everything that arrived so far.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn received(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(&self.record)?;
        // The last line may be half written.
        Ok(text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect())
    }

    /// Waits until `count` requests that `like` accepts have arrived.
    ///
    /// # Errors
    /// When the deadline passes first.
    pub fn wait_for(
        &self,
        count: usize,
        deadline: Duration,
        like: impl Fn(&Value) -> bool,
    ) -> Result<Vec<Value>> {
        wait::until(
            format!("{count} exports to arrive at {}", self.name),
            deadline,
            || {
                let found: Vec<Value> = self
                    .received()?
                    .into_iter()
                    .filter(|request| like(request))
                    .collect();
                Ok((found.len() >= count).then_some(found))
            },
        )
    }
}

/// Which SDK exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sdk {
    /// OpenTelemetry for Rust: hyper/reqwest over HTTP, tonic over gRPC.
    Rust,
    /// OpenTelemetry for Python: requests over HTTP, gRPC's C core.
    Python,
}

/// How it exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// OTLP over HTTP, protobuf.
    Http,
    /// OTLP over gRPC.
    Grpc,
}

/// A real exporter in a pod, configured as people do it: by `OTEL_*` alone. It makes a span every `interval` and
/// prints a JSON line, `{"export":"ok"}` or `{"export":"failed", ...}`, for each.
///
/// # Errors
/// When the exporter's program is missing or cannot be started.
pub fn export(
    pod: &Pod,
    sdk: Sdk,
    transport: Transport,
    host: &str,
    spans: u32,
    interval: Duration,
) -> Result<Proc> {
    let mut command = exporter(pod, sdk)?;
    let (protocol, port) = match transport {
        Transport::Http => ("http/protobuf", HTTP),
        Transport::Grpc => ("grpc", GRPC),
    };
    command
        .args([spans.to_string(), interval.as_millis().to_string()])
        .env("OTEL_SERVICE_NAME", &pod.name)
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        .env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("http://{}:{port}", bracketed(host)),
        );
    Proc::start(command)
}

/// A real exporter of spans alone, one every half second for as long as it lives, to an endpoint as somebody wrote it;
/// `more` is the rest of its environment.
///
/// # Errors
/// When the exporter's program is missing or cannot be started.
pub fn spans(
    pod: &Pod,
    sdk: Sdk,
    transport: Transport,
    endpoint: &str,
    more: &[(&str, &str)],
) -> Result<Proc> {
    let mut command = exporter(pod, sdk)?;
    command
        .args(["1000000", "500"])
        .env("OTEL_SERVICE_NAME", &pod.name);
    let env = Env::endpoint(endpoint, transport).signals(&["traces"]);
    more.iter()
        .fold(env, |env, (name, value)| env.set(name, value))
        .apply(&mut command);
    Proc::start(command)
}

/// The exporter's command, its `OTEL_*` left to the caller; it takes the number of spans and milliseconds between them.
///
/// # Errors
/// When the exporter's program is missing.
pub fn exporter(pod: &Pod, sdk: Sdk) -> Result<Command> {
    match sdk {
        Sdk::Rust => {
            let mut command = pod.command(tool::binary("lab-otlp")?)?;
            command.arg("export");
            Ok(command)
        }
        Sdk::Python => {
            let mut command = pod.command(tool::made("python")?.join("bin/python"))?;
            command.arg(tool::source("spans.py"));
            Ok(command)
        }
    }
}

/// A host as it stands in a URL.
pub(crate) fn bracketed(host: &str) -> String {
    match host.parse() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        _ => host.to_owned(),
    }
}
