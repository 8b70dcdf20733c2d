//! Look-ups through the system's resolver, and queries of our own.

use std::ffi::{CStr, CString};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::{Args, errno};

const TIMEOUT: Duration = Duration::from_secs(5);

/// `resolve`: prints `{"gai":0,"ips":[…],"ms":…}` per look-up; `gai` is getaddrinfo's code (`EAI_*`).
pub(crate) fn resolve(args: &Args) -> Result<()> {
    let name: String = args.get(0, "a name")?;
    let family = match args.option::<String>("family")?.as_deref() {
        Some("4") => libc::AF_INET,
        Some("6") => libc::AF_INET6,
        Some("any") | None => libc::AF_UNSPEC,
        Some(other) => bail!("--family does not take {other}"),
    };
    for _ in 0..args.option("times")?.unwrap_or(1) {
        let start = Instant::now();
        let (code, ips) = getaddrinfo(&name, family)?;
        println!(
            "{}",
            json!({"gai": code, "ips": ips, "ms": start.elapsed().as_millis()})
        );
    }
    Ok(())
}

fn getaddrinfo(name: &str, family: i32) -> Result<(i32, Vec<String>)> {
    let name = CString::new(name)?;
    // SAFETY: all-zero hints are valid, as getaddrinfo(3) asks for.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    (hints.ai_family, hints.ai_socktype) = (family, libc::SOCK_STREAM);
    let mut list: *mut libc::addrinfo = std::ptr::null_mut();
    // SAFETY: the strings end in NUL, hints and list are valid for the call.
    let code = unsafe { libc::getaddrinfo(name.as_ptr(), std::ptr::null(), &raw const hints, &raw mut list) };
    let mut ips = Vec::new();
    let mut entry = list;
    // SAFETY: the list is getaddrinfo's; each address has the family its entry says.
    while let Some(info) = unsafe { entry.as_ref() } {
        match info.ai_family {
            libc::AF_INET => {
                // SAFETY: as above.
                let address = unsafe { &*info.ai_addr.cast::<libc::sockaddr_in>() };
                ips.push(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)).to_string());
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let address = unsafe { &*info.ai_addr.cast::<libc::sockaddr_in6>() };
                ips.push(Ipv6Addr::from(address.sin6_addr.s6_addr).to_string());
            }
            _ => {}
        }
        entry = info.ai_next;
    }
    if !list.is_null() {
        // SAFETY: getaddrinfo made it, and nothing refers to it any more.
        unsafe { libc::freeaddrinfo(list) };
    }
    if code == libc::EAI_SYSTEM {
        // SAFETY: gai_strerror gives a static string.
        let text = unsafe { CStr::from_ptr(libc::gai_strerror(code)) };
        eprintln!("{}", text.to_string_lossy());
    }
    Ok((code, ips))
}

/// `query`: sends one query, or `--burst N` with ids that count up, a new answer awaited before the next query leaves.
/// Prints `{"sent":…,"answered":…,"rcode":…,"truncated":…}`, or `{"errno":…}` when the kernel reports one.
pub(crate) fn query(args: &Args) -> Result<()> {
    let server: SocketAddr = args.get(0, "an address with port")?;
    let name: String = args.get(1, "a name")?;
    let qtype = match args.get::<String>(2, "a type")?.as_str() {
        "A" => 1,
        "TXT" => 16,
        "AAAA" => 28,
        "SRV" => 33,
        other => other
            .parse()
            .context("the type is neither a known name nor a number")?,
    };
    let count: u16 = args.option("burst")?.unwrap_or(1);
    let exchanged = if args.flag("tcp") {
        over_tcp(server, &name, qtype, count)
    } else {
        over_udp(server, &name, qtype, count)
    };
    let line = match exchanged {
        Ok(Exchange { sent, answered, last }) => match last {
            Some(head) => json!({
                "sent": sent, "answered": answered, "rcode": head[3] & 0x0f, "truncated": head[2] & 0x02 != 0,
            }),
            None => json!({"sent": sent, "answered": answered}),
        },
        Err(error) => match error.downcast_ref::<std::io::Error>() {
            Some(error) if error.raw_os_error().is_some() => json!({"errno": errno(error)}),
            _ => return Err(error),
        },
    };
    println!("{line}");
    Ok(())
}

struct Exchange {
    sent: u16,
    answered: u16,
    last: Option<[u8; 4]>,
}

fn over_udp(server: SocketAddr, name: &str, qtype: u16, count: u16) -> Result<Exchange> {
    let local = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(local)?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    let mut exchange = Exchange {
        sent: 0,
        answered: 0,
        last: None,
    };
    let mut buffer = [0; 4096];
    for id in 1..=count {
        socket.send(&message(id, name, qtype)?)?;
        exchange.sent += 1;
        match socket.recv(&mut buffer) {
            Ok(length) if length >= 12 => {
                exchange.answered += 1;
                exchange.last = buffer.first_chunk().copied();
            }
            Ok(_) => bail!("a response that is no DNS message"),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(exchange)
}

fn over_tcp(server: SocketAddr, name: &str, qtype: u16, count: u16) -> Result<Exchange> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut exchange = Exchange {
        sent: 0,
        answered: 0,
        last: None,
    };
    for id in 1..=count {
        let message = message(id, name, qtype)?;
        let mut framed = u16::try_from(message.len())?.to_be_bytes().to_vec();
        framed.extend(message);
        stream.write_all(&framed)?;
        exchange.sent += 1;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut response = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut response)?;
        exchange.answered += 1;
        exchange.last = response.first_chunk().copied();
    }
    Ok(exchange)
}

/// A query with recursion desired (RFC 1035, 4.1).
fn message(id: u16, name: &str, qtype: u16) -> Result<Vec<u8>> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        message.push(
            u8::try_from(label.len())
                .ok()
                .filter(|length| *length < 64)
                .context("a label is too long")?,
        );
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(qtype.to_be_bytes());
    message.extend([0, 1]);
    Ok(message)
}
