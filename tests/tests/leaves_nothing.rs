//! What is left of obsflow when it is killed: nothing; and traffic goes on.

use anyhow::Result;
use obsflow_tests::bpf::{held_by, in_the_kernel};
use obsflow_tests::scenario::{Echo, connect};
use obsflow_tests::wait::{SOON, until};
use obsflow_tests::{Lab, Proc};
use rustix::process::Signal;

const PORT: u16 = 4318;

#[test]
fn sigkill() -> Result<()> {
    let lab = Lab::new()?;
    let echo = Echo::start(&lab, PORT)?;
    let pod = lab.pod("checkout")?;
    let qdiscs = || {
        lab.node(0)
            .and_then(|node| node.netns.run("tc", &["qdisc", "show"]))
    };
    let before = qdiscs()?;
    let obsflow = lab.observe(&[])?;
    let held = held_by(obsflow.process().pid())?;
    assert!(held.iter().any(|object| object.starts_with("prog")), "{held:?}");
    assert!(held.is_subset(&in_the_kernel()?));
    let mut open: Proc = pod.tool(["connect", &echo.v4().to_string(), "--then", "hold"])?;
    open.json("that it is connected", SOON, |line| {
        line["result"] == "established"
    })?;
    obsflow.process().signal(Signal::KILL)?;
    // The connection that was open and a new one work while the programs go away.
    open.tell("send 100000")?;
    open.json("that it exchanged", SOON, |line| line["exchanged"] == 100_000)?;
    assert_eq!(connect(&pod, echo.v6(), 5000)?["result"], "established");
    until("everything of obsflow to leave the kernel", SOON, || {
        Ok(held.is_disjoint(&in_the_kernel()?).then_some(()))
    })?;
    assert_eq!(qdiscs()?, before);
    Ok(())
}
