//! The part of the schema that tells where telemetry goes. What else is in a file is passed over.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct File {
    pub(super) disabled: Option<Scalar>,
    pub(super) resource: Option<Resource>,
    pub(super) tracer_provider: Option<Processors>,
    pub(super) meter_provider: Option<Readers>,
    pub(super) logger_provider: Option<Processors>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Resource {
    pub(super) attributes: Option<Attributes>,
}

/// A list of names and values; a map in the first formats.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Attributes {
    List(Vec<Attribute>),
    Other(IgnoredAny),
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Attribute {
    pub(super) name: Option<Scalar>,
    pub(super) value: Option<Attributed>,
}

/// A scalar, or something that is no service name.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Attributed {
    Scalar(Scalar),
    Other(IgnoredAny),
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Processors {
    pub(super) processors: Option<Vec<Processor>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Processor {
    pub(super) batch: Option<Batch>,
    pub(super) simple: Option<Batch>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Batch {
    pub(super) schedule_delay: Option<Scalar>,
    pub(super) exporter: Option<Exporter>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Readers {
    pub(super) readers: Option<Vec<MetricReader>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct MetricReader {
    pub(super) periodic: Option<Periodic>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Periodic {
    pub(super) interval: Option<Scalar>,
    pub(super) exporter: Option<Exporter>,
}

/// A key without a value is an exporter with defaults.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Exporter {
    #[serde(deserialize_with = "there")]
    pub(super) otlp_http: Option<Otlp>,
    #[serde(deserialize_with = "there")]
    pub(super) otlp_grpc: Option<Otlp>,
    #[serde(deserialize_with = "there")]
    pub(super) otlp: Option<Otlp>,
    #[serde(deserialize_with = "there")]
    pub(super) zipkin: Option<Otlp>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Otlp {
    pub(super) endpoint: Option<Scalar>,
    pub(super) protocol: Option<Scalar>,
    pub(super) encoding: Option<Scalar>,
    pub(super) timeout: Option<Scalar>,
    pub(super) insecure: Option<Scalar>,
    pub(super) tls: Option<Tls>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Tls {
    pub(super) insecure: Option<Scalar>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Scalar {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
}

fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Otlp>, D::Error> {
    Ok(Some(
        Option::<Otlp>::deserialize(deserializer)?.unwrap_or_default(),
    ))
}
