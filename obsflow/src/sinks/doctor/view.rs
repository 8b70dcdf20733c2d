//! The part of a report that was asked for, and what it means as a whole.

use std::collections::{HashMap, HashSet};

use super::{Probes, Selectors};
use crate::model::Workload;
use crate::model::answer::Answer;
use crate::model::verdict::{Cause, Export, Report, VerdictId};

/// A part of a report.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// All of it.
    pub report: &'a Report,
    /// Its exporters that were asked for, the worst first.
    pub exports: Vec<&'a Export>,
    /// Causes of failures of these.
    pub causes: Vec<CauseView<'a>>,
    /// For each workload that was asked for and not seen, a line that says so.
    pub unmatched: Vec<String>,
    /// What active checks found, of the exporters that were checked.
    pub probes: Probes,
    /// Where the report is of several nodes: which they are.
    pub answer: Option<&'a Answer>,
}

/// A cause, and which of its exporters were asked for.
#[derive(Clone, Debug)]
pub struct CauseView<'a> {
    /// The cause.
    pub cause: &'a Cause,
    /// Those of its exporters that were asked for.
    pub exports: Vec<&'a Export>,
    /// Nodes that have it, whatever was asked for; 0 where the report is of one node.
    pub nodes: usize,
}

/// Exit code when nothing fails.
pub const EXIT_NOTHING: u8 = 0;
/// Exit code when something fails.
pub const EXIT_FINDINGS: u8 = 1;
/// Exit code when it could not be told.
pub const EXIT_UNKNOWN: u8 = 3;

impl<'a> View<'a> {
    /// The part that `selectors` ask for.
    #[must_use]
    pub fn new(report: &'a Report, selectors: &Selectors) -> Self {
        let mut view = Self::choose(report, |workload| selectors.matches(workload));
        view.unmatched = selectors.unmatched(report);
        view
    }

    /// The part of an answer that was asked for.
    #[must_use]
    pub fn of(answer: &'a Answer) -> Self {
        let mut view = Self::choose(&answer.report, |workload| answer.chosen.matches(workload));
        view.unmatched.clone_from(&answer.unmatched);
        view.answer = Some(answer);
        view
    }

    fn choose(report: &'a Report, is_chosen: impl Fn(&Workload) -> bool) -> Self {
        let exports: Vec<&Export> = report
            .exports
            .iter()
            .filter(|export| is_chosen(&export.workload))
            .collect();
        let mut on: HashMap<&str, HashSet<&str>> = HashMap::new();
        for export in &report.exports {
            if let (Some(cause), Some(node)) = (&export.cause, &export.node) {
                on.entry(cause).or_default().insert(node);
            }
        }
        let mut of_cause: HashMap<&str, Vec<&Export>> = HashMap::new();
        for export in &exports {
            if let Some(cause) = &export.cause {
                of_cause.entry(cause).or_default().push(export);
            }
        }
        let causes = report
            .causes
            .iter()
            .filter_map(|cause| {
                let exports = of_cause.remove(&*cause.id)?;
                Some(CauseView {
                    cause,
                    exports,
                    nodes: on.get(&*cause.id).map_or(0, HashSet::len),
                })
            })
            .collect();
        Self {
            report,
            exports,
            causes,
            unmatched: Vec::new(),
            probes: Probes::new(),
            answer: None,
        }
    }

    /// With what active checks found.
    #[must_use]
    pub fn with_probes(mut self, probes: Probes) -> Self {
        self.probes = probes;
        self
    }

    /// Exporters whose destinations are worth active checks, at most `most`: failing ones, one of each cause before more
    /// of the same, and a container's destination once, whatever its signals.
    #[must_use]
    pub fn to_probe(&self, most: usize) -> Vec<&'a Export> {
        let mut seen = HashSet::new();
        let destinations = self.failing().filter(|export| {
            let to = export.endpoint.as_ref();
            let to = to.map(|to| (&to.host, to.port, to.tls, to.transport));
            to.is_some() && seen.insert((&export.container, to))
        });
        let mut causes = HashSet::new();
        let (first, more): (Vec<_>, Vec<_>) = destinations.partition(|export| {
            let cause = export.cause.as_ref();
            cause.is_none_or(|cause| causes.insert(cause))
        });
        first.into_iter().chain(more).take(most).collect()
    }

    /// Exporters that fail.
    pub fn failing(&self) -> impl Iterator<Item = &'a Export> {
        self.exports
            .iter()
            .copied()
            .filter(|export| export.verdict.is_failure())
    }

    /// Exporters of which nothing can be said.
    pub fn unknown(&self) -> impl Iterator<Item = &'a Export> {
        self.exports
            .iter()
            .copied()
            .filter(|export| export.verdict == VerdictId::Unknown)
    }

    /// What a process that shows it ends with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.failing().next().is_some() {
            EXIT_FINDINGS
        } else if self.unknown().next().is_some()
            || !self.unmatched.is_empty()
            || self.answer.is_some_and(|answer| !answer.not_asked.is_empty())
        {
            EXIT_UNKNOWN
        } else {
            EXIT_NOTHING
        }
    }
}
