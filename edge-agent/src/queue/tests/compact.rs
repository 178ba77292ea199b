//! Repeats of events are folded before any event has to go: the first and the last stay, the count is told,
//! and neither a crash nor a full disk makes this a lie.

use lockgate_proto::gap::{Gap, GapReason};
use lockgate_proto::ranges::RangeSet;
use lockgate_proto::seq::{Epoch, Lane, Seq};

use super::support::{append, batch, open_with, presence, range, read_all, start};
use crate::queue::Queue;
use crate::queue::storage::Storage;
use crate::queue::storage::fake::FakeDisk;

const LIMITS: (u64, u64, u64) = (32_000, 8_000, 2_000);
const LANE: Lane = Lane::Events;

fn try_flap(queue: &mut Queue, count: u64) -> Option<()> {
    for _ in 0..count {
        let next = queue.progress().appended[LANE.index()].next().get();
        queue.append(&batch(LANE, vec![presence("door", next.is_multiple_of(2), next)], Some(next))).ok()?;
    }
    Some(())
}

fn flap(queue: &mut Queue, count: u64) {
    try_flap(queue, count).expect("the disk is well");
}

fn told(queue: &Queue, reason: GapReason) -> RangeSet {
    let of = |gap: &Gap| (gap.epoch, gap.lane, gap.reason) == (Epoch(1), LANE, reason);
    queue.gaps().into_iter().filter(of).map(|gap| gap.range).collect()
}

/// The numbers that can be read; their bytes are checked.
fn readable(queue: &mut Queue, last: u64) -> RangeSet {
    let (records, missing) = read_all(queue, 1, LANE, last);
    let mut set = RangeSet::new();
    for (seq, payload) in records {
        assert_eq!(payload, presence("door", seq.is_multiple_of(2), seq), "record {seq} is what was appended");
        assert!(set.insert_one(Seq::new(seq)), "record {seq} came once");
    }
    assert!(set.intersection(&missing).is_empty());
    set
}

/// Every number is readable or told as folded, and none both; gives those that are readable.
fn check_whole(queue: &mut Queue, last: u64) -> RangeSet {
    let (readable, compacted) = (readable(queue, last), told(queue, GapReason::Compacted));
    assert_eq!(compacted, readable.missing_in(range(1, last)));
    readable
}

#[test]
fn a_flapping_device_costs_its_repeats_and_no_event_is_evicted() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open_with(&disk, LIMITS, start(1, 1));
    flap(&mut queue, 500);
    let kept = check_whole(&mut queue, 500);
    assert!(kept.contains_range(range(1, 2)), "the first of each: {kept:?}");
    assert!(kept.contains_range(range(499, 500)), "the last of each: {kept:?}");
    assert_eq!(told(&queue, GapReason::Evicted), RangeSet::new());
    let stats = queue.stats();
    let events = stats.lanes[LANE.index()];
    assert_eq!((events.compacted, events.evicted, events.held), (500 - kept.count(), 0, kept.count()));
    assert!(events.bytes <= 8_000 && stats.faults.is_empty(), "{stats:?}");
    assert!(queue.gaps().iter().all(|gap| gap.span.from.is_some() && gap.span.to.is_some()));
}

#[test]
fn what_was_folded_is_no_damage_after_a_kill_or_a_stop_nor_when_its_gaps_are_settled() {
    for is_killed in [true, false] {
        for is_settled in [true, false] {
            let disk = FakeDisk::default();
            let (mut queue, _) = open_with(&disk, LIMITS, start(1, 1));
            flap(&mut queue, 400);
            let kept = check_whole(&mut queue, 400);
            if is_settled {
                let compacted = told(&queue, GapReason::Compacted);
                queue.set_settled(Epoch(1), LANE, compacted);
                assert_eq!(queue.gaps(), []);
            }
            if is_killed {
                drop(queue);
            } else {
                queue.close().unwrap();
            }
            for epoch in 2..4 {
                let (mut queue, recovery) = open_with(&disk, LIMITS, start(epoch, 1));
                assert_eq!((recovery.faults, recovery.gaps), (vec![], vec![]));
                assert_eq!(readable(&mut queue, 400), kept);
                assert_eq!(queue.take_faults(), []);
                assert_eq!(told(&queue, GapReason::Corrupt), RangeSet::new());
                if is_killed {
                    drop(queue);
                } else {
                    queue.close().unwrap();
                }
            }
        }
    }
}

