//! An Event as `events.k8s.io/v1` takes it.
//!
//! Limits and immutable fields: `pkg/apis/core/validation/events.go` of k8s.io/kubernetes. Of an Event that is there, only its
//! series may change.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

/// Who says so.
pub(super) const CONTROLLER: &str = "obsflow";
/// What was done: the API wants something.
const ACTION: &str = "Diagnose";
/// The longest name of an instance of a controller.
const MAX_INSTANCE: usize = 128;
/// The longest name of an object.
const MAX_NAME: usize = 253;

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Order {
    /// The Event, whole: what was written before may have expired.
    pub(super) event: Event,
    /// How often it came by now, when it was written before.
    pub(super) again: Option<u32>,
    /// The Event whose end this is.
    pub(super) ends: Option<Arc<str>>,
}

/// `events.k8s.io/v1`, `Event`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) metadata: Metadata,
    pub(super) event_time: String,
    #[serde(rename = "type")]
    pub(super) kind_of: &'static str,
    pub(super) reason: String,
    pub(super) action: &'static str,
    pub(super) note: String,
    pub(super) regarding: Regarding,
    pub(super) reporting_controller: &'static str,
    pub(super) reporting_instance: String,
}

/// Its name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Metadata {
    pub(super) name: Arc<str>,
    pub(super) namespace: Arc<str>,
}

/// The pod it is about.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Regarding {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) namespace: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) uid: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) field_path: Option<String>,
}

/// A pod that Events can be about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) namespace: Arc<str>,
    pub(super) pod: Arc<str>,
    pub(super) uid: Arc<str>,
    /// The container, when it is only one.
    pub(super) container: Option<Arc<str>>,
}

impl Event {
    /// A failure of a pod's telemetry, or its end.
    pub(super) fn new(
        subject: &Subject,
        name: Arc<str>,
        (kind_of, reason, note): (&'static str, String, String),
        at: Timestamp,
        node: &str,
    ) -> Self {
        let mut reporting_instance = format!("{CONTROLLER}-{node}");
        reporting_instance.truncate(MAX_INSTANCE);
        Self {
            api_version: "events.k8s.io/v1",
            kind: "Event",
            metadata: Metadata {
                name,
                namespace: Arc::clone(&subject.namespace),
            },
            event_time: micro_time(at),
            kind_of,
            reason,
            action: ACTION,
            note,
            regarding: Regarding {
                api_version: "v1",
                kind: "Pod",
                namespace: Arc::clone(&subject.namespace),
                name: Arc::clone(&subject.pod),
                uid: Arc::clone(&subject.uid),
                field_path: subject
                    .container
                    .as_ref()
                    .map(|name| format!("spec.containers{{{name}}}")),
            },
            reporting_controller: CONTROLLER,
            reporting_instance,
        }
    }
}

/// A pod's name, and what tells its Events apart: the same in every run of obsflow, so that one that is started again goes on
/// with the series it began.
pub(super) fn name(pod: &str, distinct: u64) -> Arc<str> {
    let tail = format!(".{distinct:016x}");
    let head = pod
        .get(..pod.len().min(MAX_NAME - tail.len()))
        .unwrap_or_default();
    Arc::from(format!("{}{tail}", head.trim_end_matches(['-', '.'])))
}

/// `metav1.MicroTime`.
pub(super) fn micro_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_of_objects() {
        assert_eq!(&*name("web-0", 0x1a), "web-0.000000000000001a");
        let long = name(&format!("{}-{}", "a".repeat(235), "b".repeat(20)), 7);
        assert!(long.len() <= MAX_NAME && !long.contains("-."), "{long}");
    }

    #[test]
    fn times_have_microseconds() {
        let at = "2026-11-21T10:00:00.123456789Z".parse().unwrap();
        assert_eq!(micro_time(at), "2026-11-21T10:00:00.123456Z");
        assert_eq!(micro_time(Timestamp::UNIX_EPOCH), "1970-01-01T00:00:00.000000Z");
    }
}
