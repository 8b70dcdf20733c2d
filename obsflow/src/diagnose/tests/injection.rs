//! `injection-missing`, and what is believed over it.

use std::sync::Arc;
use std::time::Duration;

use super::scene::{Scene, evidence, expectation, http, ms};
use crate::model::cluster::{Inject, Owner};
use crate::model::exchange::Signal;
use crate::model::expectation::{Expectation, SenderProof, Setting, Source};
use crate::model::injection::{Annotation, NotInjected, Why};
use crate::model::verdict::{Rung, RungState, Severity, VerdictId};

const UP: &str = "10.100.0.1:4318";

fn missing(why: Option<Why>) -> NotInjected {
    NotInjected {
        namespace: "cxtm".into(),
        pod: "cxtm-webcron-79f4d98767-gzw6q".into(),
        owner: Some(Owner {
            kind: "Deployment".into(),
            name: "cxtm-webcron".into(),
        }),
        on: match why {
            Some(Why::OnOwner) => Annotation::Owner,
            _ => Annotation::Namespace,
        },
        asked: vec![Inject {
            language: "python".into(),
            value: "cxtm-python-instrumentation".into(),
        }],
        why,
        created: Some("2026-11-20T08:00:00Z".parse().unwrap()),
        since: Some("2026-11-21T09:30:00Z".parse().unwrap()),
    }
}

/// What stands for an exporter that is not there.
fn row() -> Expectation {
    Expectation {
        endpoint: None,
        signal: None,
        written: "instrumentation.opentelemetry.io/inject-python=cxtm-python-instrumentation".into(),
        source: Source::Annotation("Deployment cxtm-webcron".into()),
        interval: Duration::ZERO,
        ..expectation("nobody", 0, None)
    }
}

/// A container without an SDK that is told to have these exporters.
fn uninjected(scene: &mut Scene, why: Option<Why>, expectations: Vec<Expectation>) {
    let mut container = scene.container_of(expectations);
    container.proofs.clear();
    container.injection = Some(Arc::new(missing(why)));
    scene.expect_container(container);
}

#[test]
fn the_annotation_alone_is_enough() {
    let mut scene = Scene::empty();
    uninjected(&mut scene, Some(Why::OnOwner), vec![row()]);
    scene.after(2000);
    let export = scene.export();
    assert_eq!(export.verdict, VerdictId::InjectionMissing);
    assert_eq!(export.reason.as_deref(), Some("annotation-on-owner"));
    assert_eq!(export.severity, Severity::Critical);
    assert_eq!(export.rungs.get(Rung::Configured), RungState::Failed);
    assert_eq!((export.signal, export.endpoint.is_none()), (None, true));
    let said = evidence(&export);
    assert!(
        said.contains(
            "Deployment cxtm-webcron has instrumentation.opentelemetry.io/inject-python=cxtm-python"
        ),
        "{said}"
    );
    assert!(said.contains("looks at no other object"), "{said}");
    assert!(
        export.advice[0].ends_with(
            "kubectl -n cxtm patch deployment cxtm-webcron -p '{\"spec\":{\"template\":{\"metadata\":{\"annotations\":\
             {\"instrumentation.opentelemetry.io/inject-python\":\"cxtm-python-instrumentation\"}}}}}'"
        ),
        "{:?}",
        export.advice
    );
}

#[test]
fn each_cause_has_its_own_advice() {
    for (why, reason, advice) in [
        (
            Some(Why::PodOlder),
            Some("pod-older"),
            "rollout restart deployment cxtm-webcron",
        ),
        (
            Some(Why::Lost),
            Some("lost"),
            "kubectl -n cxtm get instrumentation cxtm-python-instrumentation",
        ),
        (None, None, "if the pod is older than the annotation"),
    ] {
        let mut scene = Scene::empty();
        uninjected(&mut scene, why, vec![row()]);
        scene.after(2000);
        let export = scene.export();
        assert_eq!(export.verdict, VerdictId::InjectionMissing);
        assert_eq!(export.reason.as_deref(), reason);
        assert!(export.advice[0].contains(advice), "{:?}", export.advice);
        assert!(evidence(&export).contains("the pod was made at 2026-11-20T08:00:00Z"));
    }
}

