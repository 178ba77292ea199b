//! Folds repeats of events before any of them has to go: the first and the last stay, the count is told.

use std::io;

use lockgate_proto::gap::{Gap, GapReason, TimeSpan};
use lockgate_proto::ranges::{RangeSet, SeqRange};
use lockgate_proto::seq::{Lane, Seq};

use super::compact_logic::{Folded, Folding, is_worth_writing};
use super::layout::{RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentId, encode_record};
use super::limits::{COMPACTED_SEGMENTS_MAX, HOLES_MAX};
use super::scan::{Step, Walker};
use super::storage::StorageFile;
use super::types::Fault;
use super::{Queue, Segment};

/// The name under which the smaller segment is written before it takes its place.
pub(super) const COMPACTED_NAME: &str = "compacted.new";

/// A segment that is to become smaller.
struct Compaction {
    id: SegmentId,
    segment: Segment,
    file: Box<dyn StorageFile>,
    header: SegmentHeader,
    kept: RangeSet,
    /// Numbers that go and were not let go before.
    news: RangeSet,
    /// Of `news`, what the backbone does not have.
    untold: RangeSet,
}

impl Queue {
    /// Compacts the segments, oldest first, until so many bytes more fit into the lane. What can't be done
    /// is left alone: the caller then evicts.
    pub(super) fn compact_until_fits(&mut self, segments: &[SegmentId], lane: Lane, needed: u64) {
        for id in segments {
            let is_done = self.surplus(lane, needed) == 0;
            if is_done || self.segments.keys().filter(|id| id.lane == lane).count() >= COMPACTED_SEGMENTS_MAX {
                return;
            }
            if self.segments[id].is_compact {
                continue;
            }
            if let Err(error) = self.compact(*id) {
                self.report(Fault::NotCompacted { name: id.name(), error: error.to_string() });
                return;
            }
            if let Some(segment) = self.segments.get_mut(id) {
                segment.is_compact = true;
            }
        }
    }

    /// DURABILITY: the smaller copy is on disk before the book says what it leaves out, and the book before
    /// the copy takes the segment's place. A crash before the book leaves a file that nobody needs; one after
    /// it leaves records that are told as lost and still there, which is a loss of room only.
    fn compact(&mut self, id: SegmentId) -> io::Result<()> {
        let Some(compaction) = self.plan_compaction(id) else { return Ok(()) };
        let bytes = match self.write_compacted(&compaction) {
            Ok(bytes) => bytes,
            Err(error) => {
                drop(self.storage.remove(COMPACTED_NAME));
                return Err(error);
            }
        };
        let replaced =
            self.remember_compaction(&compaction).and_then(|()| self.storage.rename(COMPACTED_NAME, &id.name()));
        if let Err(error) = replaced {
            drop(self.storage.remove(COMPACTED_NAME));
            return Err(error);
        }
        self.readers.forget(id);
        if let Some(segment) = self.segments.get_mut(&id) {
            segment.bytes = bytes;
            segment.index.clear();
        }
        self.storage.sync_folder()
    }

    /// `None` where nothing is won, or where the segment is damaged: its reader finds that out.
    fn plan_compaction(&self, id: SegmentId) -> Option<Compaction> {
        let segment = self.segments.get(&id)?.clone();
        let all = SeqRange::new(id.first, segment.last)?;
        let open = self.unsettled_in(id, &segment)?;
        let noted = &self.book.epoch(id.epoch)?.lanes[id.lane.index()];
        let file = self.storage.open(&id.name()).ok()?;
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let read = file.read_at(0, &mut bytes).ok()?;
        let header = SegmentHeader::decode(id, &bytes).filter(|_| read == SEGMENT_HEADER_BYTES)?;
        let folded = fold(&mut Walker::new(file.as_ref(), id, segment.bytes), segment.last, &open)?;
        let news = folded.kept.missing_in(all).difference(&noted.gone);
        let holes = news.ranges().len();
        let has_place = noted.gone.ranges().len() + holes <= HOLES_MAX && self.book.gaps.len() + holes <= HOLES_MAX;
        if !has_place || !is_worth_writing(segment.bytes, SEGMENT_HEADER_BYTES as u64 + folded.bytes) {
            return None;
        }
        let untold = news.intersection(&open);
        Some(Compaction { id, segment, file, header, kept: folded.kept, news, untold })
    }

