//! Drawing: harmless text, colours, columns that line up, lines that fit.

use textwrap::core::display_width;
use textwrap::{WordSeparator, WordSplitter, WrapAlgorithm};

use super::Options;
use crate::sinks::escape;

/// How a piece of text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

const RESET: &str = "\x1b[0m";

impl Ink {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "\x1b[1m",
            Self::Dim => "\x1b[2m",
            Self::Red => "\x1b[31m",
            Self::Green => "\x1b[32m",
            Self::Yellow => "\x1b[33m",
            Self::Cyan => "\x1b[36m",
        }
    }
}

/// A space that no line is broken at.
pub(super) const UNBROKEN: &str = "\u{a0}";

/// Text that stays on one line.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell(Vec<(Ink, String)>);

impl Cell {
    pub(super) fn and(mut self, ink: Ink, text: impl Into<String>) -> Self {
        self.0.push((ink, text.into()));
        self
    }

    pub(super) fn new(ink: Ink, text: impl Into<String>) -> Self {
        Self(vec![(ink, text.into())])
    }

    /// This, and another right behind it.
    pub(super) fn join(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| display_width(text)).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|(_, text)| text.is_empty())
    }
}

/// Narrower than this nothing is readable; lines are longer then than the terminal is wide.
const NARROWEST: usize = 40;

/// What is drawn so far.
pub(super) struct Page {
    options: Options,
    width: usize,
    out: String,
}

impl Page {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            width: options.width.max(NARROWEST),
            out: String::new(),
        }
    }

    pub(super) fn finish(self) -> String {
        self.out
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn options(&self) -> Options {
        self.options
    }

    /// Text of whatever origin, harmless, and in ASCII where nothing else can be drawn.
    pub(super) fn text(&self, text: &str) -> String {
        let mut safe = String::with_capacity(text.len());
        escape::push(&mut safe, text);
        if self.options.unicode || safe.is_ascii() {
            return safe;
        }
        let mut ascii = String::with_capacity(safe.len());
        for c in safe.chars() {
            match c {
                '\u{a0}' => ascii.push('\u{a0}'),
                '\u{2026}' => ascii.push_str("..."),
                '\u{00d7}' => ascii.push('x'),
                '\u{2013}' | '\u{2014}' => ascii.push('-'),
                '\u{2192}' => ascii.push_str("->"),
                '\u{2018}' | '\u{2019}' => ascii.push('\''),
                '\u{201c}' | '\u{201d}' => ascii.push('"'),
                c if c.is_ascii() => ascii.push(c),
                c => ascii.extend(c.escape_unicode()),
            }
        }
        ascii
    }

    /// A cell of [`Self::text`].
    pub(super) fn cell(&self, ink: Ink, text: &str) -> Cell {
        Cell::new(ink, self.text(text))
    }

    /// An empty line.
    pub(super) fn gap(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    /// Cells with two spaces between them, on as many lines as they need; each line but the first begins `indent` further in.
    pub(super) fn flow(&mut self, lead: &Cell, indent: usize, cells: &[Cell]) {
        self.put(lead);
        let mut at = lead.width();
        let mut is_first = true;
        for cell in cells.iter().filter(|cell| !cell.is_empty()) {
            let width = cell.width();
            if !is_first && at + 2 + width > self.width {
                self.out.push('\n');
                self.spaces(lead.width() + indent);
                at = lead.width() + indent;
            } else if !is_first {
                self.spaces(2);
                at += 2;
            }
            self.put(cell);
            at += width;
            is_first = false;
        }
        self.out.push('\n');
    }

    /// Words after `lead`, wrapped; later lines begin where the first word stands. No word is ever cut.
    pub(super) fn paragraph(&mut self, lead: &str, lead_ink: Ink, ink: Ink, text: &str) {
        let text = self.text(text);
        let indent = display_width(lead);
        let options = textwrap::Options::new(self.width.saturating_sub(indent).max(20))
            .break_words(false)
            .word_splitter(WordSplitter::NoHyphenation)
            .word_separator(WordSeparator::AsciiSpace)
            .wrap_algorithm(WrapAlgorithm::FirstFit);
        for (number, line) in textwrap::wrap(&text, options).iter().enumerate() {
            if number == 0 {
                self.ink(lead_ink, lead);
            } else {
                self.spaces(indent);
            }
            self.ink(ink, &line.replace(UNBROKEN, " "));
            self.out.push('\n');
        }
    }

    /// Widths of columns, when every row fits on a line; `indent` comes before the first.
    pub(super) fn fit(&self, indent: usize, rows: &[Vec<Cell>]) -> Option<Vec<usize>> {
        let widths = widths(rows);
        let total = indent + widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        (total <= self.width).then_some(widths)
    }

    /// A row of columns after `lead`.
    pub(super) fn columns(&mut self, lead: &Cell, cells: &[Cell], widths: &[usize]) {
        self.put(lead);
        let last = cells.iter().rposition(|cell| !cell.is_empty()).unwrap_or(0);
        for (at, cell) in cells.iter().enumerate().take(last + 1) {
            self.put(cell);
            if at < last {
                let width = widths.get(at).copied().unwrap_or_default();
                self.spaces(width.saturating_sub(cell.width()) + 2);
            }
        }
        self.out.push('\n');
    }

    fn put(&mut self, cell: &Cell) {
        for (ink, text) in &cell.0 {
            self.ink(*ink, text);
        }
    }

    fn ink(&mut self, ink: Ink, text: &str) {
        if self.options.color && ink != Ink::Plain && !text.is_empty() {
            self.out.push_str(ink.code());
            self.out.push_str(text);
            self.out.push_str(RESET);
        } else {
            self.out.push_str(text);
        }
    }

    fn spaces(&mut self, count: usize) {
        self.out.extend(std::iter::repeat_n(' ', count));
    }
}

/// Of each column, its widest cell.
pub(super) fn widths(rows: &[Vec<Cell>]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    (0..columns)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(Cell::width)
                .max()
                .unwrap_or(0)
        })
        .collect()
}
