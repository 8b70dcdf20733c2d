//! What can be wrong with filters.

use super::flag::Flag;

/// A filter that cannot be. Each message says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Two flags that exclude each other.
    #[error("filters --{} and --{} cannot be combined{}", .0.name(), .1.name(), conflict_hint(*.0, *.1))]
    Conflict(Flag, Flag),
    /// `--not --not`.
    #[error("--not is given twice in a row; give it once before each filter to negate")]
    RepeatedNot,
    /// `--not` at the end.
    #[error("--not is the last filter; it negates the filter that follows it")]
    TrailingNot,
    /// Not a port.
    #[error("--{}: {value:?} is not a port; give a number from 0 to 65535 (port names are not looked up)", .flag.name())]
    Port {
        /// The flag.
        flag: Flag,
        /// Its value.
        value: String,
    },
    /// Not an address.
    #[error("--{}: {value:?} is neither an IP address nor a network such as 192.0.2.0/24", .flag.name())]
    Ip {
        /// The flag.
        flag: Flag,
        /// Its value.
        value: String,
    },
    /// Not a DNS name pattern.
    #[error("--{}: {value:?} is not a DNS name; letters, digits, - _ . and * are allowed", .flag.name())]
    Fqdn {
        /// The flag.
        flag: Flag,
        /// Its value.
        value: String,
    },
    /// Not a status of HTTP.
    #[error("--{}: {value:?} is not an HTTP status; give three digits such as 404, or 5+ for all that begin so", .flag.name())]
    HttpStatus {
        /// The flag.
        flag: Flag,
        /// Its value.
        value: String,
    },
    /// Nothing where a name is needed.
    #[error("--{}: a name is needed", .flag.name())]
    Empty {
        /// The flag.
        flag: Flag,
    },
    /// Not a regular expression.
    #[error("--{}: {value:?} is not a regular expression: {reason}", .flag.name())]
    Regex {
        /// The flag.
        flag: Flag,
        /// Its value.
        value: String,
        /// Why, in one line.
        reason: String,
    },
    /// A name that is none of those allowed.
    #[error("--{}: unknown {what} {value:?}; {allowed}", .flag.name())]
    Unknown {
        /// The flag.
        flag: Flag,
        /// What its value should have been.
        what: &'static str,
        /// Its value.
        value: String,
        /// What there is.
        allowed: String,
    },
    /// A pod in another namespace than the one asked for beside it.
    #[error("namespace {namespace:?} does not contain pod {pod:?}; name the namespace once")]
    Namespace {
        /// The namespace.
        namespace: String,
        /// The pod.
        pod: String,
    },
}

/// What to write instead.
fn conflict_hint(a: Flag, b: Flag) -> &'static str {
    use Flag::{FromNamespace, FromPod, FromService, Namespace, Service, ToNamespace, ToPod, ToService};
    let is_service = |flag| matches!(flag, FromService | ToService | Service);
    let is_pod = |flag| matches!(flag, FromPod | ToPod);
    let is_namespace = |flag| matches!(flag, FromNamespace | ToNamespace | Namespace);
    if (is_pod(a) && is_namespace(b)) || (is_pod(b) && is_namespace(a)) {
        "; write the pod as NAMESPACE/NAME"
    } else if (is_service(a) && is_namespace(b)) || (is_service(b) && is_namespace(a)) {
        "; write the Service as NAMESPACE/NAME"
    } else {
        ""
    }
}
