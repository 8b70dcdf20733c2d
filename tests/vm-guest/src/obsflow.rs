//! obsflow in the guest.

use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;
use obsflow_vm_guest::{OBSFLOW_PATH, Report};

use crate::serial::Serial;
use crate::traffic;

/// Asks for the hook table.
pub(crate) fn status(serial: &mut Serial) -> anyhow::Result<()> {
    let args = ["status", "-o", "json"];
    let begin = Instant::now();
    let output = Command::new(OBSFLOW_PATH)
        .args(args)
        .output()
        .context("running obsflow status")?;
    serial.say(&Report::Ran {
        args: args.map(str::to_owned).to_vec(),
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        took_ms: u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

/// Runs the scenario under `obsflow observe`.
pub(crate) fn observe(serial: &mut Serial) -> anyhow::Result<()> {
    traffic::run_in_pod(|report| serial.say(&report))
}
