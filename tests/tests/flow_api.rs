//! The flow API, asked by a client that knows nothing but Hubble's contract.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use obsflow_tests::hubble::messages::{
    Change, Flow, FlowFilter, GetEventsRequest, GetFlowsRequest, GetFlowsResponse, Health, HealthRequest,
    Namespaces, Nodes, Nothing, Reflection, ReflectionRequest, ServerStatus,
};
use obsflow_tests::hubble::{Answers, Client};
use obsflow_tests::scenario::{Echo, connect, says};
use obsflow_tests::server::kube::{Api, objects};
use obsflow_tests::server::tls::{Authority, Identity};
use obsflow_tests::wait::{SOON, until};
use obsflow_tests::{Lab, Pod, PodSpec, Proc, process};
use prost::Message as _;
use prost_types::{FieldMask, FileDescriptorProto};
use rustix::process::Signal;
use serde_json::Value;
use tonic::{Code, Status};

/// Watched by default, and nobody listens there.
const NOBODY: u16 = 4317;
/// Watched by default.
const PORT: u16 = 4318;
/// Where Hubble serves.
const HUBBLE: u16 = 4244;
/// What certificates are for.
const NAME: &str = "agent.obsflow.example";

const STATUS: &str = "/observer.Observer/ServerStatus";
const NOTIFY: &str = "/peer.Peer/Notify";

/// An agent of a node; its socket goes with it.
struct Agent {
    process: Proc,
    socket: PathBuf,
}

impl Agent {
    /// The command, with a socket in the lab's folder.
    fn command(lab: &Lab, node: u8) -> Result<(Command, PathBuf)> {
        let socket = lab.dir().join(format!("agent-{node}.sock"));
        let mut command = lab.obsflow_command_on(node, "agent")?;
        command
            .args(["--log-format=json", "--health=off", "--state=off", "--listen"])
            .arg(format!("unix://{}", socket.display()))
            .args(["--kubernetes=off", "--cri=off"]);
        command.arg(format!("--node-name=node-{node}"));
        Ok((command, socket))
    }

    /// Outside of the lab's networks, where the lab's API server is.
    fn start_beside(lab: &Lab, api: &Api) -> Result<Self> {
        let socket = lab.dir().join("agent.sock");
        let mut command = lab.obsflow_command("agent")?;
        command
            .args(["--log-format=json", "--health=off", "--state=off", "--cri=off"])
            .args(["--listen=tcp://127.0.0.1:0", "--listen"])
            .arg(format!("unix://{}", socket.display()))
            .args([
                "--node-name=node-0",
                "--peers-service=obsflow/obsflow-agent",
                "--kubeconfig",
            ])
            .arg(api.kubeconfig(lab.dir())?);
        let process = Proc::start(command)?;
        let agent = Self { process, socket };
        agent.said("serving gRPC")?;
        Ok(agent)
    }

    fn start(lab: &Lab, node: u8, more: &[String]) -> Result<Self> {
        let (mut command, socket) = Self::command(lab, node)?;
        command.args(more);
        // On a node, agents are on its network.
        process::enter(&mut command, Some(&lab.node(node)?.netns), None, &[])?;
        let process = Proc::start(command)?;
        let agent = Self { process, socket };
        agent.said("serving gRPC")?;
        Ok(agent)
    }

    fn client(&self) -> Result<Client> {
        Client::unix(&self.socket)
    }

    fn said(&self, message: &str) -> Result<Value> {
        let said = self.process.err().find(SOON, |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            line["message"].as_str()?.contains(message).then_some(line)
        });
        said.with_context(|| {
            format!(
                "the agent did not say {message:?}: {:?}",
                self.process.err().all()
            )
        })
    }

    /// SIGTERM: it ends well.
    fn end(mut self) -> Result<()> {
        let status = self.process.stop(SOON)?;
        if !status.success() {
            bail!("the agent ended with {status}: {:?}", self.process.err().all());
        }
        Ok(())
    }
}

