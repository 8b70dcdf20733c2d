//! Streams of an HTTP/2 connection: requests and what became of them, gRPC's included.

use std::sync::Arc;

use super::frames::Frame;
use super::hpack::{Field, Name, Table};
use super::text::Media;
use super::{Said, exchanges, ingest};
use crate::model::event::Direction;
use crate::model::exchange::{Answer, Form, Request, Spoken, TargetForm};
use crate::model::time::Mono;

/// Requests that may be unanswered at a time; the oldest is forgotten for another one.
const MAX_OPEN: usize = 64;

/// Both directions of one connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    sent: Table,
    received: Table,
    open: Vec<Stream>,
}

#[derive(Debug)]
struct Stream {
    id: u32,
    request: Arc<Request>,
    /// Whether it is gRPC, where the headers could be read.
    grpc: Option<bool>,
    answer: Option<Head>,
    /// A DATA frame of the server was seen.
    data: bool,
    data_bytes: u64,
    /// Frames of the server were missed: what was not seen may have been there.
    blurred: bool,
}

/// Of the server's header blocks.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    status: Option<u16>,
    media: Option<Media>,
    packed: Option<bool>,
    /// Not all of the first block could be read.
    unclear: bool,
    grpc_status: Option<u32>,
    content_length: Option<u64>,
    retry_after: bool,
}

impl Streams {
    /// Takes a frame; how many requests had to be forgotten for it.
    pub(super) fn frame(
        &mut self,
        at: Mono,
        direction: Direction,
        frame: &Frame<'_>,
        out: &mut Vec<Said>,
    ) -> u64 {
        match (direction, frame) {
            (
                Direction::Egress,
                Frame::Headers {
                    stream, block, whole, ..
                },
            ) => {
                return self.ask(at, *stream, block, *whole, out);
            }
            (
                Direction::Ingress,
                Frame::Headers {
                    stream,
                    end,
                    block,
                    whole,
                },
            ) => self.head(at, *stream, *end, block, *whole, out),
            (Direction::Ingress, Frame::Data { stream, end, bytes }) => {
                self.data(at, *stream, *end, *bytes, out);
            }
            (_, Frame::Reset { stream, code }) => {
                if let Some(stream) = self.take(*stream) {
                    let answer = match direction {
                        Direction::Egress => Answer::Cancelled(*code),
                        Direction::Ingress => Answer::StreamReset(*code),
                    };
                    stream.say(at, answer, out);
                }
            }
            (Direction::Ingress, Frame::GoAway { last }) => {
                // These were not looked at, nor will be (RFC 9113, 6.8).
                let unseen = |stream: &mut Stream| stream.id > *last && !stream.blurred;
                for stream in self.open.extract_if(.., unseen) {
                    stream.say(at, Answer::ConnectionEnded { rst: false }, out);
                }
            }
            (Direction::Egress, Frame::Lost) => self.sent.lose(),
            (Direction::Ingress, Frame::Lost) => {
                self.received.lose();
                for stream in &mut self.open {
                    stream.blurred = true;
                }
            }
            (Direction::Egress, Frame::Data { .. } | Frame::GoAway { .. }) => {}
        }
        0
    }

    /// The connection ended: what is open stays unanswered, unless its answer may have been missed.
    pub(super) fn end(&mut self, at: Mono, rst: bool, out: &mut Vec<Said>) {
        let open = std::mem::take(&mut self.open);
        for stream in open.into_iter().filter(|stream| !stream.blurred) {
            stream.say(at, Answer::ConnectionEnded { rst }, out);
        }
    }

    /// A request, or trailers of one.
    fn ask(&mut self, at: Mono, id: u32, block: &[u8], whole: bool, out: &mut Vec<Said>) -> u64 {
        let mut request = Request {
            at,
            wire: Spoken::Http2,
            stream: id,
            method: None,
            form: TargetForm::Origin,
            authority: None,
            path: None,
            ingest: None,
            user_agent: None,
            content_length: None,
            grpc: false,
        };
        let mut grpc = None;
        let mut unreadable = false;
        let complete = self.sent.decode(block, whole, |field| match field {
            Field::Method(method) => request.method = Some(method),
            Field::Path(path) => request.path = Some(path),
            Field::Authority(authority) => request.authority = Some(authority),
            Field::UserAgent(agent) => request.user_agent = Some(agent),
            Field::ContentLength(length) => request.content_length = Some(length),
            Field::Media(media) => grpc = Some(media == Media::Grpc),
            Field::Unreadable(_) => unreadable = true,
            _ => {}
        });
        if id.is_multiple_of(2) || self.open.iter().any(|stream| stream.id == id) {
            return 0;
        }
        if grpc.is_none() && complete && !unreadable {
            // Without a content type it is none.
            grpc = Some(false);
        }
        if request.method.as_deref() == Some("CONNECT") {
            request.form = TargetForm::Authority;
        }
        if let Some(path) = &request.path {
            request.ingest = ingest::ingest(request.method.as_deref(), path);
            let kept = ingest::without_key(path);
            if *kept != **path {
                request.path = Some(Arc::from(kept));
            }
        }
        request.grpc = grpc == Some(true);
        let request = Arc::new(request);
        out.push(Said::Request(Arc::clone(&request)));
        let forgotten = if self.open.len() >= MAX_OPEN {
            self.open.remove(0);
            1
        } else {
            0
        };
        self.open.push(Stream {
            id,
            request,
            grpc,
            answer: None,
            data: false,
            data_bytes: 0,
            blurred: false,
        });
        forgotten
    }

