//! `metrics_load SERIES ROUNDS`: metrics of so many series, for measurements.
//!
//! A hundred workloads look up, connect and send until there are that many series, counted as Prometheus does: each line of a
//! histogram is one. Prints, separated by blanks: the lines, the milliseconds that writing all of them takes as
//! OpenMetrics and as text (the slowest of the rounds), the nanoseconds of CPU time that an observation takes, and the
//! milliseconds that the session's thread takes for a scrape: to add the kernel's counters of 4,000 cgroups.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use obsflow::kernel::counters::Counts;
use obsflow::model::Mono;
use obsflow::model::event::Outcome;
use obsflow::model::observation::{ConnectFailure, ConnectionEnd, Lookup, LookupOutcome, Observation, What};
use obsflow::model::workload::{Workload, WorkloadKind};
use obsflow::sinks::metrics::{Format, Metrics, Options, Own, metrics};

/// Workloads of the node.
const WORKLOADS: usize = 100;
/// Cgroups in the kernel's maps, each with two codes.
const CGROUPS: u64 = 4000;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [series, rounds] = args.as_slice() else {
        bail!("metrics_load SERIES ROUNDS");
    };
    let wanted: usize = series.parse().context("SERIES is not a number")?;
    let rounds: u64 = rounds.parse().context("ROUNDS is not a number")?;

    let (mut metrics, scraper) = metrics(Options::default());
    let workloads: Vec<Arc<Workload>> = (0..WORKLOADS).map(workload).collect();
    let mut sink = 0;
    let lines = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    let mut written = 0;
    while written < wanted {
        for workload in &workloads {
            for seen in said(workload, sink) {
                metrics.observe(&seen);
            }
        }
        sink += 1;
        written = lines(&scraper.encode(Format::Text));
        if sink > 400 {
            bail!("{wanted} series are more than are told apart");
        }
    }

    let (mut open, mut text) = (Duration::ZERO, Duration::ZERO);
    let mut spent = Duration::ZERO;
    let mut observed: u32 = 0;
    let mut harvest = Duration::ZERO;
    for round in 0..rounds {
        let began = cpu_time();
        for workload in &workloads {
            for seen in said(workload, 0) {
                metrics.observe(&seen);
                observed += 1;
            }
        }
        spent += cpu_time().saturating_sub(began);
        harvest = harvest.max(timed(|| counters(&mut metrics, &workloads, round)));
        open = open.max(timed(|| drop(scraper.encode(Format::OpenMetrics))));
        text = text.max(timed(|| drop(scraper.encode(Format::Text))));
    }
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    println!(
        "{written} {:.1} {:.1} {:.0} {:.2}",
        ms(open),
        ms(text),
        spent.as_nanos() as f64 / f64::from(observed.max(1)),
        ms(harvest)
    );
    Ok(())
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

/// CPU time of this process.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

fn counters(metrics: &mut Metrics, workloads: &[Arc<Workload>], round: u64) {
    let mut dns = BTreeMap::new();
    for cgroup in 1..=CGROUPS {
        for rcode in [0, 3] {
            dns.insert((cgroup, rcode), round + 1);
        }
    }
    let counts = Counts {
        dns,
        ..Counts::default()
    };
    let mut of = |cgroup: u64| {
        let at = usize::try_from(cgroup).unwrap_or(0) % WORKLOADS;
        workloads.get(at).map(Arc::clone)
    };
    metrics.counters(&counts, &mut of, &[], Mono(1));
    metrics.own(&Own::default());
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

/// What one exporter does: it looks up, is refused once, connects, sends and ends.
fn said(workload: &Arc<Workload>, sink: u64) -> Vec<Observation> {
    let ms = Duration::from_millis;
    let see = |cookie: u64, what: What| Observation {
        at: Mono(1),
        workload: Arc::clone(workload),
        process: None,
        cgroup: 1,
        cookie,
        netns: 0,
        local: None,
        remote: Some(SocketAddr::from(([10, 96, 0, 9], 4317))),
        asked: None,
        remote_name: Some(format!("otel-{sink}.observability.svc.cluster.local").into()),
        remote_is: None,
        what,
    };
    let lookup = Lookup {
        name: "otel.observability.svc.cluster.local".into(),
        candidates: Vec::new(),
        outcome: LookupOutcome::Resolved,
        ips: Vec::new(),
        took: ms(1),
        server: None,
    };
    let refused = ConnectFailure {
        outcome: Outcome::Refused,
        errno: 111,
        duration: ms(1),
        syn_retransmits: 0,
        drop: None,
    };
    let end = ConnectionEnd {
        duration: ms(900),
        handshake: Some(ms(1)),
        bytes_acked: 500,
        bytes_received: 200,
        errno: 0,
        retransmits: 1,
        last_state: 4,
        rst: false,
    };
    vec![
        see(0, What::Lookup(Box::new(lookup))),
        see(1, What::Attempt),
        see(1, What::ConnectFailed(Box::new(refused))),
        see(2, What::Attempt),
        see(2, What::Established { handshake: ms(1) }),
        see(2, What::Closed(Box::new(end))),
    ]
}
