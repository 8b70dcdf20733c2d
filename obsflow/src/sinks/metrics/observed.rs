//! What observations add.

use std::sync::Arc;
use std::time::Duration;

use super::Metrics;
use super::families::Id;
use super::names::{EMPTY, Sym};
use super::store::{More, NO_MORE};
use crate::flow::errno;
use crate::model::Mono;
use crate::model::event::Outcome;
use crate::model::exchange::{Answer, Exchange, Signal};
use crate::model::observation::{LookupOutcome, Observation, What};

/// Open connections whose bytes are known: as many as the kernel side follows.
const MAX_CONNECTIONS: usize = 16_384;
/// A connection that nothing was heard of for this long ended unseen: the monitor asks each of them within half an hour.
pub(super) const FORGOTTEN: Duration = Duration::from_secs(2 * 3600);

/// What was counted of a connection so far.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) seen: Mono,
    sent: u64,
    received: u64,
    syns: u32,
    segments: u32,
    /// How much it had sent before obsflow knew it is not known yet.
    joined_late: bool,
}

/// What is known of a connection's numbers now: bytes sent and received, SYNs and segments sent again.
#[derive(Clone, Copy, Default)]
struct Numbers {
    bytes: Option<(u64, u64)>,
    syns: Option<u32>,
    segments: Option<u32>,
}

impl Metrics {
    /// Takes one observation.
    pub fn observe(&mut self, seen: &Observation) {
        match &seen.what {
            What::Lookup(lookup) => {
                let outcome = lookup_outcome(lookup.outcome);
                let took = lookup.took;
                self.add(Id::DnsLookups, seen, EMPTY, &[outcome], 1);
                self.time(Id::DnsLookupDuration, seen, EMPTY, took);
            }
            What::DnsUnanswered { .. } => self.add(Id::DnsUnanswered, seen, EMPTY, &[], 1),
            What::Dropped(drop) => {
                let sink = self.sink(seen);
                self.add(Id::Drops, seen, sink, &[&drop.reason], 1);
            }
            _ if self.is_to_name_server(seen) => {}
            What::Attempt => {
                self.connection(seen, false);
            }
            What::Adopted {
                bytes_acked,
                bytes_received,
                ..
            } => {
                if let Some(connection) = self.connection(seen, false) {
                    (connection.sent, connection.received) = (*bytes_acked, *bytes_received);
                }
            }
            What::Established { handshake } => {
                self.connection(seen, false);
                let sink = self.sink(seen);
                self.add(Id::SinkConnects, seen, sink, &["established", ""], 1);
                self.time(Id::SinkHandshakeDuration, seen, sink, *handshake);
            }
            What::ConnectFailed(failure) => {
                let numbers = Numbers {
                    syns: Some(failure.syn_retransmits),
                    ..Numbers::default()
                };
                let sink = self.numbers(seen, numbers, Some(true));
                let errno = errno_name(failure.errno);
                let outcome = connect_outcome(failure.outcome);
                self.add(Id::SinkConnects, seen, sink, &[outcome, &errno], 1);
            }
            What::Retransmit { count, syn } => {
                let numbers = Numbers {
                    syns: syn.then_some(*count),
                    segments: (!syn).then_some(*count),
                    ..Numbers::default()
                };
                self.numbers(seen, numbers, None);
            }
            What::TcpInfo(info) => {
                let bytes = Some((info.bytes_acked, info.bytes_received));
                let numbers = Numbers {
                    bytes,
                    ..Numbers::default()
                };
                self.numbers(seen, numbers, None);
            }
            What::Closed(end) => {
                let numbers = Numbers {
                    bytes: Some((end.bytes_acked, end.bytes_received)),
                    segments: Some(end.retransmits),
                    syns: None,
                };
                // One that is not known any more was counted before it was forgotten.
                self.numbers(seen, numbers, Some(end.duration < FORGOTTEN));
            }
            What::Exchange(exchange) => self.exchange(seen, exchange),
            _ => {}
        }
    }

    fn is_to_name_server(&self, seen: &Observation) -> bool {
        let peer = seen.asked.or(seen.remote);
        peer.is_some_and(|peer| self.options.dns_ports.contains(&peer.port()))
    }

    fn exchange(&mut self, seen: &Observation, exchange: &Exchange) {
        let request = &exchange.request;
        // What a path is for can be told of what can be read; a gRPC call on a telemetry connection is an export.
        let unreadable = request.path.is_none() && request.grpc;
        if request.ingest.is_none() && !unreadable {
            return;
        }
        let signal = request
            .ingest
            .and_then(|ingest| ingest.signal)
            .map_or("", Signal::name);
        let code = code(&exchange.answer);
        let sink = self.sink(seen);
        self.add(Id::ExportRequests, seen, sink, &[signal, &code], 1);
    }

    /// Adds to what a connection sent and received, and again; `end` says that it is over, and whether one that is not known
    /// counts from its beginning. Returns where it goes.
    fn numbers(&mut self, seen: &Observation, now: Numbers, end: Option<bool>) -> Sym {
        let sink = self.sink(seen);
        let Some(connection) = self.connection(seen, true) else {
            // No room to follow it: its end tells everything.
            if end == Some(true) {
                self.add_numbers(
                    seen,
                    sink,
                    now.bytes.unwrap_or_default(),
                    (now.syns, now.segments),
                );
            }
            return sink;
        };
        if connection.joined_late && end != Some(true) {
            // What it did before is not known: this is where counting begins.
            if let Some(bytes) = now.bytes {
                (connection.sent, connection.received) = bytes;
                connection.joined_late = false;
            }
        }
        let (sent, received) = now.bytes.unwrap_or((connection.sent, connection.received));
        let bytes = (
            sent.saturating_sub(connection.sent),
            received.saturating_sub(connection.received),
        );
        let again = |now: Option<u32>, before: &mut u32| {
            let more = now.map_or(0, |now| now.saturating_sub(*before));
            *before += more;
            more
        };
        let syns = again(now.syns, &mut connection.syns);
        let segments = again(now.segments, &mut connection.segments);
        connection.sent = connection.sent.max(sent);
        connection.received = connection.received.max(received);
        if end.is_some() {
            self.connections.remove(&seen.cookie);
        }
        self.add_numbers(seen, sink, bytes, (Some(syns), Some(segments)));
        sink
    }

