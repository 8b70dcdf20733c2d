//! Exporters that do well, that have nothing to say, and that are switched off: doctor tells them apart and calls
//! nothing a failure.

use anyhow::Result;
use obsflow_tests::app::{self, App, Env, Injection, Sdk};
use obsflow_tests::doctor::{Export, RUNGS};
use obsflow_tests::server::otlp::{Collector, Transport};
use obsflow_tests::wait::SOON;
use obsflow_tests::{Doctor, Lab, PodSpec, Proc};

const HOST: &str = "otel-collector.observability";
const SIGNALS: [&str; 3] = ["traces", "metrics", "logs"];

/// Path of an export as requests have it.
fn path(transport: Transport, signal: &str) -> String {
    match (transport, signal) {
        (Transport::Http, signal) => format!("/v1/{signal}"),
        (Transport::Grpc, "traces") => {
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export".to_owned()
        }
        (Transport::Grpc, "metrics") => {
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export".to_owned()
        }
        (Transport::Grpc, _) => "/opentelemetry.proto.collector.logs.v1.LogsService/Export".to_owned(),
    }
}

/// What must stand beside `healthy`: every rung, and the request with its answer.
fn shows(export: &Export, transport: Transport, signal: &str) -> bool {
    let (status, port) = match transport {
        Transport::Http => ("200", ":4318"),
        Transport::Grpc => ("OK", ":4317"),
    };
    let evidence = export.evidence();
    export.signal() == signal
        && RUNGS.iter().all(|rung| export.rung(rung) == "ok")
        && export.endpoint().contains(HOST)
        && export.endpoint().contains(port)
        && evidence.contains(&path(transport, signal))
        && evidence.contains(status)
        && export.severity() == "ok"
        && export.advice().is_empty()
}

#[test]
fn every_sdk_is_healthy_per_signal() -> Result<()> {
    let lab = Lab::new()?;
    let _collector = Collector::start(&lab, "observability", "otel-collector")?;
    let doctor = lab.doctor(&[])?;
    let mut apps = Vec::new();
    for sdk in Sdk::ALL {
        for transport in [Transport::Http, Transport::Grpc] {
            let pod = lab.pod("apps/checkout")?;
            let app = App::begin(&pod, sdk, &Env::otlp(HOST, transport))?;
            apps.push((pod, transport, app));
        }
    }
    for (_, _, app) in &apps {
        app.ready()?;
    }
    for (_, _, app) in &mut apps {
        app.work(100, &[])?;
    }
    for (pod, transport, _) in &apps {
        for signal in SIGNALS {
            let export = doctor.verdict(pod, "healthy", |export| shows(export, *transport, signal))?;
            assert!(
                export.source().contains("OTEL_EXPORTER_OTLP_ENDPOINT"),
                "{export}"
            );
        }
    }
    doctor.all_quiet(apps.iter().map(|(pod, _, _)| pod))?;
    for (pod, _, _) in &apps {
        // One line a signal: what is configured and what is seen is one exporter.
        assert_eq!(doctor.now(pod).len(), SIGNALS.len(), "{:?}", doctor.now(pod));
    }
    doctor.stop()
}

/// Answers that are longer than an empty message because of how they are written: compressed as the request was, which is
/// the default of many exporters, or JSON.
#[test]
fn answers_that_are_packed_or_json() -> Result<()> {
    let lab = Lab::new()?;
    let mut collector = Collector::start(&lab, "observability", "otel-collector")?;
    let doctor = lab.doctor(&[])?;
    let mut apps = Vec::new();
    for (name, sdk, transport, variable, value) in [
        ("apps/zipped", Sdk::Python, Transport::Http, "COMPRESSION", "gzip"),
        ("apps/zipped", Sdk::Python, Transport::Grpc, "COMPRESSION", "gzip"),
        ("apps/zipped", Sdk::Node, Transport::Grpc, "COMPRESSION", "gzip"),
        ("apps/json", Sdk::Node, Transport::Http, "PROTOCOL", "http/json"),
    ] {
        let pod = lab.pod(name)?;
        let env = Env::otlp(HOST, transport)
            .signals(&["traces"])
            .set(&format!("OTEL_EXPORTER_OTLP_{variable}"), value);
        apps.push((App::begin(&pod, sdk, &env)?, pod));
    }
    for (app, _) in &apps {
        app.ready()?;
    }
    for (app, _) in &mut apps {
        app.work(100, &["traces"])?;
    }
    for (_, pod) in &apps {
        doctor.verdict(pod, "healthy", |export| export.rung("accepted") == "ok")?;
        collector.wait_for(5, SOON, |request| request["service"] == pod.name.as_str())?;
    }
    doctor.all_quiet(apps.iter().map(|(_, pod)| pod))?;
    // What is rejected in part is seen all the same.
    collector.answer(Transport::Grpc, "partial")?;
    collector.answer(Transport::Http, "partial")?;
    for (_, pod) in &apps[..3] {
        doctor.verdict(pod, "partial", |export| export.rung("accepted") == "failed")?;
    }
    doctor.stop()
}

