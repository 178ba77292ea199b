//! Decides when an agent that is refused for another holder of its identity begins anew.
//!
//! Pure. A copied card or data folder makes two holders of one identity; the gateway hears the one whose
//! epoch is the latest. Begun anew, as by a restart, an agent is the latest again: so the one that was
//! there first heals by itself once the copy is gone. While both live they take turns, ever more rarely.

use std::time::Duration;

use lockgate_proto::backoff::Backoff;
use lockgate_proto::time::MonoTime;

/// The longest first wait; each further one may be twice as long.
const WAIT_FIRST: Duration = Duration::from_secs(60);

/// The longest wait of all.
const WAIT_MAX: Duration = Duration::from_secs(15 * 60);

/// Who was let in for so long without being refused has no rival any more.
const CALM: Duration = Duration::from_secs(60 * 60);

/// The contest with another holder, if there is one.
#[derive(Debug, Default)]
pub(super) struct Contest {
    /// Waits since there was no rival.
    waits: u32,
    due: Option<MonoTime>,
    /// Since the last refusal.
    let_in: Option<MonoTime>,
}

impl Contest {
    /// The gateway prefers another holder. `random`: any value of the whole range alike, so that two
    /// holders don't keep step.
    pub(super) fn refused(&mut self, now: MonoTime, random: u64) {
        if self.let_in.take().is_some_and(|since| now.since(since) >= CALM) {
            self.waits = 0;
        }
        if self.due.is_none() {
            let longest = WAIT_FIRST.saturating_mul(2_u32.saturating_pow(self.waits)).min(WAIT_MAX);
            self.due = Some(now + Backoff::new(longest, longest).longest_delay(random));
            self.waits = self.waits.saturating_add(1);
        }
    }

    /// The gateway has let us in.
    pub(super) fn let_in(&mut self, now: MonoTime) {
        self.let_in.get_or_insert(now);
        self.due = None;
    }

    /// Whether it is time to begin anew.
    pub(super) fn is_due(&self, now: MonoTime) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// That was done.
    pub(super) fn begun_anew(&mut self) {
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> MonoTime {
        MonoTime(Duration::from_secs(seconds))
    }

    /// Seconds until it is due, refused every ten seconds from `from` on.
    fn wait(contest: &mut Contest, from: u64) -> u64 {
        (0..1_000)
            .map(|tries| tries * 10)
            .find(|waited| {
                contest.refused(at(from + waited), u64::MAX / 2);
                contest.is_due(at(from + waited))
            })
            .expect("it is due some time")
    }

    #[test]
    fn two_that_live_take_turns_ever_more_rarely() {
        let mut contest = Contest::default();
        let mut now = 1_000;
        let waits: Vec<u64> = (0..7)
            .map(|_| {
                let waited = wait(&mut contest, now);
                contest.begun_anew();
                contest.let_in(at(now + waited));
                // The other one comes back.
                now += waited + 300;
                waited
            })
            .collect();
        assert_eq!(waits, [50, 90, 180, 360, 680, 680, 680]);
    }

    #[test]
    fn once_the_other_one_is_gone_for_long_a_new_one_is_met_as_the_first() {
        let mut contest = Contest::default();
        for round in 0..3 {
            assert_eq!(wait(&mut contest, round * 10_000), 50);
            contest.begun_anew();
            contest.let_in(at(round * 10_000 + 60));
        }
    }

    #[test]
    fn who_is_let_in_meanwhile_begins_nothing_anew() {
        let mut contest = Contest::default();
        contest.refused(at(0), 0);
        contest.let_in(at(20));
        assert!(!contest.is_due(at(10_000)));
    }
}
