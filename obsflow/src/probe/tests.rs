use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use super::*;
use crate::model::expectation::{Host, Transport};
use crate::model::probe::{Outcome, Step};
use crate::testing::TempNetns;

/// Checks run one at a time; tests of one process take turns.
static TURN: Mutex<()> = Mutex::new(());

/// A process in a network namespace of its own.
struct Pod {
    netns: TempNetns,
    process: Child,
}

impl Pod {
    fn new() -> Self {
        let netns = TempNetns::new();
        netns.ip("link set lo up");
        // The child keeps the namespace of the thread that starts it.
        let process = netns.run(|| {
            Command::new("sleep")
                .arg("600")
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        });
        Self { netns, process }
    }

    fn request(&self, host: Host, port: u16) -> Request {
        Request {
            proc: "/proc".into(),
            pid: self.process.id(),
            endpoint: Endpoint {
                host,
                port,
                tls: Some(false),
                path: Some("/v1/traces".into()),
                transport: Transport::HttpProtobuf,
            },
            signal: Some(Signal::Traces),
            namespace: None,
            proxy: None,
        }
    }

    /// A server in the pod that answers every connection with these bytes; it ends with the test's process.
    fn serve(&self, port: u16, answer: &'static [u8]) -> Arc<Mutex<Vec<Vec<u8>>>> {
        let listener = self
            .netns
            .run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut bytes = vec![0; 4096];
                let length = stream.read(&mut bytes).unwrap_or(0);
                if length > 0 {
                    bytes.truncate(length);
                    record.lock().unwrap().push(bytes);
                    let _ = stream.write_all(answer);
                }
            }
        });
        requests
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn localhost() -> Host {
    Host::Ip(Ipv4Addr::LOCALHOST.into())
}

#[track_caller]
fn find(findings: &Findings, step: Step) -> &Check {
    findings
        .checks
        .iter()
        .find(|check| check.step == step)
        .unwrap_or_else(|| panic!("no {step} in {findings:#?}"))
}

#[test]
fn a_server_is_asked_from_inside_and_nothing_but_an_empty_export_is_sent() {
    let _turn = TURN.lock();
    let pod = Pod::new();
    let requests = pod.serve(4318, b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    let mut heard = Vec::new();
    let request = pod.request(localhost(), 4318);
    let findings = run(&request, &Limits::default(), |check| heard.push(check.clone())).unwrap();
    assert_eq!(heard, findings.checks);
    assert_eq!(findings.works, Some(true));
    assert_eq!(
        find(&findings, Step::ResolveAsConfigured).outcome,
        Outcome::Skipped
    );
    assert_eq!(find(&findings, Step::Connect).outcome, Outcome::Ok);
    let export = find(&findings, Step::ExportHttpProtobuf);
    assert_eq!(export.outcome, Outcome::Ok);
    assert_eq!(
        &*export.detail,
        "HTTP 401: reachable; it asks for credentials, which a check never sends"
    );
    assert_eq!(
        &*find(&findings, Step::ExportGrpc).detail,
        "the server answers in HTTP/1.1: it does not speak gRPC here"
    );
    let requests = requests.lock().unwrap();
    let http = String::from_utf8_lossy(&requests[0]).to_ascii_lowercase();
    assert_eq!(
        http,
        format!(
            "post /v1/traces http/1.1\r\nuser-agent: {USER_AGENT}\r\ncontent-type: application/x-protobuf\r\n\
             content-length: 0\r\nhost: 127.0.0.1:4318\r\n\r\n"
        )
    );
    assert!(requests[1].starts_with(b"PRI * HTTP/2.0\r\n"));
}

#[test]
fn a_port_that_nobody_listens_on() {
    let _turn = TURN.lock();
    let pod = Pod::new();
    let findings = run(&pod.request(localhost(), 4318), &Limits::default(), |_| ()).unwrap();
    assert_eq!(&*find(&findings, Step::Connect).detail, "ECONNREFUSED");
    assert_eq!(
        find(&findings, Step::ExportHttpProtobuf).outcome,
        Outcome::Skipped
    );
    assert_eq!(findings.works, Some(false));
    assert!(
        findings.conclusion[0].starts_with("Connections to port 4318 are refused by 127.0.0.1"),
        "{:?}",
        findings.conclusion
    );
}

#[test]
fn an_answer_that_never_comes_is_given_up_in_time() {
    let _turn = TURN.lock();
    let pod = Pod::new();
    // Takes connections and reads nothing.
    let _listener = pod
        .netns
        .run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 4318)).unwrap());
    let limits = Limits {
        total: Duration::from_secs(1),
        exchange: Duration::from_millis(300),
        ..Limits::default()
    };
    let began = Instant::now();
    let findings = run(&pod.request(localhost(), 4318), &limits, |_| ()).unwrap();
    assert!(began.elapsed() < limits.total + Duration::from_secs(2));
    assert_eq!(
        &*find(&findings, Step::ExportHttpProtobuf).detail,
        "no answer in 0.3 s after the request was sent"
    );
    let late: Vec<&str> = findings
        .checks
        .iter()
        .filter(|check| check.detail.contains("is used up"))
        .map(|check| check.step.name())
        .collect();
    assert!(!late.is_empty(), "{findings:#?}");
    assert_eq!(findings.works, Some(false));
}

