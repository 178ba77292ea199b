//! Records: what the queue stores and the edge link carries.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::description::{description_from_wire, description_to_wire};
use super::{ConvertError, at_most};
use crate::ids::{DeviceName, MetricName};
use crate::limits::{NAME_BYTES_MAX, READINGS_PER_RECORD_MAX, RECORD_BYTES_MAX, SYMBOL_BYTES_MAX};
use crate::reading::{Quality, Reading, Value};
use crate::record::{Presence, PresenceReason, Record, Telemetry};
use crate::time::UnixMicros;
use crate::wire;

/// The record as the queue stores it and the wire carries it.
pub fn encode_record(record: &Record) -> Bytes {
    let body = match record {
        Record::Telemetry(telemetry) => wire::record::Body::Telemetry(telemetry_to_wire(telemetry)),
        Record::Presence(presence) => wire::record::Body::Presence(wire::Presence {
            device: presence.device.as_str().to_owned(),
            online: presence.online,
            at_us: presence.at.0,
            retained: presence.retained,
            reason: reason_to_wire(presence.reason).into(),
        }),
        Record::Description(description) => wire::record::Body::Description(description_to_wire(description)),
    };
    wire::Record { body: Some(body) }.encode_to_vec().into()
}

/// The record that the bytes stand for, every bound checked.
pub fn decode_record(bytes: Bytes) -> Result<Record, ConvertError> {
    at_most("record", bytes.len(), RECORD_BYTES_MAX)?;
    one_body_only(&bytes)?;
    match wire::Record::decode(bytes)?.body {
        Some(wire::record::Body::Telemetry(telemetry)) => Ok(Record::Telemetry(telemetry_from_wire(telemetry)?)),
        Some(wire::record::Body::Presence(presence)) => Ok(Record::Presence(presence_from_wire(&presence)?)),
        Some(wire::record::Body::Description(description)) => {
            Ok(Record::Description(description_from_wire(description)?))
        }
        None => Err(ConvertError::Missing { field: "body" }),
    }
}

/// A record is appended, as it came, to the header of an entry. A second field in it would overwrite
/// what the gateway wrote there: the position, the origin, or the body itself.
fn one_body_only(bytes: &Bytes) -> Result<(), ConvertError> {
    let mut rest = bytes.clone();
    let (_, wire_type) = prost::encoding::decode_key(&mut rest)?;
    let whole = wire_type == prost::encoding::WireType::LengthDelimited
        && prost::encoding::decode_varint(&mut rest)? == rest.len() as u64;
    if whole { Ok(()) } else { Err(ConvertError::Invalid { field: "record", problem: "is more than one body" }) }
}

/// Hands out indices to values in order of their first use.
struct Table<K> {
    items: Vec<K>,
    index: HashMap<K, u32>,
}

impl<K: Clone + Eq + Hash> Table<K> {
    fn new() -> Table<K> {
        Table { items: Vec::new(), index: HashMap::new() }
    }

    fn index_of(&mut self, key: K) -> u32 {
        let next = u32::try_from(self.items.len()).expect("a record has at most a few thousand readings");
        *self.index.entry(key).or_insert_with_key(|key| {
            self.items.push(key.clone());
            next
        })
    }
}

