//! The agent's end: who decides, alone, whether a command begins.
//!
//! Pure. The shell owns the journal's file, the devices and the link. In memory the journal is ahead of the disk; no
//! effect begins, and nothing is told, before what it rests on is [stored](ExecutorInput::Stored).
//!
//! A command may begin if its deadline provably lies ahead, and either it is idempotent, or this boot has received it
//! and no attempt was cut off. What may not begin any more ends: as `expired` or `cancelled` where it surely has had no
//! effect, else as `interrupted`.

mod machine;
mod tell;

use std::collections::BTreeMap;
use std::time::Duration;

use super::{
    BackboneTime, BootId, Command, CommandId, CommandUpdates, Confirm, Dispatch, Failure, Fields, JournalHeard,
    JournalRecord, Progress,
};
use crate::ids::DeviceName;
use crate::limits::{COMMAND_KEPT_AFTER, JOURNAL_COMMANDS_MAX, JOURNAL_RECORDS_MAX};
use crate::time::MonoTime;

pub use machine::Executor;

/// What an executor is made with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExecutorConfig {
    /// The present boot of the machine.
    pub boot: BootId,
    /// Commands that run at once at a device; one, where it is not named.
    pub lanes: BTreeMap<DeviceName, usize>,
    /// Most commands that are remembered.
    pub commands_max: usize,
    /// The file is written anew after so many records.
    pub records_max: usize,
    /// A command is remembered for so long after its deadline.
    pub kept_after: Duration,
}

impl ExecutorConfig {
    /// What is usual.
    pub fn new(boot: BootId) -> ExecutorConfig {
        ExecutorConfig {
            boot,
            lanes: BTreeMap::new(),
            commands_max: JOURNAL_COMMANDS_MAX,
            records_max: JOURNAL_RECORDS_MAX,
            kept_after: COMMAND_KEPT_AFTER,
        }
    }
}

/// Names one attempt at a command, from 1: an answer to an earlier one counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u32);

/// What happens to an executor.
#[derive(Clone, Debug, PartialEq)]
pub enum ExecutorInput {
    /// A gateway has let the agent in.
    Welcomed {
        /// How the tale goes on.
        heard: JournalHeard,
        /// The backbone's time by this connection.
        time: BackboneTime,
    },
    /// The gateway told the time once more.
    TimeTold(BackboneTime),
    /// The gateway hands commands over.
    Dispatched(Dispatch),
    /// The gateway has stored what was told.
    Confirmed(Confirm),
    /// The connection is gone.
    Disconnected,
    /// What was to be appended or written anew is on the disk, fsynced, up to this change.
    Stored {
        /// Number of the last change.
        through: u64,
    },
    /// A device answered, or its writer did in its place.
    Answered {
        /// Which command.
        id: CommandId,
        /// Which attempt at it.
        attempt: Attempt,
        /// What it said.
        answer: Answer,
    },
    /// The time of the last `ArmTimer` has come.
    TimerFired,
}

/// What a device says to a command.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Done.
    Succeeded(Fields),
    /// Not done, or not as ordered.
    Failed(Failure),
    /// Not now, and nothing was done: ask again.
    Busy {
        /// After so long.
        retry_after: Duration,
    },
    /// Under way.
    Progress(Progress),
}

/// What the shell must do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum ExecutorAction {
    /// Append to the journal's file, fsync, and feed `Stored`. Where that fails the process must end and read the
    /// journal again: nobody knows what is on the disk.
    Append(Vec<JournalRecord>),
    /// Write a new file of just these records, fsync it, put it in the place of the old one, fsync the folder, and feed
    /// `Stored` with this number.
    Rewrite {
        /// All that the file shall hold.
        records: Vec<JournalRecord>,
        /// Number of the last change in them.
        through: u64,
    },
    /// Write the command to its device, now.
    Start {
        /// What to do.
        command: Command,
        /// Comes back in the answer.
        attempt: Attempt,
    },
    /// Send to the gateway.
    Send(CommandUpdates),
    /// Feed `TimerFired` at this time. Replaces the time before.
    ArmTimer(MonoTime),
}

#[cfg(test)]
mod tests;
