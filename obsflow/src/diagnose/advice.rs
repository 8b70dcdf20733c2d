//! What to do, from what is known: the most likely first, the catalogue's own words last. Nothing is guessed: names that
//! are offered resolved on this node or are Services of the cluster, ports that are named are listened on.

mod injection;

use std::net::IpAddr;
use std::sync::Arc;

use crate::model::cluster::Service;
use crate::model::expectation::{Host, Misconfiguration, Setting, Source};
use crate::model::verdict::VerdictId;

use super::Node;
use super::catalogue;
use super::evidence::Told;
use super::exporter::Failed;
use super::facts::{Facts, ResolvConf};
use super::joining::{is_localhost, name_fits};
use super::rules::{Case, Finding};
use super::services;

/// Names offered instead of one that does not resolve.
const MAX_NAMES: usize = 2;
/// How much alike two names must be, from 0 to 1.
const ALIKE: f64 = 0.8;

/// What is known of the node when advice is made.
pub(super) struct Known<'a> {
    pub(super) facts: Option<&'a dyn Facts>,
    /// The process whose network namespace has an address, if it is a container on this node.
    pub(super) pid_at: &'a dyn Fn(IpAddr) -> Option<u32>,
}

/// Advice for a failure; none for anything else.
pub(super) fn advise(case: &Case<'_>, finding: &Finding, known: &Known<'_>) -> Vec<Arc<str>> {
    if !finding.id.is_failure() {
        return Vec::new();
    }
    let mut advice = Vec::new();
    match finding.id {
        VerdictId::DnsNxdomain => nxdomain(case, known, &mut advice),
        VerdictId::DnsTimeout | VerdictId::DnsRefused => name_server(case, known, &mut advice),
        VerdictId::Dropped => dropped(case, &mut advice),
        VerdictId::NoEndpoints => no_endpoints(case, &mut advice),
        VerdictId::Refused => refused(case, known, &mut advice),
        VerdictId::Unreachable if finding.reason.as_deref() == Some(super::rules::NO_LOCAL_PORT) => advice.push(
            "see what holds its connections open (ss -tan in the pod): keep one connection instead of making one for each \
             export, or widen net.ipv4.ip_local_port_range"
                .to_owned(),
        ),
        VerdictId::Misconfigured => misconfigured(case, &mut advice),
        VerdictId::InjectionMissing => injection::missing(case, &mut advice),
        VerdictId::Proxied => proxied(case, &mut advice),
        VerdictId::Rejected => rejected(case, finding, &mut advice),
        VerdictId::TlsMismatch => tls_mismatch(case, finding, &mut advice),
        VerdictId::ProtocolMismatch => protocol_mismatch(case, finding, &mut advice),
        _ => {}
    }
    let mut advice: Vec<Arc<str>> = advice.into_iter().map(|line| Arc::from(line.as_str())).collect();
    advice.push(Arc::from(catalogue::entry(finding.id).advice));
    advice
}

/// The variable, argument or file that has to change.
fn place(case: &Case<'_>) -> String {
    match &case.exporter.source {
        Source::Environment(name) | Source::Argument(name) => name.to_string(),
        Source::OtelConfig(path) => path.to_string(),
        Source::Config => "the exporter's configuration".to_owned(),
        Source::Default(_) => "OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(),
        Source::Annotation(_) | Source::Wire => "its configuration".to_owned(),
    }
}

/// What to do about a Service that nobody answers for.
fn no_endpoints(case: &Case<'_>, advice: &mut Vec<String>) {
    if let Some(service) = case.service() {
        let Service { namespace, name, .. } = &*service;
        advice.push(match (service.ready, service.not_ready) {
            (0, 0) => format!(
                "no pod is behind Service {namespace}/{name}: see whether its selector matches the labels of pods that run: \
                 kubectl -n {namespace} describe service {name}"
            ),
            (0, _) => format!(
                "the pods behind Service {namespace}/{name} are not ready: see why: kubectl -n {namespace} get endpointslices \
                 -l kubernetes.io/service-name={name} -o wide"
            ),
            (ready, _) => format!(
                "Service {namespace}/{name} has {ready} ready endpoints by now: if this goes on, see what kube-proxy or the CNI \
                 of this node makes of it"
            ),
        });
        return;
    }
    let Some(host) = case.to.map(|to| &to.host) else {
        return;
    };
    // A bare name may be anything; one with a namespace is most likely a Service.
    if matches!(host, Host::Name(name) if name.contains('.'))
        && let Some((name, namespace)) = services::of_name(host, &case.container.workload)
    {
        advice.push(format!(
            "see whether the Service has ready endpoints: kubectl -n {namespace} get endpointslices -l \
             kubernetes.io/service-name={name}"
        ));
    }
}

