//! HTTP/1.x (RFC 9112): the heads of requests and responses, of which the kernel side captures the first bytes of each
//! turn of the two sides.

use std::borrow::Cow;
use std::sync::Arc;

use super::text::Media;
use super::{Segment, ingest, text};
use crate::model::exchange::{Form, Refusal, Request, Spoken, TargetForm};
use crate::model::time::Mono;

/// Bytes of a head that are kept while it is not complete.
const MAX_HEAD: usize = 2048;
/// Bytes of an answer's body that are looked at for the reason of a refusal.
const MAX_BODY: usize = 320;
/// Header lines that are read.
const MAX_HEADERS: usize = 64;

/// The final answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) retry_after: bool,
    pub(super) body_bytes: Option<u64>,
    pub(super) refusal: Option<Refusal>,
    pub(super) form: Form,
    /// Others before it were missed.
    pub(super) gap: bool,
}

/// What was found.
pub(super) enum Head {
    /// A request, and whether others before it were missed.
    Request(Request, bool),
    Response(Response),
}

/// One direction.
#[derive(Debug)]
pub(super) struct Heads {
    /// The side that asks.
    client: bool,
    /// Offset of the next byte to come.
    next: u64,
    phase: Phase,
    /// Where the next head begins, if that is known.
    expected: Option<u64>,
    /// Behind the last byte that went by.
    end: u64,
    /// Beginning of a head.
    buffer: Vec<u8>,
    /// An answer that says no; the reason may follow.
    refused: Option<Box<Refused>>,
    /// When the head began.
    since: Mono,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// A head begins here, or goes on.
    Head,
    /// The body before the next head, up to this offset; `None` when that is not known: the next turn tells.
    Body(Option<u64>),
}

#[derive(Debug)]
struct Refused {
    response: Response,
    body: Vec<u8>,
}

/// How long the body behind a head is.
#[derive(Clone, Copy)]
enum Length {
    Known(u64),
    Unknown,
}

impl Heads {
    /// A direction that is heard from `at` on, and has a head at `expected`, if that is known.
    pub(super) fn new(client: bool, at: u64, expected: Option<u64>) -> Self {
        Self {
            client,
            next: at,
            phase: Phase::Head,
            expected,
            end: at,
            buffer: Vec::new(),
            refused: None,
            since: Mono(0),
        }
    }

    /// Offset behind everything that is known to have gone by.
    pub(super) fn known_end(&self) -> u64 {
        self.expected.unwrap_or(self.end).max(self.end)
    }

    /// Takes a segment; `turn` when the other side spoke before it.
    pub(super) fn feed(&mut self, seg: &Segment<'_>, turn: bool, each: &mut impl FnMut(Head)) {
        if turn || seg.offset > self.next {
            self.flush(each);
            if seg.offset > self.next {
                self.next = seg.offset;
            }
            match self.phase {
                // The client's own length is right; a server's may be that of a body which is not sent (HEAD, 304).
                Phase::Body(Some(until)) if self.client && self.next < until => {}
                _ => self.phase = Phase::Head,
            }
        }
        self.end = self.end.max(seg.offset.saturating_add(u64::from(seg.wire_len)));
        let seen = usize::try_from(self.next - seg.offset.min(self.next)).unwrap_or(usize::MAX);
        let Some(bytes) = seg.bytes.get(seen..).filter(|bytes| !bytes.is_empty()) else {
            return;
        };
        let mut at = self.next;
        self.next = self.next.saturating_add(bytes.len() as u64);
        // What follows in this segment was not captured, nor will be.
        let cut = u64::from(seg.wire_len) > seg.bytes.len() as u64;
        let mut data = if self.buffer.is_empty() {
            self.since = seg.at;
            Cow::Borrowed(bytes)
        } else {
            at -= self.buffer.len() as u64;
            let mut data = std::mem::take(&mut self.buffer);
            data.extend_from_slice(bytes);
            Cow::Owned(data)
        };
        while !data.is_empty() {
            let taken = match self.phase {
                Phase::Body(None) => {
                    self.body(&data, each);
                    data.len()
                }
                Phase::Body(Some(until)) => {
                    let left = usize::try_from(until.saturating_sub(at)).unwrap_or(usize::MAX);
                    let n = left.min(data.len());
                    self.body(data.get(..n).unwrap_or_default(), each);
                    if n == left {
                        self.release(each);
                        self.phase = Phase::Head;
                        self.since = seg.at;
                    }
                    n
                }
                Phase::Head => match self.head(&data, at, cut, each) {
                    Some(n) => n,
                    None => {
                        self.buffer = data.into_owned();
                        return;
                    }
                },
            };
            at = at.saturating_add(taken as u64);
            data = match data {
                Cow::Borrowed(data) => Cow::Borrowed(data.get(taken..).unwrap_or_default()),
                Cow::Owned(mut data) => {
                    data.drain(..taken.min(data.len()));
                    Cow::Owned(data)
                }
            };
        }
        if cut {
            self.release(each);
        }
    }

