//! Which capabilities this process has, what each one that is missing costs, and what to say when the kernel refuses.
//! `docs/privileges.md` has the whole table; each effect was seen by taking the capability away.

use std::fs;
use std::io::{BufRead as _, BufReader};

use aya::util::KernelVersion;
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

/// A capability without which obsflow sees less.
#[derive(Debug)]
struct Useful {
    capability: CapabilitySet,
    name: &'static str,
    /// What is lost.
    costs: &'static str,
}

/// Those without which nothing loads. `CAP_SYS_ADMIN` is all of them at once, as it was before Linux 5.8.
const LOADING: [(CapabilitySet, &str); 3] = [
    (CapabilitySet::BPF, "CAP_BPF"),
    (CapabilitySet::PERFMON, "CAP_PERFMON"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
];

const USEFUL: [Useful; 4] = [
    Useful {
        capability: CapabilitySet::SYS_ADMIN,
        name: "CAP_SYS_ADMIN",
        costs: "other network namespaces cannot be entered: connections of pods that are older than obsflow are not known, \
                stalled ones are told late, and doctor --probe does not work",
    },
    Useful {
        capability: CapabilitySet::SYS_PTRACE,
        name: "CAP_SYS_PTRACE",
        costs: "network namespaces, root folders and programs of other processes cannot be looked at, nor, on most kernels, what \
                they are set to export",
    },
    Useful {
        capability: CapabilitySet::DAC_READ_SEARCH,
        name: "CAP_DAC_READ_SEARCH",
        costs: "what processes of other users are set to export cannot be read, and a cgroup that was not seen being made \
                has no name",
    },
    SYSLOG,
];

const SYSLOG: Useful = Useful {
    capability: CapabilitySet::SYSLOG,
    name: "CAP_SYSLOG",
    costs: "the kernel hides its addresses: a drop is not told by the place where it happened (INPUT, OUTPUT, FORWARD)",
};

/// A line for each capability that this process has not got, with what is lost by that.
#[must_use]
pub fn losses() -> Vec<String> {
    let mine = effective();
    USEFUL
        .iter()
        .filter(|useful| !mine.contains(useful.capability))
        // Some kernels show addresses to everybody.
        .filter(|useful| useful.name != SYSLOG.name || hides_addresses("/proc/kallsyms"))
        .map(|useful| format!("{} is missing: {}", useful.name, useful.costs))
        .collect()
}

/// Why the kernel refused to load anything, and what to do, as far as it can be told from here.
#[must_use]
pub(super) fn refusal() -> String {
    let is_filtered = fs::read_to_string("/proc/thread-self/status").is_ok_and(|status| is_filtered(&status));
    let counts_memory = KernelVersion::current().is_ok_and(|version| version < KernelVersion::new(5, 11, 0));
    let memory_is_limited = counts_memory && getrlimit(Resource::Memlock).current.is_some();
    explain(effective(), is_filtered, memory_is_limited)
}

fn explain(mine: CapabilitySet, is_filtered: bool, memory_is_limited: bool) -> String {
    let missing: Vec<&str> = LOADING
        .iter()
        .filter(|(capability, _)| !mine.contains(*capability) && !mine.contains(CapabilitySet::SYS_ADMIN))
        .map(|(_, name)| *name)
        .collect();
    if !missing.is_empty() {
        return format!(
            "obsflow needs root, or {} in addition to the capabilities it has, to load eBPF programs: run it with sudo, or \
             add {} to the container's capabilities (docs/privileges.md)",
            and(&missing),
            if missing.len() == 1 { "it" } else { "them" },
        );
    }
    if memory_is_limited && !mine.contains(CapabilitySet::SYS_RESOURCE) {
        return "before Linux 5.11 eBPF maps count as locked memory, of which this process may not have enough: give it \
                CAP_SYS_RESOURCE, or raise its limit (LimitMEMLOCK=infinity, ulimit -l)"
            .to_owned();
    }
    if is_filtered {
        return "the kernel refuses eBPF programs although every capability for them is there: this container's seccomp profile \
                forbids bpf(2); some runtimes' own profile lets it through with CAP_SYS_ADMIN only (docs/privileges.md)"
            .to_owned();
    }
    "the kernel refuses eBPF programs although every capability for them is there: a security module (AppArmor, SELinux) \
     forbids it, or this is a user namespace, whose capabilities are none of the node's"
        .to_owned()
}

fn effective() -> CapabilitySet {
    // It fails for other processes only.
    capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective)
}

/// Whether a thread's system calls go through a seccomp filter.
fn is_filtered(status: &str) -> bool {
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    mode.is_some_and(|mode| mode.trim() == "2")
}

/// Whether the first address of the list is a zero.
fn hides_addresses(list: &str) -> bool {
    let mut line = String::new();
    let read = fs::File::open(list).and_then(|file| BufReader::with_capacity(256, file).read_line(&mut line));
    read.is_ok()
        && line
            .split(' ')
            .next()
            .is_some_and(|address| address.bytes().all(|byte| byte == b'0'))
}

/// `a`, `a and b`, `a, b and c`.
fn and(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let none = CapabilitySet::empty();
        let all = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::NET_ADMIN;
        let said = |mine| explain(mine, true, true);
        assert!(
            said(none).contains("CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN in addition"),
            "{}",
            said(none)
        );
        assert!(said(none).contains("add them to"), "{}", said(none));
        let without = said(all - CapabilitySet::PERFMON);
        assert!(
            without.contains("or CAP_PERFMON in addition") && without.contains("add it to"),
            "{without}"
        );
        assert!(said(all).contains("CAP_SYS_RESOURCE"), "{}", said(all));
        assert!(said(CapabilitySet::SYS_ADMIN).contains("CAP_SYS_RESOURCE"));
        let rich = all | CapabilitySet::SYS_RESOURCE;
        assert!(said(rich).contains("seccomp"), "{}", said(rich));
        assert!(explain(all, true, false).contains("seccomp"));
        assert!(explain(all, false, false).contains("AppArmor"));
    }

    #[test]
    fn filters_and_hidden_addresses_are_seen() {
        assert!(is_filtered("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"));
        assert!(!is_filtered("Name:\tx\nSeccomp:\t0\n"));
        let file = std::env::temp_dir().join(format!("obsflow-kallsyms-{}", std::process::id()));
        let list = file.to_str().unwrap();
        fs::write(&file, "0000000000000000 T _stext\n").unwrap();
        assert!(hides_addresses(list));
        fs::write(&file, "ffffffff81000000 T _stext\n").unwrap();
        assert!(!hides_addresses(list));
        fs::remove_file(&file).unwrap();
        assert!(!hides_addresses(list));
    }
}
