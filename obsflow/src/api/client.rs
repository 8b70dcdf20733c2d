//! Asks an agent. Blocking, for commands: the runtime beneath has no thread of its own and runs while a call waits.

use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};

use super::address::{Address, AddressError};
use super::convert::{ConvertError, Event, WALL, event_from, report_from, status_from};
use super::v1::diagnosis_client::DiagnosisClient;
use super::v1::{self, GetReportRequest, GetStatusRequest, ProbeRequest, WatchReportsRequest};
use crate::model::Clock;
use crate::model::probe::{Check, Findings};
use crate::model::status::Status;
use crate::model::verdict::Report;

/// How long an agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long active checks may be silent: longer than all of them together may take.
const PROBE_PATIENCE: Duration = Duration::from_secs(30);
/// Checks that are taken; an agent makes a few dozen.
const MAX_CHECKS: usize = 256;
/// Largest report that is read, in bytes: some ten times one of 5,000 exporters.
const MAX_REPORT: usize = 128 << 20;
/// This obsflow.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// An agent cannot be asked, or its answer is of no use. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// No socket.
    #[error("no agent listens at {0}: start one with `obsflow agent`")]
    NoAgent(Address),
    /// A socket that nobody listens at.
    #[error("the agent that listened at {0} is gone: start it again with `obsflow agent`")]
    Stale(Address),
    /// The socket is for root and its group.
    #[error("no permission to ask the agent at {0}: run as root, or as a member of the socket's group")]
    Permission(Address),
    /// Connecting failed otherwise.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Where.
        address: Address,
        /// Why.
        source: io::Error,
    },
    /// The runtime could not be made.
    #[error("cannot make a runtime to ask the agent with: {0}")]
    Runtime(io::Error),
    /// It speaks no gRPC.
    #[error("what listens at {address} is no agent of obsflow: {what}")]
    NotAnAgent {
        /// Where.
        address: Address,
        /// What went wrong.
        what: String,
    },
    /// It does not know this call.
    #[error(
        "the agent at {0} does not know this question: it is another version of obsflow than this one ({VERSION}); use \
         the same"
    )]
    Skew(Address),
    /// It says what this one does not know.
    #[error(
        "the agent is obsflow {version} and says what this one ({VERSION}) does not understand: {source}; use the same version"
    )]
    NotUnderstood {
        /// The agent's version.
        version: String,
        /// What.
        source: ConvertError,
    },
    /// It went away in the middle.
    #[error("the agent at {0} ended")]
    Ended(Address),
    /// It took too long.
    #[error("the agent at {0} did not answer within {PATIENCE:?}: its log says more")]
    Late(Address),
    /// It says no.
    #[error("the agent at {address} says: {message}")]
    Refused {
        /// Where.
        address: Address,
        /// Its words.
        message: String,
    },
}

impl ClientError {
    /// Whether there simply is no agent, so that a command may watch by itself.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::NoAgent(_) | Self::Stale(_))
    }
}

/// A report with what is needed to show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reported {
    /// The report; its time is that of `clock`, not of this machine's kernel.
    pub report: Report,
    /// Turns its time into wall-clock time.
    pub clock: Clock,
    /// Name of the agent's node.
    pub node: String,
    /// The agent's version.
    pub version: String,
}

/// A connection to an agent.
#[derive(Debug)]
pub struct Client {
    address: Address,
    runtime: Runtime,
    calls: DiagnosisClient<Channel>,
}

impl Client {
    /// Connects to an agent at `unix:///path` or `tcp://127.0.0.1:port`.
    ///
    /// # Errors
    /// When nobody listens there, or this process may not connect.
    pub fn connect(address: &str) -> Result<Self, ClientError> {
        Self::connect_to(&Address::parse(address)?)
    }

