//! An observation as it is kept: half as large, and all of it that a flow is made of.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::Entry;
use super::names::Names;
use crate::flow::Row;
use crate::model::Mono;
use crate::model::cluster::Destination;
use crate::model::event::{Protocol, TcpInfo, TcpState};
use crate::model::exchange::{Exchange, Mismatch, Request, Tls};
use crate::model::observation::{
    ConnectFailure, ConnectionEnd, DnsMessage, DropSeen, Lookup, Observation, What,
};
use crate::model::workload::{Process, Workload};

/// What an allocation takes beyond its size.
const ALLOCATED: usize = 16;

/// See the module.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When.
    pub at: Mono,
    /// What it is in Hubble's terms.
    pub row: &'static Row,
    /// Whose it is.
    pub workload: Arc<Workload>,
    /// What happened.
    pub detail: Detail,
    /// See [`Observation::remote_name`].
    pub remote_name: Option<Arc<str>>,
    /// See [`Observation::remote_is`].
    pub remote_is: Option<Arc<Destination>>,
    process: Option<Arc<str>>,
    pid: u32,
    netns: u32,
    cgroup: u64,
    cookie: u64,
    local: Place,
    remote: Place,
    asked: Place,
}

/// What happened: [`What`], no larger than a number and a pointer.
#[derive(Clone, Debug)]
pub enum Detail {
    /// A message of DNS, or what became of one.
    Dns(Box<Dns>),
    /// See [`What::Lookup`].
    Lookup(Box<Lookup>),
    /// See [`What::Attempt`].
    Attempt,
    /// See [`What::Retransmit`].
    Retransmit(u32, bool),
    /// See [`What::Established`]; in nanoseconds.
    Established(u64),
    /// See [`What::Closed`].
    Closed(Box<ConnectionEnd>),
    /// See [`What::ConnectFailed`].
    ConnectFailed(Box<ConnectFailure>),
    /// See [`What::Request`].
    Request(Arc<Request>),
    /// See [`What::Exchange`].
    Exchange(Box<Exchange>),
    /// See [`What::Tls`].
    Tls(Box<Tls>),
    /// See [`What::Mismatch`].
    Mismatch(Box<Mismatch>),
    /// See [`What::Adopted`]: the state, bytes acknowledged and received.
    Adopted(Box<(TcpState, u64, u64)>),
    /// See [`What::TcpInfo`].
    TcpInfo(Box<TcpInfo>),
    /// See [`What::Dropped`].
    Dropped(Box<DropSeen>),
    /// See [`What::Lost`].
    Lost(u64),
}

/// A message of DNS, or what became of one.
#[derive(Clone, Debug)]
pub struct Dns {
    /// The name, without the trailing dot.
    pub name: Arc<str>,
    qtype: Arc<str>,
    /// Response code.
    pub rcode: u16,
    id: u16,
    /// Which of them.
    pub kind: DnsKind,
    /// Over what; [`None`] stands for a query that was not seen.
    pub protocol: Option<Protocol>,
    truncated: bool,
    ttl: Option<u32>,
    answers: Option<Box<Answers>>,
}

/// What became of it; times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsKind {
    /// See [`What::DnsQuery`].
    Query,
    /// See [`What::DnsResponse`].
    Response(Option<u64>),
    /// See [`What::DnsUnanswered`].
    Unanswered(u64),
    /// See [`What::DnsRefused`].
    Refused(u32),
}

#[derive(Clone, Debug)]
struct Answers {
    ips: Box<[IpAddr]>,
    cnames: Box<[Arc<str>]>,
    rrtypes: Box<[Arc<str>]>,
}

/// An address and its port, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    ip: [u8; 16],
    port: [u8; 2],
    kind: u8,
}

impl Place {
    const NONE: u8 = 0;
    const V4: u8 = 4;
    const V6: u8 = 6;

    fn new(address: Option<SocketAddr>) -> Self {
        let (kind, ip) = match address.map(|address| address.ip()) {
            None => (Self::NONE, Ipv6Addr::UNSPECIFIED),
            Some(IpAddr::V4(ip)) => (Self::V4, ip.to_ipv6_mapped()),
            Some(IpAddr::V6(ip)) => (Self::V6, ip),
        };
        Self {
            ip: ip.octets(),
            port: address.map_or(0, |address| address.port()).to_ne_bytes(),
            kind,
        }
    }

    fn address(self) -> Option<SocketAddr> {
        let ip = Ipv6Addr::from(self.ip);
        let ip = match self.kind {
            Self::V4 => ip.to_canonical(),
            Self::V6 => IpAddr::V6(ip),
            _ => return None,
        };
        Some(SocketAddr::new(ip, u16::from_ne_bytes(self.port)))
    }
}

impl Entry for Seen {
    fn at(&self) -> Mono {
        self.at
    }
}

