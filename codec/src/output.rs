//! What comes out: readings, presence, and what could not be used, with the reason.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use lockgate_proto::ids::{DeviceName, MetricName};
use lockgate_proto::reading::{Quality, Value};
use lockgate_proto::time::UnixMicros;

use crate::command::Reply;

/// LIMIT: bytes of the refused input that a dead letter keeps.
pub const DEAD_LETTER_INPUT_BYTES_MAX: usize = 1024;

/// LIMIT: bytes of a dead letter's detail.
pub const DEAD_LETTER_DETAIL_BYTES_MAX: usize = 256;

/// One reading, as a mapping made it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// Whose it is.
    pub device: DeviceName,
    /// What was measured.
    pub metric: MetricName,
    /// Its unit, where the payload or the profile tells one.
    pub unit: Option<Arc<str>>,
    /// The value.
    pub value: Value,
    /// How far to trust it.
    pub quality: Quality,
    /// When, if the payload says so; else the caller stamps it with the time of arrival.
    pub time: Option<UnixMicros>,
    /// Came as a retained message: true at some time before now.
    pub retained: bool,
    /// The device itself says that it is a value of the past.
    pub historical: bool,
}

/// One thing that came of the input. Outputs stand in the order of the input.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// A reading.
    Reading(Decoded),
    /// A device is there, or gone.
    Presence {
        /// Whose presence it is.
        device: DeviceName,
        /// There, or gone.
        online: bool,
        /// When, if the payload says so.
        time: Option<UnixMicros>,
        /// Came as a retained message.
        retained: bool,
    },
    /// A device's word about a command.
    Reply(Reply),
    /// Something that could not be used.
    DeadLetter(DeadLetter),
}

/// Input that could not be used, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// What kind of fault.
    pub reason: DeadLetterReason,
    /// Which part, and what about it; at most [`DEAD_LETTER_DETAIL_BYTES_MAX`].
    pub detail: String,
    /// The frame or payload, or its first [`DEAD_LETTER_INPUT_BYTES_MAX`] bytes.
    pub input: Bytes,
}

impl DeadLetter {
    /// Cuts both texts to their bounds.
    pub fn new(reason: DeadLetterReason, detail: impl Into<String>, input: &[u8]) -> DeadLetter {
        let mut detail = detail.into();
        let end = (0..=DEAD_LETTER_DETAIL_BYTES_MAX.min(detail.len())).rev().find(|end| detail.is_char_boundary(*end));
        detail.truncate(end.unwrap_or(0));
        let kept = &input[..input.len().min(DEAD_LETTER_INPUT_BYTES_MAX)];
        DeadLetter { reason, detail, input: Bytes::copy_from_slice(kept) }
    }
}

/// Why input could not be used. A closed set, so that each can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeadLetterReason {
    /// Bytes between frames that belong to none.
    Noise,
    /// A frame longer than its framing allows.
    FrameTooLong,
    /// A frame that ended too early: silence, or the start of the next one.
    FrameIncomplete,
    /// A frame whose bytes break the rules of its framing.
    FrameMalformed,
    /// A frame whose checksum is missing or differs.
    Checksum,
    /// A frame that lacks the shape that its route asks for.
    Shape,
    /// Text that is not UTF-8.
    Encoding,
    /// Not what the decoder expects, such as broken JSON.
    Syntax,
    /// A payload of too many parts, or nested too deeply.
    TooComplex,
    /// Text that is no number in the stated notation.
    BadNumber,
    /// Infinite.
    NotFinite,
    /// Another type than the mapping asks for.
    BadType,
    /// Text that the value map does not know and that the mapping refuses.
    Unmapped,
    /// A number outside the stated range.
    OutOfRange,
    /// A time that can't be read in any of the stated forms.
    BadTime,
    /// What should name a device, metric or unit cannot.
    BadName,
    /// A message longer than its source takes.
    TooLarge,
}

impl DeadLetterReason {
    /// All of them, for counters.
    pub const ALL: [DeadLetterReason; 17] = [
        DeadLetterReason::Noise,
        DeadLetterReason::FrameTooLong,
        DeadLetterReason::FrameIncomplete,
        DeadLetterReason::FrameMalformed,
        DeadLetterReason::Checksum,
        DeadLetterReason::Shape,
        DeadLetterReason::Encoding,
        DeadLetterReason::Syntax,
        DeadLetterReason::TooComplex,
        DeadLetterReason::BadNumber,
        DeadLetterReason::NotFinite,
        DeadLetterReason::BadType,
        DeadLetterReason::Unmapped,
        DeadLetterReason::OutOfRange,
        DeadLetterReason::BadTime,
        DeadLetterReason::BadName,
        DeadLetterReason::TooLarge,
    ];

    /// The name that counters, files and people know it by.
    pub fn as_str(self) -> &'static str {
        match self {
            DeadLetterReason::Noise => "noise",
            DeadLetterReason::FrameTooLong => "frame_too_long",
            DeadLetterReason::FrameIncomplete => "frame_incomplete",
            DeadLetterReason::FrameMalformed => "frame_malformed",
            DeadLetterReason::Checksum => "checksum",
            DeadLetterReason::Shape => "shape",
            DeadLetterReason::Encoding => "encoding",
            DeadLetterReason::Syntax => "syntax",
            DeadLetterReason::TooComplex => "too_complex",
            DeadLetterReason::BadNumber => "bad_number",
            DeadLetterReason::NotFinite => "not_finite",
            DeadLetterReason::BadType => "bad_type",
            DeadLetterReason::Unmapped => "unmapped",
            DeadLetterReason::OutOfRange => "out_of_range",
            DeadLetterReason::BadTime => "bad_time",
            DeadLetterReason::BadName => "bad_name",
            DeadLetterReason::TooLarge => "too_large",
        }
    }
}

impl fmt::Display for DeadLetterReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was taken in and, on purpose, gave nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Whole frames (proven by their checksum, where there is one) or messages.
    pub inputs: u64,
    /// Those that no route wanted, or one said to ignore.
    pub ignored: u64,
    /// Values that meant "no value".
    pub absent: u64,
    /// Bytes before the first frame: the tail of one that began before we listened.
    pub joined_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::{DEAD_LETTER_DETAIL_BYTES_MAX, DEAD_LETTER_INPUT_BYTES_MAX, DeadLetter, DeadLetterReason};

    #[test]
    fn a_dead_letter_keeps_a_bounded_part() {
        let letter = DeadLetter::new(DeadLetterReason::Syntax, "é".repeat(300), &[7; 5000]);
        assert_eq!(letter.input.len(), DEAD_LETTER_INPUT_BYTES_MAX);
        assert_eq!(letter.detail.len(), DEAD_LETTER_DETAIL_BYTES_MAX);
        assert_eq!(DeadLetter::new(DeadLetterReason::Syntax, "é€".repeat(300), b"").detail.len(), 255);
    }

    #[test]
    fn reasons_have_distinct_names() {
        let names: std::collections::BTreeSet<_> = DeadLetterReason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), DeadLetterReason::ALL.len());
    }
}
