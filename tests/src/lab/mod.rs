//! Nodes, pods and what they share.

pub mod cgroup;
pub mod netns;
pub mod node;
pub mod pod;
mod slot;

use std::fs;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};

use netns::NetNs;
use node::Node;
use pod::{Pod, PodSpec};
use slot::Slot;

pub use slot::reap;

use crate::server::dns::Dns;

/// Nodes in a lab: pods live on the first, which obsflow watches, servers on the second.
const NODES: u8 = 2;

/// Where the name server lives.
const DNS_NODE: u8 = 1;
/// Its number in that node's pod network.
const DNS_HOST: u16 = 10;

/// Two nodes, a name server, and room for pods. Everything ends with it.
#[derive(Debug)]
pub struct Lab {
    // In the order of their end: processes first, then what they run in.
    dns: Dns,
    nodes: Vec<Node>,
    /// Between the nodes.
    wire: NetNs,
    slot: Slot,
}

impl Lab {
    /// Makes the nodes and starts the name server.
    ///
    /// # Errors
    /// Without root, or when a tool of the lab (`ip`, `unbound`) is missing.
    pub fn new() -> Result<Self> {
        let slot = Slot::take()?;
        let wire = NetNs::new(false)?;
        wire.ip("link set lo up\nlink add wire type bridge mcast_snooping 0\nlink set wire up\n")?;
        let nodes = (0..NODES)
            .map(|index| Node::new(&slot, index, &wire, NODES))
            .collect::<Result<Vec<_>>>()?;
        let home = PodSpec::new("kube-system/coredns")
            .container("coredns")
            .node(DNS_NODE)
            .host(DNS_HOST);
        let Some(home) = make_pods(&slot, &nodes, vec![home])?.pop() else {
            bail!("the name server has no pod");
        };
        let dns = Dns::start(home, &slot.dir.join("dns"))?;
        Ok(Self {
            dns,
            nodes,
            wire,
            slot,
        })
    }

    /// Makes a pod.
    ///
    /// # Errors
    /// When `ip` refuses, or the cgroup cannot be made.
    pub fn pod(&self, spec: impl Into<PodSpec>) -> Result<Pod> {
        let mut pods = self.pods(vec![spec.into()])?;
        pods.pop().context("a pod was asked for, none was made")
    }

    /// Makes many pods at once.
    ///
    /// # Errors
    /// As [`Lab::pod`].
    pub fn pods(&self, specs: Vec<PodSpec>) -> Result<Vec<Pod>> {
        make_pods(&self.slot, &self.nodes, specs)
    }

    /// A node by its number.
    ///
    /// # Errors
    /// When there is none.
    pub fn node(&self, index: u8) -> Result<&Node> {
        self.nodes
            .get(usize::from(index))
            .with_context(|| format!("there is no node {index}"))
    }

    /// The namespace of the bridge between the nodes.
    #[must_use]
    pub fn wire(&self) -> &NetNs {
        &self.wire
    }

    /// The name server of all pods.
    #[must_use]
    pub fn dns(&self) -> &Dns {
        &self.dns
    }

    /// A folder that goes with the lab.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.slot.dir
    }

    /// The cgroup that holds everything that runs in the lab.
    #[must_use]
    pub fn cgroup(&self) -> &Path {
        &self.slot.cgroup
    }

    /// Whether an address belongs to this lab (and not to another one that runs beside it).
    #[must_use]
    pub fn owns(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => ip.octets().starts_with(&[10, 100 + self.slot.number]),
            IpAddr::V6(ip) => ip.segments().starts_with(&[0xfd0b, self.slot.number.into()]),
        }
    }
}

