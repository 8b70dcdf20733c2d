//! JSON lines: protojson as Hubble prints it, one response a line.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use super::escape::{is_harmful, is_plain};

/// Appends one line.
pub(super) fn push(line: &mut Vec<u8>, response: &impl Serialize) -> io::Result<()> {
    response.serialize(&mut Serializer::with_formatter(&mut *line, TerminalSafe))?;
    line.push(b'\n');
    Ok(())
}

/// Compact JSON that is also safe to look at: JSON itself escapes control characters below U+0020 only.
pub(super) struct TerminalSafe;

impl Formatter for TerminalSafe {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        if is_plain(fragment) {
            return out.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_harmful(*c)) {
            let (safe, tail) = rest.split_at(at);
            // All of them are in the basic plane: one UTF-16 unit each.
            write!(out, "{safe}\\u{:04x}", u32::from(c))?;
            rest = &tail[c.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}
