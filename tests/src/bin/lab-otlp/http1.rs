//! A listener for HTTP/1 alone: who begins in HTTP/2 is answered as servers do that have never heard of it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustix::net::sockopt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// How HTTP/2 begins, as far as HTTP/1 reads it (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// Between two keep-alive probes on an idle connection.
const PROBES: Duration = Duration::from_secs(1);

/// Connections that have begun in something else than HTTP/2.
pub(crate) struct Http1 {
    accepted: mpsc::Receiver<(TcpStream, SocketAddr)>,
    local: SocketAddr,
}

impl Http1 {
    /// Listens; `refusal` is the body of the 400 to HTTP/2.
    pub(crate) async fn bind(address: SocketAddr, refusal: &'static str) -> Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}"))?;
        let local = listener.local_addr()?;
        let (sender, accepted) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                if let Err(error) = keep_alive(&stream) {
                    eprintln!("{peer}: {error}");
                }
                let sender = sender.clone();
                tokio::spawn(async move {
                    if let Ok(true) = is_http2(&stream).await {
                        // The client may be gone: then nobody wants to know.
                        let _ = refuse(stream, refusal).await;
                    } else {
                        let _ = sender.send((stream, peer)).await;
                    }
                });
            }
        });
        Ok(Self { accepted, local })
    }
}

/// As Go's servers do, which probe every 15 s: what a probe looks like is no failure.
fn keep_alive(stream: &TcpStream) -> rustix::io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, PROBES)?;
    sockopt::set_tcp_keepintvl(stream, PROBES)
}

/// Looks at the first bytes as soon as there are any, and leaves them.
async fn is_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    let count = stream.peek(&mut first).await?;
    Ok(count > 0 && PREFACE.starts_with(&first[..count]))
}

/// As Go's `net/http` says it; then the rest is read, so that the end is no RST.
async fn refuse(mut stream: TcpStream, body: &str) -> std::io::Result<()> {
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

impl Listener for Http1 {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.local)
    }
}

/// Who sends.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl Connected<IncomingStream<'_, Http1>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Http1>) -> Self {
        Self(*stream.remote_addr())
    }
}
