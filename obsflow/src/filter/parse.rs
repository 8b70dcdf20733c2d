//! From flags, in the order of the command line, to filters.

use super::FilterSet;
use super::error::FilterError;
use super::flag::{Flag, Term};
use super::flow_filter::{FlowFilter, Side};
use super::values::{self, Fqdn, HttpStatus, PodName, Protocol, TypeFilter, WorkloadName};
use crate::model::flow::IpVersion;

/// Flags of one group exclude each other.
const CONFLICTS: &[&[Flag]] = {
    use Flag::{
        AllNamespaces, Fqdn, FromAllNamespaces, FromFqdn, FromIp, FromNamespace, FromPod, FromPort,
        FromService, FromWorkload, Ip, Namespace, Pod, Port, Service, ToAllNamespaces, ToFqdn, ToIp,
        ToNamespace, ToPod, ToPort, ToService, ToWorkload, Workload,
    };
    &[
        &[
            FromFqdn,
            FromIp,
            Ip,
            Fqdn,
            FromNamespace,
            Namespace,
            FromAllNamespaces,
            AllNamespaces,
        ],
        &[FromFqdn, FromIp, Ip, Fqdn, FromPod, Pod],
        &[
            ToFqdn,
            ToIp,
            Ip,
            Fqdn,
            ToNamespace,
            Namespace,
            ToAllNamespaces,
            AllNamespaces,
        ],
        &[ToFqdn, ToIp, Ip, Fqdn, ToPod, Pod],
        &[FromPod, FromNamespace, FromAllNamespaces],
        &[FromPod, Namespace, AllNamespaces],
        &[ToPod, ToNamespace, ToAllNamespaces],
        &[ToPod, Namespace, AllNamespaces],
        &[Port, ToPort],
        &[Port, FromPort],
        &[Workload, ToWorkload],
        &[Workload, FromWorkload],
        &[FromFqdn, FromIp, Ip, Fqdn, FromService, Service],
        &[ToFqdn, ToIp, Ip, Fqdn, ToService, Service],
        &[Service, FromService],
        &[Service, ToService],
        // A Service without a namespace is in `default`, whatever stands beside it.
        &[FromService, FromNamespace],
        &[FromService, Namespace],
        &[ToService, ToNamespace],
        &[ToService, Namespace],
        &[Service, Namespace],
    ]
};

/// Makes filters of flags.
///
/// # Errors
/// When a value means nothing, when flags exclude each other, and when a `--not` has nothing to negate.
pub fn parse(terms: &[Term]) -> Result<FilterSet, FilterError> {
    let (mut allow, mut deny) = (Pair::default(), Pair::default());
    let mut negate = false;
    for term in terms {
        if term.flag == Flag::Not {
            if negate {
                return Err(FilterError::RepeatedNot);
            }
            negate = true;
            continue;
        }
        let pair = if negate { &mut deny } else { &mut allow };
        negate = false;
        pair.add(term)?;
    }
    if negate {
        return Err(FilterError::TrailingNot);
    }
    Ok(FilterSet {
        allow: allow.filters()?,
        deny: deny.filters()?,
    })
}

/// Which sides a flag is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Source,
    Destination,
    Either,
}

/// The two filters that flags add up to: flags without a direction are about the source in `left` and about the
/// destination in `right`; all others are in both.
#[derive(Default)]
struct Pair {
    left: Fields,
    right: Fields,
    given: Vec<Flag>,
    undirected: bool,
}

/// A filter whose pods have no namespaces yet.
#[derive(Default)]
struct Fields {
    filter: FlowFilter,
    source: Pods,
    destination: Pods,
}

/// Pods and namespaces of one side, as written.
#[derive(Default)]
struct Pods {
    pods: Vec<String>,
    namespaces: Vec<String>,
}

