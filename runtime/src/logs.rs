//! Logs go to stderr, one line each: what a program writes to stdout is its result.

use std::fmt;
use std::io::IsTerminal as _;
use std::os::unix::fs::MetadataExt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Why logs can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The filter is none.
    #[error(
        "{filter:?} is no log filter; write a level (error, warn, info, debug, trace, off), or target=level, with commas between"
    )]
    Filter {
        /// What was given.
        filter: String,
    },
    /// Logs were set up before.
    #[error("logs are set up already")]
    Again,
}

/// Sends logs to stderr from now on. `filter`: a level, or `target=level` pairs, with commas between, such
/// as `info,lockgate_agent::uplink=debug`. Where stderr is systemd's journal, lines carry their level in
/// its own notation and no time: the journal has both in fields of its own. Colours are for terminals only,
/// and for none where `NO_COLOR` is set.
pub fn init(filter: &str) -> Result<(), LogsError> {
    let wrong = || LogsError::Filter { filter: filter.to_owned() };
    // A misspelt level would be read as the name of a target that nobody has, and silence all.
    if filter.split(',').any(|part| !part.contains('=') && part.trim().parse::<LevelFilter>().is_err()) {
        return Err(wrong());
    }
    let targets: Targets = filter.parse().map_err(|_| wrong())?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(wants_colours());
    let registry = tracing_subscriber::registry().with(targets);
    let set = if stderr_is_journal() {
        let inner = tracing_subscriber::fmt::format().without_time().with_level(false);
        registry.with(lines.event_format(ForJournal { inner })).try_init()
    } else {
        registry.with(lines).try_init()
    };
    set.map_err(|_| LogsError::Again)
}

/// A file or a pipe is read by programs, to which an escape is noise in the middle of a word.
fn wants_colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// systemd names the journal's socket as `device:inode`, so that one can see whether stderr still is it.
fn stderr_is_journal() -> bool {
    let stderr = std::fs::metadata("/proc/self/fd/2").map(|stderr| format!("{}:{}", stderr.dev(), stderr.ino()));
    matches!((std::env::var("JOURNAL_STREAM"), stderr), (Ok(journal), Ok(stderr)) if journal == stderr)
}

/// Puts the level in front as `<N>`, see sd-daemon(3).
struct ForJournal {
    inner: Format<Full, ()>,
}

impl<S, N> FormatEvent<S, N> for ForJournal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => "<3>",
            Level::WARN => "<4>",
            Level::INFO => "<6>",
            Level::DEBUG | Level::TRACE => "<7>",
        };
        writer.write_str(priority)?;
        self.inner.format_event(context, writer, event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_none_is_refused_with_an_example() {
        let error = init("loud").unwrap_err().to_string();
        assert!(error.contains("\"loud\"") && error.contains("target=level"), "{error}");
        assert!(init("info,lockgate_runtime=loud").is_err());
        assert!(init("info,lockgate_runtime=trace").is_ok());
        assert!(matches!(init("info"), Err(LogsError::Again)));
    }
}
