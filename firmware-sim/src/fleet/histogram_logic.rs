//! Counts spans of time in buckets less than one percent wide: bounded memory, no locks, one addition a value.

use std::sync::atomic::{AtomicU64, Ordering};

/// Each doubling is cut into so many buckets, as a power of two.
const PARTS_BITS: u32 = 7;
const PARTS: usize = 1 << PARTS_BITS;

/// Longer spans (19 hours in microseconds) count as this one.
const LONGEST: u64 = (1 << 36) - 1;

/// A histogram that any thread may add to.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: Box<[AtomicU64]>,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: (0..=bucket_of(LONGEST)).map(|_| AtomicU64::new(0)).collect(), max: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts one span.
    pub(crate) fn add(&self, micros: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(micros)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        if micros > self.max.load(Ordering::Relaxed) {
            self.max.fetch_max(micros, Ordering::Relaxed);
        }
    }

    /// What was counted.
    pub(crate) fn quantiles(&self) -> Quantiles {
        let count = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum();
        let max = self.max.load(Ordering::Relaxed);
        let at = |per_mille| self.at(count, per_mille).min(max);
        Quantiles { count, p50: at(500), p90: at(900), p99: at(990), p999: at(999), max }
    }

    /// The upper end of the bucket in which so many per mille of all values are reached.
    fn at(&self, count: u64, per_mille: u64) -> u64 {
        let wanted = count.saturating_mul(per_mille).div_ceil(1_000).max(1);
        let mut passed = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            passed += bucket.load(Ordering::Relaxed);
            if wanted <= passed {
                return upper_end(index);
            }
        }
        0
    }
}

/// What a histogram tells, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quantiles {
    /// Values counted.
    pub count: u64,
    /// Half of them are at most this.
    pub p50: u64,
    /// 90 % are.
    pub p90: u64,
    /// 99 % are.
    pub p99: u64,
    /// 99.9 % are.
    pub p999: u64,
    /// The largest, exactly.
    pub max: u64,
}

fn bucket_of(micros: u64) -> usize {
    let micros = micros.min(LONGEST);
    // Below twice the parts each value has a bucket of its own.
    let doublings = (u64::BITS - micros.leading_zeros()).saturating_sub(PARTS_BITS + 1);
    doublings as usize * PARTS + usize::try_from(micros >> doublings).unwrap_or(PARTS)
}

fn upper_end(bucket: usize) -> u64 {
    let doublings = (bucket / PARTS).saturating_sub(1);
    let part = (bucket - doublings * PARTS) as u64;
    ((part + 1) << doublings) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_added() {
        let histogram = Histogram::default();
        assert_eq!(histogram.quantiles(), Quantiles::default());
        (1..=200).for_each(|micros| histogram.add(micros));
        let Quantiles { count, p50, p90, p99, p999, max } = histogram.quantiles();
        assert_eq!((count, p50, p90, p99, p999, max), (200, 100, 180, 198, 200, 200));
        histogram.add(u64::MAX);
        assert_eq!(histogram.quantiles().max, u64::MAX);
    }

    proptest! {
        #[test]
        fn a_bucket_holds_its_values_and_is_less_than_one_percent_wide(micros in 0..=LONGEST) {
            let end = upper_end(bucket_of(micros));
            prop_assert!(micros <= end && end - micros <= micros / 100);
            prop_assert_eq!(bucket_of(end), bucket_of(micros));
            prop_assert_eq!(bucket_of(end + 1), bucket_of(micros) + usize::from(end < LONGEST));
        }
    }
}
