//! The names of a room's keys. All of them share a hash tag, so that a cluster keeps them on one node and one
//! function sees all of them.
//!
//! | key | type | holds |
//! |---|---|---|
//! | `lockgate:{tenant:site}:head` | string | newest offset, its stamp, bytes of all entries so far |
//! | `…:log` | stream | one item per step, whose id is the offset of its last entry |
//! | `…:ledgers` | hash | by agent: session, claim, step, ledger |
//! | `…:devices` | hash | by device: who tells of it, presence, last sign of life |
//! | `…:shadow:DEVICE` | hash | by metric: order, time of receipt, reading |
//! | `…:attendance` | string | who is in the room |
//! | `…:live` | sharded channel | each step's entries, as they are in the log |

use std::fmt;

use lockgate_proto::ids::{DeviceName, RoomId};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Whatever could be taken for a part of a key's form is written as `%XX`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

const ATTENDANCE: &str = ":attendance";
const LOG: &str = ":log";
const HEAD: &str = ":head";

/// What the keys of all rooms' logs look like.
pub(super) fn log_keys() -> String {
    format!("lockgate:{{*}}{LOG}")
}

/// What the keys of all rooms' books look like.
pub(super) fn attendance_keys() -> String {
    format!("lockgate:{{*}}{ATTENDANCE}")
}

/// The key of the head that belongs to a log.
pub(super) fn head_of(log: &str) -> Option<String> {
    log.strip_suffix(LOG).map(|prefix| format!("{prefix}{HEAD}"))
}

/// A key that holds nothing: writing it shows whether the store takes writes.
pub(super) const PROBE: &str = "lockgate:probe";

/// The keys of the room to which a book belongs.
pub(super) fn room_of(attendance: &str) -> Option<RoomKeys> {
    attendance.strip_suffix(ATTENDANCE).map(|prefix| RoomKeys { prefix: prefix.to_owned() })
}

/// The names of one room's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RoomKeys {
    prefix: String,
}

impl fmt::Display for RoomKeys {
    /// What all of them start with.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.prefix)
    }
}

impl RoomKeys {
    pub(super) fn new(room: &RoomId) -> RoomKeys {
        let part = |text| utf8_percent_encode(text, ENCODED);
        RoomKeys { prefix: format!("lockgate:{{{}:{}}}", part(room.tenant.as_str()), part(room.site.as_str())) }
    }

    pub(super) fn head(&self) -> String {
        format!("{}{HEAD}", self.prefix)
    }

    pub(super) fn log(&self) -> String {
        format!("{}{LOG}", self.prefix)
    }

    pub(super) fn ledgers(&self) -> String {
        format!("{}:ledgers", self.prefix)
    }

    pub(super) fn devices(&self) -> String {
        format!("{}:devices", self.prefix)
    }

    pub(super) fn shadow(&self, device: &DeviceName) -> String {
        format!("{}:shadow:{}", self.prefix, utf8_percent_encode(device.as_str(), ENCODED))
    }

    pub(super) fn attendance(&self) -> String {
        format!("{}{ATTENDANCE}", self.prefix)
    }

    pub(super) fn live(&self) -> String {
        format!("{}:live", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use lockgate_proto::ids::{Site, Tenant};

    use super::*;

    #[test]
    fn no_name_can_leave_its_room() {
        let room = |tenant: &str, site: &str| {
            RoomKeys::new(&RoomId { tenant: Tenant::new(tenant).unwrap(), site: Site::new(site).unwrap() })
        };
        assert_eq!(room("acme", "plant-1").log(), "lockgate:{acme:plant-1}:log");
        assert_eq!(room("a}:b", "Werk Süd").log(), "lockgate:{a%7D%3Ab:Werk%20S%C3%BCd}:log");
        assert_ne!(room("a:b", "c"), room("a", "b:c"));
        let device = DeviceName::new("pump 1").unwrap();
        assert_eq!(room("acme", "p").shadow(&device), "lockgate:{acme:p}:shadow:pump%201");
    }
}
