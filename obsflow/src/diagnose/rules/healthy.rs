//! `healthy`, `idle`, `unknown`: nothing fails.

use super::{Finding, Rule, silent};
use crate::diagnose::evidence::Told;
use crate::diagnose::exporter::Destination;
use crate::model::expectation::{Misconfiguration, Setting, is_local_socket};
use crate::model::verdict::{Rung, VerdictId};

pub(super) const RULE: Rule = Rule {
    id: VerdictId::Healthy,
    fires: |case| {
        let accepted = &case.exporter.accepted;
        let since = if accepted.ok.any() {
            accepted.ok.first
        } else {
            // Inside TLS: a handshake that came through, application data both ways.
            case.to?.tls.ok.last().filter(|_| !accepted.rejected.any())?
        };
        Some(Finding::new(VerdictId::Healthy, Rung::Accepted, since))
    },
    tells: |case, told| {
        let accepted = &case.exporter.accepted;
        if accepted.ok.any() {
            let answer = match (&accepted.request, accepted.status) {
                (Some(request), status) => told.request(request, status),
                (None, _) => "requests taken".to_owned(),
            };
            told.seen("status", answer, accepted.ok);
        } else if let Some(to) = case.to {
            let sni = match &to.tls.sni {
                Some(sni) => format!(" (SNI {sni})"),
                None => String::new(),
            };
            told.seen(
                "tls",
                format!("TLS handshakes came through{sni}; what is said inside is not visible"),
                to.tls.ok,
            );
        }
    },
};

pub(super) const IDLE: Rule = Rule {
    id: VerdictId::Idle,
    fires: |case| {
        let since = case.watched_since();
        if case.now.since(case.quiet_since()) < case.window() {
            return None;
        }
        if silent::may_go_unseen(case) {
            return None;
        }
        let accepted = &case.exporter.accepted;
        let to = case.to?;
        // A connection that nothing could be read of may carry it.
        let readable = |to: &Destination| {
            case.container.exporters.iter().any(|other| {
                case.container
                    .destination(other.to)
                    .is_some_and(|other| std::ptr::eq(other, to))
                    && other.accepted.requests.any()
            })
        };
        let quiet = !to.wire.any() || !accepted.requests.any() && readable(to);
        quiet.then(|| Finding::new(VerdictId::Idle, Rung::Configured, since))
    },
    tells: |case, told| {
        told.fact(
            "wire",
            format!(
                "nothing of it on the wire in {}, and nothing says that there is something to send",
                Told::duration(case.now.since(case.watched_since()))
            ),
        );
    },
};

pub(super) const UNKNOWN: Rule = Rule {
    id: VerdictId::Unknown,
    fires: |case| {
        Some(Finding::new(
            VerdictId::Unknown,
            Rung::Configured,
            case.watched_since(),
        ))
    },
    tells: |case, told| {
        let watched = Told::duration(case.now.since(case.watched_since()));
        let is_broken = matches!(
            &case.exporter.setting,
            Setting::Broken(what) if *what != Misconfiguration::UnspecifiedAddress
        );
        let missing = match case.to {
            _ if is_broken => "what is configured cannot work, and nothing says that this process reads it",
            None if is_local_socket(&case.exporter.written) => {
                "it sends over a socket of this machine, not over a network: obsflow does not see what goes there"
            }
            None => "where it sends to is not known",
            Some(to) if to.connects.ok.any() || to.connects.adopted.any() => {
                "a connection, and no request on it that could be read"
            }
            Some(to) if to.connects.attempts.any() => "an attempt to connect without an outcome yet",
            Some(to) if to.dns.searches.any() => "a look-up, and no attempt to connect yet",
            Some(_) if case.node.blind.drops && silent::may_go_unseen(case) => {
                "nothing of it on the wire, and packets that this node drops are not seen"
            }
            Some(_) => "nothing of it on the wire yet",
        };
        told.fact("missing", format!("{missing}; watched for {watched}"));
    },
};
