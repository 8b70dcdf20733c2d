//! Exporters that talk to a proxy which their environment names, and do not know it.

use anyhow::Result;
use obsflow_tests::Lab;
use obsflow_tests::app::{App, Env, Sdk};
use obsflow_tests::server::otlp::{Collector, Transport};
use obsflow_tests::server::proxy::HttpProxy;

const HOST: &str = "otel-collector.observability.svc.cluster.local";

#[test]
fn a_proxy_of_the_environment() -> Result<()> {
    let lab = Lab::new()?;
    let _collector = Collector::start(&lab, "observability", "otel-collector")?;
    let proxy = HttpProxy::start(&lab)?;
    let doctor = lab.doctor(&[])?;
    let pods = lab.pods(vec![
        "apps/absolute-form".into(),
        "apps/connect".into(),
        "apps/twin".into(),
    ])?;
    let env = |transport| {
        Env::otlp(HOST, transport)
            .signals(&["traces"])
            .set("http_proxy", &proxy.url())
            .set("https_proxy", &proxy.url())
    };
    let cases = [
        env(Transport::Http),
        env(Transport::Grpc),
        env(Transport::Http).set("no_proxy", ".svc.cluster.local"),
    ];
    let mut apps = Vec::new();
    for (pod, env) in pods.iter().zip(&cases) {
        apps.push(App::begin(pod, Sdk::Python, env)?);
    }
    for app in &mut apps {
        app.ready()?;
        app.work(100, &["traces"])?;
    }
    for (pod, said) in pods.iter().zip(["POST http://", "CONNECT"]) {
        let export = doctor.verdict(pod, "proxied", |export| export.signal() == "traces")?;
        assert_eq!(export.failed_rung(), "connected", "{export}");
        assert!(export.endpoint().contains(HOST), "{export}");
        let evidence = export.evidence();
        assert!(evidence.contains(said), "{export}");
        assert!(evidence.contains("3128"), "{export}");
        let advice = export.advice().to_lowercase();
        assert!(advice.contains("no_proxy"), "{export}");
    }
    doctor.verdict(&pods[2], "healthy", |export| export.signal() == "traces")?;
    doctor.quiet(&pods[2])?;
    doctor.stop()
}
