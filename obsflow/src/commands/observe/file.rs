//! Flows that were printed as JSON before.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use anyhow::Context as _;

use super::super::until_signal;
use super::{say, view};
use crate::api::hubble::{json, read};
use crate::config::Observe;
use crate::session::Stop;
use crate::sinks::Show;

/// Longest line that is read, in bytes: a flow has some kilobytes.
const MAX_LINE: u64 = 4 << 20;
/// Lines between two flushes.
const BATCH: u64 = 256;

pub(super) fn run(config: &Observe, file: Option<&Path>) -> anyhow::Result<()> {
    let (name, input): (String, Box<dyn BufRead>) = match file {
        None => ("standard input".to_owned(), Box::new(io::stdin().lock())),
        Some(path) => {
            let name = path.display().to_string();
            let file = File::open(path).with_context(|| format!("opening {name}"))?;
            (name, Box::new(BufReader::with_capacity(256 * 1024, file)))
        }
    };
    let stop = Stop::default();
    until_signal(&stop, || show(config, &name, input, &stop))
}

fn show(config: &Observe, name: &str, mut input: Box<dyn BufRead>, stop: &Stop) -> anyhow::Result<()> {
    let view = view(config, config.part.kept.selector(), config.filters.clone()?);
    let mut show = Show::new(&view, io::stdout(), (!config.silent).then(io::stderr));
    let (mut line, mut number, mut bad) = (Vec::new(), 0_u64, 0_u64);
    let failed = loop {
        line.clear();
        match input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) => break None,
            Ok(_) => {}
            Err(error) => break Some(error),
        }
        number += 1;
        let whole = line.ends_with(b"\n") || line.len() < usize::try_from(MAX_LINE).unwrap_or(usize::MAX);
        let read = if whole {
            flow_of(&line)
        } else {
            if let Err(error) = input.skip_until(b'\n') {
                break Some(error);
            }
            Err("it is longer than any flow".to_owned())
        };
        match read {
            Ok(Some(response)) if show.wants(&response) => {
                if show.take(response)?.is_break() {
                    break None;
                }
            }
            Ok(_) => {}
            Err(reason) => {
                bad += 1;
                if bad == 1 {
                    say(
                        config,
                        format_args!("line {number} of {name} is no flow, and is passed over: {reason}"),
                    );
                }
            }
        }
        if (number.is_multiple_of(BATCH) && show.flush()?.is_break()) || stop.is_stopped() {
            break None;
        }
    };
    let printed = show.finish()?;
    if bad > 1 {
        say(config, format_args!("{bad} lines of {name} were no flows"));
    }
    if printed == 0 && bad > 0 && bad == number {
        anyhow::bail!("{name} has no flow in it: it must be what observe -o json printed");
    }
    match failed {
        Some(error) => Err(error).with_context(|| format!("reading {name}")),
        None => Ok(()),
    }
}

/// What a line holds; nothing, when it is empty or of a kind to come.
fn flow_of(line: &[u8]) -> Result<Option<crate::model::flow::Response>, String> {
    let text = std::str::from_utf8(line)
        .map_err(|error| error.to_string())?
        .trim();
    if text.is_empty() {
        return Ok(None);
    }
    match json::response(text) {
        Ok(message) => Ok(read::response(message)),
        Err(error) => Err(error.to_string()),
    }
}
