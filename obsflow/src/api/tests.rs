//! Server and client, over real sockets.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::convert::tests::{sample_report, sample_status};
use super::{Address, AddressError, Client, ClientError, Listener, Next, Publisher, ServeError};
use crate::model::expectation::{Endpoint, Host, Transport};
use crate::model::probe::Step;
use crate::model::verdict::Report;
use crate::model::{Clock, Workload};
use crate::testing::TempDir;

const CLOCK: Clock = Clock { offset_ns: 0 };
const SOON: Duration = Duration::from_secs(20);

struct Running {
    address: String,
    publisher: Publisher,
    thread: JoinHandle<()>,
    dir: TempDir,
}

fn start() -> Running {
    start_in(TempDir::new())
}

fn start_in(dir: TempDir) -> Running {
    let address = format!("unix://{}/run/agent.sock", dir.path().display());
    let publisher = Publisher::new("node-1");
    let server = publisher.server();
    let listener = Listener::bind(&Address::parse(&address).unwrap()).unwrap();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(server.serve(&listener)).unwrap();
    });
    Running {
        address,
        publisher,
        thread,
        dir,
    }
}

fn with_losses(events_lost: u64) -> Arc<Report> {
    Arc::new(Report {
        events_lost,
        ..sample_report()
    })
}

