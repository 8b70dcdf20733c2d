//! `protocol-mismatch`: gRPC to a port of plain HTTP, or the other way around. Either side may have spoken first.

use super::{Finding, Rule, tls};
use crate::model::exchange::{Mismatch, Spoken};
use crate::model::verdict::{Rung, VerdictId};

pub(super) const RULE: Rule = Rule {
    id: VerdictId::ProtocolMismatch,
    fires: |case| {
        let (mismatch, since) = tls::mismatched(case, fits)?;
        let reason = match (mismatch.client, mismatch.server) {
            (Spoken::Http2, _) => "grpc-to-http",
            (_, Spoken::Http2) => "http-to-grpc",
            _ => "unknown-protocol",
        };
        Some(Finding::new(VerdictId::ProtocolMismatch, Rung::Sent, since).because(reason))
    },
    tells: tls::tell_mismatch,
};

fn fits(mismatch: &Mismatch) -> bool {
    let plain = |spoken| matches!(spoken, Spoken::Http1 | Spoken::Http2);
    plain(mismatch.client)
        && mismatch.client != mismatch.server
        && matches!(mismatch.server, Spoken::Http1 | Spoken::Http2 | Spoken::Unknown)
}
