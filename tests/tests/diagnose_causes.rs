//! The write-up's own list of causes - wrong endpoint, missing environment, network - told apart in one run.

use anyhow::Result;
use obsflow_tests::app::{self, App, Env, Injection, Sdk};
use obsflow_tests::scenario::black_hole;
use obsflow_tests::server::otlp::{Collector, Transport};
use obsflow_tests::{Lab, PodSpec};

const AGENT: &str = "splunk-otel-collector-agent.ao.svc.cluster.local";

#[test]
fn wrong_endpoint_missing_environment_and_network() -> Result<()> {
    let lab = Lab::new()?;
    let _agent = Collector::start(&lab, "ao", "splunk-otel-collector-agent")?;
    let gateway = Collector::start(&lab, "ao", "gateway")?;
    let doctor = lab.doctor(&[])?;
    let user = lab.pod(PodSpec::new("users/browser").node(1))?;
    let pods = lab.pods(vec![
        "cxtm/wrong-port".into(),
        "cxtm/no-environment".into(),
        "cxtm/network".into(),
        "cxtm/cxtm-webcron".into(),
        "cxtm/mute".into(),
    ])?;
    let _holes = black_hole(&lab, &gateway.pod)?;
    let env = Env::endpoint(&format!("http://{AGENT}:4318"), Transport::Http).signals(&["traces"]);
    let mut apps = Vec::new();
    for (pod, env) in [
        (
            &pods[0],
            env.clone()
                .set("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{AGENT}:4319")),
        ),
        // Without an endpoint it is localhost, where nobody listens.
        (&pods[1], env.clone().without("OTEL_EXPORTER_OTLP_ENDPOINT")),
        (
            &pods[2],
            env.clone().set(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                &format!("http://{}:4318", gateway.name),
            ),
        ),
        (&pods[3], env.clone()),
    ] {
        apps.push(App::begin(pod, Sdk::PythonInstrumented, &env)?);
    }
    let never = env.set("OTEL_TRACES_SAMPLER", "always_off");
    let _mute = app::flask(&pods[4], Injection::Command, &never)?;
    let _visitor = app::visitor(&user, &pods[4], 100)?;
    for app in &mut apps {
        app.ready()?;
        app.work(100, &["traces"])?;
    }
    let traces = |pod, id| doctor.verdict(pod, id, |export| export.signal() == "traces");
    let wrong_port = traces(&pods[0], "refused")?;
    assert!(wrong_port.endpoint().contains(":4319"), "{wrong_port}");
    assert_eq!(wrong_port.failed_rung(), "connected", "{wrong_port}");
    let missing = traces(&pods[1], "refused")?;
    assert!(missing.endpoint().contains("localhost:4318"), "{missing}");
    assert!(!missing.source().contains("ENDPOINT"), "{missing}");
    let network = traces(&pods[2], "blackholed")?;
    assert!(network.endpoint().contains(&gateway.name), "{network}");
    assert_eq!(network.failed_rung(), "connected", "{network}");
    let mute = traces(&pods[4], "silent")?;
    assert_eq!(mute.failed_rung(), "configured", "{mute}");
    traces(&pods[3], "healthy")?;
    doctor.quiet(&pods[3])?;
    doctor.stop()
}
