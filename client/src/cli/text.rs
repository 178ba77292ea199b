//! Lines for people: aligned, in local time, with what is doubtful marked.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use lockgate_client::{CommandStatus, DeviceShadow, DeviceSummary, Event, NotRecovered, OrderStatus};
use lockgate_proto::attendance::Present;
use lockgate_proto::command::{CommandUpdate, Fields, Outcome};
use lockgate_proto::entry::{AgentGap, Entry, EntryBody, EntryHeader};
use lockgate_proto::reading::{Quality, Reading, Value};
use lockgate_proto::time::UnixMicros;

use super::output::{BAD, BOLD, DIM, GOOD, Lines, NAME, WARN, count, printable, styled};

/// LIMIT: no column gets wider; what is longer pushes its own line aside only.
const NAME_COLUMN_CHARS_MAX: usize = 28;
const VALUE_COLUMN_CHARS_MAX: usize = 14;

/// LIMIT: a value that is longer is cut, as one line must stay one line.
const VALUE_CHARS_MAX: usize = 120;

/// Draws lines one after the other; columns grow with what was seen.
pub(super) struct Painter {
    zone: TimeZone,
    device_chars: usize,
    metric_chars: usize,
    value_chars: usize,
}

impl Painter {
    /// Times are shown in this zone; where the site has none, in that of the system.
    pub(super) fn new(zone: Option<&str>) -> Painter {
        let zone = zone.and_then(|name| TimeZone::get(name).ok()).unwrap_or_else(TimeZone::system);
        Painter { zone, device_chars: 8, metric_chars: 12, value_chars: 10 }
    }

    /// What happened.
    pub(super) fn event(&mut self, lines: &mut Lines, event: &Event) {
        match event {
            Event::Entry(entry) => self.entry(lines, entry),
            Event::Snapshot(snapshot) => {
                for device in &snapshot.devices {
                    self.shadow(lines, device);
                }
            }
            Event::Conflated { latest, .. } => {
                for device in latest {
                    for metric in &device.metrics {
                        self.reading(lines, Some(device.device.as_str()), &metric.reading, Vec::new());
                    }
                }
            }
            Event::NotRecovered { reason, position } => {
                let why = match reason {
                    NotRecovered::Trimmed => "the log no longer reaches back so far",
                    NotRecovered::Diverged => "the log went back to an older state and grew anew",
                    NotRecovered::Unknown => "for a reason that this version does not know",
                };
                lines.text(note(BAD, &format!("entries are missing here: {why}; going on after {position}")));
            }
            Event::Lagged { after, through } => {
                let fetch = format!("`--since {after}` gives them");
                let missing = through.offset.0.saturating_sub(after.offset.0);
                lines.text(note(WARN, &format!("too slow: {} entries were left out; {fetch}", count(missing))));
            }
            Event::Fetching { after, through } => {
                let left_out = count(through.offset.0.saturating_sub(after.offset.0));
                let what = format!("too slow: {left_out} entries were left out; fetching them, they come next");
                lines.text(note(WARN, &what));
            }
            Event::Degraded { reason } => {
                lines.text(note(WARN, &format!("the gateway can't reach its store ({reason}); nothing is lost")));
            }
            Event::Restored => lines.text(note(GOOD, "the gateway reaches its store again")),
            Event::Disconnected { error, retry_in } => {
                lines.text(note(WARN, &format!("{error}; trying again in {:.1} s", retry_in.as_secs_f64())));
            }
            Event::Reconnected { position } => lines.text(note(GOOD, &format!("connected again, after {position}"))),
            Event::CaughtUp { .. } => {}
        }
    }

