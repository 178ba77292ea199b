//! What an append costs, with and without a flush, and how fast a backlog drains.
//!
//! Beside each, what the file system takes for the same bytes in one plain file: `raw_…`.

use std::fs::File;
use std::io::{Read, Seek, Write};

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

/// What the queue may hold.
const BUDGET_BYTES: u64 = 256 << 20;

/// A record of about ten readings.
const FLUSHED_BYTES: usize = 200;

/// Records of a backlog.
const BACKLOG: u64 = 20_000;

/// So much of a backlog is read at once.
const READ_BYTES: usize = 64 * 1024;

fn main() {
    divan::main();
}

fn open() -> (TempDir, Queue) {
    let folder = tempfile::tempdir().expect("the bench has a folder");
    let storage = DiskStorage::open(folder.path()).expect("the folder is ours alone");
    let limits = QueueLimits::new(BUDGET_BYTES, 16 << 20).expect("the bounds are sound");
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
    bencher.counter(BytesCount::new(bytes)).bench_local(|| queue.append(&batch).expect("the disk has room"));
}

#[divan::bench(args = [100, 1_000, 10_000])]
fn raw_append(bencher: Bencher<'_, '_>, bytes: usize) {
    let mut file = PlainFile::new();
    let record = vec![7; bytes];
    bencher.counter(BytesCount::new(bytes)).bench_local(|| file.append(&record));
}

#[divan::bench(args = [1, 100], sample_count = 50, sample_size = 1)]
fn append_and_flush(bencher: Bencher<'_, '_>, records: usize) {
    let (_folder, mut queue) = open();
    let batch = batch(FLUSHED_BYTES);
    bencher.counter(ItemsCount::new(records)).bench_local(|| {
        for _ in 0..records {
            queue.append(&batch).expect("the disk has room");
        }
        queue.sync()
    });
}

/// All records in one write, so that hardly more than the flush is left.
#[divan::bench(args = [1, 100], sample_count = 50, sample_size = 1)]
fn raw_append_and_flush(bencher: Bencher<'_, '_>, records: usize) {
    let mut plain = PlainFile::new();
    let bytes = vec![7; records * FLUSHED_BYTES];
    bencher.counter(ItemsCount::new(records)).bench_local(|| {
        plain.append(&bytes);
        plain.file.sync_data().expect("the disk works");
    });
}

/// The files are still in memory: what is measured is the work on them, not the disk.
#[divan::bench(args = [100, 1_000], sample_count = 20, sample_size = 1)]
fn drain(bencher: Bencher<'_, '_>, bytes: usize) {
    let (_folder, mut queue) = open();
    let batch = batch(bytes);
    for _ in 0..BACKLOG {
        queue.append(&batch).expect("the disk has room");
    }
    bencher.counter(ItemsCount::new(BACKLOG)).bench_local(|| {
        let mut next = Seq::FIRST;
        while let Some(rest) = SeqRange::new(next, Seq::new(BACKLOG)) {
            next = queue.read(EPOCH, LANE, rest, READ_BYTES).expect("the segments are there").through.next();
        }
    });
}

#[divan::bench(args = [100, 1_000], sample_count = 20, sample_size = 1)]
fn raw_read(bencher: Bencher<'_, '_>, bytes: usize) {
    let mut plain = PlainFile::new();
    let record = vec![7; bytes];
    for _ in 0..BACKLOG {
        plain.append(&record);
    }
    let mut buffer = vec![0; READ_BYTES];
    bencher.counter(ItemsCount::new(BACKLOG)).bench_local(|| {
        plain.file.rewind().expect("it is a file");
        while plain.file.read(&mut buffer).expect("it is there") > 0 {
            divan::black_box(&buffer);
        }
    });
}

/// A file that begins anew where a queue would have dropped its oldest records.
struct PlainFile {
    file: File,
    bytes: u64,
}

impl PlainFile {
    fn new() -> PlainFile {
        PlainFile { file: tempfile::tempfile().expect("the bench has a file"), bytes: 0 }
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.bytes >= BUDGET_BYTES {
            self.file.set_len(0).expect("it is a file");
            self.file.rewind().expect("it is a file");
            self.bytes = 0;
        }
        self.file.write_all(bytes).expect("the disk has room");
        self.bytes += bytes.len() as u64;
    }
}
