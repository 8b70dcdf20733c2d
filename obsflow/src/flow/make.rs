//! Fills a flow.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::dns::RcodeName;
use super::row::Row;
use super::{drop_reason, errno, http, summary};
use crate::model::Clock;
use crate::model::cluster::Destination;
use crate::model::event::{Direction, Endpoints, Protocol};
use crate::model::flow::{
    Body, CandidateExt, Dns, DropExt, EMITTER, Endpoint, EventType, Extensions, Flow, Ip, L7Type, Layer4,
    Layer7, LookupExt, LostEvent, LostSource, NamedWorkload, NetworkInterface, ProcessExt, Record, Response,
    Service, Tcp, TcpFlags, TcpInfoExt, Text, TracePoint, TrafficDirection, Udp, WorkloadExt, event,
};
use crate::model::observation::{DnsMessage, DropSeen, Lookup, LookupOutcome, Observation, What};
use crate::model::workload::{Process, Workload, WorkloadKind};

/// Who saw a DNS message, in `l7.dns.observation_source`: no proxy.
const OBSERVED_BY: Text = Text::Borrowed("kernel");

/// Cilium's number of [`TracePoint::FROM_ENDPOINT`] in events.
const FROM_ENDPOINT: u8 = 5;

/// Makes flows of observations.
#[derive(Clone, Debug)]
pub struct FlowMaker {
    /// Turns the observations' time into wall-clock time.
    pub clock: Clock,
    /// Name of this node.
    pub node_name: Arc<str>,
}

/// Which way a flow goes: where the workload is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    /// The workload is the source.
    from_workload: bool,
    /// Addresses as (source, destination).
    source: Option<SocketAddr>,
    destination: Option<SocketAddr>,
}

impl FlowMaker {
    /// Makes a flow, or a note of what was lost.
    #[must_use]
    pub fn make(&self, observation: &Observation) -> Response {
        let mut response = self.make_without_summary(observation);
        Self::add_summary(&mut response, observation);
        response
    }

    /// Adds the summary of the observation that a flow was made of.
    pub fn add_summary(response: &mut Response, observation: &Observation) {
        if let Body::Flow(flow) = &mut response.body {
            flow.summary = summary::of(observation);
        }
    }

    /// Makes a flow but for its summary: filters do without, and most flows are not wanted.
    #[must_use]
    pub fn make_without_summary(&self, observation: &Observation) -> Response {
        let time = self.clock.wall(observation.at);
        let body = match &observation.what {
            What::Lost { count } => Body::LostEvents(LostEvent {
                source: LostSource::PerfEventRingBuffer,
                num_events_lost: *count,
                cpu: None,
                first: None,
                last: None,
            }),
            _ => Body::Flow(Box::new(self.flow(observation, time))),
        };
        Response {
            body,
            node_name: self.node_name.clone(),
            time,
        }
    }

    fn flow(&self, o: &Observation, time: jiff::Timestamp) -> Flow {
        let row = Row::of(&o.what);
        let way = way(o);
        let (workload, (other, service)) = (endpoint(o), remote(o));
        let names: Vec<_> = o.remote_name.iter().cloned().collect();
        let (source, destination, source_names, destination_names) = if way.from_workload {
            (workload, other, Vec::new(), names)
        } else {
            (other, workload, names, Vec::new())
        };
        let (source_service, destination_service) = if way.from_workload {
            (None, service)
        } else {
            (service, None)
        };
        let drop = drop_of(&o.what);
        let reason = drop.and_then(|drop| drop_reason::of_kernel(&drop.reason));
        let is_reply = match &o.what {
            What::Dropped(drop) => drop_is_reply(drop, way.from_workload),
            _ => row.is_reply,
        };
        Flow {
            time,
            emitter: Some(EMITTER),
            verdict: row.verdict,
            ip: ip(way),
            l4: layer4(o, way),
            source: Some(source),
            destination: Some(destination),
            layer: row.layer,
            node_name: self.node_name.clone(),
            source_names,
            destination_names,
            l7: row.l7.and_then(|kind| layer7(kind, &o.what)),
            event_type: EventType {
                kind: row.kind,
                sub_type: match row.point {
                    Some(TracePoint::FROM_ENDPOINT) => FROM_ENDPOINT,
                    None if row.kind == event::DROP => {
                        reason.map_or(drop_reason::OTHER, |reason| reason.number)
                    }
                    // Cilium's number for to-endpoint is 0; 101 it is only in the enum of the point.
                    Some(_) | None => 0,
                },
            },
            source_service,
            destination_service,
            traffic_direction: direction(&o.what, way),
            trace_observation_point: row.point,
            drop_reason_desc: reason.filter(|_| row.kind == event::DROP),
            is_reply,
            interface: drop
                .filter(|drop| drop.ifindex != 0)
                .map(|drop| NetworkInterface {
                    index: drop.ifindex,
                    name: None,
                }),
            socket_cookie: o.cookie,
            cgroup_id: o.cgroup,
            summary: String::new(),
            extensions: extensions(o, row),
            foreign: None,
        }
    }
}

