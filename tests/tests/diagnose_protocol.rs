//! Exporters that connect and do not speak what the other side speaks, or are hung up on.

use std::path::Path;

use anyhow::Result;
use obsflow_tests::case::AT_ONCE;
use obsflow_tests::lab::pod::PodSpec;
use obsflow_tests::server::otlp::{Collector, GRPC, HTTP, Sdk, Setup, Transport};
use obsflow_tests::server::tls::{Authority, TlsCollector};
use obsflow_tests::wait::SOON;
use obsflow_tests::{Case, Lab};

const CA: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE";
const KEY: &str = "OTEL_EXPORTER_OTLP_CLIENT_KEY";

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

#[test]
fn certificates_that_do_not_convince() -> Result<()> {
    let lab = Lab::new()?;
    let authority = Authority::new(&lab, "authority")?;
    let stranger = Authority::new(&lab, "stranger")?;
    let server = TlsCollector::start(&lab, "otel-tls", &authority, None)?;
    let mut strange = TlsCollector::start(&lab, "otel-strange", &stranger, None)?;
    let mut strict = TlsCollector::start(&lab, "otel-mtls", &authority, Some(&authority))?;
    let ca = text(&authority.identity.certificate);
    let client = authority.issue("checkout")?;
    let case = |app: &str, to: &TlsCollector, transport| {
        let port = if transport == Transport::Http { HTTP } else { GRPC };
        let endpoint = format!("https://{}:{port}", to.collector.name);
        Case::new(&lab, app, Sdk::Python, transport, &endpoint)
    };
    let mut failing = [
        case("apps/unknown-http", &strange, Transport::Http)?.env(CA, ca),
        case("apps/unknown-grpc", &strange, Transport::Grpc)?.env(CA, ca),
        case("apps/nobody-http", &strict, Transport::Http)?.env(CA, ca),
        case("apps/nobody-grpc", &strict, Transport::Grpc)?.env(CA, ca),
    ];
    let mut well = [
        case("apps/known-http", &server, Transport::Http)?.env(CA, ca),
        case("apps/known-grpc", &server, Transport::Grpc)?.env(CA, ca),
        case("apps/somebody-http", &strict, Transport::Http)?
            .env(CA, ca)
            .env(CERTIFICATE, text(&client.certificate))
            .env(KEY, text(&client.key)),
    ];
    let doctor = lab.doctor(&[])?;
    failing.iter_mut().chain(&mut well).try_for_each(Case::start)?;
    for case in &failing {
        let export = case.fails(&doctor, AT_ONCE, "tls-failed", "sent")?;
        assert_eq!(export.rung("connected"), "ok", "{export}");
    }
    let export = failing[0].fails(&doctor, AT_ONCE, "tls-failed", "sent")?;
    assert!(export.evidence().contains("unknown_ca"), "{export}");
    for case in &well {
        case.exported("ok")?;
        // What is inside TLS is not seen: whether it was accepted stays unknown.
        doctor.verdict(&case.pod, "healthy", |export| {
            export.rung("sent") == "ok" && export.rung("accepted") == "unknown"
        })?;
    }
    doctor.all_quiet(well.iter().map(|case| &case.pod))?;
    // One gets a certificate of the authority that its clients know, the other takes clients without any.
    strange.change(&lab, &authority, None)?;
    strict.change(&lab, &authority, None)?;
    for case in &failing {
        case.heals(&doctor)?;
    }
    doctor.stop()
}

