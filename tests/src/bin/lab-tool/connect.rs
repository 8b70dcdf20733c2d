//! TCP connects in every way that matters.

use std::io::{BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with, sockopt};
use serde_json::json;

use crate::{Args, uring};

/// `connect`: prints `{"result":"established","local":…,"ms":…}`, `{"result":"failed","errno":…,"ms":…}` or
/// `{"result":"deadline","ms":…}`. With `--then hold` it obeys lines on standard input: `send N` sends N bytes and
/// reads as many back from an echoing server.
pub(crate) fn run(args: &Args) -> Result<()> {
    let remote: SocketAddr = args.get(0, "an address with port")?;
    let deadline = args.option("deadline")?.map(Duration::from_millis);
    let how: String = args.option("how")?.unwrap_or_else(|| "nonblocking".to_owned());
    let then: String = args.option("then")?.unwrap_or_else(|| "close".to_owned());
    if then == "exit" {
        // Gone before the handshake can have completed.
        let socket = open(remote, SocketFlags::NONBLOCK)?;
        let _ = connect(&socket, &remote);
        std::process::exit(0);
    }
    let start = Instant::now();
    let ended = match how.as_str() {
        "nonblocking" => nonblocking(remote, deadline),
        "blocking" => blocking(remote),
        "uring" => uring::connect(remote, deadline),
        other => bail!("--how does not take {other}"),
    }?;
    let ms = start.elapsed().as_millis();
    match ended {
        Ended::Established(socket) => {
            let stream = TcpStream::from(socket);
            let local = stream.local_addr()?;
            println!(
                "{}",
                json!({"result": "established", "local": local.to_string(), "ms": ms})
            );
            if then == "hold" { hold(stream) } else { Ok(()) }
        }
        Ended::Failed(errno) => {
            println!(
                "{}",
                json!({"result": "failed", "errno": errno.raw_os_error(), "ms": ms})
            );
            Ok(())
        }
        Ended::Deadline => {
            println!("{}", json!({"result": "deadline", "ms": ms}));
            Ok(())
        }
    }
}

/// `dial`: prints one line as `connect` does for each address tried, or `{"result":"unresolved"}`.
pub(crate) fn dial(args: &Args) -> Result<()> {
    let name: String = args.get(0, "a name")?;
    let port: u16 = args.get(1, "a port")?;
    let deadline = args.option("deadline")?.map(Duration::from_millis);
    let addresses = match (name.as_str(), port).to_socket_addrs() {
        Ok(addresses) => addresses,
        Err(error) => {
            println!("{}", json!({"result": "unresolved", "error": error.to_string()}));
            return Ok(());
        }
    };
    for remote in addresses {
        let start = Instant::now();
        let ended = nonblocking(remote, deadline)?;
        let ms = start.elapsed().as_millis();
        let remote = remote.to_string();
        match ended {
            Ended::Established(_) => {
                println!("{}", json!({"result": "established", "remote": remote, "ms": ms}));
                return Ok(());
            }
            Ended::Failed(errno) => {
                println!(
                    "{}",
                    json!({"result": "failed", "remote": remote, "errno": errno.raw_os_error(), "ms": ms})
                );
            }
            Ended::Deadline => println!("{}", json!({"result": "deadline", "remote": remote, "ms": ms})),
        }
    }
    Ok(())
}

/// How a connect ended.
pub(crate) enum Ended {
    Established(OwnedFd),
    Failed(Errno),
    Deadline,
}

pub(crate) fn open(remote: SocketAddr, flags: SocketFlags) -> Result<OwnedFd> {
    let family = if remote.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    Ok(socket_with(
        family,
        SocketType::STREAM,
        flags | SocketFlags::CLOEXEC,
        Some(ipproto::TCP),
    )?)
}

fn blocking(remote: SocketAddr) -> Result<Ended> {
    let socket = open(remote, SocketFlags::empty())?;
    Ok(match connect(&socket, &remote) {
        Ok(()) => Ended::Established(socket),
        Err(errno) => Ended::Failed(errno),
    })
}

fn nonblocking(remote: SocketAddr, deadline: Option<Duration>) -> Result<Ended> {
    let socket = open(remote, SocketFlags::NONBLOCK)?;
    match connect(&socket, &remote) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(errno) => return Ok(Ended::Failed(errno)),
    }
    let timeout = deadline
        .map(rustix::time::Timespec::try_from)
        .transpose()
        .context("the deadline is too long")?;
    if poll(&mut [PollFd::new(&socket, PollFlags::OUT)], timeout.as_ref())? == 0 {
        return Ok(Ended::Deadline);
    }
    match sockopt::socket_error(&socket)? {
        Ok(()) => {
            rustix::io::ioctl_fionbio(&socket, false)?;
            Ok(Ended::Established(socket))
        }
        Err(errno) => Ok(Ended::Failed(errno)),
    }
}

fn hold(mut stream: TcpStream) -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("send", count)) => {
                let count: usize = count.parse().context("send takes a number of bytes")?;
                stream.write_all(&vec![b'x'; count])?;
                stream.read_exact(&mut vec![0; count])?;
                println!("{}", json!({"exchanged": count}));
            }
            _ => bail!("no such order: {line:?}"),
        }
    }
    Ok(())
}
