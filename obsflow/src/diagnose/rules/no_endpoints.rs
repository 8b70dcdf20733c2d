//! `no-endpoints`: an ICMP error or a REJECT answers every SYN, as for a Service without a ready endpoint; or whatever answers,
//! or nothing, where the cluster says that the Service has none.

use super::{Case, Finding, Rule};
use crate::diagnose::exporter::{Address, Failed};
use crate::model::verdict::{Rung, VerdictId};

pub(super) const RULE: Rule = Rule {
    id: VerdictId::NoEndpoints,
    fires,
    tells: super::tell_connects,
};

fn fires(case: &Case<'_>) -> Option<Finding> {
    let failed = case.failed_connects()?;
    // How a CNI treats such a Service is its own affair: some drop, some answer by RST.
    let is_empty = |address: &Address| {
        address.how != Failed::Dropped
            && case
                .facts
                .and_then(|facts| facts.service_at(address.ip))
                .is_some_and(|service| service.ready == 0)
    };
    let is_so = |address: &&Address| address.how == Failed::NoEndpoints || is_empty(address);
    if !failed.iter().all(is_so) {
        return None;
    }
    let since = failed.iter().map(|address| address.seen.first).min()?;
    Some(Finding::new(VerdictId::NoEndpoints, Rung::Connected, since))
}
