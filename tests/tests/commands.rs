//! The command line, on live traffic.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use anyhow::Result;
use obsflow_tests::scenario::{Echo, connect, says};
use obsflow_tests::tool::binary;
use obsflow_tests::wait::{SOON, until};
use obsflow_tests::{Flow, Lab, Proc};

/// `obsflow observe … | jq 'select(.flow.l7.dns.rcode==3)'`
#[test]
fn jq_selects_what_does_not_exist() -> Result<()> {
    let lab = Lab::new()?;
    lab.dns().add("exists.example", &["192.0.2.7".parse()?])?;
    let pod = lab.pod("checkout")?;
    let observe = lab.obsflow_command("observe")?;
    let words: Vec<_> = std::iter::once(observe.get_program())
        .chain(observe.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let mut pipe = Command::new("sh");
    let select = "select(.flow.l7.dns.rcode==3)";
    pipe.args([
        "-c",
        &format!("{} -o json | jq --unbuffered -c '{select}'", words.join(" ")),
    ]);
    let pipe = Proc::start(pipe)?;
    pipe.err()
        .find(SOON, |line| line.contains("attached").then_some(()));
    let server = format!("{}:53", lab.dns().pod.v4);
    assert_eq!(
        says(&pod, &["query", &server, "exists.example", "A"])?["rcode"],
        0
    );
    assert_eq!(
        says(&pod, &["query", &server, "nowhere.example", "A"])?["rcode"],
        3
    );
    let is_it = |flow: &Flow| flow.question() == "nowhere.example" && flow.of_pod(&pod.name);
    pipe.line("the NXDOMAIN", SOON, |line| Flow::parse(line).filter(is_it))?;
    let others = pipe
        .out()
        .all()
        .into_iter()
        .filter_map(|line| Flow::parse(&line))
        .filter(|flow| flow.rcode() != 3);
    assert_eq!(others.count(), 0);
    Ok(())
}

/// The workflow of `hubble observe --from-pod apps/xplane-image-gallery --to-port 8428`.
#[test]
fn filters_answer_what_they_are_asked() -> Result<()> {
    let lab = Lab::new()?;
    let metrics = Echo::start(&lab, 8428)?;
    let traces = Echo::start(&lab, 10428)?;
    let pods = lab.pods(vec!["apps/xplane-image-gallery".into(), "apps/checkout".into()])?;
    let obsflow = lab.observe(&["--from-pod", "apps/xplane-image-gallery", "--to-port", "8428"])?;
    for pod in &pods {
        for to in [traces.v4(), metrics.v4(), metrics.v6()] {
            assert_eq!(connect(pod, to, 5000)?["result"], "established");
        }
    }
    // No sentinel gets through these filters: the last connect that does is one.
    let last = SocketAddr::new(metrics.v6().ip(), 8428);
    assert_eq!(
        says(&pods[0], &["connect", &last.to_string(), "--how", "blocking"])?["result"],
        "established"
    );
    until("the last connection", SOON, || {
        let ends = obsflow
            .all(|flow| flow.event() == "closed" && flow.from(&pods[0]))
            .len();
        Ok((ends == 3).then_some(()))
    })?;
    obsflow.never("a flow that was not asked for", |flow| {
        !flow.from(&pods[0]) || !flow.has_port(8428)
    })?;
    obsflow.stop()
}

#[test]
fn a_second_one_on_the_same_cgroup_says_so_and_ends() -> Result<()> {
    let lab = Lab::new()?;
    let obsflow = lab.observe(&[])?;
    let mut second = Proc::start(lab.obsflow_command("observe")?)?;
    assert_eq!(second.wait(SOON)?.code(), Some(1));
    second
        .err()
        .find(SOON, |line| line.contains("another obsflow").then_some(()))
        .unwrap();
    // The first one never noticed.
    obsflow.sentinel()?;
    obsflow.stop()
}

#[test]
fn status_says_what_is_attached() -> Result<()> {
    let lab = Lab::new()?;
    let mut command = lab.obsflow_command("status")?;
    let output = command.args(["-o", "json"]).output()?;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let hooks = status["hooks"].as_array().unwrap();
    let state = |name: &str| {
        hooks
            .iter()
            .find(|hook| hook["name"] == name)
            .map(|hook| hook["state"].clone())
    };
    for name in ["tcp", "connect", "packets", "drops"] {
        assert_eq!(state(name), Some("attached".into()), "{status}");
    }
    Ok(())
}

/// What was recorded replays as it was seen, names included, when everything that could be asked is gone.
#[test]
fn a_record_replays_after_the_lab_is_gone() -> Result<()> {
    let lab = Lab::new()?;
    let metrics = Echo::start(&lab, 8428)?;
    let pod = lab.pod("apps/checkout")?;
    let file = std::env::temp_dir().join(format!("obsflow-{}.capture", pod.name));
    let mut command = lab.obsflow_command("record")?;
    command.arg(&file);
    let mut record = Proc::start(command)?;
    record
        .err()
        .find(SOON, |line| line.contains("attached").then_some(()))
        .unwrap();
    lab.dns().add("metrics.example", &[metrics.v4().ip()])?;
    let said = says(&pod, &["dial", "metrics.example", "8428", "--deadline", "5000"])?;
    assert_eq!(said["result"], "established");
    let refused = SocketAddr::new(metrics.v4().ip(), 4317);
    assert_eq!(connect(&pod, refused, 5000)?["errno"], libc::ECONNREFUSED);
    assert!(record.stop(SOON)?.success(), "{:?}", record.err().all());
    assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    let (name, to) = (pod.name.clone(), metrics.v4());
    drop(lab);
    let mut replay = Command::new(binary("obsflow")?);
    let output = replay
        .arg("replay")
        .arg(&file)
        .args(["--all", "-o", "json"])
        .output()?;
    fs::remove_file(&file)?;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let flows: Vec<_> = String::from_utf8(output.stdout)?
        .lines()
        .filter_map(Flow::parse)
        .collect();
    let of_pod =
        |flow: &&Flow| flow.text("/source/pod_name") == name && flow.text("/source/namespace") == "apps";
    let find = |event: &str| flows.iter().filter(of_pod).find(|flow| flow.event() == event);
    assert_eq!(
        find("lookup").unwrap().ext_text("/lookup/name"),
        "metrics.example"
    );
    let established = find("established").unwrap();
    assert!(established.to(to), "{established}");
    assert_eq!(
        established.text("/destination_names/0"),
        "metrics.example",
        "{established}"
    );
    assert_eq!(find("connect-failed").unwrap().outcome(), "refused");
    Ok(())
}
