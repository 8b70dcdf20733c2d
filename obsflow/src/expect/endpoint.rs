//! The text of a configured endpoint to what an exporter makes of it.
//!
//! Sources: "OpenTelemetry Protocol Exporter" and "OTLP/HTTP Request" of the OpenTelemetry specification, gRPC's "Name
//! Resolution" document, RFC 3986. Where exporters differ, what they were measured to do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::Language;
use crate::model::exchange::Signal;
use crate::model::expectation::{Endpoint, Host, Misconfiguration, Transport, is_local_socket};
use crate::model::path::without_keys;

/// OTLP over gRPC.
pub(super) const GRPC_PORT: u16 = 4317;
/// OTLP over HTTP.
pub(super) const HTTP_PORT: u16 = 4318;
/// Bytes kept of what was written.
const MAX_WRITTEN: usize = 256;
/// Longest path of a request that is remembered: those of longer ones are not read from the wire, either.
const MAX_PATH: usize = 512;
/// RFC 1035, 2.3.4.
const MAX_NAME: usize = 253;

/// How an endpoint is to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// How it travels, if that is known.
    pub(super) transport: Option<Transport>,
    /// For which signal; `None` when for whatever comes.
    pub(super) signal: Option<Signal>,
    /// It is for all signals: exporters over HTTP append the signal's path.
    pub(super) is_base: bool,
    /// `OTEL_EXPORTER_OTLP_INSECURE`.
    pub(super) insecure: Option<bool>,
    /// Who reads it.
    pub(super) language: Language,
}

/// What an exporter makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// Where it goes, as far as it can be told.
    pub(super) endpoint: Option<Endpoint>,
    /// Why it does not work, or not as it is meant.
    pub(super) broken: Option<Misconfiguration>,
}

/// Host and port as they stand in an authority.
#[derive(Debug, PartialEq, Eq)]
struct Authority {
    host: Host,
    port: Option<u16>,
}

/// Reads an endpoint.
pub(super) fn read(text: &str, form: &Form) -> Reading {
    match parse(text.trim(), form) {
        Ok((endpoint, broken)) => Reading { endpoint, broken },
        Err(broken) => Reading {
            endpoint: None,
            broken: Some(broken),
        },
    }
}

type Parsed = (Option<Endpoint>, Option<Misconfiguration>);

fn parse(text: &str, form: &Form) -> Result<Parsed, Misconfiguration> {
    if is_unexpanded(text) {
        return Err(Misconfiguration::Unexpanded);
    }
    if text.starts_with(['"', '\'']) {
        return Err(unreadable("it begins with a quotation mark"));
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(unreadable("it has blanks or control characters in it"));
    }
    // gRPC takes it and it works; where it leads to cannot be told from here.
    if is_local_socket(text) && may_be_grpc(form) {
        return Ok((None, None));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return without_scheme(text, form);
    };
    let scheme = scheme_of(scheme).ok_or_else(|| unreadable("what stands before `://` is no scheme"))?;
    match &*scheme {
        "http" => with_scheme(rest, false, form),
        "https" => with_scheme(rest, true, form),
        "grpc" | "grpcs" | "dns" if may_be_grpc(form) => {
            // `dns://server/name:port` asks a name server of its own.
            let target = match &*scheme {
                "dns" => rest
                    .split_once('/')
                    .map(|(_, target)| target)
                    .ok_or_else(|| unreadable("a gRPC target of this kind begins with `dns:///`"))?,
                _ => rest,
            };
            Ok((Some(grpc_target(target, form)?), None))
        }
        _ => Err(Misconfiguration::UnknownScheme(scheme)),
    }
}

fn with_scheme(rest: &str, https: bool, form: &Form) -> Result<Parsed, Misconfiguration> {
    let (authority, path) = split(rest);
    let authority = parse_authority(authority)?;
    let transport = transport(form, authority.port);
    let scheme_port = if https { 443 } else { 80 };
    let port = authority.port.unwrap_or(match transport {
        // gRPC's own resolvers know nothing of `http`: a target without a port has 443.
        Transport::Grpc if !form.language.takes_ports_from_urls() => 443,
        _ => scheme_port,
    });
    // Python alone lets the variable overrule `http://`.
    let tls = https
        || (form.language == Language::Python
            && transport == Transport::Grpc
            && form.insecure == Some(false));
    let (path, doubled) = request_path(path, transport, form);
    let broken = if doubled {
        Some(Misconfiguration::DoubledPath)
    } else {
        unspecified(&authority.host)
    };
    let endpoint = Endpoint {
        host: authority.host,
        port,
        tls: Some(tls),
        path,
        transport,
    };
    Ok((Some(endpoint), broken))
}

