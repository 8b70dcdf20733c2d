//! What is said on a telemetry connection: HTTP/1.x, HTTP/2 with gRPC, and TLS from outside, out of captured stream bytes.
//!
//! The kernel side captures the first bytes of each turn of the two sides, and of HTTP/2 every frame header with header
//! blocks. What was not captured is unknown, and never guessed. Bodies are not kept but for the beginning of a refusal,
//! until its reason is found; of headers, those that [`crate::model::exchange`] names.

mod exchanges;
mod frames;
mod framing;
mod hello;
mod hpack;
mod http1;
mod http2;
mod ingest;
mod spoken;
mod text;
mod tls;

use std::sync::Arc;

use crate::model::event::Direction;
use crate::model::exchange::{Answer, Exchange, Mismatch, Refusal, Request, Spoken, TargetForm, Tls};
use crate::model::time::Mono;

use exchanges::Exchanges;
use frames::Frames;
use http1::{Head, Heads, Response};
use http2::Streams;
use tls::{Handshake, Records};

/// Bytes that tell a protocol.
const FIRST_BYTES: usize = 16;

/// Captured bytes of one segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// When.
    pub at: Mono,
    /// Which way.
    pub direction: Direction,
    /// Offset of the first byte in the stream of its direction.
    pub offset: u64,
    /// Bytes the segment carried from `offset` on.
    pub wire_len: u32,
    /// The connection was joined in its middle: offsets count from there.
    pub late: bool,
    /// Begins with an HTTP/2 frame header, by the kernel side's account.
    pub h2_frame: bool,
    /// What was captured, from `offset` on.
    pub bytes: &'a [u8],
}

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// When.
    pub at: Mono,
    /// A RST of the peer.
    pub rst: bool,
    /// The peer sent its FIN first.
    pub by_peer: bool,
    /// Payload bytes received, by the kernel's count.
    pub received: u64,
}

/// What became known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The head of a request was sent.
    Request(Arc<Request>),
    /// A request was answered, or never will be.
    Exchange(Box<Exchange>),
    /// A TLS handshake came to its end.
    Tls(Box<Tls>),
    /// The two sides speak different protocols.
    Mismatch(Mismatch),
}

/// What was said on one connection so far. Memory is bounded, and a few hundred bytes for most.
#[derive(Debug, Default)]
pub struct Conversation {
    sent: Side,
    received: Side,
    talk: Talk,
    last: Option<Direction>,
    /// A request of HTTP/1 was told.
    asked: bool,
    forgotten: u64,
}

/// One direction.
#[derive(Debug, Default)]
struct Side {
    spoken: Spoken,
    /// Seen from its first byte.
    whole: bool,
    reader: Reader,
}

#[derive(Debug)]
enum Reader {
    /// Too few bytes to tell.
    Opening(Vec<u8>),
    Http1(Box<Heads>),
    Http2(Box<Frames>),
    Tls(Box<Records>),
    /// Nobody listens any more.
    Deaf,
}

impl Default for Reader {
    fn default() -> Self {
        Self::Opening(Vec::new())
    }
}

/// What both sides make together; the client's protocol decides.
#[derive(Debug, Default)]
enum Talk {
    #[default]
    Nothing,
    Http1(Box<Exchanges>),
    Http2(Box<Streams>),
    Tls(Box<Handshake>),
    /// The server answers another protocol's words with HTTP/1, and is about to say how.
    Mismatched,
    /// That the sides do not understand each other is said; what the client wanted is still to be heard.
    LastWords,
    /// There is no more to learn.
    Over,
}

impl Conversation {
    /// Takes captured bytes; what they tell is added to `out`.
    pub fn hear(&mut self, seg: &Segment<'_>, out: &mut Vec<Said>) {
        if matches!(self.talk, Talk::Over) || seg.bytes.is_empty() {
            return;
        }
        let turn = self.last != Some(seg.direction);
        self.last = Some(seg.direction);
        if turn {
            self.flush(other(seg.direction), seg.at, out);
        }
        let opening = match &mut self.side(seg.direction).reader {
            Reader::Opening(bytes) => Some(std::mem::take(bytes)),
            _ => None,
        };
        match opening {
            Some(opening) => self.open(opening, seg, turn, out),
            None => self.read(seg, turn, out),
        }
    }

