//! Names of exporters and causes, and failures with one cause made one line.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::model::exchange::Signal;
use crate::model::expectation::{ContainerKey, Endpoint, Host};
use crate::model::time::Mono;
use crate::model::verdict::{Cause, Export, Report, VerdictId};
use crate::model::workload::Workload;

use super::Diagnoser;

/// FNV-1a with 64 bits: the same on every machine and in every version, which hashers of the standard library and of
/// `foldhash` are not. Names things; it keeps nobody from making collisions.
#[derive(Clone, Copy)]
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn part(mut self, text: &str) -> Self {
        for byte in text.bytes().chain([0xff]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self
    }

    /// 12 hexadecimal digits.
    fn id(self) -> Arc<str> {
        // FNV mixes its low bits least: fold the high ones in.
        let folded = (self.0 ^ (self.0 >> 48)) & 0xffff_ffff_ffff;
        Arc::from(format!("{folded:012x}").as_str())
    }
}

/// Names an exporter: container, destination (or what is written where there is none) and signal.
pub(super) fn export_id(
    container: &ContainerKey,
    endpoint: Option<&Endpoint>,
    written: &str,
    signal: Option<Signal>,
) -> Arc<str> {
    let to = match endpoint {
        Some(endpoint) => authority(&endpoint.host, endpoint.port),
        None => written.to_owned(),
    };
    Fnv::new()
        .part(&container.0)
        .part(&to)
        .part(signal.map_or("", Signal::name))
        .id()
}

/// `host:port`.
pub(super) fn authority(host: &Host, port: u16) -> String {
    format!("{host}:{port}")
}

/// What replicas have in common: namespace, workload and container.
pub(super) fn family(workload: &Workload) -> u64 {
    let text = |part: &Option<Arc<str>>| part.clone().unwrap_or_else(|| Arc::from(""));
    Fnv::new()
        .part(&text(&workload.namespace))
        .part(&workload.name())
        .part(&text(&workload.container))
        .0
}

/// What a failure is about, so that those who suffer from the same have the same subject.
fn subject(export: &Export) -> String {
    let to = || match &export.endpoint {
        Some(endpoint) => authority(&endpoint.host, endpoint.port),
        None => export.written.to_string(),
    };
    match export.verdict {
        VerdictId::DnsNxdomain => match &export.endpoint {
            Some(endpoint) => endpoint.host.to_string(),
            None => to(),
        },
        // One cause for each workload: another one's silence has its own.
        VerdictId::Silent | VerdictId::Stopped => {
            let name = export.workload.name();
            match &export.workload.namespace {
                Some(namespace) => format!("{namespace}/{name}"),
                None => name.to_string(),
            }
        }
        VerdictId::Misconfigured => export.written.to_string(),
        _ => to(),
    }
}

/// Whom a cause concerns.
#[derive(Debug, Default)]
pub(crate) struct Members {
    pods: foldhash::HashSet<Arc<str>>,
    /// By namespace and name: the kinds that go by that name, none where what runs the pod is not known.
    workloads: foldhash::HashMap<String, foldhash::HashSet<Arc<str>>>,
}

impl Members {
    /// Takes in one of its exporters.
    pub(crate) fn add(&mut self, export: &Export) {
        let workload = &export.workload;
        let mut full = String::new();
        let _ = write!(
            full,
            "{}/{}",
            workload.namespace.as_deref().unwrap_or_default(),
            workload.name()
        );
        let kinds = self.workloads.entry(full).or_default();
        kinds.extend(workload.owner.as_ref().map(|owner| Arc::clone(&owner.kind)));
        self.pods.insert(match (&workload.pod_uid, &export.node) {
            (Some(uid), _) => Arc::clone(uid),
            (None, None) => Arc::clone(&export.container.0),
            // The unit of the same name on another node is another one.
            (None, Some(node)) => format!("{node} {}", export.container.0).into(),
        });
    }

