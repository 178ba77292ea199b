//! Decides what the agent tells of itself: figures to readings of a device that is named after it.
//!
//! Pure.

use std::sync::Arc;
use std::time::Duration;

use lockgate_codec::{Decoded, Output};
use lockgate_proto::ids::{DeviceName, MetricName};
use lockgate_proto::reading::{Quality, Value};
use lockgate_proto::seq::Lane;

/// How the agent is at one moment.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Since the process began.
    pub uptime: Duration,
    /// Of one processor since the last time, in percent.
    pub cpu_percent: Option<f64>,
    /// Memory of the process.
    pub rss_bytes: Option<u64>,
    /// The queue on disk.
    pub queue: Option<QueueFigures>,
    /// The sources, as they are configured.
    pub sources: Vec<SourceFigures>,
    /// Input that could not be used, since the process began: by reason.
    pub dead_letters: Vec<(&'static str, u64)>,
    /// The agent's clock less the gateway's, microseconds; `None`: never heard of one.
    pub clock_offset_micros: Option<i64>,
    /// Whether the time of day is known.
    pub clock_known: bool,
    /// To the gateway and back; `None`: there is no connection.
    pub link_rtt: Option<Duration>,
}

/// What is in the queue.
#[derive(Clone, Debug, Default)]
pub struct QueueFigures {
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes that it may use.
    pub budget_bytes: u64,
    /// Records not known to be stored by the gateway, by [`Lane::index`].
    pub waiting: [u64; 2],
    /// Records dropped unsent for want of room, since the process began.
    pub evicted: u64,
    /// Repeats of events folded for want of room, since the process began.
    pub compacted: u64,
    /// Bytes given to the disk since the process began.
    pub written_bytes: u64,
}

/// What one source does.
#[derive(Clone, Debug)]
pub struct SourceFigures {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The word of its state.
    pub state: &'static str,
    /// Readings that are in the queue, since the process began.
    pub readings: u64,
    /// Readings that were heard and had no place to go.
    pub dropped: u64,
}

impl SourceFigures {
    fn is_up(&self) -> bool {
        self.state == "up"
    }
}

/// The readings of a moment, as if the agent were a device that had told them just now.
pub(super) fn readings(figures: &Figures, device: &DeviceName) -> Vec<Output> {
    let mut sheet = Sheet { device, readings: Vec::new() };
    sheet.integer("uptime", "s", figures.uptime.as_secs());
    sheet.number("cpu", "%", figures.cpu_percent);
    if let Some(bytes) = figures.rss_bytes {
        sheet.integer("memory", "By", bytes);
    }
    if let Some(queue) = &figures.queue {
        sheet.integer("queue_bytes", "By", queue.bytes);
        sheet.integer("queue_budget", "By", queue.budget_bytes);
        sheet.integer("queue_waiting", "", queue.waiting[Lane::Telemetry.index()]);
        sheet.integer("queue_waiting_events", "", queue.waiting[Lane::Events.index()]);
        sheet.integer("queue_evicted", "", queue.evicted);
        sheet.integer("queue_compacted", "", queue.compacted);
        sheet.integer("queue_written", "By", queue.written_bytes);
    }
    sheet.integer("sources", "", figures.sources.len() as u64);
    sheet.integer("sources_up", "", figures.sources.iter().filter(|source| source.is_up()).count() as u64);
    for source in &figures.sources {
        sheet.value(&format!("source/{}/state", source.name), "", Value::Text(source.state.into()));
        sheet.integer(&format!("source/{}/readings", source.name), "", source.readings);
        sheet.integer(&format!("source/{}/dropped", source.name), "", source.dropped);
    }
    for (reason, count) in &figures.dead_letters {
        sheet.integer(&format!("dead_letters/{reason}"), "", *count);
    }
    sheet.value("clock_known", "", Value::Flag(figures.clock_known));
    if let Some(offset) = figures.clock_offset_micros {
        sheet.value("clock_offset", "us", Value::Integer(offset));
    }
    sheet.number("link_rtt", "ms", figures.link_rtt.map(|rtt| rtt.as_secs_f64() * 1_000.0));
    sheet.readings
}

struct Sheet<'a> {
    device: &'a DeviceName,
    readings: Vec<Output>,
}

impl Sheet<'_> {
    fn integer(&mut self, name: &str, unit: &str, figure: u64) {
        self.value(name, unit, Value::Integer(i64::try_from(figure).unwrap_or(i64::MAX)));
    }

    fn number(&mut self, name: &str, unit: &str, figure: Option<f64>) {
        if let Some(figure) = figure.filter(|figure| figure.is_finite()) {
            self.value(name, unit, Value::Number(figure));
        }
    }

    fn value(&mut self, name: &str, unit: &str, value: Value) {
        // The name of a source may fill a metric's name alone; then that figure is not told.
        let Ok(metric) = MetricName::new(name) else { return };
        let unit = (!unit.is_empty()).then(|| unit.into());
        self.readings.push(Output::Reading(Decoded {
            device: self.device.clone(),
            metric,
            unit,
            value,
            quality: Quality::Good,
            time: None,
            retained: false,
            historical: false,
        }));
    }
}

/// Ticks that a process has spent on a processor, out of `/proc/self/stat`.
pub(super) fn cpu_ticks(stat: &str) -> Option<u64> {
    // The second field is the program's name in brackets, which may itself have brackets and blanks.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Pages of memory that a process has, out of `/proc/self/statm`.
pub(super) fn rss_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_figures_are_read_whatever_the_program_is_called() {
        let stat = "812 (a) b (c) S 1 812 812 0 -1 4194304 900 0 3 0 41 9 0 0 20 0 2 0 777 1 2 3";
        assert_eq!(cpu_ticks(stat), Some(50));
        assert_eq!(cpu_ticks("nonsense"), None);
        assert_eq!(rss_pages("1200 345 200 1 0 300 0\n"), Some(345));
    }

    #[test]
    fn a_figure_that_is_not_known_is_not_told() {
        let names = |figures: &Figures| -> Vec<String> {
            let outputs = readings(figures, &DeviceName::new("agent").unwrap());
            let metric = |output: &Output| match output {
                Output::Reading(reading) => reading.metric.to_string(),
                Output::Presence { .. } | Output::Reply(_) | Output::DeadLetter(_) => {
                    panic!("{output:?} is no reading")
                }
            };
            outputs.iter().map(metric).collect()
        };
        let mut figures = Figures::default();
        assert!(!names(&figures).iter().any(|name| name == "link_rtt" || name == "clock_offset"));
        figures.link_rtt = Some(Duration::from_millis(3));
        figures.sources.push(SourceFigures { name: "meter".into(), state: "up", readings: 4, dropped: 0 });
        let names = names(&figures);
        assert!(names.iter().any(|name| name == "link_rtt") && names.iter().any(|name| name == "source/meter/state"));
    }
}
