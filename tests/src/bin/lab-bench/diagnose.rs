//! Diagnosis: what an observation costs it, and what many exporters take.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use obsflow_tests::tool::binary;

use crate::programs::median;

/// Exporters that are followed.
pub(crate) const EXPORTERS: u64 = 5000;

/// What it cost, medians.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Diagnosed {
    /// Nanoseconds of CPU for each observation.
    pub(crate) event_ns: f64,
    /// For each exporter of a tick, of which there is one a second.
    pub(crate) tick_ns: f64,
    /// For each exporter of a report.
    pub(crate) report_ns: f64,
    /// Memory of the state, in KiB.
    pub(crate) state_kib: f64,
}

/// Feeds it, `rounds` times.
pub(crate) fn measure(events: u64, rounds: usize) -> Result<Diagnosed> {
    let mut rows: Vec<[f64; 4]> = Vec::new();
    for _ in 0..rounds {
        let output = Command::new(load()?)
            .args([EXPORTERS, events].map(|number| number.to_string()))
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run diagnose_load")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let numbers: Result<Vec<f64>, _> = said.split_whitespace().map(str::parse).collect();
        let row = numbers.ok().and_then(|numbers| numbers.try_into().ok());
        rows.push(row.with_context(|| format!("diagnose_load said {said:?}"))?);
    }
    let column = |index: usize| median(rows.iter().filter_map(move |row| row.get(index).copied()));
    Ok(Diagnosed {
        event_ns: column(0),
        tick_ns: column(1),
        report_ns: column(2),
        state_kib: column(3),
    })
}

/// An example of obsflow, built beside it.
fn load() -> Result<PathBuf> {
    let path = binary("obsflow")?.with_file_name("examples/diagnose_load");
    if !path.exists() {
        bail!("{} is missing: `cargo xtask bench` builds it", path.display());
    }
    Ok(path)
}