#[test]
fn one_side_speaks_tls() -> Result<()> {
    let lab = Lab::new()?;
    let authority = Authority::new(&lab, "authority")?;
    let plain = Collector::start(&lab, "observability", "otel-plain")?;
    let tls = TlsCollector::start(&lab, "otel-tls", &authority, None)?;
    let case = |app: &str, sdk, transport, scheme: &str, host: &str| {
        let port = if transport == Transport::Http { HTTP } else { GRPC };
        Case::new(&lab, app, sdk, transport, &format!("{scheme}://{host}:{port}"))
    };
    let (to_plain, to_tls) = (plain.name.as_str(), tls.collector.name.as_str());
    let ca = text(&authority.identity.certificate);
    let mut cases = [
        case(
            "apps/tls-to-http",
            Sdk::Python,
            Transport::Http,
            "https",
            to_plain,
        )?
        .env(CA, ca),
        case(
            "apps/tls-to-grpc",
            Sdk::Python,
            Transport::Grpc,
            "https",
            to_plain,
        )?
        .env(CA, ca),
        case("apps/http-to-tls", Sdk::Python, Transport::Http, "http", to_tls)?,
        case("apps/http-to-tls-2", Sdk::Rust, Transport::Http, "http", to_tls)?,
        // Go hangs up without a word.
        case("apps/grpc-to-tls", Sdk::Python, Transport::Grpc, "http", to_tls)?,
    ];
    let doctor = lab.doctor(&[])?;
    cases.iter_mut().try_for_each(Case::start)?;
    for case in &cases {
        let export = case.fails(&doctor, AT_ONCE, "tls-mismatch", "sent")?;
        assert_eq!(export.rung("connected"), "ok", "{export}");
    }
    // Each of them becomes what its clients take it for.
    let _now_tls = TlsCollector::instead_of(&lab, plain, &authority)?;
    let _now_plain = tls.without_tls(&lab)?;
    for case in &cases {
        case.heals(&doctor)?;
    }
    doctor.stop()
}

#[test]
fn http_and_grpc_change_places() -> Result<()> {
    let lab = Lab::new()?;
    let collector = Collector::start(&lab, "observability", "otel-collector")?;
    let other = Collector::start(&lab, "observability", "otel-other")?;
    let case = |app: &str, sdk, transport, to: &Collector, port| {
        let endpoint = format!("http://{}:{port}", to.name);
        Case::new(&lab, app, sdk, transport, &endpoint)
    };
    let mut cases = [
        case("apps/grpc-to-http", Sdk::Python, Transport::Grpc, &other, HTTP)?,
        case("apps/grpc-to-http-2", Sdk::Rust, Transport::Grpc, &other, HTTP)?,
        case("apps/http-to-grpc", Sdk::Python, Transport::Http, &other, GRPC)?,
        case("apps/http-to-grpc-2", Sdk::Rust, Transport::Http, &other, GRPC)?,
    ];
    let mut well = [
        case("apps/grpc", Sdk::Python, Transport::Grpc, &collector, GRPC)?,
        case("apps/http", Sdk::Python, Transport::Http, &collector, HTTP)?,
    ];
    let doctor = lab.doctor(&[])?;
    cases.iter_mut().chain(&mut well).try_for_each(Case::start)?;
    for case in &cases {
        case.fails(&doctor, AT_ONCE, "protocol-mismatch", "sent")?;
    }
    for case in &well {
        doctor.verdict(&case.pod, "healthy", |export| export.rung("accepted") == "ok")?;
    }
    doctor.all_quiet(well.iter().map(|case| &case.pod))?;
    // The receiver's ports change places, too.
    let _swapped = other.replaced(&lab, Setup::on(GRPC, HTTP))?;
    for case in &cases {
        case.heals(&doctor)?;
    }
    doctor.never("a reset where protocols differ", |export| {
        export.verdict() == "reset" && cases.iter().any(|case| export.of(&case.pod))
    })?;
    doctor.stop()
}

#[test]
fn hung_up_before_a_word() -> Result<()> {
    let lab = Lab::new()?;
    let server = lab.pod(PodSpec::new("observability/moody").node(1))?;
    let name = "moody.observability.svc.cluster.local";
    lab.dns().add(name, &server.ips())?;
    let resets = server.tool(["serve", "[::]:4318", "--then", "reset"])?;
    resets.json("that it listens", SOON, |line| line["listening"] == true)?;
    let endpoint = format!("http://{name}:{HTTP}");
    let case = |app, sdk| Case::new(&lab, app, sdk, Transport::Http, &endpoint);
    let mut cases = [
        case("apps/reset-python", Sdk::Python)?,
        case("apps/reset-rust", Sdk::Rust)?,
    ];
    let doctor = lab.doctor(&[])?;
    cases.iter_mut().try_for_each(Case::start)?;
    for case in &cases {
        case.fails(&doctor, AT_ONCE, "reset", "sent")?;
    }
    drop(resets);
    let _better = Collector::run(&lab, server, Setup::default())?;
    for case in &cases {
        doctor.healed(&case.pod)?;
    }
    doctor.stop()
}
