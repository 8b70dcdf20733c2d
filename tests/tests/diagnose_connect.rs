//! Exporters that cannot connect: what doctor says, that it takes it back when the fault is gone, and that it stays
//! quiet where nothing is wrong.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use obsflow_tests::case::AT_ONCE;
use obsflow_tests::fault::{self, Answer, Fault, Hook};
use obsflow_tests::lab::pod::PodSpec;
use obsflow_tests::scenario;
use obsflow_tests::server::otlp::{Collector, GRPC, HTTP, Sdk, Setup, Transport};
use obsflow_tests::wait::{self, SOON};
use obsflow_tests::{Case, Lab};

use fault::Transport::{Tcp, Udp};

const NAME: &str = "otel-collector.observability";

/// Three retransmissions of a SYN (at 1, 2 and 3 s, on older kernels at 1, 3 and 7 s), five seconds, and the start of
/// an exporter.
const BLACK_HOLE: Duration = Duration::from_secs(30);

fn url(host: impl std::fmt::Display, port: u16) -> String {
    format!("http://{host}:{port}")
}

#[test]
fn packets_that_this_node_drops() -> Result<()> {
    const ELSEWHERE: u16 = 24_318;
    let lab = Lab::new()?;
    let setup = Setup::default().also_http(&[ELSEWHERE]);
    let _collector = Collector::start_as(&lab, "observability", "otel-collector", setup)?;
    let case = |app, sdk, transport, port| Case::new(&lab, app, sdk, transport, &url(NAME, port));
    let mut http = case("apps/output-http", Sdk::Python, Transport::Http, HTTP)?;
    let mut grpc = case("apps/output-grpc", Sdk::Python, Transport::Grpc, GRPC)?;
    let mut forward = case("apps/forward", Sdk::Rust, Transport::Http, ELSEWHERE)?;
    let mut policy = case("apps/policy", Sdk::Rust, Transport::Http, HTTP)?;
    let mut resolver = case("apps/resolver", Sdk::Rust, Transport::Http, HTTP)?;
    let well = case("apps/well", Sdk::Rust, Transport::Http, HTTP)?;

    let node = lab.node(0)?.netns.clone();
    let device = policy.pod.device.clone().unwrap_or_default();
    let broken = [
        fault::apply(&http.pod.netns, Fault::Drop(Hook::Output, Tcp, HTTP))?,
        fault::apply(&grpc.pod.netns, Fault::Drop(Hook::Output, Tcp, GRPC))?,
        fault::apply(&node, Fault::Drop(Hook::Forward, Tcp, ELSEWHERE))?,
        fault::apply(
            &node,
            Fault::Policy {
                device,
                egress: false,
                port: HTTP,
            },
        )?,
        fault::apply(&resolver.pod.netns, Fault::Drop(Hook::Output, Udp, 53))?,
    ];
    let doctor = lab.doctor(&[])?;
    let well = well.started()?;
    let cases = [&mut http, &mut grpc, &mut forward, &mut policy, &mut resolver];
    cases.into_iter().try_for_each(Case::start)?;
    for (case, rung, evidence) in [
        (&resolver, "resolved", "NETFILTER_DROP"),
        (&forward, "connected", "NETFILTER_DROP"),
        (&policy, "connected", "TC_INGRESS"),
        (&http, "connected", "NETFILTER_DROP"),
        (&grpc, "connected", "NETFILTER_DROP"),
    ] {
        let export = case.fails(&doctor, AT_ONCE, "dropped", rung)?;
        assert!(export.evidence().contains(evidence), "no {evidence}: {export}");
    }
    well.exported("ok")?;
    doctor.quiet(&well.pod)?;
    broken.into_iter().try_for_each(fault::Broken::heal)?;
    for case in [&http, &grpc, &forward, &policy, &resolver] {
        doctor.healed(&case.pod)?;
    }
    doctor.quiet(&well.pod)?;
    doctor.stop()
}

#[test]
fn somebody_says_no() -> Result<()> {
    const SERVICE: u16 = 24_317;
    let lab = Lab::new()?;
    let mut collector = Collector::start(&lab, "observability", "otel-collector")?;
    // A Service's address belongs to nobody; without endpoints, kube-proxy answers for it.
    let service = lab.node(1)?.nobody()[0];
    lab.dns()
        .add("otel-service.observability.svc.cluster.local", &[service])?;
    let node = lab.node(0)?.netns.clone();
    let reject = |hook, port| Fault::Reject(hook, Tcp, port, Answer::PortUnreachable);
    let no_endpoints = fault::apply(&node, reject(Hook::Forward, SERVICE))?;
    let case = |app, sdk, transport, url: &str| Case::new(&lab, app, sdk, transport, url);
    let mut empty = case(
        "apps/empty",
        Sdk::Python,
        Transport::Grpc,
        &url("otel-service.observability", SERVICE),
    )?;
    let mut local = case("apps/local", Sdk::Python, Transport::Http, &url(NAME, HTTP))?;
    let no_endpoints_either = fault::apply(&local.pod.netns, reject(Hook::Output, HTTP))?;
    let mut http = case(
        "apps/refused-http",
        Sdk::Python,
        Transport::Http,
        &url(NAME, HTTP),
    )?;
    let mut grpc = case("apps/refused-grpc", Sdk::Rust, Transport::Grpc, &url(NAME, GRPC))?;
    collector.stop();

    let doctor = lab.doctor(&[])?;
    let cases = [&mut empty, &mut local, &mut http, &mut grpc];
    cases.into_iter().try_for_each(Case::start)?;
    for (case, verdict) in [
        (&grpc, "refused"),
        (&http, "refused"),
        (&local, "no-endpoints"),
        (&empty, "no-endpoints"),
    ] {
        case.fails(&doctor, AT_ONCE, verdict, "connected")?;
    }
    no_endpoints.heal()?;
    no_endpoints_either.heal()?;
    collector.restart()?;
    for case in [&local, &http, &grpc] {
        doctor.healed(&case.pod)?;
    }
    doctor.never("no-endpoints of a Collector that has ended", |export| {
        export.verdict() == "no-endpoints" && (export.of(&http.pod) || export.of(&grpc.pod))
    })?;
    doctor.stop()
}

