//! The demo: it shows every incident, as wide as a terminal is, and ends by itself.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

/// What it says once everything is built.
const LONGEST: Duration = Duration::from_secs(120);

#[test]
fn it_shows_the_incidents_and_ends() -> Result<()> {
    let began = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_lab-demo")).output()?;
    let (said, erred) = (
        String::from_utf8(output.stdout)?,
        String::from_utf8(output.stderr)?,
    );
    assert!(output.status.success(), "{erred}\n{said}");
    assert!(began.elapsed() < LONGEST, "{:?}", began.elapsed());
    for shown in [
        "  refused  starting  ",
        "  dns-nxdomain  starting  ",
        "  healthy  accepted ",
        "  blackholed  starting  ",
        "  tls-failed (unknown_ca)  starting  ",
        "  rejected (wrong-path)  starting  ",
        "(the sidecar's connection)",
        "observability/alloy",
        "~ silent  2 exporters ",
        "  refused  critical  ",
        " verdict closed",
    ] {
        assert!(said.contains(shown), "no {shown:?} in:\n{said}");
    }
    let wide: Vec<&str> = said.lines().filter(|line| line.chars().count() > 100).collect();
    assert!(wide.is_empty(), "{wide:#?}");
    Ok(())
}
