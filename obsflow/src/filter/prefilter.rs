//! What a filter can tell of what is kept before a flow is made of it: most entries are not wanted, and making a flow takes
//! longer than looking at a hundred of them.
//!
//! Whatever is not looked at here may match. A test holds that what matches a flow may match what the flow is made of.

use std::net::SocketAddr;
use std::sync::Arc;

use super::FilterSet;
use super::flow_filter::{FlowFilter, Side, any};
use super::values::Protocol;
use crate::model::cluster::Destination;
use crate::model::event::{self, Direction};
use crate::store::{Detail, DnsKind, Seen};

impl FilterSet {
    /// Whether the flow of an entry may be wanted.
    #[must_use]
    pub fn may_match(&self, seen: &Seen) -> bool {
        self.allow.is_empty() || {
            let sides = Sides::of(seen);
            self.allow.iter().any(|filter| filter.may_match(seen, &sides))
        }
    }
}

impl FlowFilter {
    fn may_match(&self, seen: &Seen, sides: &Sides) -> bool {
        any(&self.verdicts, |verdict| *verdict == seen.row.verdict)
            && any(&self.event_types, |wanted| {
                [0, seen.row.kind].contains(&wanted.kind)
            })
            && any(&self.protocols, |protocol| may_be(*protocol, seen))
            && self.source.may_match(seen, sides, true)
            && self.destination.may_match(seen, sides, false)
            && any(&self.dns_queries, |query| match &seen.detail {
                Detail::Dns(dns) => has_name(query, &dns.name),
                Detail::Lookup(lookup) => has_name(query, &lookup.name),
                Detail::Dropped(_) | Detail::ConnectFailed(_) => true,
                _ => false,
            })
            && any(&self.rcodes, |rcode| match &seen.detail {
                Detail::Dns(dns) => dns.rcode == *rcode && matches!(dns.kind, DnsKind::Response(_)),
                Detail::Lookup(_) => true,
                _ => false,
            })
            && any(&self.errnos, |errno| match &seen.detail {
                Detail::Closed(end) => end.errno == *errno,
                Detail::ConnectFailed(failure) => failure.errno == *errno,
                Detail::Dns(dns) => matches!(dns.kind, DnsKind::Refused(of) if of == *errno) || *errno == 0,
                Detail::Lookup(_) => true,
                _ => *errno == 0,
            })
            && (!self.looks_at_http() || matches!(seen.detail, Detail::Request(_) | Detail::Exchange(_)))
            // Flows of obsflow's own have none of that.
            && self.others.as_ref().is_none_or(|others| others.may_match_own())
    }

    fn looks_at_http(&self) -> bool {
        !(self.http_statuses.is_empty()
            && self.http_methods.is_empty()
            && self.http_paths.is_empty()
            && self.http_urls.is_empty())
    }
}

/// Where a flow goes from and to, as far as it is known before it is made.
struct Sides {
    source: Option<SocketAddr>,
    destination: Option<SocketAddr>,
    asked: Option<SocketAddr>,
    /// Whether the source, and the destination, may be what was asked for.
    asked_is: [bool; 2],
    from_workload: bool,
}

impl Sides {
    /// As a flow is made: a response comes to the workload, a dropped packet went as it went.
    fn of(seen: &Seen) -> Self {
        let (local, remote, asked) = (seen.local(), seen.remote(), seen.asked());
        let is_answer = match &seen.detail {
            Detail::Dns(dns) => matches!(dns.kind, DnsKind::Response(_)),
            Detail::Exchange(exchange) => exchange.accepted().is_some(),
            _ => false,
        };
        let (source, destination, from_workload) = match &seen.detail {
            Detail::Dropped(drop) => {
                let (source, destination) = (drop.packet.ends.local, drop.packet.ends.remote);
                let from_workload = match drop.direction {
                    Some(direction) => direction == Direction::Egress,
                    None => local.is_none_or(|local| local != destination),
                };
                (Some(source), Some(destination), from_workload)
            }
            Detail::Lookup(lookup) => (local, lookup.server.or(remote), true),
            _ if is_answer => (remote, local, false),
            _ => (local, remote.or(asked), true),
        };
        Self {
            source,
            destination,
            asked: asked.filter(|asked| remote.is_some_and(|remote| remote != *asked)),
            asked_is: match &seen.detail {
                // Whether it is an answer is seen in the packet.
                Detail::Dropped(_) => [true, true],
                _ => [is_answer, !is_answer],
            },
            from_workload,
        }
    }
}

impl Side {
    fn may_match(&self, seen: &Seen, sides: &Sides, is_source: bool) -> bool {
        let is_workload = is_source == sides.from_workload;
        let [source, destination] = sides.asked_is;
        let (address, is_asked) = if is_source {
            (sides.source, source)
        } else {
            (sides.destination, destination)
        };
        let addresses = || address.into_iter().chain(sides.asked.filter(|_| is_asked));
        any(&self.ports, |port| addresses().any(|a| a.port() == *port) || address.is_none() && *port == 0)
            && any(&self.ips, |net| addresses().any(|a| net.contains(&a.ip())))
            && any(&self.pods, |pod| {
                let (namespace, name) = if is_workload {
                    (seen.workload.namespace.as_ref(), seen.workload.pod.as_ref())
                } else {
                    remote(seen)
                };
                // Nothing of it is copied: there may be thousands of names, and tens of thousands of entries.
                pod.matches(namespace.map_or("", |text| text), name.map_or("", |text| text))
            })
            && any(&self.fqdns, |fqdn| {
                !is_workload && seen.remote_name.as_ref().is_some_and(|name| fqdn.matches(name))
            })
            && (self.services.is_empty() || !is_workload && seen.remote_is.is_some())
            // Nothing obsflow knows.
            && self.labels.is_empty()
            && self.identities.is_empty()
            && self.clusters.is_empty()
    }
}

/// Namespace and name of the other side's pod.
fn remote(seen: &Seen) -> (Option<&Arc<str>>, Option<&Arc<str>>) {
    match seen.remote_is.as_deref() {
        Some(Destination::Pod { namespace, name, .. }) => (Some(namespace), Some(name)),
        Some(Destination::Service { namespace, .. }) => (Some(namespace), None),
        Some(Destination::Node { .. }) | None => (None, None),
    }
}

fn may_be(protocol: Protocol, seen: &Seen) -> bool {
    let (is_dns, is_udp) = match &seen.detail {
        Detail::Dns(dns) => (true, dns.protocol != Some(event::Protocol::Tcp)),
        Detail::Lookup(_) => (true, true),
        Detail::Dropped(drop) => (false, drop.packet.protocol == event::Protocol::Udp),
        _ => (false, false),
    };
    match protocol {
        Protocol::Tcp => !is_udp,
        Protocol::Udp => is_udp,
        Protocol::Dns => is_dns,
        Protocol::Http => matches!(seen.detail, Detail::Request(_) | Detail::Exchange(_)),
        Protocol::Icmp
        | Protocol::Icmpv4
        | Protocol::Icmpv6
        | Protocol::Sctp
        | Protocol::Kafka
        | Protocol::Unseen => false,
    }
}

/// In a message the name has the dot of the root.
fn has_name(query: &regex::Regex, name: &str) -> bool {
    // Whether it also matches with the dot is seen in the flow: an expression may ask for it.
    query.is_match(name) || query.is_match(&crate::flow::with_dot(name))
}
