//! The same flood (`flood.rs`) as a person has it: the command runs, drains, and tells what was lost.

use std::os::unix::fs::MetadataExt;

use anyhow::Result;
use obsflow_ebpf::abi::count::{dns_count, stat};
use obsflow_ebpf::abi::{names, record::kind};
use obsflow_tests::bpf::counters;
use obsflow_tests::wait::{SOON, until};
use obsflow_tests::{Flow, Lab};

const NXDOMAIN: u32 = 3;

#[test]
fn seen_and_lost_are_what_was_made() -> Result<()> {
    let lab = Lab::new()?;
    let pods = lab.pods(["flood-1", "flood-2"].map(Into::into).into())?;
    let obsflow = lab.observe(&["--ring-bytes", "4096"])?;
    let pid = obsflow.process().pid();
    let server = format!("{}:53", lab.dns().pod.v4);
    let args = ["query", &server, "flood.example", "A", "--burst", "10000"];
    let tools = pods
        .iter()
        .map(|pod| pod.tool(args))
        .collect::<Result<Vec<_>>>()?;
    let mut messages = 0;
    let mut asked = Vec::new();
    for tool in &tools {
        let said = tool.json("how it went", SOON, |_| true)?;
        let (sent, answered) = (said["sent"].as_u64().unwrap(), said["answered"].as_u64().unwrap());
        messages += sent + answered;
        asked.push((sent, answered));
    }
    let statistics = || counters(pid, names::STATS);
    let of = |map: &std::collections::HashMap<Vec<u8>, u64>, index: u32| {
        map.get(index.to_ne_bytes().as_slice())
            .copied()
            .unwrap_or_default()
    };
    let dns = u32::from(kind::DNS);
    let now = statistics()?;
    let (made, lost) = (of(&now, stat::MADE + dns), of(&now, stat::LOST + dns));
    assert_eq!(made, messages, "the kernel side saw every message");
    assert!(lost > 0, "a ring of one page holds 20,000 look-ups");
    let is_message = |flow: &Flow| {
        matches!(flow.event(), "dns-query" | "dns-response") && flow.question() == "flood.example"
    };
    until("seen and lost to be what was made", SOON, || {
        let seen = u64::try_from(obsflow.all(is_message).len())?;
        Ok((seen + lost == made).then_some(()))
    })?;
    // Other records are lost beside them; all losses are told.
    until("all losses to be told", SOON, || {
        let now = statistics()?;
        let lost: u64 = (0..32).map(|kind| of(&now, stat::LOST + kind)).sum();
        Ok((obsflow.lost() == lost).then_some(()))
    })?;
    let exact = counters(pid, names::DNS_COUNTS)?;
    for (pod, (sent, answered)) in pods.iter().zip(asked) {
        let cgroup = std::fs::metadata(&pod.cgroup)?.ino();
        let count = |rcode: u32| {
            let key = [&cgroup.to_ne_bytes()[..], &rcode.to_ne_bytes(), &[0; 4]].concat();
            exact.get(&key).copied().unwrap_or_default()
        };
        assert_eq!(
            (count(dns_count::QUERY), count(NXDOMAIN)),
            (sent, answered),
            "{}",
            pod.name
        );
    }
    obsflow.stop()
}
