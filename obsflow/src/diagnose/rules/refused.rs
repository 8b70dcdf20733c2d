//! `refused`: a RST answers the SYN, on every address of the attempt.

use super::{Case, Finding, Rule};
use crate::diagnose::exporter::Failed;
use crate::model::verdict::{Rung, VerdictId};

pub(super) const RULE: Rule = Rule {
    id: VerdictId::Refused,
    fires,
    tells: super::tell_connects,
};

fn fires(case: &Case<'_>) -> Option<Finding> {
    let failed = case.failed_connects()?;
    let says_no = |how| matches!(how, Failed::Refused | Failed::NoEndpoints);
    if !failed.iter().all(|address| says_no(address.how)) {
        return None;
    }
    let since = failed.iter().map(|address| address.seen.first).min()?;
    Some(Finding::new(VerdictId::Refused, Rung::Connected, since))
}
