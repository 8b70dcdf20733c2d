//! A connection that is closed so that the other side can still read everything, and that nobody can hold open in silence.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::UCred;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use tonic::transport::server::Connected;

/// What is read and thrown away at a time.
const DISCARD: usize = 4096;
/// What every client of HTTP/2 begins with, in bytes (RFC 9113, 3.4). From then on the server asks by PING whether it lives.
const PREFACE: usize = 24;
/// How long a client may take for that.
const GREETING: Duration = Duration::from_secs(10);
/// How long the other side may take to close, too.
const CLOSING: Duration = Duration::from_secs(5);

/// A connection of either kind.
#[derive(Debug)]
pub(super) enum Socket {
    /// To a unix socket.
    Unix(UnixStream),
    /// To a port of the loopback interface.
    Tcp(TcpStream),
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// A process of this machine, with its credentials.
    Local(Option<UCred>),
    /// Somebody who reached a port: a process of this machine, or whoever it forwards for.
    Port,
}

/// A stream whose shutdown waits until the other side closes, too. A plain close makes the other side's next write fail -
/// gRPC writes while it reads, to say that there is room again - and what it has not read yet is lost.
#[derive(Debug)]
pub(super) struct Connection {
    socket: Socket,
    /// Bytes of the preface that did not come yet.
    missing: usize,
    /// Runs until the preface is there, and while the connection closes.
    deadline: Option<Pin<Box<Sleep>>>,
    is_closing: bool,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    /// A connection that was accepted, and holds one of its listener's places.
    pub(super) fn new(socket: Socket, slot: OwnedSemaphorePermit) -> Self {
        Self {
            socket,
            missing: PREFACE,
            deadline: Some(Box::pin(tokio::time::sleep(GREETING))),
            is_closing: false,
            _slot: slot,
        }
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        self.deadline
            .as_mut()
            .is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready())
    }
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        match &self.socket {
            Socket::Unix(socket) => Caller::Local(socket.peer_cred().ok()),
            Socket::Tcp(_) => Caller::Port,
        }
    }
}

impl Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, buffer),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.socket.poll_read(cx, buffer);
        if self.missing > 0 {
            self.missing = self.missing.saturating_sub(buffer.filled().len() - before);
            if self.missing == 0 {
                self.deadline = None;
            } else if read.is_pending() && self.is_late(cx) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
            Socket::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Socket::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Unix(socket) => socket.is_write_vectored(),
            Socket::Tcp(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Unix(socket) => Pin::new(socket).poll_flush(cx),
            Socket::Tcp(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(match &mut self.socket {
            Socket::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
        })?;
        if !self.is_closing {
            self.is_closing = true;
            self.deadline = Some(Box::pin(tokio::time::sleep(CLOSING)));
        }
        loop {
            let mut discarded = [0; DISCARD];
            let mut buffer = ReadBuf::new(&mut discarded);
            let Poll::Ready(read) = self.socket.poll_read(cx, &mut buffer) else {
                return if self.is_late(cx) {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                };
            };
            // An error means that the other side is gone, which is what was waited for.
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
