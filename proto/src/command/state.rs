//! The lifecycle of a command, and who proved each state.

use std::sync::Arc;

use super::{CommandId, Fields};
use crate::ids::{CommandName, DeviceName};
use crate::time::UnixMicros;

/// Where a command stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Stored; no agent has announced its device yet.
    Accepted,
    /// On the pending list of the device's agent.
    Queued,
    /// Bound to a boot and a journal of the agent; its bytes may have left.
    Dispatched,
    /// In the agent's journal, on its disk.
    Delivered,
    /// The agent has begun; since then the device may act at any moment.
    Executing,
    /// The deadline has passed, and the agent alone can say what became of it.
    Unknown,
    /// It has ended.
    Ended(Outcome),
}

impl State {
    /// The words of all states and outcomes, in the order of a command's life.
    pub const WORDS: [&str; 11] = [
        "accepted",
        "queued",
        "dispatched",
        "delivered",
        "executing",
        "unknown",
        "succeeded",
        "failed",
        "expired",
        "cancelled",
        "interrupted",
    ];

    /// The word in output, stores and metrics; one of [`State::WORDS`].
    pub fn as_str(&self) -> &'static str {
        match self {
            State::Accepted => "accepted",
            State::Queued => "queued",
            State::Dispatched => "dispatched",
            State::Delivered => "delivered",
            State::Executing => "executing",
            State::Unknown => "unknown",
            State::Ended(outcome) => outcome.as_str(),
        }
    }

    /// The outcome, if it has ended.
    pub fn outcome(&self) -> Option<&Outcome> {
        match self {
            State::Ended(outcome) => Some(outcome),
            State::Accepted
            | State::Queued
            | State::Dispatched
            | State::Delivered
            | State::Executing
            | State::Unknown => None,
        }
    }

    /// Whether a sender need not wait any longer.
    pub fn ends_the_wait(&self) -> bool {
        *self == State::Unknown || self.outcome().is_some()
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The device did it, and may have said something.
    Succeeded(Fields),
    /// It was not done, or not as ordered.
    Failed(Failure),
    /// Its deadline passed before it began: it has had no effect and will have none.
    Expired,
    /// It was withdrawn before it began: the same holds.
    Cancelled,
    /// Nobody knows whether it took effect; it never will again.
    Interrupted,
}

impl Outcome {
    /// The word in output, stores and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Outcome::Succeeded(_) => "succeeded",
            Outcome::Failed(_) => "failed",
            Outcome::Expired => "expired",
            Outcome::Cancelled => "cancelled",
            Outcome::Interrupted => "interrupted",
        }
    }
}

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// What programs act on.
    pub kind: FailureKind,
    /// What people act on; at most [`crate::limits::TEXT_BYTES_MAX`] bytes.
    pub reason: Arc<str>,
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureKind {
    /// The device said no.
    Refused,
    /// The device said nothing in time. Whether it acted is not known.
    NoReply,
    /// The agent could not write it to the device.
    NotSent,
    /// The agent has no such device, or the device no such command.
    Unsupported,
    /// The agent holds another command of the same id.
    IdTaken,
}

impl FailureKind {
    /// The kind's word in output.
    pub fn as_str(self) -> &'static str {
        match self {
            FailureKind::Refused => "refused",
            FailureKind::NoReply => "no_reply",
            FailureKind::NotSent => "not_sent",
            FailureKind::Unsupported => "unsupported",
            FailureKind::IdTaken => "id_taken",
        }
    }

    /// Who can know of it.
    fn witness(self) -> Witness {
        match self {
            FailureKind::Refused => Witness::Device,
            FailureKind::NoReply | FailureKind::NotSent | FailureKind::Unsupported | FailureKind::IdTaken => {
                Witness::Agent
            }
        }
    }
}

/// Who proved a state, the nearest to the device last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Witness {
    /// A gateway stored it in the backbone.
    Gateway,
    /// The agent has it in its journal.
    Agent,
    /// The device answered.
    Device,
}

impl Witness {
    /// The word in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Witness::Gateway => "gateway",
            Witness::Agent => "agent",
            Witness::Device => "device",
        }
    }
}

/// A state, and who proved it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Standing {
    /// Where the command stands.
    pub state: State,
    /// Who says so.
    pub witness: Witness,
}

impl Standing {
    /// What the backbone found by itself.
    pub fn by_gateway(state: State) -> Standing {
        Standing { state, witness: Witness::Gateway }
    }

    /// What the agent told: of its own knowledge, or of the device's answer.
    pub fn by_agent(state: State) -> Standing {
        let witness = match &state {
            State::Ended(Outcome::Succeeded(_)) => Witness::Device,
            State::Ended(Outcome::Failed(failure)) => failure.kind.witness(),
            State::Ended(Outcome::Expired | Outcome::Cancelled | Outcome::Interrupted)
            | State::Accepted
            | State::Queued
            | State::Dispatched
            | State::Delivered
            | State::Executing
            | State::Unknown => Witness::Agent,
        };
        Standing { state, witness }
    }
}

/// How far a long command has come, as the device tells it. It is shown, and kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Progress {
    /// From 0 to 100, where the device can say.
    pub percent: Option<u8>,
    /// In the device's words; at most [`crate::limits::TEXT_BYTES_MAX`] bytes.
    pub text: Arc<str>,
}

/// What a room is told of a command: an entry's body.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CommandUpdate {
    /// Which command.
    pub id: CommandId,
    /// Whose it is.
    pub device: DeviceName,
    /// What it is.
    pub name: CommandName,
    /// Where it stands now, and who proved it.
    pub standing: Standing,
    /// How far it has come, where that is all the news.
    pub progress: Option<Progress>,
    /// When the backbone learnt it.
    pub at: UnixMicros,
}
