//! What goes into the queue and comes out of it.

use bytes::Bytes;
use lockgate_proto::gap::Gap;
use lockgate_proto::ranges::{RangeSet, SeqRange};
use lockgate_proto::seq::{Epoch, Lane, Seq};
use lockgate_proto::time::UnixMicros;

use super::time::{RecordTime, TakenAt};

/// One record to be appended. At most [`lockgate_proto::limits::RECORD_BYTES_MAX`] bytes, not empty.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// When it was taken, and whose time the payload tells.
    pub taken: TakenAt,
    /// An encoded record; the queue does not look into it.
    pub payload: Bytes,
}

/// Records that stand or fall together: all that one message of a source gave, written at once.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Where they go.
    pub lane: Lane,
    /// At least one, at most [`super::limits::BATCH_RECORDS_MAX`].
    pub records: Vec<NewRecord>,
    /// Digest of the source's message, where the source may deliver it again.
    pub digest: Option<u64>,
}

impl Batch {
    /// One record of no redelivering source.
    pub fn one(lane: Lane, taken: TakenAt, payload: Bytes) -> Batch {
        Batch { lane, records: vec![NewRecord { taken, payload }], digest: None }
    }
}

/// One record as it is read back, proven by its checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its number.
    pub seq: Seq,
    /// When it was taken, and of which clock the times in the payload are.
    pub time: RecordTime,
    /// What was appended.
    pub payload: Bytes,
}

/// What a read gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadBatch {
    /// Ascending.
    pub records: Vec<StoredRecord>,
    /// Numbers of the asked range, up to `through`, that the queue does not hold.
    pub missing: RangeSet,
    /// The answer covers the asked range up to here; [`Seq::NONE`] where nothing could be said.
    pub through: Seq,
}

/// How far the current epoch has come, by [`Lane::index`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The highest number accepted: a kill -9 does not lose it.
    pub appended: [Seq; 2],
    /// The highest number below which all has reached the disk: a loss of power does not lose it.
    pub durable: [Seq; 2],
    /// How often the numbers began anew, under another epoch. All of before is durable.
    pub renewals: u64,
    /// Changes whenever [`super::Queue::gaps`] or what is held has changed other than by an append.
    pub gaps_version: u64,
}

/// How the previous start of the agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreviousEnd {
    /// There was none, or nothing of it is left.
    None,
    /// It closed its queue.
    Clean,
    /// It died, but the machine did not: nothing accepted is lost.
    Killed,
    /// The machine went down under it: what had not reached the disk is lost.
    PowerLost,
}

/// Something that should not have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Segments are there, but the checkpoint is not.
    CheckpointMissing,
    /// The checkpoint's bytes prove nothing; it was made anew from the segments.
    CheckpointUnreadable,
    /// The checkpoint could not be written. It is tried again with each flush; meanwhile nothing is let go.
    CheckpointNotWritten {
        /// What the system said.
        error: String,
    },
    /// A file in the folder is none of the queue's; it was left alone.
    ForeignFile {
        /// Its name.
        name: String,
    },
    /// A segment's header proves nothing; its name was believed.
    HeaderUnreadable {
        /// Its name.
        name: String,
    },
    /// A record was half written when the agent died. It had not been accepted.
    TornTail {
        /// The segment's name.
        name: String,
        /// So many bytes are of no use.
        bytes: u64,
    },
    /// Records that were on disk are not there any more, or their bytes prove nothing.
    RecordsLost {
        /// Of which epoch.
        epoch: Epoch,
        /// Of which lane.
        lane: Lane,
        /// Which.
        range: SeqRange,
    },
    /// The disk refused a flush. The records were written once more, into a new segment.
    FlushFailed {
        /// The segment that is not to be trusted.
        name: String,
        /// What the system said.
        error: String,
    },
    /// A segment could not be deleted; it is tried again.
    DeleteFailed {
        /// Its name.
        name: String,
        /// What the system said.
        error: String,
    },
    /// Repeats of events could not be folded; the oldest events make room as a whole.
    NotCompacted {
        /// The segment.
        name: String,
        /// What the system said.
        error: String,
    },
    /// There were too many epochs; the oldest was given up with all it held.
    EpochGivenUp {
        /// Which.
        epoch: Epoch,
    },
}

