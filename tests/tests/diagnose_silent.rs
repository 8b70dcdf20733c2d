//! Nothing on the wire: of those that should export and never did, of those that did and stopped, and of those that
//! are right to say nothing.

use std::time::{Duration, Instant};

use anyhow::Result;
use obsflow_tests::app::{self, App, Env, Injection, Sdk};
use obsflow_tests::server::otlp::{Collector, Setup, Transport};
use obsflow_tests::wait::SOON;
use obsflow_tests::{Lab, PodSpec};

const HOST: &str = "otel-collector.observability";
const METRICS: &str = "vmsingle-victoria-metrics-k8s-stack";
const TRACES: &str = "victoria-traces-vt-single-server";

/// The environment of the write-up's pod, with an interval that a scenario can wait for.
fn gallery() -> Env {
    Env::new()
        .set("OTEL_SERVICE_NAME", "image-gallery")
        .set("OTEL_METRIC_EXPORT_INTERVAL", "2000")
        .set("OTEL_BSP_SCHEDULE_DELAY", "1000")
        .set(
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            &format!("http://{TRACES}.observability:10428/insert/opentelemetry/v1/traces"),
        )
        .set(
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            &format!("http://{METRICS}.observability:8428/opentelemetry/v1/metrics"),
        )
}

/// A Go service says that OpenTelemetry is initialized, serves its users, and no packet ever reaches 8428 and 10428.
#[test]
fn a_service_that_never_exports() -> Result<()> {
    let lab = Lab::new()?;
    let victoria = |port| Setup::http(&[port]).option("paths=victoria");
    let _metrics = Collector::start_as(&lab, "observability", METRICS, victoria(8428))?;
    let _traces = Collector::start_as(&lab, "observability", TRACES, victoria(10428))?;
    let doctor = lab.doctor(&[])?;
    let user = lab.pod(PodSpec::new("users/browser").node(1))?;
    let pods = lab.pods(vec!["apps/xplane-image-gallery".into(), "apps/twin".into()])?;
    let _services = [
        app::image_gallery(&pods[0], &gallery(), true)?,
        app::image_gallery(&pods[1], &gallery(), false)?,
    ];
    let _visitors = [
        app::visitor(&user, &pods[0], 100)?,
        app::visitor(&user, &pods[1], 100)?,
    ];
    for (signal, variable, endpoint) in [
        (
            "traces",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            format!("http://{TRACES}.observability:10428/insert/opentelemetry/v1/traces"),
        ),
        (
            "metrics",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            format!("http://{METRICS}.observability:8428/opentelemetry/v1/metrics"),
        ),
    ] {
        let export = doctor.verdict(&pods[0], "silent", |export| export.signal() == signal)?;
        assert_eq!(export.endpoint(), endpoint, "{export}");
        assert!(export.source().contains("environment"), "{export}");
        assert!(export.source().contains(variable), "{export}");
        assert_eq!(export.failed_rung(), "configured", "{export}");
        let evidence = export.evidence();
        // Why it is believed to send, and for how long it has not.
        assert!(
            evidence.contains("go.opentelemetry.io/otel/exporters/otlp"),
            "{export}"
        );
        assert!(evidence.contains("process"), "{export}");
        assert!(!export.advice().is_empty(), "{export}");
        doctor.verdict(&pods[1], "healthy", |export| export.signal() == signal)?;
    }
    doctor.quiet(&pods[1])?;
    doctor.stop()
}

/// How long a process that was not watched from its start must be silent.
const SILENCE: Duration = Duration::from_secs(150);