fn strings<const N: usize>(values: [&str; N]) -> Vec<String> {
    values.map(str::to_owned).into()
}

fn of_pod(pod: &str) -> GetFlowsRequest {
    GetFlowsRequest {
        whitelist: vec![FlowFilter {
            source_pod: strings([pod]),
            ..FlowFilter::default()
        }],
        ..GetFlowsRequest::default()
    }
}

fn follow(request: GetFlowsRequest) -> GetFlowsRequest {
    GetFlowsRequest {
        follow: true,
        ..request
    }
}

/// A connect that is refused, which makes two flows.
fn refused(pod: &Pod, echo: &Echo) -> Result<()> {
    let to = SocketAddr::new(echo.v4().ip(), NOBODY);
    anyhow::ensure!(connect(pod, to, 5000)?["result"] == "failed");
    Ok(())
}

/// The flow of a refused connect, as soon as the agent has it.
fn wait_for_refused(client: &Client, pod: &str) -> Result<GetFlowsResponse> {
    until(format!("a refused connect of {pod}"), SOON, || {
        let answers = client.flows(of_pod(pod))?.rest()?;
        let failed = |answer: &GetFlowsResponse| answer.flow.as_ref().is_some_and(|flow| flow.verdict == 3);
        Ok(answers.into_iter().find(failed))
    })
}

fn status(client: &Client) -> Result<ServerStatus> {
    Ok(client.ask(STATUS, Nothing {})?.0)
}

fn refusal<T>(answer: Result<T, Status>) -> Status {
    match answer {
        Ok(_) => Status::ok("it was answered"),
        Err(refusal) => refusal,
    }
}

