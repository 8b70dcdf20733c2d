use super::*;
use crate::model::cluster::{Addresses, Endpoint as Backend, Owner, Service};
use crate::model::expectation::{ContainerKey, Endpoint, Source, Transport};
use crate::model::observation::What;
use crate::model::verdict::{Leg, Rungs, Severity, VerdictId};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(seconds: u64) -> Mono {
    Mono(seconds * 1_000_000_000)
}

const WHO: Who = Who(7);

/// A connection of a workload of `apps` that asked for one address and got another.
fn seen(is: Option<Destination>, name: Option<&str>, asked: Option<&str>, remote: &str) -> Observation {
    let address = |text: &str| SocketAddr::new(ip(text), 4317);
    Observation {
        at: at(1),
        workload: workload(),
        process: None,
        cgroup: 1,
        cookie: 1,
        netns: 0,
        local: None,
        remote: Some(address(remote)),
        asked: asked.map(address),
        remote_name: name.map(Arc::from),
        remote_is: is.map(Arc::new),
        what: What::Attempt,
    }
}

fn workload() -> Arc<Workload> {
    Arc::new(Workload {
        namespace: Some("apps".into()),
        ..Workload::default()
    })
}

/// An exporter of that workload.
pub(in crate::sinks::metrics) fn export(host: &str, resolved: RungState) -> Export {
    let mut rungs = Rungs::default();
    rungs.set(Rung::Resolved, resolved);
    let host = host
        .parse()
        .map_or_else(|_| Host::Name(host.into()), |ip: IpAddr| Host::Ip(ip));
    Export {
        node: None,
        id: "000000000000".into(),
        container: ContainerKey("c".into()),
        workload: workload(),
        pid: None,
        proxy: None,
        signal: None,
        endpoint: Some(Endpoint {
            host,
            port: 4317,
            tls: Some(false),
            path: None,
            transport: Transport::Grpc,
        }),
        written: "".into(),
        source: Source::Config,
        leg: Leg::Direct,
        rungs,
        verdict: VerdictId::Unknown,
        reason: None,
        severity: Severity::Unknown,
        since: at(0),
        flaps: 0,
        evidence: Vec::new(),
        advice: Vec::new(),
        last_success: None,
        cause: None,
    }
}

/// `obs/otel` at 10.96.0.9, with a backend at 10.0.0.9.
fn cluster() -> Arc<Cluster> {
    let service = Arc::new(Service {
        namespace: "obs".into(),
        name: "otel".into(),
        ips: vec![ip("10.96.0.9")],
        ..Service::default()
    });
    let mut addresses = Addresses::default();
    let key = (service.namespace.clone(), service.name.clone());
    addresses
        .by_cluster_ip
        .insert(ip("10.96.0.9"), Arc::clone(&service));
    addresses.services.insert(key, service);
    let backend = Backend {
        namespace: "obs".into(),
        pod: Some("otel-0".into()),
        service: "otel".into(),
    };
    addresses.endpoints.insert(ip("10.0.0.9"), backend);
    Arc::new(Cluster {
        addresses: Arc::new(addresses),
        ..Cluster::default()
    })
}

/// Sinks, and what their labels are.
struct Scene(Sinks, Names);

impl Scene {
    fn new() -> Self {
        Self(Sinks::new(9), Names::default())
    }

    fn seen(&mut self, observation: &Observation) -> String {
        let (sym, _) = self.0.of(WHO, observation, &mut self.1).unwrap();
        self.1.text(sym).to_string()
    }

    fn set(&mut self, host: &str, resolved: RungState) -> String {
        let export = export(host, resolved);
        let (sym, _) = self.0.configured(WHO, &export, at(1), &mut self.1);
        self.1.text(sym).to_string()
    }
}

fn of(is: Option<Destination>, name: Option<&str>, address: &str) -> String {
    Scene::new().seen(&seen(is, name, None, address))
}

#[test]
fn the_best_name_is_written() {
    let service = || Destination::Service {
        namespace: "obs".into(),
        name: "otel".into(),
    };
    let pod = |owner: Option<&str>, service: Option<&str>| Destination::Pod {
        namespace: "obs".into(),
        name: "otel-7d9c6b5f4d-x2xkq".into(),
        owner: owner.map(|name| Owner {
            kind: "Deployment".into(),
            name: name.into(),
        }),
        service: service.map(Arc::from),
    };
    let node = Destination::Node {
        name: "node-1".into(),
    };
    assert_eq!(
        of(Some(service()), Some("otel.obs.svc"), "10.96.0.9"),
        "obs/otel:4317"
    );
    assert_eq!(
        of(Some(pod(None, Some("otel"))), None, "10.0.0.9"),
        "obs/otel:4317"
    );
    assert_eq!(
        of(Some(pod(Some("otel"), None)), None, "10.0.0.9"),
        "obs/otel:4317"
    );
    assert_eq!(of(Some(node.clone()), None, "192.168.0.1"), "node-1:4317");
    assert_eq!(of(Some(node), Some("gateway"), "192.168.0.1"), "gateway:4317");
    assert_eq!(
        of(None, Some("otel.obs.svc.cluster.local"), "10.96.0.9"),
        "obs/otel:4317"
    );
    assert_eq!(
        of(None, Some("Ingest.us0.SignalFx.com."), "52.1.2.3"),
        "ingest.us0.signalfx.com:4317"
    );
    assert_eq!(of(None, None, "10.0.0.9"), "10.0.0.9:4317");
    assert_eq!(of(None, None, "::ffff:127.0.0.1"), "127.0.0.1:4317");
    assert_eq!(of(None, None, "fd00::9"), "[fd00::9]:4317");
    assert_eq!(of(None, None, "52.1.2.3"), "~outside");
    assert_eq!(of(None, None, "2a00:1450::1"), "~outside");
}

