//! Decides which devices are stale, and which are heard again.
//!
//! Pure. Time is the boot's own clock, which no setting of the time moves; what of it passed while the agent
//! itself did not run is nobody's silence. What a device or its broker says of its presence goes before: of one
//! that is said to be gone, nothing is told until it is said to be there.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::ids::DeviceName;
use lockgate_proto::time::MonoTime;

/// LIMIT: devices watched. One more is never stale.
pub(super) const DEVICES_MAX: usize = 4_096;

/// LIMIT: so many are told at once.
const TURNS_MAX: usize = 256;

/// How often it is looked who is silent.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A look that comes later than this was held up with all of the agent.
const LATE: Duration = Duration::from_secs(3);

/// A device, the source that hears it, and how long it may be silent.
#[derive(Clone, Debug)]
pub(super) struct Of<'a> {
    pub(super) device: &'a DeviceName,
    pub(super) source: &'a Arc<str>,
    pub(super) stale_after: Duration,
}

/// What is to be told of a device: it was heard again, or it is stale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// Which.
    pub(super) device: DeviceName,
    /// Heard.
    pub(super) online: bool,
}

/// All devices that may not be silent for ever.
#[derive(Debug, Default)]
pub(super) struct Vigil {
    devices: HashMap<DeviceName, Watched>,
    looked_at: Option<MonoTime>,
    left_out: u64,
}

#[derive(Debug)]
struct Watched {
    source: Arc<str>,
    stale_after: Duration,
    /// When it was heard last, or when it was first waited for.
    since: MonoTime,
    /// In this start of the agent.
    is_heard: bool,
    told: Told,
}

/// What was told of a device last, in this start of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Online,
    Stale,
    /// By the device or its broker.
    Gone,
}

impl Vigil {
    /// Waits for a device that is known of, and was not heard yet.
    pub(super) fn expect(&mut self, of: &Of<'_>, now: MonoTime) {
        self.watched(of, now);
    }

    /// A sign of life. Says whether there is something to tell.
    pub(super) fn heard(&mut self, of: &Of<'_>, now: MonoTime) -> bool {
        let Some(watched) = self.watched(of, now) else { return false };
        watched.since = now;
        watched.is_heard = true;
        watched.is_due(now).is_some()
    }

    /// What the device or its broker says of its presence, in a record of its own.
    pub(super) fn said(&mut self, of: &Of<'_>, online: bool, now: MonoTime) {
        if let Some(watched) = self.watched(of, now) {
            watched.told = if online { Told::Online } else { Told::Gone };
        }
    }

    /// What is to be told now; it counts as told.
    pub(super) fn take_due(&mut self, now: MonoTime) -> Vec<Turn> {
        let passed = self.looked_at.map_or(Duration::ZERO, |looked_at| now.since(looked_at));
        if passed > LATE {
            let held_up = passed.saturating_sub(LOOK_INTERVAL);
            for watched in self.devices.values_mut() {
                watched.since = (watched.since + held_up).min(now);
            }
        }
        self.looked_at = Some(now);
        let mut turns = Vec::new();
        for (device, watched) in &mut self.devices {
            let Some(online) = watched.is_due(now) else { continue };
            watched.told = if online { Told::Online } else { Told::Stale };
            turns.push(Turn { device: device.clone(), online });
            if turns.len() == TURNS_MAX {
                break;
            }
        }
        turns
    }

    /// These could not be told; they are due again.
    pub(super) fn failed(&mut self, turns: &[Turn]) {
        for turn in turns {
            let told = if turn.online { Told::Online } else { Told::Stale };
            if let Some(watched) = self.devices.get_mut(&turn.device).filter(|watched| watched.told == told) {
                watched.told = Told::Nothing;
            }
        }
    }

    /// Those that a next start has to wait for, each after its source: all but those that are told to be gone.
    pub(super) fn known(&self) -> Vec<(Arc<str>, DeviceName)> {
        let here = self.devices.iter().filter(|(_, watched)| matches!(watched.told, Told::Nothing | Told::Online));
        let mut known: Vec<_> = here.map(|(device, watched)| (watched.source.clone(), device.clone())).collect();
        known.sort_unstable();
        known
    }

    /// How many were told of that are not watched, since it was asked last.
    pub(super) fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }

    fn watched(&mut self, of: &Of<'_>, now: MonoTime) -> Option<&mut Watched> {
        let is_full = self.devices.len() >= DEVICES_MAX;
        match self.devices.entry(of.device.clone()) {
            Entry::Occupied(known) => {
                let watched = known.into_mut();
                watched.stale_after = of.stale_after;
                Some(watched)
            }
            Entry::Vacant(_) if is_full => {
                self.left_out += 1;
                None
            }
            Entry::Vacant(place) => {
                let (source, stale_after) = (of.source.clone(), of.stale_after);
                let watched = Watched { source, stale_after, since: now, is_heard: false, told: Told::Nothing };
                Some(place.insert(watched))
            }
        }
    }
}

impl Watched {
    /// What is to be told.
    fn is_due(&self, now: MonoTime) -> Option<bool> {
        let is_silent = now.since(self.since) >= self.stale_after;
        match self.told {
            Told::Nothing | Told::Online if is_silent => Some(false),
            Told::Nothing | Told::Stale if self.is_heard && !is_silent => Some(true),
            Told::Nothing | Told::Online | Told::Stale | Told::Gone => None,
        }
    }
}

#[cfg(test)]
mod tests;
