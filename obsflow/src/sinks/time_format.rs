//! Formats of times, named as `hubble observe --time-format` names them. All are in UTC, as there.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::model::flow::NO_TIME;

/// A format of a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeFormat {
    /// `2006-01-02`
    YearMonthDay,
    /// `2006-01-02T15Z`
    YearMonthDayHour,
    /// `2006-01-02T15:04Z`
    YearMonthDayHourMinute,
    /// `Jan  2 15:04:05.000`
    #[default]
    StampMilli,
    /// `2006-01-02T15:04:05Z`
    Rfc3339,
    /// `2006-01-02T15:04:05.678Z`, zeros at the end left out
    Rfc3339Milli,
    /// The same with up to six digits
    Rfc3339Micro,
    /// The same with up to nine digits
    Rfc3339Nano,
    /// `Mon, 02 Jan 2006 15:04:05 +0000`
    Rfc1123Z,
}

const NAMES: [(&str, TimeFormat); 9] = [
    ("YearMonthDay", TimeFormat::YearMonthDay),
    ("YearMonthDayHour", TimeFormat::YearMonthDayHour),
    ("YearMonthDayHourMinute", TimeFormat::YearMonthDayHourMinute),
    ("StampMilli", TimeFormat::StampMilli),
    ("RFC3339", TimeFormat::Rfc3339),
    ("RFC3339Milli", TimeFormat::Rfc3339Milli),
    ("RFC3339Micro", TimeFormat::Rfc3339Micro),
    ("RFC3339Nano", TimeFormat::Rfc3339Nano),
    ("RFC1123Z", TimeFormat::Rfc1123Z),
];

/// Writes times in one format, and remembers the last second: flows come in order, many a second.
#[derive(Clone, Debug, Default)]
pub(super) struct Stamps {
    format: TimeFormat,
    second: Option<i64>,
    until_second: String,
}

impl Stamps {
    pub(super) fn new(format: TimeFormat) -> Self {
        Self {
            format,
            ..Self::default()
        }
    }

    /// Appends a time.
    pub(super) fn push(&mut self, line: &mut String, time: Timestamp) {
        if time == NO_TIME {
            return line.push_str("N/A");
        }
        // Before the epoch, seconds and fractions are negative: no need to be quick there.
        let (second, nanos) = (time.as_second(), time.subsec_nanosecond());
        if self.format != TimeFormat::StampMilli || second < 0 || nanos < 0 {
            return self.format.push(line, time);
        }
        if self.second != Some(second) {
            self.until_second.clear();
            self.format.push(&mut self.until_second, time);
            self.until_second
                .truncate(self.until_second.len().saturating_sub(3));
            self.second = Some(second);
        }
        line.push_str(&self.until_second);
        let _ = write!(line, "{:03}", nanos / 1_000_000);
    }
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

impl TimeFormat {
    /// By name, whatever its case.
    ///
    /// # Errors
    /// An unknown name; the message lists those there are.
    pub fn from_name(name: &str) -> Result<Self, String> {
        let known = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map(|(_, format)| *format).ok_or_else(|| {
            let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
            format!("one of {}", names.join(", "))
        })
    }

    /// Appends a time.
    pub(super) fn push(self, line: &mut String, time: Timestamp) {
        // Writing to a String cannot fail.
        let _ = self.write(line, time);
    }

    fn write(self, line: &mut String, time: Timestamp) -> fmt::Result {
        let t = TimeZone::UTC.to_datetime(time);
        let month = MONTHS
            .get(usize::try_from(t.month() - 1).unwrap_or(0))
            .copied()
            .unwrap_or_default();
        if self == Self::StampMilli {
            let millis = t.subsec_nanosecond() / 1_000_000;
            return write!(
                line,
                "{month} {:>2} {:02}:{:02}:{:02}.{millis:03}",
                t.day(),
                t.hour(),
                t.minute(),
                t.second()
            );
        }
        if self == Self::Rfc1123Z {
            let weekday = usize::try_from(t.weekday().to_sunday_zero_offset()).unwrap_or(0);
            return write!(
                line,
                "{}, {:02} {month} {:04} {:02}:{:02}:{:02} +0000",
                WEEKDAYS.get(weekday).copied().unwrap_or_default(),
                t.day(),
                t.year(),
                t.hour(),
                t.minute(),
                t.second()
            );
        }
        write!(line, "{:04}-{:02}-{:02}", t.year(), t.month(), t.day())?;
        let digits = match self {
            Self::YearMonthDay => return Ok(()),
            Self::YearMonthDayHour => return write!(line, "T{:02}Z", t.hour()),
            Self::YearMonthDayHourMinute => return write!(line, "T{:02}:{:02}Z", t.hour(), t.minute()),
            Self::Rfc3339Milli => 3,
            Self::Rfc3339Micro => 6,
            Self::Rfc3339Nano => 9,
            _ => 0,
        };
        write!(line, "T{:02}:{:02}:{:02}", t.hour(), t.minute(), t.second())?;
        let fraction = format!("{:09}", t.subsec_nanosecond());
        let fraction = fraction.get(..digits).unwrap_or_default().trim_end_matches('0');
        if !fraction.is_empty() {
            write!(line, ".{fraction}")?;
        }
        line.push('Z');
        Ok(())
    }
}
