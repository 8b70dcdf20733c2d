//! One empty OTLP export: the smallest request that shows what a server makes of a protocol, a path and an encryption.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::USER_AGENT;
use super::budget::Budget;
use super::tls::{NoTls, Tls};
use super::wire::{Stream, Watched, connect};
use crate::model::exchange::{Signal, Spoken, grpc_status};
use crate::model::expectation::Host;
use crate::model::probe::Step;

/// Bytes of an answer that are looked at; nothing of them is kept.
const MAX_BODY: usize = 16 * 1024;
/// Bytes of an answer's head.
const MAX_HEAD: u32 = 16 * 1024;

/// How an export travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Grpc,
    HttpProtobuf,
    HttpJson,
}

impl Protocol {
    pub(super) fn step(self) -> Step {
        match self {
            Self::Grpc => Step::ExportGrpc,
            Self::HttpProtobuf => Step::ExportHttpProtobuf,
            Self::HttpJson => Step::ExportHttpJson,
        }
    }

    /// Its value of `OTEL_EXPORTER_OTLP_PROTOCOL`.
    pub(super) fn value(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::HttpProtobuf => "http/protobuf",
            Self::HttpJson => "http/json",
        }
    }

    /// The one to try beside it.
    pub(super) fn other(self) -> Self {
        match self {
            Self::Grpc => Self::HttpProtobuf,
            Self::HttpProtobuf | Self::HttpJson => Self::Grpc,
        }
    }
}

/// In a sentence.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grpc => "gRPC",
            Self::HttpProtobuf => "HTTP with protobuf",
            Self::HttpJson => "HTTP with JSON",
        })
    }
}

/// How and where to export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) protocol: Protocol,
    pub(super) tls: bool,
    pub(super) port: u16,
    pub(super) path: String,
}

impl Way {
    /// With the path that OpenTelemetry gives the signal.
    pub(super) fn new(protocol: Protocol, tls: bool, port: u16, signal: Signal) -> Self {
        let path = match (protocol, signal) {
            (Protocol::Grpc, Signal::Traces) => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            (Protocol::Grpc, Signal::Metrics) => {
                "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
            }
            (Protocol::Grpc, Signal::Logs) => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            (Protocol::Grpc, Signal::Profiles) => {
                "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export"
            }
            (_, Signal::Traces) => "/v1/traces",
            (_, Signal::Metrics) => "/v1/metrics",
            (_, Signal::Logs) => "/v1/logs",
            (_, Signal::Profiles) => "/v1development/profiles",
        };
        Self {
            protocol,
            tls,
            port,
            path: path.to_owned(),
        }
    }

    /// The URL as it would be configured.
    pub(super) fn url(&self, host: &Host) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let path = if self.protocol == Protocol::Grpc {
            ""
        } else {
            &self.path
        };
        format!("{scheme}://{host}:{}{path}", self.port)
    }
}

/// What a server made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It took it.
    Accepted(String),
    /// It wants to know who asks: reachable, and the protocol is right.
    Credentials(String),
    /// The protocol is right, and it says no; whether for the path.
    Refused { text: String, wrong_path: bool },
    /// It wants TLS.
    WantsTls,
    /// It speaks something else.
    Speaks(Spoken),
    /// There was no TLS handshake.
    NoTls(NoTls),
    /// No answer.
    Nothing(String),
}

impl Answer {
    /// Whether an exporter that has what credentials it needs would succeed.
    pub(super) fn arrives(&self) -> bool {
        matches!(self, Self::Accepted(_) | Self::Credentials(_))
    }

    /// Whether the server speaks this protocol.
    pub(super) fn understood(&self) -> bool {
        self.arrives() || matches!(self, Self::Refused { .. })
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::Accepted(text) => text.clone(),
            Self::Credentials(text) => {
                format!("{text}: reachable; it asks for credentials, which a check never sends")
            }
            Self::Refused { text, .. } | Self::Nothing(text) => text.clone(),
            Self::WantsTls => "the server wants TLS here".to_owned(),
            Self::Speaks(spoken) => match spoken {
                Spoken::Http1 => "the server answers in HTTP/1.1: it does not speak gRPC here".to_owned(),
                Spoken::Http2 => "the server answers in HTTP/2: it speaks gRPC here, not HTTP/1.1".to_owned(),
                Spoken::Tls => "the server answers in TLS: it wants https here".to_owned(),
                Spoken::Nothing | Spoken::Unknown => "the answer is neither HTTP nor TLS".to_owned(),
            },
            Self::NoTls(why) => why.text(),
        }
    }
}

