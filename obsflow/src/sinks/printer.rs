//! Prints responses as `hubble observe` does: the formats are a contract with scripts.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::text::{Column, Style, Text};
use super::time_format::Stamps;
use super::{TimeFormat, escape, json};
use crate::model::flow::{Body, Flow, LostEvent, NodeState, NodeStatus, Response};

/// Formats of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A line each.
    #[default]
    Compact,
    /// A block of lines each.
    Dict,
    /// Columns.
    Table,
    /// A line of JSON each.
    Json,
    /// The same by its other name.
    Jsonpb,
    /// A line of JSON each, of the flow alone.
    LegacyJson,
}

impl Format {
    /// By name.
    ///
    /// # Errors
    /// An unknown name; the message lists those there are.
    pub fn from_name(name: &str) -> Result<Self, String> {
        match name {
            "compact" => Ok(Self::Compact),
            "dict" => Ok(Self::Dict),
            "table" | "tab" => Ok(Self::Table),
            "json" | "JSON" => Ok(Self::Json),
            "jsonpb" => Ok(Self::Jsonpb),
            _ => Err("one of compact, dict, table, json, jsonpb".to_owned()),
        }
    }
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrinterOptions {
    /// Format.
    pub format: Format,
    /// Format of times.
    pub time_format: TimeFormat,
    /// Print the node's name.
    pub node_name: bool,
    /// Print colours.
    pub color: bool,
    /// Print names instead of addresses.
    pub ip_translation: bool,
    /// Print the names of policies.
    pub policy_names: bool,
}

impl Default for PrinterOptions {
    fn default() -> Self {
        Self {
            format: Format::Compact,
            time_format: TimeFormat::StampMilli,
            node_name: false,
            color: false,
            ip_translation: true,
            policy_names: false,
        }
    }
}

/// Prints responses to a writer, through a buffer of its own.
#[derive(Debug)]
pub struct Printer<W: Write> {
    out: io::BufWriter<W>,
    options: PrinterOptions,
    text: Text,
    stamps: Stamps,
    /// The line being made, kept for its memory.
    line: String,
    /// The same for JSON.
    json: Vec<u8>,
    /// Records printed.
    printed: u64,
    /// A table's rows, until its columns are known.
    rows: Vec<Vec<String>>,
}

/// Between the records of a dict.
const SEPARATOR: &str = "------------\n";
/// Names of nodes in a line, in bytes.
const NODE_NAMES: usize = 50;
/// Between the columns of a table.
const GAP: usize = 3;

impl<W: Write> Printer<W> {
    /// Prints to `out`.
    pub fn new(options: PrinterOptions, out: W) -> Self {
        Self {
            out: io::BufWriter::with_capacity(64 * 1024, out),
            text: Text {
                style: Style { color: options.color },
                ip_translation: options.ip_translation,
                policy_names: options.policy_names,
            },
            stamps: Stamps::new(options.time_format),
            options,
            line: String::new(),
            json: Vec::new(),
            printed: 0,
            rows: Vec::new(),
        }
    }

    /// Prints one response; it is not visible before [`Self::flush`].
    ///
    /// # Errors
    /// When writing fails.
    pub fn print(&mut self, response: &Response) -> io::Result<()> {
        self.line.clear();
        match (self.options.format, &response.body) {
            // They are for stderr: `node_status`.
            (_, Body::NodeStatus(_)) => return Ok(()),
            (Format::LegacyJson, Body::Flow(flow)) => {
                self.json.clear();
                json::push(&mut self.json, flow)?;
                self.printed += 1;
                return self.out.write_all(&self.json);
            }
            (Format::LegacyJson, Body::LostEvents(lost)) => {
                self.json.clear();
                json::push(&mut self.json, lost)?;
                self.printed += 1;
                return self.out.write_all(&self.json);
            }
            (Format::Json | Format::Jsonpb, _) => {
                self.json.clear();
                json::push(&mut self.json, response)?;
                self.printed += 1;
                return self.out.write_all(&self.json);
            }
            (Format::Compact, Body::Flow(flow)) => self.compact(response, flow),
            (Format::Compact, Body::LostEvents(lost)) => self.compact_lost(response, lost),
            (Format::Dict, Body::Flow(flow)) => self.dict(response, flow),
            (Format::Dict, Body::LostEvents(lost)) => self.dict_lost(lost),
            (Format::Table, Body::Flow(flow)) => self.row(response, flow),
            (Format::Table, Body::LostEvents(lost)) => self.row_lost(lost),
        }
        self.printed += 1;
        self.out.write_all(self.line.as_bytes())
    }

