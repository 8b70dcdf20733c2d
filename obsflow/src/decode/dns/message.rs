//! A DNS message (RFC 1035) to what obsflow keeps of it.
//!
//! Bounded work whatever the bytes are: owner names are skipped without following compression pointers, at most
//! [`MAX_CNAMES`] names are followed, each over at most 255 pointers that all point backwards.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, LazyLock};

use domain::base::{Message, ParsedName, Rtype};
use domain::dep::octseq::Parser;

use crate::model::event::Protocol;
use crate::model::observation::DnsMessage;

/// Answer records that are looked at; the rest of a longer answer is counted as a defect.
pub const MAX_RECORDS: usize = 256;
/// CNAME targets that are kept.
pub const MAX_CNAMES: usize = 16;

const OPT: u16 = 41;
/// What one message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The QR bit: a response.
    pub response: bool,
    /// The contents, as far as they could be read.
    pub message: DnsMessage,
    /// Why the rest could not be read. The header is always good; the question's name is empty when there was none.
    pub defect: Option<DnsError>,
}

/// Why a message, or the rest of it, could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// Not even a header.
    #[error("DNS message of {0} bytes is shorter than its header (12 bytes)")]
    NoHeader(usize),
    /// Not a query or its response.
    #[error("DNS message with opcode {0}, which is no query")]
    Opcode(u8),
    /// No question; some servers answer an error that way.
    #[error("DNS message without a question")]
    NoQuestion,
    /// The question cannot be read.
    #[error("DNS message whose question is damaged or cut short")]
    BadQuestion,
    /// The capture has less than what was on the wire, and the message ends there.
    #[error("DNS message cut short by the capture")]
    Cut,
    /// The message ends in the middle, or a name loops, or a length is wrong.
    #[error("DNS message whose records are damaged")]
    BadRecord,
    /// More records than obsflow looks at.
    #[error("DNS message of more than {MAX_RECORDS} records")]
    TooManyRecords,
}

/// Reads one message of `wire_len` bytes, of which `bytes` were captured.
///
/// # Errors
/// When there is no header, or it is no query or response. Everything else is a [`Parsed::defect`].
pub fn parse(bytes: &[u8], wire_len: usize, protocol: Protocol) -> Result<Parsed, DnsError> {
    let message = Message::from_octets(bytes).map_err(|_| DnsError::NoHeader(bytes.len()))?;
    let header = message.header();
    let opcode = header.opcode().to_int();
    if opcode != 0 {
        return Err(DnsError::Opcode(opcode));
    }
    let response = header.qr();
    let mut parsed = Parsed {
        response,
        message: DnsMessage {
            protocol,
            id: header.id(),
            name: NOTHING.clone(),
            qtype: NOTHING.clone(),
            rcode: if response {
                header.rcode().to_int().into()
            } else {
                0
            },
            ips: Vec::new(),
            cnames: Vec::new(),
            rrtypes: Vec::new(),
            ttl: None,
            truncated: header.tc(),
        },
        defect: None,
    };
    let counts = message.header_counts();
    let counts = Counts {
        questions: counts.qdcount(),
        answers: counts.ancount(),
        authorities: counts.nscount(),
        additionals: counts.arcount(),
    };
    parsed.defect = match sections(bytes, counts, &mut parsed) {
        Ok(()) => None,
        Err(DnsError::BadRecord) if bytes.len() < wire_len => Some(DnsError::Cut),
        Err(defect) => Some(defect),
    };
    Ok(parsed)
}

/// The name that stands for "no question".
static NOTHING: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from(""));

#[derive(Clone, Copy)]
struct Counts {
    questions: u16,
    answers: u16,
    authorities: u16,
    additionals: u16,
}

fn sections(bytes: &[u8], counts: Counts, parsed: &mut Parsed) -> Result<(), DnsError> {
    let mut at = Parser::from_ref(bytes);
    at.advance(12).map_err(|_| DnsError::BadQuestion)?;
    if counts.questions == 0 {
        return Err(DnsError::NoQuestion);
    }
    question(&mut at, &mut parsed.message)?;
    for _ in 1..counts.questions {
        // Nobody sends two; the loop ends with the bytes.
        ParsedName::skip(&mut at).map_err(|_| DnsError::BadQuestion)?;
        at.advance(4).map_err(|_| DnsError::BadQuestion)?;
    }
    let mut left = MAX_RECORDS;
    for _ in 0..counts.answers {
        left = left.checked_sub(1).ok_or(DnsError::TooManyRecords)?;
        answer(&mut at, &mut parsed.message)?;
    }
    for _ in 0..counts.authorities {
        left = left.checked_sub(1).ok_or(DnsError::TooManyRecords)?;
        let record = Record::parse(&mut at)?;
        at.advance(record.len).map_err(|_| DnsError::BadRecord)?;
    }
    for _ in 0..counts.additionals {
        left = left.checked_sub(1).ok_or(DnsError::TooManyRecords)?;
        let record = Record::parse(&mut at)?;
        if record.rtype == OPT && parsed.response {
            // RFC 6891, 6.1.3: the upper eight bits of the extended RCODE are the first byte of the TTL.
            parsed.message.rcode |= u16::from(record.ttl.to_be_bytes()[0]) << 4;
        }
        at.advance(record.len).map_err(|_| DnsError::BadRecord)?;
    }
    Ok(())
}

