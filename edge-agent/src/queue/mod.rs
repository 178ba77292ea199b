//! The store-and-forward log: what was appended is on disk until the backbone has it, or is told as a gap.
//!
//! ```text
//! lock                                                   held by the one agent that may write
//! checkpoint                                             the book: what segments can't say
//! 00000003-9f86d081884c7d65-telemetry-0000000000000001.seg   epoch's order, epoch, lane, first number
//! ```
//! Each start of the agent opens a new epoch with two lanes; files of earlier epochs are never written
//! again. An append is one write to the newest segment of its lane, which survives a kill -9 of the
//! agent; a flush, at most one a second, makes it survive a loss of power. Segments prove themselves;
//! the checkpoint is rewritten only at a start, a stop, a drop, a new segment, and every ten minutes.
//!
//! Who may do what: one [`Queue`] (on its own thread behind a [`QueueHandle`]) writes and deletes;
//! [`inspect`] only reads. What order makes durable is marked `DURABILITY:`; the crash tests stop
//! between any two operations on the disk.

mod append;
mod book;
mod compact;
mod compact_logic;
mod error;
mod handle;
pub mod inspect;
mod layout;
pub mod limits;
mod read;
mod recovery_logic;
mod renew;
mod report;
mod room;
mod scan;
mod seen;
pub mod storage;
mod survey;
mod sync;
mod thread;
mod time;
mod types;
pub mod wear_logic;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use lockgate_proto::gap::Gap;
use lockgate_proto::ranges::RangeSet;
use lockgate_proto::seq::{Epoch, Lane, Seq};
use lockgate_proto::time::UnixMicros;

use append::Active;
use book::Book;
use compact::COMPACTED_NAME;
use layout::SegmentId;
use limits::{QueueLimits, TIME_NOTE_INTERVAL};
use read::Readers;
use recovery_logic::{Kept, anchor_boot, plan};
use seen::Seen;
use storage::Storage;
use survey::{newest_digests, survey};

pub use error::{AppendError, OpenError, QueueClosed, ReadError, RenewError, SyncError};
pub use handle::{EnqueueError, FetchError, QueueHandle, QueueSettings};
pub use thread::{QueueThread, start};
pub use time::{Anchor, BootId, BootTime, RecordTime, Start, TakenAt};
pub use types::{Batch, Fault, LaneStats, NewRecord, PreviousEnd, Progress, ReadBatch, Recovery, Stats, StoredRecord};

/// The log on disk. Owned by one thread; every method does its I/O before it returns.
pub struct Queue {
    storage: Box<dyn Storage>,
    limits: QueueLimits,
    start: Start,
    /// The truth about what is not on disk; what was last written of it may be a little older.
    book: Book,
    /// The book has changed in a way that the next flush should write down.
    book_dirty: bool,
    /// The last try to write it down failed, and this was reported.
    checkpoint_fails: bool,
    segments: BTreeMap<SegmentId, Segment>,
    /// The segments that are appended to, by [`Lane::index`].
    active: [Option<Active>; 2],
    appended: [Seq; 2],
    durable: [Seq; 2],
    seen: Seen,
    readers: Readers,
    /// Wall time, as last told; unknown until then.
    wall: Option<UnixMicros>,
    renewals: u64,
    gaps_version: u64,
    counters: Counters,
    /// Faults that nobody has been told of yet.
    faults: Vec<Fault>,
    /// Names of segments that are let go and could not be deleted.
    undeleted: Vec<String>,
}

/// A segment that is held.
#[derive(Clone, Debug)]
struct Segment {
    last: Seq,
    bytes: u64,
    /// Places where records begin, ascending: a few, so that a read need not walk from the start.
    index: Vec<(Seq, u64)>,
    /// It was looked through for repeats since the queue was opened: nothing is won by trying again.
    is_compact: bool,
}

#[derive(Clone, Debug, Default)]
struct Counters {
    lanes: [LaneStats; 2],
    written_bytes: u64,
    flushes: u64,
    checkpoints: u64,
    faults: Vec<(&'static str, u64)>,
}

impl Queue {
    /// Opens the folder: accounts for all earlier starts, and begins the epoch of this one.
    ///
    /// DURABILITY: what is kept is flushed before the book relies on it; the book is written before
    /// anything is deleted. A crash between any two steps is made good by the next open.
    pub fn open(storage: Box<dyn Storage>, limits: QueueLimits, start: Start) -> Result<(Queue, Recovery), OpenError> {
        let found = survey(storage.as_ref())?;
        let digests = newest_digests(storage.as_ref(), &found.segments);
        let mut plan = plan(found, &start);
        if plan.book.epochs.iter().filter(|entry| entry.epoch == start.epoch).count() > 1 {
            return Err(OpenError::EpochUsed);
        }
        for id in &plan.flush {
            if let Err(error) = storage.open(&id.name()).and_then(|file| file.sync()) {
                plan.faults.push(Fault::FlushFailed { name: id.name(), error: error.to_string() });
                // Not sure to be on disk, so the next start must look again.
                if let Some(entry) = plan.book.epoch_mut(id.epoch) {
                    entry.end = None;
                }
            }
        }
        let mut queue = Queue {
            storage,
            limits,
            start,
            book: Book::default(),
            book_dirty: false,
            checkpoint_fails: false,
            segments: plan.kept.iter().map(|(id, kept)| (*id, Segment::of(*kept))).collect(),
            active: [None, None],
            appended: [Seq::NONE; 2],
            durable: [Seq::NONE; 2],
            seen: Seen::new(digests),
            readers: Readers::default(),
            wall: start.anchor.map(|anchor| anchor.wall(start.mono)),
            renewals: 0,
            gaps_version: 0,
            counters: Counters::default(),
            faults: Vec::new(),
            undeleted: Vec::new(),
        };
        queue.write_book(plan.book).map_err(OpenError::Checkpoint)?;
        // Left behind by a crash; it is needed by nobody.
        drop(queue.storage.remove(COMPACTED_NAME));
        for id in plan.delete {
            queue.delete_file(id);
        }
        for fault in plan.faults.clone() {
            queue.count_fault(&fault);
        }
        plan.faults.append(&mut queue.faults);
        let stats = queue.stats();
        let recovery = Recovery {
            previous: plan.previous,
            faults: plan.faults,
            gaps: plan.gaps,
            epochs: queue.book.epochs.len() - 1,
            records_unsettled: stats.lanes.iter().map(|lane| lane.unsettled).sum(),
            bytes: stats.lanes.iter().map(|lane| lane.bytes).sum(),
        };
        Ok((queue, recovery))
    }

