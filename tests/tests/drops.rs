//! Drops on this node: that it was one, why, and where.

use anyhow::Result;
use obsflow_tests::fault::{self, Fault, Hook, Transport};
use obsflow_tests::scenario::{Echo, connect};
use obsflow_tests::wait::SOON;
use obsflow_tests::{Lab, PodSpec};

const PORT: u16 = 4318;

#[test]
fn a_black_hole_of_nftables_is_named() -> Result<()> {
    let lab = Lab::new()?;
    let (echo, closed) = (Echo::start(&lab, PORT)?, Echo::start(&lab, PORT)?);
    let twin = lab.pod("twin")?;
    let obsflow = lab.observe(&[])?;
    let _input = fault::apply(&closed.pod.netns, Fault::Drop(Hook::Input, Transport::Tcp, PORT))?;
    let cases = [Hook::Output, Hook::Input, Hook::Forward];
    let pods = lab.pods(cases.map(|hook| PodSpec::new(&hook.to_string())).into())?;
    let _output = fault::apply(&pods[0].netns, Fault::Drop(Hook::Output, Transport::Tcp, PORT))?;
    for to in echo.both() {
        assert_eq!(connect(&twin, to, 5000)?["result"], "established");
    }
    let _forward = fault::apply(
        &lab.node(0)?.netns,
        Fault::Drop(Hook::Forward, Transport::Tcp, 4317),
    )?;
    let mut waiting = Vec::new();
    for (pod, hook) in pods.iter().zip(cases) {
        for mut to in if hook == Hook::Input {
            closed.both()
        } else {
            echo.both()
        } {
            if hook == Hook::Forward {
                to.set_port(4317);
            }
            for (deadline, hasty) in [("300", true), ("3000", false)] {
                waiting.push((
                    pod,
                    hook,
                    to,
                    hasty,
                    pod.tool(["connect", &to.to_string(), "--deadline", deadline])?,
                ));
            }
        }
    }
    for (_, _, _, _, tool) in &waiting {
        assert_eq!(
            tool.json("that it gave up", SOON, |_| true)?["result"],
            "deadline"
        );
    }
    for (pod, hook, to, hasty, _) in &waiting {
        let flow = obsflow.wait_for(&format!("{hook} {to} hasty={hasty}"), |flow| {
            let early = flow.ext_number("/duration_ns") < 1_000_000_000;
            flow.event() == "connect-failed" && flow.from(pod) && flow.to(*to) && early == *hasty
        })?;
        if *hasty {
            assert!(matches!(flow.outcome(), "dropped" | "abandoned"), "{flow}");
            assert_eq!(flow.ext_number("/syn_retransmits"), 0, "{flow}");
        } else {
            assert_eq!((flow.outcome(), flow.verdict()), ("dropped", "DROPPED"), "{flow}");
            assert!(flow.ext_number("/syn_retransmits") >= 1, "{flow}");
        }
        assert_eq!(flow.ext_text("/drop/reason"), "NETFILTER_DROP", "{flow}");
        assert_eq!(
            flow.ext_text("/drop/hook"),
            hook.to_string().to_uppercase(),
            "{flow}"
        );
    }
    for to in echo.both() {
        obsflow.established(&twin, to)?;
    }
    obsflow.quiet(&twin)?;
    obsflow.stop()
}

/// As network policies of Cilium and the VPC CNI do it.
#[test]
fn policies_of_bpf_programs_are_named() -> Result<()> {
    let lab = Lab::new()?;
    let echo = Echo::start(&lab, PORT)?;
    let pods = lab.pods(["host-side", "pod-side", "twin"].map(PodSpec::new).into())?;
    let device = pods[0].device.clone().unwrap_or_default();
    let node = &lab.node(0)?.netns;
    let _ingress = fault::apply(
        node,
        Fault::Policy {
            device,
            egress: false,
            port: PORT,
        },
    )?;
    let egress = Fault::Policy {
        device: "eth0".into(),
        egress: true,
        port: PORT,
    };
    let _egress = fault::apply(&pods[1].netns, egress)?;
    let obsflow = lab.observe(&[])?;
    for (pod, reason) in pods.iter().zip(["TC_INGRESS", "TC_EGRESS"]) {
        for to in echo.both() {
            assert_eq!(connect(pod, to, 2500)?["result"], "deadline");
            let flow = obsflow.failure(pod, to)?;
            assert_eq!((flow.outcome(), flow.verdict()), ("dropped", "DROPPED"), "{flow}");
            assert_eq!(flow.ext_text("/drop/reason"), reason, "{flow}");
        }
    }
    for to in echo.both() {
        assert_eq!(connect(&pods[2], to, 5000)?["result"], "established");
        obsflow.established(&pods[2], to)?;
    }
    obsflow.quiet(&pods[2])?;
    obsflow.stop()
}

#[test]
fn closing_and_refusing_drop_nothing_worth_a_word() -> Result<()> {
    let lab = Lab::new()?;
    let echo = Echo::start(&lab, PORT)?;
    let pod = lab.pod("checkout")?;
    let obsflow = lab.observe(&[])?;
    for to in echo.both() {
        for _ in 0..20 {
            assert_eq!(connect(&pod, to, 5000)?["result"], "established");
        }
        let mut refused = to;
        refused.set_port(4317);
        assert_eq!(connect(&pod, refused, 5000)?["errno"], libc::ECONNREFUSED);
        obsflow.failure(&pod, refused)?;
    }
    obsflow.sentinel()?;
    obsflow.never("a drop that explains nothing", |flow| flow.event() == "dropped")?;
    obsflow.never("a drop beside a refusal", |flow| flow.ext("/drop").is_some())?;
    obsflow.stop()
}
