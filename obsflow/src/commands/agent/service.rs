//! What systemd is told when it has started the agent (`sd_notify(3)`): one datagram each, and to nobody when there is no
//! systemd. The pipeline's own thread says it, so nothing here ever waits.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Names the socket of whoever started the agent and wants to hear from it.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Hooks are attached and sockets are served.
pub(super) fn ready() {
    say("READY=1");
}

/// The pipeline turned: with `WatchdogSec=` an agent that stands still is started anew.
pub(super) fn turned() {
    say("WATCHDOG=1");
}

/// It will not turn again, and that is as it should be.
pub(super) fn ending() {
    say("STOPPING=1");
}

fn say(state: &str) {
    if let Some(path) = std::env::var_os(SOCKET)
        && let Err(error) = send(&path, state)
    {
        // A manager that does not listen is no reason to stop watching.
        tracing::debug!("{SOCKET}: {error}");
    }
}

fn send(path: &OsStr, state: &str) -> io::Result<()> {
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_sockets_are_told_and_nobody_is_waited_for() {
        let path = std::env::temp_dir().join(format!("obsflow-notify-{}", std::process::id()));
        let abstract_name = format!("obsflow-notify-{}", std::process::id());
        let sockets = [
            (path.clone().into_os_string(), UnixDatagram::bind(&path).unwrap()),
            (
                format!("@{abstract_name}").into(),
                UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&abstract_name).unwrap()).unwrap(),
            ),
        ];
        for (name, socket) in &sockets {
            send(name, "READY=1").unwrap();
            let mut buffer = [0; 64];
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1");
            // A manager that does not read: at some point its queue is full, and that is said instead of waited for.
            let full = (0..100_000).find_map(|_| send(name, "WATCHDOG=1").err());
            assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
        }
        std::fs::remove_file(path).unwrap();
        assert!(send("/nowhere/at/all".as_ref(), "READY=1").is_err());
    }
}
