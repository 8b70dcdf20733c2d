//! The part of `obsflow status` about tunnels.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::model::status::{TunnelDevice, TunnelTraffic};

/// Peers named in the text; JSON has them all.
const PEERS_SHOWN: usize = 4;

/// Both for people; nothing when there are no tunnels.
pub(super) fn text(devices: &[TunnelDevice], traffic: &[TunnelTraffic], out: &mut String) {
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
        let device = devices.iter().find(|device| device.device == row.device);
        let vni = match device {
            Some(device) if device.vni.is_none() => "each own".to_owned(),
            _ => row.vni.to_string(),
        };
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
            vni,
            row.direction,
            row.packets,
            row.bytes
        );
    }
}
