//! Arguments of commands that ask a server of flows, and of `obsflow observe`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::args::{EXIT_CODES, LiveArgs, OnOff, OutputArgs, WindowArgs};
use super::filters::FilterArgs;

const EXAMPLES: &str = "\
Examples:
  The newest 20 flows that the agent of this node keeps:
      obsflow observe
  What a pod does about its collector, in the last two minutes and from now on:
      obsflow observe --from-pod apps/checkout --to-port 4317 --since 2m --follow
  Everything that fails, as it happens:
      obsflow observe --follow --verdict ERROR --verdict DROPPED
  Names that do not exist:
      obsflow observe --all -o json | jq 'select(.flow.l7.dns.rcode==3)'
      obsflow observe --all --rcode NXDOMAIN
  All but DNS:
      obsflow observe --not --protocol dns
  Flows of another node, or of a whole cluster by Hubble's relay:
      obsflow observe --server tls://node-7:4244 --tls-ca-cert-files ca.crt
      obsflow observe --server localhost:4245 --print-node-name
  Keep flows, and look at them later:
      obsflow observe --all -o json > flows.json
      obsflow observe --input-file flows.json --verdict ERROR

Exit codes:
  0  everything went well
  1  something failed while running
  2  the command line makes no sense";

/// `obsflow observe`
#[derive(Clone, Debug, Args)]
// Hubble's --node-name is a filter.
#[command(after_help = EXAMPLES, mut_arg("node_name", |arg| arg.long("kube-node-name")))]
pub struct ObserveArgs {
    /// What to observe; agent-events and debug-events, which hubble has beside flows, are Cilium's own
    #[arg(
        value_name = "WHAT",
        value_enum,
        default_value = "flows",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub what: ObserveWhat,
    /// What to print.
    #[command(flatten)]
    pub window: WindowArgs,
    /// Go on with new flows, whatever --until says; begins with what is kept only if --last or --since ask for it
    #[arg(short, long, help_heading = "Selection")]
    pub follow: bool,
    /// How.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Ask for these fields of a flow only, for JSON: source.namespace,verdict,Summary ...
    #[arg(long, value_name = "FIELD,…", value_delimiter = ',', help_heading = "Format")]
    pub field_mask: Vec<String>,
    /// Ask for the fields that are shown only, for output other than JSON
    #[arg(long, help_heading = "Format")]
    pub use_default_field_masks: bool,
    /// Which.
    #[command(flatten)]
    pub filters: FilterArgs,
    /// Flows that match this filter, too: a FlowFilter of Hubble's API as JSON; can be repeated [env: HUBBLE_ALLOWLIST]
    #[arg(long, value_name = "JSON", help_heading = "Raw filters")]
    pub allowlist: Vec<String>,
    /// Leave out flows that match this filter, as --allowlist has it [env: HUBBLE_DENYLIST]
    #[arg(long, value_name = "JSON", help_heading = "Raw filters")]
    pub denylist: Vec<String>,
    /// Print the filters that flags and lists add up to, and ask nobody
    #[arg(long, help_heading = "Raw filters")]
    pub print_raw_filters: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Read flows that were printed as JSON from this file instead, - for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["server", "follow"], help_heading = "Server")]
    pub input_file: Option<PathBuf>,
    /// Say nothing on stderr but why the command failed
    #[arg(short, long)]
    pub silent_errors: bool,
    /// From where.
    #[command(flatten)]
    pub live: LiveArgs,
    /// Look into the first bytes of watched connections
    #[arg(
        long,
        value_name = "on|off",
        value_enum,
        default_value = "on",
        hide_possible_values = true,
        help_heading = "Kernel side"
    )]
    pub payload: OnOff,
}

/// What `hubble observe` observes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ObserveWhat {
    /// Flows.
    Flows,
    /// What Cilium's agent did.
    AgentEvents,
    /// What Cilium's data path said.
    DebugEvents,
}

/// Whom to ask, and how to trust it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// Ask the server at unix:///PATH, HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT: an agent of obsflow or Cilium, or a relay.
    /// Without it, and without flags of the kernel side, an agent at unix:///var/run/obsflow/obsflow.sock is asked if there is
    /// one; else this command watches by itself
    #[arg(long, value_name = "ADDRESS")]
    pub server: Option<String>,
    /// How long connecting may take
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub timeout: String,
    /// How long a question with one answer may take
    #[arg(long, value_name = "DURATION", default_value = "12s")]
    pub request_timeout: String,
    /// Use TLS, as tls:// does
    #[arg(long)]
    pub tls: bool,
    /// Take whatever certificate the server shows: anybody in between can read along
    #[arg(long)]
    pub tls_allow_insecure: bool,
    /// Certificates of authorities, in PEM, instead of those that this machine trusts
    #[arg(long, value_name = "FILE,…", value_delimiter = ',')]
    pub tls_ca_cert_files: Vec<PathBuf>,
    /// Certificate to show to the server, in PEM; implies TLS
    #[arg(long, value_name = "FILE")]
    pub tls_client_cert_file: Option<PathBuf>,
    /// Its key, in PEM; implies TLS
    #[arg(long, value_name = "FILE")]
    pub tls_client_key_file: Option<PathBuf>,
    /// Name that the server's certificate must have, when it is not the host's
    #[arg(long, value_name = "NAME")]
    pub tls_server_name: Option<String>,
}

/// `obsflow list`
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct ListArgs {
    /// What.
    #[command(subcommand)]
    pub what: ListWhat,
}

/// What `obsflow list` lists.
#[derive(Clone, Debug, Subcommand)]
pub enum ListWhat {
    /// List the nodes whose flows the server has
    Nodes(ListOfArgs),
    /// List the namespaces that the server has flows of
    Namespaces(ListOfArgs),
}

/// How to list.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct ListOfArgs {
    /// Output format
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub output: ListFormat,
    /// Whom to ask.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Formats of lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// Columns.
    Table,
    /// JSON of the server's answer.
    Json,
}

/// `obsflow watch`
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct WatchArgs {
    /// What.
    #[command(subcommand)]
    pub what: WatchWhat,
}

/// What `obsflow watch` watches.
#[derive(Clone, Debug, Subcommand)]
pub enum WatchWhat {
    /// Print the server's peers, and each change of them, until Ctrl-C
    Peers(ServerArgs),
}
