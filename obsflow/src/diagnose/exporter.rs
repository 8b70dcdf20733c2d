//! What is known of a container, of each destination it sends to, and of each of its exporters: counters, last sightings and
//! a few short lists. Every list has a bound, so that an exporter takes 2 KiB or so whatever happens to it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::model::exchange::{Alert, Answer, Dialect, Mismatch, Request, Signal};
use crate::model::expectation::{
    ContainerKey, Endpoint, Expectation, Host, SenderProof, Setting, Source, Transport,
};
use crate::model::injection::NotInjected;
use crate::model::observation::LookupOutcome;
use crate::model::time::Mono;
use crate::model::verdict::{Leg, Transition};
use crate::model::workload::Workload;

use super::ailing::Ailings;
use super::hysteresis::Held;

/// Names of one search that are kept for evidence: a search list of five in two families has ten questions.
pub(super) const MAX_TRIED: usize = 8;
/// Addresses of a destination.
pub(super) const MAX_ADDRESSES: usize = 8;
/// Attempts under way to one destination; more are not followed one by one.
pub(super) const MAX_PENDING: usize = 8;
/// Requests of an exporter that wait for their answer.
pub(super) const MAX_WAITING: usize = 8;

/// How often something was seen, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) count: u32,
    pub(super) first: Mono,
    pub(super) last: Mono,
}

impl Seen {
    pub(super) fn add(&mut self, at: Mono) {
        if self.count == 0 {
            self.first = at;
        }
        self.count = self.count.saturating_add(1);
        self.last = self.last.max(at);
    }

    pub(super) fn any(&self) -> bool {
        self.count > 0
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// When it was seen last, if ever.
    pub(super) fn last(&self) -> Option<Mono> {
        self.any().then_some(self.last)
    }
}

/// A drop on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DropFact {
    /// Name of the reason.
    pub(super) reason: Arc<str>,
    /// Where in the stack.
    pub(super) hook: Option<Arc<str>>,
    /// Interface index, 0 when none.
    pub(super) ifindex: u32,
}

/// How a search failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FailedLookup {
    pub(super) outcome: LookupOutcome,
    pub(super) seen: Seen,
    /// Every name tried.
    pub(super) tried: Vec<Arc<str>>,
    pub(super) server: Option<SocketAddr>,
}

/// Looking up a destination's name.
#[derive(Clone, Debug, Default)]
pub(super) struct Dns {
    /// Searches that gave an address.
    pub(super) ok: Seen,
    /// The name that gave it.
    pub(super) resolved: Option<Arc<str>>,
    /// What it gave the last time.
    pub(super) addresses: Vec<IpAddr>,
    /// Since the last success, by kind of outcome.
    pub(super) failed: Vec<FailedLookup>,
    /// Packets of look-ups dropped on this node since the last success.
    pub(super) drops: Seen,
    pub(super) dropped: Option<Box<DropFact>>,
    /// Searches of either outcome, ever.
    pub(super) searches: Seen,
}

/// How an attempt to connect failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// RST.
    Refused,
    /// ICMP or REJECT.
    NoEndpoints,
    /// No route, no neighbour.
    Unreachable,
    /// `connect(2)` failed for a reason of this machine: no local port is left, no memory.
    Local,
    /// SYNs without an answer.
    Unanswered,
    /// SYNs dropped on this node, or `connect(2)` denied.
    Dropped,
}

/// Attempts to one address since the destination was last connected.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) ip: IpAddr,
    pub(super) how: Failed,
    pub(super) seen: Seen,
    pub(super) errno: u32,
    /// The most SYNs an attempt sent again.
    pub(super) syn_retransmits: u32,
    pub(super) dropped: Option<Box<DropFact>>,
}

/// An attempt under way.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) cookie: u64,
    pub(super) ip: IpAddr,
    pub(super) began: Mono,
    pub(super) syn_retransmits: u32,
    pub(super) drops: Seen,
    pub(super) dropped: Option<Box<DropFact>>,
}

