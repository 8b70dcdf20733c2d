//! `obsflow agent`: what it serves, what it remembers, how it begins and ends.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use obsflow::api::{Client, ClientError, Next, Reported};
use obsflow::model::verdict::{Export, VerdictId};
use obsflow_tests::server::otlp::{self, Collector, Sdk, Transport};
use obsflow_tests::wait::{SOON, until};
use obsflow_tests::{Lab, Pod, Proc};
use rustix::process::Signal;
use serde_json::Value;

/// The Collector's name, with a letter missing.
const TYPO: &str = "otel-colector.observability";
/// The time an agent has to end.
const END: Duration = Duration::from_secs(5);
/// A verdict opens, and is logged, when its container is a minute old: until then it may still come up.
const OPENS: Duration = Duration::from_secs(100);

/// A folder for sockets and state that goes with its guard.
struct Folder(PathBuf);

impl Folder {
    fn new(lab: &Lab) -> Result<Self> {
        let name = lab.node(0)?.cgroup.display().to_string().replace('/', "-");
        let folder = std::env::temp_dir().join(format!("obsflow-agent{name}"));
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn address(&self, name: &str) -> String {
        format!("unix://{}", self.path(name).display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An agent on node 0 with a socket and a state file in the folder, its log in JSON.
fn command(lab: &Lab, folder: &Folder) -> Result<Command> {
    let mut command = lab.obsflow_command("agent")?;
    command
        .args(["--log-format", "json", "--health", "127.0.0.1:0"])
        .arg("--listen")
        .arg(folder.address("run/agent.sock"))
        .arg("--state")
        .arg(folder.path("lib/state.json"));
    Ok(command)
}

/// A line of an agent's log that has this message.
fn said(agent: &Proc, message: &str, deadline: Duration) -> Result<Value> {
    agent
        .err()
        .find(deadline, |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["message"] == message).then_some(line)
        })
        .with_context(|| format!("the agent did not say {message:?}: {:?}", agent.err().all()))
}

/// What an HTTP server answers: the status code and the body.
fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let code = answer.split(' ').nth(1).context("no status")?.parse()?;
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    Ok((code, body.to_owned()))
}

/// Starts an agent and waits until it is ready.
fn start(lab: &Lab, folder: &Folder) -> Result<(Proc, SocketAddr)> {
    let agent = Proc::start(command(lab, folder)?)?;
    let line = said(&agent, "serving /healthz and /readyz", SOON)?;
    let health: SocketAddr = line["address"].as_str().context("no address")?.parse()?;
    until("a ready agent", SOON, || {
        Ok((get(health, "/readyz")?.0 == 200).then_some(()))
    })?;
    Ok((agent, health))
}

/// The export of a pod with this verdict, as soon as the agent says so.
fn wait_for(client: &mut Client, pod: &Pod, verdict: VerdictId) -> Result<(Export, Reported)> {
    until(format!("{verdict} of {}", pod.name), SOON, || {
        let reported = client.report()?;
        let export = reported
            .report
            .exports
            .iter()
            .find(|export| {
                export.verdict == verdict && export.workload.pod.as_deref() == Some(pod.name.as_str())
            })
            .cloned();
        Ok(export.map(|export| (export, reported)))
    })
}

/// SIGTERM: it ends well, and soon.
fn end(mut agent: Proc) -> Result<()> {
    let began = Instant::now();
    let status = agent.stop(SOON)?;
    assert_eq!(status.code(), Some(0), "{:?}", agent.err().all());
    assert!(began.elapsed() < END, "it took {:?}", began.elapsed());
    Ok(())
}

fn mode(path: &Path) -> Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o777)
}

