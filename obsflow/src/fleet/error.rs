//! Why a cluster cannot be asked.

use std::path::PathBuf;

use crate::sinks::doctor::near;

/// A cluster cannot be asked. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// There is no kubeconfig.
    #[error(
        "there is no kubeconfig to ask a cluster with: name one with --kubeconfig or in $KUBECONFIG, or make ~/.kube/config \
         ({0})"
    )]
    NoKubeconfig(String),
    /// A kubeconfig that is of no use.
    #[error("the kubeconfig{}: {what}", of(.path))]
    Kubeconfig {
        /// The file, if one was named.
        path: Option<PathBuf>,
        /// What is wrong.
        what: String,
    },
    /// Not a context of it.
    #[error("the kubeconfig{} has no context {name:?}{}", of(.path), near_or_all(.name, .known))]
    Context {
        /// The file, if one was named.
        path: Option<PathBuf>,
        /// As asked for.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// Nobody answers.
    #[error("cannot reach the API server {server} of {context}: {why}")]
    Unreachable {
        /// Its address.
        server: String,
        /// The kubeconfig's context.
        context: String,
        /// Why.
        why: String,
    },
    /// It does not know who asks.
    #[error(
        "the API server {server} of {context} does not accept these credentials (401): log in again, as for kubectl"
    )]
    Credentials {
        /// Its address.
        server: String,
        /// The kubeconfig's context.
        context: String,
    },
    /// It says no.
    #[error("the API server says to {asking}: {message}")]
    Refused {
        /// What was asked.
        asking: String,
        /// Its words.
        message: String,
        /// HTTP status.
        code: u16,
    },
    /// No such object.
    #[error("there is no {kind} {name:?} in the namespace {namespace}{}", near_or_all(.name, .known))]
    Absent {
        /// Its kind.
        kind: &'static str,
        /// As asked for.
        name: String,
        /// Where.
        namespace: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// Nobody to ask.
    #[error(
        "no agent of obsflow runs in the namespace {namespace} (pods with {selector}): install it with \
         kubectl apply -f deploy/install.yaml, or say where it is with --agent-namespace and --agent-selector"
    )]
    NoAgents {
        /// Where they were looked for.
        namespace: String,
        /// By which labels.
        selector: String,
    },
    /// It was told to end.
    #[error("interrupted before the agents had answered")]
    Interrupted,
}

fn of(path: &Option<PathBuf>) -> String {
    path.as_ref()
        .map(|path| format!(" {}", path.display()))
        .unwrap_or_default()
}

/// Names that it may have been meant to be, else a few that there are.
fn near_or_all(name: &str, known: &[String]) -> String {
    let near = near(name, known.iter().map(String::as_str));
    match (near.as_slice(), known) {
        ([], []) => "; there is none".to_owned(),
        ([], known) => format!("; there are {}", super::merge::some(known)),
        (near, _) => format!("; did you mean {}?", near.join(" or ")),
    }
}