    fn entry(&mut self, lines: &mut Lines, entry: &Entry) {
        match &entry.body {
            EntryBody::Telemetry(telemetry) => {
                for reading in &telemetry.readings {
                    let mut marks = marks(&entry.header);
                    if telemetry.historical {
                        marks.push(styled(DIM, "historical"));
                    }
                    self.reading(lines, Some(telemetry.device.as_str()), reading, marks);
                }
            }
            EntryBody::Presence(presence) => {
                let mut marks = marks(&entry.header);
                if presence.retained {
                    marks.push(styled(WARN, "retained"));
                }
                marks.extend(presence.reason.as_str().map(|reason| styled(DIM, reason)));
                let word = if presence.online { styled(GOOD, "online") } else { styled(BAD, "offline") };
                let (time, device) = (self.time(presence.at), self.device(presence.device.as_str()));
                lines.text(format!("{time}  {device}  {word}  {}", marks.join("  ")));
            }
            EntryBody::Gap(gap) => lines.text(format!("{}  {}", self.time(entry.header.received_at), self.gap(gap))),
            EntryBody::GapWithdrawn(gap) => {
                let came = format!("{} after all, from {}: {}", styled(GOOD, "arrived"), gap.agent, numbers(gap));
                lines.text(format!("{}  {came}", self.time(entry.header.received_at)));
            }
            EntryBody::Attendance(turn) => {
                let word = if turn.here { styled(GOOD, "here") } else { styled(DIM, "gone") };
                let who = printable(&turn.who.attendee.to_string());
                lines.text(format!("{}  {}  {word}", self.time(entry.header.received_at), styled(NAME, who)));
            }
            EntryBody::Alarm(alarm) => {
                let about = alarm.agent.as_ref().map_or_else(String::new, |agent| format!(" of {agent}"));
                let what = format!("{}{about}: {}", styled(BAD, "alarm"), printable(&alarm.text));
                lines.text(format!("{}  {what}", self.time(entry.header.received_at)));
            }
            EntryBody::Command(update) => self.command(lines, update, Vec::new()),
            EntryBody::Description(description) => {
                let (time, device) = (self.time(entry.header.received_at), self.device(description.device.as_str()));
                let names: Vec<&str> = description.commands.iter().map(|command| command.name.as_str()).collect();
                let takes = if names.is_empty() { "no commands".to_owned() } else { printable(&names.join(", ")) };
                let measures = styled(DIM, format!("measures {}", description.metrics.len()));
                lines.text(format!("{time}  {device}  {}  takes {takes}  {measures}", styled(NAME, "described")));
            }
            EntryBody::Unknown => {
                let what = note(DIM, "an entry of a kind that this version does not know");
                lines.text(format!("{}  {what}", self.time(entry.header.received_at)));
            }
        }
    }

    /// Where something stands that was ordered.
    pub(super) fn order(&mut self, lines: &mut Lines, status: &OrderStatus) {
        match status {
            OrderStatus::Command(status) => self.command_status(lines, status),
            OrderStatus::Group(group) => {
                let counts: Vec<String> =
                    group.counts.iter().map(|(word, commands)| format!("{commands} {}", state_word(word))).collect();
                let id = styled(NAME, printable(group.id.as_str()));
                lines.text(format!("group {id}  {} of {} over:  {}", group.over, group.members, counts.join(", ")));
            }
        }
    }

    /// Where a command stands, and what was ordered.
    pub(super) fn command_status(&mut self, lines: &mut Lines, status: &CommandStatus) {
        let mut words = Vec::new();
        if let Some((command, _)) = &status.ordered {
            words.extend((!command.arguments.is_empty()).then(|| fields(&command.arguments)));
            words.push(styled(DIM, format!("from {}", printable(command.sender.as_str()))));
        }
        words.extend(status.cancel_asked.then(|| styled(WARN, "to be taken back")));
        self.command(lines, &status.now, words);
    }

    fn command(&mut self, lines: &mut Lines, update: &CommandUpdate, mut words: Vec<String>) {
        let state = &update.standing.state;
        if let Some(progress) = &update.progress {
            words.extend(progress.percent.map(|percent| format!("{percent} %")));
            words.extend((!progress.text.is_empty()).then(|| printable(&progress.text)));
        }
        match state.outcome() {
            Some(Outcome::Succeeded(result)) if !result.is_empty() => words.push(fields(result)),
            Some(Outcome::Failed(failure)) => {
                words.push(styled(BAD, format!("{}: {}", failure.kind.as_str(), printable(&failure.reason))));
            }
            Some(_) | None => {}
        }
        let (time, device) = (self.time(update.at), self.device(update.device.as_str()));
        let (name, state) = (styled(BOLD, printable(update.name.as_str())), state_word(state.as_str()));
        let by = styled(DIM, format!("{} by {}", printable(update.id.as_str()), update.standing.witness.as_str()));
        words.push(by);
        lines.text(format!("{time}  {device}  {name}  {state}  {}", words.join("  ")));
    }

