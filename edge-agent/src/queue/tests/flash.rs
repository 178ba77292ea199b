//! What reaches the flash: the payload, at most one block more at each flush, and next to nothing else.

use lockgate_proto::seq::Lane;
use lockgate_proto::time::UnixMicros;

use super::support::{open_with, payload, start};
use crate::queue::storage::fake::FakeDisk;
use crate::queue::{Batch, TakenAt};

/// Bytes of blocks written per byte of payload, with one flush a second for ten minutes.
fn amplification(bytes_per_second: u64, record_bytes: usize) -> f64 {
    const SECONDS: u64 = 180;
    let disk = FakeDisk::default();
    // As a Pi would have it: 256 MiB, in segments of 4 MiB.
    let limits = (256 << 20, 64 << 20, 4 << 20);
    let (mut queue, _) = open_with(&disk, limits, start(1, 1));
    let before = disk.counters().block_bytes;
    let mut payload_bytes = 0;
    for second in 0..SECONDS {
        let now = UnixMicros(1_700_000_000_000_000 + i64::try_from(second).unwrap() * 1_000_000);
        while payload_bytes < bytes_per_second * (second + 1) {
            let payload = payload(1, Lane::Telemetry, second, record_bytes);
            payload_bytes += payload.len() as u64;
            queue.append(&Batch::one(Lane::Telemetry, TakenAt::Wall(now), payload)).unwrap();
        }
        if second % 60 == 0 {
            queue.note_time(now);
        }
        queue.sync().unwrap();
    }
    let written = disk.counters().block_bytes - before;
    f64::from(u32::try_from(written).unwrap()) / f64::from(u32::try_from(payload_bytes).unwrap())
}

#[test]
fn at_64_kilobytes_a_second_a_byte_costs_at_most_1_3_bytes_of_flash() {
    let figures = [120, 200, 1_000].map(|record_bytes| amplification(64_000, record_bytes));
    assert!(figures.iter().all(|written| *written <= 1.3), "{figures:?}");
    assert!(figures[2] <= 1.12, "{figures:?}");
}

#[test]
fn a_flush_of_little_costs_one_block_or_two() {
    let written = amplification(200, 200);
    let blocks_per_flush = written * 200.0 / 4096.0;
    assert!(blocks_per_flush < 1.15, "{blocks_per_flush}");
}

#[test]
fn a_queue_at_rest_writes_nothing() {
    let disk = FakeDisk::default();
    let (mut queue, _) = open_with(&disk, (256 << 20, 64 << 20, 4 << 20), start(1, 1));
    let now = UnixMicros(1_700_000_000_000_000);
    queue.note_time(now);
    queue.sync().unwrap();
    let operations = disk.counters().operations;
    for second in 0..599 {
        queue.note_time(now.offset_by(second * 1_000_000));
        assert!(!queue.needs_sync());
        queue.sync().unwrap();
    }
    assert_eq!(disk.counters().operations, operations);
}
