//! Filters as JSON: `--allowlist`, `--denylist` and `--print-raw-filters`.

use super::error::FilterError;
use super::{FlowFilter, Wanted};
use crate::api::hubble::json;
use crate::api::hubble::proto::flow as message;

/// Name of the message in `flow.proto`.
const FILTER: &str = "flow.FlowFilter";

/// Reads filters, any number of them one after the other.
///
/// # Errors
/// When it is no JSON, no filter, or a filter with a value that means nothing; `from` is the flag or the variable it came from.
pub fn parse_raw(from: &'static str, text: &str) -> Result<Vec<message::FlowFilter>, FilterError> {
    let raw = |reason: String| FilterError::Raw { from, reason };
    let mut filters = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>() {
        let value = value.map_err(|error| raw(error.to_string()))?;
        let filter: message::FlowFilter =
            json::from_value(FILTER, value).map_err(|error| raw(error.to_string()))?;
        // CEL is for the server to understand.
        let without_cel = message::FlowFilter {
            experimental: None,
            ..filter.clone()
        };
        FlowFilter::of_message(&without_cel).map_err(|error| FilterError::Message {
            from,
            error: Box::new(error),
        })?;
        filters.push(filter);
    }
    if filters.is_empty() {
        return Err(raw("there is no filter".to_owned()));
    }
    Ok(filters)
}

/// Filters as YAML that holds JSON, which is how `hubble` prints them and takes them from its configuration.
#[must_use]
pub fn print_raw(wanted: &Wanted) -> String {
    let mut text = String::new();
    for (name, filters) in [("allowlist", &wanted.allow), ("denylist", &wanted.deny)] {
        if filters.is_empty() {
            continue;
        }
        text.push_str(name);
        text.push_str(":\n");
        for filter in filters {
            let json = json::to_string(FILTER, filter).unwrap_or_default();
            text.push_str("    - '");
            text.push_str(&json.replace('\'', "''"));
            text.push_str("'\n");
        }
    }
    if text.is_empty() {
        text.push_str("{}\n");
    }
    text
}
