//! obsflow as a process: how soon it is attached, what it holds and takes while nothing happens.

use std::time::Duration;

use anyhow::Result;

use crate::place::{Group, Place};
use crate::programs::median;
use crate::watcher::Watcher;

/// What came out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Process {
    /// From its start to attached, in milliseconds: median and most.
    pub(crate) attach_ms: (f64, f64),
    /// CPU time of that, in milliseconds.
    pub(crate) attach_cpu_ms: f64,
    /// Resident memory on a node where nothing happens, in KiB: now and at its peak.
    pub(crate) resident_kib: (u64, u64),
    /// CPU time in percent of a core while nothing happens.
    pub(crate) idle_percent: f64,
}

/// Starts it `starts` times, and leaves it alone for `idle`.
pub(crate) fn measure(place: &Place, starts: usize, idle: Duration) -> Result<Process> {
    let observe = Watcher::Obsflow(vec!["observe".into()]);
    let (mut times, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..starts {
        let watching = observe.start(place, false)?;
        times.push(watching.start.as_secs_f64() * 1e3);
        cpu.push(watching.cpu_us(place)? as f64 / 1e3);
        watching.stop()?;
    }
    let watching = observe.start(place, false)?;
    // Its first second has work of its own: cgroups that were there, files that are read once.
    std::thread::sleep(Duration::from_secs(2));
    let before = place.cpu_us(Group::Watch)?;
    std::thread::sleep(idle);
    let used = place.cpu_us(Group::Watch)? - before;
    let resident_kib = (watching.status_kib("VmRSS")?, watching.status_kib("VmHWM")?);
    watching.stop()?;
    Ok(Process {
        attach_ms: (
            median(times.iter().copied()),
            times.iter().copied().fold(0.0, f64::max),
        ),
        attach_cpu_ms: median(cpu.into_iter()),
        resident_kib,
        idle_percent: used as f64 / 1e6 / idle.as_secs_f64() * 100.0,
    })
}
