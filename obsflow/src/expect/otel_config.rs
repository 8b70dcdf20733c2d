//! OpenTelemetry's own configuration file, as far as it tells where telemetry goes.
//!
//! Source: opentelemetry-configuration's schema 1.0, and the file formats 0.1 to 0.4 before it, whose exporter `otlp` had
//! its protocol beside; "Declarative configuration: environment variable substitution" of the specification.

mod schema;

use std::sync::Arc;
use std::time::Duration;

use schema::{Attributed, Attributes, Exporter, File, Otlp, Resource, Scalar};

use super::endpoint::{self, Form};
use super::profile::Settings;
use super::{proxy, sdk};
use crate::model::exchange::{Dialect, Signal};
use crate::model::expectation::{Expectation, Setting, Source, Transport};

/// Bytes read of such a file.
pub(super) const MAX_FILE: usize = 256 << 10;
/// Exporters taken of one file.
const MAX_EXPORTERS: usize = 32;

/// What a file tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) expectations: Vec<Expectation>,
    pub(super) service: Option<Arc<str>>,
}

/// Reads the text of a file that stands at `path` in the container.
pub(super) fn read(text: &[u8], path: &str, settings: &Settings<'_>) -> Result<Found, Arc<str>> {
    if text.len() >= MAX_FILE {
        return Err(Arc::from("the file is longer than 256 KiB"));
    }
    let file: File = serde_saphyr::from_slice_with_options(text, limits()).map_err(|error| {
        // Not the error's own text, which shows lines of the file.
        Arc::from(match error.location() {
            Some(location) => format!("line {} is not what the schema says", location.line()),
            None => "the file is not what the schema says".to_owned(),
        })
    })?;
    let source = Source::OtelConfig(endpoint::shown(path, 128));
    Ok(Reader { settings, source }.file(&file))
}

/// A file is a few hundred lines; one that is meant to exhaust memory stops here.
fn limits() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 50_000,
            max_nodes: 20_000,
            max_depth: 64,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_documents: 2,
            max_total_scalar_bytes: 1 << 20,
            max_recorded_anchor_bytes: 1 << 20,
        },
    }
}

struct Reader<'a, 'b> {
    settings: &'b Settings<'a>,
    source: Source,
}

