//! `observer.Observer`: the flows of this node.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, WatchStream};
use tonic::{Request, Response, Status as Refusal};

use super::flows::{Extent, Flows};
use super::mask::Mask;
use super::place::{Selection, Turn, readable};
use super::proto::observer::observer_server::Observer as Service;
use super::proto::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetDebugEventsResponse,
    GetFlowsRequest, GetFlowsResponse, GetNamespacesRequest, GetNamespacesResponse, GetNodesRequest,
    GetNodesResponse, Namespace, Node, ServerStatusRequest, ServerStatusResponse, Tls,
};
use super::proto::relay::NodeState;
use super::{SERVER, peer::Peers};
use crate::flow::FlowMaker;
use crate::model::cluster::Destination;
use crate::session::now;
use crate::store::{History, Next};

/// Answers read at a time on a socket: each holds a chunk of what is kept.
const MAX_READERS: usize = 128;

/// See the module.
#[derive(Clone, Debug)]
pub struct Observer {
    history: History,
    readers: Arc<Semaphore>,
    peers: Peers,
}

impl Observer {
    /// Answers from what is kept; `peers` knows where this node serves.
    #[must_use]
    pub fn new(history: History, peers: Peers) -> Self {
        Self {
            history,
            readers: Arc::new(Semaphore::new(MAX_READERS)),
            peers,
        }
    }

    /// The same for another socket: those who read there take nobody's place here.
    #[must_use]
    pub fn for_others(&self) -> Self {
        Self::new(self.history.clone(), self.peers.clone())
    }

    fn permit(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        Arc::clone(&self.readers).try_acquire_owned().map_err(|_| {
            Refusal::resource_exhausted(format!(
                "{MAX_READERS} others read flows already, and more are not served; end one of them"
            ))
        })
    }

    async fn flows(&self, request: GetFlowsRequest) -> Result<Flows, Refusal> {
        if request.first && request.follow {
            return Err(Refusal::invalid_argument(
                "first cannot be specified with follow: the oldest flows are there already",
            ));
        }
        let selection = Selection::new(&request, &self.history)?;
        let experimental = request.experimental.as_ref();
        let mask = match &request.field_mask {
            Some(mask) if !mask.paths.is_empty() => Some(mask),
            _ => experimental.and_then(|experimental| experimental.field_mask.as_ref()),
        };
        let mask = Mask::new(mask).map_err(|error| Refusal::invalid_argument(readable(error)))?;
        let permit = self.permit()?;
        let maker = FlowMaker {
            clock: self.history.clock(),
            node_name: self.history.node.clone(),
        };
        // From here on, so that nothing that comes in the meantime is missed.
        let changes = self.history.store.changes();
        let begin = selection.begin(&request, &self.history, &maker).await;
        let extent = if request.follow {
            Extent::Follow(WatchStream::new(changes))
        } else {
            Extent::Kept {
                left: match request.number {
                    0 => u64::MAX,
                    number => number,
                },
            }
        };
        Ok(Flows::new(
            self.history.clone(),
            selection,
            mask,
            begin,
            extent,
            permit,
        ))
    }

    /// Namespaces of what is kept.
    async fn namespaces(&self) -> BTreeSet<Arc<str>> {
        let mut found: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut add = |namespace: &Arc<str>| {
            if !found.contains(namespace) {
                found.insert(Arc::clone(namespace));
            }
        };
        let kept = self.history.store.kept();
        let mut cursor = self.history.store.cursor(kept.begin);
        let mut turn = Turn::new();
        while cursor.position() < kept.end {
            match cursor.read() {
                Next::Entry(seen) => {
                    if let Some(namespace) = &seen.workload.namespace {
                        add(namespace);
                    }
                    match seen.remote_is.as_deref() {
                        Some(Destination::Pod { namespace, .. } | Destination::Service { namespace, .. }) => {
                            add(namespace);
                        }
                        Some(Destination::Node { .. }) | None => {}
                    }
                }
                Next::Lost(_) => {}
                Next::End => break,
            }
            if turn.is_over() {
                tokio::task::yield_now().await;
                turn = Turn::new();
            }
        }
        found
    }

