//! Traffic that nobody asked about: what is left of its rate while something watches.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::compare::{Column, compare};
use crate::load::Kind;
use crate::place::{Group, PLAIN_PORT, Place};
use crate::watcher::{DNS_PEERS, TCP_PEERS, Watcher};

/// What is measured, in the order of the values.
pub(crate) const LOOPS: [(&str, Kind); 4] = [
    ("UDP, connected: round trips/s", Kind::Udp),
    ("UDP, not connected: round trips/s", Kind::UdpUnconnected),
    ("TCP: round trips/s", Kind::Tcp),
    ("connect and close: connections/s", Kind::Connect),
];

/// Loops of small messages and of connections: rounds in a second of CPU time of the one thread that does both ends.
pub(crate) fn loops(place: &Place, at_root: bool, ms: u64, rounds: usize) -> Result<Vec<Column>> {
    let mut watchers = subjects();
    watchers.push(("tcpdump port 53".into(), Watcher::Peer(DNS_PEERS[0])));
    watchers.push(("tcpstates".into(), Watcher::Peer(TCP_PEERS[1])));
    compare(place, &watchers, at_root, rounds, |place, _| {
        LOOPS
            .iter()
            .map(|(_, kind)| Ok(1e9 / place.load(*kind, ms, PLAIN_PORT, None)?.ns()))
            .collect()
    })
}

/// Bulk data: Gbit in a second on the clock, and GiB in a second of CPU time of both ends together.
pub(crate) fn bulk(place: &Place, at_root: bool, seconds: u64, rounds: usize) -> Result<Vec<Column>> {
    let mut server = place.command("iperf3", Group::Load)?;
    server.args(["--server", "--bind", "127.0.0.1", "--forceflush"]);
    let _server = place.start(server)?;
    let mut watchers = subjects();
    watchers.push(("tcpdump port 53".into(), Watcher::Peer(DNS_PEERS[0])));
    let run = |seconds: u64| -> Result<(f64, f64)> {
        let before = place.cpu_us(Group::Load)?;
        let args = ["--client", "127.0.0.1", "--json", "--time", &seconds.to_string()].map(str::to_owned);
        let text = place.output("iperf3", &args, Group::Load)?;
        let cpu_us = place.cpu_us(Group::Load)? - before;
        let result: Value = serde_json::from_str(&text).context("iperf3")?;
        let received = &result["end"]["sum_received"];
        let bytes = received["bytes"]
            .as_f64()
            .context("iperf3 said nothing of bytes")?;
        let rate = received["bits_per_second"]
            .as_f64()
            .context("iperf3 said nothing of a rate")?;
        Ok((rate / 1e9, bytes / (1u64 << 30) as f64 / (cpu_us as f64 / 1e6)))
    };
    // The server is there once a client gets through.
    obsflow_tests::wait::until("iperf3's server", obsflow_tests::wait::SOON, || Ok(run(1).ok()))?;
    compare(place, &watchers, at_root, rounds, |_, _| {
        let (rate, per_cpu) = run(seconds)?;
        Ok(vec![rate, per_cpu])
    })
}

/// Bare first, then what obsflow has to be measured against.
fn subjects() -> Vec<(String, Watcher)> {
    let observe = Watcher::Obsflow(vec!["observe".into()]);
    [Watcher::Bare, Watcher::Empty, observe, Watcher::Elsewhere]
        .into_iter()
        .map(|watcher| (watcher.name(), watcher))
        .collect()
}
