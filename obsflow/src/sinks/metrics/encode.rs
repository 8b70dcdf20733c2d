//! Writes series down: OpenMetrics 1.0 by the Prometheus project's own encoder, and from its lines Prometheus' text format.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode as write_all;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelKey, EncodeLabelSet, EncodeLabelValue, LabelSetEncoder, MetricEncoder,
    NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{self, Registry};

use super::families::{Family, Id, Kind, Unit};
use super::index::Shared;
use super::series::{Series, Value};

/// How a scrape is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0 (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
    OpenMetrics,
    /// Prometheus' text format 0.0.4 (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
    Text,
}

/// What is asked for in `Accept`: quality in thousandths, and which of both.
const OPEN_METRICS: &str = "application/openmetrics-text";

impl Format {
    /// The one that an `Accept` header prefers (RFC 9110, 12.5.1); the text format unless OpenMetrics is asked for.
    #[must_use]
    pub fn accepted(header: &str) -> Self {
        let (mut open, mut text) = (0, 0);
        for range in header.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let mut quality = 1000;
            let mut version = None;
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match &*name.trim().to_ascii_lowercase() {
                    "q" => quality = thousandths(value.trim()),
                    "version" => version = Some(value.trim().trim_matches('"')),
                    _ => {}
                }
            }
            match &*kind {
                OPEN_METRICS if matches!(version, None | Some("1.0.0")) => open = open.max(quality),
                "text/plain" | "text/*" | "*/*" => text = text.max(quality),
                _ => {}
            }
        }
        if open > 0 && open >= text {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// `0.75` as 750; what cannot be read is 0.
fn thousandths(quality: &str) -> u32 {
    let quality: f32 = quality.parse().unwrap_or(0.0);
    if (0.0..=1.0).contains(&quality) {
        (quality * 1000.0) as u32
    } else {
        0
    }
}

pub(super) fn encode(shared: &Arc<Shared>, pod_label: bool, format: Format) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(All {
        shared: Arc::clone(shared),
        pod_label,
    }));
    // Writing into a string does not fail.
    match format {
        Format::OpenMetrics => {
            let mut text = String::new();
            write_all(&mut text, &registry).map(|()| text)
        }
        Format::Text => {
            let mut classic = Classic::default();
            write_all(&mut classic, &registry).map(|()| classic.text)
        }
    }
    .unwrap_or_default()
}

/// Every series there is.
#[derive(Debug)]
struct All {
    shared: Arc<Shared>,
    pod_label: bool,
}

impl Collector for All {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let index = self.shared.read();
        for id in Id::ALL {
            let mut series = index.of(*id).peekable();
            if series.peek().is_none() {
                continue;
            }
            let family = id.family();
            let unit = family.unit.map(|unit| match unit {
                Unit::Bytes => registry::Unit::Bytes,
                Unit::Seconds => registry::Unit::Seconds,
            });
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
                Kind::Info => MetricType::Info,
            };
            let mut lines = encoder.encode_descriptor(family.stem(), family.help, unit.as_ref(), kind)?;
            for series in series {
                series.shown.store(true, Ordering::Relaxed);
                line(&mut lines, family, series, self.pod_label)?;
            }
        }
        Ok(())
    }
}

fn line(lines: &mut MetricEncoder<'_>, family: &Family, series: &Series, pod_label: bool) -> fmt::Result {
    let labels = Labels {
        family,
        values: &series.labels,
        pod_label,
    };
    if family.kind == Kind::Info {
        return lines.encode_info(&labels);
    }
    if series.labels.is_empty() {
        return number(lines, family, &series.value);
    }
    number(&mut lines.encode_family(&labels)?, family, &series.value)
}

fn number(lines: &mut MetricEncoder<'_>, family: &Family, value: &Value) -> fmt::Result {
    let real = |bits: u64| f64::from_bits(bits);
    match (value, family.kind) {
        (Value::Whole(count), _) => {
            lines.encode_counter::<NoLabelSet, u64, f64>(&count.load(Ordering::Relaxed), None)
        }
        (Value::Real(bits), Kind::Counter) => {
            lines.encode_counter::<NoLabelSet, f64, f64>(&real(bits.load(Ordering::Relaxed)), None)
        }
        (Value::Real(bits), _) => lines.encode_gauge(&real(bits.load(Ordering::Relaxed))),
        (Value::Durations(durations), _) => {
            let (buckets, sum) = durations.read();
            let count = buckets.iter().map(|(_, count)| count).sum();
            lines.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        }
    }
}

/// Labels of a series; those without a value are left out, which means the same - but for those that Prometheus has for the
/// agent's own pod as well: left out, they would be the agent's (`honor_labels` keeps what is there, be it empty).
struct Labels<'a> {
    family: &'a Family,
    values: &'a [Arc<str>],
    pod_label: bool,
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let mut values = self.values.iter();
        for name in self.family.labels {
            let Some(value) = values.next() else { break };
            label(encoder, name, value)?;
            if *name == "workload"
                && self.pod_label
                && let Some(pod) = values.next()
            {
                label(encoder, "pod", pod)?;
            }
        }
        Ok(())
    }
}

fn label(encoder: &mut LabelSetEncoder<'_>, name: &str, value: &str) -> fmt::Result {
    if value.is_empty() && !matches!(name, "namespace" | "pod") {
        return Ok(());
    }
    let mut label = encoder.encode_label();
    let mut key = label.encode_label_key()?;
    EncodeLabelKey::encode(&name, &mut key)?;
    let mut text = key.encode_label_value()?;
    EncodeLabelValue::encode(&value, &mut text)?;
    text.finish()
}

/// Makes the text format of OpenMetrics as it is written: a page is large, and is held once. Samples are written alike; what
/// differs are the lines about a family: its name there is the samples', with `_total` or `_info`, an info is a gauge, and units
/// and the end are not said.
#[derive(Default)]
struct Classic {
    text: String,
    /// The line that is being written, if it is one about a family.
    about: Option<String>,
    /// A line has begun.
    begun: bool,
    /// Name and text of the family that is explained.
    help: Option<(String, String)>,
}

impl fmt::Write for Classic {
    fn write_str(&mut self, mut part: &str) -> fmt::Result {
        while !part.is_empty() {
            let (piece, rest) = match part.split_once('\n') {
                Some((piece, rest)) => (piece, Some(rest)),
                None => (part, None),
            };
            if !self.begun && piece.starts_with('#') {
                self.about = Some(String::new());
            }
            self.about.as_mut().unwrap_or(&mut self.text).push_str(piece);
            self.begun = rest.is_none();
            if rest.is_some() {
                match self.about.take() {
                    Some(line) => self.said(&line),
                    None => self.text.push('\n'),
                }
            }
            part = rest.unwrap_or_default();
        }
        Ok(())
    }
}

impl Classic {
    /// Takes a line about a family.
    fn said(&mut self, line: &str) {
        if let Some((name, rest)) = about(line, "# HELP ") {
            self.help = Some((name.to_owned(), rest.to_owned()));
        } else if let Some((name, kind)) = about(line, "# TYPE ") {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                kind => ("", kind),
            };
            if let Some((of, said)) = self.help.take().filter(|(of, _)| of == name) {
                let _ = writeln!(self.text, "# HELP {of}{suffix} {said}");
            }
            let _ = writeln!(self.text, "# TYPE {name}{suffix} {kind}");
        }
    }
}

fn about<'a>(line: &'a str, what: &str) -> Option<(&'a str, &'a str)> {
    line.strip_prefix(what)?.split_once(' ')
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