impl Pair {
    fn add(&mut self, term: &Term) -> Result<(), FilterError> {
        let Term { flag, value } = term;
        let (flag, value) = (*flag, value.as_str());
        self.check_conflicts(flag)?;
        match flag {
            Flag::FromPod => self.pods(Direction::Source, flag, value),
            Flag::ToPod => self.pods(Direction::Destination, flag, value),
            Flag::Pod => self.pods(Direction::Either, flag, value),
            Flag::FromNamespace => self.namespaces(Direction::Source, flag, value),
            Flag::ToNamespace => self.namespaces(Direction::Destination, flag, value),
            Flag::Namespace => self.namespaces(Direction::Either, flag, value),
            Flag::FromAllNamespaces => self.any_namespace(Direction::Source),
            Flag::ToAllNamespaces => self.any_namespace(Direction::Destination),
            Flag::AllNamespaces => self.any_namespace(Direction::Either),
            Flag::FromService => self.service(Direction::Source, flag, value),
            Flag::ToService => self.service(Direction::Destination, flag, value),
            Flag::Service => self.service(Direction::Either, flag, value),
            Flag::FromWorkload => self.workload(Direction::Source, flag, value),
            Flag::ToWorkload => self.workload(Direction::Destination, flag, value),
            Flag::Workload => self.workload(Direction::Either, flag, value),
            Flag::FromIp => self.ip(Direction::Source, flag, value),
            Flag::ToIp => self.ip(Direction::Destination, flag, value),
            Flag::Ip => self.ip(Direction::Either, flag, value),
            Flag::FromPort => self.port(Direction::Source, flag, value),
            Flag::ToPort => self.port(Direction::Destination, flag, value),
            Flag::Port => self.port(Direction::Either, flag, value),
            Flag::FromFqdn => self.fqdn(Direction::Source, flag, value),
            Flag::ToFqdn => self.fqdn(Direction::Destination, flag, value),
            Flag::Fqdn => self.fqdn(Direction::Either, flag, value),
            _ => self.single(flag, value),
        }
    }

    fn check_conflicts(&mut self, flag: Flag) -> Result<(), FilterError> {
        for group in CONFLICTS.iter().filter(|group| group.contains(&flag)) {
            if let Some(other) = self
                .given
                .iter()
                .find(|given| **given != flag && group.contains(given))
            {
                return Err(FilterError::Conflict(*other, flag));
            }
        }
        self.given.push(flag);
        Ok(())
    }

    /// Flags that are about neither side.
    fn single(&mut self, flag: Flag, value: &str) -> Result<(), FilterError> {
        match flag {
            Flag::Ipv4 => self.both(Some(IpVersion::IPv4), |f| &mut f.ip_versions),
            Flag::Ipv6 => self.both(Some(IpVersion::IPv6), |f| &mut f.ip_versions),
            Flag::Protocol => self.both(Protocol::parse(flag, value)?, |f| &mut f.protocols),
            Flag::TcpFlags => self.both(values::tcp_flags(flag, value)?, |f| &mut f.tcp_flags),
            Flag::Type => self.both(TypeFilter::parse(flag, value)?, |f| &mut f.event_types),
            Flag::Verdict => self.both(values::verdict(flag, value)?, |f| &mut f.verdicts),
            Flag::TrafficDirection => self.both(Some(values::direction(flag, value)?), |f| &mut f.directions),
            Flag::DnsQuery => self.both(values::regex(flag, value)?, |f| &mut f.dns_queries),
            Flag::Rcode => self.both(values::rcode(flag, value)?, |f| &mut f.rcodes),
            Flag::HttpStatus => self.both(HttpStatus::parse(flag, value)?, |f| &mut f.http_statuses),
            Flag::HttpMethod => self.both(values::http_method(flag, value)?, |f| &mut f.http_methods),
            Flag::HttpPath => self.both(values::regex(flag, value)?, |f| &mut f.http_paths),
            Flag::HttpUrl => self.both(values::regex(flag, value)?, |f| &mut f.http_urls),
            Flag::Errno => self.both(values::errno(flag, value)?, |f| &mut f.errnos),
            // Flags about a side were dealt with, and --not never comes here.
            _ => {}
        }
        Ok(())
    }

    fn both<T: Clone>(&mut self, value: T, field: impl Fn(&mut FlowFilter) -> &mut Vec<T>) {
        field(&mut self.left.filter).push(value.clone());
        field(&mut self.right.filter).push(value);
    }

    fn sides<T: Clone>(&mut self, direction: Direction, value: T, field: impl Fn(&mut Side) -> &mut Vec<T>) {
        let [left, right] = [&mut self.left.filter, &mut self.right.filter];
        match direction {
            Direction::Source => {
                field(&mut left.source).push(value.clone());
                field(&mut right.source).push(value);
            }
            Direction::Destination => {
                field(&mut left.destination).push(value.clone());
                field(&mut right.destination).push(value);
            }
            Direction::Either => {
                self.undirected = true;
                field(&mut left.source).push(value.clone());
                field(&mut right.destination).push(value);
            }
        }
    }

