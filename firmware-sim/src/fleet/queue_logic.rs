//! An agent's queue in memory: records stay until they are settled, so that a reconnect sends them again.

use std::collections::VecDeque;

use bytes::Bytes;
use lockgate_proto::link::agent::{Holdings, ReadRecord};
use lockgate_proto::link::frame::{EpochHeld, LaneHeld};
use lockgate_proto::ranges::{RangeSet, SeqRange};
use lockgate_proto::seq::{Epoch, Lane, Seq};
use lockgate_proto::time::UnixMicros;

/// LIMIT: records that wait for a gateway. A full queue takes no more, and the fleet falls behind its schedule.
const RECORDS_MAX: usize = 100_000;

/// All records go this way.
pub(super) const LANE: Lane = Lane::Telemetry;

#[derive(Debug)]
struct Item {
    record: Bytes,
    published_us: u64,
    taken_at: UnixMicros,
    is_settled: bool,
}

/// Records by their numbers, from the first unsettled one on.
#[derive(Debug)]
pub(super) struct Queue {
    epoch: Epoch,
    /// Number of the first item.
    first: Seq,
    items: VecDeque<Item>,
    unsettled: usize,
}

impl Queue {
    pub(super) fn new(epoch: Epoch) -> Queue {
        Queue { epoch, first: Seq::FIRST, items: VecDeque::new(), unsettled: 0 }
    }

    /// The number that the next record gets.
    pub(super) fn next(&self) -> Seq {
        Seq::new(self.first.get() + self.items.len() as u64)
    }

    pub(super) fn is_full(&self) -> bool {
        self.items.len() >= RECORDS_MAX
    }

    /// Records that nobody has acknowledged.
    pub(super) fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Takes the record with the number [`Queue::next`].
    pub(super) fn push(&mut self, record: Bytes, published_us: u64, taken_at: UnixMicros) {
        self.items.push_back(Item { record, published_us, taken_at, is_settled: false });
        self.unsettled += 1;
    }

    /// Lets go what is settled, and tells of each record for the first time when it was published.
    pub(super) fn settle(&mut self, epoch: Epoch, lane: Lane, set: &RangeSet, mut settled: impl FnMut(u64)) {
        if (epoch, lane) != (self.epoch, LANE) {
            return;
        }
        let first = self.first.get();
        let place = |seq: Seq| usize::try_from(seq.get().saturating_sub(first)).unwrap_or(usize::MAX);
        for range in set.ranges().iter().rev().take_while(|range| self.first <= range.last()) {
            let (from, until) = (place(range.first()), (place(range.last()) + 1).min(self.items.len()));
            for item in self.items.range_mut(from.min(until)..until).filter(|item| !item.is_settled) {
                item.is_settled = true;
                self.unsettled -= 1;
                settled(item.published_us);
            }
        }
        while self.items.front().is_some_and(|item| item.is_settled) {
            self.items.pop_front();
            self.first = self.first.next();
        }
    }

    pub(super) fn holdings(&self) -> Holdings {
        let last = self.next().previous();
        let held: RangeSet = SeqRange::new(self.first, last).into_iter().collect();
        let mut lanes = [LaneHeld::default(), LaneHeld::default()];
        lanes[LANE.index()] = LaneHeld { held, last };
        Holdings { epochs: vec![EpochHeld { epoch: self.epoch, lanes }], gaps: Vec::new() }
    }

    /// The records of a range that are still there.
    pub(super) fn messages(&self, range: SeqRange) -> impl Iterator<Item = &Bytes> {
        let place = |seq: Seq| usize::try_from(seq.get().saturating_sub(self.first.get())).unwrap_or(usize::MAX);
        let (from, until) = (place(range.first()), place(range.last().next()));
        self.items.iter().take(until).skip(from).map(|item| &item.record)
    }

