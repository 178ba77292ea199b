//! What a reader gets who can't or won't take every entry: of telemetry the latest value of each metric, of all else
//! everything.
//!
//! Pure. *Latest* is what a shadow would keep: by the order of the agent's records, never by a clock. What a device tells
//! of its past is no present value, and is left out with the rest; the log has all of it.

use std::collections::BTreeMap;

use lockgate_proto::convert::decode_entry;
use lockgate_proto::entry::{Entry, EntryBody};
use lockgate_proto::ids::DeviceName;
use lockgate_proto::limits::{ENTRY_BYTES_MAX, SERVER_MESSAGE_BYTES_MAX};
use lockgate_proto::position::Position;
use lockgate_proto::reading::{Reading, Value};

use crate::backbone::shadow_logic::{Shadow, Teller, Told};
use crate::backbone::{DeviceShadow, EntryKind, LoggedEntry, ReadingOrder, ShadowMetric};
use crate::client_session::filter::Filter;
use crate::limits::JSON_GROWTH_MAX;

/// LIMIT: bytes that one message is about to have in Protobuf, but for the entry that goes beyond; in JSON it may be
/// six times as much.
const BYTES_MAX: usize = 240 * 1024;

/// What surrounds a reading in a message, about.
const READING_BYTES: usize = 40;

const _: () = assert!((BYTES_MAX + ENTRY_BYTES_MAX) * JSON_GROWTH_MAX <= SERVER_MESSAGE_BYTES_MAX);

/// A stretch of a room's log, as it is told in short.
#[derive(Debug)]
pub(crate) struct Conflater {
    after: Position,
    through: Position,
    devices: BTreeMap<DeviceName, Shadow<Reading>>,
    /// Of the message as it stands.
    bytes: usize,
    others: Vec<LoggedEntry>,
    left_out: u32,
}

/// The stretch in short.
#[derive(Debug, PartialEq)]
pub(crate) struct Conflated {
    /// The last entry before it.
    pub(crate) after: Position,
    /// Its last entry.
    pub(crate) through: Position,
    /// By device, the latest reading of each metric that was told.
    pub(crate) latest: Vec<DeviceShadow>,
    /// Entries that are no telemetry, in order.
    pub(crate) others: Vec<LoggedEntry>,
    /// So many entries of telemetry are told by `latest`.
    pub(crate) left_out: u32,
}

impl Conflater {
    /// Nothing yet, after this position.
    pub(crate) fn new(after: Position) -> Conflater {
        Conflater { after, through: after, devices: BTreeMap::new(), bytes: 0, others: Vec::new(), left_out: 0 }
    }

    /// Takes the next entry, as far as the reader's filter lets it pass.
    pub(crate) fn take(&mut self, entry: &LoggedEntry, filter: &Filter) {
        self.through = entry.position;
        if !filter.wants(entry) {
            return;
        }
        if entry.kind == EntryKind::Telemetry {
            self.telemetry(entry, filter);
        } else {
            self.bytes += entry.bytes.len();
            self.others.push(entry.clone());
        }
    }

    /// Whether the message must end here.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= BYTES_MAX
    }

    /// `None`: nothing was taken.
    pub(crate) fn finish(self) -> Option<Conflated> {
        if self.through == self.after {
            return None;
        }
        let shadow = |(device, shadow): (DeviceName, Shadow<Reading>)| {
            let metrics = shadow.metrics.into_values().map(|slot| ShadowMetric {
                reading: slot.value,
                received_at: slot.received_at,
                order: slot.order,
            });
            DeviceShadow {
                device,
                agent: shadow.agent,
                online: shadow.online,
                stale: shadow.stale,
                last_seen: shadow.last_seen,
                metrics: metrics.collect(),
            }
        };
        let latest = self.devices.into_iter().map(shadow).collect();
        let (others, left_out) = (self.others, self.left_out);
        Some(Conflated { after: self.after, through: self.through, latest, others, left_out })
    }

    /// An entry that this version does not understand says nothing of any metric.
    fn telemetry(&mut self, entry: &LoggedEntry, filter: &Filter) {
        self.left_out = self.left_out.saturating_add(1);
        let Ok(Entry { header, body: EntryBody::Telemetry(mut telemetry) }) = decode_entry(entry.bytes.clone()) else {
            return;
        };
        telemetry.readings.retain(|reading| filter.wants_metric(&reading.metric));
        if telemetry.readings.is_empty() {
            // It was not left out in favour of anything: it does not pass.
            self.left_out -= 1;
        }
        let Some(origin) = header.origin else { return };
        if telemetry.historical || telemetry.readings.is_empty() {
            return;
        }
        let teller = Teller {
            agent: &origin.agent,
            order: ReadingOrder::new(origin.epoch_order, origin.seq),
            backlog: origin.backlog,
            received_at: header.received_at,
        };
        let shadow = self.devices.entry(telemetry.device).or_insert_with(|| Shadow::new(origin.agent.clone()));
        for reading in telemetry.readings {
            let (metric, sampled_at) = (reading.metric.clone(), reading.sampled_at);
            let before = shadow.metrics.get(&metric).map_or(0, |slot| size(&slot.value));
            shadow.apply(&teller, Told::Metric { metric: metric.clone(), sampled_at, value: reading });
            let after = shadow.metrics.get(&metric).map_or(0, |slot| size(&slot.value));
            self.bytes = (self.bytes + after).saturating_sub(before);
        }
    }
}

