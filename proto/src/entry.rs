//! One item of a room's log.

use crate::gap::Gap;
use crate::ids::{AgentName, DeviceName};
use crate::position::{Position, Stamp};
use crate::record::{Presence, Telemetry};
use crate::seq::{Epoch, Lane, Seq};
use crate::time::UnixMicros;

/// An entry as a reader gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Where and how it stands in the log.
    pub header: EntryHeader,
    /// What it says.
    pub body: EntryBody,
}

/// All of an entry but its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    /// Its place in the room's log.
    pub position: Position,
    /// Stamp of the entry before it.
    pub previous: Stamp,
    /// When a gateway received what it was made of.
    pub received_at: UnixMicros,
    /// The record that it was made of, if it was made of one.
    pub origin: Option<Origin>,
}

/// The record that an entry was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Who sent it.
    pub agent: AgentName,
    /// The start of the agent that it was taken in.
    pub epoch: Epoch,
    /// Place of the epoch among those of its agent. With `seq` it tells what is newer.
    pub epoch_order: u64,
    /// The lane of the number.
    pub lane: Lane,
    /// Its number.
    pub seq: Seq,
    /// Taken before the connection that brought it.
    pub backlog: bool,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq)]
pub enum EntryBody {
    /// Readings of one device.
    Telemetry(Telemetry),
    /// A device came or went.
    Presence(Presence),
    /// Records of an agent can't be had again.
    Gap(AgentGap),
    /// Records told as lost have come after all; `gap.range` is what is no longer missing.
    GapWithdrawn(AgentGap),
    /// Something that a later version knows. Its place in the log counts all the same.
    Unknown,
}

impl EntryBody {
    /// Which of the kinds it is; `None` for one of a later version.
    pub fn kind(&self) -> Option<EntryKind> {
        match self {
            EntryBody::Telemetry(_) => Some(EntryKind::Telemetry),
            EntryBody::Presence(_) => Some(EntryKind::Presence),
            EntryBody::Gap(_) => Some(EntryKind::Gap),
            EntryBody::GapWithdrawn(_) => Some(EntryKind::GapWithdrawn),
            EntryBody::Unknown => None,
        }
    }

    /// The device that it is about, if it is about one.
    pub fn device(&self) -> Option<&DeviceName> {
        match self {
            EntryBody::Telemetry(telemetry) => Some(&telemetry.device),
            EntryBody::Presence(presence) => Some(&presence.device),
            EntryBody::Gap(_) | EntryBody::GapWithdrawn(_) | EntryBody::Unknown => None,
        }
    }
}

/// The kinds of entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// Readings.
    Telemetry,
    /// Coming and going.
    Presence,
    /// A loss.
    Gap,
    /// A loss that was none.
    GapWithdrawn,
}

impl EntryKind {
    /// All kinds.
    pub const ALL: [EntryKind; 4] =
        [EntryKind::Telemetry, EntryKind::Presence, EntryKind::Gap, EntryKind::GapWithdrawn];

    /// The kind's word in output, stores and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            EntryKind::Telemetry => "telemetry",
            EntryKind::Presence => "presence",
            EntryKind::Gap => "gap",
            EntryKind::GapWithdrawn => "gap_withdrawn",
        }
    }
}

/// A gap, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentGap {
    /// The agent whose records are lost.
    pub agent: AgentName,
    /// What is lost.
    pub gap: Gap,
}