/// obsflow comes when everything runs already: a service that never exports is called silent when the window is over and
/// no sooner; one that exports once a minute is seen to; one without anything to do is at rest.
#[test]
fn processes_older_than_obsflow() -> Result<()> {
    let lab = Lab::new()?;
    let victoria = |port| Setup::http(&[port]).option("paths=victoria");
    let _metrics = Collector::start_as(&lab, "observability", METRICS, victoria(8428))?;
    let _traces = Collector::start_as(&lab, "observability", TRACES, victoria(10428))?;
    let _collector = Collector::start(&lab, "observability", "otel-collector")?;
    let user = lab.pod(PodSpec::new("users/browser").node(1))?;
    let pods = lab.pods(vec![
        "apps/xplane-image-gallery".into(),
        "apps/twin".into(),
        "apps/resting".into(),
    ])?;
    let once_a_minute = gallery().set("OTEL_METRIC_EXPORT_INTERVAL", "60000");
    let _services = [
        app::image_gallery(&pods[0], &once_a_minute, true)?,
        app::image_gallery(&pods[1], &once_a_minute, false)?,
    ];
    let _resting = App::start(&pods[2], Sdk::Node, &Env::otlp(HOST, Transport::Http))?;
    let _visitors = [
        app::visitor(&user, &pods[0], 1000)?,
        app::visitor(&user, &pods[1], 1000)?,
    ];
    let before = Instant::now();
    let doctor = lab.doctor(&[])?;
    let attached = Instant::now();
    for pod in [&pods[0], &pods[2]] {
        doctor.every(pod, "unknown", |export| export.verdict() == "unknown")?;
    }
    // Within 5 s after the window, and as many for a busy machine.
    let late = SILENCE + Duration::from_secs(10);
    let silent = |left: Duration, signal: &str| {
        doctor.verdict_within(left, &pods[0], "silent", |export| export.signal() == signal)
    };
    let export = silent(late.saturating_sub(attached.elapsed()), "traces")?;
    let after = before.elapsed();
    assert!(after >= SILENCE, "said after {after:?}: {export}");
    assert_eq!(export.failed_rung(), "configured", "{export}");
    assert!(export.evidence().contains("in 2m3"), "{export}");
    silent(SOON, "metrics")?;
    doctor.every(&pods[2], "idle", |export| export.verdict() == "idle")?;
    for signal in ["traces", "metrics"] {
        doctor.verdict(&pods[1], "healthy", |export| export.signal() == signal)?;
    }
    doctor.all_quiet(&pods[1..])?;
    doctor.stop()
}

/// Python's instrumentation is there, requests are served, and a sampler that takes nothing leaves nothing to send.
#[test]
fn a_sampler_that_takes_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let _collector = Collector::start(&lab, "observability", "otel-collector")?;
    let doctor = lab.doctor(&[])?;
    let user = lab.pod(PodSpec::new("users/browser").node(1))?;
    let pods = lab.pods(vec!["apps/shop".into(), "apps/twin".into()])?;
    let env = Env::otlp(HOST, Transport::Http).signals(&["traces"]);
    let _services = [
        app::flask(
            &pods[0],
            Injection::Command,
            &env.clone().set("OTEL_TRACES_SAMPLER", "always_off"),
        )?,
        app::flask(&pods[1], Injection::Command, &env)?,
    ];
    let _visitors = [
        app::visitor(&user, &pods[0], 100)?,
        app::visitor(&user, &pods[1], 100)?,
    ];
    let export = doctor.verdict(&pods[0], "silent", |export| export.signal() == "traces")?;
    assert!(export.endpoint().contains(HOST), "{export}");
    doctor.verdict(&pods[1], "healthy", |export| export.signal() == "traces")?;
    doctor.quiet(&pods[1])?;
    doctor.stop()
}

/// It sent, its process lives, its metrics have stopped; beside one that ended, and one that goes on.
#[test]
fn stopped_and_ended() -> Result<()> {
    let lab = Lab::new()?;
    let _collector = Collector::start(&lab, "observability", "otel-collector")?;
    let doctor = lab.doctor(&[])?;
    let pods = lab.pods(vec![
        "apps/stopped-python".into(),
        "apps/stopped-node".into(),
        "apps/ended".into(),
        "apps/goes-on".into(),
    ])?;
    let env = Env::otlp(HOST, Transport::Http).signals(&["metrics"]);
    let mut apps = Vec::new();
    for (pod, sdk) in pods
        .iter()
        .zip([Sdk::PythonInstrumented, Sdk::Node, Sdk::Python, Sdk::Python])
    {
        apps.push(App::begin(pod, sdk, &env)?);
    }
    for app in &mut apps {
        app.ready()?;
        app.work(100, &["metrics"])?;
    }
    for pod in &pods {
        doctor.verdict(pod, "healthy", |export| export.signal() == "metrics")?;
    }
    apps[0].shut_down()?;
    apps[1].shut_down()?;
    apps.remove(2).kill();
    for pod in &pods[..2] {
        let export = doctor.verdict(pod, "stopped", |export| export.signal() == "metrics")?;
        assert!(!export.text("last_success").is_empty(), "{export}");
        assert!(!export.advice().is_empty(), "{export}");
    }
    doctor.sentinel()?;
    for pod in &pods[2..] {
        doctor.never("a failure of a pod that ended or goes on", |export| {
            export.of(pod) && export.is_failure()
        })?;
    }
    doctor.stop()
}
