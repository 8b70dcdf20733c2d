//! HPACK (RFC 7541) as an observer needs it.
//!
//! An endpoint's decoder ends a connection when it does not understand a block; an observer misses beginnings and
//! middles, and must neither guess nor stop. Here a reference to what was missed is an unreadable field, and nothing
//! else: indices count from the newest entry, so whatever is inserted after a loss is known again. Values are kept of
//! the few fields that tell an export's fate; those of any other, credentials among them, are not even decoded.
//!
//! An encoder never refers to an entry that it evicted, so that eviction needs no accounts here: the newest
//! [`MAX_ENTRIES`] are kept, more than a table of the default size (4096 bytes) can have.

use std::collections::VecDeque;
use std::sync::Arc;

use httlib_huffman::DecoderSpeed;

use super::text::{self, Media};

/// Entries of one table; the smallest takes 33 bytes of 4096 (RFC 7541, 4.1).
const MAX_ENTRIES: usize = 128;
/// Bytes of values that one table keeps; the oldest are forgotten for it.
const MAX_VALUES: usize = 2048;
/// Longest value that is decoded, as encoded: a frame's capture is hardly longer.
const MAX_STRING: usize = 1024;
/// Entries of the static table (RFC 7541, appendix A).
const STATIC: usize = 61;

/// Fields that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Method,
    Path,
    Authority,
    UserAgent,
    ContentType,
    ContentLength,
    /// `content-encoding` or `grpc-encoding`.
    Encoding,
    Status,
    GrpcStatus,
    RetryAfter,
    /// Any other field.
    Other,
    /// Refers to an entry that was missed.
    Unknown,
}

/// One field of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Method(Arc<str>),
    Path(Arc<str>),
    Authority(Arc<str>),
    UserAgent(Arc<str>),
    /// `content-type`.
    Media(Media),
    /// Whether it is `content-encoding` or `grpc-encoding` of something else than `identity`.
    Packed(bool),
    ContentLength(u64),
    Status(u16),
    GrpcStatus(u32),
    RetryAfter,
    Other,
    /// The value was missed, is not kept, or makes no sense.
    Unreadable(Name),
}

impl Field {
    fn of(name: Name, value: &[u8]) -> Self {
        let read = match name {
            Name::Method => text::method(value).map(Self::Method),
            Name::Path => text::path(value).map(Self::Path),
            Name::Authority => text::authority(value).map(Self::Authority),
            Name::UserAgent => text::user_agent(value).map(Self::UserAgent),
            Name::ContentType => Some(Self::Media(Media::of(value))),
            Name::Encoding => Some(Self::Packed(text::is_packed(value))),
            Name::ContentLength => text::number(value).map(Self::ContentLength),
            Name::Status => text::number(value).map(Self::Status),
            Name::GrpcStatus => text::number(value).map(Self::GrpcStatus),
            Name::RetryAfter => Some(Self::RetryAfter),
            Name::Other => Some(Self::Other),
            Name::Unknown => None,
        };
        read.unwrap_or(Self::Unreadable(name))
    }

    fn name(&self) -> Name {
        match self {
            Self::Method(_) => Name::Method,
            Self::Path(_) => Name::Path,
            Self::Authority(_) => Name::Authority,
            Self::UserAgent(_) => Name::UserAgent,
            Self::Media(_) => Name::ContentType,
            Self::Packed(_) => Name::Encoding,
            Self::ContentLength(_) => Name::ContentLength,
            Self::Status(_) => Name::Status,
            Self::GrpcStatus(_) => Name::GrpcStatus,
            Self::RetryAfter => Name::RetryAfter,
            Self::Other => Name::Other,
            Self::Unreadable(name) => *name,
        }
    }

    /// Bytes of text it keeps.
    fn kept(&self) -> usize {
        match self {
            Self::Method(text) | Self::Path(text) | Self::Authority(text) | Self::UserAgent(text) => {
                text.len()
            }
            _ => 0,
        }
    }

    /// Of the static table.
    fn of_index(index: usize) -> Self {
        match index {
            2 => Self::of(Name::Method, b"GET"),
            3 => Self::of(Name::Method, b"POST"),
            4 => Self::of(Name::Path, b"/"),
            5 => Self::of(Name::Path, b"/index.html"),
            8 => Self::Status(200),
            9 => Self::Status(204),
            10 => Self::Status(206),
            11 => Self::Status(304),
            12 => Self::Status(400),
            13 => Self::Status(404),
            14 => Self::Status(500),
            // The rest has a name and no value; as a field of its own it says nothing.
            _ => Self::Unreadable(name_of_index(index)),
        }
    }
}

fn name_of_index(index: usize) -> Name {
    match index {
        1 => Name::Authority,
        2 | 3 => Name::Method,
        4 | 5 => Name::Path,
        8..=14 => Name::Status,
        26 => Name::Encoding,
        28 => Name::ContentLength,
        31 => Name::ContentType,
        53 => Name::RetryAfter,
        58 => Name::UserAgent,
        _ => Name::Other,
    }
}

