//! Traffic loops: one thread, both ends on loopback, so that nothing but the path through the kernel is measured.
//!
//! Each runs in a process of its own, because a socket belongs to the cgroup of the process that makes it. The unit
//! of cost is the thread's CPU time: what other processes of the machine take does not count.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

/// What is sent in a request and in a response.
const SMALL: usize = 64;
/// Rounds between two looks at the clock.
const STEP: u64 = 16;

/// A kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Request and response over UDP, both sockets connected.
    Udp,
    /// The same with `sendto` on sockets that are not connected.
    UdpUnconnected,
    /// Request and response over one TCP connection.
    Tcp,
    /// connect, accept, close.
    Connect,
    /// A DNS query and its answer.
    Dns,
}

impl Kind {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::UdpUnconnected => "udp-unconnected",
            Self::Tcp => "tcp",
            Self::Connect => "connect",
            Self::Dns => "dns",
        }
    }

    fn by_name(name: &str) -> Option<Self> {
        [
            Self::Udp,
            Self::UdpUnconnected,
            Self::Tcp,
            Self::Connect,
            Self::Dns,
        ]
        .into_iter()
        .find(|kind| kind.name() == name)
    }
}

/// What a loop did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    /// Rounds: one request and its response, or one connection.
    pub(crate) rounds: u64,
    /// CPU time of the thread, in nanoseconds.
    pub(crate) cpu_ns: u64,
    /// Time on the clock, in nanoseconds.
    pub(crate) wall_ns: u64,
}

impl Done {
    /// CPU time of a round, in nanoseconds.
    pub(crate) fn ns(self) -> f64 {
        self.cpu_ns as f64 / self.rounds.max(1) as f64
    }

    /// From the line that [`run`] printed.
    pub(crate) fn parse(line: &str) -> Result<Self> {
        let value: serde_json::Value =
            serde_json::from_str(line).with_context(|| format!("no result: {line:?}"))?;
        let field = |name: &str| {
            value[name]
                .as_u64()
                .with_context(|| format!("no {name} in {line}"))
        };
        Ok(Self {
            rounds: field("rounds")?,
            cpu_ns: field("cpu_ns")?,
            wall_ns: field("wall_ns")?,
        })
    }
}

/// `load KIND MILLISECONDS PORT [RATE]`: runs a loop and prints what it did. `RATE` is rounds in a second, as many as
/// possible without it.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let [kind, ms, port, rest @ ..] = args else {
        bail!("load KIND MILLISECONDS PORT [RATE]");
    };
    let kind = Kind::by_name(kind).with_context(|| format!("no such traffic: {kind}"))?;
    let clock = Clock::new(
        Duration::from_millis(ms.parse().context("MILLISECONDS")?),
        rest.first()
            .map(|rate| rate.parse())
            .transpose()
            .context("RATE")?,
    );
    let port: u16 = port.parse().context("PORT")?;
    let done = match kind {
        Kind::Udp => udp(clock, port, true),
        Kind::UdpUnconnected => udp(clock, port, false),
        Kind::Tcp => tcp(clock, port),
        Kind::Connect => connect(clock, port),
        Kind::Dns => dns(clock, port),
    }
    .with_context(|| format!("{} on port {port}", kind.name()))?;
    println!(
        "{}",
        json!({"rounds": done.rounds, "cpu_ns": done.cpu_ns, "wall_ns": done.wall_ns})
    );
    Ok(())
}

/// Repeats a round for a while, at a rate if there is one.
#[derive(Clone, Copy)]
struct Clock {
    length: Duration,
    per_second: Option<u64>,
}

impl Clock {
    fn new(length: Duration, per_second: Option<u64>) -> Self {
        Self { length, per_second }
    }

