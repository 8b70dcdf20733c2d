//! The line to the host: the second serial port, one JSON document a line.

use std::fs::File;
use std::io::Write as _;

use anyhow::Context as _;
use obsflow_vm_guest::Report;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// The line to the host.
pub(crate) struct Serial(File);

impl Serial {
    /// Opens the port and switches off everything that would change bytes on their way.
    pub(crate) fn open() -> anyhow::Result<Self> {
        let port = File::options()
            .read(true)
            .write(true)
            .open("/dev/ttyS1")
            .context("opening /dev/ttyS1")?;
        let mut settings = tcgetattr(&port).context("reading the settings of /dev/ttyS1")?;
        settings.make_raw();
        tcsetattr(&port, OptionalActions::Now, &settings).context("changing the settings of /dev/ttyS1")?;
        Ok(Self(port))
    }

    /// Sends one report.
    pub(crate) fn say(&mut self, report: &Report) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(report).context("writing a report")?;
        line.push(b'\n');
        self.0.write_all(&line).context("writing to /dev/ttyS1")
    }
}
