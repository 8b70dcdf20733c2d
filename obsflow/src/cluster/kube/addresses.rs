//! Services and EndpointSlices.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::board::State;
use super::super::names::Names;
use super::resource::{Resource, What};
use super::wire;
use crate::model::cluster::{Addresses, Endpoint, Service, Table};

/// Namespace and name.
type Key = (Arc<str>, Arc<str>);

/// What Services and EndpointSlices say.
#[derive(Debug, Default)]
pub(crate) struct AddressStore {
    services: Table<Key, KnownService>,
    slices: Table<Key, KnownSlice>,
    /// The Service whose endpoints are the agents.
    agents: Option<Key>,
}

#[derive(Debug)]
struct KnownService {
    ips: Box<[IpAddr]>,
    ports: Box<[(u16, Option<Arc<str>>)]>,
    round: u32,
}

#[derive(Debug)]
struct KnownSlice {
    service: Arc<str>,
    endpoints: Box<[Backend]>,
    round: u32,
}

#[derive(Debug, PartialEq, Eq)]
struct Backend {
    ip: IpAddr,
    pod: Option<Arc<str>>,
    node: Option<Arc<str>>,
    ready: bool,
}

/// Endpoints of one Service in one address family: a Service in both families has each of its pods twice.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    ready: [u32; 2],
    not_ready: [u32; 2],
}

impl AddressStore {
    /// Also says on which nodes the endpoints of this Service are.
    pub(crate) fn look_for(&mut self, agents: Option<Key>) {
        self.agents = agents;
    }

    /// Addresses of agents by their nodes.
    fn agents(&self) -> Vec<(Arc<str>, IpAddr)> {
        let Some((of, service)) = &self.agents else {
            return Vec::new();
        };
        let slices = self.slices.iter();
        let mut agents: Vec<_> = slices
            .filter(|((namespace, _), slice)| namespace == of && slice.service == *service)
            .flat_map(|(_, slice)| &slice.endpoints)
            .filter_map(|backend| Some((backend.node.clone()?, backend.ip)))
            .collect();
        agents.sort_unstable();
        agents.dedup();
        agents
    }

    /// Makes the tables; Services that are as they were in `before` are shared with it.
    pub(crate) fn build(&self, before: &Addresses) -> Addresses {
        let mut counts: Table<(&str, &str), Count> = Table::default();
        let backends = self.slices.values().map(|slice| slice.endpoints.len()).sum();
        let mut endpoints: Table<IpAddr, Endpoint> = Table::default();
        endpoints.reserve(backends);
        for ((namespace, _), slice) in &self.slices {
            let count = counts.entry((namespace, &slice.service)).or_default();
            for backend in &slice.endpoints {
                let family = usize::from(backend.ip.is_ipv6());
                if backend.ready {
                    count.ready[family] += 1;
                } else {
                    count.not_ready[family] += 1;
                }
                let known = endpoints.entry(backend.ip).or_insert_with(|| Endpoint {
                    namespace: Arc::clone(namespace),
                    pod: backend.pod.clone(),
                    service: Arc::clone(&slice.service),
                });
                // The same pod may be behind many: the first by name, so that it stays the same one.
                if (namespace, &slice.service) < (&known.namespace, &known.service) {
                    known.namespace = Arc::clone(namespace);
                    known.pod.clone_from(&backend.pod);
                    known.service = Arc::clone(&slice.service);
                }
            }
        }
        let mut services: Table<Key, Arc<Service>> = Table::default();
        services.reserve(self.services.len());
        let mut by_cluster_ip: Table<IpAddr, Arc<Service>> = Table::default();
        by_cluster_ip.reserve(self.services.len());
        for (key, known) in &self.services {
            let count = counts.get(&(&*key.0, &*key.1)).copied().unwrap_or_default();
            let (ready, not_ready) = (count.ready, count.not_ready);
            let (ready, not_ready) = (ready[0].max(ready[1]), not_ready[0].max(not_ready[1]));
            let service = match before.services.get(key) {
                Some(before)
                    if before.ready == ready
                        && before.not_ready == not_ready
                        && *before.ips == *known.ips
                        && *before.ports == *known.ports =>
                {
                    Arc::clone(before)
                }
                _ => Arc::new(Service {
                    namespace: Arc::clone(&key.0),
                    name: Arc::clone(&key.1),
                    ips: known.ips.to_vec(),
                    ports: known.ports.to_vec(),
                    ready,
                    not_ready,
                }),
            };
            for ip in &known.ips {
                by_cluster_ip.insert(*ip, Arc::clone(&service));
            }
            services.insert(key.clone(), service);
        }
        Addresses {
            services,
            by_cluster_ip,
            endpoints,
            agents: self.agents(),
        }
    }
}

fn key(meta: &wire::Meta, names: &mut Names) -> Key {
    (names.get(&meta.namespace), names.get(&meta.name))
}

/// The watch of Services.
pub(crate) struct ServiceWatch;

