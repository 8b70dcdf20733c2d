use std::path::Path;

use super::*;
use crate::testing::{TempCgroup, TempDir};

#[test]
fn this_machine_knows_its_processes_and_cgroups() {
    let mount =
        CgroupFs::find(Path::new("/proc/self/mounts")).expect("this test needs the cgroup2 hierarchy");
    let cgroup = TempCgroup::new(mount.path());
    let below = format!("/{}", cgroup.0.strip_prefix(mount.path()).unwrap().display());
    let id = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&cgroup.0).unwrap());
    let mut machine = ThisMachine::new(Some(mount), "/proc");
    assert_eq!(machine.cgroup_path(id), Some(below));
    assert_eq!(machine.cgroup_path(u64::MAX), None);

    assert!(
        machine.sees_host_pids(),
        "this test needs the initial pid namespace"
    );
    let own = std::process::id();
    let name = fs::read_to_string("/proc/self/comm").unwrap();
    // This thread has a name of its own, the process keeps its.
    assert_eq!(machine.comm(own).unwrap().to_string(), name.trim_end());
    assert_ne!(fs::read_to_string("/proc/thread-self/comm").unwrap(), name);
    assert!(machine.cgroups(own).unwrap().contains("0::/"));
    assert_eq!((machine.comm(0), machine.cgroups(0)), (None, None));
}

#[test]
fn pids_of_another_namespace_are_not_looked_up() {
    let proc = TempDir::new();
    fs::create_dir_all(proc.path().join("self/ns")).unwrap();
    fs::create_dir_all(proc.path().join("7")).unwrap();
    fs::write(proc.path().join("7/comm"), "seven\n").unwrap();
    fs::write(proc.path().join("7/cgroup"), "0::/seven\n").unwrap();
    let link = proc.path().join("self/ns/pid");
    std::os::unix::fs::symlink("pid:[4026532000]", &link).unwrap();
    let mut inside = ThisMachine::new(None, proc.path());
    assert_eq!(
        (inside.comm(7), inside.cgroups(7), inside.cgroup_path(1)),
        (None, None, None)
    );
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("pid:[4026531836]", &link).unwrap();
    let mut outside = ThisMachine::new(None, proc.path());
    assert_eq!(outside.comm(7).unwrap().to_string(), "seven");
}
