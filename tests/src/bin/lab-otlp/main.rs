//! OTLP's two ends for the lab, made of well-kept crates only.
//!
//! `lab-otlp receive RECORD HTTP-ADDRESS GRPC-ADDRESS` receives over HTTP and gRPC and writes a JSON line per request
//! to RECORD; it prints `{"listening":true}` once it does.
//!
//! `lab-otlp export SPANS INTERVAL_MS` exports spans, one per request, configured by `OTEL_*` alone; it prints
//! `{"export":"ok"}` or `{"export":"failed"}` for each, then keeps its connection until standard input closes.

mod export;
mod receive;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["receive", record, http, grpc] => receive::run(
            record,
            http.parse().context("the HTTP address is not one")?,
            grpc.parse().context("the gRPC address is not one")?,
        ),
        ["export", spans, interval] => export::run(
            spans.parse().context("the number of spans is not one")?,
            interval
                .parse()
                .context("the interval is no number of milliseconds")?,
        ),
        _ => bail!("usage: lab-otlp receive RECORD HTTP GRPC | lab-otlp export SPANS INTERVAL_MS"),
    }
}
