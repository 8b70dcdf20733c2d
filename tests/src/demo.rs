//! What obsflow shows, on a small lab: four pods, four fates.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::fault::{self, Fault, Hook, Transport};
use crate::lab::{Lab, pod::Pod};
use crate::process::Proc;
use crate::server::otlp::{self, Collector, Sdk};
use crate::wait::{self, SOON};

/// What obsflow says of a connect that the application gave up, long after everything else.
const PATIENCE: Duration = Duration::from_secs(15);

/// Makes a lab, runs obsflow on it and prints what it shows, with a heading for each pod. Ends by itself.
///
/// # Errors
/// Without root, without obsflow's binary, and when obsflow does not show what happens.
pub fn run() -> Result<()> {
    println!("A lab of two nodes, a name server and an OpenTelemetry Collector is made ...");
    let lab = Lab::new()?;
    let mut collector = Collector::start(&lab, "observability", "otel-collector")?;
    let pods = ["apps/checkout", "apps/catalog", "apps/payment", "apps/shipping"];
    let pods = lab.pods(pods.into_iter().map(Into::into).collect())?;
    let [healthy, misnamed, refused, dropped] = pods.as_slice() else {
        bail!("four pods were asked for");
    };

    let mut command = lab.obsflow_command("observe")?;
    command.args(["--follow", "-o", "compact"]).stdout(Stdio::piped());
    show_command(&command);
    let mut obsflow = Proc::start(command)?;
    let attached = obsflow.err().find(SOON, |line| {
        line.contains(crate::obsflow::ATTACHED).then(|| line.to_owned())
    });
    match attached {
        Some(line) => println!("{line}"),
        None => bail!("obsflow did not attach: {}", obsflow.err().all().join(" | ")),
    }
    let mut shown = 0;

    heading(
        "A healthy export",
        healthy,
        "a real OpenTelemetry SDK exports to the Collector over HTTP",
    );
    let host = "otel-collector.observability";
    let http = otlp::Transport::Http;
    let export = otlp::export(healthy, Sdk::Rust, http, host, 2, Duration::from_millis(200))?;
    collector.wait_for(2, SOON, |_| true)?;
    drop(export);
    show(&obsflow, &mut shown, healthy, "closed after")?;

    heading(
        "A name that does not exist",
        misnamed,
        "it exports to otel-colector, one l short",
    );
    let export = otlp::export(misnamed, Sdk::Rust, http, "otel-colector.observability", 1, SOON)?;
    show(&obsflow, &mut shown, misnamed, "DNS Look-up")?;
    drop(export);

    heading("A refused connect", refused, "the Collector has ended");
    collector.stop();
    let export = otlp::export(refused, Sdk::Rust, otlp::Transport::Grpc, host, 1, SOON)?;
    show(&obsflow, &mut shown, refused, "refused by the peer")?;
    drop(export);
    collector.restart()?;

    heading(
        "A black hole",
        dropped,
        "a rule in the node's FORWARD chain drops what goes to port 4317",
    );
    let node = lab.node(0)?;
    let broken = fault::apply(
        &node.netns,
        Fault::Drop(Hook::Forward, Transport::Tcp, otlp::GRPC),
    )?;
    let to = SocketAddr::new(collector.pod.v4.into(), otlp::GRPC).to_string();
    let _connect = dropped.tool(["connect", &to, "--deadline", "3500"])?;
    show(&obsflow, &mut shown, dropped, "SYNs sent again")?;
    broken.heal()?;

    obsflow.stop(SOON)?;
    println!("\nThe lab is gone, obsflow has ended, and nothing of them is left.");
    Ok(())
}

fn heading(what: &str, pod: &Pod, how: &str) {
    println!("\n== {what}: {}, {how}", pod.path());
}

/// Prints what obsflow says about a pod, up to the line that says `last`; what a retry adds is not shown.
fn show(obsflow: &Proc, shown: &mut usize, pod: &Pod, last: &str) -> Result<()> {
    wait::until(format!("obsflow to say {last} of {}", pod.name), PATIENCE, || {
        let Some(lines) = obsflow.out().after(*shown, Duration::from_millis(50)) else {
            return Ok(None);
        };
        *shown += lines.len();
        for line in lines.iter().filter(|line| line.contains(&pod.name)) {
            println!("{line}");
            if line.contains(last) {
                return Ok(Some(()));
            }
        }
        Ok(None)
    })?;
    std::io::stdout().flush().context("the terminal is gone")
}

fn show_command(command: &Command) {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    println!("$ {}", words.join(" "));
}
