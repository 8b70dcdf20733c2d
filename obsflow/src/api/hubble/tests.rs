//! What `GetFlows` answers, against a list and the words of the documentation; masks of fields.

use std::time::Duration;

use proptest::prelude::*;
use prost_types::FieldMask;
use tokio::sync::watch;
use tokio_stream::StreamExt as _;
use tonic::Code;

use super::mask::Mask;
use super::message;
use super::observer::Observer;
use super::peer::Peers;
use super::proto::flow::{EventTypeFilter, FlowFilter, layer4};
use super::proto::observer::get_flows_response::ResponseTypes;
use super::proto::observer::observer_server::Observer as _;
use super::proto::observer::{
    GetDebugEventsRequest, GetFlowsRequest, GetFlowsResponse, GetNamespacesRequest, GetNodesRequest,
    ServerStatusRequest,
};
use crate::flow::samples;
use crate::model::observation::{Observation, What};
use crate::model::{Clock, Mono};
use crate::store::{Limits, Recorder};

const SECOND: u64 = 1_000_000_000;

/// An attempt from a port by which it is known, some seconds after 1970.
fn attempt(port: u16, second: u64) -> Observation {
    Observation {
        at: Mono(second * SECOND),
        local: format!("10.0.1.7:{port}").parse().ok(),
        ..samples::tcp(What::Attempt)
    }
}

fn recorder(entries: usize) -> Recorder {
    let limits = Limits {
        entries,
        bytes: usize::MAX,
        age: Duration::MAX,
    };
    Recorder::new(limits, Clock { offset_ns: 0 }, Mono(0))
}

fn observer(recorder: &Recorder) -> Observer {
    let (_, nodes) = watch::channel(std::sync::Arc::default());
    Observer::new(recorder.history("k8s1"), Peers::new(nodes))
}

/// Kept attempts 1 to `count`, each in a second of its own.
fn kept(count: u16, entries: usize) -> Recorder {
    let mut recorder = recorder(entries);
    for port in 1..=count {
        recorder.record(&attempt(port, port.into()));
    }
    recorder.publish();
    recorder
}

fn at(second: u64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp {
        seconds: i64::try_from(second).unwrap(),
        nanos: 0,
    })
}

/// What an answer says: the ports of attempts, and how many were lost.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Flow(u32),
    Lost(u64),
}

fn said(response: &GetFlowsResponse) -> Said {
    match response.response_types.as_ref().unwrap() {
        ResponseTypes::Flow(flow) => match flow.l4.as_ref().unwrap().protocol.as_ref().unwrap() {
            layer4::Protocol::Tcp(tcp) => Said::Flow(tcp.source_port),
            other => panic!("{other:?}"),
        },
        ResponseTypes::LostEvents(lost) => Said::Lost(lost.num_events_lost),
        ResponseTypes::NodeStatus(status) => panic!("{status:?}"),
    }
}

async fn ask(observer: &Observer, request: GetFlowsRequest) -> Result<Vec<Said>, tonic::Status> {
    let mut answer = observer
        .get_flows(tonic::Request::new(request))
        .await?
        .into_inner();
    let mut all = Vec::new();
    while let Some(response) = answer.next().await {
        all.push(said(&response?));
    }
    Ok(all)
}

fn flows(ports: impl IntoIterator<Item = u32>) -> Vec<Said> {
    ports.into_iter().map(Said::Flow).collect()
}

#[tokio::test]
async fn each_way_to_ask_gets_what_hubble_would_answer() {
    let recorder = kept(10, 100);
    let observer = observer(&recorder);
    let all = GetFlowsRequest::default;
    let cases = [
        (all(), flows(1..=10)),
        (GetFlowsRequest { number: 3, ..all() }, flows(8..=10)),
        (
            GetFlowsRequest {
                number: 3,
                first: true,
                ..all()
            },
            flows(1..=3),
        ),
        (
            GetFlowsRequest {
                number: u64::MAX,
                ..all()
            },
            flows(1..=10),
        ),
        (
            GetFlowsRequest {
                since: at(4),
                ..all()
            },
            flows(4..=10),
        ),
        (
            GetFlowsRequest {
                since: at(4),
                until: at(6),
                ..all()
            },
            flows(4..=6),
        ),
        (
            GetFlowsRequest {
                until: at(6),
                ..all()
            },
            flows(1..=6),
        ),
        (
            GetFlowsRequest {
                until: at(6),
                number: 2,
                ..all()
            },
            flows(5..=6),
        ),
        // A time counts more than a number.
        (
            GetFlowsRequest {
                since: at(4),
                number: 2,
                ..all()
            },
            flows(4..=5),
        ),
        (
            GetFlowsRequest {
                since: at(4),
                number: 2,
                first: true,
                ..all()
            },
            flows(4..=5),
        ),
        (
            GetFlowsRequest {
                since: at(11),
                ..all()
            },
            vec![],
        ),
    ];
    for (request, expected) in cases {
        assert_eq!(
            ask(&observer, request.clone()).await.unwrap(),
            expected,
            "{request:?}"
        );
    }
}

