//! What a request is about.

use std::collections::BTreeMap;
use std::time::Instant;

use axum::http::request::Parts;

use super::labels::Labels;
use super::orders::Request;

/// What a path names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    /// Collection over all namespaces, as `/api/v1/pods`.
    pub(super) collection: String,
    /// Kind of object, as `pods`.
    pub(super) resource: String,
    /// Namespace, when one is named.
    pub(super) namespace: Option<String>,
    /// Object, when one is named.
    pub(super) name: Option<String>,
    /// What of it, as `portforward`.
    pub(super) subresource: Option<String>,
}

impl Target {
    /// Takes a path apart; `None` when it names no object.
    #[must_use]
    pub(super) fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => (format!("/api/{version}"), rest),
            ["apis", group, version, rest @ ..] => (format!("/apis/{group}/{version}"), rest),
            _ => return None,
        };
        let owned = |text: &&str| Some((*text).to_owned());
        let (namespace, rest) = match rest {
            ["namespaces", namespace, resource, rest @ ..] => {
                let mut rest = rest.to_vec();
                rest.insert(0, resource);
                (owned(namespace), rest)
            }
            rest => (None, rest.to_vec()),
        };
        let resource = (*rest.first()?).to_owned();
        Some(Self {
            collection: format!("{group}/{resource}"),
            resource,
            namespace,
            name: rest.get(1).and_then(owned),
            subresource: rest.get(2).and_then(owned),
        })
    }
}

impl Target {
    /// `pods`, or `pods/portforward` of a part of them.
    fn as_rbac_has_it(&self) -> String {
        match &self.subresource {
            Some(part) => format!("{}/{part}", self.resource),
            None => self.resource.clone(),
        }
    }
}

/// Takes a query string apart.
fn query(text: &str) -> BTreeMap<String, String> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(key), unescape(value))
        })
        .collect()
}

/// `application/x-www-form-urlencoded` back to text.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = || u8::from_str_radix(text.get(at + 1..at + 3)?, 16).ok();
        match byte {
            b'+' => out.push(b' '),
            b'%' => match hex() {
                Some(byte) => {
                    out.push(byte);
                    at += 2;
                }
                None => out.push(b'%'),
            },
            byte => out.push(*byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What is written down of a request.
#[must_use]
pub(super) fn read(parts: &Parts, target: Option<&Target>) -> Request {
    let query = query(parts.uri.query().unwrap_or_default());
    let verb = match (parts.method.as_str(), target) {
        ("GET", Some(target)) if target.name.is_some() => "get".to_owned(),
        ("GET", Some(_)) if matches!(query.get("watch").map(String::as_str), Some("true" | "1")) => {
            "watch".to_owned()
        }
        ("GET", Some(_)) => "list".to_owned(),
        ("POST", _) => "create".to_owned(),
        (method, _) => method.to_lowercase(),
    };
    let header = |name: &str| {
        let value = parts.headers.get(name)?.to_str().ok()?;
        Some((name.to_owned(), value.to_owned()))
    };
    Request {
        at: Instant::now(),
        method: parts.method.to_string(),
        verb,
        path: parts.uri.path().to_owned(),
        resource: target.map(Target::as_rbac_has_it).unwrap_or_default(),
        query,
        headers: ["accept", "authorization", "user-agent", "content-type"]
            .into_iter()
            .filter_map(header)
            .collect(),
    }
}

/// Objects that a selector leaves.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    namespace: Option<String>,
    /// Path below the object, and the value it has to have.
    fields: Vec<(String, String)>,
    labels: Labels,
    /// Whether only metadata is wanted.
    pub(super) metadata_only: bool,
}

impl Selector {
    /// Of a request.
    ///
    /// # Errors
    /// When there is a selector that the lab does not know.
    pub(super) fn of(target: &Target, request: &Request) -> Result<Self, String> {
        let labels = request.query.get("labelSelector").map_or("", String::as_str);
        let labels = Labels::parse(labels)?;
        let mut fields = Vec::new();
        let text = request.query.get("fieldSelector").map_or("", String::as_str);
        for term in text.split(',').filter(|term| !term.is_empty()) {
            let (field, value) = term
                .split_once('=')
                .ok_or_else(|| format!("no selector: {term}"))?;
            let value = value.trim_start_matches('=');
            // A real one refuses others, by kind.
            if !matches!(
                field,
                "spec.nodeName" | "metadata.name" | "metadata.namespace" | "status.phase"
            ) {
                return Err(format!("field label not supported: {field}"));
            }
            fields.push((format!("/{}", field.replace('.', "/")), value.to_owned()));
        }
        let accept = request.headers.get("accept").map_or("", String::as_str);
        Ok(Self {
            namespace: target.namespace.clone(),
            fields,
            labels,
            metadata_only: accept.contains("as=PartialObjectMetadata"),
        })
    }

    /// Whether it leaves this one.
    #[must_use]
    pub(super) fn takes(&self, object: &serde_json::Value) -> bool {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(|value| value.as_str())
                .unwrap_or_default()
        };
        self.namespace
            .as_ref()
            .is_none_or(|namespace| namespace == text("/metadata/namespace"))
            && self.labels.takes(object)
            && self.fields.iter().all(|(pointer, value)| text(pointer) == value)
    }

    /// The object as it was asked for.
    #[must_use]
    pub(super) fn cut(&self, object: &serde_json::Value) -> serde_json::Value {
        if self.metadata_only {
            serde_json::json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": object["metadata"]
            })
        } else {
            object.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart() {
        let target = Target::parse("/api/v1/namespaces/apps/pods/web-0/portforward").unwrap();
        assert_eq!(target.collection, "/api/v1/pods");
        assert_eq!(target.namespace.as_deref(), Some("apps"));
        assert_eq!(target.name.as_deref(), Some("web-0"));
        assert_eq!(target.subresource.as_deref(), Some("portforward"));
        let target = Target::parse("/api/v1/namespaces/apps").unwrap();
        assert_eq!(
            (&*target.resource, target.name.as_deref()),
            ("namespaces", Some("apps"))
        );
        let target = Target::parse("/apis/discovery.k8s.io/v1/endpointslices").unwrap();
        assert_eq!(target.collection, "/apis/discovery.k8s.io/v1/endpointslices");
        assert_eq!(Target::parse("/version"), None);
    }

    #[test]
    fn queries_are_unescaped() {
        let query = query("fieldSelector=spec.nodeName%3Dnode-0&watch=true&x=a+b%");
        assert_eq!(query["fieldSelector"], "spec.nodeName=node-0");
        assert_eq!((&*query["watch"], &*query["x"]), ("true", "a b%"));
    }
}
