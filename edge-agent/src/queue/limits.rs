//! Every bound of the queue, checked against each other at compile time.

use std::time::Duration;

use lockgate_proto::limits::{EPOCHS_HELD_MAX, RECORD_BYTES_MAX};

use super::layout::{RECORD_HEADER_BYTES_MAX, SEGMENT_HEADER_BYTES};

/// Smallest budget with which the queue makes sense.
pub const BUDGET_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// Smallest part of the budget that events have for themselves.
pub const EVENTS_RESERVE_BYTES_MIN: u64 = 512 * 1024;

/// A segment is full at this size; larger ones would be dropped too coarsely.
pub const SEGMENT_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Segments are not cut smaller than this.
pub const SEGMENT_BYTES_MIN: u64 = 128 * 1024;

/// Most records that one append may write as one whole.
pub const BATCH_RECORDS_MAX: usize = 1_024;

/// Most bytes of payload that one append may write as one whole.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Most epochs that are kept; beyond them the oldest is given up, and counted.
pub const EPOCHS_MAX: usize = 1_000;

/// Most epochs of which nothing is left to send that are kept in case the backbone goes back.
pub const EPOCHS_SETTLED_MAX: usize = 256;

/// Most gaps that wait for being told; beyond them neighbours are told as one.
pub const GAPS_MAX: usize = 2_048;

/// Holes that compaction leaves in a lane at most, told or not: each is a range in the checkpoint.
pub const HOLES_MAX: usize = GAPS_MAX / 2;

/// With so many segments in the lane of events nothing more is compacted, so that small ones do not pile up.
pub const COMPACTED_SEGMENTS_MAX: usize = 256;

/// So many kinds of events are told apart when a segment is compacted; the others in it are kept.
pub const COMPACTED_KINDS_MAX: usize = 1_024;

/// So many digests of source messages are remembered.
pub const DIGESTS_MAX: usize = 1_024;

/// A segment's index has at most so many points.
pub const INDEX_POINTS_MAX: usize = 64;

/// Requests that wait for the queue's thread; callers wait beyond them.
pub const REQUESTS_WAITING_MAX: usize = 64;

/// The last known time of day is written down at most this often.
pub const TIME_NOTE_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// What the queue may use. Made by [`QueueLimits::new`], which checks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_field_names, reason = "the unit stands last in every name")]
pub struct QueueLimits {
    budget_bytes: u64,
    events_reserve_bytes: u64,
    segment_bytes: u64,
}

/// Why the bounds of a queue make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitsError {
    /// The budget is below [`BUDGET_BYTES_MIN`].
    #[error("the budget of {got} bytes is too small; give it at least {BUDGET_BYTES_MIN}")]
    BudgetTooSmall {
        /// What was asked for.
        got: u64,
    },
    /// The reserve is below [`EVENTS_RESERVE_BYTES_MIN`] or takes more than half of the budget.
    #[error(
        "the reserve for events is {got} bytes; it must be {EVENTS_RESERVE_BYTES_MIN} to {max} (half of the budget)"
    )]
    Reserve {
        /// What was asked for.
        got: u64,
        /// The largest that this budget allows.
        max: u64,
    },
}

impl QueueLimits {
    /// Checks the bounds: all files together stay within `budget_bytes`, of which telemetry never takes
    /// the last `events_reserve_bytes`.
    pub fn new(budget_bytes: u64, events_reserve_bytes: u64) -> Result<QueueLimits, LimitsError> {
        if budget_bytes < BUDGET_BYTES_MIN {
            return Err(LimitsError::BudgetTooSmall { got: budget_bytes });
        }
        let max = budget_bytes / 2;
        if !(EVENTS_RESERVE_BYTES_MIN..=max).contains(&events_reserve_bytes) {
            return Err(LimitsError::Reserve { got: events_reserve_bytes, max });
        }
        let segment_bytes = (budget_bytes / 32).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        Ok(QueueLimits { budget_bytes, events_reserve_bytes, segment_bytes })
    }

    /// Bounds far below what is of use, so that a test meets them soon.
    #[cfg(test)]
    pub(crate) fn tiny(budget_bytes: u64, events_reserve_bytes: u64, segment_bytes: u64) -> QueueLimits {
        QueueLimits { budget_bytes, events_reserve_bytes, segment_bytes }
    }

    /// All segments together stay within this.
    pub fn budget_bytes(self) -> u64 {
        self.budget_bytes
    }

    /// Telemetry leaves so much of the budget to events.
    pub fn events_reserve_bytes(self) -> u64 {
        self.events_reserve_bytes
    }

    /// A new segment is begun at this size.
    pub fn segment_bytes(self) -> u64 {
        self.segment_bytes
    }
}

const _: () = assert!(EPOCHS_MAX < EPOCHS_HELD_MAX);
const _: () = assert!(EPOCHS_SETTLED_MAX < EPOCHS_MAX);
const _: () = assert!(BATCH_BYTES_MAX >= RECORD_BYTES_MAX);
// The largest append must fit into what the smallest budget leaves to either lane.
const BATCH_FILE_BYTES_MAX: usize =
    BATCH_BYTES_MAX + BATCH_RECORDS_MAX * RECORD_HEADER_BYTES_MAX + SEGMENT_HEADER_BYTES;
const _: () = assert!((BATCH_FILE_BYTES_MAX as u64) * 2 < BUDGET_BYTES_MIN - EVENTS_RESERVE_BYTES_MIN);
const _: () = assert!(EVENTS_RESERVE_BYTES_MIN * 2 <= BUDGET_BYTES_MIN);
const _: () = assert!(SEGMENT_BYTES_MIN * 4 <= EVENTS_RESERVE_BYTES_MIN);
