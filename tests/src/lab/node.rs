//! A node: a namespace with a bridge for its pods and an interface towards the other nodes.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Result;

use super::netns::NetNs;
use super::slot::Slot;

/// Addresses below this are the node's own and for servers that need to be known beforehand.
const FIRST_POD: u16 = 32;

/// A node.
#[derive(Debug)]
pub struct Node {
    /// Its number in the lab, from 0.
    pub index: u8,
    /// Its network namespace.
    pub netns: NetNs,
    /// The cgroup that holds its kubepods; obsflow is attached there.
    pub cgroup: PathBuf,
    /// Its `/var/log/pods`.
    pub pod_logs: PathBuf,
    slot: u8,
    next: AtomicU16,
}

impl Node {
    /// Makes the node and plugs it into the wire between the nodes.
    pub(super) fn new(slot: &Slot, index: u8, wire: &NetNs, nodes: u8) -> Result<Self> {
        let netns = NetNs::new(true)?;
        let cgroup = slot.cgroup.join(format!("node{index}"));
        fs::create_dir(&cgroup)?;
        let pod_logs = slot.dir.join(format!("node{index}/pods"));
        fs::create_dir_all(&pod_logs)?;
        let node = Self {
            index,
            netns,
            cgroup,
            pod_logs,
            slot: slot.number,
            next: AtomicU16::new(FIRST_POD),
        };
        wire.ip(&format!(
            "link add n{index} type veth peer name eth0 netns {}\nlink set n{index} master wire up\n",
            node.netns.path()
        ))?;
        let (gateway4, gateway6) = (node.pod_v4(1), node.pod_v6(1));
        let (wire4, wire6) = wire_addresses(slot.number, index);
        // A bridge without an address of its own takes its ports' lowest: it would change with every pod, and neighbours
        // would go on sending to the old one.
        let mac = format!("02:0b:00:00:{index:02x}:01");
        let mut script = format!(
            "link set lo up\nlink add cni0 address {mac} type bridge mcast_snooping 0\n\
             addr add {gateway4}/18 dev cni0\naddr add {gateway6}/64 dev cni0 nodad\nlink set cni0 up\n\
             addr add {wire4}/24 dev eth0\naddr add {wire6}/64 dev eth0 nodad\nlink set eth0 up\n"
        );
        for other in (0..nodes).filter(|other| *other != index) {
            let (via4, via6) = wire_addresses(slot.number, other);
            let (net4, net6) = (pod_v4(slot.number, other, 0), pod_v6(slot.number, other, 0));
            script += &format!("route add {net4}/18 via {via4}\nroute add {net6}/64 via {via6}\n");
        }
        node.netns.ip(&script)?;
        Ok(node)
    }

    /// Address number `host` of the node's pod network.
    #[must_use]
    pub fn pod_v4(&self, host: u16) -> Ipv4Addr {
        pod_v4(self.slot, self.index, host)
    }

    /// Address number `host` of the node's pod network.
    #[must_use]
    pub fn pod_v6(&self, host: u16) -> Ipv6Addr {
        pod_v6(self.slot, self.index, host)
    }

    /// A number for a new pod.
    pub(super) fn next_host(&self) -> u16 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// An IPv4 and an IPv6 address of the pod network that nobody has: neighbours that never answer.
    #[must_use]
    pub fn nobody(&self) -> [IpAddr; 2] {
        let host = 0x3ff0;
        [self.pod_v4(host).into(), self.pod_v6(host).into()]
    }
}

pub(super) fn pod_v4(slot: u8, node: u8, host: u16) -> Ipv4Addr {
    let [high, low] = host.to_be_bytes();
    Ipv4Addr::new(10, 100 + slot, 64 * node + high, low)
}

pub(super) fn pod_v6(slot: u8, node: u8, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd0b, slot.into(), node.into(), 0, 0, 0, 0, host)
}

/// The addresses of a node on the wire between the nodes; node 3's pod network has room for it.
fn wire_addresses(slot: u8, node: u8) -> (Ipv4Addr, Ipv6Addr) {
    let v4 = Ipv4Addr::new(10, 100 + slot, 254, node + 1);
    (
        v4,
        Ipv6Addr::new(0xfd0b, slot.into(), 0xfe, 0, 0, 0, 0, u16::from(node) + 1),
    )
}
