//! Port-forwards: a WebSocket that carries the bytes of a connection to a pod, as the kubelet serves it (subprotocol
//! `v4.channel.k8s.io`, `k8s.io/kubelet/pkg/cri/streaming/portforward`): of the first port channel 0 has data and channel 1 an
//! error in words, and each begins with the port's number, little-endian.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Response, StatusCode};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::answer;
use super::orders::Request;
use super::request::Target;

/// The subprotocol that is spoken.
const PROTOCOL: &str = "v4.channel.k8s.io";
const DATA: u8 = 0;
const ERROR: u8 = 1;

/// Where ports of pods lead: by namespace, name of the pod, and port.
pub(super) type Routes = BTreeMap<(String, String, u16), SocketAddr>;

/// Answers a request for a port-forward; what is forwarded goes on by itself.
pub(super) fn forward(
    routes: &Routes,
    target: &Target,
    request: &Request,
    mut parts: Parts,
) -> Response<Body> {
    let refused = |code: u16, reason: &str, message: &str| {
        answer::answer(code, &answer::status(code, reason, message, None))
    };
    let bad = |message: &str| refused(400, "BadRequest", message);
    let port = request
        .query
        .get("ports")
        .and_then(|ports| ports.parse::<u16>().ok());
    let Some(port) = port else {
        return bad("the lab forwards one port at a time");
    };
    let header = |headers: &HeaderMap, name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let offered = header(&parts.headers, "sec-websocket-protocol");
    if !offered.split(',').any(|protocol| protocol.trim() == PROTOCOL) {
        return bad(&format!(
            "unable to upgrade: only {PROTOCOL} is spoken, not {offered}"
        ));
    }
    let key = header(&parts.headers, "sec-websocket-key");
    let Some(upgrade) = parts.extensions.remove::<OnUpgrade>() else {
        return bad("unable to upgrade: this is no connection that can be");
    };
    let name = target.name.clone().unwrap_or_default();
    let pod = (target.namespace.clone().unwrap_or_default(), name, port);
    let to = routes.get(&pod).copied();
    tokio::spawn(async move {
        // Whoever asked may be gone by now.
        if let Ok(upgraded) = upgrade.await {
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            let _ = carry(socket, port, to).await;
        }
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-accept", derive_accept_key(key.as_bytes()))
        .header("sec-websocket-protocol", PROTOCOL)
        .body(Body::empty())
        .unwrap_or_else(|_| bad("unable to upgrade"))
}

fn on(channel: u8, bytes: &[u8]) -> Message {
    let mut frame = vec![channel];
    frame.extend_from_slice(bytes);
    Message::binary(frame)
}

/// Carries bytes until one side closes.
async fn carry(
    socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>,
    port: u16,
    to: Option<SocketAddr>,
) -> Result<()> {
    let (mut sink, mut frames) = socket.split();
    for channel in [DATA, ERROR] {
        sink.send(on(channel, &port.to_le_bytes())).await?;
    }
    let connected = match to {
        Some(address) => TcpStream::connect(address).await.context("connect"),
        None => Err(anyhow::anyhow!("connect: connection refused")),
    };
    let stream = match connected {
        Ok(stream) => stream,
        Err(error) => {
            let message = format!(
                "error forwarding port {port} to pod 0123, uid : failed to execute portforward in network namespace: failed to \
                 connect to localhost:{port} inside namespace: {error:#}"
            );
            sink.send(on(ERROR, message.as_bytes())).await?;
            sink.close().await?;
            // What is not read before the end would make the end a reset, and the message be lost.
            while let Some(Ok(_)) = frames.next().await {}
            return Ok(());
        }
    };
    let (mut from_pod, mut to_pod) = stream.into_split();
    let up = async {
        while let Some(frame) = frames.next().await {
            match frame? {
                Message::Binary(bytes) => {
                    if let [DATA, data @ ..] = bytes.as_ref() {
                        to_pod.write_all(data).await?;
                    }
                }
                Message::Close(_) => break,
                _ => {}
            }
        }
        to_pod.shutdown().await?;
        anyhow::Ok(())
    };
    let down = async {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let read = from_pod.read(&mut buffer).await?;
            if read == 0 {
                break;
            }
            sink.send(on(DATA, &buffer[..read])).await?;
        }
        sink.close().await?;
        anyhow::Ok(())
    };
    tokio::select! {
        done = up => done,
        done = down => done,
    }
}
