//! The applications that scenarios are made with: each exports every signal over either transport, told by `OTEL_*`.

use anyhow::{Context as _, Result};
use obsflow_tests::app::{self, App, Env, Sdk};
use obsflow_tests::server::otlp::{Collector, Transport};
use obsflow_tests::wait::SOON;
use obsflow_tests::{Lab, PodSpec};
use serde_json::Value;

const HOST: &str = "otel-collector.observability";
const SIGNALS: [&str; 3] = ["traces", "metrics", "logs"];

fn is(request: &Value, service: &str, transport: Transport, signal: &str) -> bool {
    let transport = if transport == Transport::Http {
        "http"
    } else {
        "grpc"
    };
    request["service"] == service && request["transport"] == transport && request["signal"] == signal
}

#[test]
fn every_sdk_exports_every_signal() -> Result<()> {
    let lab = Lab::new()?;
    let collector = Collector::start(&lab, "observability", "otel-collector")?;
    let mut apps = Vec::new();
    for sdk in Sdk::ALL {
        for transport in [Transport::Http, Transport::Grpc] {
            let pod = lab.pod("apps/checkout")?;
            let app = App::begin(&pod, sdk, &Env::otlp(HOST, transport))?;
            apps.push((pod, sdk, transport, app));
        }
    }
    for (_, _, _, app) in &mut apps {
        app.ready()?;
        app.work(50, &[])?;
    }
    for (pod, sdk, transport, app) in &apps {
        for signal in SIGNALS {
            let arrived = collector.wait_for(2, SOON, |request| is(request, &pod.name, *transport, signal));
            arrived.with_context(|| {
                let said = app.process().err().all().join(" | ");
                format!("{sdk:?} {transport:?} {signal}; it says {said}")
            })?;
        }
    }
    for (_, sdk, _, app) in &apps {
        if *sdk == Sdk::Python {
            for signal in SIGNALS {
                app.exported(signal, "ok")?;
            }
        }
    }
    Ok(())
}

#[test]
fn services_export_what_they_serve() -> Result<()> {
    let lab = Lab::new()?;
    let collector = Collector::start(&lab, "observability", "otel-collector")?;
    let user = lab.pod(PodSpec::new("users/browser").node(1))?;
    let pods = lab.pods(vec!["apps/shop".into(), "apps/image-gallery".into()])?;
    let _flask = app::flask(
        &pods[0],
        app::Injection::Command,
        &Env::otlp(HOST, Transport::Http),
    )?;
    let endpoint = |signal| format!("http://{HOST}:4318/v1/{signal}");
    let env = Env::new()
        .set("OTEL_METRIC_EXPORT_INTERVAL", "500")
        .set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &endpoint("traces"))
        .set("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &endpoint("metrics"));
    let _go = app::image_gallery(&pods[1], &env, false)?;
    let _visitors = [
        app::visitor(&user, &pods[0], 20)?,
        app::visitor(&user, &pods[1], 20)?,
    ];
    // From both of its workers.
    collector.wait_for(4, SOON, |request| {
        is(request, &pods[0].name, Transport::Http, "traces")
    })?;
    for signal in ["traces", "metrics"] {
        collector.wait_for(2, SOON, |request| {
            request["service"].is_null()
                && request["signal"] == signal
                && request["peer"]
                    .as_str()
                    .is_some_and(|peer| peer.starts_with(&pods[1].v4.to_string()))
        })?;
    }
    Ok(())
}
