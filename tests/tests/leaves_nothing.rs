//! What is left of obsflow when it is killed: nothing; and traffic goes on.

use std::fs;

use anyhow::Result;
use obsflow_tests::bpf::{held_by, in_the_kernel};
use obsflow_tests::scenario::{Echo, connect};
use obsflow_tests::wait::{SOON, until};
use obsflow_tests::{Lab, Proc, process};
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

/// On the device beneath a tunnel, where programs of older kernels stay behind.
#[test]
fn sigkill_beneath_a_tunnel() -> Result<()> {
    let lab = Lab::new()?;
    let node = &lab.node(0)?.netns;
    node.ip("link add under0 type veth peer name under1\n\
         addr add 192.0.2.1/24 dev under0\n\
         link set under0 up\n\
         link set under1 up\n\
         link add vx0 type vxlan id 7 dstport 7777 dev under0 local 192.0.2.1 remote 192.0.2.2\n\
         link set vx0 up\n")?;
    let before = node.run("tc", &["qdisc", "show"])?;
    let mut command = lab.obsflow_command("observe")?;
    command.args(["--hook", "tunnels"]);
    process::enter(&mut command, Some(node), None, &[])?;
    let obsflow = Proc::start(command)?;
    let said = obsflow
        .err()
        .find(SOON, |line| line.contains("attached").then(|| line.to_owned()));
    assert!(
        said.as_ref().is_some_and(|line| line.contains("tunnels")),
        "{said:?}"
    );
    // Older releases of bpftool do not know this kind of link; the kernel tells.
    assert_eq!(tcx_links(obsflow.pid())?, 2);
    let held = held_by(obsflow.pid())?;
    obsflow.signal(Signal::KILL)?;
    until("everything of obsflow to leave the kernel", SOON, || {
        Ok(held.is_disjoint(&in_the_kernel()?).then_some(()))
    })?;
    assert_eq!(node.run("tc", &["qdisc", "show"])?, before);
    Ok(())
}

/// Links of a process to network devices.
fn tcx_links(pid: u32) -> Result<usize> {
    let mut links = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        links += usize::from(text.lines().any(|line| line == "link_type:\ttcx"));
    }
    Ok(links)
}
