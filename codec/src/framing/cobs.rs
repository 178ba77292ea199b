//! COBS: frames between delimiters, whose bytes are coded so that the delimiter is none of them.

use super::Cut;
use crate::output::DeadLetterReason;

/// Cuts and decodes COBS frames.
#[derive(Debug)]
pub(crate) struct Cobs {
    delimiter: u8,
    max: usize,
    coded: Vec<u8>,
    decoded: Vec<u8>,
    /// Too long: the rest up to the delimiter is thrown away.
    skipping: bool,
}

impl Cobs {
    pub(crate) fn new(delimiter: u8, max: usize) -> Cobs {
        Cobs { delimiter, max, coded: Vec::new(), decoded: Vec::new(), skipping: false }
    }

    pub(crate) fn push(&mut self, byte: u8, sink: &mut dyn FnMut(Cut<'_>)) {
        if byte == self.delimiter {
            self.whole(sink);
        } else if !self.skipping {
            self.coded.push(byte);
            if self.coded.len() > self.max {
                let detail = "a COBS frame longer than the framing allows";
                sink(Cut::Refused { reason: DeadLetterReason::FrameTooLong, detail, bytes: &self.coded });
                self.coded.clear();
                self.skipping = true;
            }
        }
    }

    pub(crate) fn silence(&mut self, sink: &mut dyn FnMut(Cut<'_>)) {
        if !self.coded.is_empty() {
            let detail = "a COBS frame without an end";
            sink(Cut::Refused { reason: DeadLetterReason::FrameIncomplete, detail, bytes: &self.coded });
        }
        self.coded.clear();
        self.skipping = false;
    }

    /// Bytes that it holds.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.coded.len() + self.decoded.len()
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.coded.is_empty() || self.skipping
    }

    fn whole(&mut self, sink: &mut dyn FnMut(Cut<'_>)) {
        if !self.skipping && !self.coded.is_empty() {
            if decode(&self.coded, self.delimiter, &mut self.decoded) {
                sink(Cut::Frame(&self.decoded));
            } else {
                let detail = "a COBS frame whose codes lead beyond its end";
                sink(Cut::Refused { reason: DeadLetterReason::FrameMalformed, detail, bytes: &self.coded });
            }
        }
        self.coded.clear();
        self.skipping = false;
    }
}

/// Undoes the coding. Another delimiter than 0 was mixed into each byte by exclusive or.
fn decode(coded: &[u8], delimiter: u8, decoded: &mut Vec<u8>) -> bool {
    decoded.clear();
    let mut rest = coded;
    while let [code, tail @ ..] = rest {
        let code = code ^ delimiter;
        let run = usize::from(code) - usize::from(code != 0);
        if code == 0 || tail.len() < run {
            return false;
        }
        decoded.extend(tail[..run].iter().map(|byte| byte ^ delimiter));
        rest = &tail[run..];
        // A code of 255 stands for a run without a zero behind it; so does the last code.
        if code != u8::MAX && !rest.is_empty() {
            decoded.push(0);
        }
    }
    true
}
