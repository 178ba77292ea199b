//! Errors, spans of time and numbers as people are told of them: in messages and in logs.

use std::error::Error;
use std::time::Duration;

/// The words of an error and of all its causes. An error that says its cause itself says it once.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

/// A span of time in the unit that suits it: "12.3ms", "1.5s", "90s".
pub fn span(span: Duration) -> String {
    let (number, unit) = match span {
        short if short < Duration::from_millis(1) => return format!("{}µs", short.as_micros()),
        short if short < Duration::from_secs(1) => (short.as_secs_f64() * 1_000.0, "ms"),
        long => (long.as_secs_f64(), "s"),
    };
    let rounded = format!("{number:.1}");
    format!("{}{unit}", rounded.trim_end_matches(".0"))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the key: {source}")]
    struct SaysItsCause {
        source: io::Error,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot start")]
    struct LeavesItsCause(#[source] SaysItsCause);

    #[test]
    fn every_cause_is_told_once() {
        let error = LeavesItsCause(SaysItsCause { source: io::Error::other("no such file") });
        assert_eq!(chain(&error), "cannot start: cannot read the key: no such file");
    }

    #[test]
    fn spans_of_time_are_written_as_people_write_them() {
        let told = [12, 12_345, 1_500_000, 90_000_000, 8_000_000].map(|micros| span(Duration::from_micros(micros)));
        assert_eq!(told, ["12µs", "12.3ms", "1.5s", "90s", "8s"]);
    }
}
