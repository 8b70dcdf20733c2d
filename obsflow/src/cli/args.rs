//! What clap parses.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::agent::AgentArgs;
use super::doctor::DoctorArgs;
use super::filters::FilterArgs;
use super::observe::{ListArgs, ObserveArgs, ServerArgs, WatchArgs};
use crate::sinks::{Format, TimeFormat};

pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  everything went well
  1  something failed while running
  2  the command line makes no sense";

/// Why is my telemetry not arriving?
///
/// obsflow watches DNS look-ups and the TCP connections to telemetry ports from the kernel, and shows for every
/// workload what became of them. It needs root (or CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_SYS_ADMIN) and
/// changes nobody's traffic.
#[derive(Clone, Debug, Parser)]
#[command(name = "obsflow", bin_name = "obsflow", version, after_help = EXIT_CODES, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: CommandArgs,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum CommandArgs {
    /// Say for each exporter whether telemetry arrives, or what fails, with proof and advice
    ///
    /// Watches this node for a while and prints, for everything that exports telemetry, the first step that failed, the
    /// evidence and what to do. Changes nothing of what it looks at.
    Doctor(Box<DoctorArgs>),
    /// Watch this node as a service, and answer what doctor and status ask
    ///
    /// Serves gRPC (obsflow.v1.Diagnosis) on a unix socket, logs a line when a verdict begins and when it ends, and remembers
    /// what it learned when it starts again.
    Agent(Box<AgentArgs>),
    /// Show flows: DNS look-ups, connections to telemetry ports, drops
    ///
    /// Asks the agent of this node, or another server of Hubble's API, for what it keeps: the newest 20 flows, unless flags say
    /// otherwise, and with --follow those to come. Where no agent runs it watches this node by itself from now on, until Ctrl-C
    /// or until --last or --first is reached. The flags, the lines and the JSON are those of `hubble observe`.
    Observe(Box<ObserveArgs>),
    /// List the nodes or the namespaces that a server has flows of
    List(ListArgs),
    /// Watch a server's peers
    Watch(WatchArgs),
    /// Show every kernel hook, whether it works or why not, and what was seen and lost
    Status(Box<StatusArgs>),
    /// Write raw kernel records to a file, for replay
    ///
    /// The file is readable by its owner only. Ends with Ctrl-C, or after --duration.
    Record(Box<RecordArgs>),
    /// Show flows of a recorded file; needs no root
    Replay(Box<ReplayArgs>),
    /// Print a completion script for a shell
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the man page
    Man(ManArgs),
}

/// `obsflow status`
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct StatusArgs {
    /// Measure for one second what each kernel program costs; every BPF program of the host is about 50 ns a call
    /// slower meanwhile
    #[arg(long)]
    pub cost: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub output: StatusFormat,
    /// Whom to ask. Without --cost and flags of the kernel side the agent of this node, if there is one; else this command
    /// attaches, looks and leaves.
    #[command(flatten)]
    pub server: ServerArgs,
    /// From where.
    #[command(flatten)]
    pub live: LiveArgs,
}

/// `obsflow record`
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct RecordArgs {
    /// File to write
    pub file: PathBuf,
    /// Also record the first bytes of watched connections; they may hold secrets
    #[arg(long)]
    pub payload: bool,
    /// Stop after this time, such as 30s or 1h30m
    #[arg(long, value_name = "DURATION")]
    pub duration: Option<String>,
    /// Overwrite the file if it exists
    #[arg(long)]
    pub force: bool,
    /// From where.
    #[command(flatten)]
    pub live: LiveArgs,
}

/// `obsflow replay`
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct ReplayArgs {
    /// File written by `obsflow record`
    pub file: PathBuf,
    /// What to print.
    #[command(flatten)]
    pub window: WindowArgs,
    /// How.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Which.
    #[command(flatten)]
    pub filters: FilterArgs,
    /// How long a DNS query may stay unanswered before it is reported, such as 5s
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub dns_timeout: String,
    /// What obsflow says about itself on stderr: off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    pub log_level: String,
}

/// `obsflow man`
#[derive(Clone, Debug, Args)]
pub struct ManArgs {
    /// Write a page for every command into this folder instead
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

/// Which part of the flows.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Selection")]
pub struct WindowArgs {
    /// Print the newest N flows [default: 20, unless something else says which; of each node, of a relay]; where no agent runs,
    /// the next N
    #[arg(long, value_name = "N")]
    pub last: Option<u64>,
    /// Print the oldest N flows that are kept; where no agent runs, the next N
    #[arg(long, value_name = "N")]
    pub first: Option<u64>,
    /// Print all flows that are kept
    #[arg(long)]
    pub all: bool,
    /// Print flows since this time: 2m, 1h43m (ago), 'Jan _2 15:04:05.000', 2026-01-02, 2026-01-02T15:04:05Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Print flows until this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

/// How to print flows.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Format")]
pub struct OutputArgs {
    /// Output format: compact, dict, table, json or jsonpb (the same); table waits for the end
    #[arg(short, long, value_name = "FORMAT", default_value = "compact", value_parser = Format::from_name)]
    pub output: Format,
    /// Format of times, which are UTC: StampMilli, YearMonthDay, YearMonthDayHour, YearMonthDayHourMinute, RFC3339,
    /// RFC3339Milli, RFC3339Micro, RFC3339Nano or RFC1123Z
    #[arg(long, value_name = "FORMAT", default_value = "StampMilli", value_parser = TimeFormat::from_name)]
    pub time_format: TimeFormat,
    /// Print the node's name
    #[arg(long)]
    pub print_node_name: bool,
    /// Print the names of the policies that decided, in lines of policy verdicts; obsflow itself has none
    #[arg(long)]
    pub print_policy_names: bool,
    /// Colours: auto (on a terminal, unless NO_COLOR is set), always or never
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        default_value = "auto",
        hide_possible_values = true
    )]
    pub color: clap::ColorChoice,
    /// Print names instead of addresses where they are known
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true",
          default_missing_value = "true", action = clap::ArgAction::Set, hide_possible_values = true)]
    pub ip_translation: bool,
    /// Print addresses and numbers only
    #[arg(long)]
    pub numeric: bool,
}

