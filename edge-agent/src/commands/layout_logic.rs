//! The bytes of the journal's file: a header, and records of which each proves itself.
//!
//! Pure. Numbers are little-endian. A record's checksum starts from the file's salt and covers its place in the
//! file, so that it proves not only its bytes but that they belong there: a block of an older file proves nothing.

use bytes::Bytes;
use lockgate_proto::command::{Journal, JournalError, JournalRecord};
use lockgate_proto::convert::{ConvertError, journal_record_from_bytes, journal_record_to_bytes};
use lockgate_proto::limits::FIELDS_BYTES_MAX;

const MAGIC: [u8; 7] = *b"LGJOURN";

/// Version of the layout; a change of it is a new one.
const VERSION: u8 = 1;

/// Bytes before the first record.
const HEADER_BYTES: usize = 20;

/// Bytes before a record's own.
const FRAME_BYTES: usize = 8;

/// LIMIT: bytes of a record: a command with its arguments, its result, and as much again for names and ids.
const RECORD_BYTES_MAX: usize = 4 * FIELDS_BYTES_MAX;

/// Why a file is no journal that can be gone on with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LayoutError {
    /// Not a journal, or one of a later version.
    #[error("its head is none that this version writes")]
    Head,
    /// What stands there is proven behind something that is not: it was on the disk once, and is spoilt.
    #[error("its bytes from {offset} on are spoilt")]
    Spoilt {
        /// Where the first spoilt record begins.
        offset: usize,
    },
    /// A record that this version does not know.
    #[error("the record at byte {offset} can't be read: {source}")]
    Unknown {
        /// Where it begins.
        offset: usize,
        /// What is wrong with it.
        source: ConvertError,
    },
    /// Records that contradict each other.
    #[error(transparent)]
    Contradiction(#[from] JournalError),
}

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// What its records make.
    pub(crate) journal: Journal,
    /// Bytes at its end that are no record: a write that was cut off before anything rested on it.
    pub(crate) torn_bytes: usize,
}

/// The bytes of a file's head.
pub(crate) fn head(salt: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.push(VERSION);
    bytes.extend_from_slice(&salt.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// Appends the bytes of records; `out` will stand at `offset` of the file with this salt.
pub(crate) fn put(salt: u64, offset: usize, records: &[JournalRecord], out: &mut Vec<u8>) {
    let start = out.len();
    for record in records {
        let payload = journal_record_to_bytes(record);
        let length = u32::try_from(payload.len()).expect("a command is bounded");
        let crc = check(salt, offset + out.len() - start, length, &payload);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&payload);
    }
}

/// Reads a file.
pub(crate) fn read(bytes: &Bytes) -> Result<Found, LayoutError> {
    let salt = bytes.get(8..16).and_then(|salt| salt.try_into().ok()).map(u64::from_le_bytes);
    let salt = salt.filter(|salt| bytes.starts_with(&head(*salt))).ok_or(LayoutError::Head)?;
    let (mut records, mut offset) = (Vec::new(), HEADER_BYTES);
    while let Some(payload) = proven(salt, offset, bytes) {
        let record = journal_record_from_bytes(payload.clone());
        records.push(record.map_err(|source| LayoutError::Unknown { offset, source })?);
        offset += FRAME_BYTES + payload.len();
    }
    // A write that was cut off leaves nothing whole behind the cut, if the disk takes blocks in order. Where it does
    // not, and where a block was spoilt later, no one knows what has gone: that journal is given up.
    if (offset + 1..bytes.len()).any(|offset| proven(salt, offset, bytes).is_some()) {
        return Err(LayoutError::Spoilt { offset });
    }
    let journal = Journal::replay(records)?;
    Ok(Found { journal, torn_bytes: bytes.len() - offset })
}

/// The record at `offset`, if its bytes prove it.
fn proven(salt: u64, offset: usize, bytes: &Bytes) -> Option<Bytes> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (crc, length) = (number(offset)?, number(offset + 4)?);
    let start = offset + FRAME_BYTES;
    let end = start + usize::try_from(length).ok().filter(|length| (1..=RECORD_BYTES_MAX).contains(length))?;
    let payload = bytes.get(start..end)?;
    (check(salt, offset, length, payload) == crc).then(|| bytes.slice(start..end))
}

fn check(salt: u64, offset: usize, length: u32, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(&(offset as u64).to_le_bytes());
    hasher.update(&length.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
