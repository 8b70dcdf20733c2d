//! Finds tunnel devices by netlink, and the devices that carry their outer packets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::IpAddr;

use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoGeneve, InfoVxlan, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage,
};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::kernel::rtnetlink::dump;

/// Peers kept of one device.
const MAX_PEERS: usize = 1024;

/// How a tunnel wraps its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RFC 7348.
    Vxlan,
    /// RFC 8926.
    Geneve,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
        })
    }
}

/// A tunnel device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Interface index.
    pub ifindex: u32,
    /// How it wraps.
    pub kind: Kind,
    /// UDP port that tunnel endpoints receive on.
    pub port: u16,
    /// Network identifier; `None` when each packet brings its own, as Cilium has it.
    pub vni: Option<u32>,
    /// Source of outer packets, when it is fixed.
    pub local: Option<IpAddr>,
    /// Tunnel endpoints that it was told of: its remote address and its forwarding database, as flannel fills it.
    pub peers: BTreeSet<IpAddr>,
    /// Devices that carry the outer packets.
    pub underlays: Vec<Underlay>,
}

/// A device that carries outer packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Underlay {
    /// Its name.
    pub name: String,
    /// Interface index.
    pub ifindex: u32,
    /// Whether its packets begin with an Ethernet header, which the programs rely on.
    pub ethernet: bool,
}

/// What the kernel says of every device.
struct Link {
    name: String,
    ethernet: bool,
    tunnel: Option<Tunnel>,
}

/// What the kernel says of a tunnel device.
#[derive(Default)]
struct Tunnel {
    geneve: bool,
    port: u16,
    vni: Option<u32>,
    metadata: bool,
    link: Option<u32>,
    local: Option<IpAddr>,
    remote: Option<IpAddr>,
}

/// The tunnel devices of this network namespace.
///
/// # Errors
/// When the kernel does not list its devices.
pub fn find() -> io::Result<Vec<Device>> {
    let links = links()?;
    if links.values().all(|link| link.tunnel.is_none()) {
        return Ok(Vec::new());
    }
    let peers = forwarding().unwrap_or_default();
    let addresses = addresses().unwrap_or_default();
    let defaults = default_routes().unwrap_or_default();
    let carriers = |ifindexes: Vec<u32>| -> Vec<Underlay> {
        ifindexes
            .into_iter()
            .filter_map(|ifindex| {
                let link = links.get(&ifindex).filter(|link| link.tunnel.is_none())?;
                Some(Underlay {
                    name: link.name.clone(),
                    ifindex,
                    ethernet: link.ethernet,
                })
            })
            .collect()
    };
    let devices = links.iter().filter_map(|(ifindex, link)| {
        let tunnel = link.tunnel.as_ref()?;
        let with_local = tunnel.local.and_then(|local| addresses.get(&local).copied());
        // The device named when it was made, the one that has its address, else where the node's packets go.
        let underlays = match tunnel.link.or(with_local) {
            Some(ifindex) => vec![ifindex],
            None => defaults.iter().copied().collect(),
        };
        let told = peers.get(ifindex).into_iter().flatten().copied();
        let remote = tunnel
            .remote
            .filter(|ip| !ip.is_unspecified() && !ip.is_multicast());
        Some(Device {
            name: link.name.clone(),
            ifindex: *ifindex,
            kind: if tunnel.geneve { Kind::Geneve } else { Kind::Vxlan },
            port: tunnel.port,
            vni: tunnel.vni.filter(|_| !tunnel.metadata),
            local: tunnel.local,
            peers: remote.into_iter().chain(told).take(MAX_PEERS).collect(),
            underlays: carriers(underlays),
        })
    });
    Ok(devices.collect())
}

/// Names of all devices.
///
/// # Errors
/// When the kernel does not list them.
pub(super) fn names() -> io::Result<Vec<(u32, String)>> {
    Ok(links()?
        .into_iter()
        .map(|(ifindex, link)| (ifindex, link.name))
        .collect())
}