fn question(at: &mut Parser<'_, [u8]>, message: &mut DnsMessage) -> Result<(), DnsError> {
    let name = ParsedName::parse_ref(at).map_err(|_| DnsError::BadQuestion)?;
    let rtype = at.parse_u16_be().map_err(|_| DnsError::BadQuestion)?;
    at.advance(2).map_err(|_| DnsError::BadQuestion)?;
    message.name = name_text(&name);
    message.qtype = rtype_text(rtype);
    Ok(())
}

/// The fixed part of a resource record (RFC 1035, 4.1.3).
struct Record {
    rtype: u16,
    ttl: u32,
    len: usize,
}

impl Record {
    fn parse(at: &mut Parser<'_, [u8]>) -> Result<Self, DnsError> {
        ParsedName::skip(at).map_err(|_| DnsError::BadRecord)?;
        let bad = |_| DnsError::BadRecord;
        let rtype = at.parse_u16_be().map_err(bad)?;
        at.advance(2).map_err(bad)?;
        let ttl = at.parse_u32_be().map_err(bad)?;
        let len = usize::from(at.parse_u16_be().map_err(bad)?);
        if len > at.remaining() {
            return Err(DnsError::BadRecord);
        }
        Ok(Self { rtype, ttl, len })
    }
}

fn answer(at: &mut Parser<'_, [u8]>, message: &mut DnsMessage) -> Result<(), DnsError> {
    let record = Record::parse(at)?;
    let end = at.pos() + record.len;
    // RFC 2181, 8: a TTL with the top bit set counts as zero.
    let ttl = if record.ttl > i32::MAX.unsigned_abs() {
        0
    } else {
        record.ttl
    };
    match (Rtype::from_int(record.rtype), record.len) {
        (Rtype::A, 4) => {
            let raw = at.parse_u32_be().map_err(|_| DnsError::BadRecord)?;
            message.ips.push(IpAddr::V4(Ipv4Addr::from(raw)));
        }
        (Rtype::AAAA, 16) => {
            let raw = at.parse_u128_be().map_err(|_| DnsError::BadRecord)?;
            message.ips.push(IpAddr::V6(Ipv6Addr::from(raw)));
        }
        (Rtype::CNAME, _) if message.cnames.len() < MAX_CNAMES => {
            let name = ParsedName::parse_ref(at).map_err(|_| DnsError::BadRecord)?;
            if at.pos() != end {
                return Err(DnsError::BadRecord);
            }
            message.cnames.push(name_text(&name));
        }
        (Rtype::A | Rtype::AAAA, _) => return Err(DnsError::BadRecord),
        _ => {}
    }
    at.seek(end).map_err(|_| DnsError::BadRecord)?;
    message.ttl = Some(message.ttl.map_or(ttl, |least| least.min(ttl)));
    message.rrtypes.push(rtype_text(record.rtype));
    Ok(())
}

/// A name as text without the trailing dot, "." for the root; what is not printable ASCII, and dots and backslashes
/// within a label, as `\DDD` (RFC 4343, 2.1).
fn name_text(name: &ParsedName<&[u8]>) -> Arc<str> {
    let plain = |b: &u8| b.is_ascii_graphic() && *b != b'.' && *b != b'\\';
    // Nearly all names are plain and fit: no allocation but the result's.
    let mut text = [0u8; 256];
    let mut len = 0usize;
    for label in name.iter() {
        let label = label.as_slice();
        let end = len + label.len() + 1;
        let room = text.get_mut(len..end).and_then(<[u8]>::split_last_mut);
        let Some((dot, room)) = room.filter(|_| label.iter().all(plain)) else {
            return escaped(name);
        };
        if !label.is_empty() {
            room.copy_from_slice(label);
            *dot = b'.';
            len = end;
        }
    }
    let text = text.get(..len.saturating_sub(1)).filter(|t| !t.is_empty());
    // Only ASCII was put there.
    Arc::from(text.and_then(|t| std::str::from_utf8(t).ok()).unwrap_or("."))
}

/// [`name_text`] of any name.
fn escaped(name: &ParsedName<&[u8]>) -> Arc<str> {
    let mut text = String::new();
    for label in name.iter().filter(|label| !label.is_root()) {
        if !text.is_empty() {
            text.push('.');
        }
        for &b in label.as_slice() {
            if b.is_ascii_graphic() && b != b'.' && b != b'\\' {
                text.push(char::from(b));
            } else {
                text.push('\\');
                for digit in [b / 100, b / 10 % 10, b % 10] {
                    text.push(char::from(b'0' + digit));
                }
            }
        }
    }
    Arc::from(text.as_str())
}

/// Names of the record types below 260, made once: every message names several.
static RTYPES: LazyLock<Vec<Arc<str>>> = LazyLock::new(|| (0..260).map(rtype_new).collect());

fn rtype_new(rtype: u16) -> Arc<str> {
    Arc::from(Rtype::from_int(rtype).to_string().as_str())
}

/// The mnemonic of a record type, `TYPE12345` (RFC 3597) when it has none.
#[must_use]
pub fn rtype_text(rtype: u16) -> Arc<str> {
    RTYPES
        .get(usize::from(rtype))
        .map_or_else(|| rtype_new(rtype), Arc::clone)
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
