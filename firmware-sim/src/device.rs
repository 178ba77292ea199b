//! One serial device: a model, its running number and its faults, stepped from outside.

use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

use crate::duty::{Duty, Told};
use crate::faults::{FaultRates, Spoiled, Strike, babble, break_off, flip_one_bit};
use crate::models::{Moment, SerialModel};
use crate::random::Random;

/// How long a calibration takes.
const CALIBRATION: Duration = Duration::from_secs(5);

/// What a device puts on the line at one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Utterance {
    /// Noise, frame, greeting: all in one go. Empty while the device is silent.
    pub bytes: Vec<u8>,
    /// The sample in it, if one was taken.
    pub sample: Option<Sample>,
    /// The device is pulled out after this, for so long.
    pub unplug: Option<Duration>,
}

/// One sample in the device's own count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// From 1, by one, never twice in a run.
    pub n: u64,
    /// Set where a fault made the frame unreadable.
    pub spoiled: Option<Spoiled>,
}

/// A device on a serial line.
pub struct Device {
    model: Box<dyn SerialModel>,
    rates: FaultRates,
    clock_error: SignedDuration,
    random: Random,
    step: Duration,
    taken: u64,
    silent: u32,
    duty: Duty,
}

/// What a device makes of what it is sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heeded {
    /// What it says to it.
    pub bytes: Vec<u8>,
    /// The orders that it has acted on, to be journaled before it says so.
    pub executed: Vec<Told>,
}

impl Device {
    /// A device that takes a sample each `step` and whose clock is wrong by `clock_error`.
    pub fn new(model: Box<dyn SerialModel>, random: Random, step: Duration) -> Device {
        let duty = Duty::new(model.range(), 0.0, CALIBRATION);
        Device {
            duty,
            model,
            rates: FaultRates::default(),
            clock_error: SignedDuration::ZERO,
            random,
            step,
            taken: 0,
            silent: 0,
        }
    }

    /// The same device with faults and a clock that is wrong by `clock_error`.
    #[must_use]
    pub fn with_faults(mut self, rates: FaultRates, clock_error: SignedDuration) -> Device {
        self.duty = Duty::new(self.model.range(), rates.busy, CALIBRATION);
        self.rates = rates;
        self.clock_error = clock_error;
        self
    }

    /// Takes what it is sent, `now` since the start.
    pub fn hear(&mut self, bytes: &[u8], now: Duration) -> Heeded {
        let mut heeded = Heeded::default();
        for told in self.model.hear(bytes) {
            let taken = self.duty.told(now, &told, &mut self.random);
            heeded.bytes.extend(self.model.reply(&told.id, &taken.word));
            if taken.acts {
                self.model.obey(&told);
                heeded.executed.push(told);
            }
        }
        heeded
    }

    /// What it has to say of an order that takes its time.
    pub fn live_on(&mut self, now: Duration) -> Vec<u8> {
        self.duty.live_on(now).map(|(id, word)| self.model.reply(&id, &word)).unwrap_or_default()
    }

    /// Lives on to `wall` and says what there is to say.
    pub fn speak(&mut self, wall: Timestamp) -> Utterance {
        if self.silent > 0 {
            self.silent -= 1;
            return Utterance::default();
        }
        self.taken += 1;
        let strike = Strike::draw(&self.rates, &mut self.random);
        // A clock that is wrong beyond the calendar stays at its edge.
        let wall = wall.saturating_add(self.clock_error).unwrap_or(wall);
        let moment = Moment { wall, step: self.step };
        let frame = self.model.sample(self.taken, moment, &mut self.random);
        let delimiter = self.model.delimiter();

        let mut bytes = if strike.babble { babble(delimiter, &mut self.random) } else { Vec::new() };
        match strike.spoiled {
            None => bytes.extend(frame.bytes),
            Some(Spoiled::BitError) => bytes.extend(flip_one_bit(frame, &mut self.random)),
            Some(Spoiled::HalfFrame) => {
                bytes.extend(break_off(frame, &mut self.random));
                bytes.extend_from_slice(delimiter);
            }
            Some(Spoiled::Reset) => {
                bytes.extend(break_off(frame, &mut self.random));
                bytes.extend(self.model.restart());
            }
        }
        self.silent = strike.silence;
        Utterance { bytes, sample: Some(Sample { n: self.taken, spoiled: strike.spoiled }), unplug: strike.unplug }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Kind;

    const ROUGH: FaultRates = FaultRates {
        bit_errors: 0.1,
        half_frames: 0.1,
        silence: 0.05,
        babble: 0.2,
        reset: 0.05,
        unplug: 0.02,
        busy: 0.0,
    };

    fn run(kind: Kind, seed: u64, rates: FaultRates) -> Vec<Utterance> {
        let mut random = Random::new(seed);
        let model = kind.serial_model(&mut random).unwrap();
        let mut device =
            Device::new(model, random, Duration::from_secs(1)).with_faults(rates, SignedDuration::from_hours(-3));
        let start: Timestamp = "2025-05-20T07:00:00Z".parse().unwrap();
        (0..2000).map(|second| device.speak(start + SignedDuration::from_secs(second))).collect()
    }

    #[test]
    fn the_same_seed_says_the_same_bytes() {
        for kind in [Kind::Pump, Kind::Thermostat, Kind::Meter] {
            assert_eq!(run(kind, 42, ROUGH), run(kind, 42, ROUGH), "{}", kind.word());
            assert_ne!(run(kind, 42, ROUGH), run(kind, 43, ROUGH), "{}", kind.word());
        }
    }

    #[test]
    fn numbers_start_at_one_and_never_repeat_whatever_goes_wrong() {
        for kind in [Kind::Pump, Kind::Thermostat, Kind::Meter] {
            let numbers: Vec<u64> = run(kind, 1, ROUGH).iter().filter_map(|said| Some(said.sample?.n)).collect();
            let last = numbers.len() as u64;
            assert_eq!(numbers, (1..=last).collect::<Vec<_>>(), "{}", kind.word());
            assert!(last < 2000, "silence leaves samples out");
        }
    }

    #[test]
    fn every_fault_strikes_at_its_rate() {
        let said = run(Kind::Pump, 5, ROUGH);
        let count = |spoiled| said.iter().filter(|u| u.sample.is_some_and(|s| s.spoiled == Some(spoiled))).count();
        for spoiled in [Spoiled::BitError, Spoiled::HalfFrame, Spoiled::Reset] {
            assert!(count(spoiled) > 20, "{}", spoiled.as_str());
        }
        assert!(said.iter().any(|u| u.unplug.is_some()));
        assert!(said.iter().any(|u| u.sample.is_none()));
    }

    #[test]
    fn a_wrong_clock_shows_in_the_telegram() {
        let said = run(Kind::Meter, 5, FaultRates::default());
        let text = String::from_utf8(said[0].bytes.clone()).unwrap();
        assert!(text.contains("0-0:1.0.0(250520060000S)"), "09:00 in Amsterdam, three hours slow: {text}");
    }
}
