//! Damage is met with what is left: the rest is delivered, and what is lost is told.

use lockgate_proto::gap::GapReason;
use lockgate_proto::ranges::RangeSet;
use lockgate_proto::seq::{Epoch, Lane, Seq};

use super::support::{LIMITS_WIDE, append, batch, open, open_with, payload, range, read_all, readable, start};
use crate::queue::storage::Storage;
use crate::queue::storage::fake::FakeDisk;
use crate::queue::{Fault, PreviousEnd, Queue};

const LANE: Lane = Lane::Telemetry;

fn gaps_of(queue: &Queue, epoch: u64, lane: Lane, reason: GapReason) -> RangeSet {
    let of = |gap: &lockgate_proto::gap::Gap| (gap.epoch, gap.lane, gap.reason) == (Epoch(epoch), lane, reason);
    queue.gaps().into_iter().filter(of).map(|gap| gap.range).collect()
}

/// Whether each number can be read or is told as corrupt, and not both.
fn check_told(queue: &mut Queue, epoch: u64, last: u64, what: &str) {
    let readable = readable(queue, epoch, LANE, last);
    let mut accounted = gaps_of(queue, epoch, LANE, GapReason::Corrupt);
    accounted.union_with(&readable);
    assert!(accounted.contains_range(range(1, last)), "{what}: {accounted:?}");
}

#[test]
fn any_flipped_bit_of_a_dead_agents_segment_costs_records_that_are_told() {
    for torn in [false, true] {
        let disk = FakeDisk::default();
        let (mut queue, _) = open(&disk, 1, 1);
        append(&mut queue, LANE, 2, 40);
        let payloads = (3..=5).map(|seq| payload(1, LANE, seq, 30)).collect();
        queue.append(&batch(LANE, payloads, Some(9))).unwrap();
        drop(queue);
        let (name, bytes) = disk.segments().remove(0);
        for bit in 0..bytes * 8 {
            let disk = FakeDisk::default();
            let (mut queue, _) = open(&disk, 1, 1);
            append(&mut queue, LANE, 2, 40);
            let payloads = (3..=5).map(|seq| payload(1, LANE, seq, 30)).collect();
            queue.append(&batch(LANE, payloads, Some(9))).unwrap();
            disk.flip(&name, bit / 8, u8::try_from(bit % 8).unwrap());
            if torn {
                disk.stop_after(0);
                queue.append(&batch(LANE, vec![payload(1, LANE, 6, 70)], None)).unwrap_err();
            }
            drop(queue);
            disk.heal();
            let (mut queue, recovery) = open(&disk, 2, 1);
            assert_eq!(recovery.previous, PreviousEnd::Killed);
            check_told(&mut queue, 1, 5, &format!("bit {bit}, torn {torn}"));
        }
    }
}

#[test]
fn a_flipped_bit_in_the_middle_costs_one_record_and_the_rest_is_delivered() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open(&disk, 1, 1);
    append(&mut queue, LANE, 50, 100);
    queue.close().unwrap();
    let (name, _) = disk.segments().remove(0);
    disk.flip(&name, 64 + 120 * 20 + 50, 3);
    let (mut queue, recovery) = open(&disk, 2, 1);
    assert_eq!(
        (recovery.previous, recovery.faults.len()),
        (PreviousEnd::Clean, 0),
        "a start does not read the whole disk"
    );
    let (records, missing) = read_all(&mut queue, 1, LANE, 50);
    assert_eq!((records.len(), missing), (49, RangeSet::from(range(21, 21))));
    assert_eq!(queue.take_faults(), [Fault::RecordsLost { epoch: Epoch(1), lane: LANE, range: range(21, 21) }]);
    assert_eq!(gaps_of(&queue, 1, LANE, GapReason::Corrupt), RangeSet::from(range(21, 21)));
    queue.sync().unwrap();
    drop(queue);
    let (mut queue, _) = open(&disk, 3, 1);
    assert_eq!(gaps_of(&queue, 1, LANE, GapReason::Corrupt), RangeSet::from(range(21, 21)), "remembered");
    assert_eq!(readable(&mut queue, 1, LANE, 50).count(), 49);
    assert_eq!(queue.take_faults(), [], "told once");
}

