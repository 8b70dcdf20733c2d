//! One filter: every field that is set must match, with one of its values.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use regex::Regex;

use super::others::{NodeName, Others};
use super::selector::Selector;
use super::values::{Fqdn, HttpStatus, PodName, Protocol, TypeFilter, WorkloadName};
use crate::model::flow::{
    Endpoint, Flow, Http, IpVersion, L7Type, Layer4, Service, TcpFlags, TrafficDirection, Verdict,
};

/// Hubble's `FlowFilter`, as far as it can be true here. An empty field matches everything.
#[derive(Clone, Debug, Default)]
pub struct FlowFilter {
    /// The source.
    pub source: Side,
    /// The destination.
    pub destination: Side,
    /// Address families; `None` for none.
    pub ip_versions: Vec<Option<IpVersion>>,
    /// Protocols.
    pub protocols: Vec<Protocol>,
    /// TCP flags; of each value all flags must be set.
    pub tcp_flags: Vec<TcpFlags>,
    /// Event types.
    pub event_types: Vec<TypeFilter>,
    /// Verdicts.
    pub verdicts: Vec<Verdict>,
    /// Directions; `None` for an unknown one.
    pub directions: Vec<Option<TrafficDirection>>,
    /// Whether it is an answer.
    pub replies: Vec<bool>,
    /// Numbers of Cilium's drop reasons, 0 for none.
    pub drop_reasons: Vec<u8>,
    /// Names of nodes.
    pub node_names: Vec<NodeName>,
    /// Interfaces, by index and name; 0 and an empty name mean any.
    pub interfaces: Vec<(u32, String)>,
    /// What flows of other emitters have.
    pub others: Option<Box<Others>>,
    /// Regular expressions on the name of a DNS query.
    pub dns_queries: Vec<Regex>,
    /// Response codes.
    pub rcodes: Vec<u16>,
    /// Errnos.
    pub errnos: Vec<u32>,
    /// HTTP statuses.
    pub http_statuses: Vec<HttpStatus>,
    /// HTTP methods.
    pub http_methods: Vec<String>,
    /// Regular expressions on the path of an HTTP request.
    pub http_paths: Vec<Regex>,
    /// Regular expressions on the URL of an HTTP request.
    pub http_urls: Vec<Regex>,
}

/// The part of a filter that is about one side.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// Pods.
    pub pods: Vec<PodName>,
    /// Services, named as pods are.
    pub services: Vec<PodName>,
    /// Workloads.
    pub workloads: Vec<WorkloadName>,
    /// Networks.
    pub ips: Vec<IpNet>,
    /// Ports.
    pub ports: Vec<u16>,
    /// DNS names.
    pub fqdns: Vec<Fqdn>,
    /// Labels.
    pub labels: Vec<Selector>,
    /// Cilium's security identities.
    pub identities: Vec<u32>,
    /// Clusters.
    pub clusters: Vec<String>,
}

impl FlowFilter {
    /// Whether a flow matches.
    #[must_use]
    pub fn matches(&self, flow: &Flow) -> bool {
        // The cheap and narrow fields first.
        any(&self.verdicts, |v| *v == flow.verdict)
            && any(&self.event_types, |t| t.matches(flow.event_type))
            && any(&self.errnos, |e| *e == flow.extensions.errno)
            && any(&self.directions, |d| *d == flow.traffic_direction)
            && any(&self.replies, |reply| Some(*reply) == flow.is_reply)
            && any(&self.drop_reasons, |reason| *reason == drop_reason(flow))
            && any(&self.protocols, |p| p.matches(flow.l4.as_ref(), flow.l7.as_ref()))
            && any(&self.ip_versions, |v| *v == flow.ip.and_then(|ip| ip.version()))
            && any(&self.tcp_flags, |f| has_flags(flow, *f))
            && any(&self.rcodes, |r| has_rcode(flow, *r))
            && any(&self.http_statuses, |status| {
                http(flow).is_some_and(|http| status.matches(http.code))
            })
            && any(&self.http_methods, |method| {
                http(flow).is_some_and(|http| http.method.eq_ignore_ascii_case(method))
            })
            && any(&self.interfaces, |(index, name)| {
                has_interface(flow, *index, name)
            })
            && any(&self.node_names, |node| node.matches(&flow.node_name))
            && self.others.as_ref().is_none_or(|others| others.matches(flow))
            && self.source.matches(&SideOf::source(flow))
            && self.destination.matches(&SideOf::destination(flow))
            && any(&self.dns_queries, |q| has_query(flow, q))
            && any(&self.http_paths, |path| {
                http(flow).is_some_and(|http| path.is_match(http.path()))
            })
            && any(&self.http_urls, |url| {
                http(flow).is_some_and(|http| url.is_match(&http.url))
            })
    }
}

/// What a flow says of one side.
struct SideOf<'a> {
    endpoint: Option<&'a Endpoint>,
    service: Option<&'a Service>,
    addresses: [Option<IpAddr>; 2],
    ports: [Option<u16>; 2],
    names: &'a [Arc<str>],
}

