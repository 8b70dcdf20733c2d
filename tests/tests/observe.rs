//! `obsflow observe` asks an agent: the workflow of a person who looks for the traffic of one pod to one port.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result};
use obsflow_tests::app::{self, Env};
use obsflow_tests::server::otlp::{Collector, Setup};
use obsflow_tests::server::tls::{Authority, Identity};
use obsflow_tests::wait::{SOON, until};
use obsflow_tests::{Lab, PodSpec, Proc, tool};
use serde_json::Value;

const METRICS: &str = "vmsingle-victoria-metrics-k8s-stack";
/// How long a verdict may take to be made of what a container is set to export.
const KNOWN: std::time::Duration = std::time::Duration::from_secs(60);

/// A folder for a socket that goes with its guard.
struct Folder(PathBuf);

impl Folder {
    fn new(lab: &Lab) -> Result<Self> {
        let name = lab.node(0)?.cgroup.display().to_string().replace('/', "-");
        let folder = std::env::temp_dir().join(format!("obsflow-observe{name}"));
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    fn address(&self) -> String {
        format!("unix://{}", self.0.join("agent.sock").display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn agent(lab: &Lab, folder: &Folder) -> Result<Proc> {
    agent_with(lab, folder, &[])
}

fn agent_with(lab: &Lab, folder: &Folder, arguments: &[&str]) -> Result<Proc> {
    let mut command = lab.obsflow_command("agent")?;
    command
        .args([
            "--log-format",
            "json",
            "--health",
            "off",
            "--state",
            "off",
            "--listen",
        ])
        .arg(folder.address())
        .args(arguments);
    let agent = Proc::start(command)?;
    agent
        .err()
        .find(SOON, |line| line.contains("attached").then_some(()))
        .with_context(|| format!("the agent did not attach: {:?}", agent.err().all()))?;
    until("a socket", SOON, || {
        Ok(folder.0.join("agent.sock").exists().then_some(()))
    })?;
    Ok(agent)
}

fn obsflow(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(tool::binary("obsflow")?);
    command.args(arguments);
    Ok(command)
}

/// `obsflow observe`, asking the agent of the folder.
fn observe(folder: &Folder, arguments: &[&str]) -> Result<Output> {
    let mut command = obsflow(&["observe", "--server", &folder.address()])?;
    Ok(command.args(arguments).output()?)
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The environment of the write-up's pod, with an interval that a scenario can wait for.
fn gallery() -> Env {
    Env::new()
        .set("OTEL_SERVICE_NAME", "image-gallery")
        .set("OTEL_METRIC_EXPORT_INTERVAL", "1000")
        .set("OTEL_TRACES_EXPORTER", "none")
        .set(
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            &format!("http://{METRICS}.observability:8428/opentelemetry/v1/metrics"),
        )
}

/// The question of incident A3, flag by flag, of a pod that sends and of one that never does.
#[test]
fn the_same_flags_give_the_same_answer_without_cilium() -> Result<()> {
    let lab = Lab::new()?;
    let folder = Folder::new(&lab)?;
    let _agent = agent(&lab, &folder)?;
    let victoria = Setup::http(&[8428]).option("paths=victoria");
    let _metrics = Collector::start_as(&lab, "observability", METRICS, victoria)?;
    let user = lab.pod(PodSpec::new("users/browser").node(1))?;
    let pods = lab.pods(vec!["apps/xplane-image-gallery".into(), "apps/twin".into()])?;
    let _services = [
        app::image_gallery(&pods[0], &gallery(), true)?,
        app::image_gallery(&pods[1], &gallery(), false)?,
    ];
    let _visitors = [
        app::visitor(&user, &pods[0], 100)?,
        app::visitor(&user, &pods[1], 100)?,
    ];

    // Traffic, when there is some.
    let question = ["--from-pod", "apps/twin", "--to-port", "8428", "--since", "2m"];
    let lines = until("traffic to 8428", SOON, || {
        let output = observe(&folder, &question)?;
        assert!(output.status.success(), "{}", err(&output));
        let lines = out(&output);
        Ok(lines.contains("POST /opentelemetry/v1/metrics").then_some(lines))
    })?;
    for line in lines.lines() {
        assert!(
            line.contains(&format!("apps/{} ", pods[1].name))
                || line.contains(&format!("apps/{}:", pods[1].name)),
            "{line}"
        );
        assert!(line.contains(":8428 "), "{line}");
        assert!(line.contains(" -> "), "{line}");
    }
    // The same as JSON, for scripts.
    let json = out(&observe(&folder, &[&question[..], &["-o", "json"]].concat())?);
    for line in json.lines() {
        let response: Value = serde_json::from_str(line)?;
        assert_eq!(
            response["flow"]["source"]["pod_name"],
            pods[1].name.as_str(),
            "{line}"
        );
        assert_eq!(response["flow"]["emitter"]["name"], "obsflow", "{line}");
    }

    // And when there is none: what is known of the silence.
    let question = [
        "--from-pod",
        "apps/xplane-image-gallery",
        "--to-port",
        "8428",
        "--since",
        "2m",
    ];
    let hint = until("what is known of the silence", KNOWN, || {
        let output = observe(&folder, &question)?;
        assert!(output.status.success(), "{}", err(&output));
        assert_eq!(out(&output), "");
        let hint = err(&output);
        Ok(hint.contains("never tried").then_some(hint))
    })?;
    assert!(
        hint.starts_with("obsflow: 0 flows; watching this pod for "),
        "{hint}"
    );
    let end = format!(
        "; it is configured for 8428 and never tried: see obsflow doctor apps/{}",
        pods[0].name
    );
    assert!(hint.trim_end().ends_with(&end), "{hint}");
    // Nobody hears of it who does not want to.
    let silent = observe(&folder, &[&question[..], &["-s"]].concat())?;
    assert_eq!((out(&silent), err(&silent)), (String::new(), String::new()));
    Ok(())
}

/// What an agent keeps, asked in every way: the newest, the oldest, from now on, through a file.
#[test]
fn what_is_kept_is_asked_for_in_every_way() -> Result<()> {
    let lab = Lab::new()?;
    let folder = Folder::new(&lab)?;
    let mut agent = agent(&lab, &folder)?;
    let pod = lab.pod("apps/checkout")?;
    let nowhere = "192.0.2.1:4317".to_owned();
    let follow = Proc::start({
        let mut command = obsflow(&["observe", "--server", &folder.address(), "--follow", "-o", "json"])?;
        command.args(["--from-pod", "apps/checkout"]);
        command
    })?;
    for _ in 0..3 {
        obsflow_tests::scenario::says(&pod, &["connect", &nowhere, "--deadline", "300"])?;
    }
    let attempts = ["--from-pod", "apps/checkout", "--to-port", "4317", "-o", "json"];
    let all = until("three attempts", SOON, || {
        let output = observe(&folder, &[&attempts[..], &["--all"]].concat())?;
        let lines: Vec<String> = out(&output).lines().map(str::to_owned).collect();
        // Each attempt, and what became of it; nothing comes behind that.
        let is = |event: &str| lines.iter().filter(|line| line.contains(event)).count();
        let whole = is("\"event\":\"attempt\"") == 3 && is("\"event\":\"connect-failed\"") == 3;
        Ok(whole.then_some(lines))
    })?;
    follow
        .out()
        .find(SOON, |line| line.contains("\"event\":\"attempt\"").then_some(()))
        .context("a follower saw no attempt")?;

    let of = |more: &[&str]| -> Result<Vec<String>> {
        let output = observe(&folder, &[&attempts[..], more].concat())?;
        assert!(output.status.success(), "{more:?}: {}", err(&output));
        Ok(out(&output).lines().map(str::to_owned).collect())
    };
    assert_eq!(of(&["--last", "1"])?, all[all.len() - 1..]);
    assert_eq!(of(&["--first", "2"])?, all[..2]);
    assert_eq!(of(&["--since", "10m"])?, all);
    assert_eq!(of(&["--until", "10m"])?, Vec::<String>::new());
    let masked = of(&["--last", "1", "--field-mask", "verdict,source.pod_name"])?;
    let masked: Value = serde_json::from_str(masked.first().context("a flow")?)?;
    assert_eq!(masked["flow"]["source"]["pod_name"], pod.name.as_str());
    assert!(masked["flow"].get("Summary").is_none(), "{masked}");

    // What was printed can be read again, by the same filters and as any format.
    let printed = all.join("\n") + "\n";
    let file = folder.0.join("flows.json");
    fs::write(&file, &printed)?;
    let read = obsflow(&["observe", "--input-file"])?
        .arg(&file)
        .args(["-o", "json"])
        .output()?;
    assert_eq!(out(&read), printed, "{}", err(&read));
    let mut filtered = obsflow(&[
        "observe",
        "--input-file",
        "-",
        "--last",
        "1",
        "--verdict",
        "FORWARDED",
    ])?
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()?;
    let mut input = filtered.stdin.take().context("no input")?;
    write!(input, "no flow\n{printed}")?;
    drop(input);
    let filtered = filtered.wait_with_output()?;
    assert_eq!(out(&filtered).lines().count(), 1, "{}", err(&filtered));
    assert!(
        err(&filtered).contains("line 1 of standard input is no flow"),
        "{}",
        err(&filtered)
    );

    // The server's own words, and what it is.
    let status = obsflow(&["status", "--server", &folder.address()])?.output()?;
    assert!(out(&status).contains("FLOWS         "), "{}", out(&status));
    let nodes = obsflow(&["list", "nodes", "--server", &folder.address()])?.output()?;
    assert!(
        out(&nodes).contains("Connected"),
        "{}{}",
        out(&nodes),
        err(&nodes)
    );
    let namespaces = obsflow(&["list", "namespaces", "--server", &folder.address()])?.output()?;
    assert!(
        out(&namespaces).contains("apps"),
        "{}{}",
        out(&namespaces),
        err(&namespaces)
    );
    let unknowable = observe(&folder, &["--identity", "world"])?;
    assert!(
        err(&unknowable).contains("obsflow's own flows have no identity"),
        "{}",
        err(&unknowable)
    );
    let cel = observe(&folder, &["--cel-expression", "true"])?;
    assert!(!cel.status.success());
    assert!(
        err(&cel).contains("CEL") && err(&cel).lines().count() == 1,
        "{}",
        err(&cel)
    );

    // A follower hears of the end.
    let status = agent.stop(SOON)?;
    assert_eq!(status.code(), Some(0));
    let gone = observe(&folder, &[])?;
    assert_eq!(gone.status.code(), Some(1));
    assert!(err(&gone).contains("obsflow agent"), "{}", err(&gone));
    Ok(())
}

/// An agent that serves other machines: by TLS, and only to who has a certificate.
#[test]
fn an_agent_is_asked_over_tls_by_whom_it_knows() -> Result<()> {
    const NAME: &str = "agent.obsflow.example";
    let lab = Lab::new()?;
    let folder = Folder::new(&lab)?;
    let authority = Authority::new(&lab, "authority")?;
    let (server, known) = (authority.issue(NAME)?, authority.issue("person.example")?);
    let path = |path: &PathBuf| path.display().to_string();
    let ca = path(&authority.identity.certificate);
    let listen = [
        "--listen=tls://127.0.0.1:0".to_owned(),
        format!("--tls-cert={}", path(&server.certificate)),
        format!("--tls-key={}", path(&server.key)),
        format!("--tls-client-ca={ca}"),
    ];
    let agent = agent_with(&lab, &folder, &listen.each_ref().map(String::as_str))?;
    let at = agent.err().find(SOON, |line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let at = line["address"].as_str()?.strip_prefix("tcp://")?;
        (line["tls"] == true).then(|| at.to_owned())
    });
    let at = at.with_context(|| format!("no port: {:?}", agent.err().all()))?;
    let pod = lab.pod("apps/checkout")?;
    obsflow_tests::scenario::says(&pod, &["connect", "192.0.2.1:4317", "--deadline", "100"])?;

    let ask = |what: &[&str], server: &[&str], by: &Authority, own: Option<&Identity>| -> Result<Output> {
        let mut command = obsflow(what)?;
        command.args(server).args(["--tls-server-name", NAME]);
        command.arg("--tls-ca-cert-files").arg(&by.identity.certificate);
        if let Some(own) = own {
            command.arg("--tls-client-cert-file").arg(&own.certificate);
            command.arg("--tls-client-key-file").arg(&own.key);
        }
        Ok(command.output()?)
    };
    let tls = format!("tls://{at}");
    let question = ["observe", "--from-pod", "apps/checkout", "--to-port", "4317"];
    for server in [&["--server", &*tls][..], &["--server", &*at, "--tls"]] {
        let lines = until("an attempt", SOON, || {
            let output = ask(&question, server, &authority, Some(&known))?;
            assert!(output.status.success(), "{}", err(&output));
            let lines = out(&output);
            Ok(lines.contains("TCP Flags: SYN").then_some(lines))
        })?;
        assert!(lines.contains(&format!("apps/{}:", pod.name)), "{lines}");
    }
    // Everything else that asks servers does it the same way.
    for what in [&["list", "nodes"][..], &["list", "namespaces"], &["status"]] {
        let output = ask(what, &["--server", &tls], &authority, Some(&known))?;
        assert!(output.status.success(), "{what:?}: {}", err(&output));
    }
    let output = ask(&question, &["--server", &tls], &authority, None)?;
    assert_eq!(output.status.code(), Some(1));
    let said = err(&output);
    assert_eq!(out(&output), "");
    assert!(
        said.contains("asks for a client's certificate") && said.lines().count() == 1,
        "{said}"
    );
    Ok(())
}

/// Whoever looks back further than anything is kept reads what was lost, and how old the oldest is.
#[test]
fn what_is_not_kept_any_more_is_said() -> Result<()> {
    let lab = Lab::new()?;
    let folder = Folder::new(&lab)?;
    let _agent = agent_with(&lab, &folder, &["--flows", "2"])?;
    let pod = lab.pod("apps/checkout")?;
    let beyond = until("more than is kept", SOON, || {
        obsflow_tests::scenario::says(&pod, &["connect", "192.0.2.1:4317", "--deadline", "100"])?;
        let output = observe(&folder, &["--since", "1h"])?;
        Ok(err(&output)
            .contains("the oldest flow that is kept is of ")
            .then_some(output))
    })?;
    let first = out(&beyond);
    let first = first.lines().next().context("a line")?;
    assert!(
        first.contains(" EVENTS LOST: HUBBLE_RING_BUFFER CPU(0) "),
        "{first}"
    );
    // Of what is there nothing was lost.
    let newest = observe(&folder, &["--last", "1"])?;
    assert!(!out(&newest).contains("EVENTS LOST"), "{}", out(&newest));
    assert_eq!(err(&newest), "");
    Ok(())
}
