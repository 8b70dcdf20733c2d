mod moves;
mod reported;
mod tunnels;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use obsflow_ebpf::abi::conn::outcome;
use obsflow_ebpf::abi::count::dns_count;
use proptest::prelude::*;

use super::*;
use crate::kernel::counters::Counts;
use crate::model::cluster::{Addresses, Destination, Service};
use crate::model::event::{Outcome, TcpInfo};
use crate::model::exchange::{Answer, Dialect, Exchange, Form, Ingest, Request, Signal, Spoken, TargetForm};
use crate::model::lifecycle::Step;
use crate::model::observation::{ConnectFailure, ConnectionEnd, Lookup, LookupOutcome};
use crate::model::workload::WorkloadKind;
use crate::model::{Observation, What};

fn at(seconds: u64) -> Mono {
    Mono(seconds * 1_000_000_000)
}

/// A container of a pod; without a name when the pod's is not known yet.
fn container(pod: Option<&str>, uid: u64, container: u64) -> Arc<Workload> {
    Arc::new(Workload {
        kind: WorkloadKind::Pod,
        namespace: pod.map(|_| "shop".into()),
        pod: pod.map(Arc::from),
        pod_uid: Some(format!("uid-{uid}").into()),
        container_id: Some(format!("{container:064x}").into()),
        cgroup_path: Some(format!("/kubepods/pod{uid}/{container:064x}").into()),
        ..Workload::default()
    })
}

fn seen(workload: &Arc<Workload>, seconds: u64, cookie: u64, what: What) -> Observation {
    Observation {
        at: at(seconds),
        workload: Arc::clone(workload),
        process: None,
        cgroup: 1,
        cookie,
        netns: 0,
        local: None,
        remote: Some(SocketAddr::from(([10, 96, 0, 9], 4317))),
        asked: None,
        remote_name: Some("otel.obs.svc.cluster.local".into()),
        remote_is: None,
        what,
    }
}

fn lookup(outcome: LookupOutcome, took: Duration) -> What {
    What::Lookup(Box::new(Lookup {
        name: "otel.obs".into(),
        candidates: Vec::new(),
        outcome,
        ips: Vec::new(),
        took,
        server: None,
    }))
}

fn info(sent: u64, received: u64) -> What {
    let addr = SocketAddr::from(([10, 0, 0, 1], 1));
    What::TcpInfo(Box::new(TcpInfo {
        ends: crate::model::event::Endpoints {
            local: addr,
            remote: addr,
        },
        state: 1,
        unacked: 0,
        rto: Duration::ZERO,
        rtt: Duration::ZERO,
        backoff: 0,
        total_retransmits: 0,
        last_sent: Duration::ZERO,
        last_received: Duration::ZERO,
        bytes_acked: sent,
        bytes_received: received,
        not_sent_bytes: 0,
    }))
}

fn closed(sent: u64, received: u64, seconds: u64) -> What {
    What::Closed(Box::new(ConnectionEnd {
        duration: Duration::from_secs(seconds),
        handshake: None,
        bytes_acked: sent,
        bytes_received: received,
        errno: 0,
        retransmits: 2,
        last_state: 4,
        rst: false,
    }))
}

/// Samples of a scrape in the text format, those of obsflow's own maps left out.
fn scrape(scraper: &Scraper) -> BTreeMap<String, f64> {
    let text = scraper.encode(Format::Text);
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.starts_with("obsflow_map_entries"))
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

const CHECKOUT: &str = r#"namespace="shop",workload="checkout""#;

fn get(samples: &BTreeMap<String, f64>, name: &str, labels: &str) -> Option<f64> {
    samples.get(&format!("{name}{{{labels}}}")).copied()
}

