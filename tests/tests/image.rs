//! The container image with the least privileges that `deploy/` gives it: what it sees, and what each privilege is for.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use anyhow::{Context as _, Result};
use obsflow_tests::container::{Container, DaemonSet, Image, Profile};
use obsflow_tests::fault::{self, Fault, Hook, Transport};
use obsflow_tests::scenario::Echo;
use obsflow_tests::server::otlp::{self, Sdk};
use obsflow_tests::wait::{SOON, until};
use obsflow_tests::{Lab, Pod, Proc};
use serde_json::Value;

const OVERLAY: &str = "least-privilege";
const PORT: u16 = 4318;
/// The DaemonSet's ports on the node's address.
const HEALTH: u16 = 9969;
const METRICS: u16 = 9970;
/// A Collector that nobody has a name for.
const ENDPOINT: &str = "http://otel-colector.observability:4318";
const UNKNOWN_NAME: &str = "dns-nxdomain";
const USER: &str = "1000";

fn attached(status: &Value) -> BTreeSet<String> {
    let hooks = status["hooks"].as_array().into_iter().flatten();
    hooks
        .filter(|hook| hook["state"] == "attached")
        .filter_map(|hook| hook["name"].as_str().map(str::to_owned))
        .collect()
}

/// What `GET path` answers on the node's address: the status line and the rest.
fn get(lab: &Lab, port: u16, path: &str) -> Result<String> {
    let node = lab.node(0)?;
    let address = SocketAddr::new(node.pod_v4(1).into(), port);
    node.netns.within(|| {
        let mut stream =
            TcpStream::connect(address).with_context(|| format!("nobody listens at {address}"))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })
}

fn is_well(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200 ")
}

fn ready(lab: &Lab, container: &Container) -> Result<()> {
    container.said("serving /healthz and /readyz")?;
    until("a ready agent", SOON, || {
        Ok(is_well(&get(lab, HEALTH, "/readyz")?).then_some(()))
    })
}

/// An exporter in a pod, of root with every capability or of a user without any.
fn exporter(pod: &Pod, endpoint: &str, is_root: bool) -> Result<Proc> {
    let plain = otlp::exporter(pod, Sdk::Rust)?;
    let mut command = if is_root {
        plain
    } else {
        let mut command = pod.command("setpriv")?;
        command
            .args(["--reuid", USER, "--regid", USER, "--clear-groups"])
            .arg(plain.get_program())
            .args(plain.get_args());
        command
    };
    command
        .args(["100000", "500"])
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    Proc::start(command)
}

/// What doctor says of a pod's exporter by now, if it is this verdict.
fn export(container: &Container, pod: &Pod, verdict: &str) -> Result<Option<Value>> {
    let report = container.ask(&["doctor", &pod.path()])?;
    let mut exports = report["exports"].as_array().into_iter().flatten();
    Ok(exports
        .find(|export| export["pod"] == *pod.name && export["verdict"] == verdict)
        .cloned())
}

/// Whether what it says was read from the environment.
fn knows_environment(export: &Value) -> bool {
    export["source"]
        .as_str()
        .is_some_and(|source| source.contains("OTEL_EXPORTER_OTLP_ENDPOINT"))
}

/// A connection of a pod that is older than what looks for it.
fn held(lab: &Lab, echo: &Echo) -> Result<(Pod, Proc)> {
    let pod = lab.pod("apps/older")?;
    let tool = pod.tool(["connect", &echo.both()[0].to_string(), "--then", "hold"])?;
    tool.json("that it is connected", SOON, |line| {
        line["result"] == "established"
    })?;
    Ok((pod, tool))
}

#[test]
fn the_daemonset_sees_what_root_sees() -> Result<()> {
    let lab = Lab::new()?;
    let echo = Echo::start(&lab, PORT)?;
    let _held = held(&lab, &echo)?;

    let mut outside = lab.obsflow_command("status")?;
    let outside: Value = serde_json::from_slice(&outside.args(["-o", "json"]).output()?.stdout)?;
    let container = Container::start(&lab, &DaemonSet::render(OVERLAY)?, Profile::default())?;
    ready(&lab, &container)?;
    let inside = container.ask(&["status"])?;
    assert!(attached(&inside).contains("tcp"), "{inside}");
    assert_eq!(attached(&inside), attached(&outside));
    // Not one thing that it would have to do without.
    let warned: Vec<String> = container.process.err().all();
    let warned = warned.iter().filter(|line| line.contains("is missing"));
    assert_eq!(warned.count(), 0, "{:?}", container.process.err().all());

    assert!(is_well(&get(&lab, HEALTH, "/healthz")?));
    let metrics = get(&lab, METRICS, "/metrics")?;
    assert!(
        is_well(&metrics) && metrics.contains("obsflow_build_info{"),
        "{metrics}"
    );

    // Those who may do more than it, and those who are somebody else.
    for is_root in [true, false] {
        let pod = lab.pod(if is_root { "apps/mighty" } else { "apps/plain" })?;
        let _exporter = exporter(&pod, ENDPOINT, is_root)?;
        let said = until(format!("a verdict of {}", pod.name), SOON, || {
            export(&container, &pod, UNKNOWN_NAME)
        })?;
        assert!(knows_environment(&said), "{said}");
    }
    // One that is older than the agent, in another network namespace.
    let now = container.ask(&["status"])?;
    assert!(now["events"]["connections"].as_u64() >= Some(1), "{now}");

    container.stop()
}