fn without_scheme(text: &str, form: &Form) -> Result<Parsed, Misconfiguration> {
    if let Some((scheme, rest)) = text.split_once(':') {
        match scheme.to_ascii_lowercase().as_str() {
            scheme @ ("http" | "https") => {
                return Err(unreadable(&format!("`//` is missing behind `{scheme}:`")));
            }
            scheme if is_local_socket(text) => {
                return Err(Misconfiguration::UnknownScheme(Arc::from(scheme)));
            }
            "dns" | "ipv4" | "ipv6" | "passthrough" if may_be_grpc(form) && !is_port(rest) => {
                let target = rest.trim_start_matches('/');
                return Ok((Some(grpc_target(target, form)?), None));
            }
            _ => {}
        }
    }
    let (authority, path) = split(text);
    let authority = parse_authority(authority)?;
    let transport = transport(form, authority.port);
    // Go and Java read a URL in any case. The others take host and port for gRPC, and use TLS unless told not to.
    let takes_targets = !matches!(form.language, Language::Go | Language::Java);
    let (tls, broken) = match (transport, form.insecure) {
        (Transport::Grpc, Some(true)) if takes_targets => (Some(false), unspecified(&authority.host)),
        (Transport::Grpc, _) if takes_targets => (Some(true), Some(Misconfiguration::NoScheme)),
        _ => (None, Some(Misconfiguration::NoScheme)),
    };
    let port = authority
        .port
        .or((transport == Transport::Grpc && takes_targets).then_some(443));
    let path = request_path(path, transport, form).0;
    let endpoint = port.map(|port| Endpoint {
        host: authority.host,
        port,
        tls,
        path,
        transport,
    });
    Ok((endpoint, broken))
}

/// `host:port` of a gRPC name.
fn grpc_target(text: &str, form: &Form) -> Result<Endpoint, Misconfiguration> {
    let (authority, _) = split(text);
    let authority = parse_authority(authority)?;
    Ok(Endpoint {
        host: authority.host,
        port: authority.port.unwrap_or(443),
        tls: Some(form.insecure != Some(true)),
        path: form.signal.map(method).map(Arc::from),
        transport: Transport::Grpc,
    })
}

/// The default endpoint for a transport: `http://localhost:4318` or `:4317`.
pub(super) fn default(form: &Form) -> Endpoint {
    let transport = form.transport.unwrap_or(Transport::HttpProtobuf);
    Endpoint {
        host: Host::Name(Arc::from("localhost")),
        port: if transport == Transport::Grpc {
            GRPC_PORT
        } else {
            HTTP_PORT
        },
        tls: Some(false),
        path: match transport {
            Transport::Grpc => form.signal.map(method).map(Arc::from),
            _ => form.signal.map(path).map(Arc::from),
        },
        transport,
    }
}

fn may_be_grpc(form: &Form) -> bool {
    matches!(form.transport, None | Some(Transport::Grpc | Transport::Unknown))
}

/// As told, else what the conventional port says.
fn transport(form: &Form, port: Option<u16>) -> Transport {
    match (form.transport, port) {
        (Some(transport), _) => transport,
        (None, Some(GRPC_PORT)) => Transport::Grpc,
        (None, Some(HTTP_PORT)) => Transport::HttpProtobuf,
        (None, _) => Transport::Unknown,
    }
}

/// The path of the request, and whether a signal's path is in it that should not be.
fn request_path(written: &str, transport: Transport, form: &Form) -> (Option<Arc<str>>, bool) {
    if transport == Transport::Grpc {
        return (form.signal.map(method).map(Arc::from), false);
    }
    let written = written.split(['?', '#']).next().unwrap_or_default();
    let trimmed = written.trim_end_matches('/');
    let ends_with_a_signal = |path: &str| {
        Signal::ALL
            .iter()
            .any(|signal| path.ends_with(self::path(*signal)))
    };
    if form.is_base {
        let sent = form
            .signal
            .filter(|_| transport != Transport::Unknown)
            .and_then(|signal| bounded(&format!("{trimmed}{}", path(signal))));
        return (sent, ends_with_a_signal(trimmed));
    }
    let doubled = Signal::ALL.iter().any(|signal| {
        trimmed
            .strip_suffix(path(*signal))
            .is_some_and(ends_with_a_signal)
    });
    let sent = if written.is_empty() { "/" } else { written };
    (bounded(sent), doubled)
}

fn bounded(path: &str) -> Option<Arc<str>> {
    (path.len() <= MAX_PATH).then(|| Arc::from(without_keys(path)))
}

/// The path of an OTLP/HTTP request.
pub(super) fn path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/v1/traces",
        Signal::Metrics => "/v1/metrics",
        Signal::Logs => "/v1/logs",
        Signal::Profiles => "/v1development/profiles",
    }
}

