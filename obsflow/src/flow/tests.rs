//! The table, and what the rows of `docs/flows.md` say.

use std::path::Path;
use std::sync::Arc;

use super::samples::{self, dns, flow, maker, response, tcp, unit};
use super::{ROWS, Row, dns as rcodes, errno};
use crate::model::event::{Direction, Outcome, Protocol};
use crate::model::flow::{Body, TcpFlags, TrafficDirection, Verdict, event};
use crate::model::observation::{LookupOutcome, Observation, What};
use crate::model::workload::{Process, Workload, WorkloadKind};
use std::time::Duration;

#[test]
fn the_samples_are_the_table() {
    let names: Vec<_> = samples::all().iter().map(|o| *Row::of(&o.what)).collect();
    assert_eq!(names, ROWS);
}

#[test]
fn flows_keep_to_their_rows() {
    for (observation, row) in samples::all().iter().zip(ROWS) {
        let Body::Flow(flow) = response(observation).body else {
            assert_eq!(row.event, "lost");
            continue;
        };
        assert_eq!(flow.verdict, row.verdict, "{}", row.event);
        assert_eq!(flow.event_type.kind, row.kind);
        assert_eq!(flow.layer, row.layer);
        assert_eq!(flow.l7.as_ref().map(|l7| l7.kind), row.l7);
        assert_eq!(flow.trace_observation_point, row.point);
        assert_eq!(flow.extensions.outcome.as_deref(), row.outcome);
        assert!(!flow.summary.is_empty());
        if row.event != "dropped" {
            assert_eq!(flow.is_reply, row.is_reply);
        }
    }
}

#[test]
fn a_response_comes_from_the_name_server() {
    let answer = flow(&dns(What::DnsResponse {
        message: samples::nxdomain(),
        latency: None,
    }));
    assert_eq!(answer.ip.unwrap().source, "10.96.0.10".parse().ok());
    assert_eq!(
        answer.destination.unwrap().pod_name.as_deref(),
        Some("checkout-7d9c")
    );
    assert_eq!(answer.source.unwrap(), Default::default());
    assert_eq!(answer.l4.unwrap().ports(), (53, 39811));
    assert_eq!(
        answer.summary,
        "DNS Answer RCode: Non-Existent Domain TTL: 4294967295 (Query api.stripe.com.shop.svc.cluster.local. A)"
    );
}

#[test]
fn an_answer_over_http_comes_from_the_peer() {
    let flows: Vec<_> = samples::all()
        .iter()
        .filter(|o| matches!(o.what, What::Request(_) | What::Exchange(_)))
        .map(flow)
        .collect();
    let [asked, taken, refused, unanswered] = &flows[..] else {
        panic!("other samples")
    };
    for (flow, code, from_workload) in [
        (asked, 0, true),
        (taken, 200, false),
        (refused, 404, false),
        (unanswered, 0, true),
    ] {
        let http = flow.l7.as_ref().unwrap().http().unwrap();
        assert_eq!(
            (http.code, &*http.method, &*http.protocol),
            (code, "POST", "HTTP/1.1")
        );
        assert_eq!(http.url, "http://collector.obs:4318/v1/traces");
        assert_eq!(http.path(), "/v1/traces");
        let workload = if from_workload {
            &flow.source
        } else {
            &flow.destination
        };
        assert!(workload.as_ref().unwrap().pod_name.is_some());
        assert_eq!(flow.traffic_direction, Some(TrafficDirection::Egress));
        let ext = flow.extensions.http.as_ref().unwrap();
        assert_eq!(
            (ext.signal.as_deref(), ext.dialect.as_deref()),
            (Some("traces"), Some("otlp"))
        );
    }
    assert_eq!(taken.l7.as_ref().unwrap().latency_ns, 3_000_000);
}

#[test]
fn a_dropped_packet_keeps_its_way() {
    let of = |direction| {
        flow(&tcp(What::Dropped(Box::new(samples::drop_seen(
            "IP_RPFILTER",
            direction,
        )))))
    };
    let egress = of(Some(Direction::Egress));
    assert_eq!(egress.is_reply, Some(false));
    assert_eq!(egress.traffic_direction, Some(TrafficDirection::Egress));
    assert!(egress.source.unwrap().pod_name.is_some());
    let ingress = of(Some(Direction::Ingress));
    assert_eq!(ingress.is_reply, Some(true));
    assert_eq!(ingress.traffic_direction, Some(TrafficDirection::Ingress));
    assert!(ingress.destination.unwrap().pod_name.is_some());
    assert_eq!(&*ingress.source_names[0], "collector.obs.svc.cluster.local");
    let unknown = of(None);
    assert_eq!((unknown.is_reply, unknown.traffic_direction), (Some(false), None));
}

