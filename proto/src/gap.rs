//! What can't be had again, and why.

use std::fmt;

use crate::ranges::SeqRange;
use crate::seq::{Epoch, Lane, Seq};
use crate::time::UnixMicros;

/// Why records are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapReason {
    /// The queue's budget was used up and the oldest telemetry had to go.
    Evicted,
    /// Power was lost before the records were on disk.
    Power,
    /// The disk gave back other bytes than it was given, or none.
    Corrupt,
    /// The queue vanished as a whole.
    Wiped,
    /// Older than what the gateway still wants.
    Aged,
    /// The gateway could not use the record.
    Rejected,
    /// Repeats of an event were folded for want of room: the first and the last are kept, and the gap counts
    /// those between.
    Compacted,
}

impl GapReason {
    /// All reasons, for tables and counters.
    pub const ALL: [GapReason; 7] = [
        GapReason::Evicted,
        GapReason::Power,
        GapReason::Corrupt,
        GapReason::Wiped,
        GapReason::Aged,
        GapReason::Rejected,
        GapReason::Compacted,
    ];

    /// Position in [`GapReason::ALL`].
    pub fn index(self) -> usize {
        match self {
            GapReason::Evicted => 0,
            GapReason::Power => 1,
            GapReason::Corrupt => 2,
            GapReason::Wiped => 3,
            GapReason::Aged => 4,
            GapReason::Rejected => 5,
            GapReason::Compacted => 6,
        }
    }

    /// Whether such a record may turn up after all: on a card that was put back, in a copy of the queue.
    pub fn may_come_back(self) -> bool {
        match self {
            GapReason::Evicted | GapReason::Power | GapReason::Corrupt | GapReason::Wiped | GapReason::Compacted => {
                true
            }
            GapReason::Aged | GapReason::Rejected => false,
        }
    }

    /// The reason's word in output, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            GapReason::Evicted => "evicted",
            GapReason::Power => "power",
            GapReason::Corrupt => "corrupt",
            GapReason::Wiped => "wiped",
            GapReason::Aged => "aged",
            GapReason::Rejected => "rejected",
            GapReason::Compacted => "compacted",
        }
    }
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A span of time of which one or both ends may be unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeSpan {
    /// Not before this.
    pub from: Option<UnixMicros>,
    /// Not after this.
    pub to: Option<UnixMicros>,
}

impl TimeSpan {
    /// The span of one instant.
    pub fn at(instant: UnixMicros) -> TimeSpan {
        TimeSpan { from: Some(instant), to: Some(instant) }
    }

    /// The shortest span that holds both; an end that either does not know is not known.
    #[must_use]
    pub fn hull(self, other: TimeSpan) -> TimeSpan {
        TimeSpan {
            from: self.from.zip(other.from).map(|(left, right)| left.min(right)),
            to: self.to.zip(other.to).map(|(left, right)| left.max(right)),
        }
    }
}

/// Records of one epoch and lane that can't be had again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The start of the agent that they were taken in.
    pub epoch: Epoch,
    /// Their lane.
    pub lane: Lane,
    /// Their numbers. An end of [`Seq::MAX`]: all that followed, however many they were.
    pub range: SeqRange,
    /// Why.
    pub reason: GapReason,
    /// When the lost records were taken.
    pub span: TimeSpan,
}

impl Gap {
    /// Whether the number of lost records is unknown.
    pub fn is_unbounded(&self) -> bool {
        self.range.last() == Seq::MAX
    }
}