/// The path of an OTLP/gRPC request.
pub(super) fn method(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Signal::Profiles => "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
    }
}

/// Authority and what follows it.
fn split(text: &str) -> (&str, &str) {
    text.find(['/', '?', '#'])
        .and_then(|at| text.split_at_checked(at))
        .unwrap_or((text, ""))
}

fn parse_authority(text: &str) -> Result<Authority, Misconfiguration> {
    let text = text.rsplit_once('@').map_or(text, |(_, host)| host);
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest
            .split_once(']')
            .ok_or_else(|| unreadable("the bracket of an IPv6 address is not closed"))?;
        // A zone: RFC 6874.
        let address = address.split_once('%').map_or(address, |(address, _)| address);
        let address: Ipv6Addr = address
            .parse()
            .map_err(|_| unreadable("what stands in brackets is no IPv6 address"))?;
        let port = match rest {
            "" => None,
            _ => Some(parse_port(rest.strip_prefix(':').ok_or_else(|| {
                unreadable("something other than a port follows the IPv6 address")
            })?)?),
        };
        return Ok(Authority {
            host: Host::Ip(IpAddr::V6(address).to_canonical()),
            port,
        });
    }
    let (host, port) = match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => {
            return Err(unreadable(
                "a colon too many: an IPv6 address must stand in brackets",
            ));
        }
        Some((host, port)) => (host, Some(parse_port(port)?)),
        None => (text, None),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() {
        return Err(unreadable("it names no host"));
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok(Authority {
            host: Host::Ip(IpAddr::V4(address)),
            port,
        });
    }
    if host.len() > MAX_NAME {
        return Err(unreadable("its host name is longer than 253 bytes"));
    }
    let is_name_char = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !host.chars().all(is_name_char) {
        return Err(unreadable("its host name has a character that no name may have"));
    }
    Ok(Authority {
        host: Host::Name(Arc::from(host.to_lowercase())),
        port,
    })
}

/// An authority that stands alone, as that of a proxy.
pub(super) fn host_and_port(text: &str) -> Option<(Host, Option<u16>)> {
    let authority = parse_authority(split(text).0).ok()?;
    Some((authority.host, authority.port))
}

fn parse_port(text: &str) -> Result<u16, Misconfiguration> {
    text.parse()
        .ok()
        .filter(|port| *port != 0 && is_port(text))
        .ok_or_else(|| unreadable("its port is not a number from 1 to 65535"))
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn unspecified(host: &Host) -> Option<Misconfiguration> {
    match host {
        Host::Ip(ip) if ip.is_unspecified() => Some(Misconfiguration::UnspecifiedAddress),
        _ => None,
    }
}

/// `$(VAR)`, `${VAR}` or `$VAR`: a dollar sign in front of a name.
fn is_unexpanded(text: &str) -> bool {
    text.split('$')
        .skip(1)
        .any(|rest| rest.starts_with(|c: char| matches!(c, '(' | '{' | '_') || c.is_ascii_alphabetic()))
}

/// In lower case, if it can be one (RFC 3986, 3.1).
fn scheme_of(text: &str) -> Option<Arc<str>> {
    let good = text.len() <= 16
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    good.then(|| Arc::from(text.to_ascii_lowercase()))
}

fn unreadable(why: &str) -> Misconfiguration {
    Misconfiguration::Unreadable(Arc::from(why))
}

/// What was written, fit for a terminal: without user information, query, fragment and keys in the path; cut;
/// control characters escaped.
pub(super) fn written(text: &str) -> Arc<str> {
    let text = text.trim();
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if scheme_of(scheme).is_some() => (Some(scheme), rest),
        _ => (None, text),
    };
    // A password may itself hold any of `/?#@`.
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let mut out = String::new();
    if let Some(scheme) = scheme {
        out.push_str(scheme);
        out.push_str("://");
    }
    push_shown(&mut out, &without_keys(rest), MAX_WRITTEN);
    Arc::from(out)
}

/// A value fit for a terminal: control characters escaped, no more than `max` bytes.
pub(super) fn shown(text: &str, max: usize) -> Arc<str> {
    let mut out = String::new();
    push_shown(&mut out, text, max);
    Arc::from(out)
}

fn push_shown(out: &mut String, text: &str, max: usize) {
    const CUT: &str = "…";
    // Where to cut when it turns out too long.
    let mut fits = out.len();
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        if out.len() > max {
            out.truncate(fits);
            out.push_str(CUT);
            return;
        }
        if out.len() + CUT.len() <= max {
            fits = out.len();
        }
    }
}

#[cfg(test)]
#[path = "endpoint_tests.rs"]
mod tests;
