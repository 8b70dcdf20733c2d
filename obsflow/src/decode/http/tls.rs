//! TLS (RFC 8446, RFC 5246) from outside: record headers, the client's hello, alerts in the clear, and by the order and
//! length of the rest whether a handshake came to a good end.
//!
//! In TLS 1.3 everything behind the server's hello looks like application data, the Finished messages and alerts too.
//! What tells: an alert's record is [`SEALED_ALERT`] bytes long, no other message of a handshake is as short; the first
//! other record of the client behind the server's flight is its Finished (or its certificate before that); and only a
//! server that took it goes on with anything but an alert.

use super::framing::{Framing, Layout, Unit};
use super::{End, Said, Segment, hello};
use crate::model::event::Direction;
use crate::model::exchange::{Alert, Tls, TlsOutcome};

/// Bytes of a hello that are looked at.
const MAX_HELLO: u32 = 2048;
/// Longest record (RFC 5246, 6.2.3), the protocol with the longer ones.
const MAX_RECORD: u16 = 16_384 + 2048;
/// Level, description, the type of what is sealed, and the seal (RFC 8446, 5.2).
const SEALED_ALERT: u32 = 2 + 1 + 16;

mod kind {
    pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
    pub(super) const ALERT: u8 = 21;
    pub(super) const HANDSHAKE: u8 = 22;
    pub(super) const APPLICATION_DATA: u8 = 23;
}

/// One direction.
#[derive(Debug)]
pub(super) struct Records {
    framing: Framing,
}

/// What was found.
pub(super) enum Record<'a> {
    /// A record: its content type, its length, and the beginning of it.
    Record { kind: u8, len: u32, body: &'a [u8] },
    /// Records were missed.
    Lost,
}

impl Records {
    /// A direction whose records begin at `next`, or somewhere.
    pub(super) fn new(next: Option<u64>) -> Self {
        Self {
            framing: Framing::new(next),
        }
    }

    pub(super) fn feed(&mut self, seg: &Segment<'_>, each: &mut impl FnMut(Record<'_>)) {
        self.framing
            .feed(&Layout5, seg, &mut |unit| each(Record::of(unit)));
        if u64::from(seg.wire_len) > seg.bytes.len() as u64 {
            // The rest of this segment was not captured: a hello is as long as it is now.
            self.flush(each);
        }
    }

    /// No more of what was begun will come.
    pub(super) fn flush(&mut self, each: &mut impl FnMut(Record<'_>)) {
        self.framing.cut::<Layout5>(&mut |unit| each(Record::of(unit)));
    }
}

impl<'a> Record<'a> {
    fn of(unit: Unit<'a>) -> Self {
        match unit {
            Unit::Whole { header, body, .. } => match *header {
                [kind, _, _, hi, lo] => Self::Record {
                    kind,
                    len: u32::from(u16::from_be_bytes([hi, lo])),
                    body,
                },
                _ => Self::Lost,
            },
            Unit::Lost => Self::Lost,
        }
    }
}

/// Whether these bytes, met somewhere in a stream, begin with a record.
pub(super) fn plausible(bytes: &[u8]) -> bool {
    Layout5.plausible(bytes)
}

struct Layout5;

impl Layout for Layout5 {
    const HEADER: usize = 5;

    fn shape(&self, header: &[u8]) -> (u32, u32) {
        let [kind, _, _, hi, lo] = *header else {
            return (0, 0);
        };
        let len = u32::from(u16::from_be_bytes([hi, lo]));
        let wanted = match kind {
            kind::HANDSHAKE => MAX_HELLO,
            kind::ALERT => 2,
            _ => 0,
        };
        (len, wanted)
    }

    fn plausible(&self, mut bytes: &[u8]) -> bool {
        let mut any = false;
        while let [kind, 3, minor, hi, lo, ..] = *bytes {
            let len = u16::from_be_bytes([hi, lo]);
            if !(20..=23).contains(&kind) || minor > 4 || len == 0 || len > MAX_RECORD {
                return false;
            }
            any = true;
            bytes = bytes.get(5 + usize::from(len)..).unwrap_or_default();
        }
        // Bytes that are left over are no header, or not all of one.
        any && bytes.len() < 5
    }
}

/// The handshake of one connection.
#[derive(Debug, Default)]
pub(super) struct Handshake {
    hello: Option<Box<hello::Client>>,
    /// Joined late: there is a connection, and its handshake is over.
    late: bool,
    /// TLS 1.3, once the server's hello was seen.
    is_13: bool,
    server_spoke: bool,
    /// The client went on behind the server's flight.
    finished: bool,
    /// The client sent application data.
    client_data: bool,
    /// The client's records behind its Finished were missed.
    client_lost: bool,
    /// The server went on behind the client's Finished, with no alert.
    server_data: bool,
    /// An alert whose description is sealed.
    sealed_alert: bool,
    said: bool,
}