#[test]
fn a_segment_deleted_by_hand_is_told_and_its_neighbours_are_delivered() {
    for victim in 0..3 {
        let disk = FakeDisk::default();
        let limits = (LIMITS_WIDE.0, LIMITS_WIDE.1, 2_000);
        let (mut queue, _) = open_with(&disk, limits, start(1, 1));
        append(&mut queue, LANE, 45, 100);
        queue.close().unwrap();
        let names = disk.segments();
        assert_eq!(names.len(), 3);
        disk.delete_by_hand(&names[victim].0);
        let (mut queue, recovery) = open(&disk, 2, 1);
        let lost = [range(1, 15), range(16, 30), range(31, 45)][victim];
        assert_eq!(gaps_of(&queue, 1, LANE, GapReason::Corrupt), RangeSet::from(lost));
        assert_eq!(recovery.faults, [Fault::RecordsLost { epoch: Epoch(1), lane: LANE, range: lost }]);
        assert_eq!(readable(&mut queue, 1, LANE, 45).count(), 30);
    }
}

#[test]
fn a_folder_deleted_as_a_whole_is_just_a_new_start() {
    let (queue, recovery) = open(&FakeDisk::default(), 7, 1);
    assert_eq!((recovery.previous, recovery.faults.len(), recovery.gaps.len()), (PreviousEnd::None, 0, 0));
    assert_eq!(queue.held().epochs.len(), 1);
}

#[test]
fn without_its_checkpoint_a_queue_is_read_from_its_segments() {
    let damage: [fn(&FakeDisk); 2] = [|disk| disk.delete_by_hand("checkpoint"), |disk| disk.flip("checkpoint", 30, 1)];
    for (damage, fault) in damage.into_iter().zip([Fault::CheckpointMissing, Fault::CheckpointUnreadable]) {
        let disk = FakeDisk::default();
        let (mut queue, _) = open(&disk, 1, 1);
        append(&mut queue, LANE, 20, 100);
        queue.close().unwrap();
        damage(&disk);
        let (mut queue, recovery) = open(&disk, 2, 1);
        assert_eq!(recovery.faults, [fault]);
        assert_eq!(readable(&mut queue, 1, LANE, 20).count(), 20);
    }
}

#[test]
fn a_foreign_file_is_reported_and_left_alone() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open(&disk, 1, 1);
    append(&mut queue, LANE, 1, 100);
    queue.close().unwrap();
    disk.create("notes.txt").unwrap();
    let (_, recovery) = open(&disk, 2, 1);
    assert_eq!(recovery.faults, [Fault::ForeignFile { name: "notes.txt".to_owned() }]);
    assert!(disk.open("notes.txt").is_ok());
}

#[test]
fn a_full_disk_refuses_and_spoils_nothing_and_goes_on_when_there_is_room() {
    for room in 0..400 {
        let disk = FakeDisk::default();
        let (mut queue, _) = open(&disk, 1, 1);
        append(&mut queue, LANE, 3, 100);
        disk.set_room(Some(room));
        let error = loop {
            let next = queue.progress().appended[LANE.index()].next().get();
            match queue.append(&batch(LANE, vec![payload(1, LANE, next, 100)], None)) {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(error.is_disk_full(), "{error:?}");
        let accepted = queue.progress().appended[LANE.index()].get();
        assert_eq!(readable(&mut queue, 1, LANE, accepted).count(), accepted);
        disk.set_room(None);
        append(&mut queue, LANE, 3, 100);
        drop(queue);
        let (mut queue, recovery) = open(&disk, 2, 1);
        assert_eq!((recovery.faults.len(), recovery.gaps.len()), (0, 0));
        assert_eq!(readable(&mut queue, 1, LANE, accepted + 3).count(), accepted + 3);
    }
}

#[test]
fn a_refused_flush_is_never_believed_on_the_second_try() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open(&disk, 1, 1);
    append(&mut queue, LANE, 10, 100);
    disk.fail_syncs(1);
    queue.sync().unwrap();
    assert!(matches!(queue.take_faults().as_slice(), [Fault::FlushFailed { .. }]));
    append(&mut queue, LANE, 5, 100);
    disk.fail_syncs(2);
    queue.sync().unwrap_err();
    assert_eq!(queue.progress().durable[LANE.index()], Seq::new(10));
    queue.sync().unwrap();
    drop(queue);
    disk.lose_power(|_| 0);
    let (mut queue, _) = open(&disk, 2, 2);
    assert_eq!(readable(&mut queue, 1, LANE, 15).count(), 15);
}

#[test]
fn a_redelivered_message_is_known_after_a_kill_and_half_a_message_is_not() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open(&disk, 1, 1);
    let payloads = || (1..=3).map(|seq| payload(1, LANE, seq, 50)).collect();
    queue.append(&batch(LANE, payloads(), Some(77))).unwrap();
    disk.stop_after(0);
    queue.append(&batch(LANE, payloads(), Some(78))).unwrap_err();
    drop(queue);
    disk.heal();
    let (mut queue, recovery) = open(&disk, 2, 1);
    assert!(queue.was_seen(77) && !queue.was_seen(78));
    assert_eq!(readable(&mut queue, 1, LANE, 6).count(), 3);
    assert!(matches!(recovery.faults.as_slice(), [Fault::TornTail { .. }]));
    assert_eq!(recovery.gaps, []);
}

