//! The tables of `cargo xtask vm`, for the terminal and for the documentation.

use std::fmt::Write as _;

use obsflow_vm_guest::scenario::Step;

use super::packages::Kernel;
use super::result::{Hook, Outcome};

/// One kernel and what it showed.
pub(crate) type Row = (Kernel, Outcome);

const ATTACHED: &str = "attached";

/// Hooks by kernel, the steps by kernel, and why hooks are missing. Markdown, which a terminal shows well enough.
pub(crate) fn all(rows: &[Row]) -> String {
    let mut text = String::new();
    let releases = || rows.iter().map(|(_, outcome)| outcome.release.clone());
    let mut hooks = vec![line("hook", releases())];
    for name in hook_names(rows) {
        hooks.push(line(
            &name,
            rows.iter().map(|(_, outcome)| state(outcome, &name).to_owned()),
        ));
    }
    text.push_str(&aligned(&hooks));
    for note in notes(rows) {
        let _ = write!(text, "\n- {note}");
    }
    text.push_str("\n\n");
    let mut steps = vec![line("scenario", releases())];
    for step in Step::ALL {
        steps.push(line(
            step.title(),
            rows.iter().map(|(_, outcome)| call(outcome, step)),
        ));
    }
    text.push_str(&aligned(&steps));
    text
}

/// Names of hooks, in the order of `obsflow status`.
fn hook_names(rows: &[Row]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for hook in rows.iter().flat_map(|(_, outcome)| &outcome.hooks) {
        if !names.contains(&hook.name) {
            names.push(hook.name.clone());
        }
    }
    names
}

fn find<'a>(outcome: &'a Outcome, name: &str) -> Option<&'a Hook> {
    outcome.hooks.iter().find(|hook| hook.name == name)
}

fn state<'a>(outcome: &'a Outcome, name: &str) -> &'a str {
    find(outcome, name).map_or("-", |hook| hook.state.as_str())
}

/// What obsflow called a step; what is wrong with it, if something is.
fn call(outcome: &Outcome, step: Step) -> String {
    match outcome
        .steps
        .iter()
        .find(|called| called.step == step)
        .and_then(|called| called.call.as_ref())
    {
        Some(call) if call.wrong.is_empty() => "right".to_owned(),
        Some(call) => format!("WRONG: {}", call.wrong.join(", ")),
        None => "-".to_owned(),
    }
}

/// Why a hook is not attached, once for all kernels that say the same, and what is lost with it.
fn notes(rows: &[Row]) -> Vec<String> {
    let mut notes: Vec<(String, Vec<&str>)> = Vec::new();
    for (_, outcome) in rows {
        for hook in outcome.hooks.iter().filter(|hook| hook.state != ATTACHED) {
            let lost = if hook.without.is_empty() {
                String::new()
            } else {
                format!(": {}", hook.without)
            };
            let note = format!("`{}` ({}){lost}", hook.name, hook.detail);
            match notes.iter_mut().find(|(known, _)| *known == note) {
                Some((_, releases)) => releases.push(&outcome.release),
                None => notes.push((note, vec![&outcome.release])),
            }
        }
    }
    let everywhere = |releases: &[&str]| releases.len() == rows.len();
    notes
        .into_iter()
        .map(|(note, releases)| {
            if everywhere(&releases) {
                format!("all: {note}")
            } else {
                format!("{}: {note}", releases.join(", "))
            }
        })
        .collect()
}

fn line(first: &str, rest: impl Iterator<Item = String>) -> Vec<String> {
    std::iter::once(first.to_owned()).chain(rest).collect()
}

/// A Markdown table whose columns line up.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    let cells = |index: usize| lines.iter().filter_map(move |line| line.get(index));
    let widths: Vec<usize> = (0..columns)
        .map(|index| {
            cells(index)
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default()
        })
        .collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if number == 0 {
            for width in &widths {
                let _ = write!(text, "| {:-<width$} ", "");
            }
            text.push_str("|\n");
        }
    }
    text
}
