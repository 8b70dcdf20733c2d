//! The capabilities of `components/least-privilege`: with exactly these obsflow misses nothing, without one of them it does.

use std::process::Command;

use anyhow::{Context as _, Result};
use obsflow_tests::fault::{self, Fault, Hook};
use obsflow_tests::manifests::{agent, deploy, objects, render, strings};
use obsflow_tests::server::otlp::{Collector, HTTP, Sdk, Transport};
use obsflow_tests::wait::SOON;
use obsflow_tests::{Case, Lab, Pod, Proc};
use serde_json::Value;

/// Whom an image usually runs as.
const USER: &str = "10001";

/// Each capability, and what is missing without it.
const WITHOUT: &[(&str, &str)] = &[
    ("BPF", "hooks"),
    ("PERFMON", "hooks"),
    ("NET_ADMIN", "hooks"),
    ("SYS_ADMIN", "network namespaces"),
    ("SYS_PTRACE", "older connections"),
    ("DAC_READ_SEARCH", "what another user's process exports"),
    ("SYSLOG", "the hook that drops"),
];

/// What obsflow saw: its report, and what it said of itself.
struct Seen {
    report: Value,
    said: String,
}

impl Seen {
    /// What the container of this pod is known to export, from where.
    fn source(&self, pod: &Pod) -> String {
        let exports = self.report["exports"].as_array();
        let found = exports
            .into_iter()
            .flatten()
            .find(|export| export["workload"] == *pod.path());
        found
            .map(|export| export["source"].to_string())
            .unwrap_or_default()
    }

    fn has(&self, text: &str) -> bool {
        self.report.to_string().contains(text)
    }

    fn hooks(&self) -> &str {
        let mut lines = self.said.lines();
        lines
            .find(|line| line.contains("obsflow: attached"))
            .unwrap_or_default()
    }

    /// Everything that one of the capabilities is for.
    fn misses_nothing(&self, other: &Pod, strong: &Pod, hooks: &str) -> Result<(), String> {
        let known = |pod| self.source(pod).contains("environment");
        let seen = [
            ("hooks", self.hooks() == hooks && !hooks.is_empty()),
            ("what another user's process exports", known(other)),
            ("what a process with every capability exports", known(strong)),
            ("network namespaces", !self.said.contains("network namespace")),
            ("older connections", self.has("401")),
            ("the hook that drops", self.has("NETFILTER_DROP in FORWARD")),
        ];
        let missing: Vec<&str> = seen.iter().filter(|(_, is)| !is).map(|(what, _)| *what).collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(missing.join(", "))
        }
    }
}

/// Looks for a while, with these capabilities alone.
fn look(lab: &Lab, capabilities: &[String]) -> Result<Seen> {
    let doctor = lab.obsflow_command("doctor")?;
    let bounds: String = capabilities
        .iter()
        .map(|name| format!(",+{}", name.to_lowercase()))
        .collect();
    let done = Command::new("setpriv")
        .arg(format!("--bounding-set=-all{bounds}"))
        .arg(doctor.get_program())
        .args(doctor.get_args())
        .args(["--for", "6s", "--all", "-o", "json"])
        .output()?;
    Ok(Seen {
        report: serde_json::from_slice(&done.stdout).unwrap_or_default(),
        said: String::from_utf8_lossy(&done.stderr).into_owned(),
    })
}

/// A process that is set to export and has not begun to.
fn waiting(pod: &Pod, user: &[&str], collector: &str) -> Result<Proc> {
    let mut command = pod.command("setpriv")?;
    command
        .args(user)
        .args(["sh", "-c", "echo up; exec sleep 1000"])
        .env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("http://{collector}:{HTTP}"),
        );
    let process = Proc::start(command)?;
    process.line("that it is up", SOON, |line| (line == "up").then_some(()))?;
    Ok(process)
}

#[test]
fn the_capabilities_are_those_that_it_takes() -> Result<()> {
    let lab = Lab::new()?;
    let mut collector = Collector::start(&lab, "observability", "otel-collector")?;
    collector.answer(Transport::Http, "status=401")?;
    let _firewall = fault::apply(
        &lab.node(0)?.netns,
        Fault::Drop(Hook::Forward, fault::Transport::Tcp, 4317),
    )?;
    let case = |app, port: u16, timeout_ms| {
        let url = format!("http://{}:{port}", collector.name);
        let case = Case::new(&lab, app, Sdk::Rust, Transport::Http, &url)?;
        case.env("OTEL_EXPORTER_OTLP_TIMEOUT", timeout_ms).started()
    };
    // On one connection, which is older than any of those who look: an answer that is late does not end it.
    let rejected = case("apps/rejected", HTTP, "60000")?;
    rejected.exported("failed")?;
    // Two SYNs an attempt, and attempts that come often.
    let _dropped = case("apps/dropped", 4317, "3000")?;
    let (other, strong) = (lab.pod("apps/other")?, lab.pod("apps/strong")?);
    let nobody = ["--reuid", USER, "--regid", USER, "--clear-groups"];
    let _other = waiting(&other, &nobody, &collector.name)?;
    let _strong = waiting(&strong, &["--"], &collector.name)?;

    let objects = objects(&render(&deploy().join("overlays/least-privilege"))?, &[])?;
    let given = strings(&agent(&objects)?["securityContext"]["capabilities"]["add"]);
    let whole = look(&lab, &given)?;
    // Everything there is: nothing is taken from root.
    let root = lab
        .obsflow_command("doctor")?
        .args(["--for", "1s", "-o", "json"])
        .output()?;
    let root = Seen {
        report: Value::Null,
        said: String::from_utf8_lossy(&root.stderr).into_owned(),
    };
    let complete = whole.misses_nothing(&other, &strong, root.hooks());
    assert_eq!(complete, Ok(()), "{}\n{:#}", whole.said, whole.report);

    assert_eq!(given.len(), WITHOUT.len(), "{given:?}");
    for (name, what) in WITHOUT {
        assert!(given.iter().any(|given| given == name), "{name} is not given");
        // The kernel takes SYS_ADMIN for some of them: beside it they are not missed.
        let implied = *what == "hooks";
        let rest: Vec<String> = given
            .iter()
            .filter(|other| other != name && !(implied && *other == "SYS_ADMIN"))
            .cloned()
            .collect();
        let seen = look(&lab, &rest)?;
        let missed = seen.misses_nothing(&other, &strong, root.hooks());
        let missed = missed.err().with_context(|| format!("{name} is not missed"))?;
        assert!(
            missed.contains(what),
            "without {name} {missed} is missing, not {what}"
        );
        println!("without {name}: {missed}");
    }
    Ok(())
}
