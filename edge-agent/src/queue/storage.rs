//! The seam between the queue and the disk: one folder of files, with nothing assumed about when bytes
//! arrive. `disk` is the real one; the tests have a `fake` that fails, tears, forgets and flips.

pub mod disk;
#[cfg(test)]
pub(crate) mod fake;

use std::io;

/// A file in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Its name, without a path.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// A folder of the queue's own.
pub trait Storage: Send {
    /// The files in it, in no order.
    fn list(&self) -> io::Result<Vec<FileEntry>>;
    /// A new, empty file for reading and writing. Fails where the name is taken.
    fn create(&self, name: &str) -> io::Result<Box<dyn StorageFile>>;
    /// An existing file, for reading and flushing.
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>>;
    /// Deletes a file. Lasts only after `sync_folder`.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Gives a file another name, in place of what had that name. Lasts only after `sync_folder`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes creations, deletions and new names last.
    fn sync_folder(&self) -> io::Result<()>;
}

/// One file of the folder.
pub trait StorageFile: Send {
    /// Its length now.
    fn bytes(&self) -> io::Result<u64>;
    /// Fills the buffer from `offset`; less only at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes all bytes at `offset`. On an error a part of them may stand in the file.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file.
    fn truncate(&self, bytes: u64) -> io::Result<()>;
    /// Makes the file's bytes and length last.
    fn sync(&self) -> io::Result<()>;
}
