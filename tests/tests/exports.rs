//! Real exporters at a real Collector.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use obsflow_tests::server::otlp::{self, Collector, Sdk, Transport};
use obsflow_tests::wait::SOON;
use obsflow_tests::{Lab, Obsflow, Pod};
use serde_json::Value;

const HOST: &str = "otel-collector.observability";
const NAME: &str = "otel-collector.observability.svc.cluster.local";

/// Exports a few spans and checks what obsflow shows of it: one connection, its name, bytes both ways, nothing bad.
fn exports(
    lab: &Lab,
    obsflow: &Obsflow<'_>,
    collector: &Collector,
    sdk: Sdk,
    transport: Transport,
    host: &str,
    spans: u32,
) -> Result<()> {
    let pod = lab.pod("apps/checkout")?;
    let exporter = otlp::export(&pod, sdk, transport, host, spans, Duration::from_millis(10))?;
    let mut done = 0;
    exporter.json("that all its exports went well", SOON, |line| {
        done += u32::from(line["export"] == "ok");
        done == spans
    })?;
    let count = usize::try_from(spans)?;
    let arrived = collector.wait_for(count, SOON, |request| request["service"] == pod.name.as_str())?;
    drop(exporter);
    let port = if transport == Transport::Http {
        otlp::HTTP
    } else {
        otlp::GRPC
    };
    let peer: SocketAddr = arrived[0]["peer"].as_str().unwrap_or_default().parse()?;
    let to = SocketAddr::new(
        if peer.is_ipv4() {
            collector.pod.v4.into()
        } else {
            collector.pod.v6.into()
        },
        port,
    );
    let flow = obsflow.established(&pod, to)?;
    if host == HOST {
        assert_eq!(
            flow.at("/destination_names/0").and_then(|name| name.as_str()),
            Some(NAME),
            "{flow}"
        );
    }
    let end = obsflow.closed(&pod, to)?;
    accepted(obsflow, &pod, transport, spans);
    let sent: u64 = arrived
        .iter()
        .filter_map(|request| request["bytes"].as_u64())
        .sum();
    assert!(
        end.ext_number("/bytes_sent") > sent,
        "{sent} bytes of protobuf alone: {end}"
    );
    assert!(end.ext_number("/bytes_received") > 0, "{end}");
    obsflow.quiet(&pod)?;
    one_connection(obsflow, &pod, port);
    Ok(())
}

/// Every export is a request and an accepted exchange, with its signal, path and status.
fn accepted(obsflow: &Obsflow<'_>, pod: &Pod, transport: Transport, spans: u32) {
    let shown = |event: &str| obsflow.all(|flow| flow.event() == event && flow.of_pod(&pod.name));
    let (requests, exchanges) = (shown("request"), shown("exchange"));
    // A hundred exports a second over gRPC are more than a connection may tell; what it does tell is right.
    if spans < 100 || transport == Transport::Http {
        assert_eq!(requests.len(), spans as usize, "{requests:?}");
        assert_eq!(exchanges.len(), spans as usize, "{exchanges:?}");
    }
    assert!(!exchanges.is_empty() && exchanges.len() <= spans as usize);
    let (path, protocol) = match transport {
        Transport::Http => ("/v1/traces", "HTTP/1.1"),
        Transport::Grpc => (
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            "HTTP/2",
        ),
    };
    for flow in requests.iter().chain(&exchanges) {
        assert_eq!(flow.text("/l7/http/method"), "POST", "{flow}");
        assert_eq!(flow.text("/l7/http/protocol"), protocol, "{flow}");
        // What was named while the connection was over its rate is not known.
        if spans < 100 || transport == Transport::Http {
            assert!(flow.text("/l7/http/url").ends_with(path), "{flow}");
            assert_eq!(flow.ext_text("/http/signal"), "traces", "{flow}");
            assert_eq!(flow.ext_text("/http/dialect"), "otlp", "{flow}");
            assert!(!flow.ext_text("/http/user_agent").is_empty(), "{flow}");
        }
    }
    for flow in &exchanges {
        assert_eq!(flow.outcome(), "accepted", "{flow}");
        assert_eq!(
            flow.at("/l7/http/code").and_then(Value::as_u64),
            Some(200),
            "{flow}"
        );
        if spans < 100 {
            let grpc_status = flow.ext("/http/grpc_status").and_then(Value::as_u64);
            assert_eq!(grpc_status, (transport == Transport::Grpc).then_some(0), "{flow}");
        }
        assert_eq!(
            flow.at("/is_reply").and_then(Value::as_bool),
            Some(true),
            "{flow}"
        );
    }
}

