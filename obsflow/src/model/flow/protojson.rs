//! How protojson writes what serde would write otherwise.

use jiff::Timestamp;
use serde::Serializer;
use serde::ser::SerializeMap as _;

use super::extensions::Extensions;

/// Whether a number is zero: protojson leaves it out.
pub(super) fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

pub(super) fn no_error(rcode: &Option<u16>) -> bool {
    rcode.is_none_or(|rcode| rcode == 0)
}

pub(super) fn number_as_string<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
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
pub(super) fn any_of_struct<S: Serializer>(value: &Extensions, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(2))?;
    map.serialize_entry("@type", "type.googleapis.com/google.protobuf.Struct")?;
    map.serialize_entry("value", value)?;
    map.end()
}