    /// The epoch of this start.
    pub fn epoch(&self) -> Epoch {
        self.start.epoch
    }

    /// Tells what the backbone knows of a lane; replaces what it was told before. A hint: it decides what
    /// may be dropped first, never what was delivered.
    pub fn set_settled(&mut self, epoch: Epoch, lane: Lane, settled: RangeSet) {
        if self.book.settle_gaps(epoch, lane, &settled) {
            self.gaps_version += 1;
        }
        if let Some(entry) = self.book.epoch_mut(epoch) {
            entry.lanes[lane.index()].settled = settled;
        }
    }

    /// Tells that the backbone has heard of the end of an epoch: once nothing of it is on disk, it need not
    /// be named any more.
    pub fn epoch_closed(&mut self, epoch: Epoch) {
        if epoch != self.start.epoch
            && let Some(entry) = self.book.epoch_mut(epoch)
        {
            entry.is_told = true;
        }
    }

    /// Remembers a loss that somebody else has found, until it is settled.
    pub fn add_gap(&mut self, gap: Gap) {
        let Some(entry) = self.book.epoch_mut(gap.epoch) else { return };
        let noted = &mut entry.lanes[gap.lane.index()];
        noted.gone.insert(gap.range);
        let unsettled = noted.settled.missing_in(gap.range);
        for known in self.book.gaps.clone() {
            if (known.epoch, known.lane) == (gap.epoch, gap.lane)
                && known.range.first() <= gap.range.first()
                && gap.range.last() <= known.range.last()
            {
                return;
            }
        }
        for range in unsettled.ranges() {
            self.book.add_gap(Gap { range: *range, ..gap });
        }
        self.book_dirty = true;
        self.gaps_version += 1;
    }

    /// Tells the time of this boot. Written down at once when it is news, and else with the next occasion.
    pub fn set_anchor(&mut self, anchor: Anchor) {
        const NEWS_MICROS: u64 = 100_000;
        let before = self.book.boots.iter().find(|time| time.boot == self.start.boot).and_then(|time| time.anchor);
        let moved = before.is_none_or(|before| before.offset_micros.abs_diff(anchor.offset_micros) > NEWS_MICROS);
        anchor_boot(&mut self.book, self.start.boot, anchor);
        if moved {
            self.book_dirty = true;
            self.gaps_version += 1;
        }
    }

    /// Tells the present wall time, where it is known. Written down rarely; after a loss of power it bounds
    /// what was lost.
    pub fn note_time(&mut self, wall: UnixMicros) {
        self.wall = Some(wall);
        let interval = i64::try_from(TIME_NOTE_INTERVAL.as_micros()).unwrap_or(i64::MAX);
        let is_due = self.book.last_wall.is_none_or(|last| wall < last || last.offset_by(interval) <= wall);
        self.book_dirty |= is_due;
    }

    /// Whether a source's message with this digest is among the last ones that were appended.
    pub fn was_seen(&self, digest: u64) -> bool {
        self.seen.contains(digest)
    }

    /// Flushes everything and says in the checkpoint that nothing is missing.
    pub fn close(mut self) -> Result<(), SyncError> {
        self.sync()?;
        let mut book = self.book.clone();
        self.end_cleanly(&mut book);
        self.write_book(book).map_err(SyncError::Flush)
    }

    fn count_fault(&mut self, fault: &Fault) {
        let kind = fault.kind();
        match self.counters.faults.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => self.counters.faults.push((kind, 1)),
        }
        // Of an open end nobody knows how many they were.
        if let Fault::RecordsLost { lane, range, .. } = fault
            && range.last() < Seq::MAX
        {
            let lost = &mut self.counters.lanes[lane.index()].lost;
            *lost = lost.saturating_add(range.count());
        }
    }

    /// LIMIT: faults are kept until they are taken, the last few hundred of them; all are counted.
    fn report(&mut self, fault: Fault) {
        const FAULTS_UNREAD_MAX: usize = 256;
        self.count_fault(&fault);
        if self.faults.len() < FAULTS_UNREAD_MAX {
            self.faults.push(fault);
        }
    }
}

impl Segment {
    fn of(kept: Kept) -> Segment {
        Segment { last: kept.last, bytes: kept.bytes, index: Vec::new(), is_compact: false }
    }
}
