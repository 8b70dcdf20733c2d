//! A terminal's screen on which one text replaces another.

use std::io::{self, Write};

/// Shows the alternate screen, where nothing scrolls away, and hides the cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// Brings back what was there before.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// To the upper left corner.
const HOME: &str = "\x1b[H";
/// Clears the rest of the line.
const CLEAR_LINE: &str = "\x1b[K";
/// Clears everything below.
const CLEAR_BELOW: &str = "\x1b[J";

/// A screen; what was there before comes back when it is dropped.
#[derive(Debug)]
pub struct Screen<W: Write> {
    out: W,
    is_entered: bool,
}

impl<W: Write> Screen<W> {
    /// The screen of the terminal that `out` is; untouched until something is drawn.
    pub fn new(out: W) -> Self {
        Self {
            out,
            is_entered: false,
        }
    }

    /// Replaces what is shown; lines that do not fit into `height` are left out, and counted in the last one.
    ///
    /// # Errors
    /// When the terminal cannot be written.
    pub fn draw(&mut self, text: &str, height: usize) -> io::Result<()> {
        let mut frame = String::with_capacity(text.len() + 256);
        if !self.is_entered {
            frame.push_str(ENTER);
            self.is_entered = true;
        }
        frame.push_str(HOME);
        let lines: Vec<&str> = text.lines().collect();
        // The last line stays free: a line feed there would scroll.
        let room = height.saturating_sub(1).max(1);
        let shown = if lines.len() > room { room - 1 } else { lines.len() };
        for line in lines.iter().take(shown) {
            frame.push_str(line);
            frame.push_str(CLEAR_LINE);
            frame.push_str("\r\n");
        }
        if shown < lines.len() {
            frame.push_str(&format!("({} more lines){CLEAR_LINE}", lines.len() - shown));
        }
        frame.push_str(CLEAR_BELOW);
        self.out.write_all(frame.as_bytes())?;
        self.out.flush()
    }
}

impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        if self.is_entered {
            let _ = self.out.write_all(LEAVE.as_bytes());
            let _ = self.out.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_replaces_another_and_the_screen_comes_back() {
        let mut out = Vec::new();
        {
            let mut screen = Screen::new(&mut out);
            screen.draw("one\ntwo\n", 10).unwrap();
            screen.draw("three\n", 10).unwrap();
        }
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            format!("{ENTER}{HOME}one\x1b[K\r\ntwo\x1b[K\r\n\x1b[J{HOME}three\x1b[K\r\n\x1b[J{LEAVE}")
        );
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut out = Vec::new();
        Screen::new(&mut out).draw("1\n2\n3\n4\n", 4).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("2\x1b[K\r\n(2 more lines)"), "{text:?}");
        assert!(!text.contains('3'));
        // A screen nothing was drawn on is left alone.
        let mut out = Vec::new();
        drop(Screen::new(&mut out));
        assert!(out.is_empty());
    }
}
