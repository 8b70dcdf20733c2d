//! One observation for each row of the table, for tests and for `docs/flows.md`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::flow::FlowMaker;
use crate::model::event::{Direction, Endpoints, Outcome, PacketDrop, Protocol, TcpInfo};
use crate::model::exchange::{
    Alert, Answer, Dialect, Exchange, Form, Ingest, Mismatch, Request, Signal, Spoken, TargetForm, Tls,
    TlsOutcome,
};
use crate::model::flow::{Body, Flow, Response};
use crate::model::observation::{
    Candidate, ConnectFailure, ConnectionEnd, DnsMessage, DropSeen, Lookup, LookupOutcome, Observation, What,
};
use crate::model::workload::{Process, Workload, WorkloadKind};
use crate::model::{Clock, Mono};

const MS: Duration = Duration::from_millis(1);

/// 1970-01-01T00:20:34.5678Z, as in the samples of the contract.
pub(crate) const AT: Mono = Mono(1_234_567_800_000);

pub(crate) fn maker() -> FlowMaker {
    FlowMaker {
        clock: Clock { offset_ns: 0 },
        node_name: "k8s1".into(),
    }
}

pub(crate) fn response(observation: &Observation) -> Response {
    maker().make(observation)
}

pub(crate) fn flow(observation: &Observation) -> Flow {
    match response(observation).body {
        Body::Flow(flow) => *flow,
        other => panic!("{other:?} is no flow"),
    }
}

pub(crate) fn pod(namespace: &str, name: &str) -> Arc<Workload> {
    Arc::new(Workload {
        kind: WorkloadKind::Pod,
        namespace: Some(namespace.into()),
        pod: Some(name.into()),
        ..Workload::default()
    })
}

pub(crate) fn unit(name: &str) -> Arc<Workload> {
    Arc::new(Workload {
        kind: WorkloadKind::Unit,
        unit: Some(name.into()),
        cgroup_path: Some(format!("/system.slice/{name}").into()),
        ..Workload::default()
    })
}

fn addr(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap())
}

/// A pod and its collector.
pub(crate) fn tcp(what: What) -> Observation {
    Observation {
        at: AT,
        workload: pod("shop", "checkout-7d9c"),
        process: Some(Process {
            pid: 4711,
            name: "checkout".into(),
        }),
        cgroup: 8123,
        cookie: 77,
        netns: 4_026_532_000,
        local: addr("10.0.1.7:39811"),
        remote: addr("10.0.2.9:4317"),
        asked: None,
        remote_name: Some("collector.obs.svc.cluster.local".into()),
        remote_is: None,
        what,
    }
}

/// A pod and its name server.
pub(crate) fn dns(what: What) -> Observation {
    Observation {
        remote: addr("10.96.0.10:53"),
        remote_name: None,
        remote_is: None,
        process: None,
        ..tcp(what)
    }
}

pub(crate) fn message(name: &str, qtype: &str) -> DnsMessage {
    DnsMessage {
        protocol: Protocol::Udp,
        id: 4242,
        name: name.into(),
        qtype: qtype.into(),
        rcode: 0,
        ips: Vec::new(),
        cnames: Vec::new(),
        rrtypes: Vec::new(),
        ttl: None,
        truncated: false,
    }
}

pub(crate) fn answer() -> DnsMessage {
    DnsMessage {
        ips: vec!["10.0.2.9".parse().unwrap()],
        rrtypes: vec!["A".into()],
        ttl: Some(30),
        ..message("collector.obs.svc.cluster.local", "A")
    }
}

pub(crate) fn nxdomain() -> DnsMessage {
    DnsMessage {
        rcode: 3,
        ..message("api.stripe.com.shop.svc.cluster.local", "A")
    }
}

pub(crate) fn lookup(outcome: LookupOutcome) -> What {
    let candidate = |name: &str, rcode| Candidate {
        name: name.into(),
        qtype: "A".into(),
        rcode,
    };
    let second = match outcome {
        LookupOutcome::Resolved | LookupOutcome::NoData => Some(0),
        LookupOutcome::NxDomain => Some(3),
        LookupOutcome::ServerFailure(rcode) => Some(rcode),
        LookupOutcome::Unanswered | LookupOutcome::Refused(_) | LookupOutcome::Dropped => None,
    };
    What::Lookup(Box::new(Lookup {
        name: "collector.obs".into(),
        candidates: vec![
            candidate("collector.obs.shop.svc.cluster.local", second.map(|_| 3)),
            candidate("collector.obs", second),
        ],
        outcome,
        ips: match outcome {
            LookupOutcome::Resolved => vec!["10.0.2.9".parse().unwrap()],
            _ => Vec::new(),
        },
        took: 4 * MS,
        server: addr("10.96.0.10:53"),
    }))
}

pub(crate) fn end(rst: bool, errno: u32) -> What {
    What::Closed(Box::new(ConnectionEnd {
        duration: 12_340 * MS,
        handshake: Some(MS),
        bytes_acked: 52_100,
        bytes_received: 731,
        errno,
        retransmits: u32::from(rst) * 2,
        last_state: 1,
        rst,
    }))
}

pub(crate) fn failure(outcome: Outcome, errno: i32, duration: Duration, syn_retransmits: u32) -> What {
    What::ConnectFailed(Box::new(ConnectFailure {
        outcome,
        errno: u32::try_from(errno).unwrap(),
        duration,
        syn_retransmits,
        drop: (outcome == Outcome::Dropped).then(|| drop_seen("NETFILTER_DROP", Some(Direction::Egress))),
    }))
}