/// Sends one empty export to an address over a connection of its own.
pub(super) async fn export(budget: &Budget, tls: &Tls, host: &Host, to: SocketAddr, way: &Way) -> Answer {
    let stream = match connect(budget, to).await {
        Ok(stream) => stream,
        Err(refused) => return Answer::Nothing(refused.text()),
    };
    if !way.tls {
        return over(budget, stream, host, way).await;
    }
    let alpn: &[&str] = if way.protocol == Protocol::Grpc {
        &["h2"]
    } else {
        &["http/1.1"]
    };
    match tls.handshake(budget, stream, host, alpn).await {
        Ok((_, stream)) => over(budget, stream, host, way).await,
        Err(why) => Answer::NoTls(why),
    }
}

async fn over<S: Stream + 'static>(budget: &Budget, stream: S, host: &Host, way: &Way) -> Answer {
    let (stream, first) = Watched::new(stream);
    let work = async {
        match way.protocol {
            Protocol::Grpc => grpc(stream, host, way).await,
            Protocol::HttpProtobuf | Protocol::HttpJson => http(stream, host, way).await,
        }
    };
    match budget.within(budget.limits.exchange, work).await {
        Ok(Ok(answer)) => answer,
        // The request may well have been cut off because the server speaks something else.
        Ok(Err(error)) => match (first.spoken(), way.protocol) {
            (Spoken::Nothing, _) => Answer::Nothing(format!(
                "the server ends the connection without an answer ({error})"
            )),
            (Spoken::Http2, Protocol::Grpc)
            | (Spoken::Http1, Protocol::HttpProtobuf | Protocol::HttpJson) => {
                Answer::Nothing(format!("the answer breaks off ({error})"))
            }
            (spoken, _) => Answer::Speaks(spoken),
        },
        Err(spent) => match (first.spoken(), way.protocol) {
            (spoken @ (Spoken::Http1 | Spoken::Tls), Protocol::Grpc)
            | (spoken @ (Spoken::Http2 | Spoken::Tls), Protocol::HttpProtobuf | Protocol::HttpJson) => {
                Answer::Speaks(spoken)
            }
            _ => Answer::Nothing(format!("{spent} after the request was sent")),
        },
    }
}

/// What goes wrong on the way, in words.
fn cause(error: &hyper::Error) -> String {
    use std::error::Error as _;
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return super::wire::errno_name(io);
        }
        source = inner.source();
    }
    super::wire::escape(&error.to_string())
}

fn request(uri: &str, kind: &'static str, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
    let uri: Uri = uri
        .parse()
        .map_err(|_| "the path cannot stand in a request".to_owned())?;
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(request)
}

async fn http<S: Stream + 'static>(stream: S, host: &Host, way: &Way) -> Result<Answer, String> {
    // An empty message of protobuf has no bytes.
    let (kind, body) = match way.protocol {
        Protocol::HttpJson => ("application/json", Bytes::from_static(b"{}")),
        _ => ("application/x-protobuf", Bytes::new()),
    };
    // Without it some servers answer 411 (RFC 9110, 8.6).
    let length = HeaderValue::from(body.len());
    let mut request = request(&way.path, kind, body)?;
    request.headers_mut().insert(header::CONTENT_LENGTH, length);
    let authority = HeaderValue::try_from(format!("{host}:{}", way.port))
        .map_err(|_| "the name cannot stand in a request".to_owned())?;
    request.headers_mut().insert(header::HOST, authority);
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_HEAD as usize)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| cause(&error))?;
    tokio::spawn(connection);
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| cause(&error))?;
    let status = response.status();
    let said = said(response).await;
    Ok(judge(status, &said))
}

/// What the beginning of an answer says, of the little that matters; its trailers.
#[derive(Debug, Default)]
struct Said {
    wants_tls: bool,
    wrong_path: bool,
    trailers: Option<HeaderMap>,
}

