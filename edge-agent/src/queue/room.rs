//! Keeps each lane within its part of the budget: settled segments go first, then repeats of events are
//! folded, then the oldest of the lane goes.

use std::io;

use lockgate_proto::gap::{Gap, GapReason, TimeSpan};
use lockgate_proto::ranges::SeqRange;
use lockgate_proto::seq::{Epoch, Lane, Seq};
use lockgate_proto::time::UnixMicros;

use super::book::Book;
use super::error::AppendError;
use super::layout::SegmentId;
use super::recovery_logic::wall_in;
use super::time::RecordTime;
use super::types::Fault;
use super::{Queue, Segment};

/// Records that went with their segments.
#[derive(Clone, Copy, Default)]
struct Dropped {
    evicted: u64,
    settled: u64,
}

impl Queue {
    /// What the files of a lane may take together: the lanes can't take room from one another.
    pub(super) fn lane_budget(&self, lane: Lane) -> u64 {
        match lane {
            Lane::Events => self.limits.events_reserve_bytes(),
            Lane::Telemetry => self.limits.budget_bytes() - self.limits.events_reserve_bytes(),
        }
    }

    /// When a segment of a lane is full: no lane is dropped in less than four steps.
    pub(super) fn segment_bytes_of(&self, lane: Lane) -> u64 {
        self.limits.segment_bytes().min(self.lane_budget(lane) / 4)
    }

    pub(super) fn lane_bytes(&self, lane: Lane) -> u64 {
        self.segments.iter().filter(|(id, _)| id.lane == lane).map(|(_, segment)| segment.bytes).sum()
    }

    pub(super) fn lane_segments(
        &self,
        epoch: Epoch,
        lane: Lane,
    ) -> impl DoubleEndedIterator<Item = (SegmentId, &Segment)> {
        let order = self.book.epoch(epoch).map_or(0, |entry| entry.order);
        let id = |first| SegmentId { order, epoch, lane, first };
        self.segments.range(id(Seq::NONE)..=id(Seq::MAX)).map(|(id, segment)| (*id, segment))
    }

    /// Drops segments until so many bytes more fit.
    pub(super) fn make_room(&mut self, lane: Lane, needed: u64) -> Result<(), AppendError> {
        if self.surplus(lane, needed) == 0 {
            return Ok(());
        }
        self.drop_oldest(lane, needed).map_err(AppendError::MakeRoom)?;
        if self.surplus(lane, needed) > 0 {
            // Only the segment that is appended to is left.
            self.seal(lane).map_err(AppendError::MakeRoom)?;
            self.drop_oldest(lane, needed).map_err(AppendError::MakeRoom)?;
        }
        Ok(())
    }

    /// So many bytes the lane would have too many.
    pub(super) fn surplus(&self, lane: Lane, needed: u64) -> u64 {
        (self.lane_bytes(lane) + needed).saturating_sub(self.lane_budget(lane))
    }

    /// Makes room by what is closed. Of events nothing unsettled goes before the repeats are folded.
    fn drop_oldest(&mut self, lane: Lane, needed: u64) -> io::Result<()> {
        let (settled, unsettled) = self.closed_segments(lane);
        if lane == Lane::Events {
            self.let_go(&self.enough(&settled, self.surplus(lane, needed)))?;
            self.compact_until_fits(&unsettled, lane, needed);
            return self.let_go(&self.enough(&unsettled, self.surplus(lane, needed)));
        }
        self.let_go(&self.enough(&[settled, unsettled].concat(), self.surplus(lane, needed)))
    }

    /// Oldest first, never the one that is appended to: those of which all is settled, and the others.
    fn closed_segments(&self, lane: Lane) -> (Vec<SegmentId>, Vec<SegmentId>) {
        let active = self.active[lane.index()].as_ref().map(|active| active.id);
        let of_lane = self.segments.iter().filter(|(id, _)| id.lane == lane && Some(**id) != active);
        let (settled, unsettled): (Vec<_>, Vec<_>) =
            of_lane.partition(|(id, segment)| self.unsettled_in(**id, segment).is_none());
        let ids = |segments: Vec<(&SegmentId, &Segment)>| segments.into_iter().map(|(id, _)| *id).collect();
        (ids(settled), ids(unsettled))
    }

    /// The first of them that together take so many bytes.
    fn enough(&self, ids: &[SegmentId], surplus: u64) -> Vec<SegmentId> {
        let mut freed = 0_u64;
        let is_needed = |id: &&SegmentId| {
            let is_short = freed < surplus;
            freed = freed.saturating_add(self.segments[*id].bytes);
            is_short
        };
        ids.iter().take_while(is_needed).copied().collect()
    }

