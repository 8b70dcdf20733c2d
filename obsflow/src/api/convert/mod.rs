//! The model to messages and back. Nothing gets lost on the way but the clock: messages have wall-clock time.
//!
//! What comes back counts its time from the Unix epoch instead of from the boot of a machine: see [`WALL`].

mod endpoint;
mod probe;
mod report;
mod status;

#[cfg(test)]
pub(in crate::api) mod tests;

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use crate::model::{Clock, Mono};

pub use probe::{Event, event_from, event_to};
pub use report::{report_from, report_to};
pub use status::{status_from, status_to};

/// The clock of what was read from messages, in which [`Mono`] counts from the Unix epoch.
pub const WALL: Clock = Clock { offset_ns: 0 };

/// Kinds of evidence that a process can learn from messages; there are a dozen.
const MAX_KINDS: usize = 64;

/// A message that this obsflow does not understand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// A name that is not among those known.
    #[error("{field} {value:?} is not known here")]
    Unknown {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: String,
    },
    /// Something that is always there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
}

impl ConvertError {
    fn unknown(field: &'static str, value: impl Into<String>) -> Self {
        Self::Unknown {
            field,
            value: value.into(),
        }
    }
}

/// The one of `all` with this name.
fn by_name<T: Copy>(
    field: &'static str,
    value: &str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<T, ConvertError> {
    all.iter()
        .copied()
        .find(|one| name(*one) == value)
        .ok_or_else(|| ConvertError::unknown(field, value))
}

pub(crate) fn stamp(time: Timestamp) -> prost_types::Timestamp {
    let nanos = time.subsec_nanosecond();
    // Protobuf counts nanoseconds forward from a second, also before the epoch.
    let (seconds, nanos) = if nanos < 0 {
        (time.as_second() - 1, nanos + 1_000_000_000)
    } else {
        (time.as_second(), nanos)
    };
    prost_types::Timestamp { seconds, nanos }
}

/// The moment of a message, if it is one.
pub(in crate::api) fn moment(stamp: prost_types::Timestamp) -> Option<Timestamp> {
    if !(0..1_000_000_000).contains(&stamp.nanos) {
        return None;
    }
    Timestamp::new(stamp.seconds, stamp.nanos).ok()
}

fn time(field: &'static str, stamp: Option<prost_types::Timestamp>) -> Result<Timestamp, ConvertError> {
    let stamp = stamp.ok_or(ConvertError::Missing(field))?;
    let value = || format!("{}s {}ns", stamp.seconds, stamp.nanos);
    Timestamp::new(stamp.seconds, stamp.nanos).map_err(|_| ConvertError::unknown(field, value()))
}

fn mono(field: &'static str, stamp: Option<prost_types::Timestamp>) -> Result<Mono, ConvertError> {
    time(field, stamp).map(|time| WALL.mono(time))
}

/// A kind of evidence, which the model has as a name that lives for ever. Each is remembered once, and only so many.
fn kind(value: &str) -> Result<&'static str, ConvertError> {
    static KNOWN: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(kind) = known.iter().find(|kind| **kind == value) {
        return Ok(kind);
    }
    if known.len() >= MAX_KINDS || value.len() > 64 {
        return Err(ConvertError::unknown("evidence", value));
    }
    let kind: &'static str = Box::leak(value.to_owned().into_boxed_str());
    known.push(kind);
    Ok(kind)
}
