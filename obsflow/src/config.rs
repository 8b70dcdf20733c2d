//! What to do, checked: everything after this may rely on it.

mod agent;
mod doctor;
mod error;
pub mod observe;

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use clap_complete::Shell;
use jiff::Timestamp;
use log::LevelFilter;

use crate::api::Address;
use crate::api::hubble::ServerAddress;
use crate::cli::{
    self, AttachArg, AutoOff, CommandArgs, ListWhat, LiveArgs, OutputArgs, StatusArgs, StatusFormat,
    WatchWhat, WindowArgs,
};
use crate::cluster;
use crate::filter::{self, FilterSet};
use crate::kernel::hooks::Hook;
use crate::sinks::{Format, PrinterOptions, Selector};

pub use agent::{Agent, Flows, Listen, Metrics};
pub use doctor::{Cluster, Doctor, WATCH_FOR};
pub use error::ConfigError;
use error::{RING_MAX, RING_MIN};
pub use observe::{FlowsFrom, Observe};
use observe::{Limits, List, Server};

/// A command to run.
#[derive(Clone, Debug)]
pub enum Command {
    /// `obsflow doctor`
    Doctor(Box<Doctor>),
    /// `obsflow agent`
    Agent(Box<Agent>),
    /// `obsflow observe`
    Observe(Box<Observe>),
    /// `obsflow status`
    Status(Box<Status>),
    /// `obsflow list`
    List(Box<List>),
    /// `obsflow watch peers`
    WatchPeers(Box<Server>),
    /// `obsflow record`
    Record(Box<Record>),
    /// `obsflow replay`
    Replay(Box<Replay>),
    /// `obsflow completions`
    Completions(Shell),
    /// `obsflow man`, into a folder if there is one
    Man(Option<PathBuf>),
}

/// `obsflow status`
#[derive(Clone, Debug)]
pub struct Status {
    /// Who says it.
    pub whom: Whom,
    /// The server that is asked, when it is none of this machine's.
    pub server: Option<Server>,
    /// How long an agent may take.
    pub limits: Limits,
    /// What to watch.
    pub live: Live,
    /// Measure the cost of each program.
    pub cost: bool,
    /// Format.
    pub format: StatusFormat,
}

/// Who answers a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The agent at this address.
    Agent(Address),
    /// The agent at the default address, and without one this command itself.
    AgentIfThere,
    /// This command itself.
    Own,
}

/// `obsflow record`
#[derive(Clone, Debug)]
pub struct Record {
    /// What to watch; its `payload` says whether stream bytes are recorded.
    pub live: Live,
    /// File to write.
    pub file: PathBuf,
    /// When to stop.
    pub duration: Option<Duration>,
    /// Overwrite.
    pub force: bool,
}

/// `obsflow replay`
#[derive(Clone, Debug)]
pub struct Replay {
    /// File to read.
    pub file: PathBuf,
    /// What to print, and how.
    pub view: View,
    /// How long a DNS query may stay unanswered.
    pub dns_timeout: Duration,
    /// What obsflow says about itself.
    pub log_level: LevelFilter,
}

/// What to print, and how.
#[derive(Clone, Debug)]
pub struct View {
    /// Which part.
    pub selector: Selector,
    /// Which flows.
    pub filters: FilterSet,
    /// How.
    pub printer: PrinterOptions,
    /// Periodic state of connections, too.
    pub socket_state: bool,
}

