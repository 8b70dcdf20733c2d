//! Cgroups and tunnel endpoints that are gone, and whose counts the kernel's maps are to forget: the maps have room for so many,
//! and a node makes a new cgroup for every container, a cluster a new endpoint for every node.

use std::collections::VecDeque;
use std::time::Duration;

use obsflow_ebpf::abi::count::{TunnelCount, TunnelKey};

use crate::model::event::EventBody;
use crate::model::{Event, Mono};

/// How long counts of a cgroup stay when it is gone: its last sockets may outlive it, and attribution remembers for twice as
/// long whose it was.
const STAY: Duration = Duration::from_secs(30);
/// How long counts of a tunnel endpoint stay when no packet comes or goes.
const SILENT: Duration = Duration::from_secs(3600);
/// Between two looks for cgroups that went unseen (without its hook, or when their records were lost), and for tunnel endpoints.
const LOOK: Duration = Duration::from_secs(600);
/// Cgroups that wait to be forgotten; more are found by looking.
const MAX: usize = 65_536;

/// See the module.
#[derive(Debug)]
pub(super) struct Leaving {
    gone: VecDeque<(Mono, u64)>,
    next_look: Mono,
}

impl Leaving {
    pub(super) fn new(now: Mono) -> Self {
        Self {
            gone: VecDeque::new(),
            next_look: now.after(LOOK),
        }
    }

    /// Learns from an event.
    pub(super) fn on(&mut self, event: &Event) {
        if event.body == EventBody::CgroupGone {
            self.add(event.cgroup, event.at);
        }
    }

    /// A cgroup is gone.
    pub(super) fn add(&mut self, cgroup: u64, at: Mono) {
        if cgroup != 0 && self.gone.len() < MAX {
            self.gone.push_back((at, cgroup));
        }
    }

    /// Those whose time has come.
    pub(super) fn take_due(&mut self, now: Mono) -> Vec<u64> {
        let mut due = Vec::new();
        while let Some((_, cgroup)) = self.gone.pop_front_if(|(at, _)| now.since(*at) >= STAY) {
            due.push(cgroup);
        }
        due
    }

    /// Whether it is time to look for what went unseen.
    pub(super) fn take_look(&mut self, now: Mono) -> bool {
        let is_time = now >= self.next_look;
        if is_time {
            self.next_look = now.after(LOOK);
        }
        is_time
    }
}

/// Those of tunnels that were silent for long enough.
pub(super) fn silent(tunnels: &[(TunnelKey, TunnelCount)], now: Mono) -> Vec<TunnelKey> {
    let silent = |count: &TunnelCount| now.since(Mono(count.last_ns)) >= SILENT;
    let tunnels = tunnels.iter().filter(|(_, count)| silent(count));
    tunnels.map(|(key, _)| *key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnel_endpoints_leave_when_they_are_silent() {
        let key = |ifindex| TunnelKey {
            peer: [0; 16],
            vni: 1,
            port: 8472,
            ingress: 0,
            ifindex,
            pad: 0,
        };
        let count = |seconds: u64| TunnelCount {
            packets: 1,
            bytes: 78,
            last_ns: seconds * 1_000_000_000,
        };
        let tunnels = [(key(1), count(100)), (key(2), count(101)), (key(3), count(9000))];
        assert_eq!(silent(&tunnels, Mono(3_700_000_000_000)), [key(1)]);
    }

    #[test]
    fn counts_stay_for_a_while() {
        let at = |seconds: u64| Mono(seconds * 1_000_000_000);
        let mut leaving = Leaving::new(at(0));
        let gone = |cgroup, seconds| Event {
            at: at(seconds),
            cgroup,
            cookie: 0,
            netns: 0,
            pid: 0,
            body: EventBody::CgroupGone,
        };
        leaving.on(&gone(7, 10));
        leaving.on(&gone(8, 20));
        leaving.on(&gone(0, 20));
        assert!(leaving.take_due(at(39)).is_empty());
        assert_eq!(leaving.take_due(at(40)), [7]);
        assert_eq!(leaving.take_due(at(400)), [8]);
        assert!(!leaving.take_look(at(599)));
        assert!(leaving.take_look(at(600)));
        assert!(!leaving.take_look(at(601)));
    }
}