#[test]
fn every_method_answers() -> Result<()> {
    let lab = Lab::new()?;
    let echo = Echo::start(&lab, PORT)?;
    let pod = lab.pod("apps/xplane-image-gallery")?;
    let agent = Agent::start(&lab, 0, &[])?;
    let client = agent.client()?;

    refused(&pod, &echo)?;
    let answer = wait_for_refused(&client, "apps/xplane")?;
    assert_eq!(answer.node_name, "node-0");
    let flow = answer.flow.context("a flow")?;
    assert_eq!(
        (flow.verdict, flow.kind, flow.traffic_direction),
        (3, 1, 2),
        "{flow:?}"
    );
    assert_eq!(flow.emitter.clone().context("an emitter")?.name, "obsflow");
    let source = flow.source.clone().context("a source")?;
    assert_eq!((&*source.namespace, &*source.pod_name), ("apps", &*pod.name));
    let ip = flow.ip.clone().context("addresses")?;
    assert_eq!((ip.source, ip.version), (pod.ips()[0].to_string(), 1));
    let tcp = flow.l4.clone().and_then(|l4| l4.tcp).context("TCP")?;
    assert_eq!(tcp.destination, u32::from(NOBODY));
    assert!(flow.summary.contains("refused"), "{flow:?}");
    assert!(
        flow.extensions.is_some() && flow.is_reply == Some(false),
        "{flow:?}"
    );

    // DNS, by a regular expression on its name.
    let server = format!("{}:53", lab.dns().pod.v4);
    says(&pod, &["query", &server, "nowhere.example", "A"])?;
    let asked = GetFlowsRequest {
        whitelist: vec![FlowFilter {
            dns_query: strings(["^nowhere[.]example[.]$"]),
            protocol: strings(["dns"]),
            ..FlowFilter::default()
        }],
        ..GetFlowsRequest::default()
    };
    let answer = until("an answer of DNS", SOON, || {
        let answers = client.flows(asked.clone())?.rest()?;
        let is_answer = |flow: &GetFlowsResponse| {
            let l7 = flow.flow.as_ref().and_then(|flow| flow.l7.as_ref());
            l7.is_some_and(|l7| l7.kind == 2)
        };
        Ok(answers.into_iter().find(is_answer))
    })?;
    let dns = answer.flow.and_then(|flow| flow.l7?.dns).context("DNS")?;
    assert_eq!(
        (dns.rcode, &*dns.query, &*dns.qtypes[0]),
        (3, "nowhere.example.", "A")
    );

    // A number, a mask, and what obsflow cannot know.
    let two = GetFlowsRequest {
        number: 1,
        field_mask: Some(FieldMask {
            paths: strings(["verdict", "source.pod_name"]),
        }),
        ..of_pod("apps/")
    };
    let masked = client.flows(two)?.rest()?;
    assert_eq!(masked.len(), 1);
    let masked = masked[0].flow.clone().context("a flow")?;
    assert_eq!(masked.source.context("a source")?.pod_name, pod.name);
    assert!(masked.verdict != 0 && masked.ip.is_none() && masked.summary.is_empty());
    let by_identity = GetFlowsRequest {
        whitelist: vec![FlowFilter {
            source_identity: vec![1, 2],
            ..FlowFilter::default()
        }],
        ..GetFlowsRequest::default()
    };
    assert_eq!(client.flows(by_identity)?.rest()?, []);

    let (status, headers) = client.ask::<_, ServerStatus>(STATUS, Nothing {})?;
    assert!(
        status.num_flows > 3 && status.seen_flows >= status.num_flows,
        "{status:?}"
    );
    assert!(status.uptime_ns > 0, "{status:?}");
    assert_eq!(status.max_flows, 65_535);
    assert!(status.version.starts_with("obsflow v"), "{status:?}");
    let version = headers
        .get("hubble-server-version")
        .context("a version")?
        .to_str()?;
    assert!(
        version.starts_with("1.19.") && version.contains("obsflow"),
        "{version}"
    );
    until("a rate, which is counted once a second", SOON, || {
        let (status, _) = client.ask::<_, ServerStatus>(STATUS, Nothing {})?;
        Ok((status.flows_rate > 0.0).then_some(()))
    })?;
    let nodes: Nodes = client.ask("/observer.Observer/GetNodes", Nothing {})?.0;
    assert_eq!((&*nodes.nodes[0].name, nodes.nodes[0].state), ("node-0", 1));
    let namespaces: Namespaces = client.ask("/observer.Observer/GetNamespaces", Nothing {})?.0;
    assert!(
        namespaces.namespaces.iter().any(|of| of.namespace == "apps"),
        "{namespaces:?}"
    );
    for path in [
        "/observer.Observer/GetAgentEvents",
        "/observer.Observer/GetDebugEvents",
    ] {
        let events = client.stream::<_, GetFlowsResponse>(path, GetEventsRequest::default())?;
        assert_eq!(events.rest()?, []);
    }
    let mut peers = client.stream::<_, Change>(NOTIFY, Nothing {})?;
    let own = peers.read()?.context("itself")?;
    assert_eq!((&*own.name, own.kind), ("node-0", 1));
    assert!(own.address.starts_with("unix://") && own.tls.is_none(), "{own:?}");

    for service in ["", "observer.Observer", "hubble.server.Observer"] {
        let request = HealthRequest {
            service: service.to_owned(),
        };
        let health: Health = client.ask("/grpc.health.v1.Health/Check", request)?.0;
        assert_eq!(health.status, 1, "{service}");
    }
    reflection(&client)?;
    agent.end()
}