    /// No more of what was begun will come: the other side speaks, or the connection ended.
    pub(super) fn flush(&mut self, each: &mut impl FnMut(Head)) {
        self.release(each);
        let buffer = std::mem::take(&mut self.buffer);
        if !buffer.is_empty() {
            let at = self.next.saturating_sub(buffer.len() as u64);
            self.cut_head(&buffer, at, each);
        }
    }

    /// A head at offset `at`: how many bytes it takes, with all that follows when there is no head here or it cannot be
    /// read to its end. `None` when more is to come.
    fn head(&mut self, data: &[u8], at: u64, cut: bool, each: &mut impl FnMut(Head)) -> Option<usize> {
        match self.begins(data) {
            Some(true) => {}
            None if !cut => return None,
            Some(false) | None => {
                self.phase = Phase::Body(None);
                return Some(data.len());
            }
        }
        match self.parse(data, true) {
            Parsed::Head(head, len, length) => {
                let body = at.saturating_add(len as u64);
                let gap = self.expected.is_some_and(|expected| at > expected);
                self.expected = match length {
                    Length::Known(length) => Some(body.saturating_add(length)),
                    Length::Unknown => None,
                };
                self.phase = Phase::Body(self.expected);
                self.found(head, gap, each);
                if matches!(length, Length::Known(0)) {
                    self.release(each);
                    self.phase = Phase::Head;
                }
                Some(len)
            }
            Parsed::Partial if !cut && data.len() < MAX_HEAD => None,
            Parsed::Partial | Parsed::Bad => {
                self.cut_head(data, at, each);
                Some(data.len())
            }
        }
    }

    /// A head whose end was not captured, or which has lines that are none: what can be read of it.
    fn cut_head(&mut self, data: &[u8], at: u64, each: &mut impl FnMut(Head)) {
        self.phase = Phase::Body(None);
        let gap = self.expected.take().is_some_and(|expected| at > expected);
        let lines = |end: Option<usize>| {
            let mut lines = data.get(..end? + 2)?.to_vec();
            lines.extend_from_slice(b"\r\n");
            Some(lines)
        };
        let last = data.windows(2).rposition(|two| two == b"\r\n");
        let first = data.windows(2).position(|two| two == b"\r\n");
        for lines in [lines(last), lines(first)].into_iter().flatten() {
            if let Parsed::Head(head, ..) = self.parse(&lines, false) {
                self.found(head, gap, each);
                self.release(each);
                return;
            }
        }
    }

    /// Whether a head begins here; `None` when there are too few bytes to tell.
    fn begins(&self, data: &[u8]) -> Option<bool> {
        match Spoken::of(data) {
            None => None,
            Some(Spoken::Http1) => Some(data.starts_with(b"HTTP/") != self.client),
            Some(_) => Some(false),
        }
    }

    fn found(&mut self, mut head: Head, gap: bool, each: &mut impl FnMut(Head)) {
        match &mut head {
            Head::Request(_, missed) => *missed = gap,
            Head::Response(response) => response.gap = gap,
        }
        match head {
            // An interim answer is none (RFC 9110, 15.2); the final one follows.
            Head::Response(response) if (100..200).contains(&response.status) && response.status != 101 => {
                self.phase = Phase::Head;
            }
            Head::Response(response) if response.status >= 400 => {
                self.refused = Some(Box::new(Refused {
                    response,
                    body: Vec::new(),
                }));
            }
            head => each(head),
        }
    }

    /// Bytes of a body.
    fn body(&mut self, bytes: &[u8], each: &mut impl FnMut(Head)) {
        let Some(refused) = &mut self.refused else { return };
        let room = MAX_BODY.saturating_sub(refused.body.len());
        refused
            .body
            .extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        refused.response.refusal = refusal(&refused.body);
        if refused.response.refusal.is_some() || refused.body.len() >= MAX_BODY {
            self.release(each);
        }
    }

    /// Hands over an answer that waited for its reason.
    fn release(&mut self, each: &mut impl FnMut(Head)) {
        if let Some(refused) = self.refused.take() {
            each(Head::Response(refused.response));
        }
    }

    /// Reads a head; `whole` when it is all there, so that what it does not say is known.
    fn parse(&self, data: &[u8], whole: bool) -> Parsed {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        if self.client {
            let mut head = httparse::Request::new(&mut headers);
            match head.parse(data) {
                Ok(httparse::Status::Complete(len)) => {
                    let (request, length) = request(&head, whole, self.since);
                    Parsed::Head(Head::Request(request, false), len, length)
                }
                Ok(httparse::Status::Partial) => Parsed::Partial,
                Err(_) => Parsed::Bad,
            }
        } else {
            let mut head = httparse::Response::new(&mut headers);
            match head.parse(data) {
                Ok(httparse::Status::Complete(len)) => {
                    let (response, length) = response(&head, whole);
                    Parsed::Head(Head::Response(response), len, length)
                }
                Ok(httparse::Status::Partial) => Parsed::Partial,
                Err(_) => Parsed::Bad,
            }
        }
    }
}

