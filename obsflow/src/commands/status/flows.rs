//! What a server of flows keeps, in `obsflow status`.

use std::fmt::Write as _;

use serde::Serialize;

use crate::api::hubble::proto::observer::ServerStatusResponse;

/// What is kept, and how many nodes are asked for it.
#[derive(Debug, Serialize)]
pub(super) struct FlowStatus {
    /// Flows kept.
    kept: u64,
    /// Flows that can be kept.
    most: u64,
    /// Flows seen since the start.
    seen: u64,
    /// Flows a second, of the last minute, or since the start where the server does not say.
    per_second: f64,
    /// Since the start, in nanoseconds.
    uptime_ns: u64,
    /// What the server is.
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    /// Nodes that a relay asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    connected_nodes: Option<u32>,
    /// Nodes that it cannot ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    unavailable_nodes: Option<u32>,
    /// Names of some of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unavailable: Vec<String>,
}

impl From<ServerStatusResponse> for FlowStatus {
    fn from(status: ServerStatusResponse) -> Self {
        let uptime = status.uptime_ns as f64 / 1e9;
        let per_second = match status.flows_rate {
            rate if rate > 0.0 => rate,
            _ if uptime > 0.0 => status.seen_flows as f64 / uptime,
            _ => 0.0,
        };
        let mut unavailable = status.unavailable_nodes;
        unavailable.sort();
        Self {
            kept: status.num_flows,
            most: status.max_flows,
            seen: status.seen_flows,
            per_second: (per_second * 100.0).round() / 100.0,
            uptime_ns: status.uptime_ns,
            version: status.version,
            connected_nodes: status.num_connected_nodes,
            unavailable_nodes: status.num_unavailable_nodes,
            unavailable,
        }
    }
}

/// For people, as `hubble status` has it.
pub(super) fn text(flows: &FlowStatus, server: &str, out: &mut String) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "Healthcheck (via {server}): Ok");
    let _ = write!(
        out,
        "Current/Max Flows: {}/{}",
        Grouped(flows.kept),
        Grouped(flows.most)
    );
    let _ = match flows.most {
        0 => writeln!(out),
        most => writeln!(out, " ({:.2}%)", flows.kept as f64 / most as f64 * 100.0),
    };
    let _ = writeln!(out, "Flows/s: {:.2}", flows.per_second);
    if let Some(connected) = flows.connected_nodes {
        let _ = match flows.unavailable_nodes {
            Some(unavailable) => writeln!(out, "Connected Nodes: {connected}/{}", connected + unavailable),
            None => writeln!(out, "Connected Nodes: {connected}"),
        };
    }
    if let Some(unavailable) = flows.unavailable_nodes.filter(|count| *count > 0) {
        let _ = writeln!(out, "Unavailable Nodes: {unavailable}");
        for name in &flows.unavailable {
            let _ = writeln!(out, "  - {}", name.escape_debug());
        }
        let named = u32::try_from(flows.unavailable.len()).unwrap_or(u32::MAX);
        if named > 0 && unavailable > named {
            let _ = writeln!(out, "  - and {} more...", unavailable - named);
        }
    }
}

/// One line of the status of an agent of obsflow's.
pub(super) fn line(flows: &FlowStatus, out: &mut String) {
    let _ = writeln!(
        out,
        "FLOWS         {} of at most {} kept, {} seen, {:.2} a second",
        Grouped(flows.kept),
        Grouped(flows.most),
        Grouped(flows.seen),
        flows.per_second
    );
}

/// `65,535`
struct Grouped(u64);

impl std::fmt::Display for Grouped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_char(',')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_hubbles() {
        let status = ServerStatusResponse {
            num_flows: 4095,
            max_flows: 4095,
            seen_flows: 1_234_567,
            uptime_ns: 60_000_000_000,
            flows_rate: 21.28,
            num_connected_nodes: Some(1),
            num_unavailable_nodes: Some(3),
            unavailable_nodes: vec!["b".to_owned(), "a".to_owned()],
            version: "1.19.4".to_owned(),
        };
        let mut out = String::new();
        text(&status.into(), "localhost:4245", &mut out);
        assert_eq!(
            out,
            "Healthcheck (via localhost:4245): Ok\nCurrent/Max Flows: 4,095/4,095 (100.00%)\nFlows/s: 21.28\n\
             Connected Nodes: 1/4\nUnavailable Nodes: 3\n  - a\n  - b\n  - and 1 more...\n"
        );
    }

    #[test]
    fn numbers_are_grouped() {
        let grouped = |number| Grouped(number).to_string();
        assert_eq!(
            [0, 12, 123, 1234, 1_234_567].map(grouped),
            ["0", "12", "123", "1,234", "1,234,567"]
        );
    }
}