/// Both versions say what there is, and with the numbers of the contract.
fn reflection(client: &Client) -> Result<()> {
    for path in [
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ] {
        let ask = |request| -> Result<Reflection> {
            let mut answers = client.stream::<_, Reflection>(path, request)?;
            answers.read()?.context("an answer")
        };
        let listed = ask(ReflectionRequest {
            list_services: Some("*".to_owned()),
            ..ReflectionRequest::default()
        })?;
        let services = listed.services.context("services")?.services;
        let names: Vec<_> = services.iter().map(|service| &*service.name).collect();
        for wanted in [
            "observer.Observer",
            "peer.Peer",
            "grpc.health.v1.Health",
            "obsflow.v1.Diagnosis",
        ] {
            assert!(names.contains(&wanted), "{path}: {names:?}");
        }
        let described = ask(ReflectionRequest {
            file_containing_symbol: Some("flow.Flow".to_owned()),
            ..ReflectionRequest::default()
        })?;
        let file = &described.files.context("files")?.files[0];
        let file = FileDescriptorProto::decode(&**file)?;
        let number = |message: &str, field: &str| {
            let message = file.message_type.iter().find(|known| known.name() == message)?;
            Some(message.field.iter().find(|known| known.name() == field)?.number())
        };
        // Of the contract, section 7.
        for (message, field, expected) in [
            ("Flow", "IP", 5),
            ("Flow", "event_type", 19),
            ("Flow", "drop_reason_desc", 25),
            ("Flow", "is_reply", 26),
            ("Flow", "emitter", 41),
            ("Flow", "egress_allowed_by", 21001),
            ("Flow", "Summary", 100_000),
            ("Flow", "extensions", 150_000),
            ("Endpoint", "cluster_name", 7),
            ("Layer7", "http", 101),
            ("DNS", "rrtypes", 8),
            ("FlowFilter", "dns_query", 18),
            ("FlowFilter", "source_workload", 26),
            ("FlowFilter", "encrypted", 40),
            ("FlowFilter", "experimental", 999),
            ("LostEvent", "last", 5),
        ] {
            assert_eq!(number(message, field), Some(expected), "{message}.{field}");
        }
    }
    Ok(())
}

#[test]
fn bad_input_is_answered_and_nobody_else_notices() -> Result<()> {
    let lab = Lab::new()?;
    let agent = Agent::start(&lab, 0, &[])?;
    let client = agent.client()?;
    let mut watching = client.flows(follow(of_pod("apps/")))?;
    let filter = |filter: FlowFilter| GetFlowsRequest {
        whitelist: vec![filter],
        ..GetFlowsRequest::default()
    };
    let cases = [
        (
            filter(FlowFilter {
                source_ip: strings(["10.0.0.0/33"]),
                ..FlowFilter::default()
            }),
            "source_ip: \"10.0.0.0/33\"",
        ),
        (
            filter(FlowFilter {
                dns_query: strings(["("]),
                ..FlowFilter::default()
            }),
            "dns_query: \"(\" is not a regular expression",
        ),
        (
            filter(FlowFilter {
                destination_port: strings(["99999"]),
                ..FlowFilter::default()
            }),
            "destination_port: \"99999\" is not a port",
        ),
        (
            GetFlowsRequest {
                first: true,
                ..follow(GetFlowsRequest::default())
            },
            "first cannot be specified with follow",
        ),
        (
            GetFlowsRequest {
                field_mask: Some(FieldMask {
                    paths: strings(["nothing"]),
                }),
                ..GetFlowsRequest::default()
            },
            "\"nothing\"",
        ),
        (
            GetFlowsRequest {
                whitelist: vec![FlowFilter::default(); 20_000],
                ..GetFlowsRequest::default()
            },
            "the filters have 20000 values",
        ),
    ];
    for (request, expected) in cases {
        let refusal = refusal(client.flows(request));
        assert_eq!(refusal.code(), Code::InvalidArgument, "{expected}: {refusal}");
        assert!(refusal.message().contains(expected), "{refusal}");
    }
    // A number beyond everything is everything.
    let huge = GetFlowsRequest {
        number: u64::MAX,
        ..GetFlowsRequest::default()
    };
    client.flows(huge)?.rest()?;
    // Larger than any request.
    let long = filter(FlowFilter {
        source_pod: vec!["x".repeat(2 << 20)],
        ..FlowFilter::default()
    });
    assert_eq!(refusal(client.flows(long)).code(), Code::OutOfRange);
    let echo = Echo::start(&lab, PORT)?;
    refused(&lab.pod("apps/checkout")?, &echo)?;
    watching.find(|flow| flow.verdict == 3)?;
    agent.end()
}

