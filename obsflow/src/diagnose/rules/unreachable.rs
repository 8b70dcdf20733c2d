//! `unreachable`: no route to any address of the attempt, or no neighbour that answers.

use super::dns::errno_name;
use super::{Case, Finding, Rule};
use crate::diagnose::exporter::Failed;
use crate::model::verdict::{Rung, VerdictId};

pub(super) const RULE: Rule = Rule {
    id: VerdictId::Unreachable,
    fires,
    tells: super::tell_connects,
};

fn fires(case: &Case<'_>) -> Option<Finding> {
    let failed = case.failed_connects()?;
    let first = failed.first()?;
    if !failed.iter().all(|address| address.how == Failed::Unreachable) {
        return None;
    }
    let since = failed.iter().map(|address| address.seen.first).min()?;
    let finding = Finding::new(VerdictId::Unreachable, Rung::Connected, since);
    Some(match first.errno {
        0 => finding,
        errno => finding.because(errno_name(errno)),
    })
}