pub(crate) fn drop_seen(reason: &str, direction: Option<Direction>) -> DropSeen {
    let ends = |source: &str, destination: &str| Endpoints {
        local: source.parse().unwrap(),
        remote: destination.parse().unwrap(),
    };
    let egress = direction != Some(Direction::Ingress);
    DropSeen {
        reason: reason.into(),
        hook: Some(if egress { "OUTPUT" } else { "INPUT" }.into()),
        ifindex: 0,
        packet: PacketDrop {
            ends: match egress {
                true => ends("10.0.1.7:39811", "10.0.2.9:4317"),
                false => ends("10.0.2.9:4317", "10.0.1.7:39811"),
            },
            protocol: Protocol::Tcp,
            reason: Some(76),
            ifindex: 0,
            location: 0,
            stack: Vec::new(),
            tcp_flags: if egress { 2 } else { 18 },
            payload: bytes::Bytes::new(),
        },
        direction,
        question: None,
    }
}

fn info() -> TcpInfo {
    TcpInfo {
        ends: Endpoints {
            local: "10.0.1.7:39811".parse().unwrap(),
            remote: "10.0.2.9:4317".parse().unwrap(),
        },
        state: 1,
        unacked: 3,
        rto: 1600 * MS,
        rtt: Duration::from_micros(840),
        backoff: 2,
        total_retransmits: 5,
        last_sent: 900 * MS,
        last_received: 61_000 * MS,
        bytes_acked: 52_100,
        bytes_received: 731,
        not_sent_bytes: 2048,
    }
}

pub(crate) fn request() -> Arc<Request> {
    Arc::new(Request {
        at: Mono(0),
        wire: Spoken::Http1,
        stream: 0,
        method: Some("POST".into()),
        form: TargetForm::Origin,
        authority: Some("collector.obs:4318".into()),
        path: Some("/v1/traces".into()),
        ingest: Some(Ingest {
            dialect: Dialect::Otlp,
            signal: Some(Signal::Traces),
        }),
        user_agent: Some("OTel-OTLP-Exporter-Python/1.45.1".into()),
        content_length: Some(512),
        grpc: false,
    })
}

fn exchange(status: u16, body_bytes: u64) -> What {
    What::Exchange(Box::new(Exchange {
        request: request(),
        answer: Answer::Http {
            status,
            refusal: None,
            retry_after: false,
            body_bytes: Some(body_bytes),
            form: Form::Protobuf,
        },
        took: 3 * MS,
    }))
}

fn tls(outcome: TlsOutcome, alert: Option<u8>) -> What {
    What::Tls(Box::new(Tls {
        sni: Some("collector.obs".into()),
        alpn: vec!["h2".into()],
        outcome,
        alert: alert.map(|description| Alert {
            from: Direction::Egress,
            description,
        }),
    }))
}

/// Every row, in the table's order.
pub(crate) fn all() -> Vec<Observation> {
    use LookupOutcome::{Dropped, NoData, NxDomain, Refused, Resolved, ServerFailure, Unanswered};
    let refused = u32::try_from(libc::ECONNREFUSED).unwrap();
    let reset = u32::try_from(libc::ECONNRESET).unwrap();
    let timed_out = u32::try_from(libc::ETIMEDOUT).unwrap();
    let question = || message("collector.obs.svc.cluster.local", "A");
    let mut all = vec![
        dns(What::DnsQuery(question())),
        dns(What::DnsResponse {
            message: answer(),
            latency: Some(Duration::from_micros(730)),
        }),
        dns(What::DnsUnanswered {
            query: question(),
            after: 5000 * MS,
        }),
        dns(What::DnsRefused {
            query: Some(question()),
            errno: refused,
        }),
    ];
    let lookups = [
        Resolved,
        NxDomain,
        NoData,
        ServerFailure(2),
        Unanswered,
        Refused(refused),
        Dropped,
    ];
    all.extend(lookups.map(|outcome| dns(lookup(outcome))));
    all.extend(
        [
            What::Attempt,
            What::Retransmit { count: 1, syn: true },
            What::Established { handshake: MS },
            end(false, 0),
            end(true, reset),
            end(false, timed_out),
            failure(Outcome::Refused, libc::ECONNREFUSED, Duration::from_micros(87), 0),
            failure(Outcome::Rejected, libc::ECONNREFUSED, MS, 0),
            failure(Outcome::Unreachable, libc::EHOSTUNREACH, 3072 * MS, 2),
            failure(Outcome::TimedOut, libc::ETIMEDOUT, 130_000 * MS, 6),
            failure(Outcome::GivenUp, 0, 3000 * MS, 1),
            failure(Outcome::Abandoned, 0, 250 * MS, 0),
            failure(Outcome::Failed, libc::ENETUNREACH, Duration::ZERO, 0),
            failure(Outcome::Dropped, libc::ETIMEDOUT, 130_000 * MS, 6),
            What::Request(request()),
            exchange(200, 2),
            exchange(404, 19),
            What::Exchange(Box::new(Exchange {
                request: request(),
                answer: Answer::ConnectionEnded { rst: true },
                took: 5 * MS,
            })),
            tls(TlsOutcome::Established, None),
            tls(TlsOutcome::Failed, Some(48)),
            tls(TlsOutcome::Unanswered, None),
            What::Mismatch(Mismatch {
                client: Spoken::Http2,
                server: Spoken::Http1,
                status: Some(400),
                refusal: None,
                is_guess: false,
            }),
            What::Adopted {
                state: 1,
                bytes_acked: 0,
                bytes_received: 0,
            },
            What::TcpInfo(Box::new(info())),
            What::Dropped(Box::new(drop_seen("NETFILTER_DROP", Some(Direction::Egress)))),
            What::Lost { count: 12 },
        ]
        .map(tcp),
    );
    all
}