/// A client in a node's network namespace.
fn dial(lab: &Lab, node: u8, to: SocketAddr) -> Result<TcpStream> {
    lab.node(node)?.netns.within(|| {
        until(format!("somebody at {to}"), SOON, || {
            Ok(TcpStream::connect(to).ok())
        })
    })
}

/// Where a node's agent serves others.
fn place(lab: &Lab, node: u8) -> Result<SocketAddr> {
    Ok(SocketAddr::new(lab.node(node)?.pod_v4(1).into(), HUBBLE))
}

/// A certificate of agents at a place of its own, where a renewed one replaces it.
struct Certificate {
    files: Identity,
    authority: Authority,
}

impl Certificate {
    fn new(lab: &Lab) -> Result<Self> {
        let authority = Authority::new(lab, "authority")?;
        let files = Identity {
            certificate: lab.dir().join("tls.crt"),
            key: lab.dir().join("tls.key"),
        };
        let new = Self { files, authority };
        new.replace(&new.authority)?;
        Ok(new)
    }

    /// With one that somebody signs now.
    fn replace(&self, by: &Authority) -> Result<()> {
        let made = by.issue(NAME)?;
        fs::rename(&made.key, &self.files.key)?;
        fs::rename(&made.certificate, &self.files.certificate)?;
        Ok(())
    }

    fn arguments(&self, at: SocketAddr) -> Vec<String> {
        let path = |path: &PathBuf| path.display().to_string();
        vec![
            format!("--listen=tcp://{at}"),
            format!("--tls-cert={}", path(&self.files.certificate)),
            format!("--tls-key={}", path(&self.files.key)),
            format!("--tls-client-ca={}", path(&self.authority.identity.certificate)),
        ]
    }
}

#[test]
fn two_agents_in_two_namespaces_are_named_by_each_and_read_by_one_client() -> Result<()> {
    let lab = Lab::new()?;
    let echo = Echo::start(&lab, PORT)?;
    let certificate = Certificate::new(&lab)?;
    let relay = certificate.authority.issue("relay.example")?;
    let places = [place(&lab, 0)?, place(&lab, 1)?];
    let agents = [0, 1].map(|node: u8| {
        let mut more = certificate.arguments(places[usize::from(node)]);
        let other = usize::from(1 - node);
        more.push(format!("--peer=node-{other}={}", places[other]));
        Agent::start(&lab, node, &more)
    });
    let [first, second] = agents;
    let (first, second) = (first?, second?);
    let pods = [
        lab.pod("apps/checkout")?,
        lab.pod(PodSpec::new("apps/billing").node(1))?,
    ];
    for pod in &pods {
        refused(pod, &echo)?;
    }
    // Whoever is asked names both, and both are read over what was named.
    for node in [0, 1] {
        let asked = Client::tls(
            dial(&lab, 1 - node, places[usize::from(node)])?,
            NAME,
            &certificate.authority,
            Some(&relay),
        )?;
        let mut peers = asked.stream::<_, Change>(NOTIFY, Nothing {})?;
        let mut named = Vec::new();
        for _ in 0..2 {
            let peer = peers.read()?.context("a peer")?;
            assert_eq!(peer.kind, 1, "{peer:?}");
            let to: SocketAddr = peer.address.parse()?;
            let name = peer.tls.context("TLS")?.server_name;
            let client = Client::tls(dial(&lab, node, to)?, &name, &certificate.authority, Some(&relay))?;
            let pod = if peer.name == "node-0" {
                "apps/checkout"
            } else {
                "apps/billing"
            };
            let answer = wait_for_refused(&client, pod)?;
            assert_eq!(answer.node_name, peer.name);
            named.push(peer.name);
        }
        named.sort();
        assert_eq!(named, ["node-0", "node-1"]);
    }
    first.end()?;
    second.end()
}