#[test]
fn what_is_published_is_answered() {
    let running = start();
    running.publisher.report(with_losses(3), CLOCK);
    running.publisher.status(sample_status());
    let mut client = Client::connect(&running.address).unwrap();
    let reported = client.report().unwrap();
    assert_eq!(reported.report, *with_losses(3));
    assert_eq!((&*reported.node, reported.clock), ("node-1", CLOCK));
    assert_eq!(reported.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(client.status().unwrap(), sample_status());
    drop(client);
    running.publisher.end();
    running.thread.join().unwrap();
}

/// Nothing answers a server's PING while nobody asks: after a minute or so it closes the connection.
#[test]
fn a_connection_that_was_closed_between_two_questions_is_made_anew() {
    let running = start();
    running.publisher.report(with_losses(1), CLOCK);
    let mut client = Client::connect(&running.address).unwrap();
    assert_eq!(client.report().unwrap().report.events_lost, 1);
    running.publisher.end();
    running.thread.join().unwrap();
    let running = start_in(running.dir);
    running.publisher.report(with_losses(2), CLOCK);
    running.publisher.status(sample_status());
    assert_eq!(client.report().unwrap().report.events_lost, 2);
    assert_eq!(client.status().unwrap(), sample_status());
    drop(client);
    running.publisher.end();
    running.thread.join().unwrap();
}

#[test]
fn watchers_get_changes_the_last_report_and_an_end() {
    let running = start();
    running.publisher.report(with_losses(1), CLOCK);
    let mut client = Client::connect(&running.address).unwrap();
    let mut reports = client.watch().unwrap();
    let mut lost = || match reports.next_within(SOON).unwrap() {
        Next::Report(reported) => Some(reported.report.events_lost),
        Next::Nothing => panic!("nothing came"),
        Next::Ended => None,
    };
    assert_eq!(lost(), Some(1));
    // The same once more is no change; if it were sent, it would come before the next.
    running.publisher.report(with_losses(1), CLOCK);
    running.publisher.report(with_losses(2), CLOCK);
    assert_eq!(lost(), Some(2));
    running.publisher.report(with_losses(3), CLOCK);
    running.publisher.end();
    assert_eq!(lost(), Some(3));
    assert_eq!(lost(), None);
    drop(client);
    running.thread.join().unwrap();
    assert!(matches!(
        Client::connect(&running.address),
        Err(ClientError::NoAgent(_))
    ));
}

/// The pipeline's thread never waits for somebody who watches and does not read.
#[test]
fn a_watcher_that_does_not_read_holds_nobody_up() {
    let running = start();
    running.publisher.report(with_losses(0), CLOCK);
    let mut client = Client::connect(&running.address).unwrap();
    let mut reports = client.watch().unwrap();
    let mut big = sample_report();
    let export = big.exports[0].clone();
    big.exports.resize(2000, export);
    for lost in 1..=50 {
        big.events_lost = lost;
        running.publisher.report(Arc::new(big.clone()), CLOCK);
    }
    running.publisher.end();
    let mut last = 0;
    let mut seen = 0;
    loop {
        match reports.next_within(SOON).unwrap() {
            Next::Report(reported) => {
                assert!(reported.report.events_lost >= last);
                last = reported.report.events_lost;
                seen += 1;
            }
            Next::Nothing => panic!("nothing came"),
            Next::Ended => break,
        }
    }
    assert_eq!(last, 50);
    assert!(seen <= 51);
    drop(client);
    running.thread.join().unwrap();
}

/// Who neither reads nor closes does not keep the agent from ending.
#[test]
fn an_end_does_not_wait_for_ever() {
    let running = start();
    running.publisher.report(with_losses(0), CLOCK);
    let mut client = Client::connect(&running.address).unwrap();
    let reports = client.watch().unwrap();
    running.publisher.end();
    running.thread.join().unwrap();
    drop(reports);
}

#[test]
fn a_socket_is_for_its_owner_and_group_and_goes_with_the_agent() {
    let dir = TempDir::new();
    let path = dir.path().join("a/b/agent.sock");
    let address = Address::parse(&format!("unix://{}", path.display())).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let listener = Listener::bind(&address).unwrap();
    assert_eq!(mode(&path), 0o660);
    assert_eq!(mode(path.parent().unwrap()), 0o755);
    assert!(matches!(Listener::bind(&address), Err(ServeError::Busy(_))));
    drop(listener);
    assert!(!path.exists());
    // Somebody else's file at the same path stays.
    let listener = Listener::bind(&address).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "mine").unwrap();
    drop(listener);
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn a_stale_socket_is_replaced_and_nothing_else() {
    let dir = TempDir::new();
    let address = |name: &str| Address::parse(&format!("unix://{}/{name}", dir.path().display())).unwrap();
    drop(UnixListener::bind(dir.path().join("stale")).unwrap());
    let connect = |address: &Address| Client::connect(&address.to_string());
    let error = connect(&address("stale")).unwrap_err();
    assert!(matches!(error, ClientError::Stale(_)) && error.is_absent());
    Listener::bind(&address("stale")).unwrap();

    fs::write(dir.path().join("file"), "mine").unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    std::os::unix::fs::symlink("/nowhere", dir.path().join("link")).unwrap();
    for name in ["file", "folder", "link"] {
        let error = Listener::bind(&address(name)).unwrap_err();
        assert!(matches!(error, ServeError::Foreign(_)), "{name}: {error}");
    }
    let _datagrams = UnixDatagram::bind(dir.path().join("datagrams")).unwrap();
    let error = Listener::bind(&address("datagrams")).unwrap_err();
    assert!(matches!(error, ServeError::Bind { .. }), "{error}");
    assert!(dir.path().join("datagrams").exists());
    let error = Listener::bind(&address("file/below")).unwrap_err();
    assert!(matches!(error, ServeError::Folder { .. }), "{error}");
}

/// Something else listens there: it is said, soon.
#[test]
fn who_speaks_no_grpc_is_no_agent() {
    let dir = TempDir::new();
    let path = dir.path().join("other");
    let other = UnixListener::bind(&path).unwrap();
    let thread = std::thread::spawn(move || {
        // The plain connection and gRPC's own.
        for _ in 0..2 {
            let (mut stream, _) = other.accept().unwrap();
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let error = Client::connect(&format!("unix://{}", path.display()))
        .and_then(|mut client| client.report())
        .unwrap_err();
    assert!(
        matches!(error, ClientError::NotAnAgent { .. } | ClientError::Ended(_)),
        "{error}"
    );
    thread.join().unwrap();
}

#[test]
fn addresses() {
    let long = format!("unix:///{}", "x".repeat(107));
    let fits = format!("unix:///{}", "x".repeat(106));
    assert!(Address::parse(&fits).is_ok());
    for (text, expected) in [
        ("/run/x", AddressError::Scheme("/run/x".into())),
        (
            "tcp://localhost:4244",
            AddressError::NoSocket("tcp://localhost:4244".into()),
        ),
        (
            "tcp://127.0.0.1",
            AddressError::NoSocket("tcp://127.0.0.1".into()),
        ),
        ("unix:/run/x", AddressError::Scheme("unix:/run/x".into())),
        ("unix://run/x", AddressError::Relative("unix://run/x".into())),
        ("unix://", AddressError::Relative("unix://".into())),
        ("unix:///", AddressError::NoFile("unix:///".into())),
        ("unix:///run/", AddressError::NoFile("unix:///run/".into())),
        ("unix:///a\0b", AddressError::Nul("unix:///a\0b".into())),
        (
            &long,
            AddressError::TooLong {
                address: long.clone(),
                bytes: 108,
            },
        ),
    ] {
        assert_eq!(Address::parse(text).unwrap_err(), expected, "{text}");
    }
    assert_eq!(Address::default().to_string(), super::DEFAULT);
    assert_eq!(Address::parse(super::DEFAULT).unwrap(), Address::default());
    for text in [
        "tcp://127.0.0.1:4244",
        "tcp://[::1]:4244",
        "tcp://127.8.9.10:1",
        "tcp://[::ffff:127.0.0.1]:1",
    ] {
        assert_eq!(Address::parse(text).unwrap().to_string(), text);
    }
}

/// Checks of an export whose process is this test: root, over the socket, from inside its own network namespace.
#[test]
fn an_exporter_of_the_report_is_checked_and_no_other() {
    let running = start();
    let mut report = sample_report();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = cgroups.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    let export = &mut report.exports[0];
    export.pid = Some(std::process::id());
    export.workload = Arc::new(Workload {
        cgroup_path: Some(own.trim_start_matches('/').into()),
        ..Workload::default()
    });
    export.endpoint = Some(Endpoint {
        host: Host::Ip([127, 0, 0, 1].into()),
        port,
        tls: Some(false),
        path: None,
        transport: Transport::Grpc,
    });
    let id = Arc::clone(&export.id);
    running.publisher.report(Arc::new(report), CLOCK);
    let mut client = Client::connect(&running.address).unwrap();
    let mut heard = Vec::new();
    let findings = client.probe(&id, |check| heard.push(check.clone())).unwrap();
    assert_eq!(heard, findings.checks);
    assert_eq!(findings.works, Some(false));
    let connect = heard.iter().find(|check| check.step == Step::Connect).unwrap();
    assert_eq!(&*connect.target, format!("127.0.0.1:{port}"));
    assert_eq!(&*connect.detail, "ECONNREFUSED");
    let error = client.probe("ffffffffffff", |_| ()).unwrap_err().to_string();
    assert!(error.contains("there is no exporter"), "{error}");
    drop(client);
    running.publisher.end();
    running.thread.join().unwrap();
}

/// Whoever came by a port, or by none that is known.
#[test]
fn checks_are_for_root_over_a_unix_socket() {
    let nobody: tonic::Request<()> = tonic::Request::new(());
    let refused = super::probe::permitted(&nobody).unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
}
