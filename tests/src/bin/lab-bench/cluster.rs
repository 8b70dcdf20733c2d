//! A large cluster: what the agent holds of it, what following it costs the pipeline's thread, and how far behind it is while
//! pods change.
//!
//! The node's 500 pods are there: each has its cgroup and a process that is told to export.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use obsflow_tests::process::enter;
use obsflow_tests::scrape::Samples;
use obsflow_tests::server::kube::{Api, objects};
use obsflow_tests::tool::binary;
use serde_json::{Value, json};

use crate::place::{Group, Place, Running};

/// Pods of this node.
pub(crate) const PODS: u32 = 500;
/// Services of the cluster.
pub(crate) const SERVICES: u32 = 10_000;
/// Endpoints of each.
const ENDPOINTS: u32 = 5;
/// How often a pod changes while it is measured.
pub(crate) const CHANGES_PER_SECOND: u32 = 1000;
/// Where the agent answers, in the place's own namespace.
const METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9970);
/// Longer than a debug build takes to list everything.
const LISTED: Duration = Duration::from_secs(180);
/// How long somebody looks whether something is so.
const LOOK: Duration = Duration::from_millis(100);

/// What came out.
#[derive(Clone, Debug)]
pub(crate) struct Followed {
    /// Resident memory of the agent, in KiB: when everything was listed, the most while pods changed, and its peak.
    pub(crate) resident_kib: (u64, u64, u64),
    /// Pods, Services and endpoints that were known.
    pub(crate) known: (u64, u64, u64),
    /// Milliseconds until everything was listed.
    pub(crate) listed_ms: f64,
    /// Changes of pods in all.
    pub(crate) changes: u64,
    /// Snapshots that were taken meanwhile.
    pub(crate) snapshots: f64,
    /// The longest step of the pipeline's thread, in milliseconds of its CPU time and on the clock.
    pub(crate) pause_ms: (f64, f64),
    /// Milliseconds that pods were behind: at the worst, and when the last one had changed.
    pub(crate) behind_ms: (f64, f64),
}

/// Follows one for some seconds, twice: with the agent, and with what measures its steps.
pub(crate) fn measure(place: &Place, at_root: bool, seconds: u64) -> Result<Followed> {
    let mut api = Server::start(place, seconds)?;
    let resident_kib = agent(place, at_root, &mut api)?;
    let mut api = Server::start(place, seconds)?;
    let steps = steps(place, &mut api)?;
    let Steps { known, changes, told } = steps;
    let [listed_ms, snapshots, cpu_us, clock_us, worst_ms, last_ms] = told;
    Ok(Followed {
        resident_kib,
        known,
        listed_ms,
        changes,
        snapshots,
        pause_ms: (cpu_us / 1e3, clock_us / 1e3),
        behind_ms: (worst_ms, last_ms),
    })
}

/// The agent as it is by default, with the cluster and with metrics, and its memory.
fn agent(place: &Place, at_root: bool, api: &mut Server) -> Result<(u64, u64, u64)> {
    let at = if at_root {
        "root".to_owned()
    } else {
        place.below_mount(&place.cgroup)?.display().to_string()
    };
    let pods = pods(place)?;
    let mut command = place.command(binary("obsflow")?, Group::Watch)?;
    command
        .args(["agent", "--attach", &at, "--pod-logs"])
        .arg(place.dir.join("pods"))
        .args(["--state", "off", "--health", "off", "--listen"])
        .arg(format!("unix://{}", place.dir.join("agent.sock").display()))
        .args(["--metrics", &METRICS.to_string()])
        .args(["--node-name", "node-0", "--kubeconfig"])
        .arg(&api.kubeconfig);
    let agent = place.start(command)?;
    let pid = agent.0.id();
    let objects = |resource: &str| -> Option<f64> {
        let samples = place.netns.within(|| Samples::of(METRICS)).ok()?;
        samples.sum("obsflow_watch_objects", &[&format!("resource=\"{resource}\"")])
    };
    let deadline = Instant::now() + LISTED;
    while objects("pods") != Some(PODS.into())
        || objects("services") != Some(SERVICES.into())
        || objects("endpointslices") != Some(SERVICES.into())
    {
        if Instant::now() > deadline {
            bail!("the agent did not list the cluster: is another one attached?");
        }
        std::thread::sleep(LOOK);
    }
    // What was made on the way is given back within a moment.
    std::thread::sleep(Duration::from_secs(5));
    let listed = status_kib(pid, "VmRSS")?;
    let mut most = listed;
    api.begin()?;
    let end = Instant::now() + api.lasts;
    while Instant::now() < end {
        most = most.max(status_kib(pid, "VmRSS")?);
        std::thread::sleep(LOOK);
    }
    api.ended()?;
    let peak = status_kib(pid, "VmHWM")?;
    drop((agent, pods));
    Ok((listed, most, peak))
}

