//! What is kept of a peer's text: no query, no user information, nothing that a terminal would obey, nothing long.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

/// Bytes of a path that are kept; a longer one counts as not read.
const MAX_PATH: usize = 512;
/// A host name, its brackets and a port.
const MAX_AUTHORITY: usize = 263;
/// Bytes of `User-Agent` that are kept.
const MAX_USER_AGENT: usize = 128;
/// Longest method of the IANA registry, with room.
const MAX_METHOD: usize = 24;

/// A path without query and fragment, other bytes than printable ASCII percent-encoded (RFC 3986, 2.1).
pub(super) fn path(raw: &[u8]) -> Option<Arc<str>> {
    let end = raw.iter().position(|byte| matches!(byte, b'?' | b'#'));
    let raw = raw.get(..end.unwrap_or(raw.len()))?;
    if raw.is_empty() || raw.len() > MAX_PATH {
        return None;
    }
    Some(match std::str::from_utf8(raw) {
        Ok(text) if raw.iter().all(u8::is_ascii_graphic) => Arc::from(text),
        _ => {
            let mut text = String::with_capacity(raw.len() + 16);
            for byte in raw {
                if byte.is_ascii_graphic() {
                    text.push(char::from(*byte));
                } else {
                    // Writing to a string cannot fail.
                    let _ = write!(text, "%{byte:02X}");
                }
            }
            Arc::from(text)
        }
    })
}

/// A host and port without user information (RFC 3986, 3.2).
pub(super) fn authority(raw: &[u8]) -> Option<Arc<str>> {
    let host = match raw.iter().rposition(|byte| *byte == b'@') {
        Some(at) => raw.get(at + 1..)?,
        None => raw,
    };
    let fit = !host.is_empty() && host.len() <= MAX_AUTHORITY && host.iter().all(u8::is_ascii_graphic);
    let text = std::str::from_utf8(host).ok().filter(|_| fit)?;
    // What is no host may be anything, also a secret.
    (!text.contains(['/', '?', '#', '\\'])).then(|| Arc::from(text))
}

/// The beginning of a product list (RFC 9110, 10.1.5).
pub(super) fn user_agent(raw: &[u8]) -> Option<Arc<str>> {
    let text: String = raw
        .iter()
        .take(MAX_USER_AGENT)
        .map(|byte| match byte {
            b' ' => ' ',
            byte if byte.is_ascii_graphic() => char::from(*byte),
            _ => '?',
        })
        .collect();
    let text = text.trim();
    (!text.is_empty()).then(|| Arc::from(text))
}

/// A method (a token, RFC 9110, 5.6.2). The usual one is shared.
pub(super) fn method(raw: &[u8]) -> Option<Arc<str>> {
    static POST: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("POST"));
    if raw == b"POST" {
        return Some(Arc::clone(&POST));
    }
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let fit = !raw.is_empty() && raw.len() <= MAX_METHOD && raw.iter().all(token);
    std::str::from_utf8(raw).ok().filter(|_| fit).map(Arc::from)
}

/// A number in decimal digits and nothing else.
pub(super) fn number<T: std::str::FromStr>(raw: &[u8]) -> Option<T> {
    let raw = raw.trim_ascii();
    let fit = !raw.is_empty() && raw.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(raw).ok().filter(|_| fit)?.parse().ok()
}

/// What a `Content-Type` says, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// `application/grpc` and what follows a `+`.
    Grpc,
    /// `application/x-protobuf`, `application/protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
    Other,
}

impl Media {
    /// Of a `Content-Type`.
    pub(super) fn of(content_type: &[u8]) -> Self {
        const GRPC: &[u8] = b"application/grpc";
        let end = content_type.iter().position(|byte| *byte == b';');
        let media = content_type.get(..end.unwrap_or(content_type.len()));
        let media = media.unwrap_or_default().trim_ascii();
        let is = |name: &[u8]| media.eq_ignore_ascii_case(name);
        // `application/grpc-web` is another protocol, over plain requests.
        if media
            .get(..GRPC.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(GRPC))
            && media.get(GRPC.len()) != Some(&b'-')
        {
            Self::Grpc
        } else if is(b"application/x-protobuf") || is(b"application/protobuf") {
            Self::Protobuf
        } else if is(b"application/json") {
            Self::Json
        } else {
            Self::Other
        }
    }
}

/// Whether a `Content-Encoding` or `grpc-encoding` changes the length of what it is said of.
pub(super) fn is_packed(encoding: &[u8]) -> bool {
    let encoding = encoding.trim_ascii();
    !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_and_nothing_a_terminal_obeys() {
        assert_eq!(path(b"/v1/traces?token=secret").as_deref(), Some("/v1/traces"));
        assert_eq!(path(b"/v1/traces#secret").as_deref(), Some("/v1/traces"));
        assert_eq!(path(b"/a\x1b[2J\xff").as_deref(), Some("/a%1B[2J%FF"));
        assert_eq!(path(b"?x"), None);
        assert_eq!(path(&[b'a'; 513]), None);
        assert_eq!(authority(b"user:secret@otel:4318").as_deref(), Some("otel:4318"));
        assert_eq!(authority(b"a@b@[::1]:4318").as_deref(), Some("[::1]:4318"));
        assert_eq!(authority(b"o t"), None);
        assert_eq!(authority(b"user:"), Some(Arc::from("user:")));
        assert_eq!(user_agent(b" a\x1bb\xff/1 ").as_deref(), Some("a?b?/1"));
        assert_eq!(user_agent(&[b'a'; 200]).map(|text| text.len()), Some(128));
        assert_eq!(method(b"POST").as_deref(), Some("POST"));
        assert_eq!(method(b"PO ST"), None);
        assert_eq!(number::<u64>(b"237"), Some(237));
        assert_eq!(number::<u64>(b"-1"), None);
        assert_eq!(number::<u16>(b"99999"), None);
    }

    #[test]
    fn media_types_and_encodings() {
        for (text, media) in [
            (&b"application/grpc+proto"[..], Media::Grpc),
            (b"Application/gRPC", Media::Grpc),
            (b"application/grpc-web+proto", Media::Other),
            (b"application/json; charset=utf-8", Media::Json),
            (b"application/x-protobuf", Media::Protobuf),
            (b"application/x-protobuffer", Media::Other),
            (b"text/plain", Media::Other),
        ] {
            assert_eq!(Media::of(text), media, "{}", text.escape_ascii());
        }
        assert!(is_packed(b"gzip") && is_packed(b"zstd"));
        assert!(!is_packed(b"identity") && !is_packed(b"Identity") && !is_packed(b""));
    }
}
