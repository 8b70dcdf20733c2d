//! Following processes: real ones, and made-up ones in a folder laid out like `/proc`.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use super::*;
use crate::kernel::cgroupfs::CgroupFs;
use crate::model::event::Comm;
use crate::model::expectation::{Container, Setting, Source};
use crate::model::workload::WorkloadKind;
use crate::testing::{TempCgroup, TempDir};

fn workload(id: &str) -> Arc<Workload> {
    Arc::new(Workload {
        kind: WorkloadKind::Container,
        container_id: Some(Arc::from(id)),
        ..Workload::default()
    })
}

fn seconds(n: u64) -> Mono {
    Mono(n * 1_000_000_000)
}

fn step(at: Mono, id: &str, pid: u32, what: Step) -> Lifecycle {
    Lifecycle {
        at,
        workload: workload(id),
        cgroup: 7,
        pid,
        what,
    }
}

fn exec(at: Mono, id: &str, pid: u32) -> Lifecycle {
    step(
        at,
        id,
        pid,
        Step::Exec {
            comm: Comm::default(),
        },
    )
}

fn running(at: Mono, id: &str, pid: u32, began: Mono) -> Lifecycle {
    let comm = Comm::default();
    step(at, id, pid, Step::Running { comm, began })
}

/// A folder like `/proc`, whose processes are what a test says.
struct Proc(TempDir);

impl Proc {
    fn new() -> Self {
        Self(TempDir::new())
    }

    fn process(&self, pid: u32, began_ticks: u64, environ: &[u8], cmdline: &str) {
        let folder = self.0.path().join(pid.to_string());
        fs::create_dir_all(&folder).unwrap();
        let mut stat = vec!["0".to_owned(); 50];
        stat[0] = "S".into();
        stat[19] = began_ticks.to_string();
        stat[48] = (4096 + environ.len()).to_string();
        stat[47] = "4096".into();
        fs::write(folder.join("stat"), format!("{pid} (app) {}\n", stat.join(" "))).unwrap();
        fs::write(folder.join("environ"), environ).unwrap();
        fs::write(folder.join("cmdline"), cmdline.replace(' ', "\0")).unwrap();
    }

    /// Its main thread has ended, others have not.
    fn exiting(&self, pid: u32) {
        let file = self.0.path().join(pid.to_string()).join("stat");
        let stat = fs::read_to_string(&file).unwrap();
        let mut fields: Vec<&str> = stat.split(' ').collect();
        fields[8] = "4";
        fs::write(&file, fields.join(" ")).unwrap();
    }

    fn gone(&self, pid: u32) {
        fs::remove_dir_all(self.0.path().join(pid.to_string())).unwrap();
    }

    fn expectations(&self) -> Expectations {
        Expectations::new(Config {
            proc: self.0.path().to_owned(),
            host_pids: true,
            cgroups: None,
            max_time: Duration::from_secs(10),
            ..Config::default()
        })
    }
}

fn work(expectations: &mut Expectations, now: Mono) -> Vec<ExpectationChange> {
    let mut out = Vec::new();
    expectations.work(now, &mut out);
    out
}

#[track_caller]
fn one(changes: Vec<ExpectationChange>) -> Container {
    let [ExpectationChange::Container(container)] = <[_; 1]>::try_from(changes).unwrap() else {
        panic!("not a container");
    };
    *container
}

