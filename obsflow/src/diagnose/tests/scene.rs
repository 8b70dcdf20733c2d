//! A node with containers to tell stories of.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::diagnose::{Config, Diagnoser};
use crate::model::Lifecycle;
use crate::model::event::{Endpoints, Outcome, PacketDrop, Protocol};
use crate::model::exchange::{Answer, Dialect, Exchange, Form, Ingest, Request, Signal, Spoken, TargetForm};
use crate::model::expectation::{
    Container, ContainerKey, Endpoint, Expectation, ExpectationChange, Host, SenderProof, Setting, Source,
    Transport,
};
use crate::model::lifecycle::Step;
use crate::model::observation::{
    Candidate, ConnectFailure, ConnectionEnd, DropSeen, Lookup, LookupOutcome, Observation, What,
};
use crate::model::time::Mono;
use crate::model::verdict::{Export, Report, Transition, VerdictId};
use crate::model::workload::{Process, Workload, WorkloadKind};

/// The scene begins this long after the machine did.
const BEGAN: u64 = 1_000_000;

/// This many milliseconds into the scene.
pub(crate) fn ms(ms: u64) -> Mono {
    Mono(0).after(Duration::from_millis(BEGAN + ms))
}

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn workload(number: u64) -> Workload {
    Workload {
        kind: WorkloadKind::Pod,
        namespace: Some("shop".into()),
        pod: Some(
            format!(
                "checkout-7d9c6b5f4d-x2x{}q",
                char::from(b'b' + (number % 3) as u8)
            )
            .into(),
        ),
        pod_uid: Some(format!("uid-{number}").into()),
        container_id: Some(format!("container-{number}").into()),
        container: Some("app".into()),
        ..Workload::default()
    }
}

pub(crate) fn host(text: &str) -> Host {
    match text.parse::<IpAddr>() {
        Ok(ip) => Host::Ip(ip),
        Err(_) => Host::Name(text.into()),
    }
}

pub(crate) fn expectation(to: &str, port: u16, signal: Option<Signal>) -> Expectation {
    Expectation {
        signal,
        endpoint: Some(Endpoint {
            host: host(to),
            port,
            tls: Some(false),
            path: signal.map(|signal| format!("/v1/{}", signal.name()).into()),
            transport: Transport::HttpProtobuf,
        }),
        written: format!("http://{to}:{port}").into(),
        setting: Setting::On,
        source: Source::Environment("OTEL_EXPORTER_OTLP_ENDPOINT".into()),
        interval: Duration::from_secs(if signal == Some(Signal::Metrics) { 60 } else { 5 }),
        timeout: Some(Duration::from_secs(10)),
        proxy: None,
    }
}

pub(crate) struct Scene {
    pub(crate) diagnoser: Diagnoser,
    /// Milliseconds.
    pub(crate) now: u64,
    ticked: u64,
    pub(crate) transitions: Vec<Transition>,
    cookie: u64,
    pub(crate) container: u64,
}

impl Scene {
    /// An old container that sends traces to `otel.obs:4318`.
    pub(crate) fn traces() -> Self {
        let mut scene = Self::empty();
        scene.expect(vec![expectation("otel.obs", 4318, Some(Signal::Traces))]);
        scene
    }

    pub(crate) fn empty() -> Self {
        let config = Config {
            watching_since: Some(ms(0)),
            ..Config::default()
        };
        Self {
            diagnoser: Diagnoser::new(config),
            now: 0,
            ticked: 0,
            transitions: Vec::new(),
            cookie: 0,
            container: 1,
        }
    }

    pub(crate) fn container_of(&self, expectations: Vec<Expectation>) -> Container {
        let workload = workload(self.container);
        Container {
            key: workload.container_key().unwrap(),
            workload: Arc::new(workload),
            cgroup: self.container,
            pid: 4711,
            service: None,
            began: Mono(ms(0).0 - 600_000_000_000),
            from_exec: false,
            proofs: vec![SenderProof::LoadedSdk("opentelemetry".into())],
            expectations,
            unreadable: None,
            injection: None,
        }
    }

    pub(crate) fn expect(&mut self, expectations: Vec<Expectation>) {
        let container = self.container_of(expectations);
        self.expect_container(container);
    }

    pub(crate) fn expect_container(&mut self, container: Container) {
        self.diagnoser
            .expect(ExpectationChange::Container(Box::new(container)), ms(self.now));
    }

