//! The receivers.

use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
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
use prost::Message;
use serde_json::json;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request, Status};

use crate::answer::{Answer, Orders, Via};
use crate::forward::Forward;
use crate::http1::{Http1, Peer};
use crate::signal::{Signal, Summary};

/// Whose paths are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paths {
    /// OTLP's, and those of the backends around it.
    All,
    /// VictoriaMetrics', VictoriaLogs' and VictoriaTraces' own; others are `400 unsupported path requested`.
    Victoria,
}

impl Paths {
    /// What it says to HTTP/2.
    fn refusal(self) -> &'static str {
        match self {
            Self::All => "400 Bad Request",
            Self::Victoria => "unsupported path requested: \"*\"\n",
        }
    }
}

/// What `receive` is told.
pub(crate) struct Config {
    pub(crate) record: String,
    pub(crate) http: Vec<SocketAddr>,
    pub(crate) grpc: Option<SocketAddr>,
    pub(crate) paths: Paths,
    pub(crate) orders: Orders,
    pub(crate) forward: Forward,
}

/// A receiver: where requests are written down, what is answered, and who gets them next.
#[derive(Clone)]
struct Receiver {
    record: Arc<Mutex<File>>,
    orders: Orders,
    forward: Forward,
}

impl Receiver {
    fn write(&self, transport: &str, signal: &str, peer: Option<SocketAddr>, summary: &Summary) {
        let line = json!({
            "transport": transport,
            "signal": signal,
            "peer": peer.map(|peer| SocketAddr::new(peer.ip().to_canonical(), peer.port()).to_string()),
            "service": summary.service,
            "items": summary.items,
            "bytes": summary.bytes,
        });
        let mut file = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = writeln!(file, "{line}") {
            eprintln!("cannot write the record: {error}");
        }
    }

    async fn grpc<S: Signal>(&self, request: Request<S>) -> Result<tonic::Response<S::Answer>, Status> {
        let answer = match self.orders.next(Via::Grpc) {
            Answer::Accept => S::Answer::default(),
            Answer::Partial => S::partial(),
            Answer::Never => std::future::pending().await,
            // Status 0 would be no error: the SDK is told what it cannot know.
            Answer::Status { code, .. } => return Err(Status::new(Code::from(i32::from(code)), "on order")),
        };
        let summary = request.get_ref().summary();
        self.write("grpc", S::NAME, request.remote_addr(), &summary);
        self.forward.otlp(&request.into_inner());
        Ok(tonic::Response::new(answer))
    }
}

/// Over HTTP, what was ordered instead of an answer of the receiver's own.
async fn ordered(receiver: &Receiver) -> Result<Answer, Response> {
    match receiver.orders.next(Via::Http) {
        Answer::Never => std::future::pending().await,
        Answer::Status { code, retry_after } => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut answer = (status, "on order\n").into_response();
            if let Some(seconds) = retry_after {
                answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            }
            Err(answer)
        }
        answer => Ok(answer),
    }
}

async fn otlp<S: Signal>(
    State(receiver): State<Receiver>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let answer = match ordered(&receiver).await {
        Ok(Answer::Partial) => S::partial(),
        Ok(_) => S::Answer::default(),
        Err(answer) => return answer,
    };
    let taken = if said(&headers, header::CONTENT_TYPE) == "application/json" {
        taken_json::<S>(&receiver, peer, &headers, &body)
    } else {
        taken::<S>(&receiver, peer, &headers, body, &answer)
    };
    taken.unwrap_or_else(|error| (StatusCode::BAD_REQUEST, format!("{uri}: {error:#}")).into_response())
}

fn taken<S: Signal>(
    receiver: &Receiver,
    peer: SocketAddr,
    headers: &HeaderMap,
    body: Bytes,
    answer: &S::Answer,
) -> Result<Response> {
    let request = S::decode(&*unpacked(headers, &body)?)?;
    receiver.write("http", S::NAME, Some(peer), &request.summary());
    receiver.forward.otlp(&request);
    packed(headers, "application/x-protobuf", &answer.encode_to_vec())
}

