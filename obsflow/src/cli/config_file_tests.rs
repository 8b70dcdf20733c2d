//! Files that are good, and what is said of others.

use std::fs;
use std::path::Path;

use jiff::Timestamp;

use crate::cli::{LogFormat, parse_from};
use crate::config::{Agent, Command};
use crate::testing::TempDir;

fn run(text: &str, flags: &[&str]) -> Result<Agent, String> {
    let dir = TempDir::new();
    let path = dir.path().join("agent.toml");
    fs::write(&path, text).unwrap();
    let args = ["obsflow", "agent", "--config", path.to_str().unwrap()]
        .into_iter()
        .chain(flags.iter().copied());
    let shown = path.display().to_string();
    match parse_from(args, Timestamp::UNIX_EPOCH) {
        Ok(Command::Agent(agent)) => Ok(*agent),
        Ok(other) => panic!("another command: {other:?}"),
        Err(error) => Err(error.to_string().replace(&shown, "FILE")),
    }
}

const FILE: &str = r#"
listen = ["unix:///run/a.sock", "unix:///run/b.sock"]
health = "off"
log-format = "json"
ports = [4317, 19090]
ring-bytes = "4MiB"
attach = "root"
without-hook = ["drops", "tunnels"]

[[exporter]]
namespace = "monitoring"
pod = "prometheus-*"
endpoint = "http://mimir.monitoring:9009/api/v1/push"
transport = "remote-write"
signal = "metrics"
"#;

#[test]
fn a_file_says_what_flags_say() {
    let agent = run(FILE, &[]).unwrap();
    let listen: Vec<String> = agent
        .listen
        .iter()
        .map(|listen| listen.address.to_string())
        .collect();
    assert_eq!(listen, ["unix:///run/a.sock", "unix:///run/b.sock"]);
    assert_eq!(agent.health, None);
    assert_eq!(agent.log_format, LogFormat::Json);
    assert!(agent.live.ports.iter().eq(&[4317, 19090]));
    assert_eq!(agent.live.ring_bytes, 4 << 20);
    assert_eq!(agent.live.without_hooks.len(), 2);
    assert_eq!(agent.rules.len(), 1);
    // What it does not say is as usual.
    assert_eq!(agent.state.unwrap().to_str(), Some("/var/lib/obsflow/state.json"));
    assert_eq!(agent.live.log_level, log::LevelFilter::Info);
}

#[test]
fn flags_win() {
    let flags = [
        "--listen",
        "unix:///run/c.sock",
        "--health=127.0.0.1:1",
        "--ports",
        "1,2",
        "--without-hook",
        "connect",
        "--log-level=debug",
    ];
    let agent = run(FILE, &flags).unwrap();
    assert_eq!(agent.listen.len(), 1);
    assert_eq!(agent.health, Some("127.0.0.1:1".parse().unwrap()));
    assert!(agent.live.ports.iter().eq(&[1, 2]));
    assert_eq!(agent.live.without_hooks.len(), 1);
    assert_eq!(agent.live.log_level, log::LevelFilter::Debug);
    assert_eq!(agent.live.ring_bytes, 4 << 20);
}

#[test]
fn metrics_are_off_unless_it_says_where() {
    assert!(run(FILE, &[]).unwrap().metrics.is_none());
    let text = "metrics = \"[::]:9968\"\nmetrics-pod-label = \"on\"\nmetrics-tls-cert = \"/c\"\n";
    let metrics = run(text, &["--metrics-tls-key=/k"]).unwrap().metrics.unwrap();
    assert_eq!(metrics.address, "[::]:9968".parse().unwrap());
    assert!(metrics.pod_label);
    assert_eq!(metrics.tls.unwrap().key.to_str(), Some("/k"));
    let error = run(text, &[]).unwrap_err();
    assert!(error.contains("--metrics-tls-key is missing"), "{error}");
    let error = run("metrics = \"9968\"\n", &[]).unwrap_err();
    assert!(error.contains("write 0.0.0.0:9968"), "{error}");
}

#[test]
fn an_empty_file_says_nothing() {
    let agent = run("# nothing\n", &["--check"]).unwrap();
    assert!(agent.is_check);
    assert_eq!(agent.listen[0].address.to_string(), crate::api::DEFAULT);
    assert_eq!(agent.live.ports.len(), 14);
}