#[test]
fn without_its_checkpoint_a_segment_says_itself_what_was_folded() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open_with(&disk, LIMITS, start(1, 1));
    flap(&mut queue, 400);
    let kept = check_whole(&mut queue, 400);
    queue.close().unwrap();
    disk.delete_by_hand("checkpoint");
    let (mut queue, _) = open_with(&disk, LIMITS, start(2, 1));
    assert_eq!(check_whole(&mut queue, 400), kept);
    assert_eq!(queue.take_faults(), []);
}

#[test]
fn a_segment_without_repeats_is_left_as_it_is_and_goes_when_nothing_else_helps() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open_with(&disk, LIMITS, start(1, 1));
    append(&mut queue, LANE, 200, 100);
    assert!(told(&queue, GapReason::Compacted).is_empty());
    assert!(!told(&queue, GapReason::Evicted).is_empty());
    let written = queue.stats().written_bytes;
    let checkpoints = queue.stats().checkpoints;
    append(&mut queue, LANE, 1, 100);
    assert!(queue.stats().written_bytes <= written + 200, "{checkpoints}");
}

#[test]
fn folding_goes_on_where_it_stopped_and_does_not_pile_up_files() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open_with(&disk, LIMITS, start(1, 1));
    for _ in 0..20 {
        flap(&mut queue, 300);
        let bytes: usize = disk.segments().iter().map(|(_, bytes)| bytes).sum();
        assert!(bytes <= 8_000, "{bytes}");
    }
    let mut accounted = readable(&mut queue, 6_000);
    accounted.union_with(&told(&queue, GapReason::Compacted));
    accounted.union_with(&told(&queue, GapReason::Evicted));
    assert!(accounted.contains_range(range(1, 6_000)));
    assert!(disk.segments().len() < 100, "{}", disk.segments().len());
}

#[test]
fn a_flipped_bit_in_a_folded_segment_costs_records_that_are_told() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open_with(&disk, LIMITS, start(1, 1));
    flap(&mut queue, 300);
    let kept = check_whole(&mut queue, 300);
    queue.close().unwrap();
    let (name, bytes) = disk.segments().remove(0);
    assert!(bytes < 500, "it was folded");
    for bit in 0..bytes * 8 {
        disk.flip(&name, bit / 8, u8::try_from(bit % 8).unwrap());
        // Only looked at: the disk stays as it is.
        let (mut queue, _) = open_with(&disk, LIMITS, start(2, 1));
        let mut accounted = readable(&mut queue, 300);
        assert!(kept.missing_in(range(1, 300)).intersection(&accounted).is_empty());
        for reason in [GapReason::Compacted, GapReason::Corrupt] {
            accounted.union_with(&told(&queue, reason));
        }
        assert!(accounted.contains_range(range(1, 300)), "bit {bit}: {accounted:?}");
        drop(queue);
        disk.flip(&name, bit / 8, u8::try_from(bit % 8).unwrap());
        disk.delete_by_hand("checkpoint");
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum End {
    Killed,
    PowerLost,
}

/// The lane is nearly full when the world is told to stop after so many operations; says whether the folding came to its end.
fn check_stopped_at(operations: u64, end: End, seed: u64) -> bool {
    let disk = FakeDisk::default();
    let (mut queue, _) = open_with(&disk, LIMITS, start(1, 1));
    flap(&mut queue, 165);
    queue.set_settled(Epoch(1), LANE, RangeSet::from(range(1, 10)));
    queue.sync().unwrap();
    let durable = queue.progress().durable[LANE.index()].get();
    disk.stop_after(operations);
    let scene = try_flap(&mut queue, 60).filter(|()| queue.sync().is_ok());
    let came_to_end = scene.is_some_and(|()| queue.stats().lanes[LANE.index()].compacted > 0);
    drop(queue);
    let mut seed = operations.wrapping_add(seed);
    let boot = match end {
        End::Killed => {
            disk.heal();
            1
        }
        End::PowerLost => {
            disk.lose_power(|below| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                usize::try_from(seed >> 33).unwrap() % below.max(1)
            });
            2
        }
    };
    let (mut queue, recovery) = open_with(&disk, LIMITS, start(9, boot));
    let what = format!("stopped after {operations}, {end:?}: {recovery:?}");
    let mut accounted = readable(&mut queue, durable);
    accounted.insert(range(1, 10));
    for gap in queue.gaps().iter().filter(|gap| (gap.epoch, gap.lane) == (Epoch(1), LANE)) {
        let is_right = match gap.reason {
            // The book is written before the segment is replaced: only it knows when the folded ones were taken.
            GapReason::Compacted => gap.span.from.is_some() && gap.span.to.is_some(),
            GapReason::Power => end == End::PowerLost && Seq::new(durable) < gap.range.first(),
            _ => false,
        };
        assert!(is_right, "{what}: {gap:?}");
        accounted.insert(gap.range);
    }
    assert!(accounted.contains_range(range(1, durable)), "{what}: {accounted:?}");
    assert_eq!(queue.take_faults(), [], "{what}");
    assert!(disk.open("compacted.new").is_err(), "what is not needed goes at the start");
    append(&mut queue, LANE, 30, 100);
    queue.close().unwrap();
    came_to_end
}