/// Connecting to a destination.
#[derive(Clone, Debug, Default)]
pub(super) struct Connects {
    /// Attempts, ever.
    pub(super) attempts: Seen,
    /// Handshakes that completed.
    pub(super) ok: Seen,
    /// Connections older than obsflow.
    pub(super) adopted: Seen,
    /// The address connected to last.
    pub(super) peer: Option<SocketAddr>,
    pub(super) failed: Vec<Address>,
    pub(super) pending: Vec<Pending>,
}

/// TLS of a destination.
#[derive(Clone, Debug, Default)]
pub(super) struct Tls {
    pub(super) ok: Seen,
    /// The connection of the last good handshake, while it is open; 0 otherwise.
    pub(super) on: u64,
    /// In a row.
    pub(super) failed: Seen,
    pub(super) alert: Option<Alert>,
    pub(super) sni: Option<Arc<str>>,
    pub(super) alpn: Vec<Arc<str>>,
    /// The peer closed upon the hello, in a row.
    pub(super) unanswered: Seen,
}

/// Connections of a destination that are established.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic {
    /// Payload was acknowledged by the peer.
    pub(super) up: Seen,
    /// Payload was received.
    pub(super) down: Seen,
    /// Resets before any byte from the peer, in a row.
    pub(super) resets: Seen,
    /// Connections the peer ended after a request and before any byte, in a row.
    pub(super) closed: Seen,
    /// Those that carry nothing any more.
    pub(super) ailing: Ailings,
}

/// One destination of a container. What is known of it holds for all signals that go there.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) host: Host,
    pub(super) port: u16,
    /// A proxy of the environment, not a place telemetry is sent to.
    pub(super) is_proxy: bool,
    pub(super) dns: Dns,
    pub(super) connects: Connects,
    pub(super) tls: Tls,
    pub(super) mismatch: Option<(Mismatch, Seen)>,
    pub(super) traffic: Traffic,
    /// Requests through this proxy that are for somebody else.
    pub(super) foreign: Seen,
    /// A sidecar in the pod takes the container's connections to it: seen by its own connection there.
    pub(super) sidecar: Option<Sidecar>,
    /// Its connections end at a proxy in the pod, as their own addresses show.
    pub(super) is_redirected: bool,
    /// Anything of it on the wire.
    pub(super) wire: Seen,
}

/// The proxy in the pod that makes the real connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sidecar {
    /// Its container's slot.
    pub(super) slot: u32,
    /// That slot's generation.
    pub(super) generation: u32,
    /// Index of the destination in it.
    pub(super) to: u8,
}

impl Destination {
    /// When something of it failed last, if anything did since its last success: a look-up, an attempt, a handshake.
    pub(super) fn failed_last(&self) -> Option<Mono> {
        let connects = self.connects.failed.iter().map(|address| address.seen.last());
        let pending = self.connects.pending.iter().map(|pending| Some(pending.began));
        let lookups = self.dns.failed.iter().map(|failed| failed.seen.last());
        let others = [
            self.tls.failed.last(),
            self.tls.unanswered.last(),
            self.mismatch.as_ref().and_then(|(_, seen)| seen.last()),
            self.traffic.resets.last(),
            self.traffic.closed.last(),
        ];
        connects
            .chain(pending)
            .chain(lookups)
            .chain(others)
            .flatten()
            .max()
    }

    pub(super) fn new(host: Host, port: u16, is_proxy: bool) -> Self {
        Self {
            host,
            port,
            is_proxy,
            dns: Dns::default(),
            connects: Connects::default(),
            tls: Tls::default(),
            mismatch: None,
            traffic: Traffic::default(),
            foreign: Seen::default(),
            sidecar: None,
            is_redirected: false,
            wire: Seen::default(),
        }
    }
}

/// Why a peer said no.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rejection {
    pub(super) answer: Answer,
    pub(super) path: Option<Arc<str>>,
}

/// A request without an answer so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) cookie: u64,
    pub(super) stream: u32,
    pub(super) at: Mono,
}

