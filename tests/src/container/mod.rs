//! The container image, run as a node would run the DaemonSet: by runc, with what the manifests of `deploy/` say.

mod daemonset;
mod image;
mod runtime;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

pub use daemonset::DaemonSet;
pub use image::Image;

use crate::lab::Lab;
use crate::process::Proc;
use crate::wait;

/// The node's folders of `deploy/`, and what they are in a lab.
fn host_folders(lab: &Lab, own: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    Ok(vec![
        ("/sys/fs/cgroup", PathBuf::from("/sys/fs/cgroup")),
        ("/var/log/pods", lab.node(0)?.pod_logs.clone()),
        ("/var/run/obsflow", own.join("run")),
        ("/run/obsflow", own.join("run")),
        ("/var/lib/obsflow", own.join("lib")),
    ])
}

/// What of the manifests' privileges a container is given.
#[derive(Clone, Copy, Debug)]
pub struct Profile<'a> {
    dropped: &'a [&'a str],
    filtered: bool,
}

impl Default for Profile<'_> {
    /// All of them, behind the runtime's seccomp profile.
    fn default() -> Self {
        Self::without(&[])
    }
}

impl<'a> Profile<'a> {
    /// All but some capabilities.
    #[must_use]
    pub fn without(dropped: &'a [&'a str]) -> Self {
        Self {
            dropped,
            filtered: true,
        }
    }

    /// Without a seccomp profile: profiles differ in what they let a capability do.
    #[must_use]
    pub fn unfiltered(mut self) -> Self {
        self.filtered = false;
        self
    }
}

/// The agent in a container on node 0; ended and removed when dropped.
#[derive(Debug)]
pub struct Container {
    /// runc, in the foreground: what the agent says, and how it ends.
    pub process: Proc,
    id: String,
    /// Folders of the node that the agent was given.
    own: PathBuf,
}

impl Container {
    /// Starts what the DaemonSet runs.
    ///
    /// # Errors
    /// When the image or the manifests are not there, or ask for something that a lab has not.
    pub fn start(lab: &Lab, set: &DaemonSet, profile: Profile<'_>) -> Result<Self> {
        let id = format!("obsflow-lab-{}-{}", std::process::id(), own_number());
        let own = lab.dir().join(&id);
        let bundle = own.join("bundle");
        for folder in ["run", "lib", "bundle/rootfs", "runc"] {
            fs::create_dir_all(own.join(folder))?;
        }
        let image = Image::built()?.unpack(&bundle.join("rootfs"))?;
        let config = runtime::config(lab, set, &image, &own, profile)?;
        fs::write(bundle.join("config.json"), serde_json::to_vec_pretty(&config)?)?;
        let mut command = runc(&own);
        command.args(["run", "--bundle"]).arg(&bundle).arg(&id);
        Ok(Self {
            process: Proc::start(command)?,
            id,
            own,
        })
    }

    /// Where the agent listens, as the node sees it.
    #[must_use]
    pub fn socket(&self) -> String {
        format!("unix://{}", self.own.join("run/obsflow.sock").display())
    }

    /// Waits for a line of its log, which is in JSON, with this message.
    ///
    /// # Errors
    /// When it ends or the deadline passes first; its words are part of the error.
    pub fn said(&self, message: &str) -> Result<Value> {
        let found = self.process.err().find(wait::SOON, |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["message"] == message).then_some(line)
        });
        found.with_context(|| format!("it did not say {message:?}: {:?}", self.process.err().all()))
    }

    /// One of obsflow's own commands on the node, asking this agent; what it prints in JSON.
    ///
    /// # Errors
    /// When it is not built or says something else.
    pub fn ask(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = Command::new(crate::tool::binary("obsflow")?);
        let output = command
            .args(arguments)
            .args(["-o", "json", "--server", &self.socket()])
            .output()?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!(
                "obsflow {}: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    /// SIGTERM to the agent, which has to end well.
    ///
    /// # Errors
    /// When it does not.
    pub fn stop(mut self) -> Result<()> {
        let told = runc(&self.own).args(["kill", &self.id, "TERM"]).status()?;
        anyhow::ensure!(told.success(), "runc kill: {told}");
        let ended = self.process.wait(wait::SOON)?;
        anyhow::ensure!(ended.success(), "{ended}: {:?}", self.process.err().all());
        Ok(())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Says so when it is gone already, which is no matter.
        let _ = runc(&self.own).args(["delete", "--force", &self.id]).output();
    }
}

/// runc with its state in a folder of the container's own.
fn runc(own: &Path) -> Command {
    let mut command = Command::new("runc");
    command.arg("--root").arg(own.join("runc"));
    command
}

fn own_number() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
