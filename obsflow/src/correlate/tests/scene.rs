//! A node to play events on.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::correlate::{Config, Correlator};
use crate::decode::sample::{dns_query, dns_response};
use crate::model::attributed::Attributed;
use crate::model::event::{
    Close, Comm, Direction, Endpoints, Event, EventBody, Outcome, PacketDrop, Protocol,
};
use crate::model::observation::{DnsMessage, Lookup, LookupOutcome, Observation, What};
use crate::model::time::Mono;
use crate::model::workload::{Process, Workload, WorkloadKind};

pub(super) const A: u16 = 1;
pub(super) const AAAA: u16 = 28;
pub(super) const SERVFAIL: u8 = 2;
pub(super) const NXDOMAIN: u8 = 3;

pub(super) struct Scene {
    pub(super) correlator: Correlator,
    pub(super) out: Vec<Observation>,
    pub(super) pid: u32,
    pub(super) cgroup: u64,
}

pub(super) fn ms(ms: u64) -> Mono {
    Mono(1_000_000_000_000).after(Duration::from_millis(ms))
}

pub(super) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn resolver(cookie: u64) -> Endpoints {
    Endpoints {
        local: SocketAddr::from(([10, 244, 1, 5], 30_000 + u16::try_from(cookie).unwrap())),
        remote: addr("10.96.0.10:53"),
    }
}

pub(super) fn sink(port: u16) -> Endpoints {
    Endpoints {
        local: SocketAddr::from(([10, 244, 1, 5], port)),
        remote: addr("10.100.0.1:4317"),
    }
}

impl Scene {
    pub(super) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(super) fn with(config: Config) -> Self {
        Self {
            correlator: Correlator::new(config),
            out: Vec::new(),
            pid: 100,
            cgroup: 7,
        }
    }

    /// An event of the scene's process on a socket.
    pub(super) fn event(&mut self, at: u64, cookie: u64, body: EventBody) {
        let (cgroup, pid) = (self.cgroup, self.pid);
        let workload = Workload {
            kind: WorkloadKind::Pod,
            pod: Some(Arc::from("shop-1")),
            ..Workload::default()
        };
        let process = Process {
            pid,
            name: Arc::from("app"),
        };
        self.raw(at, cookie, (cgroup, 5, pid), (workload, Some(process)), body);
    }

    /// An event that nothing tells the owner of.
    pub(super) fn anonymous(&mut self, at: u64, cookie: u64, body: EventBody) {
        self.raw(at, cookie, (0, 0, 0), (Workload::default(), None), body);
    }

    fn raw(
        &mut self,
        at: u64,
        cookie: u64,
        (cgroup, netns, pid): (u64, u32, u32),
        (workload, process): (Workload, Option<Process>),
        body: EventBody,
    ) {
        let event = Event {
            at: ms(at),
            cgroup,
            cookie,
            netns,
            pid,
            body,
        };
        let attributed = Attributed {
            event,
            workload: Arc::new(workload),
            process,
        };
        self.correlator.on(attributed, &mut self.out);
    }

    pub(super) fn until(&mut self, at: u64) {
        self.correlator.expire(ms(at), &mut self.out);
    }

    pub(super) fn message(&mut self, at: u64, cookie: u64, direction: Direction, message: Vec<u8>) {
        let body = dns_event(resolver(cookie), direction, message);
        self.event(at, cookie, body);
    }

    pub(super) fn ask(&mut self, at: u64, cookie: u64, id: u16, name: &str, qtype: u16) {
        self.message(at, cookie, Direction::Egress, dns_query(id, name, qtype));
    }

    pub(super) fn answer(
        &mut self,
        at: u64,
        cookie: u64,
        id: u16,
        name: &str,
        qtype: u16,
        reply: (u8, &[&str]),
    ) {
        let ips: Vec<IpAddr> = reply.1.iter().map(|t| ip(t)).collect();
        let message = dns_response(id, name, qtype, reply.0, &ips);
        self.message(at, cookie, Direction::Ingress, message);
    }

    /// A and AAAA side by side on one socket, as glibc and musl ask; a millisecond later both answers.
    pub(super) fn both(&mut self, at: u64, cookie: u64, name: &str, a: (u8, &[&str]), aaaa: (u8, &[&str])) {
        let id = u16::try_from(cookie).unwrap() * 2;
        self.ask(at, cookie, id, name, A);
        self.ask(at, cookie, id + 1, name, AAAA);
        self.answer(at + 1, cookie, id, name, A, a);
        self.answer(at + 1, cookie, id + 1, name, AAAA, aaaa);
    }

    /// Both asked, nothing answered.
    pub(super) fn both_in_vain(&mut self, at: u64, cookie: u64, name: &str) {
        let id = u16::try_from(cookie).unwrap() * 2;
        self.ask(at, cookie, id, name, A);
        self.ask(at, cookie, id + 1, name, AAAA);
    }

    pub(super) fn lookups(&self) -> Vec<&Lookup> {
        self.out
            .iter()
            .filter_map(|o| match &o.what {
                What::Lookup(lookup) => Some(&**lookup),
                _ => None,
            })
            .collect()
    }

    pub(super) fn outcomes(&self) -> Vec<LookupOutcome> {
        self.lookups().iter().map(|l| l.outcome).collect()
    }

    pub(super) fn unanswered(&self) -> Vec<(&DnsMessage, Duration)> {
        self.out
            .iter()
            .filter_map(|o| match &o.what {
                What::DnsUnanswered { query, after } => Some((query, *after)),
                _ => None,
            })
            .collect()
    }

    pub(super) fn last(&self) -> &Observation {
        self.out.last().unwrap()
    }
}

pub(super) fn dns_event(ends: Endpoints, direction: Direction, message: Vec<u8>) -> EventBody {
    EventBody::Dns {
        ends,
        direction,
        asked: None,
        comm: Comm::default(),
        wire_len: u32::try_from(message.len()).unwrap(),
        message: Bytes::from(message),
    }
}

pub(super) fn attempt(ends: Endpoints, asked: Option<SocketAddr>) -> EventBody {
    EventBody::Attempt {
        ends,
        asked,
        comm: Comm::default(),
    }
}

pub(super) fn close(ends: Endpoints, outcome: Outcome) -> Close {
    Close {
        ends,
        asked: None,
        comm: Comm::default(),
        duration: Duration::from_secs(3),
        handshake: None,
        bytes_acked: 0,
        bytes_received: 0,
        errno: 0,
        soft_errno: 0,
        syn_retransmits: 0,
        retransmits: 0,
        outcome,
        last_state: 2,
        rst: false,
        dropped: false,
    }
}

pub(super) fn drop(from: SocketAddr, to: SocketAddr, protocol: Protocol, payload: &[u8]) -> EventBody {
    EventBody::Drop(Box::new(PacketDrop {
        ends: Endpoints {
            local: from,
            remote: to,
        },
        protocol,
        reason: Some(8),
        ifindex: 3,
        location: 0x10,
        stack: vec![0x10, 0x20],
        tcp_flags: 2,
        payload: Bytes::copy_from_slice(payload),
    }))
}