    /// The connection ended: what was begun will not be completed.
    pub fn end(&mut self, end: &End, out: &mut Vec<Said>) {
        for direction in [Direction::Egress, Direction::Ingress] {
            self.flush(direction, end.at, out);
        }
        let known_end = match &self.received.reader {
            Reader::Http1(heads) => heads.known_end(),
            Reader::Http2(frames) => frames.known_end(),
            Reader::Opening(bytes) => bytes.len() as u64,
            Reader::Tls(_) | Reader::Deaf => 0,
        };
        let late = self.received.spoken != Spoken::Nothing && !self.received.whole || !self.sent.whole;
        let missed = late || end.received > known_end;
        let silent = self.received.spoken == Spoken::Nothing && end.received == 0;
        match std::mem::take(&mut self.talk) {
            Talk::Http2(_) if self.sent.whole && silent && end.by_peer && !end.rst => {
                out.push(Said::Mismatch(Mismatch {
                    client: Spoken::Http2,
                    server: Spoken::Nothing,
                    status: None,
                    refusal: None,
                    is_guess: true,
                }));
            }
            // What was received and not captured may have been the answers.
            Talk::Http1(_) | Talk::Http2(_) if missed => {}
            Talk::Http1(exchanges) => exchanges.end(end.at, end.rst, out),
            Talk::Http2(mut streams) => streams.end(end.at, end.rst, out),
            Talk::Tls(mut handshake) => handshake.end(end, out),
            Talk::Mismatched => out.push(self.mismatch(None, None)),
            Talk::Nothing | Talk::LastWords | Talk::Over => {}
        }
        self.over();
    }

    /// What the two directions speak: sent, received.
    #[must_use]
    pub fn spoken(&self) -> (Spoken, Spoken) {
        (self.sent.spoken, self.received.spoken)
    }

