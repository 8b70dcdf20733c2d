//! `stopped`, `silent`: it should send, and nothing of it is on the wire.
//!
//! Silence is judged for a whole container, never for one signal of it: traces at rest and metrics without instruments
//! send nothing, for ever, and that is right. It takes a proof that the container can send, and, where that can be told,
//! something it had to do. Without either the exporter is idle.

use std::time::Duration;

use super::{Case, EXPORTS, Finding, Rule};
use crate::diagnose::Senders;
use crate::diagnose::evidence::Told;
use crate::diagnose::exporter::{Container, Exporter};
use crate::model::exchange::Signal;
use crate::model::expectation::{Host, SenderProof, Setting, Source};
use crate::model::time::Mono;
use crate::model::verdict::{Rung, VerdictId};

pub(super) const STOPPED: Rule = Rule {
    id: VerdictId::Stopped,
    fires: |case| {
        let last = last_sent(case)?;
        // What was lost may have been of it: the time begins anew. What is called so already has not sent since either.
        let lost = match case.exporter.held.verdict {
            Some(VerdictId::Stopped) => None,
            _ => case.node.lost.hid(EXPORTS),
        };
        let since = last.max(case.node.watching_since).max(lost.unwrap_or_default());
        if case.now.since(since) < stop_window(case)? || is_blind(case) {
            return None;
        }
        Some(Finding::new(VerdictId::Stopped, Rung::Configured, last))
    },
    tells: |case, told| {
        if let Some(last) = last_sent(case) {
            let quiet = Told::duration(case.now.since(last));
            told.lines.push(crate::model::verdict::Evidence {
                kind: "sent",
                text: format!("it sent before, the last time {quiet} ago").into(),
                count: u64::from(case.exporter.accepted.ok.count),
                last: Some(last),
            });
        }
        told.fact("alive", "its process lives");
        if case.container.work.any() {
            told.seen(
                "work",
                "it looks up and connects to others".to_owned(),
                case.container.work,
            );
        }
    },
};

pub(super) const SILENT: Rule = Rule {
    id: VerdictId::Silent,
    fires: |case| silent(case).filter(|_| !is_blind(case)),
    tells: |case, told| {
        let container = case.container;
        told.fact(
            "wire",
            format!(
                "no look-up, no connection, no packet of any of its exporters in {}",
                Told::duration(case.now.since(case.watched_since()))
            ),
        );
        for proof in &container.proofs {
            told.fact("sender", format!("it can send: {proof}"));
        }
        if let Some(Senders { count, last, .. }) = siblings(case) {
            told.lines.push(crate::model::verdict::Evidence {
                kind: "sender",
                text: format!("{count} of its replicas on this node send").into(),
                count: u64::from(count),
                last: Some(last),
            });
        }
        if let Some(last) = case.exporter.sent_before {
            told.lines.push(crate::model::verdict::Evidence {
                kind: "sender",
                text: "it sent before obsflow was started again".into(),
                count: 1,
                last: Some(last),
            });
        }
        if let Some(served) = container.served {
            told.fact(
                "work",
                format!(
                    "connections were accepted in its network namespace for {}",
                    Told::duration(case.now.since(served))
                ),
            );
        }
        let others: Vec<String> = container
            .exporters
            .iter()
            .filter(|other| other.id != case.exporter.id && is_on(other))
            .map(|other| format!("{} ({})", written(other), other.source))
            .collect();
        if !others.is_empty() {
            told.fact("source", format!("silent as well: {}", others.join("; ")));
        }
    },
};

/// How long programs that are watched from their start, and seen to work, may take to export, beside their intervals. With a
/// second until the next tick, silence is said within two intervals and 5 s of exec.
const START_UP: Duration = Duration::from_secs(4);
/// How long a program that was not seen to do anything so far may need to come up: a virtual machine with an agent.
const COMING_UP: Duration = Duration::from_secs(30);
/// Shortest rest of one that sent before that counts as its end.
const REST: Duration = Duration::from_secs(15);
/// Requests after which something like a rhythm is known.
const RHYTHM: u32 = 10;
/// How lately a container must have done something to be called working.
const LATELY: Duration = Duration::from_mins(1);

fn written(exporter: &Exporter) -> String {
    match &exporter.endpoint {
        Some(endpoint) => endpoint.to_string(),
        None => exporter.written.to_string(),
    }
}

/// Whether nothing configures it, and a Go program was built with it: containerd, kube-apiserver, Prometheus and others are,
/// and do not export unless their own configuration says so.
fn is_only_built_in(case: &Case<'_>) -> bool {
    let Source::Default(why) = &case.exporter.source else {
        return false;
    };
    case.container
        .proofs
        .iter()
        .any(|proof| matches!(proof, SenderProof::GoModule(module) if module == why))
}

