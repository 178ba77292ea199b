//! Decides which records are made of what a reader gave out.
//!
//! Pure. One record is of one device, of one clock, and either present or past; the order of the
//! readings of a device is kept. What a device does not date is dated by its arrival, in the world's
//! time where that is known, else by the boot's own clock, to be repaired before it is sent. Taken it
//! was when it arrived, whatever the device says of its readings' age.

use lockgate_codec::{DeadLetter, DeadLetterReason, Decoded, Output};
use lockgate_proto::convert::encode_record;
use lockgate_proto::description::Description;
use lockgate_proto::ids::DeviceName;
use lockgate_proto::limits::{READINGS_PER_RECORD_MAX, RECORD_BYTES_MAX};
use lockgate_proto::reading::{Quality, Reading, Value};
use lockgate_proto::record::{Presence, PresenceReason, Record, Telemetry};
use lockgate_proto::seq::Lane;
use lockgate_proto::time::{MonoTime, UnixMicros};

use super::vigil_logic::Turn;
use crate::queue::limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX};
use crate::queue::{Batch, NewRecord, TakenAt};

/// A record is closed at about this size, so that a batch on the uplink can be filled evenly.
const RECORD_BYTES_TARGET: usize = 32 * 1024;

const _: () = assert!(RECORD_BYTES_TARGET * 2 < RECORD_BYTES_MAX);
const _: () = assert!(RECORD_BYTES_MAX <= BATCH_BYTES_MAX);

/// When something was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// By the boot's clock.
    pub mono: MonoTime,
    /// By the world's, if it is known.
    pub wall: Option<UnixMicros>,
}

impl Arrival {
    /// The time of what is not dated, as it stands in a record.
    fn at(self) -> UnixMicros {
        self.wall.unwrap_or(UnixMicros(self.mono.micros()))
    }

    /// When a record was taken; `dated`: by the device.
    fn taken(self, dated: bool) -> TakenAt {
        match self.wall {
            Some(wall) => TakenAt::Wall(wall),
            None if dated => TakenAt::MonoDated(self.mono),
            None => TakenAt::Mono(self.mono),
        }
    }
}

/// What is to be done with what a reader gave out.
#[derive(Debug, Default)]
pub struct Sorted {
    /// To be queued, in this order. Readings are never in the same batch as events.
    pub batches: Vec<Batch>,
    /// Readings and presences in each of the batches.
    pub counts: Vec<usize>,
    /// To be kept for people.
    pub dead_letters: Vec<DeadLetter>,
}

/// Sorts what one chunk or one message gave. `digest` is that of the message, where it may come again:
/// each batch gets one of its own, made of it.
pub fn sort(outputs: Vec<Output>, arrival: Arrival, digest: Option<u64>) -> Sorted {
    let mut sorted = Sorted::default();
    let mut groups: Vec<Group> = Vec::new();
    let mut events = Vec::new();
    for output in outputs {
        match output {
            Output::Reading(decoded) => add(&mut groups, decoded, arrival),
            Output::Presence { device, online, time, retained } => {
                let taken = arrival.taken(time.is_some());
                let at = time.unwrap_or(arrival.at());
                let record = Record::Presence(Presence::said(device, online, at, retained));
                events.push((NewRecord { taken, payload: encode_record(&record) }, 1));
            }
            // Words about commands are the writer's; the source has them.
            Output::Reply(_) => {}
            Output::DeadLetter(letter) => sorted.dead_letters.push(letter),
        }
    }
    let mut telemetry = Vec::new();
    for group in groups {
        let count = group.readings.len();
        let taken = arrival.taken(group.dated);
        let record = Record::Telemetry(Telemetry {
            device: group.device,
            readings: group.readings,
            historical: group.historical,
        });
        let payload = encode_record(&record);
        if payload.len() > RECORD_BYTES_MAX {
            sorted.dead_letters.push(too_large(payload.len()));
        } else {
            telemetry.push((NewRecord { taken, payload }, count));
        }
    }
    batch(&mut sorted, Lane::Events, events, digest);
    batch(&mut sorted, Lane::Telemetry, telemetry, digest);
    sorted
}