/// Names that resolved on this node and may be meant: the name itself with labels after it first, then those with the
/// same first label, then those that differ by a few letters.
pub(super) fn alternatives<'a>(node: &'a Node, host: &str) -> Vec<(&'a Arc<str>, &'a [IpAddr])> {
    let first = host.split('.').next().unwrap_or_default();
    let mut ranked: Vec<(u8, f64, &Arc<str>, &[IpAddr])> = node
        .names
        .iter()
        .filter(|(name, _)| !name.eq_ignore_ascii_case(host))
        .filter_map(|(name, known)| {
            let rank = if name_fits(name, host) {
                0
            } else if name.split('.').next() == Some(first) {
                1
            } else {
                2
            };
            let (longer, shorter) = (name.len().max(host.len()), name.len().min(host.len()));
            if rank == 2
                && name.split('.').count() == host.split('.').count()
                && longer - shorter > longer / 5
            {
                // They cannot be alike: spared the work.
                return None;
            }
            let likeness = strsim::normalized_damerau_levenshtein(host, common(name, host));
            (rank < 2 || likeness >= ALIKE).then_some((rank, likeness, name, &*known.ips))
        })
        .collect();
    ranked.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)).then_with(|| a.2.cmp(b.2)));
    ranked
        .into_iter()
        .take(MAX_NAMES)
        .map(|(_, _, name, ips)| (name, ips))
        .collect()
}

/// As many labels of `name` as `host` has: what a search list appends says nothing of how much they are alike.
fn common<'a>(name: &'a str, host: &str) -> &'a str {
    let labels = host.split('.').count();
    let end = name
        .match_indices('.')
        .nth(labels.saturating_sub(1))
        .map_or(name.len(), |(index, _)| index);
    name.get(..end).unwrap_or(name)
}

fn nxdomain(case: &Case<'_>, known: &Known<'_>, advice: &mut Vec<String>) {
    let Some(Host::Name(host)) = case.to.map(|to| &to.host) else {
        return;
    };
    let conf = known
        .facts
        .and_then(|facts| facts.resolv_conf(case.container.pid));
    let seen = alternatives(case.node, host);
    let resolves = seen.iter().any(|(name, _)| name_fits(name, host));
    if !resolves {
        in_cluster(case, known, conf.as_ref(), advice);
    }
    let place = place(case);
    for (name, ips) in seen {
        let ips: Vec<String> = ips.iter().map(IpAddr::to_string).collect();
        if name_fits(name, host) {
            advice.push(format!(
                "the Service exists: {name} resolves on this node (to {}); write the full name {name} in {place}",
                ips.join(", ")
            ));
        } else {
            advice.push(format!(
                "{name} resolves on this node (to {}); if that is what is meant, write it in {place}",
                ips.join(", ")
            ));
        }
    }
    if let Some(conf) = conf {
        if conf.search.is_empty() {
            advice.push("its resolv.conf has no search list: only full names resolve".to_owned());
        } else {
            advice.push(format!(
                "its resolv.conf searches {} (ndots {}): none of them makes a name that exists",
                conf.search.join(", "),
                conf.ndots
            ));
        }
    }
}

/// What the cluster says of a name that does not resolve: its Service exists, or others do that may be meant.
fn in_cluster(case: &Case<'_>, known: &Known<'_>, conf: Option<&ResolvConf>, advice: &mut Vec<String>) {
    let (Some(facts), Some(host)) = (known.facts, case.to.map(|to| &to.host)) else {
        return;
    };
    let Some((name, namespace)) = services::of_name(host, &case.container.workload) else {
        return;
    };
    // The cluster's domain follows `svc` in the search list that the kubelet writes.
    let domain = conf.and_then(|conf| conf.search.iter().find_map(|name| name.strip_prefix("svc.")));
    let full = |service: &Service| {
        let Service { namespace, name, .. } = service;
        match domain {
            Some(domain) => format!("{name}.{namespace}.svc.{domain}"),
            None => format!("{name}.{namespace}.svc"),
        }
    };
    let place = place(case);
    if let Some(service) = facts.service(namespace, name) {
        advice.push(format!(
            "the Service {namespace}/{name} exists: write its full name {} in {place}; if that does not resolve either, see the \
             cluster's DNS",
            full(&service)
        ));
        return;
    }
    for service in facts.services_like(namespace, name) {
        advice.push(format!(
            "there is no Service {namespace}/{name}; there is {}/{}: if that is what is meant, write {} in {place}",
            service.namespace,
            service.name,
            full(&service)
        ));
    }
}

