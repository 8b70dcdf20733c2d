//! Asks a server of Hubble's API. Blocking, for commands: the runtime beneath has no thread of its own and runs while a call
//! waits.

use std::io;
use std::time::Duration;

use tokio::runtime::Runtime;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::dial::{DialError, ServerAddress, dial, hint};
use super::proto::observer::observer_client::ObserverClient;
use super::proto::observer::{
    GetFlowsRequest, GetFlowsResponse, GetNamespacesRequest, GetNamespacesResponse, GetNodesRequest,
    GetNodesResponse, ServerStatusRequest, ServerStatusResponse,
};
use super::proto::peer::peer_client::PeerClient;
use super::proto::peer::{ChangeNotification, NotifyRequest};
use super::read;
use crate::api::Reported;
use crate::api::client::reported;
use crate::api::convert::{ConvertError, status_from};
use crate::api::v1::diagnosis_client::DiagnosisClient;
use crate::api::v1::{GetReportRequest, GetStatusRequest, Report};
use crate::model::flow::Response;

/// Largest message that is read, in bytes: a flow has some kilobytes.
const MAX_MESSAGE: usize = 4 << 20;
/// Largest report that is read, in bytes: of some ten thousand exporters.
const MAX_REPORT: usize = 32 << 20;
/// What a server says it is, in every answer.
const VERSION_HEADER: &str = "hubble-server-version";

/// A server's answer is of no use, or there is none. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ObserverError {
    /// It cannot be reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The runtime could not be made.
    #[error("cannot make a runtime to ask the server with: {0}")]
    Runtime(io::Error),
    /// It speaks no gRPC, or something else breaks the protocol.
    #[error("what listens at {server} is no server of flows: {reason}{}", hint(.server))]
    NotGrpc {
        /// Where.
        server: Box<ServerAddress>,
        /// What went wrong.
        reason: String,
    },
    /// It wants a certificate.
    #[error(
        "{0} asks for a client's certificate: name one with --tls-client-cert-file and --tls-client-key-file"
    )]
    WantsCertificate(Box<ServerAddress>),
    /// It does not take the one that it was shown.
    #[error(
        "{0} does not accept the client's certificate (--tls-client-cert-file): it has to be signed by an authority that the \
         server trusts, and still be good"
    )]
    CertificateRefused(Box<ServerAddress>),
    /// It does not know this call.
    #[error("the server at {server} does not know {call}: it is no server of flows, or of another version")]
    Unimplemented {
        /// Where.
        server: Box<ServerAddress>,
        /// The method.
        call: &'static str,
    },
    /// The connection is gone.
    #[error("the connection to {server} ended: {reason}")]
    Ended {
        /// Where.
        server: Box<ServerAddress>,
        /// Why.
        reason: String,
    },
    /// It took too long.
    #[error("the server at {server} did not answer within {limit:?}")]
    Late {
        /// Where.
        server: Box<ServerAddress>,
        /// How long it had.
        limit: Duration,
    },
    /// It says no.
    #[error("the server at {server} says: {message}")]
    Refused {
        /// Where.
        server: Box<ServerAddress>,
        /// Its words.
        message: String,
    },
    /// It says what is not understood here.
    #[error("the server at {server} is another version of obsflow than this one: {source}")]
    NotUnderstood {
        /// Where.
        server: Box<ServerAddress>,
        /// What.
        source: ConvertError,
    },
}

impl ObserverError {
    /// Whether there simply is nobody, so that a command may watch by itself.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Dial(error) if error.is_absent())
    }

    fn new(server: &ServerAddress, call: &'static str, status: &Status) -> Self {
        let (server, message) = (Box::new(server.clone()), status.message().to_owned());
        match status.code() {
            Code::Unimplemented => Self::Unimplemented { server, call },
            // In TLS 1.3 a server looks at the client's certificate after the client has begun.
            _ if is_about_certificates(status) => match &server.tls {
                Some(tls) if tls.client.is_some() => Self::CertificateRefused(server),
                _ => Self::WantsCertificate(server),
            },
            Code::Unavailable | Code::Cancelled => Self::Ended {
                server,
                reason: said(status, message),
            },
            Code::Unknown | Code::Internal if is_protocol(status) => Self::NotGrpc {
                server,
                reason: said(status, message),
            },
            _ => Self::Refused { server, message },
        }
    }
}

