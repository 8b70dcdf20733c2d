//! How protojson writes what serde would write otherwise.

use jiff::Timestamp;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::NO_TIME;
use super::extensions::Extensions;

/// Whether a number is zero: protojson leaves it out.
pub(super) fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

/// Whether a number is not there, or zero.
pub(super) fn is_none_or_zero<T: Default + PartialEq>(number: &Option<T>) -> bool {
    number.as_ref().is_none_or(is_zero)
}

/// Whether a time is none.
pub(super) fn is_no_time(time: &Timestamp) -> bool {
    *time == NO_TIME
}

pub(super) fn number_as_string<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

/// A number of 64 bits.
pub(super) struct NumberAsString(pub(super) u64);

impl Serialize for NumberAsString {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        number_as_string(&self.0, serializer)
    }
}

/// protojson: RFC 3339 in UTC with 0, 3, 6 or 9 digits of a second.
pub(super) fn timestamp<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    let nanos = time.subsec_nanosecond();
    let digits = match nanos {
        0 => 0,
        n if n % 1_000_000 == 0 => 3,
        n if n % 1_000 == 0 => 6,
        _ => 9,
    };
    serializer.collect_str(&format_args!("{time:.digits$}"))
}

/// A time.
pub(super) struct Stamp(pub(super) Timestamp);

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        timestamp(&self.0, serializer)
    }
}

pub(super) fn maybe_timestamp<S: Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => timestamp(time, serializer),
        None => serializer.serialize_none(),
    }
}

/// protojson of `google.protobuf.Any` around a `google.protobuf.Struct`.
pub(super) struct AnyOfStruct<'a>(pub(super) &'a Extensions);

impl Serialize for AnyOfStruct<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("@type", "type.googleapis.com/google.protobuf.Struct")?;
        map.serialize_entry("value", self.0)?;
        map.end()
    }
}
