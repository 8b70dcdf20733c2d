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
    /// Serve gRPC on a unix socket, for its owner and group, or with tcp://127.0.0.1:PORT on a port of the loopback interface,
    /// for every process of this machine's network and for kubectl port-forward; can be repeated
    #[arg(
        long,
        value_name = "unix:///PATH|tcp://127.0.0.1:PORT",
        default_value = crate::api::DEFAULT,
        help_heading = "Service"
    )]
    pub listen: Vec<String>,
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