fn telemetry_to_wire(telemetry: &Telemetry) -> wire::Telemetry {
    let mut metrics = Table::new();
    let mut qualities = Table::new();
    let mut metric_index = Vec::with_capacity(telemetry.readings.len());
    let mut quality_index = Vec::with_capacity(telemetry.readings.len());
    let mut values = Vec::with_capacity(telemetry.readings.len());
    let mut time_delta_us = Vec::with_capacity(telemetry.readings.len());
    let base = telemetry.readings.first().map_or(UnixMicros::ZERO, |reading| reading.sampled_at);
    let mut before = base;
    for reading in &telemetry.readings {
        metric_index.push(metrics.index_of((reading.metric.clone(), reading.unit.clone())));
        quality_index.push(match &reading.quality {
            Quality::Good => 0,
            other => qualities.index_of(other.clone()) + 1,
        });
        values.push(value_to_wire(&reading.value));
        time_delta_us.push(reading.sampled_at.0.wrapping_sub(before.0));
        before = reading.sampled_at;
    }
    if metric_index.iter().enumerate().all(|(at, index)| u32::try_from(at) == Ok(*index)) {
        metric_index.clear();
    }
    if time_delta_us.iter().all(|delta| *delta == 0) {
        time_delta_us.clear();
    }
    if qualities.items.is_empty() {
        quality_index.clear();
    }
    wire::Telemetry {
        device: telemetry.device.as_str().to_owned(),
        metrics: metrics
            .items
            .into_iter()
            .map(|(name, unit): (MetricName, Option<Arc<str>>)| wire::Metric {
                name: name.as_str().to_owned(),
                unit: unit.map(|unit| unit.to_string()).unwrap_or_default(),
            })
            .collect(),
        base_time_us: base.0,
        time_delta_us,
        metric_index,
        values,
        qualities: qualities.items.iter().filter_map(quality_to_wire).collect(),
        quality_index,
        historical: telemetry.historical,
    }
}

pub(super) fn telemetry_from_wire(wire: wire::Telemetry) -> Result<Telemetry, ConvertError> {
    let count = wire.values.len();
    at_most("values", count, READINGS_PER_RECORD_MAX)?;
    at_most("metrics", wire.metrics.len(), READINGS_PER_RECORD_MAX)?;
    at_most("qualities", wire.qualities.len(), READINGS_PER_RECORD_MAX)?;
    if count == 0 {
        return Err(ConvertError::Missing { field: "values" });
    }
    full_or_empty("metric_index", wire.metric_index.len(), count)?;
    full_or_empty("time_delta_us", wire.time_delta_us.len(), count)?;
    full_or_empty("quality_index", wire.quality_index.len(), count)?;
    let metrics = wire.metrics.into_iter().map(metric_from_wire).collect::<Result<Vec<_>, _>>()?;
    let qualities = wire.qualities.into_iter().map(quality_from_wire).collect::<Result<Vec<_>, _>>()?;
    let mut sampled_at = UnixMicros(wire.base_time_us);
    let mut readings = Vec::with_capacity(count);
    for (at, value) in wire.values.into_iter().enumerate() {
        let metric = wire.metric_index.get(at).map_or(Some(at), |index| usize::try_from(*index).ok());
        let (metric, unit) = metric
            .and_then(|index| metrics.get(index))
            .ok_or(ConvertError::Invalid { field: "metric_index", problem: "points outside the table" })?
            .clone();
        let quality = match wire.quality_index.get(at).copied().unwrap_or(0) {
            0 => Quality::Good,
            index => usize::try_from(index - 1)
                .ok()
                .and_then(|index| qualities.get(index))
                .ok_or(ConvertError::Invalid { field: "quality_index", problem: "points outside the table" })?
                .clone(),
        };
        let delta = wire.time_delta_us.get(at).copied().unwrap_or(0);
        sampled_at = UnixMicros(sampled_at.0.wrapping_add(delta));
        readings.push(Reading { metric, unit, value: value_from_wire(value)?, sampled_at, quality });
    }
    Ok(Telemetry { device: device_name(&wire.device)?, readings, historical: wire.historical })
}

pub(super) fn presence_from_wire(wire: &wire::Presence) -> Result<Presence, ConvertError> {
    Ok(Presence {
        device: device_name(&wire.device)?,
        online: wire.online,
        at: UnixMicros(wire.at_us),
        retained: wire.retained,
        reason: reason_from_wire(wire.reason()),
    })
}

fn reason_to_wire(reason: PresenceReason) -> wire::PresenceReason {
    match reason {
        PresenceReason::Said => wire::PresenceReason::Unspecified,
        PresenceReason::Stale => wire::PresenceReason::Stale,
        PresenceReason::Heard => wire::PresenceReason::Heard,
    }
}

