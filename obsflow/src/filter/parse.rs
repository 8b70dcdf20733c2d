//! From flags, in the order of the command line, to filters as messages.

use super::Wanted;
use super::error::FilterError;
use super::flag::{Flag, Term};
use super::flag_values;
use super::others::NodeName;
use super::selector::Selector;
use super::values::{self, Fqdn, HttpStatus, Protocol, TypeFilter, WorkloadName};
use crate::api::hubble::message::flags;
use crate::api::hubble::proto::flow as message;
use crate::model::flow::IpVersion;

/// Flags of one group exclude each other.
const CONFLICTS: &[&[Flag]] = {
    use Flag::{
        AllNamespaces, Cluster, Encrypted, Fqdn, FromAllNamespaces, FromCluster, FromFqdn, FromIdentity,
        FromIp, FromLabel, FromNamespace, FromPod, FromPort, FromService, FromWorkload, Identity, Ip, Label,
        Namespace, Pod, Port, Service, ToAllNamespaces, ToCluster, ToFqdn, ToIdentity, ToIp, ToLabel,
        ToNamespace, ToPod, ToPort, ToService, ToWorkload, Unencrypted, Workload,
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
        &[Label, FromLabel],
        &[Label, ToLabel],
        &[Identity, FromIdentity],
        &[Identity, ToIdentity],
        &[Cluster, FromCluster],
        &[Cluster, ToCluster],
        &[Encrypted, Unencrypted],
    ]
};