fn size(reading: &Reading) -> usize {
    let value = match &reading.value {
        Value::Text(text) => text.len(),
        Value::Raw(bytes) => bytes.len(),
        Value::Number(_) | Value::Integer(_) | Value::Flag(_) => size_of::<u64>(),
    };
    READING_BYTES + reading.metric.as_str().len() + reading.unit.as_deref().map_or(0, str::len) + value
}

#[cfg(test)]
mod tests {
    use lockgate_proto::ids::MetricName;

    use super::*;
    use crate::client_session::samples::told;
    use crate::room::tests::{device_entry, position};

    fn values(conflated: &Conflated) -> Vec<(&str, &str, i64)> {
        let metrics =
            conflated.latest.iter().flat_map(|shadow| shadow.metrics.iter().map(move |metric| (shadow, metric)));
        let value = |metric: &ShadowMetric| match metric.reading.value {
            Value::Integer(value) => value,
            ref other => panic!("{other:?}"),
        };
        metrics
            .map(|(shadow, metric)| (shadow.device.as_str(), metric.reading.metric.as_str(), value(metric)))
            .collect()
    }

    fn taken(filter: &Filter, entries: &[LoggedEntry]) -> Option<Conflated> {
        let mut conflater = Conflater::new(position(1, entries[0].position.offset.0 - 1));
        for entry in entries {
            conflater.take(entry, filter);
        }
        conflater.finish()
    }

    #[test]
    fn of_each_metric_the_latest_stays_by_the_order_of_the_agent() {
        let entries = [
            told(1, "pump", &["level"], 1, false),
            told(2, "pump", &["flow"], 2, false),
            told(3, "fan", &["speed"], 3, false),
            told(4, "pump", &["level"], 5, false),
            // Later in the log, earlier by its number; told of the past; and not asked for.
            told(5, "pump", &["level"], 4, false),
            told(6, "pump", &["level"], 6, true),
            told(7, "valve", &["open"], 7, false),
        ];
        let filter = Filter::of_devices(["pump", "fan"].map(|name| DeviceName::new(name).unwrap()));
        let conflated = taken(&filter, &entries).unwrap();
        assert_eq!(values(&conflated), [("fan", "speed", 3), ("pump", "flow", 2), ("pump", "level", 4)]);
        assert_eq!((conflated.after, conflated.through), (position(1, 0), position(1, 7)));
        assert_eq!(conflated.left_out, 6);
    }

    #[test]
    fn metrics_that_are_not_wanted_are_neither_told_nor_counted() {
        let entries = [
            told(1, "pump", &["level", "flow"], 1, false),
            told(2, "pump", &["flow"], 2, false),
            told(3, "pump", &["level"], 3, false),
            told(4, "fan", &["speed"], 4, false),
        ];
        let level = || [MetricName::new("level").unwrap()];
        let conflated = taken(&Filter::default().of_metrics(level()), &entries).unwrap();
        assert_eq!((values(&conflated), conflated.left_out), (vec![("pump", "level", 3)], 2));
        assert_eq!(conflated.through, position(1, 4), "what does not pass is settled");
        let alarms = Filter::default().of_metrics(level()).of_kinds([EntryKind::Alarm]);
        let conflated = taken(&alarms, &entries).unwrap();
        assert_eq!((conflated.latest.len(), conflated.left_out, conflated.through), (0, 0, position(1, 4)));
    }

    #[test]
    fn what_is_no_telemetry_is_told_as_it_is() {
        let alarm = LoggedEntry { device: None, kind: EntryKind::Alarm, ..device_entry(1, 5, "pump") };
        let presence = LoggedEntry { kind: EntryKind::Presence, ..device_entry(1, 6, "pump") };
        let conflated = taken(&Filter::default(), &[alarm.clone(), presence.clone()]).unwrap();
        assert_eq!(conflated.others, [alarm, presence]);
        assert_eq!((conflated.left_out, conflated.latest.len()), (0, 0));
        assert!(Conflater::new(position(1, 4)).finish().is_none());
    }

    #[test]
    fn a_message_ends_before_it_is_too_large() {
        let mut conflater = Conflater::new(position(1, 0));
        let mut offset = 0;
        while !conflater.is_full() {
            offset += 1;
            conflater.take(&told(offset, "pump", &[&format!("metric-{offset}")], offset, false), &Filter::default());
            assert!(offset < 100_000);
        }
        assert_eq!(conflater.finish().unwrap().through, position(1, offset));
    }
}
