//! What the cluster says: who this node's pods are, and what an address belongs to.
//!
//! A [`Cluster`] is a snapshot that never changes. Whoever watches the cluster makes a new one, shares with it the parts
//! that are as they were, and publishes it; stages of the pipeline take the latest one when they look at it next.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use jiff::Timestamp;

/// Hash tables of a snapshot are asked for every event.
pub type Table<K, V> = HashMap<K, V, RandomState>;

/// What somebody made: `Deployment`, `StatefulSet`, `DaemonSet`, `Job`, `CronJob`, `Node` for a static pod, and whatever
/// custom controllers there are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// Its kind, as Kubernetes writes it.
    pub kind: Arc<str>,
    /// Its name, in the pod's namespace.
    pub name: Arc<str>,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// UID: of a static pod the kubelet's (`kubernetes.io/config.hash`), which its cgroup and its log folder are named by.
    pub uid: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Node that it runs on.
    pub node: Option<Arc<str>>,
    /// Its addresses: none before it has its network and after its containers have all ended, the node's when it has no
    /// network of its own.
    pub ips: Vec<IpAddr>,
    /// Whether it has no network of its own.
    pub host_network: bool,
    /// What runs it, at the end of the chain: a Deployment rather than its ReplicaSet.
    pub owner: Option<Owner>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Whether it has ended: its address may belong to another pod already.
    pub ended: bool,
    /// Its containers, those that were restarted under their newest id.
    pub containers: Vec<Container>,
    /// What it says of injection by the OpenTelemetry Operator.
    pub injection: Injection,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Name.
    pub name: Arc<str>,
    /// Id, 64 hexadecimal digits; `None` before it was started.
    pub id: Option<Arc<str>>,
    /// What it is for.
    pub role: ContainerRole,
}

/// What a container is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ContainerRole {
    /// The pod's own work.
    #[default]
    Main,
    /// Before it; with `restartPolicy: Always`, beside it.
    Init,
    /// A person's, for debugging.
    Ephemeral,
}

/// What a pod says of injection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Injection {
    /// What its annotations ask for.
    pub asked: Vec<Inject>,
    /// What shows that it was injected, for a person to read; empty when nothing does.
    pub traces: Vec<Arc<str>>,
    /// Containers that its annotations `container-names` and `<language>-container-names` name; without any, the operator
    /// takes the first one.
    pub containers: Vec<Arc<str>>,
    /// When somebody wrote what it asks for into the pod itself, if that was after it was made (`managedFields`).
    pub changed: Option<Timestamp>,
}

/// An annotation `instrumentation.opentelemetry.io/inject-<language>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Inject {
    /// The language: `python`, `java`, `sdk`.
    pub language: Arc<str>,
    /// The value: `true`, `false`, or the name of an Instrumentation.
    pub value: Arc<str>,
}

/// Annotations of an object that a pod comes from: its owner or its namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotated {
    /// What they ask for.
    pub asked: Vec<Inject>,
    /// When somebody wrote them last, as far as `managedFields` tells.
    pub changed: Option<Timestamp>,
}

/// A Service, with what its EndpointSlices say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Cluster addresses; empty for a headless one.
    pub ips: Vec<IpAddr>,
    /// Its ports, TCP only: number and name.
    pub ports: Vec<(u16, Option<Arc<str>>)>,
    /// Endpoints that are ready.
    pub ready: u32,
    /// Endpoints that are not.
    pub not_ready: u32,
}

/// What an address belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// A Service's cluster address, or a backend that only this Service has.
    Service {
        /// Namespace.
        namespace: Arc<str>,
        /// Name.
        name: Arc<str>,
    },
    /// A pod's address.
    Pod {
        /// Namespace.
        namespace: Arc<str>,
        /// Name.
        name: Arc<str>,
        /// What runs it, if that is known: of pods of other nodes it is not.
        owner: Option<Owner>,
        /// A Service it is an endpoint of.
        service: Option<Arc<str>>,
    },
    /// A node's address.
    Node {
        /// Name.
        name: Arc<str>,
    },
}

/// A backend of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Namespace of the pod and of the Service.
    pub namespace: Arc<str>,
    /// Name of the pod; `None` for an address without one.
    pub pod: Option<Arc<str>>,
    /// A Service it belongs to: the first by name.
    pub service: Arc<str>,
}

/// The state of one watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// What is watched: `pods`, `services`.
    pub resource: Arc<str>,
    /// How it is.
    pub state: WatchState,
    /// How often it had to begin again since obsflow started.
    pub restarts: u64,
    /// Objects known.
    pub objects: usize,
}

/// How a watch is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WatchState {
    /// The first list is not there yet.
    #[default]
    Listing,
    /// It follows.
    Watching,
    /// The API does not answer, or says no; what was known before is still used.
    Away {
        /// Since when.
        since: Timestamp,
        /// What it said.
        error: Arc<str>,
    },
}

