//! Which containers should have been injected by the OpenTelemetry Operator and were not, by what the cluster says.
//!
//! The operator is asked once, when a pod is made, and looks at the annotations of that pod and of its namespace
//! (`internal/webhook/podmutation`, `internal/instrumentation` of open-telemetry/opentelemetry-operator). It leaves a trace in
//! the pod's specification, which nobody can change later: one without is not injected for as long as it lives.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::endpoint::shown;
use crate::model::cluster::{Cluster, ContainerRole, Inject, Pod};
use crate::model::expectation::{Expectation, Setting, Source};
use crate::model::injection::{Annotation, LANGUAGES, NotInjected, Why};

/// Bytes kept of an annotation's value: an Instrumentation's namespace and name.
const MAX_VALUE: usize = 512;
/// Proxies of a mesh that some are told to start before the application.
const PROXIES: [&str; 2] = ["istio-proxy", "linkerd-proxy"];
/// What the operator's own configuration would say is not known.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What was not injected into this container, if it is one that should have been.
pub(super) fn missing(cluster: &Cluster, container: &str) -> Option<Arc<NotInjected>> {
    let (pod, found) = cluster.pods.of_container(container)?;
    if pod.ended || !pod.injection.traces.is_empty() || found.role != ContainerRole::Main {
        return None;
    }
    if !is_meant(pod, &found.name) {
        return None;
    }
    let around = &cluster.surroundings;
    let namespace = around.namespaces.get(&pod.namespace);
    let owner = pod
        .owner
        .clone()
        .and_then(|owner| around.owners.get(&(Arc::clone(&pod.namespace), owner)));
    let [pods, namespaces, owners] = asked(
        &pod.injection.asked,
        namespace.map_or(&[], |it| &it.asked),
        owner.map_or(&[], |it| &it.asked),
    );
    let (on, asked, since) = if !pods.is_empty() {
        (Annotation::Pod, pods, annotated_later(pod))
    } else if !namespaces.is_empty() {
        (
            Annotation::Namespace,
            namespaces,
            namespace.and_then(|it| it.changed),
        )
    } else if !owners.is_empty() {
        (Annotation::Owner, owners, owner.and_then(|it| it.changed))
    } else {
        return None;
    };
    let since = match on {
        Annotation::Owner => since,
        Annotation::Pod | Annotation::Namespace => since.max(around.injector),
    };
    Some(Arc::new(NotInjected {
        namespace: Arc::clone(&pod.namespace),
        pod: Arc::clone(&pod.name),
        owner: pod.owner.clone(),
        on,
        asked,
        why: why(on, pod.created, since),
        created: pod.created,
        since,
    }))
}

/// When a pod was annotated that was there already. Its own fields are written when it is made, which may take from one
/// second into the next.
fn annotated_later(pod: &Pod) -> Option<Timestamp> {
    let is_later = |changed: &Timestamp| {
        let after = |created| changed.duration_since(created) > SignedDuration::from_secs(1);
        pod.created.is_none_or(after)
    };
    pod.injection.changed.filter(is_later)
}

/// Whether the operator would have injected this container: the ones that are named, else the first.
fn is_meant(pod: &Pod, name: &Arc<str>) -> bool {
    let named = &pod.injection.containers;
    let mut main = pod.containers.iter().filter(|it| it.role == ContainerRole::Main);
    if main.clone().any(|it| named.contains(&it.name)) {
        return named.contains(name);
    }
    main.find(|it| !PROXIES.contains(&&*it.name))
        .is_some_and(|first| first.name == *name)
}

/// What asks for injection: on the pod, on the namespace, and on the owner where neither has a say.
fn asked(pod: &[Inject], namespace: &[Inject], owner: &[Inject]) -> [Vec<Inject>; 3] {
    let mut asked = [Vec::new(), Vec::new(), Vec::new()];
    let [pods, namespaces, owners] = &mut asked;
    for language in LANGUAGES {
        match (
            value(pod, language),
            value(namespace, language),
            value(owner, language),
        ) {
            (Some(no), ..) if is_no(no) => {}
            // A pod that leaves the choice open takes the namespace's.
            (Some(yes), Some(name), _) if is_yes(yes) && !is_no(name) => pods.push(inject(language, name)),
            (Some(value), ..) => pods.push(inject(language, value)),
            (None, Some(value), _) if !is_no(value) => namespaces.push(inject(language, value)),
            (None, _, Some(value)) if !is_no(value) => owners.push(inject(language, value)),
            _ => {}
        }
    }
    asked
}

fn value<'a>(asked: &'a [Inject], language: &str) -> Option<&'a str> {
    let found = asked.iter().find(|inject| &*inject.language == language)?;
    Some(&*found.value).filter(|value| !value.is_empty())
}

fn is_no(value: &str) -> bool {
    value.eq_ignore_ascii_case("false")
}

fn is_yes(value: &str) -> bool {
    value.eq_ignore_ascii_case("true")
}

fn inject(language: &'static str, value: &str) -> Inject {
    Inject {
        language: Arc::from(language),
        value: shown(value, MAX_VALUE),
    }
}

/// `since` is when it was asked for, or since when there is somebody to ask. Kubernetes keeps both in whole seconds.
fn why(on: Annotation, created: Option<Timestamp>, since: Option<Timestamp>) -> Option<Why> {
    match (on, created, since) {
        (Annotation::Owner, ..) => Some(Why::OnOwner),
        (_, Some(created), Some(since)) if created < since => Some(Why::PodOlder),
        // A pod's own annotation was there when the pod was made, unless `since` says otherwise.
        (Annotation::Pod, ..) | (Annotation::Namespace, Some(_), Some(_)) => Some(Why::Lost),
        (Annotation::Namespace, ..) => None,
    }
}

/// The exporter that would be there.
pub(super) fn expectation(missing: &NotInjected) -> Expectation {
    let written: Vec<String> = missing.asked.iter().map(ToString::to_string).collect();
    Expectation {
        signal: None,
        endpoint: None,
        written: written.join(", ").into(),
        setting: Setting::On,
        source: Source::Annotation(missing.annotated().into()),
        interval: Duration::ZERO,
        timeout: Some(TIMEOUT),
        proxy: None,
    }
}

#[cfg(test)]
#[path = "injection_tests.rs"]
mod tests;
