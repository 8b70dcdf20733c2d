//! The command line, on live traffic.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::Result;
use obsflow_tests::scenario::{Echo, connect, says};
use obsflow_tests::wait::{SOON, until};
use obsflow_tests::{Flow, Lab, Proc};

/// `obsflow observe … | jq 'select(.flow.l7.dns.rcode==3)'`
#[test]
fn jq_selects_what_does_not_exist() -> Result<()> {
    let lab = Lab::new()?;
    lab.dns().add("exists.example", &["192.0.2.7".parse()?])?;
    let pod = lab.pod("checkout")?;
    let observe = lab.obsflow_command()?;
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
