//! What one reader got of one room, number by number: losses, doubles and disorder show here.
//!
//! An agent numbers its records from 1 by one. Live records overtake those taken before a reconnect, so each of the
//! two kinds is in order by itself, and numbers may run ahead while older ones still come.

use std::collections::HashMap;

use lockgate_proto::ranges::RangeSet;
use lockgate_proto::seq::Seq;

/// One reader's account of one room.
#[derive(Debug)]
pub(super) struct Tally {
    /// The lowest number of each of the room's agents that has not come.
    next: Box<[u64]>,
    /// Agents of which numbers came ahead of a missing one.
    ahead: HashMap<usize, Ahead>,
    faults: Faults,
}

/// What came too early, and the highest of each kind.
#[derive(Debug, Default)]
struct Ahead {
    came: RangeSet,
    highest: [u64; 2],
}

/// What a room or a reader did wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    /// Records that did not come though they were published.
    pub lost: u64,
    /// Records that came once more.
    pub doubled: u64,
    /// Records that came after a later one of their own kind.
    pub disordered: u64,
    /// Records of another room, or that nobody published.
    pub strange: u64,
}

impl Faults {
    /// Both together.
    pub(super) fn add(&mut self, other: Faults) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.disordered += other.disordered;
        self.strange += other.strange;
    }
}

impl Tally {
    /// Nothing came yet of so many agents.
    pub(super) fn new(agents: usize) -> Tally {
        Tally { next: vec![1; agents].into(), ahead: HashMap::new(), faults: Faults::default() }
    }

    /// A record came; `true`: for the first time.
    pub(super) fn take(&mut self, agent: usize, number: u64, backlog: bool) -> bool {
        let Some(next) = self.next.get_mut(agent) else {
            self.faults.strange += 1;
            return false;
        };
        if number == *next && self.ahead.is_empty() {
            *next += 1;
            return true;
        }
        if number < *next {
            self.faults.doubled += 1;
            return false;
        }
        self.take_among_others(agent, number, backlog)
    }

    /// A record of another room came.
    pub(super) fn strange(&mut self) {
        self.faults.strange += 1;
    }

    fn take_among_others(&mut self, agent: usize, number: u64, backlog: bool) -> bool {
        let next = &mut self.next[agent];
        let ahead = self.ahead.entry(agent).or_default();
        let is_new = ahead.came.insert_one(Seq::new(number));
        if !is_new {
            self.faults.doubled += 1;
            return false;
        }
        let highest = &mut ahead.highest[usize::from(backlog)];
        self.faults.disordered += u64::from(number < *highest);
        *highest = number.max(*highest);
        let first = ahead.came.ranges().first().copied().filter(|range| range.first().get() == *next);
        if let Some(range) = first {
            *next = range.last().get() + 1;
            ahead.came.remove(range);
        }
        if ahead.came.is_empty() {
            self.ahead.remove(&agent);
        }
        true
    }

    /// The account, held against the last number that each agent gave.
    pub(super) fn settle(&self, published: impl Iterator<Item = u64>) -> Faults {
        let mut faults = self.faults;
        for (agent, (next, last)) in self.next.iter().zip(published).enumerate() {
            let ahead = self.ahead.get(&agent).map_or(0, |ahead| ahead.came.count());
            let got = next - 1 + ahead;
            faults.lost += last.saturating_sub(got);
            faults.strange += got.saturating_sub(last);
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What one agent's records, marked where they are backlog, make of an account that should reach 5.
    fn settled(came: &[(u64, bool)]) -> Faults {
        let mut tally = Tally::new(1);
        for (number, backlog) in came {
            tally.take(0, *number, *backlog);
        }
        tally.settle([5].into_iter())
    }

    fn live(numbers: &[u64]) -> Vec<(u64, bool)> {
        numbers.iter().map(|number| (*number, false)).collect()
    }

    #[test]
    fn what_comes_once_and_in_order_is_clean() {
        assert_eq!(settled(&live(&[1, 2, 3, 4, 5])), Faults::default());
    }

    #[test]
    fn live_records_may_overtake_the_backlog() {
        let came = [(1, false), (4, false), (2, true), (5, false), (3, true)];
        assert_eq!(settled(&came), Faults::default());
    }

    #[test]
    fn a_missing_record_is_lost_wherever_it_is_missing() {
        assert_eq!(settled(&live(&[1, 2, 4, 5])), Faults { lost: 1, ..Faults::default() });
        assert_eq!(settled(&live(&[1, 2, 3])), Faults { lost: 2, ..Faults::default() });
        assert_eq!(settled(&[]), Faults { lost: 5, ..Faults::default() });
    }

    #[test]
    fn a_record_that_comes_again_is_doubled_and_replaces_no_other() {
        assert_eq!(settled(&live(&[1, 2, 2, 3, 4, 5])), Faults { doubled: 1, ..Faults::default() });
        assert_eq!(settled(&live(&[1, 4, 4, 5])), Faults { lost: 2, doubled: 1, ..Faults::default() });
    }

    #[test]
    fn a_record_after_a_later_one_of_its_kind_is_out_of_order() {
        assert_eq!(settled(&live(&[1, 3, 2, 4, 5])), Faults { disordered: 1, ..Faults::default() });
        let came = [(1, false), (5, false), (3, true), (2, true), (4, true)];
        assert_eq!(settled(&came), Faults { disordered: 1, ..Faults::default() });
    }

    #[test]
    fn what_nobody_published_or_another_room_got_is_strange() {
        assert_eq!(settled(&live(&[1, 2, 3, 4, 5, 6])), Faults { strange: 1, ..Faults::default() });
        let mut tally = Tally::new(1);
        assert!(!tally.take(1, 1, false));
        tally.strange();
        assert_eq!(tally.settle([0].into_iter()), Faults { strange: 2, ..Faults::default() });
    }

    #[test]
    fn one_agents_hole_is_no_fault_of_another() {
        let mut tally = Tally::new(2);
        assert!(tally.take(0, 2, false));
        (1..=5).for_each(|number| assert!(tally.take(1, number, false)));
        assert!(tally.take(0, 1, true));
        assert_eq!(tally.settle([2, 5].into_iter()), Faults::default());
        assert!(tally.ahead.is_empty());
    }

    proptest! {
        #[test]
        fn losses_and_doubles_are_those_of_a_plain_count(came in prop::collection::vec((1_u64..20, any::<bool>()), 0..60)) {
            let mut tally = Tally::new(1);
            let fresh = came.iter().filter(|(number, backlog)| tally.take(0, *number, *backlog)).count();
            let distinct: std::collections::BTreeSet<u64> = came.iter().map(|(number, _)| *number).collect();
            let faults = tally.settle([19].into_iter());
            prop_assert_eq!(fresh, distinct.len());
            prop_assert_eq!(faults.lost, 19 - distinct.len() as u64);
            prop_assert_eq!(faults.doubled, (came.len() - distinct.len()) as u64);
        }
    }
}
