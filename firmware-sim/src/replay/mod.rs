//! Plays captures: serial bytes onto a pseudo-terminal, MQTT messages to a broker.

mod capture;
mod mqtt;
mod serial;

use std::num::NonZeroU32;
use std::time::Duration;

pub use self::capture::{BadMessage, messages};
pub use self::mqtt::{MqttReplay, play_messages};
pub use self::serial::{SerialReplay, Stage, play_bytes};

/// How many bytes go out in one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Always so many.
    Fixed(NonZeroU32),
    /// 1 to 64, drawn by seed.
    Random,
}

/// How fast a capture is played. Without a rate and a gap: as fast as the other side takes it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    /// Bytes a second, on serial lines.
    pub bytes_per_second: Option<f64>,
    /// After each chunk or message.
    pub gap: Duration,
}

impl Pace {
    /// How long `bytes` take.
    fn time_for(&self, bytes: usize) -> Duration {
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
        let on_the_line = self.bytes_per_second.map_or(0.0, |rate| f64::from(count) / rate);
        // A rate near nothing asks for more time than there is: an hour is as good as that.
        self.gap + Duration::try_from_secs_f64(on_the_line).unwrap_or(Duration::MAX).min(Duration::from_secs(3600))
    }
}
