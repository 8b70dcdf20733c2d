//! Names that do not resolve, in every way that they can fail to.

use anyhow::Result;
use obsflow_tests::app::{self, App, Env, Sdk};
use obsflow_tests::doctor::Export;
use obsflow_tests::server::dns;
use obsflow_tests::server::otlp::{self, Collector, Transport};
use obsflow_tests::wait::SOON;
use obsflow_tests::{Doctor, Lab, Pod, PodSpec};

/// As the write-up has it: the Service exists, under its full name.
const SERVICE: &str = "vmsingle-victoria-metrics-k8s-stack.observability.svc";
/// A resolv.conf whose search list never makes the full name.
const NO_CLUSTER_LOCAL: &str = "apps.svc.cluster.local svc.cluster.local ec2.internal";

/// Every SDK over either transport; Rust's too, which has no signals but traces.
fn everybody(lab: &Lab, host: &str, spec: &PodSpec) -> Result<Vec<(Pod, Running)>> {
    let mut running = Vec::new();
    for transport in [Transport::Http, Transport::Grpc] {
        for sdk in [Sdk::Python, Sdk::Node] {
            let pod = lab.pod(spec.clone())?;
            let env = Env::otlp(host, transport).signals(&["traces"]);
            let app = App::begin(&pod, sdk, &env)?;
            running.push((pod, Running::App(app)));
        }
        let pod = lab.pod(spec.clone())?;
        let every = std::time::Duration::from_millis(200);
        let process = otlp::export(&pod, otlp::Sdk::Rust, transport, host, 10_000, every)?;
        running.push((pod, Running::Rust(process)));
    }
    for (_, running) in &mut running {
        if let Running::App(app) = running {
            app.ready()?;
            app.work(100, &["traces"])?;
        }
    }
    Ok(running)
}

