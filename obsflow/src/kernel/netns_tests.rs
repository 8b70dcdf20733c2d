use super::*;
use crate::testing::{TempDir, TempNetns};

fn own() -> u32 {
    inode(Path::new("/proc/thread-self/ns/net")).unwrap()
}

#[test]
fn work_runs_inside_and_this_thread_stays_outside() {
    let before = own();
    let netns = TempNetns::new();
    assert_ne!(netns.namespace.inode, before);
    assert_eq!(netns.run(own), netns.namespace.inode);
    assert_eq!(own(), before);
}

#[test]
fn a_scratch_thread_goes_from_one_to_the_next() {
    let (one, other) = (TempNetns::new(), TempNetns::new());
    let seen = on_scratch_thread(|scratch| {
        [&one, &other, &one].map(|netns| {
            scratch.enter(&netns.namespace).unwrap();
            own()
        })
    });
    let (one, other) = (one.namespace.inode, other.namespace.inode);
    assert_eq!(seen.unwrap(), [one, other, one]);
}

#[test]
fn a_file_that_names_another_namespace_by_now_is_refused() {
    let netns = TempNetns::new();
    let stale = Namespace {
        inode: netns.namespace.inode + 1,
        path: netns.namespace.path.clone(),
    };
    assert!(matches!(stale.run(|| ()), Err(NetnsError::Changed { .. })));
    let gone = Namespace {
        inode: 1,
        path: PathBuf::from("/proc/0/ns/net"),
    };
    let error = gone.run(|| ()).unwrap_err().to_string();
    assert!(
        error.starts_with("opening network namespace /proc/0/ns/net:"),
        "{error}"
    );
    let file = Namespace {
        inode: inode(Path::new("/proc/self/status")).unwrap(),
        path: "/proc/self/status".into(),
    };
    assert!(file.run(|| ()).is_err());
}

#[test]
fn listed_once_each_with_processes_and_names() {
    let netns = TempNetns::new();
    let folder = TempDir::new();
    std::os::unix::fs::symlink(&netns.namespace.path, folder.path().join("lab")).unwrap();
    std::os::unix::fs::symlink("/proc/self/ns/net", folder.path().join("host")).unwrap();
    let found = list(Path::new("/proc"), folder.path());
    let count = |inode| found.iter().filter(|namespace| namespace.inode == inode).count();
    assert_eq!((count(netns.namespace.inode), count(own())), (1, 1));
    let by_name = found.iter().find(|namespace| namespace.inode == own()).unwrap();
    assert_eq!(by_name.path, folder.path().join("host"));
}
