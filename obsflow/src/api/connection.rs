//! A connection that is closed so that the other side can still read everything, and that nobody can hold open in silence.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::UCred;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Sleep;
use tokio_rustls::Accept;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::places::{Call, Calls, Place};

/// What is read and thrown away at a time.
const DISCARD: usize = 4096;
/// What every client of HTTP/2 begins with, in bytes (RFC 9113, 3.4). From then on the server asks by PING whether it lives.
const PREFACE: usize = 24;
/// How long a client may take for that, and for the handshake of TLS before it.
const GREETING: Duration = Duration::from_secs(10);
/// How long the other side may take to close, too.
const CLOSING: Duration = Duration::from_secs(5);

/// A connection of any kind.
pub(super) enum Socket {
    /// To a unix socket.
    Unix(UnixStream),
    /// To a port, in plain text.
    Tcp(TcpStream),
    /// To a port, with TLS that is still negotiated: the connection's own business, for which nobody else waits.
    Handshake(Box<Accept<TcpStream>>),
    /// To a port, with TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// What all kinds do.
trait Both: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Both for T {}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// A process of this machine, with its credentials.
    Local(Option<UCred>),
    /// Somebody who reached a port: a process of this machine, or whoever it forwards for.
    Port,
}

/// What calls know of their connection.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    /// Who calls.
    pub(super) caller: Caller,
    calls: Calls,
}

impl Guest {
    /// A call that begins now.
    pub(super) fn begin(&self) -> Call {
        self.calls.begin()
    }
}

/// A stream whose shutdown waits until the other side closes, too. A plain close makes the other side's next write fail -
/// gRPC writes while it reads, to say that there is room again - and what it has not read yet is lost.
pub(super) struct Connection {
    socket: Socket,
    /// Bytes of the preface that did not come yet.
    missing: usize,
    /// Runs until the preface is there, and while the connection closes.
    deadline: Option<Pin<Box<Sleep>>>,
    is_closing: bool,
    place: Place,
}

impl Connection {
    /// A connection that was accepted, and has one of its listener's places.
    pub(super) fn new(socket: Socket, place: Place) -> Self {
        Self {
            socket,
            missing: PREFACE,
            deadline: Some(Box::pin(tokio::time::sleep(GREETING))),
            is_closing: false,
            place,
        }
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        self.deadline
            .as_mut()
            .is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready())
    }
}

impl Connected for Connection {
    type ConnectInfo = Guest;

    fn connect_info(&self) -> Guest {
        Guest {
            caller: match &self.socket {
                Socket::Unix(socket) => Caller::Local(socket.peer_cred().ok()),
                Socket::Tcp(_) | Socket::Handshake(_) | Socket::Tls(_) => Caller::Port,
            },
            calls: self.place.calls(),
        }
    }
}

impl Socket {
    /// The stream, once there is one.
    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut dyn Both>>> {
        if let Self::Handshake(handshake) = self {
            let stream = ready!(Pin::new(&mut **handshake).poll(cx))?;
            *self = Self::Tls(Box::new(stream));
        }
        Poll::Ready(match self {
            Self::Unix(socket) => Ok(Pin::new(socket)),
            Self::Tcp(socket) => Ok(Pin::new(socket)),
            Self::Tls(socket) => Ok(Pin::new(&mut **socket)),
            Self::Handshake(_) => Err(io::ErrorKind::NotConnected.into()),
        })
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(cx))?.poll_read(cx, buffer)
    }
}

impl Connection {
    /// What became of something; as long as the other side has said nothing, it has only so much time. It is over, too, when
    /// somebody else needs the place of who asks nothing.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if self.place.is_over(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if done.is_pending() && self.missing > 0 && self.is_late(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        done
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
            }
        }
        self.in_time(cx, read)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = match self.socket.poll_stream(cx) {
            Poll::Ready(Ok(stream)) => stream.poll_write(cx, bytes),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        self.in_time(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match self.socket.poll_stream(cx) {
            Poll::Ready(Ok(stream)) => stream.poll_write_vectored(cx, slices),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        self.in_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Unix(socket) => socket.is_write_vectored(),
            Socket::Tcp(socket) => socket.is_write_vectored(),
            // As the stream will be that comes of the handshake.
            Socket::Handshake(_) | Socket::Tls(_) => true,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match self.socket.poll_stream(cx) {
            Poll::Ready(Ok(stream)) => stream.poll_flush(cx),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        self.in_time(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.socket, Socket::Handshake(_)) {
            // Nothing was said yet that could be lost.
            return Poll::Ready(Ok(()));
        }
        ready!(ready!(self.socket.poll_stream(cx))?.poll_shutdown(cx))?;
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
