//! Exporters that are heard, and told no, or not told anything.

use anyhow::Result;
use obsflow_tests::case::AT_ONCE;
use obsflow_tests::scenario;
use obsflow_tests::server::otlp::{Collector, GRPC, HTTP, Sdk, Setup, Transport};
use obsflow_tests::wait::SOON;
use obsflow_tests::{Case, Lab};

#[test]
fn servers_that_say_no() -> Result<()> {
    let lab = Lab::new()?;
    let victoria = Setup::http(&[10_428]).option("paths=victoria");
    let _victoria = Collector::start_as(&lab, "observability", "victoria-traces", victoria.clone())?;
    let other = Collector::start_as(&lab, "observability", "victoria-logs", victoria)?;
    let mut ordered = Vec::new();
    for (app, sdk, transport, order, reason) in [
        (
            "unauthorized",
            Sdk::Rust,
            Transport::Http,
            "status=401",
            "unauthorized",
        ),
        (
            "forbidden",
            Sdk::Rust,
            Transport::Http,
            "status=403",
            "unauthorized",
        ),
        ("too-large", Sdk::Rust, Transport::Http, "status=413", "too-large"),
        (
            "overloaded",
            Sdk::Python,
            Transport::Http,
            "status=503",
            "overloaded",
        ),
        (
            "throttled",
            Sdk::Rust,
            Transport::Http,
            "status=429,retry-after=30",
            "overloaded",
        ),
        (
            "redirected",
            Sdk::Python,
            Transport::Http,
            "status=308",
            "redirect",
        ),
        (
            "grpc-denied",
            Sdk::Rust,
            Transport::Grpc,
            "status=7",
            "unauthorized",
        ),
        (
            "grpc-exhausted",
            Sdk::Rust,
            Transport::Grpc,
            "status=8",
            "overloaded",
        ),
        (
            "grpc-unimplemented",
            Sdk::Python,
            Transport::Grpc,
            "status=12",
            "wrong-path",
        ),
        (
            "grpc-unavailable",
            Sdk::Python,
            Transport::Grpc,
            "status=14",
            "overloaded",
        ),
    ] {
        let mut collector = Collector::start(&lab, "observability", app)?;
        collector.answer(transport, order)?;
        let port = if transport == Transport::Http { HTTP } else { GRPC };
        let endpoint = format!("http://{}:{port}", collector.name);
        let case = Case::new(&lab, format!("apps/{app}").as_str(), sdk, transport, &endpoint)?;
        ordered.push((case, collector, transport, reason));
    }
    let path = |app, port, path: &str, sdk| {
        let name = format!("{app}.observability.svc.cluster.local");
        let endpoint = format!("http://{name}:{port}{path}");
        Case::new(
            &lab,
            format!("apps/to-{app}").as_str(),
            sdk,
            Transport::Http,
            &endpoint,
        )
    };
    // VictoriaTraces has a path of its own and says 400 to others; a Collector knows nothing of /v2/traces: 404.
    let mut paths = [
        path("victoria-logs", 10_428, "", Sdk::Python)?,
        path("unauthorized", HTTP, "/v2", Sdk::Rust)?,
    ];
    let mut right = path("victoria-traces", 10_428, "/insert/opentelemetry", Sdk::Python)?;

    let doctor = lab.doctor(&[])?;
    right.start()?;
    paths.iter_mut().try_for_each(Case::start)?;
    ordered.iter_mut().try_for_each(|(case, ..)| case.start())?;
    for case in &paths {
        let export = case.fails(&doctor, AT_ONCE, "rejected", "accepted")?;
        assert_eq!(export.reason(), "wrong-path", "{export}");
    }
    for (case, _, _, reason) in &ordered {
        let export = case.fails(&doctor, AT_ONCE, "rejected", "accepted")?;
        assert_eq!(export.reason(), *reason, "{export}");
    }
    for (_, collector, transport, _) in &mut ordered {
        collector.answer(*transport, "ok")?;
    }
    // One with the paths that everybody knows takes its place.
    let _other = other.replaced(&lab, Setup::http(&[10_428]))?;
    let mended = ordered.iter().map(|(case, ..)| case);
    for case in mended.chain(&paths[..1]) {
        case.heals(&doctor)?;
    }
    right.exported("ok")?;
    doctor.quiet(&right.pod)?;
    doctor.stop()
}

