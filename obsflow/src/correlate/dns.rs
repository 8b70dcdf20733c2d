//! DNS messages and errors of resolvers' sockets, to queries and look-ups.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Correlator;
use super::candidate::{State as Asked, lowercase};
use super::lookup::Answer;
use super::owner::{Ends, Owner};
use super::query::State;
use crate::decode::dns::message::{Parsed, parse};
use crate::decode::dns::stream::{DnsStream, Framed};
use crate::model::event::{Direction, Endpoints, Protocol};
use crate::model::observation::{DnsMessage, Observation, What};
use crate::model::time::Mono;

/// How long an error on a socket without a query waits for the drop of that query.
const REFUSED: Duration = Duration::from_millis(500);

impl Correlator {
    #[expect(clippy::too_many_arguments, reason = "the fields of one record")]
    pub(super) fn udp_message(
        &mut self,
        owner: Owner,
        ends: Ends,
        direction: Direction,
        bytes: &[u8],
        wire_len: u32,
        at: Mono,
        out: &mut Vec<Observation>,
    ) {
        let wire_len = usize::try_from(wire_len).unwrap_or(usize::MAX);
        self.message(owner, ends, direction, bytes, wire_len, Protocol::Udp, at, out);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one record")]
    pub(super) fn tcp_segment(
        &mut self,
        owner: &Owner,
        direction: Direction,
        offset: u64,
        wire_len: u32,
        late: bool,
        bytes: &Bytes,
        at: Mono,
        out: &mut Vec<Observation>,
    ) {
        let cookie = owner.cookie;
        let mut owner = owner.clone();
        let mut ends = Ends::default();
        if let Some(known) = self.connections.get(cookie) {
            owner.complete(&known.owner);
            ends = known.ends.clone().named(None);
        }
        let until = at.after(self.config.drop_memory);
        let streams = &mut self.connections.dns;
        if !streams.prolong(&cookie, until) {
            streams.insert(cookie, Box::default(), until);
        }
        let Some(streams) = streams.get_mut(&cookie) else {
            return;
        };
        let stream = match direction {
            Direction::Egress => &mut streams.sent,
            Direction::Ingress => &mut streams.received,
        };
        if late && stream.is_new() {
            *stream = DnsStream::new(true);
        }
        let mut messages: Vec<Framed> = Vec::new();
        stream.push(offset, wire_len, bytes, |framed| messages.push(framed));
        for Framed { bytes, wire_len } in messages {
            self.message(
                owner.clone(),
                ends.clone(),
                direction,
                &bytes,
                wire_len,
                Protocol::Tcp,
                at,
                out,
            );
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one record")]
    fn message(
        &mut self,
        owner: Owner,
        ends: Ends,
        direction: Direction,
        bytes: &[u8],
        wire_len: usize,
        protocol: Protocol,
        at: Mono,
        out: &mut Vec<Observation>,
    ) {
        let Ok(Parsed {
            response,
            message,
            defect,
        }) = parse(bytes, wire_len, protocol)
        else {
            self.counters.dns_unreadable += 1;
            return;
        };
        if defect.is_some() {
            self.counters.dns_defects += 1;
        }
        match (direction, response) {
            (Direction::Egress, false) => self.query(&owner, ends, message, at, out),
            (Direction::Ingress, true) => self.response(owner, ends, message, at, out),
            (Direction::Egress, true) | (Direction::Ingress, false) => self.counters.dns_server_side += 1,
        }
    }

    fn query(&mut self, owner: &Owner, ends: Ends, query: DnsMessage, at: Mono, out: &mut Vec<Observation>) {
        let handle = self.queries.ask(owner, &ends, &query, at);
        let lookup = self
            .lookups
            .ask(owner, &ends, (&query.name, &query.qtype), at, out);
        if let Some(pending) = self.queries.get_mut(handle) {
            pending.lookup = lookup;
        }
        out.push(owner.observe(at, ends, What::DnsQuery(query)));
    }

    fn response(
        &mut self,
        mut owner: Owner,
        mut ends: Ends,
        mut message: DnsMessage,
        at: Mono,
        out: &mut Vec<Observation>,
    ) {
        let Some(answered) = self.queries.answer(&owner, ends.local, &message, at) else {
            self.counters.dns_unasked += 1;
            self.learn(&owner, &message, at);
            let what = What::DnsResponse {
                message,
                latency: None,
            };
            out.push(owner.observe(at, ends, what));
            return;
        };
        owner.complete(&answered.owner);
        if message.name.is_empty() || message.name == answered.name {
            // One copy of the name, and the question of an error without one.
            message.name = answered.name;
            message.qtype = answered.qtype;
        }
        ends.asked = ends.asked.or(answered.ends.asked);
        ends.local = ends.local.or(answered.ends.local);
        ends.remote = ends.remote.or(answered.ends.remote);
        self.learn(&owner, &message, at);
        let question = (Arc::clone(&message.name), Arc::clone(&message.qtype));
        let answer = Answer {
            rcode: message.rcode,
            ips: &message.ips,
            truncated: message.truncated,
        };
        let before = out.len();
        if let Some(id) = answered.lookup {
            self.lookups
                .answer(id, (&question.0, &question.1), answer, at, out);
        }
        let what = What::DnsResponse {
            message,
            latency: Some(answered.latency),
        };
        // The answer before the look-up that it ends.
        out.insert(before, owner.observe(at, ends, what));
    }

    fn learn(&mut self, owner: &Owner, message: &DnsMessage, at: Mono) {
        if message.rcode == 0 && !message.ips.is_empty() && !message.name.is_empty() {
            let name = lowercase(&message.name);
            self.names
                .learn(owner.scope(), &name, &message.ips, message.ttl, at);
        }
    }

    /// An ICMP error, or a local one, on a resolver's socket.
    pub(super) fn socket_error(
        &mut self,
        owner: &Owner,
        ends: Endpoints,
        errno: u32,
        at: Mono,
        out: &mut Vec<Observation>,
    ) {
        let Some(concerned) = self.queries.of_socket(owner, ends) else {
            if owner.cookie != 0 {
                self.refused.insert(owner.cookie, errno, at.after(REFUSED));
            }
            let what = What::DnsRefused { query: None, errno };
            out.push(owner.observe(at, Ends::new(ends, None), what));
            return;
        };
        for handle in concerned {
            let Some(pending) = self.queries.get_mut(handle) else {
                continue;
            };
            pending.state = State::Refused;
            let mut owner = owner.clone();
            owner.complete(&pending.owner);
            let query = pending.query.clone();
            let question = (Arc::clone(&query.name), Arc::clone(&query.qtype));
            let lookup = pending.lookup;
            let what = What::DnsRefused {
                query: Some(query),
                errno,
            };
            out.push(owner.observe(at, pending.ends.clone(), what));
            if let Some(id) = lookup {
                let question = (&*question.0, &*question.1);
                self.lookups.fail(id, question, Asked::Refused(errno), at, out);
            }
        }
    }

    /// Queries whose time was up at `now`.
    pub(super) fn overdue_queries(&mut self, now: Mono, out: &mut Vec<Observation>) {
        while let Some((at, handle)) = self.queries.overdue(now) {
            let Some(pending) = self.queries.get_mut(handle) else {
                continue;
            };
            let query = pending.query.clone();
            let question = (Arc::clone(&query.name), Arc::clone(&query.qtype));
            let lookup = pending.lookup;
            let what = What::DnsUnanswered {
                query,
                after: at.since(pending.at),
            };
            out.push(pending.owner.observe(at, pending.ends.clone(), what));
            if let Some(id) = lookup {
                let question = (&*question.0, &*question.1);
                self.lookups.fail(id, question, Asked::Unanswered, at, out);
            }
        }
    }

    /// A dropped packet with a DNS message in it: the query it is, or answers, has been dropped. Gives the question.
    pub(super) fn dropped_message(
        &mut self,
        owner: &mut Owner,
        packet: Endpoints,
        payload: &[u8],
        at: Mono,
        out: &mut Vec<Observation>,
    ) -> Option<DroppedMessage> {
        let Ok(Parsed {
            response, message, ..
        }) = parse(payload, usize::MAX, Protocol::Udp)
        else {
            return None;
        };
        if message.name.is_empty() {
            return None;
        }
        let (local, remote) = if response {
            (packet.remote, packet.local)
        } else {
            (packet.local, packet.remote)
        };
        let question = (Arc::clone(&message.name), Arc::clone(&message.qtype));
        let names = (&*question.0, &*question.1);
        let mut asked = None;
        let known = self.queries.of_packet(owner, Some(local), &message);
        let mut left = false;
        if let Some(pending) = known.and_then(|handle| self.queries.get_mut(handle)) {
            owner.complete(&pending.owner);
            asked = pending.ends.asked;
            left = !pending.unseen;
            let lookup = pending.lookup.filter(|_| left && pending.state == State::Waiting);
            if left && pending.state == State::Waiting {
                pending.state = State::Dropped;
            }
            if let Some(id) = lookup {
                self.lookups
                    .fail(id, names, Asked::Dropped { waits: true }, at, out);
            }
        }
        if !left && !response && owner.is_known() {
            let ends = Ends {
                local: Some(local),
                remote: Some(remote),
                asked,
                name: None,
            };
            self.query_dropped_at_once(owner, &ends, &message, at, out);
        }
        Some(DroppedMessage {
            response,
            question: question.0,
            asked,
        })
    }
}

impl Correlator {
    /// A query was dropped before it could be seen leaving; the resolver was told so (EPERM).
    fn query_dropped_at_once(
        &mut self,
        owner: &Owner,
        ends: &Ends,
        query: &DnsMessage,
        at: Mono,
        out: &mut Vec<Observation>,
    ) {
        let handle = self.queries.ask(owner, ends, query, at);
        let lookup = self
            .lookups
            .ask(owner, ends, (&query.name, &query.qtype), at, out);
        // A REJECT in OUTPUT reports its error before it drops.
        let refused = self.refused.get(&owner.cookie, at).copied();
        if let Some(pending) = self.queries.get_mut(handle) {
            pending.lookup = lookup;
            pending.unseen = true;
            pending.state = if refused.is_some() {
                State::Refused
            } else {
                State::Dropped
            };
        }
        if let Some(id) = lookup {
            let state = refused.map_or(Asked::Dropped { waits: false }, Asked::Refused);
            self.lookups.fail(id, (&query.name, &query.qtype), state, at, out);
        }
    }
}

/// A DNS message in a dropped packet.
pub(super) struct DroppedMessage {
    pub(super) response: bool,
    pub(super) question: Arc<str>,
    pub(super) asked: Option<SocketAddr>,
}
