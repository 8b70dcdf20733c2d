//! Real exporters at a real Collector.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use obsflow_tests::server::otlp::{self, Collector, Sdk, Transport};
use obsflow_tests::wait::SOON;
use obsflow_tests::{Lab, Obsflow, Pod};

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
