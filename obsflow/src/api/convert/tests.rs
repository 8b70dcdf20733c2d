//! There and back.

use std::net::IpAddr;
use std::sync::Arc;

use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message as _;

use super::super::v1;
use super::*;
use crate::model::cluster::Owner;
use crate::model::exchange::{Dialect, Signal};
use crate::model::expectation::{ContainerKey, Endpoint, Host, Source, Transport};
use crate::model::status::{
    Events, HookStatus, KubernetesEvents, Ring, Status, TunnelDevice, TunnelTraffic, WatchStatus,
};
use crate::model::verdict::{
    Cause, Evidence, Export, Leg, Report, Rung, RungState, Rungs, Severity, VerdictId,
};
use crate::model::workload::{Workload, WorkloadKind};

fn text() -> impl Strategy<Value = Arc<str>> {
    "[a-zé ./-]{0,12}".prop_map(Arc::from)
}

/// In nanoseconds since the epoch, as wall clocks have it.
fn moment() -> impl Strategy<Value = Mono> {
    (0..u64::MAX / 4).prop_map(Mono)
}

fn transport() -> impl Strategy<Value = Transport> {
    select(vec![
        Transport::Grpc,
        Transport::HttpProtobuf,
        Transport::HttpJson,
        Transport::Unknown,
        Transport::Other(Dialect::Otlp),
        Transport::Other(Dialect::RemoteWrite),
        Transport::Other(Dialect::Loki),
        Transport::Other(Dialect::Zipkin),
        Transport::Other(Dialect::Jaeger),
        Transport::Other(Dialect::Faro),
        Transport::Other(Dialect::Pyroscope),
        Transport::Other(Dialect::Splunk),
        Transport::Other(Dialect::Victoria),
    ])
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let host = prop_oneof![text().prop_map(Host::Name), any::<IpAddr>().prop_map(Host::Ip),];
    (host, any::<u16>(), any::<Option<bool>>(), of(text()), transport()).prop_map(
        |(host, port, tls, path, transport)| Endpoint {
            host,
            port,
            tls,
            path,
            transport,
        },
    )
}

fn source() -> impl Strategy<Value = Source> {
    prop_oneof![
        text().prop_map(Source::Environment),
        text().prop_map(Source::Argument),
        text().prop_map(Source::OtelConfig),
        Just(Source::Config),
        text().prop_map(Source::Default),
        Just(Source::Wire),
    ]
}

fn workload() -> impl Strategy<Value = Workload> {
    let kinds = vec![
        WorkloadKind::Unknown,
        WorkloadKind::Pod,
        WorkloadKind::Container,
        WorkloadKind::Unit,
        WorkloadKind::Cgroup,
    ];
    (
        select(kinds),
        [of(text()), of(text()), of(text()), of(text())],
        [of(text()), of(text()), of(text())],
        of((text(), text()).prop_map(|(kind, name)| Owner { kind, name })),
    )
        .prop_map(
            |(kind, [namespace, pod, pod_uid, container_id], [container, unit, cgroup_path], owner)| {
                Workload {
                    kind,
                    namespace,
                    pod,
                    pod_uid,
                    container_id,
                    container,
                    owner,
                    unit,
                    cgroup_path,
                }
            },
        )
}

fn rungs() -> impl Strategy<Value = Rungs> {
    let state = select(vec![
        RungState::Ok,
        RungState::Failed,
        RungState::Unknown,
        RungState::NotReached,
        RungState::NotApplicable,
    ]);
    proptest::collection::vec(state, 5).prop_map(|states| {
        let mut rungs = Rungs::default();
        for (rung, state) in Rung::ALL.into_iter().zip(states) {
            rungs.set(rung, state);
        }
        rungs
    })
}

fn severity() -> impl Strategy<Value = Severity> {
    select(vec![
        Severity::Ok,
        Severity::Unknown,
        Severity::Starting,
        Severity::Warning,
        Severity::Critical,
    ])
}

fn verdict() -> impl Strategy<Value = VerdictId> {
    select(VerdictId::ALL)
}

fn evidence() -> impl Strategy<Value = Evidence> {
    (
        select(vec!["lookup", "connect", "drop"]),
        text(),
        any::<u64>(),
        of(moment()),
    )
        .prop_map(|(kind, text, count, last)| Evidence {
            kind,
            text,
            count,
            last,
        })
}

fn list<S: Strategy>(of: S) -> impl Strategy<Value = Vec<S::Value>> {
    proptest::collection::vec(of, 0..3)
}

