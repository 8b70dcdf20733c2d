//! Durations and moments as Go programs write them, which is what people know from `hubble` and `kubectl`.

use std::str::FromStr as _;
use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// Units of a duration, longest spelling first.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

/// A duration: decimal numbers with units, such as `300ms`, `1.5h` or `1h43m`; `0` needs none.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    if text.is_empty() {
        return None;
    }
    let (mut rest, mut total_ns) = (text, 0.0_f64);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest.get(..end)?.parse().ok()?;
        rest = rest.get(end..)?;
        let unit_end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let (unit, after) = rest.split_at_checked(unit_end)?;
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total_ns += number * scale;
        rest = after;
    }
    // Go's durations are 63 bits of nanoseconds: 292 years.
    (total_ns <= 9.2e18).then(|| Duration::from_secs_f64(total_ns / 1e9))
}

/// A moment: a duration before `now`, a time as lines have it (UTC), a day (UTC), an hour or minute with its zone (`2026-01-02T15Z`), RFC 3339, or
/// RFC 1123 with a numeric zone.
#[must_use]
pub fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Some(ago) = duration(text) {
        return now.checked_sub(SignedDuration::try_from(ago).ok()?).ok();
    }
    if let Ok(time) = Timestamp::from_str(text) {
        return Some(time);
    }
    if let Some(time) = stamp(text, now) {
        return Some(time);
    }
    if let Ok(time) = jiff::fmt::rfc2822::parse(text) {
        return Some(time.timestamp());
    }
    let (civil, zone) = match text.len() {
        10 => (text, TimeZone::UTC),
        _ => split_zone(text)?,
    };
    let time = match civil.len() {
        10 => Date::strptime("%Y-%m-%d", civil)
            .ok()?
            .to_datetime(jiff::civil::Time::midnight()),
        13 => DateTime::strptime("%Y-%m-%dT%H:%M", format!("{civil}:00")).ok()?,
        16 => DateTime::strptime("%Y-%m-%dT%H:%M", civil).ok()?,
        _ => return None,
    };
    zone.to_timestamp(time).ok()
}

/// `Jan _2 15:04:05.000`, as lines have it: in UTC, and in the year that makes it no later than now.
fn stamp(text: &str, now: Timestamp) -> Option<Timestamp> {
    let this_year = TimeZone::UTC.to_datetime(now).year();
    [this_year, this_year - 1].into_iter().find_map(|year| {
        let time = DateTime::strptime("%Y %b %e %H:%M:%S%.f", format!("{year} {text}")).ok()?;
        let time = TimeZone::UTC.to_timestamp(time).ok()?;
        (time <= now).then_some(time)
    })
}

/// Takes `Z` or `+01:00` off the end.
fn split_zone(text: &str) -> Option<(&str, TimeZone)> {
    if let Some(civil) = text.strip_suffix('Z') {
        return Some((civil, TimeZone::UTC));
    }
    let (civil, zone) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let sign = match zone.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
    let offset = Offset::from_seconds(sign * seconds).ok()?;
    Some((civil, TimeZone::fixed(offset)))
}
