//! The lab itself: what it makes is real, what it breaks is broken, and nothing of it stays.

use std::fs;
use std::net::{SocketAddr, SocketAddrV4};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use obsflow_tests::fault::{self, Answer, Fault, Hook, Transport};
use obsflow_tests::lab::pod::Qos;
use obsflow_tests::rewrite::Rewrite;
use obsflow_tests::scenario::{self, black_hole, says};
use obsflow_tests::server::{dns, otlp};
use obsflow_tests::wait::{SOON, until};
use obsflow_tests::{Driver, Lab, Pod, PodSpec, Proc, Runtime};
use serde_json::{Value, json};

fn connect(pod: &Pod, to: SocketAddr) -> Result<Value> {
    scenario::connect(pod, to, 5000)
}

/// Nobody answers for a while: that can only be seen by waiting a little.
fn vanishes(pod: &Pod, to: SocketAddr) -> Result<bool> {
    Ok(scenario::connect(pod, to, 400)?["result"] == "deadline")
}

#[test]
fn look_ups_end_in_every_way() -> Result<()> {
    let lab = Lab::new()?;
    lab.dns().add(
        "otel-collector.observability.svc.cluster.local",
        &["10.1.2.3".parse()?, "fd00::3".parse()?],
    )?;
    let pod = lab.pod("checkout")?;
    let short = says(&pod, &["resolve", "otel-collector.observability.svc"])?;
    assert_eq!(
        (&short["gai"], short["ips"].as_array().map(Vec::len)),
        (&json!(0), Some(2)),
        "{short}"
    );
    let noname = libc::EAI_NONAME;
    assert_eq!(
        says(&pod, &["resolve", "nowhere.observability.svc"])?["gai"],
        noname
    );
    let server = format!("{}:53", lab.dns().pod.v4);
    let rcode = |name: &str| says(&pod, &["query", &server, name, "A"]).map(|answer| answer["rcode"].clone());
    assert_eq!(rcode("nowhere.example")?, 3);
    assert_eq!(rcode(&format!("x.{}", dns::SERVFAIL))?, 2);
    assert_eq!(rcode(&format!("x.{}", dns::REFUSED))?, 5);
    assert_eq!(rcode(&format!("x.{}", dns::NODATA))?, 0);
    let wide = says(&pod, &["query", &server, dns::WIDE, "A"])?;
    assert_eq!(wide["truncated"], true, "{wide}");
    let wide = says(&pod, &["resolve", dns::WIDE, "--family", "4"])?;
    assert_eq!(
        wide["ips"].as_array().map(Vec::len),
        Some(dns::WIDE_ADDRESSES.into()),
        "over TCP"
    );
    let six = format!("[{}]:53", lab.dns().pod.v6);
    assert_eq!(
        says(&pod, &["query", &six, "nowhere.example", "AAAA", "--tcp"])?["rcode"],
        3
    );
    let burst = says(
        &pod,
        &["query", &server, "nowhere.example", "A", "--burst", "100"],
    )?;
    assert_eq!(burst["answered"], 100, "{burst}");
    let over6 = lab.pod(PodSpec::new("checkout6").dns_over_v6())?;
    assert_eq!(
        says(&over6, &["resolve", "otel-collector.observability"])?["gai"],
        0
    );
    lab.dns().stop();
    assert_eq!(
        says(&pod, &["query", &server, "x.example", "A"])?["errno"],
        libc::ECONNREFUSED
    );
    Ok(())
}

#[test]
fn silence_is_a_time_out() -> Result<()> {
    let lab = Lab::new()?;
    let pod = lab.pod(PodSpec::new("checkout").resolv_options("ndots:1 timeout:1 attempts:1"))?;
    let name = format!("x.{}", dns::SILENT);
    assert_eq!(says(&pod, &["resolve", &name])?["gai"], libc::EAI_AGAIN);
    lab.dns().pause()?;
    assert_eq!(
        says(&pod, &["resolve", "nowhere.example"])?["gai"],
        libc::EAI_AGAIN
    );
    lab.dns().resume()?;
    assert_eq!(
        says(&pod, &["resolve", "nowhere.example"])?["gai"],
        libc::EAI_NONAME
    );
    Ok(())
}