/// This node's pods.
#[derive(Clone, Debug, Default)]
pub struct Pods {
    by_uid: Table<Arc<str>, Arc<Pod>>,
    by_container: Table<Arc<str>, (Arc<Pod>, usize)>,
    by_ip: Table<IpAddr, Arc<Pod>>,
}

/// What addresses belong to, in the whole cluster.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// Services, by namespace and name.
    pub services: Table<(Arc<str>, Arc<str>), Arc<Service>>,
    /// Services by cluster address.
    pub by_cluster_ip: Table<IpAddr, Arc<Service>>,
    /// Backends by address.
    pub endpoints: Table<IpAddr, Endpoint>,
    /// Where agents are, by the names of their nodes; empty unless it was asked for.
    pub agents: Vec<(Arc<str>, IpAddr)>,
}

/// Nodes, namespaces and owners.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Nodes by address.
    pub nodes: Table<IpAddr, Arc<str>>,
    /// Namespaces whose annotations ask for injection.
    pub namespaces: Table<Arc<str>, Annotated>,
    /// Owners of this node's pods, by namespace; those whose annotations ask for nothing are there as well.
    pub owners: Table<(Arc<str>, Owner), Annotated>,
    /// Since when the operator's webhook for pods is there (a `MutatingWebhookConfiguration` with the path
    /// `/mutate-v1-pod`); `None` when there is none, or nobody may know.
    pub injector: Option<Timestamp>,
}

/// The latest that is known.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// This node's pods.
    pub pods: Arc<Pods>,
    /// Services and their backends.
    pub addresses: Arc<Addresses>,
    /// What else pods are judged by.
    pub surroundings: Arc<Surroundings>,
    /// How the watches are; empty when nothing is watched.
    pub watches: Vec<Watch>,
}

impl Endpoint {
    /// Whether it is a pod, and not this one.
    fn is_of_another(&self, pod: &Pod) -> bool {
        let of = self.pod.as_ref();
        of.is_some_and(|name| (&self.namespace, name) != (&pod.namespace, &pod.name))
    }
}

impl Pods {
    /// Indexes pods. Of two with the same address the one that has not ended is found, else the younger.
    #[must_use]
    pub fn new(pods: impl IntoIterator<Item = Arc<Pod>>) -> Self {
        let mut index = Self::default();
        for pod in pods {
            for (at, container) in pod.containers.iter().enumerate() {
                if let Some(id) = &container.id {
                    index.by_container.insert(Arc::clone(id), (Arc::clone(&pod), at));
                }
            }
            if !pod.host_network {
                for ip in &pod.ips {
                    let known = index.by_ip.get(ip);
                    if known.is_none_or(|known| (!known.ended, known.created) < (!pod.ended, pod.created)) {
                        index.by_ip.insert(*ip, Arc::clone(&pod));
                    }
                }
            }
            index.by_uid.insert(Arc::clone(&pod.uid), pod);
        }
        index
    }

    /// Finds containers by ids, too, that they had before they were restarted: each with its pod's UID and its name.
    #[must_use]
    pub fn with_former<'a>(
        mut self,
        former: impl IntoIterator<Item = (&'a Arc<str>, &'a str, &'a str)>,
    ) -> Self {
        for (id, uid, name) in former {
            if let Some(pod) = self.by_uid.get(uid)
                && let Some(at) = pod
                    .containers
                    .iter()
                    .position(|container| &*container.name == name)
            {
                self.by_container
                    .entry(Arc::clone(id))
                    .or_insert_with(|| (Arc::clone(pod), at));
            }
        }
        self
    }

    /// The pod with this UID.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<&Arc<Pod>> {
        self.by_uid.get(uid)
    }

    /// The pod that a container is in, and which of its containers that is.
    #[must_use]
    pub fn of_container(&self, id: &str) -> Option<(&Arc<Pod>, &Container)> {
        let (pod, at) = self.by_container.get(id)?;
        Some((pod, pod.containers.get(*at)?))
    }

    /// The pod with this address; none of those on the host's network.
    #[must_use]
    pub fn at(&self, ip: IpAddr) -> Option<&Arc<Pod>> {
        self.by_ip.get(&ip)
    }

    /// Every pod.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.by_uid.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_uid.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_uid.is_empty()
    }
}

