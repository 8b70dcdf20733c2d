//! What active checks of an exporter found.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a check does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Resolves the name as the pod's `/etc/hosts` and `resolv.conf` say: search list, `ndots`, name servers.
    ResolveAsConfigured,
    /// Asks for the name with a trailing dot, and completed by the search list's domains.
    ResolveFullyQualified,
    /// Opens a TCP connection.
    Connect,
    /// Makes a TLS handshake and looks at the certificate.
    Tls,
    /// Sends an empty OTLP export over gRPC.
    ExportGrpc,
    /// Sends an empty OTLP export over HTTP with protobuf.
    ExportHttpProtobuf,
    /// Sends an empty OTLP export over HTTP with JSON.
    ExportHttpJson,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 7] = [
        Self::ResolveAsConfigured,
        Self::ResolveFullyQualified,
        Self::Connect,
        Self::Tls,
        Self::ExportGrpc,
        Self::ExportHttpProtobuf,
        Self::ExportHttpJson,
    ];

    /// Its stable name in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ResolveAsConfigured => "resolve-as-configured",
            Self::ResolveFullyQualified => "resolve-fully-qualified",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::ExportGrpc => "export-grpc",
            Self::ExportHttpProtobuf => "export-http-protobuf",
            Self::ExportHttpJson => "export-http-json",
        }
    }

    /// By its name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.name() == name)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It works.
    Ok,
    /// It does not.
    Failed,
    /// It was not tried: the detail says why.
    Skipped,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Failed, Self::Skipped];

    /// Its stable name in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    /// By its name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was done.
    pub step: Step,
    /// To whom: a name, an address with its port, or a URL.
    pub target: Arc<str>,
    /// How it came out.
    pub outcome: Outcome,
    /// What was seen, in words, one line, control characters escaped. Never anything of a body.
    pub detail: Arc<str>,
    /// How long it took.
    pub took: Duration,
}

/// All checks of one exporter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What was checked, in order.
    pub checks: Vec<Check>,
    /// Whether an export as it is configured arrives; `None` when that could not be tried.
    pub works: Option<bool>,
    /// What would work, or what stands in the way; a sentence each, the most telling first.
    pub conclusion: Vec<Arc<str>>,
}
