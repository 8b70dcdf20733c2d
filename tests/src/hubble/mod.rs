//! A client of Hubble's API that shares nothing with obsflow's: a stranger who knows the contract.

#[expect(missing_docs, reason = "the contract has the documentation")]
pub mod messages;

use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use tonic::client::Grpc;
use tonic::codegen::http::Uri;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use self::messages::{Flow, GetFlowsRequest, GetFlowsResponse};
use crate::server::tls::{Authority, Identity};
use crate::wait;

/// A connection to a server.
#[derive(Debug)]
pub struct Client {
    runtime: Arc<Runtime>,
    calls: Mutex<Grpc<Channel>>,
}

/// Answers that come one after the other.
#[derive(Debug)]
pub struct Answers<A> {
    runtime: Arc<Runtime>,
    stream: Streaming<A>,
}

impl Client {
    /// To a unix socket.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn unix(path: &Path) -> Result<Self> {
        let stream = std::os::unix::net::UnixStream::connect(path)?;
        stream.set_nonblocking(true)?;
        Self::new(async move || tokio::net::UnixStream::from_std(stream))
    }

    /// Over a connection that there is already, from whatever network namespace.
    ///
    /// # Errors
    /// When the other side speaks no HTTP/2.
    pub fn tcp(stream: TcpStream) -> Result<Self> {
        stream.set_nonblocking(true)?;
        Self::new(async move || tokio::net::TcpStream::from_std(stream))
    }

    /// The same, with TLS: the server is called `name`, and the client has a certificate if it is given one.
    ///
    /// # Errors
    /// When one of the two does not trust the other.
    pub fn tls(stream: TcpStream, name: &str, by: &Authority, own: Option<&Identity>) -> Result<Self> {
        stream.set_nonblocking(true)?;
        let connector = TlsConnector::from(Arc::new(config(by, own)?));
        let name = ServerName::try_from(name.to_owned())?;
        Self::new(async move || {
            let stream = tokio::net::TcpStream::from_std(stream)?;
            connector.connect(name, stream).await
        })
    }

    fn new<S>(connect: impl AsyncFnOnce() -> std::io::Result<S> + Send + 'static) -> Result<Self>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        // A thread of its own goes on with what the connection needs while nobody asks.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let stream = runtime.block_on(async { tokio::time::timeout(wait::SOON, connect()).await })??;
        // There is one connection; whoever wants another one makes another client.
        let stream = Mutex::new(Some(TokioIo::new(stream)));
        let connector = tower::service_fn(move |_: Uri| {
            let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
            async { stream.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected)) }
        });
        let channel = runtime.block_on(async {
            let endpoint = Endpoint::from_static("http://hubble");
            tokio::time::timeout(wait::SOON, endpoint.connect_with_connector(connector)).await
        })??;
        Ok(Self {
            runtime: Arc::new(runtime),
            calls: Mutex::new(Grpc::new(channel)),
        })
    }

    /// Asks one thing: the answer and its headers.
    ///
    /// # Errors
    /// What the server says instead.
    pub fn ask<Q, A>(&self, path: &'static str, request: Q) -> Result<(A, MetadataMap), Status>
    where
        Q: Message + Send + 'static,
        A: Message + Default + Send + 'static,
    {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        self.runtime.block_on(within(async {
            ready(&mut calls).await?;
            let codec = ProstCodec::<Q, A>::default();
            let answer = calls
                .unary(Request::new(request), PathAndQuery::from_static(path), codec)
                .await?;
            let headers = answer.metadata().clone();
            Ok((answer.into_inner(), headers))
        }))
    }

    /// Asks for a stream.
    ///
    /// # Errors
    /// What the server says instead.
    pub fn stream<Q, A>(&self, path: &'static str, request: Q) -> Result<Answers<A>, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + 'static,
    {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = self.runtime.block_on(within(async {
            ready(&mut calls).await?;
            let codec = ProstCodec::<Q, A>::default();
            let answer = calls
                .server_streaming(Request::new(request), PathAndQuery::from_static(path), codec)
                .await?;
            Ok(answer.into_inner())
        }))?;
        Ok(Answers {
            runtime: Arc::clone(&self.runtime),
            stream,
        })
    }

    /// Flows.
    ///
    /// # Errors
    /// What the server says instead.
    pub fn flows(&self, request: GetFlowsRequest) -> Result<Answers<GetFlowsResponse>, Status> {
        self.stream("/observer.Observer/GetFlows", request)
    }
}

impl<A: Send + 'static> Answers<A> {
    /// The next answer; `None` at a good end.
    ///
    /// # Errors
    /// A bad end, or none in time.
    pub fn read(&mut self) -> Result<Option<A>, Status> {
        self.runtime.block_on(within(self.stream.message()))
    }

    /// Everything until a good end.
    ///
    /// # Errors
    /// A bad end, or none in time.
    pub fn rest(mut self) -> Result<Vec<A>, Status> {
        let mut all = Vec::new();
        while let Some(answer) = self.read()? {
            all.push(answer);
        }
        Ok(all)
    }
}

impl Answers<GetFlowsResponse> {
    /// The first of the flows that come which is like that.
    ///
    /// # Errors
    /// When the stream ends, or none comes in time.
    pub fn find(&mut self, like: impl Fn(&Flow) -> bool) -> Result<Flow> {
        loop {
            let answer = self.read()?.context("the stream ended")?;
            if let Some(flow) = answer.flow.filter(&like) {
                return Ok(flow);
            }
        }
    }
}

async fn ready(calls: &mut Grpc<Channel>) -> Result<(), Status> {
    calls
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))
}

async fn within<T>(work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(wait::SOON, work).await {
        Ok(done) => done,
        Err(_) => Err(Status::new(Code::DeadlineExceeded, "nothing came in time")),
    }
}

fn config(by: &Authority, own: Option<&Identity>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&by.identity.certificate)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => builder.with_client_auth_cert(
            vec![CertificateDer::from_pem_file(&own.certificate)?],
            PrivateKeyDer::from_pem_file(&own.key)?,
        )?,
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
