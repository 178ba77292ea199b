//! What an append costs, with and without a flush, and how fast a backlog drains.

use bytes::Bytes;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use lockgate_agent::queue::limits::QueueLimits;
use lockgate_agent::queue::storage::disk::DiskStorage;
use lockgate_agent::queue::{Batch, BootId, Queue, Start, TakenAt};
use lockgate_proto::ranges::SeqRange;
use lockgate_proto::seq::{Epoch, Lane, Seq};
use lockgate_proto::time::{MonoTime, UnixMicros};
use tempfile::TempDir;

const EPOCH: Epoch = Epoch(1);
const LANE: Lane = Lane::Telemetry;

fn main() {
    divan::main();
}

fn open() -> (TempDir, Queue) {
    let folder = tempfile::tempdir().expect("the bench has a folder");
    let storage = DiskStorage::open(folder.path()).expect("the folder is ours alone");
    let limits = QueueLimits::new(256 << 20, 16 << 20).expect("the bounds are sound");
    let start = Start { epoch: EPOCH, boot: BootId(1), mono: MonoTime::default(), anchor: None };
    let (queue, _) = Queue::open(Box::new(storage), limits, start).expect("the folder is empty");
    (folder, queue)
}

fn batch(bytes: usize) -> Batch {
    Batch::one(LANE, TakenAt::Wall(UnixMicros(1_700_000_000_000_000)), Bytes::from(vec![7; bytes]))
}

#[divan::bench(args = [100, 1_000, 10_000])]
fn append(bencher: Bencher<'_, '_>, bytes: usize) {
    let (_folder, mut queue) = open();
    let batch = batch(bytes);
    bencher.counter(BytesCount::new(bytes)).bench_local(|| queue.append(&batch));
}

#[divan::bench(args = [1, 100], sample_count = 50, sample_size = 1)]
fn append_and_flush(bencher: Bencher<'_, '_>, records: usize) {
    let (_folder, mut queue) = open();
    let batch = batch(200);
    bencher.counter(ItemsCount::new(records)).bench_local(|| {
        for _ in 0..records {
            queue.append(&batch).expect("the disk has room");
        }
        queue.sync()
    });
}

#[divan::bench(args = [100, 1_000], sample_count = 20, sample_size = 1)]
fn drain(bencher: Bencher<'_, '_>, bytes: usize) {
    const RECORDS: u64 = 20_000;
    let (_folder, mut queue) = open();
    let batch = batch(bytes);
    for _ in 0..RECORDS {
        queue.append(&batch).expect("the disk has room");
    }
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        let mut next = Seq::FIRST;
        while let Some(rest) = SeqRange::new(next, Seq::new(RECORDS)) {
            next = queue.read(EPOCH, LANE, rest, 64 * 1024).expect("the segments are there").through.next();
        }
    });
}
