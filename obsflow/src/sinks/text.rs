//! The parts of a line.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use super::escape;
use crate::filter::{RESERVED, TRACE_POINTS};
use crate::model::flow::{
    AUTH_TYPES, CAPTURE_POINTS, DropReason, Endpoint, Flow, Foreign, Record, Service, TrafficDirection,
    Verdict, event,
};

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

/// Kinds of policies that match, by number (`pkg/monitor/api/types.go` of cilium/cilium).
const POLICY_MATCHES: [&str; 7] = [
    "none",
    "L3-Only",
    "L3-L4",
    "L4-Only",
    "all",
    "L3-Proto",
    "Proto-Only",
];

/// ` BY allow-http (CiliumNetworkPolicy), …`, of a policy's verdict.
fn policies(line: &mut String, flow: &Flow) {
    let Some(foreign) = foreign(flow).filter(|_| flow.event_type.kind == event::POLICY_VERDICT) else {
        return;
    };
    let denied = matches!(flow.verdict, Verdict::Dropped | Verdict::Error);
    // In the order of `POLICIES`.
    let at = match flow.traffic_direction {
        Some(TrafficDirection::Egress) => 0,
        Some(TrafficDirection::Ingress) => 1,
        None => return,
    };
    let policies = &foreign.policies[at + if denied { 2 } else { 0 }];
    let named = policies
        .iter()
        .filter(|policy| !policy.kind.is_empty() && !policy.name.is_empty());
    for (at, policy) in named.enumerate() {
        line.push_str(if at == 0 { " BY " } else { ", " });
        escape::push(line, &policy.name);
        line.push_str(" (");
        escape::push(line, &policy.kind);
        line.push(')');
    }
}

fn foreign(flow: &Flow) -> Option<&Foreign> {
    flow.foreign.as_deref()
}

/// Writes the parts of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    pub(super) style: Style,
    pub(super) ip_translation: bool,
    pub(super) policy_names: bool,
}

/// What a flow says of one side.
struct Host<'a> {
    endpoint: Option<&'a Endpoint>,
    service: Option<&'a Service>,
    names: &'a [Arc<str>],
    ip: Option<IpAddr>,
    /// Address of the link layer, where there is none above.
    mac: Option<&'a str>,
    port: u16,
}

