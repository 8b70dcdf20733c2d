//! Exporters of obsflow's own configuration: for what is not configured by OpenTelemetry's variables, such as Alloy,
//! Prometheus' remote write, or k6.
//!
//! ```toml
//! [[exporter]]
//! namespace = "monitoring"
//! pod = "prometheus-*"
//! endpoint = "http://mimir.monitoring:9009/api/v1/push"
//! transport = "remote-write"
//! signal = "metrics"
//! interval = "15s"
//! ```

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::Language;
use super::endpoint::{self, Form};
use crate::cli::time::duration;
use crate::model::exchange::{Dialect, Signal};
use crate::model::expectation::{Endpoint, Expectation, Misconfiguration, Setting, Source, Transport};
use crate::model::workload::Workload;

/// When nothing says how often: as a metric reader does.
const INTERVAL: Duration = Duration::from_secs(60);

/// A workload selector and where what it selects exports to. Every part given must match.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Rule {
    namespace: Option<Pattern>,
    pod: Option<Pattern>,
    container: Option<Pattern>,
    unit: Option<Pattern>,
    expectation: Expectation,
}

/// A rule as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    namespace: Option<Pattern>,
    pod: Option<Pattern>,
    container: Option<Pattern>,
    unit: Option<Pattern>,
    endpoint: String,
    signal: Option<SignalName>,
    transport: Option<TransportName>,
    interval: Option<Time>,
    timeout: Option<Time>,
}

/// Why a rule is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It would select everything.
    #[error("it selects nothing: give at least one of `namespace`, `pod`, `container` and `unit`")]
    NoSelector,
    /// The endpoint cannot be used.
    #[error("endpoint `{0}`: {1}; write it as `http://host:port/path`, or `host:port` for gRPC")]
    Endpoint(Arc<str>, &'static str),
    /// A duration is none.
    #[error("`{0}` is no duration; write it as `15s`, `1m` or `500ms`")]
    Duration(Arc<str>),
    /// A duration out of range.
    #[error("`{0}` is out of range; it must be above zero and at most a day")]
    Range(Arc<str>),
    /// No such signal.
    #[error("there is no signal `{0}`; signals are traces, metrics, logs and profiles")]
    Signal(Arc<str>),
    /// No such transport.
    #[error("there is no transport `{0}`; transports are grpc, http/protobuf, http/json, {names}", names = dialects())]
    Transport(Arc<str>),
}

/// A name in which `*` stands for any characters and `?` for one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "String")]
pub struct Pattern(Box<str>);

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl Pattern {
    /// Whether the whole of `name` matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        // After the last `*`, where to go on in the name if what follows does not fit.
        let (pattern, name): (Vec<char>, Vec<char>) = (self.0.chars().collect(), name.chars().collect());
        let (mut p, mut n) = (0, 0);
        let mut retry = None;
        while let Some(c) = name.get(n) {
            match pattern.get(p) {
                Some('*') => {
                    retry = Some((p + 1, n));
                    p += 1;
                }
                Some(want) if *want == '?' || want == c => {
                    p += 1;
                    n += 1;
                }
                _ => {
                    let Some((after, from)) = retry else {
                        return false;
                    };
                    retry = Some((after, from + 1));
                    (p, n) = (after, from + 1);
                }
            }
        }
        pattern.get(p..).unwrap_or_default().iter().all(|c| *c == '*')
    }
}

impl Rule {
    /// Whether it is about this workload. A name that is not known matches nothing.
    #[must_use]
    pub fn selects(&self, workload: &Workload) -> bool {
        let fits = |pattern: &Option<Pattern>, name: &Option<Arc<str>>| match (pattern, name) {
            (None, _) => true,
            (Some(pattern), Some(name)) => pattern.matches(name),
            (Some(_), None) => false,
        };
        fits(&self.namespace, &workload.namespace)
            && fits(&self.pod, &workload.pod)
            && fits(&self.container, &workload.container)
            && fits(&self.unit, &workload.unit)
    }

