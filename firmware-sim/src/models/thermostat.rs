//! A thermostat with one room to heat: text lines guarded by an XOR checksum in two upper hex digits.

use std::time::Duration;

use super::{Frame, Moment, SerialModel, approach};
use crate::checks::xor;
use crate::random::Random;

const OUTSIDE: f64 = 6.0;
const RADIATOR: f64 = 34.0;
const INERTIA: Duration = Duration::from_secs(900);
const HYSTERESIS: f64 = 0.3;

/// The thermostat's state between two samples; temperatures in degrees Celsius.
#[derive(Debug)]
pub struct Thermostat {
    temperature: f64,
    setpoint: f64,
    heating: bool,
}

impl Thermostat {
    /// A thermostat in a room of some temperature.
    pub fn new(random: &mut Random) -> Thermostat {
        Thermostat { temperature: 19.0 + random.around_zero(2.0), setpoint: 20.0, heating: false }
    }

    fn live_on(&mut self, step: Duration, random: &mut Random) {
        let target = if self.heating { RADIATOR } else { OUTSIDE };
        self.temperature = approach(self.temperature, target, step, INERTIA) + random.around_zero(0.02);
        // Somebody turns the knob about once in ten minutes.
        if random.chance(step.as_secs_f64() / 600.0) {
            self.setpoint = (self.setpoint + if random.chance(0.5) { 0.5 } else { -0.5 }).clamp(16.0, 24.0);
        }
        if self.temperature < self.setpoint - HYSTERESIS {
            self.heating = true;
        } else if self.temperature > self.setpoint + HYSTERESIS {
            self.heating = false;
        }
    }
}

impl SerialModel for Thermostat {
    fn sample(&mut self, n: u64, moment: Moment, random: &mut Random) -> Frame {
        self.live_on(moment.step, random);
        let heat = u8::from(self.heating);
        let body = format!("T={:.1} SP={:.1} HEAT={heat} N={n}", self.temperature, self.setpoint);
        let line = format!("{body}*{:02X}\r\n", xor(body.as_bytes()));
        Frame { bytes: line.into_bytes(), guarded: 0..body.len() }
    }

    fn restart(&mut self) -> Vec<u8> {
        self.heating = false;
        self.setpoint = 20.0;
        b"THERMO 2.1 ready\r\n".to_vec()
    }

    fn delimiter(&self) -> &'static [u8] {
        b"\r\n"
    }
}
