//! What the tests of the shells share: a queue of their own, a clock, a profile, and patience with a bound.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use lockgate_codec::Zone;
use lockgate_proto::convert::decode_record;
use lockgate_proto::ranges::SeqRange;
use lockgate_proto::record::{Record, Telemetry};
use lockgate_proto::seq::{Epoch, Lane, Seq};
use lockgate_runtime::clock::Clock;
use tempfile::TempDir;

use crate::config::SourceProfile;
use crate::dead_letters;
use crate::ingest::Ingest;
use crate::queue::limits::QueueLimits;
use crate::queue::storage::fake::FakeDisk;
use crate::queue::{self, BootId, Queue, QueueHandle, QueueSettings, QueueThread, Start};
use crate::time::TimeHandle;

/// The boot of every test.
pub(crate) const BOOT: BootId = BootId(7);

/// Far longer than any of these tests takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// No flush comes by itself while a test runs.
pub(crate) const NO_SYNC: Duration = Duration::from_secs(3_600);

/// A test's future, which must end.
pub(crate) async fn within_patience<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, test).await.expect("the test ends in time")
}

/// A queue on a disk in memory, and what goes into it.
pub(crate) struct Bench {
    pub(crate) disk: FakeDisk,
    pub(crate) queue: QueueHandle,
    pub(crate) ingest: Ingest,
    pub(crate) time: TimeHandle,
    pub(crate) dead_letters: dead_letters::DeadLetterHandle,
    pub(crate) folder: TempDir,
    _thread: QueueThread,
}

impl Bench {
    pub(crate) fn new(clock: Clock, sync_interval: Duration) -> Bench {
        let disk = FakeDisk::default();
        let limits = QueueLimits::new(16 * 1024 * 1024, 1024 * 1024).expect("the bounds make sense");
        let start = Start { epoch: Epoch(42), boot: BOOT, mono: clock.now(), anchor: None };
        let (queue, _) = Queue::open(Box::new(disk.clone()), limits, start).expect("a new disk");
        let (queue, thread) = queue::start(queue, QueueSettings { sync_interval }).expect("a thread");
        let folder = TempDir::new().expect("a folder");
        let dead_letters = dead_letters::start(&folder.path().join("dead-letters")).expect("a folder of its own");
        let time = TimeHandle::new(clock, None);
        let ingest = Ingest::new(queue.clone(), dead_letters.clone(), time.clone());
        Bench { disk, queue, ingest, time, dead_letters, folder, _thread: thread }
    }

    /// With the machine's clock, and flushes as they come.
    pub(crate) fn usual() -> Bench {
        Bench::new(Clock::system(), Duration::from_millis(20))
    }

    /// Waits until this many records of telemetry were accepted.
    pub(crate) async fn until_records(&self, count: u64) {
        let mut progress = self.queue.progress();
        let telemetry = Lane::Telemetry.index();
        progress.wait_for(|progress| progress.appended[telemetry] >= Seq::new(count)).await.expect("the queue runs");
    }

    /// All records of a lane, as they are stored.
    pub(crate) async fn records(&self, lane: Lane) -> Vec<Record> {
        let all = SeqRange::new(Seq::FIRST, Seq::MAX).expect("a range");
        let batch = self.queue.read(Epoch(42), lane, all, usize::MAX).await.expect("the disk can be read");
        let decode = |payload: Bytes| decode_record(payload).expect("it was encoded by us");
        batch.records.into_iter().map(|stored| decode(stored.payload)).collect()
    }

    /// All telemetry, as it is stored.
    pub(crate) async fn telemetry(&self) -> Vec<Telemetry> {
        let records = self.records(Lane::Telemetry).await;
        let telemetry = |record| match record {
            Record::Telemetry(telemetry) => telemetry,
            Record::Presence(_) | Record::Description(_) => panic!("it belongs to the other lane"),
        };
        records.into_iter().map(telemetry).collect()
    }
}

/// A profile of a test's own, as a source's block may say it.
pub(crate) fn profile_of(folder: &std::path::Path, text: &str) -> SourceProfile {
    let file = folder.join("test.toml");
    std::fs::write(&file, text).expect("the folder is there");
    SourceProfile::by_name(&file.display().to_string(), None, Zone::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// A shipped profile.
pub(crate) fn profile(name: &str) -> SourceProfile {
    SourceProfile::by_name(name, None, Zone::default()).expect("it is shipped")
}
