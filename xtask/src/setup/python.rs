//! A Python environment for the lab's exporters: the OpenTelemetry SDK as people use it.

use anyhow::{Context as _, Result};

use super::Step;
use crate::sh;

/// Makes the environment of `tests/requirements.txt`, again whenever that file changes.
///
/// # Errors
/// When Python has no venv, or a package cannot be installed.
pub(crate) fn ensure() -> Result<Step> {
    let wanted = sh::root().join("tests/requirements.txt");
    if !wanted.exists() {
        return Ok(Step::There("nothing asked for".into()));
    }
    let folder = sh::root().join("target/lab-venv");
    let text = std::fs::read(&wanted).with_context(|| format!("cannot read {}", wanted.display()))?;
    if std::fs::read(folder.join("requirements.txt")).ok().as_deref() == Some(&text[..]) {
        return Ok(Step::There("tests/requirements.txt there".into()));
    }
    sh::run(sh::command("sh").arg("tests/setup-python.sh").arg(&folder)).context(
        "the virtual environment needs python3 with venv and a package index; look at the lines above",
    )?;
    Ok(Step::Installed("tests/requirements.txt".into()))
}