/// A process for each pod of the node, in its cgroup.
fn pods(place: &Place) -> Result<Vec<Running>> {
    let base = place
        .group(Group::Load)
        .join("kubepods.slice/kubepods-burstable.slice");
    (0..PODS)
        .map(|at| {
            let object = pod(at, 0)?;
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).context("no text");
            let uid = text("/metadata/uid")?.replace('-', "_");
            let id =
                text("/status/containerStatuses/0/containerID")?.replace("containerd://", "cri-containerd-");
            let cgroup = base.join(format!("kubepods-burstable-pod{uid}.slice/{id}.scope"));
            std::fs::create_dir_all(&cgroup)?;
            let mut command = Command::new("sleep");
            command
                .arg("infinity")
                .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://service-7.namespace-7:4318");
            enter(&mut command, Some(&place.netns), Some(&cgroup), &[])?;
            place.start(command)
        })
        .collect()
}

/// What the example said.
struct Steps {
    known: (u64, u64, u64),
    changes: u64,
    told: [f64; 6],
}

fn steps(place: &Place, api: &mut Server) -> Result<Steps> {
    let path = binary("obsflow")?.with_file_name("examples/cluster_load");
    if !path.exists() {
        bail!("{} is missing: `cargo xtask bench` builds it", path.display());
    }
    let mut command = place.command(&path, Group::Watch)?;
    command
        .arg(&api.kubeconfig)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    let mut running = place.start(command)?;
    let mut stdin = running.0.stdin.take().context("no input")?;
    let mut lines = BufReader::new(running.0.stdout.take().context("no output")?).lines();
    let mut line = || {
        lines
            .next()
            .context("cluster_load ended")?
            .map_err(anyhow::Error::from)
    };
    let numbers = |line: &str| -> Result<Vec<f64>> {
        let numbers: Result<_, _> = line.split_whitespace().map(str::parse).collect();
        numbers.with_context(|| format!("cluster_load said {line:?}"))
    };
    let first = line()?;
    let known = numbers(first.strip_prefix("listed").unwrap_or(&first))?;
    let &[pods, services, endpoints] = known.as_slice() else {
        bail!("cluster_load said {first:?}");
    };
    api.begin()?;
    writeln!(stdin, "change")?;
    let changes = api.ended()?;
    writeln!(stdin, "{changes}")?;
    let told = line()?;
    let told: [f64; 6] = numbers(&told)?
        .try_into()
        .ok()
        .with_context(|| format!("cluster_load said {told:?}"))?;
    Ok(Steps {
        known: (pods as u64, services as u64, endpoints as u64),
        changes,
        told,
    })
}

fn status_kib(pid: u32, field: &str) -> Result<u64> {
    std::fs::read_to_string(format!("/proc/{pid}/status"))?
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .with_context(|| format!("no {field}"))
}

/// The API server, in a process of its own: what it takes is not the agent's.
struct Server {
    _running: Running,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    kubeconfig: PathBuf,
    lasts: Duration,
}

