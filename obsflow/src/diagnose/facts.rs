//! What can be looked up on this node, and in the cluster, to make advice concrete and evidence sure.

use std::fs;
use std::io::Read as _;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::services;
use crate::kernel::rootfs;
use crate::model::cluster::{Cluster, Service};

/// Largest file of a container that is read.
const MAX_FILE: u64 = 64 * 1024;
/// Listening ports that are named.
const MAX_PORTS: usize = 8;

/// A container's resolver configuration (`resolv.conf(5)`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// Name servers, in order.
    pub servers: Vec<IpAddr>,
    /// The search list.
    pub search: Vec<String>,
    /// Dots from which on a name is tried as it is first.
    pub ndots: u32,
}

/// Facts that no record carries. `pid` is a process of the container, in the initial pid namespace.
pub trait Facts {
    /// What its resolver is told.
    fn resolv_conf(&self, pid: u32) -> Option<ResolvConf>;

    /// TCP ports that somebody listens on in its network namespace, in order.
    fn listening(&self, pid: u32) -> Vec<u16>;

    /// Connections that were accepted in its network namespace since the namespace was made; none in that of the machine,
    /// where they are everybody's.
    fn accepted(&self, pid: u32) -> Option<u64>;

    /// The Service of this name; `None` where there is none, or nobody tells of Services.
    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        let _ = (namespace, name);
        None
    }

    /// The Service with this cluster address.
    fn service_at(&self, ip: IpAddr) -> Option<Arc<Service>> {
        let _ = ip;
        None
    }

    /// Services that may be meant by a name that is none's, the likeliest first.
    fn services_like(&self, namespace: &str, name: &str) -> Vec<Arc<Service>> {
        let _ = (namespace, name);
        Vec::new()
    }

    /// Whether a Service, an endpoint, a pod or a node of the cluster has this address; `None` where that is not known.
    fn has_address(&self, ip: IpAddr) -> Option<bool> {
        let _ = ip;
        None
    }
}

/// Facts from `/proc`, where every call reads one or two small files of one process, and from the latest snapshot of the
/// cluster.
#[derive(Clone, Debug)]
pub struct ThisNode {
    proc: PathBuf,
    cluster: Option<watch::Receiver<Arc<Cluster>>>,
}

impl ThisNode {
    /// `proc` is where the initial pid namespace's procfs is.
    pub fn new(proc: impl Into<PathBuf>) -> Self {
        Self {
            proc: proc.into(),
            cluster: None,
        }
    }

    /// Knows the cluster, too.
    #[must_use]
    pub fn with_cluster(mut self, cluster: Option<watch::Receiver<Arc<Cluster>>>) -> Self {
        self.cluster = cluster;
        self
    }

    fn cluster(&self) -> Option<Arc<Cluster>> {
        Some(Arc::clone(&self.cluster.as_ref()?.borrow()))
    }

    fn opened(&self, pid: u32) -> Option<u64> {
        passive_opens(&self.read(pid, "net/snmp")?)
    }

    fn read(&self, pid: u32, path: &str) -> Option<String> {
        let file = fs::File::open(self.proc.join(pid.to_string()).join(path)).ok()?;
        let mut text = String::new();
        file.take(MAX_FILE).read_to_string(&mut text).ok()?;
        Some(text)
    }
}

impl Default for ThisNode {
    fn default() -> Self {
        Self::new("/proc")
    }
}

impl Facts for ThisNode {
    fn resolv_conf(&self, pid: u32) -> Option<ResolvConf> {
        let root = rootfs::of_pid(&self.proc, pid).ok()?;
        let text = rootfs::read(root.as_fd(), "etc/resolv.conf", MAX_FILE).ok()?;
        Some(parse_resolv_conf(&String::from_utf8_lossy(&text)))
    }

    fn listening(&self, pid: u32) -> Vec<u16> {
        let mut ports: Vec<u16> = ["net/tcp", "net/tcp6"]
            .iter()
            .filter_map(|path| self.read(pid, path))
            .flat_map(|table| listening_of(&table))
            .collect();
        ports.sort_unstable();
        ports.dedup();
        ports.truncate(MAX_PORTS);
        ports
    }

