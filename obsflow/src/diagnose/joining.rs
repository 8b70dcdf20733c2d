//! Which destination of a container an observation belongs to.
//!
//! A look-up belongs to every destination whose name it tried, bare or with a suffix of the search list. A connection belongs
//! to the destination of its port whose name was looked up for its address, whose literal address it has, or whose last
//! look-up gave that address. Where no look-up can be seen at all (hosts files, connections older than obsflow), the
//! port of the only destination that is left decides: the container was told to send there.

use std::net::{IpAddr, SocketAddr};

use crate::model::expectation::Host;
use crate::model::observation::{Lookup, Observation};

use super::exporter::{Container, Destination};

/// Whether `tried` is `host`, or `host` with a suffix of a search list. Names are equal whatever their case (RFC 4343).
pub(super) fn name_fits(tried: &str, host: &str) -> bool {
    let tried = tried.strip_suffix('.').unwrap_or(tried).as_bytes();
    let host = host.as_bytes();
    let Some((front, rest)) = tried.split_at_checked(host.len()) else {
        return false;
    };
    !host.is_empty() && front.eq_ignore_ascii_case(host) && matches!(rest.first(), None | Some(b'.'))
}

/// Whether the name means this machine (RFC 6761, 6.3): hosts files answer it, not name servers.
pub(super) fn is_localhost(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost")
}

/// How well a search fits a destination's name. Where one host is the beginning of another, the search is for the one that
/// fits everything it tried, and the longest of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Searched {
    whole: bool,
    host: usize,
}

/// Whether the search was for the destination's name, and how well it fits.
pub(super) fn lookup_fits(destination: &Destination, lookup: &Lookup) -> Option<Searched> {
    let Host::Name(host) = &destination.host else {
        return None;
    };
    let candidates = || lookup.candidates.iter().map(|candidate| &*candidate.name);
    let fits = |name: &str| name_fits(name, host);
    (fits(&lookup.name) || candidates().any(fits)).then(|| Searched {
        whole: candidates().all(fits),
        host: host.len(),
    })
}

/// How sure it is that a connection is to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// Its port, and nothing speaks against it.
    Port,
    /// Its name or address.
    Certain,
}

/// The destination that a connection is to.
pub(super) fn of_connection(container: &Container, observation: &Observation) -> Option<u8> {
    let ends = [observation.asked, observation.remote];
    let name = observation.remote_name.as_deref();
    let mut best: Option<((Fit, usize), usize)> = None;
    for (index, destination) in container.destinations.iter().enumerate() {
        let Some(fit) = ends.iter().flatten().find_map(|end| fit(destination, *end, name)) else {
            continue;
        };
        // Of hosts of which one is the beginning of another, the longest.
        let host = match &destination.host {
            Host::Name(host) => host.len(),
            Host::Ip(_) => 0,
        };
        let fit = (fit, host);
        if best.is_none_or(|(before, _)| fit > before) {
            best = Some((fit, index));
        }
    }
    best.and_then(|(_, index)| u8::try_from(index).ok())
}

fn fit(destination: &Destination, end: SocketAddr, name: Option<&str>) -> Option<Fit> {
    if destination.port != end.port() {
        return None;
    }
    let ip = end.ip().to_canonical();
    match &destination.host {
        Host::Ip(expected) => {
            // Connecting to the unspecified address is connecting to this machine.
            let same = *expected == ip || expected.is_unspecified() && ip.is_loopback();
            same.then_some(Fit::Certain)
        }
        Host::Name(host) if is_localhost(host) => ip.is_loopback().then_some(Fit::Certain),
        Host::Name(host) => {
            if name.is_some_and(|name| name_fits(name, host)) || destination.dns.addresses.contains(&ip) {
                Some(Fit::Certain)
            } else if name.is_none() && destination.dns.addresses.is_empty() {
                Some(Fit::Port)
            } else {
                None
            }
        }
    }
}

/// `host:port` or `[address]:port` as a request names its target; `default` is the port when it names none.
pub(super) fn authority(text: &str, default: u16) -> Option<(Host, u16)> {
    let (host, port) = match text.rsplit_once(':') {
        // The last colon of a bare IPv6 address is no port's.
        Some((host, port)) if host.ends_with(']') || !host.contains(':') => (host, port.parse().ok()?),
        _ => (text, default),
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if bare.is_empty() {
        return None;
    }
    let host = match bare.parse::<IpAddr>() {
        Ok(ip) => Host::Ip(ip.to_canonical()),
        Err(_) => Host::Name(bare.trim_end_matches('.').to_ascii_lowercase().into()),
    };
    Some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_suffix_may_follow_the_name() {
        assert!(name_fits("otel.obs", "otel.obs"));
        assert!(name_fits("OTEL.obs.svc.cluster.local.", "otel.obs"));
        assert!(!name_fits("otel.obsolete", "otel.obs"));
        assert!(!name_fits("otel", "otel.obs"));
        assert!(!name_fits("otel", ""));
    }

    #[test]
    fn localhost_is_this_machine() {
        assert!(is_localhost("localhost"));
        assert!(is_localhost("otel.LOCALHOST"));
        assert!(!is_localhost("localhost.example.com"));
    }

    #[test]
    fn authorities_have_a_host_and_a_port() {
        let name = |text: &str| Host::Name(text.into());
        assert_eq!(authority("otel.obs:4318", 80), Some((name("otel.obs"), 4318)));
        assert_eq!(authority("Otel.obs.", 80), Some((name("otel.obs"), 80)));
        assert_eq!(
            authority("[::1]:4318", 80),
            Some((Host::Ip("::1".parse().unwrap()), 4318))
        );
        assert_eq!(
            authority("fd00::1", 80),
            Some((Host::Ip("fd00::1".parse().unwrap()), 80))
        );
        assert_eq!(authority(":80", 80), None);
        assert_eq!(authority("otel:99999", 80), None);
    }
}
