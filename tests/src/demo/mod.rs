//! The incidents, one after the other, on a small lab: what breaks, and what `obsflow doctor` answers.

mod incidents;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::lab::Lab;
use crate::lab::pod::Pod;
use crate::obsflow::attached;
use crate::process::{self, Proc};
use crate::tool;
use crate::wait::SOON;

/// How wide everything is.
const COLUMNS: usize = 100;
/// A verdict opens when its container is a minute old: until then it may still come up.
const OPENS: Duration = Duration::from_secs(75);
/// Between two questions.
const AGAIN: Duration = Duration::from_millis(200);

/// Makes a lab, runs one agent on it, breaks one thing after the other and prints what doctor says. Ends by itself.
///
/// # Errors
/// Without root, without obsflow's binary, and when doctor does not say what happens.
pub fn run() -> Result<()> {
    println!("A lab is made: two nodes, a name server, pods with real exporters and real receivers.");
    let lab = Lab::new()?;
    let mut demo = Demo::new(&lab)?;
    incidents::all(&mut demo)?;
    demo.end()?;
    drop(lab);
    println!("The lab is gone, the agent has ended, and nothing of them is left.");
    Ok(())
}

/// A lab with an agent.
struct Demo<'lab> {
    lab: &'lab Lab,
    agent: Proc,
    address: String,
    began: Instant,
    told: usize,
}

impl<'lab> Demo<'lab> {
    fn new(lab: &'lab Lab) -> Result<Self> {
        let address = format!("unix://{}", lab.dir().join("agent.sock").display());
        let mut command = lab.obsflow_command("agent")?;
        command
            .args(["--listen", &address, "--health", "127.0.0.1:0", "--state"])
            .arg(lab.dir().join("state.json"));
        print_command(&command);
        // With the lab's own processes, so that it goes with them however this one ends.
        let cgroup = lab.cgroup().join("agent");
        fs::create_dir_all(&cgroup)?;
        process::enter(&mut command, None, Some(&cgroup), &[])?;
        let agent = Proc::start(command)?;
        attached(&agent, "the agent")?;
        Ok(Self {
            lab,
            agent,
            address,
            began: Instant::now(),
            told: 0,
        })
    }

    /// A heading, and what was done, in one line.
    fn tell(&mut self, incident: &str, what: &str) {
        self.told += 1;
        let heading = format!("── {}. {incident} ", self.told);
        let rule = COLUMNS.saturating_sub(heading.chars().count());
        println!("\n{heading}{}\n{what}\n", "─".repeat(rule));
    }

    /// Waits until doctor has for each of these pods an export with this verdict, then prints its answer as a person
    /// reads it; with what is healthy when that is what is waited for.
    fn show(&self, wanted: &[(&Pod, &str)]) -> Result<()> {
        let all = wanted.iter().any(|(_, verdict)| *verdict == "healthy");
        let mut command = self.doctor(wanted, all.then_some("--all"))?;
        self.wait_for(wanted)?;
        print_command(&command);
        let output = command.output().context("cannot run obsflow")?;
        print!("{}", String::from_utf8_lossy(&output.stdout));
        // 1: something fails; 3: not everything could be told.
        if !matches!(output.status.code(), Some(0 | 1 | 3)) {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            bail!("obsflow doctor ended with {}: {said}", output.status);
        }
        Ok(())
    }

    /// Waits until doctor has for each of these pods an export with this verdict.
    fn wait_for(&self, wanted: &[(&Pod, &str)]) -> Result<()> {
        let end = Instant::now() + SOON;
        loop {
            let mut command = self.doctor(wanted, Some("--all"))?;
            let output = command.args(["-o", "json"]).output();
            let output = output.context("cannot run obsflow")?;
            // Before the agent has met a pod there is no report of it.
            let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let missing = wanted.iter().find(|(pod, verdict)| !says(&report, pod, verdict));
            let Some((pod, verdict)) = missing else {
                return Ok(());
            };
            if Instant::now() > end {
                bail!(
                    "doctor did not say {verdict} of {} within {SOON:?}; it says {} {}",
                    pod.path(),
                    report["exports"],
                    String::from_utf8_lossy(&output.stderr).trim(),
                );
            }
            std::thread::sleep(AGAIN);
        }
    }

    /// `obsflow doctor` for pods, each by the beginning of its name.
    fn doctor(&self, pods: &[(&Pod, &str)], more: Option<&str>) -> Result<Command> {
        let mut command = Command::new(tool::binary("obsflow")?);
        command
            .arg("doctor")
            .args(pods.iter().map(|(pod, _)| beginning(pod)))
            .args(["--server", &self.address])
            .args(more)
            .env("COLUMNS", COLUMNS.to_string())
            .stdin(Stdio::null());
        Ok(command)
    }

    /// Waits for what the agent logs of a pod and prints it.
    fn log(&self, pod: &Pod, message: &str) -> Result<()> {
        let line = self.agent.err().find(OPENS, |line| {
            (line.contains(message) && line.contains(&pod.name)).then(|| line.to_owned())
        });
        let Some(line) = line else {
            bail!(
                "the agent did not say {message:?} of {} within {OPENS:?}; it said {}",
                pod.path(),
                self.agent.err().all().join(" | ")
            );
        };
        println!("{}\n", folded(&line));
        Ok(())
    }

    fn end(mut self) -> Result<()> {
        println!("\nThis took {:.0} s.", self.began.elapsed().as_secs_f64());
        let status = self.agent.stop(SOON)?;
        if !status.success() {
            let said = self.agent.err().all().join(" | ");
            bail!("the agent ended with {status}: {said}");
        }
        Ok(())
    }
}

/// Whether a report has this verdict for an exporter of this pod; and, when that is that it is well, for all of them that
/// are switched on.
fn says(report: &Value, pod: &Pod, verdict: &str) -> bool {
    let exports = report["exports"].as_array().into_iter().flatten();
    let of: Vec<&Value> = exports.filter(|export| export["pod"] == *pod.name).collect();
    of.iter().any(|export| export["verdict"] == *verdict)
        && (verdict != "healthy"
            || of
                .iter()
                .all(|export| export["verdict"] == "healthy" || export["verdict"] == "disabled"))
}

/// Namespace and name without the part that is random.
fn beginning(pod: &Pod) -> String {
    let app = pod.name.rsplitn(3, '-').last().unwrap_or_default();
    format!("{}/{app}", pod.namespace)
}

/// Prints a command as people type it: in a line, or, when that is too long, a line for each option.
fn print_command(command: &Command) {
    let mut line = "$ obsflow".to_owned();
    for arg in command.get_args() {
        line = line + " " + &arg.to_string_lossy();
    }
    if line.chars().count() > COLUMNS {
        line = line.replace(" --", " \\\n    --");
    }
    println!("{line}");
}

/// A line in lines that are short enough, broken at blanks.
fn folded(line: &str) -> String {
    let mut text = String::new();
    let mut width = 0;
    for word in line.split(' ') {
        let long = word.chars().count();
        if width == 0 {
            width = long;
        } else if width + 1 + long > COLUMNS {
            text += "\n    ";
            width = 4 + long;
        } else {
            text.push(' ');
            width += 1 + long;
        }
        text += word;
    }
    text
}
