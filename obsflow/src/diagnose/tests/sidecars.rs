//! Two legs: the application's to the sidecar, and the sidecar's upstream.

use std::sync::Arc;
use std::time::Duration;

use super::scene::{Scene, evidence, expectation, http};
use crate::model::event::Outcome;
use crate::model::exchange::Signal;
use crate::model::observation::{ConnectFailure, Observation, What};
use crate::model::verdict::{Export, Leg, Rung, RungState, VerdictId};
use crate::model::workload::Workload;

const UP: &str = "10.100.0.1:4318";

/// The same pod's proxy: another cgroup, the same network namespace.
fn by_sidecar(scene: &Scene, cookie: u64, what: What) -> Observation {
    let application = scene.of(cookie, UP, None, what);
    let workload = Workload {
        container_id: Some("container-proxy".into()),
        container: Some("istio-proxy".into()),
        ..(*application.workload).clone()
    };
    Observation {
        workload: Arc::new(workload),
        cgroup: 1000,
        ..application
    }
}

fn legs(scene: &Scene) -> Vec<(Leg, VerdictId)> {
    let of = |export: &Export| (export.leg, export.verdict);
    let mut legs: Vec<_> = scene.report().exports.iter().map(of).collect();
    legs.sort_by_key(|(leg, _)| leg.name());
    legs
}

fn upstream(scene: &mut Scene, cookie: u64, refused: bool) {
    let attempt = by_sidecar(scene, cookie, What::Attempt);
    scene.see(&attempt);
    let what = if refused {
        What::ConnectFailed(Box::new(ConnectFailure {
            outcome: Outcome::Refused,
            errno: 111,
            duration: Duration::from_millis(1),
            syn_retransmits: 0,
            drop: None,
        }))
    } else {
        What::Established {
            handshake: Duration::from_millis(1),
        }
    };
    let outcome = by_sidecar(scene, cookie, what);
    scene.see(&outcome);
}

#[test]
fn a_broken_upstream_leg_is_the_sidecars() {
    let mut scene = Scene::empty();
    scene.expect(vec![expectation("10.100.0.1", 4318, Some(Signal::Traces))]);
    let cookie = scene.connect(UP);
    upstream(&mut scene, 500, false);
    scene.export_to(cookie, UP, "/v1/traces", http(200)).after(2000);
    assert_eq!(scene.failures(), []);
    assert!(legs(&scene).contains(&(Leg::ToSidecar, VerdictId::Healthy)));

    // The collector goes; the sidecar accepts all the same, and answers 503 itself.
    let gone = by_sidecar(&scene, 500, What::Attempt);
    scene.see(&gone);
    for round in 0..4 {
        upstream(&mut scene, 600 + round, true);
        scene.export_to(cookie, UP, "/v1/traces", http(503)).after(2000);
    }
    assert_eq!(
        legs(&scene),
        [
            (Leg::Sidecar, VerdictId::Refused),
            (Leg::ToSidecar, VerdictId::Unknown)
        ]
    );
    for export in scene.report().exports {
        assert!(evidence(&export).contains("sidecar"), "{}", evidence(&export));
        // What the sidecar took in better times does not arrive now.
        assert_ne!(export.rungs.get(Rung::Accepted), RungState::Ok, "{export:?}");
    }

    upstream(&mut scene, 700, false);
    scene.export_to(cookie, UP, "/v1/traces", http(200)).after(6000);
    assert_eq!(scene.failures(), []);
}

#[test]
fn another_container_that_exports_itself_is_no_sidecar() {
    let mut scene = Scene::empty();
    scene.expect(vec![expectation("10.100.0.1", 4318, Some(Signal::Traces))]);
    let mut other = scene.container_of(vec![expectation("10.100.0.1", 4318, Some(Signal::Logs))]);
    other.key = crate::model::expectation::ContainerKey("container-proxy".into());
    other.cgroup = 1000;
    scene.expect_container(other);
    let cookie = scene.connect(UP);
    scene.export_to(cookie, UP, "/v1/traces", http(200));
    upstream(&mut scene, 500, true);
    scene.after(2000);
    assert_eq!(scene.failures(), [VerdictId::Refused]);
    assert!(
        scene
            .report()
            .exports
            .iter()
            .all(|export| export.leg == Leg::Direct)
    );
}

#[test]
fn connections_of_the_pods_others_elsewhere_are_nobodys() {
    let mut scene = Scene::empty();
    scene.expect(vec![expectation("10.100.0.1", 4318, Some(Signal::Traces))]);
    // Long after the application's connection.
    let cookie = scene.connect(UP);
    scene.export_to(cookie, UP, "/v1/traces", http(200)).after(30_000);
    upstream(&mut scene, 500, true);
    scene.after(2000);
    assert_eq!(scene.report().exports.len(), 1);
    assert_eq!(scene.failures(), []);
}
