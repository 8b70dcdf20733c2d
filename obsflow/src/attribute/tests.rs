use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};

use super::*;
use crate::model::event::Endpoints;
use crate::testing::TempDir;

pub(super) const ID: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9";
pub(super) const UID: &str = "0d9c1a52-1f3b-4c5d-8e7f-112233445566";
pub(super) const POD: &str = "/kubepods.slice/kubepods-pod0d9c1a52_1f3b_4c5d_8e7f_112233445566.slice";
const SECOND: u64 = 1_000_000_000;

/// What the machine would answer, and how often it was asked.
#[derive(Default)]
pub(super) struct Answers {
    paths: HashMap<u64, String>,
    comms: HashMap<u32, &'static str>,
    cgroups: HashMap<u32, &'static str>,
    asked: usize,
}

#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<Answers>>);

impl Fake {
    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap()
    }

    pub(super) fn answer_cgroup(&self, pid: u32, text: String) {
        self.answers()
            .cgroups
            .insert(pid, Box::leak(text.into_boxed_str()));
    }
}

impl Machine for Fake {
    fn cgroup_path(&mut self, id: u64) -> Option<String> {
        let mut answers = self.answers();
        answers.asked += 1;
        answers.paths.get(&id).cloned()
    }

    fn comm(&mut self, pid: u32) -> Option<Comm> {
        let mut answers = self.answers();
        answers.asked += 1;
        answers.comms.get(&pid).map(|name| comm(name))
    }

    fn cgroups(&mut self, pid: u32) -> Option<String> {
        let mut answers = self.answers();
        answers.asked += 1;
        answers.cgroups.get(&pid).map(|&text| text.to_owned())
    }
}

pub(super) fn comm(name: &str) -> Comm {
    let mut raw = [0; 16];
    raw[..name.len()].copy_from_slice(name.as_bytes());
    Comm::new(raw)
}

pub(super) fn at(seconds: u64, cgroup: u64, pid: u32, body: EventBody) -> Event {
    Event {
        at: Mono(seconds * SECOND),
        cgroup,
        cookie: 1,
        netns: 0,
        pid,
        body,
    }
}

pub(super) fn attempt(name: &str) -> EventBody {
    EventBody::Attempt {
        ends: ends(),
        asked: None,
        comm: comm(name),
    }
}

/// Something with a process but without its name.
pub(super) fn nameless() -> EventBody {
    EventBody::SocketError {
        ends: ends(),
        errno: 111,
    }
}

fn ends() -> Endpoints {
    let any = SocketAddr::from(([127, 0, 0, 1], 1));
    Endpoints {
        local: any,
        remote: any,
    }
}

pub(super) fn cgroup(path: &str) -> EventBody {
    EventBody::Cgroup {
        path: path.to_owned(),
    }
}

