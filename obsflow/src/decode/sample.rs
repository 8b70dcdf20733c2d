//! Records as the kernel side makes them, without a kernel: for tests, seeds of fuzz targets, and measurements.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use obsflow_ebpf::abi::conn::outcome;
use obsflow_ebpf::abi::record::{self, Header, Peer, Tuple, flag, kind};
use zerocopy::{Immutable, IntoBytes};

/// Whose a record is, and when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Who {
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub at_ns: u64,
    /// Cgroup id.
    pub cgroup: u64,
    /// Socket cookie.
    pub cookie: u64,
    /// Network namespace.
    pub netns: u32,
    /// Process id.
    pub pid: u32,
}

/// A header; [`record()`] fills its length.
#[must_use]
pub fn header(kind: u16, flags: u16, who: Who) -> Header {
    Header {
        kind,
        flags,
        len: 0,
        ts_ns: who.at_ns,
        cgroup: who.cgroup,
        cookie: who.cookie,
        netns: who.netns,
        pid: who.pid,
    }
}

/// The bytes of a record of a fixed part, which begins with its header, and a tail.
pub fn record<T: IntoBytes + Immutable>(fixed: &T, tail: &[u8]) -> Vec<u8> {
    let mut bytes = fixed.as_bytes().to_vec();
    bytes.extend_from_slice(tail);
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    if let Some(field) = bytes.get_mut(4..8) {
        field.copy_from_slice(&len.to_ne_bytes());
    }
    bytes
}

/// An address as records have it.
#[must_use]
pub fn raw_ip(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// Addresses of a record.
#[must_use]
pub fn tuple(local: SocketAddr, remote: SocketAddr, protocol: u8) -> Tuple {
    Tuple {
        local: raw_ip(local.ip()),
        remote: raw_ip(remote.ip()),
        local_port: local.port(),
        remote_port: remote.port(),
        protocol,
        pad: [0; 3],
    }
}

/// A destination.
#[must_use]
pub fn peer(addr: SocketAddr) -> Peer {
    Peer {
        addr: raw_ip(addr.ip()),
        port: addr.port(),
        pad: [0; 6],
    }
}

/// A process name as records have it.
#[must_use]
pub fn comm(name: &str) -> [u8; 16] {
    let mut comm = [0; 16];
    for (to, from) in comm.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    comm
}

/// A name in wire form. Labels longer than 63 bytes are cut.
#[must_use]
pub fn dns_name(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|l| !l.is_empty()) {
        let label = label.as_bytes();
        let label = label.get(..63).unwrap_or(label);
        out.push(u8::try_from(label.len()).unwrap_or(0));
        out.extend_from_slice(label);
    }
    out.push(0);
    out
}

/// A query with one question.
#[must_use]
pub fn dns_query(id: u16, name: &str, qtype: u16) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [id, 0x0100, 1, 0, 0, 0] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    out.extend_from_slice(&dns_name(name));
    out.extend_from_slice(&qtype.to_be_bytes());
    out.extend_from_slice(&1u16.to_be_bytes());
    out
}

/// A response to [`dns_query`] with addresses of its name, each with a TTL of 30 s.
#[must_use]
pub fn dns_response(id: u16, name: &str, qtype: u16, rcode: u8, ips: &[IpAddr]) -> Vec<u8> {
    let mut out = dns_query(id, name, qtype);
    let flags = 0x8180 | u16::from(rcode & 15);
    let count = u16::try_from(ips.len()).unwrap_or(u16::MAX);
    for (at, value) in [(2, flags), (6, count)] {
        if let Some(field) = out.get_mut(at..at + 2) {
            field.copy_from_slice(&value.to_be_bytes());
        }
    }
    for ip in ips {
        let (rtype, data) = match ip {
            IpAddr::V4(v4) => (1u16, v4.octets().to_vec()),
            IpAddr::V6(v6) => (28, v6.octets().to_vec()),
        };
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&rtype.to_be_bytes());
        out.extend_from_slice(&[0, 1, 0, 0, 0, 30]);
        out.extend_from_slice(&u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
        out.extend_from_slice(&data);
    }
    out
}

/// A [`kind::DNS`] record. `ends` are local and remote address.
#[must_use]
pub fn dns(who: Who, ends: (SocketAddr, SocketAddr), ingress: bool, message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let fixed = record::Dns {
        header: header(kind::DNS, if ingress { flag::INGRESS } else { 0 }, who),
        tuple: tuple(ends.0, ends.1, 17),
        asked: peer(ends.1),
        comm: comm("app"),
        wire_len: len,
        payload_len: len,
    };
    record(&fixed, message)
}

/// A [`kind::ATTEMPT`] record.
#[must_use]
pub fn attempt(who: Who, ends: (SocketAddr, SocketAddr)) -> Vec<u8> {
    let fixed = record::Attempt {
        header: header(kind::ATTEMPT, flag::ASKED, who),
        tuple: tuple(ends.0, ends.1, 6),
        asked: peer(ends.1),
        comm: comm("app"),
    };
    record(&fixed, &[])
}

/// A [`kind::ESTABLISHED`] record.
#[must_use]
pub fn established(who: Who, ends: (SocketAddr, SocketAddr)) -> Vec<u8> {
    let fixed = record::Established {
        header: header(kind::ESTABLISHED, flag::SOFTIRQ, who),
        tuple: tuple(ends.0, ends.1, 6),
        handshake_ns: 250_000,
    };
    record(&fixed, &[])
}

/// A [`kind::PAYLOAD`] record.
#[must_use]
pub fn payload(who: Who, flags: u16, offset: u64, bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let fixed = record::Payload {
        header: header(kind::PAYLOAD, flags, who),
        offset,
        wire_len: len,
        payload_len: len,
    };
    record(&fixed, bytes)
}

