//! Events of one node to [`Observation`]s: queries paired with their responses, resolver searches made one look-up each,
//! attempts to connect with what became of them, drops with what they hit, addresses with the name they were looked
//! up by.
//!
//! Synchronous state machines; the clock is that of the events and of [`Correlator::expire`]. Memory is bounded by
//! [`Config`], and what had to be forgotten for it is counted.

mod aging;
mod candidate;
mod connection;
mod dns;
mod dropped;
mod exchange;
mod lookup;
mod names;
mod owner;
mod query;
mod symbols;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::decode::http::Segment;
use crate::model::attributed::Attributed;
use crate::model::event::{EventBody, Outcome};
use crate::model::exchange::Spoken;
use crate::model::observation::{ConnectFailure, Observation, What};
use crate::model::time::Mono;

use aging::Aging;
use connection::Connections;
use lookup::Lookups;
use names::Names;
use owner::{Ends, Owner};
use query::Queries;

pub use symbols::{Recorded, Symbols, hook, hook_of};

/// Times and sizes. The defaults hold 500 workloads and 10,000 connections in about 10 MiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// When a query counts as unanswered: glibc's time-out for one try.
    pub query_timeout: Duration,
    /// How long a resolver must be quiet before its search counts as over.
    pub settle: Duration,
    /// How long the name of an address is remembered beyond its TTL.
    pub name_grace: Duration,
    /// How long a drop without a socket waits for the end of its connection: longer than the kernel sends SYNs (134 s).
    pub drop_memory: Duration,
    /// Queries that may be unanswered at a time.
    pub max_queries: usize,
    /// Resolver searches under way.
    pub max_lookups: usize,
    /// Connections.
    pub max_connections: usize,
    /// Addresses with names.
    pub max_names: usize,
    /// Ends of dropped packets.
    pub max_drops: usize,
    /// DNS-over-TCP connections.
    pub max_dns_streams: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            query_timeout: Duration::from_secs(5),
            settle: Duration::from_secs(1),
            name_grace: Duration::from_mins(5),
            drop_memory: Duration::from_mins(3),
            max_queries: 8192,
            max_lookups: 4096,
            max_connections: 16_384,
            max_names: 16_384,
            max_drops: 2048,
            max_dns_streams: 256,
        }
    }
}

/// What was forgotten or could not be used, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Queries forgotten before their time-out.
    pub queries_forgotten: u64,
    /// Searches forgotten before their outcome.
    pub lookups_forgotten: u64,
    /// Connections forgotten before their end.
    pub connections_forgotten: u64,
    /// Names of addresses forgotten before their time.
    pub names_forgotten: u64,
    /// Drops forgotten before their time.
    pub drops_forgotten: u64,
    /// DNS-over-TCP streams forgotten before their end.
    pub dns_streams_forgotten: u64,
    /// Requests forgotten before their answer.
    pub exchanges_forgotten: u64,
    /// DNS messages without a usable header.
    pub dns_unreadable: u64,
    /// DNS messages of which a part could not be read.
    pub dns_defects: u64,
    /// Responses to no query that was seen.
    pub dns_unasked: u64,
    /// Messages of a name server on this node, which is the other end of somebody's query.
    pub dns_server_side: u64,
}

/// Entries held at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Queries that may still be answered.
    pub queries: usize,
    /// Searches.
    pub lookups: usize,
    /// Connections.
    pub connections: usize,
    /// Names of addresses.
    pub names: usize,
}

/// The state of correlation.
pub struct Correlator {
    config: Config,
    queries: Queries,
    lookups: Lookups,
    connections: Connections,
    names: Names,
    /// Errors on resolvers' sockets that came before their query, by cookie: the errno.
    refused: Aging<u64, u32>,
    recorded: Recorded,
    live: Option<Box<dyn Symbols + Send>>,
    counters: Counters,
    /// The latest moment expiry was done for.
    now: Mono,
    swept: Mono,
}

/// How often old names and drops are removed; they are never used past their time.
const SWEEP: Duration = Duration::from_secs(10);

/// Errors that wait for their query, which comes within microseconds.
const MAX_REFUSED: usize = 256;