#[test]
fn connects_fail_as_they_are_told_and_heal() -> Result<()> {
    let lab = Lab::new()?;
    let pod = lab.pod("checkout")?;
    let server = lab.pod(PodSpec::new("observability/echo").node(1))?;
    let serving = server.tool(["serve", "[::]:4318"])?;
    serving.json("that it listens", SOON, |line| line["listening"] == true)?;
    let targets = server.ips().map(|ip| SocketAddr::new(ip, 4318));
    for to in targets {
        assert_eq!(connect(&pod, to)?["result"], "established", "{to}");
        let refused = connect(&pod, SocketAddr::new(to.ip(), 4317))?;
        assert_eq!(refused["errno"], libc::ECONNREFUSED, "{refused}");
    }
    let node = &lab.node(0)?.netns;
    let unanswered = json!("deadline");
    for netns in [&pod.netns, node, &server.netns] {
        let hook = if std::ptr::eq(netns, node) {
            Hook::Forward
        } else if std::ptr::eq(netns, &server.netns) {
            Hook::Input
        } else {
            Hook::Output
        };
        let broken = fault::apply(netns, Fault::Drop(hook, Transport::Tcp, 4318))?;
        for to in targets {
            assert!(vanishes(&pod, to)?, "{hook} {to}");
        }
        broken.heal()?;
    }
    for (answer, errno) in [
        (Answer::Reset, libc::ECONNREFUSED),
        (Answer::PortUnreachable, libc::ECONNREFUSED),
        (Answer::Prohibited, libc::EHOSTUNREACH),
    ] {
        let broken = fault::apply(node, Fault::Reject(Hook::Forward, Transport::Tcp, 4318, answer))?;
        let v4 = connect(&pod, targets[0])?;
        assert_eq!(v4["errno"], errno, "{answer:?} {v4}");
        // The ICMP error finds the socket in the middle of connect(2) and is noticed with the next SYN.
        let v6 = says(&pod, &["connect", &targets[1].to_string(), "--deadline", "5000"])?;
        assert_eq!(v6["result"], "failed", "{answer:?} {v6}");
        broken.heal()?;
    }
    let broken = fault::apply(&pod.netns, Fault::NoRoute)?;
    for to in targets {
        assert_eq!(connect(&pod, to)?["errno"], libc::ENETUNREACH, "{to}");
    }
    broken.heal()?;
    let broken = fault::apply(&pod.netns, Fault::Unreachable(server.v4.into()))?;
    assert_eq!(connect(&pod, targets[0])?["errno"], libc::EHOSTUNREACH);
    broken.heal()?;
    let broken = black_hole(&lab, &server)?;
    for to in targets {
        assert!(vanishes(&pod, to)?, "{to}");
    }
    drop(broken);
    let device = pod.device.clone().unwrap_or_default();
    for (netns, device, egress) in [(node, device, false), (&pod.netns, "eth0".to_owned(), true)] {
        let broken = fault::apply(
            netns,
            Fault::Policy {
                device,
                egress,
                port: 4318,
            },
        )?;
        for to in targets {
            assert!(vanishes(&pod, to)?, "{to}");
            let other = SocketAddr::new(to.ip(), 4317);
            assert_eq!(connect(&pod, other)?["errno"], libc::ECONNREFUSED, "{other}");
        }
        broken.heal()?;
    }
    for ip in lab.node(0)?.nobody() {
        let to = SocketAddr::new(ip, 4318).to_string();
        let dead = says(&pod, &["connect", &to, "--deadline", "10000"])?;
        assert_eq!(dead["errno"], libc::EHOSTUNREACH, "{dead}");
    }
    for to in targets {
        for how in ["nonblocking", "blocking", "uring"] {
            let tool = says(&pod, &["connect", &to.to_string(), "--how", how])?;
            assert_eq!(tool["result"], "established", "{how} {tool}");
        }
        let refused = says(&pod, &["connect", &format!("127.0.0.1:{}", 9), "--how", "uring"])?;
        assert_eq!(refused["errno"], libc::ECONNREFUSED, "{refused}");
    }
    let broken = fault::apply(node, Fault::Drop(Hook::Forward, Transport::Tcp, 4318))?;
    let late = says(
        &pod,
        &[
            "connect",
            &targets[0].to_string(),
            "--how",
            "uring",
            "--deadline",
            "300",
        ],
    )?;
    assert_eq!(late["result"], unanswered, "{late}");
    broken.heal()
}

