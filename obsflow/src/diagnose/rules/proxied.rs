//! `proxied`: the exporter talks to a proxy that its environment names, often without anybody meaning it to.
//!
//! Known from requests in absolute form or `CONNECT` for its endpoint; or from connections to the proxy where none ever went
//! to the endpoint, and the proxy is asked for nothing else.

use super::{Case, Finding, Rule};
use crate::model::exchange::TargetForm;
use crate::model::verdict::{Rung, VerdictId};

pub(super) const RULE: Rule = Rule {
    id: VerdictId::Proxied,
    fires,
    tells: |case, told| {
        let accepted = &case.exporter.accepted;
        if let (Some(request), true) = (&accepted.request, accepted.proxied.any()) {
            let proxy = accepted.proxy.map(|proxy| proxy.to_string()).unwrap_or_default();
            let authority = request.authority.as_deref().unwrap_or_default();
            let path = request.path.as_deref().unwrap_or_default();
            let line = match request.form {
                TargetForm::Authority => format!("CONNECT {authority}"),
                _ => {
                    let method = request.method.as_deref().unwrap_or("POST");
                    format!("{method} http://{authority}{path}")
                }
            };
            told.seen(
                "proxy",
                format!("{line} sent to the proxy {proxy}"),
                accepted.proxied,
            );
        } else if let Some(proxy) = case.proxy {
            told.seen(
                "proxy",
                format!(
                    "connections go to the proxy {}:{}, none to the endpoint",
                    proxy.host, proxy.port
                ),
                proxy.connects.attempts,
            );
        }
    },
};

fn fires(case: &Case<'_>) -> Option<Finding> {
    let accepted = &case.exporter.accepted;
    let finding = |since| Finding::new(VerdictId::Proxied, Rung::Connected, since);
    if accepted.proxied.any() {
        let works = accepted.ok.any() && !accepted.rejected.any() && !accepted.unanswered.any();
        let finding = finding(accepted.proxied.first);
        return Some(if works { finding.partly() } else { finding });
    }
    let (to, proxy) = (case.to?, case.proxy?);
    let only_the_proxy = proxy.connects.attempts.any()
        && !proxy.foreign.any()
        && !to.connects.attempts.any()
        && !to.connects.adopted.any()
        && !accepted.requests.any();
    // A plain connection is made before its first request says whom it is for.
    let settled = case.now.since(proxy.connects.attempts.first) >= SETTLED;
    (only_the_proxy && settled).then(|| finding(proxy.connects.attempts.first))
}

/// How long after the first connection to a proxy its requests would have been seen.
const SETTLED: std::time::Duration = std::time::Duration::from_secs(3);
