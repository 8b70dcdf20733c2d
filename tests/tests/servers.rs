//! The lab's own servers do what they are ordered to, seen by real exporters: no obsflow here.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use obsflow_tests::lab::pod::PodSpec;
use obsflow_tests::server::mesh::{Level, Sidecar};
use obsflow_tests::server::otlp::{self, Collector, Sdk, Setup, Transport};
use obsflow_tests::server::proxy::HttpProxy;
use obsflow_tests::wait::SOON;
use obsflow_tests::{Lab, Pod, Proc, scenario};

const HOST: &str = "otel-collector.observability";

fn export(pod: &Pod, sdk: Sdk, transport: Transport) -> Result<Proc> {
    otlp::export(pod, sdk, transport, HOST, 1, Duration::ZERO)
}

fn says(exporter: &Proc, what: &str) -> Result<()> {
    exporter
        .json(&format!("that its export is {what}"), SOON, |line| {
            line["export"] == what
        })
        .map(drop)
}

#[test]
fn a_receiver_answers_as_ordered() -> Result<()> {
    let lab = Lab::new()?;
    let mut collector = Collector::start(&lab, "observability", "otel-collector")?;
    let pod = lab.pod("apps/checkout")?;
    for order in ["status=401", "status=503,retry-after=1"] {
        collector.answer(Transport::Http, order)?;
        says(&export(&pod, Sdk::Rust, Transport::Http)?, "failed")?;
    }
    collector.answer(Transport::Grpc, "status=7")?;
    says(&export(&pod, Sdk::Rust, Transport::Grpc)?, "failed")?;
    assert_eq!(collector.received()?.len(), 0, "nothing was taken");
    // Partial success is success to the exporter.
    for transport in [Transport::Http, Transport::Grpc] {
        collector.answer(transport, "partial")?;
        says(&export(&pod, Sdk::Rust, transport)?, "ok")?;
    }
    collector.answer(Transport::Http, "status=503,times=1")?;
    says(&export(&pod, Sdk::Python, Transport::Http)?, "ok")?;
    collector.wait_for(3, SOON, |_| true)?;
    Ok(())
}

#[test]
fn a_sidecar_connects_upstream_itself() -> Result<()> {
    let lab = Lab::new()?;
    let mut collector = Collector::start(&lab, "observability", "otel-collector")?;
    let pod = lab.pod("apps/checkout")?;
    let mut sidecar = Sidecar::inject(&lab, &pod, &[otlp::GRPC, otlp::HTTP], Level::Tcp)?;
    let upstream = SocketAddr::new(collector.pod.v4.into(), otlp::HTTP);
    let before = scenario::connect(&pod, upstream, 1000)?;
    assert_eq!(before["result"], "failed", "the proxy does not run yet: {before}");
    sidecar.start()?;
    // Only over IPv4: so a name without an IPv6 address.
    let host = "collector-v4.observability.svc.cluster.local";
    lab.dns().add(host, &[collector.pod.v4.into()])?;
    let export = |sdk, transport| otlp::export(&pod, sdk, transport, host, 1, Duration::ZERO);
    for transport in [Transport::Http, Transport::Grpc] {
        says(&export(Sdk::Python, transport)?, "ok")?;
    }
    collector.stop();
    let through = scenario::connect(&pod, upstream, 1000)?;
    assert_eq!(through["result"], "established", "by the sidecar: {through}");
    says(&export(Sdk::Rust, Transport::Http)?, "failed")
}

#[test]
fn a_proxy_takes_the_absolute_form_and_connect() -> Result<()> {
    let lab = Lab::new()?;
    let collector = Collector::start(&lab, "observability", "otel-collector")?;
    let proxy = HttpProxy::start(&lab)?;
    let pod = lab.pod("apps/checkout")?;
    for (protocol, port, seen) in [
        ("http/protobuf", otlp::HTTP, "POST http://otel"),
        ("grpc", otlp::GRPC, "CONNECT otel"),
    ] {
        let mut command = otlp::exporter(&pod, Sdk::Python)?;
        command
            .args(["1", "0"])
            .env("http_proxy", proxy.url())
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .env(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                format!("http://{}:{port}", collector.name),
            );
        says(&Proc::start(command)?, "ok")?;
        proxy.wait_for(seen)?;
    }
    Ok(())
}

#[test]
fn a_gateway_sends_on_what_it_takes() -> Result<()> {
    let lab = Lab::new()?;
    let tempo = Collector::start(&lab, "observability", "tempo")?;
    let loki = Collector::start_as(&lab, "observability", "loki", Setup::http(&[3100]))?;
    let gateway = lab.pod(PodSpec::new("observability/alloy").container("alloy"))?;
    let gateway = Collector::run(
        &lab,
        gateway,
        Setup::default()
            .also_http(&[12_347])
            .option(format!("traces=http://{}:4317", tempo.name))
            .option(format!("logs=http://{}:3100/loki/api/v1/push", loki.name)),
    )?;
    let pod = lab.pod("apps/checkout")?;
    let exporter = otlp::export(&pod, Sdk::Rust, Transport::Http, &gateway.name, 1, Duration::ZERO)?;
    says(&exporter, "ok")?;
    let arrived = tempo.wait_for(1, SOON, |request| request["service"] == pod.name.as_str())?;
    assert_eq!(arrived[0]["transport"], "grpc");
    let mut curl = pod.command("/usr/bin/curl")?;
    curl.args([
        "-sf",
        "-d",
        "{}",
        &format!("http://{}:12347/collect", gateway.name),
    ]);
    assert!(Proc::start(curl)?.wait(SOON)?.success());
    loki.wait_for(1, SOON, |request| request["signal"] == "loki")?;
    Ok(())
}
