//! Since when the OpenTelemetry Operator injects: the webhook that pods pass through.

use std::sync::Arc;

use jiff::Timestamp;

use super::super::board::State;
use super::resource::{Resource, What};
use super::wire;
use crate::model::cluster::Table;

/// Where the operator is asked about pods (its `cmd/operator-opentelemetry`, by controller-runtime's rule for a Pod's webhook).
const PATH: &str = "/mutate-v1-pod";
/// Other operators serve that path, too: one of the names around it says whose it is.
const OURS: [&str; 2] = ["opentelemetry", "otel"];

/// Webhooks of the operator.
#[derive(Debug, Default)]
pub(crate) struct Injectors {
    /// By name: since when, of those that are the operator's.
    known: Table<Arc<str>, (u32, Option<Timestamp>)>,
}

impl Injectors {
    /// Since when there is one.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        self.known.values().filter_map(|(_, since)| *since).min()
    }
}

/// The watch of them.
pub(crate) struct WebhookWatch;

impl Resource for WebhookWatch {
    type Object = wire::Webhooks;

    const WHAT: What = What {
        name: "mutatingwebhookconfigurations",
        group: "admissionregistration.k8s.io",
        verbs: "list, watch",
        without: "whether somebody injects is not known",
        path: "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
        metadata: false,
        page: 50,
        cached: true,
        most: 1_000,
    };

    fn what() -> &'static What {
        &Self::WHAT
    }

    fn version(object: &wire::Webhooks) -> &str {
        &object.metadata.resource_version
    }

    fn knows(state: &State, object: &wire::Webhooks) -> bool {
        state.injectors.known.contains_key(&*object.metadata.name)
    }

    fn apply(state: &mut State, object: wire::Webhooks, round: u32) -> bool {
        let meta = &object.metadata;
        let ours = |name: &str| OURS.iter().any(|part| name.contains(part));
        let is_injector = object.webhooks.iter().any(|hook| {
            let service = &hook.client_config.service;
            service.path == PATH && (ours(&meta.name) || ours(&service.name) || ours(&service.namespace))
        });
        let since = meta
            .creation_timestamp
            .as_deref()
            .filter(|_| is_injector)
            .and_then(|time| time.parse().ok());
        let name = state.names.get(&meta.name);
        let known = state.injectors.known.insert(name, (round, since));
        known.is_none_or(|(_, known)| known != since)
    }

    fn remove(state: &mut State, object: &wire::Webhooks) -> bool {
        state.injectors.known.remove(&*object.metadata.name).is_some()
    }

    fn sweep(state: &mut State, round: u32) {
        state.injectors.known.retain(|_, (seen, _)| *seen == round);
    }

    fn count(state: &State) -> usize {
        state.injectors.known.len()
    }

    fn touch(state: &mut State) {
        state.dirty.surroundings = true;
    }
}
