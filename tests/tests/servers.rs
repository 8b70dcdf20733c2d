//! The lab's own servers do what they are ordered to, seen by real exporters: no obsflow here.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use obsflow_tests::lab::pod::PodSpec;
use obsflow_tests::process::run;
use obsflow_tests::server::mesh::{Level, Sidecar};
use obsflow_tests::server::otlp::{self, Collector, Sdk, Setup, Transport};
use obsflow_tests::server::proxy::HttpProxy;
use obsflow_tests::server::tls::{Authority, TlsCollector};
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

#[test]
fn a_receiver_behind_tls_is_for_those_who_know_its_authority() -> Result<()> {
    let lab = Lab::new()?;
    let authority = Authority::new(&lab, "authority")?;
    let front = TlsCollector::start(&lab, "otel-tls", &authority, None)?;
    let strict = TlsCollector::start(&lab, "otel-mtls", &authority, Some(&authority))?;
    let client = authority.issue("checkout")?;
    let pod = lab.pod("apps/checkout")?;
    for transport in [Transport::Http, Transport::Grpc] {
        for (to, knows, shows, becomes) in [
            (&front, false, false, "failed"),
            (&front, true, false, "ok"),
            (&strict, true, false, "failed"),
            (&strict, true, true, "ok"),
        ] {
            let (protocol, port) = match transport {
                Transport::Http => ("http/protobuf", otlp::HTTP),
                Transport::Grpc => ("grpc", otlp::GRPC),
            };
            let mut command = otlp::exporter(&pod, Sdk::Python)?;
            command
                .args(["1", "0"])
                .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
                .env("OTEL_EXPORTER_OTLP_TIMEOUT", "3")
                .env(
                    "OTEL_EXPORTER_OTLP_ENDPOINT",
                    format!("https://{}:{port}", to.collector.name),
                );
            if knows {
                command.env("OTEL_EXPORTER_OTLP_CERTIFICATE", &authority.identity.certificate);
            }
            if shows {
                command
                    .env("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &client.certificate)
                    .env("OTEL_EXPORTER_OTLP_CLIENT_KEY", &client.key);
            }
            says(&Proc::start(command)?, becomes)
                .with_context(|| format!("{transport:?} to {}, {knows} {shows}", to.collector.name))?;
        }
    }
    Ok(())
}

/// What a server of the lab says to bytes that are not meant for it: its first byte, or its end, is waited for; what comes in
/// half a second after that belongs to it. It may hang up after the first line, while the others are on their way.
fn answers(pod: &Pod, to: SocketAddr, bytes: &str) -> Result<String> {
    let script = format!(
        "trap '' PIPE; exec 3<>/dev/tcp/{}/{}; printf '{bytes}' >&3 2>/dev/null; timeout {} head -c 1 <&3; timeout 0.5 cat <&3",
        to.ip(),
        to.port(),
        SOON.as_secs() / 2
    );
    let mut command = pod.command("/bin/bash")?;
    command.args(["-c", &script]);
    let (_, said, _) = run(command)?;
    Ok(said)
}

#[test]
fn servers_answer_those_who_speak_another_protocol() -> Result<()> {
    let lab = Lab::new()?;
    let authority = Authority::new(&lab, "authority")?;
    let collector = Collector::start(&lab, "observability", "otel-collector")?;
    let front = TlsCollector::start(&lab, "otel-tls", &authority, None)?;
    let victoria = Collector::start_as(
        &lab,
        "observability",
        "victoria",
        Setup::http(&[8428]).option("paths=victoria"),
    )?;
    let pod = lab.pod("apps/checkout")?;
    let post = "POST /v1/traces HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 0\\r\\n\\r\\n";
    let preface = "PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n\\0\\0\\0\\4\\0\\0\\0\\0\\0";
    let hello = "\\x16\\x03\\x01\\x00\\x05\\x01\\x00\\x00\\x01\\x03";
    let http2 = "\0\0\u{12}\u{4}";
    for (what, pod_v4, port, to_post, to_preface, to_hello) in [
        (
            "http",
            collector.pod.v4,
            otlp::HTTP,
            "HTTP/1.1 200",
            "HTTP/1.1 400",
            "HTTP/1.1 400",
        ),
        ("grpc", collector.pod.v4, otlp::GRPC, http2, http2, http2),
        (
            "https",
            front.collector.pod.v4,
            otlp::HTTP,
            "HTTP/1.0 400",
            "",
            "\u{15}\u{3}",
        ),
        (
            "grpcs",
            front.collector.pod.v4,
            otlp::GRPC,
            "HTTP/1.0 400",
            "",
            "\u{15}\u{3}",
        ),
        (
            "victoria",
            victoria.pod.v4,
            8428,
            "HTTP/1.1 400",
            "HTTP/1.1 400",
            "HTTP/1.1 400",
        ),
    ] {
        for (bytes, begins) in [(post, to_post), (preface, to_preface), (hello, to_hello)] {
            let said = answers(&pod, SocketAddr::new(pod_v4.into(), port), bytes)?;
            assert!(said.starts_with(begins), "{what} says {said:?} to {bytes}");
            assert_eq!(
                said.is_empty(),
                begins.is_empty(),
                "{what} says {said:?} to {bytes}"
            );
        }
    }
    let to = SocketAddr::new(victoria.pod.v4.into(), 8428);
    for (bytes, path) in [(post, "/v1/traces"), (preface, "*")] {
        let said = answers(&pod, to, bytes)?;
        assert!(
            said.contains(&format!("unsupported path requested: \"{path}\"")),
            "{said:?}"
        );
    }
    Ok(())
}
