//! Whole conversations.

use httlib_hpack::Encoder;
use proptest::prelude::*;

use super::*;
use crate::model::exchange::{Dialect, Form, Ingest, Signal, TlsOutcome};

use Direction::{Egress, Ingress};

/// Plays what each side says, as one segment each.
fn play(parts: &[(Direction, &[u8])], end: Option<End>) -> Vec<Said> {
    let mut conversation = Conversation::default();
    let mut out = Vec::new();
    let mut offsets = [0u64; 2];
    for (n, (direction, bytes)) in parts.iter().enumerate() {
        let offset = &mut offsets[usize::from(*direction == Ingress)];
        conversation.hear(&segment(n, *direction, *offset, bytes), &mut out);
        *offset += bytes.len() as u64;
    }
    if let Some(mut end) = end {
        end.received = offsets[1];
        conversation.end(&end, &mut out);
    }
    out
}

fn segment(n: usize, direction: Direction, offset: u64, bytes: &[u8]) -> Segment<'_> {
    Segment {
        at: Mono(n as u64),
        direction,
        offset,
        wire_len: u32::try_from(bytes.len()).unwrap(),
        late: false,
        h2_frame: false,
        bytes,
    }
}

/// `received` is what was played, with [`play`].
fn end(by_peer: bool, rst: bool, received: u64) -> Option<End> {
    Some(End {
        at: Mono(99),
        rst,
        by_peer,
        received,
    })
}

fn answers(said: &[Said]) -> Vec<Answer> {
    said.iter()
        .filter_map(|said| match said {
            Said::Exchange(exchange) => Some(exchange.answer),
            _ => None,
        })
        .collect()
}

fn requests(said: &[Said]) -> Vec<&Request> {
    said.iter()
        .filter_map(|said| match said {
            Said::Request(request) => Some(&**request),
            _ => None,
        })
        .collect()
}

fn mismatches(said: &[Said]) -> Vec<Mismatch> {
    said.iter()
        .filter_map(|said| match said {
            Said::Mismatch(mismatch) => Some(*mismatch),
            _ => None,
        })
        .collect()
}

const POST: &[u8] = b"POST /v1/traces HTTP/1.1\r\nHost: otel:4318\r\nContent-Length: 4\r\n\r\nbody";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 5, 0, 0, 64, 0];
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

fn http(status: u16, body_bytes: Option<u64>) -> Answer {
    Answer::Http {
        status,
        refusal: None,
        retry_after: false,
        body_bytes,
        form: Form::Other,
    }
}

fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap().to_be_bytes();
    let mut bytes = vec![len[1], len[2], len[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// One side's encoder.
struct Peer(Encoder<'static>);

impl Peer {
    fn new() -> Self {
        Self(Encoder::default())
    }

    fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in fields {
            let flags = Encoder::WITH_INDEXING | Encoder::BEST_FORMAT | Encoder::HUFFMAN_VALUE;
            self.0
                .encode(
                    (name.as_bytes().to_vec(), value.as_bytes().to_vec(), flags),
                    &mut block,
                )
                .unwrap();
        }
        block
    }

    fn ask(&mut self, stream: u32, path: &str) -> Vec<u8> {
        let block = self.block(&[
            (":method", "POST"),
            (":path", path),
            (":authority", "otel:4317"),
            ("content-type", "application/grpc"),
            ("user-agent", "sdk/1"),
            ("authorization", "Bearer secret"),
        ]);
        [frame(1, 4, stream, &block), frame(0, 1, stream, &[7; 30])].concat()
    }

    fn accept(&mut self, stream: u32, message: &[u8]) -> Vec<u8> {
        let head = self.block(&[(":status", "200"), ("content-type", "application/grpc")]);
        let trailers = self.block(&[("grpc-status", "0")]);
        [
            frame(1, 4, stream, &head),
            frame(0, 0, stream, message),
            frame(1, 5, stream, &trailers),
        ]
        .concat()
    }

    fn refuse(&mut self, stream: u32, status: &str) -> Vec<u8> {
        let head = self.block(&[
            (":status", "200"),
            ("content-type", "application/grpc"),
            ("grpc-status", status),
        ]);
        frame(1, 5, stream, &head)
    }
}

#[test]
fn a_connection_that_is_kept() {
    let said = play(
        &[
            (Egress, POST),
            (Ingress, OK),
            (Egress, POST),
            (Ingress, OK),
            (Egress, POST),
        ],
        end(true, true, 99),
    );
    assert_eq!(
        answers(&said),
        [
            http(200, Some(2)),
            http(200, Some(2)),
            Answer::ConnectionEnded { rst: true }
        ]
    );
    assert!(matches!(said[0], Said::Request(_)));
    let request = requests(&said)[0];
    assert_eq!(
        request.ingest,
        Some(Ingest {
            dialect: Dialect::Otlp,
            signal: Some(Signal::Traces)
        })
    );
}

#[test]
fn answers_that_were_missed_are_nobodys() {
    let (asked, ok) = (POST.len() as u64, OK.len() as u64);
    let no: &[u8] = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n";
    let play = |parts: &[(Direction, u64, &[u8])], received: u64| {
        let mut conversation = Conversation::default();
        let mut out = Vec::new();
        for (n, (direction, offset, bytes)) in parts.iter().enumerate() {
            conversation.hear(&segment(n, *direction, *offset, bytes), &mut out);
        }
        conversation.end(&end(false, false, received).unwrap(), &mut out);
        answers(&out)
    };
    // The first answer is missed, or the first answer and the second request, or both of the second exchange.
    let first = [(Egress, 0, POST), (Egress, asked, POST), (Ingress, ok, no)];
    assert_eq!(play(&first, ok + no.len() as u64), [http(503, Some(0))]);
    let two = [(Egress, 0, POST), (Ingress, ok, no)];
    assert_eq!(play(&two, ok + no.len() as u64), []);
    let second = [
        (Egress, 0, POST),
        (Ingress, 0, OK),
        (Egress, 2 * asked, POST),
        (Ingress, 2 * ok, no),
    ];
    assert_eq!(
        play(&second, 2 * ok + no.len() as u64),
        [http(200, Some(2)), http(503, Some(0))]
    );
    // The last answer.
    assert_eq!(play(&[(Egress, 0, POST)], ok), []);
    assert_eq!(
        play(&[(Egress, 0, POST)], 0),
        [Answer::ConnectionEnded { rst: false }]
    );
}

#[test]
fn a_request_is_told_before_its_body_and_answer() {
    let said = play(&[(Egress, &POST[..POST.len() - 4])], None);
    assert_eq!(requests(&said).len(), 1);
}

#[test]
fn grpc_over_one_connection() {
    let (mut client, mut server) = (Peer::new(), Peer::new());
    let mut parts = vec![
        (Ingress, SETTINGS.to_vec()),
        (Egress, [PREFACE, SETTINGS].concat()),
    ];
    for n in 0..500u32 {
        let stream = 2 * n + 1;
        parts.push((Egress, client.ask(stream, EXPORT)));
        parts.push((
            Ingress,
            match n % 4 {
                0 => server.refuse(stream, "8"),
                1 => server.accept(stream, &[0; 40]),
                _ => server.accept(stream, &[0; 5]),
            },
        ));
    }
    let parts: Vec<(Direction, &[u8])> = parts.iter().map(|(d, bytes)| (*d, &bytes[..])).collect();
    let said = play(&parts, end(false, false, 9));
    assert!(!format!("{said:?}").contains("secret"));
    for (n, request) in requests(&said).iter().enumerate() {
        assert_eq!(request.path.as_deref(), Some(EXPORT), "{n}");
        assert_eq!(request.user_agent.as_deref(), Some("sdk/1"));
        assert!(request.grpc);
    }
    let answers = answers(&said);
    assert_eq!(answers.len(), 500);
    for (n, answer) in answers.iter().enumerate() {
        let expected = match n % 4 {
            0 => (Some(8), true, 0),
            1 => (Some(0), false, 40),
            _ => (Some(0), false, 5),
        };
        let Answer::Grpc {
            status,
            failed,
            data_bytes,
            ..
        } = *answer
        else {
            panic!("{answer:?}")
        };
        assert_eq!((status, failed, data_bytes), expected, "{n}");
    }
}

/// A conversation that is joined in its middle, each segment's first bytes captured.
fn late(parts: &[(Direction, Vec<u8>)]) -> Vec<Said> {
    let mut conversation = Conversation::default();
    let mut out = Vec::new();
    let mut offsets = [0u64; 2];
    for (n, (direction, bytes)) in parts.iter().enumerate() {
        let offset = &mut offsets[usize::from(*direction == Ingress)];
        let mut seg = segment(n, *direction, *offset, bytes);
        seg.late = true;
        seg.bytes = &bytes[..bytes.len().min(256)];
        conversation.hear(&seg, &mut out);
        *offset += bytes.len() as u64;
    }
    out
}

#[test]
fn joined_late_frames_tell_success_from_failure() {
    let (mut client, mut server) = (Peer::new(), Peer::new());
    client.ask(1, EXPORT);
    server.accept(1, &[0; 5]);
    server.refuse(3, "8");
    let parts = [
        (Egress, client.ask(5, EXPORT)),
        (Ingress, server.accept(5, &[0; 5])),
        (Egress, client.ask(7, EXPORT)),
        (Ingress, server.refuse(7, "8")),
        (Egress, client.ask(9, EXPORT)),
        (Ingress, server.refuse(9, "14")),
    ];
    let said = late(&parts);
    let grpc = |status, failed, data_bytes| Answer::Grpc {
        status,
        failed,
        data_bytes,
        // How they are written was missed.
        form: Form::PackedProtobuf,
    };
    assert_eq!(
        answers(&said),
        [
            grpc(None, false, 5),
            grpc(None, true, 0),
            // The name was missed, too.
            grpc(None, true, 0)
        ]
    );
    assert!(requests(&said).iter().all(|request| request.path.is_none()));
}

#[test]
fn joined_late_http1_and_tls_go_on() {
    let said = late(&[
        (Ingress, b"rest of a body".to_vec()),
        (Egress, POST.to_vec()),
        (Ingress, OK.to_vec()),
    ]);
    assert_eq!(answers(&said), [http(200, Some(2))]);
    let record = |len: u8| [&[23, 3, 3, 0, len][..], &vec![0xaa; len.into()]].concat();
    let said = late(&[(Egress, record(200)), (Ingress, record(90))]);
    assert!(
        matches!(&said[..], [Said::Tls(tls)] if tls.outcome == TlsOutcome::Established),
        "{said:?}"
    );
}

#[test]
fn frames_that_were_missed_leave_no_guess() {
    let (mut client, mut server) = (Peer::new(), Peer::new());
    let (ask, accept) = (client.ask(1, EXPORT), server.accept(1, &[0; 5]));
    let mut conversation = Conversation::default();
    let mut out = Vec::new();
    let hello = [PREFACE, &ask].concat();
    conversation.hear(&segment(0, Egress, 0, &hello), &mut out);
    conversation.hear(&segment(1, Ingress, 0, SETTINGS), &mut out);
    // HEADERS and DATA are lost; the trailers look like a failure.
    let trailers = &accept[accept.len() - 10..];
    let trailers = if trailers[3] == 1 {
        trailers
    } else {
        &accept[accept.len() - 22..]
    };
    conversation.hear(&segment(2, Ingress, 500, trailers), &mut out);
    conversation.end(&end(false, false, 9).unwrap(), &mut out);
    assert!(
        !answers(&out).iter().any(|answer| matches!(
            answer,
            Answer::Grpc {
                status: None,
                failed: true,
                ..
            }
        )),
        "{out:?}"
    );
}

/// Over its rate, a connection's frames are not told for a while: an answer among them is nobody's, and not missing.
#[test]
fn a_stream_whose_answer_may_have_been_missed_is_not_unanswered() {
    let (mut client, mut server) = (Peer::new(), Peer::new());
    let hello = [
        PREFACE.to_vec(),
        client.ask(1, EXPORT),
        client.ask(3, EXPORT),
        client.ask(5, EXPORT),
    ]
    .concat();
    let missed = server.accept(1, &[0; 5]);
    let seen = server.accept(3, &[0; 5]);
    let mut conversation = Conversation::default();
    let mut out = Vec::new();
    conversation.hear(&segment(0, Egress, 0, &hello), &mut out);
    conversation.hear(&segment(1, Ingress, 0, SETTINGS), &mut out);
    let at = (SETTINGS.len() + missed.len()) as u64;
    conversation.hear(
        &Segment {
            h2_frame: true,
            ..segment(2, Ingress, at, &seen)
        },
        &mut out,
    );
    conversation.end(&end(false, false, at + seen.len() as u64).unwrap(), &mut out);
    let unanswered = |answer: &Answer| matches!(answer, Answer::ConnectionEnded { .. });
    assert!(!answers(&out).iter().any(unanswered), "{out:?}");
    assert!(!answers(&out).is_empty(), "what was seen is told: {out:?}");
}

#[test]
fn streams_that_end_early() {
    let mut client = Peer::new();
    let ask = [
        PREFACE.to_vec(),
        client.ask(1, EXPORT),
        client.ask(3, EXPORT),
        client.ask(5, EXPORT),
        client.ask(7, EXPORT),
    ]
    .concat();
    let server = [
        SETTINGS.to_vec(),
        frame(3, 0, 1, &7u32.to_be_bytes()),
        frame(7, 0, 0, &[0, 0, 0, 5, 0, 0, 0, 0]),
    ]
    .concat();
    let cancel = frame(3, 0, 3, &8u32.to_be_bytes());
    let said = play(
        &[(Egress, &ask), (Ingress, &server), (Egress, &cancel)],
        end(false, false, 9),
    );
    assert_eq!(
        answers(&said),
        [
            Answer::StreamReset(7),
            Answer::ConnectionEnded { rst: false },
            Answer::Cancelled(8),
            Answer::ConnectionEnded { rst: false },
        ]
    );
}

#[test]
fn plain_http2_and_proxies_answer_with_a_status() {
    let (mut client, mut server) = (Peer::new(), Peer::new());
    let post = client.block(&[(":method", "POST"), (":path", "/v1/logs")]);
    let ask = [PREFACE.to_vec(), frame(1, 5, 1, &post), client.ask(3, EXPORT)].concat();
    let ok = server.block(&[(":status", "200")]);
    let no = server.block(&[
        (":status", "503"),
        ("retry-after", "30"),
        ("content-type", "text/plain"),
    ]);
    let answer = [
        SETTINGS.to_vec(),
        frame(1, 4, 1, &ok),
        frame(0, 1, 1, b"{}"),
        frame(1, 4, 3, &no),
    ]
    .concat();
    let said = play(&[(Egress, &ask), (Ingress, &answer)], None);
    assert_eq!(
        answers(&said),
        [
            http(200, Some(2)),
            Answer::Http {
                status: 503,
                refusal: None,
                retry_after: true,
                body_bytes: None,
                form: Form::Other
            }
        ]
    );
}

/// What a receiver answers that takes everything, in the encodings it may answer in, is no partial success; what is longer is.
#[test]
fn an_answer_is_partial_by_what_its_form_lets_it_be() {
    let (mut client, mut server) = (Peer::new(), Peer::new());
    let mut answer = |stream: u32, encoding: Option<&str>, bytes: usize| {
        let mut fields = vec![(":status", "200"), ("content-type", "application/grpc")];
        fields.extend(encoding.map(|encoding| ("grpc-encoding", encoding)));
        let head = server.block(&fields);
        let trailers = server.block(&[("grpc-status", "0")]);
        let message = vec![1; 5 + bytes];
        [
            frame(1, 4, stream, &head),
            frame(0, 0, stream, &message),
            frame(1, 5, stream, &trailers),
        ]
        .concat()
    };
    // Encoding, bytes of the message, partial. The Collector's answer to traces is 2 bytes, and 26 with Go's gzip.
    let table = [
        (None, 0, false),
        (None, 2, false),
        (None, 26, true),
        (Some("identity"), 2, false),
        (Some("identity"), 26, true),
        (Some("gzip"), 26, false),
        (Some("gzip"), 75, true),
        (Some("zstd"), 15, false),
    ];
    let mut parts = vec![
        (Ingress, SETTINGS.to_vec()),
        (Egress, [PREFACE, SETTINGS].concat()),
    ];
    for (n, (encoding, bytes, _)) in table.iter().enumerate() {
        let stream = 2 * u32::try_from(n).unwrap() + 1;
        parts.push((Egress, client.ask(stream, EXPORT)));
        parts.push((Ingress, answer(stream, *encoding, *bytes)));
    }
    let parts: Vec<(Direction, &[u8])> = parts.iter().map(|(d, bytes)| (*d, &bytes[..])).collect();
    let said = play(&parts, None);
    assert_eq!(partials(&said), table.map(|(.., partial)| partial));
}

fn partials(said: &[Said]) -> Vec<bool> {
    said.iter()
        .filter_map(|said| match said {
            Said::Exchange(exchange) => Some(exchange.partial()),
            _ => None,
        })
        .collect()
}

#[test]
fn over_http_too() {
    // Headers, bytes of the body, partial.
    let table = [
        ("Content-Type: application/x-protobuf", 2, false),
        ("Content-Type: application/x-protobuf", 3, true),
        (
            "Content-Type: application/x-protobuf\r\nContent-Encoding: gzip",
            26,
            false,
        ),
        (
            "Content-Type: application/x-protobuf\r\nContent-Encoding: gzip",
            90,
            true,
        ),
        (
            "Content-Type: application/x-protobuf\r\nContent-Encoding: identity",
            26,
            true,
        ),
        // {"partialSuccess":{}}, and the same pretty-printed.
        ("Content-Type: application/json", 21, false),
        ("Content-Type: application/json", 27, false),
        // {"partialSuccess":{"rejectedSpans":1}}
        ("Content-Type: application/json; charset=utf-8", 38, true),
        (
            "Content-Type: application/json\r\nContent-Encoding: gzip",
            44,
            false,
        ),
        (
            "Content-Type: application/json\r\nContent-Encoding: gzip",
            80,
            true,
        ),
        ("Content-Type: text/plain", 40, false),
        ("Server: nginx", 40, false),
    ];
    for (headers, bytes, partial) in table {
        let answer = format!(
            "HTTP/1.1 200 OK\r\n{headers}\r\nContent-Length: {bytes}\r\n\r\n{}",
            "x".repeat(bytes)
        );
        let said = play(&[(Egress, POST), (Ingress, answer.as_bytes())], None);
        assert_eq!(partials(&said), [partial], "{headers} {bytes}");
        let (mut client, mut server) = (Peer::new(), Peer::new());
        let ask = client.block(&[
            (":method", "POST"),
            (":path", "/v1/traces"),
            ("content-type", "application/json"),
        ]);
        let ask = [PREFACE, SETTINGS, &frame(1, 5, 1, &ask)].concat();
        let headers: Vec<(String, &str)> = headers
            .split("\r\n")
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value))
            .collect();
        let mut fields = vec![(":status", "200")];
        fields.extend(headers.iter().map(|(name, value)| (name.as_str(), *value)));
        let head = server.block(&fields);
        let answer = [
            SETTINGS.to_vec(),
            frame(1, 4, 1, &head),
            frame(0, 1, 1, &vec![1; bytes]),
        ]
        .concat();
        let said = play(&[(Egress, &ask), (Ingress, &answer)], None);
        assert_eq!(partials(&said), [partial], "HTTP/2 {fields:?} {bytes}");
    }
}

