//! How destinations are written in the label `sink`.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;

use super::meanings::Meanings;
use super::names::{EMPTY, Names, OTHER, OUTSIDE, Sym};
use super::store::{IDLE, Who};
use crate::model::cluster::{Cluster, Destination};
use crate::model::expectation::Host;
use crate::model::observation::Observation;
use crate::model::verdict::{Export, Rung, RungState};
use crate::model::{Mono, Workload};

/// Services known by the names they were looked up by.
const MAX_SERVICES: usize = 4096;
/// How long after an address was used first the cluster may say whose it is: later it may be somebody else's. The address of a
/// Service is its own.
const LATE: Duration = Duration::from_secs(60);

/// Destinations that are told apart.
#[derive(Debug)]
pub(super) struct Sinks {
    known: HashMap<Sym, Known, RandomState>,
    max: usize,
    /// Who Services, pods and nodes are.
    cluster: Option<Arc<Cluster>>,
    /// Namespace and name of Services that were found: by these a configured `name.namespace` is known to be one where the
    /// cluster does not say it.
    services: HashSet<(Arc<str>, Arc<str>), RandomState>,
    meanings: Meanings,
    /// Counts that went to `~other`.
    pub(super) folded: u64,
}

/// A destination.
#[derive(Debug)]
struct Known {
    /// When something was counted for it first, and last.
    since: Mono,
    last: Mono,
    /// What it is written by, when that is an address alone.
    address: Option<SocketAddr>,
}

/// A label, and the one that it takes the place of for want of room.
pub(super) type Row = (Sym, Option<Sym>);

impl Sinks {
    pub(super) fn new(max: usize) -> Self {
        Self {
            known: HashMap::default(),
            max,
            cluster: None,
            services: HashSet::default(),
            meanings: Meanings::default(),
            folded: 0,
        }
    }

    /// Takes what is known of the cluster now. Returns the labels of addresses that have turned out to be somebody's: what was
    /// counted for the first belongs to the second.
    pub(super) fn cluster(&mut self, cluster: Arc<Cluster>, now: Mono, names: &mut Names) -> Vec<(Sym, Sym)> {
        let cluster = &**self.cluster.insert(cluster);
        let told: Vec<(Sym, Mono, String)> = self
            .known
            .iter()
            .filter_map(|(sym, known)| {
                let address = known.address?;
                let is = cluster.destination(address.ip())?;
                let is_sure = matches!(is, Destination::Service { .. }) || now.since(known.since) < LATE;
                let base = base(Some(&is), None).filter(|_| is_sure)?;
                Some((*sym, known.last, format!("{base}:{}", address.port())))
            })
            .collect();
        told.into_iter()
            .map(|(sym, last, text)| {
                self.known.remove(&sym);
                let to = names.sym(&text);
                let known = self.known.entry(to).or_insert(Known {
                    since: last,
                    last,
                    address: None,
                });
                known.last = known.last.max(last);
                (sym, to)
            })
            .collect()
    }

    /// The label of an address that something was sent to, and a sink that goes to make room for it.
    pub(super) fn of(&mut self, who: Who, seen: &Observation, names: &mut Names) -> Option<Row> {
        let address = seen.remote.or(seen.asked)?;
        let to = seen.asked.unwrap_or(address);
        let name = seen.remote_name.as_deref().map(plain);
        let base = base(seen.remote_is.as_deref(), name.as_deref());
        if let Some((name, base)) = name.as_deref().zip(base.as_deref()) {
            match service(name) {
                Some((service, namespace)) => self.learn(namespace, service),
                None => self.meanings.learn(who, name, base, seen.at),
            }
        }
        Some(self.at(base.as_deref(), (to.ip(), to.port()), seen.at, names))
    }

    /// The label of what an exporter is configured to send to.
    pub(super) fn configured(&mut self, who: Who, export: &Export, at: Mono, names: &mut Names) -> Row {
        let Some(endpoint) = &export.endpoint else {
            // Nothing is known of where to: an SDK that is off, or cannot be read.
            return (EMPTY, None);
        };
        let name = match &endpoint.host {
            Host::Ip(ip) => {
                let is = self
                    .cluster
                    .as_ref()
                    .and_then(|cluster| cluster.destination(ip.to_canonical()));
                let base = base(is.as_ref(), None);
                return self.at(base.as_deref(), (*ip, endpoint.port), at, names);
            }
            Host::Name(name) => name,
        };
        let text = match self.service_of(name, &export.workload) {
            Some((namespace, service)) => format!("{namespace}/{service}:{}", endpoint.port),
            None => {
                // What does not resolve leads nowhere, whatever other names begin like it.
                let resolves = export.rungs.get(Rung::Resolved) == RungState::Ok;
                let means = self.meanings.get(who, name).filter(|_| resolves);
                format!("{}:{}", means.unwrap_or(name), endpoint.port)
            }
        };
        self.row(Some((&text, None)), at, names)
    }