impl Seen {
    /// What is kept of an observation.
    pub(super) fn of(o: &Observation, names: &mut Names) -> Self {
        Self {
            at: o.at,
            row: Row::of(&o.what),
            workload: names.workload(&o.workload),
            detail: Detail::of(&o.what, names),
            remote_name: o.remote_name.as_ref().map(|name| names.text(name)),
            remote_is: o.remote_is.as_ref().map(|is| names.destination(is)),
            process: o.process.as_ref().map(|process| names.text(&process.name)),
            pid: o.process.as_ref().map_or(0, |process| process.pid),
            netns: o.netns,
            cgroup: o.cgroup,
            cookie: o.cookie,
            local: Place::new(o.local),
            remote: Place::new(o.remote),
            asked: Place::new(o.asked),
        }
    }

    /// The observation that it was; what was captured of a dropped packet is not kept.
    #[must_use]
    pub fn observation(&self) -> Observation {
        Observation {
            at: self.at,
            workload: Arc::clone(&self.workload),
            process: self.process.as_ref().map(|name| Process {
                pid: self.pid,
                name: Arc::clone(name),
            }),
            cgroup: self.cgroup,
            cookie: self.cookie,
            netns: self.netns,
            local: self.local(),
            remote: self.remote(),
            asked: self.asked(),
            remote_name: self.remote_name.clone(),
            remote_is: self.remote_is.clone(),
            what: self.detail.what(),
        }
    }

    /// See [`Observation::local`].
    #[must_use]
    pub fn local(&self) -> Option<SocketAddr> {
        self.local.address()
    }

    /// See [`Observation::remote`].
    #[must_use]
    pub fn remote(&self) -> Option<SocketAddr> {
        self.remote.address()
    }

    /// See [`Observation::asked`].
    #[must_use]
    pub fn asked(&self) -> Option<SocketAddr> {
        self.asked.address()
    }
}

impl Detail {
    fn of(what: &What, names: &mut Names) -> Self {
        match what {
            What::DnsQuery(message) => dns(message, DnsKind::Query, names),
            What::DnsResponse { message, latency } => {
                dns(message, DnsKind::Response(latency.map(nanos)), names)
            }
            What::DnsUnanswered { query, after } => dns(query, DnsKind::Unanswered(nanos(*after)), names),
            What::DnsRefused {
                query: Some(query),
                errno,
            } => dns(query, DnsKind::Refused(*errno), names),
            What::DnsRefused { query: None, errno } => {
                names.add(ALLOCATED + size_of::<Dns>());
                let nothing: Arc<str> = Arc::from("");
                let nothing = names.text(&nothing);
                Self::Dns(Box::new(Dns {
                    name: Arc::clone(&nothing),
                    qtype: nothing,
                    rcode: 0,
                    id: 0,
                    kind: DnsKind::Refused(*errno),
                    protocol: None,
                    truncated: false,
                    ttl: None,
                    answers: None,
                }))
            }
            What::Lookup(lookup) => {
                let mut lookup = lookup.clone();
                lookup.name = names.text(&lookup.name);
                lookup.candidates.shrink_to_fit();
                lookup.ips.shrink_to_fit();
                for candidate in &mut lookup.candidates {
                    candidate.name = names.text(&candidate.name);
                    candidate.qtype = names.text(&candidate.qtype);
                }
                names.add(3 * ALLOCATED + size_of::<Lookup>());
                names.add(size_of_val(&*lookup.candidates) + size_of_val(&*lookup.ips));
                Self::Lookup(lookup)
            }
            What::Attempt => Self::Attempt,
            What::Retransmit { count, syn } => Self::Retransmit(*count, *syn),
            What::Established { handshake } => Self::Established(nanos(*handshake)),
            What::Closed(end) => {
                names.add(ALLOCATED + size_of::<ConnectionEnd>());
                Self::Closed(end.clone())
            }
            What::ConnectFailed(failure) => {
                names.add(ALLOCATED + size_of::<ConnectFailure>());
                Self::ConnectFailed(Box::new(ConnectFailure {
                    drop: failure.drop.as_ref().map(|drop| without_packet(drop, names)),
                    ..**failure
                }))
            }
            What::Request(request) => {
                count_request(request, names);
                Self::Request(Arc::clone(request))
            }
            What::Exchange(exchange) => {
                count_request(&exchange.request, names);
                names.add(ALLOCATED + size_of::<Exchange>());
                Self::Exchange(exchange.clone())
            }
            What::Tls(tls) => {
                let mut tls = tls.clone();
                tls.sni = tls.sni.as_ref().map(|name| names.text(name));
                for protocol in &mut tls.alpn {
                    *protocol = names.text(protocol);
                }
                names.add(2 * ALLOCATED + size_of::<Tls>() + size_of_val(&*tls.alpn));
                Self::Tls(tls)
            }
            What::Mismatch(mismatch) => {
                names.add(ALLOCATED + size_of::<Mismatch>());
                Self::Mismatch(Box::new(*mismatch))
            }
            What::Adopted {
                state,
                bytes_acked,
                bytes_received,
            } => {
                names.add(ALLOCATED + size_of::<(TcpState, u64, u64)>());
                Self::Adopted(Box::new((*state, *bytes_acked, *bytes_received)))
            }
            What::TcpInfo(info) => {
                names.add(ALLOCATED + size_of::<TcpInfo>());
                Self::TcpInfo(info.clone())
            }
            What::Dropped(drop) => {
                names.add(ALLOCATED + size_of::<DropSeen>());
                Self::Dropped(Box::new(without_packet(drop, names)))
            }
            What::Lost { count } => Self::Lost(*count),
        }
    }

