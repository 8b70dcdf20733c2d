//! What is configured cannot work, or not as it is meant.

use anyhow::Result;
use obsflow_tests::Lab;
use obsflow_tests::app::{App, Env, Sdk};
use obsflow_tests::server::otlp::{Collector, Transport};

const HOST: &str = "otel-collector.observability";

struct Case {
    name: &'static str,
    sdk: Sdk,
    env: Env,
    /// What has to stand in the evidence.
    because: &'static str,
}

fn traces(endpoint: &str) -> Env {
    Env::endpoint(endpoint, Transport::Http).signals(&["traces"])
}

fn wrong() -> Vec<Case> {
    let case = |name, sdk, env, because| Case {
        name,
        sdk,
        env,
        because,
    };
    let right = format!("http://{HOST}:4318");
    vec![
        // requests refuses it before anything is sent: no packet, no look-up.
        case(
            "apps/no-scheme",
            Sdk::Python,
            traces(&format!("{HOST}:4318")),
            "otel-collector.observability:4318",
        ),
        case(
            "apps/unexpanded",
            Sdk::Python,
            traces("http://$(COLLECTOR_HOST):4318"),
            "$(COLLECTOR_HOST)",
        ),
        case(
            "apps/doubled-path",
            Sdk::Python,
            traces(&format!("{right}/v1/traces")),
            "/v1/traces/v1/traces",
        ),
        case(
            "apps/doubled-path",
            Sdk::Node,
            traces(&format!("{right}/v1/traces")),
            "/v1/traces/v1/traces",
        ),
        // Python reads seconds: each export would wait for close to three hours.
        case(
            "apps/milliseconds",
            Sdk::Python,
            traces(&right).set("OTEL_EXPORTER_OTLP_TIMEOUT", "10000"),
            "10000",
        ),
        case(
            "apps/unspecified",
            Sdk::Python,
            traces("http://0.0.0.0:4318"),
            "0.0.0.0",
        ),
    ]
}

fn right() -> Vec<(&'static str, Sdk, Env)> {
    let right = format!("http://{HOST}:4318");
    let whole = format!("{right}/v1/traces");
    vec![
        ("apps/twin", Sdk::Python, traces(&right)),
        // The signal's own variable takes the whole URL.
        (
            "apps/whole",
            Sdk::Python,
            Env::quick(Transport::Http)
                .signals(&["traces"])
                .set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &whole),
        ),
        (
            "apps/seconds",
            Sdk::Python,
            traces(&right).set("OTEL_EXPORTER_OTLP_TIMEOUT", "10"),
        ),
        // Node reads milliseconds, as the specification has it.
        (
            "apps/node-milliseconds",
            Sdk::Node,
            traces(&right).set("OTEL_EXPORTER_OTLP_TIMEOUT", "10000"),
        ),
        ("apps/slash", Sdk::Python, traces(&format!("{right}/"))),
        // gRPC's C core takes it so.
        (
            "apps/insecure",
            Sdk::Python,
            Env::endpoint(&format!("{HOST}:4317"), Transport::Grpc)
                .signals(&["traces"])
                .set("OTEL_EXPORTER_OTLP_INSECURE", "true"),
        ),
    ]
}

#[test]
fn misconfigured_and_not() -> Result<()> {
    let lab = Lab::new()?;
    let _collector = Collector::start(&lab, "observability", "otel-collector")?;
    let doctor = lab.doctor(&[])?;
    let mut broken = Vec::new();
    for case in wrong() {
        let pod = lab.pod(case.name)?;
        let app = App::begin(&pod, case.sdk, &case.env)?;
        broken.push((pod, case, app));
    }
    let mut well = Vec::new();
    for (name, sdk, env) in right() {
        let pod = lab.pod(name)?;
        let app = App::begin(&pod, sdk, &env)?;
        well.push((pod, app));
    }
    let apps = broken.iter_mut().map(|(_, _, app)| app);
    let mut apps: Vec<&mut App> = apps.chain(well.iter_mut().map(|(_, app)| app)).collect();
    for app in &apps {
        app.ready()?;
    }
    for app in &mut apps {
        app.work(100, &["traces"])?;
    }
    for (pod, case, _) in &broken {
        let export = doctor.verdict(pod, "misconfigured", |export| export.signal() == "traces")?;
        assert_eq!(export.failed_rung(), "configured", "{export}");
        let said = format!(
            "{} {} {}",
            export.text("written"),
            export.endpoint(),
            export.evidence()
        );
        assert!(said.contains(case.because), "{} in {export}", case.because);
        assert!(export.source().contains("OTEL_EXPORTER_OTLP_"), "{export}");
        assert!(!export.advice().is_empty(), "{export}");
    }
    for (pod, _) in &well {
        doctor.verdict(pod, "healthy", |export| export.signal() == "traces")?;
    }
    doctor.all_quiet(well.iter().map(|(pod, _)| pod))?;
    doctor.stop()
}

/// Credentials in the URL work, and are shown nowhere.
#[test]
fn credentials_in_the_url_are_never_shown() -> Result<()> {
    let lab = Lab::new()?;
    let _collector = Collector::start(&lab, "observability", "otel-collector")?;
    let doctor = lab.doctor(&[])?;
    let (user, password) = ("tenant-4711", "correct-horse");
    let pods = lab.pods(vec![
        "apps/python".into(),
        "apps/node".into(),
        "apps/header".into(),
    ])?;
    let with = traces(&format!("http://{user}:{password}@{HOST}:4318"));
    let header = traces(&format!("http://{HOST}:4318")).set(
        "OTEL_EXPORTER_OTLP_HEADERS",
        &format!("authorization=Bearer%20{password},x-tenant={user}"),
    );
    let mut apps = Vec::new();
    for (pod, sdk, env) in [
        (&pods[0], Sdk::Python, &with),
        (&pods[1], Sdk::Node, &with),
        (&pods[2], Sdk::Python, &header),
    ] {
        apps.push(App::begin(pod, sdk, env)?);
    }
    for app in &mut apps {
        app.ready()?;
        app.work(100, &["traces"])?;
    }
    for pod in &pods {
        doctor.verdict(pod, "healthy", |export| export.signal() == "traces")?;
    }
    doctor.all_quiet(&pods)?;
    let lines = doctor.process().out().all();
    let errors = doctor.process().err().all();
    for line in lines.iter().chain(&errors) {
        assert!(!line.contains(user) && !line.contains(password), "{line}");
    }
    doctor.stop()
}
