//! Names from a container runtime: a real containerd with real pods, and sockets that are none.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::Result;
use obsflow_tests::scenario::{self, Echo};
use obsflow_tests::server::containerd::{Containerd, CriPod};
use obsflow_tests::wait::{self, SOON};
use obsflow_tests::{Flow, Lab, Obsflow, PodSpec};

const PORT: u16 = 4318;
const WEB: &str = "0d9c1a52-1f3b-4c5d-8e7f-112233445566";
const AGENT: &str = "7b1e6c90-52aa-4f0e-9d3c-665544332211";
/// As the kubelet names a pod that stands in a file of the node.
const STATIC: &str = "3b7d9f0c2a4e6d8f1b3c5e7a9d0f2b4c";
/// What is said of a runtime that does not answer.
const AWAY: &str = "the container runtime at";

fn observe<'lab>(lab: &'lab Lab, socket: &Path) -> Result<Obsflow<'lab>> {
    lab.observe(&["--cri", &format!("unix://{}", socket.display())])
}

/// A container of a pod, as it was started.
struct Started<'a> {
    pod: &'a CriPod,
    name: &'static str,
    id: String,
}

impl Started<'_> {
    fn did(&self, flow: &Flow) -> bool {
        flow.ext_text("/workload/container_id") == self.id
    }

    /// Whether a flow is its, under its full name.
    fn is_named_in(&self, flow: &Flow) -> bool {
        self.did(flow)
            && flow.text("/source/namespace") == self.pod.namespace
            && flow.text("/source/pod_name") == self.pod.name
            && flow.ext_text("/workload/pod_uid") == self.pod.uid
            && flow.ext_text("/workload/container") == self.name
    }

    /// Whether a flow is its and calls it something else: nothing is less than the truth, but not false.
    fn is_misnamed_in(&self, flow: &Flow) -> bool {
        let false_ = |said: &str, truth: &str| !said.is_empty() && said != truth;
        self.did(flow)
            && (false_(flow.text("/source/namespace"), &self.pod.namespace)
                || false_(flow.text("/source/pod_name"), &self.pod.name)
                || false_(flow.ext_text("/workload/container"), self.name))
    }

    fn is_shown_by(&self, obsflow: &Obsflow<'_>) -> Result<()> {
        let what = format!("{} of {}", self.name, self.pod.name);
        obsflow.wait_for(&what, |flow| self.is_named_in(flow)).map(drop)
    }
}

/// Containers before obsflow and after it, two of one pod, a restart, a static pod; all on the node's network, so that nothing
/// but their cgroups tells them apart. Then the runtime crashes and comes back.
#[test]
fn every_container_has_its_name_from_containerd() -> Result<()> {
    let lab = Lab::new()?;
    // Nobody listens there: every attempt fails at once, and the next follows.
    let server = lab.pod(PodSpec::new("observability/collector").node(1))?;
    let to = SocketAddr::new(server.v4.into(), PORT).to_string();
    let asks = ["get", &to, "--every", "100"];
    let mut containerd = Containerd::start(&lab)?;
    let web = containerd.pod("shop", "web-0", WEB)?;
    let start = |containerd: &Containerd, pod, name, attempt| -> Result<Started<'_>> {
        let id = containerd.container(pod, name, attempt, &asks)?;
        Ok(Started { pod, name, id })
    };
    let app = start(&containerd, &web, "app", 0)?;

    let obsflow = observe(&lab, &containerd.socket())?;
    app.is_shown_by(&obsflow)?;

    // Made while obsflow watches: the runtime is asked because nobody knows them.
    let proxy = start(&containerd, &web, "proxy", 0)?;
    proxy.is_shown_by(&obsflow)?;
    let etcd_pod = containerd.pod("kube-system", "etcd-node0", STATIC)?;
    let etcd = start(&containerd, &etcd_pod, "etcd", 0)?;
    etcd.is_shown_by(&obsflow)?;

    // Restarted: another id, the same name.
    containerd.stop(&app.id)?;
    let again = start(&containerd, &web, "app", 1)?;
    again.is_shown_by(&obsflow)?;

    // Without the runtime what is known stays, and it is said once that it is away.
    containerd.crash()?;
    let err = obsflow.process().err();
    let said = err.find(SOON, |line| line.contains(AWAY).then(|| line.to_owned()));
    assert!(said.is_some(), "{:#?}", err.all());
    let named = || obsflow.all(|flow| proxy.is_named_in(flow)).len();
    let before = named();
    wait::until("the proxy to go on under its name", SOON, || {
        Ok((named() > before + 2).then_some(()))
    })?;
    containerd.restart(&lab)?;
    let agent_pod = containerd.pod("monitoring", "agent-x2xkq", AGENT)?;
    let agent = start(&containerd, &agent_pod, "agent", 0)?;
    agent.is_shown_by(&obsflow)?;

    let all = [&app, &proxy, &etcd, &again, &agent];
    obsflow.never("a container under another one's name", |flow| {
        all.iter().any(|started| started.is_misnamed_in(flow))
    })?;
    let said = err.all();
    let times = said.iter().filter(|line| line.contains(AWAY)).count();
    assert_eq!(times, 1, "{said:#?}");
    obsflow.stop()
}

/// A socket that answers garbage, one that never answers, one that is not there: one line each, and everything else goes on.
#[test]
fn sockets_that_are_no_runtime_are_named_once_and_the_rest_goes_on() -> Result<()> {
    let lab = Lab::new()?;
    let echo = Echo::start(&lab, PORT)?;
    let garbage = lab.dir().join("garbage.sock");
    answer(&garbage, |mut stream| {
        // Until whoever listens has had enough.
        while stream.write_all(&[0x5a; 4096]).is_ok() {}
    })?;
    let http1 = lab.dir().join("http1.sock");
    answer(&http1, |mut stream| {
        let mut request = [0; 64];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    })?;
    let silent = lab.dir().join("silent.sock");
    answer(&silent, |mut stream| {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
    })?;
    let absent = lab.dir().join("absent.sock");
    let cases = [
        (&garbage, "is no container runtime"),
        (&http1, "is no container runtime"),
        (&silent, "does not answer within"),
        (&absent, "nobody listens there"),
    ];
    for (socket, why) in cases {
        let obsflow = observe(&lab, socket)?;
        let pod = lab.pod("shop/checkout")?;
        scenario::connect(&pod, echo.v4(), 5000)?;
        obsflow.closed(&pod, echo.v4())?;
        let err = obsflow.process().err();
        let said = err.find(SOON, |line| line.contains(AWAY).then(|| line.to_owned()));
        let said = said.unwrap_or_default();
        let path = socket.display().to_string();
        assert!(
            said.contains(&path) && said.contains(why),
            "{said}; {:#?}",
            err.all()
        );
        scenario::connect(&pod, echo.v6(), 5000)?;
        obsflow.closed(&pod, echo.v6())?;
        let times = err.all().iter().filter(|line| line.contains(AWAY)).count();
        assert_eq!(times, 1, "{:#?}", err.all());
        obsflow.stop()?;
    }
    Ok(())
}

/// Serves a socket, each connection on a thread of its own, for as long as the test runs.
fn answer(path: &Path, with: fn(std::os::unix::net::UnixStream)) -> Result<()> {
    let listener = UnixListener::bind(path)?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || with(stream));
        }
    });
    Ok(())
}
