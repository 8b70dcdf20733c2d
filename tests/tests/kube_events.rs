//! Kubernetes Events, written by the real client to an API server that takes what Kubernetes takes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use obsflow::cluster;
use obsflow::model::exchange::Signal;
use obsflow::model::expectation::{ContainerKey, Source};
use obsflow::model::verdict::{Evidence, Export, Leg, Report, Rungs, Severity, Transition, VerdictId};
use obsflow::model::{Clock, Mono, Workload};
use obsflow::sinks::events::Events;
use obsflow_tests::doctor::NODE;
use obsflow_tests::server::kube::{Api, Order, objects};
use obsflow_tests::server::otlp::{self, Sdk, Transport};
use obsflow_tests::wait::{SOON, until};
use obsflow_tests::{Lab, Proc};
use serde_json::Value;

/// A verdict opens when its container is a minute old: until then it may still come up.
const OPENS: Duration = Duration::from_secs(100);

/// An API server with a namespace, and obsflow's Events on their way to it.
struct Scene {
    api: Api,
    _cluster: cluster::Handle,
    events: Events,
    folder: PathBuf,
}

impl Scene {
    fn new() -> Result<Self> {
        Self::with(|_| {})
    }

    fn with(prepare: impl FnOnce(&Api)) -> Result<Self> {
        let api = Api::start_tls()?;
        api.apply(objects::namespace("apps")?)?;
        prepare(&api);
        let port = api.address().port();
        let folder = std::env::temp_dir().join(format!("obsflow-events-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let (cluster, events) = events(&api, &folder)?;
        Ok(Self {
            api,
            _cluster: cluster,
            events,
            folder,
        })
    }

    /// obsflow is started again.
    fn again(&mut self) -> Result<()> {
        (self._cluster, self.events) = events(&self.api, &self.folder)?;
        Ok(())
    }

    fn turn(&mut self, second: u64, export: &Export, opened: bool) {
        self.events.on(&[Transition {
            at: at(second),
            export: export.clone(),
            opened,
        }]);
        self.events.second(Clock::now(), at(second));
    }

    fn pass(&mut self, seconds: std::ops::Range<u64>) {
        for second in seconds {
            self.events.second(Clock::now(), at(second));
        }
    }

    /// Waits until so many Events were dealt with, one way or the other; gives those that are there.
    fn dealt_with(&self, many: u64) -> Result<Vec<Value>> {
        let counts = || self.events.counts();
        until("Events to be dealt with", SOON, || {
            Ok((counts().written + counts().failed >= many).then_some(()))
        })
        .with_context(|| format!("{:?} of {many}; requests: {:#?}", counts(), self.api.requests()))?;
        Ok(self.api.events())
    }

    fn writes(&self) -> Vec<String> {
        let is_write = |verb: &str| matches!(verb, "create" | "patch");
        let requests = self.api.requests();
        let writes = requests
            .iter()
            .filter(|it| it.resource == "events" && is_write(&it.verb));
        writes.map(|it| it.verb.clone()).collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn events(api: &Api, folder: &std::path::Path) -> Result<(cluster::Handle, Events)> {
    let handle = cluster::start(&cluster::Config {
        kubernetes: true,
        kubeconfig: Some(api.kubeconfig(folder)?),
        context: None,
        node_name: Some("node-0".to_owned()),
        ..cluster::Config::default()
    })
    .context("there is an API server")?;
    let events = Events::start("node-0".to_owned(), &handle).context("there is somebody to write Events")?;
    Ok((handle, events))
}

fn at(second: u64) -> Mono {
    Mono(1_000_000_000 * (5000 + second))
}

fn export(verdict: VerdictId) -> Export {
    Export {
        id: "e1".into(),
        container: ContainerKey("c".into()),
        workload: Arc::new(Workload {
            namespace: Some("apps".into()),
            pod: Some("checkout-7d9c5b8f6d-x2xkq".into()),
            pod_uid: Some("11111111-2222-4333-8444-555555555555".into()),
            container: Some("app".into()),
            ..Workload::default()
        }),
        pid: None,
        proxy: None,
        signal: Some(Signal::Traces),
        endpoint: None,
        written: "http://otel.obs:4318".into(),
        source: Source::Config,
        leg: Leg::Direct,
        rungs: Rungs::default(),
        verdict,
        reason: None,
        severity: if verdict.is_failure() {
            Severity::Critical
        } else {
            Severity::Ok
        },
        since: at(0),
        flaps: 0,
        evidence: vec![Evidence {
            kind: "connect",
            text: "10.0.0.1:4318: refused (RST)".into(),
            count: 2,
            last: None,
        }],
        advice: vec!["See whether the receiver runs.".into()],
        last_success: None,
        cause: None,
        node: None,
    }
}

fn healthy() -> Arc<Report> {
    Arc::new(Report {
        exports: vec![export(VerdictId::Healthy)],
        ..Report::default()
    })
}

/// It comes and goes every ten seconds for 25 minutes: one Event, which says three times that it came again.
#[test]
fn flapping_is_one_event_for_a_verdict_and_ten_minutes() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.events.report(&healthy());
    let refused = export(VerdictId::Refused);
    for second in (0..1500).step_by(10) {
        scene.turn(second, &refused, second % 20 == 0);
    }
    let events = scene.dealt_with(3)?;
    let [event] = &events[..] else {
        anyhow::bail!("{events:#?}");
    };
    assert_eq!(scene.writes(), ["create", "patch", "patch"]);
    assert_eq!(event["reason"], "TelemetryRefused");
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["reportingController"], "obsflow");
    assert_eq!(event["regarding"]["name"], "checkout-7d9c5b8f6d-x2xkq");
    assert_eq!(event["series"]["count"], 61);
    assert_eq!(
        event["note"],
        "refused: traces to http://otel.obs:4318: 10.0.0.1:4318: refused (RST). To do: See whether the receiver runs."
    );
    Ok(())
}

/// Its end is a Normal Event, once.
#[test]
fn an_end_is_said_of_what_was_said() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.events.report(&healthy());
    let refused = export(VerdictId::Refused);
    scene.turn(0, &refused, true);
    scene.turn(30, &refused, false);
    scene.pass(31..400);
    let events = scene.dealt_with(2)?;
    let mut kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["Normal", "Warning"]);
    Ok(())
}

