//! The checkpoint: what the segments can't say. Small, written whole, and the only other truth.
//!
//! Segments are the truth about records that are on disk; the book is the truth about those that are
//! not: which were let go on purpose or are known to be lost (`gone`), and what of this is still to be
//! told (`gaps`). `settled` is a hint that saves work: the backbone's ledger is the truth about it.

mod codec;
#[cfg(test)]
mod tests;

use std::io;

use lockgate_proto::gap::Gap;
use lockgate_proto::ranges::{RangeSet, SeqRange};
use lockgate_proto::seq::{Epoch, Lane, Seq};
use lockgate_proto::time::UnixMicros;

use super::limits::GAPS_MAX;
use super::storage::Storage;
use super::time::{BootId, BootTime};

pub(crate) use codec::{decode, encode};

/// Name of the checkpoint in the folder.
pub(crate) const CHECKPOINT_NAME: &str = "checkpoint";

/// The name under which a checkpoint is written before it takes its place.
pub(crate) const CHECKPOINT_NEW_NAME: &str = "checkpoint.new";

/// What the checkpoint says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Book {
    /// Oldest first.
    pub(crate) epochs: Vec<EpochEntry>,
    /// Lost and not settled; oldest first within each epoch and lane.
    pub(crate) gaps: Vec<Gap>,
    /// Boots of the epochs, oldest first.
    pub(crate) boots: Vec<BootTime>,
    /// The last wall time that was known for sure.
    pub(crate) last_wall: Option<UnixMicros>,
    /// Place for the next epoch.
    pub(crate) next_order: u32,
}

/// One start of the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EpochEntry {
    /// Which.
    pub(crate) epoch: Epoch,
    /// Its place, as in the names of its segments.
    pub(crate) order: u32,
    /// Its boot, unless nothing readable says it.
    pub(crate) boot: Option<BootId>,
    /// How it ended; `None` while it may still be appended to, or nobody has looked since.
    pub(crate) end: Option<End>,
    /// The backbone has heard that it has ended.
    pub(crate) is_told: bool,
    /// By [`Lane::index`].
    pub(crate) lanes: [LaneEntry; 2],
}

/// How an epoch came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It closed the queue.
    Clean,
    /// It did not, and a later start has accounted for it.
    Accounted,
}

/// One numbering.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LaneEntry {
    /// The highest number known to have been given.
    pub(crate) last: Option<Seq>,
    /// The newest segment, once it is on disk for sure.
    pub(crate) tail: Option<TailEntry>,
    /// Not on disk any more, on purpose or not, and accounted for.
    pub(crate) gone: RangeSet,
    /// Known to the backbone, when last heard.
    pub(crate) settled: RangeSet,
}

/// The newest segment of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TailEntry {
    /// Its first number.
    pub(crate) first: Seq,
    /// Its length, where nothing will be added to it.
    pub(crate) bytes: Option<u64>,
}

impl LaneEntry {
    /// The highest number known to have been given, or [`Seq::NONE`].
    pub(crate) fn last(&self) -> Seq {
        self.last.unwrap_or(Seq::NONE)
    }
}

impl Book {
    /// The entry of an epoch.
    pub(crate) fn epoch(&self, epoch: Epoch) -> Option<&EpochEntry> {
        self.epochs.iter().find(|entry| entry.epoch == epoch)
    }

    /// The entry of an epoch, to be changed.
    pub(crate) fn epoch_mut(&mut self, epoch: Epoch) -> Option<&mut EpochEntry> {
        self.epochs.iter_mut().find(|entry| entry.epoch == epoch)
    }

    /// Remembers a loss that is still to be told; joins it to a neighbour of the same reason.
    pub(crate) fn add_gap(&mut self, gap: Gap) {
        let same = |other: &Gap| (other.epoch, other.lane, other.reason) == (gap.epoch, gap.lane, gap.reason);
        let neighbour =
            self.gaps.iter_mut().rev().find(|other| same(other) && other.range.last().next() == gap.range.first());
        match neighbour {
            Some(before) => {
                before.range = SeqRange::new(before.range.first(), gap.range.last()).unwrap_or(before.range);
                before.span.to = gap.span.to;
            }
            None => self.gaps.push(gap),
        }
        while self.gaps.len() > GAPS_MAX && self.join_two() {}
    }

    /// LIMIT: with too many gaps, two of the same kind become one that spans what lies between them. The
    /// gateway takes of a gap only what it has not stored, so nothing that arrived is declared lost.
    fn join_two(&mut self) -> bool {
        for at in 1..self.gaps.len() {
            let (before, gap) = (self.gaps[at - 1], self.gaps[at]);
            let same = (before.epoch, before.lane, before.reason) == (gap.epoch, gap.lane, gap.reason);
            let all_gone = |range| {
                self.epoch(gap.epoch).is_some_and(|entry| {
                    let lane = &entry.lanes[gap.lane.index()];
                    lane.gone.contains_range(range)
                })
            };
            if let Some(range) = SeqRange::new(before.range.first(), gap.range.last())
                && same
                && all_gone(range)
            {
                self.gaps[at - 1].range = range;
                self.gaps[at - 1].span.to = gap.span.to;
                self.gaps.remove(at);
                return true;
            }
        }
        false
    }

    /// Takes what is settled out of the gaps of a lane; says whether any changed.
    pub(crate) fn settle_gaps(&mut self, epoch: Epoch, lane: Lane, settled: &RangeSet) -> bool {
        let mut kept = Vec::with_capacity(self.gaps.len());
        for gap in &self.gaps {
            if (gap.epoch, gap.lane) == (epoch, lane) {
                let left = settled.missing_in(gap.range);
                kept.extend(left.ranges().iter().map(|range| Gap { range: *range, ..*gap }));
            } else {
                kept.push(*gap);
            }
        }
        let changed = kept != self.gaps;
        self.gaps = kept;
        changed
    }

    /// Forgets epochs by a rule, with their gaps and the boots that no other epoch needs.
    pub(crate) fn forget_epochs(&mut self, mut forget: impl FnMut(&EpochEntry) -> bool) {
        self.epochs.retain(|entry| !forget(entry));
        let epochs = &self.epochs;
        self.gaps.retain(|gap| epochs.iter().any(|entry| entry.epoch == gap.epoch));
        self.boots.retain(|time| epochs.iter().any(|entry| entry.boot == Some(time.boot)));
    }

    /// Puts the book in the place of the one on disk.
    ///
    /// DURABILITY: the old checkpoint stands until the new one is whole on disk; a crash between any two
    /// lines leaves one of the two.
    pub(crate) fn write(&self, storage: &dyn Storage) -> io::Result<u64> {
        let bytes = encode(self);
        // Left behind by a crash, or by a disk that was full.
        drop(storage.remove(CHECKPOINT_NEW_NAME));
        let file = storage.create(CHECKPOINT_NEW_NAME)?;
        let written = file.write_at(0, &bytes).and_then(|()| file.sync());
        if let Err(error) = written {
            drop(storage.remove(CHECKPOINT_NEW_NAME));
            return Err(error);
        }
        storage.rename(CHECKPOINT_NEW_NAME, CHECKPOINT_NAME)?;
        storage.sync_folder()?;
        Ok(bytes.len() as u64)
    }
}
