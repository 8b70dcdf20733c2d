//! Connections that are older than obsflow, and how the watched ones are doing: `sock_diag` over netlink.
//!
//! Listing walks the kernel's whole table of sockets, once for each namespace and family: [`adopt`] does it at start
//! and when ports are added. From then on every connection announces itself through the hooks, so [`Monitor`] only asks
//! for single sockets that it knows by address and cookie, which is one look-up in that table each.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use obsflow_ebpf::abi::record::{self, Header, Tuple, kind};

use self::wire::{Diag, Family, Found};
use super::netns::{self, NetnsError};
use crate::model::Mono;

mod monitor;
mod owners;
mod wire;

pub use monitor::{Monitor, MonitorStats};

const FIN_WAIT2: u8 = 5;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
const CLOSING: u8 = 11;
const IPPROTO_TCP: u8 = 6;

/// Why connections could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum SockDiagError {
    /// A namespace could not be entered.
    #[error(transparent)]
    Namespace(#[from] NetnsError),
    /// The kernel refused, or has no `sock_diag` for TCP.
    #[error("listing TCP connections of network namespace {inode} (needs the tcp_diag module): {source}")]
    List {
        /// The namespace.
        inode: u32,
        /// Why.
        source: io::Error,
    },
}

/// A connection as `sock_diag` tells it, seen from its client on this node.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Inode of the network namespace.
    pub netns: u32,
    /// Socket cookie, the same that BPF programs see.
    pub cookie: u64,
    /// Cgroup v2 id, 0 on kernels before 5.9.
    pub cgroup: u64,
    /// A process that holds the socket, 0 when none was found.
    pub pid: u32,
    /// Its name, NUL-padded.
    pub comm: [u8; 16],
    /// Local address; IPv4-mapped addresses are IPv4.
    pub local: SocketAddr,
    /// Remote address.
    pub remote: SocketAddr,
    /// `TCP_*` of `include/net/tcp_states.h`.
    pub state: u8,
    inode: u32,
    info: wire::TcpInfo,
}

/// What [`adopt`] found.
#[derive(Debug, Default)]
pub struct Adoption {
    /// Connections to watched ports.
    pub connections: Vec<Connection>,
    /// Namespaces looked into.
    pub namespaces: usize,
    /// Namespaces that could not be looked into, and why. One that ended meanwhile is not among them.
    pub failed: Vec<SockDiagError>,
}

/// Where to look for namespaces and processes.
#[derive(Clone, Debug)]
pub struct Places {
    /// `/proc`.
    pub proc: PathBuf,
    /// Folder of named namespaces, [`netns::RUN_NETNS`].
    pub netns: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            proc: PathBuf::from("/proc"),
            netns: PathBuf::from(netns::RUN_NETNS),
        }
    }
}

/// Lists, in every network namespace of the node, the connections whose remote port is one of `ports`. Sockets whose
/// local port is one of them too are taken for a server's. Takes milliseconds per namespace: not for a hot thread.
pub fn adopt(ports: &BTreeSet<u16>, places: &Places) -> Result<Adoption, SockDiagError> {
    let mut adoption = Adoption::default();
    if ports.is_empty() {
        return Ok(adoption);
    }
    let namespaces = netns::list(&places.proc, &places.netns);
    netns::on_scratch_thread(|scratch| {
        for namespace in &namespaces {
            let listed = scratch
                .enter(namespace)
                .map_err(SockDiagError::from)
                .and_then(|()| list(namespace.inode, ports));
            match listed {
                Ok(found) => {
                    adoption.namespaces += 1;
                    adoption.connections.extend(found);
                }
                Err(SockDiagError::Namespace(NetnsError::Open { .. } | NetnsError::Changed { .. })) => {}
                Err(error) => adoption.failed.push(error),
            }
        }
    })?;
    let wanted: HashSet<u32> = adoption
        .connections
        .iter()
        .map(|c| c.inode)
        .filter(|inode| *inode != 0)
        .collect();
    let namespaces = adoption
        .connections
        .iter()
        .map(|connection| connection.netns)
        .collect();
    let owners = owners::find(&places.proc, &wanted, &namespaces);
    for connection in &mut adoption.connections {
        if let Some(owner) = owners.get(&connection.inode) {
            connection.pid = owner.pid;
            connection.comm = owner.comm;
        }
    }
    Ok(adoption)
}

