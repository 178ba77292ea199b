//! The layout stays as it is, and a record proves itself only where it was written.

use proptest::prelude::*;

use super::*;

fn id() -> SegmentId {
    SegmentId { order: 3, epoch: Epoch(0x0123_4567_89ab_cdef), lane: Lane::Telemetry, first: Seq::new(100) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[test]
fn the_layout_of_a_segment_header_stays() {
    let header = SegmentHeader { id: id(), previous: Some(Seq::new(42)), boot: BootId(0x1122) };
    assert_eq!(
        hex(&header.encode()),
        "4c47515545554501efcdab8967452301030000000100000064000000000000002a00000000000000\
         221100000000000000000000000000000000000027aa9066"
    );
    assert_eq!(SegmentHeader::decode(id(), &header.encode()), Some(header));
    assert_eq!(id().name(), "00000003-0123456789abcdef-telemetry-0000000000000064.seg");
}

#[test]
fn the_layout_of_a_record_stays() {
    let header = RecordHeader {
        seq: Seq::new(103),
        millis: 1_700_000_000_123,
        clock: HeaderClock::Boot,
        digest: Some(0xfeed),
        continued: false,
        hole: None,
        payload_bytes: 2,
    };
    let mut bytes = Vec::new();
    encode_record(id(), 64, &header, b"hi", &mut bytes);
    assert_eq!(hex(&bytes), "9f2aedc0a1ab02000003030000007b68e5cf8b01edfe0000000000006869");
    let dated = RecordHeader { clock: HeaderClock::BootDated, digest: None, continued: true, ..header };
    bytes.clear();
    encode_record(id(), 64, &dated, b"hi", &mut bytes);
    assert_eq!(hex(&bytes), "40b64dcad1d20200000d030000007b68e5cf8b016869");
    let after_hole = RecordHeader { digest: Some(0xfeed), hole: Some(2), ..header };
    bytes.clear();
    encode_record(id(), 64, &after_hole, b"hi", &mut bytes);
    assert_eq!(hex(&bytes), "ade43ad19cc102000013030000007b68e5cf8b01edfe000000000000020000006869");
    assert_eq!(after_hole.let_go(), SeqRange::new(Seq::new(101), Seq::new(102)));
}

#[test]
fn a_name_has_one_spelling() {
    assert_eq!(SegmentId::parse(&id().name()), Some(id()));
    for name in ["lock", "checkpoint", "3-0123456789abcdef-telemetry-64.seg", "x.seg"] {
        assert_eq!(SegmentId::parse(name), None, "{name}");
    }
    assert_eq!(SegmentId::parse("00000003-0123456789abcdef-telemetry-0000000000000000.seg"), None);
}

proptest! {
    #[test]
    fn a_record_proves_itself_only_where_it_was_written(
        seq in 100u64..5_000, millis in MILLIS_MIN..=MILLIS_MAX, continued: bool,
        clock in prop::sample::select(vec![HeaderClock::World, HeaderClock::Boot, HeaderClock::BootDated]),
        digest in prop::option::of(any::<u64>()), hole in prop::option::of(any::<u32>()), payload in prop::collection::vec(any::<u8>(), 1..300),
        offset in 64u64..1_000_000, bit in 0usize..8 * 128,
    ) {
        let seq = Seq::new(seq);
        let hole = hole.map(|hole| hole.min(u32::try_from(seq.get() - 100).unwrap()));
        let header = RecordHeader { seq, millis, clock, digest, continued, hole, payload_bytes: payload.len() };
        let mut bytes = Vec::new();
        encode_record(id(), offset, &header, &payload, &mut bytes);
        let seed = id().seed();
        prop_assert_eq!(decode_header(id(), seed, offset, &bytes), Some(header));
        prop_assert!(is_proven(seed, offset, &header, &bytes));
        prop_assert!(!is_proven(seed, offset + 1, &header, &bytes));
        let bit = bit % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let flipped = decode_header(id(), seed, offset, &bytes);
        prop_assert!(flipped.is_none_or(|flipped| flipped == header && !is_proven(seed, offset, &header, &bytes)
            || (flipped.digest, flipped.hole) != (header.digest, header.hole)));
    }
}