/// What to watch, and with which kernel hooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// TCP ports that telemetry is sent to.
    pub ports: BTreeSet<u16>,
    /// Ports of name servers.
    pub dns_ports: BTreeSet<u16>,
    /// UDP ports of tunnels.
    pub tunnel_ports: BTreeSet<u16>,
    /// Size of the ring: a power of two, a multiple of the page size.
    pub ring_bytes: u32,
    /// Where to attach cgroup programs.
    pub attach: AttachArg,
    /// Where the cluster's names come from.
    pub cluster: cluster::Config,
    /// Folder that names pods.
    pub pod_logs: PathBuf,
    /// Hooks that must work.
    pub hooks: Vec<Hook>,
    /// Hooks not to use.
    pub without_hooks: Vec<Hook>,
    /// Do without the kernel's types and everything that needs them.
    pub without_btf: bool,
    /// How long a DNS query may stay unanswered.
    pub dns_timeout: Duration,
    /// What obsflow says about itself.
    pub log_level: LevelFilter,
    /// What its kernel side says.
    pub kernel_log: LevelFilter,
    /// Capture the first bytes of watched connections.
    pub payload: bool,
}

/// What `--without-hook` takes besides hooks: everything that needs the kernel's types.
const BTF: &str = "btf";

impl Command {
    /// Checks arguments.
    ///
    /// # Errors
    /// When they make no sense.
    pub fn new(args: CommandArgs, now: Timestamp) -> Result<Self, ConfigError> {
        Ok(match args {
            CommandArgs::Agent(args) => Self::Agent(Box::new(Agent::new(*args)?)),
            CommandArgs::Observe(args) => Self::Observe(Box::new(Observe::new(*args, now)?)),
            CommandArgs::Doctor(args) => Self::Doctor(Box::new(Doctor::new(*args)?)),
            CommandArgs::Status(args) => Self::Status(Box::new(status(*args)?)),
            CommandArgs::List(args) => Self::List(Box::new(match args.what {
                ListWhat::Nodes(of) => List::new(of, false)?,
                ListWhat::Namespaces(of) => List::new(of, true)?,
            })),
            CommandArgs::Watch(args) => match args.what {
                WatchWhat::Peers(server) => Self::WatchPeers(Box::new(Server::new(&server)?)),
            },
            CommandArgs::Record(args) => Self::Record(Box::new(Record {
                duration: args
                    .duration
                    .map(|text| duration("--duration", text))
                    .transpose()?,
                live: Live::new(args.live, args.payload)?,
                file: args.file,
                force: args.force,
            })),
            CommandArgs::Replay(args) => {
                let filters = filter::parse(&args.filters.terms)?.compile()?;
                Self::Replay(Box::new(Replay {
                    view: View {
                        selector: file_selector(&args.window, now)?,
                        socket_state: filters.asks_for_socket_state(),
                        filters,
                        printer: printer(&args.output),
                    },
                    file: args.file,
                    dns_timeout: duration("--dns-timeout", args.dns_timeout)?,
                    log_level: level("--log-level", args.log_level)?,
                }))
            }
            CommandArgs::Completions { shell } => Self::Completions(shell),
            CommandArgs::Man(args) => Self::Man(args.dir),
        })
    }
}

/// Whom `obsflow status` asks: an agent by what only obsflow knows, any other server by Hubble's questions.
fn status(args: StatusArgs) -> Result<Status, ConfigError> {
    let named = observe::server(&args.server)?;
    if named.is_some() && args.cost {
        return Err(ConfigError::Both("--server", "--cost"));
    }
    let asks = args.cost || args.live.asks_for_something();
    if named.is_some() && asks {
        return Err(ConfigError::KernelOfServer);
    }
    let limits = observe::limits(&args.server)?;
    let local = |address: &ServerAddress| Address::parse(&address.to_string()).ok();
    let (whom, server) = match named {
        Some(address) if address.tls.is_none() => match local(&address) {
            Some(agent) => (Whom::Agent(agent), None),
            None => (Whom::Own, Some(Server { address, limits })),
        },
        Some(address) => (Whom::Own, Some(Server { address, limits })),
        None if asks => (Whom::Own, None),
        None => (Whom::AgentIfThere, None),
    };
    Ok(Status {
        whom,
        server,
        limits,
        live: Live::new(args.live, true)?,
        cost: args.cost,
        format: args.output,
    })
}

