//! Connections that are older than obsflow.

use anyhow::Result;
use obsflow_tests::scenario::Echo;
use obsflow_tests::wait::SOON;
use obsflow_tests::{Lab, PodSpec};

const PORT: u16 = 4318;

#[test]
fn connections_opened_before_obsflow_started() -> Result<()> {
    let lab = Lab::new()?;
    let echo = Echo::start(&lab, PORT)?;
    let pods = lab.pods(vec![PodSpec::new("old"), PodSpec::new("host").host_network()])?;
    let mut held = Vec::new();
    for pod in &pods {
        for to in echo.both() {
            let mut tool = pod.tool(["connect", &to.to_string(), "--then", "hold"])?;
            tool.json("that it is connected", SOON, |line| {
                line["result"] == "established"
            })?;
            tool.tell("send 1000")?;
            tool.json("that it exchanged", SOON, |line| line["exchanged"] == 1000)?;
            held.push((pod, to, tool));
        }
    }
    let obsflow = lab.observe(&[])?;
    for (pod, to, tool) in &mut held {
        let flow = obsflow.wait_for(&format!("the adoption of {} to {to}", pod.name), |flow| {
            flow.event() == "adopted" && flow.from(pod) && flow.to(*to)
        })?;
        assert_eq!(flow.verdict(), "TRACED", "{flow}");
        assert_eq!(flow.ext_number("/process/pid"), u64::from(tool.pid()), "{flow}");
        tool.tell("send 500")?;
        tool.json("that it exchanged", SOON, |line| line["exchanged"] == 500)?;
    }
    let ends: Vec<_> = held.iter().map(|(pod, to, _)| (*pod, *to)).collect();
    drop(held);
    for (pod, to) in ends {
        let flow = obsflow.closed(pod, to)?;
        let bytes = (flow.ext_number("/bytes_sent"), flow.ext_number("/bytes_received"));
        assert_eq!(bytes, (1500, 1500), "{flow}");
        obsflow.quiet(pod)?;
    }
    obsflow.stop()
}