fn links() -> io::Result<BTreeMap<u32, Link>> {
    let mut links = BTreeMap::new();
    for message in dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))? {
        let RouteNetlinkMessage::NewLink(message) = message else {
            continue;
        };
        let layer = message.header.link_layer_type;
        let mut link = Link {
            name: String::new(),
            ethernet: matches!(layer, LinkLayerType::Ether | LinkLayerType::Loopback),
            tunnel: None,
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::LinkInfo(infos) => {
                    link.tunnel = infos.into_iter().find_map(|info| match info {
                        LinkInfo::Data(InfoData::Vxlan(data)) => Some(vxlan(&data)),
                        LinkInfo::Data(InfoData::Geneve(data)) => Some(geneve(&data)),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        links.insert(message.header.index, link);
    }
    Ok(links)
}

fn vxlan(data: &[InfoVxlan]) -> Tunnel {
    let mut tunnel = Tunnel::default();
    for info in data {
        match info {
            InfoVxlan::Id(id) => tunnel.vni = Some(*id),
            InfoVxlan::Port(port) => tunnel.port = *port,
            InfoVxlan::Link(link) if *link != 0 => tunnel.link = Some(*link),
            InfoVxlan::Local(ip) => tunnel.local = Some((*ip).into()),
            InfoVxlan::Local6(ip) => tunnel.local = Some((*ip).into()),
            InfoVxlan::Group(ip) => tunnel.remote = Some((*ip).into()),
            InfoVxlan::Group6(ip) => tunnel.remote = Some((*ip).into()),
            InfoVxlan::CollectMetadata(yes) | InfoVxlan::Vnifilter(yes) => tunnel.metadata |= yes,
            _ => {}
        }
    }
    tunnel.local = tunnel.local.filter(|ip| !ip.is_unspecified());
    tunnel
}

fn geneve(data: &[InfoGeneve]) -> Tunnel {
    let mut tunnel = Tunnel {
        geneve: true,
        ..Tunnel::default()
    };
    for info in data {
        match info {
            InfoGeneve::Id(id) => tunnel.vni = Some(*id),
            InfoGeneve::Port(port) => tunnel.port = *port,
            InfoGeneve::Local(ip) => tunnel.local = Some((*ip).into()),
            InfoGeneve::Local6(ip) => tunnel.local = Some((*ip).into()),
            InfoGeneve::Remote(ip) => tunnel.remote = Some((*ip).into()),
            InfoGeneve::Remote6(ip) => tunnel.remote = Some((*ip).into()),
            InfoGeneve::CollectMetadata => tunnel.metadata = true,
            _ => {}
        }
    }
    tunnel.local = tunnel.local.filter(|ip| !ip.is_unspecified());
    tunnel
}

/// Tunnel endpoints in the forwarding databases, by device.
fn forwarding() -> io::Result<BTreeMap<u32, BTreeSet<IpAddr>>> {
    let mut question = NeighbourMessage::default();
    question.header.family = AddressFamily::Bridge;
    let mut found: BTreeMap<u32, BTreeSet<IpAddr>> = BTreeMap::new();
    for message in dump(RouteNetlinkMessage::GetNeighbour(question))? {
        let RouteNetlinkMessage::NewNeighbour(message) = message else {
            continue;
        };
        let to = message.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(to) => address(to),
            _ => None,
        });
        if let Some(to) = to.filter(|ip| !ip.is_unspecified() && !ip.is_multicast()) {
            found.entry(message.header.ifindex).or_default().insert(to);
        }
    }
    Ok(found)
}

fn address(to: &NeighbourAddress) -> Option<IpAddr> {
    match to {
        NeighbourAddress::Inet(ip) => Some((*ip).into()),
        NeighbourAddress::Inet6(ip) => Some((*ip).into()),
        // The family of these messages is the bridge's, so the length tells.
        NeighbourAddress::Other(bytes) => <[u8; 4]>::try_from(bytes.as_slice())
            .map(IpAddr::from)
            .or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from))
            .ok(),
        _ => None,
    }
}

/// Devices by the addresses they have.
fn addresses() -> io::Result<BTreeMap<IpAddr, u32>> {
    let mut found = BTreeMap::new();
    for message in dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))? {
        let RouteNetlinkMessage::NewAddress(message) = message else {
            continue;
        };
        for attribute in message.attributes {
            if let AddressAttribute::Local(ip) | AddressAttribute::Address(ip) = attribute {
                found.entry(ip).or_insert(message.header.index);
            }
        }
    }
    Ok(found)
}

/// Devices that default routes lead out of.
fn default_routes() -> io::Result<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut question = RouteMessage::default();
        question.header.address_family = family;
        for message in dump(RouteNetlinkMessage::GetRoute(question))? {
            let RouteNetlinkMessage::NewRoute(route) = message else {
                continue;
            };
            if route.header.destination_prefix_length != 0 {
                continue;
            }
            for attribute in route.attributes {
                match attribute {
                    RouteAttribute::Oif(ifindex) => {
                        found.insert(ifindex);
                    }
                    RouteAttribute::MultiPath(hops) => {
                        found.extend(hops.iter().map(|hop| hop.interface_index));
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(found)
}
