//! Names of kernel addresses, from `/proc/kallsyms`.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Functions that tell something about a drop. Only these are kept: two hundred thousand symbols would cost more
/// memory than everything else together.
const KEPT: &[&str] = &[
    "nf_",
    "ip_",
    "ip6_",
    "ipv6_",
    "__ip",
    "tcp_",
    "udp_",
    "udpv6_",
    "__udp",
    "neigh_",
    "arp_",
    "ndisc_",
    "dev_",
    "__dev",
    "__netif",
    "netif_",
    "sch_",
    "tc_",
    "tcx_",
    "tcf_",
    "vxlan_",
    "geneve_",
    "xdp_",
    "kfree_skb",
    "sk_skb",
    "__cgroup_bpf",
    "nft_",
    "ipt_",
    "icmp",
    "br_",
    "veth_",
    "bpf_prog",
    "__bpf",
    "do_xdp",
];

/// Sorted addresses with names. Read when first asked: the kernel needs 50 ms to print them all, and on most nodes nobody
/// ever asks.
#[derive(Debug, Default)]
pub struct Symbols {
    path: PathBuf,
    sorted: OnceLock<Vec<(u64, Arc<str>)>>,
}

impl Symbols {
    /// The symbols of a file. None when it cannot be read, or when the kernel hides its addresses
    /// (`kernel.kptr_restrict`).
    #[must_use]
    pub fn of(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            sorted: OnceLock::new(),
        }
    }

    fn sorted(&self) -> &[(u64, Arc<str>)] {
        self.sorted.get_or_init(|| {
            Self::read(&self.path).unwrap_or_else(|error| {
                tracing::debug!("{}: {error}", self.path.display());
                Vec::new()
            })
        })
    }

    fn read(path: &Path) -> std::io::Result<Vec<(u64, Arc<str>)>> {
        let mut reader = BufReader::with_capacity(1 << 16, File::open(path)?);
        let mut sorted = Vec::new();
        let mut line = Vec::with_capacity(128);
        // Where a symbol that was left out begins, the one before it ends.
        let mut open = false;
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let Some((address, kind, name)) = parse(&line) else {
                continue;
            };
            if address == 0 || !matches!(kind, b't' | b'T' | b'w' | b'W') {
                continue;
            }
            if KEPT.iter().any(|prefix| name.starts_with(prefix.as_bytes())) {
                sorted.push((address, Arc::from(String::from_utf8_lossy(name))));
                open = true;
            } else if open {
                sorted.push((address, Arc::from("")));
                open = false;
            }
        }
        sorted.sort_by_key(|(address, _)| *address);
        sorted.shrink_to_fit();
        Ok(sorted)
    }

    /// Name of the function that contains `address`.
    #[must_use]
    pub fn function(&self, address: u64) -> Option<Arc<str>> {
        let sorted = self.sorted();
        let after = sorted.partition_point(|(start, _)| *start <= address);
        let (_, name) = sorted.get(after.checked_sub(1)?)?;
        (!name.is_empty()).then(|| Arc::clone(name))
    }

    /// First address of a function and the first behind it.
    #[must_use]
    pub fn range(&self, name: &str) -> Option<(u64, u64)> {
        let sorted = self.sorted();
        let at = sorted.iter().position(|(_, n)| &**n == name)?;
        let (start, _) = sorted.get(at)?;
        let (end, _) = sorted[at..].iter().find(|(address, _)| address > start)?;
        Some((*start, *end))
    }

    /// Whether the kernel told any address.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sorted().is_empty()
    }
}

/// `address kind name [module]`.
fn parse(line: &[u8]) -> Option<(u64, u8, &[u8])> {
    let text = std::str::from_utf8(line).ok()?;
    let mut words = text.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    let kind = *words.next()?.as_bytes().first()?;
    Some((address, kind, words.next()?.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_function_around_an_address() {
        let file = tempfile(
            "ffffffff81000000 T nf_hook_slow\nffffffff81000100 t other\nffffffff81000200 T ip_rcv\n",
        );
        let symbols = Symbols::of(&file);
        assert_eq!(
            symbols.function(0xffff_ffff_8100_0050).as_deref(),
            Some("nf_hook_slow")
        );
        std::fs::remove_file(file).unwrap();
        assert_eq!(symbols.function(0xffff_ffff_8100_0150), None);
        assert_eq!(
            symbols.range("nf_hook_slow"),
            Some((0xffff_ffff_8100_0000, 0xffff_ffff_8100_0100))
        );
        assert_eq!(symbols.function(1), None);
    }

    fn tempfile(text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("obsflow-kallsyms-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path
    }
}
