//! Events, which clients write: what `events.k8s.io/v1` takes and what it refuses
//! (`pkg/apis/core/validation/events.go` of k8s.io/kubernetes).

use axum::body::{Body, to_bytes};
use axum::http::Response;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Shared;
use super::answer::{answer, status};
use super::objects::uid;
use super::orders::Request;
use super::request::Target;
use super::store::Key;

/// The collection.
pub(super) const COLLECTION: &str = "/apis/events.k8s.io/v1/events";
const NAMESPACES: &str = "/api/v1/namespaces";
/// No object of etcd is larger.
const MAX_OBJECT: usize = 3 << 19;

/// A refusal: status, reason and message.
type Refusal = (u16, &'static str, String);

/// Makes an Event, or changes one.
pub(super) async fn write(shared: &Shared, target: &Target, request: &Request, body: Body) -> Response<Body> {
    let body = to_bytes(body, MAX_OBJECT).await.unwrap_or_default();
    let body: Value = match serde_json::from_slice(&body) {
        Ok(body) => body,
        Err(error) => return answer(400, &status(400, "BadRequest", &error.to_string(), None)),
    };
    let written = match &*request.verb {
        "create" => create(shared, target, body),
        _ => patch(shared, target, request, &body),
    };
    match written {
        Ok((code, object)) => {
            shared.news.send_modify(|news| news.changes += 1);
            answer(code, &object)
        }
        Err((code, reason, message)) => answer(code, &status(code, reason, &message, None)),
    }
}

fn create(shared: &Shared, target: &Target, mut event: Value) -> Result<(u16, Value), Refusal> {
    let namespace = target.namespace.clone().unwrap_or_default();
    let name = event["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut store = shared.store();
    if store
        .get(NAMESPACES, &(String::new(), namespace.clone()))
        .is_none()
    {
        return Err((404, "NotFound", format!("namespaces {namespace:?} not found")));
    }
    if event["metadata"]["namespace"] != json!(namespace) {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err((400, "BadRequest", message.to_owned()));
    }
    valid(&event)?;
    let key: Key = (namespace, name);
    if store.get(COLLECTION, &key).is_some() {
        return Err((
            409,
            "AlreadyExists",
            format!("events.events.k8s.io {:?} already exists", key.1),
        ));
    }
    event["metadata"]["uid"] = json!(uid("Event", &key.0, &key.1));
    event["metadata"]["creationTimestamp"] =
        json!(Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let event = store
        .apply(event)
        .map_err(|error| (400, "BadRequest", error.to_string()))?;
    Ok((201, Value::clone(&event)))
}

fn patch(
    shared: &Shared,
    target: &Target,
    request: &Request,
    patch: &Value,
) -> Result<(u16, Value), Refusal> {
    if request.headers.get("content-type").map(String::as_str) != Some("application/merge-patch+json") {
        return Err((
            415,
            "UnsupportedMediaType",
            "the lab knows merge patches only".to_owned(),
        ));
    }
    let key: Key = (
        target.namespace.clone().unwrap_or_default(),
        target.name.clone().unwrap_or_default(),
    );
    let mut store = shared.store();
    let Some(before) = store.get(COLLECTION, &key) else {
        return Err((
            404,
            "NotFound",
            format!("events.events.k8s.io {:?} not found", key.1),
        ));
    };
    let mut after = Value::clone(&before);
    merge(&mut after, patch);
    let is_series = |field: &&String| *field == "series";
    let fields = |event: &Value| -> Vec<String> {
        event
            .as_object()
            .into_iter()
            .flat_map(|event| event.keys())
            .cloned()
            .collect()
    };
    for field in fields(&after).iter().filter(|field| !is_series(field)) {
        if after[field] != before[field] {
            return Err(invalid(field, "field is immutable"));
        }
    }
    valid(&after)?;
    let event = store
        .apply(after)
        .map_err(|error| (400, "BadRequest", error.to_string()))?;
    Ok((200, Value::clone(&event)))
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        match (value, target.as_object_mut()) {
            (Value::Null, Some(target)) => {
                target.remove(key);
            }
            _ => merge(&mut target[key], value),
        }
    }
}

fn invalid(field: &str, why: &str) -> Refusal {
    (422, "Invalid", format!("Event is invalid: {field}: {why}"))
}

fn valid(event: &Value) -> Result<(), Refusal> {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let name = text("/metadata/name");
    let is_label = |label: &str| {
        let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        label.starts_with(ends) && label.ends_with(ends) && label.chars().all(|c| ends(c) || c == '-')
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err(invalid(
            "metadata.name",
            "a lowercase RFC 1123 subdomain must consist of lower case characters",
        ));
    }
    let time = text("/eventTime");
    if time.len() != "2006-01-02T15:04:05.000000Z".len() || time.parse::<Timestamp>().is_err() {
        return Err(invalid("eventTime", "Required value"));
    }
    if !matches!(text("/type"), "Normal" | "Warning") {
        return Err(invalid("type", "has invalid value"));
    }
    for (field, most) in [
        ("/reportingController", 63),
        ("/reportingInstance", 128),
        ("/action", 128),
        ("/reason", 128),
    ] {
        if text(field).is_empty() || text(field).len() > most {
            return Err(invalid(field, "Required value, and not too long"));
        }
    }
    if text("/note").len() > 1024 {
        return Err(invalid("message", "can have at most 1024 characters"));
    }
    if text("/regarding/namespace") != text("/metadata/namespace") {
        return Err(invalid(
            "involvedObject.namespace",
            "does not match event.namespace",
        ));
    }
    for field in [
        "deprecatedCount",
        "deprecatedSource",
        "deprecatedFirstTimestamp",
        "deprecatedLastTimestamp",
    ] {
        if !event[field].is_null() {
            return Err(invalid(field, "needs to be unset"));
        }
    }
    let series = &event["series"];
    let observed = series["lastObservedTime"].as_str().unwrap_or_default();
    if !series.is_null() && (series["count"].as_u64() < Some(2) || observed.parse::<Timestamp>().is_err()) {
        return Err(invalid("series.count", "should be at least 2"));
    }
    Ok(())
}