    /// Says how many they are.
    pub(crate) fn count(&self, cause: &mut Cause) {
        cause.pods = u32::try_from(self.pods.len()).unwrap_or(u32::MAX);
        // A StatefulSet beside a Deployment of the same name is another one, a pod whose owner is not known is not.
        let workloads: usize = self.workloads.values().map(|kinds| kinds.len().max(1)).sum();
        cause.workloads = u32::try_from(workloads).unwrap_or(u32::MAX);
    }
}

/// The worst first, then by name.
pub(crate) fn order_exports(exports: &mut [Export]) {
    exports.sort_by(|a, b| {
        (b.severity, a.verdict)
            .cmp(&(a.severity, b.verdict))
            .then_with(|| name_key(&a.workload).cmp(&name_key(&b.workload)))
            .then_with(|| a.written.cmp(&b.written))
            .then_with(|| (a.signal, &a.id, &a.node).cmp(&(b.signal, &b.id, &b.node)))
    });
}

/// The worst first, then those that concern most.
pub(crate) fn order_causes(causes: &mut [Cause]) {
    for cause in causes.iter_mut() {
        cause.exports.sort();
    }
    causes.sort_by(|a, b| {
        (b.severity, b.exports.len(), a.verdict)
            .cmp(&(a.severity, a.exports.len(), b.verdict))
            .then_with(|| (&a.subject, &a.id).cmp(&(&b.subject, &b.id)))
    });
}

/// The report: exports in order, failures by cause.
pub(super) fn report(diagnoser: &Diagnoser, exports: Vec<(Export, Option<Arc<str>>)>, now: Mono) -> Report {
    let mut causes: Vec<Cause> = Vec::new();
    let mut all = Vec::with_capacity(exports.len());
    let mut by_id: foldhash::HashMap<Arc<str>, usize> = foldhash::HashMap::default();
    let mut members: Vec<Members> = Vec::new();
    for (mut export, shared) in exports {
        if export.verdict.is_failure() {
            let subject = shared.map_or_else(|| subject(&export), |shared| shared.to_string());
            let id = Fnv::new()
                .part(export.verdict.name())
                .part(export.reason.as_deref().unwrap_or_default())
                .part(&subject)
                .id();
            let index = *by_id.entry(Arc::clone(&id)).or_insert_with(|| {
                causes.push(Cause {
                    id: Arc::clone(&id),
                    verdict: export.verdict,
                    reason: export.reason.clone(),
                    severity: export.severity,
                    subject: Arc::from(subject.as_str()),
                    since: export.since,
                    exports: Vec::new(),
                    pods: 0,
                    workloads: 0,
                    advice: export.advice.clone(),
                });
                members.push(Members::default());
                causes.len() - 1
            });
            if let (Some(cause), Some(members)) = (causes.get_mut(index), members.get_mut(index)) {
                cause.severity = cause.severity.max(export.severity);
                cause.since = cause.since.min(export.since);
                cause.exports.push(Arc::clone(&export.id));
                members.add(&export);
            }
            export.cause = Some(id);
        }
        all.push(export);
    }
    for (cause, members) in causes.iter_mut().zip(&members) {
        members.count(cause);
    }
    order_exports(&mut all);
    order_causes(&mut causes);
    Report {
        at: now,
        watching_since: diagnoser.node.watching_since,
        exports: all,
        causes,
        events_lost: diagnoser.node.lost.total(),
        exports_forgotten: diagnoser.forgotten,
        degraded: diagnoser.config.degraded.clone(),
    }
}

fn name_key(workload: &Workload) -> (Option<&str>, Option<&str>, Option<&str>, Option<&str>) {
    (
        workload.namespace.as_deref(),
        workload.pod.as_deref(),
        workload.container.as_deref(),
        workload.unit.as_deref(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_the_same() {
        let key = ContainerKey(Arc::from("c1"));
        let id = export_id(&key, None, "otel:4317", Some(Signal::Traces));
        assert_eq!(id.len(), 12);
        assert_eq!(id, export_id(&key, None, "otel:4317", Some(Signal::Traces)));
        assert_ne!(id, export_id(&key, None, "otel:4317", Some(Signal::Logs)));
        assert_ne!(id, export_id(&key, None, "otel:4318", Some(Signal::Traces)));
    }
}
