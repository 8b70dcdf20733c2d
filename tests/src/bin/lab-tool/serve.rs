//! A server that echoes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, Result};
use serde_json::json;

use crate::Args;

/// `serve`: prints `{"listening":true}`, and `{"accepted":"peer"}` for each connection. Ends with standard input.
pub(crate) fn run(args: &Args) -> Result<()> {
    let address: SocketAddr = args.get(0, "an address with port")?;
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    println!("{}", json!({"listening": true}));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Ok(peer) = stream.peer_addr() {
                println!("{}", json!({"accepted": peer.to_string()}));
            }
            std::thread::spawn(move || echo(stream));
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
