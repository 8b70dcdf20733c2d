//! The page of a verdict.

use super::Options;
use super::draw::{Cell, Ink, Page, widths};
use crate::diagnose::catalogue::Entry;

/// What `--explain` prints.
#[must_use]
pub fn explain(entry: &Entry, options: Options) -> String {
    let mut page = Page::new(options);
    let title = [
        Cell::new(Ink::Bold, entry.id.name()),
        page.cell(Ink::Plain, entry.title),
    ];
    page.flow(&Cell::default(), 2, &title);
    if let Some(rung) = entry.rung {
        let text = format!("The first step that does not hold is \"{}\".", rung.name());
        page.paragraph("  ", Ink::Plain, Ink::Plain, &text);
    }
    for (head, text) in [
        ("What it means", entry.meaning),
        ("When it is said", entry.fires),
        ("When it is not", entry.quiet),
    ] {
        section(&mut page, head, text);
    }
    if !entry.reasons.is_empty() {
        page.gap();
        page.paragraph("", Ink::Plain, Ink::Bold, "Which kinds there are");
        let names: Vec<Vec<Cell>> = entry
            .reasons
            .iter()
            .map(|(name, _)| vec![page.cell(Ink::Cyan, name)])
            .collect();
        let width = widths(&names).first().copied().unwrap_or_default();
        for (name, text) in entry.reasons {
            page.paragraph(
                &format!("  {name:<width$}  "),
                Ink::Cyan,
                Ink::Plain,
                &plain(text),
            );
        }
    }
    section(&mut page, "What to do", entry.advice);
    page.finish()
}

fn section(page: &mut Page, head: &str, text: &str) {
    if text.is_empty() {
        return;
    }
    page.gap();
    page.paragraph("", Ink::Plain, Ink::Bold, head);
    page.paragraph("  ", Ink::Plain, Ink::Plain, &plain(text));
}

/// The catalogue marks code as Markdown does.
fn plain(text: &str) -> String {
    text.replace('`', "")
}