/// A [`kind::CLOSE`] record with one of [`outcome`].
#[must_use]
pub fn close(who: Who, ends: (SocketAddr, SocketAddr), outcome: u16, error: u32) -> Vec<u8> {
    let was = outcome == outcome::ESTABLISHED;
    let fixed = record::Close {
        header: header(kind::CLOSE, flag::ASKED, who),
        tuple: tuple(ends.0, ends.1, 6),
        asked: peer(ends.1),
        comm: comm("app"),
        duration_ns: 3_000_000_000,
        handshake_ns: if was { 250_000 } else { 0 },
        bytes_acked: if was { 1200 } else { 0 },
        bytes_received: if was { 150 } else { 0 },
        error,
        soft_error: 0,
        syn_retransmits: if was { 0 } else { 2 },
        retransmits: 0,
        outcome,
        last_state: if was { 4 } else { 2 },
        pad: 0,
    };
    record(&fixed, &[])
}

/// A [`kind::DROP`] record: `ends` are the packet's source and destination.
#[must_use]
pub fn drop(who: Who, ends: (SocketAddr, SocketAddr), protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut stack = [0; record::STACK_DEPTH];
    for (to, from) in stack.iter_mut().zip([0x1000u64, 0x2000, 0x3000]) {
        *to = from;
    }
    let fixed = record::Drop {
        header: header(kind::DROP, flag::SOFTIRQ, who),
        tuple: tuple(ends.0, ends.1, protocol),
        reason: 8,
        ifindex: 2,
        location: 0x1000,
        stack,
        tcp_flags: if protocol == 6 { 2 } else { 0 },
        payload_len: u32::try_from(payload.len()).unwrap_or(u32::MAX),
    };
    record(&fixed, payload)
}

/// A [`kind::CGROUP`] record.
#[must_use]
pub fn cgroup(who: Who, path: &[u8]) -> Vec<u8> {
    let fixed = record::Cgroup {
        header: header(kind::CGROUP, 0, who),
        path_len: u32::try_from(path.len()).unwrap_or(u32::MAX),
        pad: 0,
    };
    record(&fixed, path)
}

/// A [`kind::NAME`] record.
#[must_use]
pub fn name(who: Who, space: u32, code: u64, text: &str) -> Vec<u8> {
    let fixed = record::Name {
        header: header(kind::NAME, 0, who),
        code,
        space,
        text_len: u32::try_from(text.len()).unwrap_or(u32::MAX),
    };
    record(&fixed, text.as_bytes())
}

/// Records of `workloads` workloads that export telemetry, at least `events` of them, in order of time: each look-up asks
/// three names for both addresses, each fourth is followed by a connection from SYN to close, some of them refused.
#[must_use]
pub fn traffic(events: usize, workloads: u64) -> Vec<Bytes> {
    const NAMES: [&str; 3] = [
        "otel-collector.observability.apps.svc.cluster.local",
        "otel-collector.observability.svc.cluster.local",
        "otel-collector.observability",
    ];
    let server = SocketAddr::from(([10, 96, 0, 10], 53));
    let mut out: Vec<Bytes> = Vec::with_capacity(events + 32);
    let mut round = 0u64;
    while out.len() < events {
        round += 1;
        let workload = round % workloads.max(1);
        let host = u8::try_from(workload % 250).unwrap_or(0);
        let subnet = u8::try_from(workload / 250 % 250).unwrap_or(0);
        let port = 32_768 + u16::try_from(round % 28_000).unwrap_or(0);
        let local = SocketAddr::from(([10, 244, subnet, host + 1], port));
        let mut who = Who {
            at_ns: 1_000_000_000 + round * 100_000,
            cgroup: 1000 + workload,
            cookie: round * 16,
            netns: 4_026_532_000 + u32::try_from(workload).unwrap_or(0),
            pid: 10_000 + u32::try_from(workload).unwrap_or(0),
        };
        let address = IpAddr::from([10, 100, subnet, host]);
        for (step, name) in (0u16..).zip(NAMES) {
            let (rcode, ips): (u8, &[IpAddr]) = if step == 1 { (0, &[address]) } else { (3, &[]) };
            if step > 1 {
                break;
            }
            who.cookie += 1;
            let id = u16::try_from(round & 0x7fff).unwrap_or(0) * 2;
            for (qtype, id) in [(1, id), (28, id + 1)] {
                who.at_ns += 1000;
                out.push(dns(who, (local, server), false, &dns_query(id, name, qtype)).into());
            }
            for (qtype, id) in [(1, id), (28, id + 1)] {
                who.at_ns += 1000;
                let ips = if qtype == 1 { ips } else { &[] };
                out.push(
                    dns(
                        who,
                        (local, server),
                        true,
                        &dns_response(id, name, qtype, rcode, ips),
                    )
                    .into(),
                );
            }
        }
        if round.is_multiple_of(4) {
            let sink = SocketAddr::new(address, 4317);
            who.cookie += 1;
            let mut step = |bytes: Vec<u8>| out.push(bytes.into());
            who.at_ns += 1000;
            step(attempt(who, (SocketAddr::new(local.ip(), 0), sink)));
            if round.is_multiple_of(32) {
                who.at_ns += 1000;
                step(close(who, (local, sink), outcome::REFUSED, 111));
                continue;
            }
            who.at_ns += 1000;
            step(established(who, (local, sink)));
            who.at_ns += 1000;
            step(payload(who, 0, 0, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
            who.at_ns += 1000;
            step(payload(
                who,
                flag::INGRESS,
                0,
                &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 5, 0, 0, 64, 0],
            ));
            who.at_ns += 1000;
            step(close(who, (local, sink), outcome::ESTABLISHED, 0));
        }
    }
    out
}
