//! A batch as a room hands it out: entries in order, and the one frame that delivers them all, in either encoding.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use lockgate_proto::ids::Site;
use lockgate_proto::position::Position;

use crate::backbone::LoggedEntry;
use crate::encoding::Encoding;
use crate::limits::DELIVERY_BYTES_TARGET;
use crate::room::frame::frame_delivery;
use crate::room::json::JsonBatch;

/// Linked entries of one room, never none, with the frame that delivers them.
#[derive(Clone, Debug)]
pub struct Batch {
    entries: Arc<[LoggedEntry]>,
    frame: Bytes,
    /// Written when the first one wants it, and shared by all who do.
    json: OnceLock<JsonBatch>,
}

/// What of a batch goes to one subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// Its filter lets nothing pass.
    Nothing,
    /// This frame, with so many entries.
    Frame(Bytes, usize),
}

impl Batch {
    /// Cuts entries into batches of about [`DELIVERY_BYTES_TARGET`] and frames each.
    pub fn cut(site: &Site, entries: &Arc<[LoggedEntry]>) -> Vec<Batch> {
        Batch::cut_within(site, entries, DELIVERY_BYTES_TARGET)
    }

    /// The same, with another size.
    pub(super) fn cut_within(site: &Site, entries: &Arc<[LoggedEntry]>, bytes_target: usize) -> Vec<Batch> {
        let mut batches = Vec::new();
        let mut rest: &[LoggedEntry] = entries;
        while !rest.is_empty() {
            let taken = fitting(rest, bytes_target);
            let part: Arc<[LoggedEntry]> =
                if taken == entries.len() { Arc::clone(entries) } else { rest[..taken].into() };
            batches.extend(Batch::whole(site, part));
            rest = &rest[taken..];
        }
        batches
    }

    /// One batch of all these entries, which are parts of one at most; `None`: there are none.
    pub(crate) fn whole(site: &Site, entries: Arc<[LoggedEntry]>) -> Option<Batch> {
        let frame = frame_delivery(site.as_str(), entries.iter().map(|entry| &entry.bytes));
        (!entries.is_empty()).then_some(Batch { frame, entries, json: OnceLock::new() })
    }

    /// The entries.
    pub fn entries(&self) -> &[LoggedEntry] {
        &self.entries
    }

    /// Bytes of all entries.
    pub(super) fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.bytes.len()).sum()
    }

    /// The place of the last entry.
    pub fn last(&self) -> Position {
        self.entries.last().expect("a batch has at least one entry").position
    }

    /// What a subscriber gets who has seen the first `skip` entries and wants those that `wants` accepts.
    /// The shared frame wherever it gets them all; else a new frame around the same encoded entries.
    pub fn select(
        &self,
        encoding: Encoding,
        site: &Site,
        skip: usize,
        wants: impl Fn(&LoggedEntry) -> bool,
    ) -> Selected {
        let wanted = self.entries.iter().enumerate().skip(skip).filter(|(_, entry)| wants(entry));
        let count = wanted.clone().count();
        if count == 0 {
            return Selected::Nothing;
        }
        let whole = count == self.entries.len();
        let frame = match encoding {
            Encoding::Protobuf if whole => self.frame.clone(),
            Encoding::Protobuf => frame_delivery(site.as_str(), wanted.map(|(_, entry)| &entry.bytes)),
            Encoding::Json if whole => self.json(site).whole(),
            Encoding::Json => self.json(site).part(site, wanted.map(|(place, _)| place)),
        };
        Selected::Frame(frame, count)
    }

    fn json(&self, site: &Site) -> &JsonBatch {
        self.json.get_or_init(|| JsonBatch::new(site, &self.entries))
    }
}

/// How many entries from the first on make one frame: at least one.
fn fitting(entries: &[LoggedEntry], bytes_target: usize) -> usize {
    let mut bytes = 0;
    let fitting = entries.iter().take_while(|entry| {
        bytes += entry.bytes.len();
        bytes <= bytes_target
    });
    fitting.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::tests::{chain, device_entry, site};

    #[test]
    fn all_subscribers_share_the_bytes_of_one_frame() {
        let batches = Batch::cut(&site(), &chain(1, 1..=3).into());
        let [batch] = &batches[..] else { panic!("one frame is enough: {batches:?}") };
        for encoding in Encoding::ALL {
            let Selected::Frame(first, 3) = batch.select(encoding, &site(), 0, |_| true) else { panic!("all pass") };
            let Selected::Frame(second, 3) = batch.select(encoding, &site(), 0, |_| true) else { panic!("all pass") };
            assert_eq!(first.as_ptr(), second.as_ptr());
        }
    }

    #[test]
    fn a_filter_leaves_out_other_devices_and_says_when_nothing_is_left() {
        let entries: Vec<_> = (1..=4).map(|n| device_entry(1, n, if n % 2 == 0 { "even" } else { "odd" })).collect();
        let batch = Batch::cut(&site(), &entries.clone().into()).remove(0);
        let even = |entry: &LoggedEntry| entry.device.as_ref().is_some_and(|device| device.as_str() == "even");
        let expected = frame_delivery(site().as_str(), [&entries[1].bytes, &entries[3].bytes].into_iter());
        assert_eq!(batch.select(Encoding::Protobuf, &site(), 0, even), Selected::Frame(expected, 2));
        let Selected::Frame(json, 2) = batch.select(Encoding::Json, &site(), 1, even) else { panic!("two pass") };
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let offsets = json["delivery"]["entries"].as_array().unwrap().iter().map(|entry| &entry["offset"]);
        assert_eq!(offsets.collect::<Vec<_>>(), ["2", "4"]);
        for encoding in Encoding::ALL {
            assert_eq!(batch.select(encoding, &site(), 4, |_| true), Selected::Nothing);
            assert_eq!(batch.select(encoding, &site(), 0, |_| false), Selected::Nothing);
        }
    }

    #[test]
    fn json_is_not_written_for_who_does_not_read_it() {
        let batch = Batch::cut(&site(), &chain(1, 1..=3).into()).remove(0);
        batch.select(Encoding::Protobuf, &site(), 0, |_| true);
        batch.select(Encoding::Json, &site(), 0, |_| false);
        assert!(batch.json.get().is_none());
        batch.select(Encoding::Json, &site(), 2, |_| true);
        assert!(batch.json.get().is_some());
    }

    #[test]
    fn what_is_too_large_for_one_frame_is_cut_and_stays_whole() {
        let mut entries = chain(1, 1..=7);
        for entry in &mut entries {
            entry.bytes = Bytes::from(vec![0; DELIVERY_BYTES_TARGET / 2]);
        }
        entries[3].bytes = Bytes::from(vec![0; DELIVERY_BYTES_TARGET * 2]);
        let batches = Batch::cut(&site(), &entries.clone().into());
        let sizes: Vec<usize> = batches.iter().map(|batch| batch.entries().len()).collect();
        assert_eq!(sizes, [2, 1, 1, 2, 1]);
        let joined: Vec<_> = batches.iter().flat_map(|batch| batch.entries().to_vec()).collect();
        assert_eq!(joined, entries);
    }
}
