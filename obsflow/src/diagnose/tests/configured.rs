//! `misconfigured` and its proofs.

use super::scene::{Scene, evidence, expectation, http};
use crate::model::exchange::Signal;
use crate::model::expectation::{Misconfiguration, Setting};
use crate::model::verdict::VerdictId;

const UP: &str = "10.100.0.1:4318";

#[test]
fn a_broken_variable_that_nobody_is_known_to_read_is_not_misconfigured() {
    let broken = || {
        let mut broken = expectation("10.100.0.1", 4318, Some(Signal::Traces));
        broken.setting = Setting::Broken(Misconfiguration::Unexpanded);
        broken
    };
    let unproved = |scene: &mut Scene| {
        let mut container = scene.container_of(vec![broken()]);
        container.proofs.clear();
        scene.expect_container(container);
        scene.after(5000);
    };
    let mut scene = Scene::empty();
    unproved(&mut scene);
    assert_eq!(scene.verdict(), VerdictId::Unknown);
    let said = evidence(&scene.export());
    assert!(said.contains("nothing says that this process reads it"), "{said}");
    // It tries.
    scene.attempt(UP);
    scene.after(1000);
    assert_eq!(scene.verdict(), VerdictId::Misconfigured);
    // A replica sends.
    let mut scene = Scene::empty();
    unproved(&mut scene);
    scene.container = 2;
    scene.expect(vec![expectation("10.100.0.1", 4318, Some(Signal::Traces))]);
    let cookie = scene.connect(UP);
    scene.export_to(cookie, UP, "/v1/traces", http(200)).after(4000);
    assert_eq!(scene.failures(), [VerdictId::Misconfigured]);
}

/// Linux takes it for the pod itself: a sidecar may listen there.
#[test]
fn the_unspecified_address_is_wrong_where_nobody_listens() {
    let expected = || {
        let mut expected = expectation("0.0.0.0", 4318, Some(Signal::Traces));
        expected.setting = Setting::Broken(Misconfiguration::UnspecifiedAddress);
        expected
    };
    const HERE: &str = "127.0.0.1:4318";
    let mut scene = Scene::empty();
    scene.expect(vec![expected()]);
    scene.after(1000);
    assert_eq!(scene.verdict(), VerdictId::Unknown);
    let said = evidence(&scene.export());
    assert!(said.contains("nothing of it on the wire yet"), "{said}");
    let cookie = scene.connect(HERE);
    scene.after(1000);
    assert_eq!(scene.failures(), []);
    scene.export_to(cookie, HERE, "/v1/traces", http(200)).after(4000);
    assert_eq!(scene.verdict(), VerdictId::Healthy);

    let mut scene = Scene::empty();
    scene.expect(vec![expected()]);
    scene.refused(HERE).after(1000);
    let export = scene.export();
    assert_eq!(export.verdict, VerdictId::Misconfigured);
    assert_eq!(export.reason.as_deref(), Some("unspecified-address"));
    assert!(evidence(&export).contains("refused"), "{}", evidence(&export));
    let cookie = scene.connect(HERE);
    scene.export_to(cookie, HERE, "/v1/traces", http(200)).after(5000);
    assert_eq!(scene.verdict(), VerdictId::Healthy);
}
