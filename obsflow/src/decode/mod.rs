//! Bytes of a record to an [`Event`].
//!
//! Pure and total: whatever the bytes are, the answer is an event or a typed error. Tails stay slices of the record
//! they came in. One file per hook family, with the stem of the kernel side's program.

pub mod dns;
mod drop;
pub mod http;
mod made;
mod payload;
mod process;
pub mod sample;
mod tcp;
mod text;

#[cfg(test)]
pub(crate) mod tests;

use std::net::SocketAddr;

use bytes::Bytes;
use obsflow_ebpf::abi::record::{Header, Peer, Tuple, kind};
use zerocopy::FromBytes;

use crate::model::event::{Direction, Endpoints, Event, Protocol, ip};
use crate::model::time::Mono;

/// Why a record is no event. The kernel side never makes such records; a damaged or foreign capture file may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than what every record begins with.
    #[error("record of {got} bytes is shorter than a record header ({} bytes)", size_of::<Header>())]
    NoHeader {
        /// Bytes there are.
        got: usize,
    },
    /// A kind this version does not know.
    #[error("record of unknown kind {0}: made by another version of obsflow?")]
    UnknownKind(u16),
    /// The header's length is impossible.
    #[error("{kind} record says it is {len} bytes long, but {got} are there")]
    Length {
        /// Name of the kind.
        kind: &'static str,
        /// What the header says.
        len: u32,
        /// Bytes there are.
        got: usize,
    },
    /// Too short for its kind.
    #[error("{kind} record of {got} bytes is shorter than its fixed part ({need} bytes)")]
    Short {
        /// Name of the kind.
        kind: &'static str,
        /// Bytes needed.
        need: usize,
        /// Bytes there are.
        got: usize,
    },
    /// The tail is longer than what follows the fixed part.
    #[error("{kind} record says its tail is {len} bytes long, but {got} are there")]
    Tail {
        /// Name of the kind.
        kind: &'static str,
        /// What the record says.
        len: u32,
        /// Bytes there are.
        got: usize,
    },
    /// A field holds a number that means nothing.
    #[error("{kind} record with {field} {value}, which means nothing")]
    Value {
        /// Name of the kind.
        kind: &'static str,
        /// The field.
        field: &'static str,
        /// What it holds.
        value: u64,
    },
    /// A text of a record made in user space is not what was agreed.
    #[error("{kind} record whose text is not {expected}")]
    Text {
        /// Name of the kind.
        kind: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

/// One record, which may be followed by bytes that are not part of it (`Header::len` tells), to an event.
///
/// # Errors
/// When the bytes are no record of a known kind with lengths and values that make sense.
pub fn decode(mut record: Bytes) -> Result<Event, DecodeError> {
    let got = record.len();
    let Ok((header, _)) = Header::read_from_prefix(&record) else {
        return Err(DecodeError::NoHeader { got });
    };
    let name = name_of(header.kind).ok_or(DecodeError::UnknownKind(header.kind))?;
    let len = usize::try_from(header.len).unwrap_or(usize::MAX);
    if len > got || len < size_of::<Header>() {
        return Err(DecodeError::Length {
            kind: name,
            len: header.len,
            got,
        });
    }
    record.truncate(len);
    let raw = Raw {
        name,
        flags: header.flags,
        bytes: record,
    };
    let body = match header.kind {
        kind::ATTEMPT => tcp::attempt(&raw)?,
        kind::ESTABLISHED => tcp::established(&raw)?,
        kind::RETRANSMIT => tcp::retransmit(&raw)?,
        kind::CLOSE => tcp::close(&raw)?,
        kind::CONNECT_FAILED => tcp::connect_failed(&raw)?,
        kind::DNS => dns::record(&raw)?,
        kind::PAYLOAD => payload::payload(&raw)?,
        kind::DROP => drop::drop(&raw)?,
        kind::SOCKET_ERROR => dns::socket_error(&raw)?,
        kind::CGROUP => process::cgroup(&raw)?,
        kind::CGROUP_GONE => process::cgroup_gone(&raw)?,
        kind::EXEC => process::exec(&raw)?,
        kind::EXIT => process::exit(&raw)?,
        kind::ADOPTED => tcp::adopted(&raw)?,
        kind::TCP_INFO => tcp::tcp_info(&raw)?,
        kind::POD => made::pod(&raw)?,
        kind::LOST => made::lost(&raw)?,
        kind::NAME => made::name(&raw)?,
        kind::RUNNING => process::running(&raw)?,
        other => return Err(DecodeError::UnknownKind(other)),
    };
    Ok(Event {
        at: Mono(header.ts_ns),
        cgroup: header.cgroup,
        cookie: header.cookie,
        netns: header.netns,
        pid: header.pid,
        body,
    })
}

/// The name of a record kind, as messages show it; `None` for a kind this version does not know.
#[must_use]
pub fn name_of(kind: u16) -> Option<&'static str> {
    Some(match kind {
        kind::ATTEMPT => "ATTEMPT",
        kind::ESTABLISHED => "ESTABLISHED",
        kind::RETRANSMIT => "RETRANSMIT",
        kind::CLOSE => "CLOSE",
        kind::CONNECT_FAILED => "CONNECT_FAILED",
        kind::DNS => "DNS",
        kind::PAYLOAD => "PAYLOAD",
        kind::DROP => "DROP",
        kind::SOCKET_ERROR => "SOCKET_ERROR",
        kind::CGROUP => "CGROUP",
        kind::CGROUP_GONE => "CGROUP_GONE",
        kind::EXEC => "EXEC",
        kind::EXIT => "EXIT",
        kind::ADOPTED => "ADOPTED",
        kind::TCP_INFO => "TCP_INFO",
        kind::POD => "POD",
        kind::LOST => "LOST",
        kind::NAME => "NAME",
        kind::RUNNING => "RUNNING",
        _ => return None,
    })
}

