//! Variables of the OpenTelemetry specification to exporters.
//!
//! Sources: "Environment Variable Specification" and "OpenTelemetry Protocol Exporter" of the specification 1.55;
//! where SDKs differ from it, what they do is said beside.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::Language;
use super::endpoint::{self, Form};
use super::profile::Settings;
use super::proxy;
use crate::model::exchange::{Dialect, Signal};
use crate::model::expectation::{Expectation, Misconfiguration, SenderProof, Setting, Source, Transport};

/// OTEL_BSP_SCHEDULE_DELAY.
pub(super) const SPANS: Duration = Duration::from_secs(5);
/// OTEL_BLRP_SCHEDULE_DELAY.
pub(super) const LOGS: Duration = Duration::from_secs(1);
/// OTEL_METRIC_EXPORT_INTERVAL.
pub(super) const METRICS: Duration = Duration::from_secs(60);
/// OTEL_EXPORTER_ZIPKIN_ENDPOINT.
pub(super) const ZIPKIN: &str = "http://localhost:9411/api/v2/spans";
/// OTEL_EXPORTER_OTLP_TIMEOUT.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// Seconds from which on a Python time-out was meant in milliseconds: nobody waits a quarter of an hour for an export.
const SURELY_MILLISECONDS: f64 = 1000.0;

/// Nothing is waited for longer; keeps sums of such times within bounds.
pub(super) const LONGEST: Duration = Duration::from_secs(86_400);

/// The endpoint of all signals.
const GENERAL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Names looked at in a list of exporters.
const MAX_SELECTED: usize = 8;

/// Signals that the specification has variables for.
const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

/// The part of a variable's name that stands for a signal.
fn part(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "TRACES",
        Signal::Metrics => "METRICS",
        Signal::Logs => "LOGS",
        Signal::Profiles => "PROFILES",
    }
}

/// Every exporter that the settings tell of.
pub(super) fn expectations(settings: &Settings<'_>, proofs: &[SenderProof]) -> Vec<Expectation> {
    let reader = Reader { settings, proofs };
    if let Some(off) = reader.disabled() {
        return vec![off];
    }
    let mut found = Vec::new();
    let mut is_one_on = false;
    let mut all_off = true;
    for signal in SIGNALS {
        let of_signal = reader.signal(signal);
        is_one_on |= of_signal.iter().any(|it| !matches!(it.setting, Setting::Off(_)));
        all_off &= !of_signal.is_empty();
        found.extend(of_signal);
    }
    // No variable says which signals there are: one exporter for whatever comes.
    if !is_one_on && !all_off {
        found.extend(reader.any_signal());
    }
    found
}

struct Reader<'a, 'b> {
    settings: &'b Settings<'a>,
    proofs: &'b [SenderProof],
}

impl Reader<'_, '_> {
    /// A variable that switches everything off. Go's SDK does not read it.
    fn disabled(&self) -> Option<Expectation> {
        if self.settings.language == Language::Go {
            return None;
        }
        let is_agent_off = || {
            self.proofs.contains(&SenderProof::JavaAgent)
                && self.settings.boolean("OTEL_JAVAAGENT_ENABLED") == Some(false)
        };
        let variable = if self.settings.boolean("OTEL_SDK_DISABLED") == Some(true) {
            "OTEL_SDK_DISABLED"
        } else if is_agent_off() {
            "OTEL_JAVAAGENT_ENABLED"
        } else {
            return None;
        };
        let (value, source) = self.settings.get(variable)?;
        Some(self.off(None, variable, &value, source))
    }

    fn off(&self, signal: Option<Signal>, variable: &str, value: &str, source: Source) -> Expectation {
        let written = self
            .endpoint(signal)
            .map(|(text, ..)| endpoint::written(&text))
            .unwrap_or_default();
        let why = format!("{variable}={}", endpoint::shown(value.trim(), 64));
        Expectation {
            signal,
            endpoint: None,
            written,
            setting: Setting::Off(Arc::from(why)),
            source,
            interval: self.interval(signal),
            timeout: Some(self.timeout(signal).0),
            proxy: None,
        }
    }

