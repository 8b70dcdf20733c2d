//! `obsflow observe`, checked: where flows come from, which, and how they are printed.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::{ConfigError, Live, check_order, check_window, duration, moment, printer};
use crate::api::hubble::{ServerAddress, Tls, json};
use crate::cli::{ListFormat, ListOfArgs, ObserveArgs, ObserveWhat, OnOff, ServerArgs, WindowArgs};
use crate::filter::{self, FilterSet, Wanted};
use crate::sinks::{Format, PrinterOptions, Selector};

/// Newest flows of a file, which are held in memory until its end.
const MAX_LAST: u64 = 1_000_000;
/// Variables of its own environment that `obsflow observe` reads, as Hubble's client does. This is the complete list;
/// `docs/privacy.md` says it, too, and a test compares them.
pub const VARIABLES: [&str; 3] = [ALLOWLIST, DENYLIST, COMPAT];
const ALLOWLIST: &str = "HUBBLE_ALLOWLIST";
const DENYLIST: &str = "HUBBLE_DENYLIST";
pub(super) const COMPAT: &str = "HUBBLE_COMPAT";

/// Flows that are shown when nothing says how many.
const LAST: u64 = 20;

/// Fields that lines, blocks and tables are made of, and those that say whose flow it is.
const SHOWN: [&str; 29] = [
    "time",
    "emitter",
    "verdict",
    "auth_type",
    "ethernet",
    "IP",
    "l4",
    "source.identity",
    "source.namespace",
    "source.pod_name",
    "source.workloads",
    "destination.identity",
    "destination.namespace",
    "destination.pod_name",
    "destination.workloads",
    "Type",
    "node_name",
    "source_names",
    "destination_names",
    "l7",
    "event_type",
    "source_service",
    "destination_service",
    "traffic_direction",
    "policy_match_type",
    "drop_reason_desc",
    "is_reply",
    "Summary",
    "extensions",
];

/// `obsflow observe`
#[derive(Clone, Debug)]
pub struct Observe {
    /// Where flows come from.
    pub from: FlowsFrom,
    /// What to watch, when this command does it.
    pub live: Live,
    /// Which part of them, by where they come from.
    pub part: Part,
    /// Filters as they travel.
    pub wanted: Wanted,
    /// The same, compiled; a filter that only servers of Hubble's understand is an error wherever flows are filtered here.
    pub filters: Result<FilterSet, ConfigError>,
    /// How to print.
    pub printer: PrinterOptions,
    /// Fields that are asked for; none for all.
    pub field_mask: Vec<String>,
    /// Print the filters instead.
    pub print_filters: bool,
    /// Say nothing on stderr.
    pub silent: bool,
    /// How long connecting, and a question with one answer, may take.
    pub limits: Limits,
}

/// How long a server may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// To connect.
    pub dial: Duration,
    /// To answer a question that has one answer.
    pub request: Duration,
}

/// Where flows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlowsFrom {
    /// The server at this address.
    Server(ServerAddress),
    /// The agent at the default address, and without one this command itself.
    AgentIfThere,
    /// This command itself.
    Own,
    /// A file with JSON, `None` for standard input.
    File(Option<PathBuf>),
}

/// Which part of the flows.
#[derive(Clone, Debug)]
pub struct Part {
    /// Of a server, or of a file.
    pub kept: Kept,
    /// Of this command's own; what makes no sense there is said only when it comes to that.
    pub own: Result<Own, ConfigError>,
}

/// Which part of what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// How many; 0 for all of the time that is asked for.
    pub number: u64,
    /// Of those, the oldest instead of the newest.
    pub first: bool,
    /// Also those to come.
    pub follow: bool,
    /// Nothing before this.
    pub since: Option<Timestamp>,
    /// Nothing after this.
    pub until: Option<Timestamp>,
}

/// Which part of what is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// Which.
    pub selector: Selector,
    /// What the user should be told on stderr before the first flow.
    pub notice: &'static str,
}

/// A server to ask, and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where.
    pub address: ServerAddress,
    /// How long.
    pub limits: Limits,
}

/// `obsflow list`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Whom to ask.
    pub server: Server,
    /// Namespaces instead of nodes.
    pub namespaces: bool,
    /// As JSON.
    pub json: bool,
}

const NOTICE_LIVE: &str = "No agent is asked: watching this node from now on, until Ctrl-C.";
const NOTICE_COUNT: &str = "No agent is asked: watching this node from now on.";
const NOTICE_SINCE: &str =
    "No agent is asked, so history begins now: --since has nothing to look back on. Watching until Ctrl-C.";

