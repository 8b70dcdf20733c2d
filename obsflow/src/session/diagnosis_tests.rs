//! When reports are handed out.

use std::time::Duration;

use super::*;
use crate::expect;
use crate::model::expectation::{
    Container, ContainerKey, Endpoint, Expectation, ExpectationChange, Host, Setting, Source, Transport,
};

/// Keeps what it is told.
#[derive(Default)]
struct Kept {
    reports: Vec<(Arc<Report>, News)>,
    seconds: u32,
    is_full: bool,
}

impl Publish for Kept {
    fn report(&mut self, report: &Arc<Report>, news: News) -> io::Result<ControlFlow<()>> {
        self.reports.push((Arc::clone(report), news));
        Ok(if self.is_full {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }

    fn second(&mut self, _: &Diagnoser, _: Mono) -> io::Result<ControlFlow<()>> {
        self.seconds += 1;
        Ok(ControlFlow::Continue(()))
    }
}

fn sink() -> DiagnosisSink<Kept> {
    let expectations = Expectations::new(expect::Config {
        proc: "/nowhere".into(),
        ..expect::Config::default()
    });
    DiagnosisSink::new(
        expectations,
        Diagnoser::new(diagnose::Config::default()),
        Kept::default(),
    )
}

fn at(seconds: u64) -> Mono {
    Mono(0).after(Duration::from_secs(1_000 + seconds))
}

fn container(endpoint: &str) -> ExpectationChange {
    let endpoint = Endpoint {
        host: Host::Name(endpoint.into()),
        port: 4317,
        tls: Some(false),
        path: None,
        transport: Transport::Grpc,
    };
    ExpectationChange::Container(Box::new(Container {
        key: ContainerKey("c".into()),
        workload: Arc::new(Workload {
            container_id: Some("c".into()),
            ..Workload::default()
        }),
        cgroup: 7,
        pid: 42,
        service: None,
        began: at(0),
        from_exec: true,
        proofs: Vec::new(),
        expectations: vec![Expectation {
            signal: None,
            written: endpoint.to_string().into(),
            endpoint: Some(endpoint),
            setting: Setting::On,
            source: Source::Environment("OTEL_EXPORTER_OTLP_ENDPOINT".into()),
            interval: Duration::from_secs(60),
            timeout: Some(Duration::from_secs(10)),
            proxy: None,
        }],
        unreadable: None,
        injection: None,
    }))
}

#[test]
fn a_report_comes_when_something_is_said_and_now_and_then() {
    let mut sink = sink();
    let news = |sink: &DiagnosisSink<Kept>| -> Vec<News> {
        sink.publish.reports.iter().map(|(_, news)| *news).collect()
    };
    assert!(sink.second(at(0)).unwrap().is_continue());
    assert_eq!(news(&sink), [News::Verdicts]);
    // Nothing happens.
    for second in 1..=4 {
        assert!(sink.second(at(second)).unwrap().is_continue());
    }
    assert_eq!(news(&sink).len(), 1);
    assert!(sink.second(at(5)).unwrap().is_continue());
    assert_eq!(news(&sink), [News::Verdicts, News::Counts]);
    // An exporter becomes known: within the second.
    sink.changes.push(container("collector.observability"));
    assert!(sink.second(at(6)).unwrap().is_continue());
    assert_eq!(news(&sink).last(), Some(&News::Verdicts));
    assert_eq!(news(&sink).len(), 3);
    let (report, _) = &sink.publish.reports[2];
    assert_eq!(report.exports.len(), 1);
    assert_eq!(report.at, at(6));
    assert_eq!(sink.publish.seconds, 7);
}

#[test]
fn losses_are_news() {
    let mut sink = sink();
    assert!(sink.second(at(0)).unwrap().is_continue());
    let lost = Observation {
        at: at(0),
        workload: Arc::default(),
        process: None,
        cgroup: 0,
        cookie: 0,
        netns: 0,
        local: None,
        remote: None,
        asked: None,
        remote_name: None,
        remote_is: None,
        what: What::Lost { count: 17 },
    };
    assert!(sink.observations(&[lost]).unwrap().is_continue());
    assert!(sink.second(at(1)).unwrap().is_continue());
    let (report, news) = sink.publish.reports.last().unwrap();
    assert_eq!((report.events_lost, *news), (17, News::Verdicts));
}

#[test]
fn who_takes_reports_may_end_it() {
    let mut sink = sink();
    sink.publish.is_full = true;
    assert!(sink.second(at(0)).unwrap().is_break());
    let (report, _, kept) = sink.finish(at(1));
    assert_eq!(report.at, at(1));
    assert_eq!(kept.reports.len(), 1);
}

#[test]
fn what_is_seen_only_in_part_is_left_alone() {
    let mount = Path::new("/sys/fs/cgroup");
    let scope = |cgroups: &[&str]| {
        let cgroups: Vec<PathBuf> = cgroups.iter().map(PathBuf::from).collect();
        Scope::of(mount, &cgroups)
    };
    let at = |path: &str| Workload {
        cgroup_path: Some(path.into()),
        ..Workload::default()
    };
    let pods = scope(&["/sys/fs/cgroup/kubepods.slice", "/sys/fs/cgroup/other/kubepods"]);
    for path in [
        "/kubepods.slice",
        "/kubepods.slice/pod1/c",
        "/other/kubepods/pod2",
    ] {
        assert!(pods.has(&at(path)), "{path}");
    }
    for path in ["/system.slice/nginx.service", "/kubepods.slices/x", "/other", "/"] {
        assert!(!pods.has(&at(path)), "{path}");
    }
    assert!(pods.has(&Workload::default()));
    for all in [
        scope(&["/sys/fs/cgroup"]),
        scope(&["/elsewhere"]),
        Scope::default(),
    ] {
        assert!(all.has(&at("/system.slice/nginx.service")));
    }
}

#[test]
fn what_the_cluster_says_is_looked_at_when_it_changes() {
    use crate::model::cluster::Cluster;

    let (publish, latest) = watch::channel(Arc::new(Cluster::default()));
    let mut sink = sink().following(Some(latest));
    publish.send_replace(Arc::default());
    assert!(sink.second(at(0)).unwrap().is_continue());
    let has_changed = |sink: &DiagnosisSink<Kept>| sink.cluster.as_ref().unwrap().has_changed();
    assert!(!has_changed(&sink).unwrap());
    publish.send_replace(Arc::default());
    assert!(has_changed(&sink).unwrap());
    // Who watched has ended.
    drop(publish);
    assert!(sink.second(at(1)).unwrap().is_continue());
}
