//! Values of filters, parsed.

use std::str::FromStr;

use ipnet::IpNet;
use regex::{Regex, RegexBuilder};

use super::error::{FilterError, Origin};
use crate::flow::{dns, errno};
use crate::model::flow::{EventType, Layer4, Layer7, Record, TcpFlags, TrafficDirection, Verdict, event};

/// What a regular expression may take once it is compiled, and again while it is used.
const REGEX_BYTES: usize = 256 << 10;
/// Longest pattern of a name, in bytes: no name of DNS is longer.
pub(super) const MAX_NAME: usize = 253;

/// `[NAMESPACE/]PREFIX`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodName {
    /// The namespace, exactly; `None` for any.
    pub namespace: Option<String>,
    /// The beginning of the name; empty for all pods.
    pub prefix: String,
}

impl PodName {
    /// From a filter's value; without a slash the namespace is `default`.
    #[must_use]
    pub fn parse(value: &str) -> Self {
        let (namespace, prefix) = value.split_once('/').unwrap_or(("default", value));
        Self {
            namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
            prefix: prefix.to_owned(),
        }
    }

    /// Whether a pod matches; a side without a namespace and a name is no pod.
    #[must_use]
    pub fn matches(&self, namespace: &str, name: &str) -> bool {
        !(namespace.is_empty() && name.is_empty())
            && self.namespace.as_deref().is_none_or(|wanted| wanted == namespace)
            && name.starts_with(&self.prefix)
    }
}

/// `[KIND/]NAME` of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadName {
    /// The kind, exactly but for case; `None` for any.
    pub kind: Option<String>,
    /// The name, exactly; empty for any.
    pub name: String,
}

impl WorkloadName {
    pub(super) fn parse(at: impl Into<Origin>, value: &str) -> Result<Self, FilterError> {
        let at = at.into();
        // Cgroup paths begin with a slash and are names.
        let (kind, name) = match value.split_once('/') {
            Some((kind, name)) if !kind.is_empty() => (Some(kind.to_owned()), name),
            _ => (None, value),
        };
        if name.is_empty() && kind.is_none() {
            return Err(FilterError::Empty { at });
        }
        Ok(Self {
            kind,
            name: name.to_owned(),
        })
    }

    /// Whether a workload matches.
    #[must_use]
    pub fn matches(&self, kind: &str, name: &str) -> bool {
        self.kind
            .as_deref()
            .is_none_or(|wanted| wanted.eq_ignore_ascii_case(kind))
            && (self.name.is_empty() || self.name == name)
    }
}

/// A DNS name with `*` for any characters of a name.
#[derive(Clone, Debug)]
pub struct Fqdn(Regex);

impl Fqdn {
    pub(super) fn parse(at: impl Into<Origin>, value: &str) -> Result<Self, FilterError> {
        let at = at.into();
        let bad = || FilterError::Fqdn {
            at,
            value: value.to_owned(),
        };
        let name = value.trim();
        let name = name.strip_suffix('.').unwrap_or(name);
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.*".contains(c);
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(allowed) {
            return Err(bad());
        }
        glob(name, "[-a-z0-9_.]*").map(Self).ok_or_else(bad)
    }

    /// Whether a name, written without its trailing dot, matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

/// `TYPE[:SUBTYPE]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeFilter {
    /// One of [`event`], 0 for any.
    pub kind: u8,
    /// The sub-type, `None` for any.
    pub sub_type: Option<u8>,
}

/// Names of event types.
const TYPES: [(&str, u8); 6] = [
    ("capture", event::CAPTURE),
    ("drop", event::DROP),
    ("l7", event::L7),
    ("policy-verdict", event::POLICY_VERDICT),
    ("trace", event::TRACE),
    ("trace-sock", event::TRACE_SOCK),
];

/// Names of trace sub-types, by number (`pkg/monitor/api/types.go` of cilium/cilium).
pub(crate) const TRACE_POINTS: [&str; 14] = [
    "to-endpoint",
    "to-proxy",
    "to-host",
    "to-stack",
    "to-overlay",
    "from-endpoint",
    "from-proxy",
    "from-host",
    "from-stack",
    "from-overlay",
    "from-network",
    "to-network",
    "from-crypto",
    "to-crypto",
];

impl TypeFilter {
    pub(super) fn parse(at: impl Into<Origin>, value: &str) -> Result<Self, FilterError> {
        let at = at.into();
        let (kind, sub_type) = match value.split_once(':') {
            Some((kind, sub_type)) => (kind, Some(sub_type)),
            None => (value, None),
        };
        let named = TYPES
            .iter()
            .find(|(name, _)| *name == kind)
            .map(|(_, number)| *number);
        let kind = named.or_else(|| kind.parse().ok()).ok_or_else(|| {
            unknown(
                at,
                "type",
                kind,
                TYPES.iter().map(|(name, _)| *name),
                " or a number up to 255",
            )
        })?;
        let sub_type = sub_type.map(|text| Self::sub_type(at, kind, text)).transpose()?;
        Ok(Self { kind, sub_type })
    }

