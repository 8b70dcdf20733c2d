//! `flows_load FLOWS ROUNDS`: what keeping and serving flows costs, for measurements.
//!
//! What is kept is what exporters do: of each five look-ups' messages of DNS, the look-up, a connect, a request with its answer and
//! the end. Prints, separated by blanks: the nanoseconds that keeping one flow takes, the KiB that so many take, the
//! milliseconds that a filter over all of them takes which matches nothing, one by a regular expression, and one that finds the
//! newest 20 of a pod; the share of a core, in percent, that one follower of everything costs at 5,000 flows a second, and that
//! ten followers with narrow filters cost; the KiB that 20 readers who never read add with 200,000 flows more, once they are stuck.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use obsflow::api::hubble::proto::flow::FlowFilter;
use obsflow::api::hubble::proto::observer::GetFlowsRequest;
use obsflow::api::hubble::proto::observer::observer_client::ObserverClient;
use obsflow::api::hubble::{Observer, Peer, Peers};
use obsflow::api::{Address, Listener, Publisher};
use obsflow::model::event::Protocol;
use obsflow::model::exchange::{Answer, Exchange, Request, Spoken, TargetForm};
use obsflow::model::observation::{
    Candidate, ConnectionEnd, DnsMessage, Lookup, LookupOutcome, Observation, What,
};
use obsflow::model::workload::{Process, Workload, WorkloadKind};
use obsflow::model::{Clock, Mono};
use obsflow::session::now;
use obsflow::store::{Limits, Recorder};
use tokio_stream::StreamExt as _;
use tonic::transport::{Channel, Endpoint};

/// Workloads of the node.
const WORKLOADS: usize = 100;
/// Flows a second while they are followed.
const RATE: u32 = 5_000;
/// As the pipeline turns.
const TURN: Duration = Duration::from_millis(20);

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, socket, filters @ ..] = args.as_slice()
        && flag == "follow"
    {
        return follow(socket, filters);
    }
    let [flows, rounds] = args.as_slice() else {
        bail!("flows_load FLOWS ROUNDS");
    };
    let entries: usize = flows.parse().context("FLOWS is not a number")?;
    let rounds: usize = rounds.parse().context("ROUNDS is not a number")?;
    let exporters: Vec<_> = (0..WORKLOADS).map(workload).collect();
    let limits = Limits {
        entries,
        bytes: entries * 384,
        age: Duration::from_secs(86_400),
    };
    let mut traffic = Traffic::new(&exporters);
    let before = resident()?;
    let mut recorder = Recorder::new(limits, Clock::now(), now());
    // Observations that the pipeline makes are its own cost, and gone when they were kept.
    let (mut spent, mut kept) = (Duration::ZERO, 0_u32);
    while (kept as usize) < 3 * entries {
        let turn = traffic.next(500);
        let began = cpu_time();
        for observation in &turn {
            recorder.record(observation);
        }
        recorder.publish();
        spent += cpu_time().saturating_sub(began);
        kept += 500;
    }
    let kib = resident()?.saturating_sub(before);
    let write_ns = spent.as_nanos() as f64 / f64::from(kept);

    let folder = std::env::temp_dir().join(format!("obsflow-flows-load-{}", std::process::id()));
    let served = Served::start(&mut recorder, &folder)?;
    let result = served.measure(&mut recorder, &mut traffic, rounds);
    drop(served);
    let _ = std::fs::remove_dir_all(folder);
    let [nothing, regular, newest, one, ten, slow] = result?;
    println!("{write_ns:.0} {kib} {nothing:.2} {regular:.2} {newest:.2} {one:.2} {ten:.2} {slow:.0}");
    Ok(())
}

/// An agent's server of flows, on a thread of its own.
struct Served {
    publisher: Arc<Publisher>,
    socket: PathBuf,
    thread: Option<std::thread::JoinHandle<()>>,
    cpu: Arc<std::sync::Mutex<Option<rustix::thread::Pid>>>,
}