const OTLP: &[u8] = b"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317\0OTEL_SERVICE_NAME=shop\0";

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_real_process_is_read_and_forgotten() {
    let mount = CgroupFs::find(Path::new("/proc/self/mounts")).unwrap();
    let cgroup = TempCgroup::new(mount.path());
    let child = Command::new("sleep")
        .arg("600")
        .env_clear()
        .env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://me:secret@collector.obs:4318",
        )
        .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer secret")
        .env("OTEL_SERVICE_NAME", "shop")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .spawn()
        .unwrap();
    let child = Running(child);
    let pid = child.0.id();
    fs::write(cgroup.0.join("cgroup.procs"), pid.to_string()).unwrap();
    let path = format!("/{}", cgroup.0.file_name().unwrap().to_str().unwrap());
    let workload = Arc::new(Workload {
        kind: WorkloadKind::Cgroup,
        cgroup_path: Some(path.as_str().into()),
        ..Workload::default()
    });
    let now = crate::session::now();
    let mut expectations = Expectations::new(Config {
        host_pids: true,
        ..Config::default()
    });
    let step = |at, what| Lifecycle {
        at,
        workload: Arc::clone(&workload),
        cgroup: 99,
        pid,
        what,
    };
    expectations.on(&step(
        now,
        Step::Exec {
            comm: Comm::default(),
        },
    ));
    let container = one(work(&mut expectations, now));
    assert_eq!(&*container.key.0, path);
    assert_eq!(container.pid, pid);
    assert_eq!(container.service.as_deref(), Some("shop"));
    assert!(container.from_exec && container.unreadable.is_none() && container.proofs.is_empty());
    assert!(container.began <= now && now.since(container.began) < Duration::from_secs(60));
    let [only] = &container.expectations[..] else {
        panic!("{container:?}");
    };
    assert_eq!(only.setting, Setting::On);
    assert_eq!(&*only.written, "http://collector.obs:4318");
    assert_eq!(
        only.source,
        Source::Environment("OTEL_EXPORTER_OTLP_ENDPOINT".into())
    );
    assert!(!format!("{container:?}").contains("secret"));

    // Its exit alone would say so, but a process that was only forked is left: it is.
    let later = crate::session::now();
    expectations.on(&step(later, Step::Exit));
    assert_eq!(work(&mut expectations, later), []);
    assert_eq!(expectations.stats().processes, 1);
    drop(child);
    expectations.on(&step(later, Step::Exit));
    assert_eq!(
        work(&mut expectations, later),
        [ExpectationChange::Gone {
            key: ContainerKey(path.as_str().into()),
            at: later
        }]
    );
    assert_eq!(expectations.stats().containers, 0);
}

#[test]
fn a_child_with_the_same_environment_adds_nothing() {
    let proc = Proc::new();
    proc.process(10, 500, OTLP, "app");
    proc.process(11, 600, OTLP, "app worker");
    let mut expectations = proc.expectations();
    expectations.on(&exec(seconds(5), "c", 10));
    assert_eq!(one(work(&mut expectations, seconds(5))).pid, 10);
    expectations.on(&exec(seconds(6), "c", 11));
    assert_eq!(work(&mut expectations, seconds(6)), []);
    // The heir takes over.
    proc.gone(10);
    expectations.on(&step(seconds(7), "c", 10, Step::Exit));
    let container = one(work(&mut expectations, seconds(7)));
    assert_eq!((container.pid, container.began), (11, seconds(5)));
    expectations.on(&step(seconds(8), "c", 11, Step::Exit));
    let gone = ExpectationChange::Gone {
        key: container.key,
        at: seconds(8),
    };
    assert_eq!(work(&mut expectations, seconds(8)), [gone]);
    assert_eq!(expectations.stats().containers, 0);
}

#[test]
fn a_program_tells_more_than_the_shell_that_started_it() {
    let proc = Proc::new();
    proc.process(10, 500, OTLP, "sh -c python3");
    let injected = [
        OTLP,
        b"PYTHONPATH=/x/opentelemetry/instrumentation/auto_instrumentation\0",
    ]
    .concat();
    proc.process(11, 600, &injected, "python3 app.py");
    let mut expectations = proc.expectations();
    expectations.on(&exec(seconds(5), "c", 10));
    assert!(one(work(&mut expectations, seconds(5))).proofs.is_empty());
    expectations.on(&exec(seconds(6), "c", 11));
    let container = one(work(&mut expectations, seconds(6)));
    assert_eq!((container.pid, container.proofs.len()), (11, 1));
    assert_eq!(
        container.began,
        seconds(5),
        "the container is as old as its oldest process"
    );
}

#[test]
fn whether_it_was_watched_from_its_exec() {
    let proc = Proc::new();
    for (pid, ticks) in [(10, 500), (11, 500), (12, 500), (13, 510), (14, 500), (15, 500)] {
        proc.process(pid, ticks, OTLP, "app");
    }
    let mut expectations = proc.expectations();
    // It runs already.
    expectations.on(&running(seconds(9), "old", 10, seconds(5)));
    // It was listed, and the record of its exec comes after: it began in between.
    expectations.on(&running(seconds(9), "between", 11, seconds(5)));
    expectations.on(&exec(seconds(5), "between", 11));
    // A container that runs already executes another program.
    expectations.on(&running(seconds(9), "probed", 12, seconds(5)));
    expectations.on(&exec(seconds(10), "probed", 13));
    // Its first process was there when processes were listed; its program began after that.
    expectations.on(&running(seconds(9), "created", 14, seconds(5)));
    expectations.on(&exec(seconds(10), "created", 14));
    // The same long after: it may have exported before.
    expectations.on(&running(seconds(9), "again", 15, seconds(5)));
    expectations.on(&exec(seconds(30), "again", 15));
    let mut found: Vec<_> = work(&mut expectations, seconds(10))
        .into_iter()
        .map(|change| match change {
            ExpectationChange::Container(it) => (it.key.to_string(), it.from_exec, it.began),
            gone => panic!("{gone:?}"),
        })
        .collect();
    found.sort();
    let expected = [
        ("again", false),
        ("between", true),
        ("created", true),
        ("old", false),
        ("probed", false),
    ];
    assert_eq!(
        found,
        expected.map(|(key, from_exec)| (key.to_owned(), from_exec, seconds(5)))
    );
}

