//! Which of several gateways is gone to next, and when.
//!
//! Each address has a backoff of its own, so that a dead one slows no other. Of those that need not be waited
//! for, the first in the configuration's order is taken, and none twice before the others had their turn;
//! those that a leaving gateway names go before. Nobody leaves a connection that works: the order counts when
//! a new one is needed.

use std::collections::VecDeque;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::time::MonoTime;

/// LIMIT: addresses that a gateway may name for us to try.
pub const DETOURS_MAX: usize = 8;

/// The first delay before an address is tried again is below this, the longest below the other.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// Between two attempts at one address, however the dice fall.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// A connection that held for so long was a good one: its address begins anew with the shortest delays.
pub const STEADY: Duration = Duration::from_secs(5);

/// After one that did not, but over which something came through, the delays are still bounded: as after so many
/// attempts. Lines that break every moment carry something in between.
const BROKEN_ATTEMPTS_MAX: u32 = 2;

/// How long an attempt may take at most.
const PATIENCE_MAX: Duration = Duration::from_secs(15);

/// Where there are others, the first attempt at an address that does not answer takes no longer than this.
/// Each further one gets as much more, for lines on which everything takes long.
const PATIENCE_STEP: Duration = Duration::from_secs(4);

/// No peer can keep us from itself for longer than this.
const ASKED_MAX: Duration = Duration::from_secs(3_600);

/// No peer can keep us from the others for longer than this.
const ASKED_FOR_OTHERS_MAX: Duration = Duration::from_secs(30);

/// The next thing to do: after `delay`, try `address`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt<A> {
    /// Where to.
    pub address: A,
    /// How long to wait first.
    pub delay: Duration,
    /// When to give the attempt up.
    pub patience: Duration,
}

/// Why there is no connection, as far as it says when to come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It may be over at any moment.
    Passing,
    /// The peer wants to be left alone for so long.
    Asked(Duration),
    /// The peer will say the same until a person changes something.
    Lasting,
}

/// The known gateways and what became of the attempts at each.
#[derive(Clone, Debug)]
pub struct Gateways<A> {
    /// INVARIANT: never empty. The configured ones in their order, then those that a gateway has named.
    candidates: Vec<Candidate<A>>,
    configured: usize,
    /// Named by a gateway that leaves, best first; each goes before all others once.
    detours: VecDeque<A>,
    /// What is being tried or was tried last.
    current: A,
    up_since: Option<MonoTime>,
    /// Something has come through since then.
    proved: bool,
    /// The current one has asked us to leave, and to come back after this.
    leave: Option<Duration>,
}

#[derive(Clone, Debug)]
struct Candidate<A> {
    address: A,
    backoff: Backoff,
    not_before: MonoTime,
    /// Attempts that failed since there was a connection to any.
    failed: u32,
}

impl<A> Candidate<A> {
    fn new(address: A) -> Candidate<A> {
        let backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        Candidate { address, backoff, not_before: MonoTime::default(), failed: 0 }
    }
}

impl<A: Clone + PartialEq> Gateways<A> {
    /// The configured ones: the preferred one, and the others in their order.
    pub fn new(first: A, others: impl IntoIterator<Item = A>) -> Gateways<A> {
        let mut candidates = vec![Candidate::new(first.clone())];
        for other in others {
            if candidates.iter().all(|known| known.address != other) {
                candidates.push(Candidate::new(other));
            }
        }
        let configured = candidates.len();
        Gateways {
            candidates,
            configured,
            detours: VecDeque::new(),
            current: first,
            up_since: None,
            proved: false,
            leave: None,
        }
    }

    /// The very first attempt.
    pub fn first(&self) -> Attempt<A> {
        Attempt { address: self.current.clone(), delay: Duration::ZERO, patience: self.patience(0) }
    }

    /// How many are configured.
    pub fn configured(&self) -> usize {
        self.configured
    }

    /// What is being tried, or was tried last.
    pub fn current(&self) -> &A {
        &self.current
    }

    /// The current one has let us in. Saying so again changes nothing. That alone ends no series of attempts: it may
    /// die of what comes next.
    pub fn up(&mut self, now: MonoTime) {
        self.up_since.get_or_insert(now);
    }

    /// Something came through that is worth the connection.
    pub fn proved(&mut self) {
        self.proved = true;
    }

