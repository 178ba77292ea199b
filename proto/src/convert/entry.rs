//! Entries: a header of our own making in front of bytes that came as they are.

use bytes::Bytes;
use prost::Message;

use super::attendance::{alarm_from_wire, turn_from_wire};
use super::basic::{agent_name, gap_from_wire, gap_to_wire, lane_from_wire, lane_to_wire};
use super::command::command_update_from_wire;
use super::description::description_from_wire;
use super::record::{presence_from_wire, telemetry_from_wire};
use super::{ConvertError, at_most};
use crate::entry::{AgentGap, Entry, EntryBody, EntryHeader, EntryKind, Origin};
use crate::gap::Gap;
use crate::ids::AgentName;
use crate::limits::ENTRY_BYTES_MAX;
use crate::position::{Offset, Position, Stamp};
use crate::seq::{Epoch, Seq};
use crate::time::UnixMicros;
use crate::wire;

/// The header's bytes. Followed by an encoded record, or by [`encode_gap_body`]'s bytes, they are an encoded entry.
pub fn encode_entry_header(header: &EntryHeader) -> Vec<u8> {
    let entry = wire::Entry {
        offset: header.position.offset.0,
        stamp: header.position.stamp.0,
        previous_stamp: header.previous.0,
        received_at_us: header.received_at.0,
        origin: header.origin.as_ref().map(|origin| wire::Origin {
            agent: origin.agent.as_str().to_owned(),
            epoch: origin.epoch.0,
            epoch_order: origin.epoch_order,
            lane: lane_to_wire(origin.lane),
            seq: origin.seq.get(),
            backlog: origin.backlog,
        }),
        body: None,
    };
    entry.encode_to_vec()
}

/// Header and body as one encoded entry.
pub fn encode_entry(header: &EntryHeader, body: &[u8]) -> Bytes {
    let mut bytes = encode_entry_header(header);
    bytes.reserve_exact(body.len());
    bytes.extend_from_slice(body);
    bytes.into()
}

/// The body of an entry that tells a loss, or with `withdrawn`, that what was told as lost has come.
pub fn encode_gap_body(agent: &AgentName, gap: &Gap, withdrawn: bool) -> Bytes {
    let gap = gap_to_wire(gap, Some(agent));
    let body = if withdrawn { wire::entry::Body::GapWithdrawn(gap) } else { wire::entry::Body::Gap(gap) };
    wire::Entry { body: Some(body), ..wire::Entry::default() }.encode_to_vec().into()
}

/// The entry that the bytes stand for, every bound checked.
pub fn decode_entry(bytes: Bytes) -> Result<Entry, ConvertError> {
    at_most("entry", bytes.len(), ENTRY_BYTES_MAX)?;
    entry_from_wire(wire::Entry::decode(bytes)?)
}

/// The entry that a decoded message stands for, every bound checked.
pub fn entry_from_wire(entry: wire::Entry) -> Result<Entry, ConvertError> {
    let header = EntryHeader {
        position: Position { offset: Offset(entry.offset), stamp: Stamp(entry.stamp) },
        previous: Stamp(entry.previous_stamp),
        received_at: UnixMicros(entry.received_at_us),
        origin: entry.origin.as_ref().map(origin_from_wire).transpose()?,
    };
    if entry.offset == 0 {
        return Err(ConvertError::Missing { field: "offset" });
    }
    let body = match entry.body {
        Some(wire::entry::Body::Telemetry(telemetry)) => EntryBody::Telemetry(telemetry_from_wire(telemetry)?),
        Some(wire::entry::Body::Presence(presence)) => EntryBody::Presence(presence_from_wire(&presence)?),
        Some(wire::entry::Body::Gap(gap)) => EntryBody::Gap(agent_gap_from_wire(&gap)?),
        Some(wire::entry::Body::GapWithdrawn(gap)) => EntryBody::GapWithdrawn(agent_gap_from_wire(&gap)?),
        Some(wire::entry::Body::Attendance(turn)) => EntryBody::Attendance(turn_from_wire(turn)?),
        Some(wire::entry::Body::Alarm(alarm)) => alarm_from_wire(alarm)?.map_or(EntryBody::Unknown, EntryBody::Alarm),
        Some(wire::entry::Body::Command(update)) => {
            command_update_from_wire(update)?.map_or(EntryBody::Unknown, EntryBody::Command)
        }
        Some(wire::entry::Body::Description(description)) => {
            EntryBody::Description(description_from_wire(description)?)
        }
        None => EntryBody::Unknown,
    };
    Ok(Entry { header, body })
}

/// The kind as it is chosen by name.
pub fn kind_to_wire(kind: EntryKind) -> wire::EntryKind {
    match kind {
        EntryKind::Telemetry => wire::EntryKind::Telemetry,
        EntryKind::Presence => wire::EntryKind::Presence,
        EntryKind::Gap => wire::EntryKind::Gap,
        EntryKind::GapWithdrawn => wire::EntryKind::GapWithdrawn,
        EntryKind::Attendance => wire::EntryKind::Attendance,
        EntryKind::Alarm => wire::EntryKind::Alarm,
        EntryKind::Command => wire::EntryKind::Command,
        EntryKind::Description => wire::EntryKind::Description,
    }
}

/// The kind of a number on the wire; `None` for no kind, and for one of a later version.
pub fn kind_from_wire(number: i32) -> Option<EntryKind> {
    EntryKind::ALL.into_iter().find(|kind| i32::from(kind_to_wire(*kind)) == number)
}

fn origin_from_wire(origin: &wire::Origin) -> Result<Origin, ConvertError> {
    Ok(Origin {
        agent: agent_name(&origin.agent)?,
        epoch: Epoch(origin.epoch),
        epoch_order: origin.epoch_order,
        lane: lane_from_wire(origin.lane)?,
        seq: Seq::new(origin.seq),
        backlog: origin.backlog,
    })
}

fn agent_gap_from_wire(gap: &wire::Gap) -> Result<AgentGap, ConvertError> {
    Ok(AgentGap { agent: agent_name(&gap.agent)?, gap: gap_from_wire(gap)? })
}
