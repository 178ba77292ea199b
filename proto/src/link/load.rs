//! What a Publish weighs against the credit that a gateway gives. Both ends count by this.

use super::frame::{LinkLimits, Publish};
use crate::limits::GAP_BYTES;

/// Bytes and records. A gap weighs as a record of [`GAP_BYTES`]: it becomes an entry as a record does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) bytes: u64,
    pub(super) records: u64,
}

impl Load {
    pub(super) fn of(publish: &Publish) -> Load {
        let bytes: u64 = publish.records.iter().map(|record| record.record.len() as u64).sum();
        let records = Load { bytes, records: publish.records.len() as u64 };
        let load = records.plus(Load::of_gaps(publish.gaps.len()));
        // A Publish of nothing costs as much as one record.
        Load { records: load.records.max(1), ..load }
    }

    pub(super) fn of_gaps(gaps: usize) -> Load {
        let records = gaps as u64;
        Load { bytes: records.saturating_mul(GAP_BYTES), records }
    }

    pub(super) fn window(limits: &LinkLimits) -> Load {
        Load { bytes: limits.window_bytes, records: limits.window_records }
    }

    pub(super) fn plus(self, other: Load) -> Load {
        Load { bytes: self.bytes.saturating_add(other.bytes), records: self.records.saturating_add(other.records) }
    }

    pub(super) fn minus(self, other: Load) -> Load {
        Load { bytes: self.bytes.saturating_sub(other.bytes), records: self.records.saturating_sub(other.records) }
    }

    /// The larger of each.
    pub(super) fn max(self, other: Load) -> Load {
        Load { bytes: self.bytes.max(other.bytes), records: self.records.max(other.records) }
    }

    pub(super) fn fits(self, most: Load) -> bool {
        self.bytes <= most.bytes && self.records <= most.records
    }
}