#[test]
fn what_is_observed_is_counted() {
    let (mut metrics, scraper) = metrics(Options::default());
    let pod = container(Some("checkout-7d9c6b5f4d-x2xkq"), 1, 1);
    let ms = Duration::from_millis;
    for what in [
        lookup(LookupOutcome::NxDomain, ms(1)),
        lookup(LookupOutcome::NxDomain, ms(7)),
        lookup(LookupOutcome::Resolved, ms(40_000)),
    ] {
        metrics.observe(&seen(&pod, 1, 0, what));
    }
    metrics.observe(&seen(&pod, 2, 9, What::Attempt));
    metrics.observe(&seen(&pod, 2, 9, What::Established { handshake: ms(3) }));
    metrics.observe(&seen(&pod, 3, 9, What::Retransmit { count: 1, syn: false }));
    metrics.observe(&seen(&pod, 3, 9, info(100, 10)));
    metrics.observe(&seen(&pod, 8, 9, info(150, 30)));
    metrics.observe(&seen(&pod, 9, 9, closed(160, 40, 7)));
    metrics.observe(&seen(
        &pod,
        9,
        10,
        What::ConnectFailed(Box::new(ConnectFailure {
            outcome: Outcome::Refused,
            errno: 111,
            duration: ms(1),
            syn_retransmits: 0,
            drop: None,
        })),
    ));
    let request = Request {
        at: at(3),
        wire: Spoken::Http1,
        stream: 0,
        method: Some("POST".into()),
        form: TargetForm::Origin,
        authority: None,
        path: Some("/v1/traces".into()),
        ingest: Some(Ingest {
            dialect: Dialect::Otlp,
            signal: Some(Signal::Traces),
        }),
        user_agent: None,
        content_length: None,
        grpc: false,
    };
    let exchange = |request: Request, answer| {
        What::Exchange(Box::new(Exchange {
            request: Arc::new(request),
            answer,
            took: ms(2),
        }))
    };
    let ok = Answer::Http {
        status: 200,
        refusal: None,
        retry_after: false,
        body_bytes: None,
        form: Form::Protobuf,
    };
    metrics.observe(&seen(&pod, 3, 9, exchange(request.clone(), ok)));
    let unavailable = Answer::Grpc {
        status: Some(14),
        failed: true,
        data_bytes: 0,
        form: Form::Protobuf,
    };
    metrics.observe(&seen(&pod, 3, 9, exchange(request.clone(), unavailable)));
    // A query is no export.
    let query = Request {
        ingest: None,
        path: Some("/api/v1/query".into()),
        ..request
    };
    metrics.observe(&seen(&pod, 3, 9, exchange(query, ok)));

    let samples = scrape(&scraper);
    let sink = format!(r#"{CHECKOUT},sink="obs/otel:4317""#);
    let value = |name: &str, labels: &str| get(&samples, name, labels);
    let nxdomain = format!(r#"{CHECKOUT},outcome="nxdomain""#);
    assert_eq!(value("obsflow_dns_lookups_total", &nxdomain), Some(2.0));
    let bucket = |le: &str| {
        let labels = format!(r#"le="{le}",{CHECKOUT}"#);
        value("obsflow_dns_lookup_duration_seconds_bucket", &labels)
    };
    assert_eq!(
        [
            bucket("0.0005"),
            bucket("0.001"),
            bucket("0.01"),
            bucket("30.0"),
            bucket("+Inf")
        ],
        [Some(0.0), Some(1.0), Some(2.0), Some(2.0), Some(3.0)]
    );
    assert_eq!(
        value("obsflow_dns_lookup_duration_seconds_sum", CHECKOUT),
        Some(40.008)
    );
    assert_eq!(value("obsflow_sink_sent_bytes_total", &sink), Some(160.0));
    assert_eq!(value("obsflow_sink_received_bytes_total", &sink), Some(40.0));
    let refused = format!(r#"{sink},outcome="refused",errno="ECONNREFUSED""#);
    assert_eq!(value("obsflow_sink_connects_total", &refused), Some(1.0));
    let established = format!(r#"{sink},outcome="established""#);
    assert_eq!(value("obsflow_sink_connects_total", &established), Some(1.0));
    let data = format!(r#"{sink},segment="data""#);
    assert_eq!(value("obsflow_sink_retransmits_total", &data), Some(2.0));
    assert_eq!(
        value("obsflow_sink_handshake_duration_seconds_count", &sink),
        Some(1.0)
    );
    let code = |code: &str| {
        let labels = format!(r#"{sink},signal="traces",code="{code}""#);
        value("obsflow_export_requests_total", &labels)
    };
    assert_eq!((code("200"), code("UNAVAILABLE")), (Some(1.0), Some(1.0)));
    let requests = samples
        .keys()
        .filter(|name| name.starts_with("obsflow_export_requests"));
    assert_eq!(requests.count(), 2);
}

#[test]
fn a_connection_older_than_obsflow_counts_from_when_it_is_known() {
    let (mut metrics, scraper) = metrics(Options::default());
    let pod = container(Some("checkout"), 1, 1);
    let adopted = What::Adopted {
        state: 1,
        bytes_acked: 1000,
        bytes_received: 500,
    };
    metrics.observe(&seen(&pod, 1, 9, adopted));
    metrics.observe(&seen(&pod, 5, 9, info(1100, 510)));
    // Known by nothing but its state.
    metrics.observe(&seen(&pod, 5, 10, info(7000, 7000)));
    metrics.observe(&seen(&pod, 9, 10, info(7001, 7002)));
    // There was no room for it, or its end is all that was seen.
    metrics.observe(&seen(&pod, 9, 11, closed(30, 20, 5)));
    metrics.observe(&seen(&pod, 9, 12, closed(30_000, 20_000, 8000)));
    let samples = scrape(&scraper);
    let sink = format!(r#"{CHECKOUT},sink="obs/otel:4317""#);
    assert_eq!(get(&samples, "obsflow_sink_sent_bytes_total", &sink), Some(131.0));
    assert_eq!(
        get(&samples, "obsflow_sink_received_bytes_total", &sink),
        Some(32.0)
    );
}

fn dns(rows: &[(u64, u32, u64)]) -> Counts {
    Counts {
        dns: rows
            .iter()
            .map(|(cgroup, rcode, n)| ((*cgroup, *rcode), *n))
            .collect(),
        ..Counts::default()
    }
}

fn responses(scraper: &Scraper, rcode: &str) -> Option<f64> {
    let labels = format!(r#"{CHECKOUT},rcode="{rcode}""#);
    get(&scrape(scraper), "obsflow_dns_responses_total", &labels)
}

#[test]
fn counters_go_on_when_cgroups_go() {
    let (mut metrics, scraper) = metrics(Options::default());
    let one = container(Some("checkout-7d9c6b5f4d-x2xkq"), 1, 1);
    let two = container(Some("checkout-7d9c6b5f4d-b4b4b"), 2, 2);
    let mut of = |cgroup| match cgroup {
        7 => Some(Arc::clone(&one)),
        8 => Some(Arc::clone(&two)),
        _ => None,
    };
    metrics.counters(&dns(&[(7, 3, 5), (7, dns_count::QUERY, 6)]), &mut of, &[], at(1));
    assert_eq!(responses(&scraper, "NXDOMAIN"), Some(5.0));
    // Read again, nothing is new; the second container counts to the same workload.
    metrics.counters(&dns(&[(7, 3, 5), (8, 3, 2)]), &mut of, &[], at(2));
    assert_eq!(responses(&scraper, "NXDOMAIN"), Some(7.0));
    // The first is about to be forgotten, and its number is used anew.
    metrics.counters(&dns(&[(7, 3, 6), (8, 3, 2)]), &mut of, &[7], at(3));
    assert_eq!(responses(&scraper, "NXDOMAIN"), Some(8.0));
    metrics.counters(&dns(&[(7, 3, 1), (8, 3, 2)]), &mut of, &[], at(4));
    assert_eq!(responses(&scraper, "NXDOMAIN"), Some(9.0));
    assert_eq!(
        get(&scrape(&scraper), "obsflow_dns_queries_total", CHECKOUT),
        Some(6.0)
    );
}

#[test]
fn a_cgroup_that_nobody_knows_is_waited_for() {
    let (mut metrics, scraper) = metrics(Options::default());
    let mut nobody = |_| None;
    let unknown = |scraper: &Scraper| {
        get(
            &scrape(scraper),
            "obsflow_dns_responses_total",
            r#"namespace="",workload="unknown",rcode="NOERROR""#,
        )
    };
    metrics.counters(&dns(&[(7, 0, 5), (8, 0, 1)]), &mut nobody, &[], at(1));
    assert_eq!(unknown(&scraper), None);
    let pod = container(Some("checkout"), 1, 1);
    let mut of = |cgroup| (cgroup == 7).then(|| Arc::clone(&pod));
    metrics.counters(&dns(&[(7, 0, 5), (8, 0, 1)]), &mut of, &[], at(12));
    assert_eq!(responses(&scraper, "NOERROR"), Some(5.0));
    assert_eq!(unknown(&scraper), Some(1.0));
}

#[test]
fn attempts_and_their_ends_are_counted_by_port() {
    let (mut metrics, scraper) = metrics(Options::default());
    let pod = container(Some("checkout"), 1, 1);
    let mut of = |_| Some(Arc::clone(&pod));
    let counts = Counts {
        connections: BTreeMap::from([
            ((7, 4317, outcome::ASKED), 5),
            ((7, 4317, outcome::ATTEMPT), 4),
            ((7, 4317, outcome::FAILED), 1),
            ((7, 4317, outcome::REFUSED), 3),
        ]),
        ..Counts::default()
    };
    metrics.counters(&counts, &mut of, &[], at(1));
    let fewer = Counts {
        connections: BTreeMap::from([((7, 4317, outcome::FAILED), 0)]),
        ..Counts::default()
    };
    metrics.counters(&fewer, &mut of, &[], at(2));
    let samples = scrape(&scraper);
    let port = format!(r#"{CHECKOUT},port="4317""#);
    assert_eq!(get(&samples, "obsflow_tcp_attempts_total", &port), Some(4.0));
    for (outcome, count) in [("refused", 3.0), ("failed", 1.0)] {
        let labels = format!(r#"{port},outcome="{outcome}""#);
        assert_eq!(get(&samples, "obsflow_tcp_connects_total", &labels), Some(count));
    }
    assert_eq!(samples.len(), 3, "{samples:?}");
}

#[test]
fn what_came_before_the_name_is_the_workloads_once_it_is_known() {
    let (mut metrics, scraper) = metrics(Options::default());
    let (nameless, named) = (container(None, 1, 1), container(Some("checkout"), 1, 1));
    let nx = || lookup(LookupOutcome::NxDomain, Duration::from_millis(1));
    let mut of = |_| Some(Arc::clone(&nameless));
    metrics.observe(&seen(&nameless, 1, 0, nx()));
    metrics.counters(&dns(&[(7, 3, 5)]), &mut of, &[], at(1));
    assert!(scrape(&scraper).is_empty(), "{:?}", scrape(&scraper));
    metrics.renamed(&[Arc::clone(&named)], at(2));
    metrics.observe(&seen(&named, 2, 0, nx()));
    let mut of = |_| Some(Arc::clone(&named));
    metrics.counters(&dns(&[(7, 3, 6)]), &mut of, &[], at(2));
    assert_eq!(responses(&scraper, "NXDOMAIN"), Some(6.0));
    let samples = scrape(&scraper);
    let labels = format!(r#"{CHECKOUT},outcome="nxdomain""#);
    assert_eq!(get(&samples, "obsflow_dns_lookups_total", &labels), Some(2.0));
    let count = get(&samples, "obsflow_dns_lookup_duration_seconds_count", CHECKOUT);
    assert_eq!(count, Some(2.0));

    // One that never gets a name is shown all the same.
    let other = container(None, 2, 2);
    metrics.observe(&seen(&other, 10, 0, nx()));
    metrics.second(at(69));
    let unknown = r#"namespace="",workload="unknown",outcome="nxdomain""#;
    assert_eq!(get(&scrape(&scraper), "obsflow_dns_lookups_total", unknown), None);
    metrics.second(at(70));
    metrics.observe(&seen(&other, 71, 0, nx()));
    assert_eq!(
        get(&scrape(&scraper), "obsflow_dns_lookups_total", unknown),
        Some(2.0)
    );
}

#[test]
fn who_is_renamed_and_did_nothing_has_no_row() {
    let (mut metrics, _scraper) = metrics(Options::default());
    let before = metrics.workloads.len();
    metrics.renamed(&[container(Some("checkout"), 1, 1)], at(1));
    assert_eq!(metrics.workloads.len(), before);
}

#[test]
fn series_are_bounded() {
    let (mut metrics, scraper) = metrics(Options {
        max_series: 50,
        ..Options::default()
    });
    for number in 0..200 {
        let pod = container(Some(&format!("app{number}x")), number, number);
        let mut seen = seen(&pod, 1, number + 1, What::Attempt);
        seen.remote_name = Some(format!("sink{number}").into());
        seen.what = closed(1, 1, 1);
        metrics.observe(&seen);
    }
    let samples = scrape(&scraper);
    assert!(samples.len() < 70, "{}", samples.len());
    let sent = samples
        .iter()
        .filter(|(name, _)| name.starts_with("obsflow_sink_sent_bytes_total"))
        .map(|(_, value)| value);
    assert_eq!(sent.sum::<f64>() as u64, 200);
}

/// One line of the text format, read by its grammar: names, escapes, a number.
fn parses(line: &str) -> bool {
    let word = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
    };
    let Some((name, mut rest)) = line.split_once('{') else {
        return line
            .split_once(' ')
            .is_some_and(|(name, value)| word(name) && value.parse::<f64>().is_ok());
    };
    let mut first = true;
    while !rest.starts_with('}') {
        if !first {
            let Some(after) = rest.strip_prefix(',') else {
                return false;
            };
            rest = after;
        }
        first = false;
        let Some((label, value)) = rest.split_once("=\"") else {
            return false;
        };
        let mut escaped = false;
        let end = value.char_indices().find(|(_, c)| {
            let end = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            end
        });
        let Some((end, _)) = end else { return false };
        if !word(label) {
            return false;
        }
        rest = &value[end + 1..];
    }
    word(name)
        && rest[1..]
            .strip_prefix(' ')
            .is_some_and(|value| value.parse::<f64>().is_ok())
}

proptest! {
    #[test]
    fn any_name_is_escaped(name in "\\PC{0,80}", namespace in any::<String>(), sink in any::<String>()) {
        let (mut metrics, scraper) = metrics(Options::default());
        let pod = Arc::new(Workload {
            namespace: Some(namespace.into()),
            ..Workload::clone(&container(Some(&name), 1, 1))
        });
        let mut seen = seen(&pod, 1, 1, closed(1, 1, 1));
        seen.remote_name = Some(sink.into());
        metrics.observe(&seen);
        let text = scraper.encode(Format::Text);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            prop_assert!(parses(line), "{line:?}");
        }
        let open = scraper.encode(Format::OpenMetrics);
        prop_assert!(open.ends_with("# EOF\n"));
        let samples = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
        };
        prop_assert_eq!(samples(&open), samples(&text));
    }
}

#[test]
fn names_have_their_full_length() {
    let (mut metrics, scraper) = metrics(Options::default());
    let long = "x".repeat(63);
    let pod = container(Some(&long), 1, 1);
    metrics.observe(&seen(
        &pod,
        1,
        0,
        lookup(LookupOutcome::NxDomain, Duration::from_millis(1)),
    ));
    let labels = format!(r#"namespace="shop",workload="{long}",outcome="nxdomain""#);
    assert_eq!(
        get(&scrape(&scraper), "obsflow_dns_lookups_total", &labels),
        Some(1.0)
    );
}

#[tokio::test]
async fn a_scrape_waits_no_longer_than_it_may() {
    let (mut metrics, scraper) = metrics(Options::default());
    assert!(!scraper.refresh().await, "nobody answers");
    assert_eq!(metrics.asked(), Some(1));
    let other = scraper.clone();
    let asking = tokio::spawn(async move { other.refresh().await });
    while metrics.asked() != Some(2) {
        tokio::task::yield_now().await;
    }
    metrics.answer(2);
    assert!(asking.await.unwrap());
    assert_eq!(metrics.asked(), None);
    metrics.own(&Own::default());
    assert_eq!(get(&scrape(&scraper), "obsflow_stale_scrapes_total", ""), None);
    assert_eq!(scrape(&scraper).get("obsflow_stale_scrapes_total"), Some(&1.0));
}