prop_compose! {
    fn export()(
        (id, container, written, workload) in (text(), text(), text(), workload()),
        (pid, proxy) in (of(any::<u32>()), of(text())),
        (signal, endpoint, source) in (of(select(Signal::ALL.to_vec())), of(endpoint()), source()),
        leg in select(vec![Leg::Direct, Leg::ToSidecar, Leg::Sidecar]),
        (rungs, verdict, reason, severity) in (rungs(), verdict(), of(text()), severity()),
        (since, flaps, last_success) in (moment(), any::<u32>(), of(moment())),
        (evidence, advice, cause) in (list(evidence()), list(text()), of(text())),
    ) -> Export {
        Export {
            node: None,
            id, container: ContainerKey(container), workload: Arc::new(workload), pid, proxy, signal, endpoint, written, source, leg,
            rungs, verdict, reason, severity, since, flaps, evidence, advice, last_success, cause,
        }
    }
}

prop_compose! {
    fn cause()(
        (id, subject, reason) in (text(), text(), of(text())),
        (verdict, severity, since) in (verdict(), severity(), moment()),
        (exports, advice) in (list(text()), list(text())),
        (pods, workloads) in any::<(u32, u32)>(),
    ) -> Cause {
        Cause { id, verdict, reason, severity, subject, since, exports, pods, workloads, advice }
    }
}

prop_compose! {
    fn report()(
        (at, watching_since) in (moment(), moment()),
        (exports, causes, degraded) in (list(export()), list(cause()), list(text())),
        (events_lost, exports_forgotten) in any::<(u64, u64)>(),
    ) -> Report {
        Report { at, watching_since, exports, causes, events_lost, exports_forgotten, degraded }
    }
}

fn over_the_wire(report: &Report, clock: Clock) -> Report {
    let bytes = report_to(report, clock, "node", "1").encode_to_vec();
    report_from(v1::Report::decode(&*bytes).unwrap()).unwrap()
}

proptest! {
    #[test]
    fn a_report_comes_back_as_it_was(report in report()) {
        prop_assert_eq!(over_the_wire(&report, WALL), report);
    }

    /// Kernel time becomes wall-clock time, to the nanosecond.
    #[test]
    fn times_keep_their_distance(report in report(), offset_ns in 0i128..1_000_000_000_000_000_000) {
        let clock = Clock { offset_ns };
        let back = over_the_wire(&report, clock);
        prop_assert_eq!(WALL.wall(back.at), clock.wall(report.at));
        for (before, after) in report.exports.iter().zip(&back.exports) {
            prop_assert_eq!(WALL.wall(after.since), clock.wall(before.since));
        }
    }
}

pub(in crate::api) fn sample_report() -> Report {
    let mut rungs = Rungs::default();
    rungs.set(Rung::Configured, RungState::Ok);
    rungs.set(Rung::Resolved, RungState::Failed);
    let id: Arc<str> = "0123456789ab".into();
    Report {
        at: Mono(2_000_000_005),
        watching_since: Mono(1_000_000_000),
        exports: vec![Export {
            node: None,
            id: Arc::clone(&id),
            container: ContainerKey("c0ffee".into()),
            workload: Arc::new(Workload {
                kind: WorkloadKind::Pod,
                namespace: Some("shop".into()),
                pod: Some("checkout-1".into()),
                ..Workload::default()
            }),
            pid: Some(4711),
            proxy: None,
            signal: Some(Signal::Traces),
            endpoint: Some(Endpoint {
                host: Host::Name("otel-colector.observability".into()),
                port: 4318,
                tls: Some(false),
                path: Some("/v1/traces".into()),
                transport: Transport::HttpProtobuf,
            }),
            written: "http://otel-colector.observability:4318".into(),
            source: Source::Environment("OTEL_EXPORTER_OTLP_ENDPOINT".into()),
            leg: Leg::Direct,
            rungs,
            verdict: VerdictId::DnsNxdomain,
            reason: None,
            severity: Severity::Critical,
            since: Mono(1_500_000_000),
            flaps: 1,
            evidence: vec![Evidence {
                kind: "lookup",
                text: "NXDOMAIN for every candidate".into(),
                count: 7,
                last: Some(Mono(1_999_999_999)),
            }],
            advice: vec!["ask for otel-collector.observability".into()],
            last_success: None,
            cause: Some("ba9876543210".into()),
        }],
        causes: vec![Cause {
            id: "ba9876543210".into(),
            verdict: VerdictId::DnsNxdomain,
            reason: None,
            severity: Severity::Critical,
            subject: "otel-colector.observability".into(),
            since: Mono(1_500_000_000),
            exports: vec![id],
            pods: 1,
            workloads: 1,
            advice: Vec::new(),
        }],
        events_lost: 0,
        exports_forgotten: 0,
        degraded: vec!["connect-exit: detail".into()],
    }
}