impl Live {
    fn new(args: LiveArgs, payload: bool) -> Result<Self, ConfigError> {
        let classes = [
            ("--ports", args.ports.into_iter().collect::<BTreeSet<_>>()),
            ("--dns-ports", args.dns_ports.into_iter().collect()),
            ("--tunnel-ports", args.tunnel_ports.into_iter().collect()),
        ];
        if let Some((flag, _)) = classes.iter().find(|(_, ports)| ports.contains(&0)) {
            return Err(ConfigError::PortZero(flag));
        }
        let [(telemetry_flag, ports), (dns_flag, dns_ports), (_, tunnel_ports)] = classes;
        // Tunnels are UDP and telemetry is TCP, so those two may share a port; DNS is both.
        if let Some(port) = ports.intersection(&dns_ports).next() {
            return Err(ConfigError::PortTwice(*port, telemetry_flag, dns_flag));
        }
        let wanted = hooks("--hook", args.hooks)?;
        let (btf, unwanted) = args
            .without_hooks
            .into_iter()
            .partition::<Vec<_>, _>(|name| name == BTF);
        let unwanted = hooks("--without-hook", unwanted)?;
        if let Some(hook) = wanted.iter().find(|hook| unwanted.contains(hook)) {
            return Err(ConfigError::HookTwice(hook.name()));
        }
        Ok(Self {
            ports,
            dns_ports,
            tunnel_ports,
            ring_bytes: ring_bytes(args.ring_bytes)?,
            attach: args.attach,
            cluster: cluster::Config {
                runtime: runtime(&args.cri)?,
                ..live_cluster(args.kubernetes, args.kubeconfig, args.context, args.node_name)?
            },
            pod_logs: args.pod_logs,
            hooks: wanted,
            without_hooks: unwanted,
            without_btf: !btf.is_empty(),
            dns_timeout: duration("--dns-timeout", args.dns_timeout)?,
            log_level: level("--log-level", args.log_level)?,
            kernel_log: level("--kernel-log", args.kernel_log)?,
            payload,
        })
    }
}

/// Where the cluster's names come from; a kubeconfig is looked at, no server is asked.
fn live_cluster(
    kubernetes: AutoOff,
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    node_name: Option<String>,
) -> Result<cluster::Config, ConfigError> {
    let off = kubernetes == AutoOff::Off;
    match (&kubeconfig, &context) {
        (Some(_), _) if off => return Err(ConfigError::Both("--kubernetes off", "--kubeconfig")),
        (None, Some(_)) => return Err(ConfigError::ContextOfNothing),
        (Some(path), context) => cluster::check(path, context.as_deref())?,
        (None, None) => {}
    }
    // A node's name is a DNS subdomain (RFC 1123).
    let is_name = |name: &str| {
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        !name.is_empty() && name.len() <= 253 && name.chars().all(letter)
    };
    if let Some(name) = node_name.as_deref().filter(|name| !is_name(name)) {
        return Err(ConfigError::NodeName(name.to_owned()));
    }
    Ok(cluster::Config {
        kubernetes: !off,
        kubeconfig,
        context,
        node_name,
        ..cluster::Config::default()
    })
}

/// What excludes what, as in `hubble observe`.
fn check_window(window: &WindowArgs, follow: bool) -> Result<(), ConfigError> {
    let (first, last) = (window.first.is_some(), window.last.is_some());
    let pairs = [
        (first && last, "--first", "--last"),
        (first && window.all, "--first", "--all"),
        (first && follow, "--first", "--follow"),
        (last && window.all, "--last", "--all"),
    ];
    match pairs.into_iter().find(|(both, ..)| *both) {
        Some((_, a, b)) => Err(ConfigError::Both(a, b)),
        None => Ok(()),
    }
}

/// In a file everything is history; without a number all of it is printed, as `hubble observe --input-file` does.
fn file_selector(window: &WindowArgs, now: Timestamp) -> Result<Selector, ConfigError> {
    check_window(window, false)?;
    let since = moment("--since", window.since.as_deref(), now)?;
    let until = moment("--until", window.until.as_deref(), now)?;
    check_order(since, until)?;
    Ok(Selector {
        number: window.first.or(window.last),
        newest: window.last.is_some(),
        since,
        until,
    })
}