#[tokio::test]
async fn the_newest_are_counted_after_the_filters() {
    let recorder = kept(10, 100);
    let observer = observer(&recorder);
    let ports = |ports: &[&str]| FlowFilter {
        source_port: ports.iter().map(|port| (*port).to_owned()).collect(),
        ..FlowFilter::default()
    };
    let request = GetFlowsRequest {
        number: 2,
        whitelist: vec![ports(&["1", "2"]), ports(&["4"]), ports(&["7"])],
        blacklist: vec![ports(&["7"])],
        ..GetFlowsRequest::default()
    };
    assert_eq!(ask(&observer, request).await.unwrap(), flows([2, 4]));
}

#[tokio::test]
async fn who_asks_beyond_what_is_kept_is_told_so_first() {
    let recorder = kept(600, 50);
    let observer = observer(&recorder);
    let all = GetFlowsRequest::default;
    let lost = |rest: Vec<Said>| [vec![Said::Lost(550)], rest].concat();
    let cases = [
        (all(), lost(flows(551..=600))),
        (
            GetFlowsRequest {
                first: true,
                number: 2,
                ..all()
            },
            lost(flows(551..=552)),
        ),
        (GetFlowsRequest { number: 100, ..all() }, lost(flows(551..=600))),
        (
            GetFlowsRequest {
                since: at(500),
                number: 1,
                ..all()
            },
            lost(flows(551..=551)),
        ),
        // Of what is kept there is enough.
        (GetFlowsRequest { number: 2, ..all() }, flows(599..=600)),
        (
            GetFlowsRequest {
                since: at(551),
                number: 1,
                ..all()
            },
            flows(551..=551),
        ),
    ];
    for (request, expected) in cases {
        assert_eq!(
            ask(&observer, request.clone()).await.unwrap(),
            expected,
            "{request:?}"
        );
    }
    let mut answer = observer
        .get_flows(tonic::Request::new(all()))
        .await
        .unwrap()
        .into_inner();
    let first = answer.next().await.unwrap().unwrap();
    let Some(ResponseTypes::LostEvents(lost)) = first.response_types else {
        panic!("{first:?}");
    };
    assert_eq!((lost.source, lost.cpu), (3, None));
    assert_eq!((lost.first, lost.last), (at(1), at(550)));
    assert_eq!((first.time, &*first.node_name), (at(550), "k8s1"));
}

