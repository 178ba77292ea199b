//! Entries that can be read, for the tests of what looks into them.

use lockgate_proto::convert::{encode_entry, encode_record};
use lockgate_proto::entry::{EntryHeader, Origin};
use lockgate_proto::ids::{AgentName, DeviceName, MetricName};
use lockgate_proto::reading::{Quality, Reading, Value};
use lockgate_proto::record::{Record, Telemetry};
use lockgate_proto::seq::{Epoch, Lane, Seq};
use lockgate_proto::time::UnixMicros;

use crate::backbone::LoggedEntry;
use crate::room::tests::device_entry;

/// Telemetry of a device: of each metric the offset as its value.
pub(crate) fn told(offset: u64, device: &str, metrics: &[&str], seq: u64, historical: bool) -> LoggedEntry {
    let reading = |metric: &&str| Reading {
        metric: MetricName::new(metric).unwrap(),
        unit: None,
        value: Value::Integer(offset.cast_signed()),
        sampled_at: UnixMicros(0),
        quality: Quality::Good,
    };
    let readings = metrics.iter().map(reading).collect();
    let record = Record::Telemetry(Telemetry { device: DeviceName::new(device).unwrap(), readings, historical });
    let origin = Origin {
        agent: AgentName::new("pi").unwrap(),
        epoch: Epoch(1),
        epoch_order: 1,
        lane: Lane::Telemetry,
        seq: Seq::new(seq),
        backlog: false,
    };
    let place = device_entry(1, offset, device);
    let header = EntryHeader {
        position: place.position,
        previous: place.previous,
        received_at: UnixMicros(0),
        origin: Some(origin),
    };
    LoggedEntry { bytes: encode_entry(&header, &encode_record(&record)), ..place }
}
