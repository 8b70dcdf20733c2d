//! The rules, one file for each verdict or family of verdicts, in the order in which they are asked: the first that fires
//! is what is said.
//!
//! A rule looks at the facts of one exporter, at what the cluster says of its Service, and at the time, and at nothing else. It fires on what the catalogue says, and
//! its tests show what it stays quiet on.

mod blackholed;
mod configured;
mod dns;
mod dropped;
mod healthy;
mod injection;
mod no_endpoints;
mod protocol;
mod proxied;
mod refused;
mod rejected;
mod reset;
mod silent;
mod stalled;
mod tls;
mod unreachable;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::model::cluster::Service;
use crate::model::exchange::Signal;
use crate::model::expectation::Host;
use crate::model::time::Mono;
use crate::model::verdict::{Rung, VerdictId};

use super::Node;
use super::ailing::Ailing;
use super::evidence::Told;
use super::exporter::{Address, Container, Destination, DropFact, Exporter, Failed, Pending};
use super::facts::Facts;
use super::services;
pub(super) use unreachable::NO_LOCAL_PORT;

/// Everything a rule may look at.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) container: &'a Container,
    pub(super) exporter: &'a Exporter,
    /// Where it sends to, when that is known.
    pub(super) to: Option<&'a Destination>,
    /// The proxy its environment names.
    pub(super) proxy: Option<&'a Destination>,
    pub(super) node: &'a Node,
    /// What can be looked up.
    pub(super) facts: Option<&'a dyn Facts>,
    pub(super) now: Mono,
}

/// What a rule found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Finding {
    pub(super) id: VerdictId,
    /// The rung that failed.
    pub(super) rung: Rung,
    pub(super) reason: Option<Cow<'static, str>>,
    /// When the evidence began.
    pub(super) since: Mono,
    /// What those who suffer from the same have in common, where it is not the destination.
    pub(super) subject: Option<String>,
    /// Some of it works.
    pub(super) is_partial: bool,
}

impl Finding {
    pub(super) fn new(id: VerdictId, rung: Rung, since: Mono) -> Self {
        Self {
            id,
            rung,
            reason: None,
            since,
            subject: None,
            is_partial: false,
        }
    }

    pub(super) fn because(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    pub(super) fn about(mut self, subject: Option<String>) -> Self {
        self.subject = subject;
        self
    }

    pub(super) fn partly(mut self) -> Self {
        self.is_partial = true;
        self
    }
}

/// A rule.
pub(super) struct Rule {
    pub(super) id: VerdictId,
    /// Whether it holds.
    pub(super) fires: fn(&Case<'_>) -> Option<Finding>,
    /// Its evidence.
    pub(super) tells: fn(&Case<'_>, &mut Told),
}

/// Every rule, in order.
pub(super) const ORDER: &[Rule] = &[
    proxied::RULE,
    configured::MISCONFIGURED,
    configured::DISABLED,
    injection::RULE,
    dns::NXDOMAIN,
    dns::FAILURE,
    dns::TIMEOUT,
    dns::REFUSED,
    dropped::RULE,
    no_endpoints::RULE,
    refused::RULE,
    unreachable::RULE,
    blackholed::RULE,
    tls::FAILED,
    tls::MISMATCH,
    protocol::RULE,
    rejected::RULE,
    rejected::PARTIAL,
    reset::RULE,
    stalled::STALE,
    stalled::STALLED,
    silent::STOPPED,
    silent::SILENT,
    healthy::RULE,
    healthy::IDLE,
    healthy::UNKNOWN,
];

/// The first rule that fires.
pub(super) fn judge(case: &Case<'_>) -> Finding {
    ORDER
        .iter()
        .find_map(|rule| (rule.fires)(case))
        .unwrap_or_else(|| Finding::new(VerdictId::Unknown, Rung::Configured, case.node.watching_since))
}

/// SYNs an attempt must have sent again before nobody can be expected to answer any more.
const UNANSWERED_SYNS: u32 = 3;
/// Unanswered attempts that prove a black hole, however long they lasted.
const UNANSWERED_ATTEMPTS: u32 = 2;

impl<'a> Case<'a> {
    /// Whether a connection that its exports are taken on is open: what fails beside it does not concern this exporter.
    ///
    /// Its end may be among what was lost: then it is open as long as nothing failed since its last success.
    pub(super) fn is_carried(&self) -> bool {
        let accepted = &self.exporter.accepted;
        let (on, last) = if accepted.requests.any() || accepted.ok.any() {
            (accepted.on, accepted.ok.last)
        } else {
            let Some(to) = self.to else { return false };
            (to.tls.on, to.tls.ok.last.max(to.traffic.down.last))
        };
        on != 0 && (!self.may_have_missed(last) || self.to.is_none_or(|to| to.failed_last() < Some(last)))
    }

    /// Connections of the destination that carry nothing any more, but for those that the exporter has left behind: what it
    /// sends was accepted since, on another one.
    pub(super) fn ailing(&self) -> impl Iterator<Item = &'a Ailing> {
        let accepted = self.exporter.accepted.ok.last();
        let all = self.to.into_iter().flat_map(|to| to.traffic.ailing.iter());
        all.filter(move |ailing| accepted.is_none_or(|at| at <= ailing.since))
    }

    /// The one of them that was not acknowledged.
    pub(super) fn unacked(&self) -> Option<&'a Ailing> {
        self.ailing().find(|ailing| ailing.unacked.any())
    }

