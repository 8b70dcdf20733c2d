//! How long a verdict takes: from the packet that proves it, as tcpdump saw it beside the pod, to doctor's report.

use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use obsflow_tests::app::{self, Env};
use obsflow_tests::doctor::Doctor;
use obsflow_tests::fault::{self, Answer, Fault, Hook};
use obsflow_tests::lab::pod::Pod;
use obsflow_tests::process::{self, Proc};
use obsflow_tests::server::otlp::{Collector, GRPC, HTTP, Sdk, Setup, Transport};
use obsflow_tests::wait::SOON;
use obsflow_tests::{Case, Lab, scenario};

use crate::programs::median;

const NAME: &str = "otel-collector.observability";
/// A port where every answer is 404.
const WRONG_PATH: u16 = 24_404;
/// A port to which a rule answers with ICMP.
const REJECTED: u16 = 24_417;
/// A port whose packets a rule drops.
const DROPPED: u16 = 24_418;
/// Two intervals of the silent service.
const TWO_INTERVALS: f64 = 4.0;
/// A black hole is proved by the third SYN sent again: the fourth one.
const SYNS: usize = 4;

/// One verdict.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// Its id.
    pub(crate) verdict: &'static str,
    /// From when on time is counted.
    pub(crate) since: &'static str,
    /// Seconds allowed.
    pub(crate) must_s: f64,
    /// Seconds until it was reported, the median.
    pub(crate) took_s: f64,
    /// The longest.
    pub(crate) worst_s: f64,
}