#[test]
fn each_mistake_names_its_line() {
    let files = [
        "a = = b\n",
        "# first\nlisten = [\"unix:///x\"\nstate = \"off\"\n",
        "\nlissten = [\"unix:///x\"]\n",
        "state = \"off\"\nconfig = \"other.toml\"\n",
        "check = true\n",
        "\n\n\"a\\u001bb\" = 1\n",
        "listen = \"tcp://agent:1\"\n",
        "listen = \"tls:///run/x\"\n",
        "flows = 0\n",
        "events = \"yes\"\n",
        "flows-age = \"long\"\n",
        "peer = [\"node-2\"]\n",
        "peers-service = \"agents\"\n",
        "listen = []\n",
        "state = \"off\"\nhealth = 9969\n",
        "health = 9969.5\n",
        "health = { port = 1 }\n",
        "health = [\"off\"]\n",
        "ports = [\"otlp\"]\n",
        "ports = [70000]\n",
        "ring-bytes = 5\n",
        "log-level = \"loud\"\n",
        "log-format = \"xml\"\n",
        "without-hook = [\"everything\"]\n",
        "state = \"off\"\nstate = \"off\"\n",
        "ports = [53]\n",
        "exporter = 1\n",
        "[[exporter]]\nendpoint = \"http://x:1\"\n",
        "[[exporter]]\nnamespace = \"a\"\n",
        "[[exporter]]\nnamespace = \"a\"\nendpoint = \"http://x:1\"\ncolour = \"red\"\n",
        "[[exporter]]\nnamespace = \"a\"\nendpoint = \"http://x:1\"\nsignal = \"smells\"\n",
        "[exporters]\nnamespace = \"a\"\n",
    ];
    let said: Vec<String> = files
        .iter()
        .map(|text| match run(text, &[]) {
            Ok(_) => panic!("accepted: {text}"),
            Err(error) => error.trim_end().to_owned(),
        })
        .collect();
    for line in &said {
        assert!(line.starts_with("error: FILE"), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
    }
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn files_that_are_none() {
    let error = |path: &str| {
        parse_from(["obsflow", "agent", "--config", path], Timestamp::UNIX_EPOCH)
            .unwrap_err()
            .to_string()
    };
    assert!(error("/nowhere/agent.toml").contains("cannot read the configuration file /nowhere/agent.toml"));
    assert!(error("/").contains("cannot read"));
    assert!(error("/dev/zero").contains("longer than 1 MiB"));
    let dir = TempDir::new();
    let path = dir.path().join("latin");
    fs::write(&path, b"health = \"\xe9\"").unwrap();
    assert!(error(path.to_str().unwrap()).contains("not UTF-8"));
}

#[test]
fn other_machines_get_tls_or_somebody_said_that_they_do_not() {
    let tls = "tls-cert = \"/c\"\ntls-key = \"/k\"\n";
    let agent = run(
        &format!("listen = \"tcp://10.0.0.1:1\"\n{tls}tls-client-ca = \"/ca\"\n"),
        &[],
    )
    .unwrap();
    let files = agent.listen[0].tls.as_ref().unwrap();
    assert_eq!(files.client_ca.as_deref().and_then(Path::to_str), Some("/ca"));
    // Of this machine's own sockets only those that ask for it.
    let agent = run(
        &format!("listen = [\"unix:///run/x\", \"tcp://127.0.0.1:1\", \"tls://127.0.0.1:2\"]\n{tls}"),
        &[],
    );
    let with_tls: Vec<_> = agent
        .unwrap()
        .listen
        .iter()
        .map(|listen| listen.tls.is_some())
        .collect();
    assert_eq!(with_tls, [false, false, true]);
    assert!(run("listen = \"tcp://10.0.0.1:1\"\nallow-plain-text = true\n", &[]).is_ok());
    for (text, expected) in [
        ("listen = \"tcp://10.0.0.1:1\"\n".to_owned(), "--allow-plain-text"),
        (
            "listen = \"tls://127.0.0.1:1\"\n".to_owned(),
            "tls:// needs a certificate",
        ),
        (
            "listen = \"tls://127.0.0.1:1\"\ntls-cert = \"/c\"\n".to_owned(),
            "--tls-key is missing",
        ),
        (tls.to_owned(), "--tls-cert is for ports"),
        (
            "tls-client-ca = \"/c\"\n".to_owned(),
            "--tls-client-ca is for ports",
        ),
    ] {
        let error = run(&text, &[]).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn switches_are_true_or_false() {
    assert!(run("events = true\n", &[]).unwrap().events);
    assert!(!run("events = false\n", &[]).unwrap().events);
}

#[test]
fn peers_have_names_and_ports() {
    let agent = run(
        "peer = [\"a=192.0.2.1:4244\", \"b=[2001:db8::1]:4244\"]\npeers-service = \"obsflow/agents\"\n",
        &[],
    )
    .unwrap();
    let peers: Vec<_> = agent.flows.peers.values().map(|place| &*place.address).collect();
    assert_eq!(peers, ["192.0.2.1:4244", "[2001:db8::1]:4244"]);
    assert_eq!(
        agent.live.cluster.agents,
        Some(("obsflow".to_owned(), "agents".to_owned()))
    );
    assert_eq!(
        (agent.flows.limits.entries, agent.flows.limits.bytes),
        (65_535, 65_535 * 384)
    );
    for wrong in [
        "a",
        "=x:1",
        "a=x",
        "a=x:0",
        "a=x:70000",
        "a=:1",
        "a=2001:db8::1:4244",
        "a=x y:1",
    ] {
        let error = run(&format!("peer = [\"{wrong}\"]\n"), &[]).unwrap_err();
        assert!(error.contains("is no peer"), "{wrong}: {error}");
    }
    let error = run("peer = [\"a=x:1\", \"a=y:1\"]\n", &[]).unwrap_err();
    assert!(error.contains("a is there twice"), "{error}");
    let error = run("peers-service = \"a/b\"\nkubernetes = \"off\"\n", &[]).unwrap_err();
    assert!(error.contains("--peers-service and --kubernetes off"), "{error}");
}