    fn what(&self) -> What {
        match self {
            Self::Dns(dns) => dns.what(),
            Self::Lookup(lookup) => What::Lookup(lookup.clone()),
            Self::Attempt => What::Attempt,
            Self::Retransmit(count, syn) => What::Retransmit {
                count: *count,
                syn: *syn,
            },
            Self::Established(nanos) => What::Established {
                handshake: Duration::from_nanos(*nanos),
            },
            Self::Closed(end) => What::Closed(end.clone()),
            Self::ConnectFailed(failure) => What::ConnectFailed(failure.clone()),
            Self::Request(request) => What::Request(Arc::clone(request)),
            Self::Exchange(exchange) => What::Exchange(exchange.clone()),
            Self::Tls(tls) => What::Tls(tls.clone()),
            Self::Mismatch(mismatch) => What::Mismatch(**mismatch),
            Self::Adopted(adopted) => What::Adopted {
                state: adopted.0,
                bytes_acked: adopted.1,
                bytes_received: adopted.2,
            },
            Self::TcpInfo(info) => What::TcpInfo(info.clone()),
            Self::Dropped(drop) => What::Dropped(drop.clone()),
            Self::Lost(count) => What::Lost { count: *count },
        }
    }
}

impl Dns {
    fn what(&self) -> What {
        let answers = self.answers.as_deref();
        let message = DnsMessage {
            protocol: self.protocol.unwrap_or(Protocol::Udp),
            id: self.id,
            name: Arc::clone(&self.name),
            qtype: Arc::clone(&self.qtype),
            rcode: self.rcode,
            ips: answers.map_or_else(Vec::new, |answers| answers.ips.to_vec()),
            cnames: answers.map_or_else(Vec::new, |answers| answers.cnames.to_vec()),
            rrtypes: answers.map_or_else(Vec::new, |answers| answers.rrtypes.to_vec()),
            ttl: self.ttl,
            truncated: self.truncated,
        };
        match self.kind {
            DnsKind::Query => What::DnsQuery(message),
            DnsKind::Response(latency) => What::DnsResponse {
                message,
                latency: latency.map(Duration::from_nanos),
            },
            DnsKind::Unanswered(after) => What::DnsUnanswered {
                query: message,
                after: Duration::from_nanos(after),
            },
            DnsKind::Refused(errno) => What::DnsRefused {
                query: self.protocol.map(|_| message),
                errno,
            },
        }
    }
}

fn dns(message: &DnsMessage, kind: DnsKind, names: &mut Names) -> Detail {
    names.add(ALLOCATED + size_of::<Dns>());
    let is_empty = message.ips.is_empty() && message.cnames.is_empty() && message.rrtypes.is_empty();
    let answers = (!is_empty).then(|| {
        let answers = Answers {
            ips: message.ips.clone().into(),
            cnames: message.cnames.iter().map(|name| names.text(name)).collect(),
            rrtypes: message.rrtypes.iter().map(|name| names.text(name)).collect(),
        };
        names.add(4 * ALLOCATED + size_of::<Answers>() + size_of_val(&*answers.ips));
        names.add(size_of_val(&*answers.cnames) + size_of_val(&*answers.rrtypes));
        Box::new(answers)
    });
    Detail::Dns(Box::new(Dns {
        name: names.text(&message.name),
        qtype: names.text(&message.qtype),
        rcode: message.rcode,
        id: message.id,
        kind,
        protocol: Some(message.protocol),
        truncated: message.truncated,
        ttl: message.ttl,
        answers,
    }))
}

/// A drop without what was captured of the packet, which is somebody's data and holds a whole record of the ring.
fn without_packet(drop: &DropSeen, names: &mut Names) -> DropSeen {
    let mut drop = drop.clone();
    drop.packet.payload = bytes::Bytes::new();
    drop.packet.stack = Vec::new();
    drop.reason = names.text(&drop.reason);
    drop.hook = drop.hook.as_ref().map(|hook| names.text(hook));
    drop.question = drop.question.as_ref().map(|question| names.text(question));
    drop
}

/// What it asked for came in its own record, and is held by the request and its exchange.
fn count_request(request: &Arc<Request>, names: &mut Names) {
    if !names.is_new(request) {
        return;
    }
    let texts = [
        &request.method,
        &request.authority,
        &request.path,
        &request.user_agent,
    ];
    let len = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| 2 * ALLOCATED + text.len());
    let texts: usize = texts.into_iter().map(len).sum();
    names.add(2 * ALLOCATED + size_of::<Request>() + texts);
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "seen_tests.rs"]
mod tests;