impl Server {
    fn start(place: &Place, seconds: u64) -> Result<Self> {
        let mut command = place.command(std::env::current_exe()?, Group::Elsewhere)?;
        command
            .arg("cluster")
            .arg(&place.dir)
            .arg(seconds.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut running = place.start(command)?;
        let stdin = running.0.stdin.take().context("no input")?;
        let mut lines = BufReader::new(running.0.stdout.take().context("no output")?).lines();
        let kubeconfig = lines.next().context("the API server ended")??.into();
        Ok(Self {
            _running: running,
            stdin,
            lines,
            kubeconfig,
            lasts: Duration::from_secs(seconds),
        })
    }

    /// Pods change from now on.
    fn begin(&mut self) -> Result<()> {
        Ok(writeln!(self.stdin, "change")?)
    }

    /// Waits for the end of that; how many changes there were.
    fn ended(&mut self) -> Result<u64> {
        let line = self.lines.next().context("the API server ended")??;
        line.parse()
            .with_context(|| format!("the API server said {line:?}"))
    }
}

/// `lab-bench cluster FOLDER SECONDS`: fills itself, says where its kubeconfig is, and changes pods when it is told to.
pub(crate) fn serve(args: &[String]) -> Result<()> {
    let [folder, seconds] = args else {
        bail!("lab-bench cluster FOLDER SECONDS");
    };
    let lasts = Duration::from_secs(seconds.parse()?);
    let api = Api::start()?;
    api.apply(objects::node("node-0", "192.168.61.10")?)?;
    for at in 0..PODS {
        api.apply(pod(at, 0)?)?;
    }
    for at in 0..SERVICES {
        let ip = Ipv4Addr::from_bits(0x0a60_0000 + at);
        api.apply(objects::service(&namespace(at), &service(at), &ip.to_string())?)?;
        api.apply(slice(at, 0)?)?;
    }
    let mut out = std::io::stdout();
    writeln!(out, "{}", api.kubeconfig(Path::new(folder))?.display())?;
    for line in std::io::stdin().lines() {
        line?;
        let began = Instant::now();
        let mut done = 0;
        while began.elapsed() < lasts {
            let due = (began.elapsed().as_secs_f64() * f64::from(CHANGES_PER_SECOND)) as u32;
            while done < due {
                done += 1;
                api.apply(pod(done % PODS, done)?)?;
                // The tables of all addresses are made anew, too.
                if done.is_multiple_of(CHANGES_PER_SECOND / 2) {
                    api.apply(slice(done % SERVICES, done)?)?;
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // The last one is what is waited for.
        api.apply(pod(0, u32::MAX)?)?;
        writeln!(out, "{done}")?;
    }
    Ok(())
}

fn namespace(at: u32) -> String {
    format!("namespace-{}", at % 100)
}

fn service(at: u32) -> String {
    format!("service-{at}")
}

/// The endpoints of a Service, some of which are not ready: how many changes.
fn slice(at: u32, change: u32) -> Result<Value> {
    let name = service(at);
    let names: Vec<String> = (0..ENDPOINTS)
        .map(|n| format!("{name}-7d9c5b8f6d-{n:05}"))
        .collect();
    let endpoints: Vec<(IpAddr, &str, bool)> = (0u32..)
        .zip(&names)
        .map(|(n, pod)| {
            let ip = Ipv4Addr::from_bits(0x0b00_0000 + at * ENDPOINTS + n);
            (IpAddr::from(ip), pod.as_str(), n > change % 3)
        })
        .collect();
    objects::slice(&namespace(at), &name, &endpoints)
}

/// A pod whose address says which change it was.
fn pod(at: u32, change: u32) -> Result<Value> {
    let ip = Ipv4Addr::from_bits(0x0c00_0000 | (change & 0x00ff_ffff));
    let app = format!("app-{}", at / 10);
    let pod = objects::pod("apps", &app, &format!("{at:05}"), &ip.to_string())?;
    Ok(objects::with(pod, "/metadata/ownerReferences", json!([])))
}