    /// What the host of a configuration means inside a pod: a Service that is there, or was looked up.
    fn service_of(&self, host: &str, workload: &Workload) -> Option<(Arc<str>, Arc<str>)> {
        if let Some((service, namespace)) = service(host) {
            return Some((namespace.into(), service.into()));
        }
        let mut parts = host.split('.');
        let name: Arc<str> = parts.next()?.into();
        let namespace: Arc<str> = match parts.next() {
            Some(namespace) => namespace.into(),
            None => Arc::clone(workload.namespace.as_ref()?),
        };
        let found = (namespace, name);
        let in_cluster = || {
            let cluster = self.cluster.as_ref();
            cluster.is_some_and(|cluster| cluster.addresses.services.contains_key(&found))
        };
        (parts.next().is_none() && (self.services.contains(&found) || in_cluster())).then_some(found)
    }

    fn learn(&mut self, namespace: &str, service: &str) {
        let found = (namespace.into(), service.into());
        if self.services.len() < MAX_SERVICES {
            self.services.insert(found);
        }
    }

    /// A workload's number is somebody else's soon.
    pub(super) fn moved(&mut self, who: Who) {
        self.meanings.forget(who);
    }

    /// By its name, else by its address, if that is not outside.
    fn at(&mut self, base: Option<&str>, (ip, port): (IpAddr, u16), at: Mono, names: &mut Names) -> Row {
        if let Some(base) = base {
            let text = format!("{base}:{port}");
            return self.row(Some((&text, None)), at, names);
        }
        let ip = ip.to_canonical();
        if !is_inside(ip) {
            return self.row(None, at, names);
        }
        let address = SocketAddr::new(ip, port);
        self.row(Some((&address.to_string(), Some(address))), at, names)
    }

    fn row(&mut self, text: Option<(&str, Option<SocketAddr>)>, at: Mono, names: &mut Names) -> Row {
        let Some((text, address)) = text else {
            return (OUTSIDE, None);
        };
        let sym = names.sym(text);
        if let Some(known) = self.known.get_mut(&sym) {
            known.last = at.max(known.last);
            return (sym, None);
        }
        let mut evicted = None;
        if self.known.len() >= self.max {
            let oldest = self.known.iter().map(|(sym, known)| (known.last, *sym)).min();
            let Some((_, oldest)) = oldest.filter(|(last, _)| at.since(*last) >= IDLE) else {
                self.folded += 1;
                return (OTHER, None);
            };
            self.known.remove(&oldest);
            evicted = Some(oldest);
        }
        let known = Known {
            since: at,
            last: at,
            address,
        };
        self.known.insert(sym, known);
        (sym, evicted)
    }

    /// Symbols that are in use.
    pub(super) fn mark(&self, used: &mut HashSet<Sym, RandomState>) {
        used.extend(self.known.keys());
    }
}

/// Service and namespace of a name that Kubernetes' DNS gives Services (`otel.obs.svc`, `otel.obs.svc.cluster.local`).
fn service(name: &str) -> Option<(&str, &str)> {
    let mut parts = name.trim_end_matches('.').split('.');
    let (service, namespace, kind) = (parts.next()?, parts.next()?, parts.next()?);
    (kind == "svc" && !service.is_empty() && !namespace.is_empty()).then_some((service, namespace))
}

/// A name as it is compared and written.
fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// What is written before the port; `None` for an address that nothing is known of.
///
/// A Service's own name comes first: a pod may be a backend of several, and only the name tells which one is meant.
fn base(is: Option<&Destination>, name: Option<&str>) -> Option<String> {
    if let Some((service, namespace)) = name.and_then(service) {
        return Some(format!("{namespace}/{service}"));
    }
    match is {
        Some(Destination::Service { namespace, name }) => return Some(format!("{namespace}/{name}")),
        Some(Destination::Pod {
            namespace,
            service: Some(service),
            ..
        }) => return Some(format!("{namespace}/{service}")),
        // Pods come and go; what runs them stays.
        Some(Destination::Pod {
            namespace,
            name,
            owner,
            service: None,
        }) => {
            let name = owner.as_ref().map_or(name, |owner| &owner.name);
            return Some(format!("{namespace}/{name}"));
        }
        Some(Destination::Node { name: node }) if name.is_none() => return Some(node.to_string()),
        Some(Destination::Node { .. }) | None => {}
    }
    name.map(str::to_owned)
}

/// Whether an address is of this machine or of a private network (RFC 1918, RFC 6598, RFC 3927, RFC 4193).
fn is_inside(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let shared = a == 100 && b & 0xc0 == 64;
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || shared
        }
        IpAddr::V6(ip) => {
            ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified()
        }
    }
}

#[cfg(test)]
#[path = "sinks_tests.rs"]
pub(super) mod tests;
