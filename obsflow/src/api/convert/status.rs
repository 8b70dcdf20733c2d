//! The status of an agent.

use std::net::IpAddr;
use std::time::Duration;

use super::super::v1;
use super::endpoint::{ip_from, port_from};
use super::{ConvertError, stamp, time};
use crate::model::status::{
    Events, HookStatus, KubernetesEvents, Ring, Status, TunnelDevice, TunnelTraffic, WatchStatus,
};

/// A status as a message. Whether another obsflow runs is not in it: the one that answers watches alone.
#[must_use]
pub fn status_to(status: &Status) -> v1::Status {
    v1::Status {
        version: status.version.clone(),
        node: status.node.clone(),
        kernel: status.kernel.clone(),
        btf: status.btf,
        cgroup_mount: status.cgroup_mount.clone(),
        attached_to: status.attached_to.clone(),
        watching_since: Some(stamp(status.watching_since)),
        hooks: status.hooks.iter().map(hook_to).collect(),
        events: Some(events_to(&status.events)),
        ring: Some(v1::Ring {
            bytes: status.ring.bytes,
            most_waiting_bytes: status.ring.most_waiting_bytes,
        }),
        watched_ports: status.watched_ports.iter().copied().map(u32::from).collect(),
        tunnels: status.tunnels.iter().map(device_to).collect(),
        tunnel_traffic: status.tunnel_traffic.iter().map(traffic_to).collect(),
        watches: status.watches.iter().map(watch_to).collect(),
        kubernetes_events: status.kubernetes_events.map(|events| v1::KubernetesEvents {
            written: events.written,
            crowded_out: events.crowded_out,
            failed: events.failed,
        }),
    }
}

/// A status of a message.
///
/// # Errors
/// When it says something that is not known here.
pub fn status_from(status: v1::Status) -> Result<Status, ConvertError> {
    let ring = status.ring.unwrap_or_default();
    Ok(Status {
        version: status.version,
        node: status.node,
        kernel: status.kernel,
        btf: status.btf,
        cgroup_mount: status.cgroup_mount,
        attached_to: status.attached_to,
        another_runs: false,
        watching_since: time("watching_since", status.watching_since)?,
        watched_ports: status
            .watched_ports
            .into_iter()
            .map(port_from)
            .collect::<Result<_, _>>()?,
        hooks: status.hooks.into_iter().map(hook_from).collect(),
        events: events_from(status.events.ok_or(ConvertError::Missing("events"))?),
        ring: Ring {
            bytes: ring.bytes,
            most_waiting_bytes: ring.most_waiting_bytes,
        },
        tunnels: status
            .tunnels
            .into_iter()
            .map(device_from)
            .collect::<Result<_, _>>()?,
        watches: status.watches.into_iter().map(watch_from).collect(),
        tunnel_traffic: status
            .tunnel_traffic
            .into_iter()
            .map(traffic_from)
            .collect::<Result<_, _>>()?,
        kubernetes_events: status.kubernetes_events.map(|events| KubernetesEvents {
            written: events.written,
            crowded_out: events.crowded_out,
            failed: events.failed,
        }),
    })
}

fn hook_to(hook: &HookStatus) -> v1::Hook {
    v1::Hook {
        name: hook.name.clone(),
        state: hook.state.clone(),
        detail: hook.detail.clone(),
        without: Some(hook.without.clone()).filter(|text| !text.is_empty()),
    }
}

fn hook_from(hook: v1::Hook) -> HookStatus {
    HookStatus {
        name: hook.name,
        state: hook.state,
        detail: hook.detail,
        without: hook.without.unwrap_or_default(),
    }
}

fn events_to(events: &Events) -> v1::Events {
    v1::Events {
        // More milliseconds than a protobuf duration holds are centuries.
        window: prost_types::Duration::try_from(Duration::from_millis(events.window_ms)).ok(),
        emitted: events.emitted,
        ring_lost: events.ring_lost,
        recursion_misses: events.recursion_misses,
        connections_full: events.connections_full,
        counts_full: events.counts_full,
        tunnels_full: events.tunnels_full,
        payload_rate_limited: events.payload_rate_limited,
        unreadable: events.unreadable,
        decoded: events.decoded,
        undecodable: events.undecodable,
        unattributed: events.unattributed,
        by_address: events.by_address,
        forgotten: events.forgotten,
        connections: events.connections,
    }
}

fn events_from(events: v1::Events) -> Events {
    let window = events.window.and_then(|window| Duration::try_from(window).ok());
    Events {
        window_ms: window.map_or(0, |window| u64::try_from(window.as_millis()).unwrap_or(u64::MAX)),
        emitted: events.emitted,
        ring_lost: events.ring_lost,
        recursion_misses: events.recursion_misses,
        connections_full: events.connections_full,
        counts_full: events.counts_full,
        tunnels_full: events.tunnels_full,
        payload_rate_limited: events.payload_rate_limited,
        unreadable: events.unreadable,
        decoded: events.decoded,
        undecodable: events.undecodable,
        unattributed: events.unattributed,
        by_address: events.by_address,
        forgotten: events.forgotten,
        connections: events.connections,
    }
}

fn device_to(device: &TunnelDevice) -> v1::TunnelDevice {
    v1::TunnelDevice {
        device: device.device.clone(),
        kind: device.kind.clone(),
        port: device.port.into(),
        vni: device.vni,
        local: device.local.map(|ip| ip.to_string()),
        underlays: device.underlays.clone(),
        peers: device.peers.iter().map(IpAddr::to_string).collect(),
    }
}

fn device_from(device: v1::TunnelDevice) -> Result<TunnelDevice, ConvertError> {
    Ok(TunnelDevice {
        device: device.device,
        kind: device.kind,
        port: port_from(device.port)?,
        vni: device.vni,
        local: device.local.as_deref().map(ip_from).transpose()?,
        underlays: device.underlays,
        peers: device
            .peers
            .iter()
            .map(|peer| ip_from(peer))
            .collect::<Result<_, _>>()?,
    })
}

fn traffic_to(traffic: &TunnelTraffic) -> v1::TunnelTraffic {
    v1::TunnelTraffic {
        device: Some(traffic.device.clone()).filter(|name| !name.is_empty()),
        underlay: traffic.underlay.clone(),
        peer: traffic.peer.to_string(),
        vni: traffic.vni,
        port: traffic.port.into(),
        direction: traffic.direction.clone(),
        packets: traffic.packets,
        bytes: traffic.bytes,
    }
}

fn traffic_from(traffic: v1::TunnelTraffic) -> Result<TunnelTraffic, ConvertError> {
    Ok(TunnelTraffic {
        device: traffic.device.unwrap_or_default(),
        underlay: traffic.underlay,
        peer: ip_from(&traffic.peer)?,
        vni: traffic.vni,
        port: port_from(traffic.port)?,
        direction: traffic.direction,
        packets: traffic.packets,
        bytes: traffic.bytes,
    })
}

fn watch_to(watch: &WatchStatus) -> v1::Watch {
    v1::Watch {
        resource: watch.resource.clone(),
        state: watch.state.clone(),
        error: Some(watch.error.clone()).filter(|error| !error.is_empty()),
        objects: watch.objects,
        restarts: watch.restarts,
    }
}

fn watch_from(watch: v1::Watch) -> WatchStatus {
    WatchStatus {
        resource: watch.resource,
        state: watch.state,
        error: watch.error.unwrap_or_default(),
        objects: watch.objects,
        restarts: watch.restarts,
    }
}
