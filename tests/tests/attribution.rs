//! Whose it was: always the right workload, or none.

use std::collections::HashMap;
use std::net::SocketAddr;

use anyhow::Result;
use obsflow_tests::lab::pod::Qos;
use obsflow_tests::scenario::{Echo, says};
use obsflow_tests::wait::SOON;
use obsflow_tests::{Driver, Lab, PodSpec, Runtime};

const PORT: u16 = 4318;

/// Every driver, runtime and class, 200 pods, everybody at once.
#[test]
fn two_hundred_pods_at_once() -> Result<()> {
    let lab = Lab::new()?;
    let echo = Echo::start(&lab, PORT)?;
    let drivers = [Driver::Systemd, Driver::Cgroupfs];
    let runtimes = [Runtime::Containerd, Runtime::Crio, Runtime::Docker];
    let classes = [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort];
    let specs = (0..200).map(|index| {
        let namespace = ["shop", "payments", "search"][index % 3];
        PodSpec::new(&format!("{namespace}/app-{index}"))
            .container(&format!("container-{index}"))
            .cgroups(
                drivers[index % 2],
                runtimes[index / 2 % 3],
                classes[index / 6 % 3],
            )
    });
    // Half of them are there before obsflow, half come after.
    let specs: Vec<_> = specs.collect();
    let mut pods = lab.pods(specs[..100].to_vec())?;
    let obsflow = lab.observe(&[])?;
    pods.extend(lab.pods(specs[100..].to_vec())?);
    let to = echo.both();
    let name = |index: usize| format!("question-{index}.example");
    let server = format!("{}:53", lab.dns().pod.v4);
    let mut tools = Vec::new();
    for (index, pod) in pods.iter().enumerate() {
        tools.push(pod.tool(["query", &server, &name(index), "A"])?);
        tools.push(pod.tool(["connect", &to[index % 2].to_string(), "--deadline", "10000"])?);
    }
    for tool in &tools {
        let said = tool.json("what became of it", SOON, |_| true)?;
        assert!(said["rcode"] == 3 || said["result"] == "established", "{said}");
    }
    for (index, pod) in pods.iter().enumerate() {
        obsflow.wait_for(&format!("the answer to {}", pod.name), |flow| {
            flow.event() == "dns-response" && flow.question() == name(index)
        })?;
        obsflow.closed(pod, to[index % 2])?;
    }
    obsflow.sentinel()?;
    let by_question: HashMap<String, usize> = (0..pods.len()).map(|index| (name(index), index)).collect();
    let by_ip: HashMap<String, usize> = pods
        .iter()
        .enumerate()
        .flat_map(|(index, pod)| pod.ips().map(|ip| (ip.to_string(), index)))
        .collect();
    let mut checked = 0;
    for flow in obsflow.all(|flow| flow.has_port(53) || flow.has_port(PORT)) {
        let ends = ["source", "destination"];
        let owner = by_question.get(flow.question()).or_else(|| {
            ends.iter()
                .find_map(|end| by_ip.get(flow.text(&format!("/IP/{end}"))))
        });
        let Some(pod) = owner.map(|index| &pods[*index]) else {
            continue;
        };
        let end = ends
            .iter()
            .find(|end| flow.text(&format!("/{end}/pod_name")) == pod.name);
        let end = end.unwrap_or_else(|| panic!("{} is not in {flow}", pod.name));
        assert_eq!(flow.text(&format!("/{end}/namespace")), pod.namespace, "{flow}");
        for (key, value) in [("pod_uid", &pod.uid), ("container_id", &pod.container_id)] {
            assert_eq!(flow.ext_text(&format!("/workload/{key}")), value, "{flow}");
        }
        checked += 1;
    }
    // A query and an answer, an attempt, its success and its end for each.
    assert!(checked >= 5 * pods.len(), "{checked} flows were checked");
    obsflow.stop()
}

#[test]
fn host_network_is_known_by_its_cgroup() -> Result<()> {
    let lab = Lab::new()?;
    let echo = Echo::start(&lab, PORT)?;
    let pods = lab.pods(vec![
        PodSpec::new("monitoring/node-exporter").host_network(),
        PodSpec::new("kube-system/agent").host_network(),
    ])?;
    for pod in &pods {
        lab.dns()
            .add(&format!("{}.example", pod.name), &["192.0.2.7".parse()?])?;
    }
    let obsflow = lab.observe(&[])?;
    for (pod, to) in pods.iter().zip(echo.both()) {
        says(
            pod,
            &[
                "query",
                &format!("{}:53", lab.dns().pod.v4),
                &format!("{}.example", pod.name),
                "A",
            ],
        )?;
        says(pod, &["connect", &to.to_string(), "--deadline", "5000"])?;
        obsflow.established(pod, to)?;
        obsflow.wait_for("its query", |flow| {
            flow.question() == format!("{}.example", pod.name) && flow.of_pod(&pod.name)
        })?;
        obsflow.quiet(pod)?;
    }
    obsflow.stop()
}

/// Gone before anybody could look at `/proc`.
#[test]
fn a_process_that_exits_within_5_ms_of_its_connect() -> Result<()> {
    let lab = Lab::new()?;
    let echo = Echo::start(&lab, PORT)?;
    let pods = lab.pods(
        (0..20)
            .map(|index| PodSpec::new(&format!("short-{index}")))
            .collect(),
    )?;
    let obsflow = lab.observe(&[])?;
    for (index, pod) in pods.iter().enumerate() {
        let to = echo.both()[index % 2];
        let mut tool = pod.tool(["connect", &to.to_string(), "--then", "exit"])?;
        assert!(tool.wait(SOON)?.success());
        let flow = obsflow.wait_for(&format!("the attempt of {}", pod.name), |flow| {
            flow.event() == "attempt" && flow.from(pod) && flow.to(to)
        })?;
        assert_eq!(flow.ext_text("/process/name"), "lab-tool", "{flow}");
        assert_eq!(flow.ext_number("/process/pid"), u64::from(tool.pid()), "{flow}");
    }
    for (index, pod) in pods.iter().enumerate() {
        let to: SocketAddr = echo.both()[index % 2];
        obsflow.wait_for(&format!("the end of what {} began", pod.name), |flow| {
            matches!(flow.event(), "closed" | "connect-failed") && flow.from(pod) && flow.to(to)
        })?;
    }
    obsflow.stop()
}

/// What is said of it later still has its name.
#[test]
fn a_pod_that_is_gone_before_it_is_spoken_of() -> Result<()> {
    let lab = Lab::new()?;
    let pod = lab.pod(PodSpec::new("jobs/report").resolv_options("ndots:1 timeout:1 attempts:1"))?;
    let obsflow = lab.observe(&["--dns-timeout", "3s"])?;
    let name = format!("collector.{}", obsflow_tests::server::dns::SILENT);
    assert_ne!(says(&pod, &["resolve", &name, "--family", "4"])?["gai"], 0);
    let (uid, full_name) = (pod.uid.clone(), pod.name.clone());
    pod.delete()?;
    let flow = obsflow.wait_for("the query of the pod that is gone", |flow| {
        flow.event() == "dns-unanswered" && flow.question() == name
    })?;
    assert_eq!(
        (flow.text("/source/pod_name"), flow.ext_text("/workload/pod_uid")),
        (&*full_name, &*uid),
        "{flow}"
    );
    obsflow.stop()
}