enum Parsed {
    Head(Head, usize, Length),
    Partial,
    Bad,
}

fn request(head: &httparse::Request<'_, '_>, whole: bool, at: Mono) -> (Request, Length) {
    let method = head.method.and_then(|method| text::method(method.as_bytes()));
    let (form, authority, path) = target(method.as_deref(), head.path.unwrap_or_default());
    let mut request = Request {
        at,
        wire: Spoken::Http1,
        stream: 0,
        method,
        form,
        authority,
        path: None,
        ingest: None,
        user_agent: None,
        content_length: None,
        grpc: false,
    };
    if let Some(path) = path.and_then(text::path) {
        request.ingest = ingest::ingest(request.method.as_deref(), &path);
        let kept = ingest::without_key(&path);
        request.path = Some(if *kept == *path { path } else { Arc::from(kept) });
    }
    let mut chunked = false;
    for header in head.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("host") {
            request.authority = request.authority.or_else(|| text::authority(header.value));
        } else if is("user-agent") {
            request.user_agent = text::user_agent(header.value);
        } else if is("content-length") {
            request.content_length = text::number(header.value);
        } else if is("transfer-encoding") {
            chunked = true;
        } else if is("content-type") {
            request.grpc = Media::of(header.value) == Media::Grpc;
        }
    }
    let length = match request.content_length {
        Some(length) if !chunked => Length::Known(length),
        // RFC 9112, 6.3: a request with neither has no body.
        None if !chunked && whole => Length::Known(0),
        _ => Length::Unknown,
    };
    (request, length)
}

/// Takes a request target apart (RFC 9112, 3.2): form, authority, path.
fn target<'a>(method: Option<&str>, target: &'a str) -> (TargetForm, Option<Arc<str>>, Option<&'a [u8]>) {
    if method == Some("CONNECT") {
        return (TargetForm::Authority, text::authority(target.as_bytes()), None);
    }
    let scheme = ["http://", "https://"].into_iter().find(|scheme| {
        target
            .get(..scheme.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    });
    let Some(rest) = scheme.and_then(|scheme| target.get(scheme.len()..)) else {
        return (TargetForm::Origin, None, Some(target.as_bytes()));
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = if path.starts_with('/') { path } else { "/" };
    (
        TargetForm::Absolute,
        text::authority(authority.as_bytes()),
        Some(path.as_bytes()),
    )
}

fn response(head: &httparse::Response<'_, '_>, whole: bool) -> (Response, Length) {
    let mut response = Response {
        status: head.code.unwrap_or(0),
        retry_after: false,
        body_bytes: None,
        refusal: None,
        form: Form::Other,
        gap: false,
    };
    let mut chunked = false;
    let mut media = None;
    let mut packed = None;
    for header in head.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            response.body_bytes = text::number(header.value);
        } else if is("transfer-encoding") {
            chunked = true;
        } else if is("retry-after") {
            response.retry_after = true;
        } else if is("content-type") {
            media = Some(Media::of(header.value));
        } else if is("content-encoding") {
            packed = Some(text::is_packed(header.value));
        }
    }
    response.form = match (media, packed.unwrap_or(!whole)) {
        (Some(Media::Protobuf), false) => Form::Protobuf,
        (Some(Media::Protobuf), true) => Form::PackedProtobuf,
        (Some(Media::Json), false) => Form::Json,
        (Some(Media::Json), true) => Form::PackedJson,
        (None, _) if !whole => Form::PackedJson,
        _ => Form::Other,
    };
    if chunked {
        // RFC 9112, 6.3: it overrides a length.
        response.body_bytes = None;
    }
    let length = match (response.status, response.body_bytes) {
        // These have no body, whatever they say (RFC 9112, 6.3).
        (100..200 | 204 | 304, _) => Length::Known(0),
        (_, Some(length)) if whole => Length::Known(length),
        _ => Length::Unknown,
    };
    (response, length)
}

/// Why a server refused, by the words of those that have words for it.
fn refusal(body: &[u8]) -> Option<Refusal> {
    // In lower case, without what follows: texts of VictoriaMetrics, VictoriaLogs and VictoriaTraces; of Go's net/http
    // and of nginx.
    const WORDS: &[(&[u8], Refusal)] = &[
        (b"unsupported path", Refusal::WrongPath),
        (
            b"client sent an http request to an https server",
            Refusal::WantsTls,
        ),
        (b"plain http request was sent to https port", Refusal::WantsTls),
    ];
    let body = body.to_ascii_lowercase();
    let has = |words: &[u8]| body.windows(words.len()).any(|window| window == words);
    WORDS
        .iter()
        .find(|(words, _)| has(words))
        .map(|(_, refusal)| *refusal)
}

#[cfg(test)]
#[path = "http1_tests.rs"]
mod tests;
