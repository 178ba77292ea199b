//! One item of a room's log.

use crate::attendance::Turn;
use crate::command::CommandUpdate;
use crate::description::Description;
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
    /// An agent or a person has come, or has left.
    Attendance(Turn),
    /// Something that people must look into.
    Alarm(Alarm),
    /// A command stands elsewhere than before, or has come further.
    Command(CommandUpdate),
    /// What a device measures and can be told to do.
    Description(Description),
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
            EntryBody::Attendance(_) => Some(EntryKind::Attendance),
            EntryBody::Alarm(_) => Some(EntryKind::Alarm),
            EntryBody::Command(_) => Some(EntryKind::Command),
            EntryBody::Description(_) => Some(EntryKind::Description),
            EntryBody::Unknown => None,
        }
    }

    /// The device that it is about, if it is about one.
    pub fn device(&self) -> Option<&DeviceName> {
        match self {
            EntryBody::Telemetry(telemetry) => Some(&telemetry.device),
            EntryBody::Presence(presence) => Some(&presence.device),
            EntryBody::Command(update) => Some(&update.device),
            EntryBody::Description(description) => Some(&description.device),
            EntryBody::Gap(_)
            | EntryBody::GapWithdrawn(_)
            | EntryBody::Attendance(_)
            | EntryBody::Alarm(_)
            | EntryBody::Unknown => None,
        }
    }
}

/// The kinds of entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// Readings.
    Telemetry,
    /// A device's coming and going.
    Presence,
    /// A loss.
    Gap,
    /// A loss that was none.
    GapWithdrawn,
    /// An agent's or a person's coming and going.
    Attendance,
    /// Something to look into.
    Alarm,
    /// What becomes of a command.
    Command,
    /// What a device is.
    Description,
}

impl EntryKind {
    /// All kinds, each at the place of its number.
    pub const ALL: [EntryKind; 8] = [
        EntryKind::Telemetry,
        EntryKind::Presence,
        EntryKind::Gap,
        EntryKind::GapWithdrawn,
        EntryKind::Attendance,
        EntryKind::Alarm,
        EntryKind::Command,
        EntryKind::Description,
    ];

    /// The number under which stores know the kind; never given to another one.
    pub fn number(self) -> u8 {
        match self {
            EntryKind::Telemetry => 0,
            EntryKind::Presence => 1,
            EntryKind::Gap => 2,
            EntryKind::GapWithdrawn => 3,
            EntryKind::Attendance => 4,
            EntryKind::Alarm => 5,
            EntryKind::Command => 6,
            EntryKind::Description => 7,
        }
    }

    /// The kind of a number.
    pub fn from_number(number: u8) -> Option<EntryKind> {
        EntryKind::ALL.get(usize::from(number)).copied()
    }

    /// The kind of a word.
    pub fn from_word(word: &str) -> Option<EntryKind> {
        EntryKind::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The kind's word in output, stores and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            EntryKind::Telemetry => "telemetry",
            EntryKind::Presence => "presence",
            EntryKind::Gap => "gap",
            EntryKind::GapWithdrawn => "gap_withdrawn",
            EntryKind::Attendance => "attendance",
            EntryKind::Alarm => "alarm",
            EntryKind::Command => "command",
            EntryKind::Description => "description",
        }
    }
}

/// Something that people must look into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// What it is.
    pub kind: AlarmKind,
    /// The agent that it is about, if it is about one.
    pub agent: Option<AgentName>,
    /// What a person can act on.
    pub text: String,
}

/// The kinds of alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmKind {
    /// Two agents hold one identity.
    AgentTwice,
    /// The site has more devices than get a shadow.
    TooManyDevices,
}

impl AlarmKind {
    /// The kind's word in output.
    pub fn as_str(self) -> &'static str {
        match self {
            AlarmKind::AgentTwice => "agent_twice",
            AlarmKind::TooManyDevices => "too_many_devices",
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
