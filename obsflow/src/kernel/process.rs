//! What `/proc` tells of processes.

use std::fs;
use std::path::Path;

/// Target of the initial pid namespace's link (`PROC_PID_INIT_INO` in `include/uapi/linux/nsfs.h`).
const INITIAL_PIDS: &str = "pid:[4026531836]";

/// Whether pids in `proc` are those that the kernel side reports, which are of the initial pid namespace. If not, run
/// in the host's pid namespace (`hostPID: true`).
#[must_use]
pub fn sees_host_pids(proc: &Path) -> bool {
    fs::read_link(proc.join("self/ns/pid")).is_ok_and(|target| target.as_os_str() == INITIAL_PIDS)
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
