//! A step's entries as one block of bytes: what the log keeps and the live channel carries.
//!
//! ```text
//! first offset (8) │ stamp of the entry before (8) │ version (1) │ entry, entry, …
//! entry: stamp (8) │ kind (1) │ length of the device's name (2) │ length of the rest (4) │ name │ rest
//! ```
//!
//! Numbers are big-endian; *rest* is the encoded wire entry but for its place. The first two fields are put in
//! front by the function that gives the entries their places: so it need not touch one entry by itself.

use bytes::{Buf, Bytes};
use lockgate_proto::ids::DeviceName;
use lockgate_proto::position::{Offset, Position, Stamp};

use crate::backbone::prepare::{PreparedEntry, placed};
use crate::backbone::{EntryKind, LoggedEntry};

const VERSION: u8 = 1;

/// A block that nobody of us made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a block of the log is not readable")]
pub(super) struct BadBlock;

/// The block of a step, but for the two fields in front. `stamps` has one for each entry.
pub(super) fn encode(entries: &[PreparedEntry], stamps: &[Stamp]) -> Vec<u8> {
    let size = entries.iter().map(|entry| 64 + entry.rest.len()).sum();
    let mut block = Vec::with_capacity(size);
    block.push(VERSION);
    for (entry, stamp) in entries.iter().zip(stamps) {
        let device = entry.device.as_ref().map_or("", DeviceName::as_str);
        block.extend_from_slice(&stamp.0.to_be_bytes());
        block.push(entry.kind.number());
        block.extend_from_slice(&u16::try_from(device.len()).unwrap_or(u16::MAX).to_be_bytes());
        block.extend_from_slice(&u32::try_from(entry.rest.len()).unwrap_or(u32::MAX).to_be_bytes());
        block.extend_from_slice(device.as_bytes());
        block.extend_from_slice(&entry.rest);
    }
    block
}

/// The entries of a block, each at its place.
pub(super) fn decode(mut block: Bytes) -> Result<Vec<LoggedEntry>, BadBlock> {
    let mut offset = Offset(block.try_get_u64().map_err(|_| BadBlock)?);
    let mut previous = Stamp(block.try_get_u64().map_err(|_| BadBlock)?);
    if block.try_get_u8() != Ok(VERSION) {
        return Err(BadBlock);
    }
    let mut entries = Vec::new();
    while block.has_remaining() {
        let entry = decode_entry(&mut block, offset, previous).ok_or(BadBlock)?;
        previous = entry.position.stamp;
        offset = offset.next();
        entries.push(entry);
    }
    Ok(entries)
}

fn decode_entry(block: &mut Bytes, offset: Offset, previous: Stamp) -> Option<LoggedEntry> {
    let stamp = Stamp(block.try_get_u64().ok()?);
    let kind = EntryKind::from_number(block.try_get_u8().ok()?)?;
    let device_length = usize::from(block.try_get_u16().ok()?);
    let rest_length = usize::try_from(block.try_get_u32().ok()?).ok()?;
    if block.remaining() < device_length.checked_add(rest_length)? {
        return None;
    }
    let device = block.split_to(device_length);
    let rest = block.split_to(rest_length);
    let device = match std::str::from_utf8(&device).ok()? {
        "" => None,
        name => Some(DeviceName::new(name).ok()?),
    };
    let position = Position { offset, stamp };
    Some(LoggedEntry { position, previous, device, kind, bytes: placed(position, previous, &rest) })
}