/// A response comes to the workload; a dropped packet went as it went; everything else is the workload's doing.
fn way(o: &Observation) -> Way {
    match &o.what {
        What::DnsResponse { .. } | What::Exchange(_) if is_answer(&o.what) => Way {
            from_workload: false,
            source: o.remote,
            destination: o.local,
        },
        What::Dropped(drop) => {
            let Endpoints {
                local: source,
                remote: destination,
            } = drop.packet.ends;
            let from_workload = match drop.direction {
                Some(direction) => direction == Direction::Egress,
                None => o.local.is_none_or(|local| local != destination),
            };
            Way {
                from_workload,
                source: Some(source),
                destination: Some(destination),
            }
        }
        What::Lookup(lookup) => Way {
            from_workload: true,
            source: o.local,
            destination: lookup.server.or(o.remote),
        },
        _ => Way {
            from_workload: true,
            source: o.local,
            destination: o.remote.or(o.asked),
        },
    }
}

/// Whether it came from the peer as an answer.
fn is_answer(what: &What) -> bool {
    match what {
        What::DnsResponse { .. } => true,
        // Of an answer that never came, the request is all there is.
        What::Exchange(exchange) => exchange.accepted().is_some(),
        _ => false,
    }
}

/// An address that the kernel has not chosen yet is none.
fn ip(way: Way) -> Option<Ip> {
    let known = |address: Option<SocketAddr>| address.map(|a| a.ip()).filter(|ip| !ip.is_unspecified());
    let ip = Ip {
        source: known(way.source),
        destination: known(way.destination),
        ..Ip::default()
    };
    (ip.source.is_some() || ip.destination.is_some()).then_some(ip)
}

fn direction(what: &What, way: Way) -> Option<TrafficDirection> {
    match what {
        // Both ways.
        What::Lookup(_) => None,
        // Connections that the workload opened: Hubble counts both ways of one as egress.
        what if is_answer(what) => Some(TrafficDirection::Egress),
        What::Dropped(drop) if drop.direction.is_none() => None,
        _ if way.from_workload => Some(TrafficDirection::Egress),
        _ => Some(TrafficDirection::Ingress),
    }
}

fn drop_of(what: &What) -> Option<&DropSeen> {
    match what {
        What::Dropped(drop) => Some(drop),
        What::ConnectFailed(failure) => failure.drop.as_ref(),
        _ => None,
    }
}

/// A first SYN is no reply, whichever way it goes; other packets to the workload answer it.
fn drop_is_reply(drop: &DropSeen, from_workload: bool) -> Option<bool> {
    let flags = TcpFlags::of_byte(drop.packet.tcp_flags);
    let first = drop.packet.protocol == Protocol::Tcp
        && flags.0 & (TcpFlags::SYN.0 | TcpFlags::ACK.0) == TcpFlags::SYN.0;
    match (first, drop.direction) {
        (true, _) => Some(false),
        (false, Some(_)) => Some(!from_workload),
        (false, None) => None,
    }
}