impl Cluster {
    /// What an address belongs to: a Service, a pod of this node, a backend of a Service, a node.
    #[must_use]
    pub fn destination(&self, ip: IpAddr) -> Option<Destination> {
        if let Some(service) = self.addresses.by_cluster_ip.get(&ip) {
            return Some(Destination::Service {
                namespace: Arc::clone(&service.namespace),
                name: Arc::clone(&service.name),
            });
        }
        let endpoint = self.addresses.endpoints.get(&ip);
        if let Some(pod) = self.pod_at(ip) {
            return Some(Destination::Pod {
                namespace: Arc::clone(&pod.namespace),
                name: Arc::clone(&pod.name),
                owner: pod.owner.clone(),
                service: endpoint
                    .filter(|endpoint| !endpoint.is_of_another(pod))
                    .map(|endpoint| Arc::clone(&endpoint.service)),
            });
        }
        if let Some(name) = self.surroundings.nodes.get(&ip) {
            return Some(Destination::Node {
                name: Arc::clone(name),
            });
        }
        endpoint.map(|endpoint| match &endpoint.pod {
            Some(name) => Destination::Pod {
                namespace: Arc::clone(&endpoint.namespace),
                name: Arc::clone(name),
                owner: None,
                service: Some(Arc::clone(&endpoint.service)),
            },
            None => Destination::Service {
                namespace: Arc::clone(&endpoint.namespace),
                name: Arc::clone(&endpoint.service),
            },
        })
    }

    /// The pod of this node with this address. One that has ended gives way to a pod, of any node, that a Service has under
    /// the address by now.
    #[must_use]
    pub fn pod_at(&self, ip: IpAddr) -> Option<&Arc<Pod>> {
        let endpoint = self.addresses.endpoints.get(&ip);
        let is_given_again = |pod: &Pod| pod.ended && endpoint.is_some_and(|it| it.is_of_another(pod));
        self.pods.at(ip).filter(|pod| !is_given_again(pod))
    }

    /// A Service by name.
    #[must_use]
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Arc<Service>> {
        self.addresses
            .services
            .get(&(Arc::from(namespace), Arc::from(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, ip: &str) -> Pod {
        Pod {
            uid: format!("uid-{name}").into(),
            namespace: "shop".into(),
            name: name.into(),
            ips: vec![ip.parse().unwrap()],
            ..Pod::default()
        }
    }

    #[test]
    fn an_address_that_was_given_again_is_the_new_pods() {
        let old = Pod {
            ended: true,
            created: Some(Timestamp::from_second(90).unwrap()),
            ..pod("old", "10.0.0.7")
        };
        let new = Pod {
            created: Some(Timestamp::from_second(50).unwrap()),
            ..pod("new", "10.0.0.7")
        };
        for pods in [[old.clone(), new.clone()], [new.clone(), old.clone()]] {
            let pods = Pods::new(pods.map(Arc::new));
            assert_eq!(&*pods.at("10.0.0.7".parse().unwrap()).unwrap().name, "new");
            assert_eq!(pods.len(), 2);
        }
    }

    #[test]
    fn an_address_that_was_given_to_a_pod_of_another_node_is_that_pods() {
        let ip = "10.0.0.7".parse().unwrap();
        let told = |cluster: &Cluster| match cluster.destination(ip) {
            Some(Destination::Pod {
                namespace,
                name,
                service,
                ..
            }) => format!("{namespace}/{name} behind {}", service.unwrap_or("?".into())),
            other => format!("{other:?}"),
        };
        let mut job = pod("job", "10.0.0.7");
        let mut cluster = Cluster::default();
        Arc::make_mut(&mut cluster.addresses).endpoints.insert(
            ip,
            Endpoint {
                namespace: "obs".into(),
                pod: Some("otel-1".into()),
                service: "otel".into(),
            },
        );
        // It runs: what EndpointSlices say of its address is old, and is not mixed with what it is.
        cluster.pods = Arc::new(Pods::new([Arc::new(job.clone())]));
        assert_eq!(told(&cluster), "shop/job behind ?");
        job.ended = true;
        cluster.pods = Arc::new(Pods::new([Arc::new(job)]));
        assert_eq!(told(&cluster), "obs/otel-1 behind otel");
        assert!(cluster.pod_at(ip).is_none(), "nor is it where packets come from");
        // Until then it is known by its address.
        Arc::make_mut(&mut cluster.addresses).endpoints.clear();
        assert_eq!(told(&cluster), "shop/job behind ?");
    }

    #[test]
    fn pods_on_the_hosts_network_have_no_address_of_their_own() {
        let agent = Pod {
            host_network: true,
            containers: vec![Container {
                name: "agent".into(),
                id: Some("ab".into()),
                role: ContainerRole::Main,
            }],
            ..pod("agent", "192.168.0.1")
        };
        let mut cluster = Cluster {
            pods: Arc::new(Pods::new([Arc::new(agent)])),
            ..Cluster::default()
        };
        let nodes = Arc::make_mut(&mut cluster.surroundings);
        nodes
            .nodes
            .insert("192.168.0.1".parse().unwrap(), "node-1".into());
        let name = "node-1".into();
        let node = cluster.destination("192.168.0.1".parse().unwrap());
        assert_eq!(node, Some(Destination::Node { name }));
        let (pod, container) = cluster.pods.of_container("ab").unwrap();
        assert_eq!((&*pod.name, &*container.name), ("agent", "agent"));
        assert_eq!(cluster.destination("192.168.0.2".parse().unwrap()), None);
    }
}
