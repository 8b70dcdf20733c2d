//! What the kernel counted, added to the series of workloads.
//!
//! The kernel counts by cgroup, and forgets a cgroup some time after it is gone. Workloads outlive cgroups: what is added to
//! them is the difference to the last time, so their counters never decrease.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use obsflow_ebpf::abi::conn::outcome;
use obsflow_ebpf::abi::count::{TunnelCount, TunnelKey, dns_count};

use super::Metrics;
use super::families::Id;
use super::names::{EMPTY, OTHER_TEXT};
use super::store::Who;
use super::workloads;
use crate::flow::dns::RcodeName;
use crate::kernel::counters::Counts;
use crate::model::event::ip;
use crate::model::{Mono, Workload};

/// How long a cgroup that nobody knows may turn out to be somebody's: its first record may still be in the ring.
const NOBODYS: Duration = Duration::from_secs(10);

/// What was counted until the last time.
#[derive(Debug, Default)]
pub(super) struct Exact {
    dns: HashMap<(u64, u32), u64, RandomState>,
    connections: HashMap<(u64, u16, u16), u64, RandomState>,
    /// Packets and bytes.
    tunnels: HashMap<TunnelKey, (u64, u64), RandomState>,
    /// Outer packets of peers that had no room for series of their own, in counts.
    pub(super) peers_folded: u64,
    /// Cgroups that nobody knows, and since when.
    nobodys: HashMap<u64, Mono, RandomState>,
}

/// Whose cgroups are, asked once for each of them.
struct Owners<'a> {
    of: &'a mut dyn FnMut(u64) -> Option<Arc<Workload>>,
    known: HashMap<u64, Option<Who>, RandomState>,
}

impl Metrics {
    /// Takes what the kernel counted; `of` says whose a cgroup is. The kernel is about to forget those in `leaving`.
    pub fn counters(
        &mut self,
        counts: &Counts,
        of: &mut dyn FnMut(u64) -> Option<Arc<Workload>>,
        leaving: &[u64],
        now: Mono,
    ) {
        let mut owners = Owners {
            of,
            known: HashMap::default(),
        };
        for (&(cgroup, rcode), &count) in &counts.dns {
            let Some(who) = self.owner(cgroup, &mut owners, leaving, now) else {
                continue;
            };
            let new = news(&mut self.exact.dns, (cgroup, rcode), count);
            if new == 0 {
                continue;
            }
            match rcode {
                dns_count::QUERY => self.exactly(Id::DnsQueries, who, &[], new, now),
                dns_count::MALFORMED => self.exactly(Id::DnsResponses, who, &["malformed"], new, now),
                rcode => {
                    let name = RcodeName(u16::try_from(rcode).unwrap_or(u16::MAX)).to_string();
                    self.exactly(Id::DnsResponses, who, &[&name], new, now);
                }
            }
        }
        for (&(cgroup, port, outcome), &count) in &counts.connections {
            let attempts = outcome == outcome::ATTEMPT;
            let Some(name) = outcome_name(outcome).or(attempts.then_some("")) else {
                continue;
            };
            let Some(who) = self.owner(cgroup, &mut owners, leaving, now) else {
                continue;
            };
            let new = news(&mut self.exact.connections, (cgroup, port, outcome), count);
            if new == 0 {
                continue;
            }
            let port = port.to_string();
            if attempts {
                self.exactly(Id::TcpAttempts, who, &[&port], new, now);
            } else {
                self.exactly(Id::TcpConnects, who, &[&port, name], new, now);
            }
        }
        self.tunnels(&counts.tunnels);
        for (map, entries) in [
            ("connections", counts.connections.len()),
            ("dns", counts.dns.len()),
            ("tunnels", counts.tunnels.len()),
        ] {
            self.plain(Id::MapEntries, &[map]).set(entries as f64);
        }
        for cgroup in leaving {
            self.exact.nobodys.remove(cgroup);
        }
        self.exact.dns.retain(|(cgroup, _), _| !leaving.contains(cgroup));
        self.exact
            .connections
            .retain(|(cgroup, ..), _| !leaving.contains(cgroup));
    }

