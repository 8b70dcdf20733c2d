//! Services behind mesh sidecars: two legs, and which of them is broken.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use obsflow_tests::case::AT_ONCE;
use obsflow_tests::doctor::{Doctor, Export};
use obsflow_tests::lab::pod::PodSpec;
use obsflow_tests::scenario;
use obsflow_tests::server::mesh::{Level, Sidecar};
use obsflow_tests::server::otlp::{Collector, GRPC, HTTP, Sdk, Setup, Transport};
use obsflow_tests::wait::SOON;
use obsflow_tests::{Case, Lab, Proc};

/// Waits for what is said of the sidecar's own leg.
fn upstream(doctor: &Doctor<'_>, case: &Case, verdict: &str) -> Result<Export> {
    doctor
        .verdict(&case.pod, verdict, |export| export.text("leg") == "sidecar")
        .context("the sidecar's leg")
}

#[test]
fn the_leg_that_is_broken_is_named() -> Result<()> {
    let lab = Lab::new()?;
    let mut jaeger = Collector::start(&lab, "tracing", "jaeger")?;
    // A mesh of IPv4.
    let name = "jaeger-collector.tracing.svc.cluster.local";
    lab.dns().add(name, &[jaeger.pod.v4.into()])?;
    let case =
        |app, sdk, transport, port| Case::new(&lab, app, sdk, transport, &format!("http://{name}:{port}"));
    let mut cases = [
        (
            case("apps/reviews", Sdk::Python, Transport::Grpc, GRPC)?,
            Level::Tcp,
        ),
        (
            case("apps/ratings", Sdk::Rust, Transport::Http, HTTP)?,
            Level::Http,
        ),
    ];
    let mut sidecars = Vec::new();
    for (case, level) in &cases {
        let mut sidecar = Sidecar::inject(&lab, &case.pod, &[GRPC, HTTP], *level)?;
        sidecar.start()?;
        sidecars.push(sidecar);
    }
    let doctor = lab.doctor(&[])?;
    for (case, _) in &mut cases {
        case.start()?;
    }
    for (case, _) in &cases {
        doctor.healed(&case.pod)?;
    }
    jaeger.stop();
    for (case, _) in &cases {
        let export = upstream(&doctor, case, "refused")?;
        assert_eq!(export.failed_rung(), "connected", "{export}");
        doctor.never("that the application is refused", |export| {
            export.of(&case.pod) && export.verdict() == "refused" && export.text("leg") != "sidecar"
        })?;
    }
    // Kubelet's probes of ports that nobody listens on yet are no exporters, on whatever port.
    let kubelet = lab.pod(PodSpec::new("kube-system/kubelet").host_network())?;
    for port in [8080, 14_269, HTTP] {
        let to = SocketAddr::new(jaeger.pod.v4.into(), port);
        assert_eq!(scenario::connect(&kubelet, to, 1000)?["result"], "failed");
    }
    doctor.sentinel()?;
    doctor.never("that a probe is an exporter", |export| export.of(&kubelet))?;
    jaeger.restart()?;
    for (case, _) in &cases {
        doctor.healed(&case.pod)?;
    }
    doctor.stop()
}

/// The application begins before its sidecar does: refused for a while, then fine.
#[test]
fn a_sidecar_that_starts_late() -> Result<()> {
    let lab = Lab::new()?;
    let jaeger = Collector::start(&lab, "tracing", "jaeger")?;
    let name = "jaeger-collector.tracing.svc.cluster.local";
    lab.dns().add(name, &[jaeger.pod.v4.into()])?;
    let endpoint = format!("http://{name}:{HTTP}");
    let mut case = Case::new(&lab, "apps/reviews", Sdk::Rust, Transport::Http, &endpoint)?;
    let mut sidecar = Sidecar::inject(&lab, &case.pod, &[HTTP], Level::Tcp)?;
    let doctor = lab.doctor(&[])?;
    case.start()?;
    case.fails(&doctor, AT_ONCE, "refused", "connected")?;
    sidecar.start()?;
    doctor.healed(&case.pod)?;
    doctor.never("that a pod that still starts is broken", |export| {
        export.of(&case.pod) && export.is_failure() && export.severity() != "starting"
    })?;
    doctor.stop()
}

/// Istio's own tracing speaks Zipkin, and so do the services beside it: no OTLP, another port, the same two legs.
#[test]
fn spans_in_zipkin_through_a_sidecar() -> Result<()> {
    const ZIPKIN: u16 = 9411;
    let lab = Lab::new()?;
    let mut jaeger = Collector::start_as(&lab, "istio-system", "zipkin", Setup::http(&[ZIPKIN]))?;
    let name = "zipkin.istio-system.svc.cluster.local";
    lab.dns().set(name, &[jaeger.pod.v4.into()])?;
    let pod = lab.pod("apps/details")?;
    let mut sidecar = Sidecar::inject(&lab, &pod, &[ZIPKIN], Level::Http)?;
    sidecar.start()?;
    let doctor = lab.doctor(&[])?;
    let script = format!(
        "while :; do curl -s -m 5 -o /dev/null -H 'content-type: application/json' -d '[{{}}]' \
         http://{name}:{ZIPKIN}/api/v2/spans; sleep 0.5; done"
    );
    let mut command = pod.command("/bin/sh")?;
    command.args(["-c", &script]);
    let _service = Proc::start(command)?;
    jaeger.wait_for(2, SOON, |request| request["signal"] == "zipkin")?;
    for leg in ["to-sidecar", "sidecar"] {
        doctor
            .verdict(&pod, "healthy", |export| {
                export.text("leg") == leg
                    && export.signal() == "traces"
                    && export.endpoint().contains(":9411")
            })
            .with_context(|| format!("the leg {leg}"))?;
    }
    jaeger.stop();
    let export = doctor.verdict(&pod, "refused", |export| export.text("leg") == "sidecar")?;
    assert_eq!(export.failed_rung(), "connected", "{export}");
    jaeger.restart()?;
    doctor.healed(&pod)?;
    doctor.sentinel()?;
    doctor.never("that the application fails", |export| {
        export.of(&pod) && export.is_failure() && export.text("leg") != "sidecar"
    })?;
    doctor.stop()
}
