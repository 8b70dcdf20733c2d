//! `obsflow status`: what works on this node, and what it costs.

mod tunnels;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use serde::Serialize;

use super::{node_name, print};
use crate::cli::StatusFormat;
use crate::config::Status;
use crate::kernel::hooks::State;
use crate::kernel::info::Cost;
use crate::model::Observation;
use crate::session::{Purpose, Session, Sink, Stop};

/// How long the hooks are watched when costs are asked for or tunnels are there to be counted: kernel statistics are on
/// for this time at the most.
const WATCH: Duration = Duration::from_secs(1);

/// The report. Its JSON is stable: fields are added, never renamed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Version of obsflow.
    pub version: &'static str,
    /// Name of the node.
    pub node: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Whether the kernel describes its types.
    pub btf: bool,
    /// Where cgroup2 is mounted.
    pub cgroup_mount: String,
    /// Cgroups that programs were attached to.
    pub attached_to: Vec<String>,
    /// Whether another obsflow watches one of these cgroups.
    pub another_runs: bool,
    /// Every hook.
    pub hooks: Vec<HookReport>,
    /// What was seen and lost in the time of this command.
    pub events: Events,
    /// The ring buffer.
    pub ring: Ring,
    /// Tunnel devices.
    pub tunnels: Vec<tunnels::DeviceReport>,
    /// Outer packets of tunnels in the time of this command.
    pub tunnel_traffic: Vec<tunnels::TrafficReport>,
    /// Cost of each program, when it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub programs: Option<Vec<ProgramReport>>,
}

/// A hook.
#[derive(Debug, Serialize)]
pub(super) struct HookReport {
    /// Its name.
    pub name: &'static str,
    /// `attached`, `unavailable` or `off`.
    pub state: &'static str,
    /// Where it is attached, or why it is not.
    pub detail: String,
    /// What is not known without it; empty when it is attached.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub without: &'static str,
}

/// Events by stage.
#[derive(Debug, Serialize)]
pub(super) struct Events {
    /// Length of the observation, in milliseconds.
    pub window_ms: u64,
    /// Records that the kernel side handed to the ring.
    pub emitted: u64,
    /// Records that the ring had no room for.
    pub ring_lost: u64,
    /// Calls of a program that the kernel skipped.
    pub recursion_misses: u64,
    /// Connections not followed because the kernel's table was full.
    pub connections_full: u64,
    /// Counts not made because a counter map was full.
    pub counts_full: u64,
    /// Payload captures over their connection's rate.
    pub payload_rate_limited: u64,
    /// Records given up because kernel memory could not be read.
    pub unreadable: u64,
    /// Records decoded.
    pub decoded: u64,
    /// Records that could not be decoded.
    pub undecodable: u64,
    /// Events whose workload is unknown.
    pub unattributed: u64,
    /// Queries, searches, connections and names that had to be forgotten for want of room.
    pub forgotten: u64,
    /// Connections followed now.
    pub connections: u64,
}

/// The ring buffer.
#[derive(Debug, Serialize)]
pub(super) struct Ring {
    /// Its size, in bytes.
    pub bytes: u64,
    /// Most that was waiting in it when it was looked at, in bytes.
    pub most_waiting_bytes: u64,
}

/// Cost of a program.
#[derive(Debug, Serialize)]
pub(super) struct ProgramReport {
    /// Its name.
    pub name: String,
    /// Calls in the window.
    pub calls: u64,
    /// Nanoseconds a call, on average; `None` without calls. The measurement itself adds about 50.
    pub ns_per_call: Option<f64>,
    /// Share of one core, in percent.
    pub core_percent: f64,
}

pub(super) fn run(config: &Status) -> anyhow::Result<()> {
    let mut session = Session::open(&config.live, Purpose::Probe)?;
    let before = session.costs();
    let statistics = if config.cost {
        Some(
            aya::sys::enable_stats(aya::sys::Stats::RunTime)
                .context("switching the kernel's run-time statistics on")?,
        )
    } else {
        None
    };
    let started = Instant::now();
    let mut sink = Window {
        until: started
            + if config.cost || session.counts_tunnels() {
                WATCH
            } else {
                Duration::ZERO
            },
    };
    session.run(&Stop::default(), &mut sink)?;
    let window = started.elapsed();
    // Dropping the descriptor switches them off again.
    drop(statistics);
    let after = session.costs();
    let programs = config.cost.then(|| programs(&before, &after, window));
    let report = report(config, &session, window, programs)?;
    let text = match config.format {
        StatusFormat::Json => format!("{}\n", serde_json::to_string_pretty(&report)?),
        StatusFormat::Text => text(&report),
    };
    print(|out| out.write_all(text.as_bytes()))
}

/// Looks at what arrives until the window is over.
struct Window {
    until: Instant,
}

impl Sink for Window {
    fn records(&mut self, _: &[Bytes]) -> std::io::Result<()> {
        Ok(())
    }

    fn observations(&mut self, _: &[Observation]) -> std::io::Result<std::ops::ControlFlow<()>> {
        self.idle()
    }

    fn idle(&mut self) -> std::io::Result<std::ops::ControlFlow<()>> {
        Ok(if Instant::now() >= self.until {
            std::ops::ControlFlow::Break(())
        } else {
            std::ops::ControlFlow::Continue(())
        })
    }
}

