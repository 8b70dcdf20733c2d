//! One virtual machine: emulated, one processor, nothing but two serial ports.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use obsflow_vm_guest::Report;

use crate::sh;

const QEMU: &str = "qemu-system-x86_64";
/// How often the host looks whether the machine switched itself off.
const POLL: Duration = Duration::from_millis(50);

/// What a machine said.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// Its reports.
    pub(crate) reports: Vec<Report>,
    /// From start to power-off.
    pub(crate) took: Duration,
    /// Where the kernel's messages are.
    pub(crate) console: PathBuf,
}

/// Boots a kernel and waits until the machine switches itself off.
///
/// # Errors
/// When qemu is missing or fails, or the machine does not end in time; the error names the file with the kernel's
/// messages.
pub(crate) fn boot(image: &Path, disk: &[u8], folder: &Path, limit: Duration) -> Result<Session> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let initrd = folder.join("initrd");
    let console = folder.join("console.log");
    let reports = folder.join("reports.jsonl");
    fs::write(&initrd, disk).with_context(|| format!("writing {}", initrd.display()))?;
    for old in [&console, &reports] {
        fs::write(old, "").with_context(|| format!("writing {}", old.display()))?;
    }
    let begin = Instant::now();
    let mut command = command(image, &initrd, &console, &reports);
    let errors = File::create(folder.join("qemu.log")).context("making qemu's log")?;
    let child = command
        .stderr(errors)
        .spawn()
        .with_context(|| format!("running {QEMU}: `cargo xtask setup` installs it"))?;
    let ended = wait(child, limit);
    let text = fs::read_to_string(&reports).with_context(|| format!("reading {}", reports.display()))?;
    ended.with_context(|| {
        let last = text.lines().last().unwrap_or("nothing");
        format!(
            "last it said: {last}; the kernel's messages are in {}",
            console.display()
        )
    })?;
    let reports = text
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("reading the report {line}")))
        .collect::<Result<_>>()?;
    Ok(Session {
        reports,
        took: begin.elapsed(),
        console,
    })
}

fn command(image: &Path, initrd: &Path, console: &Path, reports: &Path) -> Command {
    let mut command = sh::command(QEMU);
    command
        .args([
            "-machine",
            "accel=tcg",
            "-cpu",
            "max,la57=off",
            "-smp",
            "1",
            "-m",
            "512",
        ])
        .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
        .arg("-kernel")
        .arg(image)
        .arg("-initrd")
        .arg(initrd)
        // A panic ends the machine at once; randomness comes from the emulated processor, else early readers wait.
        .args([
            "-append",
            "console=ttyS0 loglevel=5 panic=-1 random.trust_cpu=on mitigations=off",
        ])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .arg("-serial")
        .arg(format!("file:{}", reports.display()))
        .stdout(Stdio::null());
    command
}

fn wait(mut child: Child, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().context("waiting for qemu")? {
            if status.success() {
                return Ok(());
            }
            bail!("{QEMU} ended with {status}");
        }
        if Instant::now() > deadline {
            child.kill().context("ending qemu")?;
            child.wait().context("waiting for qemu")?;
            bail!("the machine did not end within {} s", limit.as_secs());
        }
        thread::sleep(POLL);
    }
}