impl Handshake {
    pub(super) fn new(late: bool) -> Self {
        Self {
            late,
            ..Self::default()
        }
    }

    /// Takes a record. Whether everything was said.
    pub(super) fn record(&mut self, direction: Direction, record: &Record<'_>, out: &mut Vec<Said>) -> bool {
        match *record {
            Record::Lost => self.client_lost |= direction == Direction::Egress && self.finished,
            Record::Record { kind, len, body } => match direction {
                Direction::Egress => self.client(kind, len, body, out),
                Direction::Ingress => self.server(kind, len, body, out),
            },
        }
        if !self.said && self.server_data && (self.client_data || self.client_lost) {
            self.say(TlsOutcome::Established, None, out);
        }
        self.said
    }

    fn client(&mut self, kind: u8, len: u32, body: &[u8], out: &mut Vec<Said>) {
        match kind {
            kind::HANDSHAKE if self.hello.is_none() => {
                self.hello = hello::client(body).map(Box::new);
            }
            kind::ALERT => self.alert(Direction::Egress, len, body, out),
            kind::APPLICATION_DATA if self.late => self.client_data |= len != SEALED_ALERT,
            // Early data (0-RTT) comes before the server spoke, and proves nothing.
            kind::APPLICATION_DATA if self.server_spoke => {
                if len == SEALED_ALERT {
                    self.sealed_alert |= !self.client_data;
                } else if self.is_13 && !self.finished {
                    self.finished = true;
                } else {
                    self.finished = true;
                    self.client_data = true;
                }
            }
            _ => {}
        }
    }

    fn server(&mut self, kind: u8, len: u32, body: &[u8], out: &mut Vec<Said>) {
        match kind {
            kind::HANDSHAKE if !self.server_spoke => {
                self.server_spoke = true;
                self.is_13 = hello::is_13(body);
            }
            kind::HANDSHAKE | kind::CHANGE_CIPHER_SPEC => self.server_spoke = true,
            kind::ALERT => {
                self.server_spoke = true;
                self.alert(Direction::Ingress, len, body, out);
            }
            kind::APPLICATION_DATA if self.late => {
                self.server_data |= self.client_data && len != SEALED_ALERT
            }
            kind::APPLICATION_DATA => {
                self.server_spoke = true;
                if len == SEALED_ALERT {
                    self.sealed_alert |= self.finished && !self.server_data;
                } else {
                    self.server_data |= self.finished;
                }
            }
            _ => {}
        }
    }

    fn alert(&mut self, from: Direction, len: u32, body: &[u8], out: &mut Vec<Said>) {
        /// Ends a connection in good order, or says that the user gave up (RFC 8446, 6.1).
        const ORDERLY: [u8; 2] = [0, 90];
        const WARNING: u8 = 1;
        match *body {
            [level, description] if len == 2 => {
                if level != WARNING && !ORDERLY.contains(&description) && !self.late {
                    self.say(TlsOutcome::Failed, Some(Alert { from, description }), out);
                }
            }
            _ => self.sealed_alert |= !self.client_data,
        }
    }

    /// The connection ended.
    pub(super) fn end(&mut self, end: &End, out: &mut Vec<Said>) {
        if self.said || self.late {
            return;
        }
        let by_peer = end.by_peer || end.rst;
        if !self.server_spoke {
            if by_peer && end.received == 0 {
                self.say(TlsOutcome::Unanswered, None, out);
            }
            return;
        }
        if self.server_data {
            // The server took the client's Finished; nobody had anything to say.
            self.say(TlsOutcome::Established, None, out);
        } else if !self.finished && !self.client_lost || self.sealed_alert || by_peer && !self.client_data {
            self.say(TlsOutcome::Failed, None, out);
        }
        // Else the client left before the server could go on: nobody can tell.
    }

    fn say(&mut self, outcome: TlsOutcome, alert: Option<Alert>, out: &mut Vec<Said>) {
        if self.said {
            return;
        }
        self.said = true;
        let hello: hello::Client = self.hello.take().map(|hello| *hello).unwrap_or_default();
        out.push(Said::Tls(Box::new(Tls {
            sni: hello.sni,
            alpn: hello.alpn,
            outcome,
            alert,
        })));
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
