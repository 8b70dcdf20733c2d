//! The receivers.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use serde_json::json;
use tokio::net::TcpListener;
use tonic::{Request, Status};

/// Where requests are written down.
#[derive(Clone)]
struct Record(Arc<Mutex<File>>);

impl Record {
    fn write(&self, transport: &str, signal: &str, peer: Option<SocketAddr>, summary: &Summary) {
        let line = json!({
            "transport": transport,
            "signal": signal,
            "peer": peer.map(|peer| SocketAddr::new(peer.ip().to_canonical(), peer.port()).to_string()),
            "service": summary.service,
            "items": summary.items,
            "bytes": summary.bytes,
        });
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = writeln!(file, "{line}") {
            eprintln!("cannot write the record: {error}");
        }
    }
}

/// What is worth knowing of a request.
struct Summary {
    service: Option<String>,
    items: usize,
    bytes: usize,
}

impl Summary {
    fn new<'a>(message: &impl Message, resource: Option<&'a Resource>, items: usize) -> Self {
        let service = resource
            .into_iter()
            .flat_map(|resource: &'a Resource| &resource.attributes)
            .find(|attribute| attribute.key == "service.name")
            .and_then(|attribute| match attribute.value.as_ref()?.value.as_ref()? {
                Value::StringValue(name) => Some(name.clone()),
                _ => None,
            });
        Self {
            service,
            items,
            bytes: message.encoded_len(),
        }
    }
}

/// One of the three signals: its request, and what is worth knowing of it.
trait Signal: Message + Default {
    const NAME: &'static str;
    type Answer: Message + Default;
    fn summary(&self) -> Summary;
}

impl Signal for ExportTraceServiceRequest {
    const NAME: &'static str = "traces";
    type Answer = ExportTraceServiceResponse;
    fn summary(&self) -> Summary {
        let spans = self
            .resource_spans
            .iter()
            .flat_map(|r| &r.scope_spans)
            .map(|scope| scope.spans.len())
            .sum();
        Summary::new(
            self,
            self.resource_spans.first().and_then(|r| r.resource.as_ref()),
            spans,
        )
    }
}

impl Signal for ExportMetricsServiceRequest {
    const NAME: &'static str = "metrics";
    type Answer = ExportMetricsServiceResponse;
    fn summary(&self) -> Summary {
        let metrics = self
            .resource_metrics
            .iter()
            .flat_map(|r| &r.scope_metrics)
            .map(|s| s.metrics.len())
            .sum();
        Summary::new(
            self,
            self.resource_metrics.first().and_then(|r| r.resource.as_ref()),
            metrics,
        )
    }
}

impl Signal for ExportLogsServiceRequest {
    const NAME: &'static str = "logs";
    type Answer = ExportLogsServiceResponse;
    fn summary(&self) -> Summary {
        let logs = self
            .resource_logs
            .iter()
            .flat_map(|r| &r.scope_logs)
            .map(|scope| scope.log_records.len())
            .sum();
        Summary::new(
            self,
            self.resource_logs.first().and_then(|r| r.resource.as_ref()),
            logs,
        )
    }
}

async fn http<S: Signal>(
    State(record): State<Record>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    body: Bytes,
) -> Response {
    match S::decode(body) {
        Ok(request) => {
            record.write("http", S::NAME, Some(peer), &request.summary());
            (
                [(header::CONTENT_TYPE, "application/x-protobuf")],
                S::Answer::default().encode_to_vec(),
            )
                .into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{uri}: {error}")).into_response(),
    }
}

fn grpc<S: Signal>(record: &Record, request: &Request<S>) -> Result<tonic::Response<S::Answer>, Status> {
    record.write(
        "grpc",
        S::NAME,
        request.remote_addr(),
        &request.get_ref().summary(),
    );
    Ok(tonic::Response::new(S::Answer::default()))
}

#[tonic::async_trait]
impl TraceService for Record {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        grpc(self, &request)
    }
}

#[tonic::async_trait]
impl MetricsService for Record {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, Status> {
        grpc(self, &request)
    }
}

#[tonic::async_trait]
impl LogsService for Record {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, Status> {
        grpc(self, &request)
    }
}

pub(crate) fn run(record: &str, http_addr: SocketAddr, grpc_addr: SocketAddr) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve(record, http_addr, grpc_addr))
}

async fn serve(record: &str, http_addr: SocketAddr, grpc_addr: SocketAddr) -> Result<()> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(record)
        .context("cannot open the record")?;
    let record = Record(Arc::new(Mutex::new(file)));
    let routes = Router::new()
        .route("/v1/traces", post(http::<ExportTraceServiceRequest>))
        .route("/v1/metrics", post(http::<ExportMetricsServiceRequest>))
        .route("/v1/logs", post(http::<ExportLogsServiceRequest>))
        .with_state(record.clone());
    let http = TcpListener::bind(http_addr)
        .await
        .with_context(|| format!("cannot listen on {http_addr}"))?;
    let grpc = tonic::transport::server::TcpIncoming::bind(grpc_addr)
        .with_context(|| format!("cannot listen on {grpc_addr}"))?;
    println!("{}", json!({"listening": true}));
    let http = axum::serve(http, routes.into_make_service_with_connect_info::<SocketAddr>());
    let grpc = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(record.clone()))
        .add_service(MetricsServiceServer::new(record.clone()))
        .add_service(LogsServiceServer::new(record))
        .serve_with_incoming(grpc);
    tokio::select! {
        ended = http.into_future() => ended.context("HTTP"),
        ended = grpc => ended.context("gRPC"),
    }
}