    /// Attempts at the current one since the last that was good.
    pub fn attempts(&self) -> u32 {
        let current = self.candidates.iter().find(|known| known.address == self.current);
        current.map_or(0, |known| known.backoff.attempts())
    }

    /// The current one leaves: it wants us back after a while, and names others, best first.
    pub fn go_away(&mut self, reconnect_after: Duration, others: impl IntoIterator<Item = A>) {
        self.leave = Some(reconnect_after);
        let current = &self.current;
        let others: Vec<A> = others.into_iter().filter(|other| other != current).take(DETOURS_MAX).collect();
        // What an earlier one has named is out of date, unless it is where we are.
        let mut at = 0;
        let configured = self.configured;
        self.candidates.retain(|known| {
            at += 1;
            at <= configured || known.address == *current || others.contains(&known.address)
        });
        self.detours.clear();
        for other in others {
            if self.candidates.iter().all(|known| known.address != other) {
                self.candidates.push(Candidate::new(other.clone()));
            }
            if !self.detours.contains(&other) {
                self.detours.push_back(other);
            }
        }
    }

    /// The attempt failed, or the connection ended: what next. `random`: any value of the whole range alike.
    pub fn ended(&mut self, now: MonoTime, trouble: Trouble, random: u64) -> Attempt<A> {
        let up_since = self.up_since.take();
        let (asked, proved) = (self.leave.take(), std::mem::take(&mut self.proved));
        // Many lose a gateway at the same moment: they must not be at the next one in the same moment too.
        let spread = match (asked, up_since) {
            (Some(after), _) => after.max(PAUSE_MIN),
            (None, Some(_)) => Backoff::new(BACKOFF.0, BACKOFF.0).next_delay(random.rotate_left(32)),
            (None, None) => Duration::ZERO,
        };
        if up_since.is_some() {
            self.candidates.iter_mut().for_each(|known| known.failed = 0);
        }
        if let Some(at) = self.candidates.iter().position(|known| known.address == self.current) {
            let candidate = &mut self.candidates[at];
            if let Some(since) = up_since {
                match (now.since(since) >= STEADY, proved) {
                    (true, _) => candidate.backoff.reset(),
                    (false, true) => candidate.backoff.ease(BROKEN_ATTEMPTS_MAX),
                    (false, false) => {}
                }
            }
            let delay = match trouble {
                Trouble::Passing => candidate.backoff.next_delay(random),
                Trouble::Asked(after) => candidate.backoff.next_delay_after(after.min(ASKED_MAX), random),
                Trouble::Lasting => candidate.backoff.longest_delay(random),
            };
            candidate.failed = candidate.failed.saturating_add(u32::from(up_since.is_none()));
            candidate.not_before = now + spread.min(ASKED_MAX) + delay.max(PAUSE_MIN);
            if at >= self.configured && up_since.is_none() {
                // Only others know of it, and it is not there.
                self.candidates.remove(at);
            }
        }
        self.choose(now, now + spread.min(ASKED_FOR_OTHERS_MAX))
    }

    /// The best one that need not be waited for beyond `from`; else the one that can be tried soonest.
    fn choose(&mut self, now: MonoTime, from: MonoTime) -> Attempt<A> {
        let mut named = None;
        while named.is_none()
            && let Some(detour) = self.detours.pop_front()
        {
            named = self.candidates.iter().position(|known| known.address == detour && known.not_before <= from);
        }
        // The first of equals is taken: the order is that of preference. By turns, as attempts that hang may
        // take longer than the waits of others, which would then never be passed.
        let rank = |at: &usize| (self.candidates[*at].not_before.max(from), self.candidates[*at].failed);
        let at = named.or_else(|| (0..self.candidates.len()).min_by_key(rank)).unwrap_or_default();
        let Candidate { address, backoff, not_before, .. } = &self.candidates[at];
        let delay = not_before.max(&from).since(now);
        let (address, patience) = (address.clone(), self.patience(backoff.attempts()));
        self.current = address.clone();
        Attempt { address, delay, patience }
    }

    fn patience(&self, attempts: u32) -> Duration {
        if self.candidates.len() < 2 {
            return PATIENCE_MAX;
        }
        PATIENCE_STEP.saturating_mul(attempts.saturating_add(1)).min(PATIENCE_MAX)
    }
}

#[cfg(test)]
mod tests;