    /// What is lost, of which agent, for which reason, and when it was taken.
    pub(super) fn gap(&self, gap: &AgentGap) -> String {
        let mut text = format!("{} of {}: {}, {}", styled(BAD, "lost"), gap.agent, gap.gap.reason, numbers(gap));
        let span = gap.gap.span;
        if span.from.is_some() || span.to.is_some() {
            let end = |time: Option<UnixMicros>| time.map_or_else(|| "?".to_owned(), |time| self.plain_time(time));
            // Writing into a String can't fail.
            let _infallible = write!(text, ", {}", styled(DIM, format!("{} to {}", end(span.from), end(span.to))));
        }
        text
    }

    fn reading(&mut self, lines: &mut Lines, device: Option<&str>, reading: &Reading, mut marks: Vec<String>) {
        match &reading.quality {
            Quality::Good => {}
            Quality::Uncertain(reason) => marks.push(styled(WARN, format!("uncertain: {}", printable(reason)))),
            Quality::Bad(reason) => marks.push(styled(BAD, format!("bad: {}", printable(reason)))),
        }
        let time = self.time(reading.sampled_at);
        // Beneath a shadow's head the device need not be named again.
        let device = device.map_or_else(String::new, |device| format!("  {}", self.device(device)));
        let metric = pad(&mut self.metric_chars, reading.metric.as_str());
        let value = value(&reading.value);
        let width = grown(&mut self.value_chars, &value, VALUE_COLUMN_CHARS_MAX);
        let value = styled(BOLD, format!("{value:>width$}"));
        let unit = printable(reading.unit.as_deref().unwrap_or_default());
        lines.text(format!("{time}{device}  {metric}  {value} {unit:<6}  {}", marks.join("  ")));
    }

    fn device(&mut self, device: &str) -> String {
        styled(NAME, pad(&mut self.device_chars, device))
    }

    /// A device, and beneath it its metrics.
    pub(super) fn shadow(&mut self, lines: &mut Lines, shadow: &DeviceShadow) {
        let seen = shadow.last_seen.map_or_else(|| "never".to_owned(), |time| self.plain_time(time));
        let head = format!("by {}, last seen {seen}", shadow.agent);
        lines.text(format!(
            "{}  {}  {}",
            styled(NAME, &shadow.device),
            online(shadow.online, shadow.stale),
            styled(DIM, head)
        ));
        for metric in &shadow.metrics {
            self.reading(lines, None, &metric.reading, Vec::new());
        }
    }

    /// A table of devices.
    pub(super) fn devices(&mut self, lines: &mut Lines, devices: &[DeviceSummary]) {
        let mut agent_chars = 5;
        for device in devices {
            let _grown = (self.device(device.device.as_str()), pad(&mut agent_chars, device.agent.as_str()));
        }
        let device_chars = self.device_chars;
        let head = format!(
            "{:<device_chars$}  {:<agent_chars$}  {:<7}  {:>7}  {}",
            "DEVICE", "AGENT", "STATE", "METRICS", "LAST SEEN"
        );
        lines.text(styled(DIM, head));
        for device in devices {
            let agent = pad(&mut agent_chars, device.agent.as_str());
            let seen = device.last_seen.map_or_else(|| "never".to_owned(), |time| self.plain_time(time));
            let (name, state) = (self.device(device.device.as_str()), state(device));
            lines.text(format!("{name}  {agent}  {state}  {:>7}  {seen}", device.metrics));
        }
    }

    /// A table of who is in a room.
    pub(super) fn presence(&self, lines: &mut Lines, present: &[Present]) {
        let width = present.iter().map(|one| printable(one.attendee.name()).chars().count()).fold(4, usize::max);
        lines.text(styled(DIM, format!("{:<5}  {:<width$}  {:>11}  SINCE", "KIND", "NAME", "CONNECTIONS")));
        for one in present {
            let (kind, name) = (one.attendee.kind(), printable(one.attendee.name()));
            let name = styled(NAME, format!("{name:<width$}"));
            lines.text(format!("{kind:<5}  {name}  {:>11}  {}", one.connections, self.plain_time(one.since)));
        }
    }

    fn time(&self, time: UnixMicros) -> String {
        styled(DIM, self.plain_time(time))
    }