    /// The one of them whose packets are dropped here.
    pub(super) fn dropped(&self) -> Option<(&'a Ailing, &'a DropFact)> {
        self.ailing()
            .filter_map(|ailing| Some((ailing, ailing.dropped.as_deref()?)))
            .max_by_key(|(ailing, _)| ailing.drops.count)
    }

    /// Whether something that happened since then may have been lost.
    pub(super) fn may_have_missed(&self, since: Mono) -> bool {
        self.node.lost.last().is_some_and(|lost| lost > since)
    }

    /// How every address of the last attempt failed; `None` while one of them is still being tried, or none was.
    ///
    /// Having no route to one family is how dual-stack names look on a single-stack node: an address that cannot be
    /// reached counts only where no other was tried.
    pub(super) fn failed_connects(&self) -> Option<Vec<&Address>> {
        let to = self.to.filter(|_| !self.is_carried())?;
        let connects = &to.connects;
        if connects.failed.is_empty() || self.is_trying_another() || self.has_stuck_attempt() {
            return None;
        }
        let reached: Vec<&Address> = connects
            .failed
            .iter()
            .filter(|address| address.how != Failed::Unreachable)
            .collect();
        if reached.is_empty() {
            Some(connects.failed.iter().collect())
        } else {
            Some(reached)
        }
    }

    /// Whether an address is being tried that has not failed so far.
    pub(super) fn is_trying_another(&self) -> bool {
        self.to.is_some_and(|to| {
            to.connects.pending.iter().any(|pending| {
                pending.syn_retransmits < UNANSWERED_SYNS
                    && self.is_under_way(pending)
                    && !to.connects.failed.iter().any(|address| address.ip == pending.ip)
            })
        })
    }

    /// Whether attempts under way to some address have sent their SYN often enough.
    pub(super) fn has_stuck_attempt(&self) -> bool {
        self.to.is_some_and(|to| {
            !self.is_carried()
                && to
                    .connects
                    .pending
                    .iter()
                    .any(|pending| pending.syn_retransmits >= UNANSWERED_SYNS && self.is_under_way(pending))
        })
    }

    /// The Service that it sends to, where the cluster tells: by the address that failed, else by name.
    pub(super) fn service(&self) -> Option<Arc<Service>> {
        let (facts, to) = (self.facts?, self.to?);
        let failed = to.connects.failed.iter().map(|address| address.ip);
        let peer = to.connects.peer.map(|peer| peer.ip());
        let written = match &to.host {
            Host::Ip(ip) => Some(*ip),
            Host::Name(_) => None,
        };
        let by_address = failed
            .chain(peer)
            .chain(written)
            .find_map(|ip| facts.service_at(ip));
        by_address.or_else(|| {
            let (name, namespace) = services::of_name(&to.host, &self.container.workload)?;
            facts.service(namespace, name)
        })
    }

    /// Whether an attempt may still be under way.
    pub(super) fn is_under_way(&self, pending: &Pending) -> bool {
        self.now.since(pending.began) < LONGEST_CONNECT
    }

