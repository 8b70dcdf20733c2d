//! `injection-missing`: the write-up's service, annotated where the operator does not look, and its twins.

use anyhow::Result;
use obsflow_tests::app::{self, Env, Injection};
use obsflow_tests::doctor::NODE;
use obsflow_tests::server::kube::{Api, objects};
use obsflow_tests::server::otlp::{Collector, Transport};
use obsflow_tests::{Lab, Pod};
use serde_json::{Value, json};

const HOST: &str = "otel-collector.observability";
const ANNOTATION: &str = "instrumentation.opentelemetry.io/inject-python";
const NAME: &str = "cxtm-python-instrumentation";
/// What objects of the lab were annotated at, after its pods were made and before.
const LATER: &str = "2026-01-20T10:00:00Z";
const EARLIER: &str = "2020-01-01T00:00:00Z";

/// What a pod's Deployment and ReplicaSet are called.
fn names(pod: &Pod) -> (String, String) {
    let set = pod
        .name
        .rsplit_once('-')
        .map_or(&*pod.name, |(set, _)| set)
        .to_owned();
    let deployment = set.rsplit_once('-').map_or(&*set, |(name, _)| name).to_owned();
    (deployment, set)
}

/// The pod as an API server has it.
fn object(pod: &Pod) -> Result<Value> {
    Ok(objects::with(
        objects::of(pod, NODE)?,
        "/metadata/creationTimestamp",
        json!("2026-01-10T10:00:00Z"),
    ))
}

/// A pod, its ReplicaSet and its Deployment, with annotations of the Deployment object.
fn put(api: &Api, pod: &Pod, object: Value, annotation: Option<&str>) -> Result<()> {
    let (deployment, set) = names(pod);
    let mut owner = objects::deployment(&pod.namespace, &deployment)?;
    if let Some(value) = annotation {
        owner = objects::annotated(owner, ANNOTATION, value, LATER);
    }
    api.apply(owner)?;
    api.apply(objects::replica_set(&pod.namespace, &set, &deployment)?)?;
    api.apply(object)
}

/// What the operator's webhook adds to a pod.
fn injected(pod: Value) -> Value {
    objects::with(
        pod,
        "/spec/initContainers",
        json!([{
            "name": "opentelemetry-auto-instrumentation-python",
            "image": "ghcr.io/open-telemetry/opentelemetry-operator/autoinstrumentation-python:0.54b1",
            "command": ["cp", "-r", "/autoinstrumentation/.", "/otel-auto-instrumentation-python"]
        }]),
    )
}

fn annotated(pod: Value, value: &str) -> Value {
    objects::annotated(pod, ANNOTATION, value, "2026-01-10T10:00:00Z")
}