/// Makes filters of flags.
///
/// # Errors
/// When a value means nothing, when flags exclude each other, and when a `--not` has nothing to negate.
pub fn parse(terms: &[Term]) -> Result<Wanted, FilterError> {
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
    Ok(Wanted {
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

/// Fields of a filter.
type Field<T> = fn(&mut message::FlowFilter) -> &mut Vec<T>;

/// The two filters that flags add up to: flags without a direction are about the source in `left` and about the
/// destination in `right`; all others are in both.
#[derive(Default)]
struct Pair {
    left: Fields,
    right: Fields,
    given: Vec<Flag>,
}

/// A filter whose pods have no namespaces yet.
#[derive(Default)]
struct Fields {
    filter: message::FlowFilter,
    source: Pods,
    destination: Pods,
}

/// Pods and namespaces of one side, as written.
#[derive(Default)]
struct Pods {
    pods: Vec<String>,
    namespaces: Vec<String>,
}

/// Which side a flag is about, of those that are about one.
fn direction(flag: Flag) -> Direction {
    use Flag::{
        FromAllNamespaces, FromCluster, FromFqdn, FromIdentity, FromIp, FromLabel, FromNamespace, FromPod,
        FromPort, FromService, FromWorkload, ToAllNamespaces, ToCluster, ToFqdn, ToIdentity, ToIp, ToLabel,
        ToNamespace, ToPod, ToPort, ToService, ToWorkload,
    };
    match flag {
        FromPod | FromNamespace | FromAllNamespaces | FromService | FromWorkload | FromIp | FromPort
        | FromFqdn | FromLabel | FromIdentity | FromCluster => Direction::Source,
        ToPod | ToNamespace | ToAllNamespaces | ToService | ToWorkload | ToIp | ToPort | ToFqdn | ToLabel
        | ToIdentity | ToCluster => Direction::Destination,
        _ => Direction::Either,
    }
}

impl Pair {
    fn add(&mut self, term: &Term) -> Result<(), FilterError> {
        self.check_conflicts(term.flag)?;
        self.put(term.flag, &term.value)
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

    /// Checks a value and writes it into the filters; what it means is worked out once they are whole.
    fn put(&mut self, flag: Flag, value: &str) -> Result<(), FilterError> {
        match flag {
            Flag::FromPod | Flag::ToPod | Flag::Pod => {
                self.pods(flag, flag_values::text(flag, value)?, |pods| &mut pods.pods);
            }
            Flag::FromNamespace | Flag::ToNamespace | Flag::Namespace => {
                self.pods(flag, flag_values::text(flag, value)?, |pods| &mut pods.namespaces);
            }
            Flag::FromAllNamespaces | Flag::ToAllNamespaces | Flag::AllNamespaces => {
                self.pods(flag, "", |pods| &mut pods.namespaces);
            }
            Flag::FromService | Flag::ToService | Flag::Service => {
                let name = flag_values::text(flag, value)?.to_owned();
                self.sides(
                    flag,
                    name,
                    |f| &mut f.source_service,
                    |f| &mut f.destination_service,
                );
            }
            Flag::FromWorkload | Flag::ToWorkload | Flag::Workload => {
                let name = WorkloadName::parse(flag, value)?;
                let workload = message::Workload {
                    name: name.name,
                    kind: name.kind.unwrap_or_default(),
                };
                self.sides(
                    flag,
                    workload,
                    |f| &mut f.source_workload,
                    |f| &mut f.destination_workload,
                );
            }
            Flag::FromIp | Flag::ToIp | Flag::Ip => {
                let net = values::ip(flag, value).map(|_| value.to_owned())?;
                self.sides(flag, net, |f| &mut f.source_ip, |f| &mut f.destination_ip);
            }
            Flag::FromPort | Flag::ToPort | Flag::Port => {
                let port = values::port(flag, value)?.to_string();
                self.sides(flag, port, |f| &mut f.source_port, |f| &mut f.destination_port);
            }
            Flag::FromFqdn | Flag::ToFqdn | Flag::Fqdn => {
                let name = Fqdn::parse(flag, value).map(|_| value.to_owned())?;
                self.sides(flag, name, |f| &mut f.source_fqdn, |f| &mut f.destination_fqdn);
            }
            Flag::FromLabel | Flag::ToLabel | Flag::Label => {
                let selector = Selector::parse(flag, value).map(|_| value.to_owned())?;
                self.sides(
                    flag,
                    selector,
                    |f| &mut f.source_label,
                    |f| &mut f.destination_label,
                );
            }
            Flag::FromIdentity | Flag::ToIdentity | Flag::Identity => {
                let identity = flag_values::identity(flag, value)?;
                self.sides(
                    flag,
                    identity,
                    |f| &mut f.source_identity,
                    |f| &mut f.destination_identity,
                );
            }
            Flag::FromCluster | Flag::ToCluster | Flag::Cluster => {
                let name = flag_values::text(flag, value)?.to_owned();
                self.sides(
                    flag,
                    name,
                    |f| &mut f.source_cluster_name,
                    |f| &mut f.destination_cluster_name,
                );
            }
            _ => self.single(flag, value)?,
        }
        Ok(())
    }

    /// Flags that are about neither side.
    fn single(&mut self, flag: Flag, value: &str) -> Result<(), FilterError> {
        let text = || flag_values::text(flag, value).map(str::to_owned);
        let version = |version: Option<IpVersion>| version.map_or(0, |version| version as i32);
        match flag {
            Flag::Ipv4 => self.both(1, |f| &mut f.ip_version),
            Flag::Ipv6 => self.both(2, |f| &mut f.ip_version),
            Flag::IpVersion => self.both(version(flag_values::ip_version(flag, value)?), |f| {
                &mut f.ip_version
            }),
            Flag::Protocol => {
                let name = Protocol::parse(flag, value).map(|_| value.to_owned())?;
                self.both(name, |f| &mut f.protocol);
            }
            Flag::TcpFlags => self.both(flags(values::tcp_flags(flag, value)?), |f| &mut f.tcp_flags),
            Flag::Type => {
                let wanted = TypeFilter::parse(flag, value)?;
                let message = message::EventTypeFilter {
                    r#type: wanted.kind.into(),
                    match_sub_type: wanted.sub_type.is_some(),
                    sub_type: wanted.sub_type.unwrap_or_default().into(),
                };
                self.both(message, |f| &mut f.event_type);
            }
            Flag::Verdict => self.both(values::verdict(flag, value)? as i32, |f| &mut f.verdict),
            Flag::TrafficDirection => {
                self.both(values::direction(flag, value)? as i32, |f| {
                    &mut f.traffic_direction
                });
            }
            Flag::DnsQuery => self.both(regex(flag, value)?, |f| &mut f.dns_query),
            Flag::Rcode => self.both(values::rcode(flag, value)?.into(), |f| &mut own(f).rcode),
            Flag::Errno => self.both(values::errno(flag, value)?, |f| &mut own(f).errno),
            Flag::HttpStatus => {
                let status = HttpStatus::parse(flag, value).map(|_| value.to_owned())?;
                self.both(status, |f| &mut f.http_status_code);
            }
            Flag::HttpMethod => self.both(text()?, |f| &mut f.http_method),
            Flag::HttpPath => self.both(regex(flag, value)?, |f| &mut f.http_path),
            Flag::HttpUrl => self.both(regex(flag, value)?, |f| &mut f.http_url),
            Flag::HttpHeader => {
                let (key, value) = flag_values::http_header(flag, value)?;
                let header = message::HttpHeader {
                    key: key.to_owned(),
                    value: value.to_owned(),
                };
                self.both(header, |f| &mut f.http_header);
            }
            Flag::DropReasonDesc => {
                let reason = flag_values::drop_reason(flag, value)?;
                self.both(reason.number.into(), |f| &mut f.drop_reason_desc);
            }
            Flag::TraceId => self.both(text()?, |f| &mut f.trace_id),
            Flag::IpTraceId => self.both(flag_values::ip_trace_id(flag, value)?, |f| &mut f.ip_trace_id),
            Flag::Uuid => self.both(text()?, |f| &mut f.uuid),
            Flag::SnatIp => {
                let net = values::ip(flag, value).map(|_| value.to_owned())?;
                self.both(net, |f| &mut f.source_ip_xlated);
            }
            Flag::Interface => {
                let interface = message::NetworkInterface {
                    index: 0,
                    name: text()?,
                };
                self.both(interface, |f| &mut f.interface);
            }
            Flag::NodeName => {
                let name = NodeName::parse(flag, value).map(|_| value.to_owned())?;
                self.both(name, |f| &mut f.node_name);
            }
            Flag::NodeLabel => {
                let selector = Selector::parse(flag, value).map(|_| value.to_owned())?;
                self.both(selector, |f| &mut f.node_labels);
            }
            Flag::Encrypted => self.both(true, |f| &mut f.encrypted),
            Flag::Unencrypted => self.both(false, |f| &mut f.encrypted),
            Flag::CelExpression => {
                self.both(text()?, |f| {
                    &mut f.experimental.get_or_insert_default().cel_expression
                });
            }
            // Flags about a side were dealt with, and --not never comes here.
            _ => {}
        }
        Ok(())
    }

    fn both<T: Clone>(&mut self, value: T, field: Field<T>) {
        field(&mut self.left.filter).push(value.clone());
        field(&mut self.right.filter).push(value);
    }

    fn sides<T: Clone>(&mut self, flag: Flag, value: T, source: Field<T>, destination: Field<T>) {
        let (left, right) = match direction(flag) {
            Direction::Source => (source, source),
            Direction::Destination => (destination, destination),
            Direction::Either => (source, destination),
        };
        left(&mut self.left.filter).push(value.clone());
        right(&mut self.right.filter).push(value);
    }

    fn pods(&mut self, flag: Flag, value: &str, field: fn(&mut Pods) -> &mut Vec<String>) {
        let (left, right) = match direction(flag) {
            Direction::Source => (&mut self.left.source, &mut self.right.source),
            Direction::Destination => (&mut self.left.destination, &mut self.right.destination),
            Direction::Either => (&mut self.left.source, &mut self.right.destination),
        };
        field(left).push(value.to_owned());
        field(right).push(value.to_owned());
    }

    /// One filter where both are the same: none of the flags is about either side.
    fn filters(self) -> Result<Vec<message::FlowFilter>, FilterError> {
        if self.given.is_empty() {
            return Ok(Vec::new());
        }
        let (left, right) = (self.left.finish()?, self.right.finish()?);
        Ok(if left == right {
            vec![left]
        } else {
            vec![left, right]
        })
    }
}

fn own(filter: &mut message::FlowFilter) -> &mut message::flow_filter::Obsflow {
    filter.obsflow.get_or_insert_default()
}

fn regex(flag: Flag, value: &str) -> Result<String, FilterError> {
    values::regex(flag, value).map(|_| value.to_owned())
}

impl Fields {
    fn finish(self) -> Result<message::FlowFilter, FilterError> {
        let mut filter = self.filter;
        filter.source_pod = self.source.finish()?;
        filter.destination_pod = self.destination.finish()?;
        Ok(filter)
    }
}

impl Pods {
    /// Pods written without a namespace are in those given beside them; namespaces alone mean all of their pods.
    fn finish(mut self) -> Result<Vec<String>, FilterError> {
        if self.namespaces.is_empty() {
            return Ok(self.pods);
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
                    names.push(pod.clone());
                }
                None => names.extend(
                    self.namespaces
                        .iter()
                        .map(|namespace| format!("{namespace}/{pod}")),
                ),
            }
        }
        Ok(names)
    }
}
