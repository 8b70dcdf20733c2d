//! What active checks found, below the exporter that they are of.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::draw::{Ink, Page};
use crate::model::probe::{Check, Findings, Outcome};

/// Findings by the exporter's id.
pub type Probes = BTreeMap<Arc<str>, Findings>;

/// Draws what was found.
pub(super) fn draw(page: &mut Page, findings: &Findings) {
    if !findings.checks.is_empty() {
        page.paragraph("    ", Ink::Dim, Ink::Dim, "tried from inside its pod:");
    }
    for check in &findings.checks {
        let Check {
            step,
            target,
            outcome,
            detail,
            ..
        } = check;
        let ink = match outcome {
            Outcome::Ok => Ink::Green,
            Outcome::Failed => Ink::Red,
            Outcome::Skipped => Ink::Dim,
        };
        let lead = format!("    {:<8}", outcome.name());
        page.paragraph(&lead, ink, Ink::Plain, &format!("{step} {target}: {detail}"));
    }
    for sentence in &findings.conclusion {
        page.paragraph("    => ", Ink::Bold, Ink::Bold, sentence);
    }
}
