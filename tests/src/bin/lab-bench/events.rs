//! Traffic that obsflow is asked to report: its price for the traffic and for the machine, what peers take for the same, and
//! how much of it can be seen without loss.

use std::fs;

use anyhow::{Context as _, Result};

use crate::compare::{Column, compare};
use crate::load::Kind;
use crate::place::{DNS_PORT, Group, Place, WATCHED_PORT};
use crate::programs::median;
use crate::watcher::{DNS_PEERS, Peer, TCP_PEERS, Watcher, seen_and_lost};

/// How obsflow is run here.
fn ways(place: &Place) -> Vec<(String, Watcher)> {
    let file = place.dir.join("capture").to_string_lossy().into_owned();
    let line = |words: &[&str]| Watcher::Obsflow(words.iter().map(|word| (*word).to_owned()).collect());
    vec![
        ("bare".into(), Watcher::Bare),
        ("obsflow observe".into(), line(&["observe"])),
        ("obsflow observe -o json".into(), line(&["observe", "-o", "json"])),
        ("obsflow record".into(), line(&["record", "--force", &file])),
    ]
}

fn with_peers(place: &Place, peers: &[Peer]) -> Vec<(String, Watcher)> {
    let mut watchers = ways(place);
    watchers.extend(
        peers
            .iter()
            .map(|peer| (peer.name.to_owned(), Watcher::Peer(*peer))),
    );
    watchers
}

/// CPU time in nanoseconds for each look-up, or for each connection: of the traffic itself, of what watches it, and of both.
pub(crate) fn cost(place: &Place, kind: Kind, ms: u64, rounds: usize) -> Result<Vec<Column>> {
    let (port, peers): (_, &[Peer]) = match kind {
        Kind::Dns => (DNS_PORT, &DNS_PEERS),
        _ => (WATCHED_PORT, &TCP_PEERS),
    };
    compare(
        place,
        &with_peers(place, peers),
        false,
        rounds,
        |place, watching| {
            let before = watching.cpu_us(place)?;
            let done = place.load(kind, ms, port, None)?;
            // What is still waiting belongs to this traffic, too.
            std::thread::sleep(std::time::Duration::from_millis(100));
            let watcher = (watching.cpu_us(place)? - before) as f64 * 1e3 / done.rounds as f64;
            Ok(vec![done.ns(), watcher, done.ns() + watcher])
        },
    )
}

/// The most that one kind of traffic gave while obsflow watched.
#[derive(Clone, Debug)]
pub(crate) struct Sustained {
    /// What it was.
    pub(crate) what: String,
    /// How obsflow was run.
    pub(crate) way: String,
    /// Look-ups or connections in a second.
    pub(crate) per_second: f64,
    /// The same with nothing watching.
    pub(crate) bare_per_second: f64,
    /// Events that obsflow saw.
    pub(crate) seen: u64,
    /// Events that it counted as lost.
    pub(crate) lost: u64,
}

/// dnsperf against dnsmasq, and connections from a loop on each core, as fast as they go.
pub(crate) fn sustained(place: &Place, seconds: u64, rounds: usize) -> Result<Vec<Sustained>> {
    let mut server = place.command("dnsmasq", Group::Load)?;
    server.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
        "--address=/bench.example/10.1.2.3",
        "--user=root",
        "--pid-file=",
    ]);
    let dnsmasq = place.start(server)?;
    let questions = place.dir.join("questions");
    let names: String = (0..1000).map(|i| format!("www{i}.bench.example A\n")).collect();
    fs::write(&questions, names)?;
    let dns = || dnsperf(place, &questions, seconds);
    // The server is there once it answers.
    obsflow_tests::wait::until("dnsmasq", obsflow_tests::wait::SOON, || {
        Ok(dnsperf(place, &questions, 1).ok().filter(|rate| *rate > 1000.0))
    })?;
    let mut all = under_all(place, "look-ups", rounds, dns)?;
    drop(dnsmasq);
    let cores = std::thread::available_parallelism()?.get();
    all.extend(under_all(place, "connections", rounds, || {
        // 4317 and 4318: two loops keep two cores busy, and nobody has measured with more.
        let ports = (0..cores.min(2) as u16).map(|core| WATCHED_PORT + core);
        std::thread::scope(|scope| {
            let threads: Vec<_> = ports
                .map(|port| scope.spawn(move || place.load(Kind::Connect, seconds * 1000, port, None)))
                .collect();
            let mut rate = 0.0;
            for thread in threads {
                let done = thread.join().ok().context("a loop died")??;
                rate += done.rounds as f64 / (done.wall_ns as f64 / 1e9);
            }
            Ok(rate)
        })
    })?);
    Ok(all)
}

/// Queries answered in a second.
fn dnsperf(place: &Place, questions: &std::path::Path, seconds: u64) -> Result<f64> {
    let args = [
        "-s",
        "127.0.0.1",
        "-d",
        &questions.to_string_lossy(),
        "-l",
        &seconds.to_string(),
        "-c",
        "8",
        "-q",
        "200",
        // It waits that long for what was lost.
        "-t",
        "1",
    ]
    .map(str::to_owned);
    place
        .output("dnsperf", &args, Group::Load)?
        .lines()
        .find_map(|line| {
            line.trim()
                .strip_prefix("Queries per second:")?
                .trim()
                .parse()
                .ok()
        })
        .context("dnsperf said no rate")
}

fn under_all(
    place: &Place,
    what: &str,
    rounds: usize,
    traffic: impl Fn() -> Result<f64>,
) -> Result<Vec<Sustained>> {
    let ways = ways(place);
    let mut rates = vec![Vec::new(); ways.len()];
    let mut counts = vec![(0, 0); ways.len()];
    for round in 0..rounds {
        for step in 0..ways.len() {
            let index = (round + step) % ways.len();
            let watching = ways[index].1.start(place, false)?;
            rates[index].push(traffic()?);
            let (seen, lost) = seen_and_lost(&watching.stop()?).unwrap_or((0, 0));
            counts[index].0 += seen;
            counts[index].1 += lost;
        }
    }
    let medians: Vec<f64> = rates.into_iter().map(|rates| median(rates.into_iter())).collect();
    let bare = medians.first().copied().unwrap_or(f64::NAN);
    Ok(ways
        .into_iter()
        .zip(medians)
        .zip(counts)
        .skip(1)
        .map(|(((way, _), per_second), (seen, lost))| Sustained {
            what: what.into(),
            way,
            per_second,
            bare_per_second: bare,
            seen,
            lost,
        })
        .collect())
}
