//! The part of `obsflow status` about tunnels.

use std::fmt::Write as _;
use std::net::IpAddr;

use obsflow_ebpf::abi::count::{TunnelCount, TunnelKey};
use serde::Serialize;

use crate::kernel::tunnels::Device;
use crate::model::event::ip;

/// Peers named in the text; JSON has them all.
const PEERS_SHOWN: usize = 4;

/// A tunnel device.
#[derive(Debug, Serialize)]
pub(crate) struct DeviceReport {
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
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct TrafficReport {
    /// The tunnel device; empty when no device of this node has this port and identifier.
    pub device: String,
    /// The device that carried them.
    pub underlay: String,
    /// Address of the other tunnel endpoint.
    pub peer: IpAddr,
    /// Network identifier.
    pub vni: u32,
    /// UDP port.
    pub port: u16,
    /// `sent` or `received`.
    pub direction: &'static str,
    /// Outer packets.
    pub packets: u64,
    /// Outer bytes from the IP header on.
    pub bytes: u64,
}

pub(super) fn devices(devices: &[Device]) -> Vec<DeviceReport> {
    devices
        .iter()
        .map(|device| DeviceReport {
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

pub(super) fn traffic(devices: &[Device], counts: &[(TunnelKey, TunnelCount)]) -> Vec<TrafficReport> {
    let mut traffic: Vec<TrafficReport> = counts
        .iter()
        .map(|(key, count)| {
            let device = devices
                .iter()
                .find(|device| device.port == key.port && device.vni.is_none_or(|vni| vni == key.vni));
            let underlay = devices
                .iter()
                .flat_map(|device| &device.underlays)
                .find(|underlay| underlay.ifindex == key.ifindex);
            TrafficReport {
                device: device.map(|device| device.name.clone()).unwrap_or_default(),
                underlay: underlay.map_or_else(|| key.ifindex.to_string(), |underlay| underlay.name.clone()),
                peer: ip(key.peer),
                vni: key.vni,
                port: key.port,
                direction: if key.ingress == 0 { "sent" } else { "received" },
                packets: count.packets,
                bytes: count.bytes,
            }
        })
        .collect();
    traffic.sort_by(|a, b| {
        (&a.device, a.peer, a.vni, a.direction, &a.underlay).cmp(&(
            &b.device,
            b.peer,
            b.vni,
            b.direction,
            &b.underlay,
        ))
    });
    traffic
}

/// Both for people; nothing when there are no tunnels.
pub(super) fn text(devices: &[DeviceReport], traffic: &[TrafficReport], out: &mut String) {
    if devices.is_empty() {
        return;
    }
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "\n{:<16} {:<8} {:>5} {:>9} {:<16} PEERS",
        "TUNNEL", "KIND", "PORT", "VNI", "BENEATH"
    );
    for device in devices {
        let vni = device
            .vni
            .map_or_else(|| "each own".to_owned(), |vni| vni.to_string());
        let mut peers: Vec<String> = device
            .peers
            .iter()
            .take(PEERS_SHOWN)
            .map(IpAddr::to_string)
            .collect();
        if device.peers.len() > PEERS_SHOWN {
            peers.push(format!("and {} more", device.peers.len() - PEERS_SHOWN));
        }
        let _ = writeln!(
            out,
            "{:<16} {:<8} {:>5} {:>9} {:<16} {}",
            device.device,
            device.kind,
            device.port,
            vni,
            device.underlays.join(","),
            if peers.is_empty() {
                "not known beforehand".to_owned()
            } else {
                peers.join(", ")
            }
        );
    }
    if traffic.is_empty() {
        let _ = writeln!(out, "no outer packets in this time");
        return;
    }
    let _ = writeln!(
        out,
        "\n{:<16} {:<26} {:>9} {:<9} {:>10} {:>12}",
        "TUNNEL", "PEER", "VNI", "WAY", "PACKETS", "BYTES"
    );
    for row in traffic {
        let name = if row.device.is_empty() {
            "unknown"
        } else {
            &row.device
        };
        let _ = writeln!(
            out,
            "{:<16} {:<26} {:>9} {:<9} {:>10} {:>12}",
            name,
            row.peer.to_string(),
            row.vni,
            row.direction,
            row.packets,
            row.bytes
        );
    }
}
