//! A new epoch in a running queue, as a restart opens one.

use lockgate_proto::ranges::RangeSet;
use lockgate_proto::seq::{Epoch, Lane, Seq};

use super::support::{append, open, range, readable};
use crate::queue::storage::fake::FakeDisk;
use crate::queue::{PreviousEnd, RenewError};

const LANE: Lane = Lane::Telemetry;

#[test]
fn the_old_epoch_stays_whole_and_the_new_one_counts_from_1() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open(&disk, 1, 1);
    append(&mut queue, LANE, 5, 100);
    let before = queue.progress();
    queue.renew(Epoch(2)).unwrap();
    let after = queue.progress();
    assert_eq!((after.appended, after.durable), ([Seq::NONE; 2], [Seq::NONE; 2]));
    assert!(after.renewals > before.renewals && after.gaps_version > before.gaps_version);
    append(&mut queue, LANE, 3, 100);
    let epochs = queue.held().epochs;
    let lasts: Vec<_> = epochs.iter().map(|held| (held.epoch, held.lane(LANE).last.get())).collect();
    assert_eq!(lasts, [(Epoch(1), 5), (Epoch(2), 3)]);
    assert_eq!(readable(&mut queue, 1, LANE, 5), RangeSet::from(range(1, 5)));
    assert_eq!(readable(&mut queue, 2, LANE, 3), RangeSet::from(range(1, 3)));
}

#[test]
fn a_loss_of_power_right_after_it_loses_nothing_of_before() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open(&disk, 1, 1);
    append(&mut queue, LANE, 5, 100);
    queue.renew(Epoch(2)).unwrap();
    append(&mut queue, LANE, 1, 100);
    drop(queue);
    disk.lose_power(|_| 0);
    let (mut queue, recovery) = open(&disk, 3, 2);
    assert_eq!(recovery.previous, PreviousEnd::PowerLost);
    assert!(recovery.gaps.iter().all(|gap| gap.epoch == Epoch(2)), "{:?}", recovery.gaps);
    assert_eq!(readable(&mut queue, 1, LANE, 5), RangeSet::from(range(1, 5)));
}

#[test]
fn where_it_can_not_be_written_down_the_old_epoch_goes_on() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open(&disk, 1, 1);
    append(&mut queue, LANE, 5, 100);
    assert!(matches!(queue.renew(Epoch(1)), Err(RenewError::EpochUsed)));
    disk.set_room(Some(0));
    assert!(matches!(queue.renew(Epoch(2)), Err(RenewError::Checkpoint(_) | RenewError::Flush(_))));
    disk.set_room(None);
    append(&mut queue, LANE, 1, 100);
    assert_eq!((queue.epoch(), queue.progress().appended[LANE.index()]), (Epoch(1), Seq::new(6)));
    assert_eq!(readable(&mut queue, 1, LANE, 6), RangeSet::from(range(1, 6)));
}

#[test]
fn epochs_of_which_nothing_is_left_do_not_pile_up() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open(&disk, 1, 1);
    for epoch in 2..2_000 {
        queue.epoch_closed(Epoch(epoch - 2));
        queue.renew(Epoch(epoch)).unwrap();
    }
    assert!(queue.held().epochs.len() <= 3, "{}", queue.held().epochs.len());
}
