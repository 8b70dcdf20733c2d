//! The way on from a gateway: what it received goes to other destinations, each with a queue of its own, so that one
//! that is down stops no other; the sender has its answer long before.

use std::any::Any;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::body::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message;
use serde_json::json;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tonic::transport::{Channel, Endpoint};

use crate::signal::Signal;

/// Requests that wait in a queue; what comes on top is dropped, as gateways do.
const QUEUE: usize = 100;
/// Before a request is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// For one request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// As whom it sends.
const USER_AGENT: &str = "lab-gateway/1.0";

/// Queues by what goes into them; those that are not there take nothing.
#[derive(Clone, Default)]
pub(crate) struct Forward {
    traces: Option<Sender<ExportTraceServiceRequest>>,
    metrics: Option<Sender<Bytes>>,
    logs: Option<Sender<Bytes>>,
    profiles: Option<Sender<Bytes>>,
}

impl Forward {
    /// Adds a destination: a Tempo by gRPC for traces, URLs of a remote write receiver for metrics, of Loki for logs, of
    /// Pyroscope for profiles.
    pub(crate) fn add(&mut self, signal: &str, url: &str) -> Result<()> {
        let target = url.to_owned();
        match signal {
            "traces" => {
                let channel = Endpoint::from_shared(target)?
                    .user_agent(USER_AGENT)?
                    .timeout(TIMEOUT)
                    .connect_lazy();
                self.traces = Some(queue(move |queue| tempo(channel, queue)));
            }
            "metrics" => self.metrics = Some(queue(|queue| posts(target, "application/x-protobuf", queue))),
            "logs" => self.logs = Some(queue(|queue| posts(target, "application/json", queue))),
            "profiles" => {
                self.profiles = Some(queue(|queue| posts(target, "application/octet-stream", queue)));
            }
            other => bail!("nothing goes on as {other}"),
        }
        Ok(())
    }

    /// An OTLP request goes on in the protocol of its backend.
    pub(crate) fn otlp<S: Signal>(&self, request: &S) {
        let request: &dyn Any = request;
        if let Some(traces) = request.downcast_ref::<ExportTraceServiceRequest>() {
            put(self.traces.as_ref(), traces.clone());
        } else if request.is::<ExportMetricsServiceRequest>() {
            put(self.metrics.as_ref(), remote_write());
        } else if request.is::<ExportLogsServiceRequest>() {
            put(self.logs.as_ref(), push("otlp"));
        }
    }

    /// So does another one: a browser's (Faro) becomes a log, a profile stays what it is.
    pub(crate) fn other(&self, dialect: &str, body: Bytes) {
        match dialect {
            "remote-write" => put(self.metrics.as_ref(), body),
            "loki" => put(self.logs.as_ref(), body),
            "faro" => put(self.logs.as_ref(), push("faro")),
            "pyroscope" => put(self.profiles.as_ref(), body),
            _ => {}
        }
    }
}

fn queue<T: Send + 'static, F>(run: impl FnOnce(Receiver<T>) -> F) -> Sender<T>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = channel(QUEUE);
    tokio::spawn(run(receiver));
    sender
}

fn put<T>(queue: Option<&Sender<T>>, item: T) {
    if let Some(queue) = queue
        && queue.try_send(item).is_err()
    {
        eprintln!("a queue is full");
    }
}

async fn tempo(channel: Channel, mut queue: Receiver<ExportTraceServiceRequest>) {
    let mut client = TraceServiceClient::new(channel);
    while let Some(request) = queue.recv().await {
        while let Err(error) = client.export(request.clone()).await {
            eprintln!("traces: {error}");
            tokio::time::sleep(AGAIN).await;
        }
    }
}

async fn posts(url: String, content_type: &'static str, mut queue: Receiver<Bytes>) {
    let client = match reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .timeout(TIMEOUT)
        .build()
    {
        Ok(client) => client,
        Err(error) => return eprintln!("{url}: {error}"),
    };
    while let Some(body) = queue.recv().await {
        while let Err(error) = post(&client, &url, content_type, body.clone()).await {
            eprintln!("{url}: {error:#}");
            tokio::time::sleep(AGAIN).await;
        }
    }
}

async fn post(client: &reqwest::Client, url: &str, content_type: &str, body: Bytes) -> Result<()> {
    client
        .post(url)
        .header("content-type", content_type)
        .body(body)
        .send()
        .await
        .context("cannot send")?
        .error_for_status()?;
    Ok(())
}

/// A push of one line, as Loki takes it.
fn push(kind: &str) -> Bytes {
    let line = json!({"streams": [{"stream": {"job": kind}, "values": [["1700000000000000000", "a line"]]}]});
    line.to_string().into()
}

/// `prometheus.WriteRequest` and what is in it, as far as it is sent here (prompb/remote.proto, types.proto).
#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// A write request with one sample, in Snappy's block format with one literal: its length, tag 60 << 2 (one byte of
/// length - 1 follows), the bytes.
fn remote_write() -> Bytes {
    let request = WriteRequest {
        timeseries: vec![TimeSeries {
            labels: vec![Label {
                name: "__name__".to_owned(),
                value: "lab_requests_total".to_owned(),
            }],
            samples: vec![Sample {
                value: 1.0,
                timestamp: 1_700_000_000_000,
            }],
        }],
    };
    let raw = request.encode_to_vec();
    let length = u8::try_from(raw.len()).unwrap_or(1).max(1);
    let mut block = vec![length, 60 << 2, length - 1];
    block.extend(&raw);
    block.into()
}
