//! DNS messages.

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
    /// From the question to the answer, in nanoseconds; 0 when unknown.
    #[serde(serialize_with = "number_as_string", skip_serializing_if = "is_zero")]
    pub latency_ns: u64,
    /// The message.
    pub dns: Dns,
}

/// Kinds of messages (`enum L7FlowType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[repr(u8)]
pub enum L7Type {
    /// A question.
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