/// The write-up's service after it was repaired: Python's instrumentation by hand, three signals, 200 each on 4318.
#[test]
fn a_flask_service_injected_by_hand() -> Result<()> {
    let lab = Lab::new()?;
    let agent = "splunk-otel-collector-agent";
    let _collector = Collector::start(&lab, "ao", agent)?;
    let doctor = lab.doctor(&[])?;
    let user = lab.pod(PodSpec::new("users/browser").node(1))?;
    let pod = lab.pod(PodSpec::new("cxtm/cxtm-webcron").container("webcron"))?;
    let endpoint = format!("http://{agent}.ao.svc.cluster.local:4318");
    let env = Env::endpoint(&endpoint, Transport::Http)
        .set("OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED", "true")
        .set("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=cxtm")
        .set("OTEL_SERVICE_NAME", "cxtm-webcron");
    let _service = app::flask(&pod, Injection::Variable, &env)?;
    let _visitor = app::visitor(&user, &pod, 50)?;
    for signal in SIGNALS {
        let export = doctor.verdict(&pod, "healthy", |export| {
            export.signal() == signal && export.rung("accepted") == "ok"
        })?;
        let evidence = export.evidence();
        assert!(
            evidence.contains(&format!("POST /v1/{signal}")) && evidence.contains("200"),
            "{export}"
        );
        assert_eq!(export.endpoint(), format!("{endpoint}/v1/{signal}"), "{export}");
        assert_eq!(export.text("container"), "webcron", "{export}");
    }
    // Master and workers are one container: one line a signal.
    doctor.quiet(&pod)?;
    assert_eq!(doctor.now(&pod).len(), SIGNALS.len(), "{:?}", doctor.now(&pod));
    doctor.stop()
}

/// gunicorn's processes write their titles over their environment. Whoever watched the start knows it; whoever comes
/// later sees what they send.
#[test]
fn a_title_over_the_environment() -> Result<()> {
    let lab = Lab::new()?;
    let collector = Collector::start(&lab, "observability", "otel-collector")?;
    let user = lab.pod(PodSpec::new("users/browser").node(1))?;
    let pods = [lab.pod("apps/shop")?];
    let env = Env::otlp(HOST, Transport::Http).signals(&["traces"]);
    let early = lab.doctor(&[])?;
    let _service = app::flask(&pods[0], Injection::Command, &env)?;
    let _visitor = app::visitor(&user, &pods[0], 50)?;
    collector.wait_for(2, SOON, |request| request["service"] == pods[0].name.as_str())?;
    let serves = |doctor: &Doctor<'_>| {
        let traces = doctor.verdict(&pods[0], "healthy", |export| {
            export.signal() == "traces" && export.rung("accepted") == "ok"
        })?;
        doctor.quiet(&pods[0])?;
        Ok::<_, anyhow::Error>(traces)
    };
    let known = serves(&early)?;
    assert!(known.source().contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{known}");
    early.stop()?;
    let late = lab.doctor(&[])?;
    serves(&late)?;
    late.stop()
}

#[test]
fn nothing_to_say() -> Result<()> {
    let lab = Lab::new()?;
    let _collector = Collector::start(&lab, "observability", "otel-collector")?;
    let doctor = lab.doctor(&[])?;
    let pods = lab.pods(vec![
        "apps/resting".into(),
        "apps/instruments".into(),
        "apps/sent".into(),
    ])?;
    let env = Env::otlp(HOST, Transport::Http);
    let mut apps = Vec::new();
    for (pod, sdk) in pods.iter().zip([Sdk::Python, Sdk::Node, Sdk::Python]) {
        apps.push(App::begin(pod, sdk, &env)?);
    }
    for app in &apps {
        app.ready()?;
    }
    // Traces and logs for a moment, then rest: metrics go on, as their readers do.
    apps[2].work(50, &[])?;
    for signal in SIGNALS {
        doctor.verdict(&pods[2], "healthy", |export| export.signal() == signal)?;
    }
    apps[2].rest()?;
    for pod in &pods[..2] {
        doctor.every(pod, "idle", |export| {
            export.verdict() == "idle" && export.failed_rung().is_empty()
        })?;
    }
    doctor.all_quiet(&pods)?;
    doctor.stop()
}

