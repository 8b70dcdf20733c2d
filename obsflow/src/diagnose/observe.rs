//! What observations add to the facts of an exporter.
//!
//! A fact of failure stands until a later success of its own rung takes it away: an address was given, a handshake
//! completed, a request was taken.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::model::event::{Protocol, TcpInfo};
use crate::model::exchange::{Spoken, TlsOutcome};
use crate::model::expectation::Host;
use crate::model::observation::{ConnectionEnd, DropSeen, Lookup, LookupOutcome, Observation, What};
use crate::model::time::Mono;

use super::Diagnoser;
use super::ailing::{Ends, STUCK};
use super::exporter::{Container, Destination, Dns, DropFact, FailedLookup, MAX_ADDRESSES, MAX_TRIED, Seen};
use super::joining;

/// States of a socket whose peer ended first (`include/net/tcp_states.h`).
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
/// Kinds of failed searches kept side by side.
const MAX_FAILED_LOOKUPS: usize = 6;

/// Reasons for which a packet is dropped on purpose, or for want of a way back: somebody on this node decided so. Others
/// come with healthy traffic, too (a refused SYN is `NO_SOCKET`, a keep-alive probe `TCP_OLD_SEQUENCE`).
pub(super) const DELIBERATE: [&str; 9] = [
    "NETFILTER_DROP",
    "TC_INGRESS",
    "TC_EGRESS",
    "XDP",
    "BPF_CGROUP_EGRESS",
    "SOCKET_FILTER",
    "IP_RPFILTER",
    "XFRM_POLICY",
    "SECURITY_HOOK",
];

impl Diagnoser {
    /// Takes one observation.
    pub fn on(&mut self, observation: &Observation) {
        self.clock(observation.at);
        match &observation.what {
            // The search they belong to, or the drop that ended them, tells more.
            What::DnsQuery(_)
            | What::DnsResponse { .. }
            | What::DnsUnanswered { .. }
            | What::DnsRefused { .. } => {}
            What::Lookup(lookup) => self.lookup(observation, lookup),
            What::Lost { count } => {
                self.node.lost.add(observation.at, *count);
            }
            What::Dropped(seen) if seen.packet.protocol == Protocol::Udp => self.udp_drop(observation, seen),
            What::Request(request) => self.request(observation, request),
            What::Exchange(exchange) => self.exchange(observation, exchange),
            _ => self.connection(observation),
        }
    }

    fn lookup(&mut self, observation: &Observation, lookup: &Lookup) {
        if lookup.outcome == LookupOutcome::Resolved {
            self.node.names.learn(&lookup.name, &lookup.ips, observation.at);
        }
        let Some(slot) = self.containers.of(observation) else {
            return;
        };
        let Some(container) = self.containers.get_mut(slot) else {
            return;
        };
        let mut mine = false;
        let best = container
            .destinations
            .iter()
            .filter_map(|to| joining::lookup_fits(to, lookup))
            .max();
        for to in &mut container.destinations {
            if best.is_some() && joining::lookup_fits(to, lookup) == best {
                mine = true;
                to.wire.add(observation.at);
                to.dns.search(lookup, self.node.lost.last(), observation.at);
            }
        }
        if !mine {
            container.work.add(observation.at);
        }
    }

    /// A dropped datagram with a question in it.
    fn udp_drop(&mut self, observation: &Observation, seen: &DropSeen) {
        let Some(question) = seen.question.as_deref() else {
            return;
        };
        if !DELIBERATE.contains(&&*seen.reason) {
            return;
        }
        let Some(slot) = self.containers.of(observation) else {
            return;
        };
        let Some(container) = self.containers.get_mut(slot) else {
            return;
        };
        let fits = |to: &Destination| match &to.host {
            Host::Name(host) if joining::name_fits(question, host) => Some(host.len()),
            _ => None,
        };
        let best = container.destinations.iter().filter_map(fits).max();
        for to in &mut container.destinations {
            if best.is_some() && fits(to) == best {
                to.wire.add(observation.at);
                to.dns.drops.add(observation.at);
                to.dns.dropped = Some(Box::new(fact(seen)));
            }
        }
    }

    /// Container and destination of an observation of a connection, by its socket, else by its addresses.
    pub(super) fn destination_of(&mut self, observation: &Observation) -> Option<(u32, u8)> {
        if observation.cookie != 0
            && let Some(link) = self.links.get(observation.cookie)
            && self.containers.same(link.slot, link.generation).is_some()
        {
            return Some((link.slot, link.to));
        }
        let slot = self.containers.of(observation)?;
        let container = self.containers.get_mut(slot)?;
        let Some(to) = joining::of_connection(container, observation) else {
            container.work.add(observation.at);
            return None;
        };
        if !matches!(observation.what, What::ConnectFailed(_) | What::Closed(_)) {
            self.links
                .insert(observation.cookie, slot, container.generation, to);
        }
        Some((slot, to))
    }

