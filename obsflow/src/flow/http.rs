//! Flows and summaries of what was said on a connection.

use std::fmt::{self, Write as _};

use super::summary::Pretty;
use crate::model::event::Direction;
use crate::model::exchange::{
    Answer, Exchange, Mismatch, Refusal, Request, Spoken, TargetForm, Tls, TlsOutcome,
};
use crate::model::flow::{Http, HttpExt, MismatchExt, Text, TlsExt};

fn version(request: &Request) -> &'static str {
    match request.wire {
        Spoken::Http2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// Hubble's record of a request or its answer.
pub(super) fn message(request: &Request, answer: Option<Answer>) -> Http {
    let path = request.path.as_deref().unwrap_or_default();
    Http {
        code: match answer {
            Some(Answer::Http { status, .. }) => status.into(),
            // gRPC's own status comes with this one (gRPC over HTTP2, "Responses").
            Some(Answer::Grpc { .. }) => 200,
            Some(Answer::Cancelled(_) | Answer::StreamReset(_) | Answer::ConnectionEnded { .. }) | None => 0,
        },
        method: request.method.clone().unwrap_or_default(),
        url: match &request.authority {
            Some(authority) if request.form == TargetForm::Authority => authority.to_string(),
            Some(authority) if !path.is_empty() => format!("http://{authority}{path}"),
            _ => path.to_owned(),
        },
        protocol: Text::Borrowed(version(request)),
        headers: Vec::new(),
    }
}

pub(super) fn request_ext(request: &Request) -> HttpExt {
    HttpExt {
        signal: request
            .ingest
            .and_then(|ingest| ingest.signal)
            .map(|signal| Text::Borrowed(signal.name())),
        dialect: request.ingest.map(|ingest| Text::Borrowed(ingest.dialect.name())),
        authority: request.authority.clone(),
        user_agent: request.user_agent.clone(),
        form: match request.form {
            TargetForm::Origin => None,
            TargetForm::Absolute => Some(Text::Borrowed("absolute")),
            TargetForm::Authority => Some(Text::Borrowed("authority")),
        },
        stream: request.stream,
        request_bytes: request.content_length,
        ..HttpExt::default()
    }
}

pub(super) fn exchange_ext(exchange: &Exchange) -> HttpExt {
    let mut ext = request_ext(&exchange.request);
    ext.partial = exchange.partial();
    match exchange.answer {
        Answer::Http {
            refusal,
            retry_after,
            body_bytes,
            ..
        } => {
            ext.refusal = refusal.map(refusal_name).map(Text::Borrowed);
            ext.retry_after = retry_after;
            ext.answer_bytes = body_bytes;
        }
        Answer::Grpc {
            status, data_bytes, ..
        } => {
            ext.grpc_status = status;
            ext.answer_bytes = Some(data_bytes);
        }
        Answer::Cancelled(code) | Answer::StreamReset(code) => ext.reset_code = Some(code),
        Answer::ConnectionEnded { .. } => {}
    }
    ext
}

pub(super) fn tls_ext(tls: &Tls) -> TlsExt {
    TlsExt {
        sni: tls.sni.clone(),
        alpn: tls.alpn.clone(),
        alert: tls.alert.map(|alert| alert.description),
        alert_from: tls.alert.map(|alert| Text::Borrowed(side(alert.from))),
    }
}

pub(super) fn mismatch_ext(mismatch: Mismatch) -> MismatchExt {
    MismatchExt {
        client: Text::Borrowed(spoken(mismatch.client)),
        server: Text::Borrowed(spoken(mismatch.server)),
        status: mismatch.status,
        refusal: mismatch.refusal.map(refusal_name).map(Text::Borrowed),
        is_guess: mismatch.is_guess,
    }
}

fn side(of: Direction) -> &'static str {
    match of {
        Direction::Egress => "client",
        Direction::Ingress => "server",
    }
}

fn refusal_name(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::WrongPath => "wrong-path",
        Refusal::WantsTls => "wants-tls",
    }
}

/// `HTTP/1.1 POST /v1/traces (traces, otlp)`
pub(super) fn request(out: &mut String, request: &Request) -> fmt::Result {
    let version = version(request);
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
        write!(out, ": alert {} of the {}", alert.description, side(alert.from))?;
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
