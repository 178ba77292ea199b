//! Lines: up to an end mark, perhaps from a start byte.

use super::{Cut, Stray};
use crate::output::DeadLetterReason;

/// Cuts lines. A start byte inside a line starts it anew, so a line that lost its end costs only itself.
#[derive(Debug)]
pub(crate) struct Lines {
    start: Vec<u8>,
    end: Vec<u8>,
    max: usize,
    line: Vec<u8>,
    /// A start byte was seen; without start bytes always so.
    inside: bool,
    /// Too long: the rest up to the end mark is thrown away.
    skipping: bool,
    /// The first line is perhaps only its tail, and nothing would show it.
    drop_next: bool,
    stray: Stray,
}

impl Lines {
    pub(crate) fn new(start: Vec<u8>, end: Vec<u8>, drop_first: bool, max: usize) -> Lines {
        let inside = start.is_empty();
        Lines {
            start,
            end,
            max,
            line: Vec::new(),
            inside,
            skipping: false,
            drop_next: drop_first,
            stray: Stray::default(),
        }
    }

    pub(crate) fn push(&mut self, byte: u8, sink: &mut dyn FnMut(Cut<'_>)) {
        if self.start.contains(&byte) {
            self.broken_off(sink);
            self.stray.end(sink);
            self.inside = true;
            self.line.push(byte);
            return;
        }
        if !self.inside {
            self.stray.push(byte, sink);
            return;
        }
        self.line.push(byte);
        if self.line.ends_with(&self.end) {
            self.line.truncate(self.line.len() - self.end.len());
            self.whole(sink);
        } else if self.line.len() > self.max + self.end.len() {
            self.too_long(sink);
        }
    }

    pub(crate) fn silence(&mut self, sink: &mut dyn FnMut(Cut<'_>)) {
        self.broken_off(sink);
        self.stray.tell(sink);
    }

    /// Bytes that it holds.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.line.len() + self.stray.bytes.len()
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.line.is_empty() || !self.stray.bytes.is_empty() || self.skipping
    }

    fn whole(&mut self, sink: &mut dyn FnMut(Cut<'_>)) {
        if self.end == b"\n" {
            let text = self.line.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
            self.line.truncate(text);
        }
        let blank = self.line.iter().all(u8::is_ascii_whitespace);
        if self.skipping {
            // Its beginning was told already.
        } else if self.line.len() > self.max {
            self.too_long(sink);
        } else if std::mem::take(&mut self.drop_next) {
            sink(Cut::Joined(self.line.len()));
        } else if !blank {
            sink(Cut::Frame(&self.line));
        }
        self.start_over();
    }

    fn too_long(&mut self, sink: &mut dyn FnMut(Cut<'_>)) {
        if !self.skipping {
            let detail = "a line longer than the framing allows";
            sink(Cut::Refused { reason: DeadLetterReason::FrameTooLong, detail, bytes: &self.line });
        }
        self.skipping = true;
        // The end mark may stand across this place.
        let keep = self.line.len() - (self.end.len() - 1);
        self.line.drain(..keep);
    }

    fn broken_off(&mut self, sink: &mut dyn FnMut(Cut<'_>)) {
        let blank = self.line.iter().all(u8::is_ascii_whitespace);
        if self.drop_next && !self.line.is_empty() {
            self.drop_next = false;
            sink(Cut::Joined(self.line.len()));
        } else if !blank && !self.skipping {
            let detail = "a line without an end";
            sink(Cut::Refused { reason: DeadLetterReason::FrameIncomplete, detail, bytes: &self.line });
        }
        self.start_over();
    }

    fn start_over(&mut self) {
        self.line.clear();
        self.skipping = false;
        self.inside = self.start.is_empty();
    }
}
