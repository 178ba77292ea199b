//! Commands: what an operator orders, and what becomes of it.
//!
//! A command takes effect at most once, and its sender always learns what is known. Three machines see to
//! that. The *book* is what a backbone knows of one agent's commands, and each of its methods is one atomic
//! transition. The *courier* is a gateway's part in one connection. The *executor*, with its *journal* on the
//! agent's disk, is who decides alone whether a command starts. Who may say what about a command, and what a
//! card does that is put back, stands in docs/decisions/0006-a-command-ends-with-its-boot.md.
//!
//! In reading order: the words, the lifecycle, what travels, the three machines, and groups of commands.

mod fields;
mod id;
mod state;

mod deadline;
mod journal;
mod message;

mod book;
mod courier;
mod executor;
mod group;

use crate::ids::{CommandName, DeviceName, UserName};
use crate::time::UnixMicros;

pub use book::{AcceptError, Book, Bound, HandOver, Kept, Mark, SessionOver};
pub use courier::{Ask, Courier, CourierAction, CourierInput};
pub use deadline::BackboneTime;
pub use executor::{Answer, Attempt, Executor, ExecutorAction, ExecutorConfig, ExecutorInput};
pub use fields::{Field, Fields, FieldsError};
pub use group::{Group, GroupError, Summary};
pub use id::{BootId, CommandId, CommandIdError, JournalId};
pub use journal::{Held, Journal, JournalError, JournalRecord, JournalStep, Phase, Place};
pub use message::{CommandUpdates, Confirm, Dispatch, JournalHeard, JournalMark, Order, ProgressReport, Report};
pub use state::{CommandUpdate, Failure, FailureKind, Outcome, Progress, Standing, State, Witness};

/// An operator's order to one device. It never changes: two that differ in anything are two.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Command {
    /// Chosen by its sender, who repeats it where an answer got lost. One id is one command.
    pub id: CommandId,
    /// Who shall act.
    pub device: DeviceName,
    /// What it shall do.
    pub name: CommandName,
    /// With what.
    pub arguments: Fields,
    /// Doing it twice does no more than doing it once: it may run again where nobody knows whether it ran.
    pub idempotent: bool,
    /// Who goes first where several wait for one device.
    pub priority: Priority,
    /// No effect begins at or after this instant, in the backbone's time.
    pub deadline: UnixMicros,
    /// Who ordered it.
    pub sender: UserName,
}

/// Who goes first. Among equals, the older one does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// After all others.
    Low,
    /// What most are.
    #[default]
    Normal,
    /// Before all others.
    High,
}

impl Priority {
    /// All of them, the least urgent first.
    pub const ALL: [Priority; 3] = [Priority::Low, Priority::Normal, Priority::High];

    /// The word in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Priority::Low => "low",
            Priority::Normal => "normal",
            Priority::High => "high",
        }
    }
}
