//! Injection of an SDK by the OpenTelemetry Operator: what asks for it, and what it means that nothing was injected.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::cluster::{Inject, Owner};

/// What annotations that ask for injection begin with; the language follows.
pub const ANNOTATION: &str = "instrumentation.opentelemetry.io/inject-";

/// Languages that the operator knows (`internal/instrumentation/annotation.go` of open-telemetry/opentelemetry-operator).
/// Other annotations begin in the same way: `inject-nginx-container-names`.
pub const LANGUAGES: [&str; 8] = [
    "apache-httpd",
    "dotnet",
    "go",
    "java",
    "nginx",
    "nodejs",
    "python",
    "sdk",
];

/// What is annotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Annotation {
    /// The pod itself, which it has from the template of its owner.
    Pod,
    /// Its namespace.
    Namespace,
    /// Its owner as an object, where the operator does not look.
    Owner,
}

/// Why nothing was injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The annotation is on the owner instead of its template.
    OnOwner,
    /// The operator acts when a pod is made, and this one was made before it was asked.
    PodOlder,
    /// The operator was asked in time.
    Lost,
}

impl Why {
    /// Its name in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OnOwner => "annotation-on-owner",
            Self::PodOlder => "pod-older",
            Self::Lost => "lost",
        }
    }
}

/// A pod that should have been injected and was not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NotInjected {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name of the pod.
    pub pod: Arc<str>,
    /// What runs it.
    pub owner: Option<Owner>,
    /// What is annotated.
    pub on: Annotation,
    /// What is asked for there; never empty.
    pub asked: Vec<Inject>,
    /// Why nothing came of it; `None` when times that would tell are not known.
    pub why: Option<Why>,
    /// When the pod was made.
    pub created: Option<Timestamp>,
    /// When it was asked for, or since when there is somebody to ask: whichever is later.
    pub since: Option<Timestamp>,
}

impl NotInjected {
    /// What is annotated: `Deployment cxtm-webcron`, `namespace cxtm`, `pod cxtm-webcron-79f4d98767-gzw6q`.
    #[must_use]
    pub fn annotated(&self) -> String {
        match (self.on, &self.owner) {
            (Annotation::Owner, Some(owner)) => format!("{} {}", owner.kind, owner.name),
            (Annotation::Namespace, _) => format!("namespace {}", self.namespace),
            (Annotation::Pod | Annotation::Owner, _) => format!("pod {}", self.pod),
        }
    }
}

/// `inject-python=cxtm-python-instrumentation`, in full.
impl fmt::Display for Inject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ANNOTATION}{}={}", self.language, self.value)
    }
}
