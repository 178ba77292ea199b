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

/// Codes a frame, its delimiter included. Another delimiter than 0 is mixed into each byte by exclusive or.
pub(crate) fn encode(frame: &[u8], delimiter: u8) -> Vec<u8> {
    let mut coded = Vec::with_capacity(frame.len() + frame.len() / 254 + 2);
    let mut runs = frame.split(|byte| *byte == 0).peekable();
    while let Some(run) = runs.next() {
        let mut rest = run;
        while let Some((full, tail)) = rest.split_at_checked(usize::from(u8::MAX) - 1) {
            coded.push(u8::MAX);
            coded.extend_from_slice(full);
            rest = tail;
        }
        // A run that ends with the frame, right behind a full one, needs no code of its own.
        if !rest.is_empty() || run.is_empty() || runs.peek().is_some() {
            coded.push(u8::try_from(rest.len() + 1).expect("it is shorter than a full one"));
            coded.extend_from_slice(rest);
        }
    }
    for byte in &mut coded {
        *byte ^= delimiter;
    }
    coded.push(delimiter);
    coded
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
