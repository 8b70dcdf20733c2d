use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::*;
use crate::kernel::cgroupfs::CgroupFs;
use crate::model::event::{Comm, Endpoints};
use crate::model::{Event, EventBody};
use crate::testing::{TempCgroup, TempDir, TempNetns, wait_for};

/// A namespace with loopback, and a folder that names it alone.
struct Lab {
    netns: TempNetns,
    names: TempDir,
}

impl Lab {
    fn new() -> Self {
        let netns = TempNetns::new();
        netns.ip("link set lo up");
        let names = TempDir::new();
        std::os::unix::fs::symlink(&netns.namespace.path, names.path().join("lab")).unwrap();
        Self { netns, names }
    }

    fn places(&self) -> Places {
        Places {
            proc: "/proc".into(),
            netns: self.names.path().to_owned(),
        }
    }

    /// A listener and connections to it: client and server ends.
    fn connected(&self, listen: &str, connect: &str, count: usize) -> Vec<(TcpStream, TcpStream)> {
        self.netns.run(|| {
            let listener = TcpListener::bind(listen).unwrap();
            (0..count)
                .map(|_| {
                    let client = TcpStream::connect(connect).unwrap();
                    (client, listener.accept().unwrap().0)
                })
                .collect()
        })
    }

    fn adopted(&self, port: u16) -> Vec<Connection> {
        let adoption = adopt(&BTreeSet::from([port, 4318, 9090]), &self.places()).unwrap();
        assert!(adoption.failed.is_empty(), "{:?}", adoption.failed);
        let here = |connection: &Connection| connection.netns == self.netns.namespace.inode;
        adoption.connections.into_iter().filter(here).collect()
    }

    fn one(&self, port: u16) -> Connection {
        let mut found = self.adopted(port);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }
}

fn cookie(socket: &TcpStream) -> u64 {
    rustix::net::sockopt::socket_cookie(socket).unwrap()
}

fn event(connection: &Connection, body: EventBody) -> Event {
    Event {
        at: Mono(1),
        cgroup: connection.cgroup,
        cookie: connection.cookie,
        netns: connection.netns,
        pid: connection.pid,
        body,
    }
}

fn established(connection: &Connection) -> Event {
    let ends = Endpoints {
        local: connection.local,
        remote: connection.remote,
    };
    event(
        connection,
        EventBody::Established {
            ends,
            handshake: Default::default(),
        },
    )
}

#[test]
fn clients_are_adopted_with_cookie_process_and_payload_bytes() {
    // The last is a client with an IPv6 socket that talks IPv4.
    for (listen, connect, remote) in [
        ("127.0.0.1:4317", "127.0.0.1:4317", "127.0.0.1:4317"),
        ("[::1]:4317", "[::1]:4317", "[::1]:4317"),
        ("127.0.0.1:4317", "[::ffff:127.0.0.1]:4317", "127.0.0.1:4317"),
    ] {
        let lab = Lab::new();
        let mut pairs = lab.connected(listen, connect, 1);
        let (client, server) = &mut pairs[0];
        let fresh = lab.one(4317);
        assert_eq!(
            (fresh.bytes_acked(), fresh.bytes_received(), fresh.state),
            (0, 0, 1)
        );

        client.write_all(&[7; 1000]).unwrap();
        server.read_exact(&mut [0; 1000]).unwrap();
        server.write_all(&[7; 70]).unwrap();
        client.read_exact(&mut [0; 70]).unwrap();
        let counted = wait_for("payload to be acknowledged", || {
            Some(lab.one(4317)).filter(|c| c.bytes_acked() > 0)
        });
        assert_eq!((counted.bytes_acked(), counted.bytes_received()), (1000, 70));
        assert_eq!(counted.cookie, cookie(client));
        assert_eq!(counted.remote, remote.parse().unwrap());
        assert_eq!(counted.local.port(), client.local_addr().unwrap().port());
        assert_eq!(counted.pid, std::process::id());
        assert_eq!(
            counted.comm,
            crate::kernel::process::comm(Path::new("/proc"), counted.pid).unwrap()
        );

        let record = counted.adopted(Mono(5));
        assert_eq!(
            (record.header.kind, record.header.len, record.header.ts_ns),
            (kind::ADOPTED, 120, 5)
        );
        assert_eq!((record.tuple.remote_port, record.bytes_acked), (4317, 1000));
        assert_eq!(crate::model::event::ip(record.tuple.remote), counted.remote.ip());

        // The FINs of both sides are no payload.
        client.shutdown(Shutdown::Write).unwrap();
        let half = wait_for("FIN_WAIT2", || {
            Some(lab.one(4317)).filter(|c| c.state == FIN_WAIT2)
        });
        assert_eq!((half.bytes_acked(), half.bytes_received()), (1000, 70));
    }
}

