//! Filters against a naive model: a flow as strings, and the words of the documentation.

use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::select;

use super::{Flag, SPECS, Term, parse};
use crate::flow::samples::{flow, tcp};
use crate::model::flow::{
    Dns, DropReason, Endpoint, Extensions, Flow, Foreign, Http, Ip, IpTraceId, L7Type, Layer4, Layer7,
    NamedWorkload, NetworkInterface, Record, Service, Tcp, TcpFlags, TrafficDirection, Udp, Verdict,
};
use crate::model::observation::What;

const PODS: [(&str, &str); 4] = [("a", "web-1"), ("a", "web-2"), ("b", "web-1"), ("", "")];
const PORTS: [u16; 3] = [53, 4317, 40000];
const IPS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.1.0.1"];

#[derive(Clone, Copy, Debug)]
struct Model {
    pods: [(&'static str, &'static str); 2],
    ips: [&'static str; 2],
    ports: [u16; 2],
    tcp: bool,
    verdict: Verdict,
}

fn model() -> impl Strategy<Value = Model> {
    let side = || (select(&PODS[..]), select(&IPS[..]), select(&PORTS[..]));
    let verdicts = [Verdict::Forwarded, Verdict::Error];
    (side(), side(), any::<bool>(), select(verdicts.to_vec())).prop_map(
        |(source, destination, tcp, verdict)| Model {
            pods: [source.0, destination.0],
            ips: [source.1, destination.1],
            ports: [source.2, destination.2],
            tcp,
            verdict,
        },
    )
}

impl Model {
    fn flow(&self) -> Flow {
        let endpoint = |(namespace, name): (&str, &str)| {
            Some(Endpoint {
                namespace: (!namespace.is_empty()).then(|| namespace.into()),
                pod_name: (!name.is_empty()).then(|| name.into()),
                ..Endpoint::default()
            })
        };
        let [source_port, destination_port] = self.ports;
        let mut flow = flow(&tcp(What::Attempt));
        flow.source = endpoint(self.pods[0]);
        flow.destination = endpoint(self.pods[1]);
        flow.ip = Some(Ip {
            source: self.ips[0].parse().ok(),
            destination: self.ips[1].parse().ok(),
            ..Ip::default()
        });
        flow.l4 = Some(if self.tcp {
            Layer4::Tcp(Tcp {
                source_port,
                destination_port,
                flags: TcpFlags::SYN,
            })
        } else {
            Layer4::Udp(Udp {
                source_port,
                destination_port,
            })
        });
        flow.verdict = self.verdict;
        flow
    }

    /// Whether one flag with one value holds; `side` is the one that flags without a direction are about.
    fn holds(&self, term: &Term, side: usize) -> bool {
        let value = &*term.value;
        let pod = |side: usize| {
            let (namespace, prefix) = value.split_once('/').unwrap_or(("default", value));
            let (of, name) = self.pods[side];
            (of, name) != ("", "") && (namespace.is_empty() || namespace == of) && name.starts_with(prefix)
        };
        let port = |side: usize| self.ports[side].to_string() == value;
        let ip = |side: usize| {
            let bits = |ip: &str| match ip.parse().unwrap() {
                IpAddr::V4(ip) => ip.to_bits(),
                IpAddr::V6(_) => panic!("the model has none"),
            };
            let (net, length) = value.split_once('/').unwrap_or((value, "32"));
            let shift = 32 - length.parse::<u32>().unwrap();
            bits(net) >> shift == bits(self.ips[side]) >> shift
        };
        match term.flag {
            Flag::FromPod => pod(0),
            Flag::ToPod => pod(1),
            Flag::Pod => pod(side),
            Flag::FromPort => port(0),
            Flag::ToPort => port(1),
            Flag::Port => port(side),
            Flag::FromIp => ip(0),
            Flag::ToIp => ip(1),
            Flag::Ip => ip(side),
            Flag::Protocol => value == if self.tcp { "tcp" } else { "udp" },
            Flag::Verdict => value == self.verdict.name(),
            other => panic!("the model has no {other:?}"),
        }
    }