    fn plain_time(&self, time: UnixMicros) -> String {
        let timestamp = jiff::Timestamp::from_microsecond(time.0).ok();
        timestamp.map_or_else(
            || "no time".to_owned(),
            |timestamp| {
                let local = timestamp.to_zoned_datetime(self.zone.clone());
                local.strftime("%Y-%m-%d %H:%M:%S.%3f %Z").to_string()
            },
        )
    }
}

/// The word of a state or outcome, in the colour of how good it is.
fn state_word(word: &str) -> String {
    let style = match word {
        "succeeded" => GOOD,
        "failed" => BAD,
        "expired" | "cancelled" | "interrupted" | "unknown" => WARN,
        _ => NAME,
    };
    styled(style, printable(word))
}

/// Named values, as they are typed.
fn fields(fields: &Fields) -> String {
    let shown = fields.iter().map(|field| format!("{}={}", printable(field.name.as_str()), value(&field.value)));
    shown.collect::<Vec<_>>().join(" ")
}

/// Whether an event tells of the connection and the gateway, not of the site.
pub(super) fn is_aside(event: &Event) -> bool {
    match event {
        Event::Fetching { .. }
        | Event::Degraded { .. }
        | Event::Restored
        | Event::Disconnected { .. }
        | Event::Reconnected { .. } => true,
        // What is missing is told where it is missing, between the readings.
        Event::Entry(_)
        | Event::Snapshot(_)
        | Event::NotRecovered { .. }
        | Event::Lagged { .. }
        | Event::Conflated { .. }
        | Event::CaughtUp { .. } => false,
    }
}

pub(super) fn note(style: anstyle::Style, text: &str) -> String {
    styled(style, format!("-- {}", printable(text)))
}

fn marks(header: &EntryHeader) -> Vec<String> {
    let is_backlog = header.origin.as_ref().is_some_and(|origin| origin.backlog);
    is_backlog.then(|| styled(DIM, "backlog")).into_iter().collect()
}

fn numbers(gap: &AgentGap) -> String {
    let how_many = match (gap.gap.is_unbounded(), gap.gap.range.count()) {
        (true, _) => "nobody knows how many records".to_owned(),
        (false, 1) => "1 record".to_owned(),
        (false, records) => format!("{} records", count(records)),
    };
    format!("{how_many} ({} {} of epoch {})", gap.gap.lane, gap.gap.range, gap.gap.epoch)
}

/// What is known of a device now. Where its agent is away, it is what was known last, and is not told.
fn state(device: &DeviceSummary) -> String {
    match device.agent_here {
        Some(false) => styled(WARN, "no link"),
        Some(true) | None => online(device.online, device.stale),
    }
}

fn online(online: Option<bool>, stale: bool) -> String {
    match online {
        Some(false) if stale => styled(BAD, "stale  "),
        Some(true) => styled(GOOD, "online "),
        Some(false) => styled(BAD, "offline"),
        None => styled(DIM, "-      "),
    }
}

/// A name in a column, which grows with it up to a limit.
fn pad(column_chars: &mut usize, name: &str) -> String {
    let name = printable(name);
    let width = grown(column_chars, &name, NAME_COLUMN_CHARS_MAX);
    format!("{name:<width$}")
}

fn grown(column_chars: &mut usize, text: &str, chars_max: usize) -> usize {
    *column_chars = text.chars().count().clamp(*column_chars, chars_max.max(*column_chars));
    *column_chars
}

fn value(value: &Value) -> String {
    let text = match value {
        Value::Number(number) => decimal(*number),
        Value::Integer(number) => number.to_string(),
        Value::Flag(true) => "yes".to_owned(),
        Value::Flag(false) => "no".to_owned(),
        Value::Text(text) => printable(text),
        Value::Raw(bytes) => format!("0x{}", hex(bytes)),
    };
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

/// A number for people: at most so many decimals, counted from the first that is not zero. Whole numbers stay exact.
fn decimal(number: f64) -> String {
    const DECIMALS_MAX: usize = 6;
    let exact = number.to_string();
    let Some((_, decimals)) = exact.split_once('.') else { return exact };
    let zeros = if number.abs() < 1.0 { decimals.len() - decimals.trim_start_matches('0').len() } else { 0 };
    let kept = zeros + DECIMALS_MAX;
    if decimals.len() <= kept {
        return exact;
    }
    let rounded = format!("{number:.kept$}");
    rounded.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a String can't fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