    fn accepted(&self, pid: u32) -> Option<u64> {
        let namespace = |pid: u32| fs::read_link(self.proc.join(pid.to_string()).join("ns/net")).ok();
        match (namespace(pid), namespace(1)) {
            (Some(own), Some(machine)) if own == machine => Some(0),
            _ => self.opened(pid),
        }
    }

    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        self.cluster()?.service(namespace, name).cloned()
    }

    fn service_at(&self, ip: IpAddr) -> Option<Arc<Service>> {
        self.cluster()?
            .addresses
            .by_cluster_ip
            .get(&ip.to_canonical())
            .cloned()
    }

    fn services_like(&self, namespace: &str, name: &str) -> Vec<Arc<Service>> {
        self.cluster()
            .map(|cluster| services::alike(&cluster, namespace, name))
            .unwrap_or_default()
    }

    fn has_address(&self, ip: IpAddr) -> Option<bool> {
        services::has_address(&*self.cluster()?, ip)
    }
}

fn parse_resolv_conf(text: &str) -> ResolvConf {
    let mut conf = ResolvConf {
        ndots: 1,
        ..ResolvConf::default()
    };
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => conf
                .servers
                .extend(words.next().and_then(|ip| ip.parse::<IpAddr>().ok())),
            Some("search") => conf.search = words.map(|name| name.trim_end_matches('.').to_owned()).collect(),
            Some("domain") if conf.search.is_empty() => {
                conf.search = words.take(1).map(str::to_owned).collect();
            }
            Some("options") => {
                let ndots = words.find_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                conf.ndots = ndots.unwrap_or(conf.ndots);
            }
            _ => {}
        }
    }
    conf
}

/// Local ports of `/proc/net/tcp` whose state is LISTEN.
fn listening_of(table: &str) -> Vec<u16> {
    const LISTEN: &str = "0A";
    let port = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (_, port) = fields.next()?.rsplit_once(':')?;
        (fields.nth(1)? == LISTEN).then(|| u16::from_str_radix(port, 16).ok())?
    };
    table.lines().skip(1).filter_map(port).collect()
}

/// `Tcp: PassiveOpens` of `/proc/net/snmp`: a line of names, a line of numbers.
fn passive_opens(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let index = lines
        .next()?
        .split_whitespace()
        .position(|name| name == "PassiveOpens")?;
    lines.next()?.split_whitespace().nth(index)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_as_kubelet_writes_it() {
        let conf = parse_resolv_conf(
            "# made\nsearch apps.svc.cluster.local svc.cluster.local cluster.local.\nnameserver 10.96.0.10\n\
             nameserver fd00::a\nnameserver nonsense\noptions timeout:2 ndots:5\n",
        );
        assert_eq!(
            conf.search,
            ["apps.svc.cluster.local", "svc.cluster.local", "cluster.local"]
        );
        assert_eq!(conf.servers.len(), 2);
        assert_eq!(conf.ndots, 5);
        assert_eq!(parse_resolv_conf("").ndots, 1);
    }

    #[test]
    fn listening_sockets_of_the_table() {
        let table = "  sl  local_address rem_address   st tx_queue\n\
                     \x20  0: 0100007F:10DE 00000000:0000 0A 00000000:00000000\n\
                     \x20  1: 0100007F:10DD 0100007F:A0B4 01 00000000:00000000\n\
                     nonsense\n";
        assert_eq!(listening_of(table), [4318]);
    }

    #[test]
    fn connections_to_the_whole_machine_are_nobodys() {
        let proc = std::env::temp_dir().join(format!("obsflow-facts-{}", std::process::id()));
        for (pid, namespace) in [(1, "net:[1]"), (7, "net:[1]"), (8, "net:[8]")] {
            let dir = proc.join(pid.to_string());
            for part in ["ns", "net"] {
                fs::create_dir_all(dir.join(part)).unwrap();
            }
            std::os::unix::fs::symlink(namespace, dir.join("ns/net")).unwrap();
            fs::write(dir.join("net/snmp"), "Tcp: A PassiveOpens\nTcp: 1 12\n").unwrap();
        }
        let node = ThisNode::new(&proc);
        assert_eq!(node.accepted(7), Some(0));
        assert_eq!(node.accepted(8), Some(12));
        // Whose namespace is the machine's cannot be told everywhere.
        fs::remove_file(proc.join("1/ns/net")).unwrap();
        assert_eq!(node.accepted(7), Some(12));
        assert_eq!(node.accepted(9), None);
        fs::remove_dir_all(&proc).unwrap();
    }

    #[test]
    fn this_process_is_known() {
        let node = ThisNode::default();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let pid = std::process::id();
        let before = node.opened(pid).unwrap();
        let port = socket.local_addr().unwrap().port();
        let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.accept().unwrap();
        assert!(node.opened(pid).unwrap() > before);
        drop(client);
        let table = node.read(pid, "net/tcp").unwrap();
        assert!(listening_of(&table).contains(&port));
        assert_eq!(node.accepted(u32::MAX), None);
    }
}