    /// Requests that were forgotten before their answer.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn side(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::Egress => &mut self.sent,
            Direction::Ingress => &mut self.received,
        }
    }

    /// The first bytes of a direction, or those met in its middle.
    fn open(&mut self, mut opening: Vec<u8>, seg: &Segment<'_>, turn: bool, out: &mut Vec<Said>) {
        let client = seg.direction == Direction::Egress;
        let whole = !seg.late && seg.offset <= opening.len() as u64;
        let spoken = if whole {
            let known = usize::try_from(seg.offset).unwrap_or(usize::MAX);
            opening.truncate(known);
            let seen = opening.len();
            let room = FIRST_BYTES.saturating_sub(seen).min(seg.bytes.len());
            opening.extend_from_slice(seg.bytes.get(..room).unwrap_or_default());
            let spoken = match Spoken::of(&opening) {
                // A status line is no request, nor the other way round.
                Some(Spoken::Http1) if opening.starts_with(b"HTTP/") == client => Some(Spoken::Unknown),
                None if opening.len() >= FIRST_BYTES => Some(Spoken::Unknown),
                spoken => spoken,
            };
            if spoken.is_none() {
                self.side(seg.direction).reader = Reader::Opening(opening);
                return;
            }
            opening.truncate(seen);
            spoken
        } else {
            opening.clear();
            in_the_middle(client, seg.bytes)
        };
        let Some(spoken) = spoken else { return };
        let start = whole.then_some(0);
        let side = self.side(seg.direction);
        side.spoken = spoken;
        side.whole = whole;
        side.reader = match spoken {
            Spoken::Http1 => Reader::Http1(Box::new(Heads::new(
                client,
                start.unwrap_or(seg.offset),
                (!seg.late).then_some(0),
            ))),
            Spoken::Http2 => Reader::Http2(Box::new(Frames::new(
                start.map(|start| if client { frames::PREFACE } else { start }),
            ))),
            Spoken::Tls => Reader::Tls(Box::new(Records::new(start))),
            Spoken::Nothing | Spoken::Unknown => Reader::Deaf,
        };
        if client {
            self.talk = match spoken {
                Spoken::Http1 => Talk::Http1(Box::default()),
                Spoken::Http2 => Talk::Http2(Box::default()),
                Spoken::Tls => Talk::Tls(Box::new(Handshake::new(!whole))),
                Spoken::Nothing | Spoken::Unknown => Talk::Over,
            };
        } else {
            self.pair(out);
        }
        if !opening.is_empty() {
            let before = Segment {
                offset: 0,
                wire_len: u32::try_from(opening.len()).unwrap_or(u32::MAX),
                bytes: &opening,
                ..*seg
            };
            self.read(&before, turn, out);
        }
        self.read(seg, turn && opening.is_empty(), out);
        if client {
            self.pair(out);
        }
    }

    /// Both sides' first words are known: do they understand each other?
    fn pair(&mut self, out: &mut Vec<Said>) {
        let (client, server) = self.spoken();
        let known = self.sent.whole && self.received.whole;
        if matches!(self.talk, Talk::Over) || client == Spoken::Nothing || server == Spoken::Nothing {
            return;
        }
        if client == Spoken::Unknown || server == Spoken::Unknown {
            self.over();
        } else if known && client != server {
            if server == Spoken::Http1 {
                self.talk = Talk::Mismatched;
            } else {
                out.push(self.mismatch(None, None));
                if client == Spoken::Http1 && !self.asked {
                    self.talk = Talk::LastWords;
                } else {
                    self.over();
                }
            }
        }
    }

    fn mismatch(&self, status: Option<u16>, refusal: Option<Refusal>) -> Said {
        Said::Mismatch(Mismatch {
            client: self.sent.spoken,
            server: self.received.spoken,
            status,
            refusal,
            is_guess: false,
        })
    }

    /// Gives a segment to its side's reader, and what that finds to the talk.
    fn read(&mut self, seg: &Segment<'_>, turn: bool, out: &mut Vec<Said>) {
        if matches!(self.talk, Talk::Over) {
            return;
        }
        let mut reader = std::mem::replace(&mut self.side(seg.direction).reader, Reader::Deaf);
        match &mut reader {
            Reader::Http1(heads) => heads.feed(seg, turn, &mut |head| self.head(seg.at, head, out)),
            Reader::Http2(frames) => frames.feed(seg, &mut |frame| {
                if let Talk::Http2(streams) = &mut self.talk {
                    self.forgotten += streams.frame(seg.at, seg.direction, &frame, out);
                }
            }),
            Reader::Tls(records) => {
                records.feed(seg, &mut |record| self.record(seg.direction, &record, out));
            }
            Reader::Opening(_) | Reader::Deaf => {}
        }
        self.keep(seg.direction, reader);
    }

    /// The other side speaks, or the end came.
    fn flush(&mut self, direction: Direction, at: Mono, out: &mut Vec<Said>) {
        let mut reader = std::mem::replace(&mut self.side(direction).reader, Reader::Deaf);
        match &mut reader {
            Reader::Http1(heads) => heads.flush(&mut |head| self.head(at, head, out)),
            Reader::Tls(records) => records.flush(&mut |record| self.record(direction, &record, out)),
            Reader::Http2(_) | Reader::Opening(_) | Reader::Deaf => {}
        }
        self.keep(direction, reader);
    }

    fn keep(&mut self, direction: Direction, reader: Reader) {
        if !matches!(self.talk, Talk::Over) {
            self.side(direction).reader = reader;
        }
    }

    fn head(&mut self, at: Mono, head: Head, out: &mut Vec<Said>) {
        match head {
            Head::Request(request, gap) => {
                let request = Arc::new(request);
                out.push(Said::Request(Arc::clone(&request)));
                self.asked = true;
                match &mut self.talk {
                    Talk::Http1(exchanges) => self.forgotten += exchanges.ask(request, gap),
                    Talk::LastWords => self.over(),
                    _ => {}
                }
            }
            Head::Response(response) => self.response(at, response, out),
        }
    }

    fn response(&mut self, at: Mono, response: Response, out: &mut Vec<Said>) {
        let Response {
            status,
            retry_after,
            body_bytes,
            refusal,
            form,
            gap: _,
        } = response;
        match &mut self.talk {
            Talk::Mismatched => {
                out.push(self.mismatch(Some(status), refusal));
                self.over();
            }
            Talk::Http1(exchanges) => {
                let request = exchanges.answered(&response);
                if refusal == Some(Refusal::WantsTls) {
                    out.push(self.mismatch(Some(status), refusal));
                }
                let tunnel = request
                    .as_ref()
                    .is_some_and(|request| request.form == TargetForm::Authority);
                if let Some(request) = request {
                    let answer = Answer::Http {
                        status,
                        refusal,
                        retry_after,
                        body_bytes,
                        form,
                    };
                    exchanges::say(request, at, answer, out);
                }
                // What follows is another protocol, or another's conversation.
                if status == 101 || tunnel && (200..300).contains(&status) {
                    self.over();
                }
            }
            _ => {}
        }
    }

    fn record(&mut self, direction: Direction, record: &tls::Record<'_>, out: &mut Vec<Said>) {
        if let Talk::Tls(handshake) = &mut self.talk
            && handshake.record(direction, record, out)
        {
            self.over();
        }
    }

    fn over(&mut self) {
        self.talk = Talk::Over;
        self.sent.reader = Reader::Deaf;
        self.received.reader = Reader::Deaf;
    }
}

fn other(direction: Direction) -> Direction {
    match direction {
        Direction::Egress => Direction::Ingress,
        Direction::Ingress => Direction::Egress,
    }
}

/// The protocol of a segment whose stream was joined in its middle; `None` when this segment does not tell.
fn in_the_middle(client: bool, bytes: &[u8]) -> Option<Spoken> {
    if frames::plausible(bytes) {
        return Some(Spoken::Http2);
    }
    if tls::plausible(bytes) {
        return Some(Spoken::Tls);
    }
    (Spoken::of(bytes) == Some(Spoken::Http1) && bytes.starts_with(b"HTTP/") != client)
        .then_some(Spoken::Http1)
}

#[cfg(test)]
mod tests;
