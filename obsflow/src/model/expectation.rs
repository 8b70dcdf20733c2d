//! What a container is supposed to export, and where.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::exchange::{Dialect, Signal};
use super::injection::NotInjected;
use super::time::Mono;
use super::workload::Workload;

/// Names a container (or unit, or cgroup) for as long as it lives: its container id, else its cgroup path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerKey(pub Arc<str>);

impl fmt::Display for ContainerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A host as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A DNS name, in lower case, without the trailing dot.
    Name(Arc<str>),
    /// A literal address, IPv4-mapped ones as IPv4.
    Ip(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(ip) => write!(f, "{ip}"),
        }
    }
}

/// How telemetry travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP with protobuf.
    HttpProtobuf,
    /// OTLP over HTTP with JSON.
    HttpJson,
    /// Another ingest protocol over HTTP.
    Other(Dialect),
    /// Not known.
    Unknown,
}

/// Where telemetry is to go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Whom.
    pub host: Host,
    /// TCP port.
    pub port: u16,
    /// Whether TLS is asked for; `None` when nothing tells.
    pub tls: Option<bool>,
    /// Path of the request as the exporter will send it, where it is known.
    pub path: Option<Arc<str>>,
    /// How it travels.
    pub transport: Transport,
}

/// `http://collector.observability:4318/v1/traces`; without scheme and path where they are not known.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tls {
            Some(true) => f.write_str("https://")?,
            Some(false) => f.write_str("http://")?,
            None => {}
        }
        write!(f, "{}:{}", self.host, self.port)?;
        // The path of gRPC is the method's name, which nobody configures.
        match &self.path {
            Some(path) if self.transport != Transport::Grpc => f.write_str(path),
            _ => Ok(()),
        }
    }
}

/// Where an expectation comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A variable of the environment.
    Environment(Arc<str>),
    /// An argument such as `-Dotel.exporter.otlp.endpoint`.
    Argument(Arc<str>),
    /// OpenTelemetry's own configuration file (`OTEL_CONFIG_FILE`), by path in the container.
    OtelConfig(Arc<str>),
    /// obsflow's configuration.
    Config,
    /// OpenTelemetry's defaults: an exporter is there and nothing is configured. Says what proves the exporter. Where
    /// that is a Go module it is no reason to miss anything: containerd, kube-apiserver, Prometheus and many more are
    /// built with an exporter that is off unless their own configuration turns it on. An injected agent does export.
    Default(Arc<str>),
    /// An annotation that asks for injection: what it is on. What would be injected is not known.
    Annotation(Arc<str>),
    /// Seen on the wire; nothing configures it as far as is known.
    Wire,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Argument(name) => write!(f, "argument {name}"),
            Self::OtelConfig(path) => write!(f, "OTEL_CONFIG_FILE {path}"),
            Self::Config => f.write_str("obsflow's configuration"),
            Self::Default(why) => write!(f, "OpenTelemetry's default ({why})"),
            Self::Annotation(on) => write!(f, "annotation of {on}"),
            Self::Wire => f.write_str("seen on the wire"),
        }
    }
}

/// Why a container is believed to send at all. Without one, silence is no finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SenderProof {
    /// Go build information names this exporter module.
    GoModule(Arc<str>),
    /// A Java agent on the command line or in the options.
    JavaAgent,
    /// An SDK in NODE_OPTIONS, PYTHONPATH, or .NET's start-up hooks: the variable's name.
    Injected(Arc<str>),
    /// An SDK's file is mapped or open: its name.
    LoadedSdk(Arc<str>),
    /// obsflow's configuration says so.
    Configured,
}

impl fmt::Display for SenderProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GoModule(module) => write!(f, "its Go build information names {module}"),
            Self::JavaAgent => f.write_str("it runs OpenTelemetry's Java agent"),
            Self::Injected(variable) => write!(f, "{variable} loads OpenTelemetry"),
            Self::LoadedSdk(name) => write!(f, "it has loaded {name}"),
            Self::Configured => f.write_str("obsflow's configuration says that it exports"),
        }
    }
}