/// As `setproctitle` leaves it: a title over the first variables, NULs up to where the old text goes on.
const TITLED: &[u8] = b"rker [shop.wsgi]\0\0\0\0\0\0OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317\0";

#[test]
fn what_was_known_before_a_title_was_set_still_holds() {
    let proc = Proc::new();
    proc.process(10, 500, OTLP, "gunicorn");
    let mut expectations = proc.expectations();
    expectations.on(&exec(seconds(5), "c", 10));
    assert_eq!(
        one(work(&mut expectations, seconds(5))).service.as_deref(),
        Some("shop")
    );
    // It executes itself again, and is read when it has a title already.
    proc.process(10, 500, TITLED, "gunicorn: master");
    expectations.on(&exec(seconds(6), "c", 10));
    assert_eq!(work(&mut expectations, seconds(6)), []);
    assert_eq!(expectations.stats().overwritten, 1);
}

/// Its cgroup has it until its last thread has ended.
#[test]
fn a_process_that_is_ending_is_none_that_is_left() {
    let proc = Proc::new();
    let cgroups = TempDir::new();
    fs::create_dir(cgroups.path().join("shop")).unwrap();
    let mut expectations = Expectations::new(Config {
        cgroups: Some(cgroups.path().to_owned()),
        ..proc.expectations().config
    });
    let of_shop = |mut step: Lifecycle| {
        let mut workload = Workload::clone(&step.workload);
        workload.cgroup_path = Some("/shop".into());
        step.workload = Arc::new(workload);
        step
    };
    proc.process(10, 500, OTLP, "app");
    proc.process(11, 500, OTLP, "forked");
    fs::write(cgroups.path().join("shop/cgroup.procs"), "10\n11\n").unwrap();
    expectations.on(&of_shop(exec(seconds(5), "c", 10)));
    let key = one(work(&mut expectations, seconds(5))).key;
    proc.exiting(10);
    expectations.on(&of_shop(step(seconds(6), "c", 10, Step::Exit)));
    work(&mut expectations, seconds(6));
    assert_eq!(expectations.stats().processes, 1, "the one that was forked");
    proc.exiting(11);
    expectations.on(&of_shop(step(seconds(7), "c", 11, Step::Exit)));
    let gone = ExpectationChange::Gone { key, at: seconds(7) };
    assert_eq!(work(&mut expectations, seconds(7)), [gone]);
}

#[test]
fn a_relative_tells_what_a_title_has_overwritten() {
    let proc = Proc::new();
    proc.process(10, 500, TITLED, "gunicorn: master");
    proc.process(11, 600, TITLED, "gunicorn: worker");
    proc.process(12, 700, OTLP, "python3 worker.py");
    let cgroups = TempDir::new();
    fs::create_dir(cgroups.path().join("shop")).unwrap();
    fs::write(cgroups.path().join("shop/cgroup.procs"), "10\n11\n12\n").unwrap();
    let mut expectations = Expectations::new(Config {
        cgroups: Some(cgroups.path().to_owned()),
        ..proc.expectations().config
    });
    let mut step = running(seconds(9), "c", 10, seconds(5));
    let mut workload = Workload::clone(&step.workload);
    workload.cgroup_path = Some("/shop".into());
    step.workload = Arc::new(workload);
    expectations.on(&step);
    let container = one(work(&mut expectations, seconds(9)));
    assert_eq!((container.pid, container.service.as_deref()), (10, Some("shop")));
    assert_eq!(container.unreadable, None);
}

