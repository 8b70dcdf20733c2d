//! `obsflow doctor`, checked.

use std::io::IsTerminal as _;
use std::time::Duration;

use super::{ConfigError, Live, Whom, duration, server, wants_colour};
use crate::cli::{DoctorArgs, DoctorFormat};
use crate::expect::Rule;
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
    /// What workloads export besides what their environment says.
    pub rules: Vec<Rule>,
    /// How a table is drawn.
    pub options: Options,
}

impl Doctor {
    pub(super) fn new(args: DoctorArgs) -> Result<Self, ConfigError> {
        if args.watch && args.probe {
            return Err(ConfigError::Both("--watch", "--probe"));
        }
        let terminal = std::io::stdout().is_terminal();
        Ok(Self {
            workloads: Selectors::parse(&args.workloads)?,
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