#[test]
fn continuations_make_one_block_and_a_flood_of_them_is_bounded() {
    let mut client = Peer::new();
    let block = client.block(&[
        (":method", "POST"),
        (":path", EXPORT),
        ("content-type", "application/grpc"),
    ]);
    let (a, rest) = block.split_at(3);
    let (b, c) = rest.split_at(7);
    let ask = [
        PREFACE.to_vec(),
        frame(1, 0, 1, a),
        frame(9, 0, 1, b),
        frame(9, 4, 1, c),
    ]
    .concat();
    let said = play(&[(Egress, &ask)], None);
    assert_eq!(requests(&said)[0].path.as_deref(), Some(EXPORT));

    let mut conversation = Conversation::default();
    let mut out = Vec::new();
    let mut offset = 0;
    let mut say = |bytes: &[u8]| {
        conversation.hear(&segment(0, Egress, offset, bytes), &mut out);
        offset += bytes.len() as u64;
    };
    say(&[PREFACE, &frame(1, 0, 1, &[0x83])].concat());
    for _ in 0..10_000 {
        say(&frame(9, 0, 1, &[0x83; 900]));
    }
    say(&frame(9, 4, 1, &[0x83]));
    assert_eq!(requests(&out).len(), 1);
    assert_eq!(requests(&out)[0].path, None);
}

