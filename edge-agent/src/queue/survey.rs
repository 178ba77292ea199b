//! Reads what is in a queue's folder, and changes nothing: the eyes of `open` and of `inspect`.
//!
//! Records are walked only where names, headers and checkpoint together do not prove how far a segment
//! goes; a start must not read the whole disk. Damage elsewhere shows when the records are read.

use std::collections::BTreeMap;

use lockgate_proto::ranges::SeqRange;
use lockgate_proto::seq::{Epoch, Lane, Seq};

use super::book::{self, Book, CHECKPOINT_NAME, CHECKPOINT_NEW_NAME, EpochEntry};
use super::compact::COMPACTED_NAME;
use super::error::OpenError;
use super::layout::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentId};
use super::limits::DIGESTS_MAX;
use super::scan::{Step, Tail, Walker};
use super::storage::disk::LOCK_NAME;
use super::storage::{FileEntry, Storage, StorageFile};
use super::sync::SALVAGE_NAME;
use super::time::RecordTime;
use super::types::Fault;

/// Files of the queue that are no segments.
const OTHER_NAMES: [&str; 5] = [LOCK_NAME, CHECKPOINT_NAME, CHECKPOINT_NEW_NAME, SALVAGE_NAME, COMPACTED_NAME];

/// The checkpoint, as it was found.
#[derive(Clone, Debug)]
pub(crate) enum FoundBook {
    /// There is none.
    Missing,
    /// Its bytes prove nothing.
    Unreadable,
    /// It is whole.
    Read(Book),
}

/// A segment, as it was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Its name's meaning.
    pub(crate) id: SegmentId,
    /// Its length.
    pub(crate) bytes: u64,
    /// Its header, if it proves itself.
    pub(crate) header: Option<SegmentHeader>,
    /// What its records are, where they were walked.
    pub(crate) walked: Option<Walked>,
}

/// What walking a segment gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Walked {
    /// Number of its last proven record; one below its first where there is none.
    pub(crate) last: Seq,
    /// As `last`, without a batch at the end that is not whole.
    pub(crate) last_whole: Seq,
    /// Numbers within that are lost.
    pub(crate) lost: Vec<SeqRange>,
    /// Numbers within that were let go on purpose, by the segment's own word.
    pub(crate) let_go: Vec<SeqRange>,
    /// What stands behind the last proven record.
    pub(crate) tail: Tail,
    /// Digests, in order.
    pub(crate) digests: Vec<u64>,
    /// Time of the first record.
    pub(crate) oldest: Option<RecordTime>,
    /// Time of the last record.
    pub(crate) newest: Option<RecordTime>,
}

/// All that was found.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    /// The checkpoint.
    pub(crate) book: FoundBook,
    /// Segments, in the order of their age within epoch and lane.
    pub(crate) segments: Vec<Found>,
    /// What should not have been.
    pub(crate) faults: Vec<Fault>,
}

/// Looks at everything in the folder.
pub(crate) fn survey(storage: &dyn Storage) -> Result<Survey, OpenError> {
    let files = storage.list().map_err(|source| OpenError::Folder { operation: "list the files", source })?;
    let mut faults = Vec::new();
    let mut segments = Vec::new();
    for FileEntry { name, bytes } in files {
        match SegmentId::parse(&name) {
            Some(id) => match read_header(storage, id) {
                Ok(header) => segments.push(Found { id, bytes, header, walked: None }),
                // Let go by a running agent since the folder was listed.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(_) => segments.push(Found { id, bytes, header: None, walked: None }),
            },
            None if OTHER_NAMES.contains(&name.as_str()) => {}
            None => faults.push(Fault::ForeignFile { name }),
        }
    }
    segments.sort_by_key(|found| found.id);
    for found in segments.iter().filter(|found| found.header.is_none() && found.bytes > SEGMENT_HEADER_BYTES as u64) {
        faults.push(Fault::HeaderUnreadable { name: found.id.name() });
    }
    let book = read_book(storage)?;
    let known = match &book {
        FoundBook::Read(book) => Some(book),
        FoundBook::Missing | FoundBook::Unreadable => None,
    };
    for at in unproven(&segments, known) {
        segments[at].walked = walk(storage, segments[at].id, segments[at].bytes);
    }
    Ok(Survey { book, segments, faults })
}

