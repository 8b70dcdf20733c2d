//! The configuration file of `obsflow agent`: what it says is what flags would say, and is checked as they are.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Command};
use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use crate::expect::Rule;

/// Far more than any configuration has, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// The key of the tables that [`Rule`]s come from.
const EXPORTER: &str = "exporter";
/// Flags that make no sense in a file.
const NOT_HERE: [&str; 4] = ["config", "check", "help", "version"];

/// A configuration file that cannot be used; names the line.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// It cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    /// It is no configuration.
    #[error("{path}:{line}: {what}")]
    Line {
        path: PathBuf,
        line: usize,
        what: String,
    },
    /// It is no configuration as a whole.
    #[error("{path}: {what}")]
    Whole { path: PathBuf, what: String },
}

/// What a file says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ConfigFile {
    /// As arguments.
    pub(super) args: Vec<OsString>,
    /// What workloads export.
    pub(super) rules: Vec<Rule>,
}

/// The tables of [`Rule`]s; everything else is looked at elsewhere.
#[derive(Deserialize)]
struct Exporters {
    #[serde(default)]
    exporter: Vec<Rule>,
}

/// Something wrong, and where in the text.
type Wrong = (Option<Range<usize>>, String);

/// Reads a file. `agent` is the command whose flags are its keys; `given` says which of them (by id) were on the command line
/// and win; `check` looks at a few arguments by themselves.
pub(super) fn read(
    path: &Path,
    agent: &Command,
    given: impl Fn(&str) -> bool,
    check: impl Fn(&[OsString]) -> Result<(), String>,
) -> Result<ConfigFile, FileError> {
    let failed = |source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    let whole = |what: &str| FileError::Whole {
        path: path.to_owned(),
        what: what.to_owned(),
    };
    if bytes.len() as u64 > MAX_BYTES {
        return Err(whole("longer than 1 MiB: not a configuration file"));
    }
    let text = String::from_utf8(bytes).map_err(|_| whole("not UTF-8: not a configuration file"))?;
    parse(&text, agent, given, check).map_err(|(span, what)| match span {
        Some(span) => FileError::Line {
            path: path.to_owned(),
            line: line(&text, span.start),
            what,
        },
        None => whole(&what),
    })
}

fn parse(
    text: &str,
    agent: &Command,
    given: impl Fn(&str) -> bool,
    check: impl Fn(&[OsString]) -> Result<(), String>,
) -> Result<ConfigFile, Wrong> {
    let table = DeTable::parse(text).map_err(wrong)?;
    let mut file = ConfigFile::default();
    for (key, value) in table.get_ref() {
        let name = key.get_ref().as_ref();
        if name == EXPORTER {
            continue;
        }
        let at = |what: String| (Some(key.span()), what);
        let arg = agent
            .get_arguments()
            .find(|arg| arg.get_long() == Some(name) && !NOT_HERE.contains(&name))
            .ok_or_else(|| {
                at(format!(
                    "unknown key `{}`; keys are the flags of `obsflow agent --help` without the dashes, and [[exporter]]",
                    name.escape_debug()
                ))
            })?;
        let args = match arg.get_action() {
            ArgAction::SetTrue => switch(name, value.get_ref()),
            action => values(name, value.get_ref(), matches!(action, ArgAction::Append)),
        };
        let args = args.map_err(at)?;
        check(&args).map_err(at)?;
        if !given(arg.get_id().as_str()) {
            file.args.extend(args);
        }
    }
    if table.get_ref().contains_key(EXPORTER) {
        file.rules = toml::from_str::<Exporters>(text).map_err(wrong)?.exporter;
    }
    Ok(file)
}

fn wrong(error: toml::de::Error) -> Wrong {
    (error.span(), error.message().replace('\n', " "))
}

/// A flag that is given or not.
fn switch(name: &str, value: &DeValue<'_>) -> Result<Vec<OsString>, String> {
    match value {
        DeValue::Boolean(true) => Ok(vec![OsString::from(format!("--{name}"))]),
        DeValue::Boolean(false) => Ok(Vec::new()),
        value => Err(format!("`{name}` takes true or false, not {}", kind(value))),
    }
}

/// A key and its value as arguments.
fn values(name: &str, value: &DeValue<'_>, takes_many: bool) -> Result<Vec<OsString>, String> {
    let argument = |value: &DeValue<'_>| {
        let text = match value {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            _ => return Err(format!("`{name}` takes text or a number, not {}", kind(value))),
        };
        Ok(OsString::from(format!("--{name}={text}")))
    };
    match value {
        DeValue::Array(values) if takes_many => {
            if values.is_empty() {
                return Err(format!(
                    "`{name}` is an empty list; leave the key out for what is usual"
                ));
            }
            values.iter().map(|value| argument(value.get_ref())).collect()
        }
        value => argument(value).map(|argument| vec![argument]),
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The line, from 1, of a place in a text.
fn line(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
#[path = "config_file_tests.rs"]
mod tests;