#[test]
fn in_a_cluster_peers_are_the_endpoints_of_a_service() -> Result<()> {
    let lab = Lab::new()?;
    let api = Api::start()?;
    let agents = |nodes: &[(&str, &str)]| -> Result<()> {
        let endpoints = nodes
            .iter()
            .map(|(node, ip)| Ok((ip.parse()?, *node, true)))
            .collect::<Result<Vec<_>>>()?;
        let mut slice = objects::slice("obsflow", "obsflow-agent", &endpoints)?;
        for (at, (node, _)) in nodes.iter().enumerate() {
            slice["endpoints"][at]["nodeName"] = Value::from(*node);
        }
        api.apply(slice)?;
        Ok(())
    };
    // Others' endpoints are nobody's peers.
    api.apply(objects::slice(
        "apps",
        "obsflow-agent",
        &[("192.0.2.77".parse()?, "x", true)],
    )?)?;
    agents(&[("node-0", "192.0.2.1"), ("node-1", "192.0.2.2")])?;
    let agent = Agent::start_beside(&lab, &api)?;
    let serving = agent.said("serving gRPC")?;
    let port = serving["address"]
        .as_str()
        .and_then(|address| address.rsplit(':').next())
        .context("no port")?
        .to_owned();
    let client = agent.client()?;
    let mut changes = client.stream::<_, Change>(NOTIFY, Nothing {})?;
    let mut known = BTreeMap::new();
    let mut until_known = |expected: &[(&str, &str)]| -> Result<()> {
        let expected: BTreeMap<_, _> = expected
            .iter()
            .map(|(node, ip)| ((*node).to_owned(), format!("{ip}:{port}")))
            .collect();
        while known != expected {
            let change = changes
                .read()?
                .with_context(|| format!("the stream ended at {known:?}"))?;
            match change.kind {
                2 => known.remove(&change.name),
                _ => known.insert(change.name, change.address),
            };
        }
        Ok(())
    };
    until_known(&[("node-0", "192.0.2.1"), ("node-1", "192.0.2.2")])?;
    agents(&[("node-0", "192.0.2.1"), ("node-2", "2001:db8::2")])?;
    until_known(&[("node-0", "192.0.2.1"), ("node-2", "[2001:db8::2]")])?;
    agent.end()
}

#[test]
fn only_who_has_a_certificate_is_served_and_a_renewed_one_ends_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let echo = Echo::start(&lab, PORT)?;
    let pod = lab.pod("apps/checkout")?;
    let certificate = Certificate::new(&lab)?;
    let known = certificate.authority.issue("client.example")?;
    let stranger = Authority::new(&lab, "stranger")?;
    let foreign = stranger.issue("client.example")?;
    let at = place(&lab, 0)?;
    let agent = Agent::start(&lab, 0, &certificate.arguments(at))?;
    let client = Client::tls(dial(&lab, 1, at)?, NAME, &certificate.authority, Some(&known))?;
    let mut watching = client.flows(follow(of_pod("apps/")))?;

    // Wrong, none, plain text, and a handshake that stops half-way: each is over, and nobody else notices.
    for own in [Some(&foreign), None] {
        let client = Client::tls(dial(&lab, 1, at)?, NAME, &certificate.authority, own);
        let answer = client.and_then(|client| status(&client));
        assert!(answer.is_err(), "{answer:?}");
    }
    assert!(
        Client::tcp(dial(&lab, 1, at)?)
            .and_then(|client| status(&client))
            .is_err()
    );
    let mut half = dial(&lab, 1, at)?;
    half.write_all(&[22, 3, 1, 2, 0])?;
    half.set_read_timeout(Some(SOON))?;
    refused(&pod, &echo)?;
    watching.find(|flow| flow.verdict == 3)?;
    // Closed by the server, without a word or with an alert.
    let mut rest = Vec::new();
    half.read_to_end(&mut rest).or_else(|error| match error.kind() {
        std::io::ErrorKind::ConnectionReset => Ok(0),
        _ => Err(error),
    })?;

    // Another authority's: who knows that one is served, who follows goes on.
    certificate.replace(&stranger)?;
    until("the new certificate", SOON, || {
        let client = Client::tls(dial(&lab, 1, at)?, NAME, &stranger, Some(&known));
        Ok(client.and_then(|client| status(&client)).ok())
    })?;
    agent.said("the certificate of gRPC with TLS was read again")?;
    let old = Client::tls(dial(&lab, 1, at)?, NAME, &certificate.authority, Some(&known));
    assert!(old.and_then(|client| status(&client)).is_err());
    refused(&pod, &echo)?;
    watching.find(|flow| flow.verdict == 3)?;
    agent.end()
}

