//! Messages of layer 7.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use super::protojson::{is_zero, no_error, number_as_string};

/// A message of layer 7.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer7 {
    /// Kind of message.
    #[serde(rename = "type")]
    pub kind: L7Type,
    /// From the question or request to its answer, in nanoseconds; 0 when unknown.
    #[serde(serialize_with = "number_as_string", skip_serializing_if = "is_zero")]
    pub latency_ns: u64,
    /// The message.
    #[serde(flatten)]
    pub record: Record,
}

/// Hubble's `oneof` of a message's protocol.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Record {
    /// DNS.
    Dns(Dns),
    /// HTTP.
    Http(Http),
}

impl Layer7 {
    /// The DNS message.
    #[must_use]
    pub fn dns(&self) -> Option<&Dns> {
        match &self.record {
            Record::Dns(dns) => Some(dns),
            Record::Http(_) => None,
        }
    }

    /// The HTTP message.
    #[must_use]
    pub fn http(&self) -> Option<&Http> {
        match &self.record {
            Record::Http(http) => Some(http),
            Record::Dns(_) => None,
        }
    }
}

/// Hubble's `HTTP`. Its headers are not here: obsflow keeps none but those of [`super::HttpExt`].
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
    pub protocol: &'static str,
}

impl Http {
    /// The path of the URL.
    #[must_use]
    pub fn path(&self) -> &str {
        match self.url.strip_prefix("http://") {
            Some(rest) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default(),
            None => &self.url,
        }
    }
}

/// Kinds of messages (`enum L7FlowType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[repr(u8)]
pub enum L7Type {
    /// A question, or a request.
    Request = 1,
    /// An answer.
    Response = 2,
    /// What obsflow concluded from several messages, or from one that is missing.
    Sample = 3,
}

impl L7Type {
    /// As the `TYPE` column says it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
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
    pub query: String,
    /// Addresses in the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpAddr>,
    /// Smallest TTL of the answer, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,
    /// CNAME targets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cnames: Vec<Arc<str>>,
    /// Who saw it.
    pub observation_source: &'static str,
    /// The response code; `None` where there is no response, left out when 0 as protojson does.
    #[serde(skip_serializing_if = "no_error")]
    pub rcode: Option<u16>,
    /// Types asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub qtypes: Vec<Arc<str>>,
    /// Types in the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rrtypes: Vec<Arc<str>>,
}