impl Resource for ServiceWatch {
    type Object = wire::Service;

    const WHAT: What = What {
        name: "services",
        group: "\"\"",
        verbs: "list, watch",
        without: "destinations in the cluster are shown by their addresses",
        path: "/api/v1/services",
        metadata: false,
        page: 500,
        cached: false,
        most: 100_000,
    };

    fn what() -> &'static What {
        &Self::WHAT
    }

    fn version(object: &wire::Service) -> &str {
        &object.metadata.resource_version
    }

    fn knows(state: &State, object: &wire::Service) -> bool {
        let meta = &object.metadata;
        let key = (Arc::from(&*meta.namespace), Arc::from(&*meta.name));
        state.addresses.services.contains_key(&key)
    }

    fn apply(state: &mut State, object: wire::Service, round: u32) -> bool {
        let key = key(&object.metadata, &mut state.names);
        let spec = &object.spec;
        let mut ips: Vec<IpAddr> = wire::ips(spec.cluster_ips.iter().map(|ip| &**ip)).collect();
        if ips.is_empty() {
            ips.extend(wire::ips([&*spec.cluster_ip]));
        }
        let ports: Box<[_]> = spec
            .ports
            .iter()
            // Without a word it is TCP.
            .filter(|port| matches!(&*port.protocol, "TCP" | ""))
            .map(|port| (port.port, state.names.some(&port.name)))
            .collect();
        let new = KnownService {
            ips: ips.into(),
            ports,
            round,
        };
        let changed = |old: &KnownService| old.ips != new.ips || old.ports != new.ports;
        let is_new = state.addresses.services.get(&key).is_none_or(changed);
        state.addresses.services.insert(key, new);
        is_new
    }

    fn remove(state: &mut State, object: &wire::Service) -> bool {
        let key = key(&object.metadata, &mut state.names);
        state.addresses.services.remove(&key).is_some()
    }

    fn sweep(state: &mut State, round: u32) {
        state.addresses.services.retain(|_, known| known.round == round);
        state.addresses.services.shrink_to_fit();
    }

    fn count(state: &State) -> usize {
        state.addresses.services.len()
    }

    fn touch(state: &mut State) {
        state.dirty.addresses = true;
    }
}

/// The watch of EndpointSlices.
pub(crate) struct SliceWatch;

impl Resource for SliceWatch {
    type Object = wire::Slice;

    const WHAT: What = What {
        name: "endpointslices",
        group: "discovery.k8s.io",
        verbs: "list, watch",
        without: "destinations in the cluster are shown by their addresses",
        path: "/apis/discovery.k8s.io/v1/endpointslices",
        metadata: false,
        // A slice has up to 1,000 endpoints, by default 100.
        page: 100,
        cached: false,
        most: 100_000,
    };

    fn what() -> &'static What {
        &Self::WHAT
    }

    fn version(object: &wire::Slice) -> &str {
        &object.metadata.resource_version
    }

    fn knows(state: &State, object: &wire::Slice) -> bool {
        let meta = &object.metadata;
        let key = (Arc::from(&*meta.namespace), Arc::from(&*meta.name));
        state.addresses.slices.contains_key(&key)
    }

    fn apply(state: &mut State, object: wire::Slice, round: u32) -> bool {
        let key = key(&object.metadata, &mut state.names);
        // A slice of nobody's: somebody's own.
        let Some(service) = &object.metadata.labels.service_name else {
            return state.addresses.slices.remove(&key).is_some();
        };
        let mut endpoints = Vec::new();
        for endpoint in &object.endpoints {
            let pod = match &*endpoint.target_ref.kind {
                "Pod" => state.names.some(&endpoint.target_ref.name),
                _ => None,
            };
            for ip in wire::ips(endpoint.addresses.iter().map(|ip| &**ip)) {
                endpoints.push(Backend {
                    ip,
                    pod: pod.clone(),
                    node: state.names.some(&endpoint.node_name),
                    ready: endpoint.conditions.ready.unwrap_or(true),
                });
            }
        }
        let new = KnownSlice {
            service: state.names.get(service),
            endpoints: endpoints.into(),
            round,
        };
        let changed = |old: &KnownSlice| old.service != new.service || old.endpoints != new.endpoints;
        let is_new = state.addresses.slices.get(&key).is_none_or(changed);
        state.addresses.slices.insert(key, new);
        is_new
    }

    fn remove(state: &mut State, object: &wire::Slice) -> bool {
        let key = key(&object.metadata, &mut state.names);
        state.addresses.slices.remove(&key).is_some()
    }

    fn sweep(state: &mut State, round: u32) {
        state.addresses.slices.retain(|_, known| known.round == round);
        state.addresses.slices.shrink_to_fit();
    }

    fn count(state: &State) -> usize {
        state.addresses.slices.len()
    }

    fn touch(state: &mut State) {
        state.dirty.addresses = true;
    }
}
