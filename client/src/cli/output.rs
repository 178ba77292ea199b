//! Writes results to stdout and complaints to stderr. Colour only where a terminal shows it.

use std::fmt::Display;
use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};
use lockgate_proto::position::Position;
use lockgate_proto::time::UnixMicros;
use lockgate_runtime::words::chain;
use serde::Serialize;

use super::CliError;

pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const BOLD: Style = Style::new().bold();
pub(super) const NAME: Style = AnsiColor::Cyan.on_default();
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const WARN: Style = AnsiColor::Yellow.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default();

/// Text in a style, which `anstream` leaves out where nobody would see it.
pub(super) fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Lines that are gathered and written in one piece.
#[derive(Default)]
pub(super) struct Lines(String);

impl Lines {
    /// One line of text.
    pub(super) fn text(&mut self, line: impl Display) {
        let line = line.to_string();
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }

    /// One line of JSON.
    pub(super) fn json(&mut self, line: &impl Serialize) -> Result<(), CliError> {
        let json = serde_json::to_string(line).map_err(|error| CliError::Write(error.into()))?;
        self.0.push_str(&json);
        self.0.push('\n');
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn into_plain(self) -> String {
        anstream::adapter::strip_str(&self.0).to_string()
    }

    /// Writes them to stderr: what is said beside the results.
    pub(super) fn write_aside(&mut self) {
        let mut stderr = anstream::stderr().lock();
        // Nobody is left to be told where even this can't be written.
        let _unwritten = stderr.write_all(self.0.as_bytes());
        self.0.clear();
    }

    /// Writes them out.
    pub(super) fn write(&mut self) -> Result<(), CliError> {
        let mut stdout = anstream::stdout().lock();
        stdout.write_all(self.0.as_bytes()).and_then(|()| stdout.flush()).map_err(CliError::Write)?;
        self.0.clear();
        Ok(())
    }
}

/// Says on stderr why a command failed.
pub(super) fn complain(error: &CliError) {
    let text = printable(&chain(error));
    let mut stderr = anstream::stderr().lock();
    // Nobody is left to be told where even this can't be written.
    let _unwritten: io::Result<()> = writeln!(stderr, "{} {text}", styled(BAD, "error:"));
}

/// Text from elsewhere, without what would move a terminal's cursor or turn its lines.
pub(super) fn printable(text: &str) -> String {
    let harmless = |character: char| match character {
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        character if character.is_control() => '\u{fffd}',
        character => character,
    };
    text.chars().map(harmless).collect()
}

/// RFC 3339 in UTC with microseconds; `None` for what no calendar shows.
pub(super) fn rfc3339(time: UnixMicros) -> Option<String> {
    let timestamp = jiff::Timestamp::from_microsecond(time.0).ok()?;
    Some(timestamp.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string())
}

/// A position as text.
pub(super) fn position(position: Position) -> String {
    position.to_string()
}

/// A number with a narrow gap between its thousands.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_microseconds_and_thousands_have_gaps() {
        assert_eq!(rfc3339(UnixMicros(1_764_036_000_123_000)).as_deref(), Some("2025-11-25T02:00:00.123000Z"));
        assert_eq!(rfc3339(UnixMicros(i64::MAX)), None);
        assert_eq!((count(0), count(999), count(1_234_567)), ("0".into(), "999".into(), "1 234 567".into()));
    }

    #[test]
    fn what_a_device_says_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[31m\nb\u{202e}"), "a\u{fffd}[31m\u{fffd}b\u{fffd}");
    }
}
