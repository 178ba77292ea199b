//! What the queue's writing means for the life of a flash card.
//!
//! Pure. A flush rewrites whole blocks, so that at a low rate it is the interval that decides what a card
//! has to bear, and not the readings.

use std::time::Duration;

/// What a flush rewrites at least: one block of the file system.
pub const BLOCK_BYTES: u64 = 4096;

/// Blocks that the file system itself writes beside the data at a flush: its journal and the file's entry.
///
/// Measured on ext4 as mkfs makes it (Linux 6.18, a loop device, `fdatasync` after each append): appends of
/// 100 bytes wrote 4.1 blocks each, one of them data. Where a flush needs new blocks the file system writes
/// more (7.0 in all for each append of 4096 bytes), so this holds for small readings, where it matters.
/// What a card does inside, and other file systems, were not measured.
pub const METADATA_BLOCKS_PER_FLUSH: u64 = 3;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What is written in a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteEstimate {
    /// Records with their headers.
    pub record_bytes_per_day: u64,
    /// Times that the card is asked to make bytes last.
    pub flushes_per_day: u64,
    /// What the card has to write, with the blocks that a flush rewrites.
    pub card_bytes_per_day: u64,
}

/// From what was appended in a span of time. `None` where the span is too short to tell.
pub fn estimate(bytes: u64, records: u64, span: Duration, sync_interval: Duration) -> Option<WriteEstimate> {
    const SPAN_MIN: Duration = Duration::from_secs(10);
    if span < SPAN_MIN || records == 0 {
        return None;
    }
    let per_day =
        |count: u64| u64::try_from(u128::from(count) * DAY.as_micros() / span.as_micros()).unwrap_or(u64::MAX);
    let record_bytes_per_day = per_day(bytes);
    let intervals = u64::try_from(DAY.as_micros() / sync_interval.as_micros().max(1)).unwrap_or(u64::MAX);
    let flushes_per_day = per_day(records).min(intervals);
    // A flush rewrites the block that the last one has left half full, and fills the next ones.
    let card_bytes_per_day = record_bytes_per_day
        .saturating_add(flushes_per_day.saturating_mul(BLOCK_BYTES * (1 + METADATA_BLOCKS_PER_FLUSH)));
    Some(WriteEstimate { record_bytes_per_day, flushes_per_day, card_bytes_per_day })
}

impl WriteEstimate {
    /// How long a card lives on this, if it bears so many bytes in all ("TBW" in its data sheet).
    pub fn card_life(&self, card_bytes_written_max: u64) -> Duration {
        let days = card_bytes_written_max / self.card_bytes_per_day.max(1);
        DAY.saturating_mul(u32::try_from(days).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn at_a_low_rate_the_interval_decides() {
        let hour = 60 * 60;
        let slow = estimate(100 * hour, hour, SECOND * 3600, SECOND).unwrap();
        assert_eq!(slow.flushes_per_day, 86_400);
        let slower = estimate(100 * hour, hour, SECOND * 3600, SECOND * 60).unwrap();
        assert_eq!(slower.flushes_per_day, 1_440);
        assert!(slower.card_bytes_per_day * 20 < slow.card_bytes_per_day);
        assert_eq!(slower.record_bytes_per_day, slow.record_bytes_per_day);
        assert!(slow.card_life(30_000_000_000_000) < slower.card_life(30_000_000_000_000));
    }

    #[test]
    fn a_flush_is_never_counted_more_often_than_a_record() {
        let rare = estimate(1_000, 10, SECOND * 86_400, SECOND).unwrap();
        assert_eq!(rare.flushes_per_day, 10);
    }

    #[test]
    fn a_moment_tells_nothing_about_a_day() {
        assert_eq!(estimate(1_000, 10, SECOND, SECOND), None);
        assert_eq!(estimate(0, 0, SECOND * 3600, SECOND), None);
    }
}
