//! Durations and byte sizes as people write them: "500ms", "2h", "64KiB".

use std::time::Duration;

/// Why a text is no duration or size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// It does not begin with a whole number.
    #[error("does not begin with a whole number")]
    Number,
    /// The number is followed by no unit, or by one that is not known.
    #[error("has no unit that is known here ({known})")]
    Unit {
        /// The units that are.
        known: &'static str,
    },
    /// The value does not fit into the type that holds it.
    #[error("is too large")]
    TooLarge,
}

/// "500ms", "1s", "5min" (or "5m"), "2h", "7d"; blanks before the unit are allowed.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split(text)?;
    let micros_per_unit: u64 = match unit {
        "us" | "µs" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" | "min" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return Err(UnitError::Unit { known: "us, ms, s, min, h, d" }),
    };
    number.checked_mul(micros_per_unit).map(Duration::from_micros).ok_or(UnitError::TooLarge)
}

/// "512B", "64KiB", "1MiB", "2GiB", "1TiB", and decimal "kB", "MB", "GB", "TB".
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = split(text)?;
    let bytes_per_unit: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return Err(UnitError::Unit { known: "B, KiB, MiB, GiB, TiB, kB, MB, GB, TB" }),
    };
    number.checked_mul(bytes_per_unit).ok_or(UnitError::TooLarge)
}

fn split(text: &str) -> Result<(u64, &str), UnitError> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(UnitError::Number);
    }
    Ok((number.parse().map_err(|_| UnitError::TooLarge)?, unit.trim_start()))
}

/// The duration in the largest unit that shows it exactly, as [`parse_duration`] reads it.
pub fn show_duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    let units = [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "min"), (1_000_000, "s"), (1_000, "ms")];
    let (size, unit) =
        units.into_iter().find(|(size, _)| micros >= *size && micros.is_multiple_of(*size)).unwrap_or((1, "us"));
    if micros == 0 { "0s".to_owned() } else { format!("{}{unit}", micros / size) }
}

/// The size in the largest binary unit that shows it exactly, as [`parse_bytes`] reads it.
pub fn show_bytes(bytes: u64) -> String {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let (size, unit) =
        units.into_iter().find(|(size, _)| bytes >= *size && bytes.is_multiple_of(*size)).unwrap_or((1, "B"));
    format!("{}{unit}", bytes / size)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{UnitError, parse_bytes, parse_duration, show_bytes, show_duration};

    #[test]
    fn durations_and_sizes_are_read_as_written() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("5 min"), Ok(Duration::from_secs(300)));
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(parse_bytes("64KiB"), Ok(65_536));
        assert_eq!(parse_bytes("1GB"), Ok(1_000_000_000));
    }

    #[test]
    fn what_is_no_duration_or_size_is_refused() {
        assert_eq!(parse_duration("soon"), Err(UnitError::Number));
        assert_eq!(parse_duration(""), Err(UnitError::Number));
        assert!(matches!(parse_duration("10"), Err(UnitError::Unit { .. })));
        assert!(matches!(parse_bytes("10 stones"), Err(UnitError::Unit { .. })));
        assert_eq!(parse_bytes("99999999999TiB"), Err(UnitError::TooLarge));
        assert_eq!(parse_bytes("99999999999999999999999999B"), Err(UnitError::TooLarge));
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for micros in [0, 1, 1_500, 2_000, 90_000_000, 3_600_000_000, 604_800_000_000] {
            let duration = Duration::from_micros(micros);
            assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }
        for bytes in [0, 1, 1_000, 1_024, 65_536, 1 << 30] {
            assert_eq!(parse_bytes(&show_bytes(bytes)), Ok(bytes));
        }
    }
}