/// Answers every query over UDP with this RCODE.
fn name_server(pod: &Pod, ip: IpAddr, rcode: u8) -> Arc<Mutex<u32>> {
    let socket = pod
        .netns
        .run(|| UdpSocket::bind(SocketAddr::new(ip, 53)).unwrap());
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            *count.lock().unwrap() += 1;
            query[2] |= 0x80;
            query[3] = rcode;
            let _ = socket.send_to(&query[..length], from);
        }
    });
    asked
}

#[test]
fn names_are_asked_for_inside_and_not_too_many() {
    let _turn = TURN.lock();
    let pod = Pod::new();
    // The machine's own resolv.conf is what this pod has; its servers are addresses of the pod here.
    let files = pod::Pod::open("/proc".as_ref(), pod.process.id())
        .unwrap()
        .files()
        .unwrap();
    let mut asked = Vec::new();
    for server in &files.resolv_conf.servers {
        let length = if server.is_ipv4() { 32 } else { 128 };
        if !server.is_loopback() {
            pod.netns.ip(&format!("addr add {server}/{length} dev lo"));
        }
        asked.push(name_server(&pod, *server, 3));
    }
    let name = Host::Name("collector.observability.svc".into());
    let findings = run(&pod.request(name, 4318), &Limits::default(), |_| ()).unwrap();
    let check = find(&findings, Step::ResolveAsConfigured);
    assert_eq!(check.outcome, Outcome::Failed);
    assert!(
        check
            .detail
            .starts_with("NXDOMAIN for collector.observability.svc"),
        "{}",
        check.detail
    );
    let full = find(&findings, Step::ResolveFullyQualified);
    assert_eq!(full.outcome, Outcome::Failed);
    assert!(
        full.detail.contains("collector.observability.svc.cluster.local"),
        "{}",
        full.detail
    );
    assert_eq!(findings.works, Some(false));
    let queries = *asked[0].lock().unwrap();
    assert!((4..=2 * Limits::default().names).contains(&queries), "{queries}");
}

#[test]
fn one_at_a_time_and_only_processes_that_live() {
    let _turn = TURN.lock();
    let mut pod = Pod::new();
    let request = pod.request(localhost(), 4318);
    let held = Turn::take().unwrap();
    assert!(matches!(
        run(&request, &Limits::default(), |_| ()),
        Err(ProbeError::Busy)
    ));
    drop(held);
    pod.process.kill().unwrap();
    pod.process.wait().unwrap();
    let error = run(&request, &Limits::default(), |_| ()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("checks need root and a container that runs"),
        "{error}"
    );
    assert!(Turn::take().is_some(), "a check that fails gives its turn back");
}
