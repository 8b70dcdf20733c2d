//! Hubble's `FlowFilter` messages to filters.

use super::FilterSet;
use super::error::{FilterError, Origin};
use super::flow_filter::{FlowFilter, Side};
use super::others::{NodeName, Others};
use super::selector::Selector;
use super::values::{self, Fqdn, HttpStatus, PodName, Protocol, TypeFilter, WorkloadName};
use crate::api::hubble::proto::flow as proto;
use crate::model::flow::{IpVersion, TcpFlags, TrafficDirection, Verdict, event};

/// Values in all filters of a request.
const MAX_VALUES: usize = 10_000;
/// Of those, regular expressions.
const MAX_REGULAR: usize = 32;

impl FilterSet {
    /// Of the lists of a request.
    ///
    /// # Errors
    /// When a value means nothing, when fields exclude each other, and when there are more than are evaluated.
    pub fn of_messages(allow: &[proto::FlowFilter], deny: &[proto::FlowFilter]) -> Result<Self, FilterError> {
        let all = || allow.iter().chain(deny);
        let (count, regular) = (all().map(values_in).sum(), all().map(regular_in).sum());
        if count > MAX_VALUES || regular > MAX_REGULAR {
            return Err(FilterError::TooMany {
                count,
                regular,
                most: MAX_VALUES,
                most_regular: MAX_REGULAR,
            });
        }
        let filters = |messages: &[proto::FlowFilter]| {
            messages
                .iter()
                .map(FlowFilter::of_message)
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            allow: filters(allow)?,
            deny: filters(deny)?,
        })
    }
}

/// What evaluating a filter takes; one without any counts, too.
fn values_in(m: &proto::FlowFilter) -> usize {
    let texts = [
        &m.source_ip,
        &m.source_pod,
        &m.destination_ip,
        &m.destination_pod,
        &m.source_label,
        &m.destination_label,
        &m.http_status_code,
        &m.protocol,
        &m.source_port,
        &m.destination_port,
        &m.source_service,
        &m.destination_service,
        &m.http_method,
        &m.trace_id,
        &m.uuid,
        &m.source_ip_xlated,
        &m.node_labels,
        &m.source_cluster_name,
        &m.destination_cluster_name,
    ];
    let own = m
        .obsflow
        .as_ref()
        .map_or(0, |own| own.rcode.len() + own.errno.len());
    1 + texts.into_iter().map(Vec::len).sum::<usize>()
        + m.verdict.len()
        + m.event_type.len()
        + m.reply.len()
        + m.source_identity.len()
        + m.destination_identity.len()
        + m.tcp_flags.len()
        + m.ip_version.len()
        + m.source_workload.len()
        + m.destination_workload.len()
        + m.traffic_direction.len()
        + m.http_header.len()
        + m.drop_reason_desc.len()
        + m.interface.len()
        + m.ip_trace_id.len()
        + m.encrypted.len()
        + own
        + regular_in(m)
}

/// Names with `*` become regular expressions, too.
fn regular_in(m: &proto::FlowFilter) -> usize {
    [
        &m.dns_query,
        &m.http_path,
        &m.http_url,
        &m.source_fqdn,
        &m.destination_fqdn,
        &m.node_name,
    ]
    .into_iter()
    .map(Vec::len)
    .sum()
}

/// Every value of a field, read.
fn each<T, V>(
    field: &'static str,
    values: &[T],
    read: impl Fn(Origin, &T) -> Result<V, FilterError>,
) -> Result<Vec<V>, FilterError> {
    values
        .iter()
        .map(|value| read(Origin::Field(field), value))
        .collect()
}

fn texts<V>(
    field: &'static str,
    values: &[String],
    read: impl Fn(Origin, &str) -> Result<V, FilterError>,
) -> Result<Vec<V>, FilterError> {
    each(field, values, |at, value| read(at, value))
}

fn number(at: Origin, value: i32, of: &'static str) -> FilterError {
    FilterError::Number {
        at,
        value: value.into(),
        of,
    }
}

