//! Reading: the live tail, and the backlog from its oldest record on, at the price of one pass each.

use std::io;

use lockgate_proto::gap::{Gap, GapReason, TimeSpan};
use lockgate_proto::ranges::{RangeSet, SeqRange};
use lockgate_proto::seq::{Epoch, Lane, Seq};

use super::error::ReadError;
use super::layout::{SEGMENT_HEADER_BYTES, SegmentId};
use super::limits::INDEX_POINTS_MAX;
use super::scan::{Step, Walker};
use super::storage::StorageFile;
use super::time::{BootId, RecordTime};
use super::types::{Fault, ReadBatch, StoredRecord};
use super::{Queue, Segment};

/// LIMIT: so many segments are kept open for readers.
const READERS_MAX: usize = 3;

/// Open segments and where their last readers stopped; the one used last stands last.
#[derive(Default)]
pub(super) struct Readers(Vec<Reader>);

struct Reader {
    id: SegmentId,
    file: Box<dyn StorageFile>,
    /// A record begins there.
    point: (Seq, u64),
}

impl Readers {
    /// Closes a segment.
    pub(super) fn forget(&mut self, id: SegmentId) {
        self.0.retain(|reader| reader.id != id);
    }

    fn take(&mut self, id: SegmentId) -> Option<Reader> {
        let at = self.0.iter().position(|reader| reader.id == id)?;
        Some(self.0.remove(at))
    }

    fn put(&mut self, reader: Reader) {
        if self.0.len() == READERS_MAX {
            self.0.remove(0);
        }
        self.0.push(reader);
    }
}

/// What one segment gave of the asked range.
struct Piece {
    /// The answer covers the segment's part of the range up to here.
    through: Seq,
    /// There was more than the caller wants at once.
    is_full: bool,
}

impl Queue {
    /// Records of a range, ascending, until their payloads reach `bytes_max`; at least one, where one is
    /// held. Records that turn out to be damaged are accounted for as gaps, and the rest is given.
    pub fn read(
        &mut self,
        epoch: Epoch,
        lane: Lane,
        range: SeqRange,
        bytes_max: usize,
    ) -> Result<ReadBatch, ReadError> {
        let mut batch = ReadBatch::default();
        let Some(range) = self.given_part(epoch, lane, range) else { return Ok(batch) };
        let boot = self.book.epoch(epoch).and_then(|entry| entry.boot).unwrap_or(BootId(0));
        let wanted = Wanted { range, bytes_max, boot };
        let segments: Vec<SegmentId> = self
            .lane_segments(epoch, lane)
            .filter(|(id, segment)| id.first <= range.last() && range.first() <= segment.last)
            .map(|(id, _)| id)
            .collect();
        let mut next = range.first();
        for id in segments {
            batch.missing.extend_with(next, id.first.previous());
            let piece = self.read_segment(id, &wanted, &mut batch)?;
            batch.through = piece.through;
            next = piece.through.next();
            if piece.is_full {
                return Ok(batch);
            }
        }
        batch.missing.extend_with(next, range.last());
        batch.through = range.last();
        Ok(batch)
    }

    /// Numbers that were not given yet are neither held nor missing.
    fn given_part(&self, epoch: Epoch, lane: Lane, range: SeqRange) -> Option<SeqRange> {
        if epoch == self.start.epoch {
            SeqRange::new(range.first(), range.last().min(self.appended[lane.index()]))
        } else {
            Some(range)
        }
    }

