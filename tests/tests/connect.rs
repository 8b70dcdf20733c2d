//! Connects: what became of each attempt, and of its healthy twin.

use std::net::SocketAddr;

use anyhow::Result;
use obsflow_tests::fault::{self, Answer, Fault, Hook, Transport};
use obsflow_tests::scenario::{Echo, black_hole, connect, says};
use obsflow_tests::wait::SOON;
use obsflow_tests::{Lab, Obsflow, Pod, PodSpec};

/// OTLP over HTTP, watched by default.
const PORT: u16 = 4318;
/// Another watched port, on which nobody listens.
const OTHER: u16 = 4317;

fn at_other_port(to: SocketAddr) -> SocketAddr {
    SocketAddr::new(to.ip(), OTHER)
}

/// A healthy connect beside the broken ones, and that nothing bad is said of it.
fn healthy_twin(obsflow: &Obsflow<'_>, twin: &Pod, echo: &Echo) -> Result<()> {
    for to in echo.both() {
        assert_eq!(connect(twin, to, 5000)?["result"], "established");
        let flow = obsflow.established(twin, to)?;
        assert_eq!(flow.verdict(), "FORWARDED", "{flow}");
        assert!(flow.ext_number("/handshake_ns") > 0, "{flow}");
        obsflow.closed(twin, to)?;
    }
    obsflow.quiet(twin)
}

#[test]
fn refused() -> Result<()> {
    let lab = Lab::new()?;
    let echo = Echo::start(&lab, PORT)?;
    let pods = lab.pods(vec!["checkout".into(), "twin".into()])?;
    let obsflow = lab.observe(&[])?;
    for to in echo.both().map(at_other_port) {
        assert_eq!(connect(&pods[0], to, 5000)?["errno"], libc::ECONNREFUSED);
        let flow = obsflow.failure(&pods[0], to)?;
        assert_eq!((flow.outcome(), flow.verdict()), ("refused", "ERROR"), "{flow}");
        assert_eq!(flow.ext_text("/errno_name"), "ECONNREFUSED", "{flow}");
        assert_eq!(flow.ext_text("/process/name"), "lab-tool", "{flow}");
        assert!(flow.at("/l4/TCP/source_port").is_some(), "{flow}");
        // NO_SOCKET is dropped on every refused SYN, and means nothing.
        assert!(flow.ext("/drop").is_none(), "{flow}");
    }
    healthy_twin(&obsflow, &pods[1], &echo)?;
    obsflow.stop()
}

#[test]
fn rejected_is_not_dropped() -> Result<()> {
    let lab = Lab::new()?;
    let echo = Echo::start(&lab, PORT)?;
    let specs = ["unreachable-port", "prohibited", "reset", "twin"];
    let pods = lab.pods(specs.map(PodSpec::new).into())?;
    let obsflow = lab.observe(&[])?;
    let cases = [
        (Answer::PortUnreachable, &["rejected"][..]),
        (Answer::Prohibited, &["rejected", "unreachable"]),
        (Answer::Reset, &["refused"]),
    ];
    for (pod, (answer, outcomes)) in pods.iter().zip(cases) {
        // In the node's FORWARD chain, as kube-proxy has it.
        let node = &lab.node(0)?.netns;
        let broken = fault::apply(node, Fault::Reject(Hook::Forward, Transport::Tcp, OTHER, answer))?;
        for to in echo.both().map(at_other_port) {
            let said = connect(pod, to, 8000)?;
            assert_eq!(said["result"], "failed", "{answer:?} {said}");
            let flow = obsflow.failure(pod, to)?;
            assert!(outcomes.contains(&flow.outcome()), "{answer:?}: {flow}");
            assert_eq!(flow.verdict(), "ERROR", "{answer:?}: {flow}");
        }
        broken.heal()?;
    }
    healthy_twin(&obsflow, &pods[3], &echo)?;
    obsflow.stop()
}

