//! How long to wait before the next attempt: exponential, with full jitter.

use std::time::Duration;

/// The delays of one series of attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    attempt: u32,
}

impl Backoff {
    /// Delays are below `base` at first, twice that after each attempt, and never above `max`.
    pub const fn new(base: Duration, max: Duration) -> Backoff {
        Backoff { base, max, attempt: 0 }
    }

    /// The next delay. `random` comes from the shell, any value of the whole range alike.
    pub fn next_delay(&mut self, random: u64) -> Duration {
        let ceiling = self.base.saturating_mul(2u32.saturating_pow(self.attempt)).min(self.max);
        self.attempt = self.attempt.saturating_add(1);
        let nanos = (ceiling.as_nanos().saturating_mul(u128::from(random))) >> 64;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The next delay where the peer asked for one: its wish, and the jitter on top, so that not all come at once.
    pub fn next_delay_after(&mut self, asked: Duration, random: u64) -> Duration {
        asked.saturating_add(self.next_delay(random))
    }

    /// The next delay after a refusal that will be repeated: between half of the longest and the longest.
    pub fn longest_delay(&self, random: u64) -> Duration {
        let half = self.max / 2;
        half.saturating_add(Backoff::new(half, half).next_delay(random))
    }

    /// An attempt has succeeded.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }

    /// An attempt has half succeeded: goes on as if there had been no more than so many.
    pub fn ease(&mut self, attempts_max: u32) {
        self.attempt = self.attempt.min(attempts_max);
    }

    /// Attempts since the last success.
    pub fn attempts(&self) -> u32 {
        self.attempt
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ceiling_doubles_until_the_maximum() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let ceilings: Vec<u128> = (0..6).map(|_| backoff.next_delay(u64::MAX).as_millis()).collect();
        assert_eq!(ceilings, [99, 199, 399, 799, 999, 999]);
        backoff.reset();
        assert_eq!(backoff.next_delay(u64::MAX).as_millis(), 99);
    }

    proptest! {
        #[test]
        fn no_delay_is_above_the_maximum_however_many_attempts(attempt: u32, random: u64) {
            let max = Duration::from_secs(60);
            let mut backoff = Backoff { attempt, ..Backoff::new(Duration::from_millis(250), max) };
            prop_assert!(backoff.next_delay(random) <= max);
            let longest = backoff.longest_delay(random);
            prop_assert!(max / 2 <= longest && longest <= max);
        }
    }
}
