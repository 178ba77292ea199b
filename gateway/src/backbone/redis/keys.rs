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
//! | `…:described` | hash | by device: order of its description, its tags |
//! | `…:descriptions` | hash | by device: what it was last described as |
//! | `…:attendance` | string | who is in the room |
//! | `…:books` | hash | by agent, or `` for devices that none has announced: version, mark |
//! | `…:commands` | hash | by id: the agent in whose book it stands, and the command |
//! | `…:open` | sorted set | agent and id of each command that has not ended |
//! | `…:waits` | sorted set | the same of those that are not overdue, by deadline |
//! | `…:history` | sorted set | ids by when they were accepted |
//! | `…:over` | sorted set | ids of those that have ended, by when they and their deadline were over |
//! | `…:told` | sharded channel | what changes in books |
//! | `…:live` | sharded channel | each step's entries, as they are in the log |
//! | `lockgate:{instances}:urls` | hash | of no room: by instance, until when it is there, what it serves, where it is reached |
//! | `lockgate:{instances}:waits` | sorted set | of no room: rooms in which commands wait, by the earliest deadline that is known |

use std::fmt;

use lockgate_proto::ids::{DeviceName, RoomId, Site, Tenant};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::slots_logic::slot_of;

/// Whatever could be taken for a part of a key's form is written as `%XX`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

const ATTENDANCE: &str = ":attendance";
const LOG: &str = ":log";
const HEAD: &str = ":head";
const WAITS: &str = ":waits";

/// What the keys of all rooms' logs look like.
pub(super) fn log_keys() -> String {
    format!("lockgate:{{*}}{LOG}")
}

/// What the keys of all rooms' books look like.
pub(super) fn attendance_keys() -> String {
    format!("lockgate:{{*}}{ATTENDANCE}")
}

/// What the keys of all rooms' waiting commands look like. A room's tag has a colon.
pub(super) fn waits_keys() -> String {
    format!("lockgate:{{*:*}}{WAITS}")
}

/// Tags that are tried for [`probe`]; a node has one slot of some hundred at least.
const PROBE_TAGS: u32 = 20_000;

/// A key that holds nothing, in a slot that fits: writing it shows whether the store takes writes.
pub(super) fn probe(fits: impl Fn(u16) -> bool) -> Option<String> {
    let tag = (0..PROBE_TAGS).map(|tag| tag.to_string()).find(|tag| fits(slot_of(tag)))?;
    Some(format!("lockgate-probe:{{{tag}}}"))
}

/// The names of one room's keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RoomKeys {
    prefix: String,
    slot: u16,
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
        RoomKeys::tagged(&format!("{}:{}", part(room.tenant.as_str()), part(room.site.as_str())))
    }

    /// Those of what belongs to no room. A room's tag has a colon.
    pub(super) fn of_no_room() -> RoomKeys {
        RoomKeys::tagged("instances")
    }

    fn tagged(tag: &str) -> RoomKeys {
        RoomKeys { prefix: format!("lockgate:{{{tag}}}"), slot: slot_of(tag) }
    }

    /// Those of the room that has this log.
    pub(super) fn of_log(log: &str) -> Option<RoomKeys> {
        RoomKeys::of(log, LOG)
    }

    /// Those of the room that has this book.
    pub(super) fn of_attendance(book: &str) -> Option<RoomKeys> {
        RoomKeys::of(book, ATTENDANCE)
    }

    /// Those of the room that has these waiting commands.
    pub(super) fn of_waits(waits: &str) -> Option<RoomKeys> {
        RoomKeys::of(waits, WAITS)
    }

    /// Whose they are.
    pub(super) fn room(&self) -> Option<RoomId> {
        let (tenant, site) = self.prefix.strip_prefix("lockgate:{")?.strip_suffix('}')?.split_once(':')?;
        let name = |part: &str| percent_decode_str(part).decode_utf8().ok().map(std::borrow::Cow::into_owned);
        Some(RoomId { tenant: Tenant::new(name(tenant)?).ok()?, site: Site::new(name(site)?).ok()? })
    }

    fn of(key: &str, suffix: &str) -> Option<RoomKeys> {
        let tag = key.strip_suffix(suffix)?.strip_prefix("lockgate:{")?.strip_suffix('}')?;
        Some(RoomKeys::tagged(tag))
    }

    /// Where a cluster has them.
    pub(super) fn slot(&self) -> u16 {
        self.slot
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

    pub(super) fn described(&self) -> String {
        format!("{}:described", self.prefix)
    }

    pub(super) fn descriptions(&self) -> String {
        format!("{}:descriptions", self.prefix)
    }

    pub(super) fn attendance(&self) -> String {
        format!("{}{ATTENDANCE}", self.prefix)
    }

    pub(super) fn urls(&self) -> String {
        format!("{}:urls", self.prefix)
    }

    pub(super) fn books(&self) -> String {
        format!("{}:books", self.prefix)
    }

    pub(super) fn commands(&self) -> String {
        format!("{}:commands", self.prefix)
    }

    pub(super) fn open(&self) -> String {
        format!("{}:open", self.prefix)
    }

    pub(super) fn history(&self) -> String {
        format!("{}:history", self.prefix)
    }

    pub(super) fn over(&self) -> String {
        format!("{}:over", self.prefix)
    }

    pub(super) fn told(&self) -> String {
        format!("{}:told", self.prefix)
    }

    pub(super) fn waits(&self) -> String {
        format!("{}{WAITS}", self.prefix)
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
        let strange = room("a}:b", "Werk Süd");
        assert_eq!(RoomKeys::of_waits(&strange.waits()), Some(strange.clone()));
        assert_eq!(strange.room().unwrap().to_string(), "a}:b/Werk Süd");
        assert_eq!(RoomKeys::of_no_room().room(), None);
        assert_eq!(RoomKeys::of_log(&strange.log()), Some(strange));
        assert_eq!(RoomKeys::of_log("lockgate:{acme:plant}:head"), None);
        let device = DeviceName::new("pump 1").unwrap();
        assert_eq!(room("acme", "p").shadow(&device), "lockgate:{acme:p}:shadow:pump%201");
    }
}
