//! What an Event says: a reason for machines, a note for people.

use super::super::escape;
use crate::model::verdict::{Export, VerdictId};

/// What the API takes of a note, in bytes (`NoteLengthLimit` of k8s.io/kubernetes/pkg/apis/core/validation).
pub(super) const MAX_NOTE: usize = 1024;
/// Of that, for evidence: the advice behind it matters as much.
const MAX_EVIDENCE: usize = 320;
/// And for the destination.
const MAX_DESTINATION: usize = 256;
const CUT: &str = "…";

/// The reason of an Event for a verdict: `TelemetryDnsNxdomain`.
pub(super) fn reason(verdict: VerdictId) -> String {
    let mut reason = String::from("Telemetry");
    for part in verdict.name().split(['-', '/']) {
        let mut chars = part.chars();
        reason.extend(chars.next().map(|first| first.to_ascii_uppercase()));
        reason.push_str(chars.as_str());
    }
    reason
}

/// The reason of an Event for its end.
pub(super) const RECOVERED: &str = "TelemetryRecovered";

/// `refused: traces, logs to http://otel:4318: 10.0.0.1:4318: refused (RST). See whether …`, one line.
pub(super) fn failure(exports: &[&Export]) -> String {
    let Some(export) = exports.first() else {
        return String::new();
    };
    let mut note = what(export.verdict.name(), export.reason.as_deref());
    note.push_str(": ");
    note.push_str(&concerned(exports));
    if let Some(evidence) = export.evidence.first() {
        note.push_str(": ");
        note.push_str(&cut(&plain(&evidence.text), MAX_EVIDENCE));
    }
    if let Some(advice) = export.advice.first() {
        note.push_str(". To do: ");
        note.push_str(&plain(advice));
    }
    cut(&note, MAX_NOTE)
}

/// `refused is over: traces to http://otel:4318`.
pub(super) fn end(verdict: VerdictId, exports: &[&Export]) -> String {
    cut(&format!("{verdict} is over: {}", concerned(exports)), MAX_NOTE)
}

fn what(verdict: &str, reason: Option<&str>) -> String {
    match reason {
        Some(reason) => format!("{verdict} ({})", plain(reason)),
        None => verdict.to_owned(),
    }
}

/// `traces, logs to http://otel:4318 and 1 more destination`.
fn concerned(exports: &[&Export]) -> String {
    let Some(first) = exports.first() else {
        return String::new();
    };
    let destination = destination(first);
    let mut signals: Vec<&str> = Vec::new();
    let mut others: Vec<String> = Vec::new();
    for export in exports {
        let to = self::destination(export);
        if to != destination {
            if !others.contains(&to) {
                others.push(to);
            }
        } else if let Some(signal) = export.signal
            && !signals.contains(&signal.name())
        {
            signals.push(signal.name());
        }
    }
    let mut text = match (signals.is_empty(), first.endpoint.is_some()) {
        (true, true) => "telemetry to ".to_owned(),
        // What asks for injection is no destination.
        (true, false) => String::new(),
        (false, _) => format!("{} to ", signals.join(", ")),
    };
    text.push_str(&destination);
    match others.len() {
        0 => {}
        1 => text.push_str(" and 1 more destination"),
        more => text.push_str(&format!(" and {more} more destinations")),
    }
    text
}

fn destination(export: &Export) -> String {
    let to = match &export.endpoint {
        Some(endpoint) => plain(&endpoint.to_string()),
        None => plain(&export.written),
    };
    cut(&to, MAX_DESTINATION)
}

/// On one line, and nothing that would move a cursor or turn the reading direction.
fn plain(text: &str) -> String {
    let mut line = String::new();
    escape::push(&mut line, text);
    line
}

fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let mut end = max.saturating_sub(CUT.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{CUT}", text.get(..end).unwrap_or_default())
}