#[test]
fn open_streams_are_bounded_and_counted() {
    let mut client = Peer::new();
    let mut conversation = Conversation::default();
    let mut out = Vec::new();
    conversation.hear(&segment(0, Egress, 0, PREFACE), &mut out);
    let mut offset = PREFACE.len() as u64;
    for n in 0..1000 {
        let ask = client.ask(2 * n + 1, EXPORT);
        conversation.hear(&segment(0, Egress, offset, &ask), &mut out);
        offset += ask.len() as u64;
    }
    conversation.end(&end(false, false, 0).unwrap(), &mut out);
    assert_eq!(answers(&out).len() as u64 + conversation.forgotten(), 1000);
}

#[test]
fn two_protocols() {
    let bad =
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 40\r\n\r\nunsupported path requested: \"*\"..........";
    let hello: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let alert: &[u8] = &[0x15, 3, 3, 0, 2, 2, 10];
    let https: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    type Case<'a> = (
        &'a [(Direction, &'a [u8])],
        Spoken,
        Spoken,
        Option<u16>,
        Option<Refusal>,
    );
    let table: [Case<'_>; 9] = [
        (
            &[(Egress, PREFACE), (Ingress, bad)],
            Spoken::Http2,
            Spoken::Http1,
            Some(400),
            Some(Refusal::WrongPath),
        ),
        (
            &[(Egress, POST), (Ingress, SETTINGS)],
            Spoken::Http1,
            Spoken::Http2,
            None,
            None,
        ),
        (
            &[(Ingress, SETTINGS), (Egress, POST)],
            Spoken::Http1,
            Spoken::Http2,
            None,
            None,
        ),
        (
            &[(Egress, hello), (Ingress, OK)],
            Spoken::Tls,
            Spoken::Http1,
            Some(200),
            None,
        ),
        (
            &[(Egress, hello), (Ingress, SETTINGS)],
            Spoken::Tls,
            Spoken::Http2,
            None,
            None,
        ),
        (
            &[(Ingress, SETTINGS), (Egress, hello)],
            Spoken::Tls,
            Spoken::Http2,
            None,
            None,
        ),
        (
            &[(Egress, POST), (Ingress, alert)],
            Spoken::Http1,
            Spoken::Tls,
            None,
            None,
        ),
        (
            &[(Egress, PREFACE), (Ingress, alert)],
            Spoken::Http2,
            Spoken::Tls,
            None,
            None,
        ),
        (
            &[(Egress, POST), (Ingress, https)],
            Spoken::Http1,
            Spoken::Http1,
            Some(400),
            Some(Refusal::WantsTls),
        ),
    ];
    for (parts, client, server, status, refusal) in table {
        // Before the end, whatever that is.
        for ended in [None, end(true, true, 9)] {
            let said = play(parts, ended);
            let expected = Mismatch {
                client,
                server,
                status,
                refusal,
                is_guess: false,
            };
            // The reason of the last may still come, as far as the server's words tell.
            if ended.is_some() || refusal != Some(Refusal::WantsTls) {
                assert_eq!(mismatches(&said), [expected], "{client:?} {server:?}");
            }
            assert_eq!(requests(&said).len(), usize::from(client == Spoken::Http1));
        }
    }
}

