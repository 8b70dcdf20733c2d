//! Paths of requests, as far as they may be kept and shown.

use std::borrow::Cow;

/// Shortest segment that is taken for a key.
const SHORTEST_KEY: usize = 24;
/// What stands in its place.
pub(crate) const KEY: &str = "~key";

/// A path, or what is written like one, with keys replaced by [`KEY`]: some receivers take a token as a part of the path.
/// A segment is taken for one when it is long, has only characters of base64 and hexadecimal numbers, and has digits or both
/// cases, which words joined by hyphens do not.
pub(crate) fn without_keys(path: &str) -> Cow<'_, str> {
    if !path.split('/').any(is_key) {
        return Cow::Borrowed(path);
    }
    let kept: Vec<&str> = path
        .split('/')
        .map(|segment| if is_key(segment) { KEY } else { segment })
        .collect();
    Cow::Owned(kept.join("/"))
}

fn is_key(segment: &str) -> bool {
    // A `=` of base64 may be percent-encoded.
    let of_a_key =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'_' | b'=' | b'%');
    let has = |of: fn(&u8) -> bool| segment.as_bytes().iter().any(of);
    segment.len() >= SHORTEST_KEY
        && segment.bytes().all(of_a_key)
        && (has(u8::is_ascii_digit) || has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_not_kept_and_names_are() {
        for (path, kept) in [
            (
                "/receiver/v1/otlp/ZaVnC4dhaV1GcMkZ0bRNmWkZm9ARbxy3KpQ9Xw==/v1/traces",
                "/receiver/v1/otlp/~key/v1/traces",
            ),
            ("/in/0123456789abcdef0123456789abcdef", "/in/~key"),
            ("/v1/traces", "/v1/traces"),
            (
                "/insert/opentelemetry/v1/traces",
                "/insert/opentelemetry/v1/traces",
            ),
            (
                "/my-very-long-name-of-a-tenant/otlp",
                "/my-very-long-name-of-a-tenant/otlp",
            ),
            (
                "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
                "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            ),
            ("", ""),
        ] {
            assert_eq!(without_keys(path), kept);
        }
    }
}
