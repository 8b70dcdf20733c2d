//! The parts of a line.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use super::escape;
use crate::filter::TRACE_POINTS;
use crate::model::flow::{Endpoint, Flow, Record, Service, Verdict, event};

/// Which side of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Source,
    Destination,
}

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) color: bool,
}

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const MAGENTA: &str = "\x1b[35m";
const CYAN: &str = "\x1b[36m";
const RESET: &str = "\x1b[0m";

impl Style {
    /// Appends what `fill` appends, in a colour.
    fn paint(self, line: &mut String, color: &str, fill: impl FnOnce(&mut String)) {
        if self.color {
            line.push_str(color);
        }
        fill(line);
        if self.color {
            line.push_str(RESET);
        }
    }
}

/// Reserved security identities by number (`pkg/identity/numericidentity.go` of cilium/cilium).
const RESERVED: [&str; 11] = [
    "unknown",
    "host",
    "world",
    "unmanaged",
    "health",
    "init",
    "remote-node",
    "kube-apiserver",
    "ingress",
    "world-ipv4",
    "world-ipv6",
];

/// Writes the parts of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    pub(super) style: Style,
    pub(super) ip_translation: bool,
}

/// What a flow says of one side.
struct Host<'a> {
    endpoint: Option<&'a Endpoint>,
    service: Option<&'a Service>,
    names: &'a [Arc<str>],
    ip: Option<IpAddr>,
    port: u16,
}

impl<'a> Host<'a> {
    fn of(flow: &'a Flow, column: Column) -> Self {
        let (source_port, destination_port) = flow.l4.map(|l4| l4.ports()).unwrap_or_default();
        match column {
            Column::Source => Self {
                endpoint: flow.source.as_ref(),
                service: flow.source_service.as_ref(),
                names: &flow.source_names,
                ip: flow.ip.and_then(|ip| ip.source),
                port: source_port,
            },
            Column::Destination => Self {
                endpoint: flow.destination.as_ref(),
                service: flow.destination_service.as_ref(),
                names: &flow.destination_names,
                ip: flow.ip.and_then(|ip| ip.destination),
                port: destination_port,
            },
        }
    }

    /// Pod, service, DNS names, then, beyond Hubble, the workload of a node without Kubernetes; `false` when there
    /// is no name at all.
    fn name(&self, line: &mut String) -> bool {
        let pod = self
            .endpoint
            .and_then(|e| Some((e.namespace.as_deref(), e.pod_name.as_deref()?)));
        let service = self.service.map(|s| (Some(&*s.namespace), &*s.name));
        if let Some((namespace, name)) = pod.or(service) {
            if let Some(namespace) = namespace.filter(|namespace| !namespace.is_empty()) {
                escape::push(line, namespace);
                line.push('/');
            }
            escape::push(line, name);
            return true;
        }
        if let Some((first, rest)) = self.names.split_first() {
            escape::push(line, first);
            for name in rest {
                line.push(',');
                escape::push(line, name);
            }
            return true;
        }
        if let Some(workload) = self.endpoint.and_then(|e| e.workloads.first()) {
            escape::push(line, &workload.name);
            return true;
        }
        false
    }
}

impl Text {
    pub(super) fn host(self, line: &mut String, flow: &Flow, column: Column) {
        let host = Host::of(flow, column);
        self.style.paint(line, CYAN, |line| {
            let start = line.len();
            if !(self.ip_translation && host.name(line)) {
                match host.ip {
                    Some(ip) => {
                        let _ = write!(line, "{ip}");
                    }
                    None => line.push_str("unknown"),
                }
            }
            // As in addresses, colons are ambiguous in front of a port.
            if host.port != 0 && line.get(start..).is_some_and(|name| name.contains(':')) {
                line.insert(start, '[');
                line.push(']');
            }
        });
        if host.port != 0 {
            line.push(':');
            self.style.paint(line, YELLOW, |line| {
                let _ = write!(line, "{}", host.port);
            });
        }
    }

    pub(super) fn identity(self, line: &mut String, flow: &Flow, column: Column) {
        let endpoint = Host::of(flow, column).endpoint;
        let identity = endpoint.map_or(0, |endpoint| endpoint.identity);
        let reserved = usize::try_from(identity)
            .ok()
            .and_then(|identity| RESERVED.get(identity));
        self.style.paint(line, MAGENTA, |line| {
            let _ = match reserved {
                Some(name) => write!(line, "({name})"),
                None => write!(line, "(ID:{identity})"),
            };
        });
    }

    /// The type column.
    pub(super) fn kind(self, line: &mut String, flow: &Flow) {
        if let Some(l7) = &flow.l7 {
            let kind = l7.kind.text();
            let _ = match &l7.record {
                Record::Dns(dns) => write!(line, "dns-{kind} {}", dns.observation_source),
                Record::Http(_) => write!(line, "http-{kind}"),
            };
            return;
        }
        let sub_type = flow.event_type.sub_type;
        match flow.event_type.kind {
            event::TRACE => match TRACE_POINTS.get(usize::from(sub_type)) {
                Some(name) => line.push_str(name),
                None => {
                    let _ = write!(line, "{sub_type}");
                }
            },
            event::DROP => match (flow.drop_reason_desc, &flow.extensions.drop) {
                (Some(reason), _) => line.push_str(reason.text),
                // Beyond Hubble: the kernel has more reasons than Cilium.
                (None, Some(drop)) => escape::push(line, &drop.reason),
                (None, None) => line.push_str("dropped"),
            },
            event::TRACE_SOCK => line.push_str("trace-sock"),
            _ => line.push_str("UNKNOWN"),
        }
    }

    pub(super) fn verdict(self, line: &mut String, flow: &Flow) {
        let color = match flow.verdict {
            Verdict::Forwarded | Verdict::Redirected => GREEN,
            Verdict::Dropped | Verdict::Error => RED,
            Verdict::Audit | Verdict::Traced | Verdict::Translated => YELLOW,
        };
        self.style
            .paint(line, color, |line| line.push_str(flow.verdict.name()));
    }
}