#[test]
fn without_a_relative_what_is_left_counts_with_a_word() {
    let proc = Proc::new();
    proc.process(10, 500, TITLED, "gunicorn: master");
    proc.process(20, 500, &[0; 64], "nginx: master process");
    let mut expectations = proc.expectations();
    expectations.on(&running(seconds(9), "c", 10, seconds(5)));
    let container = one(work(&mut expectations, seconds(9)));
    assert_eq!(container.service, None);
    assert_eq!(&*container.expectations[0].written, "http://c:4317");
    assert!(container.unreadable.unwrap().contains("setproctitle"));
    expectations.on(&running(seconds(9), "d", 20, seconds(5)));
    let container = one(work(&mut expectations, seconds(9)));
    assert!(container.expectations.is_empty() && container.unreadable.is_some());
}

#[test]
fn an_environment_that_may_not_be_read_is_said_once() {
    let mut tracked = Tracked::new(workload("c"), 7, seconds(1));
    tracked.add(Known {
        pid: 10,
        cgroup: 7,
        began: seconds(1),
        state: State::Unreadable("its environment may not be read".into()),
    });
    let key = ContainerKey("c".into());
    let container = tracked.report(&key, &[]).unwrap();
    assert_eq!(
        container.unreadable.as_deref(),
        Some("its environment may not be read")
    );
    assert!(container.expectations.is_empty());
    assert_eq!(tracked.report(&key, &[]), None);
}

#[test]
fn of_a_container_without_telemetry_only_the_end_is_said() {
    let proc = Proc::new();
    proc.process(10, 500, b"PATH=/bin\0", "nginx");
    let mut expectations = proc.expectations();
    expectations.on(&exec(seconds(5), "c", 10));
    expectations.on(&exec(seconds(5), "d", 99));
    assert_eq!(work(&mut expectations, seconds(5)), []);
    assert_eq!((expectations.stats().read, expectations.stats().gone), (1, 1));
    for (id, pid) in [("c", 10), ("d", 99)] {
        expectations.on(&step(seconds(6), id, pid, Step::Exit));
    }
    let gone = |id: &str| ExpectationChange::Gone {
        key: ContainerKey(Arc::from(id)),
        at: seconds(6),
    };
    assert_eq!(work(&mut expectations, seconds(6)), [gone("c"), gone("d")]);
    assert_eq!(expectations.stats().containers, 0);
}

#[test]
fn nobody_owns_the_root_cgroup() {
    let proc = Proc::new();
    proc.process(10, 500, OTLP, "app");
    let mut expectations = proc.expectations();
    let mut step = exec(seconds(5), "c", 10);
    step.workload = Arc::new(Workload {
        kind: WorkloadKind::Cgroup,
        cgroup_path: Some("/".into()),
        ..Workload::default()
    });
    expectations.on(&step);
    step.workload = Arc::default();
    expectations.on(&step);
    assert!(!expectations.is_waiting());
}

#[test]
fn a_removed_cgroup_ends_its_container() {
    let proc = Proc::new();
    proc.process(10, 500, OTLP, "app");
    let mut expectations = proc.expectations();
    expectations.on(&exec(seconds(5), "c", 10));
    let container = one(work(&mut expectations, seconds(5)));
    expectations.on(&step(seconds(6), "c", 0, Step::CgroupGone));
    let gone = ExpectationChange::Gone {
        key: container.key,
        at: seconds(6),
    };
    assert_eq!(work(&mut expectations, seconds(6)), [gone]);
    // The record of its exit came late.
    expectations.on(&step(seconds(6), "c", 10, Step::Exit));
    assert_eq!(work(&mut expectations, seconds(6)), []);
    let stats = expectations.stats();
    assert_eq!((stats.containers, stats.processes), (0, 0));
}

#[test]
fn a_container_that_starts_many_processes_is_read_in_moderation() {
    let proc = Proc::new();
    for pid in 100..200 {
        proc.process(pid, 500, b"PATH=/bin\0", "sh -c true");
    }
    let mut expectations = proc.expectations();
    for pid in 100..200 {
        expectations.on(&exec(seconds(5), "c", pid));
        work(&mut expectations, seconds(5));
    }
    let stats = expectations.stats();
    assert_eq!((stats.read, stats.processes), (16, 64));
    assert_eq!(stats.skipped, 36, "no more are even remembered");
    // The others get their turn, one a second.
    for at in 6..20 {
        work(&mut expectations, seconds(at));
    }
    let read = expectations.stats().read;
    assert!((20..=32).contains(&read), "{read}");
    // Once it told, it needs no more.
    proc.process(100, 500, OTLP, "app");
    expectations.on(&exec(seconds(40), "c", 100));
    assert_eq!(one(work(&mut expectations, seconds(60))).pid, 100);
}

