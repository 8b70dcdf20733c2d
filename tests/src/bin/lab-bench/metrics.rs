//! Metrics: what a scrape takes, and what it takes of the pipeline.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use obsflow_tests::tool::binary;

/// Series that a scrape has at least.
pub(crate) const SERIES: u64 = 20_000;

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scraped {
    /// Lines.
    pub(crate) series: f64,
    /// Milliseconds to write all of them down as OpenMetrics, the slowest round.
    pub(crate) open_ms: f64,
    /// As text.
    pub(crate) text_ms: f64,
    /// Nanoseconds of CPU time for each observation.
    pub(crate) observe_ns: f64,
    /// Milliseconds of the session's thread for one scrape.
    pub(crate) pipeline_ms: f64,
}

/// Fills it and reads it, `rounds` times.
pub(crate) fn measure(rounds: u64) -> Result<Scraped> {
    let output = Command::new(load()?)
        .args([SERIES, rounds].map(|number| number.to_string()))
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run metrics_load")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let numbers: Result<Vec<f64>, _> = said.split_whitespace().map(str::parse).collect();
    let Ok(&[series, open_ms, text_ms, observe_ns, pipeline_ms]) = numbers.as_deref() else {
        bail!("metrics_load said {said:?}");
    };
    Ok(Scraped {
        series,
        open_ms,
        text_ms,
        observe_ns,
        pipeline_ms,
    })
}

/// An example of obsflow, built beside it.
fn load() -> Result<PathBuf> {
    let path = binary("obsflow")?.with_file_name("examples/metrics_load");
    if !path.exists() {
        bail!("{} is missing: `cargo xtask bench` builds it", path.display());
    }
    Ok(path)
}
