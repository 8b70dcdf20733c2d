//! Where the lab's own programs are, and what they take.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Path of a program of this workspace: of `OBSFLOW_BIN` for obsflow itself, else beside the running program.
///
/// # Errors
/// When it was not built.
pub fn binary(name: &str) -> Result<PathBuf> {
    if name == "obsflow"
        && let Some(path) = std::env::var_os("OBSFLOW_BIN")
    {
        return Ok(path.into());
    }
    let path = target_dir()?.join(name);
    if !path.exists() {
        let package = if name == "obsflow" {
            "obsflow"
        } else {
            "obsflow-tests"
        };
        bail!(
            "{} is missing: run `cargo build -p {package} --bins` first",
            path.display()
        );
    }
    Ok(path)
}

/// `target/<profile>`: tests run in its `deps`, programs in itself.
fn target_dir() -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let dir = exe.parent().context("this program has no folder")?;
    Ok(if dir.ends_with("deps") {
        dir.parent().unwrap_or(dir).to_owned()
    } else {
        dir.to_owned()
    })
}

/// The interpreter of the Python exporters, if `tests/setup-python.sh` has run.
///
/// # Errors
/// When it has not.
pub fn python() -> Result<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path =
        std::env::var_os("OBSFLOW_LAB_VENV").map_or_else(|| dir.join("../target/lab-venv"), PathBuf::from);
    let python = path.join("bin/python");
    if !path.join("requirements.txt").exists() {
        bail!(
            "{} is missing: run `cargo xtask setup` (or tests/setup-python.sh) first",
            path.display()
        );
    }
    Ok(python)
}