/// A record whose header was read and whose length is possible.
struct Raw {
    name: &'static str,
    flags: u16,
    bytes: Bytes,
}

impl Raw {
    /// The fixed part.
    fn body<T: FromBytes>(&self) -> Result<T, DecodeError> {
        match T::read_from_prefix(&self.bytes) {
            Ok((body, _)) => Ok(body),
            Err(_) => Err(DecodeError::Short {
                kind: self.name,
                need: size_of::<T>(),
                got: self.bytes.len(),
            }),
        }
    }

    /// The `len` bytes after the fixed part `T`.
    fn tail<T>(&self, len: u32) -> Result<Bytes, DecodeError> {
        let from = size_of::<T>();
        let got = self.bytes.len().saturating_sub(from);
        match usize::try_from(len) {
            Ok(0) => Ok(Bytes::new()),
            Ok(len) if len <= got => Ok(self.bytes.slice(from..from + len)),
            _ => Err(DecodeError::Tail {
                kind: self.name,
                len,
                got,
            }),
        }
    }

    fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    fn direction(&self) -> Direction {
        if self.has(obsflow_ebpf::abi::record::flag::INGRESS) {
            Direction::Ingress
        } else {
            Direction::Egress
        }
    }

    /// The destination asked for, if a hook saw it.
    fn asked(&self, peer: &Peer) -> Option<SocketAddr> {
        self.has(obsflow_ebpf::abi::record::flag::ASKED)
            .then(|| address(peer))
    }

    fn value(&self, field: &'static str, value: impl Into<u64>) -> DecodeError {
        DecodeError::Value {
            kind: self.name,
            field,
            value: value.into(),
        }
    }

    fn protocol(&self, number: u8) -> Result<Protocol, DecodeError> {
        match number {
            6 => Ok(Protocol::Tcp),
            17 => Ok(Protocol::Udp),
            other => Err(self.value("protocol", other)),
        }
    }
}

fn endpoints(tuple: &Tuple) -> Endpoints {
    Endpoints {
        local: SocketAddr::new(ip(tuple.local), tuple.local_port),
        remote: SocketAddr::new(ip(tuple.remote), tuple.remote_port),
    }
}

fn address(peer: &Peer) -> SocketAddr {
    SocketAddr::new(ip(peer.addr), peer.port)
}