fn pod(uid: &str, namespace: &str, name: &str) -> EventBody {
    EventBody::Pod {
        uid: uid.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

fn replay() -> Attributor {
    Attributor::new(Config::replay(), None)
}

pub(super) fn live(logs: &TempDir) -> (Attributor, Fake) {
    let fake = Fake::default();
    let config = Config::live(vec![logs.path().to_owned()]);
    (Attributor::new(config, Some(Box::new(fake.clone()))), fake)
}

fn name(process: &Option<Process>) -> Option<&str> {
    process.as_ref().map(|process| &*process.name)
}

#[test]
fn a_capture_names_pods_before_or_after_their_cgroup() {
    let container = format!("{POD}/cri-containerd-{ID}.scope");
    for order in [[0, 1], [1, 0]] {
        let mut attributor = replay();
        let events = [
            at(1, 7, 0, cgroup(&container)),
            at(1, 0, 0, pod(UID, "shop", "web-0")),
        ];
        for i in order {
            attributor.on(&events[i]);
        }
        let (workload, process) = attributor.on(&at(2, 7, 42, attempt("curl")));
        assert_eq!(
            (workload.namespace.as_deref(), workload.pod.as_deref()),
            (Some("shop"), Some("web-0"))
        );
        assert_eq!(
            (workload.pod_uid.as_deref(), workload.container_id.as_deref()),
            (Some(UID), Some(ID))
        );
        assert_eq!(
            process,
            Some(Process {
                pid: 42,
                name: Arc::from("curl")
            })
        );
        // The next one costs no new workload.
        let (again, _) = attributor.on(&at(2, 7, 42, attempt("curl")));
        assert!(Arc::ptr_eq(&workload, &again));
    }
}

#[test]
fn unknown_stays_unknown_and_is_counted() {
    let mut attributor = replay();
    let (workload, process) = attributor.on(&at(1, 99, 0, nameless()));
    assert_eq!((&*workload, process), (&Workload::default(), None));
    let (workload, process) = attributor.on(&at(1, 0, 5, nameless()));
    assert_eq!((workload.kind, name(&process)), (WorkloadKind::Unknown, None));
    assert_eq!(attributor.stats().unknown, 2);
}

#[test]
fn a_pod_keeps_its_identity_for_a_while_after_it_is_gone() {
    let mut attributor = replay();
    attributor.on(&at(1, 7, 0, cgroup(POD)));
    attributor.on(&at(2, 7, 0, EventBody::CgroupGone));
    let (workload, _) = attributor.on(&at(61, 7, 0, nameless()));
    assert_eq!(workload.pod_uid.as_deref(), Some(UID));
    let (workload, _) = attributor.on(&at(62, 7, 0, nameless()));
    assert_eq!(workload.kind, WorkloadKind::Unknown);
    assert_eq!(attributor.stats().cgroups, 0);
}

#[test]
fn the_table_of_cgroups_is_bounded_and_gives_up_the_dead_first() {
    let mut attributor = Attributor::new(
        Config {
            max_cgroups: 3,
            ..Config::replay()
        },
        None,
    );
    for id in 1..=3 {
        attributor.on(&at(1, id, 0, cgroup("/batch")));
    }
    attributor.on(&at(1, 4, 0, cgroup("/batch")));
    assert_eq!((attributor.stats().full, attributor.stats().cgroups), (1, 3));
    attributor.on(&at(1, 2, 0, EventBody::CgroupGone));
    attributor.on(&at(1, 5, 0, cgroup("/batch")));
    assert_eq!((attributor.stats().full, attributor.stats().cgroups), (1, 3));
    assert_eq!(
        attributor.on(&at(1, 5, 0, nameless())).0.kind,
        WorkloadKind::Cgroup
    );
    assert_eq!(
        attributor.on(&at(1, 2, 0, nameless())).0.kind,
        WorkloadKind::Unknown
    );
}

#[test]
fn names_come_from_log_folders_and_are_kept_for_the_capture() {
    let logs = TempDir::new();
    let (mut attributor, _) = live(&logs);
    let container = format!("{POD}/cri-containerd-{ID}.scope");
    // The cgroup is there before the folder.
    let (workload, _) = attributor.on(&at(1, 7, 0, cgroup(&container)));
    assert_eq!(
        (workload.pod.as_deref(), workload.pod_uid.as_deref()),
        (None, Some(UID))
    );
    let folder = logs.path().join(format!("shop_web-0_{UID}"));
    fs::create_dir_all(folder.join("app")).unwrap();
    let (workload, _) = attributor.on(&at(2, 7, 0, nameless()));
    assert_eq!(
        (workload.pod.as_deref(), workload.container.as_deref()),
        (Some("web-0"), Some("app"))
    );
    let learned = attributor.take_learned();
    assert_eq!(
        learned.iter().map(|name| &*name.namespace).collect::<Vec<_>>(),
        ["shop"]
    );

    // The pod's second container cannot be told from the first by folders.
    fs::create_dir(folder.join("sidecar")).unwrap();
    let (workload, _) = attributor.on(&at(3, 8, 0, cgroup(&container)));
    assert_eq!(
        (workload.pod.as_deref(), workload.container.as_deref()),
        (Some("web-0"), None)
    );

    // The pod's folder goes, the names stay.
    fs::remove_dir_all(&folder).unwrap();
    let (workload, _) = attributor.on(&at(90, 9, 0, cgroup(POD)));
    assert_eq!(workload.pod.as_deref(), Some("web-0"));
}

#[test]
fn two_hundred_pods_at_once() {
    let logs = TempDir::new();
    let (mut attributor, _) = live(&logs);
    let uid = |i: u64| format!("{i:08x}-1f3b-4c5d-8e7f-112233445566");
    for i in 0..200 {
        fs::create_dir_all(logs.path().join(format!("ns{}_pod-{i}_{}", i % 7, uid(i)))).unwrap();
        attributor.on(&at(
            1,
            1000 + i,
            0,
            cgroup(&format!("/kubepods/burstable/pod{}/{ID}", uid(i))),
        ));
    }
    for i in (0..200).rev() {
        let (workload, _) = attributor.on(&at(2, 1000 + i, 1, attempt("app")));
        assert_eq!(workload.pod.as_deref(), Some(format!("pod-{i}").as_str()));
        assert_eq!(
            workload.namespace.as_deref(),
            Some(format!("ns{}", i % 7).as_str())
        );
    }
}

#[test]
fn a_cgroup_that_no_record_announced_is_asked_of_the_machine_once() {
    let (mut attributor, fake) = live(&TempDir::new());
    fake.answers()
        .paths
        .insert(7, "/system.slice/nginx.service".to_owned());
    for _ in 0..3 {
        let (workload, _) = attributor.on(&at(1, 7, 0, nameless()));
        assert_eq!(workload.unit.as_deref(), Some("nginx.service"));
        attributor.on(&at(1, 8, 0, nameless()));
    }
    assert_eq!((fake.answers().asked, attributor.stats().late), (2, 1));
    // One that could not be found may be announced later.
    attributor.on(&at(1, 8, 0, cgroup("/batch")));
    assert_eq!(
        attributor.on(&at(9, 8, 0, nameless())).0.kind,
        WorkloadKind::Cgroup
    );
    attributor.on(&at(9, 9, 0, nameless()));
    attributor.on(&at(11, 9, 0, nameless()));
    assert_eq!(fake.answers().asked, 4);
}

#[test]
fn names_of_processes() {
    let (mut attributor, fake) = live(&TempDir::new());
    fake.answers().comms.insert(5, "java");
    // From /proc, once; then from records.
    for _ in 0..3 {
        assert_eq!(name(&attributor.on(&at(1, 0, 5, nameless())).1), Some("java"));
    }
    let asked = fake.answers().asked;
    assert_eq!(
        name(
            &attributor
                .on(&at(2, 0, 5, EventBody::Exec { comm: comm("curl") }))
                .1
        ),
        Some("curl")
    );
    assert_eq!(name(&attributor.on(&at(2, 0, 5, nameless())).1), Some("curl"));
    assert_eq!(fake.answers().asked, asked);
    // Old news is asked again, in vain.
    fake.answers().comms.clear();
    assert_eq!(name(&attributor.on(&at(20, 0, 5, nameless())).1), Some("curl"));
    // An ended process is remembered for what its sockets still do, then its pid may be anybody's.
    assert_eq!(
        name(&attributor.on(&at(21, 0, 5, EventBody::Exit)).1),
        Some("curl")
    );
    assert_eq!(name(&attributor.on(&at(22, 0, 5, nameless())).1), Some("curl"));
    assert_eq!(name(&attributor.on(&at(24, 0, 5, nameless())).1), None);
}

#[test]
fn a_pid_that_is_used_again_gets_the_new_name() {
    let mut attributor = replay();
    attributor.on(&at(1, 7, 5, attempt("old")));
    attributor.on(&at(2, 7, 5, EventBody::Exit));
    attributor.on(&at(3, 8, 5, EventBody::Exec { comm: comm("new") }));
    assert_eq!(name(&attributor.on(&at(9, 8, 5, nameless())).1), Some("new"));
}

#[test]
fn the_table_of_processes_is_bounded() {
    let mut attributor = Attributor::new(
        Config {
            max_processes: 10,
            ..Config::replay()
        },
        None,
    );
    for pid in 1..1000 {
        attributor.on(&at(1, 0, pid, attempt("app")));
        if pid % 3 == 0 {
            attributor.on(&at(1, 0, pid, EventBody::Exit));
        }
    }
    assert_eq!(attributor.stats().processes, 10);
    assert_eq!(name(&attributor.on(&at(1, 0, 999, nameless())).1), Some("app"));
}

#[test]
fn a_record_without_a_cgroup_is_its_process() {
    let mut attributor = replay();
    attributor.on(&at(1, 7, 0, cgroup("/system.slice/nginx.service")));
    attributor.on(&at(1, 7, 5, attempt("nginx")));
    let (workload, _) = attributor.on(&at(1, 0, 5, nameless()));
    assert_eq!(workload.unit.as_deref(), Some("nginx.service"));
}

#[test]
fn sockets_in_the_root_are_attributed_by_pid() {
    let (mut attributor, fake) = live(&TempDir::new());
    attributor.on(&at(1, 1, 0, cgroup("/")));
    for (pid, text) in [
        (
            5,
            "9:name=systemd:/system.slice/nginx.service\n4:memory:/system.slice/nginx.service\n0::/\n",
        ),
        (
            6,
            "9:name=systemd:/system.slice/docker.service\n4:memory:/docker/$I\n0::/\n",
        ),
        (7, "4:memory:/some/where\n0::/\n"),
        (8, "garbage"),
    ] {
        let text = text.replace("$I", ID);
        fake.answer_cgroup(pid, text);
    }
    let mut of = |pid| attributor.on(&at(1, 1, pid, attempt("app"))).0;
    assert_eq!(of(5).unit.as_deref(), Some("nginx.service"));
    assert_eq!(of(6).container_id.as_deref(), Some(ID));
    for pid in [7, 8, 9, 0] {
        assert_eq!(
            (of(pid).kind, of(pid).cgroup_path.as_deref()),
            (WorkloadKind::Cgroup, Some("/"))
        );
    }
    // Asked once each; the process may be gone the next time.
    fake.answers().cgroups.clear();
    assert_eq!(of(5).unit.as_deref(), Some("nginx.service"));
    assert_eq!(attributor.stats().by_pid, 2);
}
