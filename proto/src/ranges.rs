//! Sets of record numbers, kept as ranges (as TCP's selective acknowledgements are, RFC 2018).

use std::fmt;

use crate::seq::Seq;

/// Consecutive numbers, both ends included. Never empty; never holds [`Seq::NONE`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeqRange {
    first: Seq,
    last: Seq,
}

impl SeqRange {
    /// `None` where the range would be empty or hold [`Seq::NONE`].
    pub fn new(first: Seq, last: Seq) -> Option<SeqRange> {
        (Seq::NONE < first && first <= last).then_some(SeqRange { first, last })
    }

    /// One number.
    pub fn one(seq: Seq) -> Option<SeqRange> {
        SeqRange::new(seq, seq)
    }

    /// The lowest number.
    pub fn first(self) -> Seq {
        self.first
    }

    /// The highest number.
    pub fn last(self) -> Seq {
        self.last
    }

    /// How many numbers; saturates for a range that reaches [`Seq::MAX`].
    pub fn count(self) -> u64 {
        (self.last.get() - self.first.get()).saturating_add(1)
    }

    /// Whether the number is in the range.
    pub fn contains(self, seq: Seq) -> bool {
        self.first <= seq && seq <= self.last
    }

    /// What both have in common.
    pub fn intersection(self, other: SeqRange) -> Option<SeqRange> {
        SeqRange::new(self.first.max(other.first), self.last.min(other.last))
    }

    fn touches(self, other: SeqRange) -> bool {
        self.first <= other.last.next() && other.first <= self.last.next()
    }
}

impl fmt::Debug for SeqRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SeqRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.last) {
            (first, Seq::MAX) => write!(f, "{first}.."),
            (first, last) if first == last => write!(f, "{first}"),
            (first, last) => write!(f, "{first}..{last}"),
        }
    }
}

/// A set of numbers.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct RangeSet {
    /// INVARIANT: ascending, and between two neighbours at least one number is missing.
    ranges: Vec<SeqRange>,
}

impl RangeSet {
    /// The set of no numbers.
    pub const fn new() -> RangeSet {
        RangeSet { ranges: Vec::new() }
    }

    /// The ranges, ascending and apart.
    pub fn ranges(&self) -> &[SeqRange] {
        &self.ranges
    }

    /// Whether there are no numbers.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many numbers; saturates.
    pub fn count(&self) -> u64 {
        self.ranges.iter().fold(0, |sum, range| sum.saturating_add(range.count()))
    }

    /// The highest number, or [`Seq::NONE`].
    pub fn last(&self) -> Seq {
        self.ranges.last().map_or(Seq::NONE, |range| range.last)
    }

    /// The lowest number, or [`Seq::NONE`].
    pub fn first(&self) -> Seq {
        self.ranges.first().map_or(Seq::NONE, |range| range.first)
    }

    /// Whether the number is in the set.
    pub fn contains(&self, seq: Seq) -> bool {
        let after = self.ranges.partition_point(|range| range.last < seq);
        self.ranges.get(after).is_some_and(|range| range.contains(seq))
    }

    /// Whether every number of the range is in the set.
    pub fn contains_range(&self, range: SeqRange) -> bool {
        let after = self.ranges.partition_point(|held| held.last < range.first);
        self.ranges.get(after).is_some_and(|held| held.contains(range.first) && held.contains(range.last))
    }

    /// Adds a range; says whether any number of it was new.
    pub fn insert(&mut self, range: SeqRange) -> bool {
        if self.contains_range(range) {
            return false;
        }
        let start = self.ranges.partition_point(|held| held.last.next() < range.first);
        let touching = self.ranges[start..].iter().take_while(|held| held.touches(range)).count();
        let merged = self.ranges[start..start + touching]
            .iter()
            .fold(range, |sum, held| SeqRange { first: sum.first.min(held.first), last: sum.last.max(held.last) });
        self.ranges.splice(start..start + touching, [merged]);
        true
    }

    /// Adds one number; says whether it was new.
    pub fn insert_one(&mut self, seq: Seq) -> bool {
        SeqRange::one(seq).is_some_and(|range| self.insert(range))
    }

    /// Takes a range out.
    pub fn remove(&mut self, range: SeqRange) {
        let start = self.ranges.partition_point(|held| held.last < range.first);
        let overlapping = self.ranges[start..].iter().take_while(|held| held.first <= range.last).count();
        let mut kept = Vec::new();
        for held in &self.ranges[start..start + overlapping] {
            kept.extend(SeqRange::new(held.first, range.first.previous()).filter(|_| held.first < range.first));
            kept.extend(SeqRange::new(range.last.next(), held.last).filter(|_| range.last < held.last));
        }
        self.ranges.splice(start..start + overlapping, kept);
    }