    fn repeat(self, mut round: impl FnMut(u64) -> Result<()>) -> Result<Done> {
        // The first rounds fill caches, neighbour entries and pages.
        for number in 0..STEP {
            round(number)?;
        }
        let (cpu, began) = (thread_cpu(), Instant::now());
        let mut rounds = 0;
        while began.elapsed() < self.length {
            for _ in 0..STEP {
                round(STEP + rounds)?;
                rounds += 1;
            }
            if let Some(per_second) = self.per_second {
                let due = Duration::from_secs_f64(rounds as f64 / per_second as f64);
                if let Some(early) = due.checked_sub(began.elapsed()) {
                    std::thread::sleep(early);
                }
            }
        }
        Ok(Done {
            rounds,
            cpu_ns: thread_cpu() - cpu,
            wall_ns: u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX),
        })
    }
}

fn thread_cpu() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn udp(clock: Clock, port: u16, connected: bool) -> Result<Done> {
    let server = UdpSocket::bind(local(port))?;
    let client = UdpSocket::bind(local(0))?;
    let mut buffer = [7; SMALL];
    if connected {
        client.connect(local(port))?;
        server.connect(client.local_addr()?)?;
        return clock.repeat(|_| {
            client.send(&buffer)?;
            server.recv(&mut buffer)?;
            server.send(&buffer)?;
            client.recv(&mut buffer)?;
            Ok(())
        });
    }
    clock.repeat(|_| {
        client.send_to(&buffer, local(port))?;
        let (_, from) = server.recv_from(&mut buffer)?;
        server.send_to(&buffer, from)?;
        client.recv_from(&mut buffer)?;
        Ok(())
    })
}

fn tcp(clock: Clock, port: u16) -> Result<Done> {
    let listener = TcpListener::bind(local(port))?;
    let mut client = TcpStream::connect(local(port))?;
    let (mut server, _) = listener.accept()?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let mut buffer = [7; SMALL];
    clock.repeat(|_| {
        client.write_all(&buffer)?;
        server.read_exact(&mut buffer)?;
        server.write_all(&buffer)?;
        client.read_exact(&mut buffer)?;
        Ok(())
    })
}

fn connect(clock: Clock, port: u16) -> Result<Done> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    clock.repeat(|number| {
        // A connection's addresses rest in TIME_WAIT for a minute: more addresses, more connections.
        let to = Ipv4Addr::new(127, 0, 1, (number % 250) as u8 + 1);
        let client = TcpStream::connect((to, port))?;
        let (server, _) = listener.accept()?;
        drop(client);
        drop(server);
        Ok(())
    })
}

/// A query for `wwwNNNN.bench.example`, type A, with EDNS as resolvers of today send it.
const QUERY: &[u8] = b"\0\0\x01\0\0\x01\0\0\0\0\0\x01\x07www0000\x05bench\x07example\0\0\x01\0\x01\
\0\0\x29\x04\xd0\0\0\0\0\0\0";
/// What the answer has between the question and the EDNS record.
const ANSWER: &[u8] = b"\xc0\x0c\0\x01\0\x01\0\0\0\x1e\0\x04\x0a\x01\x02\x03";
/// Where the question ends.
const QUESTION_END: usize = 12 + 8 + 6 + 8 + 1 + 4;

fn dns(clock: Clock, port: u16) -> Result<Done> {
    let server = UdpSocket::bind(local(port))?;
    let client = UdpSocket::bind(local(0))?;
    client.connect(local(port))?;
    let (mut query, mut buffer) = (QUERY.to_vec(), [0; 512]);
    clock.repeat(|number| {
        query[0..2].copy_from_slice(&(number as u16).to_be_bytes());
        for (place, digit) in [(16, 1000), (17, 100), (18, 10), (19, 1)] {
            query[place] = b'0' + (number / digit % 10) as u8;
        }
        client.send(&query)?;
        let (_, from) = server.recv_from(&mut buffer)?;
        let mut answer = Vec::with_capacity(QUERY.len() + ANSWER.len());
        answer.extend_from_slice(&query[..QUESTION_END]);
        answer.extend_from_slice(ANSWER);
        answer.extend_from_slice(&query[QUESTION_END..]);
        answer[2] |= 0x80;
        answer[3] |= 0x80;
        answer[7] = 1;
        server.send_to(&answer, from)?;
        client.recv(&mut buffer)?;
        Ok(())
    })
}
