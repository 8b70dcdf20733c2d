use std::sync::Arc;

use super::*;
use crate::model::time::Mono;

use Direction::{Egress, Ingress};

/// A record with `len` bytes, the first of them given.
fn record(kind: u8, len: u16, begin: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 3, 3];
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.extend_from_slice(begin);
    bytes.resize(5 + usize::from(len), 0xaa);
    bytes
}

fn server_hello(suite: u16) -> Vec<u8> {
    let mut message = vec![2, 0, 0, 118, 3, 3];
    message.extend_from_slice(&[7; 32]);
    message.push(32);
    message.extend_from_slice(&[8; 32]);
    message.extend_from_slice(&suite.to_be_bytes());
    message.push(0);
    record(22, 122, &message)
}

fn client_hello(sni: &str) -> Vec<u8> {
    let extension = |kind: u16, body: &[u8]| {
        let mut bytes = kind.to_be_bytes().to_vec();
        bytes.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    };
    let len = u8::try_from(sni.len()).unwrap();
    let mut name = vec![0, len + 3, 0, 0, len];
    name.extend_from_slice(sni.as_bytes());
    let mut extensions = extension(0, &name);
    extensions.extend(extension(10, &[0, 2, 0, 29]));
    extensions.extend(extension(16, b"\0\x0c\x02h2\x08http/1.1"));
    let mut message = vec![1, 0, 1, 0, 3, 3];
    message.extend_from_slice(&[7; 32]);
    message.push(0);
    message.extend_from_slice(&[0, 2, 0x13, 1, 1, 0]);
    message.extend_from_slice(&u16::try_from(extensions.len()).unwrap().to_be_bytes());
    message.extend_from_slice(&extensions);
    let mut bytes = vec![22, 3, 1];
    bytes.extend_from_slice(&512u16.to_be_bytes());
    bytes.extend_from_slice(&message);
    bytes.resize(517, 0);
    bytes
}

/// Plays records, all captured, then the end.
fn play(turns: &[(Direction, Vec<Vec<u8>>)], end: Option<End>) -> Vec<Tls> {
    let mut handshake = Handshake::new(false);
    let mut sides = [Records::new(Some(0)), Records::new(Some(0))];
    let mut offsets = [0u64; 2];
    let mut out = Vec::new();
    for (direction, records) in turns {
        let side = usize::from(*direction == Ingress);
        let bytes = records.concat();
        let segment = Segment {
            at: Mono(0),
            direction: *direction,
            offset: offsets[side],
            wire_len: u32::try_from(bytes.len()).unwrap(),
            late: false,
            h2_frame: false,
            bytes: &bytes,
        };
        offsets[side] += bytes.len() as u64;
        sides[side].feed(&segment, &mut |record| {
            handshake.record(*direction, &record, &mut out);
        });
    }
    if let Some(end) = end {
        handshake.end(&end, &mut out);
    }
    out.into_iter()
        .filter_map(|said| match said {
            Said::Tls(tls) => Some(*tls),
            _ => None,
        })
        .collect()
}

fn end(by_peer: bool, received: u64) -> Option<End> {
    Some(End {
        at: Mono(9),
        rst: false,
        by_peer,
        received,
    })
}

fn ccs() -> Vec<u8> {
    record(20, 1, &[1])
}

fn outcomes(turns: &[(Direction, Vec<Vec<u8>>)], end: Option<End>) -> Vec<(TlsOutcome, Option<Alert>)> {
    play(turns, end)
        .into_iter()
        .map(|tls| (tls.outcome, tls.alert))
        .collect()
}

fn flight_13() -> Vec<Vec<u8>> {
    vec![
        server_hello(0x1301),
        ccs(),
        record(23, 900, &[]),
        record(23, 53, &[]),
    ]
}

#[test]
fn a_hello_names_the_server_and_the_protocols() {
    let turns = [
        (Egress, vec![client_hello("otel.example")]),
        (Ingress, vec![record(21, 2, &[2, 40])]),
    ];
    let said = play(&turns, None);
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].sni.as_deref(), Some("otel.example"));
    assert_eq!(said[0].alpn, [Arc::from("h2"), Arc::from("http/1.1")]);
    assert_eq!(
        said[0].alert,
        Some(Alert {
            from: Ingress,
            description: 40
        })
    );
}

