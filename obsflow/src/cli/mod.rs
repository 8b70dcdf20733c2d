//! The command line. Arguments only parse here; [`crate::config`] makes sense of them.

mod agent;
mod args;
mod config_file;
mod doctor;
mod filters;
mod observe;
mod plugin;
pub mod time;

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io;
use std::path::Path;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{CommandFactory as _, FromArgMatches as _};
use jiff::Timestamp;

pub use agent::{AgentArgs, LogFormat};
pub use args::{
    AttachArg, AutoOff, Cli, CommandArgs, LiveArgs, ManArgs, OnOff, OutputArgs, RecordArgs, ReplayArgs,
    StatusArgs, StatusFormat, WindowArgs,
};
pub use doctor::{DoctorArgs, DoctorFormat};
pub use filters::FilterArgs;
pub use observe::{
    ListArgs, ListFormat, ListOfArgs, ListWhat, ObserveArgs, ObserveWhat, ServerArgs, WatchArgs, WatchWhat,
};

use crate::config::Command;

/// Exit code when everything went well.
pub const EXIT_OK: u8 = 0;
/// Exit code when something failed while running.
pub const EXIT_FAILURE: u8 = 1;
/// Exit code of a command line that makes no sense.
pub const EXIT_USAGE: u8 = 2;

/// The command line of this process. Prints help, the version or one line about what is wrong, and exits, where
/// there is nothing to run.
#[must_use]
pub fn parse() -> Command {
    parse_from(std::env::args_os(), Timestamp::now()).unwrap_or_else(|error| error.exit())
}

/// A command line.
///
/// # Errors
/// Help and the version are errors to clap, too; `clap::Error::exit` does the right thing with each.
pub fn parse_from<I>(args: I, now: Timestamp) -> Result<Command, clap::Error>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let mut args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    plugin::complete(&mut args);
    let mut cli = parse_args(&args).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp => help(&args).unwrap_or(error),
        _ => error,
    })?;
    if let CommandArgs::Doctor(doctor) = &mut cli.command {
        doctor.is_plugin = plugin::is(&args);
    }
    if let CommandArgs::Doctor(doctor) = &mut cli.command
        && let Some(path) = &doctor.config
    {
        doctor.rules = rules(path)?;
    }
    let path = match &cli.command {
        CommandArgs::Agent(agent) => agent.config.clone(),
        _ => None,
    };
    let command = match &path {
        Some(path) => with_file(&args, path, now)?,
        None => cli.command,
    };
    Command::new(command, now).map_err(|error| match path {
        Some(path) => wrong(format!("{} with the flags: {error}", path.display())),
        None => wrong(error),
    })
}

fn wrong(what: impl std::fmt::Display) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, format!("{what}\n"))
}

/// What clap makes of arguments. An agent says more of itself than other commands, for its log is all there is to see of it.
fn parse_args(args: &[OsString]) -> Result<Cli, clap::Error> {
    Cli::from_arg_matches(&plugin::named(command(), args).try_get_matches_from(args)?)
}

fn command() -> clap::Command {
    Cli::command().mut_subcommand("agent", |agent| {
        agent.mut_arg("log_level", |arg| arg.default_value("info"))
    })
}

/// The command of an agent with its configuration file, whose settings become arguments behind those of the command line.
fn with_file(args: &[OsString], path: &Path, now: Timestamp) -> Result<CommandArgs, clap::Error> {
    let command = command();
    let matches = command.clone().try_get_matches_from(args)?;
    let (Some((name, given)), [program, _, flags @ ..]) = (matches.subcommand(), args) else {
        return Err(wrong("a configuration file is for `obsflow agent`"));
    };
    let agent = command
        .find_subcommand(name)
        .ok_or_else(|| wrong("a configuration file is for `obsflow agent`"))?;
    let is_given = |id: &str| given.value_source(id) == Some(ValueSource::CommandLine);
    let check = |setting: &[OsString]| {
        let alone: Vec<OsString> = [program.clone(), name.into()]
            .into_iter()
            .chain(setting.iter().cloned())
            .collect();
        part(&alone, now).map_err(|error| {
            let text = error.to_string();
            // What follows an empty line is about the command line.
            let what = text.split("\n\n").next().unwrap_or_default();
            let words: Vec<&str> = what.trim_start_matches("error: ").split_whitespace().collect();
            words.join(" ")
        })
    };
    let file = config_file::read(path, agent, is_given, check).map_err(wrong)?;
    let whole: Vec<OsString> = [program.clone(), name.into()]
        .into_iter()
        .chain(file.args)
        .chain(flags.iter().cloned())
        .collect();
    let mut parsed = parse_args(&whole)?.command;
    if let CommandArgs::Agent(agent) = &mut parsed {
        agent.rules = file.rules;
    }
    Ok(parsed)
}

/// Whether some arguments of an agent are good by themselves.
fn part(args: &[OsString], now: Timestamp) -> Result<(), clap::Error> {
    let mut command = parse_args(args)?.command;
    if let CommandArgs::Agent(agent) = &mut command {
        agent.is_part = true;
    }
    Command::new(command, now).map(drop).map_err(wrong)
}

/// The `[[exporter]]` rules of an agent's configuration file; its other keys only have to be known.
fn rules(path: &Path) -> Result<Vec<crate::expect::Rule>, clap::Error> {
    let command = command();
    let agent = command
        .find_subcommand("agent")
        .ok_or_else(|| wrong("there is no configuration file without `obsflow agent`"))?;
    let file = config_file::read(path, agent, |_| true, |_| Ok(())).map_err(wrong)?;
    Ok(file.rules)
}

/// The same help, written for people.
fn help(args: &[OsString]) -> Option<clap::Error> {
    plugin::named(for_people(), args).try_get_matches_from(args).err()
}

/// The program as help, man pages and completions show it.
fn for_people() -> clap::Command {
    ["observe", "replay"]
        .into_iter()
        .fold(command(), |command, name| {
            command.mut_subcommand(name, filters::for_people)
        })
}

/// Writes a completion script for a shell.
///
/// # Errors
/// When writing fails, but for a reader that went away.
pub fn completions(shell: clap_complete::Shell, out: &mut dyn io::Write) -> io::Result<()> {
    // clap_complete panics when writing fails; memory does not.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut for_people(), "obsflow", &mut script);
    unless_closed(out.write_all(&script))
}

/// Writes the man page of the program, or into `dir` one for it and one for each command.
///
/// # Errors
/// When writing fails, but for a reader that went away.
pub fn man(dir: Option<&Path>, out: &mut dyn io::Write) -> io::Result<()> {
    match dir {
        Some(dir) => {
            std::fs::create_dir_all(dir)?;
            clap_mangen::generate_to(for_people(), dir)
        }
        None => unless_closed(clap_mangen::Man::new(for_people()).render(out)),
    }
}

fn unless_closed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
