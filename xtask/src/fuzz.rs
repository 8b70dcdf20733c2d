//! `cargo xtask fuzz`: the fuzz targets, for a given time each, as many at once as there are processors.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, bail};

use crate::sh;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long each target runs.
    #[arg(long, default_value_t = 600, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,
    /// The profile of cargo they are built with: `fuzz` is several times as fast as `dev`, which other tests have built already.
    #[arg(long, default_value = "fuzz", value_name = "NAME", value_parser = ["fuzz", "dev"])]
    pub(crate) profile: String,
    /// One target only.
    pub(crate) target: Option<String>,
}

/// Builds the targets and runs them.
///
/// # Errors
/// When there is no such target, it does not build, or one finds something.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut targets = targets()?;
    if let Some(wanted) = &arguments.target {
        if !targets.contains(wanted) {
            bail!("no fuzz target `{wanted}`; there are: {}", targets.join(", "));
        }
        targets.retain(|target| target == wanted);
    }
    let binaries = build(&arguments.profile, &targets)?;

    let queue: Mutex<VecDeque<_>> = Mutex::new(targets.into());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    let found = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                // Every target has its time, also after another one found something.
                while let Some(target) = next() {
                    if let Err(error) = one(&target, &binaries.join(&target), arguments.seconds) {
                        println!("fuzz: {error:#}");
                        *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    }
                }
            });
        }
    });
    found
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .map_or(Ok(()), Err)
}

/// Builds the targets, and says in which folder they are.
fn build(profile: &str, targets: &[String]) -> Result<PathBuf> {
    // With the features of the whole workspace: those are what its other builds have made dependencies with.
    let mut build = sh::cargo();
    build
        .args(["build", "--locked", "--workspace", "--profile", profile])
        .args(targets.iter().flat_map(|target| ["--bin", target]))
        // What is fuzzed is safe Rust: its panics, overflows and hangs are found without a sanitizer, twice as fast.
        .env("RUSTC_WORKSPACE_WRAPPER", sh::root().join("fuzz/instrument"));
    sh::run(&mut build)?;
    // Cargo calls the folder of `dev` otherwise.
    Ok(sh::target().join(if profile == "dev" { "debug" } else { profile }))
}

/// Names of the targets, in order.
fn targets() -> Result<Vec<String>> {
    let folder = sh::root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry
            .with_context(|| format!("cannot read {}", folder.display()))?
            .path();
        if path.extension().is_some_and(|extension| extension == "rs")
            && let Some(name) = path.file_stem().and_then(|name| name.to_str())
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Runs one target for its time. What it learns stays in `fuzz/corpus`; committed examples are in `fuzz/seeds`.
fn one(target: &str, binary: &Path, seconds: u32) -> Result<()> {
    let corpus = folder("corpus", target)?;
    let artifacts = folder("artifacts", target)?;
    let mut command = sh::command(binary);
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"])
        .arg(&corpus);
    let seeds = sh::root().join("fuzz/seeds").join(target);
    if seeds.is_dir() {
        command.arg(seeds);
    }
    let done = command
        .output()
        .with_context(|| format!("cannot run {}", binary.display()))?;
    let said = String::from_utf8_lossy(&done.stderr);
    if !done.status.success() {
        println!("{said}");
        bail!(
            "fuzz target {target} found something: its input is in {}",
            artifacts.display()
        );
    }
    let runs = said
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    println!(
        "fuzz: {target}: {} runs in {seconds} s, nothing found",
        runs.unwrap_or("?").trim()
    );
    Ok(())
}

fn folder(kind: &str, target: &str) -> Result<PathBuf> {
    let folder = sh::root().join("fuzz").join(kind).join(target);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}