    fn add_numbers(
        &mut self,
        seen: &Observation,
        sink: Sym,
        bytes: (u64, u64),
        again: (Option<u32>, Option<u32>),
    ) {
        self.add(Id::SinkSentBytes, seen, sink, &[], bytes.0);
        self.add(Id::SinkReceivedBytes, seen, sink, &[], bytes.1);
        let (syns, segments) = (again.0.unwrap_or(0), again.1.unwrap_or(0));
        self.add(Id::SinkRetransmits, seen, sink, &["syn"], syns.into());
        self.add(Id::SinkRetransmits, seen, sink, &["data"], segments.into());
    }

    /// The connection of an observation, as one that begins now unless it is known.
    fn connection(&mut self, seen: &Observation, late: bool) -> Option<&mut Connection> {
        let known = self.connections.contains_key(&seen.cookie);
        if seen.cookie == 0 || (!known && self.connections.len() >= MAX_CONNECTIONS) {
            return None;
        }
        let connection = self.connections.entry(seen.cookie).or_insert(Connection {
            seen: seen.at,
            sent: 0,
            received: 0,
            syns: 0,
            segments: 0,
            joined_late: late,
        });
        connection.seen = seen.at;
        Some(connection)
    }

    fn sink(&mut self, seen: &Observation) -> Sym {
        let who = self.who(&seen.workload, seen.at);
        let Some((sink, evicted)) = self.sinks.of(who, seen, &mut self.names) else {
            return EMPTY;
        };
        self.evict_sink(evicted, seen.at);
        sink
    }

    fn add(&mut self, family: Id, seen: &Observation, sink: Sym, labels: &[&str], by: u64) {
        if by > 0 {
            let more = self.more(labels);
            let who = self.who(&seen.workload, seen.at);
            self.count(family, who, sink, more, seen.at, |value| value.add(by));
        }
    }

    fn time(&mut self, family: Id, seen: &Observation, sink: Sym, took: Duration) {
        let who = self.who(&seen.workload, seen.at);
        self.count(family, who, sink, NO_MORE, seen.at, |value| value.observe(took));
    }

    pub(super) fn more(&mut self, labels: &[&str]) -> More {
        let mut more = NO_MORE;
        for (place, label) in more.iter_mut().zip(labels) {
            *place = self.names.sym(label);
        }
        more
    }
}

fn lookup_outcome(outcome: LookupOutcome) -> &'static str {
    match outcome {
        LookupOutcome::Resolved => "resolved",
        LookupOutcome::NxDomain => "nxdomain",
        LookupOutcome::NoData => "no-data",
        LookupOutcome::ServerFailure(_) => "server-failure",
        LookupOutcome::Unanswered => "unanswered",
        LookupOutcome::Refused(_) => "refused",
        LookupOutcome::Dropped => "dropped",
    }
}

fn connect_outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Established => "established",
        Outcome::Refused => "refused",
        Outcome::Rejected => "rejected",
        Outcome::Unreachable => "unreachable",
        Outcome::TimedOut => "timed-out",
        Outcome::GivenUp => "given-up",
        Outcome::Abandoned => "abandoned",
        Outcome::Failed => "failed",
        Outcome::Dropped => "dropped",
    }
}

fn errno_name(errno: u32) -> Arc<str> {
    match errno::name(errno) {
        Some(name) => name.into(),
        None if errno == 0 => "".into(),
        None => errno.to_string().into(),
    }
}

fn code(answer: &Answer) -> String {
    match answer {
        // A server may make up any number: each would be a series.
        Answer::Http { status, .. } if !(100..600).contains(status) => "http-other".to_owned(),
        Answer::Http { status, .. } => status.to_string(),
        Answer::Grpc {
            status: Some(status), ..
        } => crate::model::exchange::grpc_status(*status)
            .unwrap_or("grpc-other")
            .to_owned(),
        Answer::Grpc { failed: true, .. } => "grpc-error".to_owned(),
        Answer::Grpc { failed: false, .. } => "grpc-ok".to_owned(),
        Answer::Cancelled(_) => "cancelled".to_owned(),
        Answer::StreamReset(_) => "reset".to_owned(),
        Answer::ConnectionEnded { .. } => "closed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::exchange::Form;

    #[test]
    fn numbers_that_a_server_makes_up_are_one_code() {
        let http = |status| {
            code(&Answer::Http {
                status,
                refusal: None,
                retry_after: false,
                body_bytes: None,
                form: Form::default(),
            })
        };
        let grpc = |status| {
            code(&Answer::Grpc {
                status: Some(status),
                failed: true,
                data_bytes: 0,
                form: Form::default(),
            })
        };
        assert_eq!([http(204), http(599), grpc(14)], ["204", "599", "UNAVAILABLE"]);
        assert_eq!([http(99), http(600), http(999)], ["http-other"; 3]);
        assert_eq!([grpc(17), grpc(u32::MAX)], ["grpc-other"; 2]);
    }
}
