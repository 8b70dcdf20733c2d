//! What protocol the first bytes of a stream show.

use crate::model::exchange::Spoken;

/// Methods a request line may begin with (RFC 9110, 9.3; PATCH of RFC 5789).
const METHODS: &[&[u8]] = &[
    b"POST ",
    b"GET ",
    b"PUT ",
    b"HEAD ",
    b"DELETE ",
    b"OPTIONS ",
    b"CONNECT ",
    b"TRACE ",
    b"PATCH ",
];

impl Spoken {
    /// From the first bytes of a stream; `None` when there are too few to tell.
    #[must_use]
    pub fn of(first: &[u8]) -> Option<Self> {
        const PREFACE: &[u8] = b"PRI * HTTP/2.0";
        const STATUS: &[u8] = b"HTTP/1.";
        let begins = |with: &[u8]| match first.len() < with.len() {
            true => with.starts_with(first).then_some(false),
            false => first.starts_with(with).then_some(true),
        };
        if first.is_empty() {
            return None;
        }
        let mut undecided = false;
        for (with, spoken) in [(PREFACE, Self::Http2), (STATUS, Self::Http1)]
            .into_iter()
            .chain(METHODS.iter().map(|m| (*m, Self::Http1)))
        {
            match begins(with) {
                Some(true) => return Some(spoken),
                Some(false) => undecided = true,
                None => {}
            }
        }
        match first {
            // RFC 8446, 5.1: handshake (22) or alert (21), then the version's major number.
            [0x15 | 0x16, 3, ..] => return Some(Self::Tls),
            [0x15 | 0x16] => undecided = true,
            // RFC 9113, 6.5: SETTINGS is type 4 on stream 0; its payload is a multiple of six bytes.
            [0, hi, lo, 4, _, 0, 0, 0, 0, ..] if (u16::from(*hi) << 8 | u16::from(*lo)) % 6 == 0 => {
                return Some(Self::Http2);
            }
            [0, ..] if first.len() < 9 => undecided = true,
            _ => {}
        }
        (!undecided).then_some(Self::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell() {
        assert_eq!(Spoken::of(b"POST /v1/traces HTTP/1.1\r\n"), Some(Spoken::Http1));
        assert_eq!(Spoken::of(b"HTTP/1.1 400 Bad Request"), Some(Spoken::Http1));
        assert_eq!(
            Spoken::of(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            Some(Spoken::Http2)
        );
        assert_eq!(
            Spoken::of(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 5]),
            Some(Spoken::Http2)
        );
        assert_eq!(Spoken::of(&[0x16, 3, 1, 2, 0]), Some(Spoken::Tls));
        assert_eq!(Spoken::of(&[0x15, 3, 3, 0, 2, 2, 48]), Some(Spoken::Tls));
        assert_eq!(Spoken::of(b"SSH-2.0-OpenSSH"), Some(Spoken::Unknown));
        assert_eq!(Spoken::of(b"PR"), None);
        assert_eq!(Spoken::of(b"P"), None);
        assert_eq!(Spoken::of(&[0x16]), None);
        assert_eq!(Spoken::of(&[0, 0, 6]), None);
        assert_eq!(Spoken::of(b""), None);
    }
}
