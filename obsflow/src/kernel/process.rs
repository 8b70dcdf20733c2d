//! What `/proc` tells of processes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::model::Mono;

/// Target of the initial pid namespace's link (`PROC_PID_INIT_INO` in `include/uapi/linux/nsfs.h`).
const INITIAL_PIDS: &str = "pid:[4026531836]";

/// Whether pids in `proc` are those that the kernel side reports, which are of the initial pid namespace. If not, run
/// in the host's pid namespace (`hostPID: true`).
#[must_use]
pub fn sees_host_pids(proc: &Path) -> bool {
    fs::read_link(proc.join("self/ns/pid")).is_ok_and(|target| target.as_os_str() == INITIAL_PIDS)
}

/// `PF_EXITING` of `include/linux/sched.h`; set before `sched_process_exit` is traced, and never cleared.
const PF_EXITING: u64 = 0x0000_0004;
/// `PF_KTHREAD` of the same file.
const PF_KTHREAD: u64 = 0x0020_0000;

/// What `/proc/<pid>/stat` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The process that made it, or that it was given to.
    pub parent: u32,
    /// Whether it is a thread of the kernel.
    pub is_kernel: bool,
    /// Whether it is ending, or waits as a zombie: its other threads may take longer.
    pub is_exiting: bool,
    /// When it began. Exact to a tick (10 ms) unless the machine was suspended since: then too early by that time.
    pub began: Mono,
    /// Where the environment was put at exec; `(0, 0)` when that may not be read.
    pub environ: (u64, u64),
}

/// Reads `/proc/<pid>/stat`; `None` when the process is gone.
#[must_use]
pub fn stat(proc: &Path, pid: u32) -> Option<Stat> {
    let text = fs::read(proc.join(pid.to_string()).join("stat")).ok()?;
    parse_stat(&text, boot_time(), rustix::param::clock_ticks_per_second())
}

/// `CLOCK_BOOTTIME - CLOCK_MONOTONIC`: the time spent suspended, plus the difference of the time namespaces' offsets.
fn boot_time() -> i128 {
    let ns = |clock| {
        let time = clock_gettime(clock);
        i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
    };
    ns(ClockId::Boottime) - ns(ClockId::Monotonic)
}

/// Fields as `proc_pid_stat(5)` numbers them; the name, field 2, may hold anything, also `)` and blanks.
fn parse_stat(text: &[u8], suspended_ns: i128, ticks_per_second: u64) -> Option<Stat> {
    let text = String::from_utf8_lossy(text);
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = field(22)?;
    let since_boot = Duration::from_nanos(
        u64::try_from(u128::from(ticks) * 1_000_000_000 / u128::from(ticks_per_second.max(1))).ok()?,
    );
    let began = i128::try_from(since_boot.as_nanos()).ok()? - suspended_ns;
    Some(Stat {
        parent: u32::try_from(field(4)?).ok()?,
        is_kernel: field(9)? & PF_KTHREAD != 0,
        is_exiting: field(9)? & PF_EXITING != 0,
        began: Mono(u64::try_from(began).unwrap_or(0)),
        environ: (field(50).unwrap_or(0), field(51).unwrap_or(0)),
    })
}

/// All processes in `proc`, in no order.
pub fn pids(proc: &Path) -> impl Iterator<Item = u32> + use<> {
    fs::read_dir(proc)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// NUL-padded name of the process (its main thread), `None` when it is gone.
#[must_use]
pub fn comm(proc: &Path, pid: u32) -> Option<[u8; 16]> {
    let text = fs::read(proc.join(pid.to_string()).join("comm")).ok()?;
    let name = text.strip_suffix(b"\n").unwrap_or(&text);
    let mut raw = [0; 16];
    for (to, from) in raw.iter_mut().zip(name.iter().take(15)) {
        *to = *from;
    }
    Some(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_a_name_of_any_kind() {
        let mut fields = vec!["0"; 50];
        for (number, value) in [
            (3, "S"),
            (4, "7"),
            (9, "4194560"),
            (22, "1234"),
            (50, "4096"),
            (51, "8192"),
        ] {
            fields[number - 3] = value;
        }
        let line = format!("42 (a) S 1 (b c)) {}\n", fields.join(" "));
        let stat = parse_stat(line.as_bytes(), 340_000_000, 100).unwrap();
        assert_eq!(stat.parent, 7);
        assert!(!stat.is_kernel && !stat.is_exiting);
        assert_eq!(stat.began, Mono(12_000_000_000));
        assert_eq!(stat.environ, (4096, 8192));
        assert_eq!(parse_stat(b"42 (a) S", 0, 100), None);
        assert_eq!(parse_stat(b"", 0, 100), None);
    }

    #[test]
    fn a_thread_of_the_kernel_is_told_apart() {
        // kthreadd is 2 where pids are the host's.
        let proc = Path::new("/proc");
        if sees_host_pids(proc) && comm(proc, 2).is_some_and(|comm| comm.starts_with(b"kthreadd")) {
            assert!(stat(proc, 2).unwrap().is_kernel);
        }
        assert!(!stat(proc, std::process::id()).unwrap().is_kernel);
    }

    #[test]
    fn a_process_begins_between_two_readings_of_the_clock() {
        let before = crate::session::now();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let began = stat(Path::new("/proc"), child.id()).unwrap().began;
        let after = crate::session::now();
        assert!(!stat(Path::new("/proc"), child.id()).unwrap().is_exiting);
        child.kill().unwrap();
        // Until it is waited for it is a zombie.
        while !stat(Path::new("/proc"), child.id()).unwrap().is_exiting {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        let tick = Duration::from_millis(10);
        assert!(
            began.after(tick) >= before && began <= after.after(tick),
            "{before:?} {began:?} {after:?}"
        );
    }
}
