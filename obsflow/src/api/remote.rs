//! Asks an agent over a stream that somebody else opened, such as a port-forward. Async, for who asks many at a time.

use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::Channel;
use tonic::{Code, Status as Refusal, Streaming};

use super::client::{Reported, causes, reported};
use super::convert::ConvertError;
use super::once;
use super::v1::diagnosis_client::DiagnosisClient;
use super::v1::{self, GetReportRequest, WatchReportsRequest};

/// Largest report that is read, in bytes: of some ten thousand exporters. Many are held at a time.
const MAX_REPORT: usize = 32 << 20;
/// What may be on its way at a time: a forwarded stream has the latency of three connections.
const WINDOW: u32 = 1 << 20;
/// This obsflow.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// An agent's answer is of no use, or there is none.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// It speaks no gRPC.
    #[error("what listens there is no agent of obsflow: {0}")]
    NotAnAgent(String),
    /// It does not know this call, or says what this one does not know.
    #[error("it is another version of obsflow than this one ({VERSION}): {0}")]
    Skew(String),
    /// The connection is gone.
    #[error("the connection ended")]
    Ended,
    /// It says no.
    #[error("it says: {0}")]
    Refused(String),
}

impl RemoteError {
    fn not_understood(version: &str, source: &ConvertError) -> Self {
        Self::Skew(format!("it is {version}, and {source}"))
    }
}

impl From<Refusal> for RemoteError {
    fn from(status: Refusal) -> Self {
        match status.code() {
            Code::Unimplemented => Self::Skew("it does not know this question".to_owned()),
            Code::Unavailable | Code::Cancelled => Self::Ended,
            Code::Unknown | Code::Internal => Self::NotAnAgent(status.message().to_owned()),
            _ => Self::Refused(status.message().to_owned()),
        }
    }
}

/// An agent at the other end of a stream.
#[derive(Clone, Debug)]
pub struct Remote {
    calls: DiagnosisClient<Channel>,
}

impl Remote {
    /// Begins to speak gRPC over a stream. No deadline is kept here: the caller has one for all of it.
    ///
    /// # Errors
    /// When the other end does not speak it.
    pub async fn over<S>(stream: S) -> Result<Self, RemoteError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let channel = once::channel(stream, WINDOW)
            .await
            .map_err(|error| RemoteError::NotAnAgent(causes(&error)))?;
        let calls = DiagnosisClient::new(channel).max_decoding_message_size(MAX_REPORT);
        Ok(Self { calls })
    }

    /// What the agent says now.
    ///
    /// # Errors
    /// When it does not answer, or says what is not understood here.
    pub async fn report(&mut self) -> Result<Reported, RemoteError> {
        let message = self.calls.get_report(GetReportRequest {}).await?.into_inner();
        understood(message)
    }

    /// A report now and on every change.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn watch(&mut self) -> Result<RemoteReports, RemoteError> {
        let stream = self
            .calls
            .watch_reports(WatchReportsRequest {})
            .await?
            .into_inner();
        Ok(RemoteReports(stream))
    }
}

/// Reports as they come.
#[derive(Debug)]
pub struct RemoteReports(Streaming<v1::Report>);

impl RemoteReports {
    /// The next one; `None` when the agent ends. May be given up and called again: nothing is lost.
    ///
    /// # Errors
    /// When the connection breaks, or the agent says what is not understood here.
    pub async fn next(&mut self) -> Result<Option<Reported>, RemoteError> {
        self.0.message().await?.map(understood).transpose()
    }
}

fn understood(message: v1::Report) -> Result<Reported, RemoteError> {
    let version = message.version.clone();
    reported(message).map_err(|source| RemoteError::not_understood(&version, &source))
}