#[test]
fn addresses_are_rewritten() -> Result<()> {
    let lab = Lab::new()?;
    let pod = lab.pod("checkout")?;
    let server = lab.pod(PodSpec::new("observability/echo").node(1))?;
    let serving = server.tool(["serve", "[::]:4318"])?;
    serving.json("that it listens", SOON, |line| line["listening"] == true)?;
    let (asked, backend) = (
        SocketAddrV4::new([10, 96, 0, 17].into(), 4317),
        SocketAddrV4::new(server.v4, 4318),
    );
    let service = asked.into();
    let broken = fault::apply(
        &pod.netns,
        Fault::Dnat {
            asked: service,
            to: backend.into(),
        },
    )?;
    assert_eq!(connect(&pod, service)?["result"], "established");
    broken.heal()?;
    let rewriting = Rewrite::attach(&lab.node(0)?.cgroup, asked, backend)?;
    assert_eq!(connect(&pod, service)?["result"], "established");
    drop(rewriting);
    assert_ne!(scenario::connect(&pod, service, 400)?["result"], "established");
    let sidecar = pod.tool(["serve", "[::]:15001"])?;
    sidecar.json("that it listens", SOON, |line| line["listening"] == true)?;
    let broken = fault::apply(
        &pod.netns,
        Fault::Redirect {
            port: 4317,
            to: 15001,
        },
    )?;
    for ip in server.ips() {
        assert_eq!(connect(&pod, SocketAddr::new(ip, 4317))?["result"], "established");
    }
    broken.heal()
}

#[test]
fn exports_arrive() -> Result<()> {
    let lab = Lab::new()?;
    let collector = otlp::Collector::start(&lab, "observability", "otel-collector")?;
    for sdk in [otlp::Sdk::Rust, otlp::Sdk::Python] {
        for (transport, name) in [(otlp::Transport::Http, "http"), (otlp::Transport::Grpc, "grpc")] {
            let pod = lab.pod("checkout")?;
            let exporter = otlp::export(
                &pod,
                sdk,
                transport,
                "otel-collector.observability",
                3,
                Duration::from_millis(20),
            )?;
            exporter.json("that its export went well", SOON, |line| line["export"] == "ok")?;
            let arrived = collector.wait_for(3, SOON, |request| request["service"] == json!(pod.name))?;
            assert!(
                arrived
                    .iter()
                    .all(|request| request["signal"] == "traces" && request["transport"] == name)
            );
            let peer: SocketAddr = arrived[0]["peer"].as_str().unwrap_or_default().parse()?;
            assert!(pod.ips().contains(&peer.ip()), "{peer} is not {}", pod.name);
        }
    }
    Ok(())
}

