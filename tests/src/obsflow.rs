//! obsflow itself, watching a lab.

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::flow::Flow;
use crate::lab::{Lab, cgroup};
use crate::process::Proc;
use crate::{tool, wait};

/// What obsflow says on standard error once every hook is in place.
const ATTACHED: &str = "attached";

/// Waits until a command of obsflow's that watches says that it is attached.
///
/// # Errors
/// When it ends before, or does not say so in time; its own words are part of the error.
pub(crate) fn attached(process: &Proc, name: &str) -> Result<()> {
    let said = process
        .err()
        .find(wait::SOON, |line| line.contains(ATTACHED).then_some(()));
    said.with_context(|| format!("{name} did not attach: {}", process.err().all().join(" | ")))
}

/// A running `obsflow observe --follow -o json`; killed when dropped.
#[derive(Debug)]
pub struct Obsflow<'lab> {
    lab: &'lab Lab,
    process: Proc,
    seen: Mutex<Seen>,
}

/// The output so far.
#[derive(Debug, Default)]
struct Seen {
    lines: usize,
    flows: Vec<Flow>,
    /// Lines that are no flows: events that were lost.
    others: Vec<String>,
}

impl Lab {
    /// Starts obsflow on node 0 of the lab, with more arguments if there are any, and waits until it is attached.
    ///
    /// # Errors
    /// When it is not built, or ends before it is attached; its own words are part of the error.
    pub fn observe(&self, args: &[&str]) -> Result<Obsflow<'_>> {
        let mut command = self.obsflow_command("observe")?;
        command.args(["--follow", "-o", "json"]).args(args);
        let process = Proc::start(command)?;
        let obsflow = Obsflow {
            lab: self,
            process,
            seen: Mutex::default(),
        };
        attached(&obsflow.process, "obsflow")?;
        Ok(obsflow)
    }

    /// One of obsflow's commands that watch (`observe`, `record`, `status`) on node 0, the rest left to the caller.
    ///
    /// # Errors
    /// When it is not built.
    pub fn obsflow_command(&self, name: &str) -> Result<Command> {
        self.obsflow_command_on(0, name)
    }

    /// [`Lab::obsflow_command`] on a node of one's choice.
    ///
    /// # Errors
    /// When it is not built, or there is no such node.
    pub fn obsflow_command_on(&self, node: u8, name: &str) -> Result<Command> {
        let mut command = Command::new(tool::binary("obsflow")?);
        command
            .arg(name)
            .arg("--attach")
            .arg(self.attach_to(node)?)
            .arg("--pod-logs")
            .arg(&self.node(node)?.pod_logs);
        Ok(command)
    }

    /// The cgroup of a node below the mount, as `/proc/PID/cgroup` has it.
    ///
    /// # Errors
    /// When there is no such node, or cgroup v2 is mounted nowhere.
    pub fn attach_to(&self, node: u8) -> Result<String> {
        let below = self.node(node)?.cgroup.strip_prefix(cgroup::mount_point()?)?;
        Ok(Path::new("/").join(below).display().to_string())
    }
}

