//! Is there a route? Evidence for a `connect(2)` that failed before a SYN was made, where no hook sees its errno.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::time::Duration;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::netns::{Namespace, NetnsError};

/// The kernel answers within the call; silence must not hold the agent.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why the kernel could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The namespace could not be entered.
    #[error(transparent)]
    Namespace(#[from] NetnsError),
    /// The request failed, not the route.
    #[error("asking for the route to {to} in network namespace {inode}: {source}")]
    Ask {
        /// Where to.
        to: IpAddr,
        /// The namespace.
        inode: u32,
        /// Why.
        source: io::Error,
    },
}

/// The errno with which the kernel refuses to route a packet to `to` from inside `namespace` right now: 101
/// (ENETUNREACH) without a route, 113 (EHOSTUNREACH) for an `unreachable` one, 13 (EACCES) for `prohibit`, 22 (EINVAL)
/// for `blackhole`. `None` when there is a route.
///
/// Rules that look at the user, the mark or the source of a packet are not applied: the question names none.
pub fn route_errno(namespace: &Namespace, to: IpAddr) -> Result<Option<u32>, RouteError> {
    let to = to.to_canonical();
    let asked = namespace.run(|| ask(to))?;
    asked.map_err(|source| RouteError::Ask {
        to,
        inode: namespace.inode,
        source,
    })
}

fn ask(to: IpAddr) -> io::Result<Option<u32>> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    set_socket_timeout(socket.as_fd(), Timeout::Recv, Some(PATIENCE))?;
    let (family, bits, address) = match to {
        IpAddr::V4(to) => (AddressFamily::Inet, 32, RouteAddress::Inet(to)),
        IpAddr::V6(to) => (AddressFamily::Inet6, 128, RouteAddress::Inet6(to)),
    };
    let mut question = RouteMessage::default();
    question.header = RouteHeader {
        address_family: family,
        destination_prefix_length: bits,
        ..RouteHeader::default()
    };
    question.attributes.push(RouteAttribute::Destination(address));
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let payload = NetlinkPayload::from(RouteNetlinkMessage::GetRoute(question));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    let mut buffer = vec![0; message.buffer_len()];
    message.serialize(&mut buffer);
    socket.send_to(&buffer, &SocketAddr::new(0, 0), 0)?;

    let mut buffer = vec![0; 8192];
    let length = socket.recv(&mut buffer.as_mut_slice(), 0)?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(buffer.get(..length).unwrap_or_default())
        .map_err(io::Error::other)?;
    match answer.payload {
        NetlinkPayload::Error(error) => Ok(error.code.map(|code| code.get().unsigned_abs())),
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) => Ok(match route.header.kind {
            RouteType::Unreachable => Some(errno(libc::EHOSTUNREACH)),
            RouteType::Prohibit => Some(errno(libc::EACCES)),
            RouteType::BlackHole => Some(errno(libc::EINVAL)),
            _ => None,
        }),
        _ => Err(io::Error::other("the answer is neither a route nor an error")),
    }
}

fn errno(code: i32) -> u32 {
    code.unsigned_abs()
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