impl Observe {
    pub(super) fn new(args: ObserveArgs, now: Timestamp) -> Result<Self, ConfigError> {
        if args.what != ObserveWhat::Flows {
            return Err(ConfigError::NotFlows);
        }
        let format = args.output.output;
        if format == Format::Table && args.follow {
            return Err(ConfigError::TableFollows);
        }
        let wanted = wanted(&args)?;
        let is_file = args.input_file.is_some();
        let from = match (args.input_file, server(&args.server)?) {
            (Some(file), None) => FlowsFrom::File((file.as_os_str() != "-").then_some(file)),
            (Some(_), Some(_)) => return Err(ConfigError::Both("--input-file", "--server")),
            (None, Some(server)) => {
                if args.live.asks_for_something() {
                    return Err(ConfigError::KernelOfServer);
                }
                FlowsFrom::Server(server)
            }
            (None, None) if args.live.asks_for_something() || args.payload == OnOff::Off => FlowsFrom::Own,
            (None, None) => FlowsFrom::AgentIfThere,
        };
        let own = own_part(&args.window, args.follow, format, now);
        if from == FlowsFrom::Own
            && let Err(error) = &own
        {
            return Err(error.clone());
        }
        let filters = wanted.compile().map_err(ConfigError::from);
        if matches!(from, FlowsFrom::Own | FlowsFrom::File(_))
            && let Err(error) = &filters
        {
            return Err(error.clone());
        }
        Ok(Self {
            part: Part {
                kept: kept_part(&args.window, args.follow, is_file, now)?,
                own,
            },
            from,
            live: Live::new(args.live, args.payload == OnOff::On)?,
            filters,
            wanted,
            field_mask: field_mask(args.field_mask, args.use_default_field_masks, format)?,
            printer: printer(&args.output),
            print_filters: args.print_raw_filters,
            silent: args.silent_errors,
            limits: limits(&args.server)?,
        })
    }
}

impl List {
    pub(super) fn new(args: ListOfArgs, namespaces: bool) -> Result<Self, ConfigError> {
        Ok(Self {
            server: Server::new(&args.server)?,
            namespaces,
            json: args.output == ListFormat::Json,
        })
    }
}

impl Server {
    /// The one that is named, else the agent of this node.
    pub(super) fn new(args: &ServerArgs) -> Result<Self, ConfigError> {
        Ok(Self {
            address: server(args)?.unwrap_or_else(agent),
            limits: limits(args)?,
        })
    }
}

/// The agent of this node.
#[must_use]
pub fn agent() -> ServerAddress {
    ServerAddress::unix(crate::api::DEFAULT.trim_start_matches("unix://").into())
}

pub(super) fn limits(args: &ServerArgs) -> Result<Limits, ConfigError> {
    Ok(Limits {
        dial: duration("--timeout", args.timeout.clone())?,
        request: duration("--request-timeout", args.request_timeout.clone())?,
    })
}

/// The server that flags name, if they name one.
pub(super) fn server(args: &ServerArgs) -> Result<Option<ServerAddress>, ConfigError> {
    let flags = [
        (args.tls, "--tls"),
        (args.tls_allow_insecure, "--tls-allow-insecure"),
        (!args.tls_ca_cert_files.is_empty(), "--tls-ca-cert-files"),
        (args.tls_server_name.is_some(), "--tls-server-name"),
        (args.tls_client_cert_file.is_some(), "--tls-client-cert-file"),
        (args.tls_client_key_file.is_some(), "--tls-client-key-file"),
    ];
    let about_tls = flags.into_iter().find(|(given, _)| *given).map(|(_, flag)| flag);
    let Some(text) = &args.server else {
        return match about_tls {
            Some(flag) => Err(ConfigError::TlsOfNobody(flag)),
            None => Ok(None),
        };
    };
    let mut server = ServerAddress::parse(text).map_err(ConfigError::Server)?;
    let client = match (&args.tls_client_cert_file, &args.tls_client_key_file) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        (None, None) => None,
        (Some(_), None) => return Err(ConfigError::ClientTlsHalf("--tls-client-key-file")),
        (None, Some(_)) => return Err(ConfigError::ClientTlsHalf("--tls-client-cert-file")),
    };
    let uses_tls = args.tls || client.is_some() || server.tls.is_some();
    match about_tls {
        Some(flag) if server.is_unix() => return Err(ConfigError::TlsOfSocket(flag)),
        Some(flag) if !uses_tls => return Err(ConfigError::TlsNotUsed(flag)),
        _ => {}
    }
    if args.tls_allow_insecure && !args.tls_ca_cert_files.is_empty() {
        return Err(ConfigError::Both("--tls-allow-insecure", "--tls-ca-cert-files"));
    }
    server.tls = uses_tls.then(|| Tls {
        ca_files: args.tls_ca_cert_files.clone(),
        client,
        server_name: args.tls_server_name.clone(),
        allow_insecure: args.tls_allow_insecure,
    });
    Ok(Some(server))
}

