//! obsflow in the guest.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use obsflow_vm_guest::scenario::Step;
use obsflow_vm_guest::{OBSFLOW_PATH, Report};
use rustix::process::{Pid, Signal, kill_process};

use crate::serial::Serial;
use crate::traffic;

/// In a line that it prints as an error when every hook is in place.
const ATTACHED: &str = "attached";
/// How long obsflow may take to attach on an emulated processor.
const ATTACH_LIMIT: Duration = Duration::from_secs(60);
/// How long it may take, after the last step, until it has said what became of every one.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// How long it may take to end.
const END_LIMIT: Duration = Duration::from_secs(20);

/// Asks for the hook table.
pub(crate) fn status(serial: &mut Serial) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut command = Command::new(OBSFLOW_PATH);
    let output = command
        .args(["status", "-o", "json"])
        .output()
        .context("running obsflow status")?;
    serial.say(&Report::Ran {
        command: "status".to_owned(),
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        took_ms: millis(begin),
    })
}

/// Runs the scenario under `obsflow observe`.
pub(crate) fn observe(serial: &mut Serial) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut child = Command::new(OBSFLOW_PATH)
        .args(["observe", "--follow", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting obsflow observe")?;
    let (sender, said) = channel();
    forward(
        child.stdout.take().context("no output")?,
        sender.clone(),
        Said::Line,
    );
    forward(child.stderr.take().context("no errors")?, sender, Said::Error);

    let mut errors = String::new();
    match wait_attached(&said, &mut errors) {
        Ok(()) => {
            serial.say(&Report::Attached {
                took_ms: millis(begin),
            })?;
            traffic::run_in_pod(|report| serial.say(&report))?;
            hear(serial, &said, &mut errors)?;
        }
        Err(error) => {
            child.kill().ok();
            errors.push_str(&format!("{error:#}\n"));
        }
    }
    let code = end(&mut child)?;
    while let Ok(Said::Error(line)) = said.recv_timeout(Duration::ZERO) {
        errors.push_str(&line);
        errors.push('\n');
    }
    serial.say(&Report::Ran {
        command: "observe".to_owned(),
        code,
        stdout: String::new(),
        stderr: errors,
        took_ms: millis(begin),
    })
}

/// A line of obsflow.
enum Said {
    Line(String),
    Error(String),
}

fn forward(from: impl Read + Send + 'static, to: Sender<Said>, make: fn(String) -> Said) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send(make(line)).is_err() {
                return;
            }
        }
    });
}

fn wait_attached(said: &Receiver<Said>, errors: &mut String) -> anyhow::Result<()> {
    let deadline = Instant::now() + ATTACH_LIMIT;
    loop {
        match said.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Said::Error(line)) => {
                let attached = line.contains(ATTACHED);
                errors.push_str(&line);
                errors.push('\n');
                if attached {
                    return Ok(());
                }
            }
            Ok(Said::Line(_)) => {}
            Err(RecvTimeoutError::Timeout) => bail!("it did not attach within {} s", ATTACH_LIMIT.as_secs()),
            Err(RecvTimeoutError::Disconnected) => bail!("it ended before it attached"),
        }
    }
}

/// Hands lines on until there is a last word on every step.
fn hear(serial: &mut Serial, said: &Receiver<Said>, errors: &mut String) -> anyhow::Result<()> {
    let deadline = Instant::now() + CALL_LIMIT;
    let mut open = Step::ALL.to_vec();
    while !open.is_empty() {
        match said.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Said::Line(line)) => {
                if let Ok(flow) = serde_json::from_str(&line) {
                    open.retain(|step| step.call(&flow).is_none());
                }
                serial.say(&Report::Observed { line })?;
            }
            Ok(Said::Error(line)) => {
                errors.push_str(&line);
                errors.push('\n');
            }
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}

/// Ends obsflow as Ctrl-C does.
fn end(child: &mut Child) -> anyhow::Result<Option<i32>> {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended by itself; what it says then is its exit code.
        kill_process(pid, Signal::INT).ok();
    }
    let deadline = Instant::now() + END_LIMIT;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().context("waiting for obsflow")? {
            return Ok(status.code());
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill().context("ending obsflow")?;
    child.wait().context("waiting for obsflow")?;
    bail!(
        "obsflow observe did not end within {} s of Ctrl-C",
        END_LIMIT.as_secs()
    )
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
