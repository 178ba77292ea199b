//! What goes into a backbone and what comes out of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::entry::EntryKind;
use lockgate_proto::ids::{AgentName, DeviceName, InstanceId, Tag};
use lockgate_proto::ledger::Ledger;
use lockgate_proto::position::{Position, Stamp};
use lockgate_proto::reading::Reading;
use lockgate_proto::seq::Seq;
use lockgate_proto::time::UnixMicros;
use lockgate_runtime::dial::GatewayUrl;

/// The world's time, as the gateway knows it.
pub type Clock = Arc<dyn Fn() -> UnixMicros + Send + Sync>;

/// How long a room's log and its commands are kept. The newest entry always stays, and so do open commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Entries that were received longer ago go; `None`: age does not matter.
    pub age: Option<Duration>,
    /// Bytes of entries that one room may have; the oldest beyond go. `None`: as many as there come.
    pub room_bytes_max: Option<u64>,
    /// Commands go so long after they have ended and their deadline has passed; `None`: they stay.
    pub commands: Option<Duration>,
}

/// What became of a request for an agent's ledger.
#[derive(Clone, Debug)]
pub enum Opened {
    /// The session may write; this is what the backbone knows of the agent.
    Granted(Box<Ledger>),
    /// The agent's current epoch has been superseded: two agents hold one identity.
    Superseded,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// Applied, now or by an earlier request for the same step.
    Done,
    /// Not applied: another session writes, or the step is not the next. The session is over.
    Refused,
}

/// One entry of a room's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEntry {
    /// Its place and mark.
    pub position: Position,
    /// The mark of the entry before it; zero before the first.
    pub previous: Stamp,
    /// The device that it is about; `None` for gaps.
    pub device: Option<DeviceName>,
    /// What it is.
    pub kind: EntryKind,
    /// The encoded wire `Entry`: encoded once, the same bytes for everyone.
    pub bytes: Bytes,
}

/// How much one read may return. At least one entry comes where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimit {
    /// Most entries.
    pub entries_max: u32,
    /// Most bytes of [`LoggedEntry::bytes`] together; the first entry may exceed it alone.
    pub bytes_max: usize,
}

/// What follows a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogRead {
    /// The entries after it, without a hole; none where it is the newest.
    Entries(Vec<LoggedEntry>),
    /// Entries after it have been dropped by retention.
    Trimmed,
    /// The position is of another history than this log's.
    Diverged,
}

/// Where a record stands among those of its agent: *newer* means later in this order, never by the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadingOrder {
    /// Place of the epoch among those of its agent.
    pub epoch_order: u64,
    /// The record's number in its epoch and lane.
    pub seq: u64,
}

impl ReadingOrder {
    /// The place of a record.
    pub fn new(epoch_order: u64, seq: Seq) -> ReadingOrder {
        ReadingOrder { epoch_order, seq: seq.get() }
    }
}

/// The last known value of one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct ShadowMetric {
    /// The value, its unit, its time.
    pub reading: Reading,
    /// When the gateway received it.
    pub received_at: UnixMicros,
    /// Where its record stands among those of its agent.
    pub order: ReadingOrder,
}

/// The last known state of one device.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceShadow {
    /// Whose state it is.
    pub device: DeviceName,
    /// The agent that told it.
    pub agent: AgentName,
    /// Whether the device is there; `None` where nobody said.
    pub online: Option<bool>,
    /// It is not there, and nobody said so but its silence.
    pub stale: bool,
    /// When the device last showed a sign of life, as far as it is known.
    pub last_seen: Option<UnixMicros>,
    /// By name of the metric.
    pub metrics: Vec<ShadowMetric>,
}

/// A device in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSummary {
    /// Its name.
    pub device: DeviceName,
    /// The agent that tells of it.
    pub agent: AgentName,
    /// Whether the device is there; `None` where nobody said.
    pub online: Option<bool>,
    /// It is not there, and nobody said so but its silence.
    pub stale: bool,
    /// When the device last showed a sign of life, as far as it is known.
    pub last_seen: Option<UnixMicros>,
    /// How many metrics are known of it.
    pub metrics: usize,
    /// By what it can be selected, as it was last described.
    pub tags: Vec<Tag>,
}

/// The state of a room.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The shadows know every entry up to here, and perhaps later ones.
    pub position: Position,
    /// By name of the device.
    pub devices: Vec<DeviceShadow>,
}

/// A gateway among those that share a backbone, as it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Which run of a gateway it is.
    pub id: InstanceId,
    /// Where it is reached.
    pub url: GatewayUrl,
    /// Whether it lets agents in.
    pub edge: bool,
    /// Whether it lets people's programs in.
    pub client: bool,
}

/// Whether a backbone takes writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does, as far as anyone knows.
    Up,
    /// It does not; it is tried again until it does.
    Down {
        /// What a person can act on.
        reason: String,
    },
}

/// Why a backbone can't answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackboneError {
    /// The store can't be reached, is full or busy. A write may or may not have happened; asking the same
    /// again, later, is safe and may succeed.
    #[error("the backbone is not available: {reason}")]
    Unavailable {
        /// What a person can act on.
        reason: String,
    },
    /// The store gives back what nobody stored. Trying again is of no use; a person is needed.
    #[error("the backbone's store is damaged: {what}")]
    Damaged {
        /// What was found.
        what: String,
    },
}

impl BackboneError {
    /// What happened, without the words that say whose error it is.
    pub fn reason(&self) -> &str {
        match self {
            BackboneError::Unavailable { reason } => reason,
            BackboneError::Damaged { what } => what,
        }
    }

    /// Whether asking again may succeed without anyone's help.
    pub fn may_retry(&self) -> bool {
        match self {
            BackboneError::Unavailable { .. } => true,
            BackboneError::Damaged { .. } => false,
        }
    }
}
