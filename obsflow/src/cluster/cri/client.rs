//! Asking a runtime.

use std::collections::HashMap;
use std::error::Error as _;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::Told;
use super::pods::{self, Network};
use super::v1::runtime_service_client::RuntimeServiceClient;
use super::v1::{
    ListContainersRequest, ListPodSandboxRequest, NamespaceMode, PodSandboxState, PodSandboxStatus,
    PodSandboxStatusRequest, VersionRequest,
};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// Largest answer that is read, in bytes: the kubelet's own limit.
const MAX_ANSWER: usize = 16 << 20;
/// Pods whose network is asked for at one time; the others follow the next time.
const MAX_STATUSES: usize = 1024;

/// A runtime cannot be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum CriError {
    /// Nobody listens.
    #[error("nobody listens there ({0})")]
    Connect(#[source] io::Error),
    /// This process may not connect.
    #[error("no permission to connect; run as root")]
    Permission,
    /// It speaks no gRPC.
    #[error("what listens there is no container runtime ({0})")]
    NotARuntime(String),
    /// It speaks gRPC, but not this.
    #[error("it does not serve the Container Runtime Interface v1 ({0})")]
    NoCri(String),
    /// It does not answer.
    #[error("it does not answer within {} s", PATIENCE.as_secs())]
    Late,
    /// It says no.
    #[error("it says: {0}")]
    Refused(String),
}

/// A connection to a runtime.
pub(super) struct Client {
    calls: RuntimeServiceClient<Channel>,
    /// Name and version.
    pub(super) runtime: String,
    /// Networks of sandboxes, which never change, by id.
    networks: HashMap<String, Network>,
}

impl Client {
    pub(super) async fn connect(path: &Path) -> Result<Self, CriError> {
        // gRPC's errors hide the errno; a plain connection has it.
        let plain = timeout(CONNECT, UnixStream::connect(path)).await;
        drop(plain.map_err(|_| CriError::Late)?.map_err(not_connected)?);
        let endpoint = Endpoint::from_shared(format!("unix://{}", path.display()))
            .map_err(|error| CriError::NotARuntime(deepest(&error)))?;
        let channel = timeout(PATIENCE, endpoint.connect_timeout(CONNECT).connect())
            .await
            .map_err(|_| CriError::Late)?
            .map_err(|error| CriError::NotARuntime(deepest(&error)))?;
        let mut calls = RuntimeServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER);
        let request = VersionRequest {
            version: "v1".to_owned(),
        };
        let version = answer(timeout(PATIENCE, calls.version(request)).await)?;
        Ok(Self {
            calls,
            runtime: format!("{} {}", version.runtime_name, version.runtime_version),
            networks: HashMap::new(),
        })
    }

    /// Who is there.
    pub(super) async fn ask(&mut self) -> Result<Told, CriError> {
        // Containers first: each that is listed has its sandbox in the list that is made later.
        let containers =
            answer(timeout(PATIENCE, self.calls.list_containers(ListContainersRequest {})).await)?.containers;
        let sandboxes =
            answer(timeout(PATIENCE, self.calls.list_pod_sandbox(ListPodSandboxRequest {})).await)?.items;
        self.networks
            .retain(|id, _| sandboxes.iter().any(|sandbox| sandbox.id == *id));
        let mut asked = 0;
        for sandbox in &sandboxes {
            if sandbox.state() != PodSandboxState::SandboxReady || self.networks.contains_key(&sandbox.id) {
                continue;
            }
            asked += 1;
            if asked > MAX_STATUSES {
                break;
            }
            let request = PodSandboxStatusRequest {
                pod_sandbox_id: sandbox.id.clone(),
            };
            match answer(timeout(PATIENCE, self.calls.pod_sandbox_status(request)).await) {
                Ok(response) => {
                    let network = response.status.map(network).unwrap_or_default();
                    self.networks.insert(sandbox.id.clone(), network);
                }
                // It was removed in between.
                Err(CriError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(pods::told(sandboxes, containers, &self.networks))
    }
}

fn network(status: PodSandboxStatus) -> Network {
    let host = status
        .linux
        .and_then(|linux| linux.namespaces)
        .and_then(|namespaces| namespaces.options)
        .is_some_and(|options| options.network() == NamespaceMode::Node);
    let ips = status.network.into_iter().flat_map(|network| {
        let more = network.additional_ips.into_iter().map(|more| more.ip);
        std::iter::once(network.ip).chain(more)
    });
    Network {
        host,
        ips: ips.filter_map(|ip| ip.parse::<IpAddr>().ok()).collect(),
    }
}

fn answer<T>(
    called: Result<Result<tonic::Response<T>, tonic::Status>, tokio::time::error::Elapsed>,
) -> Result<T, CriError> {
    let status = match called {
        Err(_) => return Err(CriError::Late),
        Ok(Ok(response)) => return Ok(response.into_inner()),
        Ok(Err(status)) => status,
    };
    let said = match status.source() {
        Some(source) => deepest(source),
        None => status.message().to_owned(),
    };
    Err(match status.code() {
        Code::Unimplemented => CriError::NoCri(said),
        Code::NotFound => CriError::Refused(said),
        Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal if status.source().is_some() => {
            CriError::NotARuntime(said)
        }
        _ => CriError::Refused(said),
    })
}

fn not_connected(error: io::Error) -> CriError {
    match error.kind() {
        io::ErrorKind::PermissionDenied => CriError::Permission,
        _ => CriError::Connect(error),
    }
}

/// What is behind an error that only says that something went wrong.
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    // Somebody else's words, for one line of a log.
    let text: String = deepest
        .to_string()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(200)
        .collect();
    text
}
