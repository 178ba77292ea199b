//! The handle and the thread behind it, on a real folder.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::ranges::RangeSet;
use lockgate_proto::seq::{Epoch, Lane, Seq};

use super::support::{batch, payload, range, start as at_start};
use crate::queue::inspect::inspect;
use crate::queue::limits::QueueLimits;
use crate::queue::storage::disk::DiskStorage;
use crate::queue::storage::fake::FakeDisk;
use crate::queue::{
    EnqueueError, OpenError, PreviousEnd, Queue, QueueClosed, QueueHandle, QueueSettings, QueueThread, Recovery, start,
};

const LANE: Lane = Lane::Telemetry;
const NEVER: Duration = Duration::from_secs(3_600);

fn limits() -> QueueLimits {
    QueueLimits::new(64 << 20, 8 << 20).unwrap()
}

fn run(folder: &Path, epoch: u64, sync_interval: Duration) -> (QueueHandle, QueueThread, Recovery) {
    let storage = DiskStorage::open(folder).unwrap();
    let (queue, recovery) = Queue::open(Box::new(storage), limits(), at_start(epoch, 1)).unwrap();
    let (handle, thread) = start(queue, QueueSettings { sync_interval }).unwrap();
    (handle, thread, recovery)
}

/// Ends the queue before its folder is removed: the thread would write into it once more.
async fn end(handle: QueueHandle, thread: QueueThread) {
    handle.close().await.unwrap();
    assert_eq!(thread.ended().await, Ok(()));
}

fn one(seq: u64) -> crate::queue::Batch {
    batch(LANE, vec![payload(1, LANE, seq, 100)], None)
}

#[tokio::test]
async fn what_was_appended_is_read_back_and_stands_after_a_close() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, thread, _) = run(folder.path(), 1, NEVER);
    for seq in 1..=200 {
        assert_eq!(handle.append(one(seq)).await.unwrap(), range(seq, seq));
    }
    let read = handle.read(Epoch(1), LANE, range(1, 200), 1 << 20).await.unwrap();
    assert_eq!(read.records.len(), 200);
    handle.set_settled(Epoch(1), LANE, RangeSet::from(range(1, 50))).await.unwrap();
    handle.close().await.unwrap();
    assert_eq!(thread.ended().await, Ok(()));
    assert!(matches!(handle.append(one(201)).await, Err(EnqueueError::Closed(QueueClosed))));

    let looked = inspect(folder.path()).unwrap();
    let lane = &looked.epochs[0].lanes[LANE.index()];
    assert_eq!((lane.records, lane.settled, looked.epochs[0].is_open), (200, 50, false));
    assert_eq!(looked.faults, []);
    let (handle, thread, recovery) = run(folder.path(), 2, NEVER);
    assert_eq!((recovery.previous, recovery.records_unsettled), (PreviousEnd::Clean, 150));
    assert_eq!(handle.held().await.unwrap().epochs[0].lanes[LANE.index()].held, RangeSet::from(range(1, 200)));
    end(handle, thread).await;
}

#[tokio::test]
async fn an_append_that_must_last_returns_after_the_flush_of_the_interval() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, thread, _) = run(folder.path(), 1, Duration::from_millis(20));
    let mut progress = handle.progress();
    let (first, second) = tokio::join!(handle.append_durable(one(1)), handle.append_durable(one(2)));
    assert_eq!((first.unwrap(), second.unwrap()), (range(1, 1), range(2, 2)));
    progress.wait_for(|progress| progress.durable[LANE.index()] == Seq::new(2)).await.unwrap();
    assert_eq!(handle.stats().await.unwrap().flushes, 1, "one flush for both");
    end(handle, thread).await;
}

#[tokio::test]
async fn sync_now_does_not_wait_for_the_interval_and_answers_all_who_wait() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, thread, _) = run(folder.path(), 1, NEVER);
    let message = batch(LANE, vec![payload(1, LANE, 1, 50)], Some(9));
    let (appended, synced) = tokio::join!(handle.append_durable(message), handle.sync_now());
    assert_eq!(appended.unwrap(), range(1, 1));
    assert_eq!(synced.unwrap().durable[LANE.index()], Seq::FIRST);
    assert!(!handle.was_seen(8).await.unwrap());
    let (seen, _) = tokio::join!(handle.was_seen(9), handle.sync_now());
    assert!(seen.unwrap());
    end(handle, thread).await;
}

#[tokio::test]
async fn an_append_that_did_not_reach_the_disk_is_not_called_durable() {
    let disk = FakeDisk::default();
    let (queue, _) = Queue::open(Box::new(disk.clone()), limits(), at_start(1, 1)).unwrap();
    let (handle, _thread) = start(queue, QueueSettings { sync_interval: NEVER }).unwrap();
    disk.fail_syncs(2);
    let (appended, synced) = tokio::join!(handle.append_durable(one(1)), handle.sync_now());
    assert!(matches!(appended, Err(EnqueueError::Sync(_))));
    assert!(synced.is_err());
    assert_eq!(handle.sync_now().await.unwrap().durable[LANE.index()], Seq::FIRST, "the next flush makes it good");
}

#[tokio::test]
async fn callers_wait_while_the_channel_is_full_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, thread, _) = run(folder.path(), 1, NEVER);
    let appends = (0..500).map(|_| handle.append(batch(LANE, vec![Bytes::from(vec![1; 200])], None)));
    let accepted: RangeSet = futures_util::future::join_all(appends).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(accepted, RangeSet::from(range(1, 500)));
    end(handle, thread).await;
}

#[tokio::test]
async fn when_every_handle_is_gone_the_queue_is_closed_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, thread, _) = run(folder.path(), 1, NEVER);
    handle.append(one(1)).await.unwrap();
    drop(handle);
    assert_eq!(thread.ended().await, Ok(()));
    let (handle, thread, recovery) = run(folder.path(), 2, NEVER);
    assert_eq!(recovery.previous, PreviousEnd::Clean);
    end(handle, thread).await;
}

#[test]
fn two_agents_never_share_a_folder_and_a_look_does_not_disturb() {
    let folder = tempfile::tempdir().unwrap();
    let held = DiskStorage::open(folder.path()).unwrap();
    let error = DiskStorage::open(folder.path()).unwrap_err();
    assert!(matches!(error, OpenError::Locked { holder: Some(pid) } if pid == std::process::id()));
    assert!(error.to_string().contains("two must never share one"), "{error}");
    let (mut queue, _) = Queue::open(Box::new(held), limits(), at_start(1, 1)).unwrap();
    queue.append(&one(1)).unwrap();
    let looked = inspect(folder.path()).unwrap();
    assert!(looked.epochs[0].is_open);
    assert_eq!(looked.epochs[0].lanes[LANE.index()].records, 1);
    assert_eq!(looked.faults, []);
    drop(queue);
    DiskStorage::open(folder.path()).unwrap();
}
