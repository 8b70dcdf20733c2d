//! Filters against a naive model: a flow as strings, and the words of the documentation.

use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::select;

use super::{Flag, SPECS, Term, parse};
use crate::flow::samples::{flow, tcp};
use crate::model::flow::{Endpoint, Flow, Ip, Layer4, Tcp, TcpFlags, Udp, Verdict};
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
        let wanted = (allow.is_empty() || model.matches_any(&allow)) && !model.matches_any(&deny);
        prop_assert_eq!(filters.matches(&model.flow()), wanted, "{:?}", line);
    }

    #[test]
    fn no_value_makes_it_panic(flag in select(SPECS.iter().map(|spec| spec.flag).collect::<Vec<_>>()), value in "\\PC{0,12}") {
        let flow = flow(&tcp(What::Attempt));
        if let Ok(filters) = parse(&[Term { flag, value }]) {
            let _ = filters.matches(&flow);
        }
    }
}
