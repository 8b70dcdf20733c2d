//! Agents at a port of the loopback interface: what they answer, what not, and who may hold them up.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::convert::tests::sample_report;
use super::incoming::MAX_CONNECTIONS;
use super::{Address, Client, ClientError, Listener, Next, Publisher, Remote, RemoteError, ServeError};
use crate::model::Clock;
use crate::testing::TempDir;

const CLOCK: Clock = Clock { offset_ns: 0 };
const SOON: Duration = Duration::from_secs(20);

struct Running {
    at: SocketAddr,
    unix: Address,
    publisher: Publisher,
    thread: JoinHandle<()>,
    _dir: TempDir,
}

/// An agent that listens at a port and at a path, on one thread as the real one.
fn start() -> Running {
    let dir = TempDir::new();
    let publisher = Publisher::new("node-1");
    publisher.report(Arc::new(sample_report()), CLOCK);
    let port = Listener::bind(&Address::parse("tcp://127.0.0.1:0").unwrap()).unwrap();
    let Address::Tcp(at) = *port.address() else {
        panic!("{:?}", port.address());
    };
    let unix = Address::parse(&format!("unix://{}/agent.sock", dir.path().display())).unwrap();
    let path = Listener::bind(&unix).unwrap();
    let servers = (publisher.server(), publisher.server());
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (one, other) = tokio::join!(servers.0.serve(&port), servers.1.serve(&path));
            one.unwrap();
            other.unwrap();
        });
    });
    Running {
        at,
        unix,
        publisher,
        thread,
        _dir: dir,
    }
}

impl Running {
    fn end(self) {
        self.publisher.end();
        self.thread.join().unwrap();
    }
}

/// Both ends of connections are in this process.
fn allow_many_files() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: limit.maximum,
        ..limit
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
}

fn client(at: SocketAddr) -> Client {
    Client::connect(&format!("tcp://{at}")).unwrap()
}

#[test]
fn a_port_answers_like_a_socket_but_checks_nothing() {
    let running = start();
    assert!(running.at.port() > 0 && running.at.ip().is_loopback());
    let mut by_port = client(running.at);
    assert_eq!(by_port.report().unwrap().report, sample_report());
    let id = sample_report().exports[0].id.clone();
    let error = by_port.probe(&id, |_| ()).unwrap_err();
    assert!(matches!(error, ClientError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("over a unix socket only"), "{error}");
    // Over the socket of the same agent the question is taken: its answer is about the exporter.
    let mut by_path = Client::connect_to(&running.unix).unwrap();
    let error = by_path.probe("ffffffffffff", |_| ()).unwrap_err().to_string();
    assert!(error.contains("there is no exporter"), "{error}");
    drop((by_port, by_path));
    running.end();
}

#[test]
fn a_port_that_is_taken_is_said() {
    let running = start();
    let taken = Address::Tcp(running.at);
    let error = Listener::bind(&taken).unwrap_err();
    assert!(matches!(&error, ServeError::Busy(at) if *at == taken), "{error}");
    let at = running.at;
    running.end();
    assert!(matches!(
        Client::connect(&format!("tcp://{at}")),
        Err(ClientError::Stale(_))
    ));
}

/// As many as there is room for that say nothing, and a thousand more: whoever is served goes on, and the socket of the node
/// answers as before.
#[test]
fn a_thousand_silent_connections_disturb_nobody() {
    let running = start();
    let mut served = client(running.at);
    served.report().unwrap();
    allow_many_files();
    let mut silent: Vec<TcpStream> = (0..MAX_CONNECTIONS + 1000)
        .map(|_| TcpStream::connect(running.at).unwrap())
        .collect();
    // Half a greeting is none.
    for stream in &mut silent {
        let _ = stream.write_all(b"PRI * HTTP/2.0");
    }
    let began = Instant::now();
    assert_eq!(served.report().unwrap().report, sample_report());
    let mut by_path = Client::connect_to(&running.unix).unwrap();
    assert_eq!(by_path.report().unwrap().report, sample_report());
    assert!(began.elapsed() < SOON / 2, "{:?}", began.elapsed());
    // Most are closed for those that come behind them, the others when they have said nothing for long enough.
    for stream in &mut silent {
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut rest = Vec::new();
        let closed = stream.read_to_end(&mut rest);
        assert!(
            !matches!(&closed, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
            "{closed:?}"
        );
    }
    drop(silent);
    assert_eq!(client(running.at).report().unwrap().report, sample_report());
    drop((served, by_path));
    running.end();
}

/// More of them than there are places, alive as HTTP/2 knows it: whoever asks finds a place, and keeps it.
#[test]
fn who_asks_nothing_keeps_nobody_out() {
    let running = start();
    allow_many_files();
    let mut served = client(running.at);
    served.report().unwrap();
    let crowd = || -> Vec<TcpStream> {
        (0..MAX_CONNECTIONS)
            .map(|_| {
                let mut stream = TcpStream::connect(running.at).unwrap();
                // And no settings.
                let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
                stream
            })
            .collect()
    };
    let first = crowd();
    let mut other = client(running.at);
    assert_eq!(other.report().unwrap().report, sample_report());
    let mut reports = other.watch().unwrap();
    assert!(matches!(reports.next_within(SOON), Ok(Next::Report(_))));
    let second = crowd();
    // A connection that asked before is not the first to go.
    assert_eq!(served.report().unwrap().report, sample_report());
    running.publisher.end();
    assert!(matches!(reports.next_within(SOON), Ok(Next::Ended)));
    drop((first, second, served, other));
    running.thread.join().unwrap();
}

#[test]
fn a_stream_that_is_open_already_is_enough() {
    let running = start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(running.at).await.unwrap();
        let mut remote = Remote::over(stream).await.unwrap();
        assert_eq!(remote.report().await.unwrap().report, sample_report());
        let mut reports = remote.watch().await.unwrap();
        let first = reports.next().await.unwrap().unwrap();
        assert_eq!((&*first.node, first.report), ("node-1", sample_report()));
        running.publisher.end();
        assert!(reports.next().await.unwrap().is_none());
        // Something else, at the other end of a pipe.
        let (near, mut far) = tokio::io::duplex(1024);
        let other = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt as _;
            far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        });
        let error = match Remote::over(near).await {
            Ok(mut remote) => remote.report().await.unwrap_err(),
            Err(error) => error,
        };
        assert!(
            matches!(error, RemoteError::NotAnAgent(_) | RemoteError::Ended),
            "{error}"
        );
        other.await.unwrap();
    });
    running.thread.join().unwrap();
}
