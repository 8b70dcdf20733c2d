//! Which proxy a process's environment names for an endpoint.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::Language;
use super::endpoint;
use super::environment::Environment;
use crate::model::expectation::{Endpoint, Host, Transport};

/// `host:port` of the proxy for `endpoint`, if its environment names one and does not exempt it.
pub(super) fn find(
    environment: &Environment<'_>,
    endpoint: &Endpoint,
    language: Language,
) -> Option<Arc<str>> {
    let (names, exceptions) = variables(endpoint, language)?;
    let written = names.iter().find_map(|name| environment.get(name))?;
    let exempt = exceptions
        .iter()
        .find_map(|name| environment.get(name))
        .is_some_and(|list| is_exempt(&list, endpoint));
    if exempt || (language == Language::Go && is_loopback(&endpoint.host)) {
        return None;
    }
    address(written.trim())
}

/// Variables that name the proxy, the first one set counts, and those that exempt.
fn variables(
    endpoint: &Endpoint,
    language: Language,
) -> Option<(&'static [&'static str], &'static [&'static str])> {
    const NO_PROXY: &[&str] = &["no_proxy", "NO_PROXY"];
    let grpc = endpoint.transport == Transport::Grpc;
    let tls = endpoint.tls == Some(true);
    match (language, grpc) {
        // Java has system properties for this, Node's HTTP client nothing.
        (Language::Java, _) | (Language::Node, false) => None,
        // grpc-go asks net/http, as if for https.
        (Language::Go, true) => Some((&["HTTPS_PROXY", "https_proxy"], NO_PROXY)),
        (Language::Go, false) if tls => Some((&["HTTPS_PROXY", "https_proxy"], NO_PROXY)),
        (Language::Go, false) => Some((&["HTTP_PROXY", "http_proxy"], NO_PROXY)),
        // gRPC's document "Environment Variables"; grpc-js does the same.
        (_, true) => Some((
            &["grpc_proxy", "https_proxy", "http_proxy"],
            &["no_grpc_proxy", "no_proxy"],
        )),
        (_, false) if tls => Some((
            &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
            NO_PROXY,
        )),
        (_, false) => Some((&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"], NO_PROXY)),
    }
}

fn is_loopback(host: &Host) -> bool {
    match host {
        Host::Name(name) => &**name == "localhost",
        Host::Ip(ip) => ip.is_loopback(),
    }
}

/// Names match themselves and what is below them, with or without a leading dot; addresses themselves and their
/// network; `*` everything.
fn is_exempt(list: &str, endpoint: &Endpoint) -> bool {
    list.split(',').map(str::trim).any(|entry| match &endpoint.host {
        _ if entry == "*" => true,
        Host::Ip(ip) => match entry.parse::<IpNet>() {
            Ok(network) => network.contains(ip),
            Err(_) => entry
                .trim_matches(['[', ']'])
                .parse::<IpAddr>()
                .is_ok_and(|entry| entry.to_canonical() == *ip),
        },
        Host::Name(name) => {
            let (entry, port) = match entry.rsplit_once(':') {
                Some((entry, port)) => (entry, port.parse().ok()),
                None => (entry, None),
            };
            let entry = entry
                .trim_start_matches("*.")
                .trim_start_matches('.')
                .trim_end_matches('.')
                .to_lowercase();
            let below = || {
                name.strip_suffix(entry.as_str())
                    .is_some_and(|front| front.ends_with('.'))
            };
            !entry.is_empty()
                && port.is_none_or(|port: u16| port == endpoint.port)
                && (**name == *entry || below())
        }
    })
}

/// `http://user:password@proxy:3128/` to `proxy:3128`.
fn address(text: &str) -> Option<Arc<str>> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    // A password may hold anything.
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let (host, port) = endpoint::host_and_port(rest)?;
    let port = port.unwrap_or(match scheme.to_ascii_lowercase().as_str() {
        "https" => 443,
        "socks5" | "socks5h" | "socks4" | "socks4a" | "socks" => 1080,
        _ => 80,
    });
    Some(Arc::from(format!("{host}:{port}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str, transport: Transport, tls: bool) -> Endpoint {
        let (host, _) = endpoint::host_and_port(host).unwrap();
        Endpoint {
            host,
            port: 4318,
            tls: Some(tls),
            path: None,
            transport,
        }
    }

    #[test]
    fn the_proxy_for_an_endpoint() {
        use Language::{Go, Java, Node, Python, Unknown};
        use Transport::{Grpc, HttpProtobuf};
        for (environ, host, transport, tls, language, proxy) in [
            (
                "http_proxy=http://proxy:3128",
                "otel",
                HttpProtobuf,
                false,
                Python,
                Some("proxy:3128"),
            ),
            (
                "HTTP_PROXY=http://me:s3cr3t@proxy",
                "otel",
                HttpProtobuf,
                false,
                Python,
                Some("proxy:80"),
            ),
            (
                "http_proxy=http://me:a/b@c@proxy:1",
                "otel",
                HttpProtobuf,
                false,
                Python,
                Some("proxy:1"),
            ),
            (
                "http_proxy=http://proxy:3128",
                "otel",
                HttpProtobuf,
                true,
                Python,
                None,
            ),
            (
                "https_proxy=proxy:3128",
                "otel",
                HttpProtobuf,
                true,
                Go,
                Some("proxy:3128"),
            ),
            (
                "all_proxy=socks5://[fd00::1]",
                "otel",
                HttpProtobuf,
                true,
                Unknown,
                Some("[fd00::1]:1080"),
            ),
            ("all_proxy=socks5://proxy", "otel", HttpProtobuf, true, Go, None),
            (
                "http_proxy=http://proxy:3128",
                "otel",
                HttpProtobuf,
                false,
                Java,
                None,
            ),
            (
                "http_proxy=http://proxy:3128",
                "otel",
                HttpProtobuf,
                false,
                Node,
                None,
            ),
            (
                "http_proxy=http://proxy:3128",
                "otel",
                Grpc,
                false,
                Node,
                Some("proxy:3128"),
            ),
            (
                "grpc_proxy=a:1\0http_proxy=b:2",
                "otel",
                Grpc,
                false,
                Python,
                Some("a:1"),
            ),
            (
                "HTTPS_PROXY=a:1\0http_proxy=b:2",
                "otel",
                Grpc,
                false,
                Go,
                Some("a:1"),
            ),
            (
                "http_proxy=b:2\0no_grpc_proxy=otel\0no_proxy=x",
                "otel",
                Grpc,
                false,
                Python,
                None,
            ),
            (
                "http_proxy=b:2\0no_proxy=*",
                "otel",
                HttpProtobuf,
                false,
                Python,
                None,
            ),
            (
                "http_proxy=b:2\0no_proxy=a, .obs.svc",
                "otel.obs.svc",
                HttpProtobuf,
                false,
                Python,
                None,
            ),
            (
                "http_proxy=b:2\0no_proxy=obs.svc",
                "otel.jobs.svc",
                HttpProtobuf,
                false,
                Python,
                Some("b:2"),
            ),
            (
                "http_proxy=b:2\0no_proxy=otel:9",
                "otel",
                HttpProtobuf,
                false,
                Python,
                Some("b:2"),
            ),
            (
                "http_proxy=b:2\0no_proxy=otel:4318",
                "otel",
                HttpProtobuf,
                false,
                Python,
                None,
            ),
            (
                "http_proxy=b:2\0NO_PROXY=10.0.0.0/8",
                "10.1.2.3",
                HttpProtobuf,
                false,
                Python,
                None,
            ),
            (
                "http_proxy=b:2\0no_proxy=10.1.2.4",
                "10.1.2.3",
                HttpProtobuf,
                false,
                Python,
                Some("b:2"),
            ),
            (
                "http_proxy=b:2\0no_proxy=,,",
                "10.1.2.3",
                HttpProtobuf,
                false,
                Python,
                Some("b:2"),
            ),
            ("http_proxy=b:2", "localhost", HttpProtobuf, false, Go, None),
            (
                "http_proxy=b:2",
                "localhost",
                HttpProtobuf,
                false,
                Python,
                Some("b:2"),
            ),
            ("http_proxy=http://", "otel", HttpProtobuf, false, Python, None),
        ] {
            let environment = Environment::new(environ.as_bytes());
            let found = find(&environment, &endpoint(host, transport, tls), language);
            assert_eq!(found.as_deref(), proxy, "{environ:?} {language:?}");
        }
    }
}
