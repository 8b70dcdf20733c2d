//! The scenario: what an exporter that has no luck does, and one that has.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use obsflow_vm_guest::Report;
use obsflow_vm_guest::scenario::{
    NAME_MISSING, NAME_PRESENT, PAYLOAD, PORT_DROPPED, PORT_ESTABLISHED, PORT_REFUSED, PORT_REFUSED_V6,
    PORT_REJECTED, Step,
};

use crate::machine;

/// First argument of the process that makes the traffic.
pub(crate) const ARGUMENT: &str = "traffic";
/// How long the black-holed connect may take: two SYNs go unanswered meanwhile.
const DEADLINE: Duration = Duration::from_millis(2500);
/// Generous, for an emulated processor.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts the servers of the scenario: both echo, one of them cannot be reached.
pub(crate) fn listen() -> anyhow::Result<()> {
    for port in [PORT_ESTABLISHED, PORT_DROPPED] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("binding 127.0.0.1:{port}"))?;
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let mut batch = vec![0; PAYLOAD.len()];
                if client.read_exact(&mut batch).is_ok() {
                    client.write_all(&batch).ok();
                }
            }
        });
    }
    Ok(())
}

/// Runs every step in a process of its own inside the pod, and hands its reports on.
pub(crate) fn run_in_pod(mut say: impl FnMut(Report) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut child = Command::new("/init")
        .arg(ARGUMENT)
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the traffic")?;
    let stdout = child.stdout.take().context("the traffic has no output")?;
    for line in BufReader::new(stdout).lines() {
        say(serde_json::from_str(&line?).context("reading a report of the traffic")?)?;
    }
    let status = child.wait().context("waiting for the traffic")?;
    ensure!(status.success(), "the traffic ended with {status}");
    Ok(())
}

/// The process that makes the traffic.
pub(crate) fn run() -> anyhow::Result<()> {
    let procs = format!("{}/cgroup.procs", machine::container_cgroup());
    std::fs::write(&procs, "0").with_context(|| format!("writing {procs}"))?;
    for step in Step::ALL {
        let begin = Instant::now();
        let seen = match step {
            Step::Nxdomain => look_up(),
            Step::Established => export().unwrap_or_else(|error| error.to_string()),
            Step::Refused => connect(Ipv4Addr::LOCALHOST, PORT_REFUSED),
            Step::RefusedV6 => connect(Ipv6Addr::LOCALHOST, PORT_REFUSED_V6),
            Step::Rejected => connect(Ipv4Addr::LOCALHOST, PORT_REJECTED),
            Step::Dropped => connect(Ipv4Addr::LOCALHOST, PORT_DROPPED),
        };
        let took_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let report = Report::Step { step, seen, took_ms };
        println!("{}", serde_json::to_string(&report).context("writing a report")?);
    }
    Ok(())
}

fn look_up() -> String {
    match (NAME_MISSING, PORT_ESTABLISHED).to_socket_addrs() {
        Ok(mut found) => found
            .next()
            .map_or_else(|| "no address".to_owned(), |address| address.to_string()),
        Err(_) => "no address".to_owned(),
    }
}

fn export() -> std::io::Result<String> {
    let mut stream = TcpStream::connect((NAME_PRESENT, PORT_ESTABLISHED))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(PAYLOAD)?;
    let mut echo = vec![0; PAYLOAD.len()];
    stream.read_exact(&mut echo)?;
    Ok(if echo == PAYLOAD {
        "echoed"
    } else {
        "other bytes came back"
    }
    .to_owned())
}

fn connect(host: impl Into<IpAddr>, port: u16) -> String {
    let address = SocketAddr::new(host.into(), port);
    match TcpStream::connect_timeout(&address, DEADLINE) {
        Ok(_) => "connected".to_owned(),
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused => "ECONNREFUSED".to_owned(),
            ErrorKind::TimedOut => "deadline".to_owned(),
            _ => error.to_string(),
        },
    }
}