/// Ends by itself with one line that names what it lacks.
fn refused(lab: &Lab, set: &DaemonSet, profile: Profile, words: &[&str]) -> Result<()> {
    let mut container = Container::start(lab, set, profile)?;
    let ended = container.process.wait(SOON)?;
    let lines = container.process.err().all();
    assert_eq!(ended.code(), Some(1), "{lines:?}");
    let last = lines.last().map(String::as_str).unwrap_or_default();
    for word in words {
        assert!(last.contains(word), "{word} is missing in {lines:?}");
    }
    Ok(())
}

#[test]
fn what_does_not_load_says_which_capability_is_missing() -> Result<()> {
    let lab = Lab::new()?;
    let set = DaemonSet::render(OVERLAY)?;
    for (missing, named) in [
        (&["SYS_ADMIN", "BPF"][..], "CAP_BPF in addition"),
        (&["SYS_ADMIN", "PERFMON"], "CAP_PERFMON in addition"),
        (
            &["SYS_ADMIN", "BPF", "PERFMON", "NET_ADMIN"],
            "CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN",
        ),
    ] {
        let profile = Profile::without(missing).unfiltered();
        refused(
            &lab,
            &set,
            profile,
            &["obsflow needs root, or", named, "docs/privileges.md"],
        )?;
    }
    // The profile of some runtimes lets bpf(2) through with CAP_SYS_ADMIN only.
    refused(
        &lab,
        &set,
        Profile::without(&["SYS_ADMIN"]),
        &["seccomp profile forbids bpf(2)"],
    )
}

/// Each capability of the overlay that is not for loading is for something that is lost, and said to be, without it.
#[test]
fn each_other_capability_is_for_something() -> Result<()> {
    let lab = Lab::new()?;
    let echo = Echo::start(&lab, PORT)?;
    let _held = held(&lab, &echo)?;
    let set = DaemonSet::render(OVERLAY)?;
    let loading = ["BPF", "PERFMON", "NET_ADMIN"];
    for name in set.capabilities()? {
        if loading.contains(&name.as_str()) {
            continue;
        }
        let container = Container::start(&lab, &set, Profile::without(&[&name]).unfiltered())?;
        ready(&lab, &container)?;
        let said = container.process.err().all();
        let missing = format!("CAP_{name} is missing");
        assert_eq!(
            said.iter().filter(|line| line.contains(&missing)).count(),
            1,
            "{name}: {said:?}"
        );
        let status = container.ask(&["status"])?;
        let enters = !matches!(name.as_str(), "SYS_ADMIN" | "SYS_PTRACE");
        assert_eq!(
            status["events"]["connections"].as_u64() > Some(0),
            enters,
            "{name}: {status}"
        );
        // Of another user: which capability root's take differs between kernels.
        let pod = lab.pod("apps/plain")?;
        let _exporter = exporter(&pod, ENDPOINT, false)?;
        let reads = |pod: &Pod| {
            until(format!("a verdict without {name}"), SOON, || {
                export(&container, pod, UNKNOWN_NAME)
            })
        };
        match name.as_str() {
            // One that began later is known by now, and it is not.
            "DAC_READ_SEARCH" => {
                let later = lab.pod("apps/later")?;
                let _later = exporter(&later, ENDPOINT, true)?;
                assert!(knows_environment(&reads(&later)?));
                assert!(export(&container, &pod, UNKNOWN_NAME)?.is_none());
            }
            "SYS_PTRACE" => {}
            _ => assert!(knows_environment(&reads(&pod)?), "{name}"),
        }
        container.stop()?;
    }
    Ok(())
}

/// Where the kernel hides its addresses, the place of a drop takes CAP_SYSLOG.
#[test]
fn the_place_of_a_drop() -> Result<()> {
    let lab = Lab::new()?;
    let set = DaemonSet::render(OVERLAY)?;
    let echo = Echo::start(&lab, PORT)?;
    for (profile, told) in [(Profile::default(), true), (Profile::without(&["SYSLOG"]), false)] {
        let container = Container::start(&lab, &set, profile)?;
        ready(&lab, &container)?;
        let pod = lab.pod("apps/dropped")?;
        let _fault = fault::apply(&pod.netns, Fault::Drop(Hook::Output, Transport::Tcp, PORT))?;
        let _exporter = exporter(&pod, &format!("http://{}:{PORT}", echo.pod.v4), true)?;
        let said = until("that it is dropped", SOON, || export(&container, &pod, "dropped"))?;
        let evidence = said["evidence"].to_string();
        assert!(evidence.contains("NETFILTER_DROP"), "{said}");
        assert_eq!(evidence.contains("NETFILTER_DROP in OUTPUT"), told, "{said}");
        container.stop()?;
    }
    Ok(())
}

/// What tools make of the archive, as somebody who was handed it would look.
#[test]
fn the_archive_is_read_by_others() -> Result<()> {
    let archive = Image::built()?.layout().with_file_name("obsflow.tar");
    for transport in ["oci-archive", "docker-archive"] {
        let done = Command::new("skopeo")
            .args(["--override-arch", "amd64", "inspect"])
            .arg(format!("{transport}:{}", archive.display()))
            .output()
            .context("cannot run skopeo: `cargo xtask setup` installs it")?;
        let said: Value = serde_json::from_slice(&done.stdout)
            .with_context(|| String::from_utf8_lossy(&done.stderr).into_owned())?;
        assert_eq!(said["Architecture"], "amd64", "{transport}: {said}");
        assert_eq!(
            said["Labels"]["org.opencontainers.image.title"], "obsflow",
            "{said}"
        );
        assert_eq!(said["Layers"].as_array().map(Vec::len), Some(1), "{said}");
    }
    Ok(())
}