/// A receiver that is full for a moment, with an exporter that tries again.
#[test]
fn one_no_that_a_retry_cured() -> Result<()> {
    let lab = Lab::new()?;
    let mut collector = Collector::start(&lab, "observability", "otel-collector")?;
    let endpoint = format!("http://{}:{HTTP}", collector.name);
    let mut case = Case::new(&lab, "apps/checkout", Sdk::Python, Transport::Http, &endpoint)?;
    let doctor = lab.doctor(&[])?;
    case.start()?;
    collector.wait_for(2, SOON, |_| true)?;
    let before = collector.received()?.len();
    collector.answer(Transport::Http, "status=503,times=1")?;
    collector.wait_for(before + 3, SOON, |_| true)?;
    assert_eq!(case.count("failed"), 0);
    doctor.verdict(&case.pod, "healthy", |_| true)?;
    doctor.quiet(&case.pod)?;
    doctor.stop()
}

#[test]
fn a_part_is_rejected() -> Result<()> {
    let lab = Lab::new()?;
    let mut collector = Collector::start(&lab, "observability", "otel-collector")?;
    let mut cases = Vec::new();
    for (app, sdk, transport, port) in [
        ("apps/http", Sdk::Python, Transport::Http, HTTP),
        ("apps/grpc", Sdk::Rust, Transport::Grpc, GRPC),
    ] {
        collector.answer(transport, "partial")?;
        let endpoint = format!("http://{}:{port}", collector.name);
        cases.push((Case::new(&lab, app, sdk, transport, &endpoint)?, transport));
    }
    let doctor = lab.doctor(&[])?;
    for (case, _) in &mut cases {
        case.start()?;
    }
    for (case, transport) in &cases {
        case.fails(&doctor, AT_ONCE, "partial", "accepted")?;
        assert_eq!(case.count("failed"), 0, "to the exporter it is success");
        collector.answer(*transport, "ok")?;
        doctor.healed(&case.pod)?;
    }
    doctor.stop()
}

#[test]
fn servers_that_say_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let mut collector = Collector::start(&lab, "observability", "otel-collector")?;
    let gone = Collector::start(&lab, "observability", "otel-moving")?;
    let new = Collector::start(&lab, "observability", "otel-moved")?;
    let case = |app, sdk, transport, host: &str, port| {
        Case::new(&lab, app, sdk, transport, &format!("http://{host}:{port}"))
    };
    let mut http = case("apps/http", Sdk::Rust, Transport::Http, &collector.name, HTTP)?
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "2000");
    let mut grpc = case("apps/grpc", Sdk::Python, Transport::Grpc, &collector.name, GRPC)?;
    let mut stale = case("apps/stale", Sdk::Rust, Transport::Grpc, &gone.name, GRPC)?;
    let mut fresh = case("apps/fresh", Sdk::Rust, Transport::Http, &gone.name, HTTP)?;
    let doctor = lab.doctor(&[])?;
    // Its channel is made while the address is right.
    stale.start()?;
    doctor.verdict(&stale.pod, "healthy", |_| true)?;
    let vanished = scenario::black_hole(&lab, &gone.pod)?;
    lab.dns().set(&gone.name, &new.pod.ips())?;
    for transport in [Transport::Http, Transport::Grpc] {
        collector.answer(transport, "never")?;
    }
    for case in [&mut http, &mut grpc, &mut fresh] {
        case.start()?;
    }
    for (case, verdict, rung) in [
        (&http, "stalled", "accepted"),
        (&grpc, "stalled", "accepted"),
        (&stale, "stale-connection", "sent"),
    ] {
        case.fails(&doctor, SOON, verdict, rung)?;
    }
    for transport in [Transport::Http, Transport::Grpc] {
        collector.answer(transport, "ok")?;
    }
    vanished
        .into_iter()
        .try_for_each(obsflow_tests::fault::Broken::heal)?;
    for case in [&http, &grpc, &stale] {
        doctor.healed(&case.pod)?;
    }
    doctor.quiet(&fresh.pod)?;
    doctor.stop()
}