    /// Records of the range, from its start, about so many bytes but at least one; and what is not there.
    pub(super) fn read(
        &self,
        epoch: Epoch,
        lane: Lane,
        range: SeqRange,
        bytes_max: usize,
    ) -> (Vec<ReadRecord>, RangeSet) {
        if (epoch, lane) != (self.epoch, LANE) {
            return (Vec::new(), [range].into_iter().collect());
        }
        let gone = SeqRange::new(range.first(), range.last().min(self.first.previous()));
        let from = range.first().max(self.first);
        let skip = usize::try_from(from.get() - self.first.get()).unwrap_or(usize::MAX);
        let (mut records, mut bytes) = (Vec::new(), 0);
        let mut seq = from;
        for item in self.items.iter().skip(skip) {
            bytes += item.record.len();
            if range.last() < seq || (bytes > bytes_max && !records.is_empty()) {
                break;
            }
            records.push(ReadRecord { seq, taken_at: Some(item.taken_at), record: item.record.clone() });
            seq = seq.next();
        }
        (records, gone.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = Epoch(5);

    fn queue(records: u64) -> Queue {
        let mut queue = Queue::new(EPOCH);
        (1..=records).for_each(|number| queue.push(Bytes::from(vec![0; 100]), number * 10, UnixMicros(1)));
        queue
    }

    fn range(first: u64, last: u64) -> SeqRange {
        SeqRange::new(Seq::new(first), Seq::new(last)).unwrap()
    }

    fn set(ranges: &[(u64, u64)]) -> RangeSet {
        ranges.iter().map(|(first, last)| range(*first, *last)).collect()
    }

    fn settled(queue: &mut Queue, ranges: &[(u64, u64)]) -> Vec<u64> {
        let mut times = Vec::new();
        queue.settle(EPOCH, LANE, &set(ranges), |published_us| times.push(published_us));
        times
    }

    #[test]
    fn a_record_stays_until_it_is_settled_and_is_told_once() {
        let mut queue = queue(5);
        assert_eq!(settled(&mut queue, &[(1, 2)]), [10, 20]);
        assert_eq!(settled(&mut queue, &[(1, 2), (4, 4)]), [40]);
        assert_eq!((queue.unsettled(), queue.next()), (2, Seq::new(6)));
        let lane = queue.holdings().epochs[0].lanes[LANE.index()].clone();
        assert_eq!((lane.held, lane.last), (set(&[(3, 5)]), Seq::new(5)));
        assert_eq!(settled(&mut queue, &[(1, 5)]), [30, 50]);
        assert!(queue.holdings().epochs[0].lanes[LANE.index()].held.is_empty());
        assert_eq!((queue.unsettled(), queue.next()), (0, Seq::new(6)));
    }

    #[test]
    fn reading_gives_the_range_within_its_bytes_and_names_what_is_gone() {
        let mut queue = queue(9);
        settled(&mut queue, &[(1, 3)]);
        let numbers = |(records, missing): (Vec<ReadRecord>, RangeSet)| {
            (records.iter().map(|record| record.seq.get()).collect::<Vec<_>>(), missing)
        };
        assert_eq!(numbers(queue.read(EPOCH, LANE, range(2, 5), 1_000)), (vec![4, 5], set(&[(2, 3)])));
        assert_eq!(numbers(queue.read(EPOCH, LANE, range(6, 9), 250)), (vec![6, 7], set(&[])));
        assert_eq!(numbers(queue.read(EPOCH, LANE, range(6, 9), 1)), (vec![6], set(&[])));
        assert_eq!(numbers(queue.read(EPOCH, Lane::Events, range(1, 2), 1)), (vec![], set(&[(1, 2)])));
    }

    #[test]
    fn the_settled_set_of_another_epoch_frees_nothing() {
        let mut queue = queue(2);
        queue.settle(Epoch(6), LANE, &set(&[(1, 2)]), |_| panic!("nothing of ours is settled"));
        assert_eq!(queue.unsettled(), 2);
    }
}
