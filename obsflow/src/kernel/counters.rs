//! Reads the kernel side's exact counters. They never passed through the ring.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use aya::maps::{Array, MapData, PerCpuArray, PerCpuHashMap};
use aya::{Ebpf, Pod};
use obsflow_ebpf::abi::conn::outcome;
use obsflow_ebpf::abi::count::{ConnCountKey, DnsCountKey, TunnelCount, TunnelKey, live, stat};
use obsflow_ebpf::abi::names;
use obsflow_ebpf::abi::record::kind;

use super::load::LoadError;

/// A key or value of a map, for aya. Its types are plain integers in C layout without padding.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Raw<T>(pub T);

macro_rules! pod {
    ($($ty:ty),*) => {
        $(
            // SAFETY: `repr(C)`, integers only, no padding: asserted beside the type.
            unsafe impl Pod for Raw<$ty> {}
        )*
    };
}
pod!(
    ConnCountKey,
    DnsCountKey,
    TunnelKey,
    TunnelCount,
    obsflow_ebpf::abi::conn::Conn
);

/// Counters of the kernel side itself, summed over the CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records that were to be made, by kind: those in the ring and the lost ones.
    pub made: BTreeMap<u16, u64>,
    /// Of those, records that the ring had no room for, by kind.
    pub lost: BTreeMap<u16, u64>,
    /// Connections not followed because the map was full.
    pub connections_full: u64,
    /// Counts not made because a counter map of cgroups was full.
    pub counts_full: u64,
    /// Outer packets not counted because the map of tunnels was full.
    pub tunnels_full: u64,
    /// Payload not captured because of its connection's rate.
    pub rate_limited: u64,
    /// Records given up because the kernel's memory could not be read.
    pub unreadable: u64,
}

impl Stats {
    /// All records that were to be made: what is seen and what is lost, exactly.
    #[must_use]
    pub fn made_total(&self) -> u64 {
        self.made.values().sum()
    }

    /// All records handed to the ring.
    #[must_use]
    pub fn emitted_total(&self) -> u64 {
        self.made_total().saturating_sub(self.lost_total())
    }

    /// All records lost.
    #[must_use]
    pub fn lost_total(&self) -> u64 {
        self.lost.values().sum()
    }
}

/// What the counter maps hold at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// See [`CounterMaps::dns`].
    pub dns: BTreeMap<(u64, u32), u64>,
    /// See [`CounterMaps::connections`].
    pub connections: BTreeMap<(u64, u16, u16), u64>,
    /// See [`CounterMaps::tunnels`].
    pub tunnels: Vec<(TunnelKey, TunnelCount)>,
}

impl Counts {
    /// Every cgroup in them.
    #[must_use]
    pub fn cgroups(&self) -> BTreeSet<u64> {
        let dns = self.dns.keys().map(|(cgroup, _)| *cgroup);
        dns.chain(self.connections.keys().map(|(cgroup, ..)| *cgroup))
            .collect()
    }
}

/// What the counter maps forget, so that they do not fill with what is gone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forgotten {
    /// Everything of these cgroups.
    pub cgroups: Vec<u64>,
    /// These outer packets.
    pub tunnels: Vec<TunnelKey>,
}

impl Forgotten {
    /// Whether nothing is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cgroups.is_empty() && self.tunnels.is_empty()
    }
}

/// Handles of the counter maps.
pub struct CounterMaps {
    stats: PerCpuArray<MapData, u64>,
    live: Array<MapData, u64>,
    connections: PerCpuHashMap<MapData, Raw<ConnCountKey>, u64>,
    dns: PerCpuHashMap<MapData, Raw<DnsCountKey>, u64>,
    tunnels: PerCpuHashMap<MapData, Raw<TunnelKey>, Raw<TunnelCount>>,
}

