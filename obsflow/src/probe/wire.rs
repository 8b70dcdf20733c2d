//! Connections whose first received bytes are remembered: they tell what the other side speaks when it is not what was
//! asked of it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;

use super::budget::{Budget, Spent};
use crate::flow::errno;
use crate::model::exchange::Spoken;

/// A stream of bytes, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The kernel's error.
    Errno(Option<i32>, String),
    /// Nobody answered in time.
    Silent(Spent),
    /// It was not tried.
    NotTried(Spent),
}

impl Refused {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Errno(_, text) => text.clone(),
            Self::Silent(spent) | Self::NotTried(spent) => spent.to_string(),
        }
    }

    pub(super) fn is_rst(&self) -> bool {
        matches!(self, Self::Errno(Some(libc::ECONNREFUSED), _))
    }
}

/// Opens a connection.
pub(super) async fn connect(budget: &Budget, to: SocketAddr) -> Result<TcpStream, Refused> {
    budget.connection().map_err(Refused::NotTried)?;
    match budget.within(budget.limits.connect, TcpStream::connect(to)).await {
        Ok(result) => result.map_err(|error| Refused::Errno(error.raw_os_error(), errno_name(&error))),
        Err(spent @ Spent::Late(_)) => Err(Refused::Silent(spent)),
        Err(spent) => Err(Refused::NotTried(spent)),
    }
}

/// What became of an attempt that had this long.
pub(super) fn outcome(result: Result<io::Result<()>, Elapsed>, wait: Duration) -> Result<(), Refused> {
    match result {
        Ok(result) => result.map_err(|error| Refused::Errno(error.raw_os_error(), errno_name(&error))),
        Err(_) => Err(Refused::Silent(Spent::Late(wait))),
    }
}

/// The errno's name, else the error's own words.
pub(super) fn errno_name(error: &io::Error) -> String {
    error
        .raw_os_error()
        .and_then(|number| errno::name(number.unsigned_abs()))
        .map_or_else(|| error.to_string(), str::to_owned)
}

/// The first bytes that arrived on a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct First(Arc<Mutex<Vec<u8>>>);

impl First {
    /// More than enough to tell protocols apart.
    const KEPT: usize = 32;

    fn saw(&self, bytes: &[u8]) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = Self::KEPT.saturating_sub(first.len()).min(bytes.len());
        first.extend_from_slice(bytes.get(..room).unwrap_or(&[]));
    }

    /// What the other side speaks.
    pub(super) fn spoken(&self) -> Spoken {
        let first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match Spoken::of(&first) {
            Some(spoken) => spoken,
            None if first.is_empty() => Spoken::Nothing,
            None => Spoken::Unknown,
        }
    }
}

/// A stream with its first received bytes.
#[derive(Debug)]
pub(super) struct Watched<S> {
    inner: S,
    first: First,
}

impl<S> Watched<S> {
    pub(super) fn new(inner: S) -> (Self, First) {
        let first = First::default();
        let watched = Self {
            inner,
            first: first.clone(),
        };
        (watched, first)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if let Some(bytes) = buf.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
            self.first.saw(bytes);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.inner).poll_write(cx, bytes) {
            // A server that does not understand answers and closes. The answer still waits to be read, and says more than
            // the write that came too late for it: reading ends with the error, too.
            Poll::Ready(Err(_)) => Poll::Ready(Ok(bytes.len())),
            polled => polled,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Text from outside, made of printable ASCII alone.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, ' '..='~') {
            escaped.push(c);
        } else {
            escaped.extend(c.escape_default());
        }
    }
    escaped
}
