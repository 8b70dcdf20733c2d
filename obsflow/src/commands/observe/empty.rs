//! An answer without flows, explained: what the agent that gave it knows of the pods that were asked for.

use std::fmt::Write as _;

use crate::api::Reported;
use crate::filter::Wanted;
use crate::model::Mono;
use crate::model::expectation::Source;
use crate::model::verdict::{Export, VerdictId};
use crate::model::workload::Workload;
use crate::sinks::doctor::age;

/// Destinations that are named.
const NAMED: usize = 3;

/// What a filter asks for, as far as exporters have it.
#[derive(Debug, Default)]
struct Asked {
    /// Namespace, empty for any, and the beginning of a name.
    pods: Vec<(String, String)>,
    /// Ports of destinations.
    ports: Vec<u16>,
}

impl Asked {
    fn new(wanted: &Wanted) -> Self {
        let mut asked = Self::default();
        for filter in &wanted.allow {
            for pod in &filter.source_pod {
                let (namespace, name) = pod.split_once('/').unwrap_or(("default", pod));
                let pod = (namespace.to_owned(), name.to_owned());
                if !asked.pods.contains(&pod) {
                    asked.pods.push(pod);
                }
            }
            let ports = filter
                .destination_port
                .iter()
                .filter_map(|port| port.parse::<u16>().ok());
            asked.ports.extend(ports);
        }
        asked
    }

    fn has_pod(&self, workload: &Workload) -> bool {
        let (Some(namespace), Some(pod)) = (&workload.namespace, &workload.pod) else {
            return false;
        };
        self.pods
            .iter()
            .any(|(of, prefix)| (of.is_empty() || **of == **namespace) && pod.starts_with(prefix.as_str()))
    }

    fn has_port(&self, export: &Export) -> bool {
        self.ports.is_empty()
            || export
                .endpoint
                .as_ref()
                .is_some_and(|endpoint| self.ports.contains(&endpoint.port))
    }
}

/// The line for stderr. A report is of the moment when something changed last: what has gone on since then is told by `now`.
pub(super) fn explain(wanted: &Wanted, reported: Option<&Reported>, now: Mono) -> String {
    let mut line = "0 flows".to_owned();
    let Some(reported) = reported else {
        return line;
    };
    let report = &reported.report;
    let now = now.max(report.at);
    let asked = Asked::new(wanted);
    let exports: Vec<&Export> = report
        .exports
        .iter()
        .filter(|export| asked.has_pod(&export.workload))
        .collect();
    let here: Vec<&Export> = exports
        .iter()
        .copied()
        .filter(|export| asked.has_port(export))
        .collect();
    // Writing to a string cannot fail.
    let _ = match silent_since(&here) {
        Some(since) => {
            let pods = pods(&here);
            let these = if pods.len() == 1 { "this pod" } else { "these pods" };
            let watched = now.since(since.max(report.watching_since));
            write!(line, "; watching {these} for {}", age(watched))
        }
        None => write!(
            line,
            "; watching this node for {}",
            age(now.since(report.watching_since))
        ),
    };
    if asked.pods.is_empty() {
        return line;
    }
    if exports.is_empty() {
        line.push_str("; no exporter is known in a pod of that name: see obsflow doctor");
        return line;
    }
    if here.is_empty() {
        other_ports(&mut line, &exports);
    } else {
        tell(&mut line, &here, now);
    }
    let _ = match &pods(&exports)[..] {
        [pod] => write!(line, ": see obsflow doctor {pod}"),
        _ => write!(line, ": see obsflow doctor"),
    };
    line
}

/// Since when all of them are watched, if nothing of any of them was ever on the wire: that is what this verdict says, and no
/// other. What is not known, or cannot be seen inside TLS, may have been tried.
fn silent_since(exports: &[&Export]) -> Option<Mono> {
    let is_silent = exports
        .iter()
        .all(|export| export.verdict == VerdictId::Silent && export.last_success.is_none());
    let since = exports.iter().map(|export| export.since).max();
    since.filter(|_| is_silent)
}

fn pods(exports: &[&Export]) -> Vec<String> {
    let mut pods = Vec::new();
    for export in exports {
        let workload = &export.workload;
        if let (Some(namespace), Some(pod)) = (&workload.namespace, &workload.pod) {
            let pod = format!("{namespace}/{pod}");
            if !pods.contains(&pod) {
                pods.push(pod);
            }
        }
    }
    pods
}

/// What is known of the destinations that were asked for.
fn tell(line: &mut String, exports: &[&Export], now: Mono) {
    let configured = exports.iter().all(|export| export.source != Source::Wire);
    let they = if pods(exports).len() == 1 {
        "it is"
    } else {
        "they are"
    };
    let what = if configured {
        "configured for"
    } else {
        "known to send to"
    };
    let _ = write!(line, "; {they} {what} {}", destinations(exports));
    if silent_since(exports).is_some() {
        line.push_str(" and never tried");
    } else if let Some(last) = exports.iter().filter_map(|export| export.last_success).max() {
        let _ = write!(line, ", last accepted {} ago", age(now.since(last)));
    } else {
        let mut verdicts: Vec<&str> = Vec::new();
        for name in exports.iter().map(|export| export.verdict.name()) {
            if !verdicts.contains(&name) {
                verdicts.push(name);
            }
        }
        let _ = match &verdicts[..] {
            [one] if *one == VerdictId::Unknown.name() => {
                write!(line, ", and not enough was seen to say more")
            }
            some => write!(line, " and {they} {}", some.join(", ")),
        };
    }
}

/// The destinations there are instead.
fn other_ports(line: &mut String, exports: &[&Export]) {
    let _ = write!(
        line,
        "; it exports to {}, to nothing that was asked for",
        destinations(exports)
    );
}

/// Ports, or hosts where nobody says a port.
fn destinations(exports: &[&Export]) -> String {
    let mut names: Vec<String> = Vec::new();
    for export in exports {
        let name = match &export.endpoint {
            Some(endpoint) => endpoint.port.to_string(),
            None => "an endpoint that cannot be read".to_owned(),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let mut text = names.join(", ");
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
    text
}
