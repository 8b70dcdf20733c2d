//! Connections as they come, no more than there is room for. Whoever opens a thousand of them keeps nobody out who asks.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::time::Sleep;
use tokio_stream::Stream;

use super::address::Address;
use super::connection::{Connection, Socket};
use super::places::Places;
use super::tls::Tls;

/// Connections served at a time by one listener.
pub(super) const MAX_CONNECTIONS: usize = 256;
/// How long nothing is accepted when that fails: out of files, out of memory.
const PAUSE: Duration = Duration::from_millis(200);

/// What accepts.
#[derive(Debug)]
pub(super) enum Accepting {
    /// A unix socket.
    Unix(UnixListener),
    /// A port.
    Tcp(TcpListener),
}

impl Accepting {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        Poll::Ready(match self {
            Self::Unix(listener) => ready!(listener.poll_accept(cx)).map(|(socket, _)| Socket::Unix(socket)),
            Self::Tcp(listener) => ready!(listener.poll_accept(cx)).and_then(|(socket, _)| {
                socket.set_nodelay(true)?;
                Ok(Socket::Tcp(socket))
            }),
        })
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Incoming {
    accepting: Accepting,
    address: Address,
    tls: Option<Tls>,
    places: Places,
    pause: Option<Pin<Box<Sleep>>>,
    /// Each is said once: the log is no place for what a flood repeats.
    said_full: bool,
    said_closed: bool,
    said_failed: bool,
}

impl Incoming {
    /// Of what accepts at this address.
    pub(super) fn new(accepting: Accepting, address: Address, tls: Option<Tls>) -> Self {
        Self {
            accepting,
            address,
            tls,
            places: Places::new(MAX_CONNECTIONS),
            pause: None,
            said_full: false,
            said_closed: false,
            said_failed: false,
        }
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match ready!(self.accepting.poll_accept(cx)) {
                Ok(socket) => match self.places.take() {
                    Some((place, is_full)) => {
                        if is_full && !self.said_full {
                            self.said_full = true;
                            tracing::warn!(
                                address = %self.address,
                                "{MAX_CONNECTIONS} connections are open: those that ask nothing are closed for others"
                            );
                        }
                        let socket = match (socket, &mut self.tls) {
                            (Socket::Tcp(socket), Some(tls)) => {
                                Socket::Handshake(Box::new(tls.acceptor().accept(socket)))
                            }
                            (socket, _) => socket,
                        };
                        return Poll::Ready(Some(Ok(Connection::new(socket, place))));
                    }
                    None if self.said_closed => {}
                    None => {
                        self.said_closed = true;
                        tracing::warn!(
                            address = %self.address,
                            "{MAX_CONNECTIONS} connections are open, each with a call: more are closed at once"
                        );
                    }
                },
                // Of one connection alone, which went away before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if !self.said_failed {
                        self.said_failed = true;
                        tracing::warn!(address = %self.address, "accepting a connection failed: {error}");
                    }
                    self.pause = Some(Box::pin(tokio::time::sleep(PAUSE)));
                }
            }
        }
    }
}
