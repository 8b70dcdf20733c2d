//! Small programs that make exactly the traffic a scenario needs. Each prints JSON lines on standard output.
//!
//! - `connect ADDR [--deadline MS] [--how blocking|nonblocking|uring] [--then close|exit|hold]`: one TCP connect.
//! - `dial NAME PORT [--deadline MS]`: getaddrinfo, then its addresses one after the other, as clients do.
//! - `serve ADDR [--then echo|reset]`: a server that echoes, or answers by RST, until standard input closes.
//! - `resolve NAME [--family 4|6|any] [--times N]`: getaddrinfo.
//! - `get ADDR [--every MS]`: an HTTP request every so often.
//! - `pause`: nothing, for ever, as the first process of a pod.
//! - `query SERVER NAME TYPE [--tcp] [--burst N]`: DNS queries of its own making.

mod connect;
mod dns;
mod get;
mod serve;
mod uring;

use std::collections::HashMap;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

/// Positional arguments and `--name value` pairs.
pub(crate) struct Args {
    positional: Vec<String>,
    options: HashMap<String, String>,
}

impl Args {
    fn parse(mut args: impl Iterator<Item = String>, flags: &[&str]) -> Result<Self> {
        let (mut positional, mut options) = (Vec::new(), HashMap::new());
        while let Some(arg) = args.next() {
            match arg.strip_prefix("--") {
                Some(name) if flags.contains(&name) => drop(options.insert(name.to_owned(), String::new())),
                Some(name) => {
                    let value = args.next().with_context(|| format!("--{name} needs a value"))?;
                    options.insert(name.to_owned(), value);
                }
                None => positional.push(arg),
            }
        }
        Ok(Self { positional, options })
    }

    pub(crate) fn get<T: FromStr>(&self, index: usize, what: &str) -> Result<T> {
        let text = self
            .positional
            .get(index)
            .with_context(|| format!("{what} is missing"))?;
        text.parse().ok().with_context(|| format!("{text} is not {what}"))
    }

    pub(crate) fn option<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        self.options
            .get(name)
            .map(|text| {
                text.parse()
                    .ok()
                    .with_context(|| format!("--{name} does not take {text}"))
            })
            .transpose()
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let args = Args::parse(args, &["tcp"])?;
    match command.as_str() {
        "connect" => connect::run(&args),
        "dial" => connect::dial(&args),
        "serve" => serve::run(&args),
        "get" => get::run(&args),
        "resolve" => dns::resolve(&args),
        "query" => dns::query(&args),
        "pause" => loop {
            std::thread::park();
        },
        // What is left when the owner of a lab was killed.
        "reap" => obsflow_tests::lab::reap(args.get(0, "the number of a slot")?),
        other => bail!("no such program: {other:?}"),
    }
}

/// The errno in an error of the standard library.
pub(crate) fn errno(error: &std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or_default()
}
