//! Made-up logs for the tests of rooms and subscriptions.

use std::ops::RangeInclusive;

use bytes::Bytes;
use lockgate_proto::ids::{DeviceName, Site};
use lockgate_proto::position::{Offset, Position, Stamp};

use crate::backbone::{EntryKind, LoggedEntry};

/// The stamp of an entry in one of several made-up histories.
fn stamp(history: u64, offset: u64) -> Stamp {
    if offset == 0 { Stamp(0) } else { Stamp(history << 32 | offset) }
}

/// The position of an entry in a made-up history.
pub(crate) fn position(history: u64, offset: u64) -> Position {
    Position { offset: Offset(offset), stamp: stamp(history, offset) }
}

/// One entry of a made-up history.
pub(crate) fn device_entry(history: u64, offset: u64, device: &str) -> LoggedEntry {
    LoggedEntry {
        position: position(history, offset),
        previous: stamp(history, offset - 1),
        device: Some(DeviceName::new(device).unwrap()),
        kind: EntryKind::Telemetry,
        bytes: Bytes::from(format!("entry {offset} of {history}")),
    }
}

/// Linked entries of a made-up history.
pub(crate) fn chain(history: u64, offsets: RangeInclusive<u64>) -> Vec<LoggedEntry> {
    offsets.map(|offset| device_entry(history, offset, "pump")).collect()
}

pub(crate) fn site() -> Site {
    Site::new("plant").unwrap()
}