#[test]
fn replicas_have_one_cause() {
    let mut scene = Scene::empty();
    for container in 1..=3 {
        scene.container = container;
        uninjected(&mut scene, Some(Why::OnOwner), vec![row()]);
    }
    scene.after(2000);
    let report = scene.report();
    assert_eq!((report.exports.len(), report.causes.len()), (3, 1));
    assert_eq!(&*report.causes[0].subject, "cxtm/cxtm-webcron");
    assert_eq!(report.causes[0].exports.len(), 3);
}

#[test]
fn exporters_of_its_environment_are_not_silent_but_uninjected() {
    let mut scene = Scene::empty();
    let off = Expectation {
        setting: Setting::Off("OTEL_METRICS_EXPORTER=none".into()),
        ..expectation("otel.obs", 4318, Some(Signal::Metrics))
    };
    let traces = expectation("otel.obs", 4318, Some(Signal::Traces));
    uninjected(&mut scene, Some(Why::Lost), vec![traces, off]);
    scene.after(400_000);
    assert_eq!(scene.failures(), [VerdictId::InjectionMissing]);
}

#[test]
fn what_exports_all_the_same_is_believed() {
    // By a path that nothing configures.
    let mut scene = Scene::empty();
    uninjected(&mut scene, Some(Why::OnOwner), vec![row()]);
    scene.after(1000);
    let cookie = scene.connect(UP);
    scene.export_to(cookie, UP, "/v1/traces", http(200)).after(5000);
    assert_eq!(scene.verdict(), VerdictId::Healthy);
    assert!(scene.transitions.is_empty(), "{:?}", scene.transitions);
    // It fails for a reason of its own.
    let mut scene = Scene::empty();
    let traces = expectation("10.100.0.1", 4318, Some(Signal::Traces));
    uninjected(&mut scene, Some(Why::OnOwner), vec![traces]);
    scene.refused(UP).after(1500);
    assert_eq!(scene.failures(), [VerdictId::Refused]);
}

#[test]
fn an_sdk_that_came_in_another_way_is_believed() {
    let mut scene = Scene::empty();
    let mut container = scene.container_of(vec![expectation("10.100.0.1", 4318, Some(Signal::Traces))]);
    container.proofs = vec![SenderProof::Injected("PYTHONPATH".into())];
    container.injection = Some(Arc::new(missing(Some(Why::OnOwner))));
    scene.expect_container(container);
    scene.after(3000);
    assert_eq!(scene.failures(), []);
}

#[test]
fn it_is_raised_after_a_minute_of_watching_and_ends_with_the_annotation() {
    let mut scene = Scene::empty();
    uninjected(&mut scene, Some(Why::OnOwner), vec![row()]);
    scene.after(59_000);
    assert!(scene.transitions.is_empty());
    scene.after(2000);
    let [opened] = &scene.transitions[..] else {
        panic!("{:?}", scene.transitions);
    };
    assert!(opened.opened && opened.export.verdict == VerdictId::InjectionMissing);
    // Somebody takes the annotation away.
    let mut container = scene.container_of(Vec::new());
    container.proofs.clear();
    scene.expect_container(container);
    scene.after(1000);
    assert_eq!(scene.report().exports, []);
    let [_, closed] = &scene.transitions[..] else {
        panic!("{:?}", scene.transitions);
    };
    assert!(!closed.opened && closed.export.id == opened_id(&scene));
}

fn opened_id(scene: &Scene) -> Arc<str> {
    Arc::clone(&scene.transitions[0].export.id)
}

#[test]
fn an_exporter_that_is_configured_no_more_has_its_end_said() {
    let mut scene = Scene::traces();
    scene.after(1000);
    for _ in 0..3 {
        scene.lookup(
            "otel.obs",
            crate::model::observation::LookupOutcome::NxDomain,
            &[],
        );
        scene.after(5000);
    }
    assert_eq!(scene.transitions.len(), 1, "{:?}", scene.transitions);
    scene.expect(vec![expectation("10.100.0.1", 4318, Some(Signal::Traces))]);
    scene.after(1000);
    let [opened, closed] = &scene.transitions[..] else {
        panic!("{:?}", scene.transitions);
    };
    assert!(opened.opened && !closed.opened);
    assert_eq!(
        (&opened.export.id, closed.at <= ms(scene.now)),
        (&closed.export.id, true)
    );
}
