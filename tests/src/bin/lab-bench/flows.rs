//! Flows: what keeping them costs, and what those who read them.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use obsflow_tests::tool::binary;

/// Flows that are kept, as usual.
pub(crate) const FLOWS: u64 = 65_535;

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    /// Nanoseconds of CPU time to keep one.
    pub(crate) write_ns: f64,
    /// What all of them take, in KiB.
    pub(crate) kib: f64,
    /// Milliseconds of a filter over all of them by port; the slowest round.
    pub(crate) by_port_ms: f64,
    /// By a regular expression on names of DNS.
    pub(crate) by_name_ms: f64,
    /// For the newest 20 of a pod.
    pub(crate) newest_ms: f64,
    /// Share of a core for one follower of everything, in percent.
    pub(crate) one: f64,
    /// For ten with narrow filters.
    pub(crate) ten: f64,
    /// What 20 readers who never read add with 200,000 flows, once they are stuck, in KiB.
    pub(crate) slow_kib: f64,
}

/// Keeps three times as many, and reads them `rounds` times.
pub(crate) fn measure(rounds: u64) -> Result<Kept> {
    let output = Command::new(load()?)
        .args([FLOWS, rounds].map(|number| number.to_string()))
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run flows_load")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let numbers: Result<Vec<f64>, _> = said.split_whitespace().map(str::parse).collect();
    let Ok(
        &[
            write_ns,
            kib,
            by_port_ms,
            by_name_ms,
            newest_ms,
            one,
            ten,
            slow_kib,
        ],
    ) = numbers.as_deref()
    else {
        bail!("flows_load said {said:?}");
    };
    Ok(Kept {
        write_ns,
        kib,
        by_port_ms,
        by_name_ms,
        newest_ms,
        one,
        ten,
        slow_kib,
    })
}

/// An example of obsflow, built beside it.
fn load() -> Result<PathBuf> {
    let path = binary("obsflow")?.with_file_name("examples/flows_load");
    if !path.exists() {
        bail!("{} is missing: `cargo xtask bench` builds it", path.display());
    }
    Ok(path)
}
