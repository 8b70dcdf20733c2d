//! What the other side of a connection belongs to.
//!
//! | asked for | the socket has | it is |
//! | --- | --- | --- |
//! | a Service's cluster address | the same (kube-proxy rewrites packets, not sockets) | the Service |
//! | a Service's cluster address | a pod's address (a socket load balancer) | the pod, as a backend of that Service |
//! | | a pod's address | the pod, and a Service that it is an endpoint of |
//! | | a node's address | the node |

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::model::cluster::{Cluster, Destination};
use crate::model::observation::{Observation, What};

/// Pairs of addresses whose destination is remembered until the next snapshot.
const MAX_KNOWN: usize = 8192;

/// Names destinations; each pair of addresses once for a snapshot.
#[derive(Debug, Default)]
pub(super) struct Destinations {
    known: HashMap<(Option<IpAddr>, IpAddr), Option<Arc<Destination>>, RandomState>,
    /// The snapshot it was known from.
    generation: u64,
}

impl Destinations {
    /// What the remote side of an observation belongs to.
    pub(super) fn of(
        &mut self,
        observation: &Observation,
        cluster: &Cluster,
        generation: u64,
    ) -> Option<Arc<Destination>> {
        let remote = match &observation.what {
            What::Lookup(lookup) => lookup.server.or(observation.remote),
            _ => observation.remote,
        };
        let asked = observation.asked.map(|asked| asked.ip().to_canonical());
        let remote = remote.map(|remote| remote.ip().to_canonical()).or(asked)?;
        if self.generation != generation || self.known.len() >= MAX_KNOWN {
            self.known.clear();
            self.generation = generation;
        }
        self.known
            .entry((asked, remote))
            .or_insert_with(|| destination(cluster, asked, remote).map(Arc::new))
            .clone()
    }
}

/// What `remote` belongs to, which the process called `asked`.
fn destination(cluster: &Cluster, asked: Option<IpAddr>, remote: IpAddr) -> Option<Destination> {
    let asked = asked.filter(|asked| *asked != remote);
    let of_remote = cluster.destination(remote);
    let Some(asked) = asked.and_then(|asked| cluster.destination(asked)) else {
        return of_remote;
    };
    let Destination::Service { name: wanted, .. } = &asked else {
        // What the socket has is where packets go.
        return of_remote.or(Some(asked));
    };
    match of_remote {
        Some(Destination::Pod {
            namespace,
            name,
            owner,
            ..
        }) => Some(Destination::Pod {
            namespace,
            name,
            owner,
            service: Some(Arc::clone(wanted)),
        }),
        // A node's address is a backend on the host's network.
        _ => Some(asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cluster::{Addresses, Endpoint, Owner, Pod, Pods, Service};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// A Service `obs/otel` at 10.96.0.5 with a backend here and one elsewhere, and a node.
    fn cluster() -> Cluster {
        let service = Arc::new(Service {
            namespace: "obs".into(),
            name: "otel".into(),
            ips: vec![ip("10.96.0.5")],
            ready: 2,
            ..Service::default()
        });
        let mut addresses = Addresses::default();
        addresses
            .by_cluster_ip
            .insert(ip("10.96.0.5"), Arc::clone(&service));
        for (address, pod) in [("10.0.1.7", "otel-1"), ("10.0.2.7", "otel-2")] {
            addresses.endpoints.insert(
                ip(address),
                Endpoint {
                    namespace: "obs".into(),
                    pod: Some(pod.into()),
                    service: "otel-headless".into(),
                },
            );
        }
        let here = Pod {
            uid: "u1".into(),
            namespace: "obs".into(),
            name: "otel-1".into(),
            ips: vec![ip("10.0.1.7")],
            owner: Some(Owner {
                kind: "Deployment".into(),
                name: "otel".into(),
            }),
            ..Pod::default()
        };
        let mut cluster = Cluster {
            pods: Arc::new(Pods::new([Arc::new(here)])),
            addresses: Arc::new(addresses),
            ..Cluster::default()
        };
        Arc::make_mut(&mut cluster.surroundings)
            .nodes
            .insert(ip("192.168.0.1"), "node-1".into());
        cluster
    }

    fn told(asked: Option<&str>, remote: &str) -> String {
        match destination(&cluster(), asked.map(ip), ip(remote)) {
            None => "nothing".to_owned(),
            Some(Destination::Service { namespace, name }) => format!("service {namespace}/{name}"),
            Some(Destination::Node { name }) => format!("node {name}"),
            Some(Destination::Pod {
                namespace,
                name,
                owner,
                service,
            }) => format!(
                "pod {namespace}/{name} of {} behind {}",
                owner.map_or("?".into(), |owner| owner.name),
                service.unwrap_or("?".into())
            ),
        }
    }

    #[test]
    fn cluster_addresses_are_services() {
        assert_eq!(told(None, "10.96.0.5"), "service obs/otel");
        assert_eq!(told(Some("10.96.0.5"), "10.96.0.5"), "service obs/otel");
    }

    #[test]
    fn behind_a_socket_load_balancer_the_backend_is_known_and_the_service_that_was_asked_for() {
        assert_eq!(
            told(Some("10.96.0.5"), "10.0.1.7"),
            "pod obs/otel-1 of otel behind otel"
        );
        assert_eq!(
            told(Some("10.96.0.5"), "10.0.2.7"),
            "pod obs/otel-2 of ? behind otel"
        );
        // A backend that is not known, one on the host's network: the Service is.
        assert_eq!(told(Some("10.96.0.5"), "10.0.3.7"), "service obs/otel");
        assert_eq!(told(Some("10.96.0.5"), "192.168.0.1"), "service obs/otel");
    }

    #[test]
    fn pods_and_nodes_by_their_own_addresses() {
        assert_eq!(
            told(None, "10.0.1.7"),
            "pod obs/otel-1 of otel behind otel-headless"
        );
        assert_eq!(told(None, "192.168.0.1"), "node node-1");
        assert_eq!(told(None, "203.0.113.9"), "nothing");
        // A sidecar redirects to itself: what was asked for tells more than loopback.
        assert_eq!(
            told(Some("10.0.2.7"), "127.0.0.1"),
            "pod obs/otel-2 of ? behind otel-headless"
        );
    }
}