    /// Connects to an agent.
    ///
    /// # Errors
    /// When nobody listens there, or this process may not connect.
    pub fn connect_to(address: &Address) -> Result<Self, ClientError> {
        let address = address.clone();
        // gRPC's errors hide the errno; a plain connection has it.
        let (tried, uri) = match &address {
            Address::Unix(path) => (UnixStream::connect(path).map(drop), address.to_string()),
            Address::Tcp(socket) => (
                TcpStream::connect_timeout(socket, PATIENCE).map(drop),
                format!("http://{socket}"),
            ),
        };
        tried.map_err(|error| not_connected(&address, error))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ClientError::Runtime)?;
        let not_an_agent = |error: tonic::transport::Error| ClientError::NotAnAgent {
            address: address.clone(),
            what: causes(&error),
        };
        let endpoint = Endpoint::from_shared(uri).map_err(not_an_agent)?;
        let channel = runtime
            .block_on(endpoint.connect_timeout(PATIENCE).connect())
            .map_err(not_an_agent)?;
        let calls = DiagnosisClient::new(channel).max_decoding_message_size(MAX_REPORT);
        Ok(Self {
            address,
            runtime,
            calls,
        })
    }

    /// Where the agent listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Asks what may be asked twice. Between two questions nothing runs here, so that the server's PINGs are not answered,
    /// and it may have closed the connection: only the question shows that, and the next one makes another.
    fn ask<T, F>(&self, call: impl Fn(DiagnosisClient<Channel>) -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        self.runtime.block_on(async {
            let once = || tokio::time::timeout(PATIENCE, call(self.calls.clone()));
            let mut called = once().await;
            if let Ok(Err(status)) = &called
                && was_closed(status)
            {
                called = once().await;
            }
            answer(&self.address, called)
        })
    }

    /// What the agent says now.
    ///
    /// # Errors
    /// When it does not answer, or says what is not understood here.
    pub fn report(&mut self) -> Result<Reported, ClientError> {
        let message = self.ask(|mut calls| async move { calls.get_report(GetReportRequest {}).await })?;
        understood(message)
    }

    /// What the agent watches, with what, and what it saw and lost.
    ///
    /// # Errors
    /// When it does not answer, or says what is not understood here.
    pub fn status(&mut self) -> Result<Status, ClientError> {
        let message = self.ask(|mut calls| async move { calls.get_status(GetStatusRequest {}).await })?;
        let version = message.version.clone();
        status_from(message).map_err(|source| ClientError::NotUnderstood { version, source })
    }

    /// Has an exporter's destination checked, and waits for the end; `on` hears of each check when it is done.
    ///
    /// # Errors
    /// When this is not root, another check runs, the exporter is gone, or the agent does not answer.
    pub fn probe(&mut self, export: &str, mut on: impl FnMut(&Check)) -> Result<Findings, ClientError> {
        let request = ProbeRequest {
            export: export.to_owned(),
        };
        let mut stream = self.runtime.block_on(async {
            let call = self.calls.probe(request);
            answer(&self.address, tokio::time::timeout(PATIENCE, call).await)
        })?;
        let mut findings = Findings::default();
        loop {
            let next = self
                .runtime
                .block_on(async { tokio::time::timeout(PROBE_PATIENCE, stream.message()).await });
            let message = match next {
                Err(_) => return Err(ClientError::Late(self.address.clone())),
                Ok(Err(status)) => return Err(refused(&self.address, &status)),
                Ok(Ok(None)) => return Err(ClientError::Ended(self.address.clone())),
                Ok(Ok(Some(message))) => message,
            };
            let event = event_from(message).map_err(|source| ClientError::NotUnderstood {
                version: "of another version".to_owned(),
                source,
            })?;
            match event {
                Event::Check(check) if findings.checks.len() < MAX_CHECKS => {
                    on(&check);
                    findings.checks.push(check);
                }
                Event::Check(_) => {}
                Event::Conclusion { works, says } => {
                    findings.works = works;
                    findings.conclusion = says;
                    return Ok(findings);
                }
            }
        }
    }

    /// A report now and on every change.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn watch(&mut self) -> Result<Reports<'_>, ClientError> {
        let stream =
            self.ask(|mut calls| async move { calls.watch_reports(WatchReportsRequest {}).await })?;
        Ok(Reports { client: self, stream })
    }
}

/// Reports as they come; ends when the agent ends.
#[derive(Debug)]
pub struct Reports<'client> {
    client: &'client mut Client,
    stream: Streaming<v1::Report>,
}

/// What came of waiting for a report.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// A report.
    Report(Box<Reported>),
    /// Nothing new in this time.
    Nothing,
    /// The agent ended well: there will be no more.
    Ended,
}

impl Reports<'_> {
    /// Waits for the next report, at most this long.
    ///
    /// # Errors
    /// When the connection breaks, or the agent says what is not understood here.
    pub fn next_within(&mut self, limit: Duration) -> Result<Next, ClientError> {
        let message = self
            .client
            .runtime
            .block_on(async { tokio::time::timeout(limit, self.stream.message()).await });
        match message {
            Err(_) => Ok(Next::Nothing),
            Ok(Ok(None)) => Ok(Next::Ended),
            Ok(Ok(Some(message))) => Ok(Next::Report(Box::new(understood(message)?))),
            Ok(Err(status)) => Err(refused(&self.client.address, &status)),
        }
    }
}

impl Iterator for Reports<'_> {
    type Item = Result<Reported, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_within(Duration::from_secs(3600)) {
                Ok(Next::Report(report)) => return Some(Ok(*report)),
                Ok(Next::Nothing) => {}
                Ok(Next::Ended) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// What a message says, in wall-clock time.
pub(super) fn reported(message: v1::Report) -> Result<Reported, ConvertError> {
    let (node, version) = (message.node.clone(), message.version.clone());
    Ok(Reported {
        report: report_from(message)?,
        clock: WALL,
        node,
        version,
    })
}

fn understood(message: v1::Report) -> Result<Reported, ClientError> {
    let version = message.version.clone();
    reported(message).map_err(|source| ClientError::NotUnderstood { version, source })
}

fn answer<T>(
    address: &Address,
    called: Result<Result<tonic::Response<T>, tonic::Status>, tokio::time::error::Elapsed>,
) -> Result<T, ClientError> {
    match called {
        Err(_) => Err(ClientError::Late(address.clone())),
        Ok(Err(status)) => Err(refused(address, &status)),
        Ok(Ok(response)) => Ok(response.into_inner()),
    }
}

/// Whether the connection broke, whatever was asked.
fn was_closed(status: &tonic::Status) -> bool {
    std::error::Error::source(status).is_some_and(|cause| cause.is::<tonic::transport::Error>())
}

fn not_connected(address: &Address, error: io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::NotFound => ClientError::NoAgent(address.clone()),
        io::ErrorKind::ConnectionRefused => ClientError::Stale(address.clone()),
        io::ErrorKind::PermissionDenied => ClientError::Permission(address.clone()),
        _ => ClientError::Connect {
            address: address.clone(),
            source: error,
        },
    }
}

fn refused(address: &Address, status: &tonic::Status) -> ClientError {
    match status.code() {
        Code::Unimplemented => ClientError::Skew(address.clone()),
        Code::Unavailable | Code::Cancelled => ClientError::Ended(address.clone()),
        Code::Unknown | Code::Internal => ClientError::NotAnAgent {
            address: address.clone(),
            what: status.message().to_owned(),
        },
        _ => ClientError::Refused {
            address: address.clone(),
            message: status.message().to_owned(),
        },
    }
}

/// An error and its causes in a line.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}