/// Kept for as long as it shall run.
enum Running {
    App(App),
    Rust(#[expect(dead_code, reason = "it is killed when it is dropped")] obsflow_tests::Proc),
}

fn does_not_resolve(export: &Export) {
    assert_eq!(export.failed_rung(), "resolved", "{export}");
    for rung in ["connected", "sent", "accepted"] {
        assert_eq!(export.rung(rung), "not-reached", "{export}");
    }
    assert!(!export.advice().is_empty(), "{export}");
}

/// `…observability.svc` is answered NXDOMAIN whatever is appended, `…observability.svc.cluster.local` resolves.
#[test]
fn a_service_under_half_its_name() -> Result<()> {
    let lab = Lab::new()?;
    let collector = Collector::start(&lab, "observability", "vmsingle-victoria-metrics-k8s-stack")?;
    let doctor = lab.doctor(&[])?;
    // Their search list makes the full name at its third domain.
    let twins = everybody(&lab, SERVICE, &PodSpec::new("apps/twin"))?;
    for (pod, _) in &twins {
        doctor.verdict(pod, "healthy", |export| export.signal() == "traces")?;
    }
    let broken = everybody(
        &lab,
        SERVICE,
        &PodSpec::new("apps/gallery").search(NO_CLUSTER_LOCAL),
    )?;
    // Go's resolver, and endpoints for each signal.
    let go = lab.pod(PodSpec::new("apps/image-gallery").search(NO_CLUSTER_LOCAL))?;
    let env = Env::new()
        .set("OTEL_METRIC_EXPORT_INTERVAL", "1000")
        .set(
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            &format!("http://{SERVICE}:4318/v1/traces"),
        )
        .set(
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            &format!("http://{SERVICE}:4318/v1/metrics"),
        );
    let _gallery = app::image_gallery(&go, &env, false)?;
    for pod in broken.iter().map(|(pod, _)| pod).chain([&go]) {
        let export = doctor.verdict(pod, "dns-nxdomain", |export| {
            export.evidence().contains(&format!("{SERVICE}.ec2.internal"))
        })?;
        does_not_resolve(&export);
        assert!(export.endpoint().contains(SERVICE), "{export}");
        // Everything that was tried, and what would resolve.
        let evidence = export.evidence();
        for domain in [".apps.svc.cluster.local", ".svc.cluster.local", ".ec2.internal"] {
            let tried = format!("{SERVICE}{domain}");
            assert!(evidence.contains(&tried), "{tried} in {export}");
        }
        assert!(export.advice().contains(&collector.name), "{export}");
    }
    // One cause, one line.
    let cause = doctor.cause("dns-nxdomain", |cause| {
        cause["pods"].as_u64() == Some(broken.len() as u64 + 1)
    })?;
    assert!(
        cause["subject"]
            .as_str()
            .is_some_and(|subject| subject.contains(SERVICE)),
        "{cause}"
    );
    doctor.all_quiet(twins.iter().map(|(pod, _)| pod))?;
    // The name appears: everybody recovers by itself.
    lab.dns()
        .add(&format!("{SERVICE}.ec2.internal"), &collector.pod.ips())?;
    for (pod, _) in &broken {
        doctor.healed(pod)?;
    }
    doctor.stop()
}

/// SERVFAIL, REFUSED, and a name without addresses, each beside NXDOMAINs of the search list.
#[test]
fn name_servers_that_fail() -> Result<()> {
    let lab = Lab::new()?;
    let _collector = Collector::start(&lab, "observability", "otel-collector")?;
    let doctor = lab.doctor(&[])?;
    let mut running = Vec::new();
    for (zone, reason) in [
        (dns::SERVFAIL, "SERVFAIL"),
        (dns::REFUSED, "REFUSED"),
        (dns::NODATA, "no address"),
    ] {
        let host = format!("otel-collector.{zone}");
        for (sdk, transport) in [
            (Sdk::Python, Transport::Http),
            (Sdk::Python, Transport::Grpc),
            (Sdk::Node, Transport::Http),
        ] {
            let pod = lab.pod("apps/checkout")?;
            let app = App::begin(&pod, sdk, &Env::otlp(&host, transport).signals(&["traces"]))?;
            running.push((pod, host.clone(), reason, app));
        }
    }
    for (_, _, _, app) in &mut running {
        app.ready()?;
        app.work(100, &["traces"])?;
    }
    for (pod, host, reason, _) in &running {
        let export = doctor.verdict(pod, "dns-failure", |_| true)?;
        does_not_resolve(&export);
        assert!(export.endpoint().contains(host), "{export}");
        let said = format!("{} {}", export.reason(), export.evidence());
        assert!(
            said.to_lowercase().contains(&reason.to_lowercase()),
            "{reason}: {export}"
        );
    }
    doctor.stop()
}

/// Exporters that resolve before every connect, so that they notice.
fn connecting(lab: &Lab, host: &str) -> Result<Vec<(Pod, App)>> {
    let mut apps = Vec::new();
    for transport in [Transport::Http, Transport::Grpc] {
        for sdk in [Sdk::Python, Sdk::Node] {
            let pod = lab.pod("apps/checkout")?;
            let app = App::begin(&pod, sdk, &Env::otlp(host, transport).signals(&["traces"]))?;
            apps.push((pod, app));
        }
    }
    for (_, app) in &mut apps {
        app.ready()?;
        app.work(100, &["traces"])?;
    }
    Ok(apps)
}

fn all_fail(doctor: &Doctor<'_>, apps: &[(Pod, App)], id: &str) -> Result<()> {
    for (pod, _) in apps {
        let export = doctor.verdict(pod, id, |export| export.signal() == "traces")?;
        does_not_resolve(&export);
    }
    Ok(())
}

/// The name server is there and answers nobody; then it does.
#[test]
fn a_name_server_that_does_not_answer() -> Result<()> {
    let lab = Lab::new()?;
    let collector = Collector::start(&lab, "observability", "otel-collector")?;
    let doctor = lab.doctor(&[])?;
    let twin = lab.pod("apps/twin")?;
    let address = collector.pod.v4.to_string();
    let mut literal = App::start(
        &twin,
        Sdk::Python,
        &Env::otlp(&address, Transport::Http).signals(&["traces"]),
    )?;
    literal.work(100, &["traces"])?;
    lab.dns().pause()?;
    let apps = connecting(&lab, "otel-collector.observability")?;
    all_fail(&doctor, &apps, "dns-timeout")?;
    let server = lab.dns().pod.v4.to_string();
    let export = doctor.verdict(&apps[0].0, "dns-timeout", |_| true)?;
    assert!(export.evidence().contains(&server), "{export}");
    // Whoever needs no name is well.
    let export = doctor.verdict(&twin, "healthy", |export| export.signal() == "traces")?;
    assert_eq!(export.rung("resolved"), "not-applicable", "{export}");
    doctor.quiet(&twin)?;
    lab.dns().resume()?;
    for (pod, _) in &apps {
        doctor.healed(pod)?;
    }
    doctor.stop()
}

/// Nobody listens at the name server's address.
#[test]
fn a_name_server_that_is_not_there() -> Result<()> {
    let lab = Lab::new()?;
    let collector = Collector::start(&lab, "observability", "otel-collector")?;
    let doctor = lab.doctor(&[])?;
    lab.dns().stop();
    let apps = connecting(&lab, "otel-collector.observability")?;
    // c-ares and glibc connect their sockets and are told.
    all_fail(&doctor, &apps, "dns-refused")?;
    lab.dns().restart()?;
    lab.dns().add(&collector.name, &collector.pod.ips())?;
    for (pod, _) in &apps {
        doctor.healed(pod)?;
    }
    doctor.stop()
}

/// c-ares asks on after the answer: the last that it hears of a name that resolves is NXDOMAIN.
#[test]
fn search_noise_is_no_failure() -> Result<()> {
    let lab = Lab::new()?;
    let collector = Collector::start(&lab, "observability", "otel-collector")?;
    let doctor = lab.doctor(&[])?;
    let pod = lab.pod("apps/checkout")?;
    let host = "otel-collector.observability";
    let mut app = App::start(&pod, Sdk::Python, &Env::otlp(host, Transport::Grpc))?;
    app.work(100, &[])?;
    collector.wait_for(3, SOON, |_| true)?;
    for signal in ["traces", "metrics", "logs"] {
        doctor.verdict(&pod, "healthy", |export| export.signal() == signal)?;
    }
    doctor.quiet(&pod)?;
    doctor.stop()
}
