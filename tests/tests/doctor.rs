//! `obsflow doctor` as a command: what it prints, in which format, and what it exits with.

mod schema;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use obsflow_tests::process::run;
use obsflow_tests::server::otlp::{self, Collector, Sdk, Transport};
use obsflow_tests::wait::SOON;
use obsflow_tests::{Lab, Pod, Proc};
use rustix::process::Signal;
use serde_json::Value;

/// The Collector's name, as people write it.
const COLLECTOR: &str = "otel-collector.observability";
/// The same with a letter missing.
const TYPO: &str = "otel-colector.observability";
/// Between two exports.
const EVERY: Duration = Duration::from_millis(500);
/// More exports than any of these tests waits for.
const MANY: u32 = 10_000;

fn export(pod: &Pod, host: &str) -> Result<Proc> {
    otlp::export(pod, Sdk::Rust, Transport::Http, host, MANY, EVERY)
}

/// Doctor on node 0 with these arguments.
fn doctor(lab: &Lab, args: &[&str]) -> Result<Command> {
    let mut command = lab.obsflow_command("doctor")?;
    command.args(args).env("LC_ALL", "C.UTF-8").env_remove("COLUMNS");
    Ok(command)
}

/// Starts doctor, and waits until it is attached.
fn watching(lab: &Lab, args: &[&str]) -> Result<Proc> {
    let doctor = Proc::start(doctor(lab, args)?)?;
    doctor
        .err()
        .find(SOON, |line| line.contains("attached").then_some(()))
        .with_context(|| format!("doctor did not attach: {:?}", doctor.err().all()))?;
    Ok(doctor)
}

/// Waits for a line of a table, ends doctor as Ctrl-C does, and gives its exit code and everything it printed.
fn until_line(mut doctor: Proc, part: &str) -> Result<(Option<i32>, String)> {
    doctor.line(part, SOON, |line| line.contains(part).then_some(()))?;
    doctor.signal(Signal::INT)?;
    let status = doctor.wait(SOON)?;
    Ok((status.code(), doctor.out().all().join("\n")))
}

#[test]
fn a_name_that_does_not_exist_in_a_table() -> Result<()> {
    let lab = Lab::new()?;
    let _collector = Collector::start(&lab, "observability", "otel-collector")?;
    let doctor = watching(&lab, &["apps/catalog", "--watch"])?;
    let (catalog, checkout) = (lab.pod("apps/catalog")?, lab.pod("apps/checkout")?);
    let (_broken, _well) = (export(&catalog, TYPO)?, export(&checkout, COLLECTOR)?);
    let (code, table) = until_line(doctor, "dns-nxdomain")?;
    assert_eq!(code, Some(1), "{table}");
    for part in [
        catalog.path().as_str(),
        "resolved ✗",
        TYPO,
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "1. ",
    ] {
        assert!(table.contains(part), "{part} is missing in\n{table}");
    }
    // Nobody asked for the other.
    assert!(!table.contains(&checkout.name), "{table}");
    Ok(())
}

#[test]
fn a_name_that_does_not_exist_in_json() -> Result<()> {
    let lab = Lab::new()?;
    let _collector = Collector::start(&lab, "observability", "otel-collector")?;
    let pod = lab.pod("apps/catalog")?;
    let exporter = export(&pod, TYPO)?;
    exporter.json("that an export failed", SOON, |line| line["export"] == "failed")?;
    let (code, out, err) = run(doctor(&lab, &["-o", "json", "--for", "8s"])?)?;
    assert_eq!(code, Some(1), "{out}\n{err}");
    assert_eq!(out.lines().count(), 1, "{out}");
    let report: Value = serde_json::from_str(&out)?;
    schema::validate(&report)?;
    let of_pod = |export: &&Value| export["pod"] == pod.name.as_str() && export["namespace"] == "apps";
    let exports = report["exports"].as_array().context("no exports")?;
    let found = exports
        .iter()
        .filter(of_pod)
        .find(|export| export["verdict"] == "dns-nxdomain")
        .with_context(|| format!("no dns-nxdomain in {report:#}"))?;
    assert_eq!(found["rungs"]["configured"], "ok", "{found:#}");
    assert_eq!(found["rungs"]["resolved"], "failed", "{found:#}");
    assert_eq!(found["rungs"]["connected"], "not-reached", "{found:#}");
    let endpoint = found["endpoint"].as_str().unwrap_or_default();
    assert!(endpoint.contains(TYPO), "{found:#}");
    assert!(found["evidence"][0]["count"].as_u64() > Some(0), "{found:#}");
    Ok(())
}

#[test]
fn nothing_fails() -> Result<()> {
    let lab = Lab::new()?;
    let _collector = Collector::start(&lab, "observability", "otel-collector")?;
    let doctor = watching(&lab, &["--watch"])?;
    let pod = lab.pod("apps/checkout")?;
    let _exporter = export(&pod, COLLECTOR)?;
    let (code, table) = until_line(doctor, "exporter healthy")?;
    assert_eq!(code, Some(0), "{table}");
    assert!(table.contains(&pod.path()), "{table}");
    Ok(())
}

#[test]
fn a_workload_that_is_not_there() -> Result<()> {
    let lab = Lab::new()?;
    let _collector = Collector::start(&lab, "observability", "otel-collector")?;
    let pod = lab.pod("apps/checkout")?;
    let exporter = export(&pod, COLLECTOR)?;
    exporter.json("an export", SOON, |line| line["export"] == "ok")?;
    let (code, out, err) = run(doctor(&lab, &["apps/chekout", "--for", "5s"])?)?;
    assert_eq!(code, Some(3), "{out}\n{err}");
    assert!(err.contains(&format!("did you mean {}", pod.path())), "{err}");
    Ok(())
}

#[test]
fn what_makes_no_sense_is_said() -> Result<()> {
    let lab = Lab::new()?;
    for (args, word) in [
        (&["deploy/checkout"][..], "NAMESPACE/checkout"),
        (&["a/b/c"], "more than one slash"),
        (&["--for", "soon"], "not a duration"),
        (&["--colour"], "--color"),
        (&["-o", "yaml"], "wide"),
        (&["--server", "10.0.0.1:80"], "unix:///"),
        (&["--explain", "nxdomain"], "did you mean dns-nxdomain?"),
    ] {
        let (code, out, err) = run(doctor(&lab, args)?)?;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}: {err}");
        assert!(err.contains(word), "{args:?}: {err}");
    }
    Ok(())
}

/// Exit code 1 would say that something fails.
#[test]
fn without_root() -> Result<()> {
    let lab = Lab::new()?;
    let doctor = doctor(&lab, &[])?;
    let mut nobody = Command::new("setpriv");
    nobody
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(doctor.get_program())
        .args(doctor.get_args());
    let (code, out, err) = run(nobody)?;
    assert_eq!((code, out.as_str()), (Some(3), ""), "{err}");
    assert!(err.contains("needs root"), "{err}");
    let no_agent = ["--server", "unix:///nowhere.sock"];
    let mut command = lab.obsflow_command("doctor")?;
    command.args(no_agent);
    let (code, out, err) = run(command)?;
    assert_eq!((code, out.as_str()), (Some(3), ""), "{err}");
    assert!(err.contains("no agent listens"), "{err}");
    Ok(())
}

#[test]
fn a_verdict_is_explained() -> Result<()> {
    let lab = Lab::new()?;
    let (code, out, err) = run(doctor(&lab, &["--explain", "dns-nxdomain"])?)?;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("dns-nxdomain"), "{out}");
    assert!(out.contains("NXDOMAIN"), "{out}");
    Ok(())
}
