//! What obsflow says about an exporter: the ladder, the verdict, the evidence and the advice.

use std::fmt;
use std::sync::Arc;

use super::exchange::Signal;
use super::expectation::{ContainerKey, Endpoint, Source};
use super::time::Mono;
use super::workload::Workload;

/// The steps of an export, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// Somebody told it to export, and it tries.
    Configured,
    /// The name has an address.
    Resolved,
    /// The handshake completed.
    Connected,
    /// A request went out in the protocol that the peer speaks.
    Sent,
    /// The peer took it.
    Accepted,
}

impl Rung {
    /// Every rung, in order.
    pub const ALL: [Self; 5] = [
        Self::Configured,
        Self::Resolved,
        Self::Connected,
        Self::Sent,
        Self::Accepted,
    ];

    /// Its name in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Resolved => "resolved",
            Self::Connected => "connected",
            Self::Sent => "sent",
            Self::Accepted => "accepted",
        }
    }
}

/// What is known of a rung.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RungState {
    /// It holds.
    Ok,
    /// It does not.
    Failed,
    /// Not enough was seen.
    #[default]
    Unknown,
    /// An earlier rung failed.
    NotReached,
    /// There is no such step: a literal address is not resolved.
    NotApplicable,
}

impl RungState {
    /// Its name in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::NotReached => "not-reached",
            Self::NotApplicable => "not-applicable",
        }
    }
}

/// The state of every rung.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rungs([RungState; 5]);

impl Rungs {
    /// The state of one.
    #[must_use]
    pub fn get(&self, rung: Rung) -> RungState {
        self.0.get(rung as usize).copied().unwrap_or_default()
    }

    /// Changes the state of one.
    pub fn set(&mut self, rung: Rung, state: RungState) {
        if let Some(at) = self.0.get_mut(rung as usize) {
            *at = state;
        }
    }
}

macro_rules! verdicts {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What holds for an exporter. The names are what people alert on: they never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum VerdictId {
            $($(#[$doc])* $variant,)*
        }

        impl VerdictId {
            /// Every verdict; where several hold, the first one is said.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its stable name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

verdicts! {
    /// It talks to a proxy of its environment.
    Proxied = "proxied",
    /// What is configured cannot work.
    Misconfigured = "misconfigured",
    /// It is switched off.
    Disabled = "disabled",
    /// An SDK should have been injected and was not.
    InjectionMissing = "injection-missing",
    /// No name server knows the name.
    DnsNxdomain = "dns-nxdomain",
    /// A name server fails, or knows the name and no address.
    DnsFailure = "dns-failure",
    /// No name server answers.
    DnsTimeout = "dns-timeout",
    /// Nobody listens at the name server.
    DnsRefused = "dns-refused",
    /// A packet is dropped on this node.
    Dropped = "dropped",
    /// An ICMP error or a REJECT: a Service without ready endpoints.
    NoEndpoints = "no-endpoints",
    /// The peer answers SYNs with RST.
    Refused = "refused",
    /// No route, or no neighbour.
    Unreachable = "unreachable",
    /// SYNs go unanswered, and nothing on this node drops them.
    Blackholed = "blackholed",
    /// A TLS handshake fails.
    TlsFailed = "tls-failed",
    /// One side speaks TLS, the other does not.
    TlsMismatch = "tls-mismatch",
    /// One side speaks gRPC, the other plain HTTP.
    ProtocolMismatch = "protocol-mismatch",
    /// The peer says no.
    Rejected = "rejected",
    /// The peer takes only a part.
    Partial = "partial",
    /// The peer resets connections before it answers anything.
    Reset = "reset",
    /// An old connection to an address that nobody has any more.
    StaleConnection = "stale-connection",
    /// Requests go unanswered.
    Stalled = "stalled",
    /// It sent before, it lives, and it sends no more.
    Stopped = "stopped",
    /// It should send, and never did.
    Silent = "silent",
    /// Everything arrives.
    Healthy = "healthy",
    /// Nothing to send.
    Idle = "idle",
    /// Not enough was seen.
    Unknown = "unknown",
}

impl VerdictId {
    /// By its name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|id| id.name() == name)
    }

    /// Whether it says that something fails: `doctor` exits with 1 then.
    #[must_use]
    pub fn is_failure(self) -> bool {
        !matches!(self, Self::Healthy | Self::Idle | Self::Disabled | Self::Unknown)
    }
}

impl fmt::Display for VerdictId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How much a verdict matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing fails.
    Ok,
    /// Not known.
    Unknown,
    /// It fails in a container that is younger than a minute: it may still come up. Raises no alert.
    Starting,
    /// Some of it fails.
    Warning,
    /// Nothing arrives.
    Critical,
}

impl Severity {
    /// Its name in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Starting => "starting",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// One fact that a verdict rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// What kind of fact, a stable name such as `lookup`, `connect`, `drop`, `status`, `alert`, `environment`.
    pub kind: &'static str,
    /// The fact in words, one line.
    pub text: Arc<str>,
    /// How often it was seen.
    pub count: u64,
    /// When it was seen last; `None` for what is so all the time.
    pub last: Option<Mono>,
}

/// Whose connection an export travels on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Leg {
    /// The application's own, to its destination.
    #[default]
    Direct,
    /// The application's, to a sidecar proxy in its pod.
    ToSidecar,
    /// The sidecar proxy's, upstream.
    Sidecar,
}

impl Leg {
    /// Its name in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::ToSidecar => "to-sidecar",
            Self::Sidecar => "sidecar",
        }
    }
}