/// obsflow is started again within ten minutes, and the verdict holds still: nothing new is written.
#[test]
fn a_run_after_another_writes_no_second_event() -> Result<()> {
    let mut scene = Scene::new()?;
    let refused = export(VerdictId::Refused);
    scene.turn(0, &refused, true);
    scene.dealt_with(1)?;
    scene.again()?;
    scene.turn(40, &refused, true);
    let events = scene.dealt_with(1)?;
    assert_eq!(events.len(), 1, "{events:#?}");
    assert!(events[0]["series"].is_null(), "{events:#?}");
    Ok(())
}

/// obsflow is started again, and it comes again: the series goes on where it was.
#[test]
fn a_run_after_another_counts_on() -> Result<()> {
    let mut scene = Scene::new()?;
    let refused = export(VerdictId::Refused);
    scene.turn(0, &refused, true);
    scene.turn(10, &refused, false);
    scene.turn(700, &refused, true);
    assert_eq!(scene.dealt_with(2)?[0]["series"]["count"], 2);
    scene.again()?;
    scene.turn(2000, &refused, true);
    scene.dealt_with(1)?;
    scene.turn(2010, &refused, false);
    scene.turn(2700, &refused, true);
    let events = scene.dealt_with(2)?;
    assert_eq!(events.len(), 1, "{events:#?}");
    assert_eq!(events[0]["series"]["count"], 3, "{events:#?}");
    Ok(())
}

/// The server forgot it: what comes again is written whole.
#[test]
fn an_event_that_expired_is_written_again() -> Result<()> {
    let mut scene = Scene::new()?;
    let refused = export(VerdictId::Refused);
    scene.turn(0, &refused, true);
    let events = scene.dealt_with(1)?;
    scene.api.delete(&events[0])?;
    scene.pass(1799..1802);
    assert_eq!(scene.dealt_with(2)?.len(), 1);
    assert_eq!(scene.writes(), ["create", "patch", "create"]);
    Ok(())
}

/// Names that somebody chose: one line, harmless for a terminal, within the API's limits.
#[test]
fn hostile_names_are_escaped() -> Result<()> {
    let mut scene = Scene::new()?;
    let mut hostile = export(VerdictId::Rejected);
    hostile.written = format!("http://\u{1b}]0;x\u{7}\n\u{202e}{}", "é".repeat(3000)).into();
    hostile.evidence[0].text = "\u{1b}[2J".repeat(500).into();
    scene.turn(0, &hostile, true);
    let events = scene.dealt_with(1)?;
    let note = events[0]["note"].as_str().unwrap_or_default();
    assert!(note.len() <= 1024 && note.len() > 300, "{note}");
    assert!(!note.chars().any(|c| c.is_control() || c == '\u{202e}'), "{note}");
    assert!(note.contains("\\u{1b}]0;x\\u{7}\\n\\u{202e}é"), "{note}");
    Ok(())
}

/// RBAC says no: asked once, then not for a minute; what is left out is counted.
#[test]
fn forbidden_is_counted_and_not_asked_for_each() -> Result<()> {
    let mut scene = Scene::with(|api| api.order(Order::Status(403, None).resource("events")))?;
    scene.turn(0, &export(VerdictId::Refused), true);
    scene.turn(1, &export(VerdictId::DnsTimeout), true);
    assert_eq!(scene.dealt_with(2)?, Vec::<Value>::new());
    assert_eq!(scene.events.counts().failed, 2);
    assert_eq!(scene.writes().len(), 1);
    Ok(())
}

