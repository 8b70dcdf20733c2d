//! `misconfigured`, `disabled`: what is configured cannot work, not as it is meant, or is switched off.
//!
//! What arrives all the same is believed over what is written: some SDKs take an endpoint without scheme, Go's does not
//! read `OTEL_SDK_DISABLED`. Only a time-out in the wrong unit is wrong while everything works. Linux takes the unspecified
//! address for this machine: it is wrong when nobody listens there.

use super::{Case, Finding, Rule};
use crate::diagnose::evidence::Told;
use crate::model::expectation::{Misconfiguration, Setting};
use crate::model::verdict::{Rung, VerdictId};

pub(super) const MISCONFIGURED: Rule = Rule {
    id: VerdictId::Misconfigured,
    fires: misconfigured,
    tells: |case, told| {
        if let Setting::Broken(what) = &case.exporter.setting {
            told.fact("configuration", words(what));
        }
        if case.to.is_some_and(|to| !to.wire.any()) {
            told.fact("wire", "nothing of it on the wire");
        }
        super::tell_connects(case, told);
    },
};

pub(super) const DISABLED: Rule = Rule {
    id: VerdictId::Disabled,
    fires: |case| {
        let Setting::Off(_) = &case.exporter.setting else {
            return None;
        };
        let sends = case.exporter.accepted.requests.any() || case.to.is_some_and(|to| to.tls.ok.any());
        (!sends).then(|| Finding::new(VerdictId::Disabled, Rung::Configured, case.watched_since()))
    },
    tells: |case, told| {
        if let Setting::Off(by) = &case.exporter.setting {
            told.fact("configuration", format!("switched off by {by}"));
        }
    },
};

fn misconfigured(case: &Case<'_>) -> Option<Finding> {
    let Setting::Broken(what) = &case.exporter.setting else {
        return None;
    };
    let accepted = &case.exporter.accepted;
    let works = accepted.ok.any() && !accepted.rejected.any()
        || !accepted.requests.any() && case.to.is_some_and(|to| to.tls.ok.any());
    let in_time = !matches!(what, Misconfiguration::TimeoutUnit { .. });
    if works && in_time || !works && !is_exporter(case) {
        return None;
    }
    if *what == Misconfiguration::UnspecifiedAddress && case.failed_connects().is_none() {
        return None;
    }
    let finding =
        Finding::new(VerdictId::Misconfigured, Rung::Configured, case.watched_since()).because(reason(what));
    Some(if works { finding.partly() } else { finding })
}

/// Whether anything says that it exports, or tries to: a variable is no proof. Namespaces hand theirs to every container
/// (`envFrom`), to nginx and shells, too, which read none of them.
fn is_exporter(case: &Case<'_>) -> bool {
    !case.container.proofs.is_empty()
        || case.exporter.sent_before.is_some()
        || case.exporter.accepted.requests.any()
        || case.container.destinations.iter().any(|to| to.wire.any())
        || super::silent::siblings(case).is_some()
}

fn reason(what: &Misconfiguration) -> &'static str {
    match what {
        Misconfiguration::NoScheme => "no-scheme",
        Misconfiguration::Unexpanded => "unexpanded",
        Misconfiguration::DoubledPath => "doubled-path",
        Misconfiguration::TimeoutUnit { .. } => "timeout-unit",
        Misconfiguration::UnspecifiedAddress => "unspecified-address",
        Misconfiguration::UnknownScheme(_) => "unknown-scheme",
        Misconfiguration::Unreadable(_) => "unreadable",
    }
}

fn words(what: &Misconfiguration) -> String {
    match what {
        Misconfiguration::NoScheme => "the endpoint has no http:// or https://".to_owned(),
        Misconfiguration::Unexpanded => "a variable in the endpoint was not expanded".to_owned(),
        Misconfiguration::DoubledPath => {
            "the signal's path is appended to an endpoint that ends with one already".to_owned()
        }
        Misconfiguration::TimeoutUnit { value, means } => format!(
            "the time-out is set to {value}, which this SDK takes for {}",
            Told::duration(*means)
        ),
        Misconfiguration::UnspecifiedAddress => {
            "the endpoint is the address that servers listen on, not one to connect to".to_owned()
        }
        Misconfiguration::UnknownScheme(scheme) => format!("no exporter knows the scheme {scheme:?}"),
        Misconfiguration::Unreadable(why) => format!("the endpoint cannot be read: {why}"),
    }
}