/// Sorts what the agent itself tells of devices.
pub(super) fn tellings(turns: Vec<Turn>, arrival: Arrival) -> Sorted {
    let record = |Turn { device, online }| {
        let reason = if online { PresenceReason::Heard } else { PresenceReason::Stale };
        let presence = Presence { reason, ..Presence::said(device, online, arrival.at(), false) };
        let payload = encode_record(&Record::Presence(presence));
        (NewRecord { taken: arrival.taken(false), payload }, 1)
    };
    let mut sorted = Sorted::default();
    batch(&mut sorted, Lane::Events, turns.into_iter().map(record).collect(), None);
    sorted
}

/// What a device is, for the lane that keeps its order.
pub(super) fn described(description: Description, arrival: Arrival) -> Sorted {
    let payload = encode_record(&Record::Description(description));
    let mut sorted = Sorted::default();
    batch(&mut sorted, Lane::Events, vec![(NewRecord { taken: arrival.taken(false), payload }, 0)], None);
    sorted
}

/// Readings that will be one record.
struct Group {
    device: DeviceName,
    historical: bool,
    /// The times are the world's: by the device, or because the world's time is known.
    dated: bool,
    bytes: usize,
    readings: Vec<Reading>,
}

fn add(groups: &mut Vec<Group>, decoded: Decoded, arrival: Arrival) {
    let Decoded { device, metric, unit, value, quality, time, retained, historical } = decoded;
    let sampled_at = time.unwrap_or(arrival.at());
    // Where the world's time is known, readings of both kinds go into one record.
    let dated = time.is_some() || arrival.wall.is_some();
    // A retained message without a time was true at some time before; it must not look fresh.
    let quality = match quality {
        Quality::Good if retained && time.is_none() => Quality::Uncertain(Quality::RETAINED.into()),
        quality => quality,
    };
    let unit_bytes = unit.as_ref().map_or(0, |unit| unit.len());
    let bytes = metric.as_str().len() + unit_bytes + value_bytes(&value) + 24;
    let reading = Reading { metric, unit, value, sampled_at, quality };
    // The last group of the device, or a new one: an earlier one would change the order of its readings.
    let last = groups.iter_mut().rev().find(|group| group.device == device);
    let fits = |group: &&mut Group| {
        (group.historical, group.dated) == (historical, dated)
            && group.readings.len() < READINGS_PER_RECORD_MAX
            && group.bytes + bytes <= RECORD_BYTES_TARGET
    };
    match last.filter(fits) {
        Some(group) => {
            group.bytes += bytes;
            group.readings.push(reading);
        }
        None => groups.push(Group { device, historical, dated, bytes, readings: vec![reading] }),
    }
}

fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Number(_) | Value::Integer(_) | Value::Flag(_) => 8,
        Value::Text(text) => text.len(),
        Value::Raw(bytes) => bytes.len(),
    }
}

fn too_large(bytes: usize) -> DeadLetter {
    let detail = format!("one reading has {bytes} bytes; at most {RECORD_BYTES_MAX} can be sent");
    DeadLetter::new(DeadLetterReason::TooComplex, detail, &[])
}

/// Cuts records into batches that the queue takes as one whole.
fn batch(sorted: &mut Sorted, lane: Lane, records: Vec<(NewRecord, usize)>, digest: Option<u64>) {
    let mut open: Vec<NewRecord> = Vec::new();
    let (mut bytes, mut count) = (0, 0);
    let mut close = |records: Vec<NewRecord>, count: usize| {
        // Of its lane alone: a repeat may have lost the presence that came with its readings.
        let place = sorted.batches.iter().filter(|batch| batch.lane == lane).count() + (lane.index() << 16);
        let digest = digest.map(|digest| mix(digest, place as u64));
        sorted.batches.push(Batch { lane, records, digest });
        sorted.counts.push(count);
    };
    for (record, readings) in records {
        if open.len() == BATCH_RECORDS_MAX || bytes + record.payload.len() > BATCH_BYTES_MAX {
            close(std::mem::take(&mut open), std::mem::take(&mut count));
            bytes = 0;
        }
        bytes += record.payload.len();
        count += readings;
        open.push(record);
    }
    if !open.is_empty() {
        close(open, count);
    }
}

/// A digest for the batch at a place among those of one message.
fn mix(digest: u64, place: u64) -> u64 {
    (digest ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15)).rotate_left(17).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

#[cfg(test)]
mod tests;