#[test]
fn a_pod_that_restarts_every_second_leaves_nothing_behind() {
    let proc = Proc::new();
    let mut expectations = proc.expectations();
    for turn in 0..200u32 {
        let (id, pid) = (format!("c{turn}"), 1000 + turn);
        let at = seconds(10 + u64::from(turn));
        proc.process(pid, 500, OTLP, "app");
        expectations.on(&exec(at, &id, pid));
        assert_eq!(work(&mut expectations, at).len(), 1);
        proc.gone(pid);
        expectations.on(&step(at, &id, pid, Step::Exit));
        assert_eq!(work(&mut expectations, at).len(), 1);
    }
    let stats = expectations.stats();
    assert_eq!((stats.containers, stats.processes, stats.read), (0, 0, 200));
    assert_eq!(expectations.profiles.len(), 1);
}

#[test]
fn limits_hold_and_what_is_left_out_is_counted() {
    let proc = Proc::new();
    let mut expectations = Expectations::new(Config {
        max_containers: 10,
        max_reads: 3,
        ..proc.expectations().config
    });
    for pid in 0..20 {
        proc.process(100 + pid, 500, OTLP, "app");
        expectations.on(&exec(seconds(5), &format!("c{pid}"), 100 + pid));
    }
    assert_eq!(expectations.stats().forgotten, 10);
    assert_eq!(work(&mut expectations, seconds(5)).len(), 3);
    assert!(expectations.is_waiting());
    for _ in 0..3 {
        work(&mut expectations, seconds(5));
    }
    assert_eq!(expectations.stats().read, 10);
    assert!(!expectations.is_waiting());
}

#[test]
fn a_loaded_sdk_is_found_once_it_is_loaded() {
    let proc = Proc::new();
    proc.process(10, 500, OTLP, "app");
    let maps = proc.0.path().join("10/maps");
    fs::write(&maps, "").unwrap();
    let mut expectations = proc.expectations();
    expectations.on(&exec(seconds(5), "c", 10));
    assert!(one(work(&mut expectations, seconds(5))).proofs.is_empty());
    // Another container must not wait for this one's next look.
    proc.process(11, 700, OTLP, "other");
    for at in [6, 9] {
        assert_eq!(work(&mut expectations, seconds(at)), []);
    }
    fs::write(
        proc.0.path().join("11/maps"),
        "7f r-xp 0 08:01 1 /usr/lib/libopentelemetry_exporter_otlp_grpc.so\n",
    )
    .unwrap();
    expectations.on(&exec(seconds(9), "d", 11));
    assert_eq!(&*one(work(&mut expectations, seconds(9))).key.0, "d");
    assert_eq!(one(work(&mut expectations, seconds(10))).proofs.len(), 1);
    fs::write(
        &maps,
        "7f r-xp 0 08:01 1 /usr/lib/libopentelemetry_exporter_otlp_http.so\n",
    )
    .unwrap();
    assert_eq!(work(&mut expectations, seconds(18)), []);
    let container = one(work(&mut expectations, seconds(19)));
    assert_eq!(
        container
            .proofs
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["it has loaded libopentelemetry_exporter_otlp_http.so"]
    );
}

#[test]
fn rules_apply_when_the_names_are_known() {
    #[derive(serde::Deserialize)]
    struct File {
        exporter: Vec<crate::expect::Rule>,
    }
    let file: File =
        toml::from_str("[[exporter]]\npod = 'alloy-*'\nendpoint = 'http://mimir:9009/api/v1/push'\n")
            .unwrap();
    let proc = Proc::new();
    proc.process(10, 500, b"PATH=/bin\0", "alloy");
    let mut expectations = Expectations::new(Config {
        rules: file.exporter,
        ..proc.expectations().config
    });
    expectations.on(&exec(seconds(5), "c", 10));
    assert_eq!(work(&mut expectations, seconds(5)), []);
    let mut named = exec(seconds(6), "c", 10);
    named.workload = Arc::new(Workload {
        pod: Some("alloy-x1".into()),
        ..Workload::clone(&named.workload)
    });
    expectations.on(&named);
    let container = one(work(&mut expectations, seconds(6)));
    assert_eq!(container.workload.pod.as_deref(), Some("alloy-x1"));
    assert_eq!(container.expectations[0].source, Source::Config);
    assert_eq!(container.proofs.len(), 1);
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as u64
}

