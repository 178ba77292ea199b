//! Counts events by when they happened, so that a storm shows its shape.

use std::sync::atomic::{AtomicU64, Ordering};

/// Width of a span that is counted as one.
pub(super) const SPAN_MS: u64 = 250;

/// LIMIT: spans; what comes later counts in the last one.
const SPANS: usize = 4_096;

/// Events of one kind over a run; any thread may add.
#[derive(Debug)]
pub(super) struct Timeline {
    spans: Box<[AtomicU64]>,
}

impl Default for Timeline {
    fn default() -> Timeline {
        Timeline { spans: (0..SPANS).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Timeline {
    /// Something happened at this instant of the run's clock.
    pub(super) fn add(&self, at_us: u64) {
        let span = usize::try_from(at_us / 1_000 / SPAN_MS).unwrap_or(SPANS).min(SPANS - 1);
        if let Some(span) = self.spans.get(span) {
            span.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted, span by span.
    fn counts(&self) -> Vec<u64> {
        self.spans.iter().map(|span| span.load(Ordering::Relaxed)).collect()
    }
}

/// Several timelines from the first span in which any of them has something to the last one.
pub(super) fn storm<const N: usize>(timelines: [&Timeline; N]) -> [Vec<u64>; N] {
    let counts = timelines.map(Timeline::counts);
    let busy = |span: &usize| counts.iter().any(|counts| counts[*span] > 0);
    let (first, last) = ((0..SPANS).find(busy), (0..SPANS).rfind(busy));
    let range = first.zip(last).map_or(0..0, |(first, last)| first..last + 1);
    counts.map(|counts| counts[range.clone()].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_cut_out_of_the_quiet_around_it() {
        let (lost, back) = (Timeline::default(), Timeline::default());
        assert_eq!(storm([&lost, &back]), [const { Vec::<u64>::new() }; 2]);
        for at in [1_000_000, 1_249_999, 1_250_000] {
            lost.add(at);
        }
        back.add(1_999_000);
        assert_eq!(storm([&lost, &back]), [vec![2, 1, 0, 0], vec![0, 0, 0, 1]]);
        back.add(u64::MAX);
        assert_eq!(storm([&back])[0].last(), Some(&1));
    }
}
