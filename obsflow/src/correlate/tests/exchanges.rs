//! Stream bytes to observations with an owner, ends and a name.

use super::scene::*;
use crate::model::event::{Close, Direction, EventBody, Outcome};
use crate::model::exchange::{Answer, Signal, Spoken};
use crate::model::observation::{Observation, What};

fn payload(direction: Direction, offset: u64, bytes: &[u8]) -> EventBody {
    EventBody::Payload {
        direction,
        offset,
        wire_len: u32::try_from(bytes.len()).unwrap(),
        gap: false,
        late: false,
        h2_frame: false,
        dns: false,
        bytes: bytes.to_vec().into(),
    }
}

const POST: &[u8] = b"POST /v1/metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n";

fn names(observations: &[Observation]) -> Vec<&'static str> {
    observations
        .iter()
        .map(|o| match o.what {
            What::Request(_) => "request",
            What::Exchange(_) => "exchange",
            What::Mismatch(_) => "mismatch",
            What::Tls(_) => "tls",
            What::Closed(_) => "closed",
            _ => "other",
        })
        .collect()
}

#[test]
fn an_exchange_is_the_workloads_and_carries_the_name() {
    let mut s = Scene::new();
    s.both(0, 1, "otel.obs", (0, &["10.100.0.1"]), (0, &[]));
    s.event(5, 9, attempt(sink(40_000), None));
    s.out.clear();
    s.anonymous(10, 9, payload(Direction::Egress, 0, POST));
    assert_eq!(names(&s.out), ["request"]);
    s.anonymous(
        12,
        9,
        payload(
            Direction::Ingress,
            0,
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ),
    );
    assert_eq!(names(&s.out), ["request", "exchange"]);
    for observation in &s.out {
        assert_eq!(observation.workload.pod.as_deref(), Some("shop-1"));
        assert_eq!(observation.remote_name.as_deref(), Some("otel.obs"));
        assert_eq!(observation.cookie, 9);
        assert_eq!(observation.remote, Some(sink(40_000).remote));
    }
    let What::Exchange(exchange) = &s.last().what else {
        panic!("no exchange")
    };
    assert_eq!(
        exchange.request.ingest.and_then(|ingest| ingest.signal),
        Some(Signal::Metrics)
    );
    assert_eq!((exchange.accepted(), exchange.took.as_millis()), (Some(true), 2));
}

#[test]
fn what_is_unanswered_is_told_before_the_end() {
    let mut s = Scene::new();
    s.event(0, 9, attempt(sink(40_000), None));
    s.event(1, 9, payload(Direction::Egress, 0, POST));
    s.out.clear();
    let end = Close {
        rst: true,
        ..close(sink(40_000), Outcome::Established)
    };
    s.event(9, 9, EventBody::Close(Box::new(end)));
    assert_eq!(names(&s.out), ["exchange", "closed"]);
    let What::Exchange(exchange) = &s.out[0].what else {
        panic!("no exchange")
    };
    assert_eq!(exchange.answer, Answer::ConnectionEnded { rst: true });
}

#[test]
fn two_protocols_are_told_at_once() {
    let mut s = Scene::new();
    s.event(0, 9, attempt(sink(40_000), None));
    s.event(
        1,
        9,
        payload(
            Direction::Ingress,
            0,
            &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 5, 0, 0, 64, 0],
        ),
    );
    s.out.clear();
    s.event(2, 9, payload(Direction::Egress, 0, POST));
    assert_eq!(names(&s.out), ["request", "mismatch"]);
    assert_eq!(s.correlator.spoken(9), Some((Spoken::Http1, Spoken::Http2)));
}

/// 5,000 exporters, each with a connection over gRPC that is in the middle of an export.
#[test]
fn conversations_are_small() {
    use crate::decode::http::Conversation;
    assert!(size_of::<Conversation>() <= 160, "{}", size_of::<Conversation>());
}
