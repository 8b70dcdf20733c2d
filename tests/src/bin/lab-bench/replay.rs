//! Replay: events a second on one core, and the memory that many workloads and flows take.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use obsflow_tests::tool::binary;

use crate::load::Kind;
use crate::place::{DNS_PORT, Place, WATCHED_PORT};
use crate::programs::median;
use crate::watcher::Watcher;

/// Workloads of the made-up capture.
pub(crate) const WORKLOADS: u64 = 500;
/// Connections that are open at its end.
pub(crate) const FLOWS: u64 = 10_000;

/// What a file costs to replay.
#[derive(Clone, Debug)]
pub(crate) struct Replayed {
    /// What is in it.
    pub(crate) what: String,
    /// Its records.
    pub(crate) events: u64,
    /// Events in a second of CPU time, printed as JSON.
    pub(crate) json: f64,
    /// The same, printed for people.
    pub(crate) compact: f64,
    /// The same with a filter that nothing passes.
    pub(crate) nothing: f64,
    /// Most resident memory, in KiB.
    pub(crate) peak_kib: u64,
}

/// Records real traffic, makes up other traffic, and replays both.
pub(crate) fn measure(place: &Place, events: u64, ms: u64, rounds: usize) -> Result<Vec<Replayed>> {
    let made = place.dir.join("made");
    let output = Command::new(sample_capture()?)
        .arg(&made)
        .args([events, WORKLOADS, FLOWS].map(|number| number.to_string()))
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run sample_capture")?;
    let count = String::from_utf8_lossy(&output.stdout);
    let count = count.trim().parse().context("sample_capture")?;
    let mut replayed = vec![replay(
        &made,
        format!("{WORKLOADS} workloads, {FLOWS} open connections"),
        count,
        rounds,
    )?];

    let real = place.dir.join("real");
    let recorder = ["record", "--payload", "--force", &real.to_string_lossy()].map(str::to_owned);
    let recorder = Watcher::Obsflow(recorder.to_vec()).start(place, false)?;
    place.load(Kind::Dns, ms, DNS_PORT, None)?;
    place.load(Kind::Connect, ms / 4, WATCHED_PORT, None)?;
    let said = recorder.stop()?;
    let count = said
        .iter()
        .find_map(|line| {
            line.strip_prefix("obsflow: ")?
                .split_once(" records")?
                .0
                .parse()
                .ok()
        })
        .with_context(|| {
            format!(
                "obsflow record did not say how much it wrote: {}",
                said.join(" | ")
            )
        })?;
    replayed.push(replay(
        &real,
        "recorded from loops of look-ups and connections".into(),
        count,
        rounds,
    )?);
    Ok(replayed)
}

fn replay(file: &Path, what: String, events: u64, rounds: usize) -> Result<Replayed> {
    let mut speeds = [const { Vec::new() }; 3];
    let mut peak_kib = 0;
    for _ in 0..rounds {
        let ways: [&[&str]; 3] = [&["-o", "json"], &["-o", "compact"], &["--namespace", "nobody"]];
        for (speeds, way) in speeds.iter_mut().zip(ways) {
            let usage = run(Command::new(binary("obsflow")?).arg("replay").arg(file).args(way))?;
            speeds.push(events as f64 / usage.cpu_seconds);
            peak_kib = peak_kib.max(usage.peak_kib);
        }
    }
    let [json, compact, nothing] = speeds.map(|speeds| median(speeds.into_iter()));
    Ok(Replayed {
        what,
        events,
        json,
        compact,
        nothing,
        peak_kib,
    })
}

/// What a process used from start to end.
struct Usage {
    cpu_seconds: f64,
    peak_kib: u64,
}

/// Runs to the end with its output thrown away.
fn run(command: &mut Command) -> Result<Usage> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start obsflow")?;
    let mut status = 0;
    // SAFETY: all zeros is a valid value of this plain structure.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid; the child is ours and is waited for only here.
    let pid = unsafe { libc::wait4(child.id() as libc::pid_t, &raw mut status, 0, &raw mut usage) };
    if pid < 0 {
        return Err(std::io::Error::last_os_error()).context("waiting for obsflow");
    }
    let status = ExitStatus::from_raw(status);
    if !status.success() {
        bail!("obsflow replay ended with {status}");
    }
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok(Usage {
        cpu_seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        peak_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
    })
}

/// The program that makes captures up is an example of obsflow, built beside it.
fn sample_capture() -> Result<PathBuf> {
    let path = binary("obsflow")?.with_file_name("examples/sample_capture");
    if !path.exists() {
        bail!("{} is missing: `cargo xtask bench` builds it", path.display());
    }
    Ok(path)
}
