//! Names of drop reasons and of kernel functions, and where in the network stack a packet was dropped.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use crate::model::event::Named;

/// What the running kernel calls its numbers. Live, that is BTF and kallsyms; in a replay, what the capture recorded.
pub trait Symbols {
    /// Name of a value of `enum skb_drop_reason`, without the `SKB_DROP_REASON_` prefix.
    fn drop_reason(&self, code: u32) -> Option<Arc<str>>;

    /// Name of the function that holds a kernel address.
    fn function(&self, address: u64) -> Option<Arc<str>>;
}

/// Names that were told by records of a capture file. Bounded: a kernel has some hundred reasons, and drops happen in
/// few places.
#[derive(Debug, Default)]
pub struct Recorded {
    reasons: HashMap<u32, Arc<str>>,
    functions: HashMap<u64, Arc<str>>,
}

/// Names of one kind that are kept.
const MAX_RECORDED: usize = 4096;

impl Recorded {
    /// Remembers a name.
    pub fn learn(&mut self, of: Named, text: &str) {
        match of {
            Named::DropReason(code) if self.reasons.len() < MAX_RECORDED => {
                let text = text.strip_prefix("SKB_DROP_REASON_").unwrap_or(text);
                self.reasons.insert(code, Arc::from(text));
            }
            Named::Function(address) if self.functions.len() < MAX_RECORDED => {
                self.functions.insert(address, Arc::from(text));
            }
            Named::DropReason(_) | Named::Function(_) => {}
        }
    }
}

impl Symbols for Recorded {
    fn drop_reason(&self, code: u32) -> Option<Arc<str>> {
        self.reasons.get(&code).cloned()
    }

    fn function(&self, address: u64) -> Option<Arc<str>> {
        self.functions.get(&address).cloned()
    }
}

/// Functions under which netfilter's hooks run, and the hook (`net/ipv4/ip_input.c`, `ip_output.c`, `ip_forward.c`,
/// their twins in `net/ipv6`, and the bridge's).
const HOOKS: &[(&str, Hook)] = &[
    ("ip_local_deliver", Hook::Input),
    ("ip6_input", Hook::Input),
    ("__ip_local_out", Hook::Output),
    ("ip_local_out", Hook::Output),
    ("__ip6_local_out", Hook::Output),
    ("ip6_local_out", Hook::Output),
    // On the way out of a raw, UDP or TCP socket over IPv6 the output hook runs right under these.
    ("ip6_xmit", Hook::Output),
    ("ip_forward", Hook::Forward),
    ("ip6_forward", Hook::Forward),
    ("ip_rcv", Hook::Prerouting),
    ("ip_list_rcv", Hook::Prerouting),
    ("ip_sublist_rcv", Hook::Prerouting),
    ("ipv6_rcv", Hook::Prerouting),
    ("ipv6_list_rcv", Hook::Prerouting),
    ("ip_output", Hook::Postrouting),
    ("ip6_output", Hook::Postrouting),
    ("ip_mc_output", Hook::Postrouting),
];

#[derive(Clone, Copy)]
enum Hook {
    Input,
    Output,
    Forward,
    Prerouting,
    Postrouting,
}

static HOOK_NAMES: LazyLock<[Arc<str>; 5]> = LazyLock::new(|| {
    [
        Arc::from("INPUT"),
        Arc::from("OUTPUT"),
        Arc::from("FORWARD"),
        Arc::from("PREROUTING"),
        Arc::from("POSTROUTING"),
    ]
});

impl Hook {
    fn name(self) -> Arc<str> {
        let [input, output, forward, prerouting, postrouting] = &*HOOK_NAMES;
        Arc::clone(match self {
            Self::Input => input,
            Self::Output => output,
            Self::Forward => forward,
            Self::Prerouting => prerouting,
            Self::Postrouting => postrouting,
        })
    }
}

/// Functions that only free a packet: they say nothing of where.
const FREERS: &[&str] = &[
    "kfree_skb_reason",
    "sk_skb_reason_drop",
    "__kfree_skb_reason",
    "kfree_skb",
    "kfree_skb_list_reason",
    "kfree_skb_list",
];