impl Obsflow<'_> {
    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Proc {
        &self.process
    }

    /// Takes in what it printed since; waits for something new until the deadline. False when there will be nothing.
    fn more(&self, seen: &mut MutexGuard<'_, Seen>, deadline: Duration) -> bool {
        let Some(lines) = self.process.out().after(seen.lines, deadline) else {
            return false;
        };
        seen.lines += lines.len();
        for line in &lines {
            match Flow::parse(line) {
                Some(flow) if self.is_ours(&flow) => seen.flows.push(flow),
                Some(_) => {}
                None => seen.others.push(line.clone()),
            }
        }
        true
    }

    /// Labs run beside each other, and hooks see the whole machine: a flow is ours when one of its addresses is, or
    /// when it has none.
    fn is_ours(&self, flow: &Flow) -> bool {
        let mut ips = flow.ips().peekable();
        ips.peek().is_none() || ips.any(|ip| self.lab.owns(ip)) || flow.has_pod()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a flow, those seen already included.
    ///
    /// # Errors
    /// When none comes in time; the last flows seen are part of the error.
    pub fn wait_for(&self, what: &str, like: impl Fn(&Flow) -> bool) -> Result<Flow> {
        self.wait_within(what, wait::SOON, like)
    }

    /// [`Obsflow::wait_for`] with a deadline of its own.
    ///
    /// # Errors
    /// When none comes in time; the last flows seen are part of the error.
    pub fn wait_within(&self, what: &str, deadline: Duration, like: impl Fn(&Flow) -> bool) -> Result<Flow> {
        let end = Instant::now() + deadline;
        let mut seen = self.seen();
        let mut looked_at = 0;
        loop {
            if let Some(found) = seen
                .flows
                .get(looked_at..)
                .and_then(|new| new.iter().find(|flow| like(flow)))
            {
                return Ok(found.clone());
            }
            looked_at = seen.flows.len();
            if !self.more(&mut seen, end.saturating_duration_since(Instant::now())) {
                let last: Vec<String> = seen
                    .flows
                    .iter()
                    .rev()
                    .take(25)
                    .rev()
                    .map(|flow| format!("\n  {flow}"))
                    .collect();
                bail!(
                    "obsflow did not show {what} within {deadline:?}; stderr: {}; lost: {:?}; of {} flows the last:{}",
                    self.process.err().all().join(" | "),
                    seen.others,
                    seen.flows.len(),
                    last.concat()
                );
            }
        }
    }

    /// Every flow so far that `like` accepts.
    #[must_use]
    pub fn all(&self, like: impl Fn(&Flow) -> bool) -> Vec<Flow> {
        let mut seen = self.seen();
        while self.more(&mut seen, Duration::ZERO) {}
        seen.flows.iter().filter(|flow| like(flow)).cloned().collect()
    }

    /// How many events it said were lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let mut seen = self.seen();
        while self.more(&mut seen, Duration::ZERO) {}
        let count = |line: &String| {
            let response: serde_json::Value = serde_json::from_str(line).ok()?;
            response["lost_events"]["num_events_lost"]
                .as_str()?
                .parse::<u64>()
                .ok()
        };
        seen.others.iter().filter_map(count).sum()
    }

    /// Checks that no flow so far is one that must not be there. What happened before is known to have been shown
    /// when a later flow is: call [`Obsflow::sentinel`] first.
    ///
    /// # Errors
    /// When there is one; it is part of the error.
    pub fn never(&self, what: &str, like: impl Fn(&Flow) -> bool) -> Result<()> {
        match self.all(like).first() {
            None => Ok(()),
            Some(flow) => bail!("obsflow showed {what}: {flow}"),
        }
    }

    /// Makes a look-up in a pod of its own and waits until it is shown: everything that happened before was shown.
    ///
    /// # Errors
    /// When the pod cannot be made or the look-up is not shown.
    pub fn sentinel(&self) -> Result<()> {
        let pod = self.lab.pod("lab/sentinel")?;
        let name = format!("{}.sentinel.example", pod.name);
        let server = format!("{}:53", self.lab.dns().pod.v4);
        pod.tool(["query", &server, &name, "TXT"])?
            .json("its answer", wait::SOON, |_| true)?;
        self.wait_for("the sentinel", |flow| flow.question() == name)
            .map(drop)
    }

    /// Ends it with SIGTERM.
    ///
    /// # Errors
    /// When it does not end, or not well.
    pub fn stop(mut self) -> Result<()> {
        let status = self.process.stop(wait::SOON).context("obsflow")?;
        if !status.success() {
            bail!(
                "obsflow ended with {status}: {}",
                self.process.err().all().join(" | ")
            );
        }
        Ok(())
    }
}