    /// Adds every number of another set.
    pub fn union_with(&mut self, other: &RangeSet) {
        for range in &other.ranges {
            self.insert(*range);
        }
    }

    /// The numbers of this set that are not in the other.
    #[must_use]
    pub fn difference(&self, other: &RangeSet) -> RangeSet {
        let mut rest = self.clone();
        for range in &other.ranges {
            rest.remove(*range);
        }
        rest
    }

    /// The numbers that are in both sets.
    #[must_use]
    pub fn intersection(&self, other: &RangeSet) -> RangeSet {
        self.difference(&self.difference(other))
    }

    /// The numbers of a range that are not in the set, ascending.
    #[must_use]
    pub fn missing_in(&self, range: SeqRange) -> RangeSet {
        RangeSet::from(range).difference(self)
    }
}

impl From<SeqRange> for RangeSet {
    fn from(range: SeqRange) -> RangeSet {
        RangeSet { ranges: vec![range] }
    }
}

impl Extend<SeqRange> for RangeSet {
    fn extend<I: IntoIterator<Item = SeqRange>>(&mut self, ranges: I) {
        for range in ranges {
            self.insert(range);
        }
    }
}

impl FromIterator<SeqRange> for RangeSet {
    fn from_iter<I: IntoIterator<Item = SeqRange>>(ranges: I) -> RangeSet {
        let mut set = RangeSet::new();
        set.extend(ranges);
        set
    }
}

impl fmt::Debug for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.ranges).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn range(first: u64, last: u64) -> SeqRange {
        SeqRange::new(Seq::new(first), Seq::new(last)).expect("a test names a range that is not empty")
    }

    fn numbers(set: &RangeSet) -> BTreeSet<u64> {
        set.ranges().iter().flat_map(|range| range.first().get()..=range.last().get()).collect()
    }

    fn is_normal(set: &RangeSet) -> bool {
        set.ranges().windows(2).all(|pair| pair[0].last().next() < pair[1].first())
    }

    #[test]
    fn a_range_is_never_empty_and_never_holds_none() {
        assert_eq!(SeqRange::new(Seq::NONE, Seq::FIRST), None);
        assert_eq!(SeqRange::new(Seq::new(3), Seq::new(2)), None);
    }

    #[test]
    fn an_open_end_neither_overflows_nor_vanishes() {
        let mut set = RangeSet::from(range(5, u64::MAX));
        assert!(set.insert(range(1, 4)));
        assert_eq!(set.ranges(), [range(1, u64::MAX)]);
        set.remove(range(10, 20));
        assert_eq!(set.ranges(), [range(1, 9), range(21, u64::MAX)]);
        set.remove(range(9, u64::MAX));
        assert_eq!(set.ranges(), [range(1, 8)]);
    }

    proptest! {
        #[test]
        fn a_set_of_ranges_is_a_set_of_numbers(steps in prop::collection::vec((any::<bool>(), 1u64..40, 0u64..8), 0..60)) {
            let mut set = RangeSet::new();
            let mut model = BTreeSet::new();
            for (insert, first, more) in steps {
                let step = range(first, first + more);
                if insert {
                    let new = (first..=first + more).filter(|number| model.insert(*number)).count() > 0;
                    prop_assert_eq!(set.insert(step), new);
                } else {
                    set.remove(step);
                    model.retain(|number| !step.contains(Seq::new(*number)));
                }
                prop_assert!(is_normal(&set));
                prop_assert_eq!(numbers(&set), model.clone());
                prop_assert_eq!(set.count(), model.len() as u64);
                prop_assert_eq!(set.contains(Seq::new(first)), model.contains(&first));
            }
        }

        #[test]
        fn difference_and_intersection_part_a_set(
            left in prop::collection::vec((1u64..60, 0u64..9), 0..12),
            right in prop::collection::vec((1u64..60, 0u64..9), 0..12),
        ) {
            let set = |pairs: Vec<(u64, u64)>| pairs.into_iter().map(|(first, more)| range(first, first + more)).collect::<RangeSet>();
            let (left, right) = (set(left), set(right));
            let (rest, common) = (left.difference(&right), left.intersection(&right));
            prop_assert_eq!(numbers(&common), numbers(&left).intersection(&numbers(&right)).copied().collect::<BTreeSet<_>>());
            let mut sum = rest.clone();
            sum.union_with(&common);
            prop_assert_eq!(sum, left);
            prop_assert!(rest.intersection(&common).is_empty());
        }
    }
}