impl CounterMaps {
    /// Takes the maps out of the loaded object; once.
    ///
    /// # Errors
    /// When one is missing or of another type.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        Ok(Self {
            stats: take(ebpf, names::STATS)?,
            live: take(ebpf, names::LIVE)?,
            connections: take(ebpf, names::CONN_COUNTS)?,
            dns: take(ebpf, names::DNS_COUNTS)?,
            tunnels: take(ebpf, names::TUNNEL_COUNTS)?,
        })
    }

    fn stat(&self, index: u32) -> u64 {
        self.stats
            .get(&index, 0)
            .map(|values| values.iter().sum())
            .unwrap_or(0)
    }

    /// Counters of the kernel side itself.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let by_kind = |base: u32| {
            (1..kind::KERNEL_END)
                .map(|kind| (kind, self.stat(base + u32::from(kind))))
                .filter(|(_, n)| *n > 0)
                .collect()
        };
        Stats {
            made: by_kind(stat::MADE),
            lost: by_kind(stat::LOST),
            connections_full: self.stat(stat::CONNS_FULL),
            counts_full: self.stat(stat::COUNTS_FULL),
            tunnels_full: self.stat(stat::TUNNELS_FULL),
            rate_limited: self.stat(stat::RATE_LIMITED),
            unreadable: self.stat(stat::UNREADABLE),
        }
    }

    /// All records that the ring had no room for.
    #[must_use]
    pub fn lost_total(&self) -> u64 {
        (1..kind::KERNEL_END)
            .map(|kind| self.stat(stat::LOST + u32::from(kind)))
            .sum()
    }

    /// Connects whose SYN was not made: those under way, and those that failed synchronously and were not taken yet.
    #[must_use]
    pub fn pending(&self) -> u64 {
        let read = |index: u32| self.live.get(&index, 0).unwrap_or(0);
        read(live::PENDING).wrapping_sub(read(live::TAKEN))
    }

    /// Counts one failed connect as taken out of the connection map.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn taken(&mut self) -> Result<(), aya::maps::MapError> {
        let before = self.live.get(&live::TAKEN, 0)?;
        self.live.set(live::TAKEN, before.wrapping_add(1), 0)
    }

    /// Everything.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            dns: self.dns(),
            connections: self.connections(),
            tunnels: self.tunnels(),
        }
    }

    /// Forgets what was counted for these.
    pub fn forget(&mut self, gone: &Forgotten) {
        if !gone.cgroups.is_empty() {
            let cgroups: HashSet<u64> = gone.cgroups.iter().copied().collect();
            remove(&mut self.dns, |key| cgroups.contains(&key.0.cgroup));
            remove(&mut self.connections, |key| cgroups.contains(&key.0.cgroup));
        }
        for key in &gone.tunnels {
            // As below.
            let _ = self.tunnels.remove(&Raw(*key));
        }
    }

    /// Connections by cgroup, port and outcome. `FAILED` is what was asked for and never became an attempt.
    #[must_use]
    pub fn connections(&self) -> BTreeMap<(u64, u16, u16), u64> {
        let counts = self
            .connections
            .iter()
            .flatten()
            .map(|(key, values)| ((key.0.cgroup, key.0.port, key.0.outcome), values.iter().sum()))
            .collect();
        // Read once more, after what was asked for: a connect that was on its way to its SYN then is there by now.
        let attempts = |cgroup, port| {
            let key = ConnCountKey {
                cgroup,
                port,
                outcome: outcome::ATTEMPT,
                pad: 0,
            };
            let values = self.connections.get(&Raw(key), 0).ok()?;
            Some(values.iter().sum())
        };
        with_failed(counts, attempts)
    }

    /// DNS messages by cgroup and rcode (or [`obsflow_ebpf::abi::count::dns_count`]).
    #[must_use]
    pub fn dns(&self) -> BTreeMap<(u64, u32), u64> {
        self.dns
            .iter()
            .flatten()
            .map(|(key, values)| ((key.0.cgroup, key.0.rcode), values.iter().sum()))
            .collect()
    }

    /// Outer packets of tunnels.
    #[must_use]
    pub fn tunnels(&self) -> Vec<(TunnelKey, TunnelCount)> {
        self.tunnels
            .iter()
            .flatten()
            .map(|(key, values)| {
                let sum = values
                    .iter()
                    .fold(TunnelCount::default(), |sum, value| TunnelCount {
                        packets: sum.packets + value.0.packets,
                        bytes: sum.bytes + value.0.bytes,
                        last_ns: sum.last_ns.max(value.0.last_ns),
                    });
                (key.0, sum)
            })
            .collect()
    }
}

fn remove<K: Pod>(map: &mut PerCpuHashMap<MapData, K, u64>, is_gone: impl Fn(&K) -> bool) {
    let gone: Vec<K> = map.keys().flatten().filter(|key| is_gone(key)).collect();
    for key in gone {
        // Nobody else removes keys: one that is not there any more is as good.
        let _ = map.remove(&key);
    }
}

/// No hook counts every synchronous failure, but both ends of the difference are counted: below the attached cgroup
/// every connect is asked for before it is attempted.
fn with_failed(
    mut counts: BTreeMap<(u64, u16, u16), u64>,
    attempts: impl Fn(u64, u16) -> Option<u64>,
) -> BTreeMap<(u64, u16, u16), u64> {
    let asked: Vec<_> = counts
        .iter()
        .filter(|((_, _, outcome), _)| *outcome == outcome::ASKED)
        .map(|((cgroup, port, _), asked)| (*cgroup, *port, *asked))
        .collect();
    for (cgroup, port, asked) in asked {
        let before = counts.get(&(cgroup, port, outcome::ATTEMPT)).copied();
        if before.is_some_and(|before| before >= asked) {
            continue;
        }
        let failed = asked.saturating_sub(attempts(cgroup, port).or(before).unwrap_or(0));
        if failed > 0 {
            counts.insert((cgroup, port, outcome::FAILED), failed);
        }
    }
    counts
}

/// A map of the object, as its type.
pub(super) fn take<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, LoadError>
where
    T: TryFrom<aya::maps::Map, Error = aya::maps::MapError>,
{
    let map = ebpf.take_map(name).ok_or_else(|| LoadError::Map {
        name,
        reason: "it was taken already or is not in the object".into(),
    })?;
    T::try_from(map).map_err(|error| LoadError::Map {
        name,
        reason: error.to_string(),
    })
}

#[cfg(test)]
#[path = "counters_tests.rs"]
mod tests;
