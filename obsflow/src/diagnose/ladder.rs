//! The state of every rung.

use crate::model::expectation::Host;
use crate::model::verdict::{Rung, RungState, Rungs, VerdictId};

use super::joining::is_localhost;
use super::rules::{Case, Finding};

/// The ladder of an exporter for which this was found.
pub(super) fn rungs(case: &Case<'_>, finding: &Finding) -> Rungs {
    let mut rungs = Rungs::default();
    for rung in Rung::ALL {
        rungs.set(rung, seen(case, rung));
    }
    let failed = finding.rung;
    if !finding.id.is_failure() {
        if finding.id == VerdictId::Healthy {
            below(&mut rungs, Rung::Accepted);
            let taken = case.exporter.accepted.ok.any();
            rungs.set(
                Rung::Accepted,
                if taken { RungState::Ok } else { RungState::Unknown },
            );
        }
        // An application's leg whose sidecar has no way on: what was taken before says nothing of now.
        if finding.id == VerdictId::Unknown && failed == Rung::Accepted {
            rungs.set(failed, RungState::Unknown);
        }
        return rungs;
    }
    below(&mut rungs, failed);
    rungs.set(failed, RungState::Failed);
    // A doubtful configuration or a proxy may carry exports all the same.
    let carries = matches!(finding.id, VerdictId::Misconfigured | VerdictId::Proxied);
    for rung in Rung::ALL.into_iter().filter(|rung| *rung > failed) {
        if !(carries && rungs.get(rung) == RungState::Ok) {
            rungs.set(rung, RungState::NotReached);
        }
    }
    rungs
}

/// Whoever came this far passed the rungs below.
fn below(rungs: &mut Rungs, rung: Rung) {
    for lower in Rung::ALL.into_iter().filter(|lower| *lower < rung) {
        if rungs.get(lower) != RungState::NotApplicable {
            rungs.set(lower, RungState::Ok);
        }
    }
}

/// What was seen of one rung.
fn seen(case: &Case<'_>, rung: Rung) -> RungState {
    let ok = |yes: bool| if yes { RungState::Ok } else { RungState::Unknown };
    let accepted = &case.exporter.accepted;
    let Some(to) = case.to else {
        return ok(rung == Rung::Configured && case.exporter.endpoint.is_some());
    };
    let connected = to.connects.ok.any() || to.connects.adopted.any() || accepted.requests.any();
    match rung {
        Rung::Configured => RungState::Ok,
        Rung::Resolved => match &to.host {
            Host::Ip(_) => RungState::NotApplicable,
            Host::Name(name) if is_localhost(name) => RungState::NotApplicable,
            Host::Name(_) => ok(to.dns.ok.any() || connected),
        },
        Rung::Connected => ok(connected),
        Rung::Sent => ok(accepted.requests.any() || to.tls.ok.any()),
        Rung::Accepted => ok(accepted.ok.any()),
    }
}
