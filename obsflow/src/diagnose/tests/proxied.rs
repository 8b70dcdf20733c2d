//! `proxied`, where no request could be read.

use super::scene::{Scene, evidence, expectation};
use crate::model::exchange::Signal;
use crate::model::verdict::{Rung, RungState, VerdictId};

const UP: &str = "10.100.0.1:4318";
const PROXY: &str = "10.9.9.9:3128";

fn scene() -> Scene {
    let mut scene = Scene::empty();
    let mut of = expectation("10.100.0.1", 4318, Some(Signal::Traces));
    of.proxy = Some(PROXY.into());
    scene.expect(vec![of]);
    scene
}

#[test]
fn connections_to_the_proxy_alone_tell_it() {
    let mut scene = scene();
    scene.connect(PROXY);
    scene.after(2000);
    assert_eq!(scene.failures(), [], "a request may still say whom it is for");
    scene.after(3000);
    let export = scene.export();
    assert_eq!(export.verdict, VerdictId::Proxied);
    assert_eq!(export.rungs.get(Rung::Connected), RungState::Failed);
    let said = evidence(&export);
    assert!(
        said.contains("connections go to the proxy 10.9.9.9:3128"),
        "{said}"
    );
}

#[test]
fn connections_to_the_endpoint_beside_it_say_that_it_is_for_others() {
    let mut scene = scene();
    scene.connect(PROXY);
    scene.connect(UP);
    scene.after(60_000);
    assert_eq!(scene.failures(), []);
}