#[test]
fn established_in_1_3_with_the_first_answer() {
    let hello = (Egress, vec![client_hello("a")]);
    let finished = vec![ccs(), record(23, 53, &[])];
    let request = [finished.clone(), vec![record(23, 300, &[])]].concat();
    let answer = (Ingress, vec![record(23, 200, &[])]);
    let turns = [
        hello.clone(),
        (Ingress, flight_13()),
        (Egress, request),
        answer.clone(),
    ];
    assert_eq!(outcomes(&turns, None), [(TlsOutcome::Established, None)]);
    // Tickets alone come before the request: not yet.
    let turns = [hello.clone(), (Ingress, flight_13()), (Egress, finished), answer];
    assert_eq!(outcomes(&turns, None), []);
    assert_eq!(outcomes(&turns, end(false, 1)), [(TlsOutcome::Established, None)]);
}

#[test]
fn unknown_authority() {
    let begin = [(Egress, vec![client_hello("a")]), (Ingress, flight_13())];
    // OpenSSL says so in the clear.
    let clear = (Egress, vec![record(21, 2, &[2, 48])]);
    let alert = Alert {
        from: Egress,
        description: 48,
    };
    let turns = [&begin[..], &[clear]].concat();
    assert_eq!(
        outcomes(&turns, end(false, 1633)),
        [(TlsOutcome::Failed, Some(alert))]
    );
    // Go seals it.
    let sealed = (Egress, vec![ccs(), record(23, 19, &[])]);
    let turns = [&begin[..], &[sealed]].concat();
    assert_eq!(outcomes(&turns, end(false, 1633)), [(TlsOutcome::Failed, None)]);
    // gRPC just leaves.
    assert_eq!(outcomes(&begin, end(false, 2691)), [(TlsOutcome::Failed, None)]);
}

#[test]
fn a_client_without_a_certificate_is_refused_after_its_finished() {
    let turns = [
        (Egress, vec![client_hello("a")]),
        (Ingress, flight_13()),
        (
            Egress,
            vec![
                ccs(),
                record(23, 25, &[]),
                record(23, 53, &[]),
                record(23, 300, &[]),
            ],
        ),
        (Ingress, vec![record(23, 19, &[])]),
    ];
    assert_eq!(outcomes(&turns, None), []);
    assert_eq!(outcomes(&turns, end(true, 900)), [(TlsOutcome::Failed, None)]);
}

#[test]
fn tls_1_2() {
    let hello = (Egress, vec![client_hello("a")]);
    let flight = (Ingress, vec![server_hello(0xc02f), record(22, 900, &[11])]);
    let client = (Egress, vec![record(22, 37, &[16]), ccs(), record(22, 40, &[])]);
    let server = (Ingress, vec![ccs(), record(22, 40, &[])]);
    let request = (Egress, vec![record(23, 300, &[])]);
    let answer = (Ingress, vec![record(23, 100, &[])]);
    let turns = [hello.clone(), flight.clone(), client, server, request, answer];
    assert_eq!(outcomes(&turns[..5], None), []);
    assert_eq!(outcomes(&turns, None), [(TlsOutcome::Established, None)]);
    assert_eq!(
        outcomes(&turns[..2], end(false, 900)),
        [(TlsOutcome::Failed, None)]
    );
}

#[test]
fn nobody_answers() {
    let turns = [(Egress, vec![client_hello("a")])];
    assert_eq!(outcomes(&turns, end(true, 0)), [(TlsOutcome::Unanswered, None)]);
    // The client gave up: that says nothing of TLS.
    assert_eq!(outcomes(&turns, end(false, 0)), []);
}

#[test]
fn leaving_in_good_order_is_no_failure() {
    let turns = [
        (Egress, vec![client_hello("a")]),
        (Ingress, flight_13()),
        (Egress, vec![ccs(), record(23, 53, &[]), record(23, 300, &[])]),
    ];
    assert_eq!(outcomes(&turns, end(false, 900)), []);
}

#[test]
fn a_hello_that_was_cut_still_has_its_beginning() {
    let bytes = client_hello("otel.example");
    let mut names = Vec::new();
    for len in 0..bytes.len() {
        let hello = hello::client(bytes.get(5..len).unwrap_or_default());
        names.push(hello.and_then(|hello| hello.sni));
    }
    assert!(names.iter().flatten().all(|name| &**name == "otel.example"));
    assert!(names[100].is_some());
}