#[test]
fn it_serves_remembers_and_leaves() -> Result<()> {
    let lab = Lab::new()?;
    let folder = Folder::new(&lab)?;
    let _collector = Collector::start(&lab, "observability", "otel-collector")?;
    let (agent, health) = start(&lab, &folder)?;
    assert_eq!(get(health, "/healthz")?, (200, "ok".to_owned()));
    assert_eq!(get(health, "/")?.0, 404);
    let socket = folder.path("run/agent.sock");
    assert_eq!((mode(&socket)?, mode(&folder.path("run"))?), (0o660, 0o755));

    let pod = lab.pod("apps/catalog")?;
    let _exporter = otlp::export(
        &pod,
        Sdk::Rust,
        Transport::Http,
        TYPO,
        100_000,
        Duration::from_millis(500),
    )?;
    let mut client = Client::connect(&folder.address("run/agent.sock"))?;
    let (first, reported) = wait_for(&mut client, &pod, VerdictId::DnsNxdomain)?;
    assert!(first.written.contains(TYPO), "{first:?}");
    assert_eq!(first.workload.namespace.as_deref(), Some("apps"));
    let opened = said(&agent, "verdict opened", OPENS)?;
    assert_eq!(opened["verdict"], "dns-nxdomain", "{opened}");
    assert_eq!(opened["workload"], pod.path(), "{opened}");
    assert_eq!(
        opened["since"],
        reported.clock.wall(first.since).to_string(),
        "{opened}"
    );

    // `status` shows what the agent sees instead of attaching beside it.
    let mut status = Command::new(obsflow_tests::tool::binary("obsflow")?);
    status
        .args(["status", "-o", "json", "--server"])
        .arg(folder.address("run/agent.sock"));
    let status: Value = serde_json::from_slice(&status.output()?.stdout)?;
    assert_eq!(status["agent"], folder.address("run/agent.sock"), "{status}");
    assert_eq!(status["another_runs"], false, "{status}");
    assert!(status["events"]["decoded"].as_u64() > Some(0), "{status}");

    let mut doctor = Command::new(obsflow_tests::tool::binary("obsflow")?);
    doctor
        .args(["doctor", "-o", "json", "apps/catalog", "--server"])
        .arg(folder.address("run/agent.sock"));
    let doctor = doctor.output()?;
    assert_eq!(doctor.status.code(), Some(1), "{doctor:?}");
    let report: Value = serde_json::from_slice(&doctor.stdout)?;
    assert_eq!(report["exports"][0]["verdict"], "dns-nxdomain", "{report}");

    // A watcher gets the last report and an end.
    let mut reports = client.watch()?;
    assert!(matches!(reports.next_within(SOON)?, Next::Report(_)));
    end(agent)?;
    let began = Instant::now();
    while !matches!(reports.next_within(SOON)?, Next::Ended) {
        assert!(began.elapsed() < SOON);
    }
    assert!(!socket.exists());
    assert!(matches!(
        Client::connect(&folder.address("run/agent.sock")),
        Err(ClientError::NoAgent(_))
    ));
    let state = folder.path("lib/state.json");
    assert_eq!(mode(&state)?, 0o600);
    let text = fs::read_to_string(&state)?;
    assert!(text.contains("dns-nxdomain"), "{text}");

    // The next one remembers since when it holds.
    let (agent, _) = start(&lab, &folder)?;
    let mut client = Client::connect(&folder.address("run/agent.sock"))?;
    let (again, later) = wait_for(&mut client, &pod, VerdictId::DnsNxdomain)?;
    assert_eq!(again.id, first.id);
    let (before, after) = (reported.clock.wall(first.since), later.clock.wall(again.since));
    // Two processes look at the wall clock at two moments.
    let apart = before.duration_since(after).unsigned_abs();
    assert!(apart < Duration::from_millis(500), "{before} is not {after}");
    drop(client);
    end(agent)
}

/// Starts a command that must end by itself, with one last line about why.
fn refused(mut command: Command, words: &[&str]) -> Result<()> {
    command.args(["--log-format", "text"]);
    let output = command.output()?;
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    let last = err.lines().last().unwrap_or_default();
    assert!(last.starts_with("obsflow: "), "{err}");
    for word in words {
        assert!(last.contains(word), "{word} is missing in {err}");
    }
    Ok(())
}

