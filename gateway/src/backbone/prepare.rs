//! What of a step can be done before the store has it: by the many who ask, not by the one that all wait for.

use bytes::Bytes;
use lockgate_proto::attendance::Turn;
use lockgate_proto::convert::{description_to_bytes, encode_attendance_body, encode_entry, encode_record};
use lockgate_proto::entry::{EntryHeader, Origin};
use lockgate_proto::ids::{AgentName, DeviceName};
use lockgate_proto::position::{Position, Stamp};
use lockgate_proto::reading::Reading;
use lockgate_proto::record::{Record, Telemetry};
use lockgate_proto::time::UnixMicros;

use super::shadow_logic::{Teller, Told};
use super::{EntryKind, LoggedEntry, NewEntry, ReadingOrder, ShadowUpdate};

/// An entry that lacks only its place.
pub(super) struct PreparedEntry {
    pub(super) received_at: UnixMicros,
    pub(super) kind: EntryKind,
    pub(super) device: Option<DeviceName>,
    /// The encoded entry but for position and predecessor, which are fields of their own in front of it.
    pub(super) rest: Bytes,
    /// What it says of its device's present, if anything.
    pub(super) says: Option<Says>,
}

/// See [`PreparedEntry::says`].
pub(super) struct Says {
    agent: AgentName,
    order: ReadingOrder,
    backlog: bool,
    /// Each reading as an encoded record of its own, a description as its message.
    pub(super) told: Vec<Told<Bytes>>,
}

impl PreparedEntry {
    pub(super) fn new(entry: &NewEntry) -> PreparedEntry {
        let header = EntryHeader {
            // Absent on the wire, as all zeroes are.
            position: Position::START,
            previous: Position::START.stamp,
            received_at: entry.received_at,
            origin: entry.origin.clone(),
        };
        PreparedEntry {
            received_at: entry.received_at,
            kind: entry.kind,
            device: entry.device.clone(),
            rest: encode_entry(&header, &entry.body),
            says: entry.origin.as_ref().filter(|_| !entry.shadow.is_empty()).map(|origin| Says::new(origin, entry)),
        }
    }

    /// The entry at its place, after the entry at `newest`.
    pub(super) fn placed(&self, newest: Position, position: Position) -> LoggedEntry {
        LoggedEntry {
            position,
            previous: newest.stamp,
            device: self.device.clone(),
            kind: self.kind,
            bytes: placed(position, newest.stamp, &self.rest),
        }
    }
}

/// The entries that tell who came and who left.
pub(super) fn turn_entries(turns: &[Turn], now: UnixMicros) -> Vec<NewEntry> {
    let entry = |turn: &Turn| NewEntry {
        received_at: now,
        origin: None,
        kind: EntryKind::Attendance,
        device: None,
        body: encode_attendance_body(turn),
        shadow: Vec::new(),
    };
    turns.iter().map(entry).collect()
}

/// The encoded entry, of which `rest` is all but its place.
pub(super) fn placed(position: Position, previous: Stamp, rest: &[u8]) -> Bytes {
    encode_entry(&EntryHeader { position, previous, received_at: UnixMicros::ZERO, origin: None }, rest)
}

impl Says {
    fn new(origin: &Origin, entry: &NewEntry) -> Says {
        let told = |update: &ShadowUpdate| match update {
            ShadowUpdate::Metric(reading) => Some(Told::Metric {
                metric: reading.metric.clone(),
                sampled_at: reading.sampled_at,
                value: stored(entry.device.as_ref()?, reading),
            }),
            ShadowUpdate::Online { online, stale, at } => {
                Some(Told::Online { online: *online, stale: *stale, at: *at })
            }
            ShadowUpdate::Described(description) => Some(Told::Described {
                tags: description.tags.clone(),
                value: description_to_bytes(description).into(),
            }),
        };
        Says {
            agent: origin.agent.clone(),
            order: ReadingOrder::new(origin.epoch_order, origin.seq),
            backlog: origin.backlog,
            told: entry.shadow.iter().filter_map(told).collect(),
        }
    }

    pub(super) fn teller(&self, received_at: UnixMicros) -> Teller<'_> {
        Teller { agent: &self.agent, order: self.order, backlog: self.backlog, received_at }
    }
}

/// A reading as a record of its own.
fn stored(device: &DeviceName, reading: &Reading) -> Bytes {
    let telemetry = Telemetry { device: device.clone(), readings: vec![reading.clone()], historical: false };
    encode_record(&Record::Telemetry(telemetry))
}
