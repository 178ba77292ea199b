//! Reading a room's log: blocks from a stream, and what a position is worth.

use bytes::Bytes;
use lockgate_proto::position::{Offset, Position, Stamp};
use redis::{Cmd, cmd};

use super::block_logic::decode;
use super::keys::RoomKeys;
use super::nodes::Nodes;
use crate::backbone::{BackboneError, LogRead, LoggedEntry, ReadLimit};

/// Steps that the first round trip of a read asks for. They may be large, and what is left over is thrown away.
const BLOCKS_AT_FIRST: usize = 2;

/// LIMIT: steps that any later one asks for.
const BLOCKS_MAX: usize = 128;

/// What blocks were like so far, and so how many are worth asking for.
#[derive(Default)]
struct Stride {
    blocks: usize,
    entries: usize,
    bytes: usize,
}

impl Stride {
    fn see(&mut self, blocks: &[Vec<LoggedEntry>]) {
        self.blocks += blocks.len();
        self.entries += blocks.iter().map(Vec::len).sum::<usize>();
        self.bytes += blocks.iter().flatten().map(|entry| entry.bytes.len()).sum::<usize>();
    }

    /// Blocks that fill what there is still room for.
    fn next(&self, room: ReadLimit) -> usize {
        if self.blocks == 0 {
            return BLOCKS_AT_FIRST;
        }
        let entries = usize::try_from(room.entries_max).unwrap_or(usize::MAX);
        let filled = |room: usize, seen: usize| room.saturating_mul(self.blocks) / seen.max(1);
        filled(entries, self.entries).min(filled(room.bytes_max, self.bytes)).saturating_add(1).min(BLOCKS_MAX)
    }
}

/// One item of a stream.
type Item = (String, Vec<(Vec<u8>, Bytes)>);

pub(super) async fn head(nodes: &Nodes, keys: &RoomKeys) -> Result<Position, BackboneError> {
    let head: Option<Vec<u8>> = nodes.ask_one(keys, cmd("GET").arg(keys.head()).take()).await?;
    head.as_deref().map_or(Ok(Position::START), head_from)
}

/// What the room's head says.
pub(super) fn head_from(head: &[u8]) -> Result<Position, BackboneError> {
    let parts = || {
        let (offset, rest) = head.split_first_chunk()?;
        let (stamp, _bytes) = rest.split_first_chunk()?;
        Some(Position { offset: Offset(u64::from_be_bytes(*offset)), stamp: Stamp(u64::from_be_bytes(*stamp)) })
    };
    parts().ok_or_else(|| BackboneError::Damaged { what: "the head of a room is not readable".to_owned() })
}

pub(super) async fn read_after(
    nodes: &Nodes,
    keys: &RoomKeys,
    after: Position,
    limit: ReadLimit,
) -> Result<LogRead, BackboneError> {
    let mut reading = Reading { after, entries: Vec::new(), room: limit, full: false };
    let mut from = after.offset;
    let mut stride = Stride::default();
    loop {
        let count = stride.next(reading.room);
        // A block's id is the offset of its last entry: the first one from here on has the entry itself.
        let mut range = cmd("XRANGE");
        range.arg(keys.log()).arg(from.0).arg("+").arg("COUNT").arg(count);
        let blocks = blocks(nodes, keys, range).await?;
        let more = blocks.len() == count;
        stride.see(&blocks);
        if from == after.offset {
            match standing(after, blocks.first().map(Vec::as_slice).unwrap_or_default()) {
                Standing::Here => {}
                Standing::Trimmed => return Ok(LogRead::Trimmed),
                Standing::Diverged => return Ok(LogRead::Diverged),
            }
        }
        reading.take(blocks);
        match reading.entries.last() {
            Some(last) if more && !reading.full => from = last.position.offset.next(),
            _ => return Ok(LogRead::Entries(reading.entries)),
        }
    }
}

/// What a read has so far.
struct Reading {
    after: Position,
    entries: Vec<LoggedEntry>,
    room: ReadLimit,
    full: bool,
}

impl Reading {
    fn take(&mut self, blocks: Vec<Vec<LoggedEntry>>) {
        for entry in blocks.into_iter().flatten().filter(|entry| entry.position.offset > self.after.offset) {
            // Trimmed or grown anew between two round trips: what follows is for the next read to find out.
            let linked = self.entries.last().is_none_or(|last| {
                (last.position.offset.next(), last.position.stamp) == (entry.position.offset, entry.previous)
            });
            let fits = self.room.entries_max > 0 && self.room.bytes_max >= entry.bytes.len();
            if !linked || !(fits || self.entries.is_empty()) {
                self.full = true;
                return;
            }
            self.room.entries_max = self.room.entries_max.saturating_sub(1);
            self.room.bytes_max = self.room.bytes_max.saturating_sub(entry.bytes.len());
            self.entries.push(entry);
        }
    }
}