fn is_on(exporter: &Exporter) -> bool {
    exporter.setting == Setting::On && !exporter.is_split
}

/// Whether it would be silent, and what it does may go unseen on this node: then it is not at rest, either.
pub(super) fn may_go_unseen(case: &Case<'_>) -> bool {
    is_blind(case) && silent(case).is_some()
}

/// With DNS dropped locally no packet leaves at all: only the drop tells.
fn is_blind(case: &Case<'_>) -> bool {
    let blind = case.node.blind;
    let asks = || {
        case.to
            .is_some_and(|to| matches!(to.host, Host::Name(_)) && !to.dns.searches.any())
    };
    blind.tcp || blind.dns || blind.drops && asks()
}

fn last_sent(case: &Case<'_>) -> Option<Mono> {
    let accepted = &case.exporter.accepted;
    if accepted.requests.any() {
        // What was asked and never taken is another finding's.
        accepted.ok.last()?;
        return accepted.requests.last();
    }
    let inside_tls = case.to.filter(|to| to.tls.ok.any()).and_then(|to| {
        let up = to.traffic.up.last();
        up.max(to.tls.ok.last())
    });
    // Its handshakes and bytes are those of every signal that goes there.
    inside_tls.or(case.exporter.sent_before)
}

/// How long an exporter may send nothing after it did; `None` when nothing is expected of it.
fn stop_window(case: &Case<'_>) -> Option<Duration> {
    let exporter = case.exporter;
    let accepted = &exporter.accepted;
    let interval = exporter.interval.unwrap_or_default();
    if case.is_periodic() {
        let window = interval.max(accepted.gap) * 2;
        return Some(if case.container.from_exec && exporter.interval.is_some() {
            window.max(REST)
        } else {
            window.max(case.node.silence)
        });
    }
    // Spans and log records come with work: whoever did a lot of it, is at work, and tells no more.
    let working = case
        .container
        .work
        .last()
        .is_some_and(|last| case.now.since(last) < LATELY);
    let rhythm = accepted.requests.count >= RHYTHM;
    (working && rhythm).then(|| case.node.silence.max(accepted.gap * 3).max(interval * 2))
}

/// Its replicas that send.
pub(super) fn siblings(case: &Case<'_>) -> Option<Senders> {
    case.node
        .senders
        .get(&case.container.family)
        .copied()
        .filter(|_| case.container.workload.pod.is_some())
}

/// How long a container may be silent from its start on.
pub(super) fn window(container: &Container, silence: Duration) -> Duration {
    if !container.from_exec {
        return intervals(container).max(silence);
    }
    let window = intervals(container) + START_UP;
    if container.work.any() || container.served.is_some() {
        window
    } else {
        window.max(COMING_UP)
    }
}

/// Twice the longest interval of its exporters.
fn intervals(container: &Container) -> Duration {
    let interval = container
        .exporters
        .iter()
        .filter(|exporter| is_on(exporter))
        .filter_map(|exporter| exporter.interval)
        .max();
    interval.unwrap_or_default() * 2
}

/// How long it must have had something to do: its first work comes when it has come up.
fn working_window(container: &Container, silence: Duration) -> Duration {
    if container.from_exec {
        intervals(container)
    } else {
        window(container, silence)
    }
}

fn silent(case: &Case<'_>) -> Option<Finding> {
    let container = case.container;
    if !is_on(case.exporter) || case.exporter.endpoint.is_none() {
        return None;
    }
    if container.destinations.iter().any(|to| to.wire.any()) {
        return None;
    }
    let since = case.watched_since();
    let quiet = case.now.since(case.quiet_since());
    if quiet < window(container, case.node.silence) {
        return None;
    }
    // Somebody like it sends, it did so itself, or a person says that it does: then even metrics are expected.
    // Replicas must have sent for as long: work comes to one before it comes to the others.
    let window = window(container, case.node.silence);
    let certain = siblings(case).is_some_and(|senders| case.now.since(senders.first) >= window)
        || case.exporter.sent_before.is_some()
        || container.proofs.contains(&SenderProof::Configured);
    if certain {
        return Some(Finding::new(VerdictId::Silent, Rung::Configured, since));
    }
    let more_than_metrics = container
        .exporters
        .iter()
        .any(|exporter| is_on(exporter) && exporter.signal != Some(Signal::Metrics));
    if container.proofs.is_empty() || !more_than_metrics || is_only_built_in(case) {
        return None;
    }
    let at_work = match (container.served, container.accepts.is_some()) {
        (Some(served), _) => case.now.since(served) >= working_window(container, case.node.silence),
        (None, true) => container.work.count >= 3,
        (None, false) => true,
    };
    at_work.then(|| Finding::new(VerdictId::Silent, Rung::Configured, since))
}