#[test]
fn a_peer_that_closed_first_counts_no_fin() {
    let lab = Lab::new();
    let mut pairs = lab.connected("127.0.0.1:9090", "127.0.0.1:9090", 1);
    let (_client, mut server) = pairs.remove(0);
    server.write_all(&[1; 33]).unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    let found = wait_for("CLOSE_WAIT", || {
        Some(lab.one(9090)).filter(|c| c.state == CLOSE_WAIT)
    });
    assert_eq!((found.bytes_acked(), found.bytes_received()), (0, 33));
}

#[test]
fn servers_listeners_and_other_ports_are_left_alone() {
    let lab = Lab::new();
    let _other = lab.connected("127.0.0.1:5000", "127.0.0.1:5000", 1);
    let pairs = lab.connected("127.0.0.1:4317", "127.0.0.1:4317", 3);
    let mut cookies: Vec<u64> = lab
        .adopted(4317)
        .iter()
        .map(|connection| connection.cookie)
        .collect();
    let mut clients: Vec<u64> = pairs.iter().map(|(client, _)| cookie(client)).collect();
    cookies.sort_unstable();
    clients.sort_unstable();
    assert_eq!(cookies, clients);
    assert!(
        adopt(&BTreeSet::new(), &lab.places())
            .unwrap()
            .connections
            .is_empty()
    );
    let many: BTreeSet<u16> = (4000..5000).collect();
    let found = adopt(&many, &lab.places()).unwrap().connections;
    assert_eq!(
        found
            .iter()
            .filter(|c| c.netns == lab.netns.namespace.inode)
            .count(),
        3
    );
}

/// Kills the child when the test is over.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn cgroup_and_process_of_a_client_elsewhere() {
    let lab = Lab::new();
    let mount =
        CgroupFs::find(Path::new("/proc/self/mounts")).expect("this test needs the cgroup2 hierarchy");
    let cgroup = TempCgroup::new(mount.path());
    let listener = lab.netns.run(|| TcpListener::bind("127.0.0.1:4317").unwrap());
    let script = format!(
        "echo $$ > {}/cgroup.procs && exec 3<>/dev/tcp/127.0.0.1/4317 && read -r _ <&3",
        cgroup.0.display()
    );
    let child = lab.netns.run(|| {
        Command::new("bash")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .spawn()
            .unwrap()
    });
    let child = Killed(child);
    let _server = listener.accept().unwrap();
    let found = lab.one(4317);
    assert_eq!(found.pid, child.0.id());
    assert_eq!(Comm::new(found.comm).to_string(), "bash");
    assert_eq!(found.cgroup, fs::metadata(&cgroup.0).unwrap().ino());
    drop(child);
    // Until its zombie is gone the cgroup cannot go.
    wait_for("the cgroup to be empty", || {
        fs::read_to_string(cgroup.0.join("cgroup.procs"))
            .ok()
            .filter(String::is_empty)
    });
}

#[test]
fn an_attempt_that_nobody_answers_is_adopted_too() {
    let lab = Lab::new();
    lab.netns.ip("link add hole type veth peer name deep");
    lab.netns.ip("link set hole up");
    lab.netns.ip("link set deep up");
    lab.netns.ip("address add 192.0.2.1/24 dev hole");
    lab.netns
        .ip("neighbour add 192.0.2.9 lladdr 02:00:00:00:00:09 dev hole");
    let _stuck = lab.netns.run(|| {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
        let socket = socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::NONBLOCK,
            None,
        )
        .unwrap();
        let to: SocketAddr = "192.0.2.9:4317".parse().unwrap();
        assert_eq!(connect(&socket, &to), Err(rustix::io::Errno::INPROGRESS));
        socket
    });
    let found = lab.one(4317);
    assert_eq!(
        (
            found.state,
            found.bytes_acked(),
            found.remote.to_string().as_str()
        ),
        (2, 0, "192.0.2.9:4317")
    );
}

