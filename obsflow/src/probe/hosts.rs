//! `/etc/hosts`, as hosts(5) has it.

use std::net::IpAddr;

/// Lines that are kept.
const MAX_LINES: usize = 4096;

/// Addresses by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hosts(Vec<(IpAddr, Vec<String>)>);

impl Hosts {
    /// Lines that make no sense are passed over, as the C library does.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let line = |line: &str| {
            let mut words = line.split('#').next()?.split_ascii_whitespace();
            let ip = words.next()?.parse().ok()?;
            Some((ip, words.map(str::to_ascii_lowercase).collect()))
        };
        Self(text.lines().filter_map(line).take(MAX_LINES).collect())
    }

    /// Every address of a name, in the file's order, each once.
    pub(super) fn of(&self, name: &str) -> Vec<IpAddr> {
        let mut found = Vec::new();
        for (ip, names) in &self.0 {
            if names.iter().any(|known| known == name) && !found.contains(ip) {
                found.push(*ip);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_all_their_addresses() {
        let hosts = Hosts::parse(
            b"# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1 localhost ip6-localhost # both\n\
              not-an-address collector\n10.0.0.7 Collector collector.observability\n10.0.0.7 collector\n\xff\xfe\n",
        );
        assert_eq!(hosts.of("localhost").len(), 2);
        assert_eq!(hosts.of("collector"), ["10.0.0.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(hosts.of("both"), Vec::<IpAddr>::new());
        assert_eq!(Hosts::parse(b""), Hosts::default());
    }
}