/// What to watch, and with which kernel hooks.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "Kernel side")]
pub struct LiveArgs {
    /// TCP ports that telemetry is sent to
    #[arg(
        long,
        value_name = "PORT,…",
        value_delimiter = ',',
        default_value = "4317,4318,8428,10428,9428,3100,9090,4040,12347,9411,14250,14268,8088,9943"
    )]
    pub ports: Vec<u16>,
    /// Ports of name servers
    #[arg(long, value_name = "PORT,…", value_delimiter = ',', default_value = "53")]
    pub dns_ports: Vec<u16>,
    /// UDP ports of tunnels (VXLAN, Geneve)
    #[arg(
        long,
        value_name = "PORT,…",
        value_delimiter = ',',
        default_value = "8472,4789,6081"
    )]
    pub tunnel_ports: Vec<u16>,
    /// Size of the ring between kernel and user space: a power of two, such as 8388608 or 8MiB
    #[arg(long, value_name = "SIZE", default_value = "8MiB")]
    pub ring_bytes: String,
    /// Cgroup to attach to: root, kubepods or a path below the cgroup2 mount; without it kubepods where that exists,
    /// else root
    #[arg(
        long,
        value_name = "root|kubepods|PATH",
        default_value = "auto",
        hide_default_value = true
    )]
    pub attach: AttachArg,
    /// Whether the Kubernetes API says who pods and addresses are: auto, when this is a pod with a service account, or
    /// with --kubeconfig; or off
    #[arg(
        long,
        value_name = "auto|off",
        value_enum,
        default_value = "auto",
        hide_possible_values = true,
        help_heading = "Names"
    )]
    pub kubernetes: AutoOff,
    /// Kubeconfig of the cluster that says who pods and addresses are; given to doctor without flags of the kernel side, of
    /// the cluster whose agents are asked [default there: $KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "FILE", help_heading = "Names")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig, instead of its current one
    #[arg(long, value_name = "NAME", help_heading = "Names")]
    pub context: Option<String>,
    /// What Kubernetes calls this node [default: the host's name]
    #[arg(long, value_name = "NAME", help_heading = "Names")]
    pub node_name: Option<String>,
    /// Folder whose entries NAMESPACE_POD_UID name the pods
    #[arg(long, value_name = "DIR", default_value = "/var/log/pods")]
    pub pod_logs: PathBuf,
    /// Ask the container runtime who containers are: auto (where containerd, k3s, CRI-O or cri-dockerd listen), off, or where
    /// it listens
    #[arg(
        long,
        value_name = "auto|off|unix:///PATH",
        default_value = "auto",
        help_heading = "Cluster"
    )]
    pub cri: String,
    /// Use this hook, and fail if it cannot be used; can be repeated (`obsflow status` lists the hooks)
    #[arg(long = "hook", value_name = "NAME")]
    pub hooks: Vec<String>,
    /// Do without this hook; can be repeated. Without tcp, connections come from sock-ops; btf does without everything
    /// that needs the kernel's types, as on a kernel built without them
    #[arg(long = "without-hook", value_name = "NAME")]
    pub without_hooks: Vec<String>,
    /// How long a DNS query may stay unanswered before it is reported, such as 5s
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub dns_timeout: String,
    /// What obsflow says about itself on stderr: off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    pub log_level: String,
    /// What its kernel side says there: off, error, warn, info, debug or trace; costs nothing when off
    #[arg(long, value_name = "LEVEL", default_value = "off")]
    pub kernel_log: String,
}

impl LiveArgs {
    /// Whether something of the kernel side is asked for that differs from what a command does by itself.
    pub(crate) fn asks_for_something(&self) -> bool {
        let Ok(Cli {
            command: CommandArgs::Status(plain),
        }) = Cli::try_parse_from(["obsflow", "status"])
        else {
            return true;
        };
        let quiet = Self {
            log_level: plain.live.log_level.clone(),
            // Where names come from, which an agent has for itself.
            kubeconfig: None,
            context: None,
            ..self.clone()
        };
        quiet != plain.live
    }
}

/// Value of `--attach`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachArg {
    /// kubepods where it exists, else the root.
    Auto,
    /// The root of the cgroup2 mount.
    Root,
    /// The kubelet's cgroup.
    Kubepods,
    /// A path below the mount.
    Path(PathBuf),
}

impl From<&str> for AttachArg {
    fn from(value: &str) -> Self {
        match value {
            "auto" => Self::Auto,
            "root" => Self::Root,
            "kubepods" => Self::Kubepods,
            path => Self::Path(path.into()),
        }
    }
}

/// A switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    /// On.
    On,
    /// Off.
    Off,
}

/// Something that is used where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AutoOff {
    /// Where it is.
    Auto,
    /// Not.
    Off,
}

/// Formats of `obsflow status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StatusFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}