fn layer4(o: &Observation, way: Way) -> Option<Layer4> {
    let port = |address: Option<SocketAddr>| address.map_or(0, |a| a.port());
    let (source_port, destination_port) = (port(way.source), port(way.destination));
    let protocol = match &o.what {
        What::DnsQuery(message)
        | What::DnsResponse { message, .. }
        | What::DnsUnanswered { query: message, .. }
        | What::DnsRefused {
            query: Some(message), ..
        } => message.protocol,
        // A search may use both; it begins with UDP. Refusals are reported for UDP sockets only.
        What::DnsRefused { query: None, .. } | What::Lookup(_) => Protocol::Udp,
        What::Dropped(drop) => drop.packet.protocol,
        _ => Protocol::Tcp,
    };
    if source_port == 0 && destination_port == 0 {
        return None;
    }
    Some(match protocol {
        Protocol::Udp => Layer4::Udp(Udp {
            source_port,
            destination_port,
        }),
        Protocol::Tcp => Layer4::Tcp(Tcp {
            source_port,
            destination_port,
            flags: tcp_flags(&o.what),
        }),
    })
}

/// Flags of the packet that a flow is about.
pub(super) fn tcp_flags(what: &What) -> TcpFlags {
    match what {
        What::Attempt | What::Retransmit { syn: true, .. } | What::ConnectFailed(_) => TcpFlags::SYN,
        What::Established { .. } => TcpFlags::ACK,
        What::Closed(end) if end.rst => TcpFlags::RST,
        What::Closed(end) if end.errno == 0 => TcpFlags::FIN,
        What::Dropped(drop) => TcpFlags::of_byte(drop.packet.tcp_flags),
        _ => TcpFlags::default(),
    }
}

fn layer7(kind: L7Type, what: &What) -> Option<Layer7> {
    let (dns, latency) = match what {
        What::DnsQuery(message) => (question(message), None),
        What::DnsResponse { message, latency } => (answer(message), *latency),
        What::DnsUnanswered { query, .. } => (question(query), None),
        What::DnsRefused { query, .. } => (query.as_ref().map(question).unwrap_or_default(), None),
        What::Lookup(lookup) => (search(lookup), Some(lookup.took)),
        What::Request(request) => {
            return Some(Layer7 {
                kind,
                latency_ns: 0,
                record: Some(Record::Http(http::message(request, None))),
            });
        }
        What::Exchange(exchange) => {
            return Some(Layer7 {
                kind,
                latency_ns: nanos(exchange.took),
                record: Some(Record::Http(http::message(
                    &exchange.request,
                    Some(exchange.answer),
                ))),
            });
        }
        _ => return None,
    };
    Some(Layer7 {
        kind,
        latency_ns: latency.map_or(0, nanos),
        record: Some(Record::Dns(Dns {
            observation_source: OBSERVED_BY,
            ..dns
        })),
    })
}

/// A name as Hubble writes it in a message: with the dot of the root.
pub(crate) fn with_dot(name: &str) -> String {
    if name.ends_with('.') {
        name.to_owned()
    } else {
        format!("{name}.")
    }
}

fn question(message: &DnsMessage) -> Dns {
    Dns {
        query: with_dot(&message.name),
        qtypes: vec![message.qtype.clone()],
        ..Dns::default()
    }
}

fn answer(message: &DnsMessage) -> Dns {
    Dns {
        ips: message.ips.clone(),
        ttl: message.ttl,
        cnames: message.cnames.clone(),
        rcode: Some(message.rcode),
        rrtypes: message.rrtypes.clone(),
        ..question(message)
    }
}

fn search(lookup: &Lookup) -> Dns {
    let mut qtypes: Vec<Arc<str>> = Vec::new();
    for candidate in &lookup.candidates {
        if !qtypes.contains(&candidate.qtype) {
            qtypes.push(candidate.qtype.clone());
        }
    }
    Dns {
        query: with_dot(&lookup.name),
        ips: lookup.ips.clone(),
        qtypes,
        rcode: match lookup.outcome {
            LookupOutcome::Resolved | LookupOutcome::NoData => Some(0),
            LookupOutcome::NxDomain => Some(3),
            LookupOutcome::ServerFailure(rcode) => Some(rcode),
            LookupOutcome::Unanswered | LookupOutcome::Refused(_) | LookupOutcome::Dropped => None,
        },
        ..Dns::default()
    }
}

