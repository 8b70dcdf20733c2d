use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::kernel::info::Cost;
use crate::sinks::metrics::{Options, Own};

/// More than the kernel keeps for a connection that nobody reads, with the metrics of so many programs.
const PAGE: usize = 16 << 20;
const PROGRAMS: usize = 20_000;

fn large() -> Scraper {
    let (mut metrics, scraper) = crate::sinks::metrics::metrics(Options::default());
    let name = "x".repeat(PAGE / PROGRAMS / 2);
    let cost = Cost {
        calls: 1,
        run_time_ns: 1,
        ..Cost::default()
    };
    metrics.own(&Own {
        costs: (0..PROGRAMS)
            .map(|number| (format!("{name}{number}"), cost))
            .collect(),
        ..Own::default()
    });
    scraper
}

/// Asks, and reads no more than the status.
async fn ask(address: SocketAddr) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    (String::from_utf8_lossy(&status).into_owned(), stream)
}

#[tokio::test]
async fn whoever_reads_slowly_takes_no_more_memory_than_there_is_room_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = router(Pages::waiting(large(), Duration::from_secs(2)));
    tokio::spawn(async move { axum::serve(Incoming::new(listener, None), router).await });
    let mut slow = Vec::new();
    while slow.len() < 2 {
        let (status, stream) = ask(address).await;
        if status == "HTTP/1.1 200" {
            slow.push(stream);
        }
    }
    let (status, _) = ask(address).await;
    assert_eq!(status, "HTTP/1.1 503");
    slow.clear();
    while ask(address).await.0 != "HTTP/1.1 200" {}
}
