//! Arguments of `obsflow agent`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::args::{LiveArgs, OnOff};
use crate::expect::Rule;

const EXAMPLES: &str = "\
Examples:
  As a service, with its settings in a file:
      obsflow agent --config /etc/obsflow/agent.toml
  Is that file good?
      obsflow agent --config /etc/obsflow/agent.toml --check
  What it says:
      obsflow doctor
      obsflow status

The configuration file is TOML. Its keys are the names of the flags without the dashes in front (`log-format = \"json\"`,
`ports = [4317, 4318]`), and `[[exporter]]` tables say what workloads export that have no OTEL_ variables. Flags win.

Exit codes:
  0  it was told to end, by SIGTERM or SIGINT, and did
  1  something failed while running
  2  the command line or the configuration file makes no sense";

/// Most flows that can be kept: 6 GiB of them.
const FLOWS_MAX: i64 = (1 << 24) - 1;

/// `obsflow agent`
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AgentArgs {
    /// Read settings from this file; flags win over it
    #[arg(long, value_name = "FILE", help_heading = "Service")]
    pub config: Option<PathBuf>,
    /// Only say whether the flags and the configuration file are good
    #[arg(long, help_heading = "Service")]
    pub check: bool,
    /// Serve gRPC on a unix socket, for its owner and group, or with tcp://ADDRESS:PORT on a port: of the loopback interface for
    /// every process of this machine's network, of any other address for other machines, and then with TLS; tls:// asks for TLS
    /// on the loopback interface, too; can be repeated
    #[arg(
        long,
        value_name = "unix:///PATH|tcp://ADDRESS:PORT",
        default_value = crate::api::DEFAULT,
        help_heading = "Service"
    )]
    pub listen: Vec<String>,
    /// Serve gRPC on ports with this certificate (PEM, with its chain); read again when it changes
    #[arg(long, value_name = "FILE", help_heading = "Service")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of that certificate (PEM)
    #[arg(long, value_name = "FILE", help_heading = "Service")]
    pub tls_key: Option<PathBuf>,
    /// Serve only clients with a certificate that one of these has signed (PEM); read again when they change
    #[arg(long, value_name = "FILE", help_heading = "Service")]
    pub tls_client_ca: Option<PathBuf>,
    /// Serve other machines without TLS: whoever reaches the port reads every flow, and so does whoever is between
    #[arg(long, help_heading = "Service")]
    pub allow_plain_text: bool,
    /// Keep so many flows for those who ask later: 384 bytes of memory each
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u32).range(1..=FLOWS_MAX),
        default_value = "65535",
        help_heading = "Flows"
    )]
    pub flows: u32,
    /// Keep flows no longer than this
    #[arg(long, value_name = "DURATION", default_value = "24h", help_heading = "Flows")]
    pub flows_age: String,
    /// Another agent, for who asks this one for its peers; can be repeated
    #[arg(long, value_name = "NODE=ADDRESS:PORT", help_heading = "Flows")]
    pub peer: Vec<String>,
    /// The headless Service whose endpoints are the agents of the cluster, for who asks for peers; needs the Kubernetes API
    #[arg(long, value_name = "NAMESPACE/NAME", help_heading = "Flows")]
    pub peers_service: Option<String>,
    /// Serve /healthz and /readyz over HTTP here, or off
    #[arg(
        long,
        value_name = "ADDRESS:PORT|off",
        default_value = "127.0.0.1:9969",
        help_heading = "Service"
    )]
    pub health: String,
    /// Serve metrics for Prometheus at /metrics here, or off
    #[arg(
        long,
        value_name = "ADDRESS:PORT|off",
        default_value = "off",
        help_heading = "Metrics"
    )]
    pub metrics: String,
    /// Give series of workloads a label `pod`: as many times more of them as workloads have pods
    #[arg(
        long,
        value_name = "on|off",
        value_enum,
        default_value = "off",
        hide_possible_values = true,
        help_heading = "Metrics"
    )]
    pub metrics_pod_label: OnOff,
    /// Serve metrics over TLS with this certificate (PEM, with its chain); read again when it changes
    #[arg(long, value_name = "FILE", help_heading = "Metrics")]
    pub metrics_tls_cert: Option<PathBuf>,
    /// The private key of that certificate (PEM)
    #[arg(long, value_name = "FILE", help_heading = "Metrics")]
    pub metrics_tls_key: Option<PathBuf>,
    /// Remember learned destinations, and since when verdicts hold, in this file, or off
    #[arg(
        long,
        value_name = "FILE|off",
        default_value = "/var/lib/obsflow/state.json",
        help_heading = "Service"
    )]
    pub state: String,
    /// Write a Kubernetes Event on a pod when a verdict on it begins or is over; needs the Kubernetes API
    #[arg(long, help_heading = "Service")]
    pub events: bool,
    /// How it logs on stderr
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        default_value = "text",
        help_heading = "Service"
    )]
    pub log_format: LogFormat,
    /// From where.
    #[command(flatten)]
    pub live: LiveArgs,
    /// What the configuration file says of exporters.
    #[arg(skip)]
    pub rules: Vec<Rule>,
    /// These are not all arguments: what others would be needed for is not looked at.
    #[arg(skip)]
    pub is_part: bool,
}

/// How an agent logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people
    #[default]
    Text,
    /// A JSON object a line
    Json,
}