#[test]
fn a_compaction_may_stop_anywhere() {
    for end in [End::Killed, End::PowerLost] {
        for seed in 0..4 {
            let stops = (0..400).take_while(|operations| !check_stopped_at(*operations, end, seed)).count();
            assert!((20..400).contains(&stops), "the scene has {stops} operations");
        }
    }
}

/// Else a loss of power would give back records that are told as folded, and the room that they take.
#[test]
fn what_an_append_has_folded_stays_folded_when_the_power_goes() {
    let mut folded = 0;
    for count in 150..250 {
        let disk = FakeDisk::default();
        let (mut queue, _) = open_with(&disk, LIMITS, start(1, 1));
        flap(&mut queue, count);
        let compacted = told(&queue, GapReason::Compacted);
        drop(queue);
        disk.lose_power(|_| 0);
        let (mut queue, _) = open_with(&disk, LIMITS, start(2, 2));
        let back = readable(&mut queue, count).intersection(&compacted);
        assert!(back.is_empty(), "{count} appended: {back:?} of {compacted:?}");
        folded += u64::from(!compacted.is_empty());
    }
    assert!(folded > 20, "it was folded in {folded} of them");
}

#[test]
fn a_disk_that_is_full_or_refuses_a_flush_in_a_compaction_spoils_nothing() {
    for trouble in 0..120 {
        let disk = FakeDisk::default();
        let (mut queue, _) = open_with(&disk, LIMITS, start(1, 1));
        flap(&mut queue, 130);
        if trouble < 100 {
            disk.set_room(Some(trouble * 30));
        } else {
            queue.sync().unwrap();
            disk.fail_syncs(trouble - 99);
        }
        let mut refused = 0;
        while refused < 3 && queue.stats().lanes[LANE.index()].appended < 400 {
            refused += u64::from(try_flap(&mut queue, 1).is_none());
        }
        disk.heal();
        flap(&mut queue, 50);
        let last = queue.progress().appended[LANE.index()].get();
        for restart in [false, true] {
            if restart {
                drop(queue);
                queue = open_with(&disk, LIMITS, start(2, 1)).0;
            }
            let mut accounted = readable(&mut queue, last);
            accounted.union_with(&told(&queue, GapReason::Compacted));
            accounted.union_with(&told(&queue, GapReason::Evicted));
            assert!(accounted.contains_range(range(1, last)), "trouble {trouble}: {accounted:?}");
            let lost = queue.take_faults().into_iter().filter(|fault| fault.kind() == "records_lost").count();
            assert_eq!(lost, 0, "trouble {trouble}");
        }
    }
}
