//! `dropped`: a packet of this exporter is dropped on this node, for a reason that somebody here decided on, and nothing
//! else answers.
//!
//! An answer outranks a drop: REJECT drops the SYN, too, and is `no-endpoints`. Reasons that healthy traffic shows were
//! sorted out when the fact was taken.

use std::borrow::Cow;

use super::dns::errno_name;
use super::{Case, Finding, Rule};
use crate::diagnose::evidence::Told;
use crate::diagnose::exporter::{Address, DropFact, Failed, Pending};
use crate::model::observation::LookupOutcome;
use crate::model::verdict::{Rung, VerdictId};

pub(super) const RULE: Rule = Rule {
    id: VerdictId::Dropped,
    fires,
    tells,
};

/// SYNs of one attempt that must be dropped: one may be a limit on the rate, which the next SYN passes.
const DROPPED_SYNS: u32 = 2;

fn fires(case: &Case<'_>) -> Option<Finding> {
    dropped_lookup(case)
        .or_else(|| dropped_connect(case))
        .or_else(|| dropped_attempt(case))
        .or_else(|| dropped_traffic(case))
}

fn reason(dropped: Option<&DropFact>) -> Cow<'static, str> {
    dropped.map_or(Cow::Borrowed("unknown"), |dropped| {
        Cow::Owned(dropped.reason.to_string())
    })
}

fn dropped_lookup(case: &Case<'_>) -> Option<Finding> {
    let to = case.to.filter(|_| !case.is_carried())?;
    let dropped = to.dns.dropped.as_deref()?;
    let failed = to
        .dns
        .failed
        .iter()
        .find(|failed| matches!(failed.outcome, LookupOutcome::Dropped | LookupOutcome::Unanswered))?;
    Some(
        Finding::new(VerdictId::Dropped, Rung::Resolved, failed.seen.first)
            .because(reason(Some(dropped)))
            .about(failed.server.map(|server| format!("name server {server}"))),
    )
}

fn dropped_connect(case: &Case<'_>) -> Option<Finding> {
    let to = case
        .to
        .filter(|_| !case.is_carried() && !case.is_trying_another())?;
    let silent = |how| matches!(how, Failed::Dropped | Failed::Unanswered | Failed::Unreachable);
    if !to.connects.failed.iter().all(|address| silent(address.how)) {
        return None;
    }
    let dropped: Vec<&Address> = to
        .connects
        .failed
        .iter()
        .filter(|address| address.how == Failed::Dropped)
        .collect();
    let since = dropped.iter().map(|address| address.seen.first).min()?;
    let fact = dropped.iter().find_map(|address| address.dropped.as_deref());
    let finding = Finding::new(VerdictId::Dropped, Rung::Connected, since);
    let errno = dropped
        .iter()
        .map(|address| address.errno)
        .find(|errno| *errno != 0);
    Some(finding.because(match (fact, errno) {
        (None, Some(errno)) => errno_name(errno),
        (fact, _) => reason(fact),
    }))
}

fn stuck<'a>(case: &Case<'a>) -> Option<&'a Pending> {
    let to = case.to.filter(|_| !case.is_carried())?;
    to.connects
        .pending
        .iter()
        .find(|pending| pending.drops.count >= DROPPED_SYNS && case.is_under_way(pending))
}

fn dropped_attempt(case: &Case<'_>) -> Option<Finding> {
    let pending = stuck(case)?;
    Some(
        Finding::new(VerdictId::Dropped, Rung::Connected, pending.drops.first)
            .because(reason(pending.dropped.as_deref())),
    )
}

/// A connection that was established and hears nothing any more, because its packets are dropped here.
fn dropped_traffic(case: &Case<'_>) -> Option<Finding> {
    let (ailing, dropped) = case.dropped()?;
    let waits = super::waits_too_long(case)?;
    (ailing.drops.count >= DROPPED_SYNS).then(|| {
        Finding::new(VerdictId::Dropped, Rung::Connected, waits.max(ailing.drops.first))
            .because(reason(Some(dropped)))
    })
}

fn tells(case: &Case<'_>, told: &mut Told) {
    let Some(to) = case.to else { return };
    if let Some(dropped) = &to.dns.dropped {
        told.seen(
            "drop",
            format!("DNS packets for {} {}", to.host, words(dropped)),
            to.dns.drops,
        );
    }
    for address in to.connects.failed.iter().filter(|a| a.how == Failed::Dropped) {
        let what = match &address.dropped {
            Some(dropped) => words(dropped),
            None if address.errno != 0 => format!("connect(2) failed: {}", errno_name(address.errno)),
            None => "dropped on this node".to_owned(),
        };
        told.seen(
            "drop",
            format!("connecting to {}: {what}", told.peer(address.ip, to.port)),
            address.seen,
        );
    }
    if let Some(pending) = stuck(case)
        && let Some(dropped) = &pending.dropped
    {
        told.seen(
            "drop",
            format!("SYNs to {} {}", told.peer(pending.ip, to.port), words(dropped)),
            pending.drops,
        );
    }
    if let Some((ailing, dropped)) = case.dropped() {
        told.seen(
            "drop",
            format!("packets of an open connection {}", words(dropped)),
            ailing.drops,
        );
    }
}

/// `dropped on this node: NETFILTER_DROP in OUTPUT`.
fn words(dropped: &DropFact) -> String {
    match &dropped.hook {
        Some(hook) => format!("dropped on this node: {} in {hook}", dropped.reason),
        None => format!("dropped on this node: {}", dropped.reason),
    }
}