fn name_of(text: &[u8]) -> Name {
    match text {
        b":method" => Name::Method,
        b":path" => Name::Path,
        b":authority" => Name::Authority,
        b":status" => Name::Status,
        b"user-agent" => Name::UserAgent,
        b"content-type" => Name::ContentType,
        b"content-length" => Name::ContentLength,
        b"content-encoding" | b"grpc-encoding" => Name::Encoding,
        b"grpc-status" => Name::GrpcStatus,
        b"retry-after" => Name::RetryAfter,
        _ => Name::Other,
    }
}

/// The dynamic table of one direction.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Newest first.
    entries: VecDeque<Field>,
    /// Bytes of text in `entries`.
    kept: usize,
}

/// A block ends where it must not, or is none.
struct Broken;

impl Table {
    /// Blocks were missed: what is in the table now, and where, is not known.
    pub(super) fn lose(&mut self) {
        self.entries = VecDeque::new();
        self.kept = 0;
    }

    /// Decodes a header block, of which `whole` says whether all of it was captured. False when it could not be read
    /// to its end; the table then starts afresh.
    pub(super) fn decode(&mut self, block: &[u8], whole: bool, mut each: impl FnMut(Field)) -> bool {
        let mut rest = block;
        while !rest.is_empty() {
            match self.field(&mut rest) {
                Ok(Some(field)) => each(field),
                Ok(None) => {}
                Err(Broken) => {
                    self.lose();
                    return false;
                }
            }
        }
        if !whole {
            self.lose();
        }
        whole
    }

    /// The next field; `None` for an instruction to the table.
    fn field(&mut self, rest: &mut &[u8]) -> Result<Option<Field>, Broken> {
        let first = *rest.first().ok_or(Broken)?;
        if first & 0x80 != 0 {
            let index = integer(rest, 7)?;
            return match index {
                0 => Err(Broken),
                1..=STATIC => Ok(Some(Field::of_index(index))),
                _ => Ok(Some(
                    self.entries
                        .get(index - STATIC - 1)
                        .cloned()
                        .unwrap_or(Field::Unreadable(Name::Unknown)),
                )),
            };
        }
        if first & 0xe0 == 0x20 {
            // Evicts, at most.
            integer(rest, 5)?;
            return Ok(None);
        }
        let indexed = first & 0x40 != 0;
        let index = integer(rest, if indexed { 6 } else { 4 })?;
        let name = match index {
            0 => name_of(&string(rest, true)?),
            1..=STATIC => name_of_index(index),
            _ => self
                .entries
                .get(index - STATIC - 1)
                .map_or(Name::Unknown, Field::name),
        };
        let wanted = !matches!(name, Name::Other | Name::Unknown | Name::RetryAfter);
        let field = Field::of(name, &string(rest, wanted)?);
        if indexed {
            self.insert(field.clone());
        }
        Ok(Some(field))
    }

    fn insert(&mut self, field: Field) {
        if self.entries.len() >= MAX_ENTRIES
            && let Some(gone) = self.entries.pop_back()
        {
            self.kept -= gone.kept();
        }
        self.kept += field.kept();
        self.entries.push_front(field);
        if self.kept <= MAX_VALUES {
            return;
        }
        for old in self.entries.iter_mut().rev() {
            if self.kept <= MAX_VALUES {
                break;
            }
            if old.kept() > 0 {
                self.kept -= old.kept();
                *old = Field::Unreadable(old.name());
            }
        }
    }
}

/// An integer with a prefix of `bits` (RFC 7541, 5.1).
fn integer(rest: &mut &[u8], bits: u32) -> Result<usize, Broken> {
    let (first, mut tail) = rest.split_first().ok_or(Broken)?;
    let mask = (1usize << bits) - 1;
    let mut value = usize::from(*first) & mask;
    if value == mask {
        // Four more bytes hold 28 bits: more than any index or length of use.
        let mut done = false;
        for shift in [0, 7, 14, 21] {
            let (byte, after) = tail.split_first().ok_or(Broken)?;
            tail = after;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                done = true;
                break;
            }
        }
        if !done {
            return Err(Broken);
        }
    }
    *rest = tail;
    Ok(value)
}

/// A string (RFC 7541, 5.2); empty when its content is not `wanted`, cannot be decoded, or is long.
fn string(rest: &mut &[u8], wanted: bool) -> Result<Vec<u8>, Broken> {
    let coded = rest.first().ok_or(Broken)? & 0x80 != 0;
    let len = integer(rest, 7)?;
    let (raw, tail) = rest.split_at_checked(len).ok_or(Broken)?;
    *rest = tail;
    if !wanted || raw.len() > MAX_STRING {
        return Ok(Vec::new());
    }
    if !coded {
        return Ok(raw.to_vec());
    }
    let mut decoded = Vec::with_capacity(raw.len() * 8 / 5 + 1);
    match httlib_huffman::decode(raw, &mut decoded, DecoderSpeed::FiveBits) {
        Ok(()) => Ok(decoded),
        // The table is right all the same: lengths do not depend on the content.
        Err(_) => Ok(Vec::new()),
    }
}

#[cfg(test)]
#[path = "hpack_tests.rs"]
mod tests;
