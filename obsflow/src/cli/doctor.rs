//! Arguments of `obsflow doctor`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::args::LiveArgs;
use crate::expect::Rule;

const ABOUT: &str = "\
Examples:
  Everything on this node that fails to export:
      obsflow doctor
  One workload, longer:
      obsflow doctor shop/checkout --for 2m
  A whole namespace, until Ctrl-C:
      obsflow doctor shop/ --watch
  What would work, tried from inside the pods of what fails:
      obsflow doctor shop/checkout --probe
  What a verdict means and what to do:
      obsflow doctor --explain dns-nxdomain
  A Deployment, wherever its pods are, by asking the agents of their nodes:
      obsflow doctor -n shop deploy/checkout
  A whole cluster, as it changes:
      obsflow doctor -A --watch
  For programs:
      obsflow doctor -o json | jq '.exports[] | select(.rungs.accepted != \"ok\")'

Exit codes:
  0  nothing fails: healthy, idle, or switched off
  1  something fails, in a container that is just starting, too
  2  the command line makes no sense
  3  it could not be told, or not everybody could be asked, and nothing that could be told fails";

/// `obsflow doctor`
#[derive(Clone, Debug, Args)]
#[command(after_help = ABOUT, group = clap::ArgGroup::new("cluster").multiple(true))]
pub struct DoctorArgs {
    /// Which workloads: namespace/pod, pod or unit, each the beginning of a name, or namespace/ for all of it; without any, all
    /// of this node. Of a cluster: deploy/NAME, sts/NAME, ds/NAME, rs/NAME, job/NAME, cronjob/NAME, pod/NAME, or the beginning
    /// of a pod's name
    #[arg(value_name = "WORKLOAD")]
    pub workloads: Vec<String>,
    /// Watch for this time before saying what is wrong [default: 30s; none with an agent, which watches all the time]
    #[arg(long = "for", value_name = "DURATION")]
    pub watch_for: Option<String>,
    /// Go on and show every change, until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
    /// Try out what would work: look-ups, connections, TLS and empty exports from inside the pods of what fails, at most five
    /// destinations. Sends traffic, never with the workload's credentials; needs root. See docs/probe.md
    #[arg(long)]
    pub probe: bool,
    /// Print what a verdict means, what it is not, and what to do
    #[arg(long, value_name = "VERDICT", conflicts_with_all = ["workloads", "watch", "watch_for", "server", "cluster"])]
    pub explain: Option<String>,
    /// List what is healthy, too
    #[arg(long)]
    pub all: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub output: DoctorFormat,
    /// Colours: auto (on a terminal, unless NO_COLOR is set), always or never
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        default_value = "auto",
        hide_possible_values = true
    )]
    pub color: clap::ColorChoice,
    /// Ask the agent at this address, unix:///path [default: the agent of this node if one runs, else this command watches by
    /// itself]
    #[arg(long, value_name = "ADDRESS")]
    pub server: Option<String>,
    /// Configuration file of an agent, whose exporter rules say what else workloads export; this command then watches by
    /// itself
    #[arg(long, value_name = "FILE", conflicts_with = "server")]
    pub config: Option<PathBuf>,
    /// Ask a cluster's agents about this namespace [default: that of the kubeconfig's context]
    #[arg(short, long, value_name = "NAME", groups = ["cluster"], help_heading = "Cluster")]
    pub namespace: Option<String>,
    /// Ask a cluster's agents about every namespace, and about what runs on the nodes themselves
    #[arg(short = 'A', long, groups = ["cluster"], help_heading = "Cluster")]
    pub all_namespaces: bool,
    /// Where the agents are
    #[arg(
        long,
        value_name = "NAME",
        default_value = "obsflow",
        help_heading = "Cluster"
    )]
    pub agent_namespace: String,
    /// Labels of the agents' pods
    #[arg(
        long,
        value_name = "LABELS",
        default_value = "app.kubernetes.io/name=obsflow",
        help_heading = "Cluster"
    )]
    pub agent_selector: String,
    /// Whether it was started as a plugin of kubectl, which is about a cluster whatever else is said.
    #[arg(skip)]
    pub is_plugin: bool,
    /// Rules of the configuration file.
    #[arg(skip)]
    pub rules: Vec<Rule>,
    /// From where.
    #[command(flatten)]
    pub live: LiveArgs,
}

/// Formats of `obsflow doctor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DoctorFormat {
    /// For people: what fails first, with its proof and what to do
    Table,
    /// For people: a line for each exporter, with every column
    Wide,
    /// For programs: see docs/doctor.md
    Json,
}