#[test]
fn a_preface_that_is_answered_by_the_end_may_be_a_mismatch() {
    let guess = Mismatch {
        client: Spoken::Http2,
        server: Spoken::Nothing,
        status: None,
        refusal: None,
        is_guess: true,
    };
    let parts: [(Direction, &[u8]); 1] = [(Egress, PREFACE)];
    assert_eq!(play(&parts, end(true, false, 0)), [Said::Mismatch(guess)]);
    // A RST is a reset, and the client's own end is nothing.
    assert_eq!(play(&parts, end(true, true, 0)), []);
    assert_eq!(play(&parts, end(false, false, 0)), []);
}

#[test]
fn tunnels_are_another_conversation() {
    let said = play(
        &[
            (Egress, b"CONNECT otel:4317 HTTP/1.1\r\nHost: otel:4317\r\n\r\n"),
            (Ingress, b"HTTP/1.1 200 Connection established\r\n\r\n"),
            (Egress, PREFACE),
            (Ingress, SETTINGS),
        ],
        end(false, false, 9),
    );
    assert_eq!(said.len(), 2);
    assert_eq!(answers(&said), [http(200, None)]);
}

/// Parts of a conversation, by kind.
fn script(which: u8) -> Vec<(Direction, Vec<u8>)> {
    let (mut client, mut server) = (Peer::new(), Peer::new());
    match which {
        0 => [POST, OK, POST, OK]
            .iter()
            .enumerate()
            .map(|(n, bytes)| (if n % 2 == 0 { Egress } else { Ingress }, bytes.to_vec()))
            .collect(),
        1 => vec![
            (Egress, [PREFACE.to_vec(), SETTINGS.to_vec(), client.ask(1, EXPORT)].concat()),
            (Ingress, [SETTINGS.to_vec(), server.accept(1, &[0; 5])].concat()),
            (Egress, [client.ask(3, EXPORT), client.ask(5, EXPORT)].concat()),
            (Ingress, [server.refuse(5, "8"), server.accept(3, &[0; 30])].concat()),
        ],
        2 => vec![
            (Ingress, SETTINGS.to_vec()),
            (Egress, POST.to_vec()),
        ],
        3 => vec![
            (Egress, POST.to_vec()),
            (
                Ingress,
                b"HTTP/1.1 400 Bad Request\r\nContent-Length: 41\r\n\r\nunsupported path requested: \"/v1/traces\"\n"
                    .to_vec(),
            ),
        ],
        _ => vec![
            (Egress, [&[22, 3, 1, 0, 50][..], &[1; 50]].concat()),
            (Ingress, [&[22, 3, 3, 0, 80, 2][..], &[1; 79], &[21, 3, 3, 0, 2, 2, 40]].concat()),
        ],
    }
}

