//! Whether a deadline lies ahead, on a machine whose own clock may be wrong.

use std::time::Duration;

use crate::time::{MonoTime, UnixMicros};

/// How much faster or slower than the backbone's a board's clock may run: 200 parts in a million.
const DRIFT_PER_MILLION: u32 = 200;

/// The backbone's time, as one question and its answer showed it: `server` was true at some instant between the two.
///
/// Measured with a clock that runs through suspend; the machine's wall clock plays no part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BackboneTime {
    /// When the question left.
    pub asked: MonoTime,
    /// When the answer came.
    pub answered: MonoTime,
    /// What it said.
    pub server: UnixMicros,
}

impl BackboneTime {
    /// The latest that it can be now: as if the answer had been given when the question left.
    pub fn latest(&self, now: MonoTime) -> UnixMicros {
        let passed = now.since(self.asked);
        self.server.offset_by(micros(passed.saturating_add(drift(passed))))
    }

    /// The earliest that it can be now: as if the answer had taken no time to arrive.
    pub fn earliest(&self, now: MonoTime) -> UnixMicros {
        let passed = now.since(self.answered);
        self.server.offset_by(micros(passed.saturating_sub(drift(passed))))
    }

    /// Whether the deadline provably lies ahead.
    pub fn is_before(&self, now: MonoTime, deadline: UnixMicros) -> bool {
        self.latest(now) < deadline
    }

    /// An instant by which [`BackboneTime::is_before`] no longer holds.
    pub fn passes_at(&self, now: MonoTime, deadline: UnixMicros) -> MonoTime {
        let left = deadline.0.saturating_sub(self.latest(now).0);
        now + Duration::from_micros(left.max(0).unsigned_abs())
    }

    /// Of two, the one that leaves less open; of equals, the newer. Their width at `now` decides.
    #[must_use]
    pub fn better(self, other: BackboneTime, now: MonoTime) -> BackboneTime {
        let width = |time: &BackboneTime| time.latest(now).0.saturating_sub(time.earliest(now).0);
        if width(&other) <= width(&self) { other } else { self }
    }
}

fn drift(span: Duration) -> Duration {
    span / 1_000_000 * DRIFT_PER_MILLION
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> MonoTime {
        MonoTime(Duration::from_millis(millis))
    }

    #[test]
    fn a_slow_answer_is_taken_for_as_late_as_it_may_be() {
        let time = BackboneTime { asked: at(1_000), answered: at(3_000), server: UnixMicros(50_000_000) };
        assert!(time.earliest(at(3_000)) == UnixMicros(50_000_000));
        assert!(time.latest(at(3_000)) >= UnixMicros(52_000_000));
        assert!(!time.is_before(at(3_000), UnixMicros(52_000_000)));
        assert!(time.is_before(at(3_000), UnixMicros(52_500_000)));
    }

    #[test]
    fn age_makes_it_less_sure_by_what_a_crystal_drifts() {
        let time = BackboneTime { asked: at(0), answered: at(0), server: UnixMicros(0) };
        let day = at(86_400_000);
        let (earliest, latest) = (time.earliest(day), time.latest(day));
        assert!(latest.0 - earliest.0 > 30_000_000, "half a minute in a day: {earliest:?} {latest:?}");
        let fresh =
            BackboneTime { asked: day, answered: day + Duration::from_secs(1), server: UnixMicros(86_400_000_000) };
        assert_eq!(time.better(fresh, day + Duration::from_secs(1)), fresh);
    }

    #[test]
    fn the_timer_never_rings_before_the_deadline_has_passed_for_sure() {
        let time = BackboneTime { asked: at(0), answered: at(10), server: UnixMicros(0) };
        for deadline in [UnixMicros(-5), UnixMicros(20_000), UnixMicros(3_600_000_000)] {
            let rings = time.passes_at(at(10), deadline);
            assert!(!time.is_before(rings, deadline));
        }
    }
}