    /// Same flag: or. Different flags: and. No direction: either side.
    fn matches_any(&self, terms: &[Term]) -> bool {
        let flags: Vec<_> = terms.iter().map(|term| term.flag).collect();
        let of_flag = |flag: &Flag, side| {
            terms
                .iter()
                .any(|term| term.flag == *flag && self.holds(term, side))
        };
        !terms.is_empty() && (0..2).any(|side| flags.iter().all(|flag| of_flag(flag, side)))
    }
}

fn term() -> impl Strategy<Value = Term> {
    let of = |flags: Vec<Flag>, values: Vec<&'static str>| {
        (select(flags), select(values)).prop_map(|(flag, value)| Term {
            flag,
            value: value.to_owned(),
        })
    };
    prop_oneof![
        of(
            vec![Flag::FromPod, Flag::ToPod, Flag::Pod],
            vec!["a/", "a/web-1", "/web", "b/web-2", "web", "a/w"]
        ),
        of(
            vec![Flag::FromPort, Flag::ToPort, Flag::Port],
            vec!["53", "4317", "1"]
        ),
        of(
            vec![Flag::FromIp, Flag::ToIp, Flag::Ip],
            vec!["10.0.0.1", "10.0.0.0/24", "10.0.0.0/8", "192.0.2.1"]
        ),
        of(vec![Flag::Protocol], vec!["tcp", "udp"]),
        of(vec![Flag::Verdict], vec!["FORWARDED", "ERROR", "DROPPED"]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn filters_match_what_the_naive_model_matches(
        model in model(),
        allow in prop::collection::vec(term(), 0..4),
        deny in prop::collection::vec(term(), 0..3),
    ) {
        let not = Term { flag: Flag::Not, value: String::new() };
        let negated = deny.iter().flat_map(|term| [not.clone(), term.clone()]);
        let line: Vec<_> = allow.iter().cloned().chain(negated).collect();
        // Combinations that exclude each other are tested above.
        let Ok(filters) = parse(&line) else { return Ok(()) };
        let filters = filters.compile().unwrap();
        let wanted = (allow.is_empty() || model.matches_any(&allow)) && !model.matches_any(&deny);
        prop_assert_eq!(filters.matches(&model.flow()), wanted, "{:?}", line);
    }

    #[test]
    fn no_value_makes_it_panic(flag in select(SPECS.iter().map(|spec| spec.flag).collect::<Vec<_>>()), value in "\\PC{0,12}") {
        let flow = flow(&tcp(What::Attempt));
        // What a flag accepts a server accepts, too; CEL is for Hubble's.
        if let Ok(filters) = parse(&[Term { flag, value }])
            && flag != Flag::CelExpression
        {
            let _ = filters.compile().unwrap().matches(&flow);
        }
    }
}

/// A word of few, so that filters often meet flows.
fn word() -> impl Strategy<Value = &'static str> {
    select(vec!["a", "b", "ab"])
}

/// What a flow of anybody's says of the fields that the model above leaves out, and what a filter asks of them.
#[derive(Clone, Debug)]
struct Others {
    flow: Said,
    asked: Said,
}

#[derive(Clone, Debug)]
struct Said {
    label: &'static str,
    identity: u32,
    cluster: &'static str,
    node: &'static str,
    uuid: &'static str,
    trace: &'static str,
    ip_trace: u64,
    reason: u8,
    encrypted: bool,
    interface: &'static str,
    method: &'static str,
    path: &'static str,
    status: u32,
    query: &'static str,
    direction: u8,
    version: u8,
    workload: &'static str,
    service: &'static str,
    fqdn: &'static str,
    flags: u8,
}

prop_compose! {
    fn said()(
        (label, cluster, node, uuid, trace) in (word(), word(), word(), word(), word()),
        (interface, method, path, query) in (word(), select(vec!["GET", "POST"]), word(), word()),
        (workload, service, fqdn) in (word(), word(), word()),
        (identity, ip_trace, reason, encrypted) in (1..3_u32, 1..3_u64, 132..134_u8, any::<bool>()),
        (status, direction, version, flags) in (select(vec![200_u32, 404, 503]), 1..3_u8, 0..3_u8, 1..8_u8),
    ) -> Said {
        Said {
            label, identity, cluster, node, uuid, trace, ip_trace, reason, encrypted, interface, method, path, status,
            query, direction, version, workload, service, fqdn, flags,
        }
    }
}

impl Said {
    fn flow(&self, is_dns: bool) -> Flow {
        let version = |v4: &str, v6: &str| match self.version {
            1 => v4.parse().ok(),
            2 => v6.parse().ok(),
            _ => None,
        };
        let record = if is_dns {
            Record::Dns(Dns {
                query: self.query.to_owned(),
                rcode: Some(3),
                ..Dns::default()
            })
        } else {
            Record::Http(Http {
                method: self.method.into(),
                url: format!("http://h/{}", self.path),
                code: self.status,
                ..Http::default()
            })
        };
        Flow {
            source: Some(Endpoint {
                identity: self.identity,
                labels: vec![format!("k8s:app={}", self.label).into()],
                cluster_name: Some(self.cluster.into()),
                workloads: vec![NamedWorkload {
                    name: self.workload.into(),
                    kind: "Deployment".into(),
                }],
                ..Endpoint::default()
            }),
            source_service: Some(Service {
                name: self.service.into(),
                namespace: "shop".into(),
            }),
            source_names: vec![self.fqdn.into()],
            node_name: self.node.into(),
            ip: (self.version != 0).then(|| Ip {
                source: version("10.0.0.1", "2001:db8::1"),
                encrypted: self.encrypted,
                ..Ip::default()
            }),
            l4: Some(Layer4::Tcp(Tcp {
                flags: TcpFlags(self.flags.into()),
                ..Tcp::default()
            })),
            l7: Some(Layer7 {
                kind: L7Type::Response,
                latency_ns: 0,
                record: Some(record),
            }),
            traffic_direction: Some(if self.direction == 1 {
                TrafficDirection::Ingress
            } else {
                TrafficDirection::Egress
            }),
            drop_reason_desc: DropReason::new(self.reason),
            interface: Some(NetworkInterface {
                index: 1,
                name: Some(self.interface.into()),
            }),
            extensions: Extensions::default(),
            foreign: Some(Box::new(Foreign {
                uuid: self.uuid.into(),
                trace_id: self.trace.into(),
                ip_trace_id: Some(IpTraceId {
                    trace_id: self.ip_trace,
                    ip_option_type: 0,
                }),
                ..Foreign::default()
            })),
            ..flow(&tcp(What::Attempt))
        }
    }