/// One fault: who exports where, and which packet proves it.
struct Row {
    verdict: &'static str,
    since: &'static str,
    app: &'static str,
    transport: Transport,
    url: String,
    /// What tcpdump's line must contain, and which of these lines it is.
    proof: (&'static str, usize),
}

/// Breaks everything `rounds` times, each time for pods of their own.
pub(crate) fn measure(rounds: usize) -> Result<Vec<Told>> {
    let mut all: Vec<(&'static str, &'static str, f64, Vec<f64>)> = Vec::new();
    for _ in 0..rounds {
        for (verdict, since, must, took) in round()? {
            match all.iter_mut().find(|row| row.0 == verdict) {
                Some(row) => row.3.push(took),
                None => all.push((verdict, since, must, vec![took])),
            }
        }
    }
    Ok(all
        .into_iter()
        .map(|(verdict, since, must_s, took)| Told {
            verdict,
            since,
            must_s,
            worst_s: took.iter().copied().fold(0.0, f64::max),
            took_s: median(took.into_iter()),
        })
        .collect())
}

fn rows(hole: IpAddr) -> Vec<Row> {
    let row = |verdict, since, app, transport, url: String, proof| Row {
        verdict,
        since,
        app,
        transport,
        url,
        proof,
    };
    let at = |port| format!("http://{NAME}:{port}");
    vec![
        row(
            "dns-nxdomain",
            "the first NXDOMAIN",
            "apps/name",
            Transport::Http,
            "http://otel-colector.observability:4318".into(),
            ("NXDomain", 1),
        ),
        row(
            "refused",
            "the first RST",
            "apps/refused",
            Transport::Http,
            at(4040),
            ("Flags [R", 1),
        ),
        row(
            "no-endpoints",
            "the first ICMP error",
            "apps/rejected",
            Transport::Http,
            at(REJECTED),
            ("unreachable", 1),
        ),
        row(
            "dropped",
            "the first SYN",
            "apps/dropped",
            Transport::Http,
            at(DROPPED),
            ("Flags [S]", 1),
        ),
        row(
            "rejected",
            "the first 404",
            "apps/path",
            Transport::Http,
            at(WRONG_PATH),
            ("HTTP/1.1 404", 1),
        ),
        row(
            "protocol-mismatch",
            "the first answer",
            "apps/protocol",
            Transport::Grpc,
            at(HTTP),
            ("HTTP/1.1 400", 1),
        ),
        row(
            "blackholed",
            "the third SYN sent again",
            "apps/hole",
            Transport::Http,
            format!("http://{hole}:{GRPC}"),
            ("Flags [S]", SYNS),
        ),
    ]
}

fn round() -> Result<Vec<(&'static str, &'static str, f64, f64)>> {
    let lab = Lab::new()?;
    let _collector = Collector::start(&lab, "observability", "otel-collector")?;
    let away = lab.pod(obsflow_tests::PodSpec::new("observability/away").node(1))?;
    let _hole = scenario::black_hole(&lab, &away)?;
    let wrong = lab.pod(obsflow_tests::PodSpec::new("observability/wrong").node(1))?;
    let wrong_at = wrong.v4;
    let _wrong = Collector::run(&lab, wrong, Setup::http(&[WRONG_PATH]).option("http=status=404"))?;
    let node = lab.node(0)?.netns.clone();
    let tcp = fault::Transport::Tcp;
    let _broken = [
        fault::apply(
            &node,
            Fault::Reject(Hook::Forward, tcp, REJECTED, Answer::PortUnreachable),
        )?,
        fault::apply(&node, Fault::Drop(Hook::Forward, tcp, DROPPED))?,
    ];
    let doctor = lab.doctor(&[])?;
    let mut told = Vec::new();
    let mut running = Vec::new();
    for row in rows(away.v4.into()) {
        let url = if row.verdict == "rejected" {
            format!("http://{wrong_at}:{WRONG_PATH}")
        } else {
            row.url.clone()
        };
        let mut case = Case::new(&lab, row.app, Sdk::Rust, row.transport, &url)?;
        let wire = Wire::of(&case.pod)?;
        case.start()?;
        running.push((row, wire, case));
    }
    for (row, wire, case) in &running {
        doctor.verdict(&case.pod, row.verdict, |_| true)?;
        let said = doctor
            .said_at(&case.pod, row.verdict)
            .context("it was just said")?;
        let proof = wire.line(row.proof.0, row.proof.1)?;
        told.push((row.verdict, row.since, 5.0, since(proof, said)));
    }
    told.push(silent(&lab, &doctor)?);
    told.push(healed(&lab, &doctor)?);
    doctor.stop()?;
    Ok(told)
}

/// A service that was watched from its start, is proved to export, and never does.
fn silent(lab: &Lab, doctor: &Doctor<'_>) -> Result<(&'static str, &'static str, f64, f64)> {
    let pod = lab.pod("apps/silent")?;
    let env = Env::new()
        .set("OTEL_METRIC_EXPORT_INTERVAL", "2000")
        .set("OTEL_BSP_SCHEDULE_DELAY", "2000")
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{NAME}:{HTTP}"));
    let user = lab.pod(obsflow_tests::PodSpec::new("users/browser").node(1))?;
    let began = SystemTime::now();
    let _service = app::image_gallery(&pod, &env, true)?;
    let _visitor = app::visitor(&user, &pod, 100)?;
    doctor.verdict(&pod, "silent", |_| true)?;
    let said = doctor.said_at(&pod, "silent").context("it was just said")?;
    let took = since(began, said) - TWO_INTERVALS;
    Ok(("silent", "two intervals after its exec", 5.0, took.max(0.0)))
}

/// A refusal that ends.
fn healed(lab: &Lab, doctor: &Doctor<'_>) -> Result<(&'static str, &'static str, f64, f64)> {
    let mut collector = Collector::start(lab, "observability", "late-collector")?;
    collector.stop();
    let url = format!("http://late-collector.observability:{HTTP}");
    let mut case = Case::new(lab, "apps/healed", Sdk::Rust, Transport::Http, &url)?;
    let wire = Wire::of(&case.pod)?;
    case.start()?;
    doctor.verdict(&case.pod, "refused", |_| true)?;
    collector.restart()?;
    doctor.healed(&case.pod)?;
    let said = doctor.said_at(&case.pod, "healthy").context("it was just said")?;
    let proof = wire.line("HTTP/1.1 200", 1)?;
    Ok((
        "healthy, after refused",
        "the first answer that takes it",
        5.0,
        since(proof, said),
    ))
}

fn since(proof: SystemTime, said: SystemTime) -> f64 {
    said.duration_since(proof).unwrap_or_default().as_secs_f64()
}

/// tcpdump in a pod's network namespace.
struct Wire(Proc);

impl Wire {
    fn of(pod: &Pod) -> Result<Self> {
        let mut command = Command::new("tcpdump");
        // The text of a status line is in the packet's own.
        command.args([
            "-i",
            "any",
            "-l",
            "-n",
            "-tt",
            "--immediate-mode",
            "-A",
            "ip or ip6",
        ]);
        process::enter(&mut command, Some(&pod.netns), None, &[])?;
        let proc = Proc::start(command)?;
        proc.err()
            .find(SOON, |line| line.contains("listening on").then_some(()))
            .context("tcpdump does not listen")?;
        Ok(Self(proc))
    }

    /// When the packet was seen whose line is the `nth` with this text.
    fn line(&self, text: &str, nth: usize) -> Result<SystemTime> {
        let mut at = None;
        let mut found = 0;
        self.0
            .out()
            .find(SOON, |line| {
                let stamp = line.split_whitespace().next().and_then(|word| word.parse().ok());
                if let Some(stamp) = stamp.filter(|_| line.contains(" IP")) {
                    at = Some(stamp);
                }
                found += usize::from(line.contains(text));
                (found >= nth).then_some(())
            })
            .with_context(|| format!("tcpdump did not see {text:?} {nth} times"))?;
        let seconds: f64 = at.with_context(|| format!("no time before {text:?}"))?;
        Ok(UNIX_EPOCH + Duration::from_secs_f64(seconds))
    }
}
