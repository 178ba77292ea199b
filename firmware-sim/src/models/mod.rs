//! The simulated devices: pure state machines that turn (number, moment, random) into what goes over the wire.

mod meter;
mod pump;
mod room;
#[cfg(test)]
mod tests;
mod thermostat;

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use jiff::Timestamp;

pub use self::meter::Meter;
pub use self::pump::Pump;
pub use self::room::Room;
pub use self::thermostat::Thermostat;
use crate::duty::{Told, Word};
use crate::random::Random;

/// When a sample is taken.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The device's own idea of the time.
    pub wall: Timestamp,
    /// How long the sample before lies back.
    pub step: Duration,
}

/// One sample as bytes on a serial line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Everything from the first byte to the delimiter.
    pub bytes: Vec<u8>,
    /// Where a flipped bit is sure to be noticed and sure not to touch the neighbours: what the checksum covers.
    pub guarded: Range<usize>,
}

/// A device that talks on a serial line.
pub trait SerialModel: Send {
    /// Lives on to `moment` and says sample `n`.
    fn sample(&mut self, n: u64, moment: Moment, random: &mut Random) -> Frame;

    /// Starts anew, as after a power cut: the state is lost, and this is what the device greets with, delimiter included.
    fn restart(&mut self) -> Vec<u8>;

    /// What it can be set to.
    fn range(&self) -> RangeInclusive<f64>;

    /// Takes bytes that it is sent; gives the orders that are whole. One that takes none drops them.
    fn hear(&mut self, _bytes: &[u8]) -> Vec<Told> {
        Vec::new()
    }

    /// Does what it was told, and may do.
    fn obey(&mut self, _told: &Told) {}

    /// What it replies, its delimiter included.
    fn reply(&self, _id: &str, _word: &Word) -> Vec<u8> {
        Vec::new()
    }

    /// What ends a frame, so that noise before it cannot spoil the next one. Longer than nothing.
    fn delimiter(&self) -> &'static [u8];
}

/// The kinds of simulated devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// COBS frames with JSON inside, on a serial line.
    Pump,
    /// Text lines with an XOR checksum, on a serial line.
    Thermostat,
    /// DSMR telegrams, on a serial line.
    Meter,
    /// A room sensor, over MQTT.
    Room,
}

impl Kind {
    /// The word that starts the names of such devices.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Pump => "pump",
            Kind::Thermostat => "thermostat",
            Kind::Meter => "meter",
            Kind::Room => "room",
        }
    }

    /// A model for a serial line, or `None` for what talks over MQTT.
    pub fn serial_model(self, random: &mut Random) -> Option<Box<dyn SerialModel>> {
        match self {
            Kind::Pump => Some(Box::new(Pump::new())),
            Kind::Thermostat => Some(Box::new(Thermostat::new(random))),
            Kind::Meter => Some(Box::new(Meter::new(random))),
            Kind::Room => None,
        }
    }
}

/// `value` moved towards `target` by the share of the way that `step` is of `time_constant`.
fn approach(value: f64, target: f64, step: Duration, time_constant: Duration) -> f64 {
    let share = (step.as_secs_f64() / time_constant.as_secs_f64()).min(1.0);
    value + (target - value) * share
}