    /// Every flag for what this says, and whether a flow that says `other` has it.
    fn flags(&self, other: &Self, is_dns: bool) -> Vec<(Flag, String, bool)> {
        let is_http = !is_dns;
        let flags = |flags: u8| TcpFlags(flags.into()).names().collect::<Vec<_>>().join(",");
        let versions = ["none", "v4", "v6"];
        let reason = |number| DropReason::new(number).unwrap().name().unwrap().to_owned();
        vec![
            (
                Flag::FromLabel,
                format!("app={}", self.label),
                self.label == other.label,
            ),
            (
                Flag::Label,
                format!("app!={}", self.label),
                self.label != other.label,
            ),
            (Flag::ToLabel, format!("app={}", self.label), false),
            (
                Flag::FromIdentity,
                self.identity.to_string(),
                self.identity == other.identity,
            ),
            (
                Flag::Identity,
                self.identity.to_string(),
                self.identity == other.identity,
            ),
            (
                Flag::FromCluster,
                self.cluster.into(),
                self.cluster == other.cluster,
            ),
            (
                Flag::NodeName,
                format!("{}*", self.node),
                other.node.starts_with(self.node),
            ),
            (Flag::Uuid, self.uuid.into(), self.uuid == other.uuid),
            (Flag::TraceId, self.trace.into(), self.trace == other.trace),
            (
                Flag::IpTraceId,
                self.ip_trace.to_string(),
                self.ip_trace == other.ip_trace,
            ),
            (
                Flag::DropReasonDesc,
                reason(self.reason),
                self.reason == other.reason,
            ),
            (
                Flag::Encrypted,
                String::new(),
                other.version != 0 && other.encrypted,
            ),
            (
                Flag::Unencrypted,
                String::new(),
                other.version != 0 && !other.encrypted,
            ),
            (
                Flag::Interface,
                self.interface.into(),
                self.interface == other.interface,
            ),
            (
                Flag::HttpMethod,
                self.method.to_lowercase(),
                is_http && self.method == other.method,
            ),
            (
                Flag::HttpPath,
                format!("^/{}$", self.path),
                is_http && self.path == other.path,
            ),
            (
                Flag::HttpUrl,
                format!("h/{}", self.path),
                is_http && other.path.starts_with(self.path),
            ),
            (
                Flag::HttpStatus,
                self.status.to_string(),
                is_http && self.status == other.status,
            ),
            (
                Flag::HttpStatus,
                format!("{}+", self.status / 100),
                is_http && self.status / 100 == other.status / 100,
            ),
            (
                Flag::DnsQuery,
                self.query.into(),
                is_dns && other.query.contains(self.query),
            ),
            (Flag::Rcode, "NXDOMAIN".into(), is_dns),
            (
                Flag::TrafficDirection,
                ["ingress", "egress"][usize::from(self.direction) - 1].into(),
                self.direction == other.direction,
            ),
            (
                Flag::IpVersion,
                versions[usize::from(self.version)].into(),
                self.version == other.version,
            ),
            (Flag::Ipv4, String::new(), other.version == 1),
            (Flag::Ipv6, String::new(), other.version == 2),
            (
                Flag::FromWorkload,
                format!("deployment/{}", self.workload),
                self.workload == other.workload,
            ),
            (
                Flag::FromService,
                format!("shop/{}", self.service),
                other.service.starts_with(self.service),
            ),
            (Flag::FromService, self.service.into(), false),
            (
                Flag::FromFqdn,
                format!("*{}", self.fqdn),
                other.fqdn.ends_with(self.fqdn),
            ),
            (
                Flag::TcpFlags,
                flags(self.flags),
                self.flags & other.flags == self.flags,
            ),
        ]
    }
}

proptest! {
    #[test]
    fn every_other_filter_matches_what_it_names(
        others in (said(), said()).prop_map(|(flow, asked)| Others { flow, asked }),
        is_dns in any::<bool>(),
        negate in any::<bool>(),
    ) {
        let flow = others.flow.flow(is_dns);
        for (flag, value, holds) in others.asked.flags(&others.flow, is_dns) {
            let mut line = vec![Term { flag, value }];
            if negate {
                line.insert(0, Term { flag: Flag::Not, value: String::new() });
            }
            let filters = parse(&line).unwrap().compile().unwrap();
            prop_assert_eq!(filters.matches(&flow), holds != negate, "{:?}", line);
        }
    }
}