    pub(crate) fn gone(&mut self) {
        let key: ContainerKey = workload(self.container).container_key().unwrap();
        let at = ms(self.now);
        self.diagnoser.expect(ExpectationChange::Gone { key, at }, at);
        self.tick();
    }

    /// Of the container's cgroup and its process.
    pub(crate) fn step(&self, what: Step) -> Lifecycle {
        Lifecycle {
            at: ms(self.now),
            workload: Arc::new(workload(self.container)),
            cgroup: self.container,
            pid: 4711,
            what,
        }
    }

    /// Time goes by, with a tick every second.
    pub(crate) fn until(&mut self, at: u64) {
        while self.ticked + 1000 <= at {
            self.ticked += 1000;
            self.now = self.now.max(self.ticked);
            self.diagnoser.tick(ms(self.ticked));
            self.transitions.append(&mut self.diagnoser.take_transitions());
        }
        self.now = self.now.max(at);
    }

    pub(crate) fn tick(&mut self) {
        self.diagnoser.tick(ms(self.now));
        self.transitions.append(&mut self.diagnoser.take_transitions());
    }

    pub(crate) fn after(&mut self, milliseconds: u64) -> &mut Self {
        self.until(self.now + milliseconds);
        self
    }

    pub(crate) fn cookie(&mut self) -> u64 {
        self.cookie += 1;
        self.cookie
    }

    pub(crate) fn observation(&self, cookie: u64, what: What) -> Observation {
        Observation {
            at: ms(self.now),
            workload: Arc::new(workload(self.container)),
            process: Some(Process {
                pid: 4711,
                name: "python".into(),
            }),
            cgroup: self.container,
            cookie,
            netns: u32::try_from(self.container).unwrap(),
            local: Some(addr("10.244.1.5:40000")),
            remote: None,
            asked: None,
            remote_name: None,
            remote_is: None,
            what,
        }
    }

    pub(crate) fn see(&mut self, observation: &Observation) {
        self.diagnoser.on(observation);
    }

    /// A whole search for the name, `search` list included.
    pub(crate) fn lookup(&mut self, name: &str, outcome: LookupOutcome, ips: &[&str]) -> &mut Self {
        let tried = [
            format!("{name}.shop.svc.cluster.local"),
            format!("{name}.svc.cluster.local"),
            format!("{name}.cluster.local"),
            name.to_owned(),
        ];
        let rcode = |last: bool| match outcome {
            LookupOutcome::Resolved | LookupOutcome::NoData if last => Some(0),
            LookupOutcome::ServerFailure(rcode) if last => Some(rcode),
            LookupOutcome::Unanswered | LookupOutcome::Dropped | LookupOutcome::Refused(_) => None,
            _ => Some(3),
        };
        let candidates = tried
            .iter()
            .map(|tried| Candidate {
                name: tried.as_str().into(),
                qtype: "A".into(),
                rcode: rcode(tried == name),
            })
            .collect();
        let lookup = Lookup {
            name: name.into(),
            candidates,
            outcome,
            ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            took: Duration::from_millis(4),
            server: Some(addr("10.96.0.10:53")),
        };
        let observation = self.observation(0, What::Lookup(Box::new(lookup)));
        self.see(&observation);
        self
    }

    pub(crate) fn of(&self, cookie: u64, to: &str, name: Option<&str>, what: What) -> Observation {
        Observation {
            remote: Some(addr(to)),
            remote_name: name.map(Arc::from),
            remote_is: None,
            ..self.observation(cookie, what)
        }
    }

    pub(crate) fn connection(&mut self, cookie: u64, to: &str, what: What) -> &mut Self {
        let observation = self.of(cookie, to, None, what);
        self.see(&observation);
        self
    }

    pub(crate) fn attempt(&mut self, to: &str) -> u64 {
        let cookie = self.cookie();
        self.connection(cookie, to, What::Attempt);
        cookie
    }

    pub(crate) fn fail(&mut self, cookie: u64, to: &str, outcome: Outcome, errno: u32) -> &mut Self {
        let failure = ConnectFailure {
            outcome,
            errno,
            duration: Duration::from_millis(1),
            syn_retransmits: 0,
            drop: None,
        };
        self.connection(cookie, to, What::ConnectFailed(Box::new(failure)))
    }

    pub(crate) fn refused(&mut self, to: &str) -> &mut Self {
        let cookie = self.attempt(to);
        self.fail(cookie, to, Outcome::Refused, 111)
    }

    pub(crate) fn connect(&mut self, to: &str) -> u64 {
        let cookie = self.attempt(to);
        self.connection(
            cookie,
            to,
            What::Established {
                handshake: Duration::from_micros(300),
            },
        );
        cookie
    }