#[test]
fn ciliums_reason_only_where_it_fits() {
    let of = |reason| flow(&tcp(What::Dropped(Box::new(samples::drop_seen(reason, None)))));
    let fits = of("IP_RPFILTER");
    assert_eq!(fits.event_type.sub_type, 132);
    assert_eq!(fits.drop_reason_desc.unwrap().name(), Some("INVALID_SOURCE_IP"));
    let other = of("NETFILTER_DROP");
    assert_eq!(
        (other.event_type.kind, other.event_type.sub_type),
        (event::DROP, 255)
    );
    assert_eq!(other.drop_reason_desc, None);
    assert_eq!(&*other.extensions.drop.unwrap().reason, "NETFILTER_DROP");
}

#[test]
fn both_destinations_are_named_when_they_differ() {
    let rewritten = Observation {
        asked: Some("10.96.7.7:4317".parse().unwrap()),
        ..tcp(What::Attempt)
    };
    let flow = flow(&rewritten);
    assert_eq!(
        flow.summary,
        "TCP Flags: SYN; asked for 10.96.7.7:4317, rewritten to 10.0.2.9:4317; checkout[4711]"
    );
    assert_eq!(flow.extensions.asked, rewritten.asked);
}

#[test]
fn a_failed_connect_without_a_socket_goes_where_it_was_asked_to() {
    let failed = Observation {
        local: None,
        remote: None,
        asked: Some("[2001:db8::7]:4317".parse().unwrap()),
        ..tcp(samples::failure(
            Outcome::Failed,
            libc::ENETUNREACH,
            Duration::ZERO,
            0,
        ))
    };
    let flow = flow(&failed);
    assert_eq!(flow.ip.unwrap().destination, "2001:db8::7".parse().ok());
    assert_eq!(flow.l4.unwrap().ports(), (0, 4317));
    assert_eq!(
        flow.summary,
        "connect failed before a SYN was sent: ENETUNREACH (101); checkout[4711]"
    );
}

#[test]
fn anything_but_a_named_pod_shows_its_best_name() {
    let of = |workload: Workload, process: &str| {
        let observation = Observation {
            workload: workload.into(),
            process: (!process.is_empty()).then(|| Process {
                pid: 1,
                name: process.into(),
            }),
            ..tcp(What::Attempt)
        };
        let source = flow(&observation).source.unwrap();
        let names = source.workloads.iter().map(|w| format!("{}/{}", w.kind, w.name));
        names.collect::<Vec<_>>().join(" ")
    };
    let kind = |kind| Workload {
        kind,
        ..Workload::default()
    };
    assert_eq!(
        of((*unit("otelcol.service")).clone(), "otelcol"),
        "Unit/otelcol.service"
    );
    let id: String = "0123456789abcdef".repeat(4);
    let container = Workload {
        container_id: Some(id.into()),
        ..kind(WorkloadKind::Container)
    };
    assert_eq!(of(container, ""), "Container/0123456789ab");
    let root = Workload {
        cgroup_path: Some("/".into()),
        ..kind(WorkloadKind::Cgroup)
    };
    assert_eq!(of(root, "curl"), "Process/curl");
    let cgroup = Workload {
        cgroup_path: Some("/lab/a".into()),
        ..kind(WorkloadKind::Cgroup)
    };
    assert_eq!(of(cgroup, "curl"), "Cgroup//lab/a");
    assert_eq!(of(kind(WorkloadKind::Unknown), ""), "");
    let unnamed = Workload {
        pod_uid: Some("0b5e".into()),
        ..kind(WorkloadKind::Pod)
    };
    assert_eq!(of(unnamed, "app"), "Pod/0b5e");
}

#[test]
fn a_long_search_is_cut() {
    let What::Lookup(mut lookup) = samples::lookup(LookupOutcome::NxDomain) else {
        panic!("another sample")
    };
    lookup.candidates = vec![lookup.candidates[0].clone(); 11];
    let summary = flow(&dns(What::Lookup(lookup))).summary;
    assert_eq!(summary.matches("NXDOMAIN").count(), 8);
    assert!(summary.ends_with(" and 3 more"), "{summary}");
}

#[test]
fn dns_over_tcp_is_tcp() {
    let mut message = samples::answer();
    message.protocol = Protocol::Tcp;
    let flow = flow(&dns(What::DnsQuery(message)));
    assert!(
        matches!(flow.l4, Some(crate::model::flow::Layer4::Tcp(tcp)) if tcp.flags == TcpFlags::default())
    );
}

#[test]
fn unknown_numbers_stay_numbers() {
    assert_eq!(rcodes::RcodeText(3841).to_string(), "3841");
    assert_eq!(rcodes::RcodeName(3841).to_string(), "RCODE3841");
    assert_eq!(errno::name(4000), None);
    let odd = flow(&tcp(samples::end(false, 4000)));
    assert_eq!(odd.verdict, Verdict::Error);
    assert!(
        odd.summary.starts_with("failed: errno 4000 after"),
        "{}",
        odd.summary
    );
}