/// Connections of the namespace that this thread is in.
fn list(inode: u32, ports: &BTreeSet<u16>) -> Result<Vec<Connection>, SockDiagError> {
    let fail = |source| SockDiagError::List { inode, source };
    let mut diag = Diag::new().map_err(fail)?;
    let mut found: HashMap<u64, Connection> = HashMap::new();
    for family in [Family::V4, Family::V6] {
        for socket in diag.dump(family, ports).map_err(fail)? {
            // Without an inode the application has closed it: what is left may be the few bytes that wait for a late FIN
            // (`TIME_WAIT` shown as FIN_WAIT2), whose end no hook sees.
            let closed = socket.inode == 0;
            if !closed && !ports.contains(&socket.local.port()) {
                found.insert(socket.cookie, Connection::new(inode, socket));
            }
        }
    }
    Ok(found.into_values().collect())
}

impl Connection {
    fn new(netns: u32, found: Found) -> Self {
        Self {
            netns,
            cookie: found.cookie,
            cgroup: found.cgroup,
            pid: 0,
            comm: [0; 16],
            local: found.local,
            remote: found.remote,
            state: found.state,
            inode: found.inode,
            info: found.info,
        }
    }

    /// Payload bytes that the peer acknowledged. The kernel counts the SYN that opened the connection, and the FIN once
    /// it is acknowledged.
    #[must_use]
    pub fn bytes_acked(&self) -> u64 {
        let fin = u64::from(self.state == FIN_WAIT2);
        self.info.bytes_acked.saturating_sub(1 + fin)
    }

    /// Payload bytes received. The kernel counts the peer's FIN.
    #[must_use]
    pub fn bytes_received(&self) -> u64 {
        let fin = u64::from(matches!(self.state, CLOSE_WAIT | LAST_ACK | CLOSING));
        self.info.bytes_received.saturating_sub(fin)
    }

    /// Addresses as records carry them.
    #[must_use]
    pub fn tuple(&self) -> Tuple {
        Tuple {
            local: wire::raw_address(self.local.ip()),
            remote: wire::raw_address(self.remote.ip()),
            local_port: self.local.port(),
            remote_port: self.remote.port(),
            protocol: IPPROTO_TCP,
            pad: [0; 3],
        }
    }

    /// The record of its adoption.
    #[must_use]
    pub fn adopted(&self, at: Mono) -> record::Adopted {
        record::Adopted {
            header: self.header::<record::Adopted>(kind::ADOPTED, at),
            tuple: self.tuple(),
            comm: self.comm,
            state: u32::from(self.state),
            pad: 0,
            bytes_acked: self.bytes_acked(),
            bytes_received: self.bytes_received(),
        }
    }

    /// The record of how it is doing.
    #[must_use]
    pub fn tcp_info(&self, at: Mono) -> record::TcpInfo {
        record::TcpInfo {
            header: self.header::<record::TcpInfo>(kind::TCP_INFO, at),
            tuple: self.tuple(),
            state: u32::from(self.state),
            unacked: self.info.unacked,
            rto_us: self.info.rto_us,
            rtt_us: self.info.rtt_us,
            backoff: u32::from(self.info.backoff),
            total_retransmits: self.info.total_retransmits,
            last_sent_ms: self.info.last_sent_ms,
            last_received_ms: self.info.last_received_ms,
            bytes_acked: self.bytes_acked(),
            bytes_received: self.bytes_received(),
            not_sent_bytes: u64::from(self.info.not_sent_bytes),
        }
    }

    fn header<Record>(&self, kind: u16, at: Mono) -> Header {
        Header {
            kind,
            flags: 0,
            len: u32::try_from(size_of::<Record>()).unwrap_or(u32::MAX),
            ts_ns: at.0,
            cgroup: self.cgroup,
            cookie: self.cookie,
            netns: self.netns,
            pid: self.pid,
        }
    }
}

#[cfg(test)]
mod tests;
