//! Decides when a room tells what has come: at once after a rest, else together with what comes soon.

use std::time::Duration;

use tokio::time::Instant;

/// The pace of one room. Who listens seldom hears at once; who hears much hears it in fewer, larger messages: one
/// message of ten entries costs each listener little more than one of one entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Nothing waits longer than this. Zero: nothing waits.
    every: Duration,
    open_at: Option<Instant>,
}

impl Pace {
    pub(super) fn new(every: Duration) -> Pace {
        Pace { every, open_at: None }
    }

    /// Until when what has come now is to wait; `None`: not at all.
    pub(super) fn wait(&self, now: Instant) -> Option<Instant> {
        self.open_at.filter(|at| now < *at)
    }

    /// Something was told.
    pub(super) fn told(&mut self, now: Instant) {
        self.open_at = (!self.every.is_zero()).then(|| now + self.every);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_waits_longer_than_it_may_and_nothing_waits_after_a_rest(
            every in 0_u64..20, gaps in prop::collection::vec(0_u64..30, 1..50),
        ) {
            let every = Duration::from_millis(every);
            let mut pace = Pace::new(every);
            let (mut now, mut told_at) = (Instant::now(), None::<Instant>);
            for gap in gaps {
                now += Duration::from_millis(gap);
                match pace.wait(now) {
                    Some(until) => {
                        prop_assert!(until - now <= every);
                        // Whoever holds something comes back in time.
                        now = until;
                        prop_assert_eq!(pace.wait(now), None);
                    }
                    None => prop_assert!(told_at.is_none_or(|at| now - at >= every)),
                }
                pace.told(now);
                told_at = Some(now);
            }
        }
    }
}
