//! The loss ledger's sums: *produced = stored + lost + pending*, always.

use crate::gap::GapReason;

/// What became of numbered records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Numbers that the agent is known to have given.
    pub produced: u64,
    /// Records in the log.
    pub stored: u64,
    /// Per reason, in the order of [`GapReason::ALL`].
    pub lost: [Lost; GapReason::ALL.len()],
    /// Still to come.
    pub pending: u64,
}

/// What was lost for one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Numbers known to have been given.
    pub records: u64,
    /// Gaps with an open end: beyond `records`, nobody knows how many were lost.
    pub unbounded: u64,
}

impl Totals {
    /// What was lost for a reason.
    pub fn lost_to(&self, reason: GapReason) -> Lost {
        self.lost[reason.index()]
    }

    /// All that was lost, whatever the reason.
    pub fn lost_sum(&self) -> Lost {
        self.lost.iter().fold(Lost::default(), |sum, lost| sum.plus(*lost))
    }

    /// Both sums in one.
    #[must_use]
    pub fn plus(mut self, other: &Totals) -> Totals {
        self.produced = self.produced.saturating_add(other.produced);
        self.stored = self.stored.saturating_add(other.stored);
        self.pending = self.pending.saturating_add(other.pending);
        for (lost, more) in self.lost.iter_mut().zip(other.lost) {
            *lost = lost.plus(more);
        }
        self
    }

    pub(crate) fn lose(&mut self, reason: GapReason, lost: Lost) {
        let sum = &mut self.lost[reason.index()];
        *sum = sum.plus(lost);
    }
}

impl Lost {
    fn plus(self, other: Lost) -> Lost {
        Lost {
            records: self.records.saturating_add(other.records),
            unbounded: self.unbounded.saturating_add(other.unbounded),
        }
    }
}
