//! A node without Kubernetes: workloads are systemd units, and obsflow is one.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use obsflow_tests::container::DaemonSet;
use obsflow_tests::lab::cgroup;
use obsflow_tests::server::otlp::{self, Collector, Sdk, Transport};
use obsflow_tests::wait::{SOON, until};
use obsflow_tests::{Lab, Pod, PodSpec, Proc, tool};
use serde_json::Value;

const TYPO: &str = "otel-colector.observability";

/// The cgroup of a slice of units, as systemd names them; removed with its guard.
struct Slice(PathBuf);

impl Slice {
    /// Beside the lab's own cgroup, and named like it: what a killed test leaves, the next lab removes.
    fn new(lab: &Lab) -> Result<Self> {
        let name = lab.cgroup().file_name().context("a cgroup without a name")?;
        let path = lab
            .cgroup()
            .with_file_name(format!("{}-units.slice", name.to_string_lossy()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// A unit on node 0, in the node's own network.
    fn unit(&self, lab: &Lab, name: &str) -> Result<Pod> {
        let mut unit = lab.pod(PodSpec::new(&format!("none/{name}")).host_network())?;
        unit.cgroup = self.0.join(format!("{name}.service"));
        fs::create_dir(&unit.cgroup)?;
        Ok(unit)
    }

    fn below_mount(&self) -> Result<PathBuf> {
        Ok(Path::new("/").join(self.0.strip_prefix(cgroup::mount_point()?)?))
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        if let Err(error) = cgroup::remove(&self.0) {
            eprintln!("{}: {error:#}", self.0.display());
        }
    }
}

fn export(unit: &Pod, host: &str) -> Result<Proc> {
    let interval = std::time::Duration::from_millis(500);
    otlp::export(unit, Sdk::Rust, Transport::Http, host, 100_000, interval)
}

fn obsflow(arguments: &[&str]) -> Result<std::process::Output> {
    Ok(Command::new(tool::binary("obsflow")?).args(arguments).output()?)
}

#[test]
fn workloads_are_units() -> Result<()> {
    let lab = Lab::new()?;
    let slice = Slice::new(&lab)?;
    let collector = Collector::start(&lab, "observability", "otel-collector")?;
    let well = slice.unit(&lab, "checkout")?;
    let ill = slice.unit(&lab, "catalog")?;
    let socket = format!("unix://{}", lab.dir().join("units.sock").display());
    let notify = lab.dir().join("notify.sock");
    let manager = UnixDatagram::bind(&notify)?;
    manager.set_read_timeout(Some(SOON))?;

    let mut agent = Command::new(tool::binary("obsflow")?);
    agent
        .args([
            "agent",
            "--state",
            "off",
            "--health",
            "127.0.0.1:0",
            "--listen",
            &socket,
        ])
        .arg("--attach")
        .arg(slice.below_mount()?)
        .env("NOTIFY_SOCKET", &notify);
    let mut agent = Proc::start(agent)?;
    let told = || -> Result<String> {
        let mut buffer = [0; 256];
        let length = manager
            .recv(&mut buffer)
            .with_context(|| format!("the agent did not tell: {:?}", agent.err().all()))?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    assert_eq!(told()?, "READY=1");
    assert_eq!(told()?, "WATCHDOG=1");

    let _exporters = [export(&well, &collector.name)?, export(&ill, TYPO)?];
    let report = |unit: &str| -> Result<Option<Value>> {
        let done = obsflow(&["doctor", "-o", "json", "--server", &socket])?;
        let report: Value = serde_json::from_slice(&done.stdout)
            .with_context(|| String::from_utf8_lossy(&done.stderr).into_owned())?;
        let mut exports = report["exports"].as_array().into_iter().flatten();
        Ok(exports
            .find(|export| export["unit"] == *unit && export["verdict"] != "unknown")
            .cloned())
    };
    for (unit, verdict) in [
        ("checkout.service", "healthy"),
        ("catalog.service", "dns-nxdomain"),
    ] {
        let said = until(format!("{verdict} of {unit}"), SOON, || {
            Ok(report(unit)?.filter(|export| export["verdict"] == verdict))
        })?;
        assert!(
            said["source"]
                .as_str()
                .is_some_and(|source| source.contains("OTEL_")),
            "{said}"
        );
    }
    // A person names it as systemctl does.
    let table = obsflow(&["doctor", "--server", &socket])?;
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(
        table.contains("catalog.service") && table.contains("dns-nxdomain"),
        "{table}"
    );

    let status = agent.stop(SOON)?;
    assert!(status.success(), "{:?}", agent.err().all());
    // Behind the turns that were not read yet.
    let mut buffer = [0; 256];
    until("the agent to tell of its end", SOON, || {
        let length = manager.recv(&mut buffer)?;
        Ok((&buffer[..length] == b"STOPPING=1").then_some(()))
    })?;

    let mut observe = Command::new(tool::binary("obsflow")?);
    observe
        .args(["observe", "--follow", "-o", "json", "--attach"])
        .arg(slice.below_mount()?);
    let observe = Proc::start(observe)?;
    let flow = observe.json("a flow of the unit", SOON, |line| {
        line.to_string().contains("\"checkout.service\"")
    })?;
    assert!(flow["flow"].is_object(), "{flow}");
    Ok(())
}

/// The unit is good, and asks for what the manifests ask for.
#[test]
fn the_unit_file() -> Result<()> {
    let lab = Lab::new()?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd");
    let text = fs::read_to_string(source.join("obsflow.service"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let mut asked: Vec<&str> = line.context("no capabilities")?.split(' ').collect();
    let set = DaemonSet::render("least-privilege")?;
    let mut given: Vec<String> = set
        .capabilities()?
        .iter()
        .map(|name| format!("CAP_{name}"))
        .collect();
    asked.sort_unstable();
    given.sort_unstable();
    assert_eq!(asked, given);

    let config = source.join("agent.toml");
    let checked = obsflow(&["agent", "--check", "--config", config.to_str().context("UTF-8")?])?;
    assert!(checked.status.success(), "{checked:?}");

    // systemd looks whether the program is there.
    let unit = lab.dir().join("obsflow.service");
    let binary = tool::binary("obsflow")?.canonicalize()?;
    fs::write(
        &unit,
        text.replace("/usr/bin/obsflow", &binary.display().to_string()),
    )?;
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&unit)
        .output()
        .context("systemd-analyze comes with systemd: `cargo xtask setup` installs it")?;
    assert!(
        verified.status.success() && verified.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&verified.stderr)
    );
    Ok(())
}
