//! What the queue stores and the uplink sends: something about **one** device.

use crate::ids::DeviceName;
use crate::reading::Reading;
use crate::time::UnixMicros;

/// The queue's unit.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// Readings.
    Telemetry(Telemetry),
    /// A device came or went.
    Presence(Presence),
}

impl Record {
    /// The device that this is about.
    pub fn device(&self) -> &DeviceName {
        match self {
            Record::Telemetry(telemetry) => &telemetry.device,
            Record::Presence(presence) => &presence.device,
        }
    }
}

/// Readings of one device, in the order in which they were taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Telemetry {
    /// Whose readings they are.
    pub device: DeviceName,
    /// At least one, at most [`crate::limits::READINGS_PER_RECORD_MAX`].
    pub readings: Vec<Reading>,
    /// Past values told later by the device itself: never the present state of anything.
    pub historical: bool,
}

/// A device said, or it was said of it, that it is there or gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Whose presence it is.
    pub device: DeviceName,
    /// There, or gone.
    pub online: bool,
    /// When it was told.
    pub at: UnixMicros,
    /// Told by a message that had been kept: true at some time before `at`.
    pub retained: bool,
}