    /// Makes everything printed visible.
    ///
    /// # Errors
    /// When writing fails.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Prints what waits for the end, and makes everything visible.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(&mut self) -> io::Result<()> {
        self.table()?;
        self.flush()
    }

    /// What a relay says of its nodes, as it stands on stderr. Of those that are well there is nothing to say.
    pub fn node_status(&mut self, response: &Response, status: &NodeStatus) -> io::Result<String> {
        if !matches!(
            status.state_change,
            NodeState::NodeError | NodeState::NodeUnavailable
        ) {
            return Ok(String::new());
        }
        let mut text = String::new();
        match self.options.format {
            // Old clients' scripts know flows only.
            Format::LegacyJson => {}
            Format::Json | Format::Jsonpb => {
                let mut line = Vec::new();
                json::push(&mut line, response)?;
                text = String::from_utf8_lossy(&line).into_owned();
            }
            Format::Dict => {
                if self.printed > 0 {
                    text.push_str(SEPARATOR);
                }
                self.printed += 1;
                text.push_str("  TIMESTAMP: ");
                self.stamps.push(&mut text, response.time);
                let _ = write!(
                    text,
                    "\n      STATE: {}\n      NODES: ",
                    status.state_change.name()
                );
                push_nodes(&mut text, status);
                text.push_str("\n    MESSAGE: ");
                match &*status.message {
                    "" => text.push_str("N/A"),
                    message => push_quoted(&mut text, message),
                }
                text.push('\n');
            }
            Format::Compact | Format::Table => {
                self.stamps.push(&mut text, response.time);
                text.push_str(" [");
                escape::push(&mut text, &response.node_name);
                text.push_str("]: ");
                let nodes = status.node_names.len();
                if status.state_change == NodeState::NodeError {
                    text.push_str("Error ");
                    push_quoted(&mut text, &status.message);
                    let _ = write!(text, " on {nodes} nodes: ");
                } else {
                    let _ = write!(text, "{nodes} nodes are unavailable: ");
                }
                push_nodes(&mut text, status);
                text.push('\n');
            }
        }
        Ok(text)
    }

    fn compact(&mut self, response: &Response, flow: &Flow) {
        let (text, line) = (self.text, &mut self.line);
        self.stamps.push(line, flow.time);
        if self.options.node_name {
            line.push_str(" [");
            escape::push(line, &response.node_name);
            line.push(']');
        }
        line.push_str(": ");
        let reply = flow.is_reply == Some(true);
        let (left, right) = if reply {
            (Column::Destination, Column::Source)
        } else {
            (Column::Source, Column::Destination)
        };
        text.host(line, flow, left);
        line.push(' ');
        text.identity(line, flow, left);
        line.push_str(match flow.is_reply {
            Some(false) => " -> ",
            Some(true) => " <- ",
            None => " <> ",
        });
        text.host(line, flow, right);
        line.push(' ');
        text.identity(line, flow, right);
        line.push(' ');
        text.kind(line, flow);
        line.push(' ');
        text.verdict(line, flow);
        line.push_str(" (");
        text.summary(line, flow);
        line.push_str(")\n");
    }

    fn compact_lost(&mut self, response: &Response, lost: &LostEvent) {
        let line = &mut self.line;
        self.stamps.push(line, response.time);
        if self.options.node_name {
            line.push_str(" [");
            escape::push(line, &response.node_name);
            line.push(']');
        }
        let _ = write!(
            line,
            " EVENTS LOST: {} CPU({}) {}",
            lost.source.name(),
            lost.cpu.unwrap_or(0),
            lost.num_events_lost
        );
        if lost.first.is_some() || lost.last.is_some() {
            for (label, time) in [(" (first: ", lost.first), (", last: ", lost.last)] {
                line.push_str(label);
                match time {
                    Some(time) => self.stamps.push(line, time),
                    None => line.push_str("N/A"),
                }
            }
            line.push(')');
        }
        line.push('\n');
    }