/// What became of an exporter's requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Accepted {
    pub(super) requests: Seen,
    /// The longest time between two requests.
    pub(super) gap: Duration,
    /// The last request.
    pub(super) request: Option<Arc<Request>>,
    /// Taken, ever.
    pub(super) ok: Seen,
    /// The connection that the last one was taken on, while it is open; 0 otherwise. What fails beside it does not concern
    /// this exporter.
    pub(super) on: u64,
    /// Status of the last one that was taken: HTTP, or gRPC when `request.grpc`.
    pub(super) status: u16,
    /// Not taken, in a row.
    pub(super) rejected: Seen,
    pub(super) why: Option<Box<Rejection>>,
    /// Taken in part, in a row.
    pub(super) partial: Seen,
    pub(super) partial_bytes: u64,
    /// Never answered, in a row.
    pub(super) unanswered: Seen,
    /// Given up by the exporter after a while, in a row, where nothing tells its time-out.
    pub(super) given_up: Seen,
    /// Of these, cancelled streams on a connection that lives.
    pub(super) cancelled: u32,
    pub(super) waiting: Vec<Waiting>,
    /// Through a proxy.
    pub(super) proxied: Seen,
    pub(super) proxy: Option<SocketAddr>,
}

/// One exporter.
#[derive(Debug)]
pub(super) struct Exporter {
    pub(super) id: Arc<str>,
    pub(super) signal: Option<Signal>,
    pub(super) endpoint: Option<Endpoint>,
    pub(super) written: Arc<str>,
    pub(super) source: Source,
    pub(super) setting: Setting,
    /// `None` when nothing tells it.
    pub(super) interval: Option<Duration>,
    pub(super) timeout: Duration,
    /// The time-out is that of most programs: nothing tells this one's.
    pub(super) is_timeout_guessed: bool,
    /// Index of its destination in the container.
    pub(super) to: Option<u8>,
    /// Index of the proxy its environment names.
    pub(super) proxy: Option<u8>,
    /// An expectation for whatever comes, once what comes is known by its signals.
    pub(super) is_split: bool,
    /// Nothing configures it in itself: it was seen on the wire.
    pub(super) is_learned: bool,
    pub(super) accepted: Accepted,
    /// Accepted before obsflow was started again, as its state file says.
    pub(super) sent_before: Option<Mono>,
    pub(super) held: Held,
}

/// How long programs wait for an answer where nothing tells: what the OpenTelemetry specification has for SDKs; Prometheus
/// waits longer.
pub(super) fn guessed_timeout(dialect: Option<Dialect>) -> Duration {
    Duration::from_secs(if dialect == Some(Dialect::RemoteWrite) {
        30
    } else {
        10
    })
}

impl Exporter {
    /// Of an expectation.
    pub(super) fn new(id: Arc<str>, expectation: Expectation) -> Self {
        let dialect = match expectation.endpoint.as_ref().map(|endpoint| &endpoint.transport) {
            Some(Transport::Other(dialect)) => Some(*dialect),
            _ => None,
        };
        Self {
            id,
            signal: expectation.signal,
            endpoint: expectation.endpoint,
            written: expectation.written,
            source: expectation.source,
            setting: expectation.setting,
            interval: Some(expectation.interval),
            timeout: expectation.timeout.unwrap_or_else(|| guessed_timeout(dialect)),
            is_timeout_guessed: expectation.timeout.is_none(),
            to: None,
            proxy: None,
            is_split: false,
            is_learned: false,
            accepted: Accepted::default(),
            sent_before: None,
            held: Held::default(),
        }
    }

    /// When something of it was last taken.
    pub(super) fn last_success(&self) -> Option<Mono> {
        self.accepted.ok.last().or(self.sent_before)
    }

    /// The end of what was said of it, now that it is no more.
    pub(super) fn closed(self, at: Mono) -> Option<Transition> {
        let mut export = self.held.opened?;
        export.flaps = self.held.flaps;
        Some(Transition {
            at,
            export: *export,
            opened: false,
        })
    }