#[test]
fn rejected_by_the_pods_own_rules() -> Result<()> {
    let lab = Lab::new()?;
    let echo = Echo::start(&lab, PORT)?;
    let pods = lab.pods(vec!["checkout".into(), "twin".into()])?;
    let obsflow = lab.observe(&[])?;
    let answer = Answer::PortUnreachable;
    let _broken = fault::apply(
        &pods[0].netns,
        Fault::Reject(Hook::Output, Transport::Tcp, PORT, answer),
    )?;
    for to in echo.both() {
        assert_eq!(connect(&pods[0], to, 8000)?["result"], "failed");
        let flow = obsflow.failure(&pods[0], to)?;
        assert_eq!((flow.outcome(), flow.verdict()), ("rejected", "ERROR"), "{flow}");
    }
    healthy_twin(&obsflow, &pods[1], &echo)?;
    obsflow.stop()
}

#[test]
fn no_route_and_no_neighbour() -> Result<()> {
    let lab = Lab::new()?;
    let echo = Echo::start(&lab, PORT)?;
    let specs = ["no-route", "unreachable", "no-neighbour", "twin"];
    let pods = lab.pods(specs.map(PodSpec::new).into())?;
    let obsflow = lab.observe(&[])?;
    let dead: Vec<_> = lab.node(0)?.nobody().map(|ip| SocketAddr::new(ip, PORT)).into();
    let waiting = dead
        .iter()
        .map(|to| pods[2].tool(["connect", &to.to_string(), "--deadline", "15000"]))
        .collect::<Result<Vec<_>>>()?;
    let _no_route = fault::apply(&pods[0].netns, Fault::NoRoute)?;
    for to in echo.both() {
        assert_eq!(connect(&pods[0], to, 5000)?["errno"], libc::ENETUNREACH);
        let flow = obsflow.failure(&pods[0], to)?;
        assert!(matches!(flow.outcome(), "unreachable" | "failed"), "{flow}");
        assert_eq!(flow.verdict(), "ERROR", "{flow}");
        assert_eq!(flow.ext_text("/process/name"), "lab-tool", "{flow}");
    }
    for to in echo.both() {
        let _broken = fault::apply(&pods[1].netns, Fault::Unreachable(to.ip()))?;
        assert_eq!(connect(&pods[1], to, 5000)?["errno"], libc::EHOSTUNREACH);
        let flow = obsflow.failure(&pods[1], to)?;
        assert!(matches!(flow.outcome(), "unreachable" | "failed"), "{flow}");
    }
    for (to, tool) in dead.iter().zip(&waiting) {
        let said = tool.json("that nobody is there", SOON, |_| true)?;
        assert_eq!(said["errno"], libc::EHOSTUNREACH, "{said}");
        let flow = obsflow.failure(&pods[2], *to)?;
        assert_eq!(
            (flow.outcome(), flow.verdict()),
            ("unreachable", "ERROR"),
            "{flow}"
        );
        assert_eq!(flow.ext_text("/errno_name"), "EHOSTUNREACH", "{flow}");
    }
    healthy_twin(&obsflow, &pods[3], &echo)?;
    obsflow.stop()
}

/// The packets go to a neighbour that is not there: no drop, no rule, no answer.
#[test]
fn a_black_hole_beyond_this_node() -> Result<()> {
    let lab = Lab::new()?;
    let (hole, echo) = (Echo::start(&lab, PORT)?, Echo::start(&lab, PORT)?);
    let pods = lab.pods(["hasty", "patient", "kernel", "twin"].map(PodSpec::new).into())?;
    let _broken = black_hole(&lab, &hole.pod)?;
    // The kernel's own patience, cut from 134 s to 3.
    pods[2].netns.run(
        "sysctl",
        &[
            "-qw",
            "net.ipv4.tcp_syn_retries=1",
            "net.ipv4.tcp_syn_linear_timeouts=0",
        ],
    )?;
    let obsflow = lab.observe(&[])?;
    let mut waiting = Vec::new();
    for to in hole.both() {
        for (pod, deadline) in pods.iter().zip(["300", "3000", "60000"]) {
            waiting.push((
                pod,
                to,
                pod.tool(["connect", &to.to_string(), "--deadline", deadline])?,
            ));
        }
    }
    for (pod, to, tool) in &waiting {
        tool.json("what became of it", SOON, |_| true)?;
        let flow = obsflow.failure(pod, *to)?;
        let sent_again = flow.ext_number("/syn_retransmits");
        if pod.name.starts_with("hasty") {
            assert_eq!((flow.outcome(), sent_again), ("abandoned", 0), "{flow}");
        } else if pod.name.starts_with("patient") {
            assert_eq!((flow.outcome(), flow.verdict()), ("given-up", "ERROR"), "{flow}");
            assert!(sent_again >= 1, "{flow}");
        } else {
            assert_eq!((flow.outcome(), flow.verdict()), ("timed-out", "ERROR"), "{flow}");
            assert_eq!(
                (flow.ext_text("/errno_name"), sent_again),
                ("ETIMEDOUT", 1),
                "{flow}"
            );
        }
        assert!(flow.ext("/drop").is_none(), "{flow}");
    }
    let again = obsflow.all(|flow| flow.event() == "retransmit" && flow.from(&pods[1]));
    assert!(
        again.len() >= 2,
        "each SYN that was sent again is shown: {again:?}"
    );
    healthy_twin(&obsflow, &pods[3], &echo)?;
    obsflow.stop()
}

