//! Decides which records of a segment are kept when repeats of events are folded.
//!
//! Pure. Of events that repeat one another (the same said of the same device) the first and the last are
//! kept. Readings are never folded, nor what can't be decoded: only what is surely said twice is a repeat.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bytes::Bytes;
use lockgate_proto::convert::decode_record;
use lockgate_proto::ids::DeviceName;
use lockgate_proto::ranges::RangeSet;
use lockgate_proto::record::{Presence, PresenceReason, Record};
use lockgate_proto::seq::Seq;

use super::limits::COMPACTED_KINDS_MAX;

/// What is the same in repeats of an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    device: DeviceName,
    online: bool,
    retained: bool,
    reason: PresenceReason,
}

impl Kind {
    fn of(payload: &Bytes) -> Option<Kind> {
        match decode_record(payload.clone()).ok()? {
            Record::Presence(Presence { device, online, at: _, retained, reason }) => {
                Some(Kind { device, online, retained, reason })
            }
            Record::Telemetry(_) | Record::Description(_) => None,
        }
    }
}

/// The first and the last of a kind, each with the bytes that it takes.
struct Ends {
    first: (Seq, u64),
    last: (Seq, u64),
}

/// Takes in the records of a segment, ascending.
#[derive(Default)]
pub(crate) struct Folding {
    kept: RangeSet,
    kept_bytes: u64,
    kinds: HashMap<Kind, Ends>,
}

/// What is left of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Folded {
    /// The numbers that stay.
    pub(crate) kept: RangeSet,
    /// The bytes of their records.
    pub(crate) bytes: u64,
}

impl Folding {
    /// A record that stays whatever it says.
    pub(crate) fn keep(&mut self, seq: Seq, bytes: u64) {
        if self.kept.insert_one(seq) {
            self.kept_bytes += bytes;
        }
    }

    /// A record that may be a repeat.
    ///
    /// LIMIT: kinds beyond [`COMPACTED_KINDS_MAX`] are kept.
    pub(crate) fn note(&mut self, seq: Seq, payload: &Bytes, bytes: u64) {
        let Some(kind) = Kind::of(payload) else { return self.keep(seq, bytes) };
        let is_full = self.kinds.len() >= COMPACTED_KINDS_MAX;
        match self.kinds.entry(kind) {
            Entry::Occupied(mut known) => known.get_mut().last = (seq, bytes),
            Entry::Vacant(_) if is_full => self.keep(seq, bytes),
            Entry::Vacant(place) => {
                place.insert(Ends { first: (seq, bytes), last: (seq, bytes) });
            }
        }
    }

    /// What stays.
    pub(crate) fn finish(mut self) -> Folded {
        for ends in std::mem::take(&mut self.kinds).into_values() {
            self.keep(ends.first.0, ends.first.1);
            self.keep(ends.last.0, ends.last.1);
        }
        Folded { kept: self.kept, bytes: self.kept_bytes }
    }
}

/// Whether so many bytes are worth that a segment is written once more: flash bears only so many writes.
pub(crate) fn is_worth_writing(bytes_before: u64, bytes_after: u64) -> bool {
    bytes_after <= bytes_before / 4 * 3
}

#[cfg(test)]
mod tests {
    use lockgate_proto::convert::encode_record;
    use lockgate_proto::time::UnixMicros;

    use super::*;

    fn presence(device: &str, online: bool, at: i64) -> Bytes {
        let device = DeviceName::new(device).unwrap();
        encode_record(&Record::Presence(Presence::said(device, online, UnixMicros(at), false)))
    }

    fn fold(payloads: &[Bytes]) -> Vec<u64> {
        let mut folding = Folding::default();
        for (seq, payload) in (1..).zip(payloads) {
            folding.note(Seq::new(seq), payload, 10);
        }
        let folded = folding.finish();
        assert_eq!(folded.bytes, folded.kept.count() * 10);
        let numbers = folded.kept.ranges().iter().flat_map(|range| range.first().get()..=range.last().get());
        numbers.collect()
    }

    #[test]
    fn of_repeats_the_first_and_the_last_are_kept_for_each_device_and_what_it_says() {
        let one: Vec<Bytes> = (0..9).map(|at| presence("a", true, at)).collect();
        assert_eq!(fold(&one), [1, 9]);
        let flapping: Vec<Bytes> = (0..10).map(|at| presence("a", at % 2 == 0, at)).collect();
        assert_eq!(fold(&flapping), [1, 2, 9, 10]);
        let two: Vec<Bytes> = (0..10).map(|at| presence(["a", "b"][usize::from(at > 4)], true, at)).collect();
        assert_eq!(fold(&two), [1, 5, 6, 10]);
        assert_eq!(fold(&one[..1]), [1]);
    }

    #[test]
    fn what_can_not_be_decoded_is_kept() {
        let odd = |text: &'static str| Bytes::from_static(text.as_bytes());
        let payloads = [presence("a", true, 1), odd("odd"), odd("odd"), presence("a", true, 2), presence("a", true, 3)];
        assert_eq!(fold(&payloads), [1, 2, 3, 5]);
    }

    #[test]
    fn kinds_beyond_the_limit_are_kept() {
        let count = i64::try_from(COMPACTED_KINDS_MAX).unwrap();
        let all = (0..3).flat_map(|round| (0..=count).map(move |at| presence(&format!("d{at}"), true, round)));
        let kept = fold(&all.collect::<Vec<_>>());
        assert_eq!(kept.len(), 2 * COMPACTED_KINDS_MAX + 3);
    }

    #[test]
    fn a_little_is_not_worth_a_rewrite() {
        assert!(is_worth_writing(1_000, 750));
        assert!(!is_worth_writing(1_000, 751));
    }
}
