//! What was said on a telemetry connection, as far as its first bytes and frames tell. No bodies, no credentials.

use std::sync::Arc;
use std::time::Duration;

use super::event::Direction;
use super::time::Mono;

/// The protocol of one direction of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Spoken {
    /// No byte was seen yet.
    #[default]
    Nothing,
    /// HTTP/1.0 or 1.1: a request or status line.
    Http1,
    /// HTTP/2: the client's preface, or a SETTINGS frame.
    Http2,
    /// TLS: a record of a handshake or an alert.
    Tls,
    /// Something else, or the beginning was not captured.
    Unknown,
}

/// What kind of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
    /// Logs.
    Logs,
    /// Profiles.
    Profiles,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Self; 4] = [Self::Traces, Self::Metrics, Self::Logs, Self::Profiles];

    /// Its name as OpenTelemetry writes it in paths and variables, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Profiles => "profiles",
        }
    }
}

/// Whose ingest protocol a path belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// OTLP over HTTP or gRPC, at whatever path a product serves it.
    Otlp,
    /// Prometheus remote write.
    RemoteWrite,
    /// Loki push.
    Loki,
    /// Zipkin spans.
    Zipkin,
    /// Jaeger spans (Thrift over HTTP, or its gRPC collector).
    Jaeger,
    /// Grafana Faro.
    Faro,
    /// Pyroscope ingest and push.
    Pyroscope,
    /// Splunk HTTP Event Collector and SignalFx.
    Splunk,
    /// VictoriaMetrics', VictoriaLogs' and VictoriaTraces' own import paths.
    Victoria,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 9] = [
        Self::Otlp,
        Self::RemoteWrite,
        Self::Loki,
        Self::Zipkin,
        Self::Jaeger,
        Self::Faro,
        Self::Pyroscope,
        Self::Splunk,
        Self::Victoria,
    ];

    /// Its name in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Otlp => "otlp",
            Self::RemoteWrite => "remote-write",
            Self::Loki => "loki",
            Self::Zipkin => "zipkin",
            Self::Jaeger => "jaeger",
            Self::Faro => "faro",
            Self::Pyroscope => "pyroscope",
            Self::Splunk => "splunk",
            Self::Victoria => "victoria",
        }
    }
}

/// A request path that telemetry is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ingest {
    /// Whose protocol.
    pub dialect: Dialect,
    /// Which signal, where the path tells.
    pub signal: Option<Signal>,
}

/// How a request names its target (RFC 9112, 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetForm {
    /// A path: to the server itself.
    Origin,
    /// A whole URL: to a proxy.
    Absolute,
    /// `CONNECT host:port`: to a proxy.
    Authority,
}

/// A request whose head was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// When.
    pub at: Mono,
    /// HTTP/1 or HTTP/2.
    pub wire: Spoken,
    /// HTTP/2 stream, 0 in HTTP/1.
    pub stream: u32,
    /// `None` when it could not be read: header compression of a connection joined late.
    pub method: Option<Arc<str>>,
    /// How the target is written.
    pub form: TargetForm,
    /// `Host` or `:authority`, without user information.
    pub authority: Option<Arc<str>>,
    /// Without query and fragment; `None` when it could not be read.
    pub path: Option<Arc<str>>,
    /// What the path is for; `None` when it is no telemetry that obsflow knows, or could not be read.
    pub ingest: Option<Ingest>,
    /// `User-Agent`, cut to 128 bytes.
    pub user_agent: Option<Arc<str>>,
    /// `Content-Length`, in bytes.
    pub content_length: Option<u64>,
    /// `Content-Type` begins with `application/grpc`.
    pub grpc: bool,
}

/// Why a server said no, where the beginning of its answer names it. Never text of the body itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// "unsupported path" and the like, with whatever status.
    WrongPath,
    /// "client sent an HTTP request to an HTTPS server".
    WantsTls,
}

/// How the message of an answer is written, as its headers tell: how long an empty one can be depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Form {
    /// Protobuf as it is: over gRPC, or because the media type says so.
    #[default]
    Protobuf,
    /// JSON as it is.
    Json,
    /// Protobuf with an encoding (`grpc-encoding`, `Content-Encoding`), or perhaps: not all headers could be read.
    PackedProtobuf,
    /// JSON with an encoding, or what may be anything: not all headers could be read.
    PackedJson,
    /// Another media type, or none: no answer of OTLP.
    Other,
}

