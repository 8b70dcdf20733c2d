//! What works on this node, and what was seen and lost.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// What a session watches, with what, and what came of it. Its JSON is stable: fields are added, never renamed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Status {
    /// Version of obsflow.
    pub version: String,
    /// Name of the node.
    pub node: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Whether the kernel describes its types.
    pub btf: bool,
    /// Where cgroup2 is mounted.
    pub cgroup_mount: String,
    /// Cgroups that programs were attached to.
    pub attached_to: Vec<String>,
    /// Whether another obsflow watches one of these cgroups.
    pub another_runs: bool,
    /// Since when.
    #[serde(serialize_with = "rfc3339")]
    pub watching_since: Timestamp,
    /// TCP ports watched as telemetry now.
    pub watched_ports: BTreeSet<u16>,
    /// Every hook.
    pub hooks: Vec<HookStatus>,
    /// What was seen and lost.
    pub events: Events,
    /// The ring buffer.
    pub ring: Ring,
    /// Tunnel devices.
    pub tunnels: Vec<TunnelDevice>,
    /// Outer packets of tunnels.
    pub tunnel_traffic: Vec<TunnelTraffic>,
    /// What is followed of the cluster; nothing where there is none to ask.
    pub watches: Vec<WatchStatus>,
    /// Kubernetes Events, when they are written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes_events: Option<KubernetesEvents>,
}

/// A watch of the Kubernetes API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WatchStatus {
    /// What is watched: `pods`, `services`.
    pub resource: String,
    /// `listing`, `watching` or `away`.
    pub state: String,
    /// Why it is away; empty when it is not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Objects known.
    pub objects: u64,
    /// How often it had to begin again.
    pub restarts: u64,
}

/// What became of Kubernetes Events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KubernetesEvents {
    /// The API server has them.
    pub written: u64,
    /// There was no room for them to wait; most of them are tried again.
    pub crowded_out: u64,
    /// The API server did not take them.
    pub failed: u64,
}

/// A hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HookStatus {
    /// Its name.
    pub name: String,
    /// `attached`, `unavailable` or `off`.
    pub state: String,
    /// Where it is attached, or why it is not.
    pub detail: String,
    /// What is not known without it; empty when it is attached.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub without: String,
}

/// Events by stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Events {
    /// How long they were counted, in milliseconds.
    pub window_ms: u64,
    /// Records that the kernel side handed to the ring.
    pub emitted: u64,
    /// Records that the ring had no room for.
    pub ring_lost: u64,
    /// Calls of a program that the kernel skipped.
    pub recursion_misses: u64,
    /// Connections not followed because the kernel's table was full.
    pub connections_full: u64,
    /// Counts not made because a counter map of cgroups was full.
    pub counts_full: u64,
    /// Outer packets not counted because the table of tunnels was full.
    pub tunnels_full: u64,
    /// Payload captures over their connection's rate.
    pub payload_rate_limited: u64,
    /// Records given up because kernel memory could not be read.
    pub unreadable: u64,
    /// Records decoded.
    pub decoded: u64,
    /// Records that could not be decoded.
    pub undecodable: u64,
    /// Events whose workload is unknown.
    pub unattributed: u64,
    /// Events whose pod is known by its address alone, best effort: neither cgroup nor process were in the record.
    pub by_address: u64,
    /// Queries, searches, connections and names that had to be forgotten for want of room.
    pub forgotten: u64,
    /// Connections followed now.
    pub connections: u64,
}

/// The ring buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ring {
    /// Its size, in bytes.
    pub bytes: u64,
    /// Most that was waiting in it when it was looked at, in bytes.
    pub most_waiting_bytes: u64,
}

/// A tunnel device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TunnelDevice {
    /// Its name.
    pub device: String,
    /// `vxlan` or `geneve`.
    pub kind: String,
    /// UDP port.
    pub port: u16,
    /// Network identifier, unless each packet brings its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vni: Option<u32>,
    /// Source of outer packets, when it is fixed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<IpAddr>,
    /// Devices that carry its outer packets.
    pub underlays: Vec<String>,
    /// Tunnel endpoints it was told of.
    pub peers: Vec<IpAddr>,
}

/// Outer packets to or from one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TunnelTraffic {
    /// The tunnel device; empty when no device of this node has this port and identifier.
    pub device: String,
    /// The device that carried them.
    pub underlay: String,
    /// Address of the other tunnel endpoint.
    pub peer: IpAddr,
    /// Network identifier; 0 where each packet brings its own, which is not told apart.
    pub vni: u32,
    /// UDP port.
    pub port: u16,
    /// `sent` or `received`.
    pub direction: String,
    /// Outer packets.
    pub packets: u64,
    /// Outer bytes from the IP header on.
    pub bytes: u64,
}

fn rfc3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}
