//! Text that came from the wire, made harmless for a terminal.

/// Appends `text` with everything escaped that could move a cursor, break a line or turn the reading direction.
pub(super) fn push(line: &mut String, text: &str) {
    if is_plain(text) {
        line.push_str(text);
        return;
    }
    for c in text.chars() {
        if is_harmful(c) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
}

/// Printable ASCII, as nearly everything is.
pub(super) fn is_plain(text: &str) -> bool {
    // Without an early exit this becomes vector instructions.
    text.bytes()
        .fold(true, |plain, b| plain & (0x20..0x7f).contains(&b))
}

/// Controls of both sets (C1 has an 8-bit CSI), line and paragraph separators, and characters that reorder text or
/// are invisible (Unicode TR 36, section 2.5; TR 9, section 2).
pub(super) fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{61c}')
}