#[test]
fn many_pods_are_made_quickly_and_named_as_a_kubelet_names_them() -> Result<()> {
    let lab = Lab::new()?;
    let mut specs = Vec::new();
    for driver in [Driver::Systemd, Driver::Cgroupfs] {
        for runtime in [Runtime::Containerd, Runtime::Crio, Runtime::Docker] {
            for qos in [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort] {
                specs.push(PodSpec::new("checkout").cgroups(driver, runtime, qos));
            }
        }
    }
    let named = lab.pods(specs)?;
    let first = &named[0];
    let path = first
        .cgroup
        .strip_prefix(&lab.node(0)?.cgroup)?
        .display()
        .to_string();
    let uid = first.uid.replace('-', "_");
    assert_eq!(
        path,
        format!(
            "kubepods.slice/kubepods-pod{uid}.slice/cri-containerd-{}.scope",
            first.container_id
        )
    );
    let start = Instant::now();
    let pods = lab.pods(
        (0..200)
            .map(|index| PodSpec::new(&format!("checkout-{index}")))
            .collect(),
    )?;
    let took = start.elapsed();
    println!("200 pods in {took:?}");
    assert!(took < SOON, "200 pods took {took:?}");
    let server = format!("{}:53", lab.dns().pod.v4);
    let tools = pods
        .iter()
        .map(|pod| pod.tool(["query", &server, "nowhere.example", "A"]))
        .collect::<Result<Vec<_>>>()?;
    for tool in &tools {
        assert_eq!(tool.json("its answer", SOON, |_| true)?["rcode"], 3);
    }
    assert_eq!(fs::read_dir(&lab.node(0)?.pod_logs)?.count(), 218);
    Ok(())
}

#[test]
fn host_network_is_the_nodes_own() -> Result<()> {
    let lab = Lab::new()?;
    let pod = lab.pod(PodSpec::new("monitoring/node-exporter").host_network())?;
    assert_eq!(pod.netns.inode()?, lab.node(0)?.netns.inode()?);
    let server = format!("{}:53", lab.dns().pod.v4);
    assert_eq!(
        says(&pod, &["query", &server, "nowhere.example", "A"])?["rcode"],
        3
    );
    Ok(())
}

#[test]
fn nothing_stays() -> Result<()> {
    let lab = Lab::new()?;
    let pod = lab.pod("checkout")?;
    let held = pod.tool(["serve", "[::]:4318"])?;
    held.json("that it listens", SOON, |line| line["listening"] == true)?;
    assert_eq!(
        fs::read_to_string(pod.cgroup.join("cgroup.procs"))?.trim(),
        held.pid().to_string()
    );
    let (dir, cgroup, pid) = (lab.dir().to_owned(), lab.cgroup().to_owned(), held.pid());
    // The lab goes first, the process is its to end.
    drop(lab);
    assert!(!dir.exists() && !cgroup.exists());
    drop(held);
    assert!(!fs::exists(format!("/proc/{pid}"))?);
    Ok(())
}

/// Not a test: what [`a_killed_lab_is_cleaned_up`] kills.
#[test]
#[ignore = "runs until its standard input closes"]
fn a_lab_that_is_killed() -> Result<()> {
    let lab = Lab::new()?;
    let pod = lab.pod("checkout")?;
    let held = pod.tool(["serve", "[::]:4318"])?;
    held.json("that it listens", SOON, |line| line["listening"] == true)?;
    println!(
        "{}",
        json!({"cgroup": lab.cgroup(), "dir": lab.dir(), "pid": held.pid()})
    );
    std::io::read_to_string(std::io::stdin())?;
    Ok(())
}

#[test]
fn a_killed_lab_is_cleaned_up() -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", "a_lab_that_is_killed", "--ignored", "--nocapture"]);
    let mut killed = Proc::start(command)?;
    let left = killed.json("what it made", SOON, |line| line.is_object())?;
    killed.signal(rustix::process::Signal::KILL)?;
    killed.wait(SOON)?;
    // The reaper does it; a lab that starts meanwhile may be faster.
    let cgroup = left["cgroup"].as_str().unwrap_or_default().to_owned();
    until("the killed lab's cgroup to go", SOON, || {
        Ok((!fs::exists(&cgroup)?).then_some(()))
    })?;
    let _next = Lab::new()?;
    // Whoever inherited it may not have reaped it yet: then it runs no program any more.
    let program = fs::read_link(format!("/proc/{}/exe", left["pid"]));
    assert!(program.is_err(), "{program:?} of the killed lab lives");
    Ok(())
}