/// One that a later version knows reads as the first: that the device is there or gone holds all the same.
fn reason_from_wire(reason: wire::PresenceReason) -> PresenceReason {
    match reason {
        wire::PresenceReason::Unspecified => PresenceReason::Said,
        wire::PresenceReason::Stale => PresenceReason::Stale,
        wire::PresenceReason::Heard => PresenceReason::Heard,
    }
}

pub(super) fn device_name(text: &str) -> Result<DeviceName, ConvertError> {
    DeviceName::new(text).map_err(|source| ConvertError::Name { field: "device", source })
}

fn full_or_empty(field: &'static str, got: usize, count: usize) -> Result<(), ConvertError> {
    if got == 0 || got == count {
        return Ok(());
    }
    Err(ConvertError::Invalid { field, problem: "has another length than values" })
}

fn metric_from_wire(wire: wire::Metric) -> Result<(MetricName, Option<Arc<str>>), ConvertError> {
    at_most("metrics.unit", wire.unit.len(), SYMBOL_BYTES_MAX)?;
    let name = MetricName::new(&wire.name).map_err(|source| ConvertError::Name { field: "metrics.name", source })?;
    Ok((name, (!wire.unit.is_empty()).then(|| wire.unit.into())))
}

/// A quality other than good.
pub fn quality_to_wire(quality: &Quality) -> Option<wire::Quality> {
    let (level, reason) = match quality {
        Quality::Good => return None,
        Quality::Uncertain(reason) => (wire::quality::Level::Uncertain, reason),
        Quality::Bad(reason) => (wire::quality::Level::Bad, reason),
    };
    Some(wire::Quality { level: level.into(), reason: reason.to_string() })
}

fn quality_from_wire(wire: wire::Quality) -> Result<Quality, ConvertError> {
    at_most("qualities.reason", wire.reason.len(), NAME_BYTES_MAX)?;
    let level = wire.level();
    let reason = wire.reason.into();
    match level {
        wire::quality::Level::Uncertain => Ok(Quality::Uncertain(reason)),
        wire::quality::Level::Bad => Ok(Quality::Bad(reason)),
        wire::quality::Level::Unspecified => Err(ConvertError::Missing { field: "qualities.level" }),
    }
}

/// The value, in the shortest form that loses nothing.
pub fn value_to_wire(value: &Value) -> wire::Value {
    use wire::value::Kind;
    let kind = match value {
        Value::Number(number) => short(*number).map_or(Kind::Number(*number), Kind::ShortNumber),
        Value::Integer(integer) => Kind::Integer(*integer),
        Value::Flag(flag) => Kind::Flag(*flag),
        Value::Text(text) => Kind::Text(text.to_string()),
        Value::Raw(bytes) => Kind::Raw(bytes.clone()),
    };
    wire::Value { kind: Some(kind) }
}

/// The number in four bytes, where that loses nothing, not even the sign of zero.
#[allow(clippy::cast_possible_truncation, reason = "the loss is what is tested for")]
fn short(number: f64) -> Option<f32> {
    let short = number as f32;
    (f64::from(short).to_bits() == number.to_bits()).then_some(short)
}

pub(super) fn value_from_wire(wire: wire::Value) -> Result<Value, ConvertError> {
    use wire::value::Kind;
    let finite = |number: f64| {
        let problem = "is not finite; infinity and NaN are no values";
        if number.is_finite() {
            Ok(Value::Number(number))
        } else {
            Err(ConvertError::Invalid { field: "values", problem })
        }
    };
    match wire.kind {
        Some(Kind::Number(number)) => finite(number),
        Some(Kind::ShortNumber(number)) => finite(f64::from(number)),
        Some(Kind::Integer(integer)) => Ok(Value::Integer(integer)),
        Some(Kind::Flag(flag)) => Ok(Value::Flag(flag)),
        Some(Kind::Text(text)) => Ok(Value::Text(text.into())),
        // Copied: a slice would keep the whole message alive for as long as one value is remembered.
        Some(Kind::Raw(bytes)) => Ok(Value::Raw(Bytes::copy_from_slice(&bytes))),
        None => Err(ConvertError::Missing { field: "values.kind" }),
    }
}
