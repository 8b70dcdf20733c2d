//! Many exporters that do well, and pods that come and go: no finding, and an end to what is remembered.

use std::time::Duration;

use anyhow::{Context as _, Result};
use obsflow_tests::server::otlp::{self, Collector, Sdk, Transport};
use obsflow_tests::wait::SOON;
use obsflow_tests::{Lab, PodSpec};

/// Resolves at the last of the search list's candidates: four of five look-ups are answered NXDOMAIN.
const HOST: &str = "otel-collector.example";
const PODS: usize = 500;

#[test]
fn five_hundred_healthy_pods() -> Result<()> {
    let lab = Lab::new()?;
    let collector = Collector::start(&lab, "observability", "otel-collector")?;
    lab.dns().add(HOST, &collector.pod.ips())?;
    let specs = (0..PODS).map(|index| PodSpec::new(&format!("shop/app-{index}")));
    let pods = lab.pods(specs.collect())?;
    let doctor = lab.doctor(&[])?;
    let mut exporters = Vec::new();
    for (index, pod) in pods.iter().enumerate() {
        let transport = [Transport::Http, Transport::Grpc][index % 2];
        let every = Duration::from_secs(2);
        exporters.push(otlp::export(pod, Sdk::Rust, transport, HOST, 10_000, every)?);
    }
    for pod in &pods {
        doctor.verdict(pod, "healthy", |_| true)?;
    }
    // Once more from everybody, now that all of them run.
    let arrived = collector.received()?.len();
    collector.wait_for(arrived + PODS, SOON, |_| true)?;
    doctor.sentinel()?;
    doctor.never("a failure of healthy pods", |export| {
        export.is_failure() && export.text("namespace") == "shop"
    })?;
    for pod in &pods {
        let exports = doctor.now(pod);
        assert!(!exports.is_empty(), "{} is not known any more", pod.path());
    }
    doctor.stop()
}

/// A container that crashes at once and is started again, over and over.
#[test]
fn a_pod_that_restarts_all_the_time() -> Result<()> {
    const STARTS: usize = 40;
    let lab = Lab::new()?;
    let collector = Collector::start(&lab, "observability", "otel-collector")?;
    let doctor = lab.doctor(&[])?;
    let twin = lab.pod("apps/twin")?;
    let every = Duration::from_millis(500);
    let host = "otel-collector.observability";
    let _healthy = otlp::export(&twin, Sdk::Rust, Transport::Http, host, 10_000, every)?;
    let before = resident(doctor.process().pid())?;
    for _ in 0..STARTS {
        // A kubelet makes a new container in the same pod; here even the pod is a new one.
        let pod = lab.pod("apps/crashing")?;
        let exporter = otlp::export(&pod, Sdk::Rust, Transport::Http, host, 1, every)?;
        exporter.json("that it exported", SOON, |line| line["export"] == "ok")?;
        drop(exporter);
        pod.delete()?;
    }
    let arrived = collector.received()?.len();
    collector.wait_for(arrived + 1, SOON, |_| true)?;
    doctor.verdict(&twin, "healthy", |export| export.signal() == "traces")?;
    doctor.quiet(&twin)?;
    doctor.never("a failure of what crashed", |export| {
        export.is_failure() && export.text("pod").starts_with("crashing-")
    })?;
    assert_eq!(
        doctor.count(|export| export.text("pod").starts_with("crashing-")),
        0
    );
    // What is gone is remembered for a while, and costs little.
    let grown = resident(doctor.process().pid())?.saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB more after {STARTS} pods");
    doctor.stop()
}

/// Resident memory of a process in KiB.
fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let text = line.context("no VmRSS")?.trim().trim_end_matches(" kB");
    Ok(text.trim().parse()?)
}