    /// What it expects of them.
    #[must_use]
    pub fn expectation(&self) -> &Expectation {
        &self.expectation
    }
}

impl TryFrom<Written> for Rule {
    type Error = RuleError;

    fn try_from(written: Written) -> Result<Self, RuleError> {
        let selects = [
            &written.namespace,
            &written.pod,
            &written.container,
            &written.unit,
        ];
        if selects.iter().all(|pattern| pattern.is_none()) {
            return Err(RuleError::NoSelector);
        }
        let form = Form {
            transport: written.transport.map(|name| name.0),
            signal: written.signal.map(|name| name.0),
            is_base: false,
            insecure: Some(true),
            language: Language::Unknown,
        };
        let reading = endpoint::read(&written.endpoint, &form);
        let shown = endpoint::written(&written.endpoint);
        let why = match &reading.broken {
            None if reading.endpoint.is_none() => Some("what goes over a socket of this machine is not seen"),
            None => None,
            Some(Misconfiguration::NoScheme) => Some("it has no scheme"),
            Some(Misconfiguration::Unexpanded) => Some("variables are not expanded here"),
            Some(Misconfiguration::UnspecifiedAddress) => Some("nobody can connect to that address"),
            Some(Misconfiguration::UnknownScheme(_)) => Some("its scheme is not known"),
            Some(Misconfiguration::DoubledPath) => Some("its path is there twice"),
            Some(_) => Some("it is no URL"),
        };
        let endpoint = match (why, reading.endpoint) {
            // Without a scheme nothing tells whether TLS is meant.
            (None, Some(endpoint)) => Endpoint {
                tls: endpoint.tls.filter(|_| written.endpoint.contains("://")),
                ..endpoint
            },
            (why, _) => return Err(RuleError::Endpoint(shown, why.unwrap_or("it is no URL"))),
        };
        Ok(Self {
            namespace: written.namespace,
            pod: written.pod,
            container: written.container,
            unit: written.unit,
            expectation: Expectation {
                signal: form.signal,
                endpoint: Some(endpoint),
                written: shown,
                setting: Setting::On,
                source: Source::Config,
                interval: written.interval.map_or(INTERVAL, |time| time.0),
                timeout: written.timeout.map(|time| time.0),
                proxy: None,
            },
        })
    }
}

/// Checked field by field, so that an error names the line it is on.
macro_rules! from_text {
    ($name:ident($inner:ty), $parse:expr) => {
        #[derive(Clone, Copy, Deserialize)]
        #[serde(try_from = "String")]
        struct $name($inner);

        impl TryFrom<String> for $name {
            type Error = RuleError;

            fn try_from(text: String) -> Result<Self, RuleError> {
                let parse: fn(&str) -> Result<$inner, RuleError> = $parse;
                parse(&text).map(Self)
            }
        }
    };
}

from_text!(SignalName(Signal), |text| {
    Signal::ALL
        .into_iter()
        .find(|signal| signal.name() == text)
        .ok_or_else(|| RuleError::Signal(endpoint::shown(text, 64)))
});

from_text!(TransportName(Transport), |text| {
    match text {
        "grpc" => Ok(Transport::Grpc),
        "http/protobuf" => Ok(Transport::HttpProtobuf),
        "http/json" => Ok(Transport::HttpJson),
        _ => others()
            .find(|dialect| dialect.name() == text)
            .map(Transport::Other)
            .ok_or_else(|| RuleError::Transport(endpoint::shown(text, 64))),
    }
});

from_text!(Time(Duration), |text| {
    let shown = || endpoint::shown(text, 64);
    let time = duration(text).ok_or_else(|| RuleError::Duration(shown()))?;
    if time.is_zero() || time > super::sdk::LONGEST {
        return Err(RuleError::Range(shown()));
    }
    Ok(time)
});

/// Every dialect but OTLP, which has transports of its own.
fn others() -> impl Iterator<Item = Dialect> {
    Dialect::ALL
        .into_iter()
        .filter(|dialect| *dialect != Dialect::Otlp)
}

fn dialects() -> String {
    others().map(Dialect::name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
