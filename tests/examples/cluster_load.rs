//! What a large cluster costs the thread that follows it: 500 pods of this node, 10,000 Services, 50,000 endpoints, then 1,000
//! changes of pods a second. Prints one JSON object.
//!
//! The API server runs in a process of its own, so that what is resident here is obsflow's.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use obsflow::cluster::{Config, start};
use obsflow_tests::server::kube::{Api, objects};
use obsflow_tests::wait::until;
use serde_json::json;

const PODS: u32 = 500;
const SERVICES: u32 = 10_000;
const ENDPOINTS: u32 = 5;
const CHANGES_PER_SECOND: u32 = 1_000;
const CHURN: Duration = Duration::from_secs(10);
/// As the pipeline looks.
const TICK: Duration = Duration::from_millis(20);
const DEADLINE: Duration = Duration::from_secs(300);

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        None => measure(),
        Some("serve") => serve(Path::new(&std::env::args().nth(2).context("no folder")?)),
        Some(other) => bail!("unknown argument {other:?}"),
    }
}

/// The API server: fills itself, says where it is, and changes pods when it is told to.
fn serve(folder: &Path) -> Result<()> {
    let api = Api::start()?;
    api.apply(objects::node("node-0", "192.168.61.10")?)?;
    for at in 0..PODS {
        api.apply(pod(at, 0)?)?;
    }
    for at in 0..SERVICES {
        let namespace = format!("namespace-{}", at % 100);
        let name = format!("service-{at}");
        let ip = Ipv4Addr::from_bits(0x0a60_0000 + at);
        api.apply(objects::service(&namespace, &name, &ip.to_string())?)?;
        let names: Vec<String> = (0..ENDPOINTS)
            .map(|n| format!("{name}-7d9c5b8f6d-{n:05}"))
            .collect();
        let endpoints: Vec<(IpAddr, &str, bool)> = (0u32..)
            .zip(&names)
            .map(|(n, pod)| {
                let ip = Ipv4Addr::from_bits(0x0b00_0000 + at * ENDPOINTS + n);
                (IpAddr::from(ip), pod.as_str(), n > 0)
            })
            .collect();
        api.apply(objects::slice(&namespace, &name, &endpoints)?)?;
    }
    let mut out = std::io::stdout();
    writeln!(out, "{}", api.kubeconfig(folder)?.display())?;
    for line in std::io::stdin().lines() {
        if line? != "churn" {
            break;
        }
        let began = Instant::now();
        let mut done = 0;
        while began.elapsed() < CHURN {
            let due = (began.elapsed().as_secs_f64() * f64::from(CHANGES_PER_SECOND)) as u32;
            while done < due {
                done += 1;
                api.apply(pod(done % PODS, done)?)?;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // The last one is what is waited for.
        api.apply(pod(0, u32::MAX)?)?;
        writeln!(out, "{done}")?;
    }
    Ok(())
}

/// A pod whose address says which change it was.
fn pod(at: u32, change: u32) -> Result<serde_json::Value> {
    let ip = Ipv4Addr::from_bits(0x0c00_0000 | (change & 0x00ff_ffff));
    let pod = objects::pod(
        "apps",
        &format!("app-{}", at / 10),
        &format!("{at:05}"),
        &ip.to_string(),
    )?;
    Ok(objects::with(pod, "/metadata/ownerReferences", json!([])))
}

/// Resident memory of this process, in KiB.
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.context("no VmRSS")?.trim().trim_end_matches(" kB");
    Ok(number.parse()?)
}

fn measure() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("obsflow-cluster-load-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let mut server = Command::new(std::env::current_exe()?)
        .arg("serve")
        .arg(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = BufReader::new(server.stdout.take().context("no output")?).lines();
    let mut line = move || {
        said.next()
            .context("the API server ended")?
            .map_err(anyhow::Error::from)
    };
    let kubeconfig = PathBuf::from(line()?);

    let before = resident()?;
    let began = Instant::now();
    let handle = start(&Config {
        kubernetes: true,
        kubeconfig: Some(kubeconfig),
        context: None,
        node_name: Some("node-0".to_owned()),
        ..Config::default()
    })
    .context("nothing to watch")?;
    until("the whole cluster", DEADLINE, || {
        let cluster = handle.latest();
        let whole = cluster.pods.len() == PODS as usize
            && cluster.addresses.services.len() == SERVICES as usize
            && cluster.addresses.endpoints.len() == (SERVICES * ENDPOINTS) as usize;
        Ok(whole.then_some(()))
    })?;
    let listed = began.elapsed();
    let after_list = resident()?;

    // A reader as the pipeline is one, while pods change: what a look costs it at the worst.
    let mut stdin = server.stdin.take().context("no input")?;
    writeln!(stdin, "churn")?;
    let mut reader = handle.subscribe();
    let mut latest = Arc::clone(&reader.borrow_and_update());
    let (mut worst, mut swaps) = (Duration::ZERO, 0u32);
    let began = Instant::now();
    while began.elapsed() < CHURN {
        let look = Instant::now();
        if reader.has_changed()? {
            latest = Arc::clone(&reader.borrow_and_update());
            swaps += 1;
        }
        worst = worst.max(look.elapsed());
        std::thread::sleep(TICK);
    }
    let changes: u32 = line()?.parse()?;
    let last = IpAddr::from(Ipv4Addr::from_bits(0x0cff_ffff));
    let lag = Instant::now();
    until("the last change", DEADLINE, || {
        latest = handle.latest();
        Ok(latest.pods.at(last).map(|_| ()))
    })?;
    let lag = lag.elapsed();
    let most = resident()?;
    drop(stdin);
    server.wait()?;
    std::fs::remove_dir_all(&folder)?;
    let report = json!({
        "pods": PODS,
        "services": SERVICES,
        "endpoints": SERVICES * ENDPOINTS,
        "listed_ms": listed.as_millis() as u64,
        "resident_kib": { "before": before, "listed": after_list, "after_changes": most },
        "changes": changes,
        "snapshots": swaps,
        "longest_look_us": worst.as_micros() as u64,
        "last_change_seen_after_ms": lag.as_millis() as u64,
    });
    println!("{report}");
    Ok(())
}
