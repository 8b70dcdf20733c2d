//! Filters on what only flows of other emitters have, and on nodes.

use std::net::IpAddr;

use ipnet::IpNet;
use regex::Regex;

use super::error::{FilterError, Origin};
use super::flow_filter::{any, http};
use super::selector::Selector;
use super::values::{MAX_NAME, glob};
use crate::model::flow::{Flow, Foreign};

/// See the module. As everywhere, an empty field matches everything.
#[derive(Clone, Debug, Default)]
pub struct Others {
    /// Names of flows.
    pub uuids: Vec<String>,
    /// Traces.
    pub trace_ids: Vec<String>,
    /// Traces by IP options.
    pub ip_trace_ids: Vec<u64>,
    /// Labels of nodes.
    pub node_labels: Vec<Selector>,
    /// Addresses of the source after translation.
    pub ips_xlated: Vec<IpNet>,
    /// Whether it was encrypted on the way.
    pub encrypted: Vec<bool>,
    /// Headers of HTTP.
    pub http_headers: Vec<(String, String)>,
}

impl Others {
    pub(super) fn is_empty(&self) -> bool {
        self.encrypted.is_empty() && self.is_empty_but_for_encrypted()
    }

    fn is_empty_but_for_encrypted(&self) -> bool {
        self.uuids.is_empty()
            && self.trace_ids.is_empty()
            && self.ip_trace_ids.is_empty()
            && self.node_labels.is_empty()
            && self.ips_xlated.is_empty()
            && self.http_headers.is_empty()
    }

    /// Whether a flow of obsflow's own may match: it says nothing of all this.
    pub(super) fn may_match_own(&self) -> bool {
        any(&self.encrypted, |encrypted| !encrypted) && self.is_empty_but_for_encrypted()
    }

    pub(super) fn matches(&self, flow: &Flow) -> bool {
        let foreign = flow.foreign.as_deref();
        let has = |matches: &dyn Fn(&Foreign) -> bool| foreign.is_some_and(matches);
        let xlated: Option<IpAddr> = flow.ip.and_then(|ip| ip.source_xlated);
        any(&self.uuids, |uuid| has(&|foreign| *foreign.uuid == **uuid))
            && any(&self.trace_ids, |id| has(&|foreign| *foreign.trace_id == **id))
            && any(&self.ip_trace_ids, |id| {
                has(&|foreign| foreign.ip_trace_id.is_some_and(|trace| trace.trace_id == *id))
            })
            && any(&self.node_labels, |selector| {
                has(&|foreign| selector.matches(&foreign.node_labels))
            })
            && any(&self.ips_xlated, |net| xlated.is_some_and(|ip| net.contains(&ip)))
            && any(&self.encrypted, |encrypted| {
                flow.ip.is_some_and(|ip| ip.encrypted == *encrypted)
            })
            && any(&self.http_headers, |(key, value)| {
                http(flow).is_some_and(|http| {
                    http.headers
                        .iter()
                        .any(|header| header.key.eq_ignore_ascii_case(key) && *header.value == **value)
                })
            })
    }
}

/// `[CLUSTER/]NODE`, each with `*` for any characters of a name. Flows that name no cluster are of `default`, and so is a
/// filter's name without one.
#[derive(Clone, Debug)]
pub struct NodeName {
    cluster: Regex,
    node: Regex,
}

impl NodeName {
    pub(super) fn parse(at: impl Into<Origin>, value: &str) -> Result<Self, FilterError> {
        let at = at.into();
        let bad = || FilterError::Node {
            at,
            value: value.to_owned(),
        };
        let (cluster, node) = value.split_once('/').unwrap_or(("default", value));
        let glob = |text: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.*".contains(c);
            if text.len() > MAX_NAME || !text.chars().all(allowed) {
                return Err(bad());
            }
            let text = if text.is_empty() { "*" } else { text };
            glob(text, "[^/]*").ok_or_else(bad)
        };
        if value.is_empty() || value == "/" {
            return Err(bad());
        }
        Ok(Self {
            cluster: glob(cluster)?,
            node: glob(node)?,
        })
    }

    /// Whether a flow's node matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let (cluster, node) = name.split_once('/').unwrap_or(("default", name));
        self.cluster.is_match(cluster) && self.node.is_match(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_a_cluster() {
        for (pattern, name, expected) in [
            ("k8s1", "k8s1", true),
            ("k8s1", "default/k8s1", true),
            ("k8s1", "other/k8s1", false),
            ("k8s*", "k8s1", true),
            ("k8s", "k8s1", false),
            ("other/", "other/k8s1", true),
            ("other/", "k8s1", false),
            ("*/k8s1", "other/k8s1", true),
            ("/k8s1", "other/k8s1", true),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.exampleXcom", false),
        ] {
            let node = NodeName::parse(Origin::Field("node_name"), pattern).unwrap();
            assert_eq!(node.matches(name), expected, "{pattern} {name}");
        }
        for bad in ["", "/", "a b", "a/b/c", "a["] {
            assert!(NodeName::parse(Origin::Field("node_name"), bad).is_err(), "{bad}");
        }
    }
}