#[test]
fn there_is_no_way() -> Result<()> {
    let lab = Lab::new()?;
    let collector = Collector::start(&lab, "observability", "otel-collector")?;
    let here = collector.pod.v4;
    let case =
        |app, transport, host: IpAddr, port| Case::new(&lab, app, Sdk::Rust, transport, &url(host, port));
    let mut no_route = case("apps/no-route", Transport::Http, here.into(), HTTP)?;
    let mut unreachable = case("apps/unreachable", Transport::Grpc, here.into(), GRPC)?;
    // On the pod's own bridge: nobody answers ARP.
    let nobody = lab.node(0)?.nobody()[0];
    let mut neighbour = case("apps/neighbour", Transport::Http, nobody, HTTP)?;
    let broken = [
        fault::apply(&no_route.pod.netns, Fault::NoRoute)?,
        fault::apply(&unreachable.pod.netns, Fault::Unreachable(here.into()))?,
    ];
    let doctor = lab.doctor(&[])?;
    for case in [&mut no_route, &mut unreachable, &mut neighbour] {
        case.start()?;
    }
    for case in [&no_route, &unreachable, &neighbour] {
        let export = case.fails(&doctor, AT_ONCE, "unreachable", "connected")?;
        assert_eq!(export.rung("resolved"), "not-applicable", "{export}");
    }
    broken.into_iter().try_for_each(fault::Broken::heal)?;
    // Somebody takes the address that nobody had.
    let late = Collector::start_in(&lab, lab.pod("observability/late")?)?;
    late.pod
        .netns
        .run("ip", &["addr", "add", &format!("{nobody}/32"), "dev", "eth0"])?;
    for case in [&no_route, &unreachable, &neighbour] {
        case.heals(&doctor)?;
    }
    doctor.stop()
}

#[test]
fn nobody_answers() -> Result<()> {
    let lab = Lab::new()?;
    let collector = Collector::start(&lab, "observability", "otel-collector")?;
    let hole = Collector::start(&lab, "observability", "otel-hole")?;
    let case = |app, sdk, transport, port| {
        Case::new(&lab, app, sdk, transport, &url("otel-hole.observability", port))
    };
    // Python over HTTP closes the socket after its 10 s, gRPC's C core after 20 s, tonic tries for minutes.
    let mut cases = [
        case("apps/hole-http", Sdk::Python, Transport::Http, HTTP)?,
        case("apps/hole-grpc", Sdk::Python, Transport::Grpc, GRPC)?,
        case("apps/hole-rust", Sdk::Rust, Transport::Grpc, GRPC)?,
    ];
    let well = Case::new(&lab, "apps/well", Sdk::Rust, Transport::Http, &url(NAME, HTTP))?;
    let black_hole = scenario::black_hole(&lab, &hole.pod)?;
    let doctor = lab.doctor(&[])?;
    let well = well.started()?;
    cases.iter_mut().try_for_each(Case::start)?;
    for case in &cases {
        let export = case.fails(&doctor, BLACK_HOLE, "blackholed", "connected")?;
        assert_eq!(export.rung("resolved"), "ok", "{export}");
    }
    black_hole.into_iter().try_for_each(fault::Broken::heal)?;
    for case in &cases {
        doctor.healed(&case.pod)?;
    }
    well.exported("ok")?;
    doctor.quiet(&well.pod)?;
    drop(collector);
    doctor.stop()
}

/// What looks like a failure and is none: a sidecar that listens on IPv4 alone, so that `::1` is refused first, and a SYN
/// that is lost.
#[test]
fn connects_that_are_well() -> Result<()> {
    let lab = Lab::new()?;
    let mut both = Case::new(
        &lab,
        "apps/localhost",
        Sdk::Python,
        Transport::Http,
        &url("localhost", HTTP),
    )?;
    let sidecar = both.pod.add_container("otc-container")?;
    let sidecar = Collector::run(&lab, sidecar, Setup::default().v4_only())?;
    let far = Collector::start(&lab, "observability", "otel-far")?;
    let mut lost = Case::new(
        &lab,
        PodSpec::new("apps/lost"),
        Sdk::Rust,
        Transport::Http,
        &url(far.pod.v4, HTTP),
    )?;
    let doctor = lab.doctor(&[])?;
    let black_hole = scenario::black_hole(&lab, &far.pod)?;
    both.start()?;
    lost.start()?;
    let to = SocketAddr::new(far.pod.v4.into(), HTTP).to_string();
    wait::until("a SYN on its way", SOON, || {
        let sockets = lost.pod.netns.run("ss", &["-Htn", "state", "syn-sent"])?;
        Ok(sockets.contains(&to).then_some(()))
    })?;
    black_hole.into_iter().try_for_each(fault::Broken::heal)?;
    sidecar.wait_for(3, SOON, |_| true)?;
    far.wait_for(3, SOON, |_| true)?;
    for case in [&both, &lost] {
        doctor.verdict(&case.pod, "healthy", |_| true)?;
        doctor.quiet(&case.pod)?;
    }
    doctor.stop()
}