    /// Whether its next connection is being made, and how that comes out is not known.
    pub(super) fn is_attempting(&self) -> bool {
        !self.is_carried() && self.is_trying_another()
    }

    /// Whether the exporter sends again and again whatever happens: metrics, as long as there are instruments.
    pub(super) fn is_periodic(&self) -> bool {
        self.exporter.signal == Some(Signal::Metrics)
    }

    /// How long its container may be silent from its start on.
    pub(super) fn window(&self) -> Duration {
        silent::window(self.container, self.node.silence)
    }

    /// Since when nothing can have been missed of a container that nothing was seen of: a loss begins the time anew, for
    /// those that are not called silent already.
    pub(super) fn quiet_since(&self) -> Mono {
        let lost = match self.exporter.held.verdict {
            Some(VerdictId::Silent) => None,
            _ => self.node.lost.hid(EXPORTS),
        };
        self.watched_since().max(lost.unwrap_or_default())
    }

    /// Since when it could have been seen.
    pub(super) fn watched_since(&self) -> Mono {
        match self.container.began {
            Some(began) => began.max(self.node.watching_since),
            None => self.node.watching_since,
        }
    }
}

/// Records that two exports leave at least: those of their requests and of the answers, on a connection that was open already.
/// Silence is judged by two of them, which fewer losses cannot hide.
pub(super) const EXPORTS: u64 = 4;

/// The kernel gives an attempt up after 127 s and a bit; one that is older had an end that nobody saw.
const LONGEST_CONNECT: Duration = Duration::from_secs(140);

/// Since when a request, or payload, waits for an answer longer than the exporter does; `None` when none does.
pub(super) fn waits_too_long(case: &Case<'_>) -> Option<Mono> {
    let exporter = case.exporter;
    let accepted = &exporter.accepted;
    // The answer may have been among what was lost.
    let lost = case.node.lost.last().unwrap_or_default();
    let oldest = accepted
        .waiting
        .iter()
        .map(|waiting| waiting.at)
        .filter(|at| *at > lost)
        .min();
    if let Some(at) = oldest
        && case.now.since(at) > exporter.timeout
    {
        return Some(at);
    }
    if accepted.unanswered.any() {
        return Some(accepted.unanswered.first);
    }
    if let Some(stuck) = case.ailing().find(|ailing| ailing.is_stuck()) {
        return Some(stuck.unacked.first);
    }
    let deaf = case.ailing().filter_map(|ailing| ailing.deaf_since);
    deaf.filter(|at| *at > lost)
        .min()
        .filter(|at| case.now.since(*at) > exporter.timeout)
}

/// Evidence of attempts to connect.
pub(super) fn tell_connects(case: &Case<'_>, told: &mut Told) {
    let Some(to) = case.to else { return };
    for address in &to.connects.failed {
        let what = match address.how {
            Failed::Refused => "refused (RST)".to_owned(),
            Failed::NoEndpoints => "rejected by ICMP or a REJECT rule".to_owned(),
            Failed::Unreachable => "cannot be reached".to_owned(),
            Failed::Local => "connect(2) failed on this machine".to_owned(),
            Failed::Unanswered if address.syn_retransmits > 0 => {
                format!("no answer to {} SYNs", address.syn_retransmits + 1)
            }
            Failed::Unanswered => "no answer".to_owned(),
            Failed::Dropped => "dropped on this node".to_owned(),
        };
        let errno = match address.errno {
            0 => String::new(),
            errno => format!(", {}", dns::errno_name(errno)),
        };
        told.seen(
            "connect",
            format!("{}: {what}{errno}", told.peer(address.ip, to.port)),
            address.seen,
        );
    }
    for pending in to.connects.pending.iter().filter(|p| p.syn_retransmits > 0) {
        told.lines.push(crate::model::verdict::Evidence {
            kind: "connect",
            text: format!(
                "{}: no answer to {} SYNs so far",
                told.peer(pending.ip, to.port),
                pending.syn_retransmits + 1
            )
            .into(),
            count: u64::from(pending.syn_retransmits),
            last: Some(pending.began),
        });
    }
    if let Some(service) = case.service() {
        told.fact("service", services::told(&service));
    }
}
