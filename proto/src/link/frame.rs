//! The frames of the edge link.

use std::time::Duration;

use bytes::Bytes;

use crate::command::{CommandUpdates, Confirm, Dispatch, JournalHeard, JournalMark};
use crate::gap::Gap;
use crate::ids::{AgentName, SessionId, Site};
use crate::limits;
use crate::ranges::RangeSet;
use crate::seq::{Epoch, Lane, Seq};
use crate::time::UnixMicros;

/// What an agent says.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentFrame {
    /// The first frame of a connection.
    Hello(Hello),
    /// Records and gaps.
    Publish(Publish),
    /// Asks for the gateway's time.
    Ping {
        /// Comes back in the answer.
        id: u64,
    },
    /// What the journal says of commands.
    CommandUpdates(CommandUpdates),
}

/// What a gateway says.
#[derive(Clone, Debug, PartialEq)]
pub enum GatewayFrame {
    /// Answer to a Hello that was let in.
    Welcome(Welcome),
    /// What is stored, and new credit.
    Ack(Ack),
    /// A record that can't be used; it has become a gap.
    Reject(Reject),
    /// Answer to a Ping.
    Pong {
        /// That of the Ping.
        id: u64,
        /// The gateway's clock.
        server_time: UnixMicros,
    },
    /// Leave, and come back.
    GoAway(GoAway),
    /// Commands.
    Dispatch(Dispatch),
    /// What the journal said is stored.
    CommandConfirm(Confirm),
}

/// Who comes, and what it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Hello {
    /// The agent's name.
    pub agent: AgentName,
    /// The site that it is configured for; `None`: it does not say.
    pub site: Option<Site>,
    /// Oldest first, the current one last; never empty.
    pub epochs: Vec<EpochHeld>,
    /// The agent's clock, if it has the time.
    pub clock: Option<UnixMicros>,
    /// Version and commit.
    pub build: String,
    /// What this agent can do beyond the first version of the protocol.
    pub capabilities: Vec<String>,
    /// Gaps with an open end.
    pub gaps: Vec<Gap>,
    /// Its journal of commands; `None`: it takes none.
    pub journal: Option<JournalMark>,
}

impl Hello {
    /// The epoch that this start of the agent opened.
    pub fn current(&self) -> Option<Epoch> {
        self.epochs.last().map(|held| held.epoch)
    }
}

/// What is on an agent's disk of one of its starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochHeld {
    /// Which start.
    pub epoch: Epoch,
    /// Its lanes, in the order of [`Lane::ALL`].
    pub lanes: [LaneHeld; 2],
}

impl EpochHeld {
    /// One lane.
    pub fn lane(&self, lane: Lane) -> &LaneHeld {
        &self.lanes[lane.index()]
    }
}

/// What is on an agent's disk of one lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneHeld {
    /// What can be read back, acknowledged or not.
    pub held: RangeSet,
    /// The highest number given to a record, as far as the disk still knows.
    pub last: Seq,
}

/// What the backbone knows, and on which terms the agent may send.
#[derive(Clone, Debug, PartialEq)]
pub struct Welcome {
    /// The session, for logs.
    pub session: SessionId,
    /// What needs no sending. It replaces whatever the agent believed.
    pub epochs: Vec<EpochSettled>,
    /// Records taken before this are not wanted.
    pub retention_horizon: Option<UnixMicros>,
    /// The gateway's clock.
    pub server_time: UnixMicros,
    /// Bounds and credit.
    pub limits: LinkLimits,
    /// How the agent goes on telling of its journal; `None`: the gateway moves no commands.
    pub journal_heard: Option<JournalHeard>,
}

/// What is stored or told as a gap, of one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochSettled {
    /// Which start of the agent.
    pub epoch: Epoch,
    /// At most one item per lane.
    pub lanes: Vec<(Lane, RangeSet)>,
}

/// The terms of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkLimits {
    /// Largest message.
    pub message_bytes_max: usize,
    /// Largest encoded record.
    pub record_bytes_max: usize,
    /// Bytes of records that may be sent and not yet acknowledged.
    pub window_bytes: u64,
    /// The same in records.
    pub window_records: u64,
    /// The gateway pings at this interval.
    pub ping_interval: Duration,
}

impl Default for LinkLimits {
    fn default() -> LinkLimits {
        LinkLimits {
            message_bytes_max: limits::EDGE_MESSAGE_BYTES_MAX,
            record_bytes_max: limits::RECORD_BYTES_MAX,
            window_bytes: limits::WINDOW_BYTES,
            window_records: limits::WINDOW_RECORDS,
            ping_interval: limits::PING_INTERVAL,
        }
    }
}

/// Records of one epoch and lane, and gaps of any.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    /// The start of the agent that the records were taken in.
    pub epoch: Epoch,
    /// Their lane.
    pub lane: Lane,
    /// Ascending.
    pub records: Vec<SequencedRecord>,
    /// Taken before this connection.
    pub backlog: bool,
    /// Losses, of any epoch that the Hello named.
    pub gaps: Vec<Gap>,
    /// The highest number given to a record in this epoch and lane.
    pub last: Seq,
}

/// An encoded record and its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequencedRecord {
    /// Its number in epoch and lane.
    pub seq: Seq,
    /// The encoded record.
    pub record: Bytes,
}

/// What has reached the configured durability, and new credit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ack {
    /// The settled sets of the lanes that were touched.
    pub epochs: Vec<EpochSettled>,
    /// New terms, where they changed.
    pub limits: Option<LinkLimits>,
    /// No new records before so much time has passed.
    pub retry_after: Option<Duration>,
}

/// A record that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The start of the agent that it was taken in.
    pub epoch: Epoch,
    /// Its lane.
    pub lane: Lane,
    /// Its number.
    pub seq: Seq,
    /// Why, for people.
    pub reason: String,
}

/// A request to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoAway {
    /// Why, for people.
    pub reason: String,
    /// Come back after so long.
    pub reconnect_after: Duration,
    /// Other gateways, best first.
    pub gateways: Vec<String>,
}
