//! The tables.

use std::collections::BTreeMap;
use std::time::Duration;

use super::draw::{Cell, Ink, Page, widths};
use super::rows::{
    age, count, destination, fact, ink, ladder, mark, signal, signs, since, source, time, verdict, workload,
};
use super::view::{CauseView, View};
use super::{Context, Options, Probes, cluster, names, probed};
use crate::model::Mono;
use crate::model::verdict::{Evidence, Export, Severity, VerdictId};

/// From this width on, each finding has a row with columns, if all of them fit.
const WIDE: usize = 120;
/// Exporters that nothing is wrong with, or nothing known of, listed unless all are asked for.
const LISTED: usize = 10;
/// From then on it means something that nothing was seen.
const SOON: Duration = Duration::from_secs(5);
/// Facts shown of a finding.
const FACTS: usize = 6;
/// Exporters named of a cause.
const NAMED: usize = 4;

/// The table for people: what fails first, each with its proof and what to do.
#[must_use]
pub fn table(view: &View<'_>, context: Context<'_>, options: Options) -> String {
    let mut table = Table {
        page: Page::new(options),
        now: view.report.at,
        context,
        names_nodes: cluster::is_of_many(view),
    };
    table.title(view);
    let causes: Vec<&CauseView<'_>> = view
        .causes
        .iter()
        .filter(|cause| cause.cause.exports.len() > 1)
        .collect();
    for cause in &causes {
        table.cause(cause, &view.probes);
    }
    let alone: Vec<&Export> = view
        .failing()
        .filter(|export| {
            !causes
                .iter()
                .any(|cause| export.cause.as_ref() == Some(&cause.cause.id))
        })
        .collect();
    table.findings(&alone, &view.probes);
    table.unknown(view);
    table.fine(view);
    table.not_asked(view);
    table.notes(view);
    table.page.finish()
}

/// A row for each exporter, with every column, however wide.
#[must_use]
pub fn wide(view: &View<'_>, context: Context<'_>, options: Options) -> String {
    const HEAD: [&str; 13] = [
        "NODE",
        "WORKLOAD",
        "CONTAINER",
        "SIGNAL",
        "DESTINATION",
        "LEG",
        "LADDER",
        "VERDICT",
        "SEVERITY",
        "SINCE",
        "LAST SUCCESS",
        "ID",
        "SOURCE",
    ];
    let mut page = Page::new(options);
    let now = view.report.at;
    let or_dash = |cell: Cell| {
        if cell.is_empty() {
            Cell::new(Ink::Dim, "-")
        } else {
            cell
        }
    };
    let names_nodes = cluster::is_of_many(view);
    // Of one node there is nothing to tell apart.
    let without = usize::from(!names_nodes);
    let head = HEAD.map(|name| Cell::new(Ink::Bold, name));
    let mut rows = vec![head.into_iter().skip(without).collect()];
    rows.extend(view.exports.iter().map(|export| {
        let last = export
            .last_success
            .map_or_else(|| "never seen".to_owned(), |last| time(last, now, context.clock));
        let cells = [
            or_dash(page.cell(Ink::Plain, export.node.as_deref().unwrap_or_default())),
            page.cell(Ink::Bold, &names::workload(&export.workload)),
            or_dash(page.cell(
                Ink::Plain,
                export.workload.container.as_deref().unwrap_or_default(),
            )),
            or_dash(signal(&page, export)),
            destination(&page, export),
            Cell::new(Ink::Plain, export.leg.name()),
            signs(&page, export.rungs),
            verdict(&page, export.verdict, export.reason.as_deref(), export.severity),
            Cell::new(ink(export.severity), export.severity.name()),
            Cell::new(Ink::Plain, time(export.since, now, context.clock)),
            Cell::new(Ink::Plain, last),
            page.cell(Ink::Plain, &export.id),
            page.cell(Ink::Plain, &export.source.to_string()),
        ];
        cells.into_iter().skip(without).collect()
    }));
    let widths = widths(&rows);
    for row in &rows {
        page.columns(&Cell::default(), row, &widths);
    }
    let mut table = Table {
        page,
        now,
        context,
        names_nodes,
    };
    table.not_asked(view);
    table.notes(view);
    table.page.finish()
}

struct Table<'a> {
    page: Page,
    now: Mono,
    context: Context<'a>,
    /// Whether exporters are shown with their nodes.
    names_nodes: bool,
}

