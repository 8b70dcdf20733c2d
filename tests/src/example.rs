//! What doctor prints of a verdict, kept as the example in the documentation.
//!
//! With `UPDATE_EXAMPLES=1` an agent watches the lab instead of doctor itself, so that doctor can be asked a second time,
//! for the words that people read; they go to `docs/verdicts/examples/<verdict>.txt`, from which `docs/verdicts.md` is made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::doctor::Export;
use crate::lab::Lab;
use crate::obsflow::attached;
use crate::process::Proc;
use crate::tool;
use crate::wait::SOON;

/// The width of the examples.
const COLUMNS: &str = "100";

/// An agent that can be asked for examples; killed when dropped.
#[derive(Debug)]
pub(crate) struct Examples {
    _agent: Proc,
    server: String,
    folder: PathBuf,
}

impl Examples {
    /// Starts the agent, if examples are to be written.
    pub(crate) fn start(lab: &Lab, watching: &[&str]) -> Result<Option<Self>> {
        if std::env::var_os("UPDATE_EXAMPLES").is_none() {
            return Ok(None);
        }
        let socket = lab.dir().join("doctor.sock");
        let server = format!("unix://{}", socket.display());
        let mut command = lab.obsflow_command("agent")?;
        command
            .args(["--listen", &server, "--state", "off", "--health", "off"])
            .args(watching);
        let agent = Proc::start(command)?;
        attached(&agent, "obsflow agent")?;
        crate::wait::until("the agent's socket", SOON, || Ok(socket.exists().then_some(())))?;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verdicts/examples");
        fs::create_dir_all(&folder)?;
        Ok(Some(Self {
            _agent: agent,
            server,
            folder,
        }))
    }

    /// A doctor who asks the agent.
    pub(crate) fn doctor(&self) -> Result<Command> {
        let mut command = Command::new(tool::binary("obsflow")?);
        command.args(["doctor", "--server", &self.server]);
        Ok(command)
    }

    /// Keeps what doctor prints of this exporter's pod.
    pub(crate) fn keep(&self, export: &Export) -> Result<()> {
        let pod = format!("{}/{}", export.text("namespace"), export.text("pod"));
        let output = self
            .doctor()?
            .args([pod.as_str(), "--all", "--color", "never"])
            .env("COLUMNS", COLUMNS)
            .output()
            .context("obsflow doctor")?;
        let text = String::from_utf8(output.stdout).context("doctor's words")?;
        // It may have changed since.
        if text.contains(export.verdict()) {
            fs::write(self.folder.join(format!("{}.txt", export.verdict())), text)?;
        }
        Ok(())
    }
}
