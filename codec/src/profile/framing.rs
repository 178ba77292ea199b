//! Reads how frames are cut and what guards them.

use std::time::Duration;

use lockgate_config::{Item, Raw, Table};

use crate::checksum::{Checksum, Family, Written};
use crate::framing::{FRAME_BYTES_MAX, Framing, Kind};

/// The longest pause within a frame, unless a profile says otherwise.
const SILENCE: Duration = Duration::from_secs(3);

/// LIMIT: bytes of a mark.
const MARK_BYTES_MAX: usize = 16;

#[derive(Clone, Copy)]
enum Word {
    Lines,
    Telegram,
    Cobs,
}

const WORDS: [(&str, Word); 3] = [("lines", Word::Lines), ("telegram", Word::Telegram), ("cobs", Word::Cobs)];

/// A framing, and the silence that ends a frame.
pub(super) fn framing(item: &Item<'_>) -> Option<(Framing, Duration)> {
    if let Raw::Table(_) = item.raw()? {
        return item.table(framing_table);
    }
    let kind = match item.word(&WORDS)? {
        Word::Lines => Kind::Lines { start: Vec::new(), end: b"\n".to_vec(), drop_first: false },
        Word::Telegram => Kind::Telegram { start: b"/".to_vec(), end: b"!".to_vec() },
        Word::Cobs => Kind::Cobs { delimiter: 0 },
    };
    Some((Framing { kind, frame_bytes_max: 4096 }, SILENCE))
}

fn framing_table(table: &Table<'_>) -> Option<(Framing, Duration)> {
    let word = table.required("kind", |item| item.word(&WORDS));
    let max = table.or("frame_max", 4096, |item| item.bytes(16..=FRAME_BYTES_MAX));
    let silence =
        table.or("silence", SILENCE, |item| item.duration(Duration::from_millis(5)..=Duration::from_secs(3600)));
    if word.is_none() {
        // Which of these are known depends on the kind: none of them is a fault of its own.
        for key in ["start", "end", "first", "delimiter"] {
            table.has(key);
        }
    }
    let kind = match word? {
        Word::Lines => {
            let start = table.or("start", Vec::new(), mark);
            let end = table.or("end", b"\n".to_vec(), mark);
            let drop_first = table.or("first", false, |item| item.word(&[("keep", false), ("drop", true)]));
            Kind::Lines { start, end, drop_first }
        }
        Word::Telegram => {
            Kind::Telegram { start: table.or("start", b"/".to_vec(), mark), end: table.or("end", b"!".to_vec(), mark) }
        }
        Word::Cobs => Kind::Cobs { delimiter: table.or("delimiter", 0, |item| item.integer(0..=u8::MAX)) },
    };
    Some((Framing { kind, frame_bytes_max: usize::try_from(max).ok()? }, silence))
}

/// A mark: text of 1 to 16 bytes.
pub(super) fn mark(item: &Item<'_>) -> Option<Vec<u8>> {
    let text = item.text()?;
    if text.len() > MARK_BYTES_MAX {
        item.problem("is longer than a mark may be", format!("give 1 to {MARK_BYTES_MAX} bytes"));
        return None;
    }
    Some(text.into())
}

/// What guards a frame.
pub(super) fn checksum(item: &Item<'_>) -> Option<Checksum> {
    item.table(|table| {
        let family = table.required("kind", |item| item.word(&Family::WORDS));
        let written = table.required("written", |item| item.word(&Written::WORDS));
        let after = table.or("after", Vec::new(), mark);
        let covers_mark = table.or("covers_mark", false, Item::boolean);
        let skip = table.or("skip", 0, |item| item.integer(0..=255_u8));
        let optional = table.or("optional", false, Item::boolean);
        let (family, written, skip) = (family?, written?, usize::from(skip));
        Some(Checksum { family, written, after, covers_mark, skip, optional })
    })
}
