//! Times as devices write them, read to microseconds of UTC.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::{AmbiguousOffset, TimeZone};
use lockgate_proto::time::UnixMicros;

use crate::number::Decimal;

/// A time zone by its IANA name.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

/// The name is in no zone that we know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no time zone that is known; give an IANA name, such as \"Europe/Amsterdam\"")]
pub struct ZoneError;

impl Default for Zone {
    /// UTC.
    fn default() -> Zone {
        Zone(TimeZone::UTC)
    }
}

impl FromStr for Zone {
    type Err = ZoneError;

    fn from_str(name: &str) -> Result<Zone, ZoneError> {
        TimeZone::get(name).map(Zone).map_err(|_| ZoneError)
    }
}

/// How a time is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// ISO 8601; without an offset it is local time of the zone.
    Iso,
    /// Seconds since 1970, a fraction allowed.
    EpochSeconds,
    /// Milliseconds since 1970.
    EpochMillis,
    /// Microseconds since 1970.
    EpochMicros,
    /// `YYMMDDhhmmss` of the zone, then `S` (summer time) or `W` (winter time).
    SummerWinter,
    /// By the letters of `strftime`.
    Pattern(String),
}

impl Form {
    /// The time that a text tells. `None`: the text is not of this form.
    pub(crate) fn read(&self, text: &str, zone: &Zone) -> Option<UnixMicros> {
        let text = text.trim_ascii();
        match self {
            Form::Iso => iso(text, zone),
            Form::EpochSeconds => epoch(text, 6),
            Form::EpochMillis => epoch(text, 3),
            Form::EpochMicros => epoch(text, 0),
            Form::SummerWinter => summer_winter(text, zone),
            Form::Pattern(pattern) => by_pattern(text, pattern, zone),
        }
    }
}

fn micros(timestamp: Timestamp) -> UnixMicros {
    UnixMicros(timestamp.as_microsecond())
}

fn epoch(text: &str, power: i32) -> Option<UnixMicros> {
    let count = text.parse::<Decimal>().ok()?.floor_shifted(power)?;
    Timestamp::from_microsecond(count).ok().map(micros)
}

/// A local time that a change of the clocks makes double or leaves out is read as the earlier offset.
fn local(datetime: DateTime, zone: &Zone) -> Option<UnixMicros> {
    zone.0.to_ambiguous_timestamp(datetime).compatible().ok().map(micros)
}

fn iso(text: &str, zone: &Zone) -> Option<UnixMicros> {
    const PARSER: DateTimeParser = DateTimeParser::new();
    if let Ok(timestamp) = PARSER.parse_timestamp(text) {
        return Some(micros(timestamp));
    }
    // A date alone would be read as its midnight, which nobody measured.
    let has_clock = text.contains([':', 'T', 't']);
    if !has_clock {
        return None;
    }
    local(PARSER.parse_datetime(text).ok()?, zone)
}

fn by_pattern(text: &str, pattern: &str, zone: &Zone) -> Option<UnixMicros> {
    let parts = strtime::parse(pattern, text).ok()?;
    if let Ok(timestamp) = parts.to_timestamp() {
        return Some(micros(timestamp));
    }
    local(parts.to_datetime().ok()?, zone)
}

fn summer_winter(text: &str, zone: &Zone) -> Option<UnixMicros> {
    let (digits, summer) = match text.as_bytes() {
        [digits @ .., b'S'] => (digits, Some(true)),
        [digits @ .., b'W'] => (digits, Some(false)),
        digits => (digits, None),
    };
    if digits.len() != 12 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let pair = |at: usize| i8::try_from((digits[at] - b'0') * 10 + digits[at + 1] - b'0').ok();
    let year = 2000 + i16::from(pair(0)?);
    let datetime = DateTime::new(year, pair(2)?, pair(4)?, pair(6)?, pair(8)?, pair(10)?, 0).ok()?;
    match summer {
        Some(summer) => with_letter(datetime, summer, zone),
        None => local(datetime, zone),
    }
}

