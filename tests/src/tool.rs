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

/// What `cargo xtask setup` made for the lab: `python` (a virtual environment), `node` (a folder with `node_modules`),
/// `go` (a folder with programs).
///
/// # Errors
/// When it has not.
pub fn made(name: &str) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/lab")
        .join(name);
    // Links are followed here: Python finds its modules by the path it is started with.
    let made = path
        .canonicalize()
        .ok()
        .filter(|made| made.join("complete").exists());
    made.with_context(|| format!("{} is missing: run `cargo xtask setup` first", path.display()))
}

/// A file of `tests/exporters`.
#[must_use]
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("exporters").join(name)
}