fn check_order(since: Option<Timestamp>, until: Option<Timestamp>) -> Result<(), ConfigError> {
    match (since, until) {
        (Some(since), Some(until)) if since > until => Err(ConfigError::SinceAfterUntil),
        _ => Ok(()),
    }
}

fn wants_colour(choice: clap::ColorChoice) -> bool {
    match choice {
        clap::ColorChoice::Always => true,
        clap::ColorChoice::Never => false,
        clap::ColorChoice::Auto => {
            let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
            let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
            std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
        }
    }
}

fn printer(args: &OutputArgs) -> PrinterOptions {
    // What scripts of old read: a flow without what is around it.
    let is_legacy = || {
        std::env::var(observe::COMPAT)
            .is_ok_and(|compat| compat.split([',', ' ']).any(|one| one == "legacy-json-output"))
    };
    PrinterOptions {
        format: match args.output {
            Format::Json if is_legacy() => Format::LegacyJson,
            Format::Jsonpb => Format::Json,
            format => format,
        },
        policy_names: args.print_policy_names,
        time_format: args.time_format,
        node_name: args.print_node_name,
        // Columns are padded by their length, which colours would change.
        color: wants_colour(args.color) && matches!(args.output, Format::Compact | Format::Dict),
        ip_translation: args.ip_translation && !args.numeric,
    }
}

fn moment(flag: &'static str, text: Option<&str>, now: Timestamp) -> Result<Option<Timestamp>, ConfigError> {
    let parse = |text: &str| {
        cli::time::moment(text, now).ok_or_else(|| ConfigError::Time {
            flag,
            value: text.to_owned(),
        })
    };
    text.map(parse).transpose()
}

fn duration(flag: &'static str, value: String) -> Result<Duration, ConfigError> {
    match cli::time::duration(&value).filter(|duration| !duration.is_zero()) {
        Some(duration) => Ok(duration),
        None => Err(ConfigError::Duration { flag, value }),
    }
}

fn server(address: &str) -> Result<Address, ConfigError> {
    Address::parse(address).map_err(|error| ConfigError::Address {
        flag: "--server",
        error,
    })
}

fn runtime(text: &str) -> Result<cluster::cri::Runtime, ConfigError> {
    match text {
        "auto" => Ok(cluster::cri::Runtime::Auto),
        "off" => Ok(cluster::cri::Runtime::Off),
        address => match Address::parse(address) {
            Ok(Address::Unix(path)) => Ok(cluster::cri::Runtime::At(path)),
            Ok(Address::Tcp(_)) | Err(_) => Err(ConfigError::Runtime(address.to_owned())),
        },
    }
}

fn hooks(flag: &'static str, names: Vec<String>) -> Result<Vec<Hook>, ConfigError> {
    let hook = |value: String| Hook::by_name(&value).ok_or(ConfigError::UnknownHook { flag, value });
    names.into_iter().map(hook).collect()
}

fn level(flag: &'static str, value: String) -> Result<LevelFilter, ConfigError> {
    value.parse().map_err(|_| ConfigError::Level { flag, value })
}

fn ring_bytes(text: String) -> Result<u32, ConfigError> {
    const UNITS: [(&str, u64); 5] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("K", 1 << 10),
        ("M", 1 << 20),
    ];
    let unit = UNITS
        .iter()
        .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, *scale)));
    let (number, scale) = unit.unwrap_or((&text, 1));
    let bytes = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(scale));
    let fits = |bytes: &u64| bytes.is_power_of_two() && (RING_MIN..=RING_MAX).contains(bytes);
    match bytes.filter(fits).and_then(|bytes| u32::try_from(bytes).ok()) {
        Some(bytes) => Ok(bytes),
        None => Err(ConfigError::Ring(text)),
    }
}
