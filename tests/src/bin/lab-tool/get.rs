//! HTTP requests to a service, as its users make them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::Args;

/// Longer than any answer of the lab takes.
const DEADLINE: Duration = Duration::from_secs(10);

/// `get`: requests `/`, prints `{"status":200}` for each, and `{"status":0}` for one without answer.
pub(crate) fn run(args: &Args) -> Result<()> {
    let address: SocketAddr = args.get(0, "an address with port")?;
    let every = Duration::from_millis(args.option("every")?.unwrap_or(1000));
    loop {
        let status = get(address).unwrap_or_default();
        println!("{}", json!({"status": status}));
        std::thread::sleep(every);
    }
}

fn get(address: SocketAddr) -> Result<u16> {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    Ok(status.parse()?)
}
