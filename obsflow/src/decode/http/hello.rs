//! ClientHello and ServerHello (RFC 8446, 4.1), of which the beginning is enough.
//!
//! Parsers of TLS take whole messages; here a message ends where the capture ended, and what comes before that counts.

use std::sync::Arc;

/// A fully qualified name in text form.
const MAX_NAME: usize = 255;
/// Protocols that are kept, and bytes of each.
const MAX_PROTOCOLS: usize = 8;
const MAX_PROTOCOL: usize = 32;

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;

/// What a client's hello says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Client {
    /// Server name indication (RFC 6066, 3).
    pub(super) sni: Option<Arc<str>>,
    /// Protocols offered (RFC 7301).
    pub(super) alpn: Vec<Arc<str>>,
}

/// Reads a ClientHello as far as it goes; `None` when it is none.
pub(super) fn client(message: &[u8]) -> Option<Client> {
    let mut rest = Cursor(message);
    if rest.byte()? != CLIENT_HELLO {
        return None;
    }
    let mut hello = Client::default();
    // Whatever ends early leaves what was found.
    let _ = extensions(&mut rest, &mut hello);
    Some(hello)
}

fn extensions(rest: &mut Cursor<'_>, hello: &mut Client) -> Option<()> {
    // Length of the message, version, random.
    rest.take(3 + 2 + 32)?;
    let session = rest.byte()?;
    rest.take(session.into())?;
    let ciphers = rest.short()?;
    rest.take(ciphers.into())?;
    let compressions = rest.byte()?;
    rest.take(compressions.into())?;
    let all = rest.short()?;
    let mut rest = Cursor(rest.0.get(..all.into()).unwrap_or(rest.0));
    loop {
        let kind = rest.short()?;
        let len = rest.short()?;
        let mut body = Cursor(rest.take(len.into())?);
        match kind {
            SERVER_NAME => hello.sni = server_name(&mut body),
            ALPN => {
                // Length of the list.
                body.short()?;
                while let Some(len) = body.byte()
                    && let Some(protocol) = body.take(len.into())
                    && hello.alpn.len() < MAX_PROTOCOLS
                {
                    hello.alpn.extend(text(protocol, MAX_PROTOCOL));
                }
            }
            _ => {}
        }
    }
}

fn server_name(body: &mut Cursor<'_>) -> Option<Arc<str>> {
    // Length of the list; there is one name, of type host_name.
    body.short()?;
    if body.byte()? != 0 {
        return None;
    }
    let len = body.short()?;
    text(body.take(len.into())?, MAX_NAME)
}

fn text(raw: &[u8], most: usize) -> Option<Arc<str>> {
    let fit = !raw.is_empty() && raw.len() <= most && raw.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(raw).ok().filter(|_| fit).map(Arc::from)
}

/// Whether a ServerHello chooses TLS 1.3: by its cipher suite, for the extension with the version may not be captured.
pub(super) fn is_13(message: &[u8]) -> bool {
    suite(&mut Cursor(message)).is_some_and(|suite| suite >> 8 == 0x13)
}

fn suite(rest: &mut Cursor<'_>) -> Option<u16> {
    if rest.byte()? != SERVER_HELLO {
        return None;
    }
    rest.take(3 + 2 + 32)?;
    let session = rest.byte()?;
    rest.take(session.into())?;
    rest.short()
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).and_then(|taken| taken.first().copied())
    }

    fn short(&mut self) -> Option<u16> {
        self.take(2)
            .and_then(|taken| Some(u16::from_be_bytes(taken.try_into().ok()?)))
    }
}