#[test]
fn a_checkpoint_that_does_not_fit_is_reported_once_and_written_when_there_is_room() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open(&disk, 1, 1);
    append(&mut queue, LANE, 3, 100);
    disk.set_room(Some(0));
    queue.sync().unwrap();
    queue.sync().unwrap();
    assert!(matches!(queue.take_faults().as_slice(), [Fault::CheckpointNotWritten { .. }]));
    assert!(queue.needs_sync());
    disk.set_room(None);
    queue.sync().unwrap();
    assert!(!queue.needs_sync());
}

#[test]
fn a_block_that_cannot_be_read_costs_its_own_records_only() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open(&disk, 1, 1);
    append(&mut queue, LANE, 200, 100);
    disk.spoil_block(&disk.segments()[0].0, 2);
    // The block holds bytes 8,192 to 12,288; the records are of 120 bytes, from byte 64 on.
    let readable = readable(&mut queue, 1, LANE, 200);
    assert_eq!(readable.missing_in(range(1, 200)), RangeSet::from(range(68, 102)));
    assert_eq!(gaps_of(&queue, 1, LANE, GapReason::Corrupt), RangeSet::from(range(68, 102)));
}

#[test]
fn an_empty_segment_behind_a_damaged_one_does_not_hide_the_damage() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open_with(&disk, (LIMITS_WIDE.0, LIMITS_WIDE.1, 2_000), start(1, 1));
    append(&mut queue, LANE, 15, 100);
    disk.set_room(Some(0));
    queue.append(&batch(LANE, vec![payload(1, LANE, 16, 100)], None)).unwrap_err();
    assert_eq!(disk.segments().len(), 2, "the second one was begun and is empty");
    disk.flip(&disk.segments()[0].0, 64 + 120 * 14 + 50, 0);
    drop(queue);
    disk.heal();
    let (mut queue, _) = open(&disk, 2, 1);
    check_told(&mut queue, 1, 15, "the last record of the first segment");
    assert_eq!(gaps_of(&queue, 1, LANE, GapReason::Corrupt), RangeSet::from(range(15, 15)));
}

#[test]
fn a_segment_deleted_while_it_is_appended_to_is_put_back() {
    for read_first in [false, true] {
        let disk = FakeDisk::default();
        let (mut queue, _) = open(&disk, 1, 1);
        append(&mut queue, LANE, 5, 100);
        queue.sync().unwrap();
        disk.delete_by_hand(&disk.segments()[0].0);
        append(&mut queue, LANE, 5, 100);
        if read_first {
            assert_eq!(readable(&mut queue, 1, LANE, 10).count(), 10);
        } else {
            queue.sync().unwrap();
        }
        assert!(matches!(queue.take_faults().as_slice(), [Fault::FlushFailed { .. }]));
        drop(queue);
        let (mut queue, recovery) = open(&disk, 2, 1);
        assert_eq!(recovery.gaps, []);
        assert_eq!(readable(&mut queue, 1, LANE, 10).count(), 10);
    }
}