/// The letter says which of the zone's two offsets the clock ran on: also where the zone's rules say
/// otherwise, because the meter knows what it added.
fn with_letter(datetime: DateTime, summer: bool, zone: &Zone) -> Option<UnixMicros> {
    let ambiguous = zone.0.to_ambiguous_timestamp(datetime);
    let around = match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(datetime).ok()?,
        AmbiguousOffset::Gap { before, after } | AmbiguousOffset::Fold { before, after } => {
            // The clocks were turned here: summer time is the larger offset of the two.
            let offset = if summer { before.max(after) } else { before.min(after) };
            return offset.to_timestamp(datetime).ok().map(micros);
        }
    };
    if zone.0.to_offset_info(around).dst().is_dst() == summer {
        return Some(micros(around));
    }
    let other = zone.0.following(around).next().filter(|change| change.dst().is_dst() == summer);
    match other {
        Some(change) => change.offset().to_timestamp(datetime).ok().map(micros),
        // A zone without summer time: there is only one offset.
        None => Some(micros(around)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Form, Zone};

    fn check(form: &Form, text: &str, zone: &str, expected: Option<&str>) {
        let zone = zone.parse().unwrap();
        let expected = expected.map(|time| time.parse::<jiff::Timestamp>().unwrap().as_microsecond());
        assert_eq!(form.read(text, &zone).map(|time| time.0), expected, "{text}");
    }

    #[test]
    fn iso_times_with_and_without_an_offset_are_read() {
        check(&Form::Iso, "2025-05-20T07:01:12.345Z", "UTC", Some("2025-05-20T07:01:12.345Z"));
        check(&Form::Iso, "2025-05-20T09:02:00+02:00", "UTC", Some("2025-05-20T07:02:00Z"));
        check(&Form::Iso, "2025-02-11T06:20:01.123456789+00:00", "UTC", Some("2025-02-11T06:20:01.123456Z"));
        check(&Form::Iso, "2025-03-02T09:15:00", "Europe/Berlin", Some("2025-03-02T08:15:00Z"));
        check(&Form::Iso, "2025-07-15T18:40:10", "Europe/Berlin", Some("2025-07-15T16:40:10Z"));
        check(&Form::Iso, "2025-05-20", "UTC", None);
        check(&Form::Iso, "soon", "UTC", None);
    }

    #[test]
    fn epochs_keep_their_fraction() {
        check(&Form::EpochSeconds, "1732521123.41", "UTC", Some("2024-11-25T07:52:03.41Z"));
        check(&Form::EpochMillis, "1747724580123", "UTC", Some("2025-05-20T07:03:00.123Z"));
        check(&Form::EpochMicros, "1747724580123456", "UTC", Some("2025-05-20T07:03:00.123456Z"));
        check(&Form::EpochSeconds, "1e40", "UTC", None);
    }

    #[test]
    fn the_letter_tells_the_two_hours_apart_that_have_the_same_name() {
        let form = Form::SummerWinter;
        check(&form, "250629143012S", "Europe/Amsterdam", Some("2025-06-29T12:30:12Z"));
        check(&form, "251026023000S", "Europe/Amsterdam", Some("2025-10-26T00:30:00Z"));
        check(&form, "251026023000W", "Europe/Amsterdam", Some("2025-10-26T01:30:00Z"));
        check(&form, "250629143012W", "Europe/Amsterdam", Some("2025-06-29T13:30:12Z"));
        check(&form, "250115120000", "Europe/Amsterdam", Some("2025-01-15T11:00:00Z"));
        check(&form, "251326023000W", "Europe/Amsterdam", None);
        check(&form, "2510260230W", "Europe/Amsterdam", None);
    }

    #[test]
    fn a_pattern_joins_what_stands_in_several_fields() {
        let form = Form::Pattern("%d%m%y %H%M%S%.f".to_owned());
        check(&form, "140625 083559.00", "UTC", Some("2025-06-14T08:35:59Z"));
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text: String, digits in "[0-9]{12}[SW]?") {
            let zone: Zone = "Europe/Amsterdam".parse().unwrap();
            let pattern = Form::Pattern("%Y-%m-%d %H:%M".to_owned());
            for form in
                [Form::Iso, Form::EpochSeconds, Form::EpochMillis, Form::EpochMicros, Form::SummerWinter, pattern]
            {
                form.read(&text, &zone);
                form.read(&digits, &zone);
            }
        }
    }
}