    /// Writes the smaller segment beside the old one, and flushes it; says how long it is.
    fn write_compacted(&mut self, compaction: &Compaction) -> io::Result<u64> {
        const WRITE_BYTES: usize = 64 * 1024;
        let Compaction { id, segment, kept, .. } = compaction;
        drop(self.storage.remove(COMPACTED_NAME));
        let copy = self.storage.create(COMPACTED_NAME)?;
        let mut walker = Walker::new(compaction.file.as_ref(), *id, segment.bytes);
        let mut waiting = compaction.header.encode().to_vec();
        let (mut written, mut before) = (0, id.first.previous());
        while before < segment.last {
            let Step::Record { header, payload, .. } = walker.step() else {
                return Err(io::Error::other("the segment changed while it was read"));
            };
            if !kept.contains(header.seq) {
                continue;
            }
            let header = after_hole(header, before);
            encode_record(*id, written + waiting.len() as u64, &header, &payload, &mut waiting);
            before = header.seq;
            if waiting.len() >= WRITE_BYTES {
                copy.write_at(written, &waiting)?;
                written += waiting.len() as u64;
                waiting.clear();
            }
        }
        copy.write_at(written, &waiting)?;
        copy.sync()?;
        let bytes = written + waiting.len() as u64;
        self.counters.written_bytes += bytes;
        Ok(bytes)
    }

    /// Enters in the book on disk what is about to go. The length that the book knows of the segment stays
    /// as it was: whichever of the two files the next start finds, it looks itself.
    fn remember_compaction(&mut self, compaction: &Compaction) -> io::Result<()> {
        let Compaction { id, segment, news, untold, .. } = compaction;
        let span = if untold.is_empty() { TimeSpan::default() } else { self.span_of(*id, segment) };
        let mut book = self.book.clone();
        if let Some(entry) = book.epoch_mut(id.epoch) {
            entry.lanes[id.lane.index()].gone.union_with(news);
        }
        for range in untold.ranges() {
            book.add_gap(Gap { epoch: id.epoch, lane: id.lane, range: *range, reason: GapReason::Compacted, span });
        }
        self.write_book(book)?;
        let counters = &mut self.counters.lanes[id.lane.index()];
        counters.compacted += untold.count();
        counters.settled_dropped += news.count() - untold.count();
        self.gaps_version += 1;
        Ok(())
    }
}

/// What stays of a segment: of the open records all but repeats, and the last one, which proves the end.
/// `None` where bytes are damaged.
fn fold(walker: &mut Walker<'_>, last: Seq, open: &RangeSet) -> Option<Folded> {
    let mut folding = Folding::default();
    while walker.expected() <= last {
        let Step::Record { header, payload, .. } = walker.step() else { return None };
        let bytes = after_hole(header, header.seq.previous()).record_bytes() as u64;
        if open.contains(header.seq) {
            folding.note(header.seq, &payload, bytes);
        }
        if header.seq == last {
            folding.keep(header.seq, bytes);
        }
    }
    Some(folding.finish())
}

/// The header of a record that stays, where the one that stays before it has that number.
fn after_hole(header: RecordHeader, before: Seq) -> RecordHeader {
    let hole = u32::try_from(header.seq.get() - before.get() - 1).expect("a segment is cut before 4 GiB");
    // A batch of a closed segment is whole, whatever of it stays.
    RecordHeader { continued: false, hole: Some(hole), ..header }
}
