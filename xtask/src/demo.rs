//! `cargo xtask demo`: sets up, builds, and shows obsflow at work on a small lab on this machine.

use anyhow::{Result, bail};

use crate::{build, setup, sh};

/// Runs the demonstration; it ends by itself.
///
/// # Errors
/// When something needed is missing or does not build, or obsflow does not show what happens.
pub(crate) fn run() -> Result<()> {
    if !sh::is_root()? {
        bail!("the demo makes network namespaces and loads programs into the kernel: run this as root");
    }
    setup::run()?;
    let obsflow = build::release()?;
    let tests = ["build", "--locked", "--package", "obsflow-tests", "--bins"];
    sh::run(sh::cargo().args(tests))?;
    sh::run(sh::command(sh::target().join("debug/lab-demo")).env("OBSFLOW_BIN", obsflow))
}
