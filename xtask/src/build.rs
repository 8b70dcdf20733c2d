//! `cargo xtask build`: one static binary.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::setup::rust::MUSL;
use crate::sh;

/// Builds the static release binary and says where it is.
///
/// # Errors
/// When it does not build, or is not static.
pub(crate) fn run() -> Result<()> {
    let binary = release()?;
    let bytes = std::fs::metadata(&binary)
        .with_context(|| format!("cannot read {}", binary.display()))?
        .len();
    println!(
        "{}: static, {:.1} MiB",
        binary.display(),
        bytes as f64 / 1_048_576.0
    );
    Ok(())
}

/// Builds the static release binary and returns its path.
///
/// # Errors
/// When it does not build, or is not static.
pub(crate) fn release() -> Result<PathBuf> {
    static_release(&[])?;
    let binary = sh::target().join(MUSL).join("release/obsflow");
    check_static(&binary)?;
    Ok(binary)
}

/// Runs the static release build of obsflow, with more arguments if there are any.
///
/// # Errors
/// When it does not build.
pub(crate) fn static_release(more: &[&str]) -> Result<()> {
    let build = [
        "build",
        "--release",
        "--locked",
        "--package",
        "obsflow",
        "--target",
        MUSL,
    ];
    let mut cargo = sh::cargo();
    // What `obsflow_build_info` says. Outside a clone nothing tells.
    let head = ["rev-parse", "--short=12", "HEAD"];
    if let Ok(revision) = sh::output(sh::command("git").args(head)) {
        cargo.env("OBSFLOW_REVISION", revision);
    }
    sh::run(cargo.args(build).args(more))
}

/// A binary with an interpreter or with needed libraries would not run in an empty image.
fn check_static(binary: &Path) -> Result<()> {
    let headers = sh::output(
        sh::command("readelf")
            .args(["--wide", "--program-headers", "--dynamic"])
            .arg(binary),
    )
    .context("readelf comes with binutils: `cargo xtask setup` installs it")?;
    if let Some(line) = headers
        .lines()
        .find(|line| line.contains("INTERP") || line.contains("(NEEDED)"))
    {
        bail!("{} is not static: {}", binary.display(), line.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_binary_is_refused() {
        let error = check_static(Path::new("/proc/self/exe")).unwrap_err().to_string();
        assert!(error.contains("is not static"), "{error}");
    }
}