fn read_book(storage: &dyn Storage) -> Result<FoundBook, OpenError> {
    let failed = |source| OpenError::Folder { operation: "read the checkpoint", source };
    let file = match storage.open(CHECKPOINT_NAME) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(FoundBook::Missing),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = vec![0; usize::try_from(file.bytes().map_err(failed)?).unwrap_or(0)];
    let Ok(read) = file.read_at(0, &mut bytes) else { return Ok(FoundBook::Unreadable) };
    Ok(book::decode(&bytes[..read]).map_or(FoundBook::Unreadable, FoundBook::Read))
}

fn read_header(storage: &dyn Storage, id: SegmentId) -> std::io::Result<Option<SegmentHeader>> {
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let read = storage.open(&id.name())?.read_at(0, &mut bytes)?;
    Ok(if read < SEGMENT_HEADER_BYTES { None } else { SegmentHeader::decode(id, &bytes) })
}

/// Segments whose last record's number does not follow from their successor or the checkpoint.
fn unproven(segments: &[Found], book: Option<&Book>) -> Vec<usize> {
    let mut unproven = Vec::new();
    for (at, found) in segments.iter().enumerate() {
        let next = segments.get(at + 1).filter(|next| lane_of(next) == lane_of(found));
        let proven = match next {
            Some(next) => next.header.is_some_and(|header| header.previous == Some(found.id.first)),
            None => book.and_then(|book| book.epoch(found.id.epoch)).is_some_and(|entry| ends_as_noted(entry, found)),
        };
        if !proven {
            unproven.push(at);
        }
    }
    unproven
}

fn lane_of(found: &Found) -> (u32, Epoch, Lane) {
    (found.id.order, found.id.epoch, found.id.lane)
}

/// Whether the checkpoint says that nothing was added to this segment and nothing is missing.
pub(crate) fn ends_as_noted(entry: &EpochEntry, found: &Found) -> bool {
    entry.lanes[found.id.lane.index()]
        .tail
        .is_some_and(|tail| tail.first == found.id.first && tail.bytes == Some(found.bytes))
}

/// Walks a whole segment; `None` where it can't be opened.
pub(crate) fn walk(storage: &dyn Storage, id: SegmentId, bytes: u64) -> Option<Walked> {
    let file = storage.open(&id.name()).ok()?;
    Some(walk_file(file.as_ref(), id, bytes))
}

fn walk_file(file: &dyn StorageFile, id: SegmentId, bytes: u64) -> Walked {
    let mut walker = Walker::new(file, id, bytes);
    let before = id.first.previous();
    let mut walked = Walked {
        last: before,
        last_whole: before,
        lost: Vec::new(),
        let_go: Vec::new(),
        tail: Tail::Clean,
        digests: Vec::new(),
        oldest: None,
        newest: None,
    };
    loop {
        match walker.step() {
            Step::Record { header, .. } => {
                walked.last = header.seq;
                walked.let_go.extend(header.let_go());
                if !header.continued {
                    walked.last_whole = header.seq;
                }
                walked.digests.extend(header.digest);
                // Of the boot only the clock counts here; whose it is, the reader of the survey knows.
                let time = header.time(super::time::BootId(0));
                walked.oldest.get_or_insert(time);
                walked.newest = Some(time);
            }
            Step::Damaged { lost } => walked.lost.extend(lost),
            Step::End(tail) => {
                walked.tail = tail;
                return walked;
            }
        }
    }
}

/// The newest digests in the folder, oldest first; reads a bounded part of the newest segments.
pub(crate) fn newest_digests(storage: &dyn Storage, segments: &[Found]) -> Vec<u64> {
    const READ_BYTES_MAX: u64 = 8 * 1024 * 1024;
    let mut newest: Vec<&Found> = segments.iter().collect();
    newest.sort_by_key(|found| (found.id.order, found.id.first));
    let mut by_segment: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    let (mut count, mut read) = (0, 0);
    for (at, found) in newest.iter().enumerate().rev() {
        if count >= DIGESTS_MAX || read >= READ_BYTES_MAX {
            break;
        }
        let digests = if let Some(walked) = &found.walked {
            walked.digests.clone()
        } else {
            read += found.bytes;
            walk(storage, found.id, found.bytes).map(|walked| walked.digests).unwrap_or_default()
        };
        count += digests.len();
        by_segment.insert(at, digests);
    }
    by_segment.into_values().flatten().collect()
}
