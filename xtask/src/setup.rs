//! `cargo xtask setup`: everything that building and testing need, and nothing when it is there already.

use std::fs::File;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::sh;

pub(crate) mod apt;
pub(crate) mod exporters;
pub(crate) mod linker;
pub(crate) mod manifests;
pub(crate) mod rust;
pub(crate) mod tools;

/// Whether a step found its work done.
pub(crate) enum Step {
    /// Nothing to do: what is there.
    There(String),
    /// Something was installed: what.
    Installed(String),
}

/// Runs every step, in the order in which they need each other.
///
/// # Errors
/// The first step that fails, with one line on what to do.
pub(crate) fn run() -> Result<()> {
    // Two clones set up one after the other: rustup and `cargo install` write to the same places.
    let _turn = machine_lock("setup")?;
    step("system packages", || apt::ensure(apt::BASE))?;
    step("Rust components", rust::ensure)?;
    step("bpf-linker", linker::ensure)?;
    for tool in [tools::NEXTEST, tools::DENY] {
        step(tool.name, || tools::ensure(&tool))?;
    }
    step("dependencies", fetch)?;
    step("kubectl", manifests::kubectl)?;
    for made in [
        exporters::PYTHON,
        exporters::NODE,
        exporters::GO,
        manifests::PROMETHEUS,
    ] {
        step(&format!("{} for the lab", made.name), || exporters::ensure(&made))?;
    }
    Ok(())
}

/// After this, building and checking need no network.
fn fetch() -> Result<Step> {
    sh::run(sh::cargo().args(["fetch", "--locked"]))
        .context("the registry of crates must be reachable once")?;
    Ok(Step::There("every crate of Cargo.lock there".into()))
}

/// Does one step and says what it found.
///
/// # Errors
/// Those of the step.
pub(crate) fn step(name: &str, work: impl FnOnce() -> Result<Step>) -> Result<()> {
    let began = Instant::now();
    match work().with_context(|| format!("setup, {name}"))? {
        Step::There(what) => println!("setup: {name}: {what}"),
        Step::Installed(what) => {
            println!(
                "setup: {name}: installed {what} ({:.0} s)",
                began.elapsed().as_secs_f64()
            );
        }
    }
    Ok(())
}

/// Folder of what set-up makes once per machine and user.
///
/// # Errors
/// When neither `XDG_CACHE_HOME` nor `HOME` is set, or the folder cannot be made.
pub(crate) fn cache() -> Result<PathBuf> {
    let base = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
        (_, Some(home)) => PathBuf::from(home).join(".cache"),
        _ => anyhow::bail!("HOME is not set: set it to the folder that holds .cargo"),
    };
    let folder = base.join("obsflow");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// Waits for this user's other clones to finish `what`; dropped, the lock is free again.
///
/// # Errors
/// When the lock file cannot be made.
pub(crate) fn machine_lock(what: &str) -> Result<File> {
    let path = cache()?.join(format!("{what}.lock"));
    let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    if file.try_lock().is_err() {
        println!("another clone is at its {what}: waiting for it");
        file.lock()
            .with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}

/// The pinned toolchain's folder.
///
/// # Errors
/// When rustc does not run.
pub(crate) fn sysroot() -> Result<PathBuf> {
    Ok(sh::output(sh::command("rustc").args(["--print", "sysroot"]))?.into())
}
