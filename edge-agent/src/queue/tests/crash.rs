//! The agent is killed, or the power goes, between any two operations on the disk: of an eviction, a
//! checkpoint, a flush, a start. Nothing that was durable is lost untold, and the next start goes on.

use lockgate_proto::gap::GapReason;
use lockgate_proto::ranges::RangeSet;
use lockgate_proto::seq::{Epoch, Lane, Seq};

use super::support::{append, batch, open_with, payload, range, readable, start};
use crate::queue::limits::QueueLimits;
use crate::queue::storage::fake::FakeDisk;
use crate::queue::{PreviousEnd, Queue};

const LIMITS: (u64, u64, u64) = (16_000, 8_000, 2_000);
const LANE: Lane = Lane::Telemetry;

#[derive(Clone, Copy, PartialEq)]
enum End {
    Killed,
    PowerLost,
}

/// Fills the telemetry's part of the budget, some of it settled, then lets a scene play until the world
/// stops after so many operations; says whether the scene came to its end.
fn check_stopped_at(operations: u64, end: End, scene: fn(Queue) -> Option<u64>) -> bool {
    let disk = FakeDisk::default();
    let (mut queue, _) = open_with(&disk, LIMITS, start(1, 1));
    append(&mut queue, LANE, 40, 100);
    let settled = RangeSet::from(range(1, 15));
    queue.set_settled(Epoch(1), LANE, settled.clone());
    queue.sync().unwrap();
    let durable = queue.progress().durable[LANE.index()].get();
    disk.stop_after(operations);
    let came_to_end = scene(queue).is_some();
    let boot = match end {
        End::Killed => {
            disk.heal();
            1
        }
        End::PowerLost => {
            let mut seed = operations;
            disk.lose_power(|below| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                usize::try_from(seed >> 33).unwrap() % below.max(1)
            });
            2
        }
    };
    let (mut queue, _) = open_with(&disk, LIMITS, start(9, boot));
    let mut accounted = readable(&mut queue, 1, LANE, durable);
    accounted.union_with(&settled);
    for gap in queue.gaps().iter().filter(|gap| (gap.epoch, gap.lane) == (Epoch(1), LANE)) {
        let is_right = match gap.reason {
            GapReason::Evicted => true,
            GapReason::Power => end == End::PowerLost && Seq::new(durable) < gap.range.first(),
            _ => false,
        };
        assert!(is_right, "stopped after {operations}: {gap:?}");
        accounted.insert(gap.range);
    }
    assert!(accounted.contains_range(range(1, durable)), "stopped after {operations}: {accounted:?}");
    append(&mut queue, LANE, 30, 100);
    queue.close().unwrap();
    came_to_end
}

fn check_all_stops(scene: fn(Queue) -> Option<u64>) {
    for end in [End::Killed, End::PowerLost] {
        let stops = (0..200).take_while(|operations| !check_stopped_at(*operations, end, scene)).count();
        assert!((5..200).contains(&stops), "the scene has {stops} operations");
    }
}

fn try_append(queue: &mut Queue, count: u64) -> Option<()> {
    for _ in 0..count {
        let next = queue.progress().appended[LANE.index()].next().get();
        queue.append(&batch(LANE, vec![payload(1, LANE, next, 100)], None)).ok()?;
    }
    Some(())
}

#[test]
fn an_eviction_may_stop_anywhere() {
    check_all_stops(|mut queue| {
        try_append(&mut queue, 60)?;
        queue.sync().ok()?;
        Some(queue.stats().lanes[LANE.index()].evicted).filter(|evicted| *evicted > 0)
    });
}

#[test]
fn a_flush_and_a_stop_may_stop_anywhere() {
    check_all_stops(|mut queue| {
        try_append(&mut queue, 5)?;
        queue.close().ok().map(|()| 0)
    });
}

#[test]
fn a_start_may_stop_anywhere_and_the_next_one_says_the_same() {
    for operations in 0..60 {
        for boot in [1, 2] {
            let disk = FakeDisk::default();
            let (mut queue, _) = open_with(&disk, LIMITS, start(1, 1));
            append(&mut queue, LANE, 60, 100);
            queue.sync().unwrap();
            append(&mut queue, LANE, 2, 100);
            drop(queue);
            if boot == 2 {
                disk.lose_power(|_| 0);
            }
            disk.stop_after(operations);
            let limits = QueueLimits::tiny(LIMITS.0, LIMITS.1, LIMITS.2);
            let stopped = Queue::open(Box::new(disk.clone()), limits, start(2, boot)).map(drop);
            disk.heal();
            let (mut queue, recovery) = open_with(&disk, LIMITS, start(3, boot));
            if stopped.is_err() {
                let expected = if boot == 1 { PreviousEnd::Killed } else { PreviousEnd::PowerLost };
                let is_same = recovery.previous == expected || recovery.previous == PreviousEnd::Killed;
                assert!(is_same, "{:?}", recovery.previous);
            }
            let last = if boot == 1 { 62 } else { 60 };
            let mut accounted = readable(&mut queue, 1, LANE, last);
            let gaps = queue.gaps();
            let power: Vec<_> =
                gaps.iter().filter(|gap| gap.epoch == Epoch(1) && gap.reason == GapReason::Power).collect();
            assert_eq!(power.len(), if boot == 1 { 0 } else { 2 }, "stopped after {operations}: {gaps:?}");
            accounted
                .extend_by(gaps.iter().filter(|gap| gap.epoch == Epoch(1) && gap.lane == LANE).map(|gap| gap.range));
            assert!(accounted.contains_range(range(1, last)), "stopped after {operations}: {accounted:?}");
        }
    }
}

trait ExtendBy {
    fn extend_by(&mut self, ranges: impl Iterator<Item = lockgate_proto::ranges::SeqRange>);
}

impl ExtendBy for RangeSet {
    fn extend_by(&mut self, ranges: impl Iterator<Item = lockgate_proto::ranges::SeqRange>) {
        for range in ranges {
            self.insert(range);
        }
    }
}
