//! Checks are traffic like any other to the hooks: what is obsflow's own is told apart here.

use super::{THREAD, USER_AGENT};
use crate::model::exchange::Request;
use crate::model::observation::{Observation, What};

/// Whether an observation is of obsflow itself: of this process, of a check by whatever process, or a request that says
/// so. Such traffic is shown as flows, and is nobody's export.
#[must_use]
pub fn is_own(observation: &Observation) -> bool {
    let process = observation.process.as_ref();
    process.is_some_and(|process| process.pid == std::process::id() || &*process.name == THREAD)
        || request(&observation.what).is_some_and(is_check)
}

fn request(what: &What) -> Option<&Request> {
    match what {
        What::Request(request) => Some(request),
        What::Exchange(exchange) => Some(&exchange.request),
        _ => None,
    }
}

/// Whatever the version: another obsflow may check on the same node.
fn is_check(request: &Request) -> bool {
    let product = USER_AGENT.split('/').next().unwrap_or_default();
    request
        .user_agent
        .as_deref()
        .and_then(|agent| agent.strip_prefix(product))
        .is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::exchange::{Spoken, TargetForm};
    use crate::model::{Mono, Process, Workload};

    fn observation(pid: u32, name: &str, what: What) -> Observation {
        Observation {
            at: Mono(1),
            workload: Arc::new(Workload::default()),
            process: Some(Process {
                pid,
                name: name.into(),
            }),
            cgroup: 0,
            cookie: 0,
            netns: 0,
            local: None,
            remote: None,
            asked: None,
            remote_name: None,
            remote_is: None,
            what,
        }
    }

    fn sent_by(user_agent: &str) -> What {
        What::Request(Arc::new(Request {
            at: Mono(1),
            wire: Spoken::Http1,
            stream: 0,
            method: Some("POST".into()),
            form: TargetForm::Origin,
            authority: None,
            path: Some("/v1/traces".into()),
            ingest: None,
            user_agent: Some(user_agent.into()),
            content_length: Some(0),
            grpc: false,
        }))
    }

    #[test]
    fn checks_and_this_process_are_own() {
        let own = std::process::id();
        assert!(is_own(&observation(own, "anything", What::Attempt)));
        assert!(is_own(&observation(own + 1, THREAD, What::Attempt)));
        assert!(is_own(&observation(own + 1, "x", sent_by(USER_AGENT))));
        assert!(is_own(&observation(own + 1, "x", sent_by("obsflow-probe/99.1"))));
        assert!(!is_own(&observation(own + 1, "x", sent_by("obsflow-probes/1"))));
        assert!(!is_own(&observation(
            own + 1,
            "x",
            sent_by("OTel-OTLP-Exporter-Python/1.45.1")
        )));
        assert!(!is_own(&observation(own + 1, "obsflow-prober", What::Attempt)));
        let mut unknown = observation(0, "", What::Attempt);
        unknown.process = None;
        assert!(!is_own(&unknown));
    }
}
