//! The folder and its database file: who may use it, how it is opened, what its errors mean.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::schema;
use crate::backbone::BackboneError;

const DATABASE_FILE: &str = "gateway.db";
const LOCK_FILE: &str = "gateway.lock";

/// Statements that a connection keeps compiled.
const STATEMENTS_KEPT: usize = 64;

/// A write-ahead log that a reader has let grow beyond this is cut to it.
const JOURNAL_BYTES_KEPT: i64 = 64 * 1024 * 1024;

/// The writer moves the write-ahead log into the database when it has so many pages of 4 KiB.
const CHECKPOINT_PAGES: i64 = 4_096;

/// Larger files are not read as a whole at the start; SQLite then finds damage where it meets it.
const CHECKED_WHOLE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Why an embedded backbone can't start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder can't be made or written.
    #[error("cannot use the data folder {path:?}")]
    Folder {
        /// The folder, or the file in it.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another gateway works in the folder.
    #[error("another gateway uses the data folder {path:?}; give each its own, or stop the other")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The file is no database, or a damaged one.
    #[error(
        "the database {path:?} is damaged ({what}); put back a copy, or move the file away to start empty: \
         agents then send again what they still hold"
    )]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The file is a database of another program.
    #[error("the database {path:?} belongs to another program (application id {found:#010x})")]
    Foreign {
        /// The database file.
        path: PathBuf,
        /// The id in its header.
        found: i32,
    },
    /// The file was written by a newer release.
    #[error("the database {path:?} has version {found}, and this release knows only {known}; use a newer release")]
    TooNew {
        /// The database file.
        path: PathBuf,
        /// The version in its header.
        found: i32,
        /// The newest version that this release knows.
        known: i32,
    },
    /// The database can't be opened, read or brought up to date.
    #[error("cannot open the database {path:?}: {source}")]
    Database {
        /// The database file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The system gives no thread.
    #[error("cannot start the thread that writes the database")]
    Thread {
        /// What the system says.
        source: io::Error,
    },
}

/// Where the database is and how to open it.
#[derive(Clone)]
pub(super) struct Folder {
    database: PathBuf,
    pub(super) busy_timeout: Duration,
}

/// The right to use a folder, for as long as this lives.
pub(super) struct FolderLock(#[expect(dead_code, reason = "open is all it has to be")] File);

/// One file, by whatever name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl Folder {
    /// Makes the folder where it is missing, and takes its lock.
    pub(super) fn take(path: &Path, busy_timeout: Duration) -> Result<(Folder, FolderLock), OpenError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Folder { path, source }
        };
        fs::create_dir_all(path).map_err(failed(path))?;
        let lock_path = path.join(LOCK_FILE);
        let lock =
            File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(failed(&lock_path))?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok((Folder { database: path.join(DATABASE_FILE), busy_timeout }, FolderLock(lock))),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse { path: path.to_owned() }),
            Err(errno) => Err(OpenError::Folder { path: lock_path, source: errno.into() }),
        }
    }

    /// Opens the database for the one writer: proves that it is ours and whole, brings it up to date.
    pub(super) fn open_writer(&self) -> Result<Connection, OpenError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut store = self.connect(flags).map_err(|source| self.refusal(source))?;
        let (application, version) = schema::identity(&store).map_err(|source| self.refusal(source))?;
        let path = self.database.clone();
        if application != schema::APPLICATION_ID && (application, version) != (0, 0) {
            return Err(OpenError::Foreign { path, found: application });
        }
        if version > schema::version() {
            return Err(OpenError::TooNew { path, found: version, known: schema::version() });
        }
        if let Some(what) = self.damage(&store).map_err(|source| self.refusal(source))? {
            return Err(OpenError::Damaged { path, what });
        }
        prepare_writer(&mut store, version).map_err(|source| self.refusal(source))?;
        Ok(store)
    }

    /// The file that the path names now. Another one than at the start: someone put a file in its place, and
    /// what is still written to the old one is lost.
    pub(super) fn file_in_place(&self) -> Option<FileId> {
        let metadata = fs::metadata(&self.database).ok()?;
        Some(FileId { device: metadata.dev(), inode: metadata.ino() })
    }

    /// Opens a connection that can only read.
    pub(super) fn open_reader(&self) -> rusqlite::Result<Connection> {
        let reader = self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        reader.pragma_update(None, "cache_size", -4_096)?;
        Ok(reader)
    }

    fn connect(&self, flags: OpenFlags) -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(&self.database, flags)?;
        connection.busy_timeout(self.busy_timeout)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        connection.pragma_update(None, "cell_size_check", true)?;
        Ok(connection)
    }

    /// What SQLite finds wrong in the file, as far as looking is quick.
    fn damage(&self, store: &Connection) -> rusqlite::Result<Option<String>> {
        let bytes = fs::metadata(&self.database).map_or(0, |metadata| metadata.len());
        if bytes > CHECKED_WHOLE_BYTES_MAX {
            return Ok(None);
        }
        let verdict: String = store.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        Ok((verdict != "ok").then_some(verdict))
    }

    /// Why the gateway can't start on this failure.
    pub(super) fn refusal(&self, source: rusqlite::Error) -> OpenError {
        let path = self.database.clone();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                OpenError::Damaged { path, what: source.to_string() }
            }
            _ => OpenError::Database { path, source },
        }
    }
}

/// DURABILITY: with a write-ahead log, only `synchronous=FULL` has a commit on the disk when it returns.
fn prepare_writer(store: &mut Connection, version: i32) -> rusqlite::Result<()> {
    store.pragma_update(None, "journal_mode", "wal")?;
    store.pragma_update(None, "synchronous", "full")?;
    store.pragma_update(None, "journal_size_limit", JOURNAL_BYTES_KEPT)?;
    store.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    store.pragma_update(None, "cache_size", -32_768)?;
    schema::migrate(store, version)
}

/// What a failure means to those who asked.
pub(super) fn meaning(failure: &rusqlite::Error) -> BackboneError {
    let unavailable = |reason: String| BackboneError::Unavailable { reason };
    match failure {
        rusqlite::Error::SqliteFailure(error, _) => match error.code {
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                BackboneError::Damaged { what: failure.to_string() }
            }
            ErrorCode::DiskFull => unavailable("no room left for the database; free some on its disk".to_owned()),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                unavailable("another program holds the database; end it".to_owned())
            }
            _ => unavailable(failure.to_string()),
        },
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..) => BackboneError::Damaged { what: failure.to_string() },
        _ => unavailable(failure.to_string()),
    }
}