#[test]
fn errnos_have_one_name_and_are_found_by_each() {
    let number = |name| errno::by_name(name).unwrap();
    assert_eq!(errno::name(number("ECONNREFUSED")), Some("ECONNREFUSED"));
    assert_eq!(number("econnrefused"), number("ECONNREFUSED"));
    assert_eq!(number("EWOULDBLOCK"), number("EAGAIN"));
    assert_eq!(errno::by_name("ENOSUCH"), None);
    for name in errno::COMMON {
        assert_eq!(errno::name(number(name)), Some(name));
    }
}

/// `docs/flows.md` has the table between two marks; `UPDATE_DOCS=1 cargo test -p obsflow docs` writes it.
#[test]
fn docs_flows_md_has_this_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/flows.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- table -->\n", "<!-- end of table -->");
    let (before, rest) = page.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let wanted = format!("{before}{begin}{}{end}{after}", table());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        wanted,
        "run with UPDATE_DOCS=1"
    );
}

fn table() -> String {
    let mut table = String::from(
        "\n| event, outcome | event_type | Type | l7.type | verdict | is_reply | Summary |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for observation in samples::all() {
        let row = Row::of(&observation.what);
        let Body::Flow(flow) = maker().make(&observation).body else {
            table.push_str("| `lost` | - | `lost_events` | | | | |\n");
            continue;
        };
        let json = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let outcome = row
            .outcome
            .map(|outcome| format!(" {outcome}"))
            .unwrap_or_default();
        let sub_type = match (row.kind, row.point) {
            (_, Some(_)) => ":from-endpoint",
            (event::DROP, _) => ":reason",
            _ => "",
        };
        let kind = match row.kind {
            event::L7 => "l7",
            event::TRACE => "trace",
            event::DROP => "drop",
            event::TRACE_SOCK => "trace-sock",
            _ => panic!("a type without a name"),
        };
        let is_reply = match (row.event, row.is_reply) {
            ("dropped", _) => "by packet".to_owned(),
            (_, Some(reply)) => reply.to_string(),
            (_, None) => "unset".to_owned(),
        };
        table.push_str(&format!(
            "| `{}{outcome}` | {kind}{sub_type} ({}) | {} | {} | {} | {is_reply} | {} |\n",
            row.event,
            row.kind,
            json(serde_json::to_value(row.layer).unwrap()),
            row.l7
                .map(|l7| json(serde_json::to_value(l7).unwrap()))
                .unwrap_or_default(),
            row.verdict.name(),
            flow.summary,
        ));
    }
    table.push('\n');
    table
}

#[test]
fn the_other_side_is_what_its_address_belongs_to() {
    use crate::model::cluster::{Destination, Owner};
    let is = |is: Destination, what: What| {
        flow(&Observation {
            remote_is: Some(Arc::new(is)),
            ..tcp(what)
        })
    };
    let collector = || Destination::Pod {
        namespace: "obs".into(),
        name: "collector-7d9c-x".into(),
        owner: Some(Owner {
            kind: "Deployment".into(),
            name: "collector".into(),
        }),
        service: Some("otel".into()),
    };
    let to = is(collector(), What::Attempt);
    assert_eq!(
        serde_json::to_value((&to.destination, &to.destination_service)).unwrap(),
        serde_json::json!([
            {
                "namespace": "obs",
                "pod_name": "collector-7d9c-x",
                "workloads": [{"name": "collector", "kind": "Deployment"}]
            },
            {"name": "otel", "namespace": "obs"}
        ])
    );
    assert_eq!(to.source_service, None);
    let service = Destination::Service {
        namespace: "obs".into(),
        name: "otel".into(),
    };
    let to = is(service, What::Attempt);
    assert_eq!(
        serde_json::to_value((&to.destination, &to.destination_service)).unwrap(),
        serde_json::json!([{"namespace": "obs"}, {"name": "otel", "namespace": "obs"}])
    );
    let node = Destination::Node {
        name: "node-1".into(),
    };
    assert_eq!(
        serde_json::to_value(is(node, What::Attempt).destination).unwrap(),
        serde_json::json!({"workloads": [{"name": "node-1", "kind": "Node"}]})
    );
    // What runs the workload itself.
    let mut own = tcp(What::Attempt);
    let owner = Some(Owner {
        kind: "Deployment".into(),
        name: "checkout".into(),
    });
    own.workload = Arc::new(Workload {
        owner,
        ..Workload::clone(&own.workload)
    });
    assert_eq!(
        serde_json::to_value(flow(&own).source).unwrap(),
        serde_json::json!({
            "namespace": "shop",
            "pod_name": "checkout-7d9c",
            "workloads": [{"name": "checkout", "kind": "Deployment"}]
        })
    );
}
