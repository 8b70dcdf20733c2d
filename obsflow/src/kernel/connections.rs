//! The kernel side's connection map, as user space changes it: connections older than obsflow are put in, connects that
//! failed synchronously are taken out.

use aya::Ebpf;
use aya::maps::{HashMap, MapData};
use obsflow_ebpf::abi::conn::{Conn, conn_flag};
use obsflow_ebpf::abi::names;
use obsflow_ebpf::abi::record::{Adopted, ConnectFailed, Header, Peer, flag, kind};
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::counters::{CounterMaps, Raw, take};
use super::load::LoadError;
use crate::model::Mono;

/// A connect whose SYN was not made after this long failed: the kernel makes it within the same system call.
const FAILED_AFTER_NS: u64 = 100_000_000;

/// `BPF_NOEXIST`: do not replace what the hooks know.
const NO_EXIST: u64 = 1;

/// A handle of the map.
pub struct ConnectionMap {
    map: HashMap<MapData, u64, Raw<Conn>>,
}

/// A connect that failed before its SYN.
#[derive(Clone, Copy, Debug)]
pub struct Failed {
    /// Socket cookie.
    pub cookie: u64,
    /// What the kernel side knew.
    pub conn: Conn,
}

impl ConnectionMap {
    /// Takes the map out of the loaded object; once.
    ///
    /// # Errors
    /// When it is missing or of another type.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        Ok(Self {
            map: take(ebpf, names::CONNS)?,
        })
    }

    /// Lets the hooks follow a connection that is older than they are. False when they know it already.
    ///
    /// # Errors
    /// When the map is full or cannot be written.
    pub fn adopt(&mut self, adopted: &Adopted) -> Result<bool, aya::maps::MapError> {
        let mut conn = Conn::new_zeroed();
        conn.start_ns = adopted.header.ts_ns;
        conn.cgroup = adopted.header.cgroup;
        conn.pid = adopted.header.pid;
        conn.netns = adopted.header.netns;
        conn.flags = conn_flag::ADOPTED;
        conn.tuple = adopted.tuple;
        conn.asked = Peer {
            addr: adopted.tuple.remote,
            port: adopted.tuple.remote_port,
            pad: [0; 6],
        };
        conn.comm = adopted.comm;
        match self.map.insert(adopted.header.cookie, Raw(conn), NO_EXIST) {
            Ok(()) => Ok(true),
            Err(aya::maps::MapError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(libc::EEXIST) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes out the connects that failed synchronously. Cheap when there are none: two counters tell.
    pub fn take_failed(&mut self, counters: &mut CounterMaps, now: Mono) -> Vec<Failed> {
        if counters.pending() == 0 {
            return Vec::new();
        }
        let mut failed = Vec::new();
        for cookie in self.map.keys().flatten().collect::<Vec<_>>() {
            let Ok(Raw(conn)) = self.map.get(&cookie, 0) else {
                continue;
            };
            let begun = conn.flags & (conn_flag::ATTEMPTED | conn_flag::ADOPTED) != 0;
            if begun || now.0.saturating_sub(conn.start_ns) < FAILED_AFTER_NS {
                continue;
            }
            if self.map.remove(&cookie).is_ok() && counters.taken().is_ok() {
                failed.push(Failed { cookie, conn });
            }
        }
        failed
    }

    /// Forgets a connection that is older than obsflow and is found gone. No hook of `sock_ops` sees its end.
    pub fn forget_adopted(&mut self, cookie: u64) {
        let adopted = |conn: Conn| conn.flags & conn_flag::ADOPTED != 0;
        if self.map.get(&cookie, 0).is_ok_and(|Raw(conn)| adopted(conn)) {
            // It may be gone by now, which is what is wanted.
            let _ = self.map.remove(&cookie);
        }
    }

    /// Forgets every connection whose socket's remote port is this one: it is watched no more.
    ///
    /// # Errors
    /// When the maps cannot be written.
    pub fn forget_port(&mut self, port: u16, counters: &mut CounterMaps) -> Result<(), aya::maps::MapError> {
        for cookie in self.map.keys().flatten().collect::<Vec<_>>() {
            let Ok(Raw(conn)) = self.map.get(&cookie, 0) else {
                continue;
            };
            let begun = conn.flags & (conn_flag::ATTEMPTED | conn_flag::ADOPTED) != 0;
            let remote = if begun {
                conn.tuple.remote_port
            } else {
                conn.asked.port
            };
            if remote != port || self.map.remove(&cookie).is_err() {
                continue;
            }
            if !begun {
                counters.taken()?;
            }
        }
        Ok(())
    }

    /// Connections followed at present.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.keys().flatten().count()
    }

    /// Whether no connection is followed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.keys().flatten().next().is_none()
    }
}

impl Failed {
    /// The record of it, as the kernel side would have made it.
    #[must_use]
    pub fn record(&self, errno: u32) -> Vec<u8> {
        ConnectFailed {
            header: Header {
                kind: kind::CONNECT_FAILED,
                flags: flag::ASKED,
                len: size_of::<ConnectFailed>() as u32,
                ts_ns: self.conn.start_ns,
                cgroup: self.conn.cgroup,
                cookie: self.cookie,
                netns: self.conn.netns,
                pid: self.conn.pid,
            },
            asked: self.conn.asked,
            comm: self.conn.comm,
            error: errno,
            pad: 0,
        }
        .as_bytes()
        .to_vec()
    }
}
