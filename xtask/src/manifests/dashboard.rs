//! The dashboard: its panels as a table, and Grafana's JSON made of them.

use serde_json::{Value, json};

/// Series of the workloads that are selected.
const WORKLOADS: (&str, &str) = ("@workloads", r#"namespace=~"$namespace",workload=~"$workload""#);
/// Series of the workloads and sinks that are selected.
const SINKS: (&str, &str) = ("@sinks", r#"@workloads,sink=~"$sink""#);
/// Columns of a grid.
const COLUMNS: u32 = 24;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Lines over time.
    Lines,
    /// Areas over time, on top of each other.
    Stack,
    /// One number for each query, now.
    Number,
    /// A row for each series, now.
    Table,
}

struct Panel {
    title: &'static str,
    about: &'static str,
    kind: Kind,
    /// Grafana's name of the unit.
    unit: &'static str,
    width: u32,
    /// PromQL, and what a series of it is called.
    queries: &'static [(&'static str, &'static str)],
}

struct Row {
    title: &'static str,
    height: u32,
    panels: &'static [Panel],
}

const fn panel(
    title: &'static str,
    about: &'static str,
    kind: Kind,
    unit: &'static str,
    width: u32,
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel {
        title,
        about,
        kind,
        unit,
        width,
        queries,
    }
}

const ROWS: &[Row] = &[
    Row {
        title: "Now",
        height: 4,
        panels: &[
            panel(
                "Failing exporters",
                "A workload, a sink and a signal count once, on however many nodes they fail.",
                Kind::Number,
                "none",
                6,
                &[(
                    r#"count(max by (namespace, workload, sink, signal) (obsflow_verdict{@sinks,severity=~"warning|critical"})) or vector(0)"#,
                    "failing",
                )],
            ),
            panel(
                "Healthy exporters",
                "Of these something was accepted.",
                Kind::Number,
                "none",
                6,
                &[(
                    r#"count(max by (namespace, workload, sink, signal) (obsflow_verdict{@sinks,verdict="healthy"})) or vector(0)"#,
                    "healthy",
                )],
            ),
            panel(
                "Workloads affected",
                "With a failing exporter.",
                Kind::Number,
                "none",
                6,
                &[(
                    r#"count(max by (namespace, workload) (obsflow_verdict{@sinks,severity=~"warning|critical"})) or vector(0)"#,
                    "workloads",
                )],
            ),
            panel(
                "Agents",
                "That answered the last scrape, and that should have.",
                Kind::Number,
                "none",
                6,
                &[
                    (r#"sum(up{job="obsflow"})"#, "up"),
                    (r#"count(up{job="obsflow"})"#, "all"),
                ],
            ),
        ],
    },
    Row {
        title: "",
        height: 10,
        panels: &[
            panel(
                "Verdicts",
                "What holds for each exporter: `obsflow doctor -n NAMESPACE WORKLOAD` has evidence and advice.",
                Kind::Table,
                "none",
                14,
                &[(
                    r#"max by (namespace, workload, sink, signal, verdict, reason, severity) (obsflow_verdict{@sinks,severity!="unknown",verdict!="disabled"})"#,
                    "",
                )],
            ),
            panel(
                "Failing exporters by cause",
                "The verdicts are explained in docs/verdicts.md.",
                Kind::Stack,
                "none",
                10,
                &[(
                    r#"count by (verdict) (max by (namespace, workload, sink, signal, verdict) (obsflow_verdict{@sinks,severity=~"warning|critical"}))"#,
                    "{{verdict}}",
                )],
            ),
        ],
    },
    Row {
        title: "Exports",
        height: 8,
        panels: &[
            panel(
                "Exports by sink and signal",
                "Requests whose protocol could be read: not those inside TLS.",
                Kind::Lines,
                "reqps",
                8,
                &[(
                    "sum by (sink, signal) (rate(obsflow_export_requests_total{@sinks}[$__rate_interval]))",
                    "{{sink}} {{signal}}",
                )],
            ),
            panel(
                "Exports by answer",
                "HTTP status or gRPC's code; `cancelled`, `reset` and `closed` had no answer.",
                Kind::Stack,
                "reqps",
                8,
                &[(
                    "sum by (code) (rate(obsflow_export_requests_total{@sinks}[$__rate_interval]))",
                    "{{code}}",
                )],
            ),
            panel(
                "Age of the last success",
                "A saw is well; a line that climbs has stopped, or has nothing to send.",
                Kind::Lines,
                "s",
                8,
                &[(
                    "time() - max by (namespace, workload, sink, signal) (obsflow_export_last_success_timestamp_seconds{@sinks})",
                    "{{namespace}}/{{workload}} {{sink}} {{signal}}",
                )],
            ),
            panel(
                "Exporters by rung",
                "How many are past each step: configured, resolved, connected, sent, accepted.",
                Kind::Lines,
                "none",
                8,
                &[(
                    r#"sum by (rung) (obsflow_exporters{@sinks,state="ok"})"#,
                    "{{rung}}",
                )],
            ),
            panel(
                "Bytes sent",
                "Payload that sinks acknowledged.",
                Kind::Lines,
                "Bps",
                8,
                &[(
                    "sum by (sink) (rate(obsflow_sink_sent_bytes_total{@sinks}[$__rate_interval]))",
                    "{{sink}}",
                )],
            ),
            panel(
                "Bytes received",
                "What sinks answered.",
                Kind::Lines,
                "Bps",
                8,
                &[(
                    "sum by (sink) (rate(obsflow_sink_received_bytes_total{@sinks}[$__rate_interval]))",
                    "{{sink}}",
                )],
            ),
        ],
    },
    Row {
        title: "Connections",
        height: 8,
        panels: &[
            panel(
                "Connects by outcome",
                "To sinks.",
                Kind::Stack,
                "cps",
                8,
                &[(
                    "sum by (outcome) (rate(obsflow_sink_connects_total{@sinks}[$__rate_interval]))",
                    "{{outcome}}",
                )],
            ),
            panel(
                "Connects that failed, by sink",
                "With the error that the socket had.",
                Kind::Lines,
                "cps",
                8,
                &[(
                    r#"sum by (sink, outcome, errno) (rate(obsflow_sink_connects_total{@sinks,outcome!~"established|abandoned"}[$__rate_interval]))"#,
                    "{{sink}} {{outcome}} {{errno}}",
                )],
            ),
            panel(
                "Connects by port, exact",
                "Counted in the kernel: nothing is missing under load.",
                Kind::Lines,
                "cps",
                8,
                &[(
                    "sum by (port, outcome) (rate(obsflow_tcp_connects_total{@workloads}[$__rate_interval]))",
                    "{{port}} {{outcome}}",
                )],
            ),
            panel(
                "Handshakes",
                "From the SYN to the established connection.",
                Kind::Lines,
                "s",
                8,
                &[
                    (
                        "histogram_quantile(0.5, sum by (le) (rate(obsflow_sink_handshake_duration_seconds_bucket{@sinks}[$__rate_interval])))",
                        "median",
                    ),
                    (
                        "histogram_quantile(0.99, sum by (le) (rate(obsflow_sink_handshake_duration_seconds_bucket{@sinks}[$__rate_interval])))",
                        "99 %",
                    ),
                ],
            ),
            panel(
                "Segments sent again",
                "SYNs: nobody answers. Data: the way loses packets, or the peer is gone.",
                Kind::Lines,
                "pps",
                8,
                &[(
                    "sum by (sink, segment) (rate(obsflow_sink_retransmits_total{@sinks}[$__rate_interval]))",
                    "{{sink}} {{segment}}",
                )],
            ),
            panel(
                "Packets dropped on the node, by reason",
                "The kernel's own reasons.",
                Kind::Stack,
                "pps",
                8,
                &[(
                    "sum by (reason) (rate(obsflow_drops_total{@sinks}[$__rate_interval]))",
                    "{{reason}}",
                )],
            ),
        ],
    },
    Row {
        title: "DNS",
        height: 8,
        panels: &[
            panel(
                "Responses by code, exact",
                "Search lists make NXDOMAIN normal: look at the look-ups beside.",
                Kind::Stack,
                "ops",
                6,
                &[(
                    "sum by (rcode) (rate(obsflow_dns_responses_total{@workloads}[$__rate_interval]))",
                    "{{rcode}}",
                )],
            ),
            panel(
                "Look-ups by outcome",
                "Whole searches: every candidate, both families.",
                Kind::Stack,
                "ops",
                6,
                &[(
                    "sum by (outcome) (rate(obsflow_dns_lookups_total{@workloads}[$__rate_interval]))",
                    "{{outcome}}",
                )],
            ),
            panel(
                "Time of a look-up",
                "From the first query to the answer that decided it.",
                Kind::Lines,
                "s",
                6,
                &[
                    (
                        "histogram_quantile(0.5, sum by (le) (rate(obsflow_dns_lookup_duration_seconds_bucket{@workloads}[$__rate_interval])))",
                        "median",
                    ),
                    (
                        "histogram_quantile(0.99, sum by (le) (rate(obsflow_dns_lookup_duration_seconds_bucket{@workloads}[$__rate_interval])))",
                        "99 %",
                    ),
                ],
            ),
            panel(
                "Queries without an answer",
                "By workload.",
                Kind::Lines,
                "ops",
                6,
                &[(
                    "sum by (namespace, workload) (rate(obsflow_dns_unanswered_total{@workloads}[$__rate_interval]))",
                    "{{namespace}}/{{workload}}",
                )],
            ),
        ],
    },
    Row {
        title: "Overlay",
        height: 8,
        panels: &[
            panel(
                "Tunnel packets by peer",
                "Sent and none received, while exporters of the node fail: the overlay is blocked.",
                Kind::Lines,
                "pps",
                12,
                &[(
                    "sum by (node, peer, direction) (rate(obsflow_tunnel_packets_total[$__rate_interval]))",
                    "{{node}} {{peer}} {{direction}}",
                )],
            ),
            panel(
                "Tunnel bytes by peer",
                "Outer bytes, from the IP header on.",
                Kind::Lines,
                "Bps",
                12,
                &[(
                    "sum by (node, peer, direction) (rate(obsflow_tunnel_bytes_total[$__rate_interval]))",
                    "{{node}} {{peer}} {{direction}}",
                )],
            ),
        ],
    },
    Row {
        title: "obsflow itself",
        height: 8,
        panels: &[
            panel(
                "Events by stage",
                "What programs were to record, what the ring took, what was understood.",
                Kind::Lines,
                "ops",
                8,
                &[(
                    "sum by (stage) (rate(obsflow_events_total[$__rate_interval]))",
                    "{{stage}}",
                )],
            ),
            panel(
                "Events lost",
                "By stage and kind. Counters that are exact are not touched by it.",
                Kind::Lines,
                "ops",
                8,
                &[(
                    "sum by (stage, kind) (rate(obsflow_events_lost_total[$__rate_interval]))",
                    "{{stage}} {{kind}}",
                )],
            ),
            panel(
                "Ring",
                "The most that waited in it, as a part of its size.",
                Kind::Lines,
                "percentunit",
                8,
                &[(
                    "max by (node) (obsflow_ring_fill_bytes / obsflow_ring_size_bytes)",
                    "{{node}}",
                )],
            ),
            panel(
                "Nodes with each hook",
                "`obsflow status` on a node says why one is missing there.",
                Kind::Table,
                "none",
                6,
                &[("sum by (hook) (obsflow_hook_attached)", "")],
            ),
            panel(
                "Watches of the Kubernetes API",
                "Objects known; 0 nodes up: the API is away, and the last names are kept.",
                Kind::Lines,
                "none",
                6,
                &[
                    (
                        "sum by (resource) (obsflow_watch_objects)",
                        "{{resource}}: objects",
                    ),
                    ("sum by (resource) (obsflow_watch_up)", "{{resource}}: nodes up"),
                ],
            ),
            panel(
                "Series",
                "Held for Prometheus, and counts that found no room for one of their own.",
                Kind::Lines,
                "none",
                6,
                &[
                    ("sum(obsflow_series)", "series"),
                    (
                        "sum by (label) (increase(obsflow_series_folded_total[$__rate_interval]))",
                        "folded: {{label}}",
                    ),
                ],
            ),
            panel(
                "Versions",
                "Nodes by what runs on them.",
                Kind::Table,
                "none",
                6,
                &[("count by (version, revision) (obsflow_build_info)", "")],
            ),
        ],
    },
];

/// Grafana's model of it.
pub(super) fn dashboard() -> Value {
    let mut panels = Vec::new();
    let (mut id, mut y) = (0, 0);
    for row in ROWS {
        if !row.title.is_empty() {
            id += 1;
            panels.push(json!({
                "id": id, "type": "row", "title": row.title, "collapsed": false, "panels": [],
                "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
            }));
            y += 1;
        }
        let mut x = 0;
        for panel in row.panels {
            if x + panel.width > COLUMNS {
                (x, y) = (0, y + row.height);
            }
            id += 1;
            let mut made = drawn(panel);
            made["id"] = json!(id);
            made["gridPos"] = json!({"x": x, "y": y, "w": panel.width, "h": row.height});
            panels.push(made);
            x += panel.width;
        }
        y += row.height;
    }
    json!({
        "uid": "obsflow",
        "title": "obsflow: is my telemetry arriving?",
        "description": "Which exporters fail, at which step, and why.",
        "tags": ["obsflow", "opentelemetry", "telemetry"],
        "schemaVersion": 41,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": [
            {
                "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
                "refresh": 1, "hide": 0, "current": {},
            },
            variable("namespace", "Namespace", "label_values(obsflow_exporters, namespace)"),
            variable("workload", "Workload", r#"label_values(obsflow_exporters{namespace=~"$namespace"}, workload)"#),
            variable(
                "sink",
                "Sink",
                r#"label_values(obsflow_exporters{namespace=~"$namespace",workload=~"$workload"}, sink)"#,
            ),
        ]},
        "panels": panels,
    })
}

fn variable(name: &str, label: &str, query: &str) -> Value {
    json!({
        "name": name, "label": label, "type": "query", "datasource": datasource(),
        "query": {"query": query, "refId": name}, "definition": query,
        // `.*` finds what has no such label, too: units have no namespace.
        "includeAll": true, "allValue": ".*", "multi": true, "refresh": 2, "sort": 1, "hide": 0,
        "current": {"text": ["All"], "value": ["$__all"]},
    })
}

fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn drawn(panel: &Panel) -> Value {
    let is_now = matches!(panel.kind, Kind::Number | Kind::Table);
    let targets: Vec<Value> = panel
        .queries
        .iter()
        .zip('A'..)
        .map(|((expr, legend), letter)| {
            let expr = expr.replace(SINKS.0, SINKS.1).replace(WORKLOADS.0, WORKLOADS.1);
            json!({
                "refId": letter.to_string(), "datasource": datasource(), "expr": expr, "legendFormat": legend,
                "instant": is_now, "range": !is_now,
                "format": if panel.kind == Kind::Table { "table" } else { "time_series" },
            })
        })
        .collect();
    let (kind, options, custom) = match panel.kind {
        Kind::Number => (
            "stat",
            json!({
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
                "colorMode": "value", "graphMode": "none", "textMode": "auto", "justifyMode": "auto",
            }),
            json!({}),
        ),
        Kind::Table => ("table", json!({"showHeader": true}), json!({"filterable": true})),
        Kind::Lines | Kind::Stack => {
            let stack = if panel.kind == Kind::Stack {
                "normal"
            } else {
                "none"
            };
            let fill = if panel.kind == Kind::Stack { 30 } else { 0 };
            (
                "timeseries",
                json!({
                    "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true},
                    "tooltip": {"mode": "multi", "sort": "desc"},
                }),
                json!({"lineWidth": 1, "fillOpacity": fill, "showPoints": "never", "stacking": {"mode": stack, "group": "A"}}),
            )
        }
    };
    let mut made = json!({
        "type": kind, "title": panel.title, "description": panel.about, "datasource": datasource(),
        "targets": targets, "options": options,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "custom": custom},
            "overrides": [],
        },
    });
    if panel.kind == Kind::Table {
        // The time of the query says nothing; the value is said where it is a count.
        let hidden = if panel.title == "Verdicts" {
            json!({"Time": true, "Value": true})
        } else {
            json!({"Time": true})
        };
        made["transformations"] = json!([{"id": "organize", "options": {
            "excludeByName": hidden,
            "indexByName": {"severity": 0, "verdict": 1, "reason": 2, "namespace": 3, "workload": 4, "signal": 5, "sink": 6},
            "renameByName": {"Value": "nodes"},
        }}]);
        made["fieldConfig"]["overrides"] = json!([{
            "matcher": {"id": "byName", "options": "severity"},
            "properties": [
                {"id": "custom.cellOptions", "value": {"type": "color-text"}},
                {"id": "mappings", "value": [{"type": "value", "options": {
                    "critical": {"color": "red", "index": 0},
                    "warning": {"color": "orange", "index": 1},
                    "ok": {"color": "green", "index": 2},
                }}]},
            ],
        }]);
    }
    if panel.title == "Failing exporters" || panel.title == "Workloads affected" {
        made["fieldConfig"]["defaults"]["thresholds"] = json!({"mode": "absolute", "steps": [
            {"color": "green", "value": null}, {"color": "red", "value": 1},
        ]});
    }
    made
}
