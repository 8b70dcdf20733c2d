//! Names of maps, programs and globals, each once. A test checks them against the built object.

/// Ring buffer of records.
pub const EVENTS: &str = "EVENTS";
/// Array of 65,536 class bytes, by port.
pub const PORT_CLASS: &str = "PORT_CLASS";
/// Array of 1,024 words, a bit for each port that has a class; user space sets the class before the bit.
pub const PORT_WATCHED: &str = "PORT_WATCHED";
/// Array by `enum skb_drop_reason`: 1 when drops for this reason are reported, 2 when they are for
/// tunnels only.
pub const DROP_REASONS: &str = "DROP_REASONS";
/// Hash of [`super::conn::Conn`] by socket cookie.
pub const CONNS: &str = "CONNS";
/// LRU hash of [`super::conn::UdpOrigin`] by socket cookie: sockets that talk to name servers. Evicted entries lose
/// the process's name, never an event.
pub const UDP_ORIGINS: &str = "UDP_ORIGINS";
/// Array of numbers that are true right now, see [`super::count::live`].
pub const LIVE: &str = "LIVE";
/// Per-CPU array of counters, see [`super::count::stat`].
pub const STATS: &str = "STATS";
/// Per-CPU hash of counts by [`super::count::ConnCountKey`].
pub const CONN_COUNTS: &str = "CONN_COUNTS";
/// Per-CPU hash of counts by [`super::count::DnsCountKey`].
pub const DNS_COUNTS: &str = "DNS_COUNTS";
/// Per-CPU hash of [`super::count::TunnelCount`] by [`super::count::TunnelKey`].
pub const TUNNEL_COUNTS: &str = "TUNNEL_COUNTS";
/// Entries of [`DROP_REASONS`].
pub const DROP_REASONS_LEN: u32 = 1024;
/// Global of type [`super::settings::Offsets`].
pub const OFFSETS: &str = "OFFSETS";
/// Global of type [`super::settings::Settings`].
pub const SETTINGS: &str = "SETTINGS";
/// Every map, for the test that compares them with the object.
pub const MAPS: [&str; 11] = [
    EVENTS,
    PORT_CLASS,
    PORT_WATCHED,
    LIVE,
    DROP_REASONS,
    CONNS,
    UDP_ORIGINS,
    STATS,
    CONN_COUNTS,
    DNS_COUNTS,
    TUNNEL_COUNTS,
];
/// Every global.
pub const GLOBALS: [&str; 2] = [OFFSETS, SETTINGS];

/// Programs, by the hook that runs them.
pub mod program {
    /// BTF tracepoint `inet_sock_set_state`.
    pub const SOCK_STATE: &str = "sock_state";
    /// BTF tracepoint `tcp_retransmit_skb`.
    pub const TCP_RETRANSMIT: &str = "tcp_retransmit";
    /// BTF tracepoint `tcp_receive_reset`.
    pub const TCP_RESET: &str = "tcp_reset";
    /// `sock_ops`, for kernels without BTF.
    pub const SOCK_OPS: &str = "tcp_sock_ops";
    /// `cgroup/sock_release`, which tells sock_ops that an owner gave up.
    pub const SOCK_RELEASE: &str = "tcp_sock_release";
    /// `cgroup/connect4`.
    pub const CONNECT4: &str = "connect4";
    /// `cgroup/connect6`.
    pub const CONNECT6: &str = "connect6";
    /// `cgroup/sendmsg4`.
    pub const SENDMSG4: &str = "sendmsg4";
    /// `cgroup/sendmsg6`.
    pub const SENDMSG6: &str = "sendmsg6";
    /// fexit `inet_stream_connect`.
    pub const CONNECT_EXIT: &str = "connect_exit";
    /// `cgroup_skb/egress`.
    pub const SKB_EGRESS: &str = "skb_egress";
    /// `cgroup_skb/ingress`.
    pub const SKB_INGRESS: &str = "skb_ingress";
    /// BTF tracepoint `inet_sk_error_report`.
    pub const SOCK_ERROR: &str = "sock_error";
    /// BTF tracepoint `kfree_skb`.
    pub const SKB_DROP: &str = "skb_drop";
    /// BTF tracepoint `cgroup_mkdir`.
    pub const CGROUP_MKDIR: &str = "cgroup_made";
    /// BTF tracepoint `cgroup_rmdir`.
    pub const CGROUP_RMDIR: &str = "cgroup_gone";
    /// BTF tracepoint `sched_process_exec`.
    pub const EXEC: &str = "process_exec";
    /// BTF tracepoint `sched_process_exit`.
    pub const EXIT: &str = "process_exit";
    /// TC egress of a tunnel's underlay. Before Linux 6.6 the name is how a leftover filter is known.
    pub const TUNNEL_EGRESS: &str = "obsflow_tun_out";
    /// TC ingress of a tunnel's underlay.
    pub const TUNNEL_INGRESS: &str = "obsflow_tun_in";
    /// Every program.
    pub const ALL: [&str; 20] = [
        SOCK_STATE,
        TCP_RETRANSMIT,
        TCP_RESET,
        SOCK_OPS,
        SOCK_RELEASE,
        CONNECT4,
        CONNECT6,
        SENDMSG4,
        SENDMSG6,
        CONNECT_EXIT,
        SKB_EGRESS,
        SKB_INGRESS,
        SOCK_ERROR,
        SKB_DROP,
        CGROUP_MKDIR,
        CGROUP_RMDIR,
        EXEC,
        EXIT,
        TUNNEL_EGRESS,
        TUNNEL_INGRESS,
    ];
}