    fn connection(&mut self, observation: &Observation) {
        if matches!(observation.what, What::Attempt) {
            // A new socket: the cookie of an old one cannot come again, but what was said of it may be late.
            self.links.remove(observation.cookie);
        }
        let mut joined = self.destination_of(observation);
        if joined.is_none()
            && matches!(observation.what, What::Attempt)
            && self.carries_for_another(observation)
        {
            joined = self.destination_of(observation);
        }
        let Some((slot, to)) = joined else {
            return;
        };
        let link = self.links.get_mut(observation.cookie);
        let Some(container) = self.containers.get_mut(slot) else {
            return;
        };
        let at = observation.at;
        let peer = observation.asked.or(observation.remote);
        let ends = Ends {
            peer,
            backend: observation.remote,
        };
        let Some(destination) = container.destinations.get_mut(usize::from(to)) else {
            return;
        };
        destination.wire.add(at);
        match &observation.what {
            What::Attempt => {
                if let (Some(asked), Some(remote)) = (observation.asked, observation.remote) {
                    // Whoever asks for the unspecified address asks for this machine.
                    let asked = asked.ip();
                    destination.is_redirected =
                        remote.ip().is_loopback() && !asked.is_loopback() && !asked.is_unspecified();
                }
                destination.connects.attempt(observation.cookie, peer, at);
            }
            What::Retransmit { count, syn: true } => {
                destination
                    .connects
                    .syn_again(observation.cookie, peer, *count, at);
            }
            What::Retransmit { syn: false, .. } => {
                destination
                    .traffic
                    .ailing
                    .sent_again(observation.cookie, ends, at);
            }
            What::Established { .. } => destination.established(observation.cookie, peer, at),
            What::Adopted { .. } => {
                destination.connects.adopted.add(at);
                destination.connects.peer = peer;
            }
            What::ConnectFailed(failure) => {
                destination.connects.failed(observation.cookie, peer, failure, at);
                self.links.remove(observation.cookie);
            }
            What::Closed(end) => {
                destination.traffic.closed(observation.cookie, end, at);
                container.closed(observation.cookie);
                self.links.remove(observation.cookie);
            }
            What::TcpInfo(info) => {
                if let Some(link) = link {
                    let before = (link.bytes_acked, link.bytes_received);
                    (link.bytes_acked, link.bytes_received) = (info.bytes_acked, info.bytes_received);
                    let sent_deaf =
                        destination.traffic.info(observation.cookie, info, before, at) && link.is_tls;
                    destination
                        .traffic
                        .ailing
                        .counted(observation.cookie, ends, info, sent_deaf, at);
                    if info.backoff >= STUCK {
                        container.carries_no_more(observation.cookie);
                    }
                }
            }
            What::Dropped(seen) => destination.tcp_drop(observation.cookie, ends, seen, at),
            What::Tls(tls) => {
                if tls.outcome == TlsOutcome::Established
                    && let Some(link) = link
                {
                    link.is_tls = true;
                }
                destination.tls(observation.cookie, tls, at);
            }
            What::Mismatch(mismatch) => {
                let known = matches!(
                    (mismatch.client, mismatch.server),
                    (
                        Spoken::Tls | Spoken::Http1 | Spoken::Http2,
                        Spoken::Tls | Spoken::Http1 | Spoken::Http2 | Spoken::Nothing | Spoken::Unknown
                    )
                );
                if known {
                    let mut seen = match &destination.mismatch {
                        Some((before, seen))
                            if (before.client, before.server) == (mismatch.client, mismatch.server) =>
                        {
                            *seen
                        }
                        _ => Seen::default(),
                    };
                    seen.add(at);
                    destination.mismatch = Some((*mismatch, seen));
                }
            }
            _ => {}
        }
    }
}

pub(super) fn fact(seen: &DropSeen) -> DropFact {
    DropFact {
        reason: Arc::clone(&seen.reason),
        hook: seen.hook.clone(),
        ifindex: seen.ifindex,
    }
}

