//! Which entries of a room a subscriber gets: what it asked for, and what it may see.

use std::collections::BTreeSet;
use std::sync::Arc;

use lockgate_proto::ids::{DeviceName, RoomId};
use lockgate_token::{Action, Grant};

use crate::backbone::{DeviceTest, EntryKind, LoggedEntry};

/// Lets entries pass by the device that they are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// None: all devices.
    devices: Option<BTreeSet<DeviceName>>,
    /// None: the holder may see all of the room.
    allowed: Option<(Arc<Grant>, RoomId)>,
}

impl Filter {
    /// Only these devices; all of them where none is named.
    pub(crate) fn of_devices(devices: impl IntoIterator<Item = DeviceName>) -> Filter {
        let devices: BTreeSet<DeviceName> = devices.into_iter().collect();
        Filter { devices: (!devices.is_empty()).then_some(devices), allowed: None }
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
        self.devices.is_some() || self.allowed.is_some()
    }

    /// Whether an entry passes. One that is about no device, a gap, concerns everyone: any device's records may
    /// be among the lost ones. Who comes and goes is for those who see all of the room.
    pub(crate) fn wants(&self, entry: &LoggedEntry) -> bool {
        match &entry.device {
            Some(device) => self.wants_device(device),
            None => entry.kind != EntryKind::Attendance || !self.leaves_out(),
        }
    }

    /// Whether anything about this device passes.
    pub(crate) fn wants_device(&self, device: &DeviceName) -> bool {
        self.devices.as_ref().is_none_or(|devices| devices.contains(device)) && self.may_see(device)
    }

    /// The same question, for those who read shadows.
    pub(crate) fn test(&self) -> DeviceTest {
        let filter = self.clone();
        DeviceTest::new(move |device| filter.wants_device(device))
    }

    fn may_see(&self, device: &DeviceName) -> bool {
        self.allowed.as_ref().is_none_or(|(grant, room)| grant.allows(Action::ReadDevice(room, device)))
    }
}

#[cfg(test)]
mod tests {
    use lockgate_proto::ids::{Site, Tenant};
    use lockgate_proto::time::UnixMicros;
    use lockgate_token::Identity;

    use super::*;
    use crate::room::tests::device_entry;

    fn device(name: &str) -> DeviceName {
        DeviceName::new(name).unwrap()
    }

    #[test]
    fn named_devices_pass_and_gaps_pass_always() {
        let filter = Filter::of_devices([device("pump")]);
        assert!(filter.wants(&device_entry(1, 1, "pump")));
        assert!(!filter.wants(&device_entry(1, 1, "fan")));
        let about_none = |kind| LoggedEntry { device: None, kind, ..device_entry(1, 1, "pump") };
        assert!(filter.wants(&about_none(EntryKind::Gap)));
        assert!(!filter.wants(&about_none(EntryKind::Attendance)));
        let all = Filter::of_devices([]);
        assert!(all.wants(&device_entry(1, 1, "fan")) && all.wants(&about_none(EntryKind::Attendance)));
    }

    #[test]
    fn nobody_sees_more_than_the_token_allows() {
        let tenant = Tenant::new("home").unwrap();
        let room = RoomId { tenant: tenant.clone(), site: Site::new("plant").unwrap() };
        let scopes = vec!["telemetry:read:plant/pump-*".parse().unwrap()];
        let identity = Identity::User { name: "ann".into(), scopes };
        let (issued_at, expires_at) = (UnixMicros(0), UnixMicros(1));
        let grant = Arc::new(Grant { tenant, identity, id: "1".into(), issued_at, expires_at });

        let all = Filter::of_devices([]).within(&grant, &room);
        assert!(all.wants(&device_entry(1, 1, "pump-1")));
        assert!(!all.wants(&device_entry(1, 1, "fan")));
        assert_eq!(all.forbidden(), None);
        let named = Filter::of_devices([device("fan"), device("pump-1")]).within(&grant, &room);
        assert_eq!(named.forbidden(), Some(&device("fan")));
    }
}