/// `kubectl annotate deployment …`: the object is annotated, its template is not, and nothing is injected.
#[test]
fn annotated_where_the_operator_never_looks() -> Result<()> {
    let lab = Lab::new()?;
    let api = Api::start()?;
    let _collector = Collector::start(&lab, "observability", "otel-collector")?;
    let pods = lab.pods(vec![
        "cxtm/cxtm-webcron".into(),
        "cxtm/by-hand".into(),
        "cxtm/refuses".into(),
        "cxtm/injected".into(),
        "cxtm/sends-all-the-same".into(),
    ])?;
    let [webcron, by_hand, refuses, well, sends] = &pods[..] else {
        anyhow::bail!("five pods");
    };
    api.apply(objects::node(NODE, "192.0.2.1")?)?;
    api.apply(objects::namespace("cxtm")?)?;
    put(&api, webcron, object(webcron)?, Some(NAME))?;
    // As the write-up did it after that: the annotation stayed.
    put(&api, by_hand, injected(object(by_hand)?), Some(NAME))?;
    put(&api, refuses, annotated(object(refuses)?, "false"), Some(NAME))?;
    put(&api, well, injected(annotated(object(well)?, "true")), None)?;
    put(&api, sends, object(sends)?, Some(NAME))?;

    let doctor = lab.doctor_in(&api)?;
    let env = Env::otlp(HOST, Transport::Http);
    let _services = [
        app::flask(webcron, Injection::Missing, &Env::new())?,
        app::flask(by_hand, Injection::Variable, &env)?,
        app::flask(refuses, Injection::Missing, &Env::new())?,
        app::flask(well, Injection::Variable, &env)?,
        app::flask(sends, Injection::Command, &env)?,
    ];
    let user = lab.pod(obsflow_tests::PodSpec::new("users/browser").node(1))?;
    let _visitors = [by_hand, well, sends]
        .into_iter()
        .map(|service| app::visitor(&user, service, 100))
        .collect::<Result<Vec<_>>>()?;

    let export = doctor.verdict(webcron, "injection-missing", |export| {
        export.reason() == "annotation-on-owner"
    })?;
    assert_eq!(export.failed_rung(), "configured", "{export}");
    assert_eq!((export.signal(), export.endpoint()), ("", ""), "{export}");
    let (deployment, _) = names(webcron);
    assert_eq!(
        export.source(),
        format!("annotation of Deployment {deployment}"),
        "{export}"
    );
    let evidence = export.evidence();
    assert!(
        evidence.contains(&format!("Deployment {deployment} has {ANNOTATION}={NAME}")),
        "{export}"
    );
    let patch = format!(
        "kubectl -n cxtm patch deployment {deployment} -p '{{\"spec\":{{\"template\":{{\"metadata\":{{\"annotations\":\
         {{\"{ANNOTATION}\":\"{NAME}\"}}}}}}}}}}'"
    );
    assert!(export.advice().contains(&patch), "{export}");

    for pod in [by_hand, well, sends] {
        doctor.verdict(pod, "healthy", |export| export.signal() == "traces")?;
        doctor.quiet(pod)?;
    }
    // Nothing is expected of it.
    doctor.never("anything of a pod that refuses", |export| export.of(refuses))?;
    doctor.stop()
}

/// The namespace asks: of pods made before that, and of one that was made after it and has nothing all the same.
#[test]
fn asked_for_too_late_or_in_vain() -> Result<()> {
    let lab = Lab::new()?;
    let api = Api::start()?;
    let pods = lab.pods(vec![
        "shop/older".into(),
        "billing/lost".into(),
        "billing/cron".into(),
    ])?;
    api.apply(objects::node(NODE, "192.0.2.1")?)?;
    api.apply(objects::annotated(
        objects::namespace("shop")?,
        ANNOTATION,
        "true",
        LATER,
    ))?;
    api.apply(objects::annotated(
        objects::namespace("billing")?,
        ANNOTATION,
        "obs/python",
        EARLIER,
    ))?;
    for pod in &pods {
        put(&api, pod, object(pod)?, None)?;
    }
    // A pod's own word outranks its namespace's.
    put(&api, &pods[2], annotated(object(&pods[2])?, "false"), None)?;
    let doctor = lab.doctor_in(&api)?;
    let _services = pods
        .iter()
        .map(|pod| app::flask(pod, Injection::Missing, &Env::new()))
        .collect::<Result<Vec<_>>>()?;
    let export = doctor.verdict(&pods[0], "injection-missing", |export| {
        export.reason() == "pod-older"
    })?;
    let (deployment, _) = names(&pods[0]);
    let restart = format!("kubectl -n shop rollout restart deployment {deployment}");
    assert!(export.advice().contains(&restart), "{export}");
    let export = doctor.verdict(&pods[1], "injection-missing", |export| export.reason() == "lost")?;
    assert!(
        export
            .advice()
            .contains("kubectl -n obs get instrumentation python"),
        "{export}"
    );
    doctor.never("anything of a pod that refuses", |export| export.of(&pods[2]))?;
    doctor.stop()
}
