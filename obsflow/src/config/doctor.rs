//! `obsflow doctor`, checked.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use super::{ConfigError, Live, Whom, duration, server, wants_colour};
use crate::cli::{DoctorArgs, DoctorFormat};
use crate::expect::Rule;
use crate::fleet::{self, Agents, Question, Scope, Target};
use crate::model::verdict::VerdictId;
use crate::sinks::doctor::{Options, Selectors, WIDTH, near};

/// How long to watch when no agent did.
pub const WATCH_FOR: Duration = Duration::from_secs(30);

/// `obsflow doctor`
#[derive(Clone, Debug)]
pub struct Doctor {
    /// What to watch, where no agent does.
    pub live: Live,
    /// Which workloads.
    pub workloads: Selectors,
    /// How long; `None` where nothing is said.
    pub watch_for: Option<Duration>,
    /// Follow.
    pub watch: bool,
    /// Make active checks.
    pub probe: bool,
    /// Only print what this verdict means.
    pub explain: Option<VerdictId>,
    /// Format.
    pub format: DoctorFormat,
    /// Whether an agent is asked.
    pub whom: Whom,
    /// Whether a cluster is asked instead of this node.
    pub cluster: Option<Cluster>,
    /// What workloads export besides what their environment says.
    pub rules: Vec<Rule>,
    /// How a table is drawn.
    pub options: Options,
}

/// A cluster to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// What leads to it, if it was named.
    pub kubeconfig: Option<PathBuf>,
    /// The context in it, if it was named.
    pub context: Option<String>,
    /// What to ask.
    pub question: Question,
}

impl Doctor {
    pub(super) fn new(mut args: DoctorArgs) -> Result<Self, ConfigError> {
        if args.watch && args.probe {
            return Err(ConfigError::Both("--watch", "--probe"));
        }
        let terminal = std::io::stdout().is_terminal();
        let cluster = cluster(&args)?;
        if cluster.is_some() {
            // They say whose agents are asked, and are looked at there.
            (args.live.kubeconfig, args.live.context) = (None, None);
        }
        Ok(Self {
            workloads: match &cluster {
                Some(_) => Selectors::default(),
                None => Selectors::parse(&args.workloads)?,
            },
            cluster,
            watch_for: args.watch_for.map(|text| duration("--for", text)).transpose()?,
            watch: args.watch,
            probe: args.probe,
            explain: args.explain.map(verdict).transpose()?,
            format: args.output,
            options: Options {
                color: args.output != DoctorFormat::Json && wants_colour(args.color),
                unicode: speaks_unicode(),
                width: if terminal { terminal_width() } else { None }
                    .or_else(columns)
                    .unwrap_or(WIDTH),
                all: args.all,
            },
            whom: match &args.server {
                Some(address) => Whom::Agent(server(address)?),
                None if args.live.asks_for_something() || args.config.is_some() => Whom::Own,
                None => Whom::AgentIfThere,
            },
            rules: args.rules,
            live: Live::new(args.live, true)?,
        })
    }
}

/// The cluster that is asked, if one is: with a flag that is about one, and for a plugin of kubectl.
fn cluster(args: &DoctorArgs) -> Result<Option<Cluster>, ConfigError> {
    let is_own = args.live.asks_for_something() || args.config.is_some();
    let flags = [
        (args.namespace.is_some(), "-n"),
        (args.all_namespaces, "-A"),
        // Beside flags that say how to watch this node, these say where its pods' names are from.
        (args.live.context.is_some() && !is_own, "--context"),
        (args.live.kubeconfig.is_some() && !is_own, "--kubeconfig"),
        (args.is_plugin, "kubectl obsflow"),
    ];
    let Some((_, flag)) = flags.into_iter().find(|(given, _)| *given) else {
        return Ok(None);
    };
    if args.explain.is_some() {
        return Ok(None);
    }
    if args.server.is_some() {
        return Err(ConfigError::Both("--server", flag));
    }
    if args.watch_for.is_some() {
        return Err(ConfigError::ForOfCluster(flag));
    }
    if args.probe {
        return Err(ConfigError::ProbeOfCluster(flag, args.agent_namespace.clone()));
    }
    if args.config.is_some() {
        return Err(ConfigError::Both("--config", flag));
    }
    if is_own {
        return Err(ConfigError::KernelOfCluster(flag));
    }
    let scope = match &args.namespace {
        // As kubectl has it, -A wins.
        _ if args.all_namespaces => Scope::All,
        Some(name) => Scope::Namespace(Some(fleet::namespace("-n", name.clone())?)),
        None => Scope::Namespace(None),
    };
    let targets = args
        .workloads
        .iter()
        .map(|text| Target::parse(text))
        .collect::<Result<Vec<_>, _>>()?;
    fleet::check(&scope, &targets)?;
    if args.agent_selector.trim().is_empty() {
        return Err(ConfigError::Empty("--agent-selector"));
    }
    Ok(Some(Cluster {
        kubeconfig: args.live.kubeconfig.clone(),
        context: args.live.context.clone(),
        question: Question {
            scope,
            targets,
            agents: Agents {
                namespace: fleet::namespace("--agent-namespace", args.agent_namespace.clone())?,
                selector: args.agent_selector.clone(),
            },
        },
    }))
}

fn verdict(name: String) -> Result<VerdictId, ConfigError> {
    VerdictId::by_name(&name).ok_or_else(|| {
        let names: Vec<&str> = VerdictId::ALL.iter().map(|id| id.name()).collect();
        ConfigError::Verdict {
            near: near(&name, names.iter().copied()),
            all: names.join(", "),
            name,
        }
    })
}

/// Whether the terminal's locale says that it draws more than ASCII. Without any locale, as in a container, it usually does.
fn speaks_unicode() -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .is_none_or(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        })
}

fn terminal_width() -> Option<usize> {
    terminal_size::terminal_size().map(|(width, _)| usize::from(width.0))
}

/// What a person says of the width, where nothing else tells.
fn columns() -> Option<usize> {
    std::env::var("COLUMNS").ok()?.parse().ok()
}