    pub(crate) fn close(&mut self, cookie: u64, to: &str, rst: bool, received: u64) -> &mut Self {
        let end = ConnectionEnd {
            duration: Duration::from_secs(1),
            handshake: None,
            bytes_acked: 600,
            bytes_received: received,
            errno: if rst { 104 } else { 0 },
            retransmits: 0,
            last_state: 1,
            rst,
        };
        self.connection(cookie, to, What::Closed(Box::new(end)))
    }

    pub(crate) fn report(&self) -> Report {
        self.diagnoser.report(ms(self.now))
    }

    /// The only exporter.
    pub(crate) fn export(&self) -> Export {
        let mut exports = self.report().exports;
        assert_eq!(exports.len(), 1, "{exports:#?}");
        exports.remove(0)
    }

    pub(crate) fn verdict(&self) -> VerdictId {
        self.export().verdict
    }

    pub(crate) fn failures(&self) -> Vec<VerdictId> {
        let failing = |export: &Export| export.verdict.is_failure().then_some(export.verdict);
        self.report().exports.iter().filter_map(failing).collect()
    }
}

pub(crate) fn drop_seen(reason: &str, hook: &str, protocol: Protocol) -> DropSeen {
    DropSeen {
        reason: reason.into(),
        hook: Some(hook.into()),
        ifindex: 0,
        packet: PacketDrop {
            ends: Endpoints {
                local: addr("10.244.1.5:40000"),
                remote: addr("10.100.0.1:4318"),
            },
            protocol,
            reason: None,
            ifindex: 0,
            location: 0,
            stack: Vec::new(),
            tcp_flags: 2,
            payload: bytes::Bytes::new(),
        },
        direction: None,
        question: None,
    }
}

/// What the evidence says, in one text.
/// A connection that was established before obsflow looked.
pub(crate) fn adopted() -> What {
    What::Adopted {
        state: 1,
        bytes_acked: 0,
        bytes_received: 0,
    }
}

pub(crate) fn evidence(export: &Export) -> String {
    let lines: Vec<&str> = export.evidence.iter().map(|line| &*line.text).collect();
    lines.join("\n")
}

/// A request to a telemetry path.
pub(crate) fn request(path: &str, at: Mono) -> Arc<Request> {
    Arc::new(Request {
        at,
        wire: Spoken::Http1,
        stream: 0,
        method: Some("POST".into()),
        form: TargetForm::Origin,
        authority: Some("otel.obs:4318".into()),
        path: Some(path.into()),
        ingest: signal_of(path).map(|signal| Ingest {
            dialect: Dialect::Otlp,
            signal: Some(signal),
        }),
        user_agent: Some("OTel-OTLP-Exporter-Python/1.45".into()),
        content_length: Some(300),
        grpc: false,
    })
}

fn signal_of(path: &str) -> Option<Signal> {
    Signal::ALL
        .into_iter()
        .find(|signal| path == format!("/v1/{}", signal.name()))
}

pub(crate) fn http(status: u16) -> Answer {
    Answer::Http {
        status,
        refusal: None,
        retry_after: false,
        body_bytes: Some(if status == 200 { 2 } else { 0 }),
        form: Form::Protobuf,
    }
}

pub(crate) fn grpc(status: u32) -> Answer {
    Answer::Grpc {
        status: Some(status),
        failed: status != 0,
        data_bytes: if status == 0 { 5 } else { 0 },
        form: Form::Protobuf,
    }
}

impl Scene {
    pub(crate) fn ask(&mut self, cookie: u64, to: &str, path: &str) -> Arc<Request> {
        let request = request(path, ms(self.now));
        self.connection(cookie, to, What::Request(Arc::clone(&request)));
        request
    }

    pub(crate) fn answer(
        &mut self,
        cookie: u64,
        to: &str,
        request: Arc<Request>,
        answer: Answer,
    ) -> &mut Self {
        let took = ms(self.now).since(request.at);
        let exchange = Exchange {
            request,
            answer,
            took,
        };
        self.connection(cookie, to, What::Exchange(Box::new(exchange)))
    }

    /// A request and its answer, 3 ms later.
    pub(crate) fn export_to(&mut self, cookie: u64, to: &str, path: &str, answer: Answer) -> &mut Self {
        let request = self.ask(cookie, to, path);
        self.after(3);
        self.answer(cookie, to, request, answer)
    }
}
