//! `injection-missing`: an annotation asks for an SDK, and the pod shows no trace of one.
//!
//! What the pod's specification shows is certain at once. What exports all the same is believed over it, and so is an SDK
//! that a process has: it came there in another way.

use super::{Case, Finding, Rule};
use crate::model::expectation::{SenderProof, Setting};
use crate::model::injection::{NotInjected, Why};
use crate::model::verdict::{Rung, VerdictId};

pub(super) const RULE: Rule = Rule {
    id: VerdictId::InjectionMissing,
    fires: |case| {
        let missing = case.container.injection.as_deref()?;
        if matches!(case.exporter.setting, Setting::Off(_)) || exports(case) || has_sdk(case) {
            return None;
        }
        let finding = Finding::new(
            VerdictId::InjectionMissing,
            Rung::Configured,
            case.watched_since(),
        )
        .about(Some(subject(missing)));
        Some(match missing.why {
            Some(why) => finding.because(why.name()),
            None => finding,
        })
    },
    tells: |case, told| {
        let Some(missing) = case.container.injection.as_deref() else {
            return;
        };
        for asked in &missing.asked {
            told.fact("annotation", format!("{} has {asked}", missing.annotated()));
        }
        if missing.why == Some(Why::OnOwner) {
            told.fact(
                "annotation",
                format!(
                    "neither pod {} nor namespace {} has it, and the operator looks at no other object",
                    missing.pod, missing.namespace
                ),
            );
        }
        told.fact(
            "pod",
            format!(
                "pod {} has nothing that the operator injects: no init container, no sidecar, no variable",
                missing.pod
            ),
        );
        let created = missing.created.map(|at| format!("the pod was made at {at}"));
        let since = missing.since.map(|at| match missing.why {
            Some(Why::PodOlder) => format!("only at {at} could the operator have been asked"),
            _ => format!("it was asked for at {at}"),
        });
        match (created, since) {
            (Some(created), Some(since)) => told.fact("pod", format!("{created}; {since}")),
            (Some(one), None) | (None, Some(one)) => told.fact("pod", one),
            (None, None) => {}
        }
    },
};

/// What the pods of one owner have in common.
fn subject(missing: &NotInjected) -> String {
    let name = missing.owner.as_ref().map_or(&missing.pod, |owner| &owner.name);
    format!("{}/{name}", missing.namespace)
}

/// Whether it exports, or tries to.
fn exports(case: &Case<'_>) -> bool {
    let container = case.container;
    let exports = |exporter: &super::Exporter| {
        exporter.sent_before.is_some() || exporter.accepted.requests.any() || exporter.accepted.ok.any()
    };
    container.exporters.iter().any(exports) || container.destinations.iter().any(|to| to.wire.any())
}

/// Whether an SDK is in it, by what its processes show.
fn has_sdk(case: &Case<'_>) -> bool {
    let is_sdk = |proof: &SenderProof| !matches!(proof, SenderProof::Configured);
    case.container.proofs.iter().any(is_sdk)
}