impl Reader<'_, '_> {
    fn file(&self, file: &File) -> Found {
        let service = file.resource.as_ref().and_then(|resource| self.service(resource));
        let disabled = file.disabled.as_ref().and_then(|value| self.setting(value));
        if disabled.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Found {
                expectations: vec![self.off()],
                service,
            };
        }
        let mut expectations = Vec::new();
        for (signal, provider, delay) in [
            (Signal::Traces, &file.tracer_provider, sdk::SPANS),
            (Signal::Logs, &file.logger_provider, sdk::LOGS),
        ] {
            let processors = provider.iter().flat_map(|it| it.processors.iter().flatten());
            for batch in processors.flat_map(|it| it.batch.iter().chain(&it.simple)) {
                let delay = self.millis(batch.schedule_delay.as_ref(), delay);
                self.exporter(signal, batch.exporter.as_ref(), delay, &mut expectations);
            }
        }
        let readers = file
            .meter_provider
            .iter()
            .flat_map(|it| it.readers.iter().flatten());
        for periodic in readers.flat_map(|it| &it.periodic) {
            let interval = self.millis(periodic.interval.as_ref(), sdk::METRICS);
            self.exporter(
                Signal::Metrics,
                periodic.exporter.as_ref(),
                interval,
                &mut expectations,
            );
        }
        expectations.truncate(MAX_EXPORTERS);
        Found {
            expectations,
            service,
        }
    }

    fn service(&self, resource: &Resource) -> Option<Arc<str>> {
        let Some(Attributes::List(attributes)) = &resource.attributes else {
            return None;
        };
        attributes.iter().find_map(|attribute| {
            let name = attribute.name.as_ref().and_then(|name| self.setting(name))?;
            let Some(Attributed::Scalar(value)) = &attribute.value else {
                return None;
            };
            (name == "service.name").then(|| endpoint::shown(&self.setting(value)?, 128).into())
        })?
    }

    fn off(&self) -> Expectation {
        Expectation {
            signal: None,
            endpoint: None,
            written: Arc::default(),
            setting: Setting::Off(Arc::from("disabled: true")),
            source: self.source.clone(),
            interval: sdk::METRICS,
            timeout: Some(sdk::TIMEOUT),
            proxy: None,
        }
    }

    fn exporter(
        &self,
        signal: Signal,
        exporter: Option<&Exporter>,
        interval: Duration,
        out: &mut Vec<Expectation>,
    ) {
        let Some(exporter) = exporter else { return };
        if let Some(otlp) = &exporter.otlp_http {
            let json = self
                .text(otlp.encoding.as_ref())
                .is_some_and(|encoding| encoding == "json");
            let transport = if json {
                Transport::HttpJson
            } else {
                Transport::HttpProtobuf
            };
            out.push(self.expectation(signal, otlp, transport, interval, true));
        }
        if let Some(otlp) = &exporter.otlp_grpc {
            out.push(self.expectation(signal, otlp, Transport::Grpc, interval, true));
        }
        if let Some(otlp) = &exporter.otlp {
            let transport = match self.text(otlp.protocol.as_ref()).as_deref() {
                Some("grpc") => Transport::Grpc,
                Some("http/json") => Transport::HttpJson,
                _ => Transport::HttpProtobuf,
            };
            out.push(self.expectation(signal, otlp, transport, interval, false));
        }
        if let Some(zipkin) = &exporter.zipkin {
            let transport = Transport::Other(Dialect::Zipkin);
            out.push(self.expectation(signal, zipkin, transport, interval, true));
        }
    }

    fn expectation(
        &self,
        signal: Signal,
        otlp: &Otlp,
        transport: Transport,
        interval: Duration,
        is_whole: bool,
    ) -> Expectation {
        let insecure = otlp.tls.as_ref().and_then(|tls| tls.insecure.as_ref());
        let insecure = self.text(insecure.or(otlp.insecure.as_ref()));
        let text = otlp
            .endpoint
            .as_ref()
            .and_then(|endpoint| self.endpoint(endpoint));
        let form = Form {
            transport: Some(transport),
            signal: Some(signal),
            // The first formats had the base of all signals, later ones with the same name the whole URL.
            is_base: !is_whole && text.as_deref().is_some_and(has_no_path),
            insecure: insecure.map(|value| value.eq_ignore_ascii_case("true")),
            language: self.settings.language,
        };
        let (endpoint, broken, written) = match &text {
            Some(text) => {
                let reading = endpoint::read(text, &form);
                (reading.endpoint, reading.broken, endpoint::written(text))
            }
            None if transport == Transport::Other(Dialect::Zipkin) => {
                let text = sdk::ZIPKIN;
                (endpoint::read(text, &form).endpoint, None, Arc::from(text))
            }
            None => {
                let endpoint = endpoint::default(&form);
                let written = Arc::from(endpoint.to_string());
                (Some(endpoint), None, written)
            }
        };
        let proxy = endpoint
            .as_ref()
            .and_then(|endpoint| proxy::find(&self.settings.environment, endpoint, self.settings.language));
        Expectation {
            signal: Some(signal),
            endpoint,
            written,
            setting: broken.map_or(Setting::On, Setting::Broken),
            source: self.source.clone(),
            interval,
            timeout: Some(self.millis(otlp.timeout.as_ref(), sdk::TIMEOUT)),
            proxy,
        }
    }

    fn millis(&self, value: Option<&Scalar>, default: Duration) -> Duration {
        value
            .and_then(|value| self.setting(value)?.trim().parse().ok())
            .filter(|millis| *millis != 0)
            .map_or(default, Duration::from_millis)
            .min(sdk::LONGEST)
    }

    fn text(&self, value: Option<&Scalar>) -> Option<String> {
        self.setting(value?)
    }

    /// A value in which only variables stand that are looked at anyway.
    fn setting(&self, value: &Scalar) -> Option<String> {
        self.substituted(value, &|name| {
            Some(self.settings.environment.get(name)?.into_owned())
        })
    }

    /// An endpoint may name any variable: `http://${NODE_IP}:4318`.
    fn endpoint(&self, value: &Scalar) -> Option<String> {
        self.substituted(value, &|name| {
            Some(self.settings.environment.named(name)?.into_owned())
        })
    }

    fn substituted(&self, value: &Scalar, variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
        let text = match value {
            Scalar::Bool(value) => value.to_string(),
            Scalar::Integer(value) => value.to_string(),
            Scalar::Float(value) => value.to_string(),
            Scalar::Text(text) => substitute(text, variable),
        };
        (!text.trim().is_empty()).then_some(text)
    }
}

fn has_no_path(text: &str) -> bool {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    rest.trim_end_matches('/').find('/').is_none()
}

/// `${NAME}`, `${env:NAME}` and `${NAME:-default}`; `$$` is a dollar sign. Anything else stays as it is.
fn substitute(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let reference = after
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'))
            .and_then(|(inner, after)| Some((value_of(inner, variable)?, after)));
        match reference {
            Some((value, after)) => {
                out.push_str(&value);
                rest = after;
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// `None` when it is no reference to a variable.
fn value_of(reference: &str, variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let reference = reference.strip_prefix("env:").unwrap_or(reference);
    let (name, default) = reference.split_once(":-").unwrap_or((reference, ""));
    let mut chars = name.chars();
    let good = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
    good.then(|| variable(name).unwrap_or_else(|| default.to_owned()))
}

#[cfg(test)]
#[path = "otel_config_tests.rs"]
mod tests;
