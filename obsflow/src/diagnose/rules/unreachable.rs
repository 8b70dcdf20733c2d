//! `unreachable`: no route to any address of the attempt, no neighbour that answers, or no local port to connect from.

use super::dns::errno_name;
use super::{Case, Finding, Rule};
use crate::diagnose::exporter::Failed;
use crate::model::verdict::{Rung, VerdictId};

pub(super) const RULE: Rule = Rule {
    id: VerdictId::Unreachable,
    fires,
    tells: super::tell_connects,
};

/// Why it is not the way that is missing.
pub(in crate::diagnose) const NO_LOCAL_PORT: &str = "no-local-port";
/// No local port is left for another connection to the address.
const EADDRNOTAVAIL: u32 = 99;

fn fires(case: &Case<'_>) -> Option<Finding> {
    let failed = case.failed_connects()?;
    let first = failed.first()?;
    let is = |how| matches!(how, Failed::Unreachable | Failed::Local);
    if !failed.iter().all(|address| is(address.how)) {
        return None;
    }
    let since = failed.iter().map(|address| address.seen.first).min()?;
    let finding = Finding::new(VerdictId::Unreachable, Rung::Connected, since);
    Some(match first.errno {
        0 => finding,
        EADDRNOTAVAIL if first.how == Failed::Local => finding.because(NO_LOCAL_PORT),
        errno => finding.because(errno_name(errno)),
    })
}
