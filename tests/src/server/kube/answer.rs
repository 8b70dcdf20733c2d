//! Answers to questions that have an end: lists, single objects, and everything that is refused.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};

use super::Shared;
use super::orders::Request;
use super::request::{Selector, Target};
use super::store::{Key, kind};

/// A JSON answer.
pub(super) fn answer(code: u16, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or_default();
    response.headers_mut().insert(
        "content-type",
        axum::http::HeaderValue::from_static("application/json"),
    );
    response
}

/// A `Status` as `k8s.io/apimachinery/pkg/api/errors` makes it.
pub(super) fn status(code: u16, reason: &str, message: &str, retry_after: Option<u32>) -> Value {
    let mut status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code
    });
    if let Some(seconds) = retry_after {
        status["details"] = json!({ "retryAfterSeconds": seconds });
    }
    status
}

/// What an order to answer a status answers.
pub(super) fn refused(code: u16, retry_after: Option<u32>, request: &Request) -> Response<Body> {
    let resource = &request.resource;
    let verb = &request.verb;
    let (reason, message) = match code {
        401 => ("Unauthorized", "Unauthorized".to_owned()),
        403 => (
            "Forbidden",
            format!(
                "{resource} is forbidden: User \"system:serviceaccount:obsflow:obsflow\" cannot {verb} resource \
                 \"{resource}\" in API group \"\" at the cluster scope"
            ),
        ),
        410 => (
            "Expired",
            "The resourceVersion for the provided watch is too old.".to_owned(),
        ),
        429 => (
            "TooManyRequests",
            "Too many requests, please try again later.".to_owned(),
        ),
        503 => ("ServiceUnavailable", "apiserver not ready".to_owned()),
        504 => (
            "Timeout",
            "Timeout: request did not complete within the allotted timeout".to_owned(),
        ),
        _ => ("InternalError", "Internal error occurred".to_owned()),
    };
    let mut response = answer(code, &status(code, reason, &message, retry_after));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}

/// A whole list, or a page of it.
pub(super) fn list(
    shared: &Shared,
    target: &Target,
    request: &Request,
    selector: &Selector,
) -> Response<Body> {
    let store = shared.store();
    let text = |key: &str| request.query.get(key).map_or("", String::as_str);
    // From its cache a real one gives everything at once.
    let cached = text("resourceVersion") == "0";
    let limit = text("limit").parse().ok().filter(|limit| *limit > 0 && !cached);
    let limit: usize = limit.unwrap_or(usize::MAX);
    let (version, after) = match text("continue") {
        "" => (store.version(), None),
        token => match parse(token) {
            Some((version, _)) if version < store.oldest() => {
                let message =
                    "The provided continue parameter is too old to display a consistent list result.";
                return answer(410, &status(410, "Expired", message, None));
            }
            Some((version, key)) => (version, Some(key)),
            None => return answer(400, &status(400, "BadRequest", "continue key is not valid", None)),
        },
    };
    let mut items = Vec::new();
    let mut last: Option<&Key> = None;
    let mut metadata = json!({ "resourceVersion": version.to_string() });
    for (key, object) in store.list(&target.collection, after) {
        if !selector.takes(object) {
            continue;
        }
        if items.len() == limit {
            if let Some((namespace, name)) = last {
                metadata["continue"] = json!(format!("{version}/{namespace}/{name}"));
            }
            break;
        }
        items.push(selector.cut(object));
        last = Some(key);
    }
    // Items of a list say neither kind nor version; those of metadata do.
    if !selector.metadata_only {
        for item in &mut items {
            if let Some(item) = item.as_object_mut() {
                item.remove("kind");
                item.remove("apiVersion");
            }
        }
    }
    let (api_version, kind) = match selector.metadata_only {
        true => ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadata"),
        false => kind(&target.collection),
    };
    let list = json!({ "kind": format!("{kind}List"), "apiVersion": api_version, "metadata": metadata, "items": items });
    answer(200, &list)
}

fn parse(token: &str) -> Option<(u64, Key)> {
    let mut parts = token.splitn(3, '/');
    let version = parts.next()?.parse().ok()?;
    Some((version, (parts.next()?.to_owned(), parts.next()?.to_owned())))
}

/// One object.
pub(super) fn get(shared: &Shared, target: &Target, selector: &Selector) -> Response<Body> {
    let name = target.name.clone().unwrap_or_default();
    let key = (target.namespace.clone().unwrap_or_default(), name.clone());
    let object: Option<Arc<Value>> = shared.store().get(&target.collection, &key);
    match object {
        Some(object) => answer(200, &selector.cut(&object)),
        None => {
            let message = format!("{} \"{name}\" not found", target.resource);
            answer(404, &status(404, "NotFound", &message, None))
        }
    }
}
