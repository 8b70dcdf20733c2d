//! `resolv.conf`, as resolv.conf(5) has it, and the names that a search asks for.

use std::net::{IpAddr, Ipv4Addr};

/// Name servers that the C library asks (`MAXNS`).
const MAX_SERVERS: usize = 3;
/// Search domains that are used; kubelet writes up to 32, a check asks for fewer.
const MAX_SEARCH: usize = 8;
/// Names that might be meant which are asked for.
const MAX_QUALIFIED: usize = 8;
/// `ndots` is capped at this.
const MAX_NDOTS: usize = 15;
/// The longest name in text (RFC 1035, 2.3.4).
const MAX_NAME: usize = 253;
/// What Kubernetes calls its DNS zone unless it is told otherwise.
const CLUSTER: &str = "cluster.local";

/// How names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResolvConf {
    pub(super) servers: Vec<IpAddr>,
    pub(super) search: Vec<String>,
    pub(super) ndots: usize,
}

impl Default for ResolvConf {
    /// What holds without the file: the name server on this machine.
    fn default() -> Self {
        Self {
            servers: vec![Ipv4Addr::LOCALHOST.into()],
            search: Vec::new(),
            ndots: 1,
        }
    }
}

impl ResolvConf {
    /// Lines that make no sense are passed over, as the C library does.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut found = Self {
            servers: Vec::new(),
            ..Self::default()
        };
        for line in String::from_utf8_lossy(bytes).lines() {
            if line.starts_with(['#', ';']) {
                continue;
            }
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => found.servers.extend(words.next().and_then(server)),
                // The last of these lines is the one that holds.
                Some("search") => found.search = words.take(MAX_SEARCH).filter_map(domain).collect(),
                Some("domain") => found.search = words.take(1).filter_map(domain).collect(),
                Some("options") => {
                    for option in words {
                        if let Some(Ok(ndots)) = option.strip_prefix("ndots:").map(str::parse::<usize>) {
                            found.ndots = ndots.min(MAX_NDOTS);
                        }
                    }
                }
                _ => {}
            }
        }
        found.servers.truncate(MAX_SERVERS);
        if found.servers.is_empty() {
            found.servers = Self::default().servers;
        }
        found
    }

    /// The names that a resolver asks for, in its order, without the trailing dot.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let mut names: Vec<String> = self
            .search
            .iter()
            .map(|domain| format!("{name}.{domain}"))
            .collect();
        if name.matches('.').count() >= self.ndots {
            names.insert(0, name.to_owned());
        } else {
            names.push(name.to_owned());
        }
        names.retain(|name| name.len() <= MAX_NAME);
        names
    }

    /// Names that might be meant, of which none is in [`Self::candidates`]: the name itself, the name below every domain
    /// that a search domain lies in, and the name as a Service of the pod's own namespace or of the one it names.
    pub(super) fn qualified(&self, name: &str, namespace: Option<&str>) -> Vec<String> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let cluster = self.cluster();
        let labels: Vec<&str> = name.split('.').collect();
        let mut names = vec![name.to_owned()];
        match (labels.as_slice(), namespace) {
            ([service], Some(namespace)) => names.push(format!("{service}.{namespace}.svc.{cluster}")),
            ([service, namespace], _) => names.push(format!("{service}.{namespace}.svc.{cluster}")),
            ([.., "svc"], _) => names.push(format!("{name}.{cluster}")),
            _ => {}
        }
        for domain in &self.search {
            let mut rest = domain.as_str();
            // A top-level domain alone is nobody's search domain.
            while rest.contains('.') {
                names.push(format!("{name}.{rest}"));
                rest = rest.split_once('.').map_or("", |(_, rest)| rest);
            }
        }
        let asked = self.candidates(name);
        let mut found = Vec::new();
        for name in names {
            if name.len() <= MAX_NAME && !asked.contains(&name) && !found.contains(&name) {
                found.push(name);
            }
        }
        found.truncate(MAX_QUALIFIED);
        found
    }

    /// The cluster's domain: what follows `svc.` in the search list.
    fn cluster(&self) -> &str {
        self.search
            .iter()
            .find_map(|domain| domain.strip_prefix("svc."))
            .unwrap_or(CLUSTER)
    }
}

/// An address; a zone index (`fe80::1%eth0`) is cut off, and such a server then cannot be reached, and says so.
fn server(word: &str) -> Option<IpAddr> {
    word.split('%').next()?.parse().ok()
}

fn domain(word: &str) -> Option<String> {
    let domain = word.trim_end_matches('.').to_ascii_lowercase();
    (!domain.is_empty() && domain.len() <= MAX_NAME).then_some(domain)
}

#[cfg(test)]
#[path = "resolv_conf_tests.rs"]
mod tests;