/// A pod by its names and what runs it; anything else by the best name there is.
fn endpoint(o: &Observation) -> Endpoint {
    let workload = &*o.workload;
    let workloads = match &workload.owner {
        Some(owner) => vec![named(Arc::clone(&owner.kind), &owner.name)],
        None if workload.pod.is_some() => Vec::new(),
        None => best_name(workload, o.process.as_ref()).into_iter().collect(),
    };
    Endpoint {
        namespace: workload.namespace.clone(),
        pod_name: workload.pod.clone(),
        workloads,
        ..Endpoint::default()
    }
}

/// What the other side's address belongs to, and its Service.
fn remote(o: &Observation) -> (Endpoint, Option<Service>) {
    match o.remote_is.as_deref() {
        None => (Endpoint::default(), None),
        Some(Destination::Service { namespace, name }) => {
            let endpoint = Endpoint {
                namespace: Some(Arc::clone(namespace)),
                ..Endpoint::default()
            };
            (endpoint, Some(service(namespace, name)))
        }
        Some(Destination::Pod {
            namespace,
            name,
            owner,
            service: of,
        }) => {
            let endpoint = Endpoint {
                namespace: Some(Arc::clone(namespace)),
                pod_name: Some(Arc::clone(name)),
                workloads: owner
                    .iter()
                    .map(|owner| named(Arc::clone(&owner.kind), &owner.name))
                    .collect(),
                ..Endpoint::default()
            };
            // A Service selects pods of its own namespace.
            (endpoint, of.as_ref().map(|name| service(namespace, name)))
        }
        Some(Destination::Node { name }) => {
            let endpoint = Endpoint {
                workloads: vec![named("Node", name)],
                ..Endpoint::default()
            };
            (endpoint, None)
        }
    }
}

fn service(namespace: &Arc<str>, name: &Arc<str>) -> Service {
    Service {
        name: Arc::clone(name),
        namespace: Arc::clone(namespace),
    }
}

fn named(kind: impl Into<Arc<str>>, name: &Arc<str>) -> NamedWorkload {
    NamedWorkload {
        name: Arc::clone(name),
        kind: kind.into(),
    }
}

fn best_name(workload: &Workload, process: Option<&Process>) -> Option<NamedWorkload> {
    let (name, kind) = match workload.kind {
        WorkloadKind::Pod => (workload.pod_uid.clone(), "Pod"),
        WorkloadKind::Container => {
            // Twelve digits are what container tools print and take.
            let id = workload.container_id.as_deref();
            let short = id.map(|id| Arc::from(id.get(..12).unwrap_or(id)));
            (workload.container.clone().or(short), "Container")
        }
        WorkloadKind::Unit => (workload.unit.clone(), "Unit"),
        // Everything without a home is in the root: its path says nothing.
        WorkloadKind::Cgroup => (
            workload.cgroup_path.clone().filter(|path| &**path != "/"),
            "Cgroup",
        ),
        WorkloadKind::Unknown => (None, ""),
    };
    let known = |name: &Arc<str>| !name.is_empty();
    match name.filter(known) {
        Some(name) => Some(named(kind, &name)),
        None => process
            .map(|process| process.name.clone())
            .filter(known)
            .map(|name| named("Process", &name)),
    }
}

fn extensions(o: &Observation, row: &Row) -> Extensions {
    let mut ext = Extensions {
        event: Text::Borrowed(row.event),
        outcome: row.outcome.map(Text::Borrowed),
        asked: o
            .asked
            .filter(|asked| o.remote.is_some_and(|remote| remote != *asked)),
        process: o.process.as_ref().map(|process| ProcessExt {
            pid: process.pid,
            name: process.name.clone(),
        }),
        workload: workload_ext(&o.workload),
        netns: o.netns,
        ..Extensions::default()
    };
    fill(&mut ext, &o.what);
    ext.errno_name = errno::name(ext.errno).map(Text::Borrowed);
    ext
}