    /// What of a segment is neither settled nor accounted for.
    pub(super) fn unsettled_in(&self, id: SegmentId, segment: &Segment) -> Option<lockgate_proto::ranges::RangeSet> {
        let range = SeqRange::new(id.first, segment.last)?;
        let entry = self.book.epoch(id.epoch)?;
        let noted = &entry.lanes[id.lane.index()];
        let unsettled = noted.settled.missing_in(range).difference(&noted.gone);
        (!unsettled.is_empty()).then_some(unsettled)
    }

    /// DURABILITY: what is dropped stands in the book on disk before it is deleted. A crash between the
    /// two repeats the delete at the next open; it loses nothing that was not told.
    fn let_go(&mut self, victims: &[SegmentId]) -> io::Result<()> {
        if victims.is_empty() {
            return Ok(());
        }
        let mut book = self.book.clone();
        let mut dropped = [Dropped::default(); 2];
        for id in victims {
            self.account_for(&mut book, *id, &mut dropped[id.lane.index()]);
        }
        // The book must not name as the newest one a segment that is about to go.
        let removed: Vec<_> = victims.iter().filter_map(|id| self.segments.remove_entry(id)).collect();
        if let Err(error) = self.write_book(book) {
            self.segments.extend(removed);
            return Err(error);
        }
        for (counters, dropped) in self.counters.lanes.iter_mut().zip(dropped) {
            counters.evicted += dropped.evicted;
            counters.settled_dropped += dropped.settled;
            self.gaps_version += u64::from(dropped.evicted > 0);
        }
        for id in victims {
            self.readers.forget(*id);
            self.delete_file(*id);
        }
        self.delete_what_could_not_be_deleted();
        Ok(())
    }

    /// Enters the end of a segment in the book.
    fn account_for(&mut self, book: &mut Book, id: SegmentId, dropped: &mut Dropped) {
        let segment = self.segments[&id].clone();
        let Some(range) = SeqRange::new(id.first, segment.last) else { return };
        let unsettled = self.unsettled_in(id, &segment).unwrap_or_default();
        let span = if unsettled.is_empty() { TimeSpan::default() } else { self.span_of(id, &segment) };
        let Some(entry) = book.epoch_mut(id.epoch) else { return };
        let noted = &mut entry.lanes[id.lane.index()];
        dropped.evicted += unsettled.count();
        dropped.settled += noted.gone.missing_in(range).difference(&unsettled).count();
        noted.gone.insert(range);
        if noted.last() < segment.last {
            noted.last = Some(segment.last);
        }
        for range in unsettled.ranges() {
            book.add_gap(Gap { epoch: id.epoch, lane: id.lane, range: *range, reason: GapReason::Evicted, span });
        }
    }

    /// When the records of a segment were taken.
    pub(super) fn span_of(&mut self, id: SegmentId, segment: &Segment) -> TimeSpan {
        let first = self.time_of(id, id.first);
        let last = self.time_of(id, segment.last);
        TimeSpan { from: first, to: last.filter(|last| first.is_none_or(|first| first <= *last)) }
    }

    /// When a record was taken, if that is known by now.
    pub(super) fn time_of(&mut self, id: SegmentId, seq: Seq) -> Option<UnixMicros> {
        match self.peek_time(id, seq)? {
            RecordTime::Wall { at } => Some(at),
            RecordTime::Boot { boot, at, .. } => wall_in(&self.book, boot, at),
        }
    }

    pub(super) fn delete_file(&mut self, id: SegmentId) {
        let name = id.name();
        match self.storage.remove(&name) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                self.report(Fault::DeleteFailed { name: name.clone(), error: error.to_string() });
                self.undeleted.push(name);
            }
        }
    }

    fn delete_what_could_not_be_deleted(&mut self) {
        let storage = &self.storage;
        self.undeleted.retain(|name| storage.remove(name).is_err_and(|error| error.kind() != io::ErrorKind::NotFound));
    }

    /// Puts a new book in the place of the old one, on disk first.
    pub(super) fn write_book(&mut self, mut book: Book) -> io::Result<()> {
        self.note_tails(&mut book);
        let waits_for_flush = self.active.iter().flatten().any(|active| active.synced_end < active.end);
        if !waits_for_flush {
            // So that what is lost with the power was taken after this.
            book.last_wall = self.wall.or(book.last_wall);
        }
        self.counters.written_bytes += book.write(self.storage.as_ref())?;
        self.counters.checkpoints += 1;
        self.book = book;
        self.book_dirty = false;
        Ok(())
    }
}
