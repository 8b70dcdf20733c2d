//! Ports that obsflow watches, and the classes it gives them.

use std::collections::BTreeMap;

use obsflow_ebpf::abi::count::port_class;

/// Telemetry ports watched unless the user says otherwise.
pub const TELEMETRY: &[u16] = &[
    3100,  // Loki
    4040,  // Pyroscope
    4317,  // OTLP over gRPC
    4318,  // OTLP over HTTP
    8088,  // Splunk HEC
    8428,  // VictoriaMetrics
    9090,  // Prometheus remote write
    9411,  // Zipkin
    9428,  // VictoriaLogs
    9943,  // SignalFx
    10428, // VictoriaTraces
    12347, // Faro
    14250, // Jaeger, gRPC
    14268, // Jaeger, HTTP
];
/// Name servers.
pub const DNS: &[u16] = &[53];
/// Tunnel endpoints: flannel, k3s and Cilium; IANA's VXLAN (Calico); Geneve.
pub const TUNNEL: &[u16] = &[8472, 4789, 6081];

/// Class bits by port.
#[must_use]
pub fn classes(telemetry: &[u16], dns: &[u16], tunnel: &[u16]) -> BTreeMap<u16, u8> {
    let mut classes = BTreeMap::new();
    for (ports, class) in [
        (telemetry, port_class::TELEMETRY),
        (dns, port_class::DNS),
        (tunnel, port_class::TUNNEL),
    ] {
        for port in ports {
            *classes.entry(*port).or_insert(0) |= class;
        }
    }
    classes
}

/// Words of the map `PORT_WATCHED`, a bit for each port that has a class, by index.
#[must_use]
pub fn bits(classes: &BTreeMap<u16, u8>) -> BTreeMap<u32, u64> {
    let mut words = BTreeMap::new();
    for (port, _) in classes.iter().filter(|(_, class)| **class != 0) {
        *words.entry(u32::from(port >> 6)).or_insert(0) |= 1 << (port & 63);
    }
    words
}

/// How a drop reason is watched: values of the map `DROP_REASONS`.
pub mod watch {
    /// On every watched port.
    pub const ALL: u8 = 1;
    /// On tunnels only: healthy TCP shows it too.
    pub const TUNNELS: u8 = 2;
}

/// Drop reasons that say why a packet did not arrive, by their name in `enum skb_drop_reason` without the prefix. Not
/// among them is what healthy traffic shows: NO_SOCKET on every refused SYN, TCP_OLD_SEQUENCE on keep-alive probes,
/// QUEUE_PURGE and TCP_CLOSE on ordinary closes.
pub const DROP_REASONS: &[(&str, u8)] = &[
    ("NETFILTER_DROP", watch::ALL),
    ("TC_INGRESS", watch::ALL),
    ("TC_EGRESS", watch::ALL),
    ("XDP", watch::ALL),
    ("BPF_CGROUP_EGRESS", watch::ALL),
    ("SECURITY_HOOK", watch::ALL),
    ("XFRM_POLICY", watch::ALL),
    ("IP_RPFILTER", watch::ALL),
    ("IP_OUTNOROUTES", watch::ALL),
    ("IP_INNOROUTES", watch::ALL),
    ("IP_INADDRERRORS", watch::ALL),
    ("IP_LOCAL_SOURCE", watch::ALL),
    ("IP_INVALID_SOURCE", watch::ALL),
    ("IP_INVALID_DEST", watch::ALL),
    ("IP_LOCALNET", watch::ALL),
    ("IPV6DISABLED", watch::ALL),
    ("NEIGH_CREATEFAIL", watch::ALL),
    ("NEIGH_FAILED", watch::ALL),
    ("NEIGH_QUEUEFULL", watch::ALL),
    ("NEIGH_DEAD", watch::ALL),
    ("NEIGH_HH_FILLFAIL", watch::ALL),
    ("QDISC_DROP", watch::ALL),
    ("QDISC_OVERLIMIT", watch::ALL),
    ("QDISC_CONGESTED", watch::ALL),
    ("CPU_BACKLOG", watch::ALL),
    ("FULL_RING", watch::ALL),
    ("DEV_READY", watch::ALL),
    ("NOMEM", watch::ALL),
    ("PROTO_MEM", watch::ALL),
    ("SOCKET_RCVBUFF", watch::ALL),
    ("SOCKET_FILTER", watch::ALL),
    ("TCP_LISTEN_OVERFLOW", watch::ALL),
    ("PKT_TOO_BIG", watch::ALL),
    ("FRAG_REASM_TIMEOUT", watch::ALL),
    ("TCP_CSUM", watch::ALL),
    ("UDP_CSUM", watch::ALL),
    ("IP_CSUM", watch::ALL),
    ("SKB_CSUM", watch::ALL),
    ("TAP_FILTER", watch::ALL),
    ("TAP_TXFILTER", watch::ALL),
    ("NO_SOCKET", watch::TUNNELS),
    ("OTHERHOST", watch::TUNNELS),
    ("VXLAN_INVALID_HDR", watch::TUNNELS),
    ("VXLAN_VNI_NOT_FOUND", watch::TUNNELS),
    ("VXLAN_ENTRY_EXISTS", watch::TUNNELS),
    ("IP_TUNNEL_ECN", watch::TUNNELS),
    ("TUNNEL_TXINFO", watch::TUNNELS),
    ("LOCAL_MAC", watch::TUNNELS),
    ("MAC_INVALID_SOURCE", watch::TUNNELS),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_may_have_two_classes() {
        let classes = classes(&[4317, 53], &[53], &[]);
        assert_eq!(classes[&53], port_class::TELEMETRY | port_class::DNS);
        assert_eq!(classes[&4317], port_class::TELEMETRY);
    }

    #[test]
    fn bits_stand_where_programs_look() {
        let words = bits(&classes(&[4317, 4318, 53, 65_535], &[], &[]));
        let watched = |port: u16| {
            words
                .get(&u32::from(port >> 6))
                .is_some_and(|word| word >> (port & 63) & 1 == 1)
        };
        assert!(watched(4317) && watched(4318) && watched(53) && watched(65_535));
        assert!(!watched(4316) && !watched(0));
    }

    #[test]
    fn the_running_kernel_knows_these_reasons() {
        let types = super::super::btf::Types::open(super::super::btf::VMLINUX).expect("BTF");
        let known = types.enumeration("skb_drop_reason", "SKB_DROP_REASON_");
        for (name, _) in DROP_REASONS {
            assert!(
                known.values().any(|n| n == name),
                "{name} is not a reason of this kernel"
            );
        }
    }
}