impl Table<'_> {
    /// The answer in one line.
    fn title(&mut self, view: &View<'_>) {
        let failing = view.failing().count();
        let all = view.exports.len();
        let (ink, answer) = if failing > 0 {
            let verb = if failing == 1 { "fails" } else { "fail" };
            (
                Ink::Red,
                format!("{failing} of {} {verb}", count(all, "exporter")),
            )
        } else if view.answer.is_some_and(|answer| answer.nodes.is_empty()) {
            (Ink::Yellow, "nobody answered".to_owned())
        } else if all == 0 {
            (Ink::Yellow, "no exporter was seen".to_owned())
        } else if view.unknown().next().is_some() {
            (Ink::Yellow, "nothing is known to fail".to_owned())
        } else {
            (Ink::Green, "nothing fails".to_owned())
        };
        let watched = format!("watched for {}", age(self.now.since(view.report.watching_since)));
        let whole = match view.answer {
            Some(answer) if answer.nodes.is_empty() => cluster::asked(answer),
            Some(answer) => format!("{}, {watched}", cluster::asked(answer)),
            None => watched,
        };
        let cells = [
            self.page.cell(Ink::Bold, self.context.node),
            Cell::new(ink, answer),
            Cell::new(Ink::Dim, format!("({whole})")),
        ];
        self.page.flow(&Cell::default(), 0, &cells);
        // At the very beginning there is nothing to conclude from that.
        let is_heard = view.answer.is_none_or(|answer| !answer.nodes.is_empty());
        if all == 0 && is_heard && self.now.since(view.report.watching_since) >= SOON {
            self.page.paragraph(
                "  ",
                Ink::Plain,
                Ink::Plain,
                "No process that was seen is configured to export, and nothing was sent to a path that takes telemetry. \
                 Exporters that are configured in files of their own show up when they send; [[exporter]] rules (--config) \
                 say what is expected of them.",
            );
        }
    }

    /// What many suffer from, once.
    fn cause(&mut self, view: &CauseView<'_>, probes: &Probes) {
        let cause = view.cause;
        self.page.gap();
        let lead = mark(&self.page, cause.severity);
        let headline = [
            verdict(&self.page, cause.verdict, cause.reason.as_deref(), cause.severity),
            Cell::new(
                Ink::Bold,
                format!(
                    "{} of {}{}",
                    count(cause.exports.len(), "exporter"),
                    count(cause.workloads as usize, "workload"),
                    match view.nodes {
                        nodes if self.names_nodes && nodes > 0 => format!(" on {}", count(nodes, "node")),
                        _ => String::new(),
                    },
                ),
            ),
            Cell::new(Ink::Bold, format!("-> {}", self.page.text(&cause.subject))),
            Cell::new(ink(cause.severity), cause.severity.name()),
            since(cause.since, self.now, self.context.clock),
        ];
        self.page.flow(&lead, 0, &headline);
        if let Some(worst) = view.exports.first() {
            let ladder = ladder(&self.page, worst.rungs);
            self.page.flow(&Cell::new(Ink::Plain, "  "), 2, &[ladder]);
        }
        self.named(view);
        if let Some(worst) = view.exports.first() {
            self.facts(&worst.evidence);
        }
        let advice = match cause.advice.is_empty() {
            true => view.exports.first().map_or(&[][..], |worst| &worst.advice),
            false => &cause.advice,
        };
        self.advice(advice);
        for export in &view.exports {
            if probes.contains_key(&export.id) {
                let who = self.who(export);
                self.page.flow(&Cell::new(Ink::Plain, "    "), 2, &who);
                self.probed(probes, export);
            }
        }
    }

    /// What active checks of it found.
    fn probed(&mut self, probes: &Probes, export: &Export) {
        if let Some(findings) = probes.get(&export.id) {
            probed::draw(&mut self.page, findings);
        }
    }

    /// A few of those who suffer, and how many more there are.
    fn named(&mut self, view: &CauseView<'_>) {
        let all = names::spread(view.exports.iter().map(|export| &*export.workload));
        let named = if self.page.options().all {
            all.len()
        } else {
            NAMED.min(all.len())
        };
        let mut line = all
            .iter()
            .take(named)
            .map(|name| &**name)
            .collect::<Vec<_>>()
            .join(", ");
        let pods = (view.cause.pods as usize).max(all.len());
        if pods > named {
            line.push_str(&format!(" and {} more", pods - named));
        }
        self.page.paragraph("  ", Ink::Plain, Ink::Plain, &line);
    }

    /// Failures of one exporter each.
    fn findings(&mut self, exports: &[&Export], probes: &Probes) {
        const HEAD: [&str; 7] = [
            "WORKLOAD",
            "SIGNAL",
            "DESTINATION",
            "LADDER",
            "VERDICT",
            "SEVERITY",
            "FOR",
        ];
        const MARK: usize = 2;
        let rows: Vec<Vec<Cell>> = exports
            .iter()
            .map(|export| {
                vec![
                    self.whose(export),
                    signal(&self.page, export),
                    destination(&self.page, export),
                    signs(&self.page, export.rungs),
                    verdict(
                        &self.page,
                        export.verdict,
                        export.reason.as_deref(),
                        export.severity,
                    ),
                    Cell::new(ink(export.severity), export.severity.name()),
                    Cell::new(Ink::Plain, age(self.now.since(export.since))),
                ]
            })
            .collect();
        let head = HEAD.map(|name| Cell::new(Ink::Dim, name)).to_vec();
        let with_head: Vec<Vec<Cell>> = std::iter::once(head.clone())
            .chain(rows.iter().cloned())
            .collect();
        let columns = (self.page.width() >= WIDE)
            .then(|| self.page.fit(MARK, &with_head))
            .flatten();
        match columns {
            Some(widths) if !rows.is_empty() => {
                self.page.gap();
                self.page.columns(&Cell::new(Ink::Plain, "  "), &head, &widths);
                for (export, row) in exports.iter().zip(&rows) {
                    let lead = mark(&self.page, export.severity);
                    self.page.columns(&lead, row, &widths);
                    self.details(export);
                    self.probed(probes, export);
                }
            }
            _ => {
                for export in exports {
                    self.page.gap();
                    self.block(export);
                    self.details(export);
                    self.probed(probes, export);
                }
            }
        }
    }

    /// A finding where columns do not fit.
    fn block(&mut self, export: &Export) {
        let lead = mark(&self.page, export.severity);
        let who = self.who(export);
        self.page.flow(&lead, 2, &who);
        let what = [
            verdict(
                &self.page,
                export.verdict,
                export.reason.as_deref(),
                export.severity,
            ),
            Cell::new(ink(export.severity), export.severity.name()),
            ladder(&self.page, export.rungs),
            since(export.since, self.now, self.context.clock),
        ];
        self.page.flow(&Cell::new(Ink::Plain, "  "), 0, &what);
    }

    /// `shop/checkout (app)  traces  -> http://collector:4318`
    fn who(&self, export: &Export) -> [Cell; 3] {
        let arrow = Cell::new(Ink::Plain, "-> ");
        let to = destination(&self.page, export);
        [self.whose(export), signal(&self.page, export), arrow.join(to)]
    }

    /// Whose it is, and where where that is not clear.
    fn whose(&self, export: &Export) -> Cell {
        let whose = workload(&self.page, &export.workload);
        match &export.node {
            Some(node) if self.names_nodes => whose.and(Ink::Dim, format!(" on {}", self.page.text(node))),
            _ => whose,
        }
    }

    /// The proof of a finding, and what to do.
    fn details(&mut self, export: &Export) {
        self.facts(&export.evidence);
        if let Some(source) = source(export) {
            self.page.paragraph("    - ", Ink::Dim, Ink::Plain, &source);
        }
        if let Some(last) = export.last_success {
            let ago = age(self.now.since(last));
            self.page.paragraph(
                "    - ",
                Ink::Dim,
                Ink::Plain,
                &format!("the last export was accepted {ago} ago"),
            );
        }
        if export.flaps > 0 {
            let flaps = count(export.flaps as usize, "time");
            self.page.paragraph(
                "    - ",
                Ink::Dim,
                Ink::Plain,
                &format!("came and went {flaps} before"),
            );
        }
        self.advice(&export.advice);
    }

    fn facts(&mut self, evidence: &[Evidence]) {
        for evidence in evidence.iter().take(FACTS) {
            let fact = fact(evidence, self.now);
            self.page.paragraph("    - ", Ink::Dim, Ink::Plain, &fact);
        }
        if evidence.len() > FACTS {
            let more = format!(
                "and {} (-o json has all)",
                count(evidence.len() - FACTS, "more fact")
            );
            self.page.paragraph("    - ", Ink::Dim, Ink::Dim, &more);
        }
    }

    fn advice(&mut self, advice: &[std::sync::Arc<str>]) {
        for (number, advice) in advice.iter().enumerate() {
            self.page
                .paragraph(&format!("    {}. ", number + 1), Ink::Cyan, Ink::Plain, advice);
        }
    }

    /// Exporters of which nothing can be said, with what is missing.
    fn unknown(&mut self, view: &View<'_>) {
        let unknown: Vec<&Export> = view.unknown().collect();
        let listed = self.listed(unknown.len());
        for (at, export) in unknown.iter().take(listed).enumerate() {
            if at == 0 {
                self.page.gap();
            }
            let lead = mark(&self.page, Severity::Unknown);
            let [who, signal, to] = self.who(export);
            let cells = [
                who,
                signal,
                to,
                verdict(
                    &self.page,
                    export.verdict,
                    export.reason.as_deref(),
                    Severity::Unknown,
                ),
                ladder(&self.page, export.rungs),
            ];
            self.page.flow(&lead, 2, &cells);
            self.facts(&export.evidence);
            self.advice(&export.advice);
        }
        if unknown.len() > listed {
            let more = format!(
                "and {} of which nothing can be said",
                count(unknown.len() - listed, "more exporter")
            );
            self.page.paragraph("  ", Ink::Plain, Ink::Plain, &more);
        }
    }

    fn listed(&self, there_are: usize) -> usize {
        if self.page.options().all {
            there_are
        } else {
            LISTED
        }
    }

    /// What is as it should be: all of it when it was asked for, or when there is little else to say.
    fn fine(&mut self, view: &View<'_>) {
        let fine: Vec<&Export> = view
            .exports
            .iter()
            .copied()
            .filter(|export| !export.verdict.is_failure() && export.verdict != VerdictId::Unknown)
            .collect();
        if fine.is_empty() {
            return;
        }
        self.page.gap();
        let is_listed = self.page.options().all || (fine.len() <= LISTED && fine.len() == view.exports.len());
        if is_listed {
            self.fine_rows(&fine);
        }
        let mut counts: BTreeMap<VerdictId, usize> = BTreeMap::new();
        for export in &fine {
            *counts.entry(export.verdict).or_default() += 1;
        }
        let counts: Vec<String> = counts
            .iter()
            .map(|(verdict, exporters)| format!("{} {verdict}", count(*exporters, "exporter")))
            .collect();
        let hint = if is_listed { "" } else { " (--all lists them)" };
        self.page.paragraph(
            "",
            Ink::Plain,
            Ink::Plain,
            &format!("{}{hint}", counts.join(", ")),
        );
    }

    fn fine_rows(&mut self, fine: &[&Export]) {
        const MARK: usize = 2;
        let rows: Vec<Vec<Cell>> = fine
            .iter()
            .map(|export| {
                let [who, signal, to] = self.who(export);
                let last = export.last_success.map_or_else(String::new, |last| {
                    format!("accepted {} ago", age(self.now.since(last)))
                });
                let verdict = verdict(
                    &self.page,
                    export.verdict,
                    export.reason.as_deref(),
                    export.severity,
                );
                vec![who, signal, to, verdict, Cell::new(Ink::Dim, last)]
            })
            .collect();
        let widths = self.page.fit(MARK, &rows);
        for (export, row) in fine.iter().zip(&rows) {
            let lead = mark(&self.page, export.severity);
            match &widths {
                Some(widths) => self.page.columns(&lead, row, widths),
                None => self.page.flow(&lead, 2, row),
            }
        }
    }

    /// Nodes that nothing is known of.
    fn not_asked(&mut self, view: &View<'_>) {
        let lines = view.answer.map(cluster::not_asked).unwrap_or_default();
        if !lines.is_empty() {
            self.page.gap();
        }
        for line in lines {
            self.page.paragraph("not asked: ", Ink::Red, Ink::Plain, &line);
        }
    }

    /// What may be wrong with the answer itself.
    fn notes(&mut self, view: &View<'_>) {
        let report = view.report;
        let mut notes = Vec::new();
        if report.events_lost > 0 {
            notes.push(format!(
                "{} never arrived{}: a verdict may lack evidence (obsflow status says where they were lost)",
                count(usize::try_from(report.events_lost).unwrap_or(usize::MAX), "event"),
                cluster::on(view.answer, |node| node.events_lost > 0),
            ));
        }
        if report.exports_forgotten > 0 {
            notes.push(format!(
                "{} forgotten, because there were too many{}",
                count(
                    usize::try_from(report.exports_forgotten).unwrap_or(usize::MAX),
                    "exporter"
                ),
                cluster::on(view.answer, |node| node.exports_forgotten > 0),
            ));
        }
        notes.extend(report.degraded.iter().map(ToString::to_string));
        if !notes.is_empty() {
            self.page.gap();
        }
        for note in notes {
            self.page.paragraph("note: ", Ink::Yellow, Ink::Plain, &note);
        }
    }
}