pub(super) async fn read_last(
    nodes: &Nodes,
    keys: &RoomKeys,
    limit: ReadLimit,
) -> Result<Vec<LoggedEntry>, BackboneError> {
    let mut reading = ReadingBack { newest_first: Vec::new(), room: limit, full: false };
    let mut to = "+".to_owned();
    let mut stride = Stride::default();
    loop {
        let count = stride.next(reading.room);
        let mut range = cmd("XREVRANGE");
        range.arg(keys.log()).arg(&to).arg("-").arg("COUNT").arg(count);
        let blocks = blocks(nodes, keys, range).await?;
        let more = blocks.len() == count;
        stride.see(&blocks);
        reading.take(blocks);
        let oldest = reading.newest_first.last().map_or(0, |entry| entry.position.offset.0);
        if !more || reading.full || oldest <= 1 {
            reading.newest_first.reverse();
            return Ok(reading.newest_first);
        }
        to = (oldest - 1).to_string();
    }
}

/// What a read from the end has so far.
struct ReadingBack {
    newest_first: Vec<LoggedEntry>,
    room: ReadLimit,
    full: bool,
}

impl ReadingBack {
    fn take(&mut self, blocks: Vec<Vec<LoggedEntry>>) {
        for entry in blocks.into_iter().flat_map(|block| block.into_iter().rev()) {
            let linked = self.newest_first.last().is_none_or(|newer| newer.previous == entry.position.stamp);
            let fits = self.room.bytes_max >= entry.bytes.len() || self.newest_first.is_empty();
            if self.room.entries_max == 0 || !fits || !linked {
                self.full = true;
                return;
            }
            self.room.entries_max -= 1;
            self.room.bytes_max = self.room.bytes_max.saturating_sub(entry.bytes.len());
            self.newest_first.push(entry);
        }
    }
}

async fn blocks(nodes: &Nodes, keys: &RoomKeys, range: Cmd) -> Result<Vec<Vec<LoggedEntry>>, BackboneError> {
    let items: Vec<Item> = nodes.ask_one(keys, range).await?;
    let damaged = || BackboneError::Damaged { what: "a block of a room's log is not readable".to_owned() };
    let block = |(_, fields): Item| {
        let block = fields.into_iter().find(|(name, _)| name == b"b").ok_or_else(damaged)?.1;
        decode(block).map_err(|_| damaged())
    };
    items.into_iter().map(block).collect()
}

enum Standing {
    Here,
    Trimmed,
    Diverged,
}

/// Whether the log is still the one that the position was taken from. `block` is the first that ends at the
/// position or behind it.
fn standing(after: Position, block: &[LoggedEntry]) -> Standing {
    let same_history = |stamp: Stamp| if stamp == after.stamp { Standing::Here } else { Standing::Diverged };
    let Some(first) = block.first() else {
        return if after.offset == Offset(0) { Standing::Here } else { Standing::Diverged };
    };
    if let Some(here) = block.iter().find(|entry| entry.position.offset == after.offset) {
        return same_history(here.position.stamp);
    }
    // The oldest that there is: it knows the one before it.
    if after.offset.next() != first.position.offset {
        Standing::Trimmed
    } else if after.offset == Offset(0) {
        Standing::Here
    } else {
        same_history(first.previous)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stride(blocks: usize, entries: usize, bytes: usize) -> Stride {
        Stride { blocks, entries, bytes }
    }

    #[test]
    fn a_read_asks_for_about_as_many_steps_as_it_has_room_for() {
        let room = ReadLimit { entries_max: 500, bytes_max: 1_000_000 };
        assert_eq!(Stride::default().next(room), BLOCKS_AT_FIRST);
        assert_eq!(stride(2, 20, 2_000).next(room), 51);
        // Each of them is more than the read may have: one, to go on.
        assert_eq!(stride(2, 2_000, 200_000).next(room), 1);
        // Few and large.
        assert_eq!(stride(2, 2, 400_000).next(room), 6);
        assert_eq!(stride(2, 2, 2).next(room), BLOCKS_MAX);
        assert_eq!(stride(2, 2, 2).next(ReadLimit { entries_max: u32::MAX, bytes_max: usize::MAX }), BLOCKS_MAX);
    }
}
