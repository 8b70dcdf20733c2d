//! What is wrong with a command line.

use crate::api::hubble::ServerAddressError;
use crate::api::{Address, AddressError};
use crate::cluster::KubeconfigError;
use crate::filter::FilterError;
use crate::fleet::TargetError;
use crate::kernel::hooks::Hook;
use crate::sinks::doctor::WorkloadError;

/// Smallest ring, in bytes: a page.
pub(super) const RING_MIN: u64 = 4096;
/// Largest ring, in bytes.
pub(super) const RING_MAX: u64 = 1 << 30;

/// A command line that makes no sense. Each message says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A filter.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Not where a server of flows listens.
    #[error("--server: {0}")]
    Server(ServerAddressError),
    /// What only Cilium has.
    #[error(
        "obsflow observes flows; agent and debug events are Cilium's own, and hubble observe shows those"
    )]
    NotFlows,
    /// More than is held in memory.
    #[error(
        "--last: of a file at most {0} flows are held until its end; give a smaller number, or leave it out"
    )]
    LastOfFile(u64),
    /// How to watch, where a server is asked.
    #[error(
        "--server asks who watches already, and flags of the kernel side say how to watch this node: leave out one or the other"
    )]
    KernelOfServer,
    /// TLS with whom?
    #[error("{0} is about a server: name one with --server tls://HOST:PORT")]
    TlsOfNobody(&'static str),
    /// TLS over a socket.
    #[error("{0}: a socket of this machine is asked without TLS; leave it out, or name HOST:PORT")]
    TlsOfSocket(&'static str),
    /// TLS that is not used.
    #[error("{0} says how to trust a server by TLS, and this one is asked without: write tls:// or --tls")]
    TlsNotUsed(&'static str),
    /// A certificate without its key, or the other way round.
    #[error(
        "{0} is missing: a client's certificate needs both --tls-client-cert-file and --tls-client-key-file"
    )]
    ClientTlsHalf(&'static str),
    /// A mask of what is no JSON.
    #[error(
        "--field-mask is for -o json: lines need the fields that they are made of (--use-default-field-masks asks for those)"
    )]
    MaskOfLines,
    /// Not a field.
    #[error("--field-mask: {path:?} names no field of a flow: {reason}")]
    FieldMask {
        /// As written.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// Not where an agent listens.
    #[error("{flag}: {error}")]
    Address {
        /// The flag.
        flag: &'static str,
        /// What is wrong.
        error: AddressError,
    },
    /// A workload.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// A workload of a cluster, or a namespace.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Nothing.
    #[error("{0}: an empty value says nothing; leave the flag out, or name it")]
    Empty(&'static str),
    /// Watching for a while, where agents watch all the time.
    #[error(
        "--for is how long this node is watched where no agent does it, and {0} asks agents, which watch all the time: leave \
         it out, or use --watch"
    )]
    ForOfCluster(&'static str),
    /// Active checks, which are a node's.
    #[error(
        "--probe sends traffic from inside pods, which is for root on their node, and {0} asks from afar: run obsflow doctor \
         --probe there, as in kubectl -n {1} exec AGENT -- obsflow doctor WORKLOAD --probe"
    )]
    ProbeOfCluster(&'static str, String),
    /// How to watch, where agents watch.
    #[error(
        "{0} asks the agents of a cluster, and flags of the kernel side say how to watch this node: leave out one or the other"
    )]
    KernelOfCluster(&'static str),
    /// Not a verdict.
    #[error(
        "--explain: there is no verdict {name:?}{}; there are {all}",
        did_you_mean(near)
    )]
    Verdict {
        /// As written.
        name: String,
        /// Verdicts that it may have been meant to be.
        near: Vec<String>,
        /// Every verdict.
        all: String,
    },
    /// The same address again.
    #[error("--listen: {0} is there twice")]
    ListenTwice(Address),
    /// Not a container runtime's socket.
    #[error(
        "--cri: {0:?} is no socket of a container runtime; write auto, off, or unix:///PATH, such as {first}",
        first = concat!("unix://", "/run/containerd/containerd.sock")
    )]
    Runtime(String),
    /// Not an address of an HTTP server.
    #[error("--health: {0:?} is no address; write 127.0.0.1:9969, [::1]:9969, or off")]
    Health(String),
    /// Not an address.
    #[error("--metrics: {0:?} is not an address with a port; write 0.0.0.0:9968 or [::]:9968, or off")]
    Metrics(String),
    /// A certificate without its key, or the other way round.
    #[error("{missing} is missing: TLS needs both {} and {}", .both[0], .both[1])]
    TlsHalf {
        /// What is missing.
        missing: &'static str,
        /// Both of them.
        both: [&'static str; 2],
    },
    /// Others would read along.
    #[error(
        "--listen: {0} is reached from other machines, for which gRPC needs TLS: add --tls-cert and --tls-key (and --tls-client-ca, \
         so that only some may ask), write tcp://127.0.0.1:PORT, which kubectl port-forward reaches, too, or say \
         --allow-plain-text"
    )]
    PlainText(Address),
    /// TLS is wanted, and there is no certificate.
    #[error("--listen: tls:// needs a certificate: add --tls-cert and --tls-key")]
    NoCertificate,
    /// TLS over a path.
    #[error("--listen: after tls:// comes an IP address with its port: write tls://ADDRESS:PORT")]
    TlsPath,
    /// A certificate for nobody.
    #[error(
        "{0} is for ports: add --listen tcp://ADDRESS:PORT with an address that others reach, or tls://ADDRESS:PORT"
    )]
    TlsOfNothing(&'static str),
    /// Not a peer.
    #[error("--peer: {0:?} is no peer; write NODE=ADDRESS:PORT, such as node-2=192.0.2.2:4244")]
    Peer(String),
    /// The same peer again.
    #[error("--peer: {0} is there twice")]
    PeerTwice(String),
    /// Not a Service.
    #[error("--peers-service: {0:?} is no Service; write NAMESPACE/NAME")]
    PeersService(String),
    /// Not a file.
    #[error("--state: {0:?} names no file; write a path, or off")]
    State(String),
    /// Two flags that exclude each other.
    #[error("cannot set both {0} and {1}")]
    Both(&'static str, &'static str),
    /// A table needs an end.
    #[error(
        "table output is not compatible with follow mode: its columns are known at the end only; use -o compact"
    )]
    TableFollows,
    /// A table of what goes on until Ctrl-C.
    #[error("table output needs an end, because its columns are known there only: add --last N or --first N")]
    TableNeedsEnd,
    /// Not a time.
    #[error("{flag}: {value:?} is not a time; write a duration (2m, 1h43m), a day (2026-01-02) or RFC 3339")]
    Time {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
    },
    /// Live flows until a moment that is over.
    #[error(
        "--until: {0} is over, and flows are kept only while an agent runs; leave it out, or start an agent first"
    )]
    UntilIsOver(String),
    /// Nothing in between.
    #[error("--since must be before --until")]
    SinceAfterUntil,
    /// Not a duration.
    #[error("{flag}: {value:?} is not a duration; write 300ms, 30s or 1h30m")]
    Duration {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
    },
    /// Not a size of a ring.
    #[error("--ring-bytes: {0:?} is not a power of two from {RING_MIN} (4KiB) to {RING_MAX} (1GiB)")]
    Ring(String),
    /// Not a log level.
    #[error("{flag}: unknown level {value:?}; one of off, error, warn, info, debug, trace")]
    Level {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
    },
    /// A kubeconfig.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// A context without a file that has contexts.
    #[error("--context: contexts are in a kubeconfig; name one with --kubeconfig FILE")]
    ContextOfNothing,
    /// Not the name of a node.
    #[error(
        "--node-name: {0:?} is no node's name: small letters, digits, '-' and '.' only (kubectl get nodes)"
    )]
    NodeName(String),
    /// A port in two classes.
    #[error("port {0} is given both in {1} and in {2}; a port is one or the other")]
    PortTwice(u16, &'static str, &'static str),
    /// Port 0.
    #[error("{0}: 0 is not a port to watch")]
    PortZero(&'static str),
    /// A hook that is wanted and not wanted.
    #[error("hook {0:?} is given both in --hook and in --without-hook")]
    HookTwice(&'static str),
    /// Not a hook.
    #[error("{flag}: unknown hook {value:?}; one of {}", Hook::ALL.map(Hook::name).join(", "))]
    UnknownHook {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
    },
}

fn did_you_mean(near: &[String]) -> String {
    match near {
        [] => String::new(),
        near => format!("; did you mean {}?", near.join(" or ")),
    }
}