#[test]
fn five_thousand_containers_are_small() {
    const COUNT: u32 = 5_000;
    let proc = Proc::new();
    // Fifty replicas of a hundred services, in an environment of common size. To make them costs more than to read them:
    // replicas are links.
    for service in 0..100 {
        let environ = format!(
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector.observability.svc:4317\0OTEL_SERVICE_NAME=service-{service}\0\
             FILLER={}\0",
            "x".repeat(4000)
        );
        proc.process(1000 + service, 500, environ.as_bytes(), "app");
    }
    for pid in 100..COUNT {
        let link = proc.0.path().join((1000 + pid).to_string());
        std::os::unix::fs::symlink((1000 + pid % 100).to_string(), link).unwrap();
    }
    let mut expectations = proc.expectations();
    let before = resident();
    let begun = Instant::now();
    let mut found = Vec::new();
    for pid in 0..COUNT {
        expectations.on(&exec(seconds(5), &format!("{pid:064x}"), 1000 + pid));
    }
    while expectations.is_waiting() {
        expectations.work(seconds(5), &mut found);
    }
    let (took, grown) = (begun.elapsed(), resident().saturating_sub(before));
    assert_eq!(found.len(), COUNT as usize);
    assert_eq!(
        expectations.profiles.len(),
        100,
        "replicas share what was made of one"
    );
    println!("{COUNT} containers: {took:?}, {} KiB", grown >> 10);
    assert!(grown < 24 << 20, "{} KiB", grown >> 10);
}

mod injection {
    use super::*;
    use crate::model::cluster::{self, Annotated, Cluster, Owner, Pod, Pods, Surroundings};
    use crate::model::injection::Why;

    /// One pod with container `c`, whose Deployment is annotated.
    fn annotated(value: Option<&str>) -> Arc<Cluster> {
        let owner = Owner {
            kind: "Deployment".into(),
            name: "shop".into(),
        };
        let pod = Pod {
            uid: "u".into(),
            namespace: "apps".into(),
            name: "shop-x".into(),
            owner: Some(owner.clone()),
            containers: vec![cluster::Container {
                name: "app".into(),
                id: Some("c".into()),
                role: cluster::ContainerRole::Main,
            }],
            ..Pod::default()
        };
        let mut around = Surroundings::default();
        let asked = value.map(|value| cluster::Inject {
            language: "python".into(),
            value: value.into(),
        });
        let annotated = Annotated {
            asked: asked.into_iter().collect(),
            changed: None,
        };
        around.owners.insert(("apps".into(), owner), annotated);
        Arc::new(Cluster {
            pods: Arc::new(Pods::new([Arc::new(pod)])),
            surroundings: Arc::new(around),
            ..Cluster::default()
        })
    }

    fn why(container: &Container) -> Option<Why> {
        container.injection.as_deref()?.why
    }

    #[test]
    fn a_container_without_any_variable_is_said_by_its_annotation() {
        let proc = Proc::new();
        let mut it = proc.expectations();
        proc.process(10, 100, b"HOME=/root\0", "gunicorn run:app");
        it.on(&exec(seconds(1), "c", 10));
        assert_eq!(work(&mut it, seconds(1)), []);
        it.cluster(annotated(Some("true")));
        let container = one(work(&mut it, seconds(2)));
        assert_eq!(why(&container), Some(Why::OnOwner));
        let [expected] = &container.expectations[..] else {
            panic!("{container:?}");
        };
        assert_eq!(expected.source, Source::Annotation("Deployment shop".into()));
        // Nothing new.
        it.cluster(annotated(Some("true")));
        assert_eq!(work(&mut it, seconds(3)), []);
        // It is taken away.
        it.cluster(annotated(None));
        let container = one(work(&mut it, seconds(4)));
        assert_eq!((container.injection, container.expectations), (None, Vec::new()));
        assert_eq!(work(&mut it, seconds(5)), []);
    }

    #[test]
    fn a_container_that_begins_later_is_looked_up_in_what_is_known() {
        let proc = Proc::new();
        let mut it = proc.expectations();
        it.cluster(annotated(Some("obs/python")));
        proc.process(10, 100, OTLP, "gunicorn run:app");
        proc.process(11, 100, b"", "sh");
        it.on(&exec(seconds(1), "c", 10));
        it.on(&exec(seconds(1), "another", 11));
        // Its own exporters are the rows.
        let container = one(work(&mut it, seconds(1)));
        assert_eq!(why(&container), Some(Why::OnOwner));
        let sources: Vec<&Source> = container.expectations.iter().map(|it| &it.source).collect();
        assert_eq!(
            sources,
            [&Source::Environment("OTEL_EXPORTER_OTLP_ENDPOINT".into())]
        );
    }
}
