//! Settings that nobody meant, and processes that cannot be read: a clear word for each, or none where it works.

use anyhow::{Result, bail, ensure};
use obsflow_tests::app::{App, Env, Sdk};
use obsflow_tests::doctor::Export;
use obsflow_tests::server::otlp::{self, Collector, HTTP, Setup, Transport};
use obsflow_tests::{Doctor, Lab, Pod, Proc, tool};

const HOST: &str = "otel-collector.observability";

/// What doctor must say.
enum Says {
    Healthy,
    /// A failure: its id, its reason, and what stands in its evidence or advice.
    Fails(&'static str, &'static str, &'static str),
    /// That it cannot tell, and why.
    Unknown(&'static str),
}

struct Case {
    name: &'static str,
    sdk: Sdk,
    transport: Transport,
    endpoint: String,
    /// A receiver listens in the pod itself.
    sidecar: bool,
    says: Says,
}

impl Case {
    fn new(name: &'static str, transport: Transport, endpoint: impl Into<String>, says: Says) -> Self {
        Self {
            name,
            sdk: Sdk::Python,
            transport,
            endpoint: endpoint.into(),
            sidecar: false,
            says,
        }
    }

    fn node(mut self) -> Self {
        self.sdk = Sdk::Node;
        self
    }

    fn beside_a_receiver(mut self) -> Self {
        self.sidecar = true;
        self
    }

    fn check(&self, doctor: &Doctor<'_>, pod: &Pod) -> Result<()> {
        let of_traces = |export: &Export| export.signal() == "traces";
        match self.says {
            Says::Healthy => drop(doctor.verdict(pod, "healthy", of_traces)?),
            Says::Unknown(why) => {
                // It is unknown, for another reason, before its first export, too.
                let like = |export: &Export| of_traces(export) && export.evidence().contains(why);
                drop(doctor.verdict(pod, "unknown", like)?);
            }
            Says::Fails(verdict, reason, word) => {
                let export = doctor.verdict(pod, verdict, of_traces)?;
                let said = format!("{}\n{}", export.evidence(), export.advice());
                ensure!(export.reason() == reason && said.contains(word), "{export}");
                ensure!(!export.advice().is_empty(), "{export}");
            }
        }
        // Nobody wants to read ten thousand letters.
        let long = doctor
            .now(pod)
            .iter()
            .any(|export| export.to_string().len() > 4000);
        ensure!(!long, "{} is long", pod.path());
        // What is in the pod itself is no mesh's sidecar.
        for export in doctor.now(pod) {
            ensure!(export.text("leg") == "direct", "{export}");
        }
        Ok(())
    }
}

fn cases(v6: std::net::Ipv6Addr) -> Vec<Case> {
    use Says::{Fails, Healthy, Unknown};
    use Transport::{Grpc, Http};
    let long = "a".repeat(10_000);
    vec![
        // Empty is as good as not set, says the specification: it goes to this pod.
        Case::new("apps/empty", Http, "", Healthy).beside_a_receiver(),
        Case::new("apps/empty-node", Http, "", Healthy)
            .node()
            .beside_a_receiver(),
        Case::new(
            "apps/empty-alone",
            Http,
            "",
            Fails("refused", "", "localhost:4318"),
        ),
        Case::new(
            "apps/empty-grpc",
            Grpc,
            "",
            Fails("misconfigured", "unreadable", "it is empty"),
        ),
        Case::new(
            "apps/unix",
            Http,
            "unix:///run/otel.sock",
            Fails("misconfigured", "unknown-scheme", "unix"),
        ),
        // gRPC takes it: what goes over such a socket is not seen.
        Case::new(
            "apps/unix-grpc",
            Grpc,
            "unix:///run/otel.sock",
            Unknown("obsflow does not see"),
        ),
        Case::new("apps/v6", Http, format!("http://[{v6}]:4318"), Healthy),
        Case::new("apps/v6-grpc", Grpc, format!("http://[{v6}]:4317"), Healthy),
        Case::new("apps/v6-node", Http, format!("http://[{v6}]:4318"), Healthy).node(),
        Case::new("apps/v6-loopback", Http, "http://[::1]:4318", Healthy).beside_a_receiver(),
        Case::new(
            "apps/v6-open",
            Http,
            format!("http://[{v6}:4318"),
            Fails("misconfigured", "unreadable", "bracket"),
        ),
        Case::new(
            "apps/unspecified",
            Http,
            "http://[::]:4318",
            Fails("misconfigured", "unspecified-address", "listen"),
        ),
        // Linux takes it for this pod.
        Case::new("apps/unspecified-works", Http, "http://0.0.0.0:4318", Healthy).beside_a_receiver(),
        Case::new(
            "apps/path",
            Http,
            format!("http://{HOST}:4318/otlp"),
            Fails("rejected", "wrong-path", "/otlp/v1/traces"),
        ),
        Case::new(
            "apps/long-host",
            Http,
            format!("http://{long}:4318"),
            Fails("misconfigured", "unreadable", "longer than 253 bytes"),
        ),
        Case::new(
            "apps/long-path",
            Http,
            format!("http://{HOST}:4318/{long}"),
            // More than is looked at of a request.
            Unknown("no request on it that could be read"),
        ),
    ]
}

#[test]
fn endpoints_that_nobody_meant() -> Result<()> {
    let lab = Lab::new()?;
    let collector = Collector::start(&lab, "observability", "otel-collector")?;
    let doctor = lab.doctor(&[])?;
    let mut running = Vec::new();
    for case in cases(collector.pod.v6) {
        let pod = lab.pod(case.name)?;
        let sidecar = case
            .sidecar
            .then(|| Collector::run(&lab, pod.add_container("otc-container")?, Setup::default()))
            .transpose()?;
        // Sixteen of them come up slowly: with short intervals they would be called silent until they have.
        let env = Env::endpoint(&case.endpoint, case.transport)
            .signals(&["traces"])
            .set("OTEL_BSP_SCHEDULE_DELAY", "10000");
        let app = App::begin(&pod, case.sdk, &env)?;
        running.push((case, pod, app, sidecar));
    }
    for (_, _, app, _) in &mut running {
        app.ready()?;
        app.work(200, &["traces"])?;
    }
    // All of them, before the first one that is wrong ends it.
    let wrong: Vec<String> = running
        .iter()
        .filter_map(|(case, pod, ..)| {
            let error = case.check(&doctor, pod).err()?;
            Some(format!("{}: {error:#}", case.name))
        })
        .collect();
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n\n"));
    }
    let quiet = running
        .iter()
        .filter(|(case, ..)| !matches!(case.says, Says::Fails(..)));
    doctor.all_quiet(quiet.map(|(_, pod, ..)| pod))?;
    doctor.stop()
}

/// Writes a title of this many bytes over arguments and environment, then exports as `spans.py` does.
fn titled(pod: &Pod, title: usize) -> Result<Proc> {
    let mut command = pod.command(tool::made("python")?.join("bin/python"))?;
    let script = format!(
        "import runpy, setproctitle, sys\nsetproctitle.setproctitle('worker ' + 'x' * {title})\n\
         sys.argv = ['spans.py', '1000000', '500']\nrunpy.run_path({:?}, run_name='__main__')",
        tool::source("spans.py")
    );
    command.args(["-c", &script]);
    Env::otlp(HOST, Transport::Http)
        .signals(&["traces"])
        .apply(&mut command);
    Proc::start(command)
}

/// obsflow comes too late to read some environments: one that a title was written over, one of a process that has ended and
/// that nobody has waited for, one that is gone while it looks.
#[test]
fn environments_that_are_gone() -> Result<()> {
    let lab = Lab::new()?;
    let mut collector = Collector::start(&lab, "observability", "otel-collector")?;
    let pods = lab.pods(vec![
        "apps/titled".into(),
        "apps/zombie".into(),
        "apps/brief".into(),
        "apps/twin".into(),
    ])?;
    let _titled = titled(&pods[0], 8000)?;
    collector.wait_for(1, obsflow_tests::wait::SOON, |_| true)?;
    let env = Env::endpoint(&format!("http://{HOST}:{HTTP}"), Transport::Http);
    let shell = |pod: &Pod, script: &str| {
        let mut command = pod.command("/bin/sh")?;
        command.args(["-c", script]);
        env.apply(&mut command);
        Proc::start(command)
    };
    // The child ends when the shell has become sleep, which never waits for it.
    let script =
        "(while read -r name </proc/$$/comm; [ \"$name\" != sleep ]; do :; done) & echo $!; exec sleep 1000";
    let zombie = shell(&pods[1], script)?;
    let dead = zombie.line("its child", obsflow_tests::wait::SOON, |line| {
        line.parse::<u32>().ok()
    })?;
    obsflow_tests::wait::until("a zombie", obsflow_tests::wait::SOON, || {
        let stat = std::fs::read_to_string(format!("/proc/{dead}/stat"))?;
        Ok(stat.contains(") Z ").then_some(()))
    })?;
    let _brief = shell(&pods[2], "while :; do true & wait; /bin/true; done")?;
    let _twin = otlp::spans(
        &pods[3],
        otlp::Sdk::Rust,
        Transport::Http,
        &format!("http://{HOST}:{HTTP}"),
        &[],
    )?;
    let doctor = lab.doctor(&[])?;
    let export = doctor.verdict(&pods[0], "healthy", |export| export.signal() == "traces")?;
    assert!(export.evidence().contains("setproctitle"), "{export}");
    doctor.verdict(&pods[3], "healthy", |_| true)?;
    doctor.all_quiet(&pods)?;
    // Learned from the wire, it is followed like any other.
    collector.stop();
    doctor.verdict(&pods[0], "refused", |_| true)?;
    doctor.stop()
}
