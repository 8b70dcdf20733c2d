//! Who else serves flows: what flags say, and where the cluster has agents.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::api::hubble::{Nodes, Peers, Place};
use crate::api::{Address, Listener, TlsFiles, certificate_name, server_name};
use crate::model::Mono;
use crate::model::cluster::Cluster;

/// How often it is looked what name the certificate has by now.
const LOOK: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(super) struct PeerList {
    nodes: watch::Sender<Arc<Nodes>>,
    node: Arc<str>,
    own: Option<Own>,
    said: Nodes,
    cluster: Option<watch::Receiver<Arc<Cluster>>>,
    agents: Vec<(Arc<str>, IpAddr)>,
    looked: Mono,
}

/// Where this agent serves others.
#[derive(Debug)]
struct Own {
    address: Address,
    tls: Option<TlsFiles>,
}

impl PeerList {
    /// Of what flags say and where this agent listens: at the address that most others reach.
    pub(super) fn new(node: impl Into<Arc<str>>, said: Nodes, listeners: &[Listener]) -> Self {
        let far = |listener: &&Listener| {
            let address = listener.address();
            (
                !address.is_local(),
                matches!(address, Address::Tcp(_)),
                listener.tls().is_some(),
            )
        };
        let own = listeners.iter().rev().max_by_key(far).map(|listener| Own {
            address: listener.address().clone(),
            tls: listener.tls().cloned(),
        });
        let list = Self {
            nodes: watch::Sender::default(),
            node: node.into(),
            own,
            said,
            cluster: None,
            agents: Vec::new(),
            looked: Mono(0),
        };
        list.tell();
        list
    }

    /// For those who ask.
    pub(super) fn peers(&self) -> Peers {
        Peers::new(self.nodes.subscribe())
    }

    /// Also where the cluster has agents.
    pub(super) fn follow(&mut self, cluster: Option<watch::Receiver<Arc<Cluster>>>) {
        self.cluster = cluster.map(|mut cluster| {
            cluster.mark_changed();
            cluster
        });
    }

    /// Whether others are told of this agent: one that listens at all addresses does not know by which it is reached.
    pub(super) fn names_itself(&self) -> bool {
        let is_reached = |own: &Own| reached(&own.address).is_some();
        self.own.as_ref().is_none_or(is_reached) || self.said.contains_key(&self.node)
    }

    /// Once a second.
    pub(super) fn second(&mut self, now: Mono) {
        let agents = self.cluster.as_mut().and_then(|cluster| {
            cluster
                .has_changed()
                .unwrap_or(false)
                .then(|| cluster.borrow_and_update().addresses.agents.clone())
        });
        let is_new = agents.is_some_and(|agents| {
            let is_new = agents != self.agents;
            self.agents = agents;
            is_new
        });
        if is_new || now.since(self.looked) >= LOOK {
            self.looked = now;
            self.tell();
        }
    }

    fn tell(&self) {
        let nodes = self.all();
        self.nodes.send_if_modified(|known| {
            let is_new = **known != nodes;
            if is_new {
                *known = Arc::new(nodes);
            }
            is_new
        });
    }

    fn all(&self) -> Nodes {
        let mut nodes = Nodes::default();
        if let Some(address) = self.own.as_ref().and_then(|own| reached(&own.address)) {
            nodes.insert(Arc::clone(&self.node), place(address));
        }
        if let Some(Address::Tcp(own)) = self.own.as_ref().map(|own| &own.address) {
            // A node may have an address of each family: that of the family this agent listens at is inserted last.
            let mut agents: Vec<_> = self.agents.iter().collect();
            agents.sort_by_key(|(_, ip)| ip.is_ipv6() == own.is_ipv6());
            for (name, ip) in agents {
                nodes.insert(
                    Arc::clone(name),
                    place(SocketAddr::new(*ip, own.port()).to_string()),
                );
            }
        }
        for (name, said) in &self.said {
            nodes.insert(Arc::clone(name), said.clone());
        }
        let tls = self.own.as_ref().and_then(|own| own.tls.as_ref());
        if let Some(certificate) = tls.and_then(certificate_name) {
            for (name, place) in &mut nodes {
                place.server_name = Some(server_name(&certificate, name));
            }
        }
        nodes
    }
}

fn place(address: String) -> Place {
    Place {
        address,
        server_name: None,
    }
}

/// As others write it; nobody reaches all addresses at once.
fn reached(address: &Address) -> Option<String> {
    match address {
        Address::Unix(_) => Some(address.to_string()),
        Address::Tcp(socket) if socket.ip().is_unspecified() => None,
        Address::Tcp(socket) => Some(socket.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cluster::Addresses;

    fn listeners(addresses: &[&str]) -> Vec<Listener> {
        let bind = |text: &&str| Listener::bind(&Address::parse(text).unwrap()).unwrap();
        addresses.iter().map(bind).collect()
    }

    fn known(list: &PeerList) -> Vec<(String, String)> {
        let nodes = list.nodes.borrow();
        let known = nodes.iter();
        known
            .map(|(name, place)| (name.to_string(), place.address.clone()))
            .collect()
    }

    #[test]
    fn this_node_is_one_of_them_if_it_can_be_reached() {
        let listeners = listeners(&["tcp://127.0.0.1:0"]);
        let list = PeerList::new("a", Nodes::default(), &listeners);
        let Address::Tcp(own) = listeners[0].address() else {
            panic!("{listeners:?}");
        };
        assert_eq!(known(&list), [("a".to_owned(), own.to_string())]);
        assert_eq!(list.peers().own("a").unwrap().address, own.to_string());
    }

    #[test]
    fn what_is_said_wins_over_the_cluster_and_that_over_what_is_bound() {
        let listeners = listeners(&["tcp://0.0.0.0:0"]);
        let said = Nodes::from([("b".into(), place("192.0.2.2:1".to_owned()))]);
        let mut list = PeerList::new("a", said, &listeners);
        assert_eq!(known(&list), [("b".to_owned(), "192.0.2.2:1".to_owned())]);
        assert!(!list.names_itself());
        let own = Nodes::from([("a".into(), place("192.0.2.1:1".to_owned()))]);
        assert!(PeerList::new("a", own, &listeners).names_itself());
        let agents = |of: &[(&str, &str)]| {
            let agents = of.iter();
            Arc::new(Cluster {
                addresses: Arc::new(Addresses {
                    agents: agents
                        .map(|(node, ip)| ((*node).into(), ip.parse().unwrap()))
                        .collect(),
                    ..Addresses::default()
                }),
                ..Cluster::default()
            })
        };
        let cluster = [
            ("a", "10.0.0.1"),
            ("a", "fd00::1"),
            ("b", "10.0.0.2"),
            ("c", "fd00::3"),
        ];
        let (sender, receiver) = watch::channel(agents(&cluster));
        list.follow(Some(receiver));
        list.second(Mono(1));
        let Address::Tcp(own) = listeners[0].address() else {
            panic!("{listeners:?}");
        };
        let port = own.port();
        let expected = [
            ("a".to_owned(), format!("10.0.0.1:{port}")),
            ("b".to_owned(), "192.0.2.2:1".to_owned()),
            ("c".to_owned(), format!("[fd00::3]:{port}")),
        ];
        assert_eq!(known(&list), expected);
        sender.send_replace(agents(&cluster[..3]));
        list.second(Mono(2));
        assert_eq!(known(&list), expected[..2]);
    }
}