    /// There are none; who follows waits for what never comes, as long as the agent runs.
    fn nothing<T: Send + 'static>(&self, first: bool, follow: bool) -> Result<Answers<T>, Refusal> {
        if first && follow {
            return Err(Refusal::invalid_argument("first cannot be specified with follow"));
        }
        if !follow {
            return Ok(Box::pin(tokio_stream::empty()));
        }
        let permit = self.permit()?;
        let ended = self.history.store.ended();
        let (answers, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let _permit = permit;
            tokio::select! {
                () = ended => {
                    // Whoever follows is not done: it should ask whoever comes next.
                    let _ = answers.send(Err(Refusal::unavailable("the agent ends"))).await;
                }
                () = answers.closed() => {}
            }
        });
        Ok(Box::pin(ReceiverStream::new(receiver)))
    }

    fn uptime_ns(&self) -> u64 {
        u64::try_from(now().since(self.history.since).as_nanos()).unwrap_or(u64::MAX)
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Refusal>> + Send>>;

#[tonic::async_trait]
impl Service for Observer {
    type GetFlowsStream = Answers<GetFlowsResponse>;

    async fn get_flows(
        &self,
        request: Request<GetFlowsRequest>,
    ) -> Result<Response<Self::GetFlowsStream>, Refusal> {
        let flows = self.flows(request.into_inner()).await?;
        Ok(Response::new(Box::pin(flows)))
    }

    type GetAgentEventsStream = Answers<GetAgentEventsResponse>;

    async fn get_agent_events(
        &self,
        request: Request<GetAgentEventsRequest>,
    ) -> Result<Response<Self::GetAgentEventsStream>, Refusal> {
        let request = request.into_inner();
        Ok(Response::new(self.nothing(request.first, request.follow)?))
    }

    type GetDebugEventsStream = Answers<GetDebugEventsResponse>;

    async fn get_debug_events(
        &self,
        request: Request<GetDebugEventsRequest>,
    ) -> Result<Response<Self::GetDebugEventsStream>, Refusal> {
        let request = request.into_inner();
        Ok(Response::new(self.nothing(request.first, request.follow)?))
    }

    async fn get_nodes(&self, _: Request<GetNodesRequest>) -> Result<Response<GetNodesResponse>, Refusal> {
        let kept = self.history.store.kept();
        let own = self.peers.own(&self.history.node);
        let node = Node {
            name: self.history.node.as_ref().to_owned(),
            version: SERVER.to_owned(),
            address: own.as_ref().map_or_else(String::new, |own| own.address.clone()),
            state: NodeState::NodeConnected.into(),
            tls: Some(Tls {
                enabled: own.as_ref().is_some_and(|own| own.server_name.is_some()),
                server_name: own.and_then(|own| own.server_name).unwrap_or_default(),
            }),
            uptime_ns: self.uptime_ns(),
            num_flows: kept.len(),
            max_flows: self.history.store.limits().entries as u64,
            seen_flows: kept.end,
        };
        Ok(Response::new(GetNodesResponse { nodes: vec![node] }))
    }

    async fn get_namespaces(
        &self,
        _: Request<GetNamespacesRequest>,
    ) -> Result<Response<GetNamespacesResponse>, Refusal> {
        let namespaces = self.namespaces().await.into_iter().map(|namespace| Namespace {
            cluster: String::new(),
            namespace: namespace.as_ref().to_owned(),
        });
        Ok(Response::new(GetNamespacesResponse {
            namespaces: namespaces.collect(),
        }))
    }

    async fn server_status(
        &self,
        _: Request<ServerStatusRequest>,
    ) -> Result<Response<ServerStatusResponse>, Refusal> {
        let kept = self.history.store.kept();
        Ok(Response::new(ServerStatusResponse {
            num_flows: kept.len(),
            max_flows: self.history.store.limits().entries as u64,
            seen_flows: kept.end,
            uptime_ns: self.uptime_ns(),
            num_connected_nodes: None,
            num_unavailable_nodes: None,
            unavailable_nodes: Vec::new(),
            version: SERVER.to_owned(),
            flows_rate: self.history.rate(),
        }))
    }
}
