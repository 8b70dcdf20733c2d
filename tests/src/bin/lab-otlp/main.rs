//! OTLP's two ends for the lab, made of well-kept crates only.
//!
//! `lab-otlp receive RECORD HTTP GRPC [OPTION…]` receives over HTTP and gRPC and writes a JSON line per request that it
//! takes to RECORD; it prints `{"listening":true}` once it does. HTTP is an address or several with commas between, GRPC
//! an address or `-`. Besides OTLP it takes remote write, Loki, Zipkin, Jaeger, Faro, Pyroscope and Splunk HEC.
//!
//! - `paths=victoria`: only the paths of VictoriaMetrics, VictoriaLogs and VictoriaTraces; others are answered 400
//! - `http=ORDER`, `grpc=ORDER`: what it answers, see below; also on standard input, one a line, while it runs
//! - `traces=URL`, `metrics=URL`, `logs=URL`, `profiles=URL`: what it takes goes on to a Tempo (gRPC), a remote write
//!   receiver, a Loki, a Pyroscope: it is a gateway
//!
//! An ORDER is `ok`, `status=N` (of HTTP, or of gRPC in a trailers-only answer), `partial` or `never` (no answer on a
//! connection that stays), with `,retry-after=SECONDS` and `,times=N` (then `ok`) behind it.
//!
//! `lab-otlp export SPANS INTERVAL_MS` exports spans, one per request, configured by `OTEL_*` alone; it prints
//! `{"export":"ok"}` or `{"export":"failed"}` for each, then keeps its connection until standard input closes.

mod answer;
mod export;
mod forward;
mod http1;
mod receive;
mod signal;

use anyhow::{Context, Result, bail};

use crate::answer::Orders;
use crate::forward::Forward;
use crate::receive::{Config, Paths};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["receive", record, http, grpc, options @ ..] => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(receive(record, http, grpc, options)),
        ["export", spans, interval] => export::run(
            spans.parse().context("the number of spans is not one")?,
            interval
                .parse()
                .context("the interval is no number of milliseconds")?,
        ),
        _ => bail!("usage: lab-otlp receive RECORD HTTP GRPC [OPTION…] | lab-otlp export SPANS INTERVAL_MS"),
    }
}

async fn receive(record: &str, http: &str, grpc: &str, options: &[&str]) -> Result<()> {
    let (mut paths, orders, mut forward) = (Paths::All, Orders::default(), Forward::default());
    for option in options {
        match option.split_once('=').context("an option is name=value")? {
            ("paths", "victoria") => paths = Paths::Victoria,
            ("http" | "grpc", _) => orders.set(option)?,
            (signal, url) => forward.add(signal, url)?,
        }
    }
    let grpc = match grpc {
        "-" => None,
        address => Some(address.parse().context("the gRPC address is not one")?),
    };
    let http = http
        .split(',')
        .map(|address| address.parse().context("an HTTP address is not one"))
        .collect::<Result<_>>()?;
    receive::serve(Config {
        record: record.to_owned(),
        http,
        grpc,
        paths,
        orders,
        forward,
    })
    .await
}
