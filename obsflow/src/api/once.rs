//! A stream that was opened already, for a channel of gRPC: given out once, because another one would be another conversation.

use std::future::{self, Ready};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint, Error};

/// How often a silent server is asked whether it lives, and how long that may take.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// A channel over a stream, with `window` bytes that may be on their way at a time.
///
/// # Errors
/// When the other end does not speak HTTP/2.
pub(super) async fn channel<S>(stream: S, window: u32) -> Result<Channel, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    Endpoint::from_static("http://server.invalid")
        .initial_stream_window_size(window)
        .initial_connection_window_size(window)
        .http2_keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .connect_with_connector(Once::new(stream))
        .await
}

/// How a stream broke.
type Broke = Arc<OnceLock<(io::ErrorKind, String)>>;

/// Gives its stream to the first who connects. Whoever comes later hears how the stream ended: the channel tells only that there
/// is no other, and a server may refuse a client by TLS before the first request is on its way.
struct Once<S> {
    stream: Option<S>,
    broke: Broke,
}

impl<S> Once<S> {
    /// For this stream.
    fn new(stream: S) -> Self {
        Self {
            stream: Some(stream),
            broke: Broke::default(),
        }
    }
}

impl<S> Service<Uri> for Once<S> {
    type Response = TokioIo<Noting<S>>;
    type Error = io::Error;
    type Future = Ready<io::Result<TokioIo<Noting<S>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let broke = Arc::clone(&self.broke);
        future::ready(match (self.stream.take(), self.broke.get()) {
            (Some(stream), _) => Ok(TokioIo::new(Noting {
                stream,
                broke,
                leaving: None,
            })),
            (None, Some((kind, text))) => Err(io::Error::new(*kind, text.clone())),
            (None, None) => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

/// A stream that remembers its first error.
struct Noting<S> {
    stream: S,
    broke: Broke,
    /// What a write failed with, while what is left is read.
    leaving: Option<io::Error>,
}

/// What is read and thrown away of a stream that cannot be written to.
const DISCARD: usize = 4096;

impl<S> Noting<S> {
    fn note<T>(&self, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &done {
            let _ = self.broke.set((error.kind(), error.to_string()));
        }
        done
    }
}

impl<S: AsyncRead + Unpin> Noting<S> {
    /// A write that fails says that the other side is gone; why it went may be there to be read, or arrive with the end: an
    /// alert of TLS.
    fn wrote<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let error = match done {
            Poll::Ready(Err(error)) => error,
            other => return other,
        };
        let is_gone = matches!(
            error.kind(),
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
        );
        self.leaving = Some(error);
        if is_gone {
            self.farewell(cx)
        } else {
            self.left(None)
        }
    }

    /// Reads to the end, which has come already.
    fn farewell<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        loop {
            let mut discarded = [0; DISCARD];
            let mut buffer = ReadBuf::new(&mut discarded);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return self.left(Some(error)),
                _ => return self.left(None),
            }
        }
    }

    fn left<T>(&mut self, why: Option<io::Error>) -> Poll<io::Result<T>> {
        let error = why.or(self.leaving.take());
        self.leaving = None;
        self.note(Poll::Ready(Err(
            error.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
        )))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noting<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.note(done)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Noting<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.leaving.is_some() {
            return self.farewell(cx);
        }
        let done = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(cx, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.leaving.is_some() {
            return self.farewell(cx);
        }
        let done = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.leaving.is_some() {
            return self.farewell(cx);
        }
        let done = Pin::new(&mut self.stream).poll_flush(cx);
        self.wrote(cx, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.leaving.is_some() {
            return self.farewell(cx);
        }
        let done = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.wrote(cx, done)
    }
}
