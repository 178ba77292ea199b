//! What a kill costs (nothing), what a loss of power costs (what was not flushed, told with its span of
//! time), and what is known of the clocks of past boots.

use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::gap::{GapReason, TimeSpan};
use lockgate_proto::seq::{Epoch, Lane, Seq};
use lockgate_proto::time::{MonoTime, UnixMicros};

use super::support::{LIMITS_WIDE, append, batch, open, open_with, payload, range, readable, start};
use crate::queue::storage::fake::FakeDisk;
use crate::queue::{Anchor, Batch, BootId, PreviousEnd, RecordTime, Start, TakenAt};

const LANE: Lane = Lane::Telemetry;
const SECOND: i64 = 1_000_000;

fn mono(seconds: u64) -> MonoTime {
    MonoTime(Duration::from_secs(seconds))
}

#[test]
fn a_kill_loses_nothing_and_is_no_gap() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open(&disk, 1, 1);
    append(&mut queue, LANE, 30, 100);
    append(&mut queue, Lane::Events, 3, 100);
    drop(queue);
    let (mut queue, recovery) = open(&disk, 2, 1);
    assert_eq!((recovery.previous, recovery.gaps.len(), recovery.faults.len()), (PreviousEnd::Killed, 0, 0));
    assert_eq!(recovery.records_unsettled, 33);
    assert_eq!(readable(&mut queue, 1, LANE, 30).count(), 30);
    assert_eq!(readable(&mut queue, 1, Lane::Events, 3).count(), 3);
}

#[test]
fn a_record_that_is_torn_anywhere_also_within_its_digest_was_not_accepted_and_is_no_loss() {
    for room in 0..100 {
        let disk = FakeDisk::default();
        let (mut queue, _) = open(&disk, 1, 1);
        append(&mut queue, LANE, 2, 40);
        disk.set_room(Some(room));
        disk.stop_after(1);
        let payload = payload(1, LANE, 3, 100);
        queue.append(&batch(LANE, vec![payload], Some(9))).unwrap_err();
        drop(queue);
        disk.heal();
        let (queue, recovery) = open(&disk, 2, 1);
        assert_eq!((queue.gaps(), recovery.previous), (vec![], PreviousEnd::Killed), "{room} bytes");
    }
}

#[test]
fn what_a_killed_agent_left_unflushed_is_flushed_by_the_next_start() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open(&disk, 1, 1);
    append(&mut queue, LANE, 30, 100);
    drop(queue);
    let (queue, _) = open(&disk, 2, 1);
    drop(queue);
    disk.lose_power(|_| 0);
    let (mut queue, recovery) = open(&disk, 3, 2);
    assert_eq!(readable(&mut queue, 1, LANE, 30).count(), 30);
    assert!(recovery.gaps.iter().all(|gap| gap.epoch == Epoch(2)), "{:?}", recovery.gaps);
}

#[test]
fn a_loss_of_power_is_a_gap_of_open_end_in_both_lanes_with_its_span_of_time() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open(&disk, 1, 1);
    append(&mut queue, LANE, 10, 100);
    queue.note_time(UnixMicros(1_700_000_100 * SECOND));
    queue.sync().unwrap();
    append(&mut queue, LANE, 10, 100);
    drop(queue);
    disk.lose_power(|_| 0);
    let (mut queue, recovery) = open(&disk, 2, 2);
    assert_eq!(recovery.previous, PreviousEnd::PowerLost);
    let gap = |lane| *recovery.gaps.iter().find(|gap| gap.lane == lane).unwrap();
    assert_eq!((gap(LANE).range, gap(LANE).reason), (range(11, u64::MAX), GapReason::Power));
    assert_eq!(gap(Lane::Events).range, range(1, u64::MAX));
    assert_eq!(gap(LANE).span, TimeSpan { from: Some(UnixMicros(1_700_000_100 * SECOND)), to: None });
    assert_eq!(readable(&mut queue, 1, LANE, 20).count(), 10);
    let anchor = Anchor { offset_micros: 1_700_000_200 * SECOND, error_micros: 1_000 };
    queue.set_anchor(anchor);
    assert!(queue.gaps().iter().all(|gap| gap.span.to == Some(UnixMicros(1_700_000_200 * SECOND))));
    queue.set_settled(Epoch(1), LANE, range(1, u64::MAX).into());
    assert!(queue.gaps().iter().all(|gap| gap.lane == Lane::Events), "an open end can be settled");
}