    fn exactly(&mut self, family: Id, who: Who, labels: &[&str], new: u64, now: Mono) {
        let mut more = super::NO_MORE;
        for (place, label) in more.iter_mut().zip(labels) {
            *place = self.names.sym(label);
        }
        self.count(family, who, EMPTY, more, now, |value| value.add(new));
    }

    /// Whose a cgroup is; `None` as long as that may still turn out.
    fn owner(&mut self, cgroup: u64, owners: &mut Owners<'_>, leaving: &[u64], now: Mono) -> Option<Who> {
        if let Some(known) = owners.known.get(&cgroup) {
            return *known;
        }
        let who = match (owners.of)(cgroup) {
            Some(workload) => {
                self.exact.nobodys.remove(&cgroup);
                Some(self.who(&workload, now))
            }
            None => {
                let since = *self.exact.nobodys.entry(cgroup).or_insert(now);
                let over = now.since(since) >= NOBODYS || leaving.contains(&cgroup);
                over.then_some(workloads::UNKNOWN)
            }
        };
        owners.known.insert(cgroup, who);
        who
    }

    fn tunnels(&mut self, tunnels: &[(TunnelKey, TunnelCount)]) {
        let mut sums: BTreeMap<_, (u64, u64)> = BTreeMap::new();
        for (key, count) in tunnels {
            let before = self.exact.tunnels.entry(*key).or_default();
            let sum = sums.entry((ip(key.peer), key.ingress)).or_default();
            sum.0 += count.packets.saturating_sub(before.0);
            sum.1 += count.bytes.saturating_sub(before.1);
            *before = (before.0.max(count.packets), before.1.max(count.bytes));
        }
        for ((peer, ingress), (packets, bytes)) in sums {
            if packets == 0 {
                continue;
            }
            let peer = peer.to_string();
            for (family, new) in [(Id::TunnelPackets, packets), (Id::TunnelBytes, bytes)] {
                let mut key = self.plain_key(family, &[&peer, direction(ingress)]);
                if !self.store.has_room_for(&key) {
                    self.exact.peers_folded += 1;
                    key = self.plain_key(family, &[OTHER_TEXT, direction(ingress)]);
                }
                self.store.value(key, None, &self.names).add(new);
            }
        }
    }

    /// The kernel forgets these, which were silent for long, and what was counted of them is shown no more.
    pub fn tunnels_gone(&mut self, gone: &[TunnelKey], now: Mono) {
        for key in gone {
            self.exact.tunnels.remove(key);
        }
        let way = |key: &TunnelKey| (key.peer, key.ingress);
        let mut silent: BTreeSet<_> = gone.iter().map(way).collect();
        for key in self.exact.tunnels.keys() {
            silent.remove(&way(key));
        }
        for (peer, ingress) in silent {
            for family in [Id::TunnelPackets, Id::TunnelBytes] {
                let key = self.plain_key(family, &[&ip(peer).to_string(), direction(ingress)]);
                self.store.end_one(&key, now);
            }
        }
    }
}

fn direction(ingress: u16) -> &'static str {
    if ingress == 0 { "sent" } else { "received" }
}

/// How much more it is than it ever was.
fn news<K: Eq + Hash>(before: &mut HashMap<K, u64, RandomState>, key: K, count: u64) -> u64 {
    let last = before.entry(key).or_default();
    let new = count.saturating_sub(*last);
    *last += new;
    new
}

/// As flows write it; `None` for what is none.
fn outcome_name(outcome: u16) -> Option<&'static str> {
    Some(match outcome {
        outcome::ESTABLISHED => "established",
        outcome::REFUSED => "refused",
        outcome::REJECTED => "rejected",
        outcome::UNREACHABLE => "unreachable",
        outcome::TIMED_OUT => "timed-out",
        outcome::GIVEN_UP => "given-up",
        outcome::ABANDONED => "abandoned",
        outcome::FAILED => "failed",
        outcome::DROPPED => "dropped",
        _ => return None,
    })
}
