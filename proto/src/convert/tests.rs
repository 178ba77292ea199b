//! The bytes of the wire, fixed by golden ones, and what never gets through.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::entry::{AgentGap, Entry, EntryBody, EntryHeader, EntryKind, Origin};
use crate::gap::{Gap, GapReason, TimeSpan};
use crate::ids::{AgentName, DeviceName, MetricName};
use crate::link::frame::{AgentFrame, EpochHeld, Hello, LaneHeld, Publish, SequencedRecord};
use crate::position::{Offset, Position, Stamp};
use crate::ranges::SeqRange;
use crate::reading::{Quality, Reading, Value};
use crate::record::{Presence, Record, Telemetry};
use crate::seq::{Epoch, Lane, Seq};
use crate::time::UnixMicros;

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn golden_record() -> Record {
    let reading = |metric: &str, unit: Option<&str>, value, micros: i64, quality| Reading {
        metric: MetricName::new(metric).unwrap(),
        unit: unit.map(Arc::from),
        value,
        sampled_at: UnixMicros(1_700_000_000_000_000 + micros),
        quality,
    };
    Record::Telemetry(Telemetry {
        device: DeviceName::new("pump-7").unwrap(),
        readings: vec![
            reading("level", Some("m"), Value::Number(1.5), 0, Quality::Good),
            reading("flow", None, Value::Number(0.1), 250, Quality::Uncertain(Quality::CLOCK.into())),
            reading("level", Some("m"), Value::Integer(-3), 500, Quality::Bad("sensor".into())),
            reading("on", None, Value::Flag(true), 500, Quality::Good),
            reading("text", None, Value::Text("né".into()), 500, Quality::Good),
            reading("raw", None, Value::Raw(Bytes::from_static(&[0, 255])), 500, Quality::Good),
        ],
        historical: true,
    })
}

#[test]
fn the_bytes_of_a_record_are_what_they_were() {
    let bytes = encode_record(&golden_record());
    assert_eq!(hex(&bytes), GOLDEN_RECORD);
    assert_eq!(decode_record(bytes), Ok(golden_record()));
}

#[test]
fn each_kind_of_entry_has_a_number_and_a_word_of_its_own() {
    for kind in EntryKind::ALL {
        let wire = kind_to_wire(kind);
        assert_eq!(kind_from_wire(wire.into()), Some(kind));
        assert_eq!(wire.as_str_name(), format!("ENTRY_KIND_{}", kind.as_str().to_uppercase()));
        assert_eq!(EntryKind::from_word(kind.as_str()), Some(kind));
    }
    let beyond = i32::try_from(EntryKind::ALL.len()).unwrap() + 1;
    assert_eq!((kind_from_wire(0), kind_from_wire(beyond), kind_from_wire(-1)), (None, None, None));
}

#[test]
fn the_bytes_of_a_publish_are_what_they_were() {
    let publish = AgentFrame::Publish(Publish {
        epoch: Epoch(0x0123_4567_89ab_cdef),
        lane: Lane::Telemetry,
        records: vec![SequencedRecord { seq: Seq::new(300), record: Bytes::from_static(b"record") }],
        backlog: true,
        gaps: vec![Gap {
            epoch: Epoch(2),
            lane: Lane::Events,
            range: SeqRange::new(Seq::new(5), Seq::MAX).unwrap(),
            reason: GapReason::Power,
            span: TimeSpan { from: Some(UnixMicros(-1)), to: None },
        }],
        last: Seq::new(301),
    });
    let bytes = encode_agent_frame(&publish);
    assert_eq!(hex(&bytes), GOLDEN_PUBLISH);
    assert_eq!(decode_agent_frame(bytes), Ok(Some(publish)));
}

