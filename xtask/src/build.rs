//! `cargo xtask build`: one static binary.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::setup::rust::MUSL;
use crate::sh;

/// What `kubectl obsflow` looks for on the path.
const PLUGIN: &str = "kubectl-obsflow";

/// Builds the static release binary, with the link that makes it a plugin of kubectl, and says where it is.
///
/// # Errors
/// When it does not build, or is not static.
pub(crate) fn run() -> Result<()> {
    let binary = release()?;
    let plugin = link_plugin(&binary)?;
    let bytes = std::fs::metadata(&binary)
        .with_context(|| format!("cannot read {}", binary.display()))?
        .len();
    println!(
        "{}: static, {:.1} MiB",
        binary.display(),
        bytes as f64 / 1_048_576.0
    );
    println!("{}: the same, as kubectl obsflow", plugin.display());
    Ok(())
}

/// Makes the link, anew where there is one.
fn link_plugin(binary: &Path) -> Result<PathBuf> {
    let plugin = binary.with_file_name(PLUGIN);
    let name = binary.file_name().context("the binary has no name")?;
    match std::fs::remove_file(&plugin) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", plugin.display()));
        }
        _ => {}
    }
    // Relative: both may be moved together.
    std::os::unix::fs::symlink(name, &plugin).with_context(|| format!("cannot make {}", plugin.display()))?;
    Ok(plugin)
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
    fn the_plugin_is_a_link_that_can_be_made_again() -> Result<()> {
        let dir = std::env::temp_dir().join(format!("obsflow-plugin-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let binary = dir.join("obsflow");
        std::fs::write(&binary, "it")?;
        for _ in 0..2 {
            let plugin = link_plugin(&binary)?;
            assert_eq!(plugin, dir.join("kubectl-obsflow"));
            assert_eq!(std::fs::read_to_string(&plugin)?, "it");
        }
        Ok(std::fs::remove_dir_all(&dir)?)
    }

    #[test]
    fn a_dynamic_binary_is_refused() {
        let error = check_static(Path::new("/proc/self/exe")).unwrap_err().to_string();
        assert!(error.contains("is not static"), "{error}");
    }
}
