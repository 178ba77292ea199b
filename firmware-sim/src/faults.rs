//! What goes wrong with a device, how often, and what it then puts on the line: pure and seeded.

use std::time::Duration;

use crate::models::Frame;
use crate::random::Random;

/// How often each fault strikes, as a probability per sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FaultRates {
    /// One bit of the frame flips on the way.
    pub bit_errors: f64,
    /// The frame breaks off somewhere in its middle.
    pub half_frames: f64,
    /// The device says nothing for 3 to 10 samples (and takes none).
    pub silence: f64,
    /// Up to 64 random bytes come before the frame.
    pub babble: f64,
    /// The device starts anew: the frame breaks off, a greeting follows, its state is lost. The number goes on.
    pub reset: f64,
    /// The device is pulled out and put back 1 to 3 seconds later.
    pub unplug: f64,
    /// The device puts an order off, as a probability per order.
    pub busy: f64,
}

impl FaultRates {
    /// Whether these are probabilities.
    pub fn are_sound(&self) -> bool {
        [self.bit_errors, self.half_frames, self.silence, self.babble, self.reset, self.unplug, self.busy]
            .iter()
            .all(|rate| (0.0..=1.0).contains(rate))
    }
}

/// Why a sample cannot be understood by anybody: no reader is to be blamed for its loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoiled {
    /// A bit flipped on the way.
    BitError,
    /// The frame breaks off.
    HalfFrame,
    /// The device started anew in the middle of it.
    Reset,
}

impl Spoiled {
    /// The word in the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            Spoiled::BitError => "bit_error",
            Spoiled::HalfFrame => "half_frame",
            Spoiled::Reset => "reset",
        }
    }
}

/// What strikes at one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    /// The sample is spoiled in this way.
    pub spoiled: Option<Spoiled>,
    /// Noise comes first.
    pub babble: bool,
    /// So many samples are left out after this one.
    pub silence: u32,
    /// The device is gone for so long after this one.
    pub unplug: Option<Duration>,
}

impl Strike {
    /// Draws for one sample. The number of draws does not depend on the rates, so that turning one fault on leaves
    /// the places of the others as they were.
    pub fn draw(rates: &FaultRates, random: &mut Random) -> Strike {
        let reset = random.chance(rates.reset);
        let half = random.chance(rates.half_frames);
        let flip = random.chance(rates.bit_errors);
        let babble = random.chance(rates.babble);
        let silent = random.chance(rates.silence);
        let silence = u32::try_from(random.index(3..11)).expect("at most 10");
        let unplugged = random.chance(rates.unplug);
        let away = Duration::from_secs_f64(1.0 + 2.0 * random.unit());
        let spoiled = match (reset, half, flip) {
            (true, _, _) => Some(Spoiled::Reset),
            (false, true, _) => Some(Spoiled::HalfFrame),
            (false, false, true) => Some(Spoiled::BitError),
            (false, false, false) => None,
        };
        Strike { spoiled, babble, silence: if silent { silence } else { 0 }, unplug: unplugged.then_some(away) }
    }
}

/// The frame with one bit flipped where that is sure to be noticed.
pub fn flip_one_bit(mut frame: Frame, random: &mut Random) -> Vec<u8> {
    let at = random.index(frame.guarded.clone());
    frame.bytes[at] ^= 1 << random.index(0..8);
    frame.bytes
}

/// The frame broken off in its guarded part, at least one byte in and one byte short.
pub fn break_off(mut frame: Frame, random: &mut Random) -> Vec<u8> {
    let at = random.index(frame.guarded.start.max(1)..frame.guarded.end);
    frame.bytes.truncate(at);
    frame.bytes
}

/// 1 to 64 bytes of noise and the delimiter that keeps it from the next frame.
pub fn babble(delimiter: &[u8], random: &mut Random) -> Vec<u8> {
    let length = random.index(1..65);
    let mut bytes: Vec<u8> = (0..length).map(|_| random.byte()).collect();
    bytes.extend_from_slice(delimiter);
    bytes
}
