//! Kernels without BTF: connections come from sock_ops, and outcomes are concluded without an errno.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use obsflow_tests::bpf::keys;
use obsflow_tests::fault::{self, Answer, Fault, Hook, Transport};
use obsflow_tests::scenario::{Echo, black_hole, connect, says};
use obsflow_tests::wait::{SOON, until};
use obsflow_tests::{Lab, PodSpec};

/// OTLP over HTTP, watched by default.
const PORT: u16 = 4318;
/// Another watched port, on which nobody listens.
const OTHER: u16 = 4317;
/// With types for the other hooks, and without any.
const MODES: [&str; 2] = ["tcp", "btf"];

fn at_other_port(to: SocketAddr) -> SocketAddr {
    SocketAddr::new(to.ip(), OTHER)
}

#[test]
fn established_and_answered() -> Result<()> {
    for mode in MODES {
        let lab = Lab::new()?;
        let echo = Echo::start(&lab, PORT)?;
        let pods = lab.pods(
            ["checkout", "refused", "rejected", "no-route"]
                .map(PodSpec::new)
                .into(),
        )?;
        let obsflow = lab.observe(&["--without-hook", mode, "--hook", "sock-ops"])?;
        for to in echo.both() {
            let mut tool = pods[0].tool(["connect", &to.to_string(), "--then", "hold"])?;
            tool.json("that it is connected", SOON, |line| {
                line["result"] == "established"
            })?;
            tool.tell("send 1000")?;
            tool.json("that it exchanged", SOON, |line| line["exchanged"] == 1000)?;
            let flow = obsflow.established(&pods[0], to)?;
            assert!(flow.ext_number("/handshake_ns") > 0, "{flow}");
            assert_eq!(flow.ext_number("/process/pid"), u64::from(tool.pid()), "{flow}");
            drop(tool);
            let flow = obsflow.closed(&pods[0], to)?;
            let bytes = (flow.ext_number("/bytes_sent"), flow.ext_number("/bytes_received"));
            assert_eq!(bytes, (1000, 1000), "{flow}");
        }
        for to in echo.both().map(at_other_port) {
            assert_eq!(connect(&pods[1], to, 5000)?["errno"], libc::ECONNREFUSED);
            let flow = obsflow.failure(&pods[1], to)?;
            assert_eq!((flow.outcome(), flow.verdict()), ("refused", "ERROR"), "{flow}");
            assert_eq!(flow.ext_text("/errno_name"), "ECONNREFUSED", "{flow}");
        }
        let broken = fault::apply(
            &lab.node(0)?.netns,
            Fault::Reject(Hook::Forward, Transport::Tcp, OTHER, Answer::PortUnreachable),
        )?;
        for to in echo.both().map(at_other_port) {
            // On one machine the answer to the first SYN comes while connect(2) holds the socket, and leaves an
            // errno that only types would show; the answer to the second one ends the attempt.
            let said = says(&pods[2], &["connect", &to.to_string(), "--how", "blocking"])?;
            assert_eq!(said["result"], "failed", "{said}");
            let flow = obsflow.failure(&pods[2], to)?;
            assert_eq!((flow.outcome(), flow.verdict()), ("rejected", "ERROR"), "{flow}");
        }
        broken.heal()?;
        let _no_route = fault::apply(&pods[3].netns, Fault::NoRoute)?;
        for to in echo.both() {
            assert_eq!(connect(&pods[3], to, 5000)?["errno"], libc::ENETUNREACH);
            let flow = obsflow.failure(&pods[3], to)?;
            assert!(matches!(flow.outcome(), "unreachable" | "failed"), "{flow}");
        }
        obsflow.quiet(&pods[0])?;
        obsflow.stop()?;
    }
    Ok(())
}

#[test]
fn unanswered() -> Result<()> {
    for mode in MODES {
        let lab = Lab::new()?;
        let hole = Echo::start(&lab, PORT)?;
        let pods = lab.pods(
            ["hasty", "patient", "kernel", "no-neighbour"]
                .map(PodSpec::new)
                .into(),
        )?;
        let _broken = black_hole(&lab, &hole.pod)?;
        pods[2].netns.run(
            "sysctl",
            &[
                "-qw",
                "net.ipv4.tcp_syn_retries=1",
                "net.ipv4.tcp_syn_linear_timeouts=0",
            ],
        )?;
        let obsflow = lab.observe(&["--without-hook", mode, "--hook", "sock-ops"])?;
        let mut waiting = Vec::new();
        for to in hole.both() {
            for (pod, deadline) in pods.iter().zip(["300", "3000", "60000"]) {
                let tool = pod.tool(["connect", &to.to_string(), "--deadline", deadline])?;
                waiting.push((pod, to, tool));
            }
        }
        for ip in lab.node(0)?.nobody() {
            let to = SocketAddr::new(ip, PORT);
            let tool = pods[3].tool(["connect", &to.to_string(), "--deadline", "15000"])?;
            waiting.push((&pods[3], to, tool));
        }
        for (pod, to, tool) in &waiting {
            tool.json("what became of it", SOON, |_| true)?;
            let flow = obsflow.failure(pod, *to)?;
            let expected = match pod.name.split('-').next() {
                Some("hasty") => "abandoned",
                Some("patient") => "given-up",
                Some("kernel") => "timed-out",
                _ => "unreachable",
            };
            assert_eq!(flow.outcome(), expected, "{flow}");
        }
        let again = obsflow.all(|flow| flow.event() == "retransmit" && flow.from(&pods[1]));
        assert!(
            again.len() >= 2,
            "each SYN that was sent again is shown: {again:?}"
        );
        obsflow.stop()?;
    }
    Ok(())
}

#[test]
fn look_ups() -> Result<()> {
    let lab = Lab::new()?;
    let pod = lab.pod("checkout")?;
    let obsflow = lab.observe(&["--without-hook", "btf"])?;
    let server = format!("{}:53", lab.dns().pod.v4);
    let said = says(&pod, &["query", &server, "nowhere.example", "A"])?;
    assert_eq!(said["rcode"], 3);
    let flow = obsflow.wait_for("the NXDOMAIN", |flow| {
        flow.question() == "nowhere.example" && flow.rcode() == 3
    })?;
    assert!(flow.of_pod(&pod.name), "{flow}");
    obsflow.stop()
}

/// Connections that are older than obsflow are known, and let go when they are gone.
#[test]
fn older_connections() -> Result<()> {
    let lab = Lab::new()?;
    let echo = Echo::start(&lab, PORT)?;
    let pod = lab.pod("old")?;
    // As a pod's pause process does, it leads to the pod's namespace.
    let _pause = pod.tool(["serve", "[::]:9"])?;
    let tool = pod.tool(["connect", &echo.v4().to_string(), "--then", "hold"])?;
    tool.json("that it is connected", SOON, |line| {
        line["result"] == "established"
    })?;
    let obsflow = lab.observe(&["--without-hook", "btf"])?;
    let flow = obsflow.wait_for("the adoption", |flow| {
        flow.event() == "adopted" && flow.from(&pod)
    })?;
    let cookie = flow.at("/socket_cookie").context("no cookie")?;
    let cookie: u64 = cookie
        .as_str()
        .map_or(Ok(cookie.as_u64().unwrap_or(0)), str::parse)?;
    let pid = obsflow.process().pid();
    let followed = || Ok::<_, anyhow::Error>(keys(pid, "CONNS")?.contains(cookie.to_ne_bytes().as_slice()));
    assert!(followed()?);
    drop(tool);
    until("the connection to be forgotten", SOON, || {
        Ok((!followed()?).then_some(()))
    })?;
    obsflow.stop()
}
