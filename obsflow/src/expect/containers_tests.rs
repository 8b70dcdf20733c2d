//! Following processes: real ones, and made-up ones in a folder laid out like `/proc`.

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
    let fs = CgroupFs::find(Path::new("/proc/self/mounts")).unwrap();
    let cgroup = TempCgroup::new(fs.path());
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
    for (pid, ticks) in [(10, 500), (11, 500), (12, 500), (13, 510)] {
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
    let mut found: Vec<_> = work(&mut expectations, seconds(10))
        .into_iter()
        .map(|change| match change {
            ExpectationChange::Container(it) => (it.key.to_string(), it.from_exec, it.began),
            gone => panic!("{gone:?}"),
        })
        .collect();
    found.sort();
    let expected = [("between", true), ("old", false), ("probed", false)];
    assert_eq!(
        found,
        expected.map(|(key, from_exec)| (key.to_owned(), from_exec, seconds(5)))
    );
}
