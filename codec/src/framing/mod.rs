//! Cuts a stream of bytes into frames, and finds the next one after a bad one.
//!
//! Each framing is a machine that takes one byte at a time, so that the result can't depend on how the
//! stream was cut into pieces. What it holds is bounded by `frame_bytes_max`.

mod cobs;
mod lines;
mod telegram;

use crate::output::DeadLetterReason;

pub(crate) use cobs::{Cobs, encode as cobs_encode};
pub(crate) use lines::Lines;
pub(crate) use telegram::Telegram;

/// LIMIT: largest frame that a profile may ask for.
pub(crate) const FRAME_BYTES_MAX: u64 = 64 * 1024;

/// How a profile says that frames are cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Framing {
    pub(crate) kind: Kind,
    /// Longest frame, marks included.
    pub(crate) frame_bytes_max: usize,
}

/// The kinds of framing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Up to an end mark, perhaps from one of some start bytes.
    Lines { start: Vec<u8>, end: Vec<u8>, drop_first: bool },
    /// From a start mark to the rest of the line behind an end mark.
    Telegram { start: Vec<u8>, end: Vec<u8> },
    /// Consistent overhead byte stuffing: no byte of a frame is the delimiter.
    Cobs { delimiter: u8 },
}

/// What was cut off the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cut<'b> {
    /// A whole frame, not proven yet.
    Frame(&'b [u8]),
    /// Something that is none.
    Refused { reason: DeadLetterReason, detail: &'static str, bytes: &'b [u8] },
    /// So many bytes that belong to no frame we saw the start of.
    Joined(usize),
}

/// A framing at work.
#[derive(Debug)]
pub(crate) enum Framer {
    Lines(Lines),
    Telegram(Telegram),
    Cobs(Cobs),
}

impl Framer {
    pub(crate) fn new(framing: &Framing) -> Framer {
        let max = framing.frame_bytes_max;
        match &framing.kind {
            Kind::Lines { start, end, drop_first } => {
                Framer::Lines(Lines::new(start.clone(), end.clone(), *drop_first, max))
            }
            Kind::Telegram { start, end } => Framer::Telegram(Telegram::new(start.clone(), end.clone(), max)),
            Kind::Cobs { delimiter } => Framer::Cobs(Cobs::new(*delimiter, max)),
        }
    }

    /// Takes the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Cut<'_>)) {
        match self {
            Framer::Lines(lines) => bytes.iter().for_each(|byte| lines.push(*byte, sink)),
            Framer::Telegram(telegram) => bytes.iter().for_each(|byte| telegram.push(*byte, sink)),
            Framer::Cobs(cobs) => bytes.iter().for_each(|byte| cobs.push(*byte, sink)),
        }
    }

    /// A long silence: what was begun will not be ended.
    pub(crate) fn silence(&mut self, sink: &mut dyn FnMut(Cut<'_>)) {
        match self {
            Framer::Lines(lines) => lines.silence(sink),
            Framer::Telegram(telegram) => telegram.silence(sink),
            Framer::Cobs(cobs) => cobs.silence(sink),
        }
    }

    /// Whether a silence would end something.
    pub(crate) fn is_waiting(&self) -> bool {
        match self {
            Framer::Lines(lines) => lines.is_waiting(),
            Framer::Telegram(telegram) => telegram.is_waiting(),
            Framer::Cobs(cobs) => cobs.is_waiting(),
        }
    }
}

/// Bytes outside of frames. A run of them is told once, when it ends or gets long; before the first frame
/// they are the tail of one that began before we listened.
#[derive(Debug, Default)]
struct Stray {
    bytes: Vec<u8>,
    /// A frame was begun before.
    joined: bool,
}

impl Stray {
    /// LIMIT: longest run that is told as one.
    const BYTES_MAX: usize = 1024;

    fn push(&mut self, byte: u8, sink: &mut dyn FnMut(Cut<'_>)) {
        self.bytes.push(byte);
        if self.bytes.len() >= Stray::BYTES_MAX {
            self.tell(sink);
        }
    }

    fn tell(&mut self, sink: &mut dyn FnMut(Cut<'_>)) {
        let blank = self.bytes.iter().all(|byte| byte.is_ascii_whitespace() || *byte == 0);
        if !self.joined && !self.bytes.is_empty() {
            sink(Cut::Joined(self.bytes.len()));
        } else if !blank {
            let detail = "bytes that belong to no frame";
            sink(Cut::Refused { reason: DeadLetterReason::Noise, detail, bytes: &self.bytes });
        }
        self.bytes.clear();
    }

    /// A frame begins.
    fn end(&mut self, sink: &mut dyn FnMut(Cut<'_>)) {
        self.tell(sink);
        self.joined = true;
    }
}

#[cfg(test)]
mod tests;
