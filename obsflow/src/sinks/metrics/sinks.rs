//! How destinations are written in the label `sink`.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::names::{Names, OTHER, OUTSIDE, Sym};
use super::store::IDLE;
use crate::model::cluster::Destination;
use crate::model::expectation::Host;
use crate::model::observation::Observation;
use crate::model::{Mono, Workload};

/// Services known by the names they were looked up by.
const MAX_SERVICES: usize = 4096;

/// Destinations that are told apart.
#[derive(Debug)]
pub(super) struct Sinks {
    /// When something was counted for it last.
    known: HashMap<Sym, Mono, RandomState>,
    max: usize,
    /// Namespace and name of Services that were found: by these a configured `name.namespace` is known to be one.
    services: HashSet<(Arc<str>, Arc<str>), RandomState>,
    /// Counts that went to `~other`.
    pub(super) folded: u64,
}

impl Sinks {
    pub(super) fn new(max: usize) -> Self {
        Self {
            known: HashMap::default(),
            max,
            services: HashSet::default(),
            folded: 0,
        }
    }

    /// The label of an address that something was sent to, and a sink that goes to make room for it.
    pub(super) fn of(&mut self, seen: &Observation, names: &mut Names) -> Option<(Sym, Option<Sym>)> {
        let address = seen.remote.or(seen.asked)?;
        let port = seen.asked.unwrap_or(address).port();
        let name = seen.remote_name.as_deref();
        let text = written(None, name, seen.asked.unwrap_or(address).ip(), port);
        let before = self.known.len();
        let row = self.row(text.as_deref(), seen.at, names);
        if self.known.len() != before
            && let Some((service, namespace)) = name.and_then(service)
        {
            self.learn(namespace, service);
        }
        Some(row)
    }

    /// The label of what an exporter is configured to send to.
    pub(super) fn configured(
        &mut self,
        (host, port): (&Host, u16),
        workload: &Workload,
        at: Mono,
        names: &mut Names,
    ) -> (Sym, Option<Sym>) {
        let text = match host {
            Host::Ip(ip) => written(None, None, *ip, port),
            Host::Name(name) => Some(match self.service_of(name, workload) {
                Some((namespace, service)) => format!("{namespace}/{service}:{port}"),
                None => format!("{}:{port}", name.to_ascii_lowercase()),
            }),
        };
        self.row(text.as_deref(), at, names)
    }

    /// What the host of a configuration means inside a pod, as far as look-ups have told.
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
        (parts.next().is_none() && self.services.contains(&found)).then_some(found)
    }

    fn learn(&mut self, namespace: &str, service: &str) {
        if self.services.len() < MAX_SERVICES {
            self.services.insert((namespace.into(), service.into()));
        }
    }

    fn row(&mut self, text: Option<&str>, at: Mono, names: &mut Names) -> (Sym, Option<Sym>) {
        let Some(text) = text else {
            return (OUTSIDE, None);
        };
        let sym = names.sym(text);
        if let Some(last) = self.known.get_mut(&sym) {
            *last = at.max(*last);
            return (sym, None);
        }
        let mut evicted = None;
        if self.known.len() >= self.max {
            let oldest = self.known.iter().map(|(sym, last)| (*last, *sym)).min();
            let Some((_, oldest)) = oldest.filter(|(last, _)| at.since(*last) >= IDLE) else {
                self.folded += 1;
                return (OTHER, None);
            };
            self.known.remove(&oldest);
            evicted = Some(oldest);
        }
        self.known.insert(sym, at);
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

/// `None` for what is outside and has no name.
fn written(is: Option<&Destination>, name: Option<&str>, ip: IpAddr, port: u16) -> Option<String> {
    match is {
        Some(Destination::Service { namespace, name }) => return Some(format!("{namespace}/{name}:{port}")),
        Some(Destination::Pod {
            namespace,
            service: Some(service),
            ..
        }) => return Some(format!("{namespace}/{service}:{port}")),
        // Pods come and go; what runs them stays.
        Some(Destination::Pod {
            namespace,
            name,
            owner,
            service: None,
        }) => {
            let name = owner.as_ref().map_or(name, |owner| &owner.name);
            return Some(format!("{namespace}/{name}:{port}"));
        }
        Some(Destination::Node { name: node }) if name.is_none() => return Some(format!("{node}:{port}")),
        Some(Destination::Node { .. }) | None => {}
    }
    if let Some(name) = name {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        return Some(match service(&name) {
            Some((service, namespace)) => format!("{namespace}/{service}:{port}"),
            None => format!("{name}:{port}"),
        });
    }
    let ip = ip.to_canonical();
    is_inside(ip).then(|| SocketAddr::new(ip, port).to_string())
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
mod tests;