fn programs(before: &[(String, Cost)], after: &[(String, Cost)], window: Duration) -> Vec<ProgramReport> {
    after
        .iter()
        .map(|(name, after)| {
            let before = before
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, cost)| *cost)
                .unwrap_or_default();
            let calls = after.calls - before.calls;
            let time = after.run_time_ns - before.run_time_ns;
            ProgramReport {
                name: name.clone(),
                calls,
                ns_per_call: (calls > 0).then(|| round(time as f64 / calls as f64)),
                core_percent: round(time as f64 / window.as_nanos() as f64 * 100.0),
            }
        })
        .collect()
}

/// To hundredths.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn report(
    config: &Status,
    session: &Session,
    window: Duration,
    programs: Option<Vec<ProgramReport>>,
) -> anyhow::Result<Report> {
    let stats = session.stats();
    let pipeline = session.pipeline().counters();
    let forgotten = session.pipeline().correlation();
    let hooks = session
        .hooks()
        .iter()
        .map(|(hook, state)| {
            let (name, detail) = match state {
                State::Attached(at) => ("attached", at),
                State::Unavailable(why) => ("unavailable", why),
                State::Off(why) => ("off", why),
            };
            let without = if name == "attached" { "" } else { hook.without() };
            HookReport {
                name: hook.name(),
                state: name,
                detail: detail.clone(),
                without,
            }
        })
        .collect();
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        node: node_name(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        btf: std::path::Path::new(crate::kernel::btf::VMLINUX).exists(),
        cgroup_mount: session.mount().display().to_string(),
        attached_to: session
            .cgroups()
            .iter()
            .map(|path| path.display().to_string())
            .collect(),
        another_runs: session.another_runs(),
        hooks,
        events: Events {
            window_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
            emitted: stats.emitted_total(),
            ring_lost: stats.lost_total(),
            recursion_misses: session.recursion_misses(),
            connections_full: stats.connections_full,
            counts_full: stats.counts_full,
            payload_rate_limited: stats.rate_limited,
            unreadable: stats.unreadable,
            decoded: pipeline.seen,
            undecodable: pipeline.undecodable,
            unattributed: session.pipeline().attribution().unknown,
            forgotten: forgotten.queries_forgotten
                + forgotten.lookups_forgotten
                + forgotten.connections_forgotten
                + forgotten.names_forgotten
                + forgotten.drops_forgotten
                + forgotten.dns_streams_forgotten,
            connections: session.connections() as u64,
        },
        ring: Ring {
            bytes: u64::from(config.live.ring_bytes),
            most_waiting_bytes: session.most_waiting(),
        },
        tunnels: tunnels::devices(session.tunnels()),
        tunnel_traffic: tunnels::traffic(session.tunnels(), &session.counters().tunnels()),
        programs,
    })
}

/// The report for people.
fn text(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "obsflow {} on {}, Linux {}",
        report.version, report.node, report.kernel
    );
    let _ = writeln!(out, "BTF           {}", if report.btf { "yes" } else { "no" });
    let _ = writeln!(out, "cgroup2       {}", report.cgroup_mount);
    let _ = writeln!(out, "attached to   {}", report.attached_to.join(", "));
    if report.another_runs {
        let _ = writeln!(out, "note          another obsflow watches this cgroup, too");
    }
    let _ = writeln!(out, "\n{:<14} {:<12} DETAIL", "HOOK", "STATE");
    for hook in &report.hooks {
        let _ = writeln!(out, "{:<14} {:<12} {}", hook.name, hook.state, hook.detail);
        if hook.state == "unavailable" {
            let _ = writeln!(out, "{:<14} {:<12} without it: {}", "", "", hook.without);
        }
    }
    let events = &report.events;
    let _ = writeln!(out, "\nEVENTS in {} ms", events.window_ms);
    for (name, count) in [
        ("handed to the ring", events.emitted),
        ("lost: ring full", events.ring_lost),
        ("lost: program busy", events.recursion_misses),
        ("decoded", events.decoded),
        ("undecodable", events.undecodable),
        ("workload unknown", events.unattributed),
        ("forgotten", events.forgotten),
        ("connection table full", events.connections_full),
        ("counter table full", events.counts_full),
        ("payload over rate", events.payload_rate_limited),
        ("unreadable", events.unreadable),
        ("connections followed", events.connections),
    ] {
        let _ = writeln!(out, "  {name:<22} {count}");
    }
    let _ = writeln!(
        out,
        "RING          {} KiB, at most {} KiB waiting",
        report.ring.bytes / 1024,
        report.ring.most_waiting_bytes.div_ceil(1024)
    );
    tunnels::text(&report.tunnels, &report.tunnel_traffic, &mut out);
    if let Some(programs) = &report.programs {
        let _ = writeln!(
            out,
            "\n{:<16} {:>10} {:>10} {:>8}",
            "PROGRAM", "CALLS", "NS/CALL", "CORE %"
        );
        for program in programs {
            let ns = program
                .ns_per_call
                .map_or_else(|| "-".to_owned(), |ns| format!("{ns:.0}"));
            let _ = writeln!(
                out,
                "{:<16} {:>10} {:>10} {:>8.2}",
                program.name, program.calls, ns, program.core_percent
            );
        }
    }
    out
}
