//! Processes that are older than this session.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use bytes::Bytes;
use obsflow_ebpf::abi::record::{Header, Running, kind};
use zerocopy::IntoBytes as _;

use crate::kernel::cgroupfs::ROOT_ID;
use crate::kernel::process;
use crate::model::Mono;

/// No node has more; what a kernel allows is 4 million.
const MAX_PROCESSES: usize = 65_536;

/// A record for each process in `proc` that is in a cgroup other than the root of one hierarchy or another, ordered by
/// when it began. Threads of the kernel are none. Nothing when pids in `proc` are not those that the kernel side reports.
pub(super) fn records(proc: &Path, mount: &Path, now: Mono) -> Vec<Bytes> {
    if !process::sees_host_pids(proc) {
        return Vec::new();
    }
    let mut found: Vec<Running> = process::pids(proc)
        .filter_map(|pid| running(proc, mount, pid, now))
        .take(MAX_PROCESSES)
        .collect();
    found.sort_unstable_by_key(|running| (running.began_ns, running.header.pid));
    found
        .iter()
        .map(|running| Bytes::copy_from_slice(running.as_bytes()))
        .collect()
}

fn running(proc: &Path, mount: &Path, pid: u32, now: Mono) -> Option<Running> {
    let stat = process::stat(proc, pid).filter(|stat| !stat.is_kernel)?;
    let text = fs::read_to_string(proc.join(pid.to_string()).join("cgroup")).ok()?;
    let cgroup = cgroup(&text, mount)?;
    Some(Running {
        header: Header {
            kind: kind::RUNNING,
            flags: 0,
            len: u32::try_from(size_of::<Running>()).unwrap_or(u32::MAX),
            ts_ns: now.0,
            cgroup,
            cookie: 0,
            netns: 0,
            pid,
        },
        comm: process::comm(proc, pid)?,
        began_ns: stat.began.0,
    })
}

/// The cgroup v2 id of a process by the text of its `/proc/<pid>/cgroup`; `None` when it is in the root of every
/// hierarchy, 0 when its v2 cgroup cannot be found. On a host that keeps pods in cgroup v1, pods are in v2's root:
/// attribution goes by the process then.
fn cgroup(text: &str, mount: &Path) -> Option<u64> {
    let mut below_a_root = false;
    let mut unified = "/";
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        below_a_root |= path != "/";
        if controllers.is_empty() {
            unified = path;
        }
    }
    if !below_a_root {
        return None;
    }
    if unified == "/" {
        return Some(ROOT_ID);
    }
    // A reader in a cgroup namespace of its own sees paths that begin above its root.
    let mut below = unified.trim_start_matches('/');
    while let Some(rest) = below.strip_prefix("../") {
        below = rest;
    }
    Some(fs::metadata(mount.join(below)).map_or(0, |folder| folder.ino()))
}

#[cfg(test)]
mod tests {
    use zerocopy::FromBytes as _;

    use super::*;
    use crate::kernel::cgroupfs::CgroupFs;
    use crate::testing::TempCgroup;

    #[test]
    fn a_process_of_a_cgroup_is_found_with_the_cgroups_id() {
        let fs = CgroupFs::find(Path::new("/proc/self/mounts")).unwrap();
        let cgroup = TempCgroup::new(fs.path());
        let inner = cgroup.make("pod/app");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        fs::write(inner.join("cgroup.procs"), child.id().to_string()).unwrap();

        let found = records(Path::new("/proc"), fs.path(), Mono(99));
        let of_child: Vec<Running> = found
            .iter()
            .map(|record| Running::read_from_bytes(record).unwrap())
            .filter(|running| running.header.pid == child.id())
            .collect();
        child.kill().unwrap();
        child.wait().unwrap();

        let [running] = &of_child[..] else {
            panic!("{of_child:?}");
        };
        assert_eq!(running.header.cgroup, fs::metadata(&inner).unwrap().ino());
        assert_eq!(running.header.ts_ns, 99);
        assert!(running.comm.starts_with(b"sleep\0"));
        assert!(running.began_ns > 0);
    }

    #[test]
    fn hosts_of_either_kind_of_cgroup() {
        let mount = Path::new("/nowhere");
        assert_eq!(cgroup("0::/\n", mount), None);
        assert_eq!(cgroup("4:memory:/\n0::/\n", mount), None);
        assert_eq!(cgroup("4:memory:/kubepods/pod1/c\n0::/\n", mount), Some(ROOT_ID));
        assert_eq!(cgroup("4:memory:/kubepods/pod1/c\n", mount), Some(ROOT_ID));
        assert_eq!(cgroup("0::/gone\n", mount), Some(0));
        assert_eq!(cgroup("", mount), None);
    }
}