    /// Takes over what is known from one that means the same.
    pub(super) fn inherit(&mut self, old: Self) {
        self.accepted = old.accepted;
        self.sent_before = old.sent_before;
        self.held = old.held;
        self.is_split = old.is_split;
    }
}

/// Connections accepted in a container's network namespace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accepts {
    /// How many there were at the last look before there were more.
    before: u64,
    /// When that look was.
    since: Mono,
    /// There were more since.
    grew: bool,
}

/// Connections in 5 s that nobody need have asked for: the kubelet's probes and a scrape make two.
const PROBES: u64 = 2;
/// So many tell a rate.
const A_FEW: u64 = 5;

/// A container.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) key: ContainerKey,
    pub(super) workload: Arc<Workload>,
    pub(super) cgroup: u64,
    pub(super) netns: u32,
    pub(super) pid: u32,
    pub(super) service: Option<Arc<str>>,
    /// When its oldest process began; `None` when nothing tells.
    pub(super) began: Option<Mono>,
    pub(super) from_exec: bool,
    pub(super) proofs: Vec<SenderProof>,
    pub(super) unreadable: Option<Arc<str>>,
    /// An SDK should have been injected and was not.
    pub(super) injection: Option<Arc<NotInjected>>,
    pub(super) destinations: Vec<Destination>,
    pub(super) exporters: Vec<Exporter>,
    /// What it did besides exporting: look-ups of other names, other connections.
    pub(super) work: Seen,
    /// Its replicas: a hash of namespace, workload and container name.
    pub(super) family: u64,
    /// Since when more connections are accepted in its network namespace than probes make; `None` when there are none, or
    /// nothing tells.
    pub(super) served: Option<Mono>,
    /// What tells that; `None` when nothing does.
    pub(super) accepts: Option<Accepts>,
    /// Its address, from its own connections.
    pub(super) ip: Option<IpAddr>,
    /// Whether its connections are made for another container of the pod.
    pub(super) is_sidecar: bool,
    pub(super) generation: u32,
}

impl Container {
    pub(super) fn new(key: ContainerKey, workload: Arc<Workload>, cgroup: u64, generation: u32) -> Self {
        let family = super::group::family(&workload);
        Self {
            key,
            workload,
            cgroup,
            netns: 0,
            pid: 0,
            service: None,
            began: None,
            from_exec: false,
            proofs: Vec::new(),
            unreadable: None,
            injection: None,
            destinations: Vec::new(),
            exporters: Vec::new(),
            work: Seen::default(),
            family,
            served: None,
            accepts: None,
            ip: None,
            is_sidecar: false,
            generation,
        }
    }

    /// So many connections have been accepted in its network namespace.
    pub(super) fn accepts(&mut self, accepted: u64, now: Mono) {
        let known = self.accepts.get_or_insert(Accepts {
            before: accepted,
            since: now,
            grew: false,
        });
        let more = accepted.saturating_sub(known.before);
        if more == 0 {
            if !known.grew {
                known.since = now;
            }
            return;
        }
        known.grew = true;
        let limit = now.since(known.since).as_secs().saturating_mul(PROBES) / 5;
        if more >= A_FEW && more > limit + PROBES {
            self.served = Some(known.since);
        } else if more <= limit {
            // What came so far was no more than probes are: what comes from now on may be.
            *known = Accepts {
                before: accepted,
                since: now,
                grew: false,
            };
        }
    }

    pub(super) fn destination(&self, index: Option<u8>) -> Option<&Destination> {
        self.destinations.get(usize::from(index?))
    }

    /// Whose connection an exporter's is.
    pub(super) fn leg(&self, to: Option<&Destination>) -> Leg {
        if self.is_sidecar {
            Leg::Sidecar
        } else if to.is_some_and(|to| to.sidecar.is_some() || to.is_redirected) {
            Leg::ToSidecar
        } else {
            Leg::Direct
        }
    }
}
