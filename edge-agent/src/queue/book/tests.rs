//! The checkpoint's bytes stay as they are, prove themselves, and stay small.

use lockgate_proto::gap::{GapReason, TimeSpan};
use proptest::prelude::*;

use super::*;
use crate::queue::time::Anchor;

fn range(first: u64, last: u64) -> SeqRange {
    SeqRange::new(Seq::new(first), Seq::new(last)).unwrap()
}

fn gap(range: SeqRange) -> Gap {
    let span = TimeSpan { from: Some(UnixMicros(5)), to: None };
    Gap { epoch: Epoch(7), lane: Lane::Telemetry, range, reason: GapReason::Evicted, span }
}

fn book() -> Book {
    let telemetry = LaneEntry {
        last: Some(Seq::new(90)),
        tail: Some(TailEntry { first: Seq::new(80), bytes: Some(4_321) }),
        gone: range(1, 20).into(),
        settled: [range(1, 10), range(30, 40)].into_iter().collect(),
    };
    let entry = EpochEntry {
        epoch: Epoch(7),
        order: 3,
        boot: Some(BootId(0xabcd)),
        end: Some(End::Clean),
        is_told: true,
        lanes: [LaneEntry::default(), telemetry],
    };
    let anchor = Some(Anchor { offset_micros: -6, error_micros: 2 });
    let boot = BootTime { boot: BootId(0xabcd), anchor, not_before: None, not_after: Some(UnixMicros(9)) };
    Book {
        epochs: vec![entry],
        gaps: vec![gap(range(11, 20))],
        boots: vec![boot],
        last_wall: Some(UnixMicros(1)),
        next_order: 4,
    }
}

#[test]
fn the_layout_of_the_checkpoint_stays() {
    let bytes = encode(&book());
    let hex = bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let golden = "4c47434845434b01040000000000000001010000000000000001000000000000000700000000000000030000000000000001\
                  cdab000000000000000000000000000001010000000000000000000000000000000000000000000000000000000000000000\
                  00000000000000005a000000000000005000000000000000e110000000000000010000000000000001000000000000001400\
                  000000000000020000000000000001000000000000000a000000000000001e00000000000000280000000000000001000000\
                  00000000070000000000000001010b0000000000000014000000000000000105000000000000000000000000000000000100\
                  000000000000cdab000000000000000000000000000001faffffffffffffff02000000000000000000000000000000000109\
                  0000000000000024299bb5";
    assert_eq!(hex, golden);
    assert_eq!(decode(&bytes), Some(book()));
}

#[test]
fn a_checkpoint_with_any_bit_flipped_or_any_end_missing_proves_nothing() {
    let bytes = encode(&book());
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode(&flipped), None, "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert_eq!(decode(&bytes[..length]), None, "{length} bytes");
    }
}

#[test]
fn gaps_beyond_the_limit_are_joined_and_none_is_lost() {
    let mut book = book();
    book.gaps.clear();
    let losses: Vec<SeqRange> = (0..GAPS_MAX as u64 + 50).map(|at| range(at * 3 + 1, at * 3 + 2)).collect();
    book.epochs[0].lanes[1].gone = range(1, losses.last().unwrap().last().get()).into();
    for loss in &losses {
        book.add_gap(gap(*loss));
    }
    assert_eq!(book.gaps.len(), GAPS_MAX);
    let told: RangeSet = book.gaps.iter().map(|gap| gap.range).collect();
    assert!(losses.iter().all(|loss| told.contains_range(*loss)));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(decode(&bytes), None);
    }

    #[test]
    fn bytes_that_prove_themselves_are_still_checked(cut in 8usize..200, noise in prop::collection::vec(any::<u8>(), 0..100)) {
        let mut bytes = encode(&book());
        bytes.truncate(cut.min(bytes.len()));
        bytes.extend(noise);
        let crc = crc32fast::hash(&bytes);
        bytes.extend(crc.to_le_bytes());
        // Whatever it gives, it returns, and soon.
        drop(decode(&bytes));
    }
}