    /// What is said about one signal by itself.
    fn signal(&self, signal: Signal) -> Vec<Expectation> {
        let selection = format!("OTEL_{}_EXPORTER", part(signal));
        let selected = self
            .settings
            .get(&selection)
            .filter(|_| self.settings.go.is_none_or(|go| go.reads_selection));
        let Some((list, source)) = selected else {
            let own = self
                .settings
                .get(&format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", part(signal)))
                .is_some();
            let linked = self.settings.go.is_some_and(|go| {
                go.exporters
                    .iter()
                    .any(|exporter| exporter.signal == Some(signal))
            });
            return if own || linked {
                vec![self.otlp(Some(signal), None)]
            } else {
                Vec::new()
            };
        };
        let mut found = Vec::new();
        let mut seen = Vec::new();
        for name in list.split(',').map(str::trim) {
            if seen.contains(&name) || seen.len() >= MAX_SELECTED {
                continue;
            }
            seen.push(name);
            let named = match name {
                "otlp" => None,
                // Python's names of the two.
                "otlp_proto_grpc" => Some(Transport::Grpc),
                "otlp_proto_http" => Some(Transport::HttpProtobuf),
                "zipkin" | "zipkin_json" | "zipkin_proto" if signal == Signal::Traces => {
                    found.push(self.other(Dialect::Zipkin, &source));
                    continue;
                }
                "jaeger" | "jaeger-thrift" | "jaeger_thrift" | "jaeger_proto" if signal == Signal::Traces => {
                    found.push(self.other(Dialect::Jaeger, &source));
                    continue;
                }
                _ => continue,
            };
            found.push(self.selected(signal, named, &source));
        }
        if found.is_empty() {
            found.push(self.off(Some(signal), &selection, &list, source));
        }
        found
    }

    fn selected(&self, signal: Signal, transport: Option<Transport>, selected_by: &Source) -> Expectation {
        let mut expectation = self.otlp(Some(signal), transport);
        if matches!(expectation.source, Source::Default(_)) {
            expectation.source = selected_by.clone();
        }
        expectation
    }

    /// One exporter for whatever comes, if anything says that there is one.
    fn any_signal(&self) -> Option<Expectation> {
        let is_default = self.settings.java.agent.is_some()
            || self
                .proofs
                .iter()
                .any(|proof| matches!(proof, SenderProof::Injected(_)));
        let exporters = self
            .settings
            .go
            .map(|go| go.exporters.as_slice())
            .unwrap_or_default();
        // Each of these speaks for itself.
        if exporters.iter().any(|exporter| exporter.signal.is_some()) {
            return None;
        }
        let is_there = is_default || !exporters.is_empty() || self.endpoint(None).is_some();
        is_there.then(|| self.otlp(None, None))
    }

    /// The endpoint as written, whether it is for all signals, and where it stands.
    fn endpoint(&self, signal: Option<Signal>) -> Option<(Cow<'_, str>, bool, Source)> {
        let own = signal.and_then(|signal| {
            self.settings
                .get(&format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", part(signal)))
        });
        if let Some((text, source)) = own {
            return Some((text, false, source));
        }
        let (text, source) = self.settings.get(GENERAL)?;
        Some((text, true, source))
    }

    fn otlp(&self, signal: Option<Signal>, named: Option<Transport>) -> Expectation {
        let form = Form {
            transport: named.or_else(|| self.transport(signal)),
            signal,
            is_base: true,
            insecure: self
                .of_signal(signal, "INSECURE")
                .map(|value| value.eq_ignore_ascii_case("true")),
            language: self.settings.language,
        };
        let (endpoint, broken, written, source) = match self.endpoint(signal) {
            Some((text, is_base, source)) => {
                let reading = endpoint::read(&text, &Form { is_base, ..form });
                (reading.endpoint, reading.broken, endpoint::written(&text), source)
            }
            None if self.is_taken_empty(&form) => (
                None,
                Some(Misconfiguration::Unreadable(Arc::from(
                    "it is empty, and this exporter takes that for an address instead of the default",
                ))),
                Arc::from("\"\""),
                Source::Environment(Arc::from(GENERAL)),
            ),
            None => {
                let endpoint = endpoint::default(&form);
                let written = Arc::from(format!("http://{}:{}", endpoint.host, endpoint.port));
                (Some(endpoint), None, written, Source::Default(self.why(signal)))
            }
        };
        let (timeout, wrong_unit) = self.timeout(signal);
        let proxy = endpoint
            .as_ref()
            .and_then(|endpoint| proxy::find(&self.settings.environment, endpoint, self.settings.language));
        Expectation {
            signal,
            endpoint,
            written,
            setting: broken.or(wrong_unit).map_or(Setting::On, Setting::Broken),
            source,
            interval: self.interval(signal),
            timeout: Some(timeout),
            proxy,
        }
    }

    /// The specification has an empty variable be as good as none. Python's exporter over gRPC does not know that, and
    /// has a channel to nowhere (measured: "Failed to create channel to ''").
    fn is_taken_empty(&self, form: &Form) -> bool {
        form.language == Language::Python
            && form.transport == Some(Transport::Grpc)
            && self.settings.environment.is_empty(GENERAL)
    }

    /// Zipkin and Jaeger, selected by name. Their defaults: `OTEL_EXPORTER_ZIPKIN_ENDPOINT` and
    /// `OTEL_EXPORTER_JAEGER_ENDPOINT` of the specification (the latter was taken out in 2023).
    fn other(&self, dialect: Dialect, selected_by: &Source) -> Expectation {
        let (variable, default) = match dialect {
            Dialect::Zipkin => ("OTEL_EXPORTER_ZIPKIN_ENDPOINT", ZIPKIN),
            _ => ("OTEL_EXPORTER_JAEGER_ENDPOINT", "http://localhost:14250"),
        };
        let (text, source) = self
            .settings
            .get(variable)
            .unwrap_or((Cow::Borrowed(default), selected_by.clone()));
        let form = Form {
            transport: Some(Transport::Other(dialect)),
            signal: Some(Signal::Traces),
            is_base: false,
            insecure: None,
            language: self.settings.language,
        };
        let reading = endpoint::read(&text, &form);
        let proxy = reading
            .endpoint
            .as_ref()
            .and_then(|endpoint| proxy::find(&self.settings.environment, endpoint, self.settings.language));
        Expectation {
            signal: Some(Signal::Traces),
            endpoint: reading.endpoint,
            written: endpoint::written(&text),
            setting: reading.broken.map_or(Setting::On, Setting::Broken),
            source,
            interval: self.interval(Some(Signal::Traces)),
            timeout: Some(TIMEOUT),
            proxy,
        }
    }

    /// `OTEL_EXPORTER_OTLP_<SIGNAL>_<name>`, else `OTEL_EXPORTER_OTLP_<name>`.
    fn of_signal(&self, signal: Option<Signal>, name: &str) -> Option<String> {
        signal
            .and_then(|signal| {
                self.settings
                    .value(&format!("OTEL_EXPORTER_OTLP_{}_{name}", part(signal)))
            })
            .or_else(|| self.settings.value(&format!("OTEL_EXPORTER_OTLP_{name}")))
    }

    /// How it travels, if anything tells.
    fn transport(&self, signal: Option<Signal>) -> Option<Transport> {
        // A Go program has the exporters that it was built with.
        if let Some(go) = self.settings.go {
            let mut linked = go
                .exporters
                .iter()
                .filter(|exporter| signal.is_none() || exporter.signal == signal)
                .filter_map(|exporter| exporter.transport);
            if let Some(first) = linked.next()
                && linked.all(|other| other == first)
            {
                return Some(first);
            }
        }
        match self.of_signal(signal, "PROTOCOL").as_deref() {
            Some("grpc") => return Some(Transport::Grpc),
            Some("http/protobuf") => return Some(Transport::HttpProtobuf),
            Some("http/json") => return Some(Transport::HttpJson),
            // The specification has SDKs ignore what they do not know.
            _ => {}
        }
        self.default_transport()
    }

    /// What an instrumentation that is known to be there does without being told. An SDK that the application sets up
    /// itself may have either.
    fn default_transport(&self) -> Option<Transport> {
        let injected = self
            .proofs
            .iter()
            .any(|proof| matches!(proof, SenderProof::Injected(_)));
        match self.settings.language {
            // Version 1 of the agent had gRPC.
            Language::Java => match major_version(self.settings.java.agent.as_deref()?) {
                Some(1) => Some(Transport::Grpc),
                Some(_) => Some(Transport::HttpProtobuf),
                None => None,
            },
            // The distribution that `opentelemetry-instrument` loads sets it.
            Language::Python if injected => Some(Transport::Grpc),
            Language::Node | Language::DotNet if injected => Some(Transport::HttpProtobuf),
            _ => None,
        }
    }

    /// Between two exports. One exporter for whatever comes may be one of metrics, the slowest.
    fn interval(&self, signal: Option<Signal>) -> Duration {
        let (variable, default) = match signal {
            Some(Signal::Traces) => ("OTEL_BSP_SCHEDULE_DELAY", SPANS),
            Some(Signal::Logs) => ("OTEL_BLRP_SCHEDULE_DELAY", LOGS),
            Some(Signal::Metrics | Signal::Profiles) | None => ("OTEL_METRIC_EXPORT_INTERVAL", METRICS),
        };
        self.settings
            .value(variable)
            .and_then(|value| self.duration(&value))
            .filter(|interval| !interval.is_zero())
            .unwrap_or(default)
            .min(LONGEST)
    }

    /// After how long an export is given up, and whether that is surely another time than was meant: the specification
    /// says milliseconds, Python's exporters read seconds.
    fn timeout(&self, signal: Option<Signal>) -> (Duration, Option<Misconfiguration>) {
        let Some(value) = self.of_signal(signal, "TIMEOUT") else {
            return (TIMEOUT, None);
        };
        if self.settings.language != Language::Python {
            let timeout = self.duration(&value).unwrap_or(TIMEOUT);
            // Zero is "no limit".
            let timeout = if timeout.is_zero() { LONGEST } else { timeout };
            return (timeout.min(LONGEST), None);
        }
        let Some((seconds, means)) = value
            .parse::<f64>()
            .ok()
            .and_then(|seconds| Some((seconds, Duration::try_from_secs_f64(seconds).ok()?)))
        else {
            return (TIMEOUT, None);
        };
        let wrong = (seconds >= SURELY_MILLISECONDS).then(|| Misconfiguration::TimeoutUnit {
            value: endpoint::shown(&value, 32),
            means,
        });
        (means.min(LONGEST), wrong)
    }

    /// Milliseconds; Java's agent takes units, too.
    fn duration(&self, value: &str) -> Option<Duration> {
        let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = value.strip_prefix(digits)?;
        let number: u64 = digits.trim().parse().ok()?;
        if self.settings.language != Language::Java && !unit.is_empty() {
            return None;
        }
        let millis = match unit {
            "" | "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        Some(Duration::from_millis(number.checked_mul(millis)?))
    }

    /// Why there is an exporter although nothing configures one.
    fn why(&self, signal: Option<Signal>) -> Arc<str> {
        let linked = self.settings.go.and_then(|go| {
            go.exporters
                .iter()
                .find(|exporter| signal.is_none() || exporter.signal == signal)
        });
        if let Some(exporter) = linked {
            return Arc::clone(&exporter.module);
        }
        match self.proofs.first() {
            Some(proof) => Arc::from(proof.to_string()),
            None => Arc::from("an exporter is selected"),
        }
    }
}

/// `opentelemetry-javaagent-1.32.0.jar` to 1.
fn major_version(name: &str) -> Option<u32> {
    let stem = name.strip_suffix(".jar").unwrap_or(name);
    let version = stem
        .rsplit('-')
        .find(|part| part.starts_with(|c: char| c.is_ascii_digit()))?;
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
#[path = "sdk_tests.rs"]
mod tests;
