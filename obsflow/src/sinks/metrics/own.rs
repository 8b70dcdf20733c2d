//! What obsflow says of itself.

use std::time::Duration;

use obsflow_ebpf::abi::record::kind;

use super::Metrics;
use super::families::Id;
use super::store::Key;
use crate::kernel::counters::Stats;
use crate::kernel::hooks::{Hook, State};
use crate::kernel::info::Cost;
use crate::model::Mono;
use crate::model::cluster::{Watch, WatchState};
use crate::{correlate, pipeline};

/// How long a peak is shown, at least; twice as long at most.
const WINDOW: Duration = Duration::from_secs(15);

/// What a session says of itself.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Records of the kernel side.
    pub stats: Stats,
    /// Calls of programs that the kernel skipped.
    pub recursion_misses: u64,
    /// Records in user space.
    pub pipeline: pipeline::Counters,
    /// What correlation had to forget.
    pub correlation: correlate::Counters,
    /// Hooks and what became of them.
    pub hooks: Vec<(Hook, State)>,
    /// Programs and what they cost.
    pub costs: Vec<(String, Cost)>,
    /// Size of the ring, in bytes.
    pub ring_bytes: u64,
    /// Watches of the cluster.
    pub watches: Vec<Watch>,
}

/// The most that was waiting in the ring, lately.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RingWindow {
    began: Mono,
    now: u64,
    before: u64,
}

impl RingWindow {
    fn add(&mut self, waiting: u64, now: Mono) {
        if now.since(self.began) >= WINDOW {
            self.began = now;
            self.before = std::mem::take(&mut self.now);
        }
        self.now = self.now.max(waiting);
    }

    fn most(self) -> u64 {
        self.now.max(self.before)
    }
}

impl Metrics {
    /// Takes how many bytes waited in the ring.
    pub fn ring(&mut self, waiting: u64, now: Mono) {
        self.ring.add(waiting, now);
    }

    /// Takes what the session says of itself.
    pub fn own(&mut self, own: &Own) {
        let (stats, pipeline) = (&own.stats, &own.pipeline);
        for (stage, count) in [
            ("hook", stats.made_total()),
            ("ring", stats.emitted_total()),
            ("decode", pipeline.seen),
        ] {
            self.plain(Id::Events, &[stage]).raise(count);
        }
        for number in 1..kind::KERNEL_END {
            let lost = stats.lost.get(&number).copied().unwrap_or(0);
            self.plain(Id::EventsLost, &["ring", kind_name(number)])
                .raise(lost);
        }
        let forgotten = &own.correlation;
        for (stage, kind, count) in [
            ("hook", "recursion", own.recursion_misses),
            ("map", "connections", stats.connections_full),
            ("map", "counters", stats.counts_full),
            ("map", "tunnels", stats.tunnels_full),
            ("payload", "rate-limit", stats.rate_limited),
            ("decode", "undecodable", pipeline.undecodable),
            ("correlate", "queries", forgotten.queries_forgotten),
            ("correlate", "lookups", forgotten.lookups_forgotten),
            ("correlate", "connections", forgotten.connections_forgotten),
            ("correlate", "names", forgotten.names_forgotten),
            ("correlate", "drops", forgotten.drops_forgotten),
            ("correlate", "dns-streams", forgotten.dns_streams_forgotten),
            ("correlate", "exchanges", forgotten.exchanges_forgotten),
        ] {
            self.plain(Id::EventsLost, &[stage, kind]).raise(count);
        }
        for (hook, state) in &own.hooks {
            // Left out on purpose: no loss. Devices of tunnels come and go.
            if matches!(state, State::Off(_)) && *hook != Hook::Tunnels {
                continue;
            }
            let attached = matches!(state, State::Attached(_));
            self.plain(Id::HookAttached, &[hook.name()])
                .set(f64::from(u8::from(attached)));
        }
        for (program, cost) in &own.costs {
            let seconds = Duration::from_nanos(cost.run_time_ns).as_secs_f64();
            self.plain(Id::ProgramRunSeconds, &[program]).set(seconds);
            self.plain(Id::ProgramRuns, &[program]).raise(cost.calls);
        }
        let fill = self.ring.most();
        self.plain(Id::RingFill, &[]).set(fill as f64);
        self.plain(Id::RingSize, &[]).set(own.ring_bytes as f64);
        self.watches(&own.watches);
        let (workloads, pods) = self.workloads.folded;
        for (label, count) in [
            ("workload", workloads),
            ("sink", self.sinks.folded),
            ("pod", pods),
            ("peer", self.exact.peers_folded),
        ] {
            self.plain(Id::SeriesFolded, &[label]).raise(count);
        }
        let stale = self.asked.stale.load(std::sync::atomic::Ordering::Relaxed);
        self.plain(Id::StaleScrapes, &[]).raise(stale);
        let build = [
            env!("CARGO_PKG_VERSION"),
            option_env!("OBSFLOW_REVISION").unwrap_or("unknown"),
        ];
        self.plain(Id::BuildInfo, &build);
        // Itself included.
        self.plain(Id::Series, &[]);
        let series = self.store.len();
        self.plain(Id::Series, &[]).set(series as f64);
    }

    fn watches(&mut self, watches: &[Watch]) {
        let mut there = Vec::new();
        for watch in watches {
            let up = watch.state == WatchState::Watching;
            for (family, number) in [
                (Id::WatchUp, f64::from(u8::from(up))),
                (Id::WatchObjects, watch.objects as f64),
            ] {
                let key = self.plain_key(family, &[&watch.resource]);
                self.store.value(key, None, &self.names).set(number);
                there.push(key);
            }
            self.plain(Id::WatchRestarts, &[&watch.resource])
                .raise(watch.restarts);
        }
        let gone: Vec<Key> = self
            .watches
            .iter()
            .filter(|key| !there.contains(key))
            .copied()
            .collect();
        for key in gone {
            self.store.remove(&key);
        }
        self.watches = there.into_iter().collect();
    }
}

fn kind_name(number: u16) -> &'static str {
    match number {
        kind::ATTEMPT => "attempt",
        kind::ESTABLISHED => "established",
        kind::RETRANSMIT => "retransmit",
        kind::CLOSE => "close",
        kind::CONNECT_FAILED => "connect-failed",
        kind::DNS => "dns",
        kind::PAYLOAD => "payload",
        kind::DROP => "drop",
        kind::SOCKET_ERROR => "socket-error",
        kind::CGROUP => "cgroup",
        kind::CGROUP_GONE => "cgroup-gone",
        kind::EXEC => "exec",
        kind::EXIT => "exit",
        _ => "other",
    }
}
