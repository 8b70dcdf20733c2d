//! `reset`: the peer ends connections before it says a byte, twice in a row.
//!
//! A connection that was answered on before and is reset later is a race with keep-alive, and a RST that was sent here is
//! nobody else's: neither counts. A reset after the peer's SETTINGS is a mismatch of protocols.

use super::{Case, Finding, Rule};
use crate::model::verdict::{Rung, VerdictId};

pub(super) const RULE: Rule = Rule {
    id: VerdictId::Reset,
    fires,
    tells: |case, told| {
        let Some(to) = case.to else { return };
        if to.traffic.resets.any() {
            told.seen(
                "reset",
                "connections reset by the peer before it sent a byte".to_owned(),
                to.traffic.resets,
            );
        }
        if to.traffic.closed.any() {
            told.seen(
                "reset",
                "connections closed by the peer before it sent a byte".to_owned(),
                to.traffic.closed,
            );
        }
        if to.tls.unanswered.any() {
            told.seen(
                "tls",
                "TLS hellos answered by nothing".to_owned(),
                to.tls.unanswered,
            );
        }
    },
};

const IN_A_ROW: u32 = 2;

fn fires(case: &Case<'_>) -> Option<Finding> {
    let traffic = &case.to.filter(|_| !case.is_carried())?.traffic;
    let (seen, reason) = if traffic.resets.count >= IN_A_ROW {
        (traffic.resets, None)
    } else if traffic.closed.count >= IN_A_ROW {
        (traffic.closed, Some("closed"))
    } else {
        return None;
    };
    let finding = Finding::new(VerdictId::Reset, Rung::Sent, seen.first);
    Some(match reason {
        Some(reason) => finding.because(reason),
        None => finding,
    })
}
