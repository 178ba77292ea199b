//! What the queue holds, what it has lost, and how it is doing.

use lockgate_proto::gap::Gap;
use lockgate_proto::link::agent::Holdings;
use lockgate_proto::link::frame::{EpochHeld, LaneHeld};
use lockgate_proto::ranges::{RangeSet, SeqRange};
use lockgate_proto::seq::{Lane, Seq};
use lockgate_proto::time::UnixMicros;

use super::Queue;
use super::book::EpochEntry;
use super::time::BootTime;
use super::types::Stats;

impl Queue {
    /// What is on disk and can be sent, settled or not, and what is lost. Damage that no reader has met yet
    /// is not known.
    pub fn held(&self) -> Holdings {
        let epochs = self.book.epochs.iter();
        let epochs = epochs.map(|entry| EpochHeld {
            epoch: entry.epoch,
            lanes: Lane::ALL.map(|lane| LaneHeld { held: self.held_of(entry, lane), last: self.last_of(entry, lane) }),
        });
        Holdings { epochs: epochs.collect(), gaps: self.gaps() }
    }

    fn held_of(&self, entry: &EpochEntry, lane: Lane) -> RangeSet {
        let segments = self.lane_segments(entry.epoch, lane);
        let on_disk: RangeSet = segments.filter_map(|(id, segment)| SeqRange::new(id.first, segment.last)).collect();
        on_disk.difference(&entry.lanes[lane.index()].gone)
    }

    fn last_of(&self, entry: &EpochEntry, lane: Lane) -> Seq {
        let is_current = entry.epoch == self.start.epoch;
        if is_current { self.appended[lane.index()] } else { entry.lanes[lane.index()].last() }
    }

    /// Losses that are not settled, for the backbone to be told.
    pub fn gaps(&self) -> Vec<Gap> {
        self.book.gaps.clone()
    }

    /// What is known of the clocks of the boots that records were taken in, oldest first.
    pub fn boots(&self) -> Vec<BootTime> {
        self.book.boots.clone()
    }

    /// Counters and sizes. Reads at most one record.
    pub fn stats(&mut self) -> Stats {
        let mut lanes = self.counters.lanes;
        let mut oldest = None;
        for entry in &self.book.epochs {
            for lane in Lane::ALL {
                let held = self.held_of(entry, lane);
                let unsettled = held.difference(&entry.lanes[lane.index()].settled);
                let stats = &mut lanes[lane.index()];
                stats.held = stats.held.saturating_add(held.count());
                stats.unsettled = stats.unsettled.saturating_add(unsettled.count());
                if oldest.is_none() && !unsettled.is_empty() {
                    oldest = Some((entry.epoch, lane, unsettled.first()));
                }
            }
        }
        for lane in Lane::ALL {
            lanes[lane.index()].bytes = self.lane_bytes(lane);
        }
        let oldest_unsettled = oldest.and_then(|(epoch, lane, seq)| self.time_of_number(epoch, lane, seq));
        Stats {
            lanes,
            budget_bytes: self.limits.budget_bytes(),
            written_bytes: self.counters.written_bytes,
            flushes: self.counters.flushes,
            checkpoints: self.counters.checkpoints,
            faults: self.counters.faults.clone(),
            gaps: self.book.gaps.len() as u64,
            epochs: self.book.epochs.len() as u64,
            events_over_reserve: self.unsettled_bytes(Lane::Events) > self.lane_budget(Lane::Events) / 4 * 3,
            oldest_unsettled,
        }
    }

    fn time_of_number(&mut self, epoch: lockgate_proto::seq::Epoch, lane: Lane, seq: Seq) -> Option<UnixMicros> {
        let id = self
            .lane_segments(epoch, lane)
            .find(|(id, segment)| id.first <= seq && seq <= segment.last)
            .map(|(id, _)| id)?;
        self.time_of(id, seq)
    }

    fn unsettled_bytes(&self, lane: Lane) -> u64 {
        let of_lane = self.segments.iter().filter(|(id, _)| id.lane == lane);
        of_lane
            .filter(|(id, segment)| self.unsettled_in(**id, segment).is_some())
            .map(|(_, segment)| segment.bytes)
            .sum()
    }
}
