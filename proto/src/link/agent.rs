//! The agent's end of the edge link: which record is sent when.
//!
//! Pure. The shell owns the socket and a handle of the queue. The link never holds more of the queue
//! than what one answer to a `Read` brings.

mod flight;
mod lanes;
mod machine;
mod pump;

use std::time::Duration;

use bytes::Bytes;

use crate::command::{CommandUpdates, ExecutorInput, JournalMark};
use crate::gap::Gap;
use crate::ids::{AgentName, Site};
use crate::link::close::CloseCode;
use crate::link::frame::{AgentFrame, EpochHeld, GatewayFrame};
use crate::ranges::{RangeSet, SeqRange};
use crate::seq::{Epoch, Lane, Seq};
use crate::time::{MonoTime, UnixMicros};

pub use machine::AgentLink;

/// What a link is made with.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The agent's name, as in its token.
    pub agent: AgentName,
    /// The site that it is configured for.
    pub site: Site,
    /// Version and commit.
    pub build: String,
}

/// What the queue holds, oldest epoch first, the current one last: every epoch of which something is
/// on the disk, or for which no [`Action::EpochClosed`] has come yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// The epochs.
    pub epochs: Vec<EpochHeld>,
    /// What the queue knows to be lost: each gap until it is settled, and one with an open end for as long
    /// as its epoch is named, because nothing else on the disk shows it to a store that went back.
    pub gaps: Vec<Gap>,
}

/// Names a `Read` until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// A record from the queue, its times already wall times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRecord {
    /// Its number.
    pub seq: Seq,
    /// When the agent took it, which no device's clock has a say in. `None`: not known, so never too old.
    pub taken_at: Option<UnixMicros>,
    /// The encoded record.
    pub record: Bytes,
}

/// What happens to a link.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// There is a fresh connection.
    Connected {
        /// What the queue holds at this moment.
        holdings: Holdings,
        /// The agent's clock, if it has the time.
        clock: Option<UnixMicros>,
        /// The journal of commands; `None`: the agent takes none.
        journal: Option<JournalMark>,
    },
    /// The gateway said something.
    Frame(GatewayFrame),
    /// A message of the gateway was none (`convert` refused it).
    BadFrame(String),
    /// A record of the current epoch is in the queue and can be read.
    Appended {
        /// Its lane.
        lane: Lane,
        /// Its number; all numbers below it are given, too.
        seq: Seq,
    },
    /// Answer to a `Read`: what was read and what the queue does not have. Together they account for
    /// the range from its start on; what is in neither can't be had now (its time is not known yet, or
    /// the answer was full). An answer of nothing at all: ask later.
    Records {
        /// The `Read` that this answers.
        request: ReadId,
        /// Ascending.
        records: Vec<ReadRecord>,
        /// Numbers that the queue does not hold.
        missing: RangeSet,
    },
    /// The queue evicted or lost something, or the time became known: ask again where nothing could be had.
    QueueChanged {
        /// What it holds now.
        holdings: Holdings,
    },
    /// What the executor tells in this connection.
    CommandUpdates(CommandUpdates),
    /// The time of the last `ArmTimer` has come.
    TimerFired,
    /// The connection is gone.
    LinkLost,
    /// The agent stops: send what is new, wait for the acknowledgements in flight, close.
    DrainRequested,
}

/// What the shell must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send a frame.
    Send(AgentFrame),
    /// Read from the queue: records of this range, from its start, about so many bytes but at least one record.
    Read {
        /// Comes back in the answer.
        request: ReadId,
        /// Which start of the agent.
        epoch: Epoch,
        /// Which lane.
        lane: Lane,
        /// Which numbers.
        range: SeqRange,
        /// About so many bytes of encoded records.
        bytes_max: usize,
    },
    /// What the backbone has, of one lane. It replaces what the queue knew.
    Settled {
        /// Which start of the agent.
        epoch: Epoch,
        /// Which lane.
        lane: Lane,
        /// Stored, or told as a gap.
        set: RangeSet,
    },
    /// The backbone has heard that nothing will be added to this epoch: once nothing unsettled of it is
    /// on the disk, the queue need not name it any more.
    EpochClosed(Epoch),
    /// The record can't be used by anyone; keep it for people to look at. It is settled.
    DeadLetter {
        /// Which start of the agent.
        epoch: Epoch,
        /// Which lane.
        lane: Lane,
        /// Its number.
        seq: Seq,
        /// Why, for people.
        reason: String,
    },
    /// A loss that the link found: the queue remembers it until it is settled, so that it is told with
    /// the same reason after a restart.
    Gap(Gap),
    /// The gateway's clock: it showed `server` at some instant between the two.
    ServerTime {
        /// When the question left.
        asked: MonoTime,
        /// When the answer came.
        answered: MonoTime,
        /// What it said.
        server: UnixMicros,
    },
    /// Feed the executor. Comes only of a gateway that moves commands; that the connection is gone, the shell tells.
    Executor(ExecutorInput),
    /// The gateway asks to come back later, or elsewhere; a `Close` follows when nothing is in flight.
    GoAway {
        /// Why, for people.
        reason: String,
        /// Not before so much time has passed.
        reconnect_after: Duration,
        /// Other gateways, best first.
        gateways: Vec<String>,
    },
    /// Close the connection.
    Close {
        /// The row of the table.
        code: CloseCode,
        /// What happened, for the log.
        why: String,
    },
    /// Feed `TimerFired` at this time. Replaces the time before.
    ArmTimer(MonoTime),
}

#[cfg(test)]
mod command_tests;
#[cfg(test)]
mod tests;