#[test]
fn the_monitor_asks_about_open_connections_only() {
    let lab = Lab::new();
    let mut pairs = lab.connected("127.0.0.1:4317", "127.0.0.1:4317", 2);
    pairs.extend(lab.connected("[::1]:4318", "[::1]:4318", 1));
    let mut monitor = Monitor::new(lab.places());
    assert!(monitor.is_idle() && monitor.poll(Mono(1)).is_empty());
    for connection in lab.adopted(4317) {
        monitor.on(&established(&connection));
    }
    let (client, server) = &mut pairs[0];
    client.write_all(&[7; 500]).unwrap();
    server.read_exact(&mut [0; 500]).unwrap();
    let records = wait_for("an acknowledgement", || {
        let records = monitor.poll(Mono(2));
        records
            .iter()
            .any(|record| record.bytes_acked > 0)
            .then_some(records)
    });
    assert_eq!(records.len(), 3);
    let busy = records
        .iter()
        .find(|record| record.header.cookie == cookie(client))
        .unwrap();
    assert_eq!(
        (busy.bytes_acked, busy.bytes_received, busy.unacked, busy.backoff),
        (500, 0, 0, 0)
    );
    assert_eq!(
        (busy.header.kind, busy.header.len, busy.state),
        (kind::TCP_INFO, 136, 1)
    );
    assert_eq!(busy.header.pid, std::process::id());
    assert!(busy.rto_us >= 1000 && busy.rtt_us > 0, "{busy:?}");

    // One closes and says so, one closes unheard.
    let close = lab
        .adopted(4317)
        .into_iter()
        .find(|c| c.cookie == cookie(client))
        .unwrap();
    monitor.on(&event(&close, EventBody::Close(Box::new(close_of(&close)))));
    assert_eq!(monitor.stats().watched, 2);
    drop(pairs.remove(1));
    wait_for("the unheard one to be missed", || {
        monitor.poll(Mono(3));
        (monitor.stats().gone == 1).then_some(())
    });
    assert_eq!(monitor.stats().watched, 1);
    assert_eq!(monitor.poll(Mono(4)).len(), 1);
    assert_eq!(monitor.stats().failed, 0);
}

fn close_of(connection: &Connection) -> crate::model::event::Close {
    crate::model::event::Close {
        ends: Endpoints {
            local: connection.local,
            remote: connection.remote,
        },
        asked: None,
        comm: Comm::default(),
        duration: Default::default(),
        handshake: None,
        bytes_acked: 0,
        bytes_received: 0,
        errno: 0,
        soft_errno: 0,
        syn_retransmits: 0,
        retransmits: 0,
        outcome: crate::model::event::Outcome::Established,
        last_state: 1,
        rst: false,
        dropped: false,
    }
}

#[test]
fn a_namespace_that_nothing_leads_to_is_counted() {
    let lab = Lab::new();
    let pairs = lab.connected("127.0.0.1:4317", "127.0.0.1:4317", 1);
    let mut connection = lab.one(4317);
    let mut monitor = Monitor::new(lab.places());
    // Two namespaces that are gone: the second search comes a minute later.
    for (netns, cookie) in [(1, 1), (2, 2), (0, 3)] {
        (connection.netns, connection.cookie) = (netns, cookie);
        monitor.on(&established(&connection));
    }
    assert!(monitor.poll(Mono(1)).is_empty());
    assert_eq!((monitor.stats().unreachable, monitor.stats().watched), (2, 1));
    assert!(monitor.poll(Mono(2)).is_empty());
    assert_eq!(monitor.stats().watched, 1);
    assert!(monitor.poll(Mono(61_000_000_000)).is_empty());
    assert_eq!((monitor.stats().unreachable, monitor.is_idle()), (3, true));
    drop(pairs);
}

/// Not a benchmark, but a poll that walked the kernel's table for each connection would show here.
#[test]
fn many_connections_take_turns() {
    let lab = Lab::new();
    let pairs = lab.connected("127.0.0.1:4317", "127.0.0.1:4317", 300);
    let mut monitor = Monitor::new(lab.places());
    for connection in lab.adopted(4317) {
        monitor.on(&established(&connection));
    }
    let begun = Instant::now();
    let mut seen: HashSet<u64> = HashSet::new();
    for turn in 0..5 {
        let records = monitor.poll(Mono(turn));
        assert!(records.len() <= 64);
        seen.extend(records.iter().map(|record| record.header.cookie));
    }
    println!("320 questions in {:?}", begun.elapsed());
    assert_eq!(seen.len(), pairs.len());
}
