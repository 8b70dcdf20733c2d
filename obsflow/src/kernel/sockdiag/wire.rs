//! `sock_diag` requests and replies (`include/uapi/linux/inet_diag.h`).

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::time::Duration;

use netlink_packet_core::{
    DefaultNla, Emitable as _, NLM_F_DUMP, NLM_F_MULTIPART, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use netlink_packet_sock_diag::{SOCK_DIAG_BY_FAMILY, SockDiagMessage};
use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes, KnownLayout};

/// `INET_DIAG_REQ_BYTECODE`: attribute of a dump request with a filter that the kernel runs.
const REQ_BYTECODE: u16 = 1;
/// `INET_DIAG_CGROUP_ID`, Linux 5.9.
const CGROUP_ID: u16 = 21;
/// Instructions of the filter.
const BC_JMP: u8 = 1;
const BC_D_EQ: u8 = 12;
/// The kernel answers within the call; a netlink socket that stays silent must not hold the agent.
const PATIENCE: Duration = Duration::from_secs(2);
/// More ports than this are told apart here: the filter is run for every socket.
const MAX_FILTER_PORTS: usize = 256;

/// The first part of `struct tcp_info` (`include/uapi/linux/tcp.h`), which every kernel since 4.6 has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct TcpInfo {
    pub(super) state: u8,
    pub(super) ca_state: u8,
    pub(super) retransmits: u8,
    pub(super) probes: u8,
    pub(super) backoff: u8,
    pub(super) options: u8,
    pub(super) wscale: u8,
    pub(super) limited: u8,
    pub(super) rto_us: u32,
    pub(super) ato_us: u32,
    pub(super) snd_mss: u32,
    pub(super) rcv_mss: u32,
    pub(super) unacked: u32,
    pub(super) sacked: u32,
    pub(super) lost: u32,
    pub(super) retrans: u32,
    pub(super) fackets: u32,
    pub(super) last_sent_ms: u32,
    pub(super) last_ack_sent_ms: u32,
    pub(super) last_received_ms: u32,
    pub(super) last_ack_received_ms: u32,
    pub(super) pmtu: u32,
    pub(super) rcv_ssthresh: u32,
    pub(super) rtt_us: u32,
    pub(super) rttvar_us: u32,
    pub(super) snd_ssthresh: u32,
    pub(super) snd_cwnd: u32,
    pub(super) advmss: u32,
    pub(super) reordering: u32,
    pub(super) rcv_rtt_us: u32,
    pub(super) rcv_space: u32,
    pub(super) total_retransmits: u32,
    pub(super) pacing_rate: u64,
    pub(super) max_pacing_rate: u64,
    pub(super) bytes_acked: u64,
    pub(super) bytes_received: u64,
    pub(super) segs_out: u32,
    pub(super) segs_in: u32,
    pub(super) not_sent_bytes: u32,
    pub(super) min_rtt_us: u32,
}

const _: () = assert!(size_of::<TcpInfo>() == 152);

impl TcpInfo {
    /// Kernels add fields at the end; what an older one lacks is zero.
    fn parse(bytes: &[u8]) -> Self {
        let mut info = Self::new_zeroed();
        for (to, from) in info.as_mut_bytes().iter_mut().zip(bytes) {
            *to = *from;
        }
        info
    }
}

/// One socket of a reply.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) cookie: u64,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) state: u8,
    pub(super) inode: u32,
    pub(super) cgroup: u64,
    pub(super) info: TcpInfo,
}

impl Found {
    fn new(reply: &InetResponse) -> Option<Self> {
        let id = &reply.header.socket_id;
        let mut found = Self {
            cookie: cookie(id.cookie),
            local: SocketAddr::new(id.source_address.to_canonical(), id.source_port),
            remote: SocketAddr::new(id.destination_address.to_canonical(), id.destination_port),
            state: reply.header.state,
            inode: reply.header.inode,
            cgroup: 0,
            info: TcpInfo::new_zeroed(),
        };
        let mut has_info = false;
        for nla in &reply.nlas {
            match nla {
                Nla::TcpInfo(bytes) => {
                    found.info = TcpInfo::parse(bytes);
                    has_info = true;
                }
                Nla::Other(nla) => found.cgroup = cgroup_id(nla).unwrap_or(found.cgroup),
                _ => {}
            }
        }
        // Sockets in TIME_WAIT have none, and nothing else that would be of use.
        has_info.then_some(found)
    }
}

/// The kernel gives the cookie as two words, the lower one first.
fn cookie(words: [u8; 8]) -> u64 {
    let [a, b, c, d, e, f, g, h] = words;
    u64::from(u32::from_ne_bytes([a, b, c, d])) | u64::from(u32::from_ne_bytes([e, f, g, h])) << 32
}

fn cookie_words(cookie: u64) -> [u8; 8] {
    let word = |value: u64| u32::try_from(value & 0xffff_ffff).unwrap_or(0).to_ne_bytes();
    let ([a, b, c, d], [e, f, g, h]) = (word(cookie), word(cookie >> 32));
    [a, b, c, d, e, f, g, h]
}

fn cgroup_id(nla: &DefaultNla) -> Option<u64> {
    use netlink_packet_core::Nla as _;
    if nla.kind() != CGROUP_ID {
        return None;
    }
    let mut bytes = [0; 8];
    if nla.value_len() != bytes.len() {
        return None;
    }
    nla.emit_value(&mut bytes);
    Some(u64::from_ne_bytes(bytes))
}