/// The library's message names itself; its cause says more.
fn said(status: &Status, message: String) -> String {
    let mut cause = std::error::Error::source(status);
    let mut text = message;
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Whether the error came from beneath gRPC.
fn is_protocol(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
        || status.message().contains("h2")
        || status.message().contains("http")
}

fn is_about_certificates(status: &Status) -> bool {
    let text = said(status, status.message().to_owned());
    [
        "CertificateRequired",
        "BadCertificate",
        "CertificateExpired",
        "CertificateRevoked",
        "CertificateUnknown",
        "UnsupportedCertificate",
        "UnknownCA",
        "HandshakeFailure",
        // Signed by somebody of the same name as an authority that is trusted.
        "DecryptError",
    ]
    .iter()
    .any(|alert| text.contains(alert))
}

/// A connection to a server.
#[derive(Debug)]
pub struct Client {
    server: ServerAddress,
    runtime: Runtime,
    channel: Channel,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there, it is not to be trusted, or it takes longer than `limit`.
    pub fn connect(server: &ServerAddress, limit: Duration) -> Result<Self, ObserverError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ObserverError::Runtime)?;
        let channel = runtime.block_on(dial(server, limit))?;
        Ok(Self {
            server: server.clone(),
            runtime,
            channel,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn server(&self) -> &ServerAddress {
        &self.server
    }

    fn calls(&self) -> ObserverClient<Channel> {
        ObserverClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// A call that has one answer.
    fn ask<T>(
        &self,
        call: &'static str,
        limit: Duration,
        asked: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<tonic::Response<T>, ObserverError> {
        match self
            .runtime
            .block_on(async { tokio::time::timeout(limit, asked).await })
        {
            Err(_) => Err(ObserverError::Late {
                server: Box::new(self.server.clone()),
                limit,
            }),
            Ok(Err(status)) => Err(ObserverError::new(&self.server, call, &status)),
            Ok(Ok(response)) => Ok(response),
        }
    }

    /// Flows, as they come. A server that has none yet may not answer for long; if it says no, the first wait says so.
    #[must_use]
    pub fn flows(&self, request: GetFlowsRequest) -> Flows<'_> {
        let mut calls = self.calls();
        let stream = Box::pin(async move { calls.get_flows(request).await });
        Flows {
            observer: self,
            state: State::Asked(stream),
            version: None,
        }
    }

    /// How many flows are kept, and since when.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self, limit: Duration) -> Result<ServerStatusResponse, ObserverError> {
        let mut calls = self.calls();
        let asked = calls.server_status(ServerStatusRequest {});
        self.ask("ServerStatus", limit, asked)
            .map(tonic::Response::into_inner)
    }

    /// What the server says it is, if it does.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn version(&self, limit: Duration) -> Result<Option<String>, ObserverError> {
        let mut calls = self.calls();
        let asked = calls.server_status(ServerStatusRequest {});
        match self.ask("ServerStatus", limit, asked) {
            // It need not have this call to have flows.
            Err(ObserverError::Unimplemented { .. }) => Ok(None),
            Err(error) => Err(error),
            Ok(answer) => Ok(version(&answer)),
        }
    }

    /// The nodes that it asks; of an agent itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn nodes(&self, limit: Duration) -> Result<GetNodesResponse, ObserverError> {
        let mut calls = self.calls();
        let asked = calls.get_nodes(GetNodesRequest {});
        self.ask("GetNodes", limit, asked)
            .map(tonic::Response::into_inner)
    }

    /// The namespaces that it saw flows of.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn namespaces(&self, limit: Duration) -> Result<GetNamespacesResponse, ObserverError> {
        let mut calls = self.calls();
        let asked = calls.get_namespaces(GetNamespacesRequest {});
        self.ask("GetNamespaces", limit, asked)
            .map(tonic::Response::into_inner)
    }

    /// Its peers, and each change of them.
    ///
    /// # Errors
    /// When it says no.
    pub fn peers(&self, limit: Duration) -> Result<PeerChanges<'_>, ObserverError> {
        let mut calls = PeerClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        let asked = calls.notify(NotifyRequest {});
        let stream = self.ask("Notify", limit, asked)?.into_inner();
        Ok(PeerChanges {
            observer: self,
            stream,
        })
    }

    /// What obsflow's agent watches and with what; `None` of a server that is none of obsflow's.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn agent_status(
        &self,
        limit: Duration,
    ) -> Result<Option<crate::model::status::Status>, ObserverError> {
        let mut calls = DiagnosisClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        let asked = calls.get_status(GetStatusRequest {});
        match self.ask("GetStatus", limit, asked) {
            Err(ObserverError::Unimplemented { .. }) => Ok(None),
            Err(error) => Err(error),
            Ok(answer) => match status_from(answer.into_inner()) {
                Ok(status) => Ok(Some(status)),
                Err(source) => Err(ObserverError::NotUnderstood {
                    server: Box::new(self.server.clone()),
                    source,
                }),
            },
        }
    }

    /// What obsflow's agent says of exporters.
    ///
    /// # Errors
    /// When it is none of obsflow's, or does not answer.
    pub fn report(&self, limit: Duration) -> Result<Reported, ObserverError> {
        let mut calls = DiagnosisClient::new(self.channel.clone()).max_decoding_message_size(MAX_REPORT);
        let asked = calls.get_report(GetReportRequest {});
        let message: Report = self.ask("GetReport", limit, asked)?.into_inner();
        reported(message).map_err(|source| ObserverError::NotUnderstood {
            server: Box::new(self.server.clone()),
            source,
        })
    }
}