    fn read_segment(&mut self, id: SegmentId, wanted: &Wanted, batch: &mut ReadBatch) -> Result<Piece, ReadError> {
        let segment = &self.segments[&id];
        let (last, end) = (segment.last, segment.bytes);
        let through = last.min(wanted.range.last());
        let reader = match self.reader(id, wanted.range.first()) {
            Ok(reader) => reader,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                batch.missing.extend_with(id.first.max(wanted.range.first()), through);
                self.lose(id, id.first, last);
                return Ok(Piece { through, is_full: false });
            }
            Err(source) => return Err(ReadError::Open { name: id.name(), source }),
        };
        let mut walk =
            Walk { lost: Vec::new(), let_go: Vec::new(), points: Vec::new(), given: Seq::NONE, is_full: false };
        let mut walker = Walker::from_point(reader.file.as_ref(), id, end, reader.point.1, reader.point.0);
        walk.through(&mut walker, wanted, last, batch);
        let point = (walker.expected(), walker.offset());
        let is_lost_to_end = !walk.is_full && walker.expected() <= through;
        let lost_from = walker.expected();
        self.readers.put(Reader { point, ..reader });
        let spacing = self.limits.segment_bytes() / INDEX_POINTS_MAX as u64;
        if let Some(segment) = self.segments.get_mut(&id) {
            walk.points.iter().for_each(|point| segment.note_point(*point, spacing));
        }
        for range in &walk.lost {
            batch.missing.extend_with(range.first().max(wanted.range.first()), range.last().min(through));
            self.lose(id, range.first(), range.last().min(last));
        }
        for range in &walk.let_go {
            batch.missing.extend_with(range.first().max(wanted.range.first()), range.last().min(through));
            self.note_missing(id.epoch, id.lane, *range, GapReason::Compacted);
        }
        if is_lost_to_end {
            batch.missing.extend_with(lost_from.max(wanted.range.first()), through);
            self.lose(id, lost_from, last);
        }
        if walk.is_full {
            return Ok(Piece { through: walk.given, is_full: true });
        }
        Ok(Piece { through, is_full: false })
    }

    /// An open segment, at the best known place at or before a record.
    fn reader(&mut self, id: SegmentId, seq: Seq) -> io::Result<Reader> {
        let start = (id.first, SEGMENT_HEADER_BYTES as u64);
        let indexed = self.segments.get(&id).and_then(|segment| segment.point_before(seq)).unwrap_or(start);
        match self.readers.take(id) {
            Some(reader) if indexed.0 <= reader.point.0 && reader.point.0 <= seq => Ok(reader),
            Some(reader) => Ok(Reader { point: indexed, ..reader }),
            None => Ok(Reader { id, file: self.open_segment(id)?, point: indexed }),
        }
    }

    /// One that was deleted by hand while it is appended to is put back first.
    fn open_segment(&mut self, id: SegmentId) -> io::Result<Box<dyn StorageFile>> {
        let is_active = self.active[id.lane.index()].as_ref().is_some_and(|active| active.id == id);
        match self.storage.open(&id.name()) {
            Err(error) if is_active && error.kind() == io::ErrorKind::NotFound => {
                self.report(Fault::FlushFailed { name: id.name(), error: error.to_string() });
                self.salvage(id.lane)?;
                self.storage.open(&id.name())
            }
            opened => opened,
        }
    }

    fn lose(&mut self, id: SegmentId, first: Seq, last: Seq) {
        if let Some(range) = SeqRange::new(first, last) {
            self.note_lost(id.epoch, id.lane, range);
        }
    }

    /// Accounts for records that were held and can't be read.
    pub(super) fn note_lost(&mut self, epoch: Epoch, lane: Lane, range: SeqRange) {
        for range in self.note_missing(epoch, lane, range, GapReason::Corrupt).ranges() {
            self.report(Fault::RecordsLost { epoch, lane, range: *range });
        }
    }

    /// Accounts for what is not on disk, as far as the book did not know of it; says how far.
    fn note_missing(&mut self, epoch: Epoch, lane: Lane, range: SeqRange, reason: GapReason) -> RangeSet {
        let Some(entry) = self.book.epoch_mut(epoch) else { return RangeSet::new() };
        let noted = &mut entry.lanes[lane.index()];
        let news = noted.gone.missing_in(range);
        if news.is_empty() {
            return news;
        }
        noted.gone.insert(range);
        let untold = news.difference(&noted.settled);
        for range in untold.ranges() {
            let span = TimeSpan::default();
            self.book.add_gap(Gap { epoch, lane, range: *range, reason, span });
        }
        self.book_dirty = true;
        self.gaps_version += 1;
        news
    }

    /// The time of one record, without accounting for anything that is found on the way.
    pub(super) fn peek_time(&mut self, id: SegmentId, seq: Seq) -> Option<RecordTime> {
        let Segment { bytes, .. } = *self.segments.get(&id)?;
        let boot = self.book.epoch(id.epoch)?.boot.unwrap_or(BootId(0));
        let reader = self.reader(id, seq).ok()?;
        let mut walker = Walker::from_point(reader.file.as_ref(), id, bytes, reader.point.1, reader.point.0);
        let time = loop {
            match walker.step() {
                Step::Record { header, .. } if header.seq < seq => {}
                Step::Record { header, .. } => break Some(header.time(boot)),
                Step::Damaged { .. } => {}
                Step::End(_) => break None,
            }
        };
        self.readers.put(reader);
        time
    }

    /// Faults since the last call.
    pub fn take_faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.faults)
    }
}

/// What a caller wants to read.
struct Wanted {
    range: SeqRange,
    bytes_max: usize,
    boot: BootId,
}

/// One pass through a part of a segment.
struct Walk {
    lost: Vec<SeqRange>,
    let_go: Vec<SeqRange>,
    points: Vec<(Seq, u64)>,
    given: Seq,
    is_full: bool,
}

impl Walk {
    /// Stops at the end of what is wanted, or of what the segment holds.
    fn through(&mut self, walker: &mut Walker<'_>, wanted: &Wanted, last: Seq, batch: &mut ReadBatch) {
        let mut bytes: usize = batch.records.iter().map(|record| record.payload.len()).sum();
        let through = last.min(wanted.range.last());
        self.given = batch.through.max(wanted.range.first().previous());
        while walker.expected() <= through {
            if bytes >= wanted.bytes_max && !batch.records.is_empty() {
                self.is_full = true;
                return;
            }
            match walker.step() {
                Step::Record { header, .. } if header.seq > through => {
                    self.let_go.extend(header.let_go());
                    return;
                }
                Step::Record { offset, header, payload } => {
                    self.let_go.extend(header.let_go());
                    self.points.push((header.seq, offset));
                    if header.seq >= wanted.range.first() {
                        self.given = header.seq;
                        bytes += payload.len();
                        batch.records.push(StoredRecord { seq: header.seq, time: header.time(wanted.boot), payload });
                    }
                }
                Step::Damaged { lost } => {
                    self.lost.extend(lost);
                    self.given = self.given.max(walker.expected().previous().min(through));
                }
                Step::End(_) => return,
            }
        }
    }
}

/// Adds the numbers from `first` to `last`, if there are any.
trait ExtendWith {
    fn extend_with(&mut self, first: Seq, last: Seq);
}

impl ExtendWith for RangeSet {
    fn extend_with(&mut self, first: Seq, last: Seq) {
        if let Some(range) = SeqRange::new(first, last) {
            self.insert(range);
        }
    }
}
