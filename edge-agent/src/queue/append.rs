//! Appending: one write at the end of the lane's newest segment.

use lockgate_proto::limits::RECORD_BYTES_MAX;
use lockgate_proto::ranges::SeqRange;
use lockgate_proto::seq::{Lane, Seq};

use super::error::AppendError;
use super::layout::{
    RECORD_HEADER_BYTES, RECORD_HEADER_BYTES_MAX, RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentId,
    encode_record, header_time,
};
use super::limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, INDEX_POINTS_MAX};
use super::storage::StorageFile;
use super::types::Batch;
use super::{Queue, Segment};

/// The segment that is appended to.
pub(super) struct Active {
    pub(super) id: SegmentId,
    pub(super) file: Box<dyn StorageFile>,
    /// Bytes that hold accepted records. What stands behind them in the file is to be written over.
    pub(super) end: u64,
    /// Bytes that have reached the disk.
    pub(super) synced_end: u64,
    /// The file's name has reached the disk.
    pub(super) name_synced: bool,
    /// A flush failed: what is not synced has to be written anew, a second flush proves nothing.
    pub(super) is_suspect: bool,
    /// Behind `end` stands what could not be cut off; nothing more is appended.
    pub(super) is_spoilt: bool,
}

impl Queue {
    /// Accepts all records of the batch, or none. Once this returns, a kill -9 does not lose them.
    pub fn append(&mut self, batch: &Batch) -> Result<SeqRange, AppendError> {
        let needed = check_size(batch)?;
        let lane = batch.lane;
        self.make_room(lane, needed + SEGMENT_HEADER_BYTES as u64)?;
        self.roll_if_full(lane, needed)?;
        if self.active[lane.index()].is_none() {
            self.begin_segment(lane)?;
        }
        let active = self.active[lane.index()].as_ref().expect("a segment was begun where there was none");
        let (id, start) = (active.id, active.end);
        let first = self.appended[lane.index()].next();
        let (bytes, last) = self.encode_batch(batch, id, start, first);
        if let Err(error) = active.file.write_at(start, &bytes) {
            self.cut_off(lane);
            return Err(AppendError::Write(error));
        }
        self.counters.written_bytes += bytes.len() as u64;
        self.accept(batch, start + bytes.len() as u64, (start, first), last);
        Ok(SeqRange::new(first, last).expect("a batch has at least one record"))
    }

    fn encode_batch(&self, batch: &Batch, id: SegmentId, start: u64, first: Seq) -> (Vec<u8>, Seq) {
        let mut bytes = Vec::new();
        if start == 0 {
            let previous =
                self.lane_segments(id.epoch, id.lane).map(|(id, _)| id.first).rfind(|first| *first < id.first);
            bytes.extend_from_slice(&SegmentHeader { id, previous, boot: self.start.boot }.encode());
        }
        let mut seq = first;
        let last_at = batch.records.len() - 1;
        for (at, record) in batch.records.iter().enumerate() {
            let (millis, clock) = header_time(record.taken);
            let digest = batch.digest.filter(|_| at == last_at);
            let payload_bytes = record.payload.len();
            let continued = at < last_at;
            let header = RecordHeader { seq, millis, clock, digest, continued, hole: None, payload_bytes };
            let offset = start + bytes.len() as u64;
            encode_record(id, offset, &header, &record.payload, &mut bytes);
            seq = seq.next();
        }
        (bytes, seq.previous())
    }

    fn accept(&mut self, batch: &Batch, end: u64, begun: (u64, Seq), last: Seq) {
        let lane = batch.lane.index();
        let spacing = self.limits.segment_bytes() / INDEX_POINTS_MAX as u64;
        let active = self.active[lane].as_mut().expect("the batch was written to it");
        active.end = end;
        let segment = self.segments.entry(active.id).or_insert_with(Segment::empty);
        segment.last = last;
        segment.bytes = end;
        segment.note_point((begun.1, begun.0.max(SEGMENT_HEADER_BYTES as u64)), spacing);
        self.appended[lane] = last;
        self.counters.lanes[lane].appended += batch.records.len() as u64;
        if let Some(digest) = batch.digest {
            self.seen.insert(digest);
        }
    }

    /// Cuts off what a failed write may have left, so that it can never be taken for a torn record.
    fn cut_off(&mut self, lane: Lane) {
        if let Some(active) = &mut self.active[lane.index()] {
            active.is_spoilt = active.file.truncate(active.end).is_err();
        }
    }

    fn roll_if_full(&mut self, lane: Lane, needed: u64) -> Result<(), AppendError> {
        let full_at = self.segment_bytes_of(lane);
        let is_over = self.active[lane.index()]
            .as_ref()
            .is_some_and(|active| active.is_spoilt || (active.end > 0 && active.end + needed > full_at));
        if is_over { self.seal(lane).map_err(AppendError::Write) } else { Ok(()) }
    }

    fn begin_segment(&mut self, lane: Lane) -> Result<(), AppendError> {
        let order = self.book.epoch(self.start.epoch).expect("open entered the current epoch in the book").order;
        let id = SegmentId { order, epoch: self.start.epoch, lane, first: self.appended[lane.index()].next() };
        // A file of this name holds nothing that was accepted: an earlier attempt failed half-way.
        drop(self.storage.remove(&id.name()));
        let file = self.storage.create(&id.name()).map_err(AppendError::Write)?;
        self.active[lane.index()] =
            Some(Active { id, file, end: 0, synced_end: 0, name_synced: false, is_suspect: false, is_spoilt: false });
        Ok(())
    }
}

/// Bytes that the batch takes in a file, at most.
fn check_size(batch: &Batch) -> Result<u64, AppendError> {
    let records = batch.records.len();
    let bytes = batch.records.iter().map(|record| record.payload.len()).sum::<usize>();
    let record_fits = |payload: usize| (1..=RECORD_BYTES_MAX).contains(&payload);
    if !(1..=BATCH_RECORDS_MAX).contains(&records)
        || bytes > BATCH_BYTES_MAX
        || !batch.records.iter().all(|record| record_fits(record.payload.len()))
    {
        return Err(AppendError::Size { records, bytes });
    }
    Ok((bytes + records * RECORD_HEADER_BYTES + RECORD_HEADER_BYTES_MAX) as u64)
}

impl Segment {
    fn empty() -> Segment {
        Segment { last: Seq::NONE, bytes: 0, index: Vec::new(), is_compact: false }
    }

    /// LIMIT: points are at least `spacing` bytes apart, which bounds how many a full segment has.
    pub(super) fn note_point(&mut self, point: (Seq, u64), spacing: u64) {
        let after = self.index.partition_point(|(seq, _)| *seq < point.0);
        let far = |other: Option<&(Seq, u64)>| other.is_none_or(|other| other.1.abs_diff(point.1) >= spacing);
        if far(after.checked_sub(1).and_then(|before| self.index.get(before))) && far(self.index.get(after)) {
            self.index.insert(after, point);
        }
    }

    /// The nearest known place at or before a record.
    pub(super) fn point_before(&self, seq: Seq) -> Option<(Seq, u64)> {
        let after = self.index.partition_point(|(known, _)| *known <= seq);
        after.checked_sub(1).map(|at| self.index[at])
    }
}