/// What a server says it is.
fn version<T>(response: &tonic::Response<T>) -> Option<String> {
    let version = response.metadata().get(VERSION_HEADER)?;
    version.to_str().ok().map(str::to_owned)
}

type Asked = std::pin::Pin<
    Box<dyn Future<Output = Result<tonic::Response<Streaming<GetFlowsResponse>>, Status>> + Send>,
>;

/// A call on its way: headers may take as long as the first flow.
enum State {
    Asked(Asked),
    Streaming(Box<Streaming<GetFlowsResponse>>),
}

/// Flows as they come.
pub struct Flows<'observer> {
    observer: &'observer Client,
    state: State,
    version: Option<String>,
}

/// What came of waiting for a flow.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// A response.
    Response(Box<Response>),
    /// Nothing new in this time.
    Nothing,
    /// There will be no more.
    Ended,
}

impl Flows<'_> {
    /// Waits for the next one, at most this long.
    ///
    /// # Errors
    /// When the connection breaks, or the server says no.
    pub fn next_within(&mut self, limit: Duration) -> Result<Next, ObserverError> {
        let server = &self.observer.server;
        let error = |status: &Status| ObserverError::new(server, "GetFlows", status);
        loop {
            match &mut self.state {
                State::Asked(asked) => {
                    let answered = self
                        .observer
                        .runtime
                        .block_on(async { tokio::time::timeout(limit, asked.as_mut()).await });
                    match answered {
                        Err(_) => return Ok(Next::Nothing),
                        Ok(Err(status)) => return Err(error(&status)),
                        Ok(Ok(response)) => {
                            self.version = version(&response);
                            self.state = State::Streaming(Box::new(response.into_inner()));
                        }
                    }
                }
                State::Streaming(stream) => {
                    let next = self
                        .observer
                        .runtime
                        .block_on(async { tokio::time::timeout(limit, stream.message()).await });
                    match next {
                        Err(_) => return Ok(Next::Nothing),
                        Ok(Err(status)) if status.code() == Code::Cancelled => return Ok(Next::Ended),
                        Ok(Err(status)) => return Err(error(&status)),
                        Ok(Ok(None)) => return Ok(Next::Ended),
                        Ok(Ok(Some(message))) => {
                            // Of a kind to come, there is nothing to show.
                            if let Some(response) = read::response(message) {
                                return Ok(Next::Response(Box::new(response)));
                            }
                        }
                    }
                }
            }
        }
    }

    /// What the server says it is, once it has begun to answer.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }
}

/// Peers as they come and go.
#[derive(Debug)]
pub struct PeerChanges<'observer> {
    observer: &'observer Client,
    stream: Streaming<ChangeNotification>,
}

impl PeerChanges<'_> {
    /// Waits for the next change, at most this long; `None` for nothing in this time.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn next_within(&mut self, limit: Duration) -> Result<Option<ChangeNotification>, ObserverError> {
        let server = &self.observer.server;
        let next = self
            .observer
            .runtime
            .block_on(async { tokio::time::timeout(limit, self.stream.message()).await });
        match next {
            Err(_) => Ok(None),
            Ok(Err(status)) => Err(ObserverError::new(server, "Notify", &status)),
            Ok(Ok(Some(message))) => Ok(Some(message)),
            Ok(Ok(None)) => Err(ObserverError::Ended {
                server: Box::new(server.clone()),
                reason: "the server is through".to_owned(),
            }),
        }
    }
}
