//! The gateway's end of the edge link: what a session of one agent does with each frame.
//!
//! Pure. The shell authenticates the agent, calls the backbone and moves frames. Everything the
//! session stores goes through steps: one at a time, numbered, each the whole new ledger with the
//! entries it stands for. What comes meanwhile is gathered for the next one.

mod intake;
mod session;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::command::{JournalHeard, JournalMark};
use crate::description::Description;
use crate::entry::{EntryKind, Origin};
use crate::ids::{AgentName, DeviceName, SessionId, Site};
use crate::ledger::Ledger;
use crate::link::close::CloseCode;
use crate::link::frame::{AgentFrame, GatewayFrame, LinkLimits, Reject};
use crate::reading::Reading;
use crate::seq::Epoch;
use crate::time::{MonoTime, UnixMicros};

pub use session::EdgeSession;

/// The two clocks of a shell, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For waits.
    pub mono: MonoTime,
    /// For what is stored and told.
    pub wall: UnixMicros,
}

/// What a session is made with.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// The agent by its token; the Hello must name the same.
    pub agent: AgentName,
    /// Its site by its token; the Hello must name the same, or none.
    pub site: Site,
    /// Random.
    pub session: SessionId,
    /// Records taken longer ago than this are not wanted; `None`: all are.
    pub retention: Option<Duration>,
    /// Bounds and credit.
    pub limits: LinkLimits,
}

/// What happens to a session.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The agent said something.
    Frame(AgentFrame),
    /// A message of the agent was none (`convert` refused it).
    BadFrame(String),
    /// Answer to `OpenSession`: the session may write; this is the ledger, as it now stands.
    Opened(Ledger),
    /// Answer to `OpenSession`: the agent is not the latest holder of its identity.
    Superseded,
    /// Answer to `OpenSession`: the backbone can't be reached, or it is not known what it did.
    OpenUnknown,
    /// Answer to `Step`: it is stored, as durably as is configured.
    StepDone,
    /// Answer to `Step`: the session is over.
    StepRefused,
    /// Answer to `Step`: nobody knows whether it is stored.
    StepUnknown,
    /// Answer to `OpenJournal`: what the Welcome says of it.
    JournalHeard(JournalHeard),
    /// The time of the last `ArmTimer` has come.
    TimerFired,
    /// The agent is beyond its rate: no new records before so much time has passed.
    Throttle {
        /// So much time.
        retry_after: Duration,
    },
    /// New terms.
    Limits(LinkLimits),
    /// The instance leaves. The agent is told; it sends nothing new, waits for what is in flight and
    /// closes. A shell that has waited long enough closes by itself.
    DrainRequested {
        /// The agent should come back after so long.
        reconnect_after: Duration,
        /// To one of these, best first; empty: to the same address.
        gateways: Vec<String>,
    },
}

/// What the shell must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Ask the backbone for the right to write.
    OpenSession {
        /// The claim.
        session: SessionId,
        /// Those of the Hello: oldest first, the current one last.
        epochs: Vec<Epoch>,
    },
    /// The session may write: send a [courier](crate::command::Courier) for the agent's commands.
    OpenJournal(JournalMark),
    /// Write one step.
    Step(Step),
    /// Send a frame.
    Send(GatewayFrame),
    /// Close the connection and end the session.
    Close {
        /// The row of the table.
        code: CloseCode,
        /// What happened, for the log.
        why: String,
    },
    /// Feed `TimerFired` at this time. Replaces the time before.
    ArmTimer(MonoTime),
    /// Something for people to look into; the session goes on or ends by itself.
    Alarm(Alarm),
}

/// What people must hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Two holders of one identity.
    AgentTwice,
    /// Records of one step could not be used.
    Rejected {
        /// How many.
        records: u64,
        /// The first of them, and why.
        first: Reject,
    },
}

/// One atomic write of a session. Number `n` is applied only onto `n - 1` of the same session.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The session.
    pub session: SessionId,
    /// From 1 in each session.
    pub n: u64,
    /// What the ledger is afterwards.
    pub ledger: Arc<Ledger>,
    /// What is appended to the room's log, in this order.
    pub entries: Arc<[NewEntry]>,
}

/// An entry that has no place yet.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEntry {
    /// When the gateway received it.
    pub received_at: UnixMicros,
    /// Whose record it was, if it was one.
    pub origin: Option<Origin>,
    /// What kind of entry it is.
    pub kind: EntryKind,
    /// The device that it is about, if it is about one.
    pub device: Option<DeviceName>,
    /// An encoded record, or an encoded gap: `encode_entry` puts a header in front of it.
    pub body: Bytes,
    /// What it says of the present; to be taken where (`epoch_order`, `seq`) of the origin is newer.
    pub shadow: Vec<ShadowUpdate>,
}

/// What an entry says of a device's present state.
#[derive(Clone, Debug, PartialEq)]
pub enum ShadowUpdate {
    /// The newest reading of one metric.
    Metric(Reading),
    /// It is there, or gone.
    Online {
        /// Which of them.
        online: bool,
        /// Gone, and nobody said so but its silence.
        stale: bool,
        /// Since when it is known.
        at: UnixMicros,
    },
    /// What it is.
    Described(Description),
}

#[cfg(test)]
mod tests;
