//! A thermostat with one room to heat: text lines guarded by an XOR checksum in two upper hex digits.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Frame, Moment, SerialModel, approach};
use crate::checks::xor;
use crate::duty::{ORDER_BYTES_MAX, Told, Word, from_line, to_line};
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
    is_on: bool,
    /// Bytes of an order that has not ended.
    heard: Vec<u8>,
}

impl Thermostat {
    /// A thermostat in a room of some temperature.
    pub fn new(random: &mut Random) -> Thermostat {
        Thermostat {
            temperature: 19.0 + random.around_zero(2.0),
            setpoint: 20.0,
            heating: false,
            is_on: true,
            heard: Vec::new(),
        }
    }

    fn live_on(&mut self, step: Duration, random: &mut Random) {
        let target = if self.heating { RADIATOR } else { OUTSIDE };
        self.temperature = approach(self.temperature, target, step, INERTIA) + random.around_zero(0.02);
        // Somebody turns the knob about once in ten minutes.
        if random.chance(step.as_secs_f64() / 600.0) {
            self.setpoint = (self.setpoint + if random.chance(0.5) { 0.5 } else { -0.5 }).clamp(16.0, 24.0);
        }
        if !self.is_on {
            self.heating = false;
        } else if self.temperature < self.setpoint - HYSTERESIS {
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
        Frame { bytes: framed(&body), guarded: 0..body.len() }
    }

    fn restart(&mut self) -> Vec<u8> {
        (self.heating, self.is_on, self.setpoint) = (false, true, 20.0);
        b"THERMO 2.1 ready\r\n".to_vec()
    }

    fn range(&self) -> RangeInclusive<f64> {
        5.0..=30.0
    }

    fn hear(&mut self, bytes: &[u8]) -> Vec<Told> {
        let mut orders = Vec::new();
        for byte in bytes {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.heard);
                orders.extend(std::str::from_utf8(&line).ok().and_then(|line| {
                    let (body, sum) = line.trim_end().rsplit_once('*')?;
                    (format!("{:02X}", xor(body.as_bytes())) == sum).then(|| from_line(body))?
                }));
            } else if self.heard.len() < ORDER_BYTES_MAX {
                self.heard.push(*byte);
            }
        }
        orders
    }

    fn obey(&mut self, told: &Told) {
        match (told.what.as_str(), told.value) {
            ("set", Some(celsius)) => self.setpoint = celsius,
            ("power", Some(on)) => self.is_on = on > 0.0,
            ("reboot", _) => drop(self.restart()),
            _ => {}
        }
    }

    fn reply(&self, id: &str, word: &Word) -> Vec<u8> {
        framed(&to_line(id, word))
    }

    fn delimiter(&self) -> &'static [u8] {
        b"\r\n"
    }
}

fn framed(body: &str) -> Vec<u8> {
    format!("{body}*{:02X}\r\n", xor(body.as_bytes())).into_bytes()
}
