//! Decides how many handshakes begin, by how long work that is ready waits for a processor.
//!
//! Thousands who lost their gateway come to the next one at once, and a handshake costs as much as many deliveries.
//! While the machine keeps up, all are let through. Where it does not, they are let through at a rate that leaves the
//! sessions there are their share: it falls while work waits too long, grows while it does not, and ends
//! when nobody needs it. Who is not let through is told when there will be room, each another moment.

use std::time::Duration;

use lockgate_proto::time::MonoTime;

/// Work that waits so long says that the machine does not keep up.
const LAG_HIGH: Duration = Duration::from_millis(100);

/// Work that waits no longer says that there is room.
const LAG_LOW: Duration = Duration::from_millis(20);

/// However busy the machine is, so many handshakes a second begin: nobody stays out for ever.
const RATE_MIN: f64 = 50.0;

/// The rate is multiplied by this for each look at a machine that does not keep up.
const FALL: f64 = 0.7;

/// The same for one that has room.
const GROWTH: f64 = 1.1;

/// Handshakes that may begin at once, as time at the rate.
const BURST: Duration = Duration::from_millis(100);

/// After so long without anybody turned away, the rate ends.
const UNUSED_AFTER: Duration = Duration::from_secs(5);

/// Nobody is sent away for longer: by then much may have changed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// One for all doors of a gateway.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turnstile {
    rate: Option<Rate>,
    /// Those who were let through since the last look.
    passed: u32,
    looked_at: MonoTime,
}

#[derive(Clone, Copy, Debug)]
struct Rate {
    /// Handshakes a second.
    per_second: f64,
    /// Those that may begin now.
    free: f64,
    counted_at: MonoTime,
    /// When there is room for the next one who is sent away.
    next_return: MonoTime,
    refused_at: MonoTime,
}

impl Turnstile {
    pub(crate) fn new(now: MonoTime) -> Turnstile {
        Turnstile { rate: None, passed: 0, looked_at: now }
    }

    /// Whether a handshake may begin; else in how long it may be tried again.
    pub(crate) fn enter(&mut self, now: MonoTime) -> Result<(), Duration> {
        let Some(rate) = &mut self.rate else {
            self.passed += 1;
            return Ok(());
        };
        rate.fill(now);
        if rate.free >= 1.0 {
            rate.free -= 1.0;
            self.passed += 1;
            return Ok(());
        }
        Err(rate.refuse(now))
    }

    /// Somebody looked how long ready work waits.
    pub(crate) fn look(&mut self, now: MonoTime, lag: Duration) {
        let passed = f64::from(std::mem::take(&mut self.passed));
        let since = now.since(self.looked_at).as_secs_f64();
        self.looked_at = now;
        match &mut self.rate {
            // What was let through until now was too much.
            None if lag > LAG_HIGH && passed > 0.0 && since > 0.0 => self.rate = Some(Rate::new(passed / since, now)),
            Some(rate) if now.since(rate.refused_at) > UNUSED_AFTER => self.rate = None,
            Some(rate) if lag > LAG_HIGH => rate.change(FALL, now),
            Some(rate) if lag < LAG_LOW => rate.change(GROWTH, now),
            None | Some(_) => {}
        }
    }
}

impl Rate {
    fn new(passed_per_second: f64, now: MonoTime) -> Rate {
        let per_second = (passed_per_second * FALL).max(RATE_MIN);
        Rate { per_second, free: 0.0, counted_at: now, next_return: now, refused_at: now }
    }

    fn fill(&mut self, now: MonoTime) {
        let since = now.since(self.counted_at).as_secs_f64();
        self.counted_at = now;
        self.free = (self.free + since * self.per_second).min((self.per_second * BURST.as_secs_f64()).max(1.0));
    }

    fn change(&mut self, factor: f64, now: MonoTime) {
        self.fill(now);
        self.per_second = (self.per_second * factor).max(RATE_MIN);
    }

    fn refuse(&mut self, now: MonoTime) -> Duration {
        self.refused_at = now;
        let step = Duration::from_secs_f64(1.0 / self.per_second);
        self.next_return = self.next_return.max(now) + step;
        let after = self.next_return.since(now);
        if after > RETRY_AFTER_MAX {
            // The longest time is long enough to be filled anew.
            self.next_return = now;
        }
        after.min(RETRY_AFTER_MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> MonoTime {
        MonoTime(Duration::from_millis(millis))
    }

    /// Tries to enter so often, and gives how many were let in and how long the others were sent away.
    fn storm(turnstile: &mut Turnstile, now: MonoTime, tries: u32) -> (u32, Vec<Duration>) {
        let mut away = Vec::new();
        for _ in 0..tries {
            away.extend(turnstile.enter(now).err());
        }
        (tries - u32::try_from(away.len()).unwrap(), away)
    }

    #[test]
    fn a_machine_that_keeps_up_lets_all_through() {
        let mut turnstile = Turnstile::new(at(0));
        for tick in 1..100 {
            turnstile.look(at(tick * 50), LAG_LOW);
            assert_eq!(storm(&mut turnstile, at(tick * 50), 1_000).0, 1_000);
        }
        // Busy with something else than handshakes: to turn people away would not help.
        let mut quiet = Turnstile::new(at(0));
        quiet.look(at(50), Duration::from_secs(1));
        assert_eq!(storm(&mut quiet, at(51), 1_000).0, 1_000);
    }

    #[test]
    fn one_that_does_not_lets_fewer_through_and_tells_each_of_the_others_another_moment() {
        let mut turnstile = Turnstile::new(at(0));
        storm(&mut turnstile, at(10), 200);
        turnstile.look(at(100), LAG_HIGH * 2);
        // 2,000 a second were too many: 1,400 are tried.
        let (through, away) = storm(&mut turnstile, at(150), 2_000);
        assert_eq!(through, 70);
        assert!(away.is_sorted());
        let last = away.last().unwrap().as_secs_f64();
        assert!((last - 1_930.0 / 1_400.0).abs() < 0.01, "{last}");
        turnstile.look(at(200), LAG_HIGH * 2);
        turnstile.look(at(1_150), Duration::ZERO);
        // What has gathered at 980 a second, which is a tenth of it at most.
        assert_eq!(storm(&mut turnstile, at(1_150), 2_000).0, 98);
    }

    #[test]
    fn it_ends_when_nobody_needs_it_and_never_closes_for_ever() {
        let mut turnstile = Turnstile::new(at(0));
        storm(&mut turnstile, at(1), 100);
        for tick in 1..200 {
            turnstile.look(at(tick * 50), LAG_HIGH * 9);
            storm(&mut turnstile, at(tick * 50), 1_000);
        }
        let (through, away) = storm(&mut turnstile, at(11_000), 5_000);
        assert_eq!(through, 5);
        assert!(away.iter().all(|after| *after <= RETRY_AFTER_MAX));
        turnstile.look(at(16_001), Duration::ZERO);
        assert_eq!(storm(&mut turnstile, at(16_002), 5_000).0, 5_000);
    }

    proptest! {
        #[test]
        fn nobody_is_sent_away_for_longer_than_the_longest_time(
            steps in prop::collection::vec((0_u64..400, 0_u64..300, 0_u32..500), 1..100),
        ) {
            let (mut turnstile, mut now) = (Turnstile::new(at(0)), 0);
            for (millis, lag, tries) in steps {
                now += millis;
                turnstile.look(at(now), Duration::from_millis(lag));
                let (_, away) = storm(&mut turnstile, at(now), tries);
                prop_assert!(away.iter().all(|after| *after <= RETRY_AFTER_MAX));
            }
        }
    }
}
