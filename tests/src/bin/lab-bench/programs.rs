//! What a call of each program costs, beside an empty program of the same type at the same hook on the same traffic.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::empty::Statistics;
use crate::load::Kind;
use crate::place::{DNS_PORT, PLAIN_PORT, Place, WATCHED_PORT};
use crate::watcher::{Cost, Watcher};

/// What one program costs on one kind of traffic.
#[derive(Clone, Debug)]
pub(crate) struct PerCall {
    /// What was sent.
    pub(crate) traffic: &'static str,
    /// Its name.
    pub(crate) program: String,
    /// Calls in a round.
    pub(crate) calls: f64,
    /// Nanoseconds a call, statistics included.
    pub(crate) ns: f64,
    /// The same of an empty one, where there is a twin.
    pub(crate) empty_ns: Option<f64>,
}

/// A kind of traffic as a whole.
#[derive(Clone, Debug)]
pub(crate) struct PerRound {
    /// What was sent.
    pub(crate) traffic: &'static str,
    /// Nanoseconds of all programs in a round, statistics included.
    pub(crate) ns: f64,
    /// The same of their empty twins, called as often.
    pub(crate) empty_ns: f64,
}

/// The table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Programs {
    /// By program.
    pub(crate) calls: Vec<PerCall>,
    /// By traffic.
    pub(crate) rounds: Vec<PerRound>,
}

const TRAFFIC: [(&str, Kind, u16); 6] = [
    ("UDP, connected", Kind::Udp, PLAIN_PORT),
    ("UDP, not connected", Kind::UdpUnconnected, PLAIN_PORT),
    ("TCP", Kind::Tcp, PLAIN_PORT),
    ("connect and close", Kind::Connect, PLAIN_PORT),
    ("connect and close, watched", Kind::Connect, WATCHED_PORT),
    ("DNS look-up", Kind::Dns, DNS_PORT),
];

/// Measures every program on every kind of traffic, for `ms` milliseconds each and `rounds` times.
pub(crate) fn measure(place: &Place, ms: u64, rounds: usize) -> Result<Programs> {
    let obsflow = Watcher::Obsflow(vec!["observe".into()]).start(place, false)?;
    let empty = Watcher::Empty.start(place, false)?;
    // What a probe of the clock itself is: statistics are on only while something is measured.
    let mut sums: BTreeMap<(usize, String), Vec<[f64; 3]>> = BTreeMap::new();
    for _ in 0..rounds {
        for (index, (_, kind, port)) in TRAFFIC.iter().enumerate() {
            let before = (obsflow.programs()?, empty.programs()?);
            let statistics = Statistics::on()?;
            let done = place.load(*kind, ms, *port, None)?;
            drop(statistics);
            let after = (obsflow.programs()?, empty.programs()?);
            for (name, cost) in difference(&after.0, &before.0) {
                let twin = difference(&after.1, &before.1)
                    .get(&name)
                    .and_then(|cost| cost.per_call());
                // Programs that this traffic does not call are called by others of the machine.
                let calls = cost.calls as f64 / done.rounds as f64;
                if let Some(ns) = cost.per_call().filter(|_| calls > 0.1) {
                    let sample = [calls, ns, twin.unwrap_or(f64::NAN)];
                    sums.entry((index, name)).or_default().push(sample);
                }
            }
        }
    }
    obsflow.stop()?;
    empty.stop()?;
    let mut table = Programs::default();
    for (index, (traffic, ..)) in TRAFFIC.iter().enumerate() {
        let mut round = PerRound {
            traffic,
            ns: 0.0,
            empty_ns: 0.0,
        };
        for ((at, program), samples) in &sums {
            if *at != index {
                continue;
            }
            let column = |i: usize| median(samples.iter().map(|sample| sample[i]));
            let (calls, ns, twin) = (column(0), column(1), column(2));
            round.ns += calls * ns;
            round.empty_ns += calls * if twin.is_nan() { 0.0 } else { twin };
            table.calls.push(PerCall {
                traffic,
                program: program.clone(),
                calls,
                ns,
                empty_ns: (!twin.is_nan()).then_some(twin),
            });
        }
        table.rounds.push(round);
    }
    Ok(table)
}

fn difference(after: &BTreeMap<String, Cost>, before: &BTreeMap<String, Cost>) -> BTreeMap<String, Cost> {
    after
        .iter()
        .map(|(name, cost)| {
            let before = before.get(name).copied().unwrap_or_default();
            (name.clone(), cost.since(before))
        })
        .collect()
}

/// The middle one, `NaN` of none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
