//! The filter flags, each named and documented once: the command line, its help and the man page are made from this.

/// A filter flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flag {
    /// `--not`
    Not,
    /// `--from-pod`
    FromPod,
    /// `--to-pod`
    ToPod,
    /// `--pod`
    Pod,
    /// `--from-namespace`
    FromNamespace,
    /// `--to-namespace`
    ToNamespace,
    /// `--namespace`
    Namespace,
    /// `--from-all-namespaces`
    FromAllNamespaces,
    /// `--to-all-namespaces`
    ToAllNamespaces,
    /// `--all-namespaces`
    AllNamespaces,
    /// `--from-service`
    FromService,
    /// `--to-service`
    ToService,
    /// `--service`
    Service,
    /// `--from-workload`
    FromWorkload,
    /// `--to-workload`
    ToWorkload,
    /// `--workload`
    Workload,
    /// `--from-ip`
    FromIp,
    /// `--to-ip`
    ToIp,
    /// `--ip`
    Ip,
    /// `--ipv4`
    Ipv4,
    /// `--ipv6`
    Ipv6,
    /// `--from-port`
    FromPort,
    /// `--to-port`
    ToPort,
    /// `--port`
    Port,
    /// `--from-fqdn`
    FromFqdn,
    /// `--to-fqdn`
    ToFqdn,
    /// `--fqdn`
    Fqdn,
    /// `--protocol`
    Protocol,
    /// `--tcp-flags`
    TcpFlags,
    /// `--type`
    Type,
    /// `--verdict`
    Verdict,
    /// `--traffic-direction`
    TrafficDirection,
    /// `--dns-query`
    DnsQuery,
    /// `--rcode`
    Rcode,
    /// `--errno`
    Errno,
    /// `--http-status`
    HttpStatus,
    /// `--http-method`
    HttpMethod,
    /// `--http-path`
    HttpPath,
    /// `--http-url`
    HttpUrl,
    /// `--from-label`
    FromLabel,
    /// `--to-label`
    ToLabel,
    /// `--label`
    Label,
    /// `--from-identity`
    FromIdentity,
    /// `--to-identity`
    ToIdentity,
    /// `--identity`
    Identity,
    /// `--from-cluster`
    FromCluster,
    /// `--to-cluster`
    ToCluster,
    /// `--cluster`
    Cluster,
    /// `--ip-version`
    IpVersion,
    /// `--snat-ip`
    SnatIp,
    /// `--drop-reason-desc`
    DropReasonDesc,
    /// `--http-header`
    HttpHeader,
    /// `--trace-id`
    TraceId,
    /// `--ip-trace-id`
    IpTraceId,
    /// `--uuid`
    Uuid,
    /// `--interface`
    Interface,
    /// `--node-name`
    NodeName,
    /// `--node-label`
    NodeLabel,
    /// `--encrypted`
    Encrypted,
    /// `--unencrypted`
    Unencrypted,
    /// `--cel-expression`
    CelExpression,
}

/// How a flag looks on the command line.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The flag.
    pub flag: Flag,
    /// Its long name, without dashes.
    pub name: &'static str,
    /// Its short name.
    pub short: Option<char>,
    /// What its value is called; `None` when it takes none.
    pub value: Option<&'static str>,
    /// Help.
    pub help: &'static str,
}