pub(in crate::api) fn sample_status() -> Status {
    Status {
        version: "0.1.0".into(),
        node: "node-1".into(),
        kernel: "6.18.0".into(),
        btf: true,
        cgroup_mount: "/sys/fs/cgroup".into(),
        attached_to: vec!["/sys/fs/cgroup/kubepods".into()],
        another_runs: false,
        watching_since: "2026-01-02T15:04:05.123456789Z".parse().unwrap(),
        watched_ports: [4317, 4318].into(),
        hooks: vec![
            HookStatus {
                name: "tcp".into(),
                state: "attached".into(),
                detail: "inet_sock_set_state".into(),
                without: String::new(),
            },
            HookStatus {
                name: "drops".into(),
                state: "unavailable".into(),
                detail: "no BTF".into(),
                without: "drops look like a black hole".into(),
            },
        ],
        events: Events {
            window_ms: 1234,
            emitted: 1,
            ring_lost: 2,
            recursion_misses: 3,
            connections_full: 4,
            counts_full: 5,
            tunnels_full: 15,
            payload_rate_limited: 6,
            unreadable: 7,
            decoded: 8,
            undecodable: 9,
            unattributed: 10,
            by_address: 13,
            forgotten: 11,
            connections: 12,
        },
        ring: Ring {
            bytes: 8 << 20,
            most_waiting_bytes: 77,
        },
        tunnels: vec![TunnelDevice {
            device: "flannel.1".into(),
            kind: "vxlan".into(),
            port: 8472,
            vni: Some(1),
            local: Some("192.0.2.1".parse().unwrap()),
            underlays: vec!["eth0".into()],
            peers: vec!["2001:db8::2".parse().unwrap()],
        }],
        tunnel_traffic: vec![TunnelTraffic {
            device: String::new(),
            underlay: "eth0".into(),
            peer: "192.0.2.2".parse().unwrap(),
            vni: 1,
            port: 8472,
            direction: "sent".into(),
            packets: 5,
            bytes: 600,
        }],
        watches: vec![
            WatchStatus {
                resource: "pods".into(),
                state: "watching".into(),
                error: String::new(),
                objects: 42,
                restarts: 1,
            },
            WatchStatus {
                resource: "services".into(),
                state: "away".into(),
                error: "https://10.43.0.1 forbids it (403)".into(),
                objects: 0,
                restarts: 0,
            },
        ],
        kubernetes_events: Some(KubernetesEvents {
            written: 7,
            crowded_out: 8,
            failed: 9,
        }),
    }
}

#[test]
fn a_status_comes_back_as_it_was() {
    let bytes = status_to(&sample_status()).encode_to_vec();
    let status = status_from(v1::Status::decode(&*bytes).unwrap()).unwrap();
    assert_eq!(status, sample_status());
}

/// The names are what scripts are written against.
#[test]
fn names_are_those_of_the_output() {
    let message = report_to(&sample_report(), WALL, "node-1", "0.1.0");
    let export = &message.exports[0];
    assert_eq!(
        (&*export.verdict, &*export.severity, export.signal.as_deref()),
        ("dns-nxdomain", "critical", Some("traces"))
    );
    let rungs = export.rungs.as_ref().unwrap();
    assert_eq!(
        [&rungs.configured, &rungs.resolved, &rungs.accepted],
        ["ok", "failed", "unknown"]
    );
    assert_eq!(message.at, Some(prost_types::Timestamp { seconds: 2, nanos: 5 }));
}

#[test]
fn what_is_not_known_here_is_named() {
    let change = |change: fn(&mut v1::Report)| {
        let mut message = report_to(&sample_report(), WALL, "node-1", "9.0.0");
        change(&mut message);
        report_from(message).unwrap_err().to_string()
    };
    let said = [
        change(|report| report.exports[0].verdict = "haunted".into()),
        change(|report| report.exports[0].rungs = None),
        change(|report| report.exports[0].endpoint.as_mut().unwrap().port = 65536),
        change(|report| report.causes[0].since = None),
        change(|report| report.at.as_mut().unwrap().seconds = i64::MAX),
        change(|report| report.exports[0].source.as_mut().unwrap().detail = None),
        change(|report| report.exports[0].evidence[0].kind = "x".repeat(65)),
    ];
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn times_before_the_epoch() {
    let early: Timestamp = "1969-12-31T23:59:58.75Z".parse().unwrap();
    let message = stamp(early);
    assert_eq!((message.seconds, message.nanos), (-2, 750_000_000));
    assert_eq!(time("at", Some(message)).unwrap(), early);
}
