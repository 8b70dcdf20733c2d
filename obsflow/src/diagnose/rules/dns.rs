//! `dns-nxdomain`, `dns-failure`, `dns-timeout`, `dns-refused`: the name has no address.
//!
//! Judged by whole searches, which correlation puts together: NXDOMAINs of the search list beside or after a good answer, an
//! empty AAAA beside a good A and questions of other types are no failed search. A search that gave an address, or a
//! connection that completed, ends them.

use std::borrow::Cow;
use std::time::Duration;

use super::{Case, Finding, Rule};
use crate::diagnose::evidence::Told;
use crate::diagnose::exporter::FailedLookup;
use crate::flow::errno;
use crate::model::observation::LookupOutcome;
use crate::model::verdict::{Rung, VerdictId};

pub(super) const NXDOMAIN: Rule = Rule {
    id: VerdictId::DnsNxdomain,
    fires: |case| {
        let failed = failed(case, |outcome| outcome == LookupOutcome::NxDomain)?;
        Some(Finding::new(
            VerdictId::DnsNxdomain,
            Rung::Resolved,
            failed.seen.first,
        ))
    },
    tells,
};

pub(super) const FAILURE: Rule = Rule {
    id: VerdictId::DnsFailure,
    fires: |case| {
        let failed = failed(case, |outcome| {
            matches!(outcome, LookupOutcome::NoData | LookupOutcome::ServerFailure(_))
        })?;
        let reason = match failed.outcome {
            LookupOutcome::ServerFailure(rcode) => rcode_name(rcode),
            _ => Cow::Borrowed("NODATA"),
        };
        Some(
            Finding::new(VerdictId::DnsFailure, Rung::Resolved, failed.seen.first)
                .because(reason)
                .about(case.to.map(|to| to.host.to_string())),
        )
    },
    tells,
};

pub(super) const TIMEOUT: Rule = Rule {
    id: VerdictId::DnsTimeout,
    fires: |case| {
        let failed = failed(case, |outcome| match outcome {
            LookupOutcome::Unanswered => true,
            // Dropped, and not on purpose: what remains is that no answer came.
            LookupOutcome::Dropped => case.to.is_some_and(|to| to.dns.dropped.is_none()),
            _ => false,
        })?;
        Some(Finding::new(VerdictId::DnsTimeout, Rung::Resolved, failed.seen.first).about(server(failed)))
    },
    tells,
};

pub(super) const REFUSED: Rule = Rule {
    id: VerdictId::DnsRefused,
    fires: |case| {
        let failed = failed(case, |outcome| matches!(outcome, LookupOutcome::Refused(_)))?;
        let LookupOutcome::Refused(errno) = failed.outcome else {
            return None;
        };
        Some(
            Finding::new(VerdictId::DnsRefused, Rung::Resolved, failed.seen.first)
                .because(errno_name(errno))
                .about(server(failed)),
        )
    },
    tells,
};

/// Failures this much older than the latest one tell of another time.
const TOGETHER: Duration = Duration::from_secs(30);

/// The failed search that tells the cause, when it is of the kind asked for.
fn failed<'a>(case: &Case<'a>, kind: impl Fn(LookupOutcome) -> bool) -> Option<&'a FailedLookup> {
    if case.is_carried() {
        return None;
    }
    let failed = &case.to?.dns.failed;
    let latest = failed.iter().map(|failed| failed.seen.last).max()?;
    let telling = failed
        .iter()
        .filter(|failed| latest.since(failed.seen.last) <= TOGETHER)
        .max_by_key(|failed| (rank(failed.outcome), failed.seen.last))?;
    kind(telling.outcome).then_some(telling)
}

/// Which of several failures tells the cause: as within one search.
fn rank(outcome: LookupOutcome) -> u8 {
    match outcome {
        LookupOutcome::ServerFailure(_) => 5,
        LookupOutcome::Refused(_) => 4,
        LookupOutcome::Dropped => 3,
        LookupOutcome::Unanswered => 2,
        LookupOutcome::NoData => 1,
        LookupOutcome::NxDomain | LookupOutcome::Resolved => 0,
    }
}

fn server(failed: &FailedLookup) -> Option<String> {
    failed.server.map(|server| format!("name server {server}"))
}

/// RCODEs by name (IANA, Domain Name System Parameters).
fn rcode_name(rcode: u16) -> Cow<'static, str> {
    Cow::Borrowed(match rcode {
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        _ => return Cow::Owned(format!("RCODE{rcode}")),
    })
}

pub(in crate::diagnose) fn errno_name(number: u32) -> Cow<'static, str> {
    match errno::name(number) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(format!("errno {number}")),
    }
}

fn tells(case: &Case<'_>, told: &mut Told) {
    let Some(to) = case.to else { return };
    let mut failed: Vec<&FailedLookup> = to.dns.failed.iter().collect();
    failed.sort_by_key(|failed| std::cmp::Reverse((rank(failed.outcome), failed.seen.last)));
    for failed in failed {
        let what = match failed.outcome {
            LookupOutcome::NxDomain => Cow::Borrowed("every name answered NXDOMAIN"),
            LookupOutcome::NoData => Cow::Borrowed("the name exists and has no address"),
            LookupOutcome::ServerFailure(rcode) => Cow::Owned(format!("answered {}", rcode_name(rcode))),
            LookupOutcome::Unanswered => Cow::Borrowed("no answer"),
            LookupOutcome::Refused(errno) => Cow::Owned(format!(
                "the name server cannot be reached: {}",
                errno_name(errno)
            )),
            LookupOutcome::Dropped => Cow::Borrowed("the query was dropped on this node"),
            LookupOutcome::Resolved => continue,
        };
        let server = failed
            .server
            .map(|server| format!(" (name server {server})"))
            .unwrap_or_default();
        told.seen("lookup", format!("{}: {what}{server}", to.host), failed.seen);
        if !failed.tried.is_empty() {
            let tried = failed.tried.join(", ");
            told.seen("tried", format!("tried {tried}"), failed.seen);
        }
    }
}
