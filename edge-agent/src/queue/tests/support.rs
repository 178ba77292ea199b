//! A queue on a fake disk, and what its tests say over and over.

use bytes::Bytes;
use lockgate_proto::convert::encode_record;
use lockgate_proto::ids::DeviceName;
use lockgate_proto::ranges::{RangeSet, SeqRange};
use lockgate_proto::record::{Presence, Record};
use lockgate_proto::seq::{Epoch, Lane, Seq};
use lockgate_proto::time::{MonoTime, UnixMicros};

use crate::queue::limits::QueueLimits;
use crate::queue::storage::fake::FakeDisk;
use crate::queue::{Batch, BootId, NewRecord, Queue, Recovery, Start, TakenAt};

pub(super) const LIMITS_WIDE: (u64, u64, u64) = (64 * 1024 * 1024, 16 * 1024 * 1024, 1024 * 1024);

pub(super) fn start(epoch: u64, boot: u128) -> Start {
    Start { epoch: Epoch(epoch), boot: BootId(boot), mono: MonoTime::default(), anchor: None }
}

pub(super) fn open_with(disk: &FakeDisk, limits: (u64, u64, u64), start: Start) -> (Queue, Recovery) {
    let limits = QueueLimits::tiny(limits.0, limits.1, limits.2);
    Queue::open(Box::new(disk.clone()), limits, start).unwrap()
}

pub(super) fn open(disk: &FakeDisk, epoch: u64, boot: u128) -> (Queue, Recovery) {
    open_with(disk, LIMITS_WIDE, start(epoch, boot))
}

pub(super) fn range(first: u64, last: u64) -> SeqRange {
    SeqRange::new(Seq::new(first), Seq::new(last)).unwrap()
}

/// Bytes that no other record has.
pub(super) fn payload(epoch: u64, lane: Lane, seq: u64, bytes: usize) -> Bytes {
    let name = format!("{epoch}/{lane}/{seq}/");
    name.bytes().cycle().take(bytes.max(name.len())).collect()
}

pub(super) fn batch(lane: Lane, payloads: Vec<Bytes>, digest: Option<u64>) -> Batch {
    let taken = TakenAt::Wall(UnixMicros(1_700_000_000_000_000));
    Batch { lane, records: payloads.into_iter().map(|payload| NewRecord { taken, payload }).collect(), digest }
}

/// What a device says of its presence; no other record of a test has this time.
pub(super) fn presence(device: &str, online: bool, seq: u64) -> Bytes {
    let (device, at) = (DeviceName::new(device).unwrap(), UnixMicros(i64::try_from(seq).unwrap()));
    encode_record(&Record::Presence(Presence::said(device, online, at, false)))
}

/// Appends records one by one, numbered on from what is there.
pub(super) fn append(queue: &mut Queue, lane: Lane, count: u64, bytes: usize) {
    for _ in 0..count {
        let next = queue.progress().appended[lane.index()].next().get();
        let payload = payload(queue.epoch().0, lane, next, bytes);
        assert_eq!(queue.append(&batch(lane, vec![payload], None)).unwrap(), range(next, next));
    }
}

/// Everything of a lane that can be read, and what the queue says is missing.
pub(super) fn read_all(queue: &mut Queue, epoch: u64, lane: Lane, last: u64) -> (Vec<(u64, Bytes)>, RangeSet) {
    let mut records = Vec::new();
    let mut missing = RangeSet::new();
    let mut next = Seq::FIRST;
    while let Some(rest) = SeqRange::new(next, Seq::new(last)) {
        let read = queue.read(Epoch(epoch), lane, rest, 10_000).unwrap();
        records.extend(read.records.into_iter().map(|record| (record.seq.get(), record.payload)));
        missing.union_with(&read.missing);
        if read.through < next {
            break;
        }
        next = read.through.next();
    }
    (records, missing)
}

/// The numbers that can be read; their bytes are checked.
pub(super) fn readable(queue: &mut Queue, epoch: u64, lane: Lane, last: u64) -> RangeSet {
    let (records, missing) = read_all(queue, epoch, lane, last);
    let mut set = RangeSet::new();
    for (seq, bytes) in records {
        assert_eq!(bytes, payload(epoch, lane, seq, bytes.len()), "record {seq} is what was appended");
        assert!(set.insert_one(Seq::new(seq)), "record {seq} came once");
    }
    assert!(set.intersection(&missing).is_empty());
    set
}