/// What obsflow cannot tell, it does not call a failure: a shell that is handed the namespace's variables, broken ones, and
/// a process that is older than obsflow and has not sent anything since.
#[test]
fn what_cannot_be_told() -> Result<()> {
    let lab = Lab::new()?;
    let _collector = Collector::start(&lab, "observability", "otel-collector")?;
    let pods = lab.pods(vec![
        "apps/shell".into(),
        "apps/older".into(),
        "apps/at-work".into(),
    ])?;
    let mut shell = pods[0].command("/bin/sh")?;
    shell.args(["-c", "read line"]);
    Env::endpoint(&format!("{HOST}:4318"), Transport::Http).apply(&mut shell);
    let _shell = Proc::start(shell)?;
    let env = Env::otlp(HOST, Transport::Http);
    let _older = App::start(&pods[1], Sdk::Python, &env)?;
    let mut at_work = App::start(&pods[2], Sdk::Python, &env)?;
    let doctor = lab.doctor(&[])?;
    for (pod, why) in [
        (&pods[1], "nothing of it on the wire yet"),
        (&pods[0], "nothing says that this process reads it"),
    ] {
        let exports = doctor.every(pod, "unknown", |export| export.verdict() == "unknown")?;
        for export in exports {
            assert!(export.evidence().contains(why), "{export}");
            assert_eq!(export.severity(), "unknown", "{export}");
            assert!(export.failed_rung().is_empty(), "{export}");
        }
    }
    at_work.work(50, &[])?;
    for signal in SIGNALS {
        doctor.verdict(&pods[2], "healthy", |export| export.signal() == signal)?;
    }
    doctor.all_quiet(&pods)?;
    doctor.stop()
}

#[test]
fn switched_off() -> Result<()> {
    let lab = Lab::new()?;
    let _collector = Collector::start(&lab, "observability", "otel-collector")?;
    let doctor = lab.doctor(&[])?;
    let on = Env::otlp(HOST, Transport::Http);
    let off = on.clone().set("OTEL_SDK_DISABLED", "true");
    let no_traces = on.clone().set("OTEL_TRACES_EXPORTER", "none");
    let cases = [
        ("apps/python-off", Sdk::PythonInstrumented, &off),
        ("apps/node-off", Sdk::Node, &off),
        ("apps/python-without-traces", Sdk::PythonInstrumented, &no_traces),
        ("apps/node-without-traces", Sdk::Node, &no_traces),
    ];
    let mut apps = Vec::new();
    for (name, sdk, env) in cases {
        let pod = lab.pod(name)?;
        let app = App::begin(&pod, sdk, env)?;
        apps.push((pod, app));
    }
    // Go's SDK does not read the variable: what it sends is what counts.
    let go = lab.pod("apps/image-gallery")?;
    let endpoint = |signal| format!("http://{HOST}:4318/v1/{signal}");
    let env = Env::new()
        .set("OTEL_SDK_DISABLED", "true")
        .set("OTEL_METRIC_EXPORT_INTERVAL", "1000")
        .set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &endpoint("traces"))
        .set("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &endpoint("metrics"));
    let _gallery = app::image_gallery(&go, &env, false)?;
    for (_, app) in &mut apps {
        app.ready()?;
        app.work(50, &[])?;
    }
    for (pod, _) in &apps[..2] {
        let exports = doctor.every(pod, "disabled", |export| export.verdict() == "disabled")?;
        for export in exports {
            assert!(export.evidence().contains("OTEL_SDK_DISABLED=true"), "{export}");
            assert!(export.source().contains("OTEL_SDK_DISABLED"), "{export}");
            assert_eq!(export.severity(), "ok", "{export}");
        }
    }
    for (pod, _) in &apps[2..] {
        let export = doctor.verdict(pod, "disabled", |export| export.signal() == "traces")?;
        assert!(
            export.evidence().contains("OTEL_TRACES_EXPORTER=none"),
            "{export}"
        );
        for signal in ["metrics", "logs"] {
            doctor.verdict(pod, "healthy", |export| export.signal() == signal)?;
        }
    }
    for signal in ["traces", "metrics"] {
        doctor.verdict(&go, "healthy", |export| export.signal() == signal)?;
    }
    doctor.quiet(&go)?;
    for (pod, _) in &apps {
        doctor.never("a failure of what is switched off", |export| {
            export.of(pod) && export.is_failure()
        })?;
    }
    doctor.stop()
}
