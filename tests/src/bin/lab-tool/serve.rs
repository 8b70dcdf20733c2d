//! A server that echoes, or hangs up.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::net::sockopt;
use serde_json::json;

use crate::Args;

/// `serve`: prints `{"listening":true}`, and `{"accepted":"peer"}` for each connection. Ends with standard input. With
/// `--then reset` it answers the first bytes of a connection by RST.
pub(crate) fn run(args: &Args) -> Result<()> {
    let address: SocketAddr = args.get(0, "an address with port")?;
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    let then: String = args.option("then")?.unwrap_or_else(|| "echo".to_owned());
    let serve = match then.as_str() {
        "echo" => echo,
        "reset" => reset,
        other => bail!("--then does not take {other}"),
    };
    println!("{}", json!({"listening": true}));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Ok(peer) = stream.peer_addr() {
                println!("{}", json!({"accepted": peer.to_string()}));
            }
            std::thread::spawn(move || serve(stream));
        }
    });
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

/// Closing a socket that lingers for no time sends RST.
fn reset(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 16 * 1024]);
    if let Err(error) = sockopt::set_socket_linger(&stream, Some(Duration::ZERO)) {
        eprintln!("cannot reset: {error}");
    }
}
