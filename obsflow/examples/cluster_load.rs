//! `cluster_load KUBECONFIG`: what following a large cluster costs the pipeline's thread, for measurements.
//!
//! Lists what the API server has, says `listed` and the pods, Services and endpoints that it knows then, and turns as an agent's
//! session does - a look at the latest snapshot with every event, names and diagnosis once a second. Two lines come on standard
//! input: one when pods begin to change, and one when the last change was made, which has the address 12.255.255.255. Prints,
//! separated by blanks: milliseconds until all was listed, snapshots taken, microseconds of CPU time and on the clock that the longest step
//! took in which the thread could not go on, and milliseconds that pods were behind at the worst and at the end. A pod's address
//! is 12.0.0.0 and the number of its change, of which there are 1,000 a second.

use std::io::{self, BufRead as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use obsflow::attribute::{self, Attributor};
use obsflow::cluster;
use obsflow::diagnose::{Config, Diagnoser};
use obsflow::expect::{self, Expectations};
use obsflow::model::cluster::Cluster;
use obsflow::model::event::{Comm, Endpoints, Event, EventBody};
use obsflow::model::lifecycle::{Lifecycle, Step};
use obsflow::model::verdict::Report;
use obsflow::model::{Mono, Workload};
use obsflow::session::diagnosis::{DiagnosisSink, News, Publish};
use obsflow::session::{Sink as _, now};
use obsflow::sinks::metrics::{Options, metrics};

/// As the session looks at its ring.
const TICK: Duration = Duration::from_millis(20);
/// Longer than any list takes.
const LISTED: Duration = Duration::from_secs(120);
/// The last change's address.
const LAST: IpAddr = IpAddr::V4(Ipv4Addr::new(12, 255, 255, 255));
const PER_SECOND: f64 = 1000.0;

/// Takes reports and does nothing with them.
struct Nobody;

impl Publish for Nobody {
    fn report(&mut self, _: &Arc<Report>, _: News) -> io::Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }
}

/// The longest step so far.
#[derive(Default)]
struct Longest {
    cpu: Duration,
    clock: Duration,
}

impl Longest {
    fn of<T>(&mut self, step: impl FnOnce() -> T) -> T {
        let (cpu, clock) = (cpu_time(), Instant::now());
        let done = step();
        self.clock = self.clock.max(clock.elapsed());
        self.cpu = self.cpu.max(cpu_time().saturating_sub(cpu));
        done
    }
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [kubeconfig] = args.as_slice() else {
        bail!("cluster_load KUBECONFIG");
    };
    let began = Instant::now();
    let handle = cluster::start(&cluster::Config {
        kubernetes: true,
        kubeconfig: Some(PathBuf::from(kubeconfig)),
        node_name: Some("node-0".to_owned()),
        ..cluster::Config::default()
    })
    .context("nothing to watch")?;
    let listed = listed(&handle)?;
    let took = began.elapsed();

    let mut attributor =
        Attributor::new(attribute::Config::live(Vec::new()), None).with_names(Box::new(handle.names()));
    let mut sink = DiagnosisSink::new(
        Expectations::new(expect::Config::default()),
        Diagnoser::new(Config::default()),
        Nobody,
    )
    .following(Some(handle.subscribe()));
    let (mut metrics, _scraper) = metrics(Options::default());
    let steps = begin(&mut attributor, &listed);
    sink.lifecycle(&steps)?;