impl Correlator {
    /// An empty state.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            queries: Queries::new(config.max_queries, config.query_timeout),
            lookups: Lookups::new(config.max_lookups, config.settle, config.query_timeout),
            connections: Connections::new(
                config.max_connections,
                config.max_drops,
                config.max_dns_streams,
                config.drop_memory,
            ),
            names: Names::new(config.max_names, config.name_grace),
            refused: Aging::new(MAX_REFUSED),
            recorded: Recorded::default(),
            live: None,
            counters: Counters::default(),
            now: Mono(0),
            swept: Mono(0),
            config,
        }
    }

    /// Asks `symbols` for names that no record told.
    #[must_use]
    pub fn with_symbols(mut self, symbols: Box<dyn Symbols + Send>) -> Self {
        self.live = Some(symbols);
        self
    }

    /// Takes one event; what it means is added to `out`. Time-outs that lie before it are reported first.
    pub fn on(&mut self, attributed: Attributed, out: &mut Vec<Observation>) {
        let at = attributed.event.at;
        if at > self.now {
            self.expire(at, out);
        }
        let (owner, at, body) = Owner::split(attributed);
        match body {
            EventBody::Dns {
                ends,
                direction,
                asked,
                comm: _,
                message,
                wire_len,
            } => self.udp_message(
                owner,
                Ends::new(ends, asked),
                direction,
                &message,
                wire_len,
                at,
                out,
            ),
            EventBody::SocketError { ends, errno } => self.socket_error(&owner, ends, errno, at, out),
            EventBody::Attempt { ends, asked, comm: _ } => {
                let ends = Ends::new(ends, asked);
                out.push(self.connections.attempt(owner, ends, &self.names, at));
            }
            EventBody::Established { ends, handshake } => {
                out.push(
                    self.connections
                        .established(owner, ends, handshake, &self.names, at),
                );
            }
            EventBody::Retransmit { ends, count, syn } => {
                out.push(
                    self.connections
                        .retransmit(owner, ends, (count, syn), &self.names, at),
                );
            }
            EventBody::Close(close) => self.connections.close(owner, &close, &self.names, at, out),
            EventBody::ConnectFailed {
                asked,
                comm: _,
                errno,
            } => {
                let failure = ConnectFailure {
                    outcome: Outcome::Failed,
                    errno,
                    duration: Duration::ZERO,
                    syn_retransmits: 0,
                    drop: None,
                };
                let ends = Ends {
                    remote: Some(asked),
                    name: self.names.get(owner.scope(), asked.ip(), at),
                    ..Ends::default()
                };
                out.push(owner.observe(at, ends, What::ConnectFailed(Box::new(failure))));
            }
            EventBody::Payload {
                direction,
                offset,
                wire_len,
                late,
                dns,
                bytes,
                gap: _,
                h2_frame,
            } => {
                if dns {
                    self.tcp_segment(&owner, direction, offset, wire_len, late, &bytes, at, out);
                } else {
                    let segment = Segment {
                        at,
                        direction,
                        offset,
                        wire_len,
                        late,
                        h2_frame,
                        bytes: &bytes,
                    };
                    self.connections.payload(owner.cookie, &segment, out);
                }
            }
            EventBody::Drop(packet) => self.packet_drop(owner, *packet, at, out),
            EventBody::Adopted {
                ends,
                state,
                comm: _,
                bytes_acked,
                bytes_received,
            } => {
                let ends = Ends::new(ends, None);
                let what = What::Adopted {
                    state,
                    bytes_acked,
                    bytes_received,
                };
                out.extend(self.connections.adopt(owner, ends, what, &self.names, at));
            }
            EventBody::TcpInfo(info) => out.push(self.connections.tcp_info(owner, info, &self.names, at)),
            EventBody::Name { of, text } => self.recorded.learn(of, &text),
            EventBody::Lost { count } => {
                out.push(owner.observe(at, Ends::default(), What::Lost { count }));
            }
            // Attribution's business.
            EventBody::Cgroup { .. }
            | EventBody::CgroupGone
            | EventBody::Exec { .. }
            | EventBody::Running { .. }
            | EventBody::Exit
            | EventBody::Pod { .. } => {}
        }
    }

    /// Reports what is due by `now`. Each observation carries the moment it was due, so that a replay says the same
    /// whenever this is called.
    pub fn expire(&mut self, now: Mono, out: &mut Vec<Observation>) {
        self.now = self.now.max(now);
        loop {
            // In order of time: a query's time-out may end a search, or come after its end.
            let query = self.queries.next_due().filter(|at| *at <= now);
            let lookup = self.lookups.next_due().filter(|at| *at <= now);
            match (query, lookup) {
                (Some(query), lookup) if lookup.is_none_or(|lookup| query <= lookup) => {
                    self.overdue_queries(query, out);
                }
                (_, Some(lookup)) => self.lookups.expire(lookup, out),
                _ => break,
            }
        }
        if now.since(self.swept) >= SWEEP {
            self.swept = now;
            self.names.expire(now);
            self.refused.expire(now);
            self.connections.expire(now);
        }
    }

    /// When [`Correlator::expire`] has something to report next.
    #[must_use]
    pub fn next_due(&self) -> Option<Mono> {
        match (self.queries.next_due(), self.lookups.next_due()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// What was forgotten or could not be used.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            queries_forgotten: self.queries.forgotten(),
            lookups_forgotten: self.lookups.forgotten(),
            connections_forgotten: self.connections.forgotten(),
            names_forgotten: self.names.forgotten(),
            drops_forgotten: self.connections.drops_forgotten(),
            dns_streams_forgotten: self.connections.dns.forgotten(),
            exchanges_forgotten: self.connections.exchanges_forgotten,
            ..self.counters
        }
    }

    /// Entries held.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        Sizes {
            queries: self.queries.len(),
            lookups: self.lookups.len(),
            connections: self.connections.len(),
            names: self.names.len(),
        }
    }

    /// What the two directions of a connection speak, by its cookie: sent, received.
    #[must_use]
    pub fn spoken(&self, cookie: u64) -> Option<(Spoken, Spoken)> {
        self.connections.spoken(cookie)
    }
}