impl Served {
    fn start(recorder: &mut Recorder, folder: &std::path::Path) -> Result<Self> {
        let socket = folder.join("agent.sock");
        let listener = Listener::bind(&Address::Unix(socket.clone()))?;
        let (_, nodes) = tokio::sync::watch::channel(Arc::default());
        let observer = Observer::new(recorder.history("node"), Peers::new(nodes.clone()));
        let publisher = Arc::new(Publisher::new("node").with_flows(observer, Peer::new(Peers::new(nodes))));
        let server = publisher.server();
        let cpu = Arc::new(std::sync::Mutex::new(None));
        let told = Arc::clone(&cpu);
        let thread = std::thread::spawn(move || {
            if let Ok(mut told) = told.lock() {
                *told = Some(rustix::thread::gettid());
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if let Ok(runtime) = runtime {
                // It ends with the measurement.
                let _ = runtime.block_on(server.serve(&listener));
            }
        });
        Ok(Self {
            publisher,
            socket,
            thread: Some(thread),
            cpu,
        })
    }

    /// CPU time of the thread that serves.
    fn spent(&self) -> Result<Duration> {
        let thread = self
            .cpu
            .lock()
            .ok()
            .and_then(|thread| *thread)
            .context("no thread")?;
        let stat = std::fs::read_to_string(format!("/proc/self/task/{}/schedstat", thread.as_raw_nonzero()))?;
        let nanos = stat.split(' ').next().context("no time")?.parse()?;
        Ok(Duration::from_nanos(nanos))
    }

    fn measure(&self, recorder: &mut Recorder, traffic: &mut Traffic<'_>, rounds: usize) -> Result<[f64; 6]> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut client = runtime.block_on(connect(&self.socket))?;
        let port = FlowFilter {
            destination_port: vec!["1".to_owned()],
            ..FlowFilter::default()
        };
        let query = FlowFilter {
            dns_query: vec!["no-such-name".to_owned()],
            ..FlowFilter::default()
        };
        let pod = FlowFilter {
            source_pod: vec!["shop/service-7-".to_owned()],
            ..FlowFilter::default()
        };
        let mut ask = |filter: &FlowFilter, number| -> Result<f64> {
            let mut slowest = Duration::ZERO;
            for _ in 0..rounds {
                let request = GetFlowsRequest {
                    number,
                    whitelist: vec![filter.clone()],
                    ..GetFlowsRequest::default()
                };
                let before = self.spent()?;
                runtime.block_on(async {
                    let mut answer = client.get_flows(request).await?.into_inner();
                    while answer.message().await?.is_some() {}
                    anyhow::Ok(())
                })?;
                slowest = slowest.max(self.spent()?.saturating_sub(before));
            }
            Ok(slowest.as_secs_f64() * 1000.0)
        };
        let found = [ask(&port, 0)?, ask(&query, 0)?, ask(&pod, 20)?];
        let one = self.followed(recorder, traffic, &[""])?;
        let narrow: Vec<String> = (0..10).map(|number| format!("shop/service-{number}-")).collect();
        let ten = self.followed(
            recorder,
            traffic,
            &narrow.iter().map(String::as_str).collect::<Vec<_>>(),
        )?;
        let slow: Vec<_> = (0..20)
            .map(|_| {
                runtime.block_on(async {
                    let mut client = connect(&self.socket).await?;
                    let request = GetFlowsRequest {
                        follow: true,
                        ..GetFlowsRequest::default()
                    };
                    let answer = client.get_flows(request).await?.into_inner();
                    anyhow::Ok((client, answer))
                })
            })
            .collect::<Result<_>>()?;
        // Until every buffer between them and the agent is full.
        let mut see = |thousands: usize| -> Result<u64> {
            for _ in 0..thousands {
                flow(recorder, &traffic.next(1_000));
            }
            std::thread::sleep(Duration::from_millis(200));
            resident()
        };
        let before = see(100)?;
        let grown = see(200)?.saturating_sub(before);
        drop(slow);
        Ok([found[0], found[1], found[2], one, ten, grown as f64])
    }

    /// The share of a core, in percent, that these followers cost while there are so many flows a second.
    fn followed(&self, recorder: &mut Recorder, traffic: &mut Traffic<'_>, pods: &[&str]) -> Result<f64> {
        let mut follower = std::process::Command::new(std::env::current_exe()?)
            .arg("follow")
            .arg(&self.socket)
            .args(pods)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()?;
        let mut ready = String::new();
        let out = follower.stdout.take().context("no output")?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut ready)?;
        let per_turn = (RATE as u128 * TURN.as_nanos() / Duration::from_secs(1).as_nanos()) as usize;
        let (began, before) = (Instant::now(), self.spent()?);
        for turn in 1_u32..=150 {
            flow(recorder, &traffic.next(per_turn));
            let due = TURN * turn;
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
        let share = self.spent()?.saturating_sub(before).as_secs_f64() / began.elapsed().as_secs_f64();
        drop(follower.stdin.take());
        let ended = follower.wait()?;
        anyhow::ensure!(ended.success(), "a follower ended with {ended}");
        Ok(share * 100.0)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.publisher.end();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn connect(socket: &std::path::Path) -> Result<ObserverClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
    Ok(ObserverClient::new(endpoint.connect().await?))
}

/// A process of its own, so that what clients cost is not counted: follows until its input ends.
fn follow(socket: &str, pods: &[String]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let followers = runtime.block_on(async {
        let mut followers = Vec::new();
        for pod in pods {
            let mut client = connect(socket.as_ref()).await?;
            let filter = FlowFilter {
                source_pod: vec![pod.clone()],
                ..FlowFilter::default()
            };
            let request = GetFlowsRequest {
                follow: true,
                whitelist: if pod.is_empty() { Vec::new() } else { vec![filter] },
                ..GetFlowsRequest::default()
            };
            followers.push(client.get_flows(request).await?.into_inner());
        }
        anyhow::Ok(followers)
    })?;
    println!("ready");
    let over = std::thread::spawn(|| std::io::read_to_string(std::io::stdin()));
    runtime.block_on(async {
        let mut all = tokio_stream::StreamMap::new();
        for (number, follower) in followers.into_iter().enumerate() {
            all.insert(number, follower);
        }
        while !over.is_finished() {
            let next = tokio::time::timeout(Duration::from_millis(100), all.next()).await;
            if let Ok(Some((_, flow))) = next {
                flow?;
            }
        }
        Ok(())
    })
}

fn flow(recorder: &mut Recorder, observations: &[Observation]) {
    for observation in observations {
        recorder.record(observation);
    }
    recorder.publish();
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// What of this process is in memory, in KiB.
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.context("no VmRSS")?.trim().trim_end_matches(" kB").parse()?)
}

fn workload(number: usize) -> Arc<Workload> {
    Arc::new(Workload {
        kind: WorkloadKind::Pod,
        namespace: Some("shop".into()),
        pod: Some(format!("service-{number}-7d9c6b5f4d-x2xkq").into()),
        pod_uid: Some(format!("8d9d5a4e-0000-4000-8000-{number:012}").into()),
        container_id: Some(format!("{number:064x}").into()),
        cgroup_path: Some(format!("/kubepods/pod{number}/{number:064x}").into()),
        ..Workload::default()
    })
}

/// What exporters do, one after the other.
struct Traffic<'a> {
    workloads: &'a [Arc<Workload>],
    at: usize,
    waiting: std::collections::VecDeque<Observation>,
}