async fn said(response: Response<Incoming>) -> Said {
    let mut body = response.into_body();
    let (mut bytes, mut said) = (Vec::new(), Said::default());
    while let Some(Ok(frame)) = body.frame().await {
        match frame.into_data() {
            Ok(data) => {
                let room = MAX_BODY.saturating_sub(bytes.len());
                bytes.extend_from_slice(data.get(..room.min(data.len())).unwrap_or(&[]));
                if room <= data.len() {
                    break;
                }
            }
            Err(frame) => said.trailers = frame.into_trailers().ok(),
        }
    }
    let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
    // Go: "Client sent an HTTP request to an HTTPS server."; nginx: "The plain HTTP request was sent to HTTPS port".
    said.wants_tls = ["to an https server", "to https port"]
        .iter()
        .any(|words| text.contains(words));
    // VictoriaMetrics and VictoriaTraces say 400 and this.
    said.wrong_path = text.contains("unsupported path");
    said
}

/// What a status over HTTP means.
fn judge(status: StatusCode, said: &Said) -> Answer {
    let text = format!("HTTP {}", status.as_u16());
    match status.as_u16() {
        200..=299 => Answer::Accepted(text),
        401 | 403 | 407 => Answer::Credentials(text),
        400 if said.wants_tls => Answer::WantsTls,
        404 | 405 => Answer::Refused {
            text: format!("{text}: nobody takes OTLP at this path"),
            wrong_path: true,
        },
        300..=399 => Answer::Refused {
            text: format!("{text}: a redirect, which exporters do not follow"),
            wrong_path: false,
        },
        415 => Answer::Refused {
            text: format!("{text}: the server does not take this encoding"),
            wrong_path: false,
        },
        429 | 502..=504 => Answer::Refused {
            text: format!("{text}: the server, or what is behind it, takes nothing at the moment"),
            wrong_path: false,
        },
        _ if said.wrong_path => Answer::Refused {
            text: format!("{text}: nobody takes OTLP at this path"),
            wrong_path: true,
        },
        _ => Answer::Refused {
            text,
            wrong_path: false,
        },
    }
}

async fn grpc<S: Stream + 'static>(stream: S, host: &Host, way: &Way) -> Result<Answer, String> {
    // An empty message: not compressed, no bytes.
    const EMPTY: &[u8] = &[0; 5];
    let scheme = if way.tls { "https" } else { "http" };
    let uri = format!("{scheme}://{host}:{}{}", way.port, way.path);
    let mut request = request(&uri, "application/grpc", Bytes::from_static(EMPTY))?;
    // The protocol demands it.
    request
        .headers_mut()
        .insert(header::TE, HeaderValue::from_static("trailers"));
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| cause(&error))?;
    tokio::spawn(connection);
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| cause(&error))?;
    let (status, headers) = (response.status(), response.headers().clone());
    let said = said(response).await;
    if status != StatusCode::OK {
        return Ok(match judge(status, &said) {
            credentials @ Answer::Credentials(_) => credentials,
            _ => Answer::Refused {
                text: format!(
                    "HTTP {} over HTTP/2: no gRPC server answers here",
                    status.as_u16()
                ),
                wrong_path: true,
            },
        });
    }
    let number = |headers: &HeaderMap| headers.get("grpc-status")?.to_str().ok()?.parse::<u32>().ok();
    Ok(
        match number(&headers).or_else(|| said.trailers.as_ref().and_then(number)) {
            Some(status) => judge_grpc(status),
            None => Answer::Refused {
                text: "HTTP 200 without grpc-status: no gRPC server answers here".to_owned(),
                wrong_path: true,
            },
        },
    )
}

/// What a `grpc-status` means.
fn judge_grpc(status: u32) -> Answer {
    let text = format!(
        "grpc-status {status} ({})",
        grpc_status(status).unwrap_or("no known code")
    );
    match status {
        0 => Answer::Accepted(text),
        7 | 16 => Answer::Credentials(text),
        12 => Answer::Refused {
            text: format!("{text}: a gRPC server that does not take OTLP of this signal"),
            wrong_path: true,
        },
        _ => Answer::Refused {
            text,
            wrong_path: false,
        },
    }
}
