//! Command lines: what they mean, and what is wrong with them.

use clap::CommandFactory as _;
use jiff::Timestamp;

use super::args::Cli;
use super::parse_from;
use crate::config::Command;
use crate::filter::Flag;

fn now() -> Timestamp {
    "2026-01-02T15:04:05Z".parse().unwrap()
}

fn run(line: &str) -> Result<Command, String> {
    parse_from(std::iter::once("obsflow").chain(line.split_whitespace()), now())
        .map_err(|error| error.to_string())
}

fn error(line: &str) -> String {
    match run(line) {
        Ok(command) => panic!("{line} is accepted: {command:?}"),
        Err(error) => error,
    }
}

#[test]
fn clap_finds_nothing_wrong() {
    Cli::command().debug_assert();
}

#[test]
fn filters_keep_their_order() {
    use clap::Parser as _;
    let line = "obsflow observe --not --from-pod a/b -A --to-port 4317 --not --to-port 53 -4";
    let cli = Cli::try_parse_from(line.split(' ')).unwrap();
    let super::CommandArgs::Observe(args) = cli.command else {
        panic!("another command")
    };
    let flags: Vec<_> = args
        .filters
        .terms
        .iter()
        .map(|term| (term.flag, &*term.value))
        .collect();
    assert_eq!(
        flags,
        [
            (Flag::Not, ""),
            (Flag::FromPod, "a/b"),
            (Flag::AllNamespaces, ""),
            (Flag::ToPort, "4317"),
            (Flag::Not, ""),
            (Flag::ToPort, "53"),
            (Flag::Ipv4, ""),
        ]
    );
}