#[test]
fn a_clean_stop_before_the_power_goes_is_no_gap() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open(&disk, 1, 1);
    append(&mut queue, LANE, 10, 100);
    queue.close().unwrap();
    disk.lose_power(|_| 0);
    let (mut queue, recovery) = open(&disk, 2, 2);
    assert_eq!((recovery.previous, recovery.gaps.len()), (PreviousEnd::Clean, 0));
    assert_eq!(readable(&mut queue, 1, LANE, 10).count(), 10);
}

#[test]
fn readings_without_a_clock_keep_their_boot_and_its_time_becomes_known_later() {
    let disk = FakeDisk::default();
    let first = Start { mono: mono(5), ..start(1, 1) };
    let (mut queue, _) = open_with(&disk, LIMITS_WIDE, first);
    queue.append(&Batch::one(LANE, TakenAt::Mono(mono(7)), Bytes::from_static(b"x"))).unwrap();
    let read = queue.read(Epoch(1), LANE, range(1, 1), 1_000).unwrap();
    assert_eq!(read.records[0].time, RecordTime::Boot { boot: BootId(1), at: mono(7), dated: false });
    assert_eq!(queue.stats().oldest_unsettled, None);
    queue.set_anchor(Anchor { offset_micros: 1_000 * SECOND, error_micros: 50 });
    assert_eq!(queue.stats().oldest_unsettled, Some(UnixMicros(1_007 * SECOND)));
    queue.note_time(UnixMicros(1_010 * SECOND));
    queue.sync().unwrap();
    drop(queue);
    let (queue, _) = open(&disk, 2, 2);
    drop(queue);
    let (mut queue, _) = open(&disk, 3, 3);
    queue.set_anchor(Anchor { offset_micros: 2_000 * SECOND, error_micros: 50 });
    let boots = queue.boots();
    assert_eq!(boots[0].anchor.map(|anchor| anchor.offset_micros), Some(1_000 * SECOND));
    assert_eq!(boots[1].anchor, None);
    let bounds = (boots[1].not_before, boots[1].not_after);
    assert_eq!(bounds, (Some(UnixMicros(1_010 * SECOND)), Some(UnixMicros(2_000 * SECOND))));
}

#[test]
fn reading_gives_what_is_asked_for_and_not_more_than_fits() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open_with(&disk, (64_000_000, 16_000_000, 3_000), start(1, 1));
    append(&mut queue, LANE, 100, 100);
    let read = queue.read(Epoch(1), LANE, range(40, 60), 1).unwrap();
    assert_eq!((read.records.len(), read.records[0].seq, read.through), (1, Seq::new(40), Seq::new(40)));
    let read = queue.read(Epoch(1), LANE, range(40, 60), usize::MAX).unwrap();
    assert_eq!((read.records.len(), read.through), (21, Seq::new(60)));
    let read = queue.read(Epoch(1), LANE, range(95, 200), usize::MAX).unwrap();
    assert_eq!((read.records.len(), read.through, read.missing.is_empty()), (6, Seq::new(100), true));
    let read = queue.read(Epoch(1), LANE, range(101, 200), usize::MAX).unwrap();
    assert_eq!((read.records.len(), read.through, read.missing.is_empty()), (0, Seq::NONE, true), "not given yet");
    let read = queue.read(Epoch(5), LANE, range(1, 3), usize::MAX).unwrap();
    assert_eq!((read.records.len(), read.missing.count()), (0, 3));
}