impl<'a> Traffic<'a> {
    fn new(workloads: &'a [Arc<Workload>]) -> Self {
        Self {
            workloads,
            at: 0,
            waiting: std::collections::VecDeque::new(),
        }
    }

    fn next(&mut self, count: usize) -> Vec<Observation> {
        while self.waiting.len() < count {
            let at = self.at;
            self.at += 1;
            if let Some(workload) = self.workloads.get(at % self.workloads.len()) {
                self.waiting.extend(export(workload, at));
            }
        }
        self.waiting.drain(..count).collect()
    }
}

/// A search over five names, a connection, a request and its end; names are made anew each time, as they are decoded anew.
fn export(workload: &Arc<Workload>, number: usize) -> Vec<Observation> {
    let ms = Duration::from_millis;
    let name = format!("otel-{}.observability.svc.cluster.local", number % 50);
    let see = |what: What| Observation {
        at: now(),
        workload: Arc::clone(workload),
        process: Some(Process {
            pid: 4711,
            name: "service".into(),
        }),
        cgroup: 8123,
        cookie: number as u64,
        netns: 4_026_532_000,
        local: Some(SocketAddr::from(([10, 0, 1, 7], 39_811))),
        remote: Some(SocketAddr::from(([10, 96, 0, 9], 4317))),
        asked: None,
        remote_name: Some(name.as_str().into()),
        remote_is: None,
        what,
    };
    let message = |name: &str, rcode: u16, ips: &[[u8; 4]]| DnsMessage {
        protocol: Protocol::Udp,
        id: 7,
        name: name.into(),
        qtype: "A".into(),
        rcode,
        ips: ips.iter().map(|ip| (*ip).into()).collect(),
        cnames: Vec::new(),
        rrtypes: ips.iter().map(|_| "A".into()).collect(),
        ttl: (!ips.is_empty()).then_some(30),
        truncated: false,
    };
    let searched: Vec<String> = [
        "shop.svc.cluster.local",
        "svc.cluster.local",
        "cluster.local",
        "example.com",
    ]
    .iter()
    .map(|domain| format!("{name}.{domain}"))
    .collect();
    let mut all = Vec::new();
    for searched in &searched {
        all.push(see(What::DnsQuery(message(searched, 0, &[]))));
        all.push(see(What::DnsResponse {
            message: message(searched, 3, &[]),
            latency: Some(ms(1)),
        }));
    }
    all.push(see(What::DnsQuery(message(&name, 0, &[]))));
    all.push(see(What::DnsResponse {
        message: message(&name, 0, &[[10, 96, 0, 9], [10, 96, 0, 10]]),
        latency: Some(ms(1)),
    }));
    all.push(see(What::Lookup(Box::new(Lookup {
        name: name.as_str().into(),
        candidates: searched
            .iter()
            .map(|name| Candidate {
                name: name.as_str().into(),
                qtype: "A".into(),
                rcode: Some(3),
            })
            .collect(),
        outcome: LookupOutcome::Resolved,
        ips: vec![[10, 96, 0, 9].into()],
        took: ms(5),
        server: Some(SocketAddr::from(([10, 96, 0, 10], 53))),
    }))));
    let request = Arc::new(Request {
        at: Mono(1),
        wire: Spoken::Http1,
        stream: 0,
        method: Some("POST".into()),
        form: TargetForm::Origin,
        authority: Some(format!("{name}:4318").into()),
        path: Some("/v1/traces".into()),
        ingest: None,
        user_agent: Some("OTel-OTLP-Exporter-Python/1.30.0".into()),
        content_length: Some(1024),
        grpc: false,
    });
    all.push(see(What::Attempt));
    all.push(see(What::Established { handshake: ms(1) }));
    all.push(see(What::Request(Arc::clone(&request))));
    all.push(see(What::Exchange(Box::new(Exchange {
        request,
        answer: Answer::Http {
            status: 200,
            refusal: None,
            retry_after: false,
            body_bytes: Some(2),
            form: obsflow::model::exchange::Form::default(),
        },
        took: ms(3),
    }))));
    all.push(see(What::Closed(Box::new(ConnectionEnd {
        duration: ms(900),
        handshake: Some(ms(1)),
        bytes_acked: 52_100,
        bytes_received: 731,
        errno: 0,
        retransmits: 0,
        last_state: 1,
        rst: false,
    }))));
    all
}
