//! `stale-connection`, `stalled`: requests that are never answered.
//!
//! Where nothing is even acknowledged, and the name leads elsewhere by now, or the cluster says that no endpoint has the
//! address, the connection is to an address that nobody has any more.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Case, Finding, Rule, waits_too_long};
use crate::diagnose::ailing::Ailing;
use crate::diagnose::evidence::Told;
use crate::diagnose::services;
use crate::model::cluster::Service;
use crate::model::verdict::{Rung, VerdictId};

pub(super) const STALE: Rule = Rule {
    id: VerdictId::StaleConnection,
    fires: |case| {
        let since = waits_too_long(case)?;
        stale_address(case)?;
        Some(Finding::new(VerdictId::StaleConnection, Rung::Sent, since))
    },
    tells: |case, told| {
        let (Some(to), Some(stale)) = (case.to, stale_address(case)) else {
            return;
        };
        let ip = match &stale {
            Stale::Renamed(ip, _) | Stale::Gone(ip, _) => *ip,
        };
        told.seen(
            "retransmit",
            format!(
                "nothing is acknowledged on the connection to {}",
                told.peer(ip, to.port)
            ),
            case.unacked().map(|ailing| ailing.unacked).unwrap_or_default(),
        );
        match &stale {
            Stale::Renamed(_, now) => {
                let now: Vec<String> = now.iter().map(IpAddr::to_string).collect();
                told.fact("lookup", format!("{} is {} by now", to.host, now.join(", ")));
            }
            Stale::Gone(ip, service) => {
                told.fact("service", format!("no endpoint has {ip} any more"));
                told.fact("service", services::told(service));
            }
        }
        tell_waiting(case, told);
    },
};

pub(super) const STALLED: Rule = Rule {
    id: VerdictId::Stalled,
    fires: |case| {
        let since = waits_too_long(case)?;
        let finding = Finding::new(VerdictId::Stalled, Rung::Accepted, since);
        Some(if case.unacked().is_some() {
            finding.because("unacknowledged")
        } else {
            finding
        })
    },
    tells: |case, told| {
        tell_waiting(case, told);
        if let Some(ailing) = case.unacked() {
            told.seen(
                "retransmit",
                "segments are sent again and not acknowledged".to_owned(),
                ailing.unacked,
            );
        }
    },
};

/// Why an address is nobody's any more.
enum Stale<'a> {
    /// The name has other ones by now.
    Renamed(IpAddr, &'a [IpAddr]),
    /// It was an endpoint's of this Service.
    Gone(IpAddr, Arc<Service>),
}

/// The address of a connection that hears nothing, when it is not the destination's any more.
fn stale_address<'a>(case: &Case<'a>) -> Option<Stale<'a>> {
    let to = case.to?;
    let ailing = case.unacked()?;
    gone(case, ailing).or_else(|| {
        let ip = ailing.peer?;
        let own = (to.dns.ok.last, to.dns.addresses.as_slice());
        let newest = to
            .dns
            .resolved
            .as_deref()
            .and_then(|name| case.node.names.get(name))
            .map(|name| (name.at, name.ips.as_slice()))
            .filter(|(at, _)| *at > own.0)
            .unwrap_or(own);
        (!newest.1.is_empty() && !newest.1.contains(&ip)).then_some(Stale::Renamed(ip, newest.1))
    })
}

/// By the EndpointSlices: nothing of the cluster has the address that a socket has for a Service's name.
fn gone<'a>(case: &Case<'a>, ailing: &Ailing) -> Option<Stale<'a>> {
    let facts = case.facts?;
    let ip = ailing.backend.or(ailing.peer)?;
    if facts.has_address(ip) != Some(false) {
        return None;
    }
    case.service().map(|service| Stale::Gone(ip, service))
}

fn tell_waiting(case: &Case<'_>, told: &mut Told) {
    let accepted = &case.exporter.accepted;
    // A time-out that nothing tells is none to name.
    let after = match case.exporter.is_timeout_guessed {
        true => String::new(),
        false => format!(" after {}", Told::duration(case.exporter.timeout)),
    };
    if accepted.unanswered.any() {
        let how = if accepted.cancelled > 0 {
            "given up by the exporter (RST_STREAM)"
        } else {
            "not answered"
        };
        told.seen("request", format!("requests {how}{after}"), accepted.unanswered);
    }
    if let Some(oldest) = accepted.waiting.iter().map(|waiting| waiting.at).min() {
        let waits = Told::duration(case.now.since(oldest));
        told.lines.push(crate::model::verdict::Evidence {
            kind: "request",
            text: format!("a request waits for its answer since {waits}").into(),
            count: accepted.waiting.len() as u64,
            last: Some(oldest),
        });
    }
    if let Some(deaf) = case.ailing().filter_map(|ailing| ailing.deaf_since).min() {
        let waits = Told::duration(case.now.since(deaf));
        told.fact(
            "traffic",
            format!("payload goes out over TLS and nothing has come back for {waits}"),
        );
    }
}