#[test]
fn followers_hear_the_end_and_come_again() -> Result<()> {
    let lab = Lab::new()?;
    let echo = Echo::start(&lab, PORT)?;
    let pod = lab.pod("apps/checkout")?;
    let agent = Agent::start(&lab, 0, &[])?;
    let client = agent.client()?;
    let mut followers = (0..5)
        .map(|_| client.flows(follow(of_pod("apps/"))))
        .collect::<Result<Vec<_>, _>>()?;
    refused(&pod, &echo)?;
    agent.process.signal(Signal::TERM)?;
    for follower in &mut followers {
        // What was seen before the end is delivered, and then that it is the end.
        follower.find(|flow| flow.verdict == 3)?;
        let end = loop {
            match follower.read() {
                Ok(Some(_)) => {}
                Ok(None) => bail!("it is no good end"),
                Err(end) => break end,
            }
        };
        assert_eq!(end.code(), Code::Unavailable, "{end}");
    }
    agent.end()?;
    let agent = Agent::start(&lab, 0, &[])?;
    let client = agent.client()?;
    let mut again = client.flows(follow(of_pod("apps/")))?;
    refused(&pod, &echo)?;
    again.find(|flow| flow.verdict == 3)?;
    agent.end()
}

/// How many came and how many were missed until a refused connect of this pod came, that included.
fn count(answers: &mut Answers<GetFlowsResponse>, pod: &str) -> Result<(u64, u64)> {
    let (mut came, mut missed) = (0, 0);
    loop {
        let answer = answers.read()?.context("the stream ended")?;
        match &answer.lost_events {
            Some(lost) if lost.source == 3 => missed += lost.num_events_lost,
            _ => came += 1,
        }
        let is_last = |flow: Flow| flow.verdict == 3 && flow.source.is_some_and(|of| of.pod_name == pod);
        if answer.flow.is_some_and(is_last) {
            return Ok((came, missed));
        }
    }
}