/// A configuration that cannot work, or not as it is meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Misconfiguration {
    /// No `http://` or `https://`: HTTP exporters send no packet at all, gRPC ones may try TLS.
    NoScheme,
    /// A `$(VAR)` or `${VAR}` that nobody expanded.
    Unexpanded,
    /// The signal's path is there twice, or a general endpoint already ends with one.
    DoubledPath,
    /// A time-out that the SDK reads in another unit: the value, and what the SDK makes of it.
    TimeoutUnit {
        /// As configured.
        value: Arc<str>,
        /// What the SDK understands.
        means: Duration,
    },
    /// `0.0.0.0` or `::` is where servers listen, not where clients connect.
    UnspecifiedAddress,
    /// A scheme that is neither http, https, grpc nor dns.
    UnknownScheme(Arc<str>),
    /// Not a URL: what is wrong with it.
    Unreadable(Arc<str>),
}

/// Whether an exporter is on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Setting {
    /// It should export.
    On,
    /// It is switched off: the variable that does it, with its value.
    Off(Arc<str>),
    /// It should export, and cannot, or not as it is meant.
    Broken(Misconfiguration),
}

/// Whether an endpoint is a socket of this machine that no network carries, as gRPC's names may be: `unix:///path`,
/// `unix-abstract:name`, `vsock:cid:port`.
#[must_use]
pub fn is_local_socket(written: &str) -> bool {
    let scheme = written.split(':').next().unwrap_or_default();
    scheme.len() < written.len()
        && ["unix", "unix-abstract", "vsock"]
            .iter()
            .any(|local| scheme.eq_ignore_ascii_case(local))
}

/// One exporter of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// The signal; `None` when one destination is for whatever comes.
    pub signal: Option<Signal>,
    /// Where to; `None` when it is off, or cannot be read.
    pub endpoint: Option<Endpoint>,
    /// The endpoint as configured, without credentials, cut to 256 bytes, control characters escaped.
    pub written: Arc<str>,
    /// On, off or broken.
    pub setting: Setting,
    /// Where it comes from.
    pub source: Source,
    /// Between two exports: the metric reader's interval, or the batch processor's delay.
    pub interval: Duration,
    /// After which one export is given up.
    pub timeout: Option<Duration>,
    /// The proxy its environment names for this endpoint, `host:port`.
    pub proxy: Option<Arc<str>>,
}

/// A container and everything it is expected to export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Which.
    pub key: ContainerKey,
    /// Whose.
    pub workload: Arc<Workload>,
    /// Cgroup v2 id of its first process.
    pub cgroup: u64,
    /// The process that configuration was read of; the oldest one of the container that has any.
    pub pid: u32,
    /// `service.name` of the resource, as configured.
    pub service: Option<Arc<str>>,
    /// When its oldest process began.
    pub began: Mono,
    /// Whether obsflow watched it from its first `execve` on.
    pub from_exec: bool,
    /// Why it is believed to send; empty when nothing proves it.
    pub proofs: Vec<SenderProof>,
    /// Its exporters.
    pub expectations: Vec<Expectation>,
    /// Its environment (or OpenTelemetry's configuration file) could not be read: why, and what that hides. Without
    /// expectations it says only that something may be hidden: servers that give themselves titles are no exporters.
    pub unreadable: Option<Arc<str>>,
    /// An SDK should have been injected into it, and its pod shows no trace of that.
    pub injection: Option<Arc<NotInjected>>,
}

/// What happened to a container's expectations.
#[derive(Clone, Debug, PartialEq)]
pub enum ExpectationChange {
    /// It is new, or what is known of it changed: this replaces what was known.
    Container(Box<Container>),
    /// Its last process ended.
    Gone {
        /// Which.
        key: ContainerKey,
        /// When.
        at: Mono,
    },
}