/// One exporter: a container, a destination, and, where it can be known, a signal.
#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    /// The node it runs on, in an answer that is about several; `None` in what one node says.
    pub node: Option<Arc<str>>,
    /// Names it: 12 hexadecimal digits of container, destination and signal, the same after a restart of obsflow.
    pub id: Arc<str>,
    /// Which container.
    pub container: ContainerKey,
    /// Whose.
    pub workload: Arc<Workload>,
    /// A process of the container: the one that configuration was read of, or that was seen to send; it may be gone.
    pub pid: Option<u32>,
    /// The proxy its environment names for this endpoint, `host:port`.
    pub proxy: Option<Arc<str>>,
    /// The signal; `None` when it is not known, or for all of them.
    pub signal: Option<Signal>,
    /// Where to.
    pub endpoint: Option<Endpoint>,
    /// The endpoint as configured or seen.
    pub written: Arc<str>,
    /// Where that is known from.
    pub source: Source,
    /// Whose connection.
    pub leg: Leg,
    /// The ladder.
    pub rungs: Rungs,
    /// What holds.
    pub verdict: VerdictId,
    /// Which of it, where a verdict has kinds: `wrong-path`, `unauthorized`, `SERVFAIL`.
    pub reason: Option<Arc<str>>,
    /// How much it matters.
    pub severity: Severity,
    /// Since when the verdict holds.
    pub since: Mono,
    /// How often it has come and gone, this time not counted.
    pub flaps: u32,
    /// What it rests on, the most telling first.
    pub evidence: Vec<Evidence>,
    /// What to do, the most likely first.
    pub advice: Vec<Arc<str>>,
    /// When an export was accepted last.
    pub last_success: Option<Mono>,
    /// The group it belongs to: a [`Cause::id`].
    pub cause: Option<Arc<str>>,
}

/// What several exporters suffer from.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// Names it, as [`Export::id`] does.
    pub id: Arc<str>,
    /// What holds.
    pub verdict: VerdictId,
    /// Which of it.
    pub reason: Option<Arc<str>>,
    /// The worst of its exporters.
    pub severity: Severity,
    /// What they have in common: a destination, a name server.
    pub subject: Arc<str>,
    /// Since when the first of them has it.
    pub since: Mono,
    /// Its exporters, by id.
    pub exports: Vec<Arc<str>>,
    /// Pods (or units) affected.
    pub pods: u32,
    /// Workloads affected.
    pub workloads: u32,
    /// What to do.
    pub advice: Vec<Arc<str>>,
}

/// Everything obsflow says at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// When.
    pub at: Mono,
    /// Since when this node is watched.
    pub watching_since: Mono,
    /// Every exporter, the worst first.
    pub exports: Vec<Export>,
    /// Failures by cause, the worst first.
    pub causes: Vec<Cause>,
    /// Events that never arrived: with some, a verdict may lack evidence.
    pub events_lost: u64,
    /// Exporters forgotten because there were too many.
    pub exports_forgotten: u64,
    /// Hooks that do not work, each with what is lost by it.
    pub degraded: Vec<Arc<str>>,
}

/// A verdict began or ended to hold, once per flap.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// When.
    pub at: Mono,
    /// The exporter as it was: `since` is when the verdict began.
    pub export: Export,
    /// Whether it began; otherwise it ended.
    pub opened: bool,
}
