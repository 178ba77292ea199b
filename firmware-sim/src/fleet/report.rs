//! What a run has shown: a table for people, JSON for programs, and what is wrong.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::histogram_logic::Quantiles;
use super::processes::Process;
use super::tally_logic::Faults;
use super::timeline_logic::SPAN_MS;

/// All figures of a run.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) rooms: usize,
    pub(super) agents: usize,
    pub(super) users: usize,
    pub(super) readers: usize,
    pub(super) slow_readers: usize,
    /// From the first connection to the last, the first attempts of all.
    pub(super) connecting: Duration,
    /// From the first record to the last receipt or acknowledgement.
    pub(super) flow: Duration,
    /// Records that the schedule had; 0 without one.
    pub(super) scheduled: u64,
    pub(super) published: u64,
    pub(super) published_bytes: u64,
    pub(super) acknowledged: u64,
    /// Receipts that there should be, of readers that are not slow.
    pub(super) expected: u64,
    pub(super) received: u64,
    pub(super) received_messages: u64,
    pub(super) received_bytes: u64,
    pub(super) live: Quantiles,
    pub(super) backlog: Quantiles,
    pub(super) to_last: Quantiles,
    pub(super) acknowledgement: Quantiles,
    pub(super) connect: Quantiles,
    pub(super) late: Quantiles,
    pub(super) away: Quantiles,
    /// Readers lost, turned away, and back again, each 250 ms from the first loss to the last return.
    pub(super) storm: [Vec<u64>; 3],
    pub(super) told_to_wait: u64,
    pub(super) connects: u64,
    pub(super) attempts_failed: u64,
    pub(super) agent_reconnects: u64,
    pub(super) reader_reconnects: u64,
    pub(super) go_aways: u64,
    pub(super) gaps_told: u64,
    pub(super) lagged_told: u64,
    pub(super) lagged_entries: u64,
    pub(super) faults: Faults,
    /// Times that entries did not follow one another.
    pub(super) holes: u64,
    pub(super) not_recovered: u64,
    pub(super) rejected: u64,
    pub(super) forgotten: u64,
    pub(super) processes: Vec<Process>,
}