/// OTLP/JSON, answered as a Collector does.
fn taken_json<S: Signal>(
    receiver: &Receiver,
    peer: SocketAddr,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response> {
    let text = unpacked(headers, body)?;
    let request: serde_json::Value = serde_json::from_slice(&text)?;
    let resource = request
        .as_object()
        .and_then(|resources| resources.values().next()?.get(0))
        .context("an export without a resource")?;
    let attributes = resource["resource"]["attributes"].as_array();
    let name = attributes
        .into_iter()
        .flatten()
        .find(|attribute| attribute["key"] == "service.name")
        .and_then(|attribute| attribute["value"]["stringValue"].as_str());
    let summary = Summary {
        service: name.map(str::to_owned),
        items: 1,
        bytes: text.len(),
    };
    receiver.write("http", S::NAME, Some(peer), &summary);
    packed(headers, "application/json", br#"{"partialSuccess":{}}"#)
}

fn said(headers: &HeaderMap, name: HeaderName) -> &str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// A body without its encoding.
fn unpacked(headers: &HeaderMap, body: &Bytes) -> Result<Vec<u8>> {
    match said(headers, header::CONTENT_ENCODING) {
        "" | "identity" => Ok(body.to_vec()),
        "gzip" => {
            let mut bytes = Vec::new();
            GzDecoder::new(&**body).read_to_end(&mut bytes)?;
            Ok(bytes)
        }
        other => bail!("what is the encoding {other}?"),
    }
}

/// An answer in the encoding of its request, as proxies in front of receivers make it.
fn packed(headers: &HeaderMap, media: &'static str, body: &[u8]) -> Result<Response> {
    if said(headers, header::CONTENT_ENCODING) != "gzip" {
        return Ok(([(header::CONTENT_TYPE, media)], body.to_vec()).into_response());
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body)?;
    let headers = [(header::CONTENT_TYPE, media), (header::CONTENT_ENCODING, "gzip")];
    Ok((headers, encoder.finish()?).into_response())
}

/// grpc-go answers in the encoding of the request, whatever else the client would take.
fn as_asked(mut request: Request<()>) -> Result<Request<()>, Status> {
    if request
        .metadata()
        .get("grpc-encoding")
        .is_none_or(|encoding| encoding != "gzip")
    {
        request.metadata_mut().remove("grpc-accept-encoding");
    }
    Ok(request)
}

/// A service that reads and writes gzip.
macro_rules! zipped {
    ($service:expr) => {
        $service
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip)
    };
}

/// Other ingest protocols: their path and what they answer to a request that they take.
const OTHERS: &[(&str, &str, StatusCode)] = &[
    ("remote-write", "/api/v1/write", StatusCode::NO_CONTENT),
    ("remote-write", "/api/v1/push", StatusCode::OK),
    ("loki", "/loki/api/v1/push", StatusCode::NO_CONTENT),
    ("zipkin", "/api/v2/spans", StatusCode::ACCEPTED),
    ("jaeger", "/api/traces", StatusCode::ACCEPTED),
    ("faro", "/collect", StatusCode::ACCEPTED),
    ("pyroscope", "/ingest", StatusCode::OK),
    ("splunk", "/services/collector/event", StatusCode::OK),
];

async fn other(
    State(receiver): State<Receiver>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    uri: Uri,
    body: Bytes,
) -> Response {
    if let Err(answer) = ordered(&receiver).await {
        return answer;
    }
    let Some((name, _, status)) = OTHERS.iter().find(|(_, path, _)| *path == uri.path()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let summary = Summary {
        service: None,
        items: 1,
        bytes: body.len(),
    };
    receiver.write("http", name, Some(peer), &summary);
    receiver.forward.other(name, body);
    status.into_response()
}

/// As VictoriaMetrics and its siblings answer whatever is not theirs.
async fn unsupported(uri: Uri) -> Response {
    let text = format!("unsupported path requested: {:?}\n", uri.path());
    (StatusCode::BAD_REQUEST, text).into_response()
}

fn routes(paths: Paths) -> Router<Receiver> {
    let routes = Router::new();
    match paths {
        Paths::All => {
            let routes = routes
                .route("/v1/traces", post(otlp::<ExportTraceServiceRequest>))
                .route("/v1/metrics", post(otlp::<ExportMetricsServiceRequest>))
                .route("/v1/logs", post(otlp::<ExportLogsServiceRequest>));
            OTHERS
                .iter()
                .fold(routes, |routes, (_, path, _)| routes.route(path, post(other)))
        }
        Paths::Victoria => routes
            .route(
                "/insert/opentelemetry/v1/traces",
                post(otlp::<ExportTraceServiceRequest>),
            )
            .route(
                "/opentelemetry/v1/metrics",
                post(otlp::<ExportMetricsServiceRequest>),
            )
            .route(
                "/insert/opentelemetry/v1/logs",
                post(otlp::<ExportLogsServiceRequest>),
            )
            .fallback(unsupported),
    }
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        self.grpc(request).await
    }
}

#[tonic::async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, Status> {
        self.grpc(request).await
    }
}

#[tonic::async_trait]
impl LogsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, Status> {
        self.grpc(request).await
    }
}

/// Serves until killed, or until a receiver fails.
pub(crate) async fn serve(config: Config) -> Result<()> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(&config.record)
        .context("cannot open the record")?;
    let receiver = Receiver {
        record: Arc::new(Mutex::new(file)),
        orders: config.orders.clone(),
        forward: config.forward,
    };
    let routes = routes(config.paths).with_state(receiver.clone());
    let mut servers = tokio::task::JoinSet::new();
    for address in config.http {
        let listener = Http1::bind(address, config.paths.refusal()).await?;
        let service = routes.clone().into_make_service_with_connect_info::<Peer>();
        servers.spawn(async move { axum::serve(listener, service).await.context("HTTP") });
    }
    if let Some(address) = config.grpc {
        let incoming = tonic::transport::server::TcpIncoming::bind(address)
            .with_context(|| format!("cannot listen on {address}"))?;
        let server = tonic::transport::Server::builder()
            .layer(tonic::service::InterceptorLayer::new(as_asked))
            .add_service(zipped!(TraceServiceServer::new(receiver.clone())))
            .add_service(zipped!(MetricsServiceServer::new(receiver.clone())))
            .add_service(zipped!(LogsServiceServer::new(receiver)))
            .serve_with_incoming(incoming);
        servers.spawn(async move { server.await.context("gRPC") });
    }
    config.orders.obey();
    println!("{}", json!({"listening": true}));
    match servers.join_next().await {
        Some(ended) => ended?,
        None => Ok(()),
    }
}