fn one_connection(obsflow: &Obsflow<'_>, pod: &Pod, port: u16) {
    for event in ["attempt", "established", "closed"] {
        let shown = obsflow.all(|flow| flow.event() == event && flow.from(pod) && flow.has_port(port));
        assert_eq!(shown.len(), 1, "{event}: {shown:?}");
    }
}

#[test]
fn healthy_exports() -> Result<()> {
    let lab = Lab::new()?;
    let collector = Collector::start(&lab, "observability", "otel-collector")?;
    let obsflow = lab.observe(&[])?;
    for sdk in [Sdk::Rust, Sdk::Python] {
        for transport in [Transport::Http, Transport::Grpc] {
            exports(&lab, &obsflow, &collector, sdk, transport, HOST, 3)?;
        }
    }
    obsflow.stop()
}

#[test]
fn healthy_exports_over_either_family() -> Result<()> {
    let lab = Lab::new()?;
    let collector = Collector::start(&lab, "observability", "otel-collector")?;
    let obsflow = lab.observe(&[])?;
    for ip in collector.pod.ips() {
        for transport in [Transport::Http, Transport::Grpc] {
            exports(
                &lab,
                &obsflow,
                &collector,
                Sdk::Rust,
                transport,
                &ip.to_string(),
                2,
            )?;
        }
    }
    obsflow.stop()
}

#[test]
fn a_connection_that_outlives_many_exports() -> Result<()> {
    let lab = Lab::new()?;
    let collector = Collector::start(&lab, "observability", "otel-collector")?;
    let obsflow = lab.observe(&[])?;
    for transport in [Transport::Http, Transport::Grpc] {
        exports(&lab, &obsflow, &collector, Sdk::Rust, transport, HOST, 200)?;
    }
    obsflow.stop()
}

#[test]
fn exports_to_a_name_that_does_not_exist_and_to_a_collector_that_has_ended() -> Result<()> {
    let lab = Lab::new()?;
    let mut collector = Collector::start(&lab, "observability", "otel-collector")?;
    let obsflow = lab.observe(&[])?;
    collector.stop();
    let mut running = Vec::new();
    for transport in [Transport::Http, Transport::Grpc] {
        for (sdk, host) in [
            (Sdk::Rust, HOST),
            (Sdk::Python, HOST),
            (Sdk::Python, "otel-colector.observability"),
        ] {
            let pod = lab.pod("apps/checkout")?;
            let exporter = otlp::export(&pod, sdk, transport, host, 1, SOON)?;
            running.push((pod, transport, host, exporter));
        }
    }
    for (pod, transport, host, exporter) in &running {
        exporter.json("that its export failed", SOON, |line| line["export"] == "failed")?;
        if *host == HOST {
            let port = if *transport == Transport::Http {
                otlp::HTTP
            } else {
                otlp::GRPC
            };
            let flow = obsflow.wait_for("the refused connect", |flow| {
                flow.is("connect-failed", "refused") && flow.from(pod) && flow.has_port(port)
            })?;
            assert_eq!(
                flow.at("/destination_names/0").and_then(|name| name.as_str()),
                Some(NAME),
                "{flow}"
            );
        } else {
            let flow = obsflow.lookup(pod, host)?;
            assert_eq!(flow.outcome(), "nxdomain", "{flow}");
        }
    }
    obsflow.stop()
}

/// What a server says no with is an exchange that was rejected, at once and not when the connection ends.
#[test]
fn refusals_are_told_with_their_status() -> Result<()> {
    let lab = Lab::new()?;
    let mut collector = Collector::start(&lab, "observability", "otel-collector")?;
    let obsflow = lab.observe(&[])?;
    for (transport, order, field, value) in [
        (Transport::Http, "status=401", "/l7/http/code", 401),
        (
            Transport::Grpc,
            "status=7",
            "/extensions/value/http/grpc_status",
            7,
        ),
    ] {
        collector.answer(transport, order)?;
        let pod = lab.pod("apps/checkout")?;
        let _exporter = otlp::export(&pod, Sdk::Rust, transport, HOST, 1, SOON)?;
        let flow = obsflow.wait_for("the refused export", |flow| {
            flow.is("exchange", "rejected") && flow.of_pod(&pod.name)
        })?;
        assert_eq!(flow.at(field).and_then(Value::as_u64), Some(value), "{flow}");
        assert_eq!(flow.ext_text("/http/signal"), "traces", "{flow}");
    }
    obsflow.stop()
}
