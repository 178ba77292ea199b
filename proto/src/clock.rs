//! Which time it is, and since when that is known.
//!
//! The agent's machine may have no clock battery: it starts in the past and learns the time later. What
//! never jumps is the time since boot; so all that must be known is one number, the *offset* of wall
//! time over it, and whoever knows it can date everything of this boot, also what came before.
//!
//! Two sources tell the offset. The system's clock is precise where NTP disciplines it, and may be wrong
//! by years where not. A gateway's answer is right to half of its round trip. So the gateway *anchors*,
//! and the system's clock is followed while it agrees with the anchor; where it jumps, it is left.

use std::time::Duration;

use crate::gap::TimeSpan;
use crate::time::{MonoTime, UnixMicros};

/// Where system clock and anchor agree within this, the system's clock is followed.
pub const AGREEMENT: Duration = Duration::from_secs(2);

/// How far an anchor is trusted less with age: 100 parts in a million, twice what cheap crystals drift.
const DRIFT_PER_MILLION: i64 = 100;

/// Knows the time, or that it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeKeeper {
    floor: UnixMicros,
    anchor: Option<Anchor>,
    system: Option<i64>,
    /// Microseconds of wall time over time since boot, as believed.
    offset: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Anchor {
    offset: i64,
    error: i64,
    at: MonoTime,
}

impl Anchor {
    fn error_at(&self, now: MonoTime) -> i64 {
        self.error.saturating_add(
            now.since(self.at).as_micros().try_into().unwrap_or(i64::MAX) / 1_000_000 * DRIFT_PER_MILLION,
        )
    }
}

impl TimeKeeper {
    /// `floor`: it can't be earlier than this (the build's date, the last time that was persisted).
    pub fn new(floor: UnixMicros) -> TimeKeeper {
        TimeKeeper { floor, anchor: None, system: None, offset: None }
    }

    /// The system's clock, read at the same instant as the time since boot. To be called every second
    /// or so, so that drift is followed and a jump is seen as one.
    pub fn system_time(&mut self, mono: MonoTime, wall: UnixMicros) {
        let system = wall.0.saturating_sub(mono.micros());
        // Told how wrong it is, in any case; believed only if it can be right.
        self.system = Some(system);
        if wall < self.floor {
            return;
        }
        let agrees = |offset: i64, error: i64| {
            system.abs_diff(offset)
                <= AGREEMENT.as_micros().try_into().unwrap_or(u64::MAX).saturating_add(error.unsigned_abs())
        };
        let follow = match (self.anchor, self.offset) {
            // Without an anchor there is nothing better: who sets the clock while it runs means to correct it.
            (None, _) | (Some(_), None) => true,
            (Some(anchor), Some(offset)) => agrees(offset, 0) && agrees(anchor.offset, anchor.error_at(mono)),
        };
        if follow {
            self.offset = Some(system);
        }
    }

    /// A gateway's clock: it showed `server` at some instant between question and answer.
    pub fn gateway_time(&mut self, asked: MonoTime, answered: MonoTime, server: UnixMicros) {
        let trip = answered.since(asked);
        let error = i64::try_from(trip.as_micros() / 2).unwrap_or(i64::MAX);
        let fresh =
            Anchor { offset: server.0.saturating_sub(asked.micros()).saturating_sub(error), error, at: answered };
        if self.anchor.is_some_and(|anchor| anchor.error_at(answered) < fresh.error) {
            return;
        }
        self.anchor = Some(fresh);
        let tolerance = i64::try_from(AGREEMENT.as_micros()).unwrap_or(i64::MAX).saturating_add(error).unsigned_abs();
        let near = |offset: &i64| offset.abs_diff(fresh.offset) <= tolerance;
        self.offset = self.system.filter(near).or(self.offset.filter(near)).or(Some(fresh.offset));
    }

    /// The wall time of an instant of this boot, past ones included; `None`: not known.
    pub fn wall_at(&self, mono: MonoTime) -> Option<UnixMicros> {
        self.offset.map(|offset| UnixMicros(offset).offset_by(mono.micros()))
    }

    /// Whether a gateway has confirmed the time in this boot. Until then it may still be corrected.
    pub fn is_anchored(&self) -> bool {
        self.anchor.is_some()
    }

    /// How far the system's clock is ahead of the gateway's, and how wrong that may be, in microseconds;
    /// `None` while one of the two is not known.
    pub fn offset_to_gateway(&self, now: MonoTime) -> Option<(i64, i64)> {
        let anchor = self.anchor?;
        Some((self.system?.saturating_sub(anchor.offset), anchor.error_at(now)))
    }

    /// No time before this is believed.
    pub fn floor(&self) -> UnixMicros {
        self.floor
    }
}

/// When a boot began that died without ever learning the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootBounds {
    earliest: UnixMicros,
    latest: UnixMicros,
}

impl BootBounds {
    /// `persisted`: the last wall time that was on disk before the boot. `length`: how long the boot
    /// lasted, as far as is known. `later`: the lengths of the boots between it and the anchored one,
    /// which began at `anchored`.
    pub fn new(persisted: UnixMicros, length: Duration, later: &[Duration], anchored: UnixMicros) -> BootBounds {
        let after = later.iter().fold(length, |sum, more| sum.saturating_add(*more));
        let micros = i64::try_from(after.as_micros()).unwrap_or(i64::MAX);
        BootBounds { earliest: persisted, latest: anchored.offset_by(-micros).max(persisted) }
    }

    /// The time given to an instant of the boot: the middle of what it may have been. Distances within
    /// the boot stay true.
    pub fn wall_at(&self, mono: MonoTime) -> UnixMicros {
        self.earliest.offset_by(self.width() / 2).offset_by(mono.micros())
    }

    /// What the instant may have been.
    pub fn span_at(&self, mono: MonoTime) -> TimeSpan {
        let moved = |bound: UnixMicros| Some(bound.offset_by(mono.micros()));
        TimeSpan { from: moved(self.earliest), to: moved(self.latest) }
    }

    fn width(&self) -> i64 {
        self.latest.0.saturating_sub(self.earliest.0)
    }
}

#[cfg(test)]
mod tests;