impl<'a> Host<'a> {
    fn of(flow: &'a Flow, column: Column) -> Self {
        let ethernet = foreign(flow)
            .and_then(|foreign| foreign.ethernet.as_ref())
            .filter(|_| flow.ip.is_none());
        let (source_port, destination_port) = flow.l4.map(|l4| l4.ports()).unwrap_or_default();
        match column {
            Column::Source => Self {
                endpoint: flow.source.as_ref(),
                service: flow.source_service.as_ref(),
                names: &flow.source_names,
                ip: flow.ip.and_then(|ip| ip.source),
                mac: ethernet.map(|ethernet| &*ethernet.source),
                port: source_port,
            },
            Column::Destination => Self {
                endpoint: flow.destination.as_ref(),
                service: flow.destination_service.as_ref(),
                names: &flow.destination_names,
                ip: flow.ip.and_then(|ip| ip.destination),
                mac: ethernet.map(|ethernet| &*ethernet.destination),
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
                match (host.ip, host.mac) {
                    (Some(ip), _) => {
                        let _ = write!(line, "{ip}");
                    }
                    (None, Some(mac)) => escape::push(line, mac),
                    (None, None) => line.push_str("unknown"),
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
                Some(Record::Dns(dns)) => {
                    let _ = write!(line, "dns-{kind} ");
                    escape::push(line, &dns.observation_source);
                    Ok(())
                }
                Some(Record::Http(_)) => write!(line, "http-{kind}"),
                Some(Record::Kafka(_)) => write!(line, "kafka-{kind}"),
                None => write!(line, "l7-{kind}"),
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
                (Some(reason), _) => match reason.text() {
                    Some(text) => line.push_str(text),
                    None => {
                        let _ = write!(line, "{}", reason.number);
                    }
                },
                // Beyond Hubble: the kernel has more reasons than Cilium.
                (None, Some(drop)) => escape::push(line, &drop.reason),
                // Emitters before Cilium 1.11 have the number only.
                (None, None) => match DropReason::new(sub_type).and_then(DropReason::text) {
                    Some(text) => line.push_str(text),
                    None if flow.extensions.is_some() => line.push_str("dropped"),
                    None => {
                        let _ = write!(line, "{sub_type}");
                    }
                },
            },
            event::TRACE_SOCK => line.push_str(match foreign(flow).map(|foreign| foreign.sock_xlate_point) {
                None => "trace-sock",
                Some(1) => "pre-xlate-fwd",
                Some(2) => "post-xlate-fwd",
                Some(3) => "pre-xlate-rev",
                Some(4) => "post-xlate-rev",
                Some(_) => "SOCK_XLATE_POINT_UNKNOWN",
            }),
            event::POLICY_VERDICT => {
                let matched = foreign(flow).map_or(0, |foreign| foreign.policy_match_type);
                let _ = match usize::try_from(matched)
                    .ok()
                    .and_then(|at| POLICY_MATCHES.get(at))
                {
                    Some(name) => write!(line, "policy-verdict:{name} "),
                    None => write!(line, "policy-verdict:{matched} "),
                };
                line.push_str(match flow.traffic_direction {
                    Some(TrafficDirection::Ingress) => "INGRESS",
                    Some(TrafficDirection::Egress) => "EGRESS",
                    None => "TRAFFIC_DIRECTION_UNKNOWN",
                });
            }
            event::CAPTURE => {
                let point = foreign(flow).map_or(0, |foreign| foreign.debug_capture_point);
                let _ = match CAPTURE_POINTS.iter().find(|(number, _)| *number == point) {
                    Some((_, name)) => write!(line, "{name}"),
                    None => write!(line, "{point}"),
                };
            }
            _ => line.push_str("UNKNOWN"),
        }
    }

    pub(super) fn verdict(self, line: &mut String, flow: &Flow) {
        let color = match flow.verdict {
            Verdict::Forwarded | Verdict::Redirected => GREEN,
            Verdict::Dropped | Verdict::Error => RED,
            Verdict::Audit | Verdict::Traced | Verdict::Translated => YELLOW,
            Verdict::Unknown => return line.push_str(flow.verdict.name()),
        };
        // A policy's verdict is about what it allows.
        let name = match flow.verdict {
            verdict if flow.event_type.kind != event::POLICY_VERDICT => verdict.name(),
            Verdict::Forwarded | Verdict::Redirected => "ALLOWED",
            Verdict::Dropped | Verdict::Error => "DENIED",
            Verdict::Audit => "AUDITED",
            verdict => verdict.name(),
        };
        self.style.paint(line, color, |line| {
            line.push_str(name);
            if self.policy_names {
                policies(line, flow);
            }
        });
    }

    /// The summary column, with what Hubble's own adds to it.
    pub(super) fn summary(self, line: &mut String, flow: &Flow) {
        let Some(foreign) = foreign(flow) else {
            return escape::push(line, &flow.summary);
        };
        if let Some(trace) = foreign.ip_trace_id.filter(|trace| trace.trace_id != 0) {
            let _ = write!(line, "IP Trace ID: {}; ", trace.trace_id);
        }
        escape::push(line, &flow.summary);
        if foreign.auth_type != 0 {
            let known = AUTH_TYPES.iter().find(|(number, _)| *number == foreign.auth_type);
            let color = if foreign.auth_type == 2 { RED } else { GREEN };
            line.push_str("; ");
            self.style.paint(line, color, |line| {
                let _ = match known {
                    Some((_, name)) => write!(line, "{name}"),
                    None => write!(line, "{}", foreign.auth_type),
                };
            });
        }
    }
}