fn workload_ext(workload: &Workload) -> Option<WorkloadExt> {
    let ext = WorkloadExt {
        pod_uid: workload.pod_uid.clone(),
        container: workload.container.clone(),
        container_id: workload.container_id.clone(),
        unit: workload.unit.clone(),
        cgroup_path: workload.cgroup_path.clone(),
    };
    (ext != WorkloadExt::default()).then_some(ext)
}

/// What only one kind of observation has.
fn fill(ext: &mut Extensions, what: &What) {
    match what {
        What::DnsQuery(message)
        | What::DnsResponse { message, .. }
        | What::DnsUnanswered { query: message, .. } => {
            ext.dns_id = Some(message.id);
            ext.dns_truncated = message.truncated;
        }
        What::DnsRefused { query, errno } => {
            ext.dns_id = query.as_ref().map(|query| query.id);
            ext.errno = *errno;
        }
        What::Lookup(lookup) => {
            if let LookupOutcome::Refused(errno) = lookup.outcome {
                ext.errno = errno;
            }
            ext.lookup = Some(lookup_ext(lookup));
        }
        What::Request(request) => ext.http = Some(http::request_ext(request)),
        What::Exchange(exchange) => {
            ext.duration_ns = Some(nanos(exchange.took));
            ext.http = Some(http::exchange_ext(exchange));
        }
        What::Tls(tls) => ext.tls = Some(http::tls_ext(tls)),
        What::Mismatch(mismatch) => ext.mismatch = Some(http::mismatch_ext(*mismatch)),
        What::Attempt | What::Lost { .. } => {}
        What::Retransmit { count, syn: true } => ext.syn_retransmits = Some(*count),
        What::Retransmit { count, syn: false } => ext.retransmits = Some(*count),
        What::Established { handshake } => ext.handshake_ns = Some(nanos(*handshake)),
        What::Closed(end) => {
            ext.errno = end.errno;
            ext.duration_ns = Some(nanos(end.duration));
            ext.handshake_ns = end.handshake.map(nanos);
            ext.bytes_sent = Some(end.bytes_acked);
            ext.bytes_received = Some(end.bytes_received);
            ext.retransmits = Some(end.retransmits);
            ext.tcp_state = summary::tcp_state(end.last_state).map(Text::Borrowed);
        }
        What::ConnectFailed(failure) => {
            ext.errno = failure.errno;
            ext.duration_ns = Some(nanos(failure.duration));
            ext.syn_retransmits = Some(failure.syn_retransmits);
            ext.drop = failure.drop.as_ref().map(drop_ext);
        }
        What::Adopted { state, .. } => ext.tcp_state = summary::tcp_state(*state).map(Text::Borrowed),
        What::TcpInfo(info) => {
            ext.tcp_state = summary::tcp_state(info.state).map(Text::Borrowed);
            ext.bytes_sent = Some(info.bytes_acked);
            ext.bytes_received = Some(info.bytes_received);
            ext.retransmits = Some(info.total_retransmits);
            ext.tcp_info = Some(TcpInfoExt {
                unacked: info.unacked,
                rto_ns: nanos(info.rto),
                rtt_ns: nanos(info.rtt),
                backoff: info.backoff,
                last_sent_ns: nanos(info.last_sent),
                last_received_ns: nanos(info.last_received),
                not_sent_bytes: info.not_sent_bytes,
            });
        }
        What::Dropped(drop) => ext.drop = Some(drop_ext(drop)),
    }
}

fn lookup_ext(lookup: &Lookup) -> LookupExt {
    let candidates = lookup.candidates.iter().map(|candidate| CandidateExt {
        name: candidate.name.clone(),
        qtype: candidate.qtype.clone(),
        rcode: candidate
            .rcode
            .map_or_else(|| "none".to_owned(), |rcode| RcodeName(rcode).to_string()),
    });
    LookupExt {
        name: lookup.name.clone(),
        candidates: candidates.collect(),
        ips: lookup.ips.clone(),
        took_ns: nanos(lookup.took),
    }
}

fn drop_ext(drop: &DropSeen) -> DropExt {
    DropExt {
        reason: drop.reason.clone(),
        hook: drop.hook.clone(),
        ifindex: drop.ifindex,
        question: drop.question.clone(),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
