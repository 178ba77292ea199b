//! A smart meter with a P1 port and a gas meter behind it: DSMR 5 telegrams guarded by CRC-16/ARC.
//!
//! The running number stands in `0-0:96.13.1(N)`, which DSMR reserves for numeric message codes and which
//! a profile for real meters leaves alone.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::{self, TimeZone};

use super::{Frame, Moment, SerialModel};
use crate::checks::crc16_arc;
use crate::random::Random;

const GAS_EVERY: Duration = Duration::from_secs(300);

/// The meter's state between two telegrams; energies in kWh, power in kW, gas in cubic metres.
#[derive(Debug)]
pub struct Meter {
    serial: u32,
    import: [f64; 2],
    export: [f64; 2],
    /// What the house takes, sun not counted.
    load: f64,
    sun: f64,
    gas: f64,
    gas_read_at: Option<Timestamp>,
}

impl Meter {
    /// A meter that has been running for some years.
    pub fn new(random: &mut Random) -> Meter {
        Meter {
            serial: u32::try_from(random.index(1000..9999)).expect("four digits"),
            import: [4512.317 + random.unit() * 100.0, 3987.002 + random.unit() * 100.0],
            export: [21.530, 1204.881],
            load: 0.4,
            sun: 0.0,
            gas: 3210.448 + random.unit() * 10.0,
            gas_read_at: None,
        }
    }

    /// Power from the net (positive) or into it (negative).
    fn live_on(&mut self, moment: Moment, tariff: usize, random: &mut Random) -> f64 {
        self.load = (self.load + random.around_zero(0.08)).clamp(0.1, 6.0);
        self.sun = (self.sun + random.around_zero(0.05)).clamp(0.0, 3.0);
        let net = self.load - self.sun;
        let hours = moment.step.as_secs_f64() / 3600.0;
        if net >= 0.0 {
            self.import[tariff] += net * hours;
        } else {
            self.export[tariff] -= net * hours;
        }
        self.gas += random.unit() * 0.4 * hours;
        // The gas meter reports every five minutes of wall time and keeps what it said until then.
        let due = match self.gas_read_at {
            None => true,
            Some(at) => moment.wall.duration_since(at).unsigned_abs() >= GAS_EVERY,
        };
        if due {
            self.gas_read_at = Some(moment.wall);
        }
        net
    }

    fn body(&mut self, n: u64, moment: Moment, random: &mut Random) -> String {
        let hour = local(moment.wall).0.hour();
        let tariff = usize::from((7..23).contains(&hour));
        let net = self.live_on(moment, tariff, random);
        let voltage = 231.0 + random.around_zero(3.0);
        let current = net.abs() * 1000.0 / voltage;
        let gas_at = stamp(self.gas_read_at.unwrap_or(moment.wall));
        let lines = [
            format!("/LGT5\\2SIM-{:04}", self.serial),
            String::new(),
            "1-3:0.2.8(50)".to_owned(),
            format!("0-0:1.0.0({})", stamp(moment.wall)),
            format!("0-0:96.1.1(4C4F434B47415445{:08})", self.serial),
            format!("1-0:1.8.1({:010.3}*kWh)", self.import[0]),
            format!("1-0:1.8.2({:010.3}*kWh)", self.import[1]),
            format!("1-0:2.8.1({:010.3}*kWh)", self.export[0]),
            format!("1-0:2.8.2({:010.3}*kWh)", self.export[1]),
            format!("0-0:96.14.0({:04})", tariff + 1),
            format!("1-0:1.7.0({:06.3}*kW)", net.max(0.0)),
            format!("1-0:2.7.0({:06.3}*kW)", (-net).max(0.0)),
            "0-0:96.7.21(00009)".to_owned(),
            "0-0:96.7.9(00002)".to_owned(),
            "1-0:32.32.0(00003)".to_owned(),
            format!("0-0:96.13.1({n})"),
            "0-0:96.13.0()".to_owned(),
            format!("1-0:32.7.0({voltage:05.1}*V)"),
            format!("1-0:31.7.0({current:03.0}*A)"),
            format!("1-0:21.7.0({:06.3}*kW)", net.max(0.0)),
            format!("1-0:22.7.0({:06.3}*kW)", (-net).max(0.0)),
            "0-1:24.1.0(003)".to_owned(),
            format!("0-1:96.1.0(4C4F434B474153{:08})", self.serial),
            format!("0-1:24.2.1({gas_at})({:09.3}*m3)", self.gas),
            "!".to_owned(),
        ];
        lines.join("\r\n")
    }
}

impl SerialModel for Meter {
    fn sample(&mut self, n: u64, moment: Moment, random: &mut Random) -> Frame {
        let mut telegram = self.body(n, moment, random);
        // Between `/` and `!`: a flip of either would be a cut, not a flipped bit.
        let guarded = 1..telegram.len() - 1;
        let checksum = crc16_arc(telegram.as_bytes());
        write!(telegram, "{checksum:04X}\r\n").expect("writing to a String cannot fail");
        Frame { bytes: telegram.into_bytes(), guarded }
    }

    fn restart(&mut self) -> Vec<u8> {
        self.gas_read_at = None;
        b"LGT bootloader 5.0.2\r\n".to_vec()
    }

    fn range(&self) -> RangeInclusive<f64> {
        0.0..=0.0
    }

    fn delimiter(&self) -> &'static [u8] {
        b"\r\n"
    }
}

/// Dutch local time and whether it is summer time: all meters of this kind are set so, wherever the machine stands.
fn local(wall: Timestamp) -> (jiff::civil::DateTime, bool) {
    let zone = TimeZone::get("Europe/Amsterdam").expect("the zones are built into the program");
    let info = zone.to_offset_info(wall);
    (info.offset().to_datetime(wall), info.dst() == tz::Dst::Yes)
}

/// `YYMMDDhhmmss` and `S` for summer or `W` for winter.
fn stamp(wall: Timestamp) -> String {
    let (time, summer) = local(wall);
    format!("{}{}", time.strftime("%y%m%d%H%M%S"), if summer { 'S' } else { 'W' })
}
