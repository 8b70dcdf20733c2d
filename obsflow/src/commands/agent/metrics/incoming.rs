//! Connections as they come: no more than there is room for, none that says nothing for ever.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_rustls::Accept;
use tokio_rustls::server::TlsStream;

use crate::api::Tls;

/// Connections at a time: a Prometheus has one, and few have more than two of them.
const MAX_CONNECTIONS: usize = 64;
/// How long a connection may say nothing; longer than two scrapes are usually apart. Whoever asked has to have read the answer
/// by then.
const SILENT: Duration = Duration::from_secs(180);
/// How long nothing is accepted when that fails: out of files, out of memory.
const PAUSE: Duration = Duration::from_millis(200);

/// See the module.
#[derive(Debug)]
pub(super) struct Incoming {
    listener: TcpListener,
    tls: Option<Tls>,
    slots: Arc<Semaphore>,
}

impl Incoming {
    pub(super) fn new(listener: TcpListener, tls: Option<Tls>) -> Self {
        Self {
            listener,
            tls,
            slots: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        }
    }
}

impl axum::serve::Listener for Incoming {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let (socket, address) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Of one connection alone, which went away before it was accepted.
                    if error.kind() != io::ErrorKind::ConnectionAborted {
                        tokio::time::sleep(PAUSE).await;
                    }
                    continue;
                }
            };
            // Beyond that they are closed at once.
            let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
                continue;
            };
            let stream = match &mut self.tls {
                Some(tls) => Stream::Handshake(Box::new(tls.acceptor().accept(socket))),
                None => Stream::Plain(socket),
            };
            let connection = Connection {
                stream,
                silent: Box::pin(tokio::time::sleep(SILENT)),
                _slot: slot,
            };
            return (connection, address);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection, whose handshake is its own business: nobody else waits for it.
pub(super) struct Connection {
    stream: Stream,
    silent: Pin<Box<Sleep>>,
    _slot: OwnedSemaphorePermit,
}

enum Stream {
    Plain(TcpStream),
    Handshake(Box<Accept<TcpStream>>),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What both kinds of streams do.
trait Both: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Both for T {}

impl Connection {
    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut dyn Both>>> {
        if let Stream::Handshake(handshake) = &mut self.stream {
            let stream = ready!(Pin::new(&mut **handshake).poll(cx))?;
            self.stream = Stream::Tls(Box::new(stream));
        }
        Poll::Ready(match &mut self.stream {
            Stream::Plain(stream) => Ok(Pin::new(stream)),
            Stream::Tls(stream) => Ok(Pin::new(&mut **stream)),
            Stream::Handshake(_) => Err(io::ErrorKind::NotConnected.into()),
        })
    }

    /// An error instead of waiting for ever.
    fn or_too_long<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_pending() && self.silent.as_mut().poll(cx).is_ready() {
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
        let this = &mut *self;
        let read = match this.poll_stream(cx) {
            Poll::Ready(Ok(stream)) => stream.poll_read(cx, buffer),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        if read.is_ready() {
            this.silent.as_mut().reset(Instant::now() + SILENT);
            return read;
        }
        this.or_too_long(cx, read)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(self.poll_stream(cx))?.poll_write(cx, bytes);
        self.or_too_long(cx, written)
    }

    /// A page is written from where it is, and not copied for each connection.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(self.poll_stream(cx))?.poll_write_vectored(cx, parts);
        self.or_too_long(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(cx))?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(cx))?.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_not_offered_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _reader = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut connection, _) = axum::serve::Listener::accept(&mut Incoming::new(listener, None)).await;
        connection.silent = Box::pin(tokio::time::sleep(Duration::from_millis(50)));
        let written = connection.write_all(&vec![0; 64 << 20]).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