/// Where a packet was dropped, from the functions of its stack, innermost first: the netfilter hook when
/// `nf_hook_slow` is in it, else the function that freed the packet.
///
/// The frame right outside `nf_hook_slow` decides, not the outermost one: a packet that is forwarded has `ip_rcv` further
/// out.
pub fn hook_of<'a>(
    functions: impl IntoIterator<Item = &'a str>,
    freed_by: Option<Arc<str>>,
) -> Option<Arc<str>> {
    let mut in_hook = false;
    let mut first: Option<&str> = None;
    for function in functions {
        // Compilers split functions: `ip_rcv.constprop.0`, `ip_list_rcv.isra.0`.
        let function = function.split('.').next().unwrap_or(function);
        if in_hook {
            if let Some((_, hook)) = HOOKS.iter().find(|(name, _)| *name == function) {
                return Some(hook.name());
            }
        } else if matches!(function, "nf_hook_slow" | "nf_hook_slow_list" | "nf_hook") {
            in_hook = true;
        }
        if first.is_none() && !FREERS.contains(&function) {
            first = Some(function);
        }
    }
    freed_by
        .filter(|f| !FREERS.contains(&&**f))
        .or_else(|| first.map(Arc::from))
}

/// [`hook_of`] for the addresses of a drop.
#[must_use]
pub fn hook(symbols: &dyn Symbols, stack: &[u64], location: u64) -> Option<Arc<str>> {
    let functions: Vec<Arc<str>> = stack.iter().filter_map(|&a| symbols.function(a)).collect();
    let freed_by = if location == 0 {
        None
    } else {
        symbols.function(location)
    };
    hook_of(functions.iter().map(|f| &**f), freed_by)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(functions: &[&str]) -> Option<String> {
        hook_of(functions.iter().copied(), None).map(|h| h.to_string())
    }

    #[test]
    fn the_frame_outside_netfilter_names_the_hook() {
        assert_eq!(
            of(&[
                "sk_skb_reason_drop",
                "nft_do_chain",
                "nf_hook_slow",
                "ip_local_deliver",
                "ip_rcv"
            ])
            .unwrap(),
            "INPUT"
        );
        assert_eq!(
            of(&["nf_hook_slow", "ip_forward", "ip_rcv", "ip_local_deliver"]).unwrap(),
            "FORWARD"
        );
        assert_eq!(
            of(&["nf_hook_slow", "__ip_local_out", "ip_output"]).unwrap(),
            "OUTPUT"
        );
        assert_eq!(of(&["nf_hook_slow", "ip_rcv.constprop.0"]).unwrap(), "PREROUTING");
        assert_eq!(
            of(&["nf_hook_slow", "ip6_output", "ip6_xmit"]).unwrap(),
            "POSTROUTING"
        );
        assert_eq!(of(&["nf_hook_slow", "ip6_xmit"]).unwrap(), "OUTPUT");
    }

    #[test]
    fn without_netfilter_it_is_the_function_that_freed_it() {
        assert_eq!(
            of(&["kfree_skb_reason", "tcp_v4_rcv", "ip_local_deliver"]).unwrap(),
            "tcp_v4_rcv"
        );
        let freed = hook_of(["tcp_v4_rcv"], Some(Arc::from("udp_rcv")));
        assert_eq!(freed.as_deref(), Some("udp_rcv"));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["nf_hook_slow", "br_forward"]).unwrap(), "nf_hook_slow");
    }

    #[test]
    fn recorded_names_are_found() {
        let mut names = Recorded::default();
        names.learn(Named::DropReason(2), "SKB_DROP_REASON_NO_SOCKET");
        names.learn(Named::Function(0x10), "nf_hook_slow");
        names.learn(Named::Function(0x20), "ip_local_out");
        assert_eq!(names.drop_reason(2).as_deref(), Some("NO_SOCKET"));
        assert_eq!(hook(&names, &[0x10, 0x20], 0).as_deref(), Some("OUTPUT"));
    }
}