/// A `sock_diag` socket; it belongs to the network namespace of the thread that made it.
pub(super) struct Diag {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

/// Which of the two address families a dump lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Diag {
    pub(super) fn new() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_SOCK_DIAG)?;
        set_socket_timeout(socket.as_fd(), Timeout::Recv, Some(PATIENCE))?;
        Ok(Self {
            socket,
            buffer: vec![0; 32 * 1024],
            sequence: 0,
        })
    }

    /// Every TCP socket of the family with one of `ports` at the other end, as far as it has left CLOSE and not yet
    /// reached TIME_WAIT.
    pub(super) fn dump(&mut self, family: Family, ports: &BTreeSet<u16>) -> io::Result<Vec<Found>> {
        let states = StateFlags::SYN_SENT
            | StateFlags::ESTABLISHED
            | StateFlags::FIN_WAIT1
            | StateFlags::FIN_WAIT2
            | StateFlags::CLOSE_WAIT
            | StateFlags::LAST_ACK
            | StateFlags::CLOSING;
        let id = match family {
            Family::V4 => SocketId::new_v4(),
            Family::V6 => SocketId::new_v6(),
        };
        let filter = (ports.len() <= MAX_FILTER_PORTS).then(|| remote_port_filter(ports));
        self.send(id, states, NLM_F_REQUEST | NLM_F_DUMP, filter.as_deref())?;
        let mut found = Vec::new();
        self.receive(|socket| {
            if ports.contains(&socket.remote.port()) {
                found.push(socket);
            }
        })?;
        Ok(found)
    }

    /// The socket with these addresses and this cookie, `None` when it is gone. Sockets bound to an interface are
    /// not found.
    pub(super) fn one(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        cookie: u64,
    ) -> io::Result<Option<Found>> {
        let id = SocketId {
            source_port: local.port(),
            destination_port: remote.port(),
            source_address: local.ip(),
            destination_address: remote.ip(),
            interface_id: 0,
            cookie: cookie_words(cookie),
        };
        self.send(id, StateFlags::all(), NLM_F_REQUEST, None)?;
        let mut found = None;
        match self.receive(|socket| found = Some(socket)) {
            Ok(()) => Ok(found),
            // ESTALE: the addresses are another socket's by now.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESTALE)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn send(
        &mut self,
        id: SocketId,
        states: StateFlags,
        flags: u16,
        filter: Option<&[u8]>,
    ) -> io::Result<()> {
        let family = if id.source_address.is_ipv4() {
            AF_INET
        } else {
            AF_INET6
        };
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::INFO,
            states,
            socket_id: id,
        };
        let filter = filter.map(|bytes| DefaultNla::new(REQ_BYTECODE, bytes.to_vec()));
        let mut header = NetlinkHeader::default();
        let head_len = header.buffer_len();
        let request_len = request.buffer_len();
        let total = head_len + request_len + filter.as_ref().map_or(0, DefaultNla::buffer_len);
        self.sequence = self.sequence.wrapping_add(1);
        header.length = u32::try_from(total).unwrap_or(u32::MAX);
        header.message_type = SOCK_DIAG_BY_FAMILY;
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = vec![0; total];
        let (head, rest) = message.split_at_mut(head_len);
        let (body, tail) = rest.split_at_mut(request_len);
        header.emit(head);
        request.emit(body);
        if let Some(filter) = &filter {
            filter.emit(tail);
        }
        self.socket
            .send_to(&message, &netlink_sys::SocketAddr::new(0, 0), 0)?;
        Ok(())
    }

    /// Reads replies to the last request up to its end.
    fn receive(&mut self, mut take: impl FnMut(Found)) -> io::Result<()> {
        loop {
            let length = self.socket.recv(&mut self.buffer.as_mut_slice(), 0)?;
            let mut rest = self.buffer.get(..length).unwrap_or_default();
            while !rest.is_empty() {
                let message = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
                let (size, flags) = (message.length() as usize, message.flags());
                let sequence = message.sequence_number();
                let one = rest.get(..size).unwrap_or_default();
                rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
                if sequence != self.sequence {
                    continue;
                }
                let message =
                    NetlinkMessage::<SockDiagMessage>::deserialize(one).map_err(io::Error::other)?;
                match message.payload {
                    NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(reply)) => {
                        if let Some(found) = Found::new(&reply) {
                            take(found);
                        }
                        if flags & NLM_F_MULTIPART == 0 {
                            return Ok(());
                        }
                    }
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Done(_) | NetlinkPayload::Error(_) => return Ok(()),
                    _ => {}
                }
            }
        }
    }
}

/// A filter that accepts a socket when its remote port is one of `ports`.
///
/// Each port is three words: compare (on a match go on to the jump, otherwise past it), the port, jump to the end. To
/// end exactly behind the last instruction is to accept, to end one word further is to reject
/// (`inet_diag_bc_run` in `net/ipv4/inet_diag.c`).
fn remote_port_filter(ports: &BTreeSet<u16>) -> Vec<u8> {
    fn op(code: u8, yes: u8, no: usize) -> [u8; 4] {
        let [low, high] = u16::try_from(no).unwrap_or(u16::MAX).to_ne_bytes();
        [code, yes, low, high]
    }
    let mut out = Vec::new();
    let mut left = ports.len();
    for port in ports {
        left -= 1;
        out.extend(op(BC_D_EQ, 8, 12));
        out.extend(op(0, 0, usize::from(*port)));
        if left > 0 {
            // The rest is `left` blocks, of which the last has no jump.
            out.extend(op(BC_JMP, 4, 4 + 12 * left - 4));
        }
    }
    out
}

/// An address as records carry it.
pub(super) fn raw_address(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
