//! `blackholed`: SYNs go unanswered, and nothing on this node drops them.
//!
//! Never waits for a socket to close: an attempt into a black hole lives between 10 and 134 s. The third SYN sent again, or
//! the second attempt that nobody answered, is the proof; one lost SYN is not, nor is an attempt that its application
//! abandoned before the first SYN time-out.

use super::{Case, Finding, Rule, UNANSWERED_ATTEMPTS, UNANSWERED_SYNS};
use crate::diagnose::evidence::Told;
use crate::diagnose::exporter::Failed;
use crate::model::time::Mono;
use crate::model::verdict::{Rung, VerdictId};

pub(super) const RULE: Rule = Rule {
    id: VerdictId::Blackholed,
    fires,
    tells,
};

fn fires(case: &Case<'_>) -> Option<Finding> {
    let to = case.to.filter(|_| !case.is_carried())?;
    let failed: Vec<_> = to
        .connects
        .failed
        .iter()
        .filter(|address| address.how == Failed::Unanswered)
        .collect();
    let attempts: u32 = failed.iter().map(|address| address.seen.count).sum();
    let syns = failed
        .iter()
        .map(|address| address.syn_retransmits)
        .max()
        .unwrap_or(0);
    if attempts < UNANSWERED_ATTEMPTS && syns < UNANSWERED_SYNS && !case.has_stuck_attempt() {
        return None;
    }
    let began = failed
        .iter()
        .map(|address| address.seen.first)
        .chain(
            to.connects
                .pending
                .iter()
                .filter(|p| case.is_under_way(p))
                .map(|pending| pending.began),
        )
        .min()
        .unwrap_or(Mono(0));
    Some(Finding::new(VerdictId::Blackholed, Rung::Connected, began))
}

fn tells(case: &Case<'_>, told: &mut Told) {
    super::tell_connects(case, told);
    if case.node.blind.drops {
        told.fact(
            "blind",
            "dropped packets cannot be seen on this node: it may be this node that drops them",
        );
    }
}
