//! The hooks: what each gives, what it needs, and what is lost without it.

use std::fmt;

use obsflow_ebpf::abi::names::program;

use super::btf::Types;

/// A family of programs that is attached or left out as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// TCP from BTF tracepoints.
    Tcp,
    /// TCP from sock_ops.
    SockOps,
    /// connect and sendmsg.
    Connect,
    /// fexit of `inet_stream_connect`.
    ConnectExit,
    /// cgroup_skb.
    Packets,
    /// `inet_sk_error_report`.
    SocketErrors,
    /// `kfree_skb`.
    Drops,
    /// Cgroups made and removed.
    Cgroups,
    /// exec and exit.
    Processes,
    /// Outer packets of tunnels.
    Tunnels,
}

/// How a program of a hook is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// BTF tracepoint of this name.
    BtfTracepoint(&'static str),
    /// The cgroup that was chosen.
    Cgroup,
    /// Exit of this kernel function.
    FunctionExit(&'static str),
    /// Underlay devices of tunnels.
    Devices,
}

impl Hook {
    /// Every hook, in the order of `obsflow status`.
    pub const ALL: [Self; 10] = [
        Self::Tcp,
        Self::SockOps,
        Self::Connect,
        Self::ConnectExit,
        Self::Packets,
        Self::SocketErrors,
        Self::Drops,
        Self::Cgroups,
        Self::Processes,
        Self::Tunnels,
    ];

    /// The name users write.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::SockOps => "sock-ops",
            Self::Connect => "connect",
            Self::ConnectExit => "connect-exit",
            Self::Packets => "packets",
            Self::SocketErrors => "socket-errors",
            Self::Drops => "drops",
            Self::Cgroups => "cgroups",
            Self::Processes => "processes",
            Self::Tunnels => "tunnels",
        }
    }

    /// The hook of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hook| hook.name() == name)
    }

    /// What is not known without it, for people.
    #[must_use]
    pub const fn without(self) -> &'static str {
        match self {
            Self::Tcp => {
                "connections come from sock_ops: no errno, and no identity of what connects below other cgroups"
            }
            Self::SockOps => "nothing is missing while `tcp` is attached",
            Self::Connect => "synchronous failures and destinations before a rewrite are not seen",
            Self::ConnectExit => {
                "the errno of a synchronous failure is asked of the routing table afterwards, not exact"
            }
            Self::Packets => "DNS look-ups and first payload bytes are not seen",
            Self::SocketErrors => "a name server that refuses looks like one that does not answer",
            Self::Drops => "packets dropped on this node look like a black hole",
            Self::Cgroups => "new workloads are found by reading the cgroup file system, a little later",
            Self::Processes => "short-lived processes keep only the name they had when they connected",
            Self::Tunnels => "outer tunnel packets are not counted",
        }
    }

    /// Its programs and where they attach.
    #[must_use]
    pub const fn programs(self) -> &'static [(&'static str, Attach)] {
        match self {
            Self::Tcp => &[
                (program::SOCK_STATE, Attach::BtfTracepoint("inet_sock_set_state")),
                (
                    program::TCP_RETRANSMIT,
                    Attach::BtfTracepoint("tcp_retransmit_skb"),
                ),
                (program::TCP_RESET, Attach::BtfTracepoint("tcp_receive_reset")),
            ],
            Self::SockOps => &[
                (program::SOCK_OPS, Attach::Cgroup),
                (program::SOCK_RELEASE, Attach::Cgroup),
            ],
            Self::Connect => &[
                (program::CONNECT4, Attach::Cgroup),
                (program::CONNECT6, Attach::Cgroup),
                (program::SENDMSG4, Attach::Cgroup),
                (program::SENDMSG6, Attach::Cgroup),
            ],
            Self::ConnectExit => &[(program::CONNECT_EXIT, Attach::FunctionExit("inet_stream_connect"))],
            Self::Packets => &[
                (program::SKB_EGRESS, Attach::Cgroup),
                (program::SKB_INGRESS, Attach::Cgroup),
            ],
            Self::SocketErrors => &[(program::SOCK_ERROR, Attach::BtfTracepoint("inet_sk_error_report"))],
            Self::Drops => &[(program::SKB_DROP, Attach::BtfTracepoint("kfree_skb"))],
            Self::Cgroups => &[
                (program::CGROUP_MKDIR, Attach::BtfTracepoint("cgroup_mkdir")),
                (program::CGROUP_RMDIR, Attach::BtfTracepoint("cgroup_rmdir")),
            ],
            Self::Processes => &[
                (program::EXEC, Attach::BtfTracepoint("sched_process_exec")),
                (program::EXIT, Attach::BtfTracepoint("sched_process_exit")),
            ],
            Self::Tunnels => &[
                (program::TUNNEL_EGRESS, Attach::Devices),
                (program::TUNNEL_INGRESS, Attach::Devices),
            ],
        }
    }

    /// Why this kernel cannot run it, before anything is loaded.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn can_run(self, kernel: &Kernel<'_>) -> Result<(), String> {
        let needs_btf = self
            .programs()
            .iter()
            .any(|(_, attach)| matches!(attach, Attach::BtfTracepoint(_) | Attach::FunctionExit(_)));
        if needs_btf && kernel.types.is_none() {
            return Err(kernel.no_types.into());
        }
        if let Some(types) = kernel.types {
            for (_, attach) in self.programs() {
                match attach {
                    Attach::BtfTracepoint(name) if !types.has_tracepoint(name) => {
                        return Err(format!("the kernel has no tracepoint {name}"));
                    }
                    Attach::FunctionExit(name) if !types.has_function(name) => {
                        return Err(format!("the kernel has no traceable function {name}"));
                    }
                    _ => {}
                }
            }
        }
        if self == Self::Drops && !kernel.drop_reasons && !kernel.drop_locations {
            return Err(
                "the kernel gives no drop reasons (Linux 5.17) and hides its addresses \
                        (kernel.kptr_restrict), so a drop cannot be told from ordinary freeing"
                    .into(),
            );
        }
        Ok(())
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What [`Hook::can_run`] asks.
pub struct Kernel<'a> {
    /// The kernel's types, if it has BTF.
    pub types: Option<&'a Types>,
    /// Why there are no types, when there are none.
    pub no_types: &'a str,
    /// `kfree_skb` passes a reason.
    pub drop_reasons: bool,
    /// `/proc/kallsyms` tells where `nf_hook_slow` is.
    pub drop_locations: bool,
}

/// What became of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Attached; where.
    Attached(String),
    /// Cannot run here; why.
    Unavailable(String),
    /// Left out; why.
    Off(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_belongs_to_one_hook() {
        let mut all: Vec<&str> = Hook::ALL
            .iter()
            .flat_map(|hook| hook.programs().iter().map(|(name, _)| *name))
            .collect();
        all.sort_unstable();
        let mut expected = program::ALL.to_vec();
        expected.sort_unstable();
        assert_eq!(all, expected);
    }

    #[test]
    fn names_are_unique() {
        for hook in Hook::ALL {
            assert_eq!(Hook::by_name(hook.name()), Some(hook));
        }
        assert_eq!(Hook::by_name("kprobe"), None);
    }
}
