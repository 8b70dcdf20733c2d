//! `obsflow list` and `obsflow watch`: what a server of flows knows of nodes, namespaces and peers.

use std::io::{self, Write};
use std::time::Duration;

use super::{print, until_signal};
use crate::api::hubble::proto::observer::{GetNodesResponse, Node};
use crate::api::hubble::proto::peer::ChangeNotification;
use crate::api::hubble::{Client, json};
use crate::config::observe::{List, Server};
use crate::session::Stop;
use crate::sinks::doctor::age;

/// How often a wait looks whether it is to end.
const GLANCE: Duration = Duration::from_millis(200);

pub(super) fn list(config: &List) -> anyhow::Result<()> {
    let limits = config.server.limits;
    let client = Client::connect(&config.server.address, limits.dial)?;
    let text = if config.namespaces {
        let answer = client.namespaces(limits.request)?;
        if config.json {
            json::to_string("observer.GetNamespacesResponse", &answer)? + "\n"
        } else {
            let rows = answer.namespaces.iter();
            table(
                &["NAMESPACE", "CLUSTER"],
                rows.map(|of| vec![of.namespace.clone(), of.cluster.clone()]),
            )
        }
    } else {
        let answer = client.nodes(limits.request)?;
        if config.json {
            json::to_string("observer.GetNodesResponse", &answer)? + "\n"
        } else {
            nodes(&answer)
        }
    };
    print(|out| out.write_all(text.as_bytes()))
}

fn nodes(answer: &GetNodesResponse) -> String {
    table(
        &[
            "NAME",
            "STATUS",
            "AGE",
            "FLOWS/S",
            "CURRENT/MAX-FLOWS",
            "TLS",
            "ADDRESS",
        ],
        answer.nodes.iter().map(|node| {
            let uptime = Duration::from_nanos(node.uptime_ns);
            vec![
                node.name.clone(),
                status(node).to_owned(),
                age(uptime),
                rate(node.seen_flows, uptime),
                format!("{}/{}", node.num_flows, node.max_flows),
                match &node.tls {
                    Some(tls) if tls.enabled => "enabled".to_owned(),
                    Some(_) => "disabled".to_owned(),
                    None => "n/a".to_owned(),
                },
                node.address.clone(),
            ]
        }),
    )
}

fn status(node: &Node) -> &'static str {
    match node.state {
        1 => "Connected",
        2 => "Unavailable",
        3 => "Gone",
        4 => "Error",
        _ => "Unknown",
    }
}

fn rate(flows: u64, time: Duration) -> String {
    if time.is_zero() {
        return "n/a".to_owned();
    }
    format!("{:.2}", flows as f64 / time.as_secs_f64())
}

/// Columns, three spaces apart; what servers say does no harm to a terminal.
fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    let harmless = |row: Vec<String>| row.iter().map(|cell| cell.escape_debug().to_string()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows.map(harmless)).collect();
    let columns = rows.first().map_or(0, Vec::len);
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + 3 - cell.chars().count()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

pub(super) fn watch_peers(server: &Server) -> anyhow::Result<()> {
    let client = Client::connect(&server.address, server.limits.dial)?;
    let stop = Stop::default();
    until_signal(&stop, || {
        let mut peers = client.peers(server.limits.request)?;
        while !stop.is_stopped() {
            if let Some(change) = peers.next_within(GLANCE)? {
                let line = peer(&change);
                match io::stdout().write_all(line.as_bytes()) {
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                    other => other?,
                }
            }
        }
        Ok(())
    })
}

/// `PEER_ADDED     10.0.0.7:4244 worker-1 (TLS.ServerName: worker-1.obsflow)`
fn peer(change: &ChangeNotification) -> String {
    let what = match change.r#type {
        1 => "PEER_ADDED",
        2 => "PEER_DELETED",
        3 => "PEER_UPDATED",
        _ => "UNKNOWN",
    };
    let tls = match &change.tls {
        Some(tls) if !tls.server_name.is_empty() => {
            format!(" (TLS.ServerName: {})", tls.server_name.escape_debug())
        }
        _ => String::new(),
    };
    format!(
        "{what:<12} {} {}{tls}\n",
        change.address.escape_debug(),
        change.name.escape_debug()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::hubble::proto::observer::Tls;
    use crate::api::hubble::proto::peer::Tls as PeerTls;

    #[test]
    fn nodes_are_listed_with_what_they_keep() {
        let answer = GetNodesResponse {
            nodes: vec![
                Node {
                    name: "worker-1".to_owned(),
                    address: "10.0.0.7:4244".to_owned(),
                    state: 1,
                    tls: Some(Tls {
                        enabled: true,
                        server_name: "worker-1".to_owned(),
                    }),
                    uptime_ns: 7_200_000_000_000,
                    num_flows: 4095,
                    max_flows: 65_535,
                    seen_flows: 72_000,
                    ..Node::default()
                },
                Node {
                    name: "bad\u{1b}[31m".to_owned(),
                    state: 2,
                    ..Node::default()
                },
            ],
        };
        insta::assert_snapshot!(nodes(&answer));
    }

    #[test]
    fn peers_are_a_line_each() {
        let change = ChangeNotification {
            name: "worker-1".to_owned(),
            address: "10.0.0.7:4244".to_owned(),
            r#type: 1,
            tls: Some(PeerTls {
                server_name: "worker-1.obsflow".to_owned(),
            }),
        };
        assert_eq!(
            peer(&change),
            "PEER_ADDED   10.0.0.7:4244 worker-1 (TLS.ServerName: worker-1.obsflow)\n"
        );
    }
}
