//! Deliveries in JSON: each entry of a batch is decoded and written once, whoever wants it.

use std::ops::Range;

use bytes::Bytes;
use lockgate_proto::ids::Site;
use lockgate_proto::wire;
use prost::Message;

use crate::backbone::LoggedEntry;

/// What stands before a delivery's site, between it and the entries, and behind them. A test holds this
/// against the generated encoder.
const HEAD: &[u8] = br#"{"delivery":{"site":"#;
const ENTRIES: &[u8] = br#","entries":["#;
const TAIL: &[u8] = b"]}}";

/// A batch in JSON: one text, and where each entry is in it.
#[derive(Clone, Debug)]
pub(super) struct JsonBatch {
    frame: Bytes,
    entries: Box<[Range<usize>]>,
}

impl JsonBatch {
    pub(super) fn new(site: &Site, entries: &[LoggedEntry]) -> JsonBatch {
        // A guess that is seldom too small.
        let protobuf: usize = entries.iter().map(|entry| entry.bytes.len()).sum();
        let mut frame = start(site, protobuf * 3);
        let mut ranges = Vec::with_capacity(entries.len());
        for entry in entries {
            separate(&mut frame, ranges.len());
            let from = frame.len();
            write_entry(&mut frame, entry);
            ranges.push(from..frame.len());
        }
        frame.extend_from_slice(TAIL);
        JsonBatch { frame: frame.into(), entries: ranges.into() }
    }

    /// The frame that delivers all entries.
    pub(super) fn whole(&self) -> Bytes {
        self.frame.clone()
    }

    /// A frame around the entries at these places, which are copied as they were written.
    pub(super) fn part(&self, site: &Site, places: impl Iterator<Item = usize> + Clone) -> Bytes {
        let parts = places.filter_map(|place| self.entries.get(place));
        let mut frame = start(site, parts.clone().map(|range| range.len() + 1).sum());
        for (count, range) in parts.enumerate() {
            separate(&mut frame, count);
            frame.extend_from_slice(&self.frame[range.clone()]);
        }
        frame.extend_from_slice(TAIL);
        frame.into()
    }
}

fn start(site: &Site, entries_bytes: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEAD.len() + site.as_str().len() + ENTRIES.len() + entries_bytes + TAIL.len());
    frame.extend_from_slice(HEAD);
    write_json(&mut frame, site.as_str());
    frame.extend_from_slice(ENTRIES);
    frame
}

fn separate(frame: &mut Vec<u8>, before: usize) {
    if before > 0 {
        frame.push(b',');
    }
}

/// An entry that this version can't put into words, for it was logged by a later one, keeps its place: as one
/// without a body, which clients pass over.
fn write_entry(frame: &mut Vec<u8>, logged: &LoggedEntry) {
    let from = frame.len();
    let written = wire::Entry::decode(logged.bytes.clone())
        .ok()
        .and_then(|entry| serde_json::to_writer(&mut *frame, &entry).ok());
    if written.is_none() {
        frame.truncate(from);
        write_json(frame, &place(logged));
    }
}

fn place(logged: &LoggedEntry) -> wire::Entry {
    wire::Entry {
        offset: logged.position.offset.0,
        stamp: logged.position.stamp.0,
        previous_stamp: logged.previous.0,
        ..wire::Entry::default()
    }
}

/// The same of one entry that is not written at once.
pub(crate) fn in_words(logged: &LoggedEntry) -> wire::Entry {
    let told = wire::Entry::decode(logged.bytes.clone()).ok();
    told.filter(|entry| serde_json::to_writer(std::io::sink(), entry).is_ok()).unwrap_or_else(|| place(logged))
}

fn write_json(frame: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    serde_json::to_writer(frame, value).expect("memory takes whatever is written, and names and numbers are JSON");
}

#[cfg(test)]
mod tests {
    use lockgate_proto::ids::DeviceName;
    use lockgate_proto::position::{Offset, Position, Stamp};
    use lockgate_proto::wire::server_frame::Body;
    use serde_json::Value;

    use super::*;
    use crate::backbone::EntryKind;
    use crate::encoding::Encoding;
    use crate::limits::JSON_GROWTH_MAX;
    use crate::room::tests::site;

    fn logged(entry: &wire::Entry) -> LoggedEntry {
        LoggedEntry {
            position: Position { offset: Offset(entry.offset), stamp: Stamp(entry.stamp) },
            previous: Stamp(entry.previous_stamp),
            device: DeviceName::new("pump").ok(),
            kind: EntryKind::Telemetry,
            bytes: entry.encode_to_vec().into(),
        }
    }

