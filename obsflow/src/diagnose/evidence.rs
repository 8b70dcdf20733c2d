//! Evidence in words.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::model::exchange::Request;
use crate::model::verdict::Evidence;

use super::exporter::Seen;

/// Evidence being collected, the most telling first.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) lines: Vec<Evidence>,
}

impl Told {
    /// Something that was seen so often, the last time then.
    pub(super) fn seen(&mut self, kind: &'static str, text: String, seen: Seen) {
        self.lines.push(Evidence {
            kind,
            text: Arc::from(text.as_str()),
            count: u64::from(seen.count),
            last: seen.last(),
        });
    }

    /// Something that is so all the time.
    pub(super) fn fact(&mut self, kind: &'static str, text: impl AsRef<str>) {
        self.lines.push(Evidence {
            kind,
            text: Arc::from(text.as_ref()),
            count: 1,
            last: None,
        });
    }

    /// `10.0.0.1:4317`.
    pub(super) fn peer(&self, ip: IpAddr, port: u16) -> SocketAddr {
        SocketAddr::new(ip, port)
    }

    /// `POST /v1/traces: 200`.
    pub(super) fn request(&self, request: &Request, status: u16) -> String {
        let method = request.method.as_deref().unwrap_or("request");
        let path = request.path.as_deref().unwrap_or("(path not readable)");
        if request.grpc || status == 0 {
            format!("{method} {path}: OK")
        } else {
            format!("{method} {path}: {status}")
        }
    }

    /// `1h5m`, `42s`, `350ms`: two units at most.
    pub(super) fn duration(duration: Duration) -> String {
        let seconds = duration.as_secs();
        match seconds {
            0 => format!("{}ms", duration.as_millis()),
            1..60 => format!("{seconds}s"),
            60..3600 => pair(seconds / 60, "m", seconds % 60, "s"),
            3600..86_400 => pair(seconds / 3600, "h", seconds % 3600 / 60, "m"),
            _ => pair(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
        }
    }
}

fn pair(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 {
        format!("{large}{large_unit}")
    } else {
        format!("{large}{large_unit}{small}{small_unit}")
    }
}

impl Told {
    /// What it was told to do, by what, and how old it is.
    pub(super) fn configuration(&mut self, case: &super::rules::Case<'_>) {
        let exporter = case.exporter;
        self.fact("source", format!("{}: {}", exporter.source, exporter.written));
        if let Some(began) = case.container.began {
            let age = Self::duration(case.now.since(began));
            let process = match case.container.pid {
                0 => "the process".to_owned(),
                pid => format!("process {pid}"),
            };
            self.fact("age", format!("{process} is {age} old"));
        }
        let lost = case.node.lost.total();
        if lost > 0 {
            self.lines.push(Evidence {
                kind: "lost",
                text: Arc::from(
                    format!("{lost} events of this node were lost: some evidence may be missing").as_str(),
                ),
                count: lost,
                last: case.node.lost.last(),
            });
        }
        if let Some(unreadable) = &case.container.unreadable {
            self.fact("unreadable", unreadable);
        }
    }
}
