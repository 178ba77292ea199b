//! Flushing: what was appended reaches the disk, or is written once more elsewhere.

use std::io;

use lockgate_proto::ranges::SeqRange;
use lockgate_proto::seq::{Lane, Seq};

use super::Queue;
use super::append::Active;
use super::book::{Book, TailEntry};
use super::error::SyncError;
use super::layout::SegmentId;
use super::scan::{Step, Walker, read_what_can_be_read};
use super::storage::StorageFile;
use super::types::{Fault, Progress};

/// The name of a copy that takes the place of a segment which could not be flushed.
pub(super) const SALVAGE_NAME: &str = "salvage.new";

impl Queue {
    /// Flushes both lanes, then writes down in the book what has become worth it.
    pub fn sync(&mut self) -> Result<Progress, SyncError> {
        let flushed = Lane::ALL.map(|lane| self.sync_lane(lane));
        if self.book_dirty {
            // Nothing hangs on it: what the book would say is in memory, and is tried again.
            match self.write_book(self.book.clone()) {
                Ok(()) => self.checkpoint_fails = false,
                Err(_) if self.checkpoint_fails => {}
                Err(error) => {
                    self.checkpoint_fails = true;
                    self.report(Fault::CheckpointNotWritten { error: error.to_string() });
                }
            }
        }
        for result in flushed {
            result.map_err(SyncError::Flush)?;
        }
        Ok(self.progress())
    }

    /// How far the current epoch has come.
    pub fn progress(&self) -> Progress {
        let Queue { appended, durable, renewals, gaps_version, .. } = *self;
        Progress { appended, durable, renewals, gaps_version }
    }

    /// Whether something waits for a flush.
    pub fn needs_sync(&self) -> bool {
        self.book_dirty || self.active.iter().flatten().any(|active| active.synced_end < active.end)
    }

    pub(super) fn sync_lane(&mut self, lane: Lane) -> io::Result<()> {
        let Some(active) = &mut self.active[lane.index()] else { return Ok(()) };
        if active.synced_end == active.end {
            return Ok(());
        }
        self.counters.flushes += 1;
        if !active.is_suspect {
            let is_new = !active.name_synced;
            let name = active.id.name();
            let flushed = active
                .file
                .sync()
                .and_then(|()| if is_new { self.storage.sync_folder() } else { Ok(()) })
                // Deleted by hand, the file would go with the process; what is in it can still be copied.
                .and_then(|()| self.storage.open(&name).map(drop));
            match flushed {
                Ok(()) => {
                    // So that a deletion by hand of a segment without successor shows.
                    self.book_dirty |= is_new;
                    active.name_synced = true;
                    self.note_flushed(lane);
                    return Ok(());
                }
                Err(error) => {
                    active.is_suspect = true;
                    self.report(Fault::FlushFailed { name, error: error.to_string() });
                }
            }
        }
        self.salvage(lane)
    }

    fn note_flushed(&mut self, lane: Lane) {
        if let Some(active) = &mut self.active[lane.index()] {
            active.synced_end = active.end;
            active.is_suspect = false;
        }
        self.durable[lane.index()] = self.appended[lane.index()];
    }

    /// After a failed flush the kernel may have dropped the bytes and call the next flush a success. So the
    /// segment is copied, the copy flushed, and put in its place.
    ///
    /// DURABILITY: until the new name is flushed, the folder holds the old file, of which nothing that was
    /// durable is touched; after it, the copy.
    pub(super) fn salvage(&mut self, lane: Lane) -> io::Result<()> {
        let Some(active) = &self.active[lane.index()] else { return Ok(()) };
        let (id, end) = (active.id, active.end);
        drop(self.storage.remove(SALVAGE_NAME));
        let copy = self.storage.create(SALVAGE_NAME)?;
        let copied = copy_bytes(active.file.as_ref(), copy.as_ref(), end).and_then(|()| copy.sync());
        if let Err(error) = copied {
            drop(self.storage.remove(SALVAGE_NAME));
            return Err(error);
        }
        self.storage.rename(SALVAGE_NAME, &id.name())?;
        self.storage.sync_folder()?;
        self.counters.written_bytes += end;
        let lost = lost_in(copy.as_ref(), id, end, self.appended[lane.index()]);
        self.readers.forget(id);
        self.active[lane.index()] =
            Some(Active { id, file: copy, end, synced_end: 0, name_synced: true, is_suspect: false, is_spoilt: false });
        for range in lost {
            self.note_lost(id.epoch, lane, range);
        }
        self.book_dirty = true;
        self.note_flushed(lane);
        Ok(())
    }

    /// Ends the segment that is appended to; the next append begins another.
    pub(super) fn seal(&mut self, lane: Lane) -> io::Result<()> {
        self.sync_lane(lane)?;
        if let Some(active) = self.active[lane.index()].take()
            && active.end == 0
        {
            drop(self.storage.remove(&active.id.name()));
        }
        Ok(())
    }

    /// Writes into a book how far the current epoch provably goes.
    pub(super) fn note_tails(&self, book: &mut Book) {
        let Some(entry) = book.epoch_mut(self.start.epoch) else { return };
        let is_final = entry.end.is_some();
        for lane in Lane::ALL {
            let noted = &mut entry.lanes[lane.index()];
            let durable = self.durable[lane.index()];
            if noted.last() < durable {
                noted.last = Some(durable);
            }
            let tail = self.lane_segments(self.start.epoch, lane).next_back();
            // One that has not been flushed yet may be gone after a loss of power, and rightly so.
            let is_durable = |first: Seq| first <= durable;
            noted.tail = tail
                .filter(|(id, _)| is_durable(id.first))
                .map(|(id, segment)| TailEntry { first: id.first, bytes: is_final.then_some(segment.bytes) });
        }
    }
}

/// What can't be read is copied as zeros; its records then prove nothing, and are told as lost.
fn copy_bytes(from: &dyn StorageFile, to: &dyn StorageFile, end: u64) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut at = 0;
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        let read = read_what_can_be_read(from, at, &mut buffer[..wanted]);
        if read == 0 {
            return Ok(());
        }
        to.write_at(at, &buffer[..read])?;
        at += read as u64;
    }
    Ok(())
}

/// What the kernel did not keep of a file whose flush failed.
fn lost_in(file: &dyn StorageFile, id: SegmentId, end: u64, last: Seq) -> Vec<SeqRange> {
    let mut lost = Vec::new();
    let mut walker = Walker::new(file, id, end);
    loop {
        match walker.step() {
            Step::Record { .. } => {}
            Step::Damaged { lost: range } => lost.extend(range),
            Step::End(_) => {
                lost.extend(SeqRange::new(walker.expected(), last));
                return lost;
            }
        }
    }
}
