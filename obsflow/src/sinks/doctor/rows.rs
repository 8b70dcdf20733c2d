//! The cells that tables are made of.

use std::time::Duration;

use super::draw::{Cell, Ink, Page, UNBROKEN};
use super::names;
use crate::model::expectation::Source;
use crate::model::verdict::{Evidence, Export, Leg, Rung, RungState, Rungs, Severity, VerdictId};
use crate::model::{Clock, Mono, Workload};

/// The colour of a severity.
pub(super) fn ink(severity: Severity) -> Ink {
    match severity {
        Severity::Ok => Ink::Green,
        Severity::Unknown => Ink::Dim,
        Severity::Starting | Severity::Warning => Ink::Yellow,
        Severity::Critical => Ink::Red,
    }
}

/// What a row begins with: a sign of its severity, and a space.
pub(super) fn mark(page: &Page, severity: Severity) -> Cell {
    let (sign, ascii) = match severity {
        Severity::Ok => ("✓", "+"),
        Severity::Unknown => ("?", "?"),
        Severity::Starting => ("~", "~"),
        Severity::Warning => ("!", "!"),
        Severity::Critical => ("✗", "x"),
    };
    let sign = if page.options().unicode { sign } else { ascii };
    Cell::new(ink(severity), sign).and(Ink::Plain, " ")
}

/// Whose it is, with the container where a pod may have several.
pub(super) fn workload(page: &Page, workload: &Workload) -> Cell {
    let name = page.cell(Ink::Bold, &names::workload(workload));
    match &workload.container {
        Some(container) if workload.pod.is_some() => {
            name.and(Ink::Plain, page.text(&format!(" ({container})")))
        }
        _ => name,
    }
}

/// Which signal; empty when it is not known.
pub(super) fn signal(page: &Page, export: &Export) -> Cell {
    page.cell(Ink::Plain, export.signal.map_or("", |signal| signal.name()))
}

/// Where to.
pub(super) fn destination(page: &Page, export: &Export) -> Cell {
    let to = match &export.endpoint {
        Some(endpoint) => endpoint.to_string(),
        None if export.written.is_empty() => "no destination".to_owned(),
        None => export.written.to_string(),
    };
    let cell = page.cell(Ink::Plain, &to);
    match export.leg {
        Leg::Direct => cell,
        Leg::ToSidecar => cell.and(Ink::Dim, " (by its sidecar)"),
        Leg::Sidecar => cell.and(Ink::Dim, " (the sidecar's connection)"),
    }
}

/// The verdict, with the kind of it.
pub(super) fn verdict(page: &Page, verdict: VerdictId, reason: Option<&str>, severity: Severity) -> Cell {
    let cell = Cell::new(ink(severity), verdict.name());
    match reason {
        Some(reason) => cell.and(Ink::Plain, page.text(&format!(" ({reason})"))),
        None => cell,
    }
}

/// The rung that a ladder ends at: the first that failed, else the first that is not known.
fn end(rungs: Rungs) -> Option<Rung> {
    let first = |state| Rung::ALL.into_iter().find(|rung| rungs.get(*rung) == state);
    first(RungState::Failed).or_else(|| first(RungState::Unknown))
}

fn sign(page: &Page, state: RungState) -> (Ink, &'static str) {
    let unicode = page.options().unicode;
    match state {
        RungState::Ok => (Ink::Green, if unicode { "✓" } else { "+" }),
        RungState::Failed => (Ink::Red, if unicode { "✗" } else { "x" }),
        RungState::Unknown => (Ink::Dim, "?"),
        RungState::NotReached => (Ink::Dim, if unicode { "·" } else { "." }),
        RungState::NotApplicable => (Ink::Dim, "-"),
    }
}

/// `configured ✓ resolved ✗ …`
pub(super) fn ladder(page: &Page, rungs: Rungs) -> Cell {
    let end = end(rungs);
    let mut cell = Cell::default();
    let mut gap = "";
    for rung in Rung::ALL {
        let state = rungs.get(rung);
        // A literal address has no such rung.
        if state == RungState::NotApplicable {
            continue;
        }
        let (ink, text) = sign(page, state);
        cell = cell
            .and(Ink::Plain, format!("{gap}{} ", rung.name()))
            .and(ink, text);
        gap = " ";
        if Some(rung) == end {
            if rung != Rung::Accepted {
                cell = cell.and(Ink::Dim, if page.options().unicode { " …" } else { " ..." });
            }
            break;
        }
    }
    cell
}

/// `✓✗··· resolved`: a sign for each rung, and the name of the one that it ends at.
pub(super) fn signs(page: &Page, rungs: Rungs) -> Cell {
    let cell = Rung::ALL.into_iter().fold(Cell::default(), |cell, rung| {
        let (ink, text) = sign(page, rungs.get(rung));
        cell.and(ink, text)
    });
    match end(rungs).filter(|rung| rungs.get(*rung) == RungState::Failed) {
        Some(rung) => cell.and(Ink::Plain, format!(" {}", rung.name())),
        None => cell,
    }
}

/// `since 08:13:10Z, 26s`
pub(super) fn since(since: Mono, now: Mono, clock: Clock) -> Cell {
    Cell::new(
        Ink::Plain,
        format!("since {}, {}", time(since, now, clock), age(now.since(since))),
    )
}

/// A moment, in UTC: the time of day, and the day when that is not the last 24 hours.
pub(super) fn time(at: Mono, now: Mono, clock: Clock) -> String {
    const DAY: Duration = Duration::from_hours(24);
    let format = if now.since(at) < DAY {
        "%H:%M:%SZ"
    } else {
        "%Y-%m-%d %H:%MZ"
    };
    clock.wall(at).strftime(format).to_string()
}

/// Two units at the most: `26s`, `2m10s`, `3h5m`, `2d4h`.
#[must_use]
pub fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |big: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{small}{small_unit}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => two(minutes, "m", seconds % 60, "s"),
        (0, ..) => two(hours, "h", minutes % 60, "m"),
        _ => two(days, "d", hours % 24, "h"),
    }
}

/// A fact, with how often and how long ago.
pub(super) fn fact(evidence: &Evidence, now: Mono) -> String {
    let ago = evidence.last.map(|last| age(now.since(last)));
    let often = match (evidence.count, ago) {
        // What is so all the time.
        (0, _) | (1, None) => return evidence.text.to_string(),
        (1, Some(ago)) => format!("({ago} ago)"),
        (count, None) => format!("({count} times)"),
        (count, Some(ago)) => format!("({count} times, last {ago} ago)"),
    };
    format!("{} {}", evidence.text, often.replace(' ', UNBROKEN))
}

/// Where an endpoint is configured, and as what, when neither the evidence nor the destination shows it.
pub(super) fn source(export: &Export) -> Option<String> {
    let is_told = export.evidence.iter().any(|evidence| evidence.kind == "source");
    if is_told || export.source == Source::Wire {
        return None;
    }
    let shown = export.endpoint.as_ref().map(ToString::to_string);
    let written = &*export.written;
    Some(match shown {
        Some(shown) if !written.is_empty() && written != shown => {
            format!("configured by {}: {written}", export.source)
        }
        _ => format!("configured by {}", export.source),
    })
}

/// `1 exporter`, `2 exporters`
pub(super) fn count(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}
