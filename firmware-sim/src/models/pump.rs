//! A pump that runs, rests and spins up: COBS frames holding JSON and a CRC-16/MODBUS, little endian.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Frame, Moment, SerialModel, approach};
use crate::checks::{cobs, crc16_modbus, uncobs};
use crate::duty::{ORDER_BYTES_MAX, Told, Word, from_json, to_json};
use crate::random::Random;

const RPM_NOMINAL: f64 = 1450.0;
const SPIN_UP: Duration = Duration::from_secs(4);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Stopped,
    Starting,
    Running,
}

/// The pump's state between two samples.
#[derive(Debug)]
pub struct Pump {
    state: State,
    rpm: f64,
    /// What it was set to.
    wanted: f64,
    /// Bytes of an order that has not ended.
    heard: Vec<u8>,
}

impl Pump {
    /// A pump at rest, about to start.
    pub fn new() -> Pump {
        Pump { state: State::Starting, rpm: 0.0, wanted: RPM_NOMINAL, heard: Vec::new() }
    }

    fn live_on(&mut self, step: Duration, random: &mut Random) {
        let target = if self.state == State::Stopped { 0.0 } else { self.wanted };
        self.rpm = (approach(self.rpm, target, step, SPIN_UP) + random.around_zero(4.0)).max(0.0);
        self.state = match self.state {
            // Rests about once in five minutes, for about twenty seconds.
            State::Running if random.chance(step.as_secs_f64() / 300.0) => State::Stopped,
            State::Stopped if random.chance(step.as_secs_f64() / 20.0) => State::Starting,
            State::Starting if self.rpm > self.wanted * 0.95 => State::Running,
            same => same,
        };
    }
}

impl Default for Pump {
    fn default() -> Pump {
        Pump::new()
    }
}

impl SerialModel for Pump {
    fn sample(&mut self, n: u64, moment: Moment, random: &mut Random) -> Frame {
        self.live_on(moment.step, random);
        // Affinity laws: flow goes with speed, pressure with its square.
        let share = self.rpm / RPM_NOMINAL;
        let flow = 12.5 * share;
        let pressure = 3.2 * share * share;
        let state = match self.state {
            State::Stopped => "stopped",
            State::Starting => "starting",
            State::Running => "running",
        };
        let mut inner =
            format!(r#"{{"n":{n},"flow":{flow:.2},"pressure":{pressure:.2},"rpm":{:.0},"state":"{state}"}}"#, self.rpm)
                .into_bytes();
        let bytes = framed(std::mem::take(&mut inner));
        let guarded = 0..bytes.len() - 1;
        Frame { bytes, guarded }
    }

    fn restart(&mut self) -> Vec<u8> {
        *self = Pump::new();
        b"LGT-PUMP fw 1.4.2 boot\r\n\0".to_vec()
    }

    fn range(&self) -> RangeInclusive<f64> {
        0.0..=RPM_NOMINAL
    }

    fn hear(&mut self, bytes: &[u8]) -> Vec<Told> {
        let mut orders = Vec::new();
        for byte in bytes {
            if *byte == 0 {
                orders.extend(uncobs(&std::mem::take(&mut self.heard)).and_then(|frame| {
                    let (body, crc) = frame.split_last_chunk::<2>()?;
                    (crc16_modbus(body).to_le_bytes() == *crc).then(|| from_json(body))?
                }));
            } else if self.heard.len() < ORDER_BYTES_MAX {
                self.heard.push(*byte);
            }
        }
        orders
    }

    fn obey(&mut self, told: &Told) {
        match (told.what.as_str(), told.value) {
            ("set", Some(rpm)) => self.wanted = rpm,
            ("power", Some(on)) => self.state = if on > 0.0 { State::Starting } else { State::Stopped },
            ("reboot", _) => *self = Pump::new(),
            _ => {}
        }
    }

    fn reply(&self, id: &str, word: &Word) -> Vec<u8> {
        framed(to_json(id, word).into_bytes())
    }

    fn delimiter(&self) -> &'static [u8] {
        b"\0"
    }
}

/// A body with its CRC, in COBS, with the delimiter.
fn framed(mut body: Vec<u8>) -> Vec<u8> {
    body.extend_from_slice(&crc16_modbus(&body).to_le_bytes());
    let mut bytes = cobs(&body);
    bytes.push(0);
    bytes
}
