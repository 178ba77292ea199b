//! Looks into a queue's folder without changing it, also while an agent is at work there: what
//! `lockgate-agent queue` prints.

use std::path::Path;
use std::time::Duration;

use lockgate_proto::gap::Gap;
use lockgate_proto::ranges::{RangeSet, SeqRange};
use lockgate_proto::seq::{Epoch, Lane, Seq};
use lockgate_proto::time::{MonoTime, UnixMicros};

use super::book::{Book, EpochEntry, LaneEntry};
use super::error::OpenError;
use super::recovery_logic::wall_in;
use super::storage::Storage;
use super::storage::disk::DiskStorage;
use super::survey::{Found, FoundBook, Survey, survey, walk};
use super::time::{BootId, BootTime, RecordTime};
use super::types::Fault;
use super::wear_logic::{WriteEstimate, estimate};

/// What a folder holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// Oldest first.
    pub epochs: Vec<EpochInspection>,
    /// Losses that are not settled.
    pub gaps: Vec<Gap>,
    /// What is known of the clocks of the boots.
    pub boots: Vec<BootTime>,
    /// What should not be. The end of what a running agent is just writing is none.
    pub faults: Vec<Fault>,
    /// Bytes of all segments.
    pub bytes: u64,
    /// The last wall time that the agent has written down.
    pub last_wall: Option<UnixMicros>,
}

/// One start of the agent.
#[derive(Clone, Debug, PartialEq)]
pub struct EpochInspection {
    /// Which.
    pub epoch: Epoch,
    /// It was not closed: it is still running, or died and no later start has looked at it.
    pub is_open: bool,
    /// By [`Lane::index`].
    pub lanes: [LaneInspection; 2],
}

/// One lane of an epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LaneInspection {
    /// Files.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records in them.
    pub records: u64,
    /// Records in them that the backbone has, as far as the checkpoint knows. The agent learns the truth
    /// when it connects.
    pub settled: u64,
    /// The highest number given.
    pub last: Option<Seq>,
    /// When the first record was taken, where that is known.
    pub oldest: Option<UnixMicros>,
    /// When the last record was taken, where that is known.
    pub newest: Option<UnixMicros>,
    /// Numbers that are not on disk any more.
    pub gone: RangeSet,
    /// Time between first and last record by one clock, also where the time of day is unknown.
    pub span: Duration,
}

/// Looks into a folder.
pub fn inspect(folder: &Path) -> Result<Inspection, OpenError> {
    inspect_storage(&DiskStorage::look(folder))
}

/// Looks into a storage.
pub fn inspect_storage(storage: &dyn Storage) -> Result<Inspection, OpenError> {
    let Survey { book, segments, mut faults } = survey(storage)?;
    let mut book = match book {
        FoundBook::Read(book) => book,
        FoundBook::Missing => {
            faults.extend((!segments.is_empty()).then_some(Fault::CheckpointMissing));
            Book::default()
        }
        FoundBook::Unreadable => {
            faults.push(Fault::CheckpointUnreadable);
            Book::default()
        }
    };
    super::recovery_logic::adopt_unknown_epochs(&mut book, &segments);
    let bytes = segments.iter().map(|found| found.bytes).sum();
    let epochs = book.epochs.iter().map(|entry| inspect_epoch(storage, &book, entry, &segments, &mut faults)).collect();
    Ok(Inspection { epochs, gaps: book.gaps, boots: book.boots, faults, bytes, last_wall: book.last_wall })
}

fn inspect_epoch(
    storage: &dyn Storage,
    book: &Book,
    entry: &EpochEntry,
    segments: &[Found],
    faults: &mut Vec<Fault>,
) -> EpochInspection {
    let lanes = Lane::ALL.map(|lane| {
        let of_lane: Vec<&Found> =
            segments.iter().filter(|found| found.id.epoch == entry.epoch && found.id.lane == lane).collect();
        let noted = &entry.lanes[lane.index()];
        let mut inspection = LaneInspection {
            segments: of_lane.len() as u64,
            bytes: of_lane.iter().map(|found| found.bytes).sum(),
            gone: noted.gone.clone(),
            ..LaneInspection::default()
        };
        let held = held_of(&of_lane, noted);
        inspection.last = Some(held.last().max(noted.last())).filter(|last| *last > Seq::NONE);
        inspection.records = held.count();
        inspection.settled = held.intersection(&noted.settled).count();
        note_times(storage, book, entry.boot.unwrap_or(BootId(0)), &of_lane, &mut inspection);
        let lost: RangeSet =
            of_lane.iter().filter_map(|found| found.walked.as_ref()).flat_map(|walked| &walked.lost).copied().collect();
        faults.extend(lost.difference(&noted.gone).ranges().iter().map(|range| Fault::RecordsLost {
            epoch: entry.epoch,
            lane,
            range: *range,
        }));
        inspection
    });
    EpochInspection { epoch: entry.epoch, is_open: entry.end.is_none(), lanes }
}

/// The numbers that are on disk, by the same proofs that `open` goes by.
fn held_of(of_lane: &[&Found], noted: &LaneEntry) -> RangeSet {
    let mut held = RangeSet::new();
    for (at, found) in of_lane.iter().enumerate() {
        let last = match (&found.walked, of_lane.get(at + 1)) {
            (Some(walked), _) => walked.last,
            (None, Some(next)) => next.id.first.previous(),
            (None, None) => noted.last(),
        };
        if let Some(range) = SeqRange::new(found.id.first, last) {
            held.insert(range);
        }
        for absent in found.walked.iter().flat_map(|walked| walked.lost.iter().chain(&walked.let_go)) {
            held.remove(*absent);
        }
    }
    held.difference(&noted.gone)
}

/// Walks the first and the last segment for their times.
fn note_times(storage: &dyn Storage, book: &Book, boot: BootId, of_lane: &[&Found], inspection: &mut LaneInspection) {
    let walked = |found: &Found| found.walked.clone().or_else(|| walk(storage, found.id, found.bytes));
    let oldest = of_lane.first().and_then(|found| walked(found)).and_then(|walked| walked.oldest);
    let newest = of_lane.last().and_then(|found| walked(found)).and_then(|walked| walked.newest);
    let wall = |time: RecordTime| match time {
        RecordTime::Wall { at } => Some(at),
        RecordTime::Boot { at, .. } => wall_in(book, boot, at),
    };
    inspection.oldest = oldest.and_then(wall);
    inspection.newest = newest.and_then(wall);
    inspection.span = match (oldest, newest) {
        (Some(RecordTime::Boot { at: from, .. }), Some(RecordTime::Boot { at: to, .. })) => to.since(from),
        _ => match (inspection.oldest, inspection.newest) {
            (Some(from), Some(to)) => since(to, from),
            _ => Duration::ZERO,
        },
    };
}

fn since(to: UnixMicros, from: UnixMicros) -> Duration {
    MonoTime(Duration::from_micros(u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0))).0
}

impl Inspection {
    /// What is written in a day, judged by the newest epoch that is long enough to tell.
    pub fn writes(&self, sync_interval: Duration) -> Option<WriteEstimate> {
        self.epochs.iter().rev().find_map(|epoch| {
            let bytes = epoch.lanes.iter().map(|lane| lane.bytes).sum();
            let records = epoch.lanes.iter().map(|lane| lane.records).sum();
            let span = epoch.lanes.iter().map(|lane| lane.span).max().unwrap_or_default();
            estimate(bytes, records, span, sync_interval)
        })
    }
}