fn name_server(case: &Case<'_>, known: &Known<'_>, advice: &mut Vec<String>) {
    let Some(to) = case.to else { return };
    let server = to.dns.failed.iter().find_map(|failed| failed.server);
    if let Some(server) = server {
        advice.push(format!(
            "see whether a name server runs at {server} and whether this pod may send to its port {}",
            server.port()
        ));
    }
    let conf = known
        .facts
        .and_then(|facts| facts.resolv_conf(case.container.pid));
    if let Some(conf) = conf
        && !conf.servers.is_empty()
    {
        let servers: Vec<String> = conf.servers.iter().map(IpAddr::to_string).collect();
        advice.push(format!("its resolv.conf asks {}", servers.join(", ")));
    }
}

fn dropped(case: &Case<'_>, advice: &mut Vec<String>) {
    let Some(to) = case.to else { return };
    let port = to.port;
    let (fact, flow) = if let Some(fact) = to.dns.dropped.as_deref() {
        (Some(fact), "DNS, UDP and TCP port 53".to_owned())
    } else {
        let attempts = to.connects.failed.iter().filter_map(|a| a.dropped.as_deref());
        let pending = to.connects.pending.iter().filter_map(|p| p.dropped.as_deref());
        let fact = attempts
            .chain(pending)
            .chain(case.dropped().map(|(_, fact)| fact))
            .next();
        (fact, format!("TCP port {port}"))
    };
    let denied = to
        .connects
        .failed
        .iter()
        .any(|address| address.how == Failed::Dropped && address.dropped.is_none());
    match fact.map(|fact| (&*fact.reason, fact.hook.as_deref())) {
        Some(("NETFILTER_DROP", hook)) => {
            let hook = hook.unwrap_or("some");
            let place = match hook {
                "FORWARD" | "PREROUTING" => "on the node",
                "OUTPUT" | "POSTROUTING" => "in the pod's network namespace or on the node",
                _ => "in the pod's network namespace and on the node",
            };
            advice.push(format!(
                "a rule of netfilter at hook {hook} drops it: look for it {place} with `nft list ruleset` or \
                 `iptables-save`, and allow {flow}"
            ));
        }
        Some((reason @ ("TC_INGRESS" | "TC_EGRESS" | "XDP"), _)) => advice.push(format!(
            "a BPF program on a network device drops it ({reason}), as Cilium and other CNIs do by policy: allow {flow} \
             in the NetworkPolicy of this pod"
        )),
        Some(("IP_RPFILTER", _)) => advice.push(
            "the way back leads over another device: see net.ipv4.conf.*.rp_filter and the routes of the node".to_owned(),
        ),
        Some((reason, _)) => advice.push(format!("see who drops with the reason {reason}, and allow {flow}")),
        None if denied => advice.push(
            "connect(2) is denied before a packet is made: a BPF program of its cgroup or a security module does that"
                .to_owned(),
        ),
        None => {}
    }
}

fn refused(case: &Case<'_>, known: &Known<'_>, advice: &mut Vec<String>) {
    let Some(to) = case.to else { return };
    if matches!(case.exporter.source, Source::Default(_)) {
        advice.push(format!(
            "no endpoint is configured, so it exports to {}:{}: set OTEL_EXPORTER_OTLP_ENDPOINT",
            to.host, to.port
        ));
    }
    let is_here = match &to.host {
        Host::Name(name) => is_localhost(name),
        Host::Ip(ip) => ip.is_loopback() || ip.is_unspecified(),
    };
    let ip = to.connects.failed.iter().map(|address| address.ip).next();
    let pid = if is_here {
        Some(case.container.pid)
    } else {
        ip.and_then(|ip| (known.pid_at)(ip))
    };
    let Some(pid) = pid.filter(|pid| *pid != 0) else {
        return;
    };
    let Some(facts) = known.facts else { return };
    let ports = facts.listening(pid);
    if ports.contains(&to.port) {
        return;
    }
    let whose = if is_here { "in this pod" } else { "there" };
    if ports.is_empty() {
        advice.push(format!("nobody listens on any TCP port {whose}"));
    } else {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        advice.push(format!(
            "nobody listens on port {} {whose}; ports that are listened on: {}",
            to.port,
            ports.join(", ")
        ));
    }
}