/// The API server is away for a moment: the Event is late, not lost.
#[test]
fn an_api_server_that_is_away_gets_it_later() -> Result<()> {
    let mut scene = Scene::with(|api| {
        api.order(Order::Status(503, None).resource("events").times(1));
        api.order(Order::Status(429, Some(1)).resource("events").times(1));
    })?;
    scene.turn(0, &export(VerdictId::Refused), true);
    assert_eq!(scene.dealt_with(1)?.len(), 1);
    assert_eq!(scene.events.counts().failed, 0);
    Ok(())
}

/// A webhook fails for one namespace: others do not wait for it, and its own are written when it works.
#[test]
fn a_namespace_that_takes_none_holds_up_no_other() -> Result<()> {
    let mut scene = Scene::with(|api| {
        api.order(Order::Status(500, None).resource("events").namespace("broken"));
    })?;
    scene.api.apply(objects::namespace("broken")?)?;
    for pod in 0..3 {
        let mut refused = export(VerdictId::Refused);
        let workload = Arc::make_mut(&mut refused.workload);
        workload.namespace = Some("broken".into());
        workload.pod_uid = Some(format!("uid-{pod}").into());
        workload.pod = Some(format!("pod-{pod}").into());
        scene.turn(pod, &refused, true);
    }
    scene.turn(4, &export(VerdictId::Refused), true);
    let events = scene.dealt_with(1)?;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["metadata"]["namespace"], "apps");
    scene.api.behave();
    assert_eq!(scene.dealt_with(4)?.len(), 4);
    assert_eq!(scene.events.counts().failed, 0);
    Ok(())
}

/// More at once than may wait: counted, tried again, and the pipeline's thread is never held up.
#[test]
fn what_finds_no_room_is_counted() -> Result<()> {
    let mut scene = Scene::with(|api| api.order(Order::Hang.resource("events")))?;
    for pod in 0..2000 {
        let mut refused = export(VerdictId::Refused);
        let workload = Arc::make_mut(&mut refused.workload);
        workload.pod_uid = Some(format!("uid-{pod}").into());
        workload.pod = Some(format!("pod-{pod}").into());
        scene.events.on(&[Transition {
            at: at(0),
            export: refused,
            opened: true,
        }]);
    }
    let began = std::time::Instant::now();
    scene.events.second(Clock::now(), at(1));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let crowded_out = scene.events.counts().crowded_out;
    assert!((1400..2000).contains(&crowded_out), "{crowded_out}");
    Ok(())
}

/// An agent, an exporter that fails for real, and its pod as the API server has it.
#[test]
fn an_agent_writes_what_fails_on_its_pod() -> Result<()> {
    let lab = Lab::new()?;
    let api = Api::start()?;
    let pod = lab.pod("apps/catalog")?;
    api.apply(objects::node(NODE, "192.0.2.1")?)?;
    api.apply(objects::namespace("apps")?)?;
    api.apply(objects::of(&pod, NODE)?)?;
    let socket = format!("unix://{}", lab.dir().join("events.sock").display());
    let mut agent = lab.obsflow_command("agent")?;
    agent
        .args([
            "--events",
            "--node-name",
            NODE,
            "--state",
            "off",
            "--health",
            "off",
        ])
        .args(["--listen", &socket])
        .arg("--kubeconfig")
        .arg(api.kubeconfig(lab.dir())?);
    let _agent = Proc::start(agent)?;
    let _exporter = otlp::export(
        &pod,
        Sdk::Rust,
        Transport::Grpc,
        "otel-colector.observability",
        10_000,
        Duration::from_secs(1),
    )?;
    let events = until("an Event", OPENS, || {
        let events = api.events();
        Ok((!events.is_empty()).then_some(events))
    })?;
    let [event] = &events[..] else {
        anyhow::bail!("{events:#?}");
    };
    assert_eq!(event["reason"], "TelemetryDnsNxdomain", "{event:#}");
    assert_eq!(event["regarding"]["name"], *pod.name, "{event:#}");
    assert_eq!(event["regarding"]["uid"], *pod.uid, "{event:#}");
    assert_eq!(event["metadata"]["namespace"], "apps", "{event:#}");
    let note = event["note"].as_str().unwrap_or_default();
    assert!(
        note.starts_with("dns-nxdomain: ") && note.contains("otel-colector.observability"),
        "{note}"
    );
    until("a status that counts it", SOON, || {
        let status = std::process::Command::new(obsflow_tests::tool::binary("obsflow")?)
            .args(["status", "-o", "json", "--server", &socket])
            .output()?;
        let status: Value = serde_json::from_slice(&status.stdout)?;
        Ok((status["kubernetes_events"]["written"] == 1).then_some(()))
    })
}
