//! `rejected`, `partial`: the peer answers, and does not take it, or not all of it.

use std::borrow::Cow;

use super::{Case, Finding, Rule};
use crate::diagnose::exporter::Rejection;
use crate::model::exchange::{Answer, Refusal};
use crate::model::verdict::{Rung, VerdictId};

pub(super) const RULE: Rule = Rule {
    id: VerdictId::Rejected,
    fires: |case| {
        let accepted = &case.exporter.accepted;
        let why = accepted.why.as_deref().filter(|_| accepted.rejected.any())?;
        let (reason, passes) = reason(&why.answer);
        // One that a retry cures is no finding.
        if passes && accepted.rejected.count < 2 {
            return None;
        }
        Some(Finding::new(VerdictId::Rejected, Rung::Accepted, accepted.rejected.first).because(reason))
    },
    tells: |case, told| {
        let accepted = &case.exporter.accepted;
        if let Some(why) = &accepted.why {
            told.seen("status", words(case, why), accepted.rejected);
        }
        if let Some(agent) = accepted
            .request
            .as_ref()
            .and_then(|request| request.user_agent.as_deref())
        {
            told.fact("user-agent", format!("User-Agent {agent}"));
        }
    },
};

pub(super) const PARTIAL: Rule = Rule {
    id: VerdictId::Partial,
    fires: |case| {
        let partial = case.exporter.accepted.partial;
        partial
            .any()
            .then(|| Finding::new(VerdictId::Partial, Rung::Accepted, partial.first).partly())
    },
    tells: |case, told| {
        let accepted = &case.exporter.accepted;
        let request = match &accepted.request {
            Some(request) => told.request(request, accepted.status),
            None => "request".to_owned(),
        };
        told.seen(
            "status",
            format!(
                "{request}, with an answer of {} bytes: some of it was rejected (partial success)",
                accepted.partial_bytes
            ),
            accepted.partial,
        );
    },
};

/// Why a peer said no, and whether that may pass by itself: answers after which the OTLP specification has clients try
/// again, and those that name no reason.
pub(super) fn reason(answer: &Answer) -> (Cow<'static, str>, bool) {
    let (reason, passes) = match *answer {
        Answer::Http {
            refusal: Some(Refusal::WrongPath),
            ..
        } => ("wrong-path", false),
        Answer::Http { status, .. } => match status {
            300..=399 => ("redirect", false),
            401 | 403 | 407 => ("unauthorized", false),
            404 | 405 | 410 => ("wrong-path", false),
            413 => ("too-large", false),
            429 | 502..=504 => ("overloaded", true),
            _ => return (Cow::Owned(format!("http-{status}")), status >= 500),
        },
        Answer::Grpc {
            status: Some(status), ..
        } => match status {
            7 | 16 => ("unauthorized", false),
            8 | 14 => ("overloaded", true),
            12 => ("wrong-path", false),
            _ => return (grpc_name(status), matches!(status, 1 | 2 | 4 | 10 | 11 | 13 | 15)),
        },
        Answer::Grpc { status: None, .. } => ("grpc-error", true),
        Answer::StreamReset(_) => ("stream-reset", true),
        Answer::Cancelled(_) | Answer::ConnectionEnded { .. } => ("unanswered", true),
    };
    (Cow::Borrowed(reason), passes)
}

/// `POST /v1/traces: 404`.
fn words(case: &Case<'_>, why: &Rejection) -> String {
    let request = case.exporter.accepted.request.as_ref();
    let method = request
        .and_then(|request| request.method.as_deref())
        .unwrap_or("POST");
    let path = why.path.as_deref().unwrap_or("(path not readable)");
    let answer = match why.answer {
        Answer::Http {
            status,
            refusal,
            retry_after,
            ..
        } => {
            let refusal = match refusal {
                Some(Refusal::WrongPath) => ", the path is not known there",
                Some(Refusal::WantsTls) => ", it wants TLS",
                None => "",
            };
            let retry = if retry_after { ", Retry-After set" } else { "" };
            format!("{status}{refusal}{retry}")
        }
        Answer::Grpc {
            status: Some(status), ..
        } => format!("grpc-status {status} {}", grpc_name(status)),
        Answer::Grpc { status: None, .. } => "an error without data (grpc-status not readable)".to_owned(),
        Answer::StreamReset(code) => format!("stream reset by the peer, code {code}"),
        Answer::Cancelled(_) | Answer::ConnectionEnded { .. } => "no answer".to_owned(),
    };
    format!("{method} {path}: {answer}")
}

/// Codes by name (gRPC, `doc/statuscodes.md`).
pub(super) fn grpc_name(status: u32) -> Cow<'static, str> {
    Cow::Borrowed(match status {
        0 => "OK",
        1 => "CANCELLED",
        2 => "UNKNOWN",
        3 => "INVALID_ARGUMENT",
        4 => "DEADLINE_EXCEEDED",
        5 => "NOT_FOUND",
        6 => "ALREADY_EXISTS",
        7 => "PERMISSION_DENIED",
        8 => "RESOURCE_EXHAUSTED",
        9 => "FAILED_PRECONDITION",
        10 => "ABORTED",
        11 => "OUT_OF_RANGE",
        12 => "UNIMPLEMENTED",
        13 => "INTERNAL",
        14 => "UNAVAILABLE",
        15 => "DATA_LOSS",
        16 => "UNAUTHENTICATED",
        other => return Cow::Owned(format!("grpc-status-{other}")),
    })
}