impl Fault {
    /// The fault's word in counters and lists.
    pub fn kind(&self) -> &'static str {
        match self {
            Fault::CheckpointMissing => "checkpoint_missing",
            Fault::CheckpointUnreadable => "checkpoint_unreadable",
            Fault::CheckpointNotWritten { .. } => "checkpoint_not_written",
            Fault::ForeignFile { .. } => "foreign_file",
            Fault::HeaderUnreadable { .. } => "header_unreadable",
            Fault::TornTail { .. } => "torn_tail",
            Fault::RecordsLost { .. } => "records_lost",
            Fault::FlushFailed { .. } => "flush_failed",
            Fault::DeleteFailed { .. } => "delete_failed",
            Fault::NotCompacted { .. } => "not_compacted",
            Fault::EpochGivenUp { .. } => "epoch_given_up",
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::CheckpointMissing => write!(f, "the checkpoint is missing; it was made anew from the segments"),
            Fault::CheckpointUnreadable => {
                write!(f, "the checkpoint is unreadable; it was made anew from the segments")
            }
            Fault::CheckpointNotWritten { error } => write!(f, "the checkpoint could not be written: {error}"),
            Fault::ForeignFile { name } => write!(f, "{name} is no file of the queue; it was left alone"),
            Fault::HeaderUnreadable { name } => write!(f, "{name} has an unreadable header; its name was believed"),
            Fault::TornTail { name, bytes } => write!(f, "{name} ends in {bytes} bytes of a half-written record"),
            Fault::RecordsLost { epoch, lane, range } => {
                write!(f, "records {range} of epoch {epoch}, {lane}, are missing or unreadable")
            }
            Fault::FlushFailed { name, error } => write!(f, "the disk refused to flush {name}: {error}"),
            Fault::DeleteFailed { name, error } => write!(f, "{name} could not be deleted: {error}"),
            Fault::NotCompacted { name, error } => write!(f, "the repeats in {name} could not be folded: {error}"),
            Fault::EpochGivenUp { epoch } => write!(f, "epoch {epoch} was given up: there were too many"),
        }
    }
}

/// What opening the queue found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// How the previous start ended.
    pub previous: PreviousEnd,
    /// All that should not have been.
    pub faults: Vec<Fault>,
    /// Gaps that were not known before.
    pub gaps: Vec<Gap>,
    /// Epochs of which records are held, without the new one.
    pub epochs: usize,
    /// Records held and not known to be settled.
    pub records_unsettled: u64,
    /// Bytes of all segments.
    pub bytes: u64,
}

/// Counters since the queue was opened, and its present size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// By [`Lane::index`].
    pub lanes: [LaneStats; 2],
    /// The budget.
    pub budget_bytes: u64,
    /// Bytes given to the file system, headers and checkpoints included.
    pub written_bytes: u64,
    /// Flushes to the disk.
    pub flushes: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Faults, by [`Fault::kind`], in the order of their first appearance.
    pub faults: Vec<(&'static str, u64)>,
    /// Gaps that are not settled.
    pub gaps: u64,
    /// Epochs held, the current one included.
    pub epochs: u64,
    /// Events that wait take most of their reserve: beyond it repeats are folded, and then the oldest go.
    pub events_over_reserve: bool,
    /// The oldest record that is held and not settled was taken at this time, if it is known.
    pub oldest_unsettled: Option<UnixMicros>,
}

/// One lane's part of [`Stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneStats {
    /// Records accepted since the start.
    pub appended: u64,
    /// Records held in all epochs, settled or not.
    pub held: u64,
    /// Records held that are not settled.
    pub unsettled: u64,
    /// Bytes of the lane's segments.
    pub bytes: u64,
    /// Records dropped unsent for want of room, since the start.
    pub evicted: u64,
    /// Repeats of events folded for want of room, since the start.
    pub compacted: u64,
    /// Settled records dropped to make room, since the start.
    pub settled_dropped: u64,
    /// Records found unreadable or missing, since the start.
    pub lost: u64,
}