/// Every filter flag, in the order of the help.
pub const SPECS: &[Spec] = &[
    with(
        Flag::FromPod,
        "from-pod",
        None,
        "POD",
        "Flows from pods whose name begins so: NAMESPACE/NAME, NAMESPACE/ for all of a namespace, /NAME for any namespace; NAME alone means default/NAME",
    ),
    with(
        Flag::ToPod,
        "to-pod",
        None,
        "POD",
        "Flows to pods whose name begins so",
    ),
    with(
        Flag::Pod,
        "pod",
        None,
        "POD",
        "Flows from or to pods whose name begins so",
    ),
    with(
        Flag::FromNamespace,
        "from-namespace",
        None,
        "NAMESPACE",
        "Flows from this Kubernetes namespace",
    ),
    with(
        Flag::ToNamespace,
        "to-namespace",
        None,
        "NAMESPACE",
        "Flows to this Kubernetes namespace",
    ),
    with(
        Flag::Namespace,
        "namespace",
        Some('n'),
        "NAMESPACE",
        "Flows from or to this Kubernetes namespace; also the namespace of a --pod given without one",
    ),
    without(
        Flag::FromAllNamespaces,
        "from-all-namespaces",
        None,
        "Flows from pods of any namespace",
    ),
    without(
        Flag::ToAllNamespaces,
        "to-all-namespaces",
        None,
        "Flows to pods of any namespace",
    ),
    without(
        Flag::AllNamespaces,
        "all-namespaces",
        Some('A'),
        "Flows from or to pods of any namespace; also lets a --pod given without a namespace be in any",
    ),
    with(
        Flag::FromService,
        "from-service",
        None,
        "SERVICE",
        "Flows from Services whose name begins so: NAMESPACE/NAME, NAMESPACE/ for all of a namespace, /NAME for any namespace; NAME alone means default/NAME",
    ),
    with(
        Flag::ToService,
        "to-service",
        None,
        "SERVICE",
        "Flows to Services whose name begins so",
    ),
    with(
        Flag::Service,
        "service",
        None,
        "SERVICE",
        "Flows from or to Services whose name begins so",
    ),
    with(
        Flag::FromWorkload,
        "from-workload",
        None,
        "WORKLOAD",
        "Flows from this workload: NAME or KIND/NAME, such as checkout, Deployment/checkout or Unit/nginx.service",
    ),
    with(
        Flag::ToWorkload,
        "to-workload",
        None,
        "WORKLOAD",
        "Flows to this workload",
    ),
    with(
        Flag::Workload,
        "workload",
        None,
        "WORKLOAD",
        "Flows from or to this workload",
    ),
    with(
        Flag::FromIp,
        "from-ip",
        None,
        "IP",
        "Flows from this address or network (192.0.2.1, 192.0.2.0/24, 2001:db8::/32)",
    ),
    with(
        Flag::ToIp,
        "to-ip",
        None,
        "IP",
        "Flows to this address or network; the address asked for counts as well as the one it was rewritten to",
    ),
    with(
        Flag::Ip,
        "ip",
        None,
        "IP",
        "Flows from or to this address or network",
    ),
    without(Flag::Ipv4, "ipv4", Some('4'), "Flows over IPv4"),
    without(Flag::Ipv6, "ipv6", Some('6'), "Flows over IPv6"),
    with(
        Flag::IpVersion,
        "ip-version",
        None,
        "VERSION",
        "Flows over this IP version: v4, v6, or none for flows without addresses",
    ),
    with(
        Flag::FromPort,
        "from-port",
        None,
        "PORT",
        "Flows from this port number",
    ),
    with(
        Flag::ToPort,
        "to-port",
        None,
        "PORT",
        "Flows to this port number; the port asked for counts as well as the one it was rewritten to",
    ),
    with(
        Flag::Port,
        "port",
        None,
        "PORT",
        "Flows from or to this port number",
    ),
    with(
        Flag::FromFqdn,
        "from-fqdn",
        None,
        "NAME",
        "Flows from this DNS name; * stands for any characters",
    ),
    with(
        Flag::ToFqdn,
        "to-fqdn",
        None,
        "NAME",
        "Flows to this DNS name; * stands for any characters",
    ),
    with(
        Flag::Fqdn,
        "fqdn",
        None,
        "NAME",
        "Flows from or to this DNS name; * stands for any characters",
    ),
    with(
        Flag::FromLabel,
        "from-label",
        None,
        "SELECTOR",
        "Flows from endpoints with these labels: app=web, app!=web, k8s:app in (web,api), reserved:host; obsflow's own flows have none",
    ),
    with(
        Flag::ToLabel,
        "to-label",
        None,
        "SELECTOR",
        "Flows to endpoints with these labels",
    ),
    with(
        Flag::Label,
        "label",
        Some('l'),
        "SELECTOR",
        "Flows from or to endpoints with these labels",
    ),
    with(
        Flag::FromIdentity,
        "from-identity",
        None,
        "IDENTITY",
        "Flows from endpoints with this security identity of Cilium's: a number, or world, host, kube-apiserver ...; obsflow's own flows have none",
    ),
    with(
        Flag::ToIdentity,
        "to-identity",
        None,
        "IDENTITY",
        "Flows to endpoints with this security identity",
    ),
    with(
        Flag::Identity,
        "identity",
        None,
        "IDENTITY",
        "Flows from or to endpoints with this security identity",
    ),
    with(
        Flag::FromCluster,
        "from-cluster",
        None,
        "CLUSTER",
        "Flows from endpoints of this cluster; obsflow's own flows have none",
    ),
    with(
        Flag::ToCluster,
        "to-cluster",
        None,
        "CLUSTER",
        "Flows to endpoints of this cluster",
    ),
    with(
        Flag::Cluster,
        "cluster",
        None,
        "CLUSTER",
        "Flows from or to endpoints of this cluster",
    ),
    with(
        Flag::SnatIp,
        "snat-ip",
        None,
        "IP",
        "Flows whose source was translated to this address or network; obsflow's own flows have none",
    ),
    with(
        Flag::Protocol,
        "protocol",
        None,
        "PROTOCOL",
        "Flows of this protocol: tcp, udp, dns, http (and icmp, icmpv4, icmpv6, sctp, kafka, which obsflow itself never sees)",
    ),
    with(
        Flag::TcpFlags,
        "tcp-flags",
        None,
        "FLAGS",
        "Flows whose packet has all of these TCP flags: syn or syn,ack",
    ),
    with(
        Flag::Type,
        "type",
        Some('t'),
        "TYPE[:SUBTYPE]",
        "Flows of this type: drop, l7, trace[:from-endpoint|:to-endpoint ...], trace-sock (and capture, policy-verdict, which obsflow itself never makes), or a number. Periodic connection state is shown only with --type trace-sock",
    ),
    with(
        Flag::Verdict,
        "verdict",
        None,
        "VERDICT",
        "Flows with this verdict: FORWARDED, DROPPED, ERROR, TRACED (and AUDIT, REDIRECTED, TRANSLATED, which obsflow itself never gives)",
    ),
    with(
        Flag::DropReasonDesc,
        "drop-reason-desc",
        None,
        "REASON",
        "Flows dropped for this reason of Cilium's, such as POLICY_DENIED; what the kernel drops has one of them only where it means the same",
    ),
    with(
        Flag::TrafficDirection,
        "traffic-direction",
        None,
        "DIRECTION",
        "Flows in this direction, seen from the workload: ingress or egress",
    ),
    with(
        Flag::DnsQuery,
        "dns-query",
        None,
        "REGEX",
        "DNS flows whose query name matches this regular expression, such as 'collector.*local'",
    ),
    with(
        Flag::Rcode,
        "rcode",
        None,
        "RCODE",
        "DNS flows with this response code: a name such as NXDOMAIN or SERVFAIL, or a number",
    ),
    with(
        Flag::Errno,
        "errno",
        None,
        "ERRNO",
        "Flows that ended with this error: a name such as ECONNREFUSED, or a number",
    ),
    with(
        Flag::HttpStatus,
        "http-status",
        None,
        "STATUS",
        "HTTP flows with this status: 404, or 5+ for all that begin so",
    ),
    with(
        Flag::HttpMethod,
        "http-method",
        None,
        "METHOD",
        "HTTP flows with this method, such as POST",
    ),
    with(
        Flag::HttpPath,
        "http-path",
        None,
        "REGEX",
        "HTTP flows whose path matches this regular expression, such as '/v1/(traces|logs)$'",
    ),
    with(
        Flag::HttpUrl,
        "http-url",
        None,
        "REGEX",
        "HTTP flows whose URL, http://host/path without query, matches this regular expression",
    ),
    with(
        Flag::HttpHeader,
        "http-header",
        None,
        "NAME:VALUE",
        "HTTP flows with this header; obsflow's own flows have none",
    ),
    with(
        Flag::NodeName,
        "node-name",
        None,
        "NODE",
        "Flows of nodes with this name: NODE or CLUSTER/NODE; * stands for any characters",
    ),
    with(
        Flag::NodeLabel,
        "node-label",
        None,
        "SELECTOR",
        "Flows of nodes with these labels; obsflow's own flows have none",
    ),
    with(
        Flag::Interface,
        "interface",
        None,
        "NAME",
        "Flows seen at the interface of this name; of its own flows obsflow knows the index only",
    ),
    without(
        Flag::Encrypted,
        "encrypted",
        None,
        "Flows that were encrypted on the way; obsflow's own do not say",
    ),
    without(
        Flag::Unencrypted,
        "unencrypted",
        None,
        "Flows that were not encrypted on the way",
    ),
    with(
        Flag::TraceId,
        "trace-id",
        None,
        "ID",
        "Flows of this trace; obsflow's own flows have none",
    ),
    with(
        Flag::IpTraceId,
        "ip-trace-id",
        None,
        "ID",
        "Flows of this IP trace; obsflow's own flows have none",
    ),
    with(
        Flag::Uuid,
        "uuid",
        None,
        "UUID",
        "The flow of this name; obsflow's own flows have none",
    ),
    with(
        Flag::CelExpression,
        "cel-expression",
        None,
        "CEL",
        "Flows for which this expression in CEL is true; Hubble's servers work it out, obsflow does not",
    ),
    without(
        Flag::Not,
        "not",
        None,
        "Leave out what the next filter matches; give it before every filter to negate",
    ),
];

impl Flag {
    /// How it looks on the command line.
    #[must_use]
    pub fn spec(self) -> &'static Spec {
        // `SPECS` has every flag; a test sees to that.
        SPECS.iter().find(|spec| spec.flag == self).unwrap_or(&SPECS[0])
    }

    /// Its long name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.spec().name
    }
}

/// One use of a flag, in the order of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// The flag.
    pub flag: Flag,
    /// Its value; empty for a flag that takes none.
    pub value: String,
}

const fn with(
    flag: Flag,
    name: &'static str,
    short: Option<char>,
    value: &'static str,
    help: &'static str,
) -> Spec {
    Spec {
        flag,
        name,
        short,
        value: Some(value),
        help,
    }
}

const fn without(flag: Flag, name: &'static str, short: Option<char>, help: &'static str) -> Spec {
    Spec {
        flag,
        name,
        short,
        value: None,
        help,
    }
}
