//! The real folder: `std::fs`, and a lock that the kernel takes back when the process dies.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{FileEntry, Storage, StorageFile};
use crate::queue::error::OpenError;

/// Name of the lock in the folder.
pub const LOCK_NAME: &str = "lock";

/// A folder on a file system.
#[derive(Debug)]
pub struct DiskStorage {
    folder: PathBuf,
    /// Held for as long as the storage lives; `None` for readers.
    _lock: Option<File>,
}

impl DiskStorage {
    /// Makes the folder where it is missing, and locks it for this process.
    pub fn open(folder: &Path) -> Result<DiskStorage, OpenError> {
        fs::create_dir_all(folder).map_err(|source| OpenError::Folder { operation: "make a folder", source })?;
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join(LOCK_NAME))
            .map_err(|source| OpenError::Folder { operation: "open the lock", source })?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(OpenError::Locked { holder: read_holder(&lock) }),
            Err(errno) => return Err(OpenError::Folder { operation: "take the lock", source: errno.into() }),
        }
        // For the error message of whoever comes second; not worth failing for.
        drop(lock.set_len(0).and_then(|()| (&lock).write_all(format!("{}\n", std::process::id()).as_bytes())));
        Ok(DiskStorage { folder: folder.to_owned(), _lock: Some(lock) })
    }

    /// A folder to look into while an agent may be at work in it. Nothing is made or locked.
    pub fn look(folder: &Path) -> DiskStorage {
        DiskStorage { folder: folder.to_owned(), _lock: None }
    }
}

fn read_holder(mut lock: &File) -> Option<u32> {
    let mut text = String::new();
    lock.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

impl Storage for DiskStorage {
    fn list(&self) -> io::Result<Vec<FileEntry>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            // A file may go between the listing and the look at it; then it is not there.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_file() {
                files.push(FileEntry { name: entry.file_name().to_string_lossy().into_owned(), bytes: metadata.len() });
            }
        }
        Ok(files)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.folder.join(name))?;
        Ok(Box::new(DiskFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(DiskFile(File::open(self.folder.join(name))?)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.folder.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

struct DiskFile(File);

impl StorageFile for DiskFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        // The length is part of what a reader needs, so `fdatasync` flushes it too.
        self.0.sync_data()
    }
}
