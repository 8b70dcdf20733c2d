//! What a session says of itself.

use std::path::Path;

use jiff::Timestamp;

use super::Session;
use crate::kernel::btf;
use crate::kernel::hooks::State;
use crate::kernel::tunnels::Device;
use crate::model::cluster::{Watch, WatchState};
use crate::model::event::ip;
use crate::model::status::{Events, HookStatus, Ring, Status, TunnelDevice, TunnelTraffic, WatchStatus};
use obsflow_ebpf::abi::count::{TunnelCount, TunnelKey};

/// The name of this node.
#[must_use]
pub fn node_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

impl Session {
    /// What is watched, with what, and what came of it so far.
    #[must_use]
    pub fn status(&self) -> Status {
        let window = Timestamp::now().duration_since(self.began);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: node_name(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            btf: Path::new(btf::VMLINUX).exists(),
            cgroup_mount: self.mount().display().to_string(),
            attached_to: self
                .cgroups()
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
            another_runs: self.another_runs(),
            watching_since: self.began,
            watched_ports: self.watched_ports(),
            hooks: self.hook_status(),
            events: Events {
                window_ms: u64::try_from(window.as_millis()).unwrap_or(0),
                ..self.events()
            },
            ring: Ring {
                bytes: u64::from(self.ring_bytes),
                most_waiting_bytes: self.most_waiting(),
            },
            tunnels: devices(self.tunnels()),
            tunnel_traffic: traffic(self.tunnels(), &self.counters().tunnels()),
            watches: self.watches().iter().map(watch).collect(),
            kubernetes_events: None,
        }
    }

    fn hook_status(&self) -> Vec<HookStatus> {
        let status = |(hook, state): &(crate::kernel::hooks::Hook, State)| {
            let (name, detail) = match state {
                State::Attached(at) => ("attached", at),
                State::Unavailable(why) => ("unavailable", why),
                State::Off(why) => ("off", why),
            };
            let without = if name == "attached" { "" } else { hook.without() };
            HookStatus {
                name: hook.name().to_owned(),
                state: name.to_owned(),
                detail: detail.clone(),
                without: without.to_owned(),
            }
        };
        self.hooks().iter().map(status).collect()
    }

    fn events(&self) -> Events {
        let stats = self.stats();
        let pipeline = self.pipeline().counters();
        let forgotten = self.pipeline().correlation();
        let attribution = self.pipeline().attribution();
        Events {
            window_ms: 0,
            emitted: stats.emitted_total(),
            ring_lost: stats.lost_total(),
            recursion_misses: self.recursion_misses(),
            connections_full: stats.connections_full,
            counts_full: stats.counts_full,
            tunnels_full: stats.tunnels_full,
            payload_rate_limited: stats.rate_limited,
            unreadable: stats.unreadable,
            decoded: pipeline.seen,
            undecodable: pipeline.undecodable,
            unattributed: attribution.unknown,
            by_address: attribution.by_address,
            forgotten: forgotten.queries_forgotten
                + forgotten.lookups_forgotten
                + forgotten.connections_forgotten
                + forgotten.names_forgotten
                + forgotten.drops_forgotten
                + forgotten.dns_streams_forgotten,
            connections: self.connections() as u64,
        }
    }
}

fn watch(watch: &Watch) -> WatchStatus {
    let (state, error) = match &watch.state {
        WatchState::Listing => ("listing", ""),
        WatchState::Watching => ("watching", ""),
        WatchState::Away { error, .. } => ("away", &**error),
    };
    WatchStatus {
        resource: watch.resource.to_string(),
        state: state.to_owned(),
        error: error.to_owned(),
        objects: watch.objects as u64,
        restarts: watch.restarts,
    }
}

fn devices(devices: &[Device]) -> Vec<TunnelDevice> {
    devices
        .iter()
        .map(|device| TunnelDevice {
            device: device.name.clone(),
            kind: device.kind.to_string(),
            port: device.port,
            vni: device.vni,
            local: device.local,
            underlays: device
                .underlays
                .iter()
                .map(|underlay| underlay.name.clone())
                .collect(),
            peers: device.peers.iter().copied().collect(),
        })
        .collect()
}

fn traffic(devices: &[Device], counts: &[(TunnelKey, TunnelCount)]) -> Vec<TunnelTraffic> {
    let mut traffic: Vec<TunnelTraffic> = counts
        .iter()
        .map(|(key, count)| {
            let device = devices
                .iter()
                .find(|device| device.port == key.port && device.vni.is_none_or(|vni| vni == key.vni));
            let underlay = devices
                .iter()
                .flat_map(|device| &device.underlays)
                .find(|underlay| underlay.ifindex == key.ifindex);
            let direction = if key.ingress == 0 { "sent" } else { "received" };
            TunnelTraffic {
                device: device.map(|device| device.name.clone()).unwrap_or_default(),
                underlay: underlay.map_or_else(|| key.ifindex.to_string(), |underlay| underlay.name.clone()),
                peer: ip(key.peer),
                vni: key.vni,
                port: key.port,
                direction: direction.to_owned(),
                packets: count.packets,
                bytes: count.bytes,
            }
        })
        .collect();
    traffic.sort_by(|a, b| {
        let key = |row: &TunnelTraffic| (row.peer, row.vni);
        (&a.device, key(a), &a.direction, &a.underlay).cmp(&(&b.device, key(b), &b.direction, &b.underlay))
    });
    traffic
}
