//! Where telemetry goes, where that is known from, and whose it is.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::v1;
use super::{ConvertError, by_name};
use crate::model::cluster::Owner;
use crate::model::exchange::{Dialect, Signal};
use crate::model::expectation::{Endpoint, Host, Source, Transport};
use crate::model::workload::{Workload, WorkloadKind};

const WORKLOADS: [WorkloadKind; 5] = [
    WorkloadKind::Unknown,
    WorkloadKind::Pod,
    WorkloadKind::Container,
    WorkloadKind::Unit,
    WorkloadKind::Cgroup,
];

fn workload_kind(kind: WorkloadKind) -> &'static str {
    match kind {
        WorkloadKind::Unknown => "unknown",
        WorkloadKind::Pod => "pod",
        WorkloadKind::Container => "container",
        WorkloadKind::Unit => "unit",
        WorkloadKind::Cgroup => "cgroup",
    }
}

pub(super) fn signal_from(signal: Option<&str>) -> Result<Option<Signal>, ConvertError> {
    signal
        .map(|name| by_name("signal", name, &Signal::ALL, Signal::name))
        .transpose()
}

pub(super) fn text(value: Option<&Arc<str>>) -> Option<String> {
    value.map(|text| text.to_string())
}

pub(super) fn shared(value: Option<String>) -> Option<Arc<str>> {
    value.map(Arc::from)
}

pub(super) fn workload_to(workload: &Workload) -> v1::Workload {
    v1::Workload {
        kind: workload_kind(workload.kind).to_owned(),
        namespace: text(workload.namespace.as_ref()),
        pod: text(workload.pod.as_ref()),
        pod_uid: text(workload.pod_uid.as_ref()),
        container_id: text(workload.container_id.as_ref()),
        container: text(workload.container.as_ref()),
        unit: text(workload.unit.as_ref()),
        cgroup_path: text(workload.cgroup_path.as_ref()),
        owner: workload.owner.as_ref().map(|owner| v1::Owner {
            kind: owner.kind.as_ref().to_owned(),
            name: owner.name.as_ref().to_owned(),
        }),
    }
}

pub(super) fn workload_from(workload: v1::Workload) -> Result<Workload, ConvertError> {
    Ok(Workload {
        kind: by_name("kind of workload", &workload.kind, &WORKLOADS, workload_kind)?,
        namespace: shared(workload.namespace),
        pod: shared(workload.pod),
        pod_uid: shared(workload.pod_uid),
        container_id: shared(workload.container_id),
        container: shared(workload.container),
        unit: shared(workload.unit),
        cgroup_path: shared(workload.cgroup_path),
        owner: workload.owner.map(|owner| Owner {
            kind: owner.kind.into(),
            name: owner.name.into(),
        }),
    })
}

pub(super) fn endpoint_to(endpoint: &Endpoint) -> v1::Endpoint {
    let (transport, dialect) = match endpoint.transport {
        Transport::Grpc => ("grpc", None),
        Transport::HttpProtobuf => ("http/protobuf", None),
        Transport::HttpJson => ("http/json", None),
        Transport::Other(dialect) => ("other", Some(dialect.name().to_owned())),
        Transport::Unknown => ("unknown", None),
    };
    v1::Endpoint {
        host: Some(match &endpoint.host {
            Host::Name(name) => v1::endpoint::Host::Name(name.to_string()),
            Host::Ip(ip) => v1::endpoint::Host::Ip(ip.to_string()),
        }),
        port: endpoint.port.into(),
        tls: endpoint.tls,
        path: text(endpoint.path.as_ref()),
        transport: transport.to_owned(),
        dialect,
    }
}

pub(super) fn endpoint_from(endpoint: v1::Endpoint) -> Result<Endpoint, ConvertError> {
    let host = match endpoint.host.ok_or(ConvertError::Missing("host"))? {
        v1::endpoint::Host::Name(name) => Host::Name(name.into()),
        v1::endpoint::Host::Ip(ip) => Host::Ip(ip_from(&ip)?),
    };
    let transport = match (&*endpoint.transport, endpoint.dialect) {
        ("grpc", _) => Transport::Grpc,
        ("http/protobuf", _) => Transport::HttpProtobuf,
        ("http/json", _) => Transport::HttpJson,
        ("other", Some(name)) => Transport::Other(by_name("dialect", &name, &Dialect::ALL, Dialect::name)?),
        ("other", None) => return Err(ConvertError::Missing("dialect")),
        ("unknown", _) => Transport::Unknown,
        (other, _) => return Err(ConvertError::unknown("transport", other)),
    };
    Ok(Endpoint {
        host,
        port: port_from(endpoint.port)?,
        tls: endpoint.tls,
        path: shared(endpoint.path),
        transport,
    })
}

pub(super) fn ip_from(text: &str) -> Result<IpAddr, ConvertError> {
    text.parse().map_err(|_| ConvertError::unknown("address", text))
}

pub(super) fn port_from(port: u32) -> Result<u16, ConvertError> {
    u16::try_from(port).map_err(|_| ConvertError::unknown("port", port.to_string()))
}

pub(super) fn source_to(source: &Source) -> v1::Source {
    let (kind, detail) = match source {
        Source::Environment(name) => ("environment", Some(name)),
        Source::Argument(name) => ("argument", Some(name)),
        Source::OtelConfig(path) => ("otel-config", Some(path)),
        Source::Config => ("config", None),
        Source::Default(why) => ("default", Some(why)),
        Source::Annotation(on) => ("annotation", Some(on)),
        Source::Wire => ("wire", None),
    };
    v1::Source {
        kind: kind.to_owned(),
        detail: text(detail),
    }
}

pub(super) fn source_from(source: v1::Source) -> Result<Source, ConvertError> {
    let detail = || {
        source
            .detail
            .as_deref()
            .map(Arc::from)
            .ok_or(ConvertError::Missing("detail of source"))
    };
    Ok(match &*source.kind {
        "environment" => Source::Environment(detail()?),
        "argument" => Source::Argument(detail()?),
        "otel-config" => Source::OtelConfig(detail()?),
        "config" => Source::Config,
        "default" => Source::Default(detail()?),
        "annotation" => Source::Annotation(detail()?),
        "wire" => Source::Wire,
        other => return Err(ConvertError::unknown("source", other)),
    })
}