    fn entry(offset: u64, values: Vec<wire::value::Kind>) -> wire::Entry {
        let telemetry = wire::Telemetry {
            device: "pump \"1\"\u{1}".into(),
            metrics: vec![wire::Metric { name: "level".into(), unit: "µm".into() }],
            metric_index: vec![0; values.len()],
            values: values.into_iter().map(|kind| wire::Value { kind: Some(kind) }).collect(),
            ..wire::Telemetry::default()
        };
        let body = Some(wire::entry::Body::Telemetry(telemetry));
        wire::Entry {
            offset,
            stamp: u64::MAX - offset,
            previous_stamp: u64::MAX - offset + 1,
            body,
            ..wire::Entry::default()
        }
    }

    fn entries() -> Vec<wire::Entry> {
        use wire::value::Kind;
        vec![
            entry(1, vec![Kind::Number(0.1), Kind::ShortNumber(21.5), Kind::Integer(i64::MIN), Kind::Flag(false)]),
            entry(2, vec![Kind::Text("a\"\n".into()), Kind::Raw(vec![0, 255].into())]),
            wire::Entry { body: None, ..entry(3, Vec::new()) },
        ]
    }

    fn generated(entries: Vec<wire::Entry>) -> Bytes {
        Encoding::Json.encode(0, Body::Delivery(wire::Delivery { site: site().as_str().into(), entries }))
    }

    #[test]
    fn frames_are_what_the_generated_encoder_makes() {
        let batch = JsonBatch::new(&site(), &entries().iter().map(logged).collect::<Vec<_>>());
        assert_eq!(batch.whole(), generated(entries()));
        for places in [vec![0], vec![2], vec![0, 2], vec![1, 2]] {
            let wanted = places.iter().map(|place| entries()[*place].clone()).collect();
            assert_eq!(batch.part(&site(), places.iter().copied()), generated(wanted));
        }
    }

    #[test]
    fn no_entry_grows_beyond_what_a_message_can_carry() {
        use wire::value::Kind;
        let text = entry(1, vec![Kind::Text("\u{1}".repeat(100_000))]);
        let qualities =
            vec![wire::Quality { level: wire::quality::Level::Uncertain.into(), reason: String::new() }; 4_096];
        let mut flags = entry(2, vec![Kind::Flag(false); 4_096]);
        let Some(wire::entry::Body::Telemetry(telemetry)) = &mut flags.body else { panic!("it was made so") };
        (telemetry.qualities, telemetry.quality_index) = (qualities, vec![1; 4_096]);
        let presence = wire::Presence {
            device: "d".into(),
            online: true,
            at_us: 1,
            retained: true,
            reason: wire::PresenceReason::Heard.into(),
        };
        let presence = wire::Entry { body: Some(wire::entry::Body::Presence(presence)), ..entry(3, Vec::new()) };
        let origin = wire::Origin {
            agent: "a".into(),
            epoch: u64::MAX,
            lane: wire::Lane::Telemetry.into(),
            seq: 1,
            backlog: true,
            epoch_order: 1,
        };
        for entry in [text, flags, wire::Entry { origin: Some(origin), ..presence }] {
            let (logged, json) = (logged(&entry), serde_json::to_vec(&entry).unwrap());
            assert!(json.len() <= logged.bytes.len() * JSON_GROWTH_MAX, "{} of {}", json.len(), logged.bytes.len());
        }
    }

    #[test]
    fn an_entry_of_a_later_version_keeps_its_place_and_its_neighbours() {
        let gap = wire::Gap { reason: 99, ..wire::Gap::default() };
        let later = wire::Entry { body: Some(wire::entry::Body::Gap(gap)), ..entry(2, Vec::new()) };
        let garbage = LoggedEntry { bytes: Bytes::from_static(&[0xff; 9]), ..logged(&entry(3, Vec::new())) };
        let all = [logged(&entries()[0]), logged(&later), garbage, logged(&entry(4, Vec::new()))];
        let frame: Value = serde_json::from_slice(&JsonBatch::new(&site(), &all).whole()).unwrap();
        let told = frame["delivery"]["entries"].as_array().unwrap();
        assert_eq!(
            told.iter().map(|entry| entry["offset"].as_str()).collect::<Vec<_>>(),
            ["1", "2", "3", "4"].map(Some)
        );
        assert_eq!(
            told.iter().map(|entry| entry["telemetry"].is_object()).collect::<Vec<_>>(),
            [true, false, false, true]
        );
        assert_eq!(told[1]["previousStamp"], (u64::MAX - 1).to_string());
    }
}
