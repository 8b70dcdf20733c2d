//! Everything goes through one gateway: each hop is a destination of its own.

use anyhow::Result;
use obsflow_tests::app::{self, App, Env};
use obsflow_tests::doctor::Export;
use obsflow_tests::lab::pod::PodSpec;
use obsflow_tests::server::otlp::{Collector, GRPC, HTTP, Sdk, Setup, Transport};
use obsflow_tests::wait::SOON;
use obsflow_tests::{Case, Lab, Proc};

/// Where Faro, Pyroscope and remote write are taken.
const FARO: u16 = 12_347;
const PYROSCOPE: u16 = 4040;
const MIMIR: u16 = 9090;
const LOKI: u16 = 3100;

#[test]
fn a_broken_second_hop_is_the_gateways() -> Result<()> {
    let lab = Lab::new()?;
    let start = |app, setup| Collector::start_as(&lab, "observability", app, setup);
    let mut tempo = start("tempo", Setup::default())?;
    let mut loki = start("loki", Setup::http(&[LOKI]))?;
    let mimir = start("mimir", Setup::http(&[MIMIR]))?;
    let pyroscope = start("pyroscope", Setup::http(&[PYROSCOPE]))?;
    let onwards = [
        format!("traces=http://{}:{GRPC}", tempo.name),
        format!("logs=http://{}:{LOKI}/loki/api/v1/push", loki.name),
        format!("metrics=http://{}:{MIMIR}/api/v1/push", mimir.name),
        format!("profiles=http://{}:{PYROSCOPE}/ingest", pyroscope.name),
    ];
    let setup = onwards
        .into_iter()
        .fold(Setup::default().also_http(&[FARO, PYROSCOPE]), Setup::option);
    let alloy = lab.pod(PodSpec::new("observability/alloy").container("alloy"))?;
    let alloy = Collector::run(&lab, alloy, setup)?;
    let name = "alloy.observability.svc.cluster.local";
    lab.dns().add(name, &alloy.pod.ips())?;

    let mut case = Case::new(
        &lab,
        "apps/checkout",
        Sdk::Rust,
        Transport::Http,
        &format!("http://{name}:{HTTP}"),
    )?;
    let doctor = lab.doctor(&[])?;
    case.start()?;
    let browser = lab.pod("apps/browser")?;
    // Everything else that a gateway takes, twice a second.
    let script = format!(
        "while curl -sf -m 5 -o /dev/null -H 'content-type: application/json' -d '{{}}' http://{name}:{FARO}/collect \
             && curl -sf -m 5 -o /dev/null -d 'x' http://{name}:{PYROSCOPE}/ingest; do sleep 0.5; done"
    );
    let mut command = browser.command("/bin/sh")?;
    command.args(["-c", &script]);
    let _browser = Proc::start(command)?;
    tempo.wait_for(1, SOON, |_| true)?;
    loki.wait_for(1, SOON, |_| true)?;
    pyroscope.wait_for(1, SOON, |_| true)?;

    // Each hop on its own, learned from the wire.
    for destination in ["tempo", "loki", "pyroscope"] {
        doctor.verdict(&alloy.pod, "healthy", |export| {
            export
                .endpoint()
                .contains(&format!("//{destination}.observability"))
        })?;
    }
    doctor.verdict(&case.pod, "healthy", |export| export.rung("accepted") == "ok")?;

    tempo.stop();
    let export = doctor.verdict(&alloy.pod, "refused", |export| {
        export.endpoint().contains("//tempo.observability")
    })?;
    assert_eq!(export.failed_rung(), "connected", "{export}");
    tempo.restart()?;
    loki.answer(Transport::Http, "status=429")?;
    let export = doctor.verdict(&alloy.pod, "rejected", |export| {
        export.endpoint().contains("//loki.observability")
    })?;
    assert_eq!(export.signal(), "logs", "{export}");
    loki.answer(Transport::Http, "ok")?;
    doctor.healed(&alloy.pod)?;
    doctor.quiet(&case.pod)?;
    doctor.quiet(&browser)?;
    doctor.stop()
}

/// Metrics have a hop of their own, by remote write, beside that of the traces.
#[test]
fn a_broken_mimir_is_the_hop_of_the_metrics() -> Result<()> {
    let lab = Lab::new()?;
    let start = |app, setup| Collector::start_as(&lab, "observability", app, setup);
    let tempo = start("tempo", Setup::default())?;
    let mut mimir = start("mimir", Setup::http(&[MIMIR]))?;
    let setup = Setup::default()
        .option(format!("traces=http://{}:{GRPC}", tempo.name))
        .option(format!("metrics=http://{}:{MIMIR}/api/v1/push", mimir.name));
    let alloy = lab.pod(PodSpec::new("observability/alloy").container("alloy"))?;
    let alloy = Collector::run(&lab, alloy, setup)?;
    let name = "alloy.observability.svc.cluster.local";
    lab.dns().add(name, &alloy.pod.ips())?;

    let doctor = lab.doctor(&[])?;
    let pod = lab.pod("apps/checkout")?;
    let signals = ["traces", "metrics"];
    let env = Env::otlp(name, Transport::Http).signals(&signals);
    let mut app = App::start(&pod, app::Sdk::Python, &env)?;
    app.work(100, &signals)?;
    let to = |export: &Export, host: &str| export.endpoint().contains(&format!("//{host}.observability"));
    let hop = |export: &Export| to(export, "mimir") && export.endpoint().contains(":9090");
    doctor.verdict(&alloy.pod, "healthy", |export| {
        hop(export) && export.signal() == "metrics" && export.evidence().contains("/api/v1/push")
    })?;
    doctor.verdict(&alloy.pod, "healthy", |export| {
        to(export, "tempo") && export.signal() == "traces"
    })?;
    for signal in signals {
        doctor.verdict(&pod, "healthy", |export| export.signal() == signal)?;
    }

    // Full, then gone: the hop of the metrics fails, and nothing else does.
    mimir.answer(Transport::Http, "status=503")?;
    let export = doctor.verdict(&alloy.pod, "rejected", hop)?;
    assert_eq!(
        (export.signal(), export.reason(), export.failed_rung()),
        ("metrics", "overloaded", "accepted"),
        "{export}"
    );
    mimir.stop();
    let export = doctor.verdict(&alloy.pod, "refused", hop)?;
    assert_eq!(export.failed_rung(), "connected", "{export}");
    doctor.cause("refused", |cause| {
        cause["exports"]
            .as_array()
            .is_some_and(|exports| exports.len() == 1)
    })?;
    mimir.restart()?;
    doctor.healed(&alloy.pod)?;
    doctor.quiet(&pod)?;
    doctor.never("that the hop of the traces fails", |export| {
        export.of(&alloy.pod) && export.is_failure() && !hop(export)
    })?;
    doctor.stop()
}