#[test]
fn who_reads_slowly_misses_flows_by_number_and_holds_up_nobody() -> Result<()> {
    /// Each makes a query and an answer.
    const QUERIES: u64 = 20_000;
    let lab = Lab::new()?;
    let echo = Echo::start(&lab, PORT)?;
    let pod = lab.pod("apps/flood")?;
    let agent = Agent::start(&lab, 0, &["--flows=1000".to_owned()])?;
    let client = agent.client()?;
    let before = status(&client)?.seen_flows;
    // None of these reads a thing until the flood is over.
    let slow_clients = (0..20).map(|_| agent.client()).collect::<Result<Vec<_>>>()?;
    let mut slow = slow_clients
        .iter()
        .map(|client| client.flows(follow(GetFlowsRequest::default())))
        .collect::<Result<Vec<_>, _>>()?;
    let rss = || -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", agent.process.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        Ok(line.context("no VmRSS")?.trim().trim_end_matches(" kB").parse()?)
    };
    let server = format!("{}:53", lab.dns().pod.v4);
    let flood = |pod_after: &str| -> Result<(u64, Pod)> {
        let burst = QUERIES.to_string();
        let said = says(
            &pod,
            &["query", &server, "collector.example", "A", "--burst", &burst],
        )?;
        anyhow::ensure!(said["answered"].as_u64() == Some(QUERIES), "{said}");
        let after = lab.pod(pod_after)?;
        refused(&after, &echo)?;
        wait_for_refused(&client, pod_after)?;
        Ok((rss()?, after))
    };
    let (memory, _) = flood("apps/first")?;
    // 20 readers that do not read cost no more with every flow.
    let (more, last) = flood("apps/second")?;
    let grown = more.saturating_sub(memory);
    assert!(grown < 8 << 10, "{grown} KiB more");
    let kept = status(&client)?;
    assert_eq!((kept.num_flows, kept.max_flows), (1_000, 1_000));
    assert!(kept.seen_flows > before + 2 * QUERIES, "{kept:?}");
    let newest = client.flows(GetFlowsRequest {
        number: 10,
        ..GetFlowsRequest::default()
    })?;
    assert_eq!(
        newest
            .rest()?
            .iter()
            .filter(|answer| answer.flow.is_some())
            .count(),
        10
    );
    // Whatever part of it each of them got, it knows of all.
    let counts = slow
        .iter_mut()
        .map(|reader| count(reader, &last.name))
        .collect::<Result<Vec<_>>>()?;
    for (came, missed) in &counts {
        assert!(*missed > 0 && *came > 0, "{counts:?}");
        assert_eq!(came + missed, counts[0].0 + counts[0].1, "{counts:?}");
    }
    // What is asked for and is not kept any more is told first.
    let beyond = client
        .flows(GetFlowsRequest {
            first: true,
            number: 1,
            ..GetFlowsRequest::default()
        })?
        .rest()?;
    let lost = beyond[0].lost_events.as_ref().context("a loss")?;
    assert!(
        lost.source == 3 && lost.num_events_lost >= kept.seen_flows - 1_000,
        "{lost:?}"
    );
    assert!(lost.first.is_some() && lost.last.is_some());
    agent.end()
}

#[test]
fn a_thousand_connections_keep_nobody_out() -> Result<()> {
    let lab = Lab::new()?;
    let agent = Agent::start(&lab, 0, &["--listen=tcp://127.0.0.1:4244".to_owned()])?;
    let at = SocketAddr::from(([127, 0, 0, 1], HUBBLE));
    let client = agent.client()?;
    let crowd = lab.node(0)?.netns.within(|| {
        (0..1_000)
            .map(|_| Ok(TcpStream::connect(at)?))
            .collect::<Result<Vec<_>>>()
    })?;
    agent.said("connections are open: those that ask nothing are closed for others")?;
    status(&client)?;
    // They keep nobody out at their own either, and who asks stays.
    let same = Client::tcp(dial(&lab, 0, at)?)?;
    let mut watching = same.flows(follow(of_pod("apps/")))?;
    let more = lab.node(0)?.netns.within(|| {
        (0..1_000)
            .map(|_| Ok(TcpStream::connect(at)?))
            .collect::<Result<Vec<_>>>()
    })?;
    let echo = Echo::start(&lab, PORT)?;
    refused(&lab.pod("apps/checkout")?, &echo)?;
    watching.find(|flow| flow.verdict == 3)?;
    drop((crowd, more));
    agent.end()
}

#[test]
fn other_machines_are_served_in_plain_text_only_if_somebody_says_so() -> Result<()> {
    let lab = Lab::new()?;
    let at = place(&lab, 0)?;
    let (mut command, _) = Agent::command(&lab, 0)?;
    command.arg(format!("--listen=tcp://{at}"));
    let (code, _, said) = process::run(command)?;
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("--tls-cert") && said.contains("--allow-plain-text"),
        "{said}"
    );

    let more = [format!("--listen=tcp://{at}"), "--allow-plain-text".to_owned()];
    let agent = Agent::start(&lab, 0, &more)?;
    let client = Client::tcp(dial(&lab, 1, at)?)?;
    status(&client)?;
    // Flows are what was said; what failed, and active checks, are for people who are known.
    let diagnosis = refusal(client.ask::<_, Nothing>("/obsflow.v1.Diagnosis/GetReport", Nothing {}));
    assert_eq!(diagnosis.code(), Code::Unimplemented, "{diagnosis}");
    agent.end()
}
