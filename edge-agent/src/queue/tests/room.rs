//! The budget: settled segments go first, then the oldest telemetry, and events have their own part.

use lockgate_proto::gap::{Gap, GapReason};
use lockgate_proto::ranges::RangeSet;
use lockgate_proto::seq::{Epoch, Lane};

use super::support::{append, batch, open_with, payload, range, readable, start};
use crate::queue::limits::{BUDGET_BYTES_MIN, EVENTS_RESERVE_BYTES_MIN, LimitsError, QueueLimits};
use crate::queue::storage::fake::FakeDisk;
use crate::queue::{AppendError, Queue};

const LIMITS: (u64, u64, u64) = (20_000, 8_000, 2_000);

fn evicted(queue: &Queue, lane: Lane) -> RangeSet {
    let of = |gap: &Gap| gap.lane == lane && gap.reason == GapReason::Evicted;
    queue.gaps().into_iter().filter(of).map(|gap| gap.range).collect()
}

#[test]
fn all_segments_together_stay_within_the_budget() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open_with(&disk, LIMITS, start(1, 1));
    for _ in 0..200 {
        append(&mut queue, Lane::Telemetry, 2, 300);
        append(&mut queue, Lane::Events, 1, 200);
        let bytes: usize = disk.segments().iter().map(|(_, bytes)| bytes).sum();
        assert!(bytes <= 20_000, "{bytes}");
    }
}

#[test]
fn the_oldest_telemetry_goes_and_a_gap_says_which_also_after_a_kill() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open_with(&disk, LIMITS, start(1, 1));
    append(&mut queue, Lane::Events, 10, 100);
    append(&mut queue, Lane::Telemetry, 200, 100);
    let gone = evicted(&queue, Lane::Telemetry);
    assert_eq!(gone.ranges().len(), 1, "neighbours are told as one");
    assert_eq!(gone.first().get(), 1);
    assert_eq!(readable(&mut queue, 1, Lane::Telemetry, 200), gone.missing_in(range(1, 200)));
    assert_eq!(queue.stats().lanes[1].evicted, gone.count());
    let span = queue.gaps()[0].span;
    assert_eq!(
        (span.from.map(|at| at.0), span.to.map(|at| at.0)),
        (Some(1_700_000_000_000_000), Some(1_700_000_000_000_000))
    );
    drop(queue);
    let (mut queue, _) = open_with(&disk, LIMITS, start(2, 1));
    assert_eq!(evicted(&queue, Lane::Telemetry), gone);
    assert_eq!(readable(&mut queue, 1, Lane::Telemetry, 200), gone.missing_in(range(1, 200)));
    assert_eq!(readable(&mut queue, 1, Lane::Events, 10).count(), 10, "a flood of telemetry costs no event");
}

#[test]
fn settled_segments_are_kept_while_there_is_room_and_go_before_any_other() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open_with(&disk, LIMITS, start(1, 1));
    append(&mut queue, Lane::Telemetry, 60, 100);
    queue.set_settled(Epoch(1), Lane::Telemetry, RangeSet::from(range(20, 60)));
    assert_eq!(readable(&mut queue, 1, Lane::Telemetry, 60).count(), 60, "in case the backbone goes back");
    append(&mut queue, Lane::Telemetry, 60, 100);
    assert_eq!(evicted(&queue, Lane::Telemetry), RangeSet::new());
    assert_eq!(queue.stats().lanes[1].evicted, 0);
    assert!(queue.stats().lanes[1].settled_dropped >= 15);
    assert!(readable(&mut queue, 1, Lane::Telemetry, 120).contains_range(range(1, 15)), "unsettled, though older");
}

#[test]
fn a_flood_of_events_stays_in_its_own_part() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open_with(&disk, LIMITS, start(1, 1));
    append(&mut queue, Lane::Telemetry, 80, 100);
    append(&mut queue, Lane::Events, 40, 100);
    assert!(!queue.stats().events_over_reserve);
    append(&mut queue, Lane::Events, 200, 100);
    assert_eq!(readable(&mut queue, 1, Lane::Telemetry, 80).count(), 80);
    assert!(queue.stats().events_over_reserve);
    assert!(!evicted(&queue, Lane::Events).is_empty(), "told, too");
}

#[test]
fn a_settled_gap_is_not_told_again() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open_with(&disk, LIMITS, start(1, 1));
    append(&mut queue, Lane::Telemetry, 200, 100);
    let gone = evicted(&queue, Lane::Telemetry);
    let version = queue.progress().gaps_version;
    queue.set_settled(Epoch(1), Lane::Telemetry, gone);
    assert_eq!(queue.gaps(), []);
    assert_ne!(queue.progress().gaps_version, version);
    queue.close().unwrap();
    let (queue, recovery) = open_with(&disk, LIMITS, start(2, 1));
    assert_eq!((queue.gaps(), recovery.gaps, recovery.faults), (vec![], vec![], vec![]));
}

#[test]
fn an_epoch_of_which_nothing_is_left_is_named_until_the_backbone_has_heard_of_its_end() {
    let disk = FakeDisk::default();
    for epoch in 1..=3 {
        let (queue, _) = open_with(&disk, LIMITS, start(epoch, 1));
        queue.close().unwrap();
    }
    let (mut queue, _) = open_with(&disk, LIMITS, start(4, 1));
    let named = |queue: &Queue| queue.held().epochs.iter().map(|held| held.epoch.0).collect::<Vec<_>>();
    assert_eq!(named(&queue), [1, 2, 3, 4]);
    queue.epoch_closed(Epoch(2));
    queue.close().unwrap();
    let (queue, _) = open_with(&disk, LIMITS, start(5, 1));
    assert_eq!(named(&queue), [1, 3, 4, 5]);
}

#[test]
fn what_no_segment_could_take_is_refused() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open_with(&disk, LIMITS, start(1, 1));
    let refused = |queue: &mut Queue, payloads| {
        matches!(queue.append(&batch(Lane::Events, payloads, None)), Err(AppendError::Size { .. }))
    };
    assert!(refused(&mut queue, vec![]));
    assert!(refused(&mut queue, vec![bytes::Bytes::new()]));
    assert!(refused(&mut queue, vec![payload(1, Lane::Events, 1, 256 * 1024 + 1)]));
    assert!(refused(&mut queue, vec![payload(1, Lane::Events, 1, 1); 1_025]));
}

#[test]
fn bounds_that_make_no_sense_are_refused() {
    let (budget, reserve) = (BUDGET_BYTES_MIN, EVENTS_RESERVE_BYTES_MIN);
    assert!(QueueLimits::new(budget, reserve).is_ok());
    assert_eq!(QueueLimits::new(budget - 1, reserve), Err(LimitsError::BudgetTooSmall { got: budget - 1 }));
    assert_eq!(QueueLimits::new(budget, reserve - 1), Err(LimitsError::Reserve { got: reserve - 1, max: budget / 2 }));
    assert_eq!(QueueLimits::new(budget, budget), Err(LimitsError::Reserve { got: budget, max: budget / 2 }));
}
