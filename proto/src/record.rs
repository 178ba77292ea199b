//! What the queue stores and the uplink sends: something about **one** device.

use crate::description::Description;
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
    /// What a device measures and can be told to do.
    Description(Description),
}

impl Record {
    /// The device that this is about.
    pub fn device(&self) -> &DeviceName {
        match self {
            Record::Telemetry(telemetry) => &telemetry.device,
            Record::Presence(presence) => &presence.device,
            Record::Description(description) => &description.device,
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
    /// How it came to be told.
    pub reason: PresenceReason,
}

impl Presence {
    /// The device said so, or its broker.
    pub fn said(device: DeviceName, online: bool, at: UnixMicros, retained: bool) -> Presence {
        Presence { device, online, at, retained, reason: PresenceReason::Said }
    }

    /// Gone, and nobody said so but its silence.
    pub fn is_stale(&self) -> bool {
        !self.online && self.reason == PresenceReason::Stale
    }
}

/// How a device's presence came to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PresenceReason {
    /// The device said so, or its broker.
    #[default]
    Said,
    /// Its agent heard nothing of it for longer than it may be silent.
    Stale,
    /// Its agent heard it: for the first time since the agent started, or since it was stale.
    Heard,
}

impl PresenceReason {
    /// The reason's word in output; none where the device speaks for itself.
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            PresenceReason::Said => None,
            PresenceReason::Stale => Some("stale"),
            PresenceReason::Heard => Some("heard"),
        }
    }
}