/// Flags, and JSON beside them: of flags, else of the variables that Hubble's client reads.
fn wanted(args: &ObserveArgs) -> Result<Wanted, ConfigError> {
    let mut wanted = filter::parse(&args.filters.terms)?;
    let lists = [
        (&args.allowlist, "--allowlist", ALLOWLIST, &mut wanted.allow),
        (&args.denylist, "--denylist", DENYLIST, &mut wanted.deny),
    ];
    for (given, flag, variable, filters) in lists {
        for text in given {
            filters.extend(filter::parse_raw(flag, text)?);
        }
        let text = std::env::var(variable).unwrap_or_default();
        if given.is_empty() && !text.trim().is_empty() {
            filters.extend(filter::parse_raw(variable, &text)?);
        }
    }
    Ok(wanted)
}

fn field_mask(paths: Vec<String>, default: bool, format: Format) -> Result<Vec<String>, ConfigError> {
    let is_json = matches!(format, Format::Json | Format::Jsonpb | Format::LegacyJson);
    if paths.is_empty() {
        let shown = default && !is_json;
        return Ok(if shown {
            SHOWN.map(str::to_owned).to_vec()
        } else {
            Vec::new()
        });
    }
    if !is_json {
        return Err(ConfigError::MaskOfLines);
    }
    for path in &paths {
        json::check_mask(path).map_err(|reason| ConfigError::FieldMask {
            path: path.clone(),
            reason,
        })?;
    }
    Ok(paths)
}

/// Of what is kept, the newest 20 unless something else is asked for.
fn kept_part(window: &WindowArgs, follow: bool, is_file: bool, now: Timestamp) -> Result<Kept, ConfigError> {
    check_window(window, follow)?;
    let since = moment("--since", window.since.as_deref(), now)?;
    let until = match follow {
        true => None,
        false => moment("--until", window.until.as_deref(), now)?,
    };
    check_order(since, until)?;
    let in_time = since.is_some() || until.is_some();
    let some = |number: Option<u64>| number.filter(|number| *number > 0);
    let number = match (some(window.first), some(window.last)) {
        (Some(number), _) | (None, Some(number)) => number,
        _ if in_time || is_file => 0,
        _ if window.all => u64::MAX,
        _ if follow => 0,
        _ => LAST,
    };
    if is_file && window.last.is_some() && number > MAX_LAST {
        return Err(ConfigError::LastOfFile(MAX_LAST));
    }
    Ok(Kept {
        number,
        first: some(window.first).is_some(),
        follow,
        since,
        until,
    })
}

/// Live, nothing is older than the start: `--last` and `--first` both mean the next ones.
fn own_part(window: &WindowArgs, follow: bool, format: Format, now: Timestamp) -> Result<Own, ConfigError> {
    check_window(window, follow)?;
    let since = moment("--since", window.since.as_deref(), now)?;
    let until = match follow {
        true => None,
        false => moment("--until", window.until.as_deref(), now)?,
    };
    if let Some(text) = window
        .until
        .as_deref()
        .filter(|_| until.is_some_and(|until| until <= now))
    {
        return Err(ConfigError::UntilIsOver(text.to_owned()));
    }
    check_order(since, until)?;
    // With --follow, --last says how much history comes first, and there is none.
    let number = if follow {
        None
    } else {
        window.first.or(window.last)
    };
    if format == Format::Table && number.is_none() && until.is_none() {
        return Err(ConfigError::TableNeedsEnd);
    }
    let notice = match (number, since) {
        (_, Some(_)) => NOTICE_SINCE,
        (Some(_), None) => NOTICE_COUNT,
        (None, None) => NOTICE_LIVE,
    };
    let selector = Selector {
        number,
        newest: false,
        since,
        until,
    };
    Ok(Own { selector, notice })
}

impl Kept {
    /// The same of a file, where everything is there.
    #[must_use]
    pub fn selector(&self) -> Selector {
        Selector {
            number: (self.number != 0 && self.number != u64::MAX).then_some(self.number),
            newest: !self.first,
            since: self.since,
            until: self.until,
        }
    }
}
