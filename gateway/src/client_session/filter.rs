//! Which entries of a room a subscriber gets: what it asked for, and what it may see.

use std::collections::BTreeSet;
use std::sync::Arc;

use lockgate_proto::convert::{decode_entry, encode_entry, encode_record};
use lockgate_proto::entry::EntryBody;
use lockgate_proto::ids::{DeviceName, MetricName, RoomId};
use lockgate_proto::record::Record;
use lockgate_token::{Action, Grant};

use crate::backbone::{DeviceShadow, DeviceTest, EntryKind, LoggedEntry, MetricTest};

/// Lets entries pass by what they are, by the device that they are about, and of telemetry only some metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// None: all devices.
    devices: Option<BTreeSet<DeviceName>>,
    /// None: all kinds.
    kinds: Option<BTreeSet<EntryKind>>,
    /// None: all metrics.
    metrics: Option<Arc<BTreeSet<MetricName>>>,
    /// None: the holder may see all of the room.
    allowed: Option<(Arc<Grant>, RoomId)>,
}

fn named<Name: Ord>(names: impl IntoIterator<Item = Name>) -> Option<BTreeSet<Name>> {
    let names: BTreeSet<Name> = names.into_iter().collect();
    (!names.is_empty()).then_some(names)
}

impl Filter {
    /// Only these devices; all of them where none is named.
    pub(crate) fn of_devices(devices: impl IntoIterator<Item = DeviceName>) -> Filter {
        Filter { devices: named(devices), ..Filter::default() }
    }

    /// The same, of these kinds only; of all where none is named.
    pub(crate) fn of_kinds(self, kinds: impl IntoIterator<Item = EntryKind>) -> Filter {
        Filter { kinds: named(kinds), ..self }
    }

    /// The same, and of telemetry only these metrics; all of them where none is named.
    pub(crate) fn of_metrics(self, metrics: impl IntoIterator<Item = MetricName>) -> Filter {
        Filter { metrics: named(metrics).map(Arc::new), ..self }
    }

    /// The same, within what the holder of a token may see of the room.
    pub(crate) fn within(mut self, grant: &Arc<Grant>, room: &RoomId) -> Filter {
        if !grant.allows(Action::ReadRoom(room)) {
            self.allowed = Some((Arc::clone(grant), room.clone()));
        }
        self
    }

    /// A named device that the holder may not see.
    pub(crate) fn forbidden(&self) -> Option<&DeviceName> {
        self.devices.iter().flatten().find(|device| !self.may_see(device))
    }

    /// Whether there may be entries that do not pass.
    pub(crate) fn leaves_out(&self) -> bool {
        self.devices.is_some() || self.kinds.is_some() || self.metrics.is_some() || self.allowed.is_some()
    }

    /// Whether entries must be looked into: only some of their metrics pass.
    pub(crate) fn cuts(&self) -> bool {
        self.metrics.is_some()
    }

    /// Whether an entry passes, whatever is in it. One that is about no device, a gap, concerns everyone: any device's
    /// records may be among the lost ones. Who comes and goes is for those who may see all of the room, and want it.
    pub(crate) fn wants(&self, entry: &LoggedEntry) -> bool {
        let of_kind = self.wants_kind(entry.kind);
        match &entry.device {
            Some(device) => of_kind && self.wants_device(device),
            None if entry.kind == EntryKind::Attendance => {
                of_kind && self.allowed.is_none() && (self.devices.is_none() || self.kinds.is_some())
            }
            None => of_kind,
        }
    }

    /// What of an entry passes: the same bytes where that is all of it; `None`: nothing.
    pub(crate) fn cut(&self, entry: &LoggedEntry) -> Option<LoggedEntry> {
        if !self.wants(entry) {
            return None;
        }
        // What this version can't read can't be looked into, and is none of its business.
        match self.metrics.as_deref().map(|wanted| metrics_of(entry, wanted)) {
            None | Some(Cut::Whole) => Some(entry.clone()),
            Some(Cut::Part(bytes)) => Some(LoggedEntry { bytes, ..entry.clone() }),
            Some(Cut::Nothing) => None,
        }
    }

    /// What of a shadow passes, of whose metrics only the wanted ones are left; `None`: nothing.
    pub(crate) fn cut_shadow(&self, shadow: DeviceShadow) -> Option<DeviceShadow> {
        let is_about_metrics = self.kinds.is_some() || self.metrics.is_some();
        let says_something =
            !shadow.metrics.is_empty() || (shadow.online.is_some() && self.wants_kind(EntryKind::Presence));
        (says_something || !is_about_metrics).then_some(shadow)
    }

    /// Whether anything about this device passes.
    pub(crate) fn wants_device(&self, device: &DeviceName) -> bool {
        self.devices.as_ref().is_none_or(|devices| devices.contains(device)) && self.may_see(device)
    }

    /// Whether telemetry of this metric passes.
    pub(crate) fn wants_metric(&self, metric: &MetricName) -> bool {
        self.wants_kind(EntryKind::Telemetry) && self.metrics.as_ref().is_none_or(|metrics| metrics.contains(metric))
    }

    /// The same questions, for those who read shadows.
    pub(crate) fn tests(&self) -> (DeviceTest, MetricTest) {
        let (devices, metrics) = (self.clone(), self.clone());
        (
            DeviceTest::new(move |device| devices.wants_device(device)),
            MetricTest::new(move |metric| metrics.wants_metric(metric)),
        )
    }

    fn wants_kind(&self, kind: EntryKind) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
    }

    fn may_see(&self, device: &DeviceName) -> bool {
        self.allowed.as_ref().is_none_or(|(grant, room)| grant.allows(Action::ReadDevice(room, device)))
    }
}

/// What is left of an entry.
enum Cut {
    Whole,
    Part(bytes::Bytes),
    Nothing,
}

fn metrics_of(entry: &LoggedEntry, wanted: &BTreeSet<MetricName>) -> Cut {
    if entry.kind != EntryKind::Telemetry {
        return Cut::Whole;
    }
    let Ok(decoded) = decode_entry(entry.bytes.clone()) else { return Cut::Whole };
    let EntryBody::Telemetry(mut telemetry) = decoded.body else { return Cut::Whole };
    let all = telemetry.readings.len();
    telemetry.readings.retain(|reading| wanted.contains(&reading.metric));
    match telemetry.readings.len() {
        0 => Cut::Nothing,
        left if left == all => Cut::Whole,
        _ => Cut::Part(encode_entry(&decoded.header, &encode_record(&Record::Telemetry(telemetry)))),
    }
}

#[cfg(test)]
mod tests;
