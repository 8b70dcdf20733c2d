use super::*;
use crate::model::event::Direction;

fn heads(client: bool, parts: &[(u64, u32, &[u8], bool)]) -> Vec<Head> {
    let mut heads = Heads::new(client, 0, Some(0));
    let mut out = Vec::new();
    for (offset, more, bytes, turn) in parts {
        let segment = Segment {
            at: Mono(1),
            direction: if client {
                Direction::Egress
            } else {
                Direction::Ingress
            },
            offset: *offset,
            wire_len: u32::try_from(bytes.len()).unwrap() + more,
            late: false,
            h2_frame: false,
            bytes,
        };
        heads.feed(&segment, *turn, &mut |head| out.push(head));
    }
    heads.flush(&mut |head| out.push(head));
    out
}

fn one_request(bytes: &[u8]) -> Request {
    match heads(true, &[(0, 0, bytes, true)]).pop() {
        Some(Head::Request(request, _)) => request,
        _ => panic!("no request"),
    }
}

fn responses(parts: &[(u64, u32, &[u8], bool)]) -> Vec<(u16, Option<u64>, Option<Refusal>, bool)> {
    heads(false, parts)
        .into_iter()
        .filter_map(|head| match head {
            Head::Response(r) => Some((r.status, r.body_bytes, r.refusal, r.retry_after)),
            Head::Request(..) => None,
        })
        .collect()
}

#[test]
fn targets() {
    let request = one_request(
        b"POST /v1/traces?key=secret HTTP/1.1\r\nHost: u:secret@otel:4318\r\nUser-Agent: sdk/1\r\n\
          Authorization: Basic secret\r\nContent-Length: 4\r\n\r\nbody",
    );
    assert!(!format!("{request:?}").contains("secret"));
    assert_eq!(request.path.as_deref(), Some("/v1/traces"));
    assert_eq!(request.authority.as_deref(), Some("otel:4318"));
    assert_eq!(request.user_agent.as_deref(), Some("sdk/1"));
    assert_eq!(request.content_length, Some(4));
    let request = one_request(b"POST http://u:p@otel:4318/v1/logs HTTP/1.1\r\nHost: proxy\r\n\r\n");
    assert_eq!(request.form, TargetForm::Absolute);
    assert_eq!(request.authority.as_deref(), Some("otel:4318"));
    assert_eq!(request.path.as_deref(), Some("/v1/logs"));
    let request = one_request(b"CONNECT otel:4317 HTTP/1.1\r\nHost: otel:4317\r\n\r\n");
    assert_eq!((request.form, request.path), (TargetForm::Authority, None));
    assert_eq!(request.authority.as_deref(), Some("otel:4317"));
}

#[test]
fn a_head_that_was_cut_says_what_was_captured() {
    let request = match heads(
        true,
        &[(
            0,
            700,
            b"POST /v1/traces HTTP/1.1\r\nHost: otel:4318\r\nUser-Agent: OTel-OT",
            true,
        )],
    )
    .pop()
    {
        Some(Head::Request(request, _)) => request,
        _ => panic!("no request"),
    };
    assert_eq!(request.authority.as_deref(), Some("otel:4318"));
    // Half a line is no line.
    assert_eq!(request.user_agent, None);
    assert_eq!(request.content_length, None);
    // Not even a request line: nothing.
    assert!(heads(true, &[(0, 700, b"POST /v1/tra", true)]).is_empty());
}

#[test]
fn a_line_that_is_none_costs_only_the_lines() {
    let request = one_request(b"POST /v1/traces HTTP/1.1\r\nHo st : x\r\n\r\n");
    assert_eq!(request.path.as_deref(), Some("/v1/traces"));
}

#[test]
fn pipelined_requests() {
    let two = b"POST /v1/traces HTTP/1.1\r\nContent-Length: 9\r\n\r\nGET / HTTPOST /v1/logs HTTP/1.1\r\n\r\n";
    let found = heads(true, &[(0, 0, two, true)]);
    assert_eq!(found.len(), 2);
}

#[test]
fn a_body_that_looks_like_a_request_is_none() {
    let parts: [(u64, u32, &[u8], bool); 2] = [
        (
            0,
            0,
            b"POST /v1/traces HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 30\r\n\r\n",
            true,
        ),
        (71, 0, b"POST /evil HTTP/1.1\r\nHost: x\r\n\r\n", true),
    ];
    assert_eq!(heads(true, &parts).len(), 1);
}

#[test]
fn interim_answers_are_passed_over() {
    assert_eq!(
        responses(&[(
            0,
            0,
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            true
        )]),
        [(200, Some(2), None, false)]
    );
}

#[test]
fn reasons_of_a_refusal() {
    let victoria: &[u8] =
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 41\r\n\r\n";
    let body: &[u8] = b"unsupported path requested: \"/v1/traces\"\n";
    let at = victoria.len() as u64;
    let whole = [victoria, body].concat();
    let expected = [(400, Some(41), Some(Refusal::WrongPath), false)];
    assert_eq!(responses(&[(0, 0, &whole, true)]), expected);
    assert_eq!(
        responses(&[(0, 0, victoria, true), (at, 0, body, false)]),
        expected
    );
    assert_eq!(
        responses(&[
            (0, 0, victoria, true),
            (at, 0, &body[..7], false),
            (at + 7, 0, &body[7..], false)
        ]),
        expected
    );
    assert_eq!(
        responses(&[(
            0,
            0,
            b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
            true
        )]),
        [(400, None, Some(Refusal::WantsTls), false)]
    );
    assert_eq!(
        responses(&[(
            0,
            0,
            b"HTTP/1.1 503 No\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n",
            true
        )]),
        [(503, Some(0), None, true)]
    );
    // What the body says of a success is nobody's business.
    assert_eq!(
        responses(&[(
            0,
            0,
            b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\nunsupported path",
            true
        )]),
        [(200, Some(16), None, false)]
    );
}

#[test]
fn an_answer_without_its_body_is_followed_by_the_next() {
    assert_eq!(
        responses(&[
            (
                0,
                0,
                b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n",
                true
            ),
            (
                50,
                0,
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
                true
            ),
        ]),
        [(304, Some(500), None, false), (200, None, None, false)]
    );
}
