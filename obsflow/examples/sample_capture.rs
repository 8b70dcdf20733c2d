//! `sample_capture FILE EVENTS WORKLOADS FLOWS`: writes a capture of made-up traffic, for measurements of `obsflow replay`.
//!
//! It holds EVENTS events of pods that look up their collector and export to it, and after them FLOWS connections, each
//! with its look-up, that stay open. Prints how many records it wrote.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use obsflow::capture::{FileHeader, Options, Writer};
use obsflow::decode::sample::{self, Who};
use obsflow_ebpf::abi::record::kind;

/// Ids of cgroups begin here in [`sample::traffic`].
const FIRST_CGROUP: u64 = 1000;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, events, workloads, flows] = args.as_slice() else {
        bail!("sample_capture FILE EVENTS WORKLOADS FLOWS");
    };
    let number = |text: &str| {
        text.parse::<u64>()
            .with_context(|| format!("{text:?} is not a number"))
    };
    let (events, workloads, flows) = (number(events)?, number(workloads)?.max(1), number(flows)?);
    let options = Options {
        payload: true,
        overwrite: true,
    };
    let mut writer = Writer::create(Path::new(file), &FileHeader::of_this_machine(), options)?;
    for workload in 0..workloads {
        for record in pod(workload) {
            writer.write(&record)?;
        }
    }
    let traffic = sample::traffic(usize::try_from(events)?, workloads);
    let mut last = 0;
    for record in &traffic {
        last = record
            .get(8..16)
            .and_then(|ts| ts.try_into().ok())
            .map_or(last, u64::from_ne_bytes);
        writer.write(record)?;
    }
    for flow in 0..flows {
        for record in open_flow(last, flow, flow % workloads) {
            writer.write(&record)?;
        }
    }
    let records = writer.records();
    writer.finish()?;
    println!("{records}");
    Ok(())
}

/// The cgroup of a container, and the name of its pod.
fn pod(workload: u64) -> [Bytes; 2] {
    let who = Who {
        at_ns: 1,
        cgroup: FIRST_CGROUP + workload,
        ..Who::default()
    };
    let uid = format!("{workload:08x}-aaaa-4bbb-8ccc-{workload:012x}");
    let path = format!(
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice/cri-containerd-{workload:064x}.scope",
        uid.replace('-', "_")
    );
    let name = format!(
        "{uid}\0team-{}\0app-{workload}-7d9c6bdf4-x{workload:04}",
        workload % 20
    );
    let header = sample::header(kind::POD, 0, who);
    [
        sample::cgroup(who, path.as_bytes()).into(),
        sample::record(&header, name.as_bytes()).into(),
    ]
}

/// A look-up, and a connection to its answer that stays open.
fn open_flow(after_ns: u64, flow: u64, workload: u64) -> [Bytes; 4] {
    let byte = |shift: u32| (flow >> shift & 0xff) as u8;
    let [low, high] = [byte(0), byte(8)];
    let port = 32_768 + (flow % 28_000) as u16;
    let local = SocketAddr::from(([10, 245, high, low], port));
    let server = SocketAddr::from(([10, 96, 0, 10], 53));
    let address = IpAddr::from([10, 101, high, low]);
    let sink = SocketAddr::new(address, 4317);
    let name = format!("sink-{flow}.observability.svc.cluster.local");
    let id = (flow & 0xffff) as u16;
    // Cookies of the events before are below this.
    let mut who = Who {
        at_ns: after_ns + flow * 10_000,
        cgroup: FIRST_CGROUP + workload,
        cookie: (1 << 40) + flow * 2,
        netns: 4_026_532_000 + (workload & 0xffff) as u32,
        pid: 10_000 + (workload & 0xffff) as u32,
    };
    let question = sample::dns_query(id, &name, 1);
    let query = sample::dns(who, (local, server), false, &question);
    who.at_ns += 1000;
    let message = sample::dns_response(id, &name, 1, 0, &[address]);
    let answer = sample::dns(who, (local, server), true, &message);
    who.cookie += 1;
    who.at_ns += 1000;
    let attempt = sample::attempt(who, (local, sink));
    who.at_ns += 1000;
    let established = sample::established(who, (local, sink));
    [query, answer, attempt, established].map(Bytes::from)
}