    fn dict(&mut self, response: &Response, flow: &Flow) {
        let (text, line) = (self.text, &mut self.line);
        if self.printed > 0 {
            line.push_str(SEPARATOR);
        }
        line.push_str("  TIMESTAMP: ");
        self.stamps.push(line, flow.time);
        if self.options.node_name {
            line.push_str("\n       NODE: ");
            escape::push(line, &response.node_name);
        }
        line.push_str("\n     SOURCE: ");
        text.host(line, flow, Column::Source);
        line.push_str("\nDESTINATION: ");
        text.host(line, flow, Column::Destination);
        line.push_str("\n       TYPE: ");
        text.kind(line, flow);
        line.push_str("\n    VERDICT: ");
        text.verdict(line, flow);
        line.push_str("\n    SUMMARY: ");
        text.summary(line, flow);
        line.push('\n');
    }

    fn dict_lost(&mut self, lost: &LostEvent) {
        let line = &mut self.line;
        if self.printed > 0 {
            line.push_str(SEPARATOR);
        }
        line.push_str("  TIMESTAMP: \n");
        if self.options.node_name {
            line.push_str("       NODE: \n");
        }
        let _ = write!(
            line,
            "     SOURCE: {}\n       TYPE: EVENTS LOST\n    VERDICT: \n    SUMMARY: {}\n",
            lost.source.name(),
            lost_summary(lost)
        );
    }

    fn row(&mut self, response: &Response, flow: &Flow) {
        let text = self.text;
        let cell = |fill: &dyn Fn(&mut String)| {
            let mut cell = String::new();
            fill(&mut cell);
            cell
        };
        let mut time = String::new();
        self.stamps.push(&mut time, flow.time);
        let mut row = vec![time];
        if self.options.node_name {
            row.push(cell(&|line| escape::push(line, &response.node_name)));
        }
        row.push(cell(&|line| text.host(line, flow, Column::Source)));
        row.push(cell(&|line| text.host(line, flow, Column::Destination)));
        row.push(cell(&|line| text.kind(line, flow)));
        row.push(cell(&|line| text.verdict(line, flow)));
        row.push(cell(&|line| text.summary(line, flow)));
        self.rows.push(row);
    }

    fn row_lost(&mut self, lost: &LostEvent) {
        let empty = String::new;
        let mut row = vec![empty()];
        if self.options.node_name {
            row.push(empty());
        }
        let kind = "EVENTS LOST".to_owned();
        row.extend([
            lost.source.name().to_owned(),
            empty(),
            kind,
            empty(),
            lost_summary(lost),
        ]);
        self.rows.push(row);
    }

    fn table(&mut self) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut header = vec!["TIMESTAMP"];
        if self.options.node_name {
            header.push("NODE");
        }
        header.extend(["SOURCE", "DESTINATION", "TYPE", "VERDICT", "SUMMARY"]);
        let header = header.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let mut widths = vec![0; header.len()];
        for row in std::iter::once(&header).chain(&self.rows) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in std::iter::once(&header).chain(&self.rows) {
            self.line.clear();
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                self.line.push_str(cell);
                if at + 1 < row.len() {
                    let padding = width + GAP - cell.chars().count();
                    self.line.extend(std::iter::repeat_n(' ', padding));
                }
            }
            self.line.push('\n');
            self.out.write_all(self.line.as_bytes())?;
        }
        self.rows.clear();
        Ok(())
    }
}

/// Names of nodes, cut where a line would be too long.
fn push_nodes(text: &mut String, status: &NodeStatus) {
    let names = &status.node_names;
    let mut length = 0;
    for (at, name) in names.iter().enumerate() {
        length += name.len() + 2;
        if at > 0 && length > NODE_NAMES {
            let _ = write!(text, " (and {} more)", names.len() - at);
            return;
        }
        if at > 0 {
            text.push_str(", ");
        }
        escape::push(text, name);
    }
}

fn push_quoted(text: &mut String, message: &str) {
    text.push('"');
    escape::push(text, &message.replace('\\', "\\\\").replace('"', "\\\""));
    text.push('"');
}

fn lost_summary(lost: &LostEvent) -> String {
    format!("CPU({}) - {}", lost.cpu.unwrap_or(0), lost.num_events_lost)
}