impl Report {
    /// What must not be, in words; empty: all is well.
    pub(super) fn wrongs(&self) -> Vec<String> {
        let unacknowledged = self.published.saturating_sub(self.acknowledged);
        [
            (self.faults.lost, "lost"),
            (self.faults.doubled, "doubled"),
            (self.faults.disordered, "out of order"),
            (self.faults.strange, "of another room, or published by nobody"),
            (self.holes, "holes between entries"),
            (self.not_recovered, "resumes refused"),
            (unacknowledged, "not acknowledged"),
            (self.rejected, "rejected by the gateway"),
            (self.forgotten, "given up by an agent's link"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect()
    }

    /// For one line.
    pub(super) fn summary(&self) -> String {
        let wrongs = self.wrongs();
        let outcome = if wrongs.is_empty() { "nothing lost, nothing doubled".to_owned() } else { wrongs.join(", ") };
        let timed = [("receipts", self.live), ("acknowledgements", self.acknowledgement), ("connects", self.connect)];
        let timed = timed.into_iter().find(|(_, quantiles)| quantiles.count > 0);
        let p99 = timed.map_or(String::new(), |(what, quantiles)| format!(", {what} p99 {}", span(quantiles.p99)));
        format!("{} records, {} receipts{p99}: {outcome}", grouped(self.published), grouped(self.received))
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut table = Table::default();
        table.row("rooms, agents", &format!("{}, {}", self.rooms, self.agents));
        let slow = if self.slow_readers > 0 { format!(" ({} of them slow)", self.slow_readers) } else { String::new() };
        table.row("users, connections of readers", &format!("{}, {}{slow}", self.users, self.readers));
        let connected = (self.agents + self.readers) as u64;
        table.row("connects", &format!("{}/s", grouped(per_second(connected, self.connecting))));
        let behind = self.scheduled.saturating_sub(self.published);
        let behind = if behind > 0 { format!(", {} fewer than scheduled", grouped(behind)) } else { String::new() };
        table.row("published", &self.flow_of(self.published, self.published_bytes, &behind));
        table.row("acknowledged", &format!("{} of {}", grouped(self.acknowledged), grouped(self.published)));
        let messages = format!(" in {} messages", grouped(self.received_messages));
        table.row("received", &self.flow_of(self.received, self.received_bytes, &messages));
        table.row("should have been received", &grouped(self.expected));
        let Faults { lost, doubled, disordered, strange } = self.faults;
        table.row("lost, doubled, out of order, strange", &format!("{lost}, {doubled}, {disordered}, {strange}"));
        table.row("holes, resumes refused", &format!("{}, {}", self.holes, self.not_recovered));
        let reconnects = format!("{}, {}", self.agent_reconnects, self.reader_reconnects);
        table.row("reconnects of agents, of readers", &reconnects);
        table.row("attempts that failed, told to go", &format!("{}, {}", self.attempts_failed, self.go_aways));
        let lagged = format!("{}, {} ({} entries)", self.gaps_told, self.lagged_told, self.lagged_entries);
        table.row("gaps told, lagged told", &lagged);
        for (name, counts) in ["readers lost", "turned away", "back"].into_iter().zip(&self.storm) {
            if counts.iter().any(|count| *count > 0) {
                let counts: Vec<String> = counts.iter().map(u64::to_string).collect();
                table.row(&format!("{name}, each {SPAN_MS} ms"), &counts.join(" "));
            }
        }
        table.text.push('\n');
        self.spans(&mut table.text);
        self.resources(&mut table.text);
        table.text
    }

    fn flow_of(&self, count: u64, bytes: u64, more: &str) -> String {
        let rate = grouped(per_second(count, self.flow));
        format!("{} ({rate}/s), {} kB{more}", grouped(count), grouped(bytes / 1_000))
    }

    fn named_spans(&self) -> [(&'static str, &'static str, Quantiles); 7] {
        [
            ("live", "publication to receipt", self.live),
            ("backlog", "the same, taken while away", self.backlog),
            ("to_last_reader", "a record to its last reader", self.to_last),
            ("acknowledgement", "publication to acknowledgement", self.acknowledgement),
            ("connect", "connect", self.connect),
            ("away", "readers away, until back", self.away),
            ("late", "publication behind schedule", self.late),
        ]
    }

    fn spans(&self, text: &mut String) {
        let head = ["", "count", "p50", "p90", "p99", "p99.9", "max"].map(str::to_owned);
        let spans = self.named_spans().into_iter().filter(|(.., quantiles)| quantiles.count > 0);
        let rows = spans.map(|(_, name, Quantiles { count, p50, p90, p99, p999, max })| {
            let [p50, p90, p99, p999, max] = [p50, p90, p99, p999, max].map(span);
            [name.to_owned(), grouped(count), p50, p90, p99, p999, max]
        });
        columns(text, &std::iter::once(head).chain(rows).collect::<Vec<_>>());
    }

    fn resources(&self, text: &mut String) {
        let head =
            ["process", "CPU s", "CPU s/M receipts", "CPU s/M records", "MiB", "peak", "connections", "KiB each"];
        let rows = self.processes.iter().map(|process| {
            if process.is_gone {
                let mut row = [const { String::new() }; 8];
                (row[0], row[1]) = (process.watched.name.clone(), "ended".to_owned());
                return row;
            }
            let cpu = process.cpu();
            let each = process.bytes_per_connection().map_or(String::new(), |bytes| tenths(bytes, 1024));
            [
                process.watched.name.clone(),
                tenths(micros(cpu), 1_000_000),
                per_million(cpu, self.received),
                per_million(cpu, self.published),
                (process.after.rss_kib / 1024).to_string(),
                (process.rss_peak_kib / 1024).to_string(),
                process.connections().to_string(),
                each,
            ]
        });
        text.push('\n');
        columns(text, &std::iter::once(head.map(str::to_owned)).chain(rows).collect::<Vec<_>>());
    }

    /// For programs. Times in microseconds, memory in KiB.
    pub(super) fn json(&self) -> Value {
        let spans: serde_json::Map<String, Value> = self
            .named_spans()
            .into_iter()
            .map(|(key, _, Quantiles { count, p50, p90, p99, p999, max })| {
                let span = json!({"count": count, "p50": p50, "p90": p90, "p99": p99, "p99_9": p999, "max": max});
                (key.to_owned(), span)
            })
            .collect();
        let Faults { lost, doubled, disordered, strange } = self.faults;
        let [lost_each, turned_away_each, back_each] = &self.storm;
        json!({
            "rooms": self.rooms, "agents": self.agents, "users": self.users, "readers": self.readers,
            "slow_readers": self.slow_readers,
            "connecting_us": micros(self.connecting),
            "connects_per_s": per_second((self.agents + self.readers) as u64, self.connecting),
            "connects": self.connects, "attempts_failed": self.attempts_failed,
            "agent_reconnects": self.agent_reconnects, "reader_reconnects": self.reader_reconnects,
            "go_aways": self.go_aways, "told_to_wait": self.told_to_wait,
            "storm": { "each_ms": SPAN_MS, "lost": lost_each, "turned_away": turned_away_each, "back": back_each },
            "flow_us": micros(self.flow),
            "scheduled": self.scheduled, "published": self.published, "published_bytes": self.published_bytes,
            "published_per_s": per_second(self.published, self.flow),
            "acknowledged": self.acknowledged,
            "expected": self.expected, "received": self.received, "received_bytes": self.received_bytes,
            "received_messages": self.received_messages,
            "received_per_s": per_second(self.received, self.flow),
            "latency_us": spans,
            "lost": lost, "doubled": doubled, "out_of_order": disordered, "strange": strange,
            "holes": self.holes, "not_recovered": self.not_recovered,
            "gaps_told": self.gaps_told, "lagged_told": self.lagged_told, "lagged_entries": self.lagged_entries,
            "rejected": self.rejected, "forgotten": self.forgotten,
            "processes": self.processes.iter().map(|process| self.process_json(process)).collect::<Vec<_>>(),
            "wrongs": self.wrongs(),
        })
    }

    fn process_json(&self, process: &Process) -> Value {
        let Process { watched, before, connected, after, rss_peak_kib, is_gone } = process;
        let cpu = process.cpu();
        json!({
            "name": watched.name, "pid": watched.pid, "ended": is_gone,
            "cpu_us": micros(cpu),
            "cpu_us_per_million_received": ratio(micros(cpu), self.received),
            "cpu_us_per_million_published": ratio(micros(cpu), self.published),
            "cpu_connecting_us": micros(connected.cpu.saturating_sub(before.cpu)),
            "rss_before_kib": before.rss_kib, "rss_connected_kib": connected.rss_kib,
            "rss_peak_kib": rss_peak_kib, "rss_after_kib": after.rss_kib,
            "connections": process.connections(),
            "bytes_per_connection": process.bytes_per_connection(),
        })
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn per_second(count: u64, span: Duration) -> u64 {
    count.saturating_mul(1_000_000).checked_div(micros(span)).unwrap_or_default()
}

/// So much for a million; `None`: for nothing.
fn ratio(micros: u64, count: u64) -> Option<u64> {
    micros.saturating_mul(1_000_000).checked_div(count)
}

fn per_million(cpu: Duration, count: u64) -> String {
    ratio(micros(cpu), count).map_or(String::new(), |micros| hundredths(micros, 1_000_000))
}

fn tenths(value: u64, unit: u64) -> String {
    format!("{}.{}", value / unit, value % unit * 10 / unit)
}

fn hundredths(value: u64, unit: u64) -> String {
    format!("{}.{:02}", value / unit, value % unit * 100 / unit)
}

/// A span of time with a unit that suits it.
fn span(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{} us", grouped(micros)),
        10_000..10_000_000 => format!("{} ms", tenths(micros, 1_000)),
        _ => format!("{} s", tenths(micros, 1_000_000)),
    }
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[derive(Default)]
struct Table {
    text: String,
}

impl Table {
    fn row(&mut self, name: &str, value: &str) {
        // Writing to a string can't fail.
        let _written = writeln!(self.text, "{name:<37} {value}");
    }
}

/// Names to the left, figures to the right.
fn columns<const N: usize>(text: &mut String, rows: &[[String; N]]) {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    for row in rows {
        let mut line = format!("{:<width$}", row[0], width = width(0));
        for (column, cell) in row.iter().enumerate().skip(1) {
            // Writing to a string can't fail.
            let _written = write!(line, "  {cell:>width$}", width = width(column));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            rooms: 2,
            agents: 10,
            readers: 100,
            published: 1_000,
            acknowledged: 1_000,
            expected: 50_000,
            received: 50_000,
            flow: Duration::from_secs(10),
            live: Quantiles { count: 50_000, p50: 400, p90: 900, p99: 12_345, p999: 20_000_000, max: 30_000_000 },
            ..Report::default()
        }
    }

    #[test]
    fn a_clean_run_has_no_wrongs_and_every_fault_is_one() {
        assert!(report().wrongs().is_empty());
        let faults = Faults { lost: 1, doubled: 2, disordered: 3, strange: 4 };
        let wrong =
            Report { faults, holes: 5, not_recovered: 6, acknowledged: 993, rejected: 8, forgotten: 9, ..report() };
        let counts: Vec<String> =
            wrong.wrongs().iter().filter_map(|wrong| Some(wrong.split_once(' ')?.0.to_owned())).collect();
        assert_eq!(counts, ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
        assert_eq!(wrong.json()["wrongs"].as_array().map(Vec::len), Some(9));
    }

    #[test]
    fn the_table_is_aligned_and_shows_what_was_measured() {
        let table = report().table();
        assert!(table.contains("published                             1,000 (100/s), 0 kB\n"), "{table}");
        let rows: Vec<&str> =
            table.lines().filter(|line| line.ends_with("max") || line.starts_with("publication to r")).collect();
        let [head, live] = rows[..] else { panic!("{table}") };
        assert_eq!(head.len(), live.len());
        assert!(live.ends_with("400 us  900 us  12.3 ms  20.0 s  30.0 s"), "{live}");
        assert!(!table.contains("backlog") && !table.contains("behind schedule"), "what was not measured is left out");
    }

    #[test]
    fn programs_get_rates_and_spans_as_plain_numbers() {
        let json = report().json();
        assert_eq!((json["received_per_s"].as_u64(), json["published_per_s"].as_u64()), (Some(5_000), Some(100)));
        assert_eq!(json["latency_us"]["live"]["p99_9"], 20_000_000);
    }
}