impl Dns {
    /// A search ended; `lost` is when events were lost last.
    fn search(&mut self, lookup: &Lookup, lost: Option<Mono>, at: Mono) {
        self.searches.add(at);
        if lookup.outcome == LookupOutcome::Resolved {
            self.ok.add(at);
            self.failed.clear();
            self.drops.clear();
            self.dropped = None;
            if self.resolved.as_deref() != Some(&*lookup.name) {
                self.resolved = Some(Arc::clone(&lookup.name));
            }
            let fresh = || lookup.ips.iter().map(IpAddr::to_canonical).take(MAX_ADDRESSES);
            if !self.addresses.iter().copied().eq(fresh()) {
                self.addresses = fresh().collect();
            }
            return;
        }
        // Its answer may be among what was lost; if not, the next search tells.
        if lookup.outcome == LookupOutcome::Unanswered
            && lost.is_some_and(|lost| at.since(lost) <= lookup.took)
        {
            return;
        }
        let kind = std::mem::discriminant(&lookup.outcome);
        let found = self
            .failed
            .iter()
            .position(|failed| std::mem::discriminant(&failed.outcome) == kind);
        let failed = match found.and_then(|index| self.failed.get_mut(index)) {
            Some(failed) => failed,
            None => {
                if self.failed.len() >= MAX_FAILED_LOOKUPS {
                    self.failed.remove(0);
                }
                self.failed.push(FailedLookup {
                    outcome: lookup.outcome,
                    seen: Seen::default(),
                    tried: Vec::new(),
                    server: None,
                });
                let Some(failed) = self.failed.last_mut() else {
                    return;
                };
                failed
            }
        };
        failed.outcome = lookup.outcome;
        failed.seen.add(at);
        failed.server = lookup.server.or(failed.server);
        for candidate in &lookup.candidates {
            if failed.tried.len() >= MAX_TRIED {
                break;
            }
            if !failed
                .tried
                .iter()
                .any(|name| name.eq_ignore_ascii_case(&candidate.name))
            {
                failed.tried.push(Arc::clone(&candidate.name));
            }
        }
    }
}

impl Destination {
    fn established(&mut self, cookie: u64, peer: Option<SocketAddr>, at: Mono) {
        self.connects.ok.add(at);
        self.connects.peer = peer;
        self.traffic.ailing.established(cookie, at);
        // Older attempts are given up, or their end was not seen.
        let pending = &mut self.connects.pending;
        let began = pending.iter().find(|pending| pending.cookie == cookie);
        let began = began.map_or(at, |pending| pending.began);
        pending.retain(|pending| pending.cookie != cookie && pending.began > began);
        self.connects.failed.clear();
        self.dns.failed.clear();
        self.dns.drops.clear();
        self.dns.dropped = None;
    }

    fn tcp_drop(&mut self, cookie: u64, ends: Ends, seen: &DropSeen, at: Mono) {
        if !DELIBERATE.contains(&&*seen.reason) {
            return;
        }
        if let Some(pending) = self
            .connects
            .pending
            .iter_mut()
            .find(|pending| pending.cookie == cookie)
        {
            pending.drops.add(at);
            pending.dropped = Some(Box::new(fact(seen)));
            return;
        }
        self.traffic.ailing.dropped(cookie, ends, fact(seen), at);
    }

    fn tls(&mut self, cookie: u64, tls: &crate::model::exchange::Tls, at: Mono) {
        let facts = &mut self.tls;
        match tls.outcome {
            TlsOutcome::Established => {
                facts.ok.add(at);
                facts.on = cookie;
                facts.failed.clear();
                facts.unanswered.clear();
                facts.alert = None;
                self.mismatch = None;
                self.traffic.resets.clear();
                self.traffic.closed.clear();
            }
            TlsOutcome::Failed => {
                facts.failed.add(at);
                facts.alert = tls.alert.or(facts.alert);
            }
            TlsOutcome::Unanswered => facts.unanswered.add(at),
        }
        if tls.sni.is_some() && facts.sni != tls.sni {
            facts.sni.clone_from(&tls.sni);
        }
        if facts.alpn != tls.alpn {
            facts.alpn.clone_from(&tls.alpn);
        }
    }
}

impl super::exporter::Traffic {
    fn closed(&mut self, cookie: u64, end: &ConnectionEnd, at: Mono) {
        if end.bytes_received > 0 {
            self.resets.clear();
            self.closed.clear();
        } else if end.rst {
            self.resets.add(at);
        } else if end.bytes_acked > 0 && matches!(end.last_state, CLOSE_WAIT | LAST_ACK) {
            self.closed.add(at);
        }
        self.ailing.closed(cookie);
    }

    /// Periodic state; `before` is what was sent and received until the last time. Whether something was sent since, and
    /// nothing came.
    fn info(&mut self, cookie: u64, info: &TcpInfo, before: (u64, u64), at: Mono) -> bool {
        let heard = info.bytes_received > before.1;
        let went = info.bytes_acked > before.0;
        if went {
            self.up.add(at);
        }
        if heard {
            self.down.add(at);
            self.ailing.heard(cookie);
        }
        went && !heard
    }
}

impl Container {
    /// A connection is no more: what was asked on it will not be answered, and nothing travels on it.
    fn closed(&mut self, cookie: u64) {
        for exporter in &mut self.exporters {
            exporter
                .accepted
                .waiting
                .retain(|waiting| waiting.cookie != cookie);
        }
        self.carries_no_more(cookie);
    }

    /// A connection ended, or hears nothing any more: what fails beside it matters.
    fn carries_no_more(&mut self, cookie: u64) {
        for exporter in &mut self.exporters {
            if exporter.accepted.on == cookie {
                exporter.accepted.on = 0;
            }
        }
        for to in &mut self.destinations {
            if to.tls.on == cookie {
                to.tls.on = 0;
            }
        }
    }
}