    fn sub_type(at: impl Into<Origin>, kind: u8, text: &str) -> Result<u8, FilterError> {
        let at = at.into();
        let (points, more): (&[&str], _) = match kind {
            event::TRACE => (&TRACE_POINTS, " or a number up to 255"),
            _ => (&[], "a number up to 255"),
        };
        let named = points.iter().position(|name| *name == text);
        named
            .and_then(|number| u8::try_from(number).ok())
            .or_else(|| text.parse().ok())
            .ok_or_else(|| unknown(at, "sub-type", text, points.iter().copied(), more))
    }

    /// Whether an event is of this type.
    #[must_use]
    pub fn matches(&self, event: EventType) -> bool {
        (self.kind == 0 || self.kind == event.kind)
            && self.sub_type.is_none_or(|wanted| wanted == event.sub_type)
    }
}

/// Protocols that Hubble's clients know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// DNS.
    Dns,
    /// HTTP/1 and HTTP/2.
    Http,
    /// ICMP of either version.
    Icmp,
    /// ICMP.
    Icmpv4,
    /// ICMP of IPv6.
    Icmpv6,
    /// SCTP.
    Sctp,
    /// Kafka.
    Kafka,
    /// One that no flow has here.
    Unseen,
}

impl Protocol {
    pub(super) fn parse(at: impl Into<Origin>, value: &str) -> Result<Self, FilterError> {
        let at = at.into();
        const UNSEEN: [&str; 2] = ["vrrp", "igmp"];
        match value.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "dns" => Ok(Self::Dns),
            "http" => Ok(Self::Http),
            "icmp" => Ok(Self::Icmp),
            "icmpv4" => Ok(Self::Icmpv4),
            "icmpv6" => Ok(Self::Icmpv6),
            "sctp" => Ok(Self::Sctp),
            "kafka" => Ok(Self::Kafka),
            other if UNSEEN.contains(&other) => Ok(Self::Unseen),
            _ => {
                let names = [
                    "tcp", "udp", "dns", "http", "icmp", "icmpv4", "icmpv6", "sctp", "kafka",
                ];
                let names = names.into_iter().chain(UNSEEN);
                Err(unknown(at, "protocol", value, names, ""))
            }
        }
    }

    /// Whether a flow is of this protocol.
    #[must_use]
    pub fn matches(self, l4: Option<&Layer4>, l7: Option<&Layer7>) -> bool {
        match self {
            Self::Tcp => matches!(l4, Some(Layer4::Tcp(_))),
            Self::Udp => matches!(l4, Some(Layer4::Udp(_))),
            Self::Dns => l7.is_some_and(|l7| l7.dns().is_some()),
            Self::Http => l7.is_some_and(|l7| l7.http().is_some()),
            Self::Icmp => matches!(l4, Some(Layer4::Icmpv4(_) | Layer4::Icmpv6(_))),
            Self::Icmpv4 => matches!(l4, Some(Layer4::Icmpv4(_))),
            Self::Icmpv6 => matches!(l4, Some(Layer4::Icmpv6(_))),
            Self::Sctp => matches!(l4, Some(Layer4::Sctp(_))),
            Self::Kafka => matches!(l7.and_then(|l7| l7.record.as_ref()), Some(Record::Kafka(_))),
            Self::Unseen => false,
        }
    }
}

/// A status as Hubble's clients write it: `404`, or `5+` for all that begin with 5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpStatus {
    digits: String,
    prefix: bool,
}

impl HttpStatus {
    pub(super) fn parse(at: impl Into<Origin>, value: &str) -> Result<Self, FilterError> {
        let at = at.into();
        let (digits, prefix) = match value.strip_suffix('+') {
            Some(digits) => (digits, true),
            None => (value, false),
        };
        let fit = digits.bytes().all(|b| b.is_ascii_digit())
            && matches!(digits.bytes().next(), Some(b'1'..=b'5'))
            && if prefix {
                digits.len() <= 3
            } else {
                digits.len() == 3
            };
        if !fit {
            return Err(FilterError::HttpStatus {
                at,
                value: value.to_owned(),
            });
        }
        Ok(Self {
            digits: digits.to_owned(),
            prefix,
        })
    }

    /// Whether a status is meant; 0 is none.
    #[must_use]
    pub fn matches(&self, code: u32) -> bool {
        let code = code.to_string();
        if self.prefix {
            code.starts_with(&self.digits)
        } else {
            code == self.digits
        }
    }
}