    fn pod_sides(
        &mut self,
        direction: Direction,
        value: &str,
        field: impl Fn(&mut Pods) -> &mut Vec<String>,
    ) {
        let add = |pods: &mut Pods| field(pods).push(value.to_owned());
        match direction {
            Direction::Source => [&mut self.left.source, &mut self.right.source]
                .into_iter()
                .for_each(add),
            Direction::Destination => {
                [&mut self.left.destination, &mut self.right.destination]
                    .into_iter()
                    .for_each(add);
            }
            Direction::Either => {
                self.undirected = true;
                [&mut self.left.source, &mut self.right.destination]
                    .into_iter()
                    .for_each(add);
            }
        }
    }

    fn pods(&mut self, direction: Direction, flag: Flag, value: &str) -> Result<(), FilterError> {
        if value.is_empty() {
            return Err(FilterError::Empty { at: flag.into() });
        }
        self.pod_sides(direction, value, |pods| &mut pods.pods);
        Ok(())
    }

    fn namespaces(&mut self, direction: Direction, flag: Flag, value: &str) -> Result<(), FilterError> {
        if value.is_empty() {
            return Err(FilterError::Empty { at: flag.into() });
        }
        self.pod_sides(direction, value, |pods| &mut pods.namespaces);
        Ok(())
    }

    fn any_namespace(&mut self, direction: Direction) -> Result<(), FilterError> {
        self.pod_sides(direction, "", |pods| &mut pods.namespaces);
        Ok(())
    }

    fn service(&mut self, direction: Direction, flag: Flag, value: &str) -> Result<(), FilterError> {
        if value.is_empty() {
            return Err(FilterError::Empty { at: flag.into() });
        }
        self.sides(direction, PodName::parse(value), |side| &mut side.services);
        Ok(())
    }

    fn workload(&mut self, direction: Direction, flag: Flag, value: &str) -> Result<(), FilterError> {
        self.sides(direction, WorkloadName::parse(flag, value)?, |side| {
            &mut side.workloads
        });
        Ok(())
    }

    fn ip(&mut self, direction: Direction, flag: Flag, value: &str) -> Result<(), FilterError> {
        self.sides(direction, values::ip(flag, value)?, |side| &mut side.ips);
        Ok(())
    }

    fn port(&mut self, direction: Direction, flag: Flag, value: &str) -> Result<(), FilterError> {
        self.sides(direction, values::port(flag, value)?, |side| &mut side.ports);
        Ok(())
    }

    fn fqdn(&mut self, direction: Direction, flag: Flag, value: &str) -> Result<(), FilterError> {
        self.sides(direction, Fqdn::parse(flag, value)?, |side| &mut side.fqdns);
        Ok(())
    }

    fn filters(self) -> Result<Vec<FlowFilter>, FilterError> {
        if self.given.is_empty() {
            return Ok(Vec::new());
        }
        let left = self.left.finish()?;
        if !self.undirected {
            return Ok(vec![left]);
        }
        Ok(vec![left, self.right.finish()?])
    }
}

impl Fields {
    fn finish(self) -> Result<FlowFilter, FilterError> {
        let mut filter = self.filter;
        filter.source.pods = self.source.finish()?;
        filter.destination.pods = self.destination.finish()?;
        Ok(filter)
    }
}

impl Pods {
    /// Pods written without a namespace are in those given beside them; namespaces alone mean all of their pods.
    fn finish(mut self) -> Result<Vec<PodName>, FilterError> {
        if self.namespaces.is_empty() {
            return Ok(self.pods.iter().map(|pod| PodName::parse(pod)).collect());
        }
        if self.pods.is_empty() {
            self.pods.push(String::new());
        }
        let mut names = Vec::new();
        for pod in &self.pods {
            match pod.split_once('/') {
                Some((of, _)) => {
                    let other =
                        |namespace: &&String| !namespace.is_empty() && !of.is_empty() && *namespace != of;
                    if let Some(namespace) = self.namespaces.iter().find(other) {
                        return Err(FilterError::Namespace {
                            namespace: namespace.clone(),
                            pod: pod.clone(),
                        });
                    }
                    names.push(PodName::parse(pod));
                }
                None => {
                    let named = |namespace: &String| PodName::parse(&format!("{namespace}/{pod}"));
                    names.extend(self.namespaces.iter().map(named));
                }
            }
        }
        Ok(names)
    }
}
