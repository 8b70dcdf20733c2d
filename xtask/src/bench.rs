//! `cargo xtask bench`: what obsflow costs on this machine, beside nothing, empty programs and peers.

use anyhow::{Result, bail};
use clap::Args;

use crate::setup::apt::{self, Package};
use crate::{build, setup, sh};

/// Where `--write-docs` writes.
const PAGE: &str = "docs/performance.md";

/// Traffic generators, and the tools that obsflow is compared with.
const PACKAGES: &[Package] = &[
    ("iperf3", "iperf3"),
    ("dnsperf", "dnsperf"),
    ("dnsmasq-base", "dnsmasq"),
    ("tcpdump", "tcpdump"),
    ("wireshark-common", "dumpcap"),
    ("libbpf-tools", "tcpstates"),
    ("bpftrace", "bpftrace"),
];

/// What to measure.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Fewer and shorter rounds
    #[arg(long)]
    quick: bool,
    /// Write the tables to docs/performance.md
    #[arg(long, conflicts_with = "parts")]
    write_docs: bool,
    /// Attach to the cgroup above the traffic's instead of the root, beside an obsflow that is there already
    #[arg(long)]
    below_root: bool,
    /// Measure these parts only: loops, bulk, programs, dns, connections, sustained, replay, diagnose, metrics, flows, cluster, verdicts, process
    parts: Vec<String>,
}

/// Builds and measures; traffic stays in a network namespace of its own.
///
/// # Errors
/// When something needed is missing or does not build, or obsflow does not run here.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if !sh::is_root()? {
        bail!("the measurements make network namespaces and load programs into the kernel: run this as root");
    }
    setup::run()?;
    setup::step("tools to compare with", || apt::ensure(PACKAGES))?;
    let obsflow = build::release()?;
    // They make captures and observations up, beside the binary that is measured.
    build::static_release(&[
        "--example",
        "sample_capture",
        "--example",
        "diagnose_load",
        "--example",
        "metrics_load",
        "--example",
        "flows_load",
        "--example",
        "cluster_load",
    ])?;
    let bench = [
        "build",
        "--locked",
        "--package",
        "obsflow-tests",
        "--bin",
        "lab-bench",
    ];
    sh::run(sh::cargo().args(bench))?;
    let mut command = sh::command(sh::target().join("debug/lab-bench"));
    command.env("OBSFLOW_BIN", obsflow).args(&arguments.parts);
    for (wanted, flag) in [
        (arguments.quick, "--quick"),
        (arguments.below_root, "--below-root"),
    ] {
        if wanted {
            command.arg(flag);
        }
    }
    if arguments.write_docs {
        command.arg("--write").arg(sh::root().join(PAGE));
    }
    sh::run(&mut command)
}
