//! Asking an agent through the API server's port-forward.

use std::pin::{Pin, pin};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod as CorePod;
use kube::api::Portforwarder;
use kube::{Api, Error};
use tokio::time::timeout;

use super::access::Access;
use super::plan::Agent;
use crate::api::{Remote, RemoteError, RemoteReports, Reported};
use crate::cluster::kube::client::innermost;

/// How long an agent may take to answer, the way to it included.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long what went wrong behind the API server may take to be told, after the stream has ended.
const AFTERWARDS: Duration = Duration::from_millis(500);
/// Most of what the API server says that is shown, in bytes.
const MOST: usize = 400;

/// What the other end of a port-forward says when it cannot go on.
type Told = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// The way to an agent's port; ends when dropped.
struct Tunnel {
    forwarder: Portforwarder,
    /// Until it was heard.
    told: Option<Told>,
    port: u16,
    pod: String,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.forwarder.abort();
    }
}

impl Tunnel {
    async fn open(access: &Access, namespace: &str, agent: &Agent) -> Result<(Self, Remote), String> {
        let pods: Api<CorePod> = Api::namespaced(access.client.clone(), namespace);
        let pod = format!("{namespace}/{}", agent.name);
        let mut forwarder = pods
            .portforward(&agent.name, &[agent.port])
            .await
            .map_err(|error| refused(&pod, &error))?;
        let stream = forwarder.take_stream(agent.port);
        let told = forwarder.take_error(agent.port);
        let mut tunnel = Self {
            forwarder,
            told: told.map(|told| Box::pin(told) as Told),
            port: agent.port,
            pod,
        };
        let stream = stream.ok_or_else(|| "the API server forwards another port".to_owned())?;
        let remote = tunnel.through(Remote::over(stream)).await?;
        Ok((tunnel, remote))
    }

    /// Does something at the other end, unless that says before that it cannot go on.
    async fn through<T>(&mut self, work: impl Future<Output = Result<T, RemoteError>>) -> Result<T, String> {
        let mut work = pin!(work);
        let done = match &mut self.told {
            None => work.await,
            Some(told) => tokio::select! {
                done = &mut work => done,
                told = told => {
                    self.told = None;
                    match told {
                        Some(told) => return Err(self.words(&told)),
                        // The forwarding is over: so is the stream, soon.
                        None => work.await,
                    }
                }
            },
        };
        match done {
            Ok(done) => Ok(done),
            Err(seen) => Err(self.why(seen).await),
        }
    }

    /// What went wrong: what the other end says of it, else what was seen at this one.
    async fn why(&mut self, seen: RemoteError) -> String {
        let told = match self.told.take() {
            Some(told) => timeout(AFTERWARDS, told).await.ok().flatten(),
            None => None,
        };
        match (told, seen) {
            (Some(told), _) => self.words(&told),
            (None, seen @ (RemoteError::Ended | RemoteError::NotAnAgent(_))) => {
                format!("no agent answers on port {} of {}: {seen}", self.port, self.pod)
            }
            (None, seen) => format!("{}: {seen}", self.pod),
        }
    }

    fn words(&self, told: &str) -> String {
        let Self { port, pod, .. } = self;
        if told.contains("refused") {
            format!("nobody listens on port {port} of {pod}: its agent needs --listen tcp://127.0.0.1:{port}")
        } else {
            format!("port-forward to {pod}: {}", short(told))
        }
    }
}

fn refused(pod: &str, error: &Error) -> String {
    match error {
        Error::Api(status) if status.code == 403 => format!(
            "port-forward to {pod} is forbidden: {} (RBAC: get and create of pods/portforward)",
            short(&status.message)
        ),
        Error::Api(status) => format!(
            "port-forward to {pod}: {} ({})",
            short(&status.message),
            status.code
        ),
        other => format!("port-forward to {pod}: {}", short(&innermost(other))),
    }
}

/// A line, of words that somebody else wrote.
fn short(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = (0..=MOST.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or_default()).unwrap_or_default().to_owned()
}

async fn in_time<T>(agent: &Agent, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    timeout(PATIENCE, work).await.unwrap_or_else(|_| {
        Err(format!(
            "the agent {} did not answer within {} s",
            agent.name,
            PATIENCE.as_secs()
        ))
    })
}

/// What an agent says now; the error says in words why it is not known.
pub(super) async fn ask(access: &Access, namespace: &str, agent: &Agent) -> Result<Reported, String> {
    in_time(agent, async {
        let (mut tunnel, mut remote) = Tunnel::open(access, namespace, agent).await?;
        tunnel.through(remote.report()).await
    })
    .await
}

/// What an agent says, as it says it.
pub(super) struct Following {
    tunnel: Tunnel,
    reports: RemoteReports,
}

impl Following {
    pub(super) async fn start(access: &Access, namespace: &str, agent: &Agent) -> Result<Self, String> {
        in_time(agent, async {
            let (mut tunnel, mut remote) = Tunnel::open(access, namespace, agent).await?;
            let reports = tunnel.through(remote.watch()).await?;
            Ok(Self { tunnel, reports })
        })
        .await
    }

    /// The next report; the error says in words why there will be none.
    pub(super) async fn next(&mut self) -> Result<Reported, String> {
        let next = self.tunnel.through(self.reports.next()).await?;
        next.ok_or_else(|| "its agent ended".to_owned())
    }
}
