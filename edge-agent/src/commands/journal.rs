//! The journal on disk: one file, appended to and flushed before anything rests on it.
//!
//! A file that an earlier run has left is never appended to. The first write of a run makes a new file of what was
//! found and what is new: so a torn end goes without being cut off, and what a flush that failed may not have brought
//! to the disk (the system shows it all the same, until the power goes) is brought there before anything more rests
//! on it.

use std::io;

use bytes::Bytes;
use lockgate_proto::command::{Journal, JournalId, JournalRecord};
use tracing::{error, warn};

use super::layout_logic::{LayoutError, head, put, read};
use crate::queue::storage::{Storage, StorageFile};

/// The journal's file.
const NAME: &str = "journal";

/// What it is written to until it is whole.
const NEW_NAME: &str = "journal.new";

/// Why the journal can't be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} the journal of commands")]
pub struct JournalFileError {
    operation: &'static str,
    source: io::Error,
}

fn failed(operation: &'static str) -> impl FnOnce(io::Error) -> JournalFileError {
    move |source| JournalFileError { operation, source }
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Write {
    /// Behind all that is there.
    Append(Vec<JournalRecord>),
    /// In place of all that is there.
    Rewrite(Vec<JournalRecord>),
}

/// The file of one run of the agent.
pub(crate) struct JournalFile {
    storage: Box<dyn Storage>,
    /// The file that this run has begun.
    file: Option<OpenFile>,
    /// What an earlier run has left, until this one writes.
    found: Vec<JournalRecord>,
    /// Random; the salt of the next file.
    salt: fn() -> u64,
}

struct OpenFile {
    file: Box<dyn StorageFile>,
    salt: u64,
    bytes: usize,
}

impl JournalFile {
    /// Reads the journal of earlier runs. Where there is none that can be gone on with, begins another one, and says
    /// so on the disk: its id must be the same after a crash.
    pub(crate) fn open(
        storage: Box<dyn Storage>,
        random: fn() -> u64,
    ) -> Result<(JournalFile, Journal), JournalFileError> {
        let mut file = JournalFile { storage, file: None, found: Vec::new(), salt: random };
        let journal = match file.read()? {
            None => Journal::new(JournalId(random())),
            Some(Ok(journal)) => {
                file.found = journal.records();
                return Ok((file, journal));
            }
            Some(Err(error)) => {
                error!(
                    %error,
                    "The journal of commands can't be gone on with; another one is begun. What became of the commands \
                     in it nobody knows any more: those that had not been told as ended are told as interrupted."
                );
                Journal::new(JournalId(random()))
            }
        };
        file.write(Write::Rewrite(journal.records()))?;
        Ok((file, journal))
    }

    /// `None`: there is no file.
    fn read(&self) -> Result<Option<Result<Journal, LayoutError>>, JournalFileError> {
        let file = match self.storage.open(NAME) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed("open"))?,
        };
        let bytes = file.bytes().map_err(failed("read"))?;
        let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        let filled = file.read_at(0, &mut buffer).map_err(failed("read"))?;
        buffer.truncate(filled);
        Ok(Some(read(&Bytes::from(buffer)).map(|found| {
            if found.torn_bytes > 0 {
                warn!(bytes = found.torn_bytes, "The last write to the journal of commands was cut off.");
            }
            found.journal
        })))
    }

    /// Writes, and returns when it is on the disk. After an error nobody knows what is there: the process must end,
    /// and read it anew.
    pub(crate) fn write(&mut self, write: Write) -> Result<(), JournalFileError> {
        match write {
            Write::Rewrite(records) => self.rewrite(&records),
            Write::Append(records) => {
                if let Some(open) = &mut self.file {
                    let mut bytes = Vec::new();
                    put(open.salt, open.bytes, &records, &mut bytes);
                    open.file.write_at(open.bytes as u64, &bytes).map_err(failed("write to"))?;
                    open.bytes += bytes.len();
                    return open.file.sync().map_err(failed("flush"));
                }
                let all: Vec<JournalRecord> = std::mem::take(&mut self.found).into_iter().chain(records).collect();
                self.rewrite(&all)
            }
        }
    }

    fn rewrite(&mut self, records: &[JournalRecord]) -> Result<(), JournalFileError> {
        match self.storage.remove(NEW_NAME) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("write anew")(error)),
            // What a crash in here has left.
            Err(_) | Ok(()) => {}
        }
        let salt = (self.salt)();
        let mut bytes = head(salt);
        put(salt, bytes.len(), records, &mut bytes);
        let file = self.storage.create(NEW_NAME).map_err(failed("write anew"))?;
        file.write_at(0, &bytes).map_err(failed("write to"))?;
        file.sync().map_err(failed("flush"))?;
        self.storage.rename(NEW_NAME, NAME).map_err(failed("put in place"))?;
        self.storage.sync_folder().map_err(failed("put in place"))?;
        self.found.clear();
        self.file = Some(OpenFile { file, salt, bytes: bytes.len() });
        Ok(())
    }
}