#[test]
fn through_io_uring() -> Result<()> {
    let lab = Lab::new()?;
    let echo = Echo::start(&lab, PORT)?;
    let pods = lab.pods(["uring", "dropped", "no-route"].map(PodSpec::new).into())?;
    let obsflow = lab.observe(&[])?;
    let uring = |pod: &Pod, to: SocketAddr, deadline: &str| {
        says(
            pod,
            &[
                "connect",
                &to.to_string(),
                "--how",
                "uring",
                "--deadline",
                deadline,
            ],
        )
    };
    for to in echo.both() {
        assert_eq!(uring(&pods[0], to, "5000")?["result"], "established");
        obsflow.established(&pods[0], to)?;
        let refused = at_other_port(to);
        assert_eq!(uring(&pods[0], refused, "5000")?["errno"], libc::ECONNREFUSED);
        let flow = obsflow.failure(&pods[0], refused)?;
        assert_eq!(flow.outcome(), "refused", "{flow}");
        assert_eq!(flow.ext_text("/process/name"), "lab-tool", "{flow}");
        let _no_route = fault::apply(&pods[2].netns, Fault::NoRoute)?;
        assert_eq!(uring(&pods[2], to, "5000")?["errno"], libc::ENETUNREACH);
        let flow = obsflow.failure(&pods[2], to)?;
        assert!(matches!(flow.outcome(), "unreachable" | "failed"), "{flow}");
    }
    let _broken = fault::apply(&pods[1].netns, Fault::Drop(Hook::Output, Transport::Tcp, PORT))?;
    assert_eq!(uring(&pods[1], echo.v4(), "1500")?["result"], "deadline");
    let flow = obsflow.failure(&pods[1], echo.v4())?;
    assert_eq!(flow.outcome(), "dropped", "{flow}");
    obsflow.stop()
}

/// Before the first SYN time-out a client may change its mind: happy eyeballs do so all the time.
#[test]
fn loopback_as_a_sidecar_has_it() -> Result<()> {
    let lab = Lab::new()?;
    let pod = lab.pod("checkout")?;
    pod.add_host("127.0.0.1".parse()?, "sidecar")?;
    pod.add_host("::1".parse()?, "sidecar")?;
    let sidecar = pod.tool(["serve", &format!("127.0.0.1:{PORT}")])?;
    sidecar.json("that it listens", SOON, |line| line["listening"] == true)?;
    let obsflow = lab.observe(&[])?;
    let dial = pod.tool(["dial", "sidecar", &PORT.to_string(), "--deadline", "5000"])?;
    dial.json("that it is connected", SOON, |line| {
        line["result"] == "established"
    })?;
    let to = |ip: &str| format!("{ip}:{PORT}").parse::<SocketAddr>();
    assert_eq!(obsflow.failure(&pod, to("[::1]")?)?.outcome(), "refused");
    obsflow.established(&pod, to("127.0.0.1")?)?;
    obsflow.stop()
}
