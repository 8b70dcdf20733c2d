//! `tls-failed`, `tls-mismatch`: the handshake fails, or only one side speaks TLS.

use std::borrow::Cow;

use super::{Case, Finding, Rule};
use crate::diagnose::evidence::Told;
use crate::model::event::Direction;
use crate::model::exchange::{Answer, Mismatch, Refusal, Spoken};
use crate::model::verdict::{Rung, VerdictId};

pub(super) const FAILED: Rule = Rule {
    id: VerdictId::TlsFailed,
    fires: failed,
    tells: tell_failed,
};

pub(super) const MISMATCH: Rule = Rule {
    id: VerdictId::TlsMismatch,
    fires: |case| {
        let (mismatch, since) = mismatched(case, is_tls)?;
        let reason = if mismatch.client == Spoken::Tls {
            "server-is-plaintext"
        } else {
            "server-wants-tls"
        };
        Some(Finding::new(VerdictId::TlsMismatch, Rung::Sent, since).because(reason))
    },
    tells: tell_mismatch,
};

/// Handshakes that must fail in a row: the first may be a peer that is being replaced.
const IN_A_ROW: u32 = 2;

fn failed(case: &Case<'_>) -> Option<Finding> {
    let tls = &case.to.filter(|_| !case.is_carried())?.tls;
    if tls.failed.count < IN_A_ROW {
        return None;
    }
    let finding = Finding::new(VerdictId::TlsFailed, Rung::Sent, tls.failed.first);
    Some(match tls.alert {
        Some(alert) => finding.because(alert_name(alert.description)),
        None => finding,
    })
}

fn tell_failed(case: &Case<'_>, told: &mut Told) {
    let Some(to) = case.to else { return };
    let sni = match &to.tls.sni {
        Some(sni) => format!(" for {sni}"),
        None => " without a server name".to_owned(),
    };
    let how = match to.tls.alert {
        Some(alert) => {
            let by = match alert.from {
                Direction::Egress => "the exporter",
                Direction::Ingress => "the peer",
            };
            format!("{by} ended it with the alert {}", alert_name(alert.description))
        }
        None => "it was closed without an alert".to_owned(),
    };
    told.seen("tls", format!("TLS handshakes{sni} fail: {how}"), to.tls.failed);
    if !to.tls.alpn.is_empty() {
        told.fact("alpn", format!("protocols offered: {}", to.tls.alpn.join(", ")));
    }
}

/// The mismatch of this kind. A guess, from a peer that closed without a word, counts when it happens again.
pub(super) fn mismatched<'a>(
    case: &Case<'a>,
    kind: fn(&Mismatch) -> bool,
) -> Option<(&'a Mismatch, crate::model::time::Mono)> {
    let (mismatch, seen) = case.to.filter(|_| !case.is_carried())?.mismatch.as_ref()?;
    let enough = !mismatch.is_guess || seen.count >= IN_A_ROW;
    (enough && kind(mismatch)).then_some((mismatch, seen.first))
}

fn is_tls(mismatch: &Mismatch) -> bool {
    let plain = |spoken| matches!(spoken, Spoken::Http1 | Spoken::Http2);
    mismatch.refusal == Some(Refusal::WantsTls)
        || mismatch.client == Spoken::Tls && mismatch.server != Spoken::Tls
        || plain(mismatch.client) && matches!(mismatch.server, Spoken::Tls | Spoken::Nothing)
}

pub(super) fn tell_mismatch(case: &Case<'_>, told: &mut Told) {
    let Some((mismatch, seen)) = case.to.and_then(|to| to.mismatch.as_ref()) else {
        return;
    };
    let server = match (mismatch.server, mismatch.status) {
        (Spoken::Nothing, _) => "the peer closes without a byte".to_owned(),
        (spoken, Some(status)) => format!("the peer answers {} {status}", name(spoken)),
        (spoken, None) => format!("the peer speaks {}", name(spoken)),
    };
    let says = match mismatch.refusal {
        Some(Refusal::WantsTls) => ", and says that it wants TLS",
        Some(Refusal::WrongPath) => ", and says that it does not know the path",
        None => "",
    };
    told.seen(
        "protocol",
        format!("the exporter speaks {}, {server}{says}", name(mismatch.client)),
        *seen,
    );
    if mismatch.is_guess {
        told.fact("guess", "a peer that says nothing may have other reasons, too");
    }
    if let Some(Answer::Http { status, .. }) = case.exporter.accepted.why.as_ref().map(|why| why.answer) {
        told.seen(
            "status",
            format!("answered {status}"),
            case.exporter.accepted.rejected,
        );
    }
}

pub(super) fn name(spoken: Spoken) -> &'static str {
    match spoken {
        Spoken::Nothing => "nothing",
        Spoken::Http1 => "HTTP/1",
        Spoken::Http2 => "HTTP/2",
        Spoken::Tls => "TLS",
        Spoken::Unknown => "something else",
    }
}

/// Descriptions of alerts (IANA, TLS Alerts).
pub(super) fn alert_name(description: u8) -> Cow<'static, str> {
    Cow::Borrowed(match description {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        22 => "record_overflow",
        40 => "handshake_failure",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        109 => "missing_extension",
        110 => "unsupported_extension",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        120 => "no_application_protocol",
        other => return Cow::Owned(format!("alert {other}")),
    })
}
