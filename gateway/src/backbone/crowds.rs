//! Rooms that have more devices than get a shadow: counted, logged once in a while, and told in the room once.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use lockgate_proto::convert::encode_alarm_body;
use lockgate_proto::entry::{Alarm, AlarmKind};
use lockgate_proto::ids::{DeviceName, RoomId};
use lockgate_proto::time::{MonoTime, UnixMicros};
use lockgate_runtime::log_limit::LineLimit;
use tracing::warn;

use crate::backbone::{EntryKind, NewEntry};
use crate::lines::left_out;
use crate::metrics::Counter;

/// LIMIT: rooms that are remembered as told; beyond, some may be told once more.
const TOLD_MAX: usize = 10_000;

/// A room is logged no more often than this.
const LINE_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// What an engine knows of such rooms.
pub(super) struct Crowds {
    /// Most devices of a room that get a shadow.
    devices_max: usize,
    /// What was met and is not committed yet.
    met: HashMap<RoomId, Met>,
    /// Rooms that have their alarm, and which of them by what is not committed yet.
    told: HashSet<RoomId>,
    told_now: Vec<RoomId>,
    lines: LineLimit<RoomId>,
    started: Instant,
}

struct Met {
    records: u64,
    first: DeviceName,
    at: UnixMicros,
}

impl Crowds {
    pub(super) fn new(devices_max: usize) -> Crowds {
        Crowds {
            devices_max,
            met: HashMap::new(),
            told: HashSet::new(),
            told_now: Vec::new(),
            lines: LineLimit::new(1, LINE_INTERVAL),
            started: Instant::now(),
        }
    }

    /// So many records, of a device among others, for which there is no shadow.
    pub(super) fn note(&mut self, room: &RoomId, device: DeviceName, records: u64, at: UnixMicros) {
        let met = self.met.entry(room.clone()).or_insert(Met { records: 0, first: device, at });
        met.records += records;
    }

    /// The entry that tells the room, where that is due.
    pub(super) fn alarm(&mut self, room: &RoomId) -> Option<NewEntry> {
        let met = self.met.get(room)?;
        if self.told.len() >= TOLD_MAX {
            self.told.clear();
        }
        if !self.told.insert(room.clone()) {
            return None;
        }
        self.told_now.push(room.clone());
        let text = format!(
            "this site has {} devices, as many as are allowed: of others, last values are not kept, only their entries; \
             see limits.devices_per_site in the gateway's configuration",
            self.devices_max
        );
        Some(NewEntry {
            received_at: met.at,
            origin: None,
            kind: EntryKind::Alarm,
            device: None,
            body: encode_alarm_body(&Alarm { kind: AlarmKind::TooManyDevices, agent: None, text }),
            shadow: Vec::new(),
        })
    }

    pub(super) fn committed(&mut self) {
        Counter::AlarmsRaised.add(self.told_now.drain(..).count() as u64);
        for (room, Met { records, first, .. }) in self.met.drain() {
            Counter::ShadowsLeftOut.add(records);
            if let Some(lines) = self.lines.pass(&room, MonoTime(self.started.elapsed())) {
                let (left_out, max) = (left_out(lines), self.devices_max);
                warn!(%room, device = %first, max, left_out, "No shadow for one device more; see limits.devices_per_site.");
            }
        }
    }

    pub(super) fn rolled_back(&mut self) {
        self.met.clear();
        for room in self.told_now.drain(..) {
            self.told.remove(&room);
        }
    }
}