    let (pods, services, endpoints) = sizes(&listed);
    drop(listed);
    writeln!(io::stdout(), "listed {pods} {services} {endpoints}")?;
    let (said, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            // Nobody listens any more when everything was said.
            let _ = said.send((line, Instant::now()));
        }
    });

    let mut longest = Longest::default();
    let mut watcher = handle.subscribe();
    let mut snapshots = 0u64;
    let mut behind = Duration::ZERO;
    let (mut next_second, mut renamed) = (Instant::now(), Vec::new());
    let mut turn = 0usize;
    let (mut began, mut ended, mut known) = (None, None, 0.0);
    let at_end = loop {
        let step = steps.get(turn % steps.len().max(1));
        let event = attempt(step.map_or(0, |step| step.cgroup));
        turn += 1;
        longest.of(|| attributor.attribute(event));
        if Instant::now() >= next_second {
            next_second = Instant::now() + Duration::from_secs(1);
            longest.of(|| attributor.take_renamed(now(), &mut renamed));
            longest.of(|| sink.renamed(&renamed))?;
            renamed.clear();
            let _ = longest.of(|| sink.idle())?;
            longest.of(|| metrics.cluster(handle.latest(), now()));
        }
        for (_, at) in lines.try_iter() {
            match began {
                None => began = Some(at),
                Some(_) => ended = Some(at),
            }
        }
        if watcher.has_changed().unwrap_or(false) {
            snapshots += 1;
            let latest = Arc::clone(&watcher.borrow_and_update());
            match (began, ended) {
                (Some(_), Some(ended)) if latest.pods.at(LAST).is_some() => break ended.elapsed(),
                (Some(_), _) => known = newest(&latest).map_or(known, f64::from),
                _ => {}
            }
            // What is dropped late is the pipeline's to drop.
            drop(latest);
        }
        if let (Some(began), None) = (began, ended) {
            let since: Duration = Instant::now().duration_since(began);
            let late = since.as_secs_f64() - known / PER_SECOND;
            behind = behind.max(Duration::from_secs_f64(late.max(0.0)));
        }
        std::thread::sleep(TICK);
    };
    writeln!(
        io::stdout(),
        "{} {snapshots} {} {} {} {}",
        took.as_millis(),
        longest.cpu.as_micros(),
        longest.clock.as_micros(),
        behind.as_millis(),
        at_end.as_millis()
    )?;
    Ok(())
}

/// Waits until everything was listed and is followed.
fn listed(handle: &cluster::Handle) -> Result<Arc<Cluster>> {
    let deadline = Instant::now() + LISTED;
    loop {
        let latest = handle.latest();
        let follows = |watch: &obsflow::model::cluster::Watch| {
            watch.state == obsflow::model::cluster::WatchState::Watching
        };
        if latest.watches.len() >= 4 && latest.watches.iter().all(follows) {
            return Ok(latest);
        }
        if Instant::now() > deadline {
            bail!("not listed within {} s: {:?}", LISTED.as_secs(), latest.watches);
        }
        std::thread::sleep(TICK);
    }
}

fn sizes(cluster: &Cluster) -> (usize, usize, usize) {
    let addresses = &cluster.addresses;
    (
        cluster.pods.len(),
        addresses.services.len(),
        addresses.endpoints.len(),
    )
}

/// Every container of the pods begins: its cgroup, and a process, for which this one stands.
fn begin(attributor: &mut Attributor, cluster: &Cluster) -> Vec<Lifecycle> {
    let ids = cluster.pods.iter().flat_map(|pod| {
        let containers = pod
            .containers
            .iter()
            .filter_map(|container| container.id.as_ref());
        containers.map(move |id| (Arc::clone(&pod.uid), Arc::clone(id)))
    });
    (1..)
        .zip(ids)
        .map(|(cgroup, (uid, id))| {
            let uid = uid.replace('-', "_");
            let slice = format!("kubepods-burstable-pod{uid}.slice");
            let path = format!("/kubepods.slice/kubepods-burstable.slice/{slice}/cri-containerd-{id}.scope");
            let body = EventBody::Cgroup { path };
            let (workload, _): (Arc<Workload>, _) = attributor.on(&event(cgroup, body));
            Lifecycle {
                at: now(),
                workload,
                cgroup,
                pid: std::process::id(),
                what: Step::Running {
                    comm: Comm::default(),
                    began: Mono(0),
                },
            }
        })
        .collect()
}

fn event(cgroup: u64, body: EventBody) -> Event {
    Event {
        at: now(),
        cgroup,
        cookie: 1,
        netns: 0,
        pid: 0,
        body,
    }
}

fn attempt(cgroup: u64) -> Event {
    let address = |ip: [u8; 4]| SocketAddr::from((ip, 4317));
    event(
        cgroup,
        EventBody::Attempt {
            ends: Endpoints {
                local: address([12, 0, 0, 1]),
                remote: address([10, 96, 0, 9]),
            },
            asked: None,
            comm: Comm::default(),
        },
    )
}

/// The number of the newest change of a pod.
fn newest(cluster: &Cluster) -> Option<u32> {
    let changes = cluster.pods.iter().filter_map(|pod| match pod.ips.first()? {
        IpAddr::V4(ip) => Some(ip.to_bits() & 0x00ff_ffff),
        IpAddr::V6(_) => None,
    });
    changes.max().filter(|newest| *newest > 0)
}

/// CPU time of this thread: what else runs on the machine is not in it.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
