//! What the loader tells the programs before the kernel verifies them. The verifier sees constants and removes what
//! they switch off.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Offset of a kernel structure's member that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// Byte offsets of kernel structures' members, from the running kernel's BTF; [`ABSENT`] where it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Offsets {
    /// `sock.__sk_common.skc_daddr`.
    pub skc_daddr: u32,
    /// `sock.__sk_common.skc_rcv_saddr`.
    pub skc_rcv_saddr: u32,
    /// `sock.__sk_common.skc_dport`.
    pub skc_dport: u32,
    /// `sock.__sk_common.skc_num`.
    pub skc_num: u32,
    /// `sock.__sk_common.skc_family`.
    pub skc_family: u32,
    /// `sock.__sk_common.skc_state`.
    pub skc_state: u32,
    /// `sock.__sk_common.skc_net.net`.
    pub skc_net: u32,
    /// `sock.__sk_common.skc_v6_daddr`.
    pub skc_v6_daddr: u32,
    /// `sock.__sk_common.skc_v6_rcv_saddr`.
    pub skc_v6_rcv_saddr: u32,
    /// `sock.__sk_common.skc_cookie`.
    pub skc_cookie: u32,
    /// `sock.__sk_common.skc_flags`.
    pub skc_flags: u32,
    /// `sock.sk_err`.
    pub sk_err: u32,
    /// `sock.sk_err_soft`.
    pub sk_err_soft: u32,
    /// `sock.sk_error_queue`, whose first 8 bytes are the first packet.
    pub sk_error_queue: u32,
    /// `sock.sk_error_queue.qlen`.
    pub sk_error_queue_len: u32,
    /// `sk_buff.cb` plus `sock_exterr_skb.ee`: `struct sock_extended_err` of `include/uapi/linux/errqueue.h`.
    pub skb_extended_error: u32,
    /// `sock.sk_protocol`.
    pub sk_protocol: u32,
    /// `sock.sk_cgrp_data`, whose first 8 bytes are the cgroup.
    pub sk_cgrp_data: u32,
    /// `tcp_sock.bytes_acked`.
    pub bytes_acked: u32,
    /// `tcp_sock.bytes_received`.
    pub bytes_received: u32,
    /// `tcp_sock.snd_una`.
    pub snd_una: u32,
    /// `tcp_sock.rcv_nxt`.
    pub rcv_nxt: u32,
    /// `inet_sock.inet_sport`.
    pub inet_sport: u32,
    /// `net.ns.inum`.
    pub net_inum: u32,
    /// `sk_buff.head`.
    pub skb_head: u32,
    /// `sk_buff.network_header`.
    pub skb_network_header: u32,
    /// `sk_buff.protocol`.
    pub skb_protocol: u32,
    /// `sk_buff.sk`.
    pub skb_sk: u32,
    /// `sk_buff.dev`.
    pub skb_dev: u32,
    /// `sk_buff.len`.
    pub skb_len: u32,
    /// `net_device.ifindex`.
    pub dev_ifindex: u32,
    /// `net_device.nd_net.net`.
    pub dev_net: u32,
    /// `cgroup.kn`.
    pub cgroup_kn: u32,
    /// `kernfs_node.id`.
    pub kn_id: u32,
    /// `cgroup.root`.
    pub cgroup_root: u32,
    /// `cgroup_root.hierarchy_id`.
    pub root_hierarchy_id: u32,
    /// `task_struct.group_leader`.
    pub task_group_leader: u32,
    /// `task_struct.comm`.
    pub task_comm: u32,
    /// `task_struct.tgid`.
    pub task_tgid: u32,
    /// `task_struct.nsproxy`.
    pub task_nsproxy: u32,
    /// `nsproxy.net_ns`.
    pub nsproxy_net: u32,
    /// `socket.sk`.
    pub socket_sk: u32,
}

/// Switches and limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Settings {
    /// 1 when `bpf_get_socket_cookie` works in tracing programs (Linux 5.12).
    pub tracing_cookie: u32,
    /// 1 when `kfree_skb` has a third argument (Linux 5.17).
    pub drop_reasons: u32,
    /// Without reasons: first and last kernel address whose drops are reported (`nf_hook_slow`).
    pub drop_location_start: u64,
    /// End of that range, exclusive.
    pub drop_location_end: u64,
    /// 1 to capture payload of watched connections.
    pub payload: u32,
    /// Payload records a connection may emit in a second.
    pub payload_per_second: u32,
    /// 1 when BTF tracepoints report TCP; 0 when sock_ops does.
    pub tcp_tracepoints: u32,
    /// 1 when [`Offsets`] hold; 0 without BTF, when no kernel structure may be read.
    pub types: u32,
}

const _: () = {
    assert!(size_of::<Offsets>() == 42 * 4);
    assert!(size_of::<Settings>() == 40);
};