fn misconfigured(case: &Case<'_>, advice: &mut Vec<String>) {
    let Setting::Broken(what) = &case.exporter.setting else {
        return;
    };
    let place = place(case);
    let written = &case.exporter.written;
    advice.push(match what {
        Misconfiguration::NoScheme => format!("write the scheme, too: {place}=http://{written}"),
        Misconfiguration::Unexpanded => format!(
            "in a pod's specification $(VAR) is replaced only by variables that stand before it: define it before {place}"
        ),
        Misconfiguration::DoubledPath => format!(
            "leave the path out of {place}, or give the whole URL in the signal's own variable \
             (OTEL_EXPORTER_OTLP_TRACES_ENDPOINT and the like)"
        ),
        Misconfiguration::TimeoutUnit { value, means } => format!(
            "this SDK takes {value} for {}: set OTEL_EXPORTER_OTLP_TIMEOUT in the unit it reads",
            Told::duration(*means)
        ),
        Misconfiguration::UnspecifiedAddress => format!(
            "name the receiver in {place}; for one in the same pod, localhost"
        ),
        Misconfiguration::UnknownScheme(_) => format!("use http:// or https:// in {place}"),
        Misconfiguration::Unreadable(_) => format!("write a URL like http://collector.namespace:4318 in {place}"),
    });
}

fn proxied(case: &Case<'_>, advice: &mut Vec<String>) {
    if let Some(to) = case.to {
        advice.push(format!(
            "add the endpoint to NO_PROXY (and no_proxy): NO_PROXY={}; or unset HTTP_PROXY and HTTPS_PROXY",
            to.host
        ));
    }
}

fn rejected(case: &Case<'_>, finding: &Finding, advice: &mut Vec<String>) {
    let place = place(case);
    let path = case
        .exporter
        .accepted
        .why
        .as_ref()
        .and_then(|why| why.path.as_deref())
        .unwrap_or_default();
    match finding.reason.as_deref() {
        Some("wrong-path") if path.is_empty() => {}
        Some("wrong-path") => advice.push(format!(
            "the receiver knows no {path}: give its own path in {place} (VictoriaMetrics: \
             /opentelemetry/v1/metrics, VictoriaTraces: /insert/opentelemetry/v1/traces)"
        )),
        Some("unauthorized") => advice.push(
            "the receiver wants credentials, or other ones: see OTEL_EXPORTER_OTLP_HEADERS".to_owned(),
        ),
        Some("overloaded") => advice.push(
            "the receiver cannot take more, or what is behind it cannot: see its own logs and queues".to_owned(),
        ),
        Some("too-large") => advice.push(
            "send smaller batches (OTEL_BSP_MAX_EXPORT_BATCH_SIZE, OTEL_BLRP_MAX_EXPORT_BATCH_SIZE), or raise the \
             receiver's limit"
                .to_owned(),
        ),
        Some("redirect") => advice.push(format!(
            "exporters do not follow redirects, and some count them as success: write the final URL in {place}"
        )),
        _ => {}
    }
}

fn tls_mismatch(case: &Case<'_>, finding: &Finding, advice: &mut Vec<String>) {
    let place = place(case);
    match finding.reason.as_deref() {
        Some("server-wants-tls") => {
            advice.push(format!("the receiver speaks TLS: write https:// in {place}"))
        }
        Some(_) => advice.push(format!("the receiver speaks no TLS: write http:// in {place}")),
        None => {}
    }
}

fn protocol_mismatch(case: &Case<'_>, finding: &Finding, advice: &mut Vec<String>) {
    let Some(to) = case.to else { return };
    match finding.reason.as_deref() {
        Some("grpc-to-http") => advice.push(format!(
            "port {} speaks HTTP/1: use its gRPC port (4317 by default), or OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            to.port
        )),
        Some("http-to-grpc") => advice.push(format!(
            "port {} speaks gRPC: use its HTTP port (4318 by default), or OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
            to.port
        )),
        _ => {}
    }
}
