//! A battery-driven room sensor over MQTT: flat JSON, as Zigbee2MQTT publishes it.

use std::time::Duration;

use super::{Moment, approach};
use crate::random::Random;

/// The sensor's state between two messages.
#[derive(Debug)]
pub struct Room {
    temperature: f64,
    humidity: f64,
    battery: f64,
    offset: f64,
}

impl Room {
    /// A sensor in a room of some temperature, with a battery that is not new.
    pub fn new(random: &mut Random) -> Room {
        Room {
            temperature: 20.0 + random.around_zero(3.0),
            humidity: 48.0 + random.around_zero(8.0),
            battery: 80.0 + random.unit() * 20.0,
            offset: 0.0,
        }
    }

    /// What its temperature is corrected by, in kelvins.
    pub fn correct(&mut self, offset: f64) {
        self.offset = offset;
    }

    /// Lives on to `moment` and gives the payload of sample `n`.
    pub fn payload(&mut self, n: u64, moment: Moment, random: &mut Random) -> String {
        let pull = Duration::from_secs(1800);
        self.temperature = approach(self.temperature, 20.5, moment.step, pull) + random.around_zero(0.05);
        self.humidity = (approach(self.humidity, 48.0, moment.step, pull) + random.around_zero(0.2)).clamp(5.0, 95.0);
        self.battery = (self.battery - moment.step.as_secs_f64() / 86_400.0).max(1.0);
        let linkquality = random.index(60..181);
        let last_seen = moment.wall.strftime("%Y-%m-%dT%H:%M:%S.%3fZ");
        format!(
            r#"{{"battery":{:.0},"humidity":{:.2},"last_seen":"{last_seen}","linkquality":{linkquality},"n":{n},"temperature":{:.2}}}"#,
            self.battery,
            self.humidity,
            self.temperature + self.offset
        )
    }
}
