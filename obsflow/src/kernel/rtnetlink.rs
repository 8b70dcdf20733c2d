//! Questions to the kernel's routing socket, `NETLINK_ROUTE`, in the network namespace of the calling thread.

use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

/// The kernel answers within the call; silence must not hold the agent.
const PATIENCE: Duration = Duration::from_secs(2);
/// The kernel makes its answers fit the buffer.
const BUFFER: usize = 32 * 1024;
/// Header of a netlink message; the next one begins at a multiple of four.
const HEADER: usize = 16;

/// Everything that a dump request lists. What this library cannot read is left out: devices and rules of other kinds
/// are not asked about.
///
/// # Errors
/// When the kernel refuses or stays silent.
pub fn dump(question: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
    let socket = ask(question, NLM_F_REQUEST | NLM_F_DUMP)?;
    let mut found = Vec::new();
    receive(&socket, |payload| match payload {
        NetlinkPayload::Done(_) => Some(Ok(())),
        NetlinkPayload::InnerMessage(message) => {
            found.push(message);
            None
        }
        NetlinkPayload::Error(error) => Some(error.code.map_or(Ok(()), |_| Err(error.to_io()))),
        _ => None,
    })?;
    Ok(found)
}

/// Has the kernel do something.
///
/// # Errors
/// When the kernel refuses or stays silent.
pub fn order(order: RouteNetlinkMessage) -> io::Result<()> {
    let socket = ask(order, NLM_F_REQUEST | NLM_F_ACK)?;
    receive(&socket, |payload| match payload {
        NetlinkPayload::Error(error) => Some(error.code.map_or(Ok(()), |_| Err(error.to_io()))),
        _ => None,
    })
}

fn ask(question: RouteNetlinkMessage, flags: u16) -> io::Result<Socket> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    set_socket_timeout(socket.as_fd(), Timeout::Recv, Some(PATIENCE))?;
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(question));
    message.finalize();
    let mut buffer = vec![0; message.buffer_len()];
    message.serialize(&mut buffer);
    socket.send_to(&buffer, &SocketAddr::new(0, 0), 0)?;
    Ok(socket)
}

/// Gives each message to `take` until that says how it ended.
fn receive(
    socket: &Socket,
    mut take: impl FnMut(NetlinkPayload<RouteNetlinkMessage>) -> Option<io::Result<()>>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = socket.recv(&mut buffer.as_mut_slice(), 0)?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let Some((message, after)) = split(rest) {
            rest = after;
            // One that cannot be read is of a kind nobody asked about.
            if let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message)
                && let Some(end) = take(message.payload)
            {
                return end;
            }
        }
    }
}

/// The first message of a buffer, and what follows it.
fn split(buffer: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = buffer.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))?;
    let length = usize::try_from(length).ok().filter(|length| *length >= HEADER)?;
    let message = buffer.get(..length)?;
    Some((
        message,
        buffer.get(length.next_multiple_of(4)..).unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_and_cut_ones_end_it() {
        let mut buffer = Vec::new();
        for (length, fill) in [(17u32, 1u8), (16, 2)] {
            let start = buffer.len();
            buffer.extend(length.to_ne_bytes());
            buffer.resize(start + length as usize, fill);
            buffer.resize(buffer.len().next_multiple_of(4), 0);
        }
        let (first, rest) = split(&buffer).unwrap();
        assert_eq!((first.len(), first[16]), (17, 1));
        let (second, rest) = split(rest).unwrap();
        assert_eq!((second.len(), second[15]), (16, 2));
        assert!(rest.is_empty());
        assert!(split(&buffer[..10]).is_none());
        assert!(split(&[0; 64]).is_none());
    }
}