proptest! {
    /// However a stream is cut into segments, and whatever is sent again, it says the same.
    #[test]
    fn segmentation_does_not_matter(which in 0u8..5, cuts in proptest::collection::vec(1usize..60, 0..30), again in any::<u8>()) {
        let parts = script(which);
        let whole: Vec<(Direction, &[u8])> = parts.iter().map(|(d, bytes)| (*d, &bytes[..])).collect();
        let mut expected = play(&whole, end(true, false, 9));
        let mut conversation = Conversation::default();
        let mut out = Vec::new();
        let mut offsets = [0u64; 2];
        let mut cuts = cuts.into_iter();
        for (n, (direction, bytes)) in parts.iter().enumerate() {
            let mut rest = &bytes[..];
            let offset = &mut offsets[usize::from(*direction == Ingress)];
            while !rest.is_empty() {
                let take = cuts.next().unwrap_or(usize::MAX).min(rest.len());
                let (now, later) = rest.split_at(take);
                conversation.hear(&segment(n, *direction, *offset, now), &mut out);
                if again % 3 == 0 {
                    conversation.hear(&segment(n, *direction, *offset, now), &mut out);
                }
                *offset += take as u64;
                rest = later;
            }
        }
        conversation.end(&end(true, false, offsets[1]).unwrap(), &mut out);
        // The order of what one part tells is the same; an answer may come with the end of its reason.
        prop_assert_eq!(expected.len(), out.len());
        for said in [&mut expected, &mut out] {
            said.sort_by_key(|said| format!("{said:?}"));
        }
        prop_assert_eq!(expected, out);
    }

    #[test]
    fn any_segments(parts in proptest::collection::vec(
        (any::<bool>(), 0u64..600, 0u32..300, any::<bool>(), 0u8..6, proptest::collection::vec(any::<u8>(), 0..200)),
        0..40,
    )) {
        let mut conversation = Conversation::default();
        let mut out = Vec::new();
        for (n, (ingress, offset, more, late, begin, bytes)) in parts.into_iter().enumerate() {
            let begin: &[u8] = match begin {
                0 => PREFACE,
                1 => SETTINGS,
                2 => POST,
                3 => OK,
                4 => &[22, 3, 1, 0, 50, 1],
                _ => b"",
            };
            let bytes = [begin, &bytes].concat();
            let mut seg = segment(n, if ingress { Ingress } else { Egress }, offset % 3 * offset, &bytes);
            seg.wire_len += more;
            seg.late = late;
            conversation.hear(&seg, &mut out);
        }
        conversation.end(&end(true, true, 0).unwrap(), &mut out);
    }
}