#[test]
fn a_services_own_name_tells_which_of_several_it_is() {
    let behind = Destination::Pod {
        namespace: "obs".into(),
        name: "otel-0".into(),
        owner: None,
        service: Some("otel".into()),
    };
    assert_eq!(
        of(
            Some(behind),
            Some("otel-headless.obs.svc.cluster.local"),
            "10.0.0.9"
        ),
        "obs/otel-headless:4317"
    );
}

#[test]
fn sinks_are_bounded() {
    let mut names = Names::default();
    let mut sinks = Sinks::new(2);
    let mut row =
        |sinks: &mut Sinks, text: Option<&str>, at| sinks.row(text.map(|text| (text, None)), at, &mut names);
    let a = row(&mut sinks, Some("a:1"), at(1));
    let b = row(&mut sinks, Some("b:1"), at(2));
    assert_eq!(row(&mut sinks, Some("c:1"), at(3)), (OTHER, None));
    assert_eq!(row(&mut sinks, None, at(3)), (OUTSIDE, None));
    assert_eq!(row(&mut sinks, Some("a:1"), at(3000)), a);
    assert_eq!(sinks.folded, 1);
    // The one that was silent for an hour makes room.
    let (c, evicted) = row(&mut sinks, Some("c:1"), at(3603));
    assert_eq!(evicted, Some(b.0));
    assert_eq!(&*names.text(c), "c:1");
}

#[test]
fn a_configured_name_is_the_service_that_it_was_found_to_be() {
    let mut scene = Scene::new();
    let ok = RungState::Ok;
    assert_eq!(scene.set("otel.obs", ok), "otel.obs:4317");
    assert_eq!(scene.set("otel.obs.svc", ok), "obs/otel:4317");
    scene.seen(&seen(None, Some("otel.obs.svc.cluster.local"), None, "10.96.0.9"));
    assert_eq!(scene.set("otel.obs", ok), "obs/otel:4317");
    assert_eq!(scene.set("otel", ok), "otel:4317");
    assert_eq!(scene.set("example.com", ok), "example.com:4317");
    assert_eq!(scene.set("otel.obs.example.com", ok), "otel.obs.example.com:4317");
}

/// Nobody has looked anything up, as when the connection is older than the agent.
#[test]
fn the_cluster_says_what_a_configured_name_or_address_is() {
    let mut scene = Scene::new();
    assert_eq!(scene.set("10.96.0.9", RungState::NotApplicable), "10.96.0.9:4317");
    scene.0.cluster(cluster(), at(1), &mut scene.1);
    assert_eq!(scene.set("otel.obs", RungState::Unknown), "obs/otel:4317");
    assert_eq!(scene.set("10.96.0.9", RungState::NotApplicable), "obs/otel:4317");
    assert_eq!(scene.set("otel.shop", RungState::Failed), "otel.shop:4317");
}

#[test]
fn an_exporter_and_its_connections_have_one_label() {
    let service = || {
        Some(Destination::Service {
            namespace: "obs".into(),
            name: "otel".into(),
        })
    };
    let ok = RungState::Ok;
    for (host, is, name, asked, remote) in [
        // A search list completes it.
        ("gateway", None, Some("gateway.corp.example"), None, "10.1.0.9"),
        // An alias of a Service.
        ("otel.corp", service(), Some("otel.corp"), None, "10.96.0.9"),
        // Behind a socket load balancer.
        ("10.96.0.9", service(), None, Some("10.96.0.9"), "10.0.0.9"),
        (
            "ingest.example.com",
            None,
            Some("ingest.example.com"),
            None,
            "52.1.2.3",
        ),
        ("52.1.2.3", None, None, None, "52.1.2.3"),
    ] {
        let mut scene = Scene::new();
        scene.0.cluster(cluster(), at(1), &mut scene.1);
        let label = scene.seen(&seen(is, name, asked, remote));
        assert_eq!(scene.set(host, ok), label, "{host}");
    }
    // One that does not resolve is not taken for another one that begins like it.
    let mut scene = Scene::new();
    scene.seen(&seen(None, Some("gateway.corp.example"), None, "10.1.0.9"));
    assert_eq!(scene.set("gateway", ok), "gateway.corp.example:4317");
    assert_eq!(scene.set("gateway", RungState::Failed), "gateway:4317");
}

#[test]
fn an_address_that_turns_out_to_be_somebodys_is_written_so() {
    let mut scene = Scene::new();
    let service = scene.seen(&seen(None, None, None, "10.96.0.9"));
    assert_eq!(service, "10.96.0.9:4317");
    scene.seen(&seen(None, None, None, "10.0.0.9"));
    scene.seen(&seen(None, None, None, "10.0.0.10"));
    let moved = |scene: &mut Scene, now| -> Vec<(String, String)> {
        let moved = scene.0.cluster(cluster(), now, &mut scene.1);
        let text = |sym: Sym| scene.1.text(sym).to_string();
        let mut texts: Vec<_> = moved.iter().map(|(from, to)| (text(*from), text(*to))).collect();
        texts.sort();
        texts
    };
    let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    // Long after it was used first the address of a pod may be another one's.
    assert_eq!(
        moved(&mut scene, at(61)),
        [pair("10.96.0.9:4317", "obs/otel:4317")]
    );
    assert_eq!(
        moved(&mut scene, at(60)),
        [pair("10.0.0.9:4317", "obs/otel:4317")]
    );
    assert_eq!(moved(&mut scene, at(60)), [], "once");
}