/// An agent with other places than those of [`command`].
fn elsewhere(lab: &Lab, listen: &str, health: &str) -> Result<Command> {
    let mut command = lab.obsflow_command("agent")?;
    command.args(["--state", "off", "--listen", listen, "--health", health]);
    Ok(command)
}

#[test]
fn what_is_taken_is_said() -> Result<()> {
    let lab = Lab::new()?;
    let folder = Folder::new(&lab)?;
    let (mut agent, health) = start(&lab, &folder)?;
    let (socket, other) = (folder.address("run/agent.sock"), folder.address("other.sock"));
    // The same cgroup, the same socket, the same port.
    refused(elsewhere(&lab, &other, "off")?, &["another obsflow watches"])?;
    assert!(!folder.path("other.sock").exists());
    refused(
        elsewhere(&lab, &socket, "off")?,
        &["another process listens at", "--listen"],
    )?;
    refused(
        elsewhere(&lab, &other, &health.to_string())?,
        &["cannot serve /healthz", "in use", "--health"],
    )?;
    // Somebody else's file.
    fs::write(folder.path("file"), "mine")?;
    refused(
        elsewhere(&lab, &folder.address("file"), "off")?,
        &["exists and is no socket", "--listen"],
    )?;
    assert_eq!(fs::read_to_string(folder.path("file"))?, "mine");
    refused(
        elsewhere(&lab, &folder.address("file/below"), "off")?,
        &["cannot make the folder"],
    )?;
    // The first one never noticed.
    assert_eq!(get(health, "/readyz")?.0, 200);

    // Killed, it leaves its socket; the next one takes the place.
    agent.signal(Signal::KILL)?;
    agent.wait(SOON)?;
    let file = folder.path("run/agent.sock");
    assert!(fs::symlink_metadata(&file)?.file_type().is_socket());
    assert!(matches!(Client::connect(&socket), Err(ClientError::Stale(_))));
    let (agent, _) = start(&lab, &folder)?;
    Client::connect(&socket)?.status()?;
    end(agent)?;
    assert!(!file.exists());
    Ok(())
}

#[test]
fn a_damaged_memory_is_kept_aside() -> Result<()> {
    let lab = Lab::new()?;
    let folder = Folder::new(&lab)?;
    let state = folder.path("lib/state.json");
    fs::create_dir_all(folder.path("lib"))?;
    fs::write(&state, "{\"format\":1,\"saved\":{\"expo")?;
    let (agent, _) = start(&lab, &folder)?;
    let warned = agent
        .err()
        .all()
        .into_iter()
        .find(|line| line.contains("of no use"));
    let warned = warned.context("it said nothing")?;
    assert!(warned.contains("state.json.bad"), "{warned}");
    end(agent)?;
    assert!(fs::read_to_string(folder.path("lib/state.json.bad"))?.ends_with("expo"));
    let kept: Value = serde_json::from_str(&fs::read_to_string(&state)?)?;
    assert_eq!(kept["format"], 1);
    Ok(())
}

#[test]
fn a_configuration_file_is_checked() -> Result<()> {
    let lab = Lab::new()?;
    let folder = Folder::new(&lab)?;
    let file = folder.path("agent.toml");
    let check = |text: &str| -> Result<(Option<i32>, String)> {
        fs::write(&file, text)?;
        let mut command = Command::new(obsflow_tests::tool::binary("obsflow")?);
        let output = command
            .args(["agent", "--check", "--config"])
            .arg(&file)
            .output()?;
        let both = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&both).into_owned()))
    };
    let (code, said) = check(
        "listen = [\"unix:///run/x.sock\"]\n\n[[exporter]]\nunit = \"alloy.service\"\nendpoint = \"http://loki:3100/loki/api/v1/push\"\n",
    )?;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = check("listen = [\"unix:///run/x.sock\"]\nhaelth = \"off\"\n")?;
    assert_eq!(code, Some(2), "{said}");
    if !said.contains(&format!("{}:2: unknown key `haelth`", file.display())) {
        bail!("{said}");
    }
    Ok(())
}
