//! A disk in memory that fails on demand: it is full, tears writes, refuses flushes, forgets what was
//! not flushed, flips bits, and stops the world before any operation.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{FileEntry, Storage, StorageFile};

const BLOCK: u64 = 4096;

/// The disk. Clones are the same disk, so that it outlives the queue on it. The lock is for `Send`
/// alone: no test has two threads in it at once.
#[derive(Clone, Default)]
pub(crate) struct FakeDisk(Arc<Mutex<Disk>>);

#[derive(Default)]
struct Disk {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    faults: Faults,
    counters: DiskCounters,
}

#[derive(Default)]
struct File {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Writes that no flush has covered, in order.
    dirty: Vec<Range<usize>>,
    /// A block that can't be read.
    bad_block: Option<u64>,
}

/// What is to go wrong.
#[derive(Default)]
struct Faults {
    /// Bytes that still fit.
    room: Option<u64>,
    /// So many flushes of files fail from now on.
    failing_syncs: u64,
    /// Operations until the world stops.
    operations_left: Option<u64>,
    has_stopped: bool,
}

/// What was asked of the disk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DiskCounters {
    /// Operations that change something.
    pub(crate) operations: u64,
    /// Flushes of files.
    pub(crate) syncs: u64,
    /// Bytes of blocks that flushes had to write.
    pub(crate) block_bytes: u64,
}

impl FakeDisk {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many bytes fit from now on.
    pub(crate) fn set_room(&self, room: Option<u64>) {
        self.disk().faults.room = room;
    }

    /// The next flushes fail, and forget what they should have written.
    pub(crate) fn fail_syncs(&self, count: u64) {
        self.disk().faults.failing_syncs = count;
    }

    /// The world stops at the operation after so many more.
    pub(crate) fn stop_after(&self, operations: u64) {
        self.disk().faults.operations_left = Some(operations);
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.disk().faults.has_stopped
    }

    /// The agent is started again: whatever was wrong is over.
    pub(crate) fn heal(&self) {
        self.disk().faults = Faults::default();
    }

    /// What was not flushed survives by chance: of each file's writes and of the folder's changes.
    pub(crate) fn lose_power(&self, mut chance: impl FnMut(usize) -> usize) {
        let disk = &mut *self.disk();
        disk.faults = Faults::default();
        if chance(2) == 0 {
            disk.names = disk.durable_names.clone();
        }
        disk.durable_names = disk.names.clone();
        for file in &mut disk.files {
            let dirty = std::mem::take(&mut file.dirty);
            let kept = chance(dirty.len() + 1);
            let torn = dirty.get(kept).map_or(0, |range| chance(range.len() + 1));
            let bytes = std::mem::take(&mut file.bytes);
            let torn_range = dirty.get(kept).map(|range| range.start..range.start + torn);
            for range in dirty[..kept].iter().cloned().chain(torn_range) {
                file.copy_durable(&bytes, &range);
            }
            file.bytes = file.durable.clone();
        }
    }

    /// Flips one bit, also of what was flushed.
    pub(crate) fn flip(&self, name: &str, byte: usize, bit: u8) {
        let disk = &mut *self.disk();
        if let Some(at) = disk.names.get(name) {
            let file = &mut disk.files[*at];
            for bytes in [&mut file.bytes, &mut file.durable] {
                if let Some(byte) = bytes.get_mut(byte) {
                    *byte ^= 1 << (bit % 8);
                }
            }
        }
    }

    /// A block of a file can't be read any more.
    pub(crate) fn spoil_block(&self, name: &str, block: u64) {
        let disk = &mut *self.disk();
        if let Some(at) = disk.names.get(name) {
            disk.files[*at].bad_block = Some(block);
        }
    }

    /// Somebody deletes a file, for good.
    pub(crate) fn delete_by_hand(&self, name: &str) {
        let disk = &mut *self.disk();
        disk.names.remove(name);
        disk.durable_names.remove(name);
    }

    #[cfg(test)]
    pub(crate) fn counters(&self) -> DiskCounters {
        self.disk().counters
    }

    /// Names and lengths of the segments, ascending.
    pub(crate) fn segments(&self) -> Vec<(String, usize)> {
        let disk = self.disk();
        let segments =
            disk.names.iter().filter(|(name, _)| std::path::Path::new(name).extension().is_some_and(|e| e == "seg"));
        segments.map(|(name, at)| (name.clone(), disk.files[*at].bytes.len())).collect()
    }
}

