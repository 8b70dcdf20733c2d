//! `diagnose_load EXPORTERS EVENTS`: diagnosis of so many exporters fed with so many made-up observations, for measurements.
//!
//! Most of the exporters do well over a connection that stays open; of every eight one cannot resolve, one is refused, and
//! one is told no. Between them containers that export nothing look up and connect. Prints, separated by blanks: the
//! nanoseconds of CPU time for each observation, of a tick for each exporter, of a report for each exporter, and the KiB that
//! the state takes beyond what this process took before it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use obsflow::diagnose::{Config, Diagnoser};
use obsflow::model::Mono;
use obsflow::model::event::Outcome;
use obsflow::model::exchange::{
    Answer, Dialect, Exchange, Form, Ingest, Request, Signal, Spoken, TargetForm,
};
use obsflow::model::expectation::{
    Container, Endpoint, Expectation, ExpectationChange, Host, SenderProof, Setting, Source, Transport,
};
use obsflow::model::observation::{
    Candidate, ConnectFailure, ConnectionEnd, Lookup, LookupOutcome, Observation, What,
};
use obsflow::model::workload::{Process, Workload, WorkloadKind};

/// Collectors that the exporters send to.
const COLLECTORS: u64 = 20;
/// Observations between two ticks.
const PER_SECOND: usize = 20_000;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [exporters, events] = args.as_slice() else {
        bail!("diagnose_load EXPORTERS EVENTS");
    };
    let exporters: u64 = exporters.parse().context("EXPORTERS is not a number")?;
    let events: usize = events.parse().context("EVENTS is not a number")?;

    let began = Mono(1_000_000_000_000);
    let pods: Vec<Pod> = (0..exporters).map(Pod::new).collect();
    let mut feed: Vec<Observation> = Vec::new();
    let mut round = 0;
    while feed.len() < events {
        for pod in &pods {
            pod.round(round, &mut feed);
        }
        round += 1;
    }
    feed.truncate(events);

    let before_kib = resident_kib()?;
    let mut diagnoser = Diagnoser::new(Config {
        watching_since: Some(began),
        ..Config::default()
    });
    for pod in &pods {
        diagnoser.expect(pod.expected(), began);
    }
    let mut on = Duration::ZERO;
    let mut tick = Duration::ZERO;
    let mut ticks = 0u32;
    let mut now = began;
    for second in feed.chunks_mut(PER_SECOND) {
        for observation in &mut *second {
            observation.at = now;
        }
        let start = cpu_time();
        for observation in &*second {
            diagnoser.on(observation);
        }
        on += cpu_time().saturating_sub(start);
        now = now.after(Duration::from_secs(1));
        let start = cpu_time();
        diagnoser.tick(now);
        tick += cpu_time().saturating_sub(start);
        ticks += 1;
        drop(diagnoser.take_transitions());
    }
    let state_kib = resident_kib()?.saturating_sub(before_kib);
    let start = cpu_time();
    let report = diagnoser.report(now);
    let reported = cpu_time().saturating_sub(start);
    if report.exports.len() as u64 != exporters {
        bail!(
            "{} of {exporters} exporters are in the report",
            report.exports.len()
        );
    }
    let each = |time: Duration, count: f64| time.as_nanos() as f64 / count.max(1.0);
    println!(
        "{:.1} {:.1} {:.1} {state_kib}",
        each(on, events as f64),
        each(tick, f64::from(ticks) * exporters as f64),
        each(reported, exporters as f64),
    );
    Ok(())
}

/// CPU time of this process.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

fn resident_kib() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// A pod with one exporter, and one with none beside it.
struct Pod {
    number: u64,
    workload: Arc<Workload>,
    other: Arc<Workload>,
    name: Arc<str>,
    collector: SocketAddr,
}

