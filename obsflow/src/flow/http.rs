//! Summaries of what was said on a connection.

use std::fmt::{self, Write as _};

use super::summary::Pretty;
use crate::model::event::Direction;
use crate::model::exchange::{Answer, Exchange, Mismatch, Refusal, Request, Spoken, Tls, TlsOutcome};

/// `HTTP/1.1 POST /v1/traces (traces, otlp)`
pub(super) fn request(out: &mut String, request: &Request) -> fmt::Result {
    let version = if request.wire == Spoken::Http2 {
        "HTTP/2"
    } else {
        "HTTP/1.1"
    };
    let method = request.method.as_deref().unwrap_or("(method unknown)");
    let path = request.path.as_deref().unwrap_or("(path unknown)");
    write!(out, "{version} {method} {path}")?;
    if let Some(ingest) = request.ingest {
        let signal = ingest.signal.map_or("any signal", |signal| signal.name());
        write!(out, " ({signal}, {})", ingest.dialect.name())?;
    }
    Ok(())
}

/// The request and what became of it.
pub(super) fn exchange(out: &mut String, exchange: &Exchange) -> fmt::Result {
    request(out, &exchange.request)?;
    match exchange.answer {
        Answer::Http { status, refusal, .. } => {
            write!(out, ": {status}")?;
            if let Some(refusal) = refusal {
                write!(out, " ({})", refusal_text(refusal))?;
            }
        }
        Answer::Grpc {
            status: Some(status), ..
        } => write!(out, ": grpc-status {status}")?,
        Answer::Grpc {
            status: None, failed, ..
        } => out.push_str(if failed {
            ": failed, status unknown"
        } else {
            ": success, by its frames"
        }),
        Answer::Cancelled(code) => write!(out, ": given up by the client (RST_STREAM {code})")?,
        Answer::StreamReset(code) => write!(out, ": reset by the server (RST_STREAM {code})")?,
        Answer::ConnectionEnded { rst: true } => out.push_str(": no answer, the peer reset the connection"),
        Answer::ConnectionEnded { rst: false } => out.push_str(": no answer before the connection ended"),
    }
    if exchange.partial() {
        out.push_str(", taken in part");
    }
    write!(out, " after {}", Pretty(exchange.took))
}

fn refusal_text(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::WrongPath => "unsupported path",
        Refusal::WantsTls => "the server expects HTTPS",
    }
}

/// A handshake.
pub(super) fn tls(out: &mut String, tls: &Tls) -> fmt::Result {
    out.push_str(match tls.outcome {
        TlsOutcome::Established => "TLS established",
        TlsOutcome::Failed => "TLS handshake failed",
        TlsOutcome::Unanswered => "TLS hello unanswered",
    });
    if let Some(alert) = tls.alert {
        let from = match alert.from {
            Direction::Egress => "client",
            Direction::Ingress => "server",
        };
        write!(out, ": alert {} of the {from}", alert.description)?;
    }
    if let Some(sni) = &tls.sni {
        write!(out, "; for {sni}")?;
    }
    Ok(())
}

/// Two protocols.
pub(super) fn mismatch(out: &mut String, mismatch: Mismatch) -> fmt::Result {
    write!(
        out,
        "the client speaks {}, the server {}",
        spoken(mismatch.client),
        spoken(mismatch.server)
    )?;
    if let Some(status) = mismatch.status {
        write!(out, ": {status}")?;
    }
    if let Some(refusal) = mismatch.refusal {
        write!(out, " ({})", refusal_text(refusal))?;
    }
    Ok(())
}

fn spoken(spoken: Spoken) -> &'static str {
    match spoken {
        Spoken::Nothing => "nothing",
        Spoken::Http1 => "HTTP/1",
        Spoken::Http2 => "HTTP/2",
        Spoken::Tls => "TLS",
        Spoken::Unknown => "something else",
    }
}