impl File {
    fn copy_durable(&mut self, bytes: &[u8], range: &Range<usize>) {
        let end = range.end.min(bytes.len());
        if range.start < end {
            if self.durable.len() < end {
                self.durable.resize(end, 0);
            }
            self.durable[range.start..end].copy_from_slice(&bytes[range.start..end]);
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the world has stopped")
}

impl Disk {
    /// Counts an operation that changes something; says whether it still happens.
    fn operate(&mut self) -> io::Result<()> {
        self.counters.operations += 1;
        self.look()?;
        if let Some(left) = &mut self.faults.operations_left {
            if *left == 0 {
                self.faults.has_stopped = true;
                return Err(stopped());
            }
            *left -= 1;
        }
        Ok(())
    }

    fn look(&self) -> io::Result<()> {
        if self.faults.has_stopped { Err(stopped()) } else { Ok(()) }
    }

    fn write(&mut self, at: usize, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let file = &mut self.files[at];
        let grown = (offset + bytes.len()).saturating_sub(file.bytes.len());
        let room = usize::try_from(self.faults.room.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let fits = if grown > room { bytes.len().saturating_sub(grown - room) } else { bytes.len() };
        if let Some(room) = &mut self.faults.room {
            *room = room.saturating_sub(grown as u64);
        }
        if file.bytes.len() < offset + fits {
            file.bytes.resize(offset + fits, 0);
        }
        file.bytes[offset..offset + fits].copy_from_slice(&bytes[..fits]);
        file.dirty.push(offset..offset + fits);
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&mut self, at: usize) -> io::Result<()> {
        self.counters.syncs += 1;
        let file = &mut self.files[at];
        let dirty = std::mem::take(&mut file.dirty);
        if self.faults.failing_syncs > 0 {
            self.faults.failing_syncs -= 1;
            return Err(io::Error::other("the flush failed"));
        }
        let blocks: std::collections::BTreeSet<u64> =
            dirty.iter().flat_map(|range| range.start as u64 / BLOCK..(range.end as u64).div_ceil(BLOCK)).collect();
        self.counters.block_bytes += blocks.len() as u64 * BLOCK;
        let bytes = std::mem::take(&mut file.bytes);
        for range in &dirty {
            file.copy_durable(&bytes, range);
        }
        file.durable.truncate(bytes.len());
        file.bytes = bytes;
        Ok(())
    }
}

impl Storage for FakeDisk {
    fn list(&self) -> io::Result<Vec<FileEntry>> {
        let disk = self.disk();
        disk.look()?;
        let entry =
            |(name, at): (&String, &usize)| FileEntry { name: name.clone(), bytes: disk.files[*at].bytes.len() as u64 };
        Ok(disk.names.iter().map(entry).collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let mut disk = self.disk();
        disk.operate()?;
        if disk.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.files.push(File::default());
        let at = disk.files.len() - 1;
        disk.names.insert(name.to_owned(), at);
        Ok(Box::new(FakeFile { disk: self.clone(), at }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let disk = self.disk();
        disk.look()?;
        let at = *disk.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(FakeFile { disk: self.clone(), at }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operate()?;
        disk.names.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operate()?;
        let at = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        disk.names.insert(to.to_owned(), at);
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operate()?;
        disk.durable_names = disk.names.clone();
        Ok(())
    }
}

struct FakeFile {
    disk: FakeDisk,
    at: usize,
}

impl StorageFile for FakeFile {
    fn bytes(&self) -> io::Result<u64> {
        let disk = self.disk.disk();
        disk.look()?;
        Ok(disk.files[self.at].bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let disk = self.disk.disk();
        disk.look()?;
        let blocks = offset / BLOCK..(offset + buffer.len() as u64).div_ceil(BLOCK);
        if disk.files[self.at].bad_block.is_some_and(|bad| blocks.contains(&bad)) {
            return Err(io::Error::other("the block can't be read"));
        }
        let bytes = &disk.files[self.at].bytes;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let read = buffer.len().min(bytes.len() - start);
        buffer[..read].copy_from_slice(&bytes[start..start + read]);
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk.disk();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let had_stopped = disk.faults.has_stopped;
        if let Err(error) = disk.operate() {
            if !had_stopped {
                // Killed in the middle of the write.
                drop(disk.write(self.at, offset, &bytes[..bytes.len() / 2]));
            }
            return Err(error);
        }
        disk.write(self.at, offset, bytes)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        let mut disk = self.disk.disk();
        disk.operate()?;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        disk.files[self.at].bytes.truncate(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk.disk();
        disk.operate()?;
        disk.sync(self.at)
    }
}
