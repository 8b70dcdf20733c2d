//! `no-endpoints`: an ICMP error or a REJECT answers every SYN, as for a Service without a ready endpoint.

use super::{Case, Finding, Rule};
use crate::diagnose::exporter::Failed;
use crate::model::verdict::{Rung, VerdictId};

pub(super) const RULE: Rule = Rule {
    id: VerdictId::NoEndpoints,
    fires,
    tells: super::tell_connects,
};

fn fires(case: &Case<'_>) -> Option<Finding> {
    let failed = case.failed_connects()?;
    if !failed.iter().all(|address| address.how == Failed::NoEndpoints) {
        return None;
    }
    let since = failed.iter().map(|address| address.seen.first).min()?;
    Some(Finding::new(VerdictId::NoEndpoints, Rung::Connected, since))
}