impl<'a> SideOf<'a> {
    fn source(flow: &'a Flow) -> Self {
        let asked = asked(flow, true);
        Self {
            endpoint: flow.source.as_ref(),
            service: flow.source_service.as_ref(),
            addresses: [flow.ip.and_then(|ip| ip.source), asked.map(|asked| asked.ip())],
            ports: [flow.l4.map(|l4| l4.ports().0), asked.map(|asked| asked.port())],
            names: &flow.source_names,
        }
    }

    fn destination(flow: &'a Flow) -> Self {
        let asked = asked(flow, false);
        Self {
            endpoint: flow.destination.as_ref(),
            service: flow.destination_service.as_ref(),
            addresses: [
                flow.ip.and_then(|ip| ip.destination),
                asked.map(|asked| asked.ip()),
            ],
            ports: [flow.l4.map(|l4| l4.ports().1), asked.map(|asked| asked.port())],
            names: &flow.destination_names,
        }
    }
}

/// What was asked for counts like what the socket has, on the same side: a person who looks for port 8428 means the service's.
fn asked(flow: &Flow, is_source: bool) -> Option<SocketAddr> {
    // An answer comes from there.
    let comes_from_there = flow.is_reply == Some(true);
    flow.extensions.asked.filter(|_| comes_from_there == is_source)
}

impl Side {
    fn matches(&self, side: &SideOf<'_>) -> bool {
        any(&self.ports, |port| side.ports.contains(&Some(*port)))
            && any(&self.pods, |pod| is_pod(side.endpoint, pod))
            && any(&self.services, |name| {
                side.service
                    .is_some_and(|service| name.matches(&service.namespace, &service.name))
            })
            && any(&self.workloads, |name| is_workload(side.endpoint, name))
            && any(&self.ips, |net| {
                side.addresses.iter().flatten().any(|ip| net.contains(ip))
            })
            && any(&self.fqdns, |fqdn| {
                side.names.iter().any(|name| fqdn.matches(name))
            })
            && any(&self.labels, |selector| {
                side.endpoint.is_some_and(|e| selector.matches(&e.labels))
            })
            && any(&self.identities, |identity| {
                side.endpoint
                    .is_some_and(|e| e.identity != 0 && e.identity == *identity)
            })
            && any(&self.clusters, |cluster| {
                side.endpoint
                    .is_some_and(|e| e.cluster_name.as_deref() == Some(cluster))
            })
    }
}

/// Whether one of the values matches, or there is none.
pub(super) fn any<T>(values: &[T], matches: impl FnMut(&T) -> bool) -> bool {
    values.is_empty() || values.iter().any(matches)
}

fn is_pod(endpoint: Option<&Endpoint>, pod: &PodName) -> bool {
    endpoint.is_some_and(|e| {
        let (namespace, name) = (e.namespace.as_deref(), e.pod_name.as_deref());
        pod.matches(namespace.unwrap_or_default(), name.unwrap_or_default())
    })
}

fn is_workload(endpoint: Option<&Endpoint>, name: &WorkloadName) -> bool {
    endpoint.is_some_and(|e| e.workloads.iter().any(|w| name.matches(&w.kind, &w.name)))
}

fn drop_reason(flow: &Flow) -> u8 {
    flow.drop_reason_desc.as_ref().map_or(0, |reason| reason.number)
}

fn has_interface(flow: &Flow, index: u32, name: &str) -> bool {
    flow.interface.as_ref().is_some_and(|interface| {
        (index == 0 || index == interface.index)
            && (name.is_empty() || interface.name.as_deref() == Some(name))
    })
}

fn has_flags(flow: &Flow, wanted: TcpFlags) -> bool {
    matches!(flow.l4, Some(Layer4::Tcp(tcp)) if tcp.flags.0 & wanted.0 == wanted.0)
}

pub(super) fn http(flow: &Flow) -> Option<&Http> {
    flow.l7.as_ref().and_then(|l7| l7.http())
}

/// A request has no response code, although protojson cannot tell that from NOERROR.
fn has_rcode(flow: &Flow, wanted: u16) -> bool {
    flow.l7
        .as_ref()
        .is_some_and(|l7| l7.kind != L7Type::Request && l7.dns().is_some_and(|dns| dns.rcode == Some(wanted)))
}

/// The name in a message ends in a dot; who writes `local$` means it all the same. A dropped query is no message to
/// Hubble, but whoever looks for a name wants to see that.
fn has_query(flow: &Flow, query: &Regex) -> bool {
    let matches =
        |name: &str| query.is_match(name) || name.strip_suffix('.').is_some_and(|name| query.is_match(name));
    let dropped = flow
        .extensions
        .drop
        .as_ref()
        .and_then(|drop| drop.question.as_deref());
    flow.l7
        .as_ref()
        .and_then(|l7| l7.dns())
        .is_some_and(|dns| matches(&dns.query))
        || dropped.is_some_and(matches)
}