const GOLDEN_RECORD: &str = concat!(
    "820194010a0670756d702d37120a0a056c6576656c12016d12060a04666c6f7712040a026f6e12060a047465787412050a03726177188080",
    "f28183898506220800f403f4030000002a060001000203043205150000c03f3209099a9999999999b93f320218053202200132052a036ec3",
    "a93204320200ff3a0908011205636c6f636b3a0a0802120673656e736f7242060001020000004801",
);
const GOLDEN_PUBLISH: &str = concat!(
    "123d09efcdab896745230110021a0b08ac0212067265636f726420012a1e09020000000000000010011a0d080510ffffffffffffffffff01",
    "2002280130ad02",
);

#[test]
fn frames_and_records_of_a_later_version_are_skipped_or_refused() {
    // A oneof arm of number 15, as a later version may have it.
    let later = Bytes::from_static(&[0x7a, 0x01, 0x00]);
    assert_eq!(decode_agent_frame(later.clone()), Ok(None));
    assert_eq!(decode_gateway_frame(later.clone()), Ok(None));
    assert_eq!(decode_record(later), Err(ConvertError::Missing { field: "body" }));
}

fn header(origin: Option<Origin>) -> EntryHeader {
    EntryHeader {
        position: Position { offset: Offset(7), stamp: Stamp(70) },
        previous: Stamp(60),
        received_at: UnixMicros(1_700_000_000_000_000),
        origin,
    }
}

#[test]
fn a_header_before_a_record_is_an_entry() {
    let origin = Origin {
        agent: AgentName::new("edge-1").unwrap(),
        epoch: Epoch(1),
        epoch_order: 1 << 32,
        lane: Lane::Events,
        seq: Seq::new(4),
        backlog: true,
    };
    let presence = Presence::said(DeviceName::new("d").unwrap(), true, UnixMicros(3), false);
    let header = header(Some(origin));
    let entry = decode_entry(encode_entry(&header, &encode_record(&Record::Presence(presence.clone()))));
    assert_eq!(entry, Ok(Entry { header: header.clone(), body: EntryBody::Presence(presence) }));
    let Record::Telemetry(telemetry) = golden_record() else { unreachable!() };
    let entry = decode_entry(encode_entry(&header, &encode_record(&golden_record())));
    assert_eq!(entry, Ok(Entry { header, body: EntryBody::Telemetry(telemetry) }));
}

#[test]
fn gaps_told_and_withdrawn_are_entries() {
    let agent = AgentName::new("edge-1").unwrap();
    let range = SeqRange::new(Seq::new(5), Seq::MAX).unwrap();
    let span = TimeSpan { from: None, to: Some(UnixMicros(9)) };
    let gap = Gap { epoch: Epoch(1), lane: Lane::Telemetry, range, reason: GapReason::Wiped, span };
    let told = AgentGap { agent: agent.clone(), gap };
    for (withdrawn, body) in [(false, EntryBody::Gap(told.clone())), (true, EntryBody::GapWithdrawn(told.clone()))] {
        let entry = decode_entry(encode_entry(&header(None), &encode_gap_body(&agent, &gap, withdrawn)));
        assert_eq!(entry, Ok(Entry { header: header(None), body }));
    }
    assert_eq!(decode_entry(encode_entry(&header(None), &[])).map(|entry| entry.body), Ok(EntryBody::Unknown));
}

#[test]
fn a_record_with_more_than_its_body_is_refused() {
    let record = encode_record(&golden_record());
    for extra in [&b"\x08\x01"[..], &record, b"\x92\x01\x00"] {
        let forged = [record.to_vec(), extra.to_vec()].concat();
        let problem = "is more than one body";
        assert_eq!(decode_record(forged.into()), Err(ConvertError::Invalid { field: "record", problem }));
    }
}