pub(super) fn http_method(at: impl Into<Origin>, value: &str) -> Result<String, FilterError> {
    let at = at.into();
    if value.is_empty() {
        return Err(FilterError::Empty { at });
    }
    Ok(value.to_owned())
}

pub(super) fn port(at: impl Into<Origin>, value: &str) -> Result<u16, FilterError> {
    let at = at.into();
    value.parse().map_err(|_| FilterError::Port {
        at,
        value: value.to_owned(),
    })
}

pub(super) fn ip(at: impl Into<Origin>, value: &str) -> Result<IpNet, FilterError> {
    let at = at.into();
    let address = || std::net::IpAddr::from_str(value).map(|ip| IpNet::from(ip.to_canonical()));
    IpNet::from_str(value)
        .or_else(|_| address())
        .map_err(|_| FilterError::Ip {
            at,
            value: value.to_owned(),
        })
}

/// A pattern of letters, digits, `-`, `_` and `.`, in which `*` stands for any of what `any` matches.
pub(super) fn glob(pattern: &str, any: &str) -> Option<Regex> {
    let pattern = pattern.replace('.', "[.]").replace('*', any);
    RegexBuilder::new(&format!("(?i)^{pattern}$"))
        .size_limit(REGEX_BYTES)
        .dfa_size_limit(REGEX_BYTES)
        .build()
        .ok()
}

pub(super) fn regex(at: impl Into<Origin>, value: &str) -> Result<Regex, FilterError> {
    let at = at.into();
    RegexBuilder::new(value)
        .size_limit(REGEX_BYTES)
        .dfa_size_limit(REGEX_BYTES)
        .build()
        .map_err(|error| FilterError::Regex {
            at,
            value: value.to_owned(),
            // The crate draws a picture of several lines; its last line names the mistake.
            reason: error
                .to_string()
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned(),
        })
}

pub(super) fn verdict(at: impl Into<Origin>, value: &str) -> Result<Verdict, FilterError> {
    let at = at.into();
    let found = Verdict::ALL
        .into_iter()
        .find(|v| v.name().eq_ignore_ascii_case(value));
    found.ok_or_else(|| {
        unknown(
            at,
            "verdict",
            value,
            Verdict::ALL.into_iter().map(Verdict::name),
            "",
        )
    })
}

pub(super) fn direction(at: impl Into<Origin>, value: &str) -> Result<TrafficDirection, FilterError> {
    let at = at.into();
    match value.to_ascii_lowercase().as_str() {
        "ingress" => Ok(TrafficDirection::Ingress),
        "egress" => Ok(TrafficDirection::Egress),
        _ => Err(unknown(
            at,
            "direction",
            value,
            ["ingress", "egress"].into_iter(),
            "",
        )),
    }
}

pub(super) fn tcp_flags(at: impl Into<Origin>, value: &str) -> Result<TcpFlags, FilterError> {
    let at = at.into();
    let mut flags = TcpFlags::default();
    for name in value.split(',') {
        let bit = TcpFlags::NAMES
            .iter()
            .position(|known| known.eq_ignore_ascii_case(name));
        let bit = bit.ok_or_else(|| unknown(at, "TCP flag", name, TcpFlags::NAMES.into_iter(), ""))?;
        flags.0 |= 1 << bit;
    }
    Ok(flags)
}

pub(super) fn rcode(at: impl Into<Origin>, value: &str) -> Result<u16, FilterError> {
    let at = at.into();
    let number = || value.parse().ok().filter(|rcode| *rcode <= dns::RCODE_MAX);
    dns::rcode_by_name(value).or_else(number).ok_or_else(|| {
        unknown(
            at,
            "response code",
            value,
            dns::rcode_names(),
            " or a number up to 4095",
        )
    })
}

pub(super) fn errno(at: impl Into<Origin>, value: &str) -> Result<u32, FilterError> {
    let at = at.into();
    let number = || value.parse().ok().filter(|errno| *errno <= errno::MAX);
    errno::by_name(value).or_else(number).ok_or_else(|| {
        // All of them would fill a screen: name those that connections and look-ups end with.
        unknown(
            at,
            "errno",
            value,
            errno::COMMON.into_iter(),
            ", another name of errno(3), or its number",
        )
    })
}

pub(super) fn unknown<'a>(
    at: Origin,
    what: &'static str,
    value: &str,
    names: impl Iterator<Item = &'a str>,
    more: &str,
) -> FilterError {
    let names = names.collect::<Vec<_>>().join(", ");
    FilterError::Unknown {
        at,
        what,
        value: value.to_owned(),
        allowed: match names.as_str() {
            "" => more.to_owned(),
            names => format!("one of {names}{more}"),
        },
    }
}
