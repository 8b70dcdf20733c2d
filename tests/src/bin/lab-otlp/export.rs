//! The exporter: the SDK's own batch processor and exporters.

use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use opentelemetry::trace::{Tracer, TracerProvider};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::json;

pub(crate) fn run(spans: u32, interval_ms: u64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    // The gRPC channel finds the runtime through this; the HTTP client brings its own.
    let guard = runtime.enter();
    let exporter = match std::env::var("OTEL_EXPORTER_OTLP_PROTOCOL").as_deref() {
        Ok("http/protobuf") => SpanExporter::builder().with_http().build(),
        _ => SpanExporter::builder().with_tonic().build(),
    }
    .context("the exporter refuses its configuration")?;
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
    let tracer = provider.tracer("lab");
    drop(guard);
    for number in 0..spans {
        if number > 0 {
            std::thread::sleep(Duration::from_millis(interval_ms));
        }
        tracer.in_span(format!("span {number}"), |_| {});
        let start = Instant::now();
        let line = match provider.force_flush() {
            Ok(()) => json!({"export": "ok", "ms": ms(start)}),
            Err(error) => json!({"export": "failed", "ms": ms(start), "error": error.to_string()}),
        };
        println!("{line}");
    }
    std::io::stdin().read_to_end(&mut Vec::new())?;
    provider.shutdown()?;
    Ok(())
}

fn ms(start: Instant) -> u128 {
    start.elapsed().as_millis()
}