#[test]
fn a_number_that_no_record_can_have_is_refused_wherever_an_agent_tells_it() {
    let gap = |last: Seq| Gap {
        epoch: Epoch(u64::MAX),
        lane: Lane::Telemetry,
        range: SeqRange::new(Seq::FIRST, last).unwrap(),
        reason: GapReason::Compacted,
        span: TimeSpan::at(UnixMicros(i64::MIN)),
    };
    let publish = |last: Seq, gaps: Vec<Gap>| {
        let (epoch, lane, records, backlog) = (Epoch(1), Lane::Telemetry, Vec::new(), false);
        decode_agent_frame(encode_agent_frame(&AgentFrame::Publish(Publish {
            epoch,
            lane,
            records,
            backlog,
            gaps,
            last,
        })))
    };
    let at_fault = |decoded: Result<_, ConvertError>| match decoded {
        Err(ConvertError::Invalid { field, problem }) if problem.contains("2^48") => Some(field),
        _ => None,
    };
    assert!(publish(Seq::LAST, vec![gap(Seq::LAST), gap(Seq::MAX)]).is_ok());
    assert_eq!(at_fault(publish(Seq::LAST.next(), Vec::new())), Some("last"));
    assert_eq!(at_fault(publish(Seq::FIRST, vec![gap(Seq::LAST.next())])), Some("gaps.range"));
    let held = |last: Seq| {
        let mut lanes = [LaneHeld::default(), LaneHeld::default()];
        lanes[0].last = last;
        decode_agent_frame(encode_agent_frame(&AgentFrame::Hello(Hello {
            agent: AgentName::new("edge-1").unwrap(),
            site: None,
            epochs: vec![EpochHeld { epoch: Epoch(1), lanes }],
            clock: None,
            build: String::new(),
            capabilities: Vec::new(),
            gaps: Vec::new(),
            journal: None,
        })))
    };
    assert!(held(Seq::LAST).is_ok());
    assert_eq!(at_fault(held(Seq::new(u64::MAX - 1))), Some("epochs.lanes.last"));
}

#[test]
fn a_gap_is_no_larger_than_it_weighs() {
    let range = SeqRange::new(Seq::LAST, Seq::MAX).unwrap();
    let span = TimeSpan::at(UnixMicros(i64::MIN));
    let gap = Gap { epoch: Epoch(u64::MAX), lane: Lane::Telemetry, range, reason: GapReason::Compacted, span };
    let (epoch, lane, records, backlog, last) = (Epoch(1), Lane::Telemetry, Vec::new(), true, Seq::FIRST);
    let bytes = |gaps: Vec<Gap>| {
        let records: Vec<SequencedRecord> = Vec::clone(&records);
        encode_agent_frame(&AgentFrame::Publish(Publish { epoch, lane, records, backlog, gaps, last })).len() as u64
    };
    assert!(bytes(vec![gap; 2]) - bytes(vec![gap]) <= crate::limits::GAP_BYTES);
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Value::Number),
        any::<i64>().prop_map(Value::Integer),
        any::<bool>().prop_map(Value::Flag),
        ".{0,8}".prop_map(|text| Value::Text(text.into())),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(|bytes| Value::Raw(bytes.into())),
    ]
}

fn any_quality() -> impl Strategy<Value = Quality> {
    prop_oneof![
        2 => Just(Quality::Good),
        1 => "[a-z]{1,8}".prop_map(|reason| Quality::Uncertain(reason.into())),
        1 => "[a-z]{1,8}".prop_map(|reason| Quality::Bad(reason.into())),
    ]
}

proptest! {
    #[test]
    fn every_record_comes_back_as_it_was(
        readings in prop::collection::vec(("[a-c]{1,2}", prop::option::of("[A-Z]{1,3}"), any_value(), any::<i64>(), any_quality()), 1..20),
        historical: bool,
    ) {
        let readings = readings.into_iter().map(|(metric, unit, value, at, quality)| Reading {
            metric: MetricName::new(metric).unwrap(),
            unit: unit.map(Arc::from),
            value,
            sampled_at: UnixMicros(at),
            quality,
        });
        let record = Record::Telemetry(Telemetry { device: DeviceName::new("d").unwrap(), readings: readings.collect(), historical });
        prop_assert_eq!(decode_record(encode_record(&record)), Ok(record));
    }
}