impl FlowFilter {
    /// Of one message.
    ///
    /// # Errors
    /// When a value means nothing, or when fields exclude each other.
    pub fn of_message(m: &proto::FlowFilter) -> Result<Self, FilterError> {
        if m.experimental
            .as_ref()
            .is_some_and(|experimental| !experimental.cel_expression.is_empty())
        {
            return Err(FilterError::Cel);
        }
        let event_types = each("event_type", &m.event_type, |at, wanted| event_type(at, *wanted))?;
        check_http(m, &event_types)?;
        let own = m.obsflow.clone().unwrap_or_default();
        let rcode = |at, value: &u32| {
            let fits = u16::try_from(*value)
                .ok()
                .filter(|rcode| *rcode <= crate::flow::dns::RCODE_MAX);
            fits.ok_or(FilterError::Number {
                at,
                value: (*value).into(),
                of: "DNS response codes, 0 to 4095",
            })
        };
        let others = Others {
            uuids: m.uuid.clone(),
            trace_ids: m.trace_id.clone(),
            ip_trace_ids: m.ip_trace_id.clone(),
            node_labels: texts("node_labels", &m.node_labels, Selector::parse)?,
            ips_xlated: texts("source_ip_xlated", &m.source_ip_xlated, values::ip)?,
            encrypted: m.encrypted.clone(),
            http_headers: m
                .http_header
                .iter()
                .map(|header| (header.key.clone(), header.value.clone()))
                .collect(),
        };
        Ok(Self {
            source: source(m)?,
            destination: destination(m)?,
            ip_versions: each("ip_version", &m.ip_version, |at, value| match value {
                0 => Ok(None),
                1 => Ok(Some(IpVersion::IPv4)),
                2 => Ok(Some(IpVersion::IPv6)),
                other => Err(number(at, *other, "IPVersion")),
            })?,
            protocols: texts("protocol", &m.protocol, Protocol::parse)?,
            tcp_flags: m.tcp_flags.iter().map(tcp_flags).collect(),
            event_types,
            verdicts: each("verdict", &m.verdict, |at, value| verdict(at, *value))?,
            directions: each(
                "traffic_direction",
                &m.traffic_direction,
                |at, value| match value {
                    0 => Ok(None),
                    1 => Ok(Some(TrafficDirection::Ingress)),
                    2 => Ok(Some(TrafficDirection::Egress)),
                    other => Err(number(at, *other, "TrafficDirection")),
                },
            )?,
            replies: m.reply.clone(),
            drop_reasons: each("drop_reason_desc", &m.drop_reason_desc, |at, value| {
                u8::try_from(*value).map_err(|_| number(at, *value, "DropReason"))
            })?,
            node_names: texts("node_name", &m.node_name, NodeName::parse)?,
            interfaces: m
                .interface
                .iter()
                .map(|interface| (interface.index, interface.name.clone()))
                .collect(),
            others: (!others.is_empty()).then(|| Box::new(others)),
            dns_queries: texts("dns_query", &m.dns_query, values::regex)?,
            rcodes: each("obsflow.rcode", &own.rcode, rcode)?,
            errnos: own.errno,
            http_statuses: texts("http_status_code", &m.http_status_code, HttpStatus::parse)?,
            http_methods: texts("http_method", &m.http_method, values::http_method)?,
            http_paths: texts("http_path", &m.http_path, values::regex)?,
            http_urls: texts("http_url", &m.http_url, values::regex)?,
        })
    }
}

fn source(m: &proto::FlowFilter) -> Result<Side, FilterError> {
    Ok(Side {
        pods: m.source_pod.iter().map(|pod| PodName::parse(pod)).collect(),
        services: m.source_service.iter().map(|name| PodName::parse(name)).collect(),
        workloads: m.source_workload.iter().map(workload).collect(),
        ips: texts("source_ip", &m.source_ip, values::ip)?,
        ports: texts("source_port", &m.source_port, values::port)?,
        fqdns: texts("source_fqdn", &m.source_fqdn, Fqdn::parse)?,
        labels: texts("source_label", &m.source_label, Selector::parse)?,
        identities: m.source_identity.clone(),
        clusters: m.source_cluster_name.clone(),
    })
}

fn destination(m: &proto::FlowFilter) -> Result<Side, FilterError> {
    Ok(Side {
        pods: m.destination_pod.iter().map(|pod| PodName::parse(pod)).collect(),
        services: m
            .destination_service
            .iter()
            .map(|name| PodName::parse(name))
            .collect(),
        workloads: m.destination_workload.iter().map(workload).collect(),
        ips: texts("destination_ip", &m.destination_ip, values::ip)?,
        ports: texts("destination_port", &m.destination_port, values::port)?,
        fqdns: texts("destination_fqdn", &m.destination_fqdn, Fqdn::parse)?,
        labels: texts("destination_label", &m.destination_label, Selector::parse)?,
        identities: m.destination_identity.clone(),
        clusters: m.destination_cluster_name.clone(),
    })
}

fn workload(workload: &proto::Workload) -> WorkloadName {
    WorkloadName {
        kind: (!workload.kind.is_empty()).then(|| workload.kind.clone()),
        name: workload.name.clone(),
    }
}

fn event_type(at: Origin, wanted: proto::EventTypeFilter) -> Result<TypeFilter, FilterError> {
    let byte = |value| u8::try_from(value).map_err(|_| number(at, value, "event types, 0 to 255"));
    Ok(TypeFilter {
        kind: byte(wanted.r#type)?,
        sub_type: wanted.match_sub_type.then(|| byte(wanted.sub_type)).transpose()?,
    })
}

fn verdict(at: Origin, value: i32) -> Result<Verdict, FilterError> {
    [Verdict::Unknown]
        .into_iter()
        .chain(Verdict::ALL)
        .find(|verdict| *verdict as i32 == value)
        .ok_or_else(|| number(at, value, "Verdict"))
}

fn tcp_flags(flags: &proto::TcpFlags) -> TcpFlags {
    let all = [
        flags.fin, flags.syn, flags.rst, flags.psh, flags.ack, flags.urg, flags.ece, flags.cwr, flags.ns,
    ];
    let bits = all.into_iter().enumerate();
    TcpFlags(bits.fold(0, |sum, (bit, set)| sum | u16::from(set) << bit))
}

/// Who looks at messages of HTTP and wants only other events would never get anything.
fn check_http(m: &proto::FlowFilter, types: &[TypeFilter]) -> Result<(), FilterError> {
    let looks = [
        ("http_status_code", m.http_status_code.is_empty()),
        ("http_method", m.http_method.is_empty()),
        ("http_path", m.http_path.is_empty()),
        ("http_url", m.http_url.is_empty()),
        ("http_header", m.http_header.is_empty()),
    ];
    let fits = types.is_empty() || types.iter().any(|wanted| [0, event::L7].contains(&wanted.kind));
    match looks.into_iter().find(|(_, is_empty)| !is_empty) {
        Some((field, _)) if !fits => Err(FilterError::NeedsL7(field)),
        _ => Ok(()),
    }
}
