//! What can be wrong with filters.

use std::fmt;

use super::flag::Flag;

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    Flag(Flag),
    /// In this field of a `FlowFilter`.
    Field(&'static str),
}

impl From<Flag> for Origin {
    fn from(flag: Flag) -> Self {
        Self::Flag(flag)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "--{}", flag.name()),
            Self::Field(field) => f.write_str(field),
        }
    }
}

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
    #[error("{at}: {value:?} is not a port; give a number from 0 to 65535 (port names are not looked up)")]
    Port {
        /// Where it stands.
        at: Origin,
        /// Its value.
        value: String,
    },
    /// Not an address.
    #[error("{at}: {value:?} is neither an IP address nor a network such as 192.0.2.0/24")]
    Ip {
        /// Where it stands.
        at: Origin,
        /// Its value.
        value: String,
    },
    /// Not a DNS name pattern.
    #[error("{at}: {value:?} is not a DNS name; letters, digits, - _ . and * are allowed")]
    Fqdn {
        /// Where it stands.
        at: Origin,
        /// Its value.
        value: String,
    },
    /// Not a status of HTTP.
    #[error(
        "{at}: {value:?} is not an HTTP status; give three digits such as 404, or 5+ for all that begin so"
    )]
    HttpStatus {
        /// Where it stands.
        at: Origin,
        /// Its value.
        value: String,
    },
    /// Nothing where a name is needed.
    #[error("{at}: a name is needed")]
    Empty {
        /// Where it stands.
        at: Origin,
    },
    /// Not a regular expression.
    #[error("{at}: {value:?} is not a regular expression: {reason}")]
    Regex {
        /// Where it stands.
        at: Origin,
        /// Its value.
        value: String,
        /// Why, in one line.
        reason: String,
    },
    /// A name that is none of those allowed.
    #[error("{at}: unknown {what} {value:?}; {allowed}")]
    Unknown {
        /// Where it stands.
        at: Origin,
        /// What its value should have been.
        what: &'static str,
        /// Its value.
        value: String,
        /// What there is.
        allowed: String,
    },
    /// A number that is none of an enum's, or does not fit.
    #[error("{at}: {value} is not among the values of {of}")]
    Number {
        /// Where it stands.
        at: Origin,
        /// The number.
        value: i64,
        /// What it should have been.
        of: &'static str,
    },
    /// Not a selector of labels.
    #[error(
        "{at}: {value:?} is no label selector: {reason}; write key=value, key!=value, key in (a,b), key notin (a,b), key or !key, joined by commas"
    )]
    Selector {
        /// Where it stands.
        at: Origin,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Not the name of a node.
    #[error(
        "{at}: {value:?} is no name of a node; write NODE, CLUSTER/NODE or CLUSTER/, with * for any characters"
    )]
    Node {
        /// Where it stands.
        at: Origin,
        /// Its value.
        value: String,
    },
    /// Types of events that exclude what is looked for.
    #[error("{0} looks at messages of HTTP: event_type, if it is given, must have type 129 (l7)")]
    NeedsL7(&'static str),
    /// Expressions in CEL.
    #[error("experimental.cel_expression: obsflow evaluates no CEL; use the other fields of the filter")]
    Cel,
    /// More than anybody needs, and more than is evaluated for every flow.
    #[error(
        "the filters have {count} values, {regular} of them regular expressions: give at most {most} and {most_regular}"
    )]
    TooMany {
        /// Values.
        count: usize,
        /// Of those, regular expressions.
        regular: usize,
        /// How many there may be.
        most: usize,
        /// Of regular expressions.
        most_regular: usize,
    },
    /// Not a header of HTTP.
    #[error("{at}: {value:?} is not an HTTP header; write NAME:VALUE")]
    HttpHeader {
        /// Where it stands.
        at: Origin,
        /// Its value.
        value: String,
    },
    /// Not the id of a trace by IP options.
    #[error("{at}: {value:?} is no id of an IP trace; give a number above 0")]
    IpTraceId {
        /// Where it stands.
        at: Origin,
        /// Its value.
        value: String,
    },
    /// JSON that is no filter.
    #[error("{from}: {reason}; write a FlowFilter as JSON, such as {EXAMPLE}")]
    Raw {
        /// The flag or the variable.
        from: &'static str,
        /// Why.
        reason: String,
    },
    /// JSON that is a filter, but for a value in it.
    #[error("{from}: {error}")]
    Message {
        /// The flag or the variable.
        from: &'static str,
        /// What is wrong.
        error: Box<FilterError>,
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

/// A filter of `--allowlist`.
const EXAMPLE: &str = r#"'{"source_pod":["shop/checkout"]}'"#;

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
