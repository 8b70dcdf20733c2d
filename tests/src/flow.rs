//! A line of `obsflow observe -o json`, read as a stranger would: by the names in the JSON.

use std::fmt;
use std::net::IpAddr;

use serde_json::Value;

/// A flow.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow(Value);

/// Verdicts that say that something failed.
const FAILURES: &[&str] = &["ERROR", "DROPPED"];

impl Flow {
    /// From a line; `None` when it is no flow (`lost_events`).
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut response: Value = serde_json::from_str(line).ok()?;
        response.get_mut("flow").map(|flow| Self(flow.take()))
    }

    /// A part, by its JSON pointer, as `/l7/dns/rcode`.
    #[must_use]
    pub fn at(&self, pointer: &str) -> Option<&Value> {
        self.0.pointer(pointer)
    }

    /// A part that is a string; empty when it is not there.
    #[must_use]
    pub fn text(&self, pointer: &str) -> &str {
        self.at(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// A part of obsflow's own, by its pointer below the extensions, as `/drop/reason`.
    #[must_use]
    pub fn ext(&self, pointer: &str) -> Option<&Value> {
        self.at(&format!("/extensions/value{pointer}"))
    }

    /// A string of obsflow's own; empty when it is not there.
    #[must_use]
    pub fn ext_text(&self, pointer: &str) -> &str {
        self.ext(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number of obsflow's own; 0 when it is not there. (In a `google.protobuf.Struct` numbers are doubles.)
    #[must_use]
    pub fn ext_number(&self, pointer: &str) -> u64 {
        let number = self.ext(pointer).and_then(|value| match value {
            Value::String(text) => text.parse().ok(),
            other => other.as_f64(),
        });
        // Counts of the lab are far below 2^53.
        number.unwrap_or_default() as u64
    }

    /// What happened, in obsflow's words.
    #[must_use]
    pub fn event(&self) -> &str {
        self.ext_text("/event")
    }

    /// What became of it, in obsflow's words.
    #[must_use]
    pub fn outcome(&self) -> &str {
        self.ext_text("/outcome")
    }

    /// Hubble's verdict.
    #[must_use]
    pub fn verdict(&self) -> &str {
        self.text("/verdict")
    }

    /// The line for people.
    #[must_use]
    pub fn summary(&self) -> &str {
        self.text("/Summary")
    }

    /// Whether it says that something failed. A look-up that was answered NXDOMAIN was forwarded, in Hubble's terms.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        FAILURES.contains(&self.verdict()) || (self.event() == "lookup" && self.outcome() != "resolved")
    }

    /// Whether the pod of this name is one of its ends.
    #[must_use]
    pub fn of_pod(&self, name: &str) -> bool {
        self.text("/source/pod_name") == name || self.text("/destination/pod_name") == name
    }

    /// Whether any pod is known for it.
    #[must_use]
    pub fn has_pod(&self) -> bool {
        !self.text("/source/pod_name").is_empty() || !self.text("/destination/pod_name").is_empty()
    }

    /// Addresses of both ends, as far as they are known.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> {
        ["/IP/source", "/IP/destination"]
            .into_iter()
            .filter_map(|end| self.text(end).parse().ok())
    }

    /// Whether a port is one of its ends.
    #[must_use]
    pub fn has_port(&self, port: u16) -> bool {
        ["TCP", "UDP"].into_iter().any(|protocol| {
            ["source_port", "destination_port"].into_iter().any(|end| {
                self.at(&format!("/l4/{protocol}/{end}")).and_then(Value::as_u64) == Some(port.into())
            })
        })
    }

    /// The DNS question without its trailing dot; empty when it is about none.
    #[must_use]
    pub fn question(&self) -> &str {
        self.text("/l7/dns/query").trim_end_matches('.')
    }

    /// The DNS response code; protojson leaves out 0.
    #[must_use]
    pub fn rcode(&self) -> u64 {
        self.at("/l7/dns/rcode")
            .and_then(Value::as_u64)
            .unwrap_or_default()
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |which: &str| {
            let pod = self.text(&format!("/{which}/pod_name"));
            if pod.is_empty() {
                self.text(&format!("/IP/{which}")).to_owned()
            } else {
                pod.to_owned()
            }
        };
        write!(
            f,
            "{} {} -> {} {} {} ({})",
            self.event(),
            end("source"),
            end("destination"),
            self.verdict(),
            self.outcome(),
            self.summary()
        )
    }
}