#[tokio::test]
async fn who_follows_gets_what_comes_and_hears_the_end() {
    let mut recorder = kept(10, 100);
    let observer = observer(&recorder);
    let follow = |request: GetFlowsRequest| GetFlowsRequest {
        follow: true,
        ..request
    };
    let start = |request| observer.get_flows(tonic::Request::new(follow(request)));
    let mut only_new = start(GetFlowsRequest::default()).await.unwrap().into_inner();
    let mut with_last = start(GetFlowsRequest {
        number: 2,
        ..GetFlowsRequest::default()
    })
    .await
    .unwrap()
    .into_inner();
    let mut since = start(GetFlowsRequest {
        since: at(9),
        ..GetFlowsRequest::default()
    })
    .await
    .unwrap()
    .into_inner();
    let mut until = start(GetFlowsRequest {
        until: at(11),
        ..GetFlowsRequest::default()
    })
    .await
    .unwrap()
    .into_inner();
    recorder.record(&attempt(11, 11));
    recorder.record(&attempt(12, 12));
    recorder.publish();
    for (stream, expected) in [
        (&mut only_new, 11..=12),
        (&mut with_last, 9..=12),
        (&mut since, 9..=12),
    ] {
        for port in expected {
            assert_eq!(said(&stream.next().await.unwrap().unwrap()), Said::Flow(port));
        }
    }
    assert_eq!(said(&until.next().await.unwrap().unwrap()), Said::Flow(11));
    assert!(until.next().await.is_none());
    drop(recorder);
    for stream in [&mut only_new, &mut with_last, &mut since] {
        let end = stream.next().await.unwrap().unwrap_err();
        assert_eq!(end.code(), Code::Unavailable, "{end}");
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test]
async fn a_reader_that_fell_behind_is_told_how_many_it_missed() {
    let mut recorder = kept(1, 50);
    let observer = observer(&recorder);
    let request = GetFlowsRequest {
        follow: true,
        number: 1,
        ..GetFlowsRequest::default()
    };
    let mut slow = observer
        .get_flows(tonic::Request::new(request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(said(&slow.next().await.unwrap().unwrap()), Said::Flow(1));
    for port in 2..=3_000 {
        recorder.record(&attempt(port, port.into()));
    }
    recorder.publish();
    let (mut flows, mut lost) = (1, 0);
    while flows + lost < 3_000 {
        match said(&slow.next().await.unwrap().unwrap()) {
            Said::Flow(port) => {
                flows += 1;
                assert_eq!(u64::from(port), flows + lost);
            }
            Said::Lost(count) => lost += count,
        }
    }
    assert!(lost >= 2_000, "{lost}");
}

/// Whoever counts what came and what was lost gets what there was.
#[tokio::test]
async fn what_goes_while_an_answer_begins_and_is_read_is_counted_once() {
    let mut recorder = kept(600, 600);
    for port in 601..=1_200 {
        recorder.record(&attempt(port, port.into()));
    }
    recorder.publish();
    let observer = observer(&recorder);
    for request in [
        GetFlowsRequest::default(),
        GetFlowsRequest {
            number: 500,
            first: true,
            ..GetFlowsRequest::default()
        },
    ] {
        let end = recorder.history("").store.kept().end;
        let mut answer = observer
            .get_flows(tonic::Request::new(request.clone()))
            .await
            .unwrap()
            .into_inner();
        // All that this answer is of goes before any of it is read, and a lot that is not of it.
        for port in 1..=5_000 {
            recorder.record(&attempt(port, 2_000));
        }
        recorder.publish();
        let mut count = 0;
        while let Some(response) = answer.next().await {
            count += match said(&response.unwrap()) {
                Said::Flow(_) => 1,
                Said::Lost(count) => count,
            };
        }
        assert_eq!(count, end, "{request:?}");
    }
    // One that searches gives way while it does.
    let selection = super::place::Selection::new(&GetFlowsRequest::default(), &recorder.history("")).unwrap();
    let history = recorder.history("");
    let maker = crate::flow::FlowMaker {
        clock: history.clock(),
        node_name: history.node.clone(),
    };
    let request = GetFlowsRequest {
        first: true,
        ..GetFlowsRequest::default()
    };
    let begin = selection.begin(&request, &history, &maker).await;
    assert_eq!(begin.beyond, Some(history.store.gone()));
    for port in 1..=1_000 {
        recorder.record(&attempt(port, 3_000));
    }
    recorder.publish();
    let readers = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
    let mut answer = super::flows::Flows::new(
        history.clone(),
        selection,
        None,
        begin,
        super::flows::Extent::Kept { left: u64::MAX },
        readers.try_acquire_owned().unwrap(),
    );
    let mut count = 0;
    while let Some(response) = answer.next().await {
        count += match said(&response.unwrap()) {
            Said::Flow(_) => 1,
            Said::Lost(count) => count,
        };
    }
    assert_eq!(count, history.store.kept().end);
}

/// What every connection says every few seconds, whether anything happens or not.
fn state(port: u16, second: u64) -> Observation {
    let sample = samples::all()
        .into_iter()
        .find(|sample| matches!(sample.what, What::TcpInfo(_)));
    Observation {
        what: sample.unwrap().what,
        ..attempt(port, second)
    }
}

fn of_sockets(request: GetFlowsRequest) -> GetFlowsRequest {
    GetFlowsRequest {
        whitelist: [4, 7]
            .map(|kind| FlowFilter {
                event_type: vec![EventTypeFilter {
                    r#type: kind,
                    ..EventTypeFilter::default()
                }],
                ..FlowFilter::default()
            })
            .into(),
        ..request
    }
}

#[tokio::test]
async fn states_of_sockets_push_out_nothing_that_happened() {
    let mut recorder = recorder(3_000);
    recorder.record(&attempt(1, 1));
    for second in 2..6_000 {
        recorder.record(&state(2, second));
    }
    recorder.record(&attempt(3, 6_000));
    recorder.publish();
    let observer = observer(&recorder);
    let everything = ask(&observer, GetFlowsRequest::default()).await.unwrap();
    assert_eq!(everything, flows([1, 3]));
    let status = observer.server_status(tonic::Request::new(ServerStatusRequest {}));
    let status = status.await.unwrap().into_inner();
    assert_eq!((status.num_flows, status.seen_flows), (2, 2));
    // Who asks for them gets the newest, and hears of the others.
    let states = ask(&observer, of_sockets(GetFlowsRequest::default()))
        .await
        .unwrap();
    let [Said::Lost(lost), Said::Flow(1), rest @ .., Said::Flow(3)] = &states[..] else {
        panic!("{states:?}");
    };
    assert_eq!((rest.len(), *lost), (2_048, 5_998 - 2_048));
    assert!(rest.iter().all(|said| *said == Said::Flow(2)));
}

#[tokio::test]
async fn states_of_sockets_are_in_their_places() {
    let mut recorder = recorder(100);
    let record = |recorder: &mut Recorder, port: u16| {
        let second = port.into();
        recorder.record(&if port.is_multiple_of(3) {
            state(port, second)
        } else {
            attempt(port, second)
        });
    };
    for port in 1..=20 {
        record(&mut recorder, port);
    }
    recorder.publish();
    let observer = observer(&recorder);
    let all = of_sockets(GetFlowsRequest::default());
    for (request, expected) in [
        (all.clone(), 1..=20),
        (
            GetFlowsRequest {
                number: 7,
                ..all.clone()
            },
            14..=20,
        ),
        (
            GetFlowsRequest {
                number: 6,
                first: true,
                ..all.clone()
            },
            1..=6,
        ),
        (
            GetFlowsRequest {
                since: at(9),
                until: at(12),
                ..all.clone()
            },
            9..=12,
        ),
    ] {
        assert_eq!(
            ask(&observer, request.clone()).await.unwrap(),
            flows(expected),
            "{request:?}"
        );
    }
    let follow = GetFlowsRequest {
        number: 2,
        follow: true,
        ..all
    };
    let mut answer = observer
        .get_flows(tonic::Request::new(follow))
        .await
        .unwrap()
        .into_inner();
    for port in 19..=20 {
        assert_eq!(said(&answer.next().await.unwrap().unwrap()), Said::Flow(port));
    }
    // A state alone is told, too.
    record(&mut recorder, 21);
    recorder.publish();
    assert_eq!(said(&answer.next().await.unwrap().unwrap()), Said::Flow(21));
    record(&mut recorder, 22);
    recorder.publish();
    assert_eq!(said(&answer.next().await.unwrap().unwrap()), Said::Flow(22));
}

#[tokio::test]
async fn what_the_kernel_lost_belongs_to_its_time() {
    let mut recorder = recorder(100);
    recorder.record(&attempt(1, 1));
    for second in [2, 8] {
        recorder.record(&Observation {
            at: Mono(second * SECOND),
            what: What::Lost { count: second },
            ..attempt(0, second)
        });
    }
    recorder.record(&attempt(9, 9));
    recorder.publish();
    let observer = observer(&recorder);
    let since = GetFlowsRequest {
        since: at(5),
        ..GetFlowsRequest::default()
    };
    assert_eq!(
        ask(&observer, since).await.unwrap(),
        [Said::Lost(8), Said::Flow(9)]
    );
    let all = ask(&observer, GetFlowsRequest::default()).await.unwrap();
    assert_eq!(all, [Said::Flow(1), Said::Lost(2), Said::Lost(8), Said::Flow(9)]);
}

/// Clients take no headers of any length, and a message is one.
#[tokio::test]
async fn what_is_long_is_not_said_back_whole() {
    let recorder = kept(1, 10);
    let observer = observer(&recorder);
    let request = |filter| GetFlowsRequest {
        whitelist: vec![filter],
        ..GetFlowsRequest::default()
    };
    for filter in [
        FlowFilter {
            dns_query: vec![format!("({}", "ä".repeat(20_000))],
            ..FlowFilter::default()
        },
        FlowFilter {
            node_name: vec!["*".repeat(10_000)],
            ..FlowFilter::default()
        },
        FlowFilter {
            source_fqdn: vec!["*".repeat(10_000)],
            ..FlowFilter::default()
        },
    ] {
        let refusal = ask(&observer, request(filter)).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument);
        assert!(refusal.message().len() < 600, "{}", refusal.message().len());
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_an_invalid_argument() {
    let recorder = kept(1, 10);
    let observer = observer(&recorder);
    let filter = |filter| GetFlowsRequest {
        whitelist: vec![filter],
        ..GetFlowsRequest::default()
    };
    let mask = |path: &str| {
        Some(FieldMask {
            paths: vec![path.to_owned()],
        })
    };
    let cases = [
        (
            GetFlowsRequest {
                first: true,
                follow: true,
                ..GetFlowsRequest::default()
            },
            "first cannot be specified with follow",
        ),
        (
            filter(FlowFilter {
                source_ip: vec!["10.0.0.0/33".into()],
                ..FlowFilter::default()
            }),
            "source_ip",
        ),
        (
            GetFlowsRequest {
                since: Some(prost_types::Timestamp {
                    seconds: 1,
                    nanos: -1,
                }),
                ..GetFlowsRequest::default()
            },
            "since is no time",
        ),
        (
            GetFlowsRequest {
                field_mask: mask("source.nothing"),
                ..GetFlowsRequest::default()
            },
            "\"source.nothing\"",
        ),
        (
            GetFlowsRequest {
                field_mask: mask("source_names.x"),
                ..GetFlowsRequest::default()
            },
            "\"source_names.x\"",
        ),
    ];
    for (request, expected) in cases {
        let error = ask(&observer, request).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn more_readers_than_there_is_room_for_are_refused_until_one_ends() {
    let recorder = kept(1, 10);
    let observer = observer(&recorder);
    let request = || GetFlowsRequest {
        follow: true,
        ..GetFlowsRequest::default()
    };
    let mut open = Vec::new();
    let refused = loop {
        match observer.get_flows(tonic::Request::new(request())).await {
            Ok(answer) => open.push(answer),
            Err(refused) => break refused,
        }
    };
    assert_eq!((open.len(), refused.code()), (128, Code::ResourceExhausted));
    // At another socket there is room, as there is for what is not followed.
    let other = observer.for_others();
    assert!(other.get_flows(tonic::Request::new(request())).await.is_ok());
    let events = |follow| GetDebugEventsRequest {
        follow,
        ..GetDebugEventsRequest::default()
    };
    let of_events = async |follow| {
        observer
            .get_debug_events(tonic::Request::new(events(follow)))
            .await
    };
    assert!(of_events(false).await.is_ok());
    // Who follows what never comes takes a place, too.
    assert_eq!(
        of_events(true).await.err().unwrap().code(),
        Code::ResourceExhausted
    );
    open.pop();
    let mut waiting = of_events(true).await.unwrap().into_inner();
    let refused = observer.get_flows(tonic::Request::new(request())).await;
    assert!(refused.is_err());
    // And hears the end.
    drop(recorder);
    let end = waiting.next().await.unwrap().unwrap_err();
    assert_eq!(end.code(), Code::Unavailable);
}

#[tokio::test]
async fn the_other_calls_say_what_is_kept() {
    let mut recorder = kept(600, 50);
    recorder.second(Clock { offset_ns: 0 }, Mono(60 * SECOND));
    let observer = observer(&recorder);
    let status = observer
        .server_status(tonic::Request::new(ServerStatusRequest {}))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (status.num_flows, status.max_flows, status.seen_flows),
        (50, 50, 600)
    );
    assert_eq!((status.flows_rate, &*status.version), (10.0, super::SERVER));
    assert!(status.uptime_ns > 0);
    let nodes = observer
        .get_nodes(tonic::Request::new(GetNodesRequest {}))
        .await
        .unwrap()
        .into_inner()
        .nodes;
    assert_eq!(
        (nodes.len(), &*nodes[0].name, nodes[0].state, nodes[0].num_flows),
        (1, "k8s1", 1, 50)
    );
    let namespaces = observer
        .get_namespaces(tonic::Request::new(GetNamespacesRequest {}))
        .await
        .unwrap();
    let namespaces: Vec<_> = namespaces
        .into_inner()
        .namespaces
        .into_iter()
        .map(|of| of.namespace)
        .collect();
    assert_eq!(namespaces, ["shop"]);
    let events = observer
        .get_debug_events(tonic::Request::new(GetDebugEventsRequest::default()))
        .await
        .unwrap();
    assert!(events.into_inner().next().await.is_none());
}

#[test]
fn a_mask_keeps_what_it_names() {
    let response = message::response(&samples::response(&attempt(7, 1)));
    let Some(ResponseTypes::Flow(flow)) = response.response_types else {
        panic!()
    };
    let mask = |paths: &[&str]| {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        Mask::new(Some(&FieldMask { paths }))
            .unwrap()
            .unwrap()
            .apply(&flow)
    };
    let kept = mask(&["source.pod_name", "l4.TCP.source_port", "Summary", "IP"]);
    assert_eq!((&kept.summary, &kept.ip), (&flow.summary, &flow.ip));
    let source = kept.source.unwrap();
    assert_eq!((&*source.pod_name, &*source.namespace), ("checkout-7d9c", ""));
    let Some(layer4::Protocol::Tcp(tcp)) = kept.l4.unwrap().protocol else {
        panic!()
    };
    assert_eq!((tcp.source_port, tcp.destination_port), (7, 0));
    assert_eq!((kept.time, kept.verdict, kept.destination), (None, 0, None));
    // Of another protocol nothing appears.
    assert_eq!(mask(&["l4.UDP.source_port"]).l4.and_then(|l4| l4.protocol), None);
    // The whole and a part of it are the whole, in either order.
    for paths in [["source", "source.pod_name"], ["source.pod_name", "source"]] {
        assert_eq!(mask(&paths).source, flow.source);
    }
    assert!(Mask::new(None).unwrap().is_none());
    assert!(
        Mask::new(Some(&FieldMask { paths: Vec::new() }))
            .unwrap()
            .is_none()
    );
}

/// A request and what of `1..=count` it is about.
fn request() -> impl Strategy<Value = GetFlowsRequest> {
    let time = || proptest::option::of(0..700u64);
    (0..100u64, any::<bool>(), time(), time(), 0..4u8).prop_map(|(number, first, since, until, modulo)| {
        GetFlowsRequest {
            number: if number > 60 { 0 } else { number },
            first,
            since: since.and_then(at),
            until: until.and_then(at),
            whitelist: match modulo {
                0 => Vec::new(),
                // Every port with a digit: not what a person asks, but easy to say in two ways.
                digit => vec![FlowFilter {
                    source_port: (1..=600u32)
                        .filter(|port| port.to_string().contains(&digit.to_string()))
                        .map(|port| port.to_string())
                        .collect(),
                    ..FlowFilter::default()
                }],
            },
            ..GetFlowsRequest::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn answers_are_those_of_a_list(request in request(), entries in 1..700usize) {
        let recorder = kept(600, entries);
        let observer = observer(&recorder);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let answer = runtime.block_on(ask(&observer, request.clone())).unwrap();
        let gone = 600_u64.saturating_sub(entries as u64);
        let wanted = |port: &u64| {
            let second = |time: &Option<prost_types::Timestamp>| time.map(|time| u64::try_from(time.seconds).unwrap());
            second(&request.since).is_none_or(|since| *port >= since)
                && second(&request.until).is_none_or(|until| *port <= until)
                && request.whitelist.iter().all(|filter| filter.source_port.contains(&port.to_string()))
        };
        let mut expected: Vec<u64> = (gone + 1..=600).filter(wanted).collect();
        let number = match request.number {
            0 => usize::MAX,
            number => usize::try_from(number).unwrap(),
        };
        let is_of_the_front = request.first || request.since.is_some();
        let enough = expected.len() >= number;
        if is_of_the_front {
            expected.truncate(number);
        } else {
            expected.drain(..expected.len().saturating_sub(number));
        }
        let reaches_back = match request.since {
            Some(since) => u64::try_from(since.seconds).unwrap() <= gone,
            None => request.first || !enough || request.number >= recorder.history("").store.kept().len(),
        };
        let lost = (gone > 0 && reaches_back).then_some(Said::Lost(gone));
        let flows = expected.into_iter().map(|port| Said::Flow(u32::try_from(port).unwrap()));
        prop_assert_eq!(answer, lost.into_iter().chain(flows).collect::<Vec<_>>());
    }
}