/// Makes pods: one `ip` per node for the node's ends of all of them, one per pod for its own.
fn make_pods(slot: &Slot, nodes: &[Node], specs: Vec<PodSpec>) -> Result<Vec<Pod>> {
    let mut scripts = vec![String::new(); nodes.len()];
    let mut pods = Vec::with_capacity(specs.len());
    for spec in specs {
        let index = usize::from(spec.node);
        let (Some(node), Some(script)) = (nodes.get(index), scripts.get_mut(index)) else {
            bail!("there is no node {index}");
        };
        let host = if spec.host_network {
            1
        } else {
            spec.host.unwrap_or_else(|| node.next_host())
        };
        let netns = if spec.host_network {
            node.netns.clone()
        } else {
            NetNs::new(false)?
        };
        if !spec.host_network {
            *script += &format!(
                "link add v{host} type veth peer name eth0 netns {}\nlink set v{host} master cni0 up\n",
                netns.path()
            );
        }
        pods.push((new_pod(slot, node, &spec, netns, host)?, spec));
    }
    for (node, script) in nodes.iter().zip(&scripts) {
        if !script.is_empty() {
            node.netns.ip(script)?;
        }
    }
    let mut made = Vec::with_capacity(pods.len());
    for (pod, spec) in pods {
        if let Some(node) = nodes.get(usize::from(spec.node)).filter(|_| !spec.host_network) {
            pod.netns.ip(&format!(
                "link set lo up\nlink set eth0 up\naddr add {}/18 dev eth0\naddr add {}/64 dev eth0 nodad\n\
                 route add default via {}\nroute add ::/0 via {}\n",
                pod.v4,
                pod.v6,
                node.pod_v4(1),
                node.pod_v6(1)
            ))?;
        }
        made.push((pod, spec.host_network));
    }
    for (pod, _) in made.iter().filter(|(_, on_host)| !on_host) {
        pod.netns.ready()?;
    }
    Ok(made.into_iter().map(|(pod, _)| pod).collect())
}

fn new_pod(slot: &Slot, node: &Node, spec: &PodSpec, netns: NetNs, host: u16) -> Result<Pod> {
    let random = random()?;
    let name = format!(
        "{}-{}-{}",
        spec.app,
        suffix(&random[..10]),
        suffix(&random[10..15])
    );
    let uid = uid(&random);
    let container_id = hex(&random);
    // In the kubelet's order: the log folder is there before anything of the pod is.
    let logs = node.pod_logs.join(format!("{}_{name}_{uid}", spec.namespace));
    fs::create_dir_all(logs.join(&spec.container))?;
    fs::write(logs.join(&spec.container).join("0.log"), "")?;
    let cgroup = node.cgroup.join(spec.cgroup_path(&uid, &container_id));
    fs::create_dir_all(&cgroup).with_context(|| format!("cannot make cgroup {}", cgroup.display()))?;
    let etc = slot.dir.join("etc").join(&uid);
    fs::create_dir_all(&etc)?;
    // Known before the name server exists.
    let dns: IpAddr = if spec.dns_over_v6 {
        node::pod_v6(slot.number, DNS_NODE, DNS_HOST).into()
    } else {
        node::pod_v4(slot.number, DNS_NODE, DNS_HOST).into()
    };
    let search = spec.search.clone().unwrap_or_else(|| {
        let namespace = &spec.namespace;
        format!("{namespace}.svc.cluster.local svc.cluster.local cluster.local ec2.internal")
    });
    fs::write(
        etc.join("resolv.conf"),
        format!(
            "search {search}\nnameserver {dns}\noptions {}\n",
            spec.resolv_options
        ),
    )?;
    let (v4, v6) = (node.pod_v4(host), node.pod_v6(host));
    fs::write(
        etc.join("hosts"),
        format!("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{v4} {name}\n"),
    )?;
    fs::write(
        etc.join("nsswitch.conf"),
        "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\n",
    )?;
    Ok(Pod {
        namespace: spec.namespace.clone(),
        name,
        uid,
        container: spec.container.clone(),
        container_id,
        netns,
        cgroup,
        device: (!spec.host_network).then(|| format!("v{host}")),
        v4,
        v6,
        logs,
        etc,
    })
}

fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The alphabet Kubernetes makes its suffixes from.
fn suffix(random: &[u8]) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    random
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A version 4 UUID.
fn uid(random: &[u8; 32]) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&random[16..]);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex(&bytes);
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}
