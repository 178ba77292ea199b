//! The task and its thread, on a disk that fails.

use std::time::Duration;

use lockgate_proto::command::{BackboneTime, BootId, Dispatch, ExecutorInput, JournalHeard, Order};
use lockgate_proto::time::{MonoTime, UnixMicros};
use lockgate_runtime::StopCause;
use lockgate_runtime::clock::Clock;
use tokio::sync::mpsc;

use crate::commands::testing::{Passed, job, start};
use crate::queue::storage::fake::FakeDisk;
use crate::testing::within_patience;

const NOW: MonoTime = MonoTime(Duration::from_secs(5));

async fn dispatch(disk: &FakeDisk, fail: bool) -> (Option<StopCause>, bool) {
    let (clock, _hand) = Clock::manual(NOW, UnixMicros(0));
    let (passed, mut jobs) = mpsc::channel(4);
    let (handle, supervisor) = start(disk, BootId(1), clock, Box::new(Passed(passed)));
    let link = handle.connect().await.unwrap();
    let time = BackboneTime { asked: NOW, answered: NOW, server: UnixMicros(0) };
    let heard = JournalHeard { through: handle.mark().length, put_back: false };
    link.feed(ExecutorInput::Welcomed { heard, time }).await.unwrap();
    if fail {
        disk.fail_syncs(1);
    }
    let (command, cancel) = (job("c", "pump", "start", &[]).0.command, false);
    link.feed(ExecutorInput::Dispatched(Dispatch { orders: vec![Order { command, cancel }] })).await.unwrap();
    if fail {
        let stopped = within_patience(supervisor.run(Duration::from_secs(5))).await;
        return (Some(stopped.cause), jobs.try_recv().is_ok());
    }
    let begun = within_patience(jobs.recv()).await.is_some();
    supervisor.stop("the test is over");
    within_patience(supervisor.run(Duration::from_secs(5))).await;
    (None, begun)
}

#[tokio::test]
async fn a_flush_that_fails_ends_the_process_and_nothing_begins() {
    let (cause, begun) = dispatch(&FakeDisk::default(), true).await;
    let failed = matches!(cause, Some(StopCause::TaskFailed { task: "journal", .. }));
    assert!(failed && !begun, "{cause:?}");
}

#[tokio::test]
async fn a_disk_that_is_well_lets_a_command_begin() {
    assert_eq!(dispatch(&FakeDisk::default(), false).await, (None, true));
}