impl Form {
    /// The longest message, in bytes, that need not say anything. Protobuf's has an empty field at most. JSON's is
    /// `{"partialSuccess":{}}` and white space; the shortest that names anything takes 38. gzip adds 18 bytes of its own
    /// and 5 or so for each block.
    fn empty(self) -> Option<u64> {
        match self {
            Self::Protobuf => Some(2),
            Self::Json => Some(32),
            Self::PackedProtobuf => Some(40),
            Self::PackedJson => Some(64),
            Self::Other => None,
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An HTTP status.
    Http {
        /// The status code.
        status: u16,
        /// What the beginning of the answer says of it.
        refusal: Option<Refusal>,
        /// `Retry-After` was there.
        retry_after: bool,
        /// Length of the body, in bytes, where the head tells it.
        body_bytes: Option<u64>,
        /// How the body is written.
        form: Form,
    },
    /// A gRPC status, from trailers or a trailers-only answer.
    Grpc {
        /// `grpc-status`; `None` when header compression could not be read: then `failed` is from the frames alone.
        status: Option<u32>,
        /// HEADERS with END_STREAM and no DATA, or a status other than 0.
        failed: bool,
        /// Bytes of DATA, frame headers not counted; 5 are the message's own header.
        data_bytes: u64,
        /// How the message is written.
        form: Form,
    },
    /// The client gave up: RST_STREAM with this code.
    Cancelled(u32),
    /// The server sent RST_STREAM with this code.
    StreamReset(u32),
    /// The connection ended first; by a RST from the peer or not.
    ConnectionEnded {
        /// A RST arrived.
        rst: bool,
    },
}

/// gRPC's name of a status (grpc/grpc, doc/statuscodes.md).
#[must_use]
pub fn grpc_status(status: u32) -> Option<&'static str> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    NAMES.get(usize::try_from(status).ok()?).copied()
}

/// A request and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The request.
    pub request: Arc<Request>,
    /// What became of it.
    pub answer: Answer,
    /// From the request's head to the answer's end, as far as it was seen.
    pub took: Duration,
}

impl Exchange {
    /// Whether the server took it: `None` when that cannot be told, as when nobody waited for the answer.
    #[must_use]
    pub fn accepted(&self) -> Option<bool> {
        match self.answer {
            Answer::Http { status, .. } => Some((200..300).contains(&status)),
            Answer::Grpc { failed, .. } => Some(!failed),
            Answer::StreamReset(_) => Some(false),
            Answer::Cancelled(_) | Answer::ConnectionEnded { .. } => None,
        }
    }

    /// Whether the server took only a part: its answer is longer than an empty message of its [`Form`]. Known for OTLP
    /// only, whose answer is empty when everything was taken.
    #[must_use]
    pub fn partial(&self) -> bool {
        /// Of gRPC: whether it is compressed, and its length.
        const MESSAGE_HEADER: u64 = 5;
        let longer = |form: Form, bytes: u64| form.empty().is_some_and(|empty| bytes > empty);
        let otlp = self
            .request
            .ingest
            .is_some_and(|ingest| ingest.dialect == Dialect::Otlp);
        otlp && match self.answer {
            Answer::Http {
                status: 200,
                body_bytes: Some(bytes),
                form,
                ..
            } => longer(form, bytes),
            Answer::Grpc {
                failed: false,
                data_bytes,
                form,
                ..
            } => longer(form, data_bytes.saturating_sub(MESSAGE_HEADER)),
            _ => false,
        }
    }
}

/// A TLS alert in the clear (RFC 8446, 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Alert {
    /// Who sent it: `Egress` is the workload.
    pub from: Direction,
    /// `AlertDescription`, 48 is unknown_ca.
    pub description: u8,
}

/// How a TLS handshake came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsOutcome {
    /// Application data of the client after its Finished, then of the server, and no alert.
    Established,
    /// The server answered, and an alert or the end came before any application data of the client.
    Failed,
    /// The client said hello and the peer closed without a byte.
    Unanswered,
}

/// A TLS handshake that came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Server name indication.
    pub sni: Option<Arc<str>>,
    /// Protocols offered (ALPN), in the client's order.
    pub alpn: Vec<Arc<str>>,
    /// How it came out.
    pub outcome: TlsOutcome,
    /// The alert that ended it, if one was seen in the clear.
    pub alert: Option<Alert>,
}

/// The two sides of a connection speak different protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mismatch {
    /// What the workload speaks.
    pub client: Spoken,
    /// What the peer speaks: `Nothing` when it closed without a byte.
    pub server: Spoken,
    /// The status of an HTTP/1 answer.
    pub status: Option<u16>,
    /// What the answer says.
    pub refusal: Option<Refusal>,
    /// The peer closed without a byte: it might have other reasons.
    pub is_guess: bool,
}
