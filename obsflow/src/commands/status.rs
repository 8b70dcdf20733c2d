//! `obsflow status`: what works on this node, and what it costs.

mod flows;
mod tunnels;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use serde::Serialize;

use self::flows::FlowStatus;
use super::print;
use crate::api::hubble::{self, ServerAddress};
use crate::api::{Address, Client};
use crate::cli::StatusFormat;
use crate::config::{self, Whom};
use crate::kernel::info::Cost;
use crate::model::Observation;
use crate::model::status::{Status, WatchStatus};
use crate::session::{Purpose, Session, Sink, Stop};

/// How long the hooks are watched when costs are asked for or tunnels are there to be counted: kernel statistics are on
/// for this time at the most.
const WATCH: Duration = Duration::from_secs(1);

/// The report. Its JSON is stable: fields are added, never renamed.
#[derive(Debug, Serialize)]
struct Report {
    /// Where the agent listens that says this; absent when this command looked by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    /// What works, and what was seen in the time of this command, or of the agent.
    #[serde(flatten)]
    status: Status,
    /// What an agent keeps of flows; absent when nobody was asked, or nothing is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    flows: Option<FlowStatus>,
    /// Cost of each program, when it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    programs: Option<Vec<ProgramReport>>,
}

/// Cost of a program.
#[derive(Debug, Serialize)]
struct ProgramReport {
    /// Its name.
    pub name: String,
    /// Calls in the window.
    pub calls: u64,
    /// Nanoseconds a call, on average; `None` without calls. The measurement itself adds about 50.
    pub ns_per_call: Option<f64>,
    /// Share of one core, in percent.
    pub core_percent: f64,
}

pub(super) fn run(config: &config::Status) -> anyhow::Result<()> {
    if let Some(server) = &config.server {
        return of_server(config, server);
    }
    let report = match &config.whom {
        Whom::Agent(address) => of_agent(config, &mut Client::connect_to(address)?)?,
        Whom::Own => own(config)?,
        Whom::AgentIfThere => match Client::connect_to(&Address::default()) {
            Ok(mut agent) => of_agent(config, &mut agent)?,
            Err(error) => {
                if !error.is_absent() {
                    tracing::warn!("{error}; looking without it");
                }
                own(config)?
            }
        },
    };
    show(config, &report)
}

fn show(config: &config::Status, report: &Report) -> anyhow::Result<()> {
    let text = match config.format {
        StatusFormat::Json => format!("{}\n", serde_json::to_string_pretty(report)?),
        StatusFormat::Text => text(report),
    };
    print(|out| out.write_all(text.as_bytes()))
}

fn of_agent(config: &config::Status, agent: &mut Client) -> anyhow::Result<Report> {
    let address = agent.address().to_string();
    // The same agent, by Hubble's questions; what it keeps is an addition that older ones do not know.
    let flows = ServerAddress::parse(&address)
        .ok()
        .and_then(|server| hubble::Client::connect(&server, config.limits.dial).ok())
        .and_then(|client| client.status(config.limits.request).ok());
    Ok(Report {
        status: agent.status()?,
        flows: flows.map(FlowStatus::from),
        agent: Some(address),
        programs: None,
    })
}

/// A server elsewhere: an agent of obsflow's tells everything, any other what it keeps.
fn of_server(config: &config::Status, server: &config::observe::Server) -> anyhow::Result<()> {
    let client = hubble::Client::connect(&server.address, server.limits.dial)?;
    let flows = FlowStatus::from(client.status(server.limits.request)?);
    if let Some(status) = client.agent_status(server.limits.request)? {
        let report = Report {
            agent: Some(server.address.to_string()),
            status,
            flows: Some(flows),
            programs: None,
        };
        return show(config, &report);
    }
    let text = match config.format {
        StatusFormat::Json => format!("{}\n", serde_json::to_string_pretty(&flows)?),
        StatusFormat::Text => {
            let mut text = String::new();
            flows::text(&flows, &server.address.to_string(), &mut text);
            text
        }
    };
    print(|out| out.write_all(text.as_bytes()))
}

/// Attaches, looks and leaves.
fn own(config: &config::Status) -> anyhow::Result<Report> {
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
    Ok(Report {
        agent: None,
        flows: None,
        status: session.status(),
        programs: config.cost.then(|| programs(&before, &after, window)),
    })
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

/// What is followed of the cluster; nothing where there is none.
fn watches(watches: &[WatchStatus], out: &mut String) {
    if watches.is_empty() {
        return;
    }
    let width = watches
        .iter()
        .map(|watch| watch.resource.len())
        .max()
        .unwrap_or(0);
    // Writing to a string cannot fail.
    let _ = writeln!(out, "CLUSTER");
    for watch in watches {
        let _ = write!(
            out,
            "  {:<width$} {:<8} {} objects, begun again {} times",
            watch.resource, watch.state, watch.objects, watch.restarts
        );
        let _ = match &*watch.error {
            "" => writeln!(out),
            error => writeln!(out, ": {}", error.escape_debug()),
        };
    }
}

/// The report for people.
fn text(shown: &Report) -> String {
    let report = &shown.status;
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "obsflow {} on {}, Linux {}",
        report.version, report.node, report.kernel
    );
    if let Some(address) = &shown.agent {
        let _ = writeln!(
            out,
            "agent         {address}, watching since {}",
            report.watching_since
        );
    }
    let _ = writeln!(out, "BTF           {}", if report.btf { "yes" } else { "no" });
    let _ = writeln!(out, "cgroup2       {}", report.cgroup_mount);
    let _ = writeln!(out, "attached to   {}", report.attached_to.join(", "));
    if report.another_runs {
        let _ = writeln!(out, "note          another obsflow watches this cgroup, too");
    }
    let ports: Vec<String> = report.watched_ports.iter().map(u16::to_string).collect();
    let _ = writeln!(out, "ports         {}", ports.join(", "));
    let _ = writeln!(out, "\n{:<14} {:<12} DETAIL", "HOOK", "STATE");
    for hook in &report.hooks {
        let _ = writeln!(out, "{:<14} {:<12} {}", hook.name, hook.state, hook.detail);
        if hook.state == "unavailable" {
            let _ = writeln!(out, "{:<14} {:<12} without it: {}", "", "", hook.without);
        }
    }
    let events = &report.events;
    let _ = match shown.agent {
        Some(_) => writeln!(out, "\nEVENTS since {}", report.watching_since),
        None => writeln!(out, "\nEVENTS in {} ms", events.window_ms),
    };
    for (name, count) in [
        ("handed to the ring", events.emitted),
        ("lost: ring full", events.ring_lost),
        ("lost: program busy", events.recursion_misses),
        ("decoded", events.decoded),
        ("undecodable", events.undecodable),
        ("workload unknown", events.unattributed),
        ("pod known by address", events.by_address),
        ("forgotten", events.forgotten),
        ("connection table full", events.connections_full),
        ("counter table full", events.counts_full),
        ("tunnel table full", events.tunnels_full),
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
    if let Some(flows) = &shown.flows {
        flows::line(flows, &mut out);
    }
    watches(&report.watches, &mut out);
    if let Some(events) = &report.kubernetes_events {
        let _ = writeln!(
            out,
            "K8S EVENTS    {} written, {} without room, {} not taken by the API server",
            events.written, events.crowded_out, events.failed
        );
    }
    tunnels::text(&report.tunnels, &report.tunnel_traffic, &mut out);
    if let Some(programs) = &shown.programs {
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
