//! Destinations that somebody rewrites on the way: socket load balancers, sidecars, kube-proxy.

use std::net::{SocketAddr, SocketAddrV4};

use anyhow::Result;
use obsflow_tests::fault::{self, Fault, Hook, Transport};
use obsflow_tests::rewrite::Rewrite;
use obsflow_tests::scenario::{Echo, connect, says};
use obsflow_tests::{Lab, PodSpec};

const PORT: u16 = 4318;
const SERVICE: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(10, 96, 0, 17), 4317);

#[test]
fn a_socket_load_balancer_attached_first() -> Result<()> {
    let lab = Lab::new()?;
    let mut echo = Echo::start(&lab, PORT)?;
    let pod = lab.pod("checkout")?;
    let backend = SocketAddrV4::new(echo.pod.v4, PORT);
    let _rewriting = Rewrite::attach(&lab.node(0)?.cgroup, SERVICE, backend)?;
    let obsflow = lab.observe(&[])?;
    assert_eq!(connect(&pod, SERVICE.into(), 5000)?["result"], "established");
    obsflow.established(&pod, backend.into())?;
    obsflow.quiet(&pod)?;
    echo.stop();
    assert_eq!(connect(&pod, SERVICE.into(), 5000)?["errno"], libc::ECONNREFUSED);
    assert_eq!(obsflow.failure(&pod, backend.into())?.outcome(), "refused");
    obsflow.stop()
}

#[test]
fn a_socket_load_balancer_attached_after() -> Result<()> {
    let lab = Lab::new()?;
    let mut echo = Echo::start(&lab, PORT)?;
    lab.dns().add(
        "otel-collector.observability.svc.cluster.local",
        &[(*SERVICE.ip()).into()],
    )?;
    let pod = lab.pod("checkout")?;
    let backend = SocketAddrV4::new(echo.pod.v4, PORT);
    let obsflow = lab.observe(&[])?;
    let _rewriting = Rewrite::attach(&lab.node(0)?.cgroup, SERVICE, backend)?;
    let said = says(
        &pod,
        &[
            "dial",
            "otel-collector.observability",
            "4317",
            "--deadline",
            "5000",
        ],
    )?;
    assert_eq!(said["result"], "established");
    let flow = obsflow.established(&pod, backend.into())?;
    assert_eq!(flow.ext_text("/asked"), SERVICE.to_string(), "{flow}");
    let name = flow.at("/destination_names/0").and_then(|name| name.as_str());
    assert_eq!(
        name,
        Some("otel-collector.observability.svc.cluster.local"),
        "{flow}"
    );
    obsflow.quiet(&pod)?;
    echo.stop();
    assert_eq!(connect(&pod, SERVICE.into(), 5000)?["errno"], libc::ECONNREFUSED);
    let flow = obsflow.failure(&pod, backend.into())?;
    assert_eq!(
        (flow.outcome(), flow.ext_text("/asked")),
        ("refused", SERVICE.to_string().as_str()),
        "{flow}"
    );
    obsflow.stop()
}

/// As a mesh does it: the sidecar accepts what the application sends elsewhere.
#[test]
fn a_redirect_to_a_sidecar() -> Result<()> {
    let lab = Lab::new()?;
    let pods = lab.pods(vec![PodSpec::new("meshed"), PodSpec::new("refused")])?;
    let elsewhere = lab.pod(PodSpec::new("observability/otel-collector").node(1))?;
    let sidecar = pods[0].tool(["serve", "[::]:15001"])?;
    sidecar.json("that it listens", obsflow_tests::wait::SOON, |line| {
        line["listening"] == true
    })?;
    let _redirects = pods
        .iter()
        .map(|pod| {
            fault::apply(
                &pod.netns,
                Fault::Redirect {
                    port: PORT,
                    to: 15001,
                },
            )
        })
        .collect::<Result<Vec<_>>>()?;
    let obsflow = lab.observe(&[])?;
    for to in elsewhere.ips().map(|ip| SocketAddr::new(ip, PORT)) {
        assert_eq!(connect(&pods[0], to, 5000)?["result"], "established");
        obsflow.established(&pods[0], to)?;
        assert_eq!(connect(&pods[1], to, 5000)?["errno"], libc::ECONNREFUSED);
        assert_eq!(obsflow.failure(&pods[1], to)?.outcome(), "refused");
    }
    obsflow.quiet(&pods[0])?;
    obsflow.stop()
}

/// The dropped packet carries the backend's address, the socket the Service's.
#[test]
fn a_drop_after_dnat() -> Result<()> {
    let lab = Lab::new()?;
    let echo = Echo::start(&lab, PORT)?;
    let pods = lab.pods(vec![PodSpec::new("checkout"), PodSpec::new("twin")])?;
    let _dnat = pods
        .iter()
        .map(|pod| {
            fault::apply(
                &pod.netns,
                Fault::Dnat {
                    asked: SERVICE.into(),
                    to: echo.v4(),
                },
            )
        })
        .collect::<Result<Vec<_>>>()?;
    let obsflow = lab.observe(&[])?;
    assert_eq!(connect(&pods[1], SERVICE.into(), 5000)?["result"], "established");
    obsflow.established(&pods[1], SERVICE.into())?;
    let _drop = fault::apply(
        &lab.node(0)?.netns,
        Fault::Drop(Hook::Forward, Transport::Tcp, PORT),
    )?;
    assert_eq!(connect(&pods[0], SERVICE.into(), 3000)?["result"], "deadline");
    let flow = obsflow.failure(&pods[0], SERVICE.into())?;
    assert_eq!(
        (flow.outcome(), flow.ext_text("/drop/reason")),
        ("dropped", "NETFILTER_DROP"),
        "{flow}"
    );
    assert_eq!(flow.ext_text("/drop/hook"), "FORWARD", "{flow}");
    obsflow.quiet(&pods[1])?;
    obsflow.stop()
}
