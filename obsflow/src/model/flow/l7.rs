//! Messages of layer 7.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use super::extensions::Text;
use super::protojson::{is_none_or_zero, is_zero, number_as_string};

/// A message of layer 7.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer7 {
    /// Kind of message.
    #[serde(rename = "type", skip_serializing_if = "L7Type::is_unknown")]
    pub kind: L7Type,
    /// From the question or request to its answer, in nanoseconds; 0 when unknown.
    #[serde(serialize_with = "number_as_string", skip_serializing_if = "is_zero")]
    pub latency_ns: u64,
    /// The message; `None` of a protocol that is not known here.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub record: Option<Record>,
}

/// Hubble's `oneof` of a message's protocol.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Record {
    /// DNS.
    Dns(Dns),
    /// HTTP.
    Http(Http),
    /// Kafka.
    Kafka(Kafka),
}

impl Layer7 {
    /// The DNS message.
    #[must_use]
    pub fn dns(&self) -> Option<&Dns> {
        match &self.record {
            Some(Record::Dns(dns)) => Some(dns),
            _ => None,
        }
    }

    /// The HTTP message.
    #[must_use]
    pub fn http(&self) -> Option<&Http> {
        match &self.record {
            Some(Record::Http(http)) => Some(http),
            _ => None,
        }
    }
}

/// Hubble's `HTTP`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Http {
    /// The status; 0 in a request, and where no status is known.
    #[serde(skip_serializing_if = "is_zero")]
    pub code: u32,
    /// The method; empty when it could not be read.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub method: Arc<str>,
    /// `http://host/path` without query, or the path alone where the host is not known; empty when it could not be read.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// `HTTP/1.1` or `HTTP/2`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub protocol: Text,
    /// Headers; of obsflow's flows none: what it keeps of them is in [`super::HttpExt`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HttpHeader>,
}

/// A header of HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HttpHeader {
    /// Name.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub key: Arc<str>,
    /// Value.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub value: Arc<str>,
}

/// Hubble's `Kafka`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Kafka {
    /// Error.
    #[serde(skip_serializing_if = "is_zero")]
    pub error_code: i32,
    /// Version of the call.
    #[serde(skip_serializing_if = "is_zero")]
    pub api_version: i32,
    /// Call.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub api_key: Arc<str>,
    /// Correlation id.
    #[serde(skip_serializing_if = "is_zero")]
    pub correlation_id: i32,
    /// Topic.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub topic: Arc<str>,
}

impl Http {
    /// The path of the URL.
    #[must_use]
    pub fn path(&self) -> &str {
        // Of others' URLs, the query is no part of it.
        let url = self.url.split(['?', '#']).next().unwrap_or_default();
        match url.split_once("://") {
            Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default(),
            None => url,
        }
    }
}

/// Kinds of messages (`enum L7FlowType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[repr(u8)]
pub enum L7Type {
    /// Not said.
    Unknown = 0,
    /// A question, or a request.
    Request = 1,
    /// An answer.
    Response = 2,
    /// What obsflow concluded from several messages, or from one that is missing.
    Sample = 3,
}

impl L7Type {
    fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }

    /// As the `TYPE` column says it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Unknown => "unknown_l7_type",
            Self::Request => "request",
            Self::Response => "response",
            Self::Sample => "sample",
        }
    }
}

/// Hubble's `DNS`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dns {
    /// The name asked for, with its trailing dot.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// Addresses in the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpAddr>,
    /// Smallest TTL of the answer, in seconds.
    #[serde(skip_serializing_if = "is_none_or_zero")]
    pub ttl: Option<u32>,
    /// CNAME targets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cnames: Vec<Arc<str>>,
    /// Who saw it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub observation_source: Text,
    /// The response code; `None` where there is no response, left out when 0 as protojson does.
    #[serde(skip_serializing_if = "is_none_or_zero")]
    pub rcode: Option<u16>,
    /// Types asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub qtypes: Vec<Arc<str>>,
    /// Types in the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rrtypes: Vec<Arc<str>>,
}