    /// A head of the server, or trailers.
    fn head(&mut self, at: Mono, id: u32, end: bool, block: &[u8], whole: bool, out: &mut Vec<Said>) {
        let mut head = Head::default();
        let mut unclear = false;
        let complete = self.received.decode(block, whole, |field| match field {
            Field::Status(status) => head.status = Some(status),
            Field::Media(media) => head.media = Some(media),
            Field::Packed(is) => head.packed = Some(is),
            Field::GrpcStatus(status) => head.grpc_status = Some(status),
            Field::ContentLength(length) => head.content_length = Some(length),
            Field::RetryAfter => head.retry_after = true,
            Field::Unreadable(Name::Unknown | Name::ContentType | Name::Encoding) => unclear = true,
            _ => {}
        });
        head.unclear = unclear || !complete;
        // An interim answer (RFC 9113, 8.1).
        if !end && head.status.is_some_and(|status| (100..200).contains(&status)) {
            return;
        }
        let Some(stream) = self.open.iter_mut().find(|stream| stream.id == id) else {
            return;
        };
        let first = stream.answer.is_none();
        let known = stream.answer.get_or_insert_default();
        known.status = known.status.or(head.status);
        known.media = known.media.or(head.media);
        known.packed = known.packed.or(head.packed);
        // Trailers say nothing of the message.
        known.unclear |= first && (head.unclear || stream.blurred);
        known.grpc_status = head.grpc_status.or(known.grpc_status);
        known.content_length = known.content_length.or(head.content_length);
        known.retry_after |= head.retry_after;
        let known = *known;
        // What answers is gRPC where it says so, or has its status.
        let grpc = if head.grpc_status.is_some() {
            Some(true)
        } else {
            stream.grpc.or(known.media.map(|media| media == Media::Grpc))
        };
        let answer = match (grpc, known.status) {
            (Some(true), _) if known.grpc_status.is_some() && end => Some(stream.by_status(known)),
            // A proxy's answer, or a server's that has no gRPC.
            (_, Some(status)) if status != 200 && known.grpc_status.is_none() => {
                Some(stream.http(status, known, end))
            }
            (Some(false), Some(status)) => {
                // A length known now is as good as the end.
                (end || known.content_length.is_some()).then(|| stream.http(status, known, end))
            }
            (Some(false), None) => None,
            _ if !end => None,
            _ => stream.by_frames(known, first),
        };
        if let Some(answer) = answer {
            if let Some(stream) = self.take(id) {
                stream.say(at, answer, out);
            }
        } else if end {
            // Over, and nothing to say of it.
            self.take(id);
        }
    }

    fn data(&mut self, at: Mono, id: u32, end: bool, bytes: u32, out: &mut Vec<Said>) {
        let Some(stream) = self.open.iter_mut().find(|stream| stream.id == id) else {
            return;
        };
        stream.data = true;
        stream.data_bytes = stream.data_bytes.saturating_add(u64::from(bytes));
        if !end {
            return;
        }
        // gRPC ends with trailers: this is something else.
        if let Some(stream) = self.take(id)
            && let Some(known) = stream.answer
            && let Some(status) = known.status
        {
            let answer = stream.http(status, known, true);
            stream.say(at, answer, out);
        }
    }

    fn take(&mut self, id: u32) -> Option<Stream> {
        let at = self.open.iter().position(|stream| stream.id == id)?;
        Some(self.open.remove(at))
    }
}

impl Head {
    /// How gRPC's messages are written.
    fn message(self) -> Form {
        if self.packed.unwrap_or(self.unclear) {
            Form::PackedProtobuf
        } else {
            Form::Protobuf
        }
    }

    /// How the body of any other answer is.
    fn body(self) -> Form {
        match (self.media, self.packed.unwrap_or(self.unclear)) {
            (Some(Media::Protobuf), false) => Form::Protobuf,
            (Some(Media::Protobuf), true) => Form::PackedProtobuf,
            (Some(Media::Json), false) => Form::Json,
            (Some(Media::Json), true) => Form::PackedJson,
            (None, _) if self.unclear => Form::PackedJson,
            _ => Form::Other,
        }
    }
}

impl Stream {
    fn by_status(&self, known: Head) -> Answer {
        Answer::Grpc {
            status: known.grpc_status,
            failed: known.grpc_status != Some(0),
            data_bytes: self.data_bytes,
            form: known.message(),
        }
    }

    /// What the frames alone tell at the end of a stream: HEADERS, DATA, HEADERS is a success, and an end without DATA
    /// an error. Nothing, when one of them may have been missed.
    fn by_frames(&self, known: Head, first: bool) -> Option<Answer> {
        let failed = !self.data;
        if self.blurred && (failed || first) {
            return None;
        }
        Some(Answer::Grpc {
            status: None,
            failed,
            data_bytes: self.data_bytes,
            form: known.message(),
        })
    }

    fn http(&self, status: u16, known: Head, end: bool) -> Answer {
        Answer::Http {
            status,
            refusal: None,
            retry_after: known.retry_after,
            body_bytes: known
                .content_length
                .or((end && !self.blurred).then_some(self.data_bytes)),
            form: known.body(),
        }
    }

    fn say(self, at: Mono, answer: Answer, out: &mut Vec<Said>) {
        exchanges::say(self.request, at, answer, out);
    }
}
