use super::*;
use crate::testing::{TempCgroup, TempDir};

fn mounted() -> CgroupFs {
    CgroupFs::find(Path::new("/proc/self/mounts")).expect("these tests need the whole cgroup2 hierarchy")
}

fn id(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[test]
fn ids_and_paths_of_real_cgroups() {
    let mount = mounted();
    let made = TempCgroup::new(mount.path());
    let pod = made.make("kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podx.slice");
    let odd = made.make("a b (deleted)");
    let found = mount.snapshot();
    for path in [&made.0, &pod, &odd] {
        let below = format!("/{}", path.strip_prefix(mount.path()).unwrap().display());
        let cgroup = found.iter().find(|cgroup| cgroup.id == id(path)).unwrap();
        assert_eq!(cgroup.path, below);
        assert_eq!(mount.path_of(id(path)).as_deref(), Some(below.as_str()));
    }
    assert_eq!(
        found.first(),
        Some(&Cgroup {
            id: ROOT_ID,
            path: "/".to_owned()
        })
    );
    assert_eq!(mount.path_of(ROOT_ID).as_deref(), Some("/"));
    let gone = id(&pod);
    fs::remove_dir(&pod).unwrap();
    assert_eq!(mount.path_of(gone), None);
    assert!(mount.snapshot().iter().all(|cgroup| cgroup.id != gone));
}

#[test]
fn kubepods_wherever_they_are() {
    let mount = mounted();
    let made = TempCgroup::new(mount.path());
    made.make("kubepods/burstable/podx/kubelet/kubepods");
    made.make("kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice");
    made.make("other/kubepods.slice");
    made.make("mykubepods");
    let found = mount.snapshot();
    let name = format!("/{}", made.0.file_name().unwrap().to_str().unwrap());
    let mut paths: Vec<&str> = kubepods(&found)
        .into_iter()
        .filter_map(|cgroup| cgroup.path.strip_prefix(&name))
        .collect();
    paths.sort_unstable();
    assert_eq!(
        paths,
        [
            "/kubelet.slice/kubelet-kubepods.slice",
            "/kubepods",
            "/other/kubepods.slice"
        ]
    );
}

#[test]
fn only_the_whole_hierarchy_will_do() {
    let mount = mounted();
    let made = TempCgroup::new(mount.path());
    let error = CgroupFs::open(&made.0).unwrap_err();
    assert!(matches!(error, CgroupError::Subtree { .. }));
    assert!(
        error
            .to_string()
            .contains("is a container's own part of the cgroup2 hierarchy"),
        "{error}"
    );

    let folder = TempDir::new();
    let mounts = folder.path().join("mounts");
    let find = |text: &str| {
        fs::write(&mounts, text).unwrap();
        CgroupFs::find(&mounts)
    };
    assert!(matches!(
        find("proc /proc proc rw 0 0\n"),
        Err(CgroupError::NotMounted)
    ));
    let part = format!("cgroup2 {} cgroup2 rw 0 0\n", made.0.display());
    assert!(matches!(find(&part), Err(CgroupError::Subtree { .. })));
    let both = format!("{part}cgroup2 {} cgroup2 rw 0 0\n", mount.path().display());
    assert_eq!(find(&both).unwrap().path(), mount.path());
    assert!(matches!(
        find("none /nowhere cgroup2 rw 0 0\n"),
        Err(CgroupError::Open { .. })
    ));
    assert!(matches!(
        CgroupFs::find(Path::new("/nowhere")),
        Err(CgroupError::Mounts { .. })
    ));
}

#[test]
fn mounts_are_unescaped() {
    let paths: Vec<PathBuf> =
        cgroup2_mounts("none /a\\040b\\134c cgroup2 rw\nnone /x tmpfs rw\nbroken\n").collect();
    assert_eq!(paths, [PathBuf::from("/a b\\c")]);
    assert_eq!(unescape("\\"), "\\");
    assert_eq!(unescape("\\9é"), "\\9é");
}

#[test]
fn a_record_as_the_kernel_side_makes_it() {
    let bytes = Cgroup {
        id: 7,
        path: "/kubepods".to_owned(),
    }
    .record(Mono(9));
    use zerocopy::FromBytes as _;
    let (head, path) = record::Cgroup::read_from_prefix(&bytes).unwrap();
    assert_eq!(
        (head.header.kind, head.header.cgroup, head.header.ts_ns),
        (kind::CGROUP, 7, 9)
    );
    assert_eq!(
        (head.header.len as usize, head.path_len as usize),
        (bytes.len(), path.len())
    );
    assert_eq!(path, b"/kubepods");
}