impl Pod {
    fn new(number: u64) -> Self {
        let workload = |container: &str| {
            Arc::new(Workload {
                kind: WorkloadKind::Pod,
                namespace: Some(format!("team-{}", number % 40).into()),
                pod: Some(format!("service-{}-7d9c6b5f4d-x2xkq", number / 4).into()),
                pod_uid: Some(format!("4a5b6c7d-0000-4000-8000-{number:012x}").into()),
                container_id: Some(format!("{number:060x}{container:.4}").into()),
                container: Some(container.into()),
                ..Workload::default()
            })
        };
        let collector = u8::try_from(number % COLLECTORS).unwrap_or(0);
        Self {
            number,
            workload: workload("app1"),
            other: workload("db01"),
            name: format!("collector-{collector}.observability").into(),
            collector: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 100, 0, collector)), 4318),
        }
    }

    fn expected(&self) -> ExpectationChange {
        let endpoint = Endpoint {
            host: Host::Name(Arc::clone(&self.name)),
            port: 4318,
            tls: Some(false),
            path: Some("/v1/traces".into()),
            transport: Transport::HttpProtobuf,
        };
        let key = self.workload.container_key();
        ExpectationChange::Container(Box::new(Container {
            key: key.unwrap_or_else(|| obsflow::model::expectation::ContainerKey("none".into())),
            workload: Arc::clone(&self.workload),
            cgroup: 1 + 2 * self.number,
            pid: 0,
            service: None,
            began: Mono(1),
            from_exec: false,
            proofs: vec![SenderProof::JavaAgent],
            expectations: vec![Expectation {
                signal: Some(Signal::Traces),
                written: endpoint.to_string().into(),
                endpoint: Some(endpoint),
                setting: Setting::On,
                source: Source::Environment("OTEL_EXPORTER_OTLP_ENDPOINT".into()),
                interval: Duration::from_secs(5),
                timeout: Some(Duration::from_secs(10)),
                proxy: None,
            }],
            unreadable: None,
            injection: None,
        }))
    }

    fn see(&self, cookie: u64, what: What) -> Observation {
        Observation {
            at: Mono(0),
            workload: Arc::clone(&self.workload),
            process: Some(Process {
                pid: 4711,
                name: "python".into(),
            }),
            cgroup: 1 + 2 * self.number,
            cookie: cookie + self.number * 1_000_000,
            netns: u32::try_from(self.number + 1).unwrap_or(0),
            local: None,
            remote: Some(self.collector),
            asked: None,
            remote_name: None,
            remote_is: None,
            what,
        }
    }

    fn lookup(&self, outcome: LookupOutcome) -> What {
        let candidate = |suffix: &str| Candidate {
            name: format!("{}{suffix}", self.name).into(),
            qtype: "A".into(),
            rcode: Some(3),
        };
        What::Lookup(Box::new(Lookup {
            name: Arc::clone(&self.name),
            candidates: vec![
                candidate(".team.svc.cluster.local"),
                candidate(".svc.cluster.local"),
                candidate(".cluster.local"),
                candidate(""),
            ],
            outcome,
            ips: match outcome {
                LookupOutcome::Resolved => vec![self.collector.ip()],
                _ => Vec::new(),
            },
            took: Duration::from_millis(2),
            server: None,
        }))
    }

    /// What this pod does once every few seconds.
    fn round(&self, round: u64, feed: &mut Vec<Observation>) {
        // The neighbour: nothing of it concerns anybody.
        for what in [self.lookup(LookupOutcome::Resolved), What::Attempt] {
            let mut other = self.see(900_000 + round, what);
            other.workload = Arc::clone(&self.other);
            other.cgroup += 1;
            other.netns = 0;
            feed.push(other);
        }
        match self.number % 8 {
            0 => feed.push(self.see(0, self.lookup(LookupOutcome::NxDomain))),
            1 => {
                feed.push(self.see(0, self.lookup(LookupOutcome::Resolved)));
                feed.push(self.see(round, What::Attempt));
                let failure = ConnectFailure {
                    outcome: Outcome::Refused,
                    errno: 111,
                    duration: Duration::from_millis(1),
                    syn_retransmits: 0,
                    drop: None,
                };
                feed.push(self.see(round, What::ConnectFailed(Box::new(failure))));
            }
            2 => {
                self.connect(round, feed);
                self.export(round, 404, feed);
                let end = ConnectionEnd {
                    duration: Duration::from_secs(1),
                    handshake: None,
                    bytes_acked: 500,
                    bytes_received: 200,
                    errno: 0,
                    retransmits: 0,
                    last_state: 4,
                    rst: false,
                };
                feed.push(self.see(round, What::Closed(Box::new(end))));
            }
            _ => {
                if round == 0 {
                    feed.push(self.see(0, self.lookup(LookupOutcome::Resolved)));
                    self.connect(0, feed);
                }
                self.export(0, 200, feed);
            }
        }
    }

    fn connect(&self, cookie: u64, feed: &mut Vec<Observation>) {
        let handshake = Duration::from_micros(200);
        feed.push(self.see(cookie, What::Attempt));
        feed.push(self.see(cookie, What::Established { handshake }));
    }

    fn export(&self, cookie: u64, status: u16, feed: &mut Vec<Observation>) {
        let request = Arc::new(Request {
            at: Mono(0),
            wire: Spoken::Http1,
            stream: 0,
            method: Some("POST".into()),
            form: TargetForm::Origin,
            authority: Some(Arc::clone(&self.name)),
            path: Some("/v1/traces".into()),
            ingest: Some(Ingest {
                dialect: Dialect::Otlp,
                signal: Some(Signal::Traces),
            }),
            user_agent: Some("OTel-OTLP-Exporter-Python/1.45.1".into()),
            content_length: Some(900),
            grpc: false,
        });
        let answer = Answer::Http {
            status,
            refusal: None,
            retry_after: false,
            body_bytes: Some(2),
            form: Form::Protobuf,
        };
        let exchange = Exchange {
            request: Arc::clone(&request),
            answer,
            took: Duration::from_millis(2),
        };
        feed.push(self.see(cookie, What::Request(request)));
        feed.push(self.see(cookie, What::Exchange(Box::new(exchange))));
    }
}
