//! Telegrams: from a start mark over many lines to an end mark and the rest of its line.

use super::{Cut, Stray};
use crate::output::DeadLetterReason;

/// LIMIT: bytes between the end mark and the end of its line, which is where a checksum stands.
pub(super) const TAIL_BYTES_MAX: usize = 64;

/// Cuts telegrams. A start mark inside a telegram starts it anew: the one that was broken off costs only
/// itself.
#[derive(Debug)]
pub(crate) struct Telegram {
    start: Vec<u8>,
    end: Vec<u8>,
    max: usize,
    state: State,
    bytes: Vec<u8>,
    stray: Stray,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waiting for a start mark.
    Outside,
    /// Behind a start mark.
    Inside,
    /// Behind an end mark, which ended so many bytes after the start.
    Tail(usize),
}

impl Telegram {
    pub(crate) fn new(start: Vec<u8>, end: Vec<u8>, max: usize) -> Telegram {
        Telegram { start, end, max, state: State::Outside, bytes: Vec::new(), stray: Stray::default() }
    }

    pub(crate) fn push(&mut self, byte: u8, sink: &mut dyn FnMut(Cut<'_>)) {
        let State::Outside = self.state else {
            self.bytes.push(byte);
            return self.grown(sink);
        };
        self.stray.push(byte, sink);
        if self.stray.bytes.ends_with(&self.start) {
            self.stray.bytes.truncate(self.stray.bytes.len() - self.start.len());
            self.stray.end(sink);
            self.begin();
        }
    }

    pub(crate) fn silence(&mut self, sink: &mut dyn FnMut(Cut<'_>)) {
        match self.state {
            State::Outside => {}
            State::Inside => self.refuse(DeadLetterReason::FrameIncomplete, "a telegram without an end", sink),
            // Only the end of the last line is missing: the checksum tells whether more is.
            State::Tail(_) => self.whole(sink),
        }
        self.stray.tell(sink);
    }

    /// Bytes that it holds.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.bytes.len() + self.stray.bytes.len()
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.state != State::Outside || !self.stray.bytes.is_empty()
    }

    fn grown(&mut self, sink: &mut dyn FnMut(Cut<'_>)) {
        let length = self.bytes.len();
        let begins = length >= 2 * self.start.len() && self.bytes.ends_with(&self.start);
        match self.state {
            State::Inside | State::Tail(_) if begins => {
                self.bytes.truncate(length - self.start.len());
                match self.state {
                    State::Tail(_) => self.whole(sink),
                    State::Inside | State::Outside => {
                        let detail = "a telegram broken off by the start of the next";
                        self.refuse(DeadLetterReason::FrameIncomplete, detail, sink);
                    }
                }
                self.begin();
            }
            State::Inside if self.bytes.ends_with(&self.end) && length >= self.start.len() + self.end.len() => {
                self.state = State::Tail(length);
            }
            State::Inside if length >= self.max => {
                self.refuse(DeadLetterReason::FrameTooLong, "a telegram longer than the framing allows", sink);
            }
            State::Tail(_) if self.bytes.ends_with(b"\n") => self.whole(sink),
            State::Tail(end) if length - end > TAIL_BYTES_MAX => {
                self.refuse(DeadLetterReason::FrameMalformed, "a telegram whose last line does not end", sink);
            }
            State::Outside | State::Inside | State::Tail(_) => {}
        }
    }

    fn begin(&mut self) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&self.start);
        self.state = State::Inside;
    }

    fn whole(&mut self, sink: &mut dyn FnMut(Cut<'_>)) {
        sink(Cut::Frame(self.bytes.trim_ascii_end()));
        self.bytes.clear();
        self.state = State::Outside;
    }

    fn refuse(&mut self, reason: DeadLetterReason, detail: &'static str, sink: &mut dyn FnMut(Cut<'_>)) {
        sink(Cut::Refused { reason, detail, bytes: &self.bytes });
        self.bytes.clear();
        self.state = State::Outside;
    }
}
