//! Decides how long a source rests while most of what it hears is garbage.
//!
//! Pure. A line that babbles can bring bad frames as fast as they are read, and refusing them would take
//! all of a processor. Rests are short: what is said meanwhile waits in the kernel, or with the broker.

use std::time::Duration;

/// A rest is so many times as long as what was rested from.
const REST_RATIO: u32 = 3;

/// Shorter ones are put together: a timer can't measure them.
const REST_MIN: Duration = Duration::from_millis(1);

/// The longest one: on the fastest usual line, 921600 baud, not a quarter of what a kernel keeps for us.
const REST_MAX: Duration = Duration::from_millis(10);

/// So many dead letters in a row cost no rest.
const FREE: u64 = 64;

/// What one source has lately refused.
#[derive(Debug, Default)]
pub(super) struct Rest {
    in_a_row: u64,
    owed: Duration,
}

impl Rest {
    /// How long to rest after a piece of input that took `spent`, and of which came `used` outputs of use and
    /// `refused` dead letters.
    pub(super) fn after(&mut self, spent: Duration, used: u64, refused: u64) -> Option<Duration> {
        if refused <= used {
            if used > 0 {
                *self = Rest::default();
            }
            return None;
        }
        self.in_a_row = self.in_a_row.saturating_add(refused);
        if self.in_a_row <= FREE {
            return None;
        }
        self.owed = self.owed.saturating_add(spent.saturating_mul(REST_RATIO)).min(REST_MAX);
        (self.owed >= REST_MIN).then(|| std::mem::take(&mut self.owed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: Duration = Duration::from_micros(500);

    #[test]
    fn babble_costs_a_quarter_of_the_time_at_most_and_no_rest_is_long() {
        let mut rest = Rest::default();
        assert_eq!(rest.after(PIECE, 0, FREE), None, "a burst is nothing");
        let rested: Duration = (0..1_000).filter_map(|_| rest.after(PIECE, 1, 50)).sum();
        assert!(rested >= PIECE * 1_000 * (REST_RATIO - 1), "{rested:?}");
        assert_eq!(rest.after(Duration::from_secs(5), 0, 1), Some(REST_MAX));
    }

    #[test]
    fn rests_too_short_to_be_measured_are_put_together() {
        let mut rest = Rest::default();
        rest.after(Duration::ZERO, 0, FREE);
        let rests: Vec<_> = (0..100).filter_map(|_| rest.after(Duration::from_micros(20), 0, 1)).collect();
        assert!(rests.len() > 3 && rests.iter().all(|rest| *rest >= REST_MIN), "{rests:?}");
    }

    #[test]
    fn who_says_as_much_of_use_as_not_is_never_kept_waiting() {
        let mut rest = Rest::default();
        assert!((0..1_000).all(|_| rest.after(PIECE, 1, 1).is_none()));
        rest.after(PIECE, 0, FREE + 1);
        assert_eq!(rest.after(PIECE, 3, 0), None);
        assert_eq!(rest.after(PIECE, 0, 1), None, "what was before is forgotten");
    }
}
