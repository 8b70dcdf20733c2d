//! What each command does, once its arguments make sense.

mod agent;
mod cluster;
mod doctor;
mod list;
mod observe;
mod probe;
mod record;
mod replay;
mod status;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use signal_hook::consts::{SIGINT, SIGTERM};
use tracing::level_filters::LevelFilter;

use crate::cli::{self, EXIT_FAILURE, EXIT_OK, LogFormat};
use crate::config::Command;
use crate::kernel::hooks::{Hook, State};
use crate::session::{Session, Stop};
use crate::sinks::doctor::EXIT_UNKNOWN;

/// Runs a command. Errors become one line on stderr and exit code 1, of `doctor` 3.
#[must_use]
pub fn run(command: Command) -> ExitCode {
    log_to_stderr(&command);
    let logs_json = matches!(&command, Command::Agent(agent) if agent.log_format == LogFormat::Json);
    // Of doctor, 1 says that something fails.
    let failure = match &command {
        Command::Doctor(_) => EXIT_UNKNOWN,
        _ => EXIT_FAILURE,
    };
    let ok = |done: anyhow::Result<()>| done.map(|()| EXIT_OK);
    let done = match command {
        Command::Agent(config) => ok(agent::run(&config)),
        Command::Doctor(config) => doctor::run(&config),
        Command::Observe(config) => ok(observe::run(&config)),
        Command::Status(config) => ok(status::run(&config)),
        Command::List(config) => ok(list::list(&config)),
        Command::WatchPeers(server) => ok(list::watch_peers(&server)),
        Command::Record(config) => ok(record::run(&config)),
        Command::Replay(config) => ok(replay::run(&config)),
        Command::Completions(shell) => ok(print(|out| cli::completions(shell, out).map(|_| ()))),
        Command::Man(dir) => ok(print(|out| cli::man(dir.as_deref(), out))),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let line = one_line(&error);
            if logs_json && tracing::enabled!(tracing::Level::ERROR) {
                tracing::error!("{line}");
            } else {
                let _ = writeln!(std::io::stderr(), "obsflow: {line}");
            }
            ExitCode::from(failure)
        }
    }
}

/// An error and its causes on one line. Many messages quote their cause already: it is not said twice.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
    }
    line.replace('\n', " ")
}

/// Writes to stdout; a reader that went away is no error.
fn print(write: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> anyhow::Result<()> {
    let mut out = Vec::new();
    write(&mut out).context("writing")?;
    match std::io::stdout().write_all(&out) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("writing"),
        _ => Ok(()),
    }
}

/// What obsflow says about itself goes to stderr, at the level asked for.
fn log_to_stderr(command: &Command) {
    let mut format = LogFormat::Text;
    let (own, kernel) = match command {
        Command::Doctor(config) => (config.live.log_level, config.live.kernel_log),
        Command::Agent(config) => {
            format = config.log_format;
            (config.live.log_level, config.live.kernel_log)
        }
        Command::Observe(config) => (config.live.log_level, config.live.kernel_log),
        Command::Status(config) => (config.live.log_level, config.live.kernel_log),
        Command::Record(config) => (config.live.log_level, config.live.kernel_log),
        Command::Replay(config) => (config.log_level, log::LevelFilter::Off),
        Command::Completions(_) | Command::Man(_) | Command::List(_) | Command::WatchPeers(_) => return,
    };
    // Lines of the kernel side carry the programs' crate as their target; libraries speak when something is wrong.
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(LevelFilter::WARN.into())
        .parse_lossy(format!("obsflow={own},obsflow_programs={kernel}"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}

/// Runs `work`, and lets SIGINT and SIGTERM end it through `stop`. On one thread: with a second one every allocation would
/// take a lock.
fn until_signal<T>(stop: &Stop, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, stop.flag()).context("listening for signals")?;
    }
    work()
}

/// One line on stderr that says what is being watched: scripts wait for it.
fn announce(session: &Session) {
    let attached: Vec<&str> = session
        .hooks()
        .iter()
        .filter(|(_, state)| matches!(state, State::Attached(_)))
        .map(|(hook, _)| hook.name())
        .collect();
    let places: Vec<String> = session
        .cgroups()
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let _ = writeln!(
        std::io::stderr(),
        "obsflow: attached {} at {}",
        attached.join(", "),
        places.join(", ")
    );
    for (hook, state) in session.hooks() {
        if let State::Unavailable(reason) = state
            && *hook != Hook::ConnectExit
        {
            let _ = writeln!(
                std::io::stderr(),
                "obsflow: without {hook}: {reason}; {}",
                hook.without()
            );
        }
    }
}

/// One line on stderr about what was seen, and what was not.
fn summarise(session: &Session) {
    let counters = session.pipeline().counters();
    let stats = session.stats();
    let mut line = format!("obsflow: {} events seen, {} lost", counters.seen, counters.lost);
    if counters.undecodable > 0 {
        line.push_str(&format!(", {} undecodable", counters.undecodable));
    }
    if stats.rate_limited > 0 {
        line.push_str(&format!(
            ", {} payload captures over their connection's rate",
            stats.rate_limited
        ));
    }
    if stats.connections_full > 0 {
        line.push_str(&format!(
            ", {} connections not followed (table full)",
            stats.connections_full
        ));
    }
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let cause = std::io::Error::other("no such thing");
        let error = anyhow::Error::new(cause)
            .context("opening x: no such thing")
            .context("reading");
        assert_eq!(one_line(&error), "reading: opening x: no such thing");
    }
}
